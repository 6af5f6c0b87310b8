"""Allow and block lists that people keep while the gateway runs: clients and senders, each entry with its end, its
reason and who made it.

They are in memory, where the filter `lists` asks them for every message, and kept over restarts (`proxy.counters`). An
entry that allows goes before one that blocks (an allow list that loses is none). Senders are those of the envelope,
which anybody can write: what an entry for one may silence is for the filter's options to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from smtpgate.config.entry import normal_domain, normal_local
from smtpgate.proxy.counters import Row
from smtpgate.proxy.warden import keys_of
from smtpgate.traffic.changed import Changed

ALLOW_CLIENT, BLOCK_CLIENT = "allow-client", "block-client"
ALLOW_SENDER, BLOCK_SENDER = "allow-sender", "block-sender"
KINDS: Final = (ALLOW_CLIENT, BLOCK_CLIENT, ALLOW_SENDER, BLOCK_SENDER)
#: Entries of all kinds, some 300 octets each.
MOST: Final = 50_000
#: Rows without an end are written with this one.
_FOR_GOOD: Final = 4e9


@attrs.frozen
class Listed:
    """One entry.

    :ivar kind: one of KINDS; `entry`: an address or network, or a mailbox, domain or *.domain, in its usual form
    :ivar added, until: seconds since the epoch; `until` is 0.0 for good
    :ivar source: who made it, as "user ann"
    """

    kind: str
    entry: str
    reason: str
    source: str
    added: float
    until: float = 0.0
    hits: int = 0
    last_hit: float = 0.0


class Lists:
    """All of them."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._entries: dict[tuple[str, str], Listed] = {}
        self._changed: Changed[tuple[str, str]] = Changed()
        #: Called when somebody has said what must not be lost.
        self.on_change: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def all(self) -> list[Listed]:
        """Those that hold, the newest first."""
        now = self._wall()
        return sorted((one for one in self._entries.values() if _holds(one, now)), key=lambda one: -one.added)

    def get(self, kind: str, entry: str) -> Listed | None:
        """One that holds."""
        found = self._entries.get((kind, entry))
        return found if found is not None and _holds(found, self._wall()) else None

    def client(self, address: str) -> Listed | None:
        """What is said of a client."""
        return self._of((ALLOW_CLIENT, BLOCK_CLIENT), keys_of(address)) if self._entries and address else None

    def sender(self, local: str, domain: str) -> Listed | None:
        """What is said of a sender; nothing of the null sender."""
        if not self._entries or not domain:
            return None
        domain = normal_domain(domain)
        return self._of((ALLOW_SENDER, BLOCK_SENDER), tuple(_names(normal_local(local), domain)))

    def _of(self, kinds: tuple[str, str], names: tuple[str, ...]) -> Listed | None:
        now = self._wall()
        for kind in kinds:
            for name in names:
                found = self._entries.get((kind, name))
                if found is not None and _holds(found, now):
                    return found
        return None

    def hit(self, found: Listed) -> None:
        """It was true of a client or a message."""
        place = found.kind, found.entry
        if place in self._entries:
            there = self._entries[place]
            self._entries[place] = attrs.evolve(there, hits=there.hits + 1, last_hit=self._wall())
            self._changed.fresh[place] = None

    def put(self, entry: Listed) -> None:
        """Add one, in place of one for the same."""
        self._forget_old()
        self._entries[entry.kind, entry.entry] = entry
        self._note((entry.kind, entry.entry))

    def remove(self, kind: str, entry: str) -> bool:
        """Take one out; whether it was there."""
        if self._entries.pop((kind, entry), None) is None:
            return False
        self._note((kind, entry))
        return True

    def _note(self, place: tuple[str, str]) -> None:
        self._changed.fresh[place] = None
        if self.on_change is not None:
            self.on_change()

    def _forget_old(self) -> None:
        now = self._wall()
        for place in [place for place, one in self._entries.items() if not _holds(one, now)]:
            del self._entries[place]
            self._changed.fresh[place] = None

    @property
    def is_full(self) -> bool:
        """No more can be added."""
        self._forget_old()
        return len(self._entries) >= MOST

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`: kind and entry, and what is said of it."""
        rows: list[Row] = []
        while len(rows) < most and (place := self._changed.pop()) is not None:
            found = self._entries.get(place)
            value = list(attrs.astuple(found)[2:]) if found is not None else None
            rows.append((" ".join(place), value, (found.until or _FOR_GOOD) if found is not None else 0.0))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows, before there is a revision."""
        for key, value, _ in rows:
            kind, _, entry = key.partition(" ")
            if kind in KINDS:
                self._entries[kind, entry] = Listed(kind, entry, *value)


class Looked:
    """The same for mail that is only tried: nothing is counted."""

    def __init__(self, real: Lists) -> None:
        self.client, self.sender = real.client, real.sender

    def hit(self, found: Listed) -> None:
        """Nothing."""


def _holds(one: Listed, now: float) -> bool:
    return not one.until or one.until > now


def _names(local: str, domain: str) -> Iterator[str]:
    """Under which a sender may be listed."""
    yield f"{local}@{domain}"
    yield domain
    rest = domain
    while (dot := rest.find(".")) != -1:
        rest = rest[dot + 1 :]
        yield f"*.{rest}"
