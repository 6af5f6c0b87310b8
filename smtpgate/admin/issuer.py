"""One provider of identities: what it says of itself, its keys, and tokens for codes (OpenID Connect).

Nothing of it is believed but what comes from its own address over TLS and what its keys have signed. Each call is
bounded in time and size, follows no redirect, and goes only where the guard of calls out lets it
(`net.public_http`). What it says of itself and its keys are kept for an hour; a token with an unknown key has the keys
asked for again, once a minute at most, so that nobody can keep it busy through us.

OpenID Connect Core 3.1.3 and Discovery 4; RFC 6749 section 4.1, RFC 7636, RFC 9207.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import attrs
from twisted.internet.defer import DeferredLock

from smtpgate.admin.jose import ALGORITHMS, Token, Untrusted, find_key, half_hash, read_json, read_token, verify
from smtpgate.admin.text import visible
from smtpgate.config.endpoint import is_loopback
from smtpgate.config.model_sso import Provider
from smtpgate.interfaces import HTTPFailed

#: What it says of itself, and its keys, are asked for again after so long.
KEPT_S: Final = 3600.0
#: After a failure it is left alone for so long; a token with an unknown key asks no more often than the second.
FAILED_S: Final = 10.0
UNKNOWN_KEY_S: Final = 60.0
#: Octets of its answers (Entra's description has 2 KB, its keys 20 KB, its tokens 10 KB).
_CAP: Final = 256 * 2**10
_ENDPOINT: Final = re.compile(r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?(/[!$-;=?-~]*)?")
_WORD: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,100}")


class Wrong(Untrusted):
    """A code or a token is wrong in itself; where the provider is out of order that is none of who logs in."""


@attrs.frozen
class Description:
    """What a provider says of itself.

    :ivar end_session: where a logout goes; "" where there is none
    :ivar is_basic: the client's secret goes into a header
    :ivar names_itself: its answers name the issuer (RFC 9207)
    """

    authorization: str
    token: str
    keys: str
    end_session: str = ""
    is_basic: bool = True
    names_itself: bool = False


@attrs.frozen
class Wanted:
    """What an ID token must fit.

    :ivar is_nonce: whether a nonce is the one that was asked with
    :ivar began: when the login began, seconds since the epoch
    :ivar is_fresh: the login itself must be newer than that
    """

    is_nonce: Callable[[str], bool]
    began: float
    is_fresh: bool = False


class Issuer:
    """The provider, as far as this process knows it."""

    def __init__(
        self, provider: Provider, client: Any, in_thread: Callable[..., Any], wall: Callable[[], float]
    ) -> None:
        """
        :param client: an `interfaces.IHTTPClient` that goes where this provider may be
        :param in_thread: runs a call elsewhere and gives a Deferred
        """
        self.provider = provider
        self._client = client
        self._in_thread = in_thread
        self._wall = wall
        self._lock = DeferredLock()
        self._description: Description | None = None
        self._described_at = -math.inf
        self._keys: Sequence[Any] = ()
        self._keys_at = -math.inf
        #: When it failed last, and how: the description, and the keys.
        self._failed: tuple[float, Exception] | None = None
        self._no_keys: tuple[float, Exception] | None = None

    @property
    def known(self) -> Description | None:
        """What it said of itself when it was asked last; nobody waits."""
        return self._description

    async def description(self, is_anew: bool = False) -> Description:
        """What it says of itself. Raises Untrusted, HTTPFailed."""
        await self._lock.acquire()
        try:
            if not is_anew:
                if self._description is not None and self._is_within(KEPT_S, self._described_at):
                    return self._description
                if self._failed is not None and self._is_within(FAILED_S, self._failed[0]):
                    raise self._failed[1].with_traceback(None)
            try:
                self._description = await self._discover()
            except (Untrusted, HTTPFailed) as error:
                # The time of the answer: whoever waited for it must not wait as long again.
                self._failed = (self._wall(), error)
                raise
            self._described_at, self._failed = self._wall(), None
            return self._description
        finally:
            self._lock.release()

    async def _discover(self) -> Description:
        issuer = self.provider.issuer
        what = "what the provider says of itself"
        said = await self._get(f"{issuer.removesuffix('/')}/.well-known/openid-configuration", what)
        if said.get("issuer") != issuer:
            raise Untrusted(f"the provider calls itself {_shown(said.get('issuer'))}, and not {visible(issuer, 200)}")
        ways = said.get("token_endpoint_auth_methods_supported")
        methods = said.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise Untrusted("the provider does not know PKCE with S256")
        end_session = said.get("end_session_endpoint")
        return Description(
            authorization=self._endpoint(said, "authorization_endpoint"),
            token=self._endpoint(said, "token_endpoint"),
            keys=self._endpoint(said, "jwks_uri"),
            end_session=self._endpoint(said, "end_session_endpoint") if end_session else "",
            is_basic=not isinstance(ways, list) or "client_secret_basic" in ways or "client_secret_post" not in ways,
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, said: Mapping[str, Any], name: str) -> str:
        """An address that may be gone to: in clear only on this machine, where the issuer itself is so."""
        text = said.get(name)
        found = _ENDPOINT.fullmatch(text) if isinstance(text, str) and len(text) <= 2000 else None
        if found is None:
            raise Untrusted(f"the provider has no proper {name}")
        assert isinstance(text, str)
        is_near = is_loopback(urlsplit(text).hostname or "") and self.provider.issuer.startswith("http://")
        if found[1] != "https" and not is_near:
            raise Untrusted(f"the {name} of the provider has no TLS")
        return text

    async def _get(self, url: str, what: str) -> dict[str, Any]:
        accept = {"Accept": "application/json", "User-Agent": "smtpgate"}
        answer = await self._client.request("GET", url, accept, None, self.provider.timeout_s, _CAP)
        if answer.status != 200:
            raise Untrusted(f"{what}: the answer was {answer.status}{_about(answer.status)}")
        return read_json(answer.body, what)

    # Keys

    async def keys(self, kept_s: float = KEPT_S) -> Sequence[Any]:
        """Its keys. Raises Untrusted, HTTPFailed.

        :param kept_s: those that are no older will do; 0.0: ask it
        """
        description = await self.description()
        await self._lock.acquire()
        try:
            if self._keys and self._is_within(kept_s, self._keys_at):
                return self._keys
            # Whoever waited meanwhile hears of the same failure, and does not wait for the next one.
            left_s = FAILED_S if kept_s >= KEPT_S else kept_s
            if self._no_keys is not None and self._is_within(left_s, self._no_keys[0]):
                raise self._no_keys[1].with_traceback(None)
            try:
                found = (await self._get(description.keys, "the keys of the provider")).get("keys")
                if not isinstance(found, list) or not found:
                    raise Untrusted("the provider has no keys")
            except (Untrusted, HTTPFailed) as error:
                self._no_keys = self._wall(), error
                raise
            self._keys, self._keys_at, self._no_keys = found, self._wall(), None
            return found
        finally:
            self._lock.release()

    async def _key_of(self, token: Token) -> Mapping[str, Any]:
        for kept_s in (KEPT_S, UNKNOWN_KEY_S):
            keys = await self.keys(kept_s)
            with _as_wrong():
                found = find_key(keys, token)
            if found is not None:
                return found
        raise Wrong("the token is signed with a key that the provider does not have")

    def _is_within(self, seconds: float, at: float) -> bool:
        return 0 <= self._wall() - at < seconds

    # Codes and tokens

    async def exchange(self, code: str, verifier: str, redirect: str) -> tuple[str, str]:
        """ID token and access token for a code. Raises Wrong where the provider knows no such code, Untrusted,
        HTTPFailed.
        """
        description, one = await self.description(), self.provider
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier,
        }  # fmt: skip
        head = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "smtpgate",
        }
        if description.is_basic:
            pair = f"{quote_plus(one.client_id)}:{quote_plus(one.secret)}"
            head["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": one.client_id, "client_secret": one.secret}
        body = urlencode(form).encode()
        answer = await self._client.request("POST", description.token, head, body, one.timeout_s, _CAP)
        if answer.status != 200:
            word = _error(answer.body)
            kind = Wrong if (answer.status, word) == (400, "invalid_grant") else Untrusted
            raise kind(f"the code was not taken: the answer was {answer.status} {word}".rstrip())
        said = read_json(answer.body, "the answer to the code")
        id_token, access = said.get("id_token"), said.get("access_token")
        if not isinstance(id_token, str):
            raise Untrusted("there is no ID token in the answer to the code")
        return id_token, access if isinstance(access, str) else ""

    async def claims(self, text: str, access: str, wanted: Wanted) -> Mapping[str, Any]:
        """What an ID token says, once all of it was checked. Raises Wrong, HTTPFailed; Untrusted where the keys are not
        to be had.
        """
        with _as_wrong():
            token = read_token(text, [one for one in self.provider.algorithms if one in ALGORITHMS])
        key = await self._key_of(token)
        with _as_wrong():
            await self._in_thread(verify, token, key)
            check_claims(token, access, self.provider, wanted, self._wall())
        return token.claims


@contextmanager
def _as_wrong() -> Iterator[None]:
    try:
        yield
    except Untrusted as error:
        raise Wrong(str(error)) from None


def check_claims(token: Token, access: str, provider: Provider, wanted: Wanted, now: float) -> None:
    """Whether an ID token is for us, of now, and of this login (OpenID Connect Core 3.1.3.7). Raises Untrusted."""
    claims, leeway = token.claims, provider.leeway_s
    if claims.get("iss") != provider.issuer:
        raise Untrusted(f"the token is of {_shown(claims.get('iss'))}")
    audience = claims.get("aud")
    meant = [audience] if isinstance(audience, str) else audience
    if not isinstance(meant, list) or provider.client_id not in meant:
        raise Untrusted("the token is for somebody else")
    if ("azp" in claims or len(meant) > 1) and claims.get("azp") != provider.client_id:
        raise Untrusted("the token was given to somebody else")
    if not _time(claims, "exp") + leeway > now:
        raise Untrusted("the token is over")
    issued = _time(claims, "iat")
    if issued > now + leeway:
        raise Untrusted("the token is of the future")
    if issued < wanted.began - leeway:
        raise Untrusted("the token is older than this login")
    if "nbf" in claims and _time(claims, "nbf") > now + leeway:
        raise Untrusted("the token does not hold yet")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not wanted.is_nonce(nonce):
        raise Untrusted("the token is of another login")
    if "at_hash" in claims and (not access or claims["at_hash"] != half_hash(token.algorithm, access)):
        raise Untrusted("the token does not fit the access token")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise Untrusted("the token has no proper subject")
    if wanted.is_fresh:
        if "auth_time" not in claims:
            raise Untrusted("the provider does not say when the person logged in there")
        if _time(claims, "auth_time") < wanted.began - leeway:
            raise Untrusted("the person did not log in there anew")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # Seconds since the epoch; a number with hundreds of digits is none of them, and no float either.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**53) < value < 2**53:
        raise Untrusted(f"the token has no proper {name}")
    return float(value)


def groups_of(claims: Mapping[str, Any], name: str) -> list[str]:
    """The groups that a token tells. A name that is no claim is a way through tables: `realm_access.roles`. Raises
    Untrusted where there are none to be read, which is not the same as none.
    """
    found: Any = claims
    if name in claims:
        found = claims[name]
    else:
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Untrusted(f"the token has no list {visible(name, 80)}")
    return found


def factor_of(claims: Mapping[str, Any], provider: Provider) -> bool:
    """Whether the login there had what counts as a one-time code."""
    said = claims.get("amr")
    words = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
    if isinstance(claims.get("acr"), str):
        words.append(claims["acr"])
    return bool(provider.second_factor & set(words))


def _shown(value: Any) -> str:
    return visible(value, 200) if isinstance(value, str) else "nobody"


def _about(status: int) -> str:
    return ", and redirects are not followed" if 300 <= status < 400 else ""


def _error(body: bytes) -> str:
    """The word for what was wrong (RFC 6749 section 5.2)."""
    try:
        word = read_json(body, "").get("error")
    except Untrusted:
        return ""
    return word if isinstance(word, str) and _WORD.fullmatch(word) else ""
