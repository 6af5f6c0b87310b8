"""What the resolver remembers: answers by name and kind, for as long as they may be believed.

A hit costs a look into a dictionary and a comparison; the time to live that an answer shows is what is left of it. The
cache is bounded twice, by entries and by octets, since a sender chooses the names that are asked and may choose large
answers: the least recently used go first.

RFC 1035 section 7.3; RFC 2308 section 5 (what does not exist); RFC 9520 (failures).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from smtpgate.policy.names import Answer

Key = tuple[str, str]

#: Bounds of the whole; Unbound's default is 4 MiB for messages and 4 MiB for records.
ENTRIES: Final = 20_000
OCTETS: Final = 8 * 1024 * 1024
#: What an entry costs besides its text: key, answer, place in the order.
ENTRY_OCTETS: Final = 600

#: A shorter life is made this long: the filters of one message ask for the same name within seconds.
TTL_FLOOR_S: Final = 5
#: A longer one is cut; a day, as Unbound's cache-max-ttl.
TTL_CEILING_S: Final = 86_400
#: The same for what does not exist: an hour, as Unbound's cache-max-negative-ttl (RFC 2308 section 5: one to three).
NEGATIVE_CEILING_S: Final = 3600
#: How long a failure stands, so that an outage does not cost a time-out for each who asks (RFC 9520: 1 s to 5 min).
FAILURE_S: Final = 5


def lifetime(status: str, ttl: int) -> int:
    """For how many seconds an answer is kept, where the server says `ttl`."""
    if status == "ok":
        return min(max(ttl, TTL_FLOOR_S), TTL_CEILING_S)
    if status in ("nodata", "nxdomain"):
        return min(max(ttl, TTL_FLOOR_S), NEGATIVE_CEILING_S)
    return FAILURE_S


@attrs.define
class _Entry:
    answer: Answer
    until: float
    octets: int


class Cache:
    """Answers, the least recently used first.

    :ivar octets: about what they take
    """

    def __init__(self, entries: int = ENTRIES, octets: int = OCTETS) -> None:
        self.octets = 0
        self._most_entries = entries
        self._most_octets = octets
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Answer | None:
        """The answer with what is left of its life, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        left = int(entry.until - now)
        if left <= 0:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        if left < entry.answer.ttl:
            entry.answer = attrs.evolve(entry.answer, ttl=left)
        return entry.answer

    def put(self, key: Key, answer: Answer, now: float) -> None:
        """Keep an answer for its `ttl`."""
        if key in self._entries:
            self._drop(key)
        entry = _Entry(answer, now + answer.ttl, ENTRY_OCTETS + len(key[0]) + sum(map(_octets, answer.records)))
        self._entries[key] = entry
        self.octets += entry.octets
        while self._entries and (len(self._entries) > self._most_entries or self.octets > self._most_octets):
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        self.octets -= self._entries.pop(key).octets


def _octets(value: object) -> int:
    # 50 octets are what the object itself takes; an MX has two.
    return 120 + len(value[1]) if isinstance(value, tuple) else 50 + len(value)  # type: ignore[arg-type]
