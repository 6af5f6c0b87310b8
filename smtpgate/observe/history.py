"""Message tracking: which sessions there were, and what became of their mail.

While mail moves only references are appended. Ended sessions are in memory for a while and go to the store in batches;
they become plain values in the store's thread, since a session's facts never change once its end was told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy import event as told
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Session

#: Ended sessions held in memory.
HELD = 2000
#: Ended sessions that wait for the store; beyond this they are dropped and counted.
WAITING = 20_000
#: Written at least so often, and so many at a time.
BATCH_S = 1.0
BATCH = 500


class History:
    """The history of one process.

    :ivar dropped: sessions that were not kept, because the store was slower than the mail
    """

    def __init__(self, clock: Any, store: Any, tell: Callable[[Any], None] = lambda event: None) -> None:
        """
        :param clock: IReactorTime
        :param store: an `interfaces.IHistoryStore`
        """
        self.dropped = 0
        self._clock = clock
        self._store = store
        self._tell = tell
        self._live: dict[str, Session] = {}
        self._ended: OrderedDict[str, Session] = OrderedDict()
        self._queue: list[Session] = []
        self._call: Any = None
        self._writing: Deferred[Any] | None = None
        self._is_failing = False

    def hear(self, event: Any) -> None:
        """A witness."""
        kind = type(event)
        if kind is told.SessionOpened:
            self._live[event.session.id] = event.session
        elif kind is told.SessionEnded:
            self._keep(event.session)

    def _keep(self, session: Session) -> None:
        known = self._live.pop(session.id, None)
        if not session.transactions and not session.errors and not session.findings and known is not None:
            # A connection that did nothing (a health check) is remembered in memory alone.
            self._hold(session)
            return
        self._hold(session)
        if len(self._queue) >= WAITING:
            self.dropped += 1
            return
        self._queue.append(session)
        if self._call is None:
            self._call = self._clock.callLater(BATCH_S, self._write)

    def _hold(self, session: Session) -> None:
        self._ended[session.id] = session
        if len(self._ended) > HELD:
            self._ended.popitem(last=False)

    def _write(self) -> None:
        self._call = None
        if self._writing is not None or not self._queue:
            return
        batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
        self._writing = writing = self._store.write_facts(batch, plain)
        writing.addCallbacks(self._written, self._failed, errbackArgs=(len(batch),))

    def _written(self, _: object) -> None:
        if self._is_failing:
            self._is_failing = False
            self._tell(told.Happened("history.recovered", "info", "ended sessions are kept again",
                                     (("count", self.dropped),)))
        self._go_on()

    def _failed(self, failure: Any, count: int) -> None:
        self.dropped += count
        if not self._is_failing:
            self._is_failing = True
            self._tell(told.Happened("history.failed", "error", "ended sessions could not be kept",
                                     (("count", count), ("reason", failure.getErrorMessage()))))
        self._go_on()

    def _go_on(self) -> None:
        self._writing = None
        if self._queue and self._call is None:
            self._call = self._clock.callLater(0 if len(self._queue) >= BATCH else BATCH_S, self._write)

    async def close(self) -> None:
        """Write what waits."""
        if self._call is not None and self._call.active():
            self._call.cancel()
            self._call = None
        while self._writing is not None or self._queue:
            if self._writing is None:
                self._write()
            waiting: Deferred[None] = Deferred()
            if self._writing is not None:
                self._writing.addCallback(lambda result, waiting=waiting: waiting.callback(None))
                await waiting
            if self._call is not None and self._call.active():
                self._call.cancel()
                self._call = None

    # Asking

    async def find(self, reference: str) -> dict[str, Any] | None:
        """A session by its id, or by the id of one of its messages."""
        id = reference.partition(".")[0]
        session = self._live.get(id) or self._ended.get(id)
        if session is not None:
            return plain(session, self._clock.seconds())
        found: dict[str, Any] | None = await self._store.session(id)
        return found

    async def recent(self, limit: int) -> list[dict[str, Any]]:
        """The newest ended sessions with mail, newest first."""
        now = self._clock.seconds()
        newest = [plain(session, now) for session in list(reversed(self._ended.values()))[:limit]
                  if session.transactions or session.errors]
        if len(newest) >= limit:
            return newest
        known = {record["id"] for record in newest}
        kept = await self._store.recent(limit + len(known))
        return (newest + [record for record in kept if record["id"] not in known])[:limit]
