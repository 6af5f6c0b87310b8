"""What is known of senders: learned from what became of their mail, and from whom our own users write to.

A witness of all transactions. Each sender is an address, its network, the house of its name in the DNS, the domain that
SPF proves, the domains that DKIM proves; what nobody proved earns nothing. Points come from verdicts alone, each with
its reason; what was deferred says nothing of its sender. Mail of our own users earns no reputation: it teaches whom
they write to, and these are known correspondents, where they are proved (Haraka known-senders, rspamd replies). Of
mailbox providers not the domain is known, which everybody has, but the one address.

Clients of whom we know that they speak for others (loopback, `trusted_relays`) have no reputation of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from zope.interface import implementer

from smtpgate.config.model import Settings
from smtpgate.interfaces import ISenders
from smtpgate.policy import event as told
from smtpgate.policy.held import TAKEN
from smtpgate.policy.houses import FREEMAIL
from smtpgate.policy.sender import SenderRecord
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.admission import Standing
from smtpgate.proxy.counters import Row
from smtpgate.proxy.likes import Likes
from smtpgate.proxy.limit_rules import network_of
from smtpgate.traffic.changed import Changed
from smtpgate.traffic.classes import KNOWN
from smtpgate.traffic.reputation import DELIVERED, HALF_LIFE_S, LEAST, Record, Records

#: Senders remembered, some 400 octets each; and known correspondents.
SENDERS: Final = 100_000
CORRESPONDENTS: Final = 100_000
#: Of these the newest are held against domains that look like them. They are filed when rows are restored, before mail
#: comes: some 15 us and 700 octets each.
LIKED: Final = 20_000
#: How long a correspondent is known after the last message to it.
KNOWN_S: Final = 90 * 86400.0
#: Points for what is not good. One refused recipient may be a typing error; malware is none.
POINTS: Final = {"malware": 3.0, "spam": 1.0, "sender": 0.5, "policy": 0.3, "protocol": 0.5}
RECIPIENT_REFUSED: Final = 0.25
EARLY_TALKER: Final = 1.0
#: A network needs a sample so many times larger than an address, for it speaks of many.
NETWORK: Final = 4.0


def house_of(name: str) -> str:
    """The part of a host's name that says whose it is: two labels, three below a short second level (co.uk)."""
    labels = name.rstrip(".").lower().split(".")
    many = 3 if len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3 else 2
    return ".".join(labels[-many:])


class Correspondents:
    """Whom our users write to: domains, and addresses at mailbox providers, with the time of the last message."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._changed: Changed[str] = Changed()
        self._likes = Likes(LIKED)

    def __len__(self) -> int:
        return len(self._seen)

    @staticmethod
    def _key(local: str, domain: str) -> str:
        domain = domain.lower()
        return f"{local.lower()}@{domain}" if domain in FREEMAIL else domain

    def learn(self, local: str, domain: str, now: float) -> None:
        """A message went there."""
        key = self._key(local, domain)
        self._seen.pop(key, None)
        self._seen[key] = now
        self._likes.add(key)
        self._changed.fresh[key] = None
        self._bound()

    def _bound(self) -> None:
        if len(self._seen) > CORRESPONDENTS:
            gone = next(iter(self._seen))
            del self._seen[gone]
            self._likes.remove(gone)
            self._changed.fresh[gone] = None

    def knows(self, local: str, domain: str, now: float) -> bool:
        """Whether somebody wrote there not long ago."""
        return now - self._seen.get(self._key(local, domain), float("-inf")) < KNOWN_S

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`; a value is the time of the last message."""
        rows: list[Row] = []
        while len(rows) < most and (key := self._changed.pop()) is not None:
            at = self._seen.get(key)
            rows.append((key, at, at + KNOWN_S if at is not None else 0.0))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows."""
        for key, at, _ in sorted(rows, key=lambda row: float(row[1])):
            self._seen[key] = at
            self._bound()
        for key in list(self._seen)[-LIKED:]:
            self._likes.add(key)

    def like(self, domain: str, now: float) -> list[str]:
        """Domains that are known and that one looks like that is not."""
        domain = domain.lower()
        if domain in FREEMAIL or self.knows("", domain, now):
            return []
        return [one for one in self._likes.of(domain) if self.knows("", one, now)]


@implementer(ISenders)
class Reputation:
    """All that is known. Times are seconds since the epoch.

    :ivar correspondents: whom our users write to
    """

    def __init__(self, wall: Callable[[], float], settings: Callable[[], Settings]) -> None:
        self._wall = wall
        self._settings = settings
        self.records = Records(SENDERS)
        self.correspondents = Correspondents()

    # Asking

    def of_client(self, address: str) -> Standing | None:
        """What is known of a client's address, or of its network; None for nothing that counts."""
        now = self._wall()
        for key, size in ((f"address {address}", 1.0), (f"network {_network(address)}", NETWORK)):
            record = self.records.get(key)
            if record is not None:
                name = record.standing(now, size)
                if name:
                    return Standing(name, f"{key}: {record.words(now)}")
        return None

    def of_sender(self, transaction: Transaction) -> Standing | None:
        """A sender that is proved and known as good; None for any other."""
        now, path = self._wall(), transaction.sender
        for domain in transaction.authenticated.get("spf", ()):
            if self.correspondents.knows(path.local, domain, now) and domain.lower() == path.domain.lower():
                return Standing(KNOWN, f"our users write to {domain}, and SPF proves it")
            record = self.records.get(f"sender {domain.lower()}")
            if record is not None and domain.lower() not in FREEMAIL and record.standing(now) == KNOWN:
                return Standing(KNOWN, f"sender {domain}: {record.words(now)}")
        return None

    def record(self, kind: str, name: str) -> SenderRecord | None:
        """For filters (`interfaces.ISenders`)."""
        name = house_of(name) if kind == "name" else _network(name) if kind == "network" else name.lower()
        found, now = self.records.get(f"{kind} {name}"), self._wall()
        if found is None:
            return None
        size = NETWORK if kind == "network" else 1.0
        return SenderRecord(kind, name, found.standing(now, size), found.sample(now), found.bad(now), found.words(now))

    def is_correspondent(self, local: str, domain: str) -> bool:
        """For filters (`interfaces.ISenders`)."""
        return self.correspondents.knows(local, domain, self._wall())

    def looks_like_correspondent(self, domain: str) -> list[str]:
        """For filters (`interfaces.ISenders`)."""
        return self.correspondents.like(domain, self._wall())

    # Learning

    #: The kinds of events that it hears of.
    hears = frozenset({told.TransactionEnded, told.ConnectionRefused})

    def hear(self, event: Any) -> None:
        """For the witnesses' list."""
        kind = type(event)
        if kind is told.TransactionEnded:
            self._ended(event.transaction)
        elif kind is told.ConnectionRefused and event.result == "early_talker":
            self._client(event.peer_ip, "spoke before the greeting", EARLY_TALKER)

    def _ended(self, transaction: Transaction) -> None:
        session = transaction.session
        if session.role == "submission":
            if transaction.outcome in ("delivered", "unacked"):
                self._learn(transaction)
            return
        if session.mechanism or session.is_trusted or session.client_ip.startswith("127."):
            return
        for reason, points in _points(transaction):
            self._client(session.client_ip, reason, points)
            now = self._wall()
            for kind, domains in transaction.authenticated.items():
                for domain in domains:
                    name = house_of(domain) if kind == "name" else domain.lower()
                    self.records.add(f"{_KINDS[kind]} {name}", reason, points, now)

    def _client(self, address: str, reason: str, points: float) -> None:
        if not address or address.startswith("127.") or address == "::1":
            return
        if self._settings().trusted_relays.contains(address):
            return
        now = self._wall()
        self.records.add(f"address {address}", reason, points, now)
        self.records.add(f"network {_network(address)}", reason, points, now)

    def _learn(self, transaction: Transaction) -> None:
        now, local = self._wall(), self._settings().local_domains
        for recipient in transaction.recipients:
            path = recipient.path
            if recipient.state in ("delivered", "known") and path.domain and not local.matches(path.domain):
                self.correspondents.learn(path.local, path.domain, now)

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`."""
        rows: list[Row] = []
        for key, record in self.records.changed(most):
            if record is None:
                rows.append((key, None, 0.0))
            else:
                points = {name: round(value, 3) for name, value in record.points.items()}
                rows.append((key, [record.at, points], record.at + 8 * HALF_LIFE_S))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows, those that were heard of last at the end."""
        for key, value, _ in sorted(rows, key=lambda row: float(row[1][0])):
            record = Record(value[0], dict(value[1]))
            if record.sample(wall) > LEAST:
                self.records.put(key, record)


_KINDS: Final = {"spf": "sender", "dkim": "dkim", "name": "name"}


def _network(address: str) -> str:
    return network_of(address, 24, 64)


def _points(transaction: Transaction) -> list[tuple[str, float]]:
    """What a message says of its sender."""
    verdict, outcome = transaction.verdict, transaction.outcome
    decided = verdict.decided_by if verdict is not None else None
    found: list[tuple[str, float]] = []
    refused = sum(one.is_nobody for one in transaction.recipients)
    if outcome in ("delivered", "unacked"):
        if verdict is not None and decided is not None and verdict.action == "tag":
            found.append((f"{decided.category}: {decided.reason}", POINTS.get(decided.category, 0.0)))
        else:
            found.append((DELIVERED, 1.0))
    elif (outcome == "refused" or outcome in TAKEN) and decided is not None:
        found.append((f"{decided.category}: {decided.reason}", POINTS.get(decided.category, 0.0)))
        refused = 0
    if refused:
        found.append(("recipient refused", min(2.0, refused * RECIPIENT_REFUSED)))
    return [(reason, points) for reason, points in found if points]
