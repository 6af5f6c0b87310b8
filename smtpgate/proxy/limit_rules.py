"""One limit: whose it is, what it is about, what was taken of it, and what is said where it is met. See `limiter`."""

from __future__ import annotations

import functools
import heapq
import ipaddress
import math
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.config.model_traffic import ConcurrencyLimit, Condition, RateLimit
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.gcra import SLACK_S, Rate

RATES: Final = "rate_limits"
CONCURRENCY: Final = "concurrency_limits"
#: When to come back where too much is at work: some of it will be done then.
SOON_S: Final = 10.0
#: What is known at each step; a limit belongs to the first that knows all its keys.
BY_RECIPIENT: Final = frozenset({"recipient", "recipient_domain", "backend"})
WHAT: Final = {
    "connections": "connections",
    "messages": "messages",
    "recipients": "recipients",
    "octets": "octets",
    "refused_recipients": "recipients that were refused",
    "auth_failures": "failed logins",
    "sessions": "sessions at a time",
    "transactions": "messages at a time",
}

Key = Callable[[Session, Transaction | None, Recipient | None, str], str]


@functools.lru_cache(maxsize=10_000)
def network_of(address: str, prefix4: int, prefix6: int) -> str:
    """The network of an address; the address itself where it is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, prefix4 if parsed.version == 4 else prefix6), strict=False))


def _sender(session: Session, transaction: Any, recipient: Recipient | None, backend: str) -> str:
    """The null sender is everybody's: it is counted for each client and greeting."""
    path = transaction.sender
    return str(path).lower() if not path.is_null else f"<> {session.client_ip} {session.helo.lower()}"


def _sender_domain(session: Session, transaction: Any, recipient: Recipient | None, backend: str) -> str:
    domain: str = transaction.sender.domain
    # Also a local part alone has none (postmaster).
    return domain.lower() if domain else _sender(session, transaction, recipient, backend)


def _part(name: str, limit: RateLimit | ConcurrencyLimit) -> Key:
    prefix4, prefix6 = limit.prefix4, limit.prefix6
    parts: dict[str, Key] = {
        "client": lambda s, t, r, b: s.client_ip,
        "network": lambda s, t, r, b: network_of(s.client_ip, prefix4, prefix6),
        "listener": lambda s, t, r, b: s.listener,
        "helo": lambda s, t, r, b: s.helo.lower(),
        "user": lambda s, t, r, b: s.user.lower(),
        "sender": _sender,
        "sender_domain": _sender_domain,
        "recipient": lambda s, t, r, b: str(r.path).lower() if r is not None else "",
        "recipient_domain": lambda s, t, r, b: r.path.domain.lower() if r is not None else "",
        "backend": lambda s, t, r, b: b,
    }
    return parts[name]


def _key(limit: RateLimit | ConcurrencyLimit) -> Key:
    """What it counts by; "" where a part is not there: a client without a login is not counted by user."""
    parts = [_part(name, limit) for name in limit.by]
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts

        def both(session: Session, transaction: Transaction | None, recipient: Recipient | None, backend: str) -> str:
            one = first(session, transaction, recipient, backend)
            other = second(session, transaction, recipient, backend)
            return f"{one} {other}" if one and other else ""

        return both

    def joined(session: Session, transaction: Transaction | None, recipient: Recipient | None, backend: str) -> str:
        values = [part(session, transaction, recipient, backend) for part in parts]
        return " ".join(values) if all(values) else ""

    return joined


def about(when: Condition) -> str:
    """Which mail a condition is about, in words; "" for all."""
    parts = {
        "listener": when.listener,
        "client": when.client.entries,
        "user": when.user.entries,
        "sender": when.sender.entries,
        "recipient": when.recipient.entries,
        "class": sorted(when.classes),
    }
    return "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in parts.items() if values)


def fits(when: Condition, session: Session, transaction: Transaction | None, recipient: Recipient | None) -> bool:
    if when.listener and session.listener not in when.listener:
        return False
    if when.classes and session.traffic_class not in when.classes:
        return False
    if when.client and not when.client.contains(session.client_ip):
        return False
    if when.user and not (session.user and when.user.matches(session.user)):
        return False
    if when.sender and transaction is not None:
        path = transaction.sender
        if not when.sender.matches("" if path.is_null else path.local, "" if path.is_null else path.domain):
            return False
    if when.recipient and recipient is not None:
        return when.recipient.matches(recipient.path.local, recipient.path.domain)
    return True


class Rule:
    """One limit at work: of a rate `stamps` is what it remembers, of a concurrency limit `counts`."""

    __slots__ = (
        "limit",
        "key",
        "rate",
        "stamps",
        "counts",
        "is_shadow",
        "has_conditions",
        "is_octets",
        "is_of_recipients",
        "interval_s",
        "room_s",
        "changed_at",
        "met",
        "__weakref__",
    )

    def __init__(
        self, limit: Any, rate: Rate | None, stamps: Any, counts: Any, met: Counter[str] | None = None
    ) -> None:
        """
        :param met: how often it was met: refused, paced, shadow
        """
        self.limit = limit
        self.key = _key(limit)
        self.stamps = stamps
        self.counts = counts
        self.is_shadow = limit.mode == "shadow"
        self.has_conditions = limit.when != Condition()
        self.is_octets = limit.count == "octets"
        self.is_of_recipients = limit.count == "recipients"
        self.met: Counter[str] = Counter() if met is None else met
        self.set_rate(rate, 0.0)

    def set_rate(self, rate: Rate | None, now: float) -> None:
        """Another rate from now on; None for a concurrency limit."""
        self.rate: Any = rate
        self.changed_at = now
        #: 0.0 for a concurrency limit.
        self.interval_s = rate.interval_s if rate is not None else 0.0
        #: How far a stamp may be ahead where one more is to have room.
        self.room_s = self.room_for(1.0)

    def room_for(self, amount: float) -> float:
        """The same for so many; more than a whole burst has room where nothing else was taken (`Rate.wait`)."""
        rate = self.rate
        return float(rate.depth_s - min(amount, rate.burst) * rate.interval_s + SLACK_S) if rate is not None else 0.0

    def state(self, key: str, now: float) -> tuple[float, float, float]:
        """How much of it a key has in use, how much it may have, and the seconds until there is room for one more."""
        if self.rate is None:
            level, most = float(self.counts.get(key, 0)), float(self.limit.most)
            return level, most, SOON_S if level >= most else 0.0
        tat = self.stamps.get(key)
        return self.rate.level(tat, now), float(self.rate.burst), self.rate.wait(tat, now)

    def knows(self, key: str) -> bool:
        """Whether it counts something for that key."""
        return bool(self.stamps.get(key) if self.rate is not None else self.counts.get(key))

    def fullest(self, most: int) -> list[str]:
        """The keys that are nearest to it."""
        if self.rate is not None:
            return [key for key, _ in self.stamps.fullest(most)]
        return heapq.nlargest(most, self.counts, key=lambda key: float(self.counts[key]))


@attrs.define
class Charge:
    """What was taken of one limit for a session or a transaction, until the outcome settles it.

    :ivar recipients: those that it was taken for; empty where it was taken before any was named
    :ivar base: where the stamp was then, for `Rate.settle`; `rate`: in which measure
    """

    rule: Any
    key: str
    amount: float
    recipients: list[Recipient]
    base: float = 0.0
    rate: Any = None


@attrs.frozen
class Held:
    """A limit that was met.

    :ivar wait_s: time until there is room
    :ivar is_paced: that is short enough to wait for: go on after it
    :ivar findings: for the explain page, those of limits in shadow too
    :ivar text: what the client hears where it is not let in
    :ivar key: whose room is waited for longest
    :ivar met: the limits, but those in shadow
    """

    wait_s: float
    is_paced: bool
    findings: tuple[Finding, ...]
    text: str = ""
    key: str = ""
    met: tuple[Rule, ...] = ()

    def denied(self) -> None:
        """It could be waited for, but is not: too much waits already. It counts as refused."""
        for rule in self.met if self.is_paced else ():
            rule.met["paced"] -= 1
            rule.met["refused"] += 1

    def reply(self, code: int = 450, enhanced: str = "4.7.1") -> Reply:
        """What the client hears where it is not let in."""
        return Reply(code, enhanced, (self.text,))


def come_back(seconds: float, key: str) -> str:
    """When to come back, in words; never too early, and not all at the same moment."""
    seconds = math.ceil(seconds) * (1 + zlib.crc32(key.encode("utf-8", "surrogateescape")) % 10 / 100)
    if seconds <= 90:
        return f"{math.ceil(seconds)} seconds"
    if seconds <= 5400:
        return f"{math.ceil(seconds / 60)} minutes"
    return f"{math.ceil(seconds / 3600)} hours"


def text_of(charge: Charge, wait_s: float) -> str:
    """What the client hears."""
    return f"Too many {WHAT[charge.rule.limit.count]}; come back in {come_back(wait_s, charge.key)}"


def finding_of(charge: Charge, wait_s: float, is_paced: bool, now: float) -> Finding:
    """What the explain page and the log say."""
    rule, limit = charge.rule, charge.rule.limit
    if rule.rate is None:
        state = f"{rule.counts[charge.key]} of {limit.most} at work"
    else:
        level = rule.rate.level(rule.stamps.get(charge.key), now)
        state = f"{level:.0f} of {limit.burst} in use at {limit.rate}"
    verb = "the reply waits" if is_paced else "free in"
    detail = f"{limit.count} by {', '.join(limit.by)} of {charge.key}: {state}; {verb} {wait_s:.1f} s"
    made = Finding(
        limit.name,
        "note" if is_paced else "defer",
        "" if is_paced else text_of(charge, wait_s),
        detail[:1000],
        code=0 if is_paced else 450,
        enhanced="" if is_paced else "4.7.1",
        category="policy",
        filter=RATES if rule.rate is not None else CONCURRENCY,
    )
    return attrs.evolve(made, is_shadow=rule.is_shadow)
