"""A second person for reading: one asks and says why, another one approves, and the first reads for 15 minutes.

It is for classes of held mail that say so (`quarantine.classes.NAME.second_person`), and between people who are logged
in: a token could be the same person twice. What is asked stands in memory; after a restart it is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from smtpgate.admin.permission import Principal

#: So long somebody reads once it was approved, and so long a wish waits.
HOLDS_S: Final = 900.0
WAITS_S: Final = 86400.0
#: Wishes that are remembered; of more the oldest are forgotten, and asked for anew.
MOST: Final = 500


@attrs.frozen
class Wish:
    """Somebody wants to read a held message.

    :ivar at: when they asked, seconds of the clock of the process; `until`: when it is over
    :ivar by: who approved; "" while it waits
    """

    message: str
    name: str
    reason: str
    at: float
    until: float
    by: str = ""


class Seconds:
    """All wishes."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        :param seconds: a clock
        """
        self._seconds = seconds
        self._wishes: dict[tuple[str, str], Wish] = {}

    def ask(self, message: str, who: Principal, reason: str) -> None:
        """Somebody wants to read; a wish of theirs before it is forgotten."""
        now = self._seconds()
        self._wishes.pop((message, who.name), None)
        self._wishes[message, who.name] = Wish(message, who.name, reason, now, now + WAITS_S)
        while len(self._wishes) > MOST:
            del self._wishes[next(iter(self._wishes))]

    def of(self, message: str, name: str) -> Wish | None:
        """A wish of somebody, while it waits or holds."""
        found = self._wishes.get((message, name))
        if found is not None and found.until <= self._seconds():
            del self._wishes[message, name]
            return None
        return found

    def held(self, message: str, who: Principal) -> Wish | None:
        """What somebody may read a message by now."""
        found = self.of(message, who.name) if who.kind == "user" else None
        return found if found is not None and found.by else None

    def waiting(self, message: str = "") -> list[Wish]:
        """Wishes that nobody has said anything to, the oldest first; of one message or of all."""
        now = self._seconds()
        return [
            one
            for one in self._wishes.values()
            if not one.by and one.until > now and (not message or one.message == message)
        ]

    def approve(self, wish: Wish, who: Principal) -> None:
        """From now on it holds."""
        self._wishes[wish.message, wish.name] = attrs.evolve(wish, by=who.name, until=self._seconds() + HOLDS_S)

    def deny(self, wish: Wish) -> None:
        """It is over."""
        self._wishes.pop((wish.message, wish.name), None)
