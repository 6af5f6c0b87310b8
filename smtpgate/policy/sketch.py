"""Who is seen most, in bounded memory: counts by name where there are more names than room.

When twice as many names are counted as are wanted, those seen least are forgotten, and how often one of them may have
been seen is remembered as the floor. Whoever is counted anew may have been among them, so a count is short by the floor
at most, and whoever was seen more often than that is there. That is space-saving (Metwally, Agrawal and El Abbadi,
2005) done in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: What became of messages, as far as it is told apart here.
PLACES = ("accepted", "held", "deferred", "refused", "other")

#: A name, its counts in the order of PLACES.
Row = tuple[str, tuple[int, ...]]


class Sketch:
    """Counts by name.

    :ivar most: names that are wanted
    :ivar floor: a name that is not here was seen no oftener; a count is short by no more
    """

    __slots__ = ("most", "floor", "_counts")

    def __init__(self, most: int) -> None:
        self.most = most
        self.floor = 0
        #: Behind the counts stands by how much they may be short.
        self._counts: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, name: str, place: int, count: int = 1) -> None:
        """One more."""
        counts = self._counts.get(name)
        if counts is None:
            if len(self._counts) >= 2 * self.most:
                self._trim()
            counts = self._counts[name] = [*(0 for _ in PLACES), self.floor]
        counts[place] += count

    def merge(self, rows: Iterable[Row], floor: int) -> None:
        """Add what another one kept of another time.

        :param floor: of that one
        """
        for name, counts in rows:
            for place, count in enumerate(counts):
                if count:
                    self.add(name, place, count)
        self.floor += floor
        if floor:
            for kept in self._counts.values():
                kept[-1] += floor

    def _trim(self) -> None:
        ordered = sorted(self._counts.items(), key=lambda one: -sum(one[1]))
        self.floor = max(self.floor, sum(ordered[self.most][1]))
        self._counts = dict(ordered[: self.most])

    def rows(self) -> Iterator[Row]:
        """The largest first, as many as are wanted."""
        ordered = sorted(self._counts.items(), key=lambda one: (-sum(one[1][:-1]), one[0]))
        return ((name, tuple(counts[:-1])) for name, counts in ordered[: self.most])

    def left_out(self, most: int) -> int:
        """The floor of what is kept where only the first so many of `rows` are."""
        ordered = sorted(self._counts.values(), key=lambda counts: -sum(counts[:-1]))
        return max(self.floor, max((sum(counts) for counts in ordered[most:]), default=0))
