"""Backends that could not be reached just now, as the outbox sees them: a thousand letters to a dead server must not
keep those to others, each for the time that it takes to find it dead.

Letters to such a backend are deferred without another try, for as long as Postfix's queue manager waits between looks
at a dead site (transport_retry_time, 60 s); then one of them asks for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

REST_S: Final = 60.0
#: What says that no server answered. One that is busy, or refuses somebody, is there.
_DEAD: Final = frozenset(
    map(id, (status.BACKEND_UNREACHABLE, status.BACKEND_LOST, status.BACKEND_LOGIN, status.PROXY_LOOP))
)


class Silence:
    """The pools of which nothing was heard."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        :param seconds: of the clock
        """
        self._seconds = seconds
        #: By pool: until when it is not asked, and what was said for it. Pools go with their configuration.
        self._until: WeakKeyDictionary[Any, tuple[float, Reply]] = WeakKeyDictionary()

    def said(self, pool: Any) -> Reply | None:
        """What is said for it without asking; None: it is to be asked, by one for all."""
        until, reply = self._until.get(pool, (0.0, None))
        if reply is None:
            return None
        now = self._seconds()
        if now < until:
            return reply
        self._until[pool] = now + REST_S, reply
        return None

    def heard(self, pool: Any, replies: Sequence[Reply]) -> None:
        """What came of asking it."""
        if all(id(one) in _DEAD for one in replies):
            self._until[pool] = self._seconds() + REST_S, replies[0]
        elif not any(one is status.BACKEND_BUSY for one in replies):
            # Of one that is busy nothing is known: what keeps its links may be those that wait for it.
            self._until.pop(pool, None)

    def forget(self) -> list[Any]:
        """Somebody says that they may be back; the pools that were silent."""
        silent = list(self._until)
        self._until.clear()
        return silent
