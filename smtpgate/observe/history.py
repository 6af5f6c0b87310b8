"""Message tracking: which sessions there were, and what became of their mail.

While mail moves only references are kept: of the live sessions, of those that wait for the store, and of a few of
the newest ended ones, for the pages. They become plain values (`policy.record`) when somebody asks, or in the store's
thread: a session's facts never change once its end was told. What is held is bounded by number and by octets; what the
store cannot take in time is counted as dropped, and mail goes on. Few are held, because all that lives long is gone
through by the collector of cycles again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from smtpgate.interfaces import IWatcher
from smtpgate.observe.words import is_quiet
from smtpgate.policy import event as told
from smtpgate.policy.found import Counted, Found, Without
from smtpgate.policy.query import Query
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Session

#: Ended sessions held in memory, by number and by octets.
HELD: Final = 500
HELD_OCTETS: Final = 4 * 2**20
#: Ended sessions that wait for the store; beyond this they are dropped and counted.
WAITING: Final = 20_000
WAITING_OCTETS: Final = 64 * 2**20
#: Written at least so often, and so many at a time.
BATCH_S: Final = 1.0
BATCH: Final = 500
#: What a session, one of its messages, a recipient and a step of its timeline take in memory, roughly.
_SESSION_OCTETS: Final = 2048
_MESSAGE_OCTETS: Final = 1536
_RECIPIENT_OCTETS: Final = 512
_STEP_OCTETS: Final = 160


def weight(session: Session) -> int:
    """About how many octets of memory a session holds."""
    octets = _SESSION_OCTETS + _STEP_OCTETS * len(session.timeline)
    for transaction in session.transactions:
        octets += _MESSAGE_OCTETS + _RECIPIENT_OCTETS * len(transaction.recipients)
        if transaction.header is not None:
            octets += len(transaction.header.octets)
    return octets


def _take_apart(session: Session) -> None:
    """Nobody asks for it any more. It and its messages hold each other: apart they are freed now, and not some time
    later with a hundred thousand others, while all mail waits for the collector of cycles."""
    session.transactions.clear()


@implementer(IWatcher)
class History:
    """The history of one process.

    :ivar dropped: sessions that were not kept, because the store failed or was slower than the mail
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
        self._ended: dict[str, Session] = {}
        self._order: deque[tuple[str, int]] = deque()
        self._octets = 0
        #: Those that the store does not have yet.
        self._unwritten: dict[str, Session] = {}
        self._queue: deque[tuple[Session, int]] = deque()
        self._queue_octets = 0
        self._call: Any = None
        self._is_writing = False
        self._idle: list[Deferred[None]] = []
        #: Searches that wait for the batch that is being written.
        self._written_next: list[Deferred[None]] = []
        self._is_failing = False
        self._is_closing = False

    # Hearing

    #: The kinds of events that it hears of.
    hears = frozenset({told.SessionOpened, told.SessionEnded})

    def hear(self, event: Any) -> None:
        """One event of the core."""
        kind = type(event)
        if kind is told.SessionOpened:
            self._live[event.session.id] = event.session
        elif kind is told.SessionEnded:
            self._keep(event.session)

    def _keep(self, session: Session) -> None:
        self._live.pop(session.id, None)
        octets = weight(session)
        self._enqueue(session, octets)
        self._ended[session.id] = session
        self._order.append((session.id, octets))
        self._octets += octets
        while len(self._order) > HELD or self._octets > HELD_OCTETS:
            id, gone = self._order.popleft()
            oldest = self._ended.pop(id, None)
            self._octets -= gone
            if oldest is not None and id not in self._unwritten:
                _take_apart(oldest)

    def _enqueue(self, session: Session, octets: int) -> None:
        if is_quiet(session) and not session.findings:
            # A connection that did nothing (a health check) is remembered in memory alone.
            return
        if len(self._queue) >= WAITING or self._queue_octets + octets > WAITING_OCTETS:
            self.dropped += 1
            return
        self._queue.append((session, octets))
        self._queue_octets += octets
        self._unwritten[session.id] = session
        if self._call is None and not self._is_writing:
            self._call = self._clock.callLater(BATCH_S, self._write)

    # Writing

    def _write(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._is_writing or not self._queue:
            return
        batch: list[Session] = []
        while self._queue and len(batch) < BATCH:
            session, octets = self._queue.popleft()
            self._queue_octets -= octets
            batch.append(session)
        self._is_writing = True
        writing = maybeDeferred(self._store.write, batch)
        writing.addBoth(self._let_go, batch)
        writing.addCallbacks(self._written, self._failed, errbackArgs=(len(batch),))
        writing.addBoth(self._go_on)

    def _let_go(self, result: Any, batch: list[Session]) -> Any:
        for session in batch:
            self._unwritten.pop(session.id, None)
            if session.id not in self._ended:
                _take_apart(session)
        return result

    def _written(self, _: object) -> None:
        if self._is_failing:
            self._is_failing = False
            fields = (("count", self.dropped),)
            self._tell(told.Happened("history.recovered", "info", "ended sessions are kept again", fields))

    def _failed(self, failure: Any, count: int) -> None:
        self.dropped += count
        if not self._is_failing:
            self._is_failing = True
            fields = (("count", count), ("reason", failure.getErrorMessage()))
            self._tell(told.Happened("history.failed", "error", "ended sessions could not be kept", fields))

    def _go_on(self, _: object) -> None:
        self._is_writing = False
        asking, self._written_next = self._written_next, []
        for waiting in asking:
            waiting.callback(None)
        if self._queue and self._call is None:
            delay = 0.0 if self._is_closing or len(self._queue) >= BATCH else BATCH_S
            self._call = self._clock.callLater(delay, self._write)
        elif not self._queue:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    async def close(self) -> None:
        """Write what waits. What the store cannot take is counted, and not waited for."""
        self._is_closing = True
        self._write()
        while self._is_writing or self._queue:
            waiting: Deferred[None] = Deferred()
            self._idle.append(waiting)
            await waiting

    # Asking

    async def find(self, reference: str) -> dict[str, Any] | None:
        """A session by its id, or by the id of one of its messages; live, ended, or in the store."""
        id = reference.partition(".")[0]
        session = self._live.get(id) or self._ended.get(id) or self._unwritten.get(id)
        if session is not None:
            return plain(session, self._clock.seconds())
        found: dict[str, Any] | None = await self._store.session(id)
        return found

    async def search(self, query: Query, limit: int, before: int = 0) -> Found:
        """Messages that fit, newest first; what ended just now is written first, so that it is among them.

        :param before: a `Found.place` to go on from
        """
        if not before:
            await self._caught_up()
        found: Found = await self._store.search(query, limit, before)
        return found

    async def count(self, query: Query) -> Counted:
        """How many messages fit, and when."""
        found: Counted = await self._store.count(query)
        return found

    async def without(self, query: Query) -> tuple[Without, ...]:
        """How many would fit without each of its clauses, the most first."""
        found: tuple[Without, ...] = await self._store.without(query)
        return found

    async def erase(self, address: str, step: Callable[[int, int], Awaitable[bool]]) -> int:
        """Take an address out of all that is kept, here too; of how many messages (`state.history_store`)."""
        await self._caught_up()
        changed: int = await self._store.erase(address, step)
        # What is remembered here is in the store as well.
        for id in [id for id in self._ended if id not in self._unwritten]:
            _take_apart(self._ended.pop(id))
        self._order = deque((id, octets) for id, octets in self._order if id in self._ended)
        self._octets = sum(octets for _, octets in self._order)
        return changed

    async def _caught_up(self) -> None:
        """Wait for one batch, not for all that may wait: whoever asks is not kept by heavy traffic."""
        self._write()
        if self._is_writing:
            waiting: Deferred[None] = Deferred()
            self._written_next.append(waiting)
            await waiting

    async def begun_since(self, at: float, limit: int, after: str = "") -> list[dict[str, Any]]:
        """Sessions in the store that began at or after a time, the oldest first (`interfaces.IHistoryStore`)."""
        found: list[dict[str, Any]] = await self._store.begun_since(at, limit, after)
        return found

    async def edge(self, limit: int) -> float:
        """When the session in the store began that so many came after."""
        at: float = await self._store.edge(limit)
        return at

    async def recent(self, limit: int) -> list[dict[str, Any]]:
        """The newest ended sessions that did something, newest first."""
        now = self._clock.seconds()
        newest: dict[str, dict[str, Any]] = {}
        held = (self._ended[id] for id, _ in reversed(self._order))
        for session in chain(held, reversed(self._unwritten.values())):
            if len(newest) >= limit:
                return list(newest.values())
            if session.id not in newest and (not is_quiet(session) or session.findings):
                newest[session.id] = plain(session, now)
        kept = await self._store.recent(limit + len(newest))
        older = [record for record in kept if record["id"] not in newest]
        return [*newest.values(), *older][:limit]
