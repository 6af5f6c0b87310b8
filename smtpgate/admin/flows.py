"""Logins at a provider that are under way: what was asked with, bound to the browser that began.

They stand in memory; a restart means to begin again. Of what goes through a browser only digests are held: the state
and the nonce, the secret in the cookie, and the ticket by which the browser comes back from the page of the return.
The verifier of PKCE is made of the cookie's secret and the state, so that it is nowhere until it is needed. Each of
them is taken once, and holds for ten minutes.

A browser comes back by a request of another site, so the cookie is Lax; it opens nothing by itself, and ends with
the login.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from smtpgate.admin.browsers import digest_of
from smtpgate.admin.guard import Caller
from smtpgate.admin.jose import to_base64
from smtpgate.admin.throttle import network_of

#: So long a login may take there.
FLOW_S: Final = 600.0
#: Logins under way, of one network and of all. Nobody is refused: the oldest of the network makes room for the next,
#: and where all are too many the oldest of the network that has most of them.
PER_NETWORK: Final = 50
MOST: Final = 2000
#: Octets of a form that waits for a proof, and how many wait of one person; the oldest makes room.
CARRIED: Final = 64 * 2**10
FORMS: Final = 5


@attrs.define
class Flow:
    """One of them.

    :ivar provider: its name, and `issuer` what it was then
    :ivar redirect: where the provider was told to send the browser
    :ivar cookie: digest of the browser's secret; `nonce`: digest of the nonce
    :ivar began: seconds since the epoch
    :ivar wanted: the page to go on to
    :ivar session: for a proof the session's id, and its `user`; "" for a login
    :ivar carried: the form that waits for the proof, and `action` where it goes
    :ivar code: what the provider sent the browser back with
    """

    provider: str
    issuer: str
    redirect: str
    began: float
    network: str
    wanted: str = "/"
    session: str = ""
    user: str = ""
    action: str = ""
    carried: str = ""
    cookie: str = ""
    nonce: str = ""
    code: str = ""
    state: str = attrs.field(default="", repr=False)

    def is_nonce(self, nonce: str) -> bool:
        """Whether a nonce is the one that was asked with."""
        return hmac.compare_digest(digest_of(nonce), self.nonce)


class Flows:
    """All of them."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """
        :param wall: seconds since the epoch
        """
        self._wall = wall
        #: By digest of the state, and of the ticket.
        self._away: dict[str, Flow] = {}
        self._back: dict[str, Flow] = {}

    def __len__(self) -> int:
        return len(self._away) + len(self._back)

    def begin(self, caller: Caller, flow: Flow) -> tuple[str, str, str, str]:
        """State, nonce and challenge to ask with, and the Set-Cookie line."""
        self._make_room(flow)
        state, nonce, secret = (secrets.token_urlsafe(32) for _ in range(3))
        flow.cookie, flow.nonce = digest_of(secret), digest_of(nonce)
        self._away[digest_of(state)] = flow
        challenge = to_base64(hashlib.sha256(verifier_of(secret, state).encode()).digest())
        return state, nonce, challenge, caller.cookie(cookie_name(caller), secret, int(FLOW_S), "Lax")

    def back(self, caller: Caller, name: str, state: str) -> Flow | None:
        """The one that a provider sends a browser back for; None where it is none, or of another browser."""
        flow = self._taken(self._away, caller, name, state)
        if flow is not None:
            flow.state = state
        return flow

    def ticket(self, flow: Flow) -> str:
        """What the page of the return sends on from our own site."""
        self._make_room(flow)
        text = secrets.token_urlsafe(32)
        self._back[digest_of(text)] = flow
        return text

    def end(self, caller: Caller, name: str, ticket: str) -> tuple[Flow, str] | None:
        """The one of a ticket, and the verifier; None as for `back`."""
        flow = self._taken(self._back, caller, name, ticket)
        return (flow, verifier_of(caller.sent_cookie(cookie_name(caller)), flow.state)) if flow is not None else None

    def _taken(self, among: dict[str, Flow], caller: Caller, name: str, secret: str) -> Flow | None:
        found = among.pop(digest_of(secret), None)
        cookie = digest_of(caller.sent_cookie(cookie_name(caller)))
        if found is None or found.provider != name or not hmac.compare_digest(found.cookie, cookie):
            return None
        return found if 0 <= self._wall() - found.began < FLOW_S else None

    def _make_room(self, flow: Flow) -> None:
        """For one more, among those that are there and those that are back."""
        now = self._wall()
        self._drop([one for one in self._all() if not 0 <= now - one.began < FLOW_S])
        if flow.carried:
            self._drop_oldest([one for one in self._all() if one.carried and one.user == flow.user], FORMS)
        self._drop_oldest([one for one in self._all() if one.network == flow.network], PER_NETWORK)
        if len(self) >= MOST:
            (largest, count), *_ = Counter(one.network for one in self._all()).most_common(1)
            self._drop_oldest([one for one in self._all() if one.network == largest], count)

    def _all(self) -> list[Flow]:
        return sorted([*self._away.values(), *self._back.values()], key=lambda one: one.began)

    def _drop_oldest(self, among: list[Flow], most: int) -> None:
        self._drop(among[: max(0, len(among) - most + 1)])

    def _drop(self, flows: list[Flow]) -> None:
        dropped = {id(one) for one in flows}
        for held in (self._away, self._back):
            for key in [key for key, one in held.items() if id(one) in dropped]:
                del held[key]


def cookie_name(caller: Caller) -> str:
    """What the cookie is called; where the browser came by TLS no other site can set it."""
    return "__Host-sg-sso" if caller.is_secure else "sg-sso"


def gone(caller: Caller) -> str:
    """The Set-Cookie line that takes it away."""
    return caller.cookie(cookie_name(caller), "", 0, "Lax")


def verifier_of(secret: str, state: str) -> str:
    """The verifier of PKCE (RFC 7636 section 4.1)."""
    return to_base64(hmac.digest(secret.encode("utf-8", "replace"), state.encode("utf-8", "replace"), hashlib.sha256))


def network_key(caller: Caller) -> str:
    """By what logins under way are counted."""
    return network_of(caller.address)
