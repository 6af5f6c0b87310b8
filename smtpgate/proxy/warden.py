"""The warden: bans at the door, strikes for bad manners, and guessed passwords.

Never banned, whatever is seen of them: loopback, `relay_from`, `proxy_protocol_from`, `xclient_from`, `trusted_relays`,
networks of `classes.trusted`, and those of `bans.never`. So no mistake can lock out the house, its balancers and its
probes, and an administrator's ban of a network that holds one of them leaves that one out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

from smtpgate.config.model import Settings
from smtpgate.config.patterns import NetworkList
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.counters import Row
from smtpgate.proxy.limit_rules import network_of
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.bans import GATEWAY, Ban, Bans
from smtpgate.traffic.changed import Changed
from smtpgate.traffic.classes import KNOWN, TRUSTED
from smtpgate.traffic.guesses import GOOD_S, Answer, Guesses

#: What each thing weighs; ten within some minutes are a ban. One mistyped recipient is none.
STRIKES: Final = {
    "spoke before the greeting": 3.0,
    "asked for recipients that do not exist": 0.2,
    "too many errors": 4.0,
    "no SMTP": 4.0,
}

#: Networks that may be banned, by the bits that make them: wider ones take too many along, and each is one look at the
#: door.
BANNED4: Final = (24, 23, 22, 21, 20, 19, 18, 17, 16)
BANNED6: Final = (64, 56, 48, 32)
#: Strikes that one delivered message takes away.
FORGIVEN: Final = 1.0
#: Who has waited for the greeting need not do so again for a day (postscreen_greet_ttl), and so many are remembered.
PASSED_S: Final = 86400.0
PASSED: Final = 50_000


def keys_of(address: str) -> tuple[str, ...]:
    """Under which a client may be banned: its address, and the networks that it is in."""
    if ":" in address:
        return (address, *(network_of(address, 24, bits) for bits in BANNED6))
    return (address, *(network_of(address, bits, 64) for bits in BANNED4))


def own_key(address: str) -> str:
    """Under which a client's own doings count: of IPv6 the /64, of which each client has all addresses."""
    return network_of(address, 32, 64) if ":" in address else address


class Warden:
    """Who may not come in."""

    def __init__(
        self, wall: Callable[[], float], settings: Callable[[], Settings], tell: Callable[[Any], None]
    ) -> None:
        self._wall = wall
        self._settings = settings
        self._tell = tell
        self.bans = Bans()
        self.guesses = Guesses(os.urandom(32))
        self.homes = Homes(self.guesses)
        self._waited: dict[str, float] = {}
        #: Called when somebody has said what must not be lost.
        self.on_change: Callable[[], None] | None = None

    # Bans

    def is_exempt(self, key: str) -> bool:
        """Whether an address, or all of a network, is never banned."""
        if not key or key.startswith("127.") or key == "::1":
            return True
        return any(one and (one.covers(key) if "/" in key else one.contains(key)) for one in self._exempt())

    def _exempt(self) -> Iterator[NetworkList]:
        settings = self._settings()
        yield from (settings.trusted_relays, settings.classes["trusted"].client, settings.bans.never)
        for listener in settings.listeners.values():
            yield from (listener.relay_from, listener.proxy_protocol_from, listener.xclient_from)

    def find(self, address: str) -> Ban | None:
        """The ban that keeps that client out; None for most."""
        if not len(self.bans):
            return None
        ban = self.bans.find(keys_of(address), self._wall())
        if ban is None or self._settings().bans.mode != "enforce" or self.is_exempt(address):
            return None
        return ban

    def refusal(self, ban: Ban) -> Reply:
        """What a banned client hears."""
        minutes = max(1, math.ceil((ban.until - self._wall()) / 60))
        return Reply(421, "4.7.0", (f"Not from your address now; come back in {minutes} minutes",))

    def ban(self, key: str, reason: str, evidence: str, seconds: float | None = None, by: str = GATEWAY) -> Ban | None:
        """Ban an address or a network; None where bans are off or it is never banned."""
        if self._settings().bans.mode == "off" or self.is_exempt(key):
            return None
        settings = self._settings().bans
        self.bans.first_s, self.bans.longest_s = settings.first_s, settings.longest_s
        now = self._wall()
        made = self.bans.ban(key, reason, evidence, now, seconds, by)
        fields = (("target", key), ("reason", reason), ("detail", evidence), ("actor", by))
        until = f"for {made.until - now:.0f} s"
        self._tell(told.Happened("ban.set", "warning", f"{key} is banned {until}: {reason}", fields))
        self._keep(by)
        return made

    def _keep(self, by: str) -> None:
        """What somebody said is written at once."""
        if by != GATEWAY and self.on_change is not None:
            self.on_change()

    def lift(self, key: str, by: str) -> bool:
        """Let it in again; whether it was banned."""
        was = self.bans.lift(key)
        if was:
            fields = (("target", key), ("actor", by))
            self._tell(told.Happened("ban.lifted", "info", f"{key} may come in again", fields))
            self._keep(by)
        return was

    def strike(self, address: str, what: str, evidence: str, times: int = 1) -> None:
        """Bad manners."""
        if self.is_exempt(address):
            return
        key = own_key(address)
        if self.bans.strike(key, STRIKES[what] * times, self._wall()):
            self.ban(key, what, evidence)

    #: The kinds of events that it hears of.
    hears = frozenset({told.TransactionEnded, told.ConnectionRefused, told.SessionEnded, told.CommandRefused})

    def hear(self, event: Any) -> None:
        """For the witnesses' list."""
        kind = type(event)
        if kind is told.TransactionEnded:
            self._ended(event.transaction)
        elif kind is told.ConnectionRefused:
            if event.result == "early_talker":
                self.strike(event.peer_ip, "spoke before the greeting", "input before the 220")
        elif kind is told.SessionEnded:
            # Failed logins are counted for themselves: many of them may be one wrong password.
            if event.session.closed_by == "error" and event.session.stage != "auth":
                self.strike(event.session.client_ip, "too many errors", f"session {event.session.id}")
        elif kind is told.CommandRefused:
            if event.reason in ("another protocol", "header line as a command"):
                self.strike(event.session.client_ip, "no SMTP", f"session {event.session.id}")

    def _ended(self, transaction: Transaction) -> None:
        """Names that do not exist are guessed at by those who have nothing else to send: good mail forgives them. Who
        is known as good is no guesser, and the null sender answers addresses that others made up."""
        session = transaction.session
        if session.role != "mx" or session.traffic_class in (TRUSTED, KNOWN):
            return
        if transaction.outcome in ("delivered", "unacked"):
            if self.bans.strikes_of:
                self.bans.forgive(own_key(session.client_ip), FORGIVEN)
        elif not transaction.accepted and not transaction.sender.is_null:
            refused = sum(one.is_nobody for one in transaction.recipients)
            if refused:
                what = "asked for recipients that do not exist"
                self.strike(session.client_ip, what, f"{refused} refused in {transaction.id}", refused)

    # Who waited for the greeting

    def has_waited(self, address: str) -> bool:
        """Whether a client need not wait for the greeting: it has done so before, or is of the house."""
        if self._waited.get(address, 0.0) > self._wall():
            return True
        return self.is_exempt(address)

    def waited(self, address: str) -> None:
        """It did."""
        self._waited.pop(address, None)
        self._waited[address] = self._wall() + PASSED_S
        if len(self._waited) > PASSED:
            del self._waited[next(iter(self._waited))]

    # Logins

    def ask_login(self, account: str, address: str) -> Answer:
        """Somebody wants to log in; `account` is "" where it is not known yet."""
        if self.is_exempt(address) or self._settings().bans.mode != "enforce":
            return Answer()
        return self.guesses.ask(account, network_of(address, 24, 64), self._wall())

    def login_failed(self, account: str, secret: str | None, address: str) -> float:
        """It failed; how long the reply waits. `secret` is None where the mechanism does not show it."""
        if self.is_exempt(address):
            return 0.0
        network = network_of(address, 24, 64)
        failure, wait_s = self.guesses.failed(account, secret, network, self._wall())
        if failure.bans:
            self.ban(network, "guessing passwords", failure.bans)
        return wait_s if self._settings().bans.mode == "enforce" else 0.0

    def logged_in(self, account: str, address: str) -> None:
        """It succeeded."""
        network = network_of(address, 24, 64)
        self.guesses.succeeded(account, network, self._wall())
        self.homes.note(account.lower(), network)


class Homes:
    """Where each account is at home, as what is kept over restarts. No digest of a password is: those are forgotten."""

    def __init__(self, guesses: Guesses) -> None:
        self._guesses = guesses
        self._changed: Changed[tuple[str, str]] = Changed()

    def note(self, account: str, network: str) -> None:
        """There is something new."""
        self._changed.fresh[account, network] = None

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`: network and account, and the time of the last login."""
        rows: list[Row] = []
        while len(rows) < most and (place := self._changed.pop()) is not None:
            account, network = place
            at = self._guesses.last_login(account, network)
            if at is not None:
                rows.append((f"{network} {account}", at, at + GOOD_S))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows."""
        for key, at, _ in sorted(rows, key=lambda row: float(row[1])):
            network, _, account = key.partition(" ")
            self._guesses.succeeded(account, network, at)
