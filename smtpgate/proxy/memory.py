"""The memory that bodies may take together, shared out by class: who has its part goes to the disk at once.

So a flood of large messages of strangers cannot crowd out anybody, and none is refused for it: a file takes what memory
does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smtpgate.traffic.classes import SHARES
from smtpgate.traffic.shares import Shares

#: Memory is counted in pieces of this size.
PIECE: Final = 16384


class Memory:
    """The memory of all bodies."""

    def __init__(self, octets: int, shares: Mapping[str, float] = SHARES) -> None:
        self.shares = Shares(octets // PIECE, shares)

    def account(self, traffic_class: str) -> Account:
        """That of one body."""
        return Account(self, traffic_class)

    @property
    def octets(self) -> int:
        """How much is in use."""
        return self.shares.total * PIECE


class Account:
    """What one body has."""

    __slots__ = ("_memory", "_class", "_pieces")

    def __init__(self, memory: Memory, traffic_class: str) -> None:
        self._memory = memory
        self._class = traffic_class
        self._pieces = 0

    def may_hold(self, octets: int) -> bool:
        """Whether so much may be in memory; it is counted then."""
        shares = self._memory.shares
        while self._pieces * PIECE < octets:
            if not shares.may(self._class):
                return False
            shares.take(self._class)
            self._pieces += 1
        return True

    def close(self) -> None:
        """Nothing is in memory any more."""
        for _ in range(self._pieces):
            self._memory.shares.give_back(self._class)
        self._pieces = 0
