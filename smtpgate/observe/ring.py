"""The newest lines of the log, kept in memory for those who look on; and levels of their own for parts of the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Final

#: Lines that are kept, and characters of one: at most 8 MiB in all. (HAProxy's ring has a size too, not a time.)
LINES: Final = 2000
CHARACTERS: Final = 4096


class Ring:
    """Lines as they were written, each with its number; it may be added to by every thread."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines: deque[tuple[int, str, str]] = deque(maxlen=lines)
        self._numbers = count(1)

    def add(self, level: str, line: str) -> None:
        """One line was written."""
        self._lines.append((next(self._numbers), level, line[:CHARACTERS]))

    def lines(self) -> list[tuple[int, str, str]]:
        """All that are kept, the oldest first: number, level, text."""
        return list(self._lines)


class Levels:
    """From which level on something is written: by its own name, or by the nearest that it is part of."""

    def __init__(self, ranks: Mapping[str, int]) -> None:
        """
        :param ranks: of each level
        """
        self._ranks = ranks
        self._usual = min(ranks.values())
        self._own: dict[str, int] = {}

    def set(self, level: str, part: str = "") -> None:
        """For all, or for one part and what is in it; "" for what holds for all."""
        if not part:
            self._usual = self._ranks[level]
        elif level:
            self._own[part] = self._ranks[level]
        else:
            self._own.pop(part, None)

    def is_left_out(self, level: str, name: str) -> bool:
        """Whether something is not written.

        :param name: of an event or of who logs, its parts parted by dots
        """
        if self._own:
            while name:
                found = self._own.get(name)
                if found is not None:
                    return self._ranks[level] < found
                name = name.rpartition(".")[0]
        return self._ranks[level] < self._usual
