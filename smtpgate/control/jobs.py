"""Long pieces of work: ordered now, done in slices, looked at and ended while they run, their results kept for a while.

They run one after the other, so that however many are ordered the mail has the gateway for itself in between. What
ran when the gateway stopped is told as interrupted at the next start; it is not begun again by itself.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control.views import Actor, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.job import OVER, Job
from smtpgate.proxy.revision import Engine

#: That wait for their turn.
WAITING: Final = 20
#: Results are kept for so long, and no longer ones than this.
KEPT_S: Final = 7 * 86400.0
RESULT_CHARACTERS: Final = 8 * 2**20
#: Between two slices: the mail goes first.
PAUSE_S: Final = 0.01
#: Progress is written down so often at most.
WRITTEN_S: Final = 1.0
#: How long a stop waits for the slice that runs.
STOP_S: Final = 5.0


@attrs.frozen
class Result:
    """What came of a task, where it is no JSON.

    :ivar media: its type, as "text/csv"
    """

    text: str
    media: str


class Run:
    """One at work, for whoever does it.

    :ivar is_canceled: somebody wants no more of it: end with what there is
    """

    def __init__(self, jobs: Jobs, id: str) -> None:
        self.is_canceled = False
        self._jobs = jobs
        self._id = id

    async def step(self, done: int, total: int) -> bool:
        """Between two slices: so much is done. Lets everything else have its turn; whether to go on."""
        await self._jobs.advance(self._id, done, total)
        return not self.is_canceled


Work = Callable[[Run], Awaitable[str | Result]]


class Jobs:
    """All of this gateway.

    :ivar store: `state.job_store`; None: they are kept in memory only, the newest of them
    """

    def __init__(self, engine: Engine) -> None:
        self.store: Any = None
        self._engine = engine
        self._known: dict[str, Job] = {}
        self._runs: dict[str, Run] = {}
        self._line: deque[tuple[str, Work]] = deque()
        self._is_busy = False
        self._is_closed = False
        self._idle: Deferred[None] | None = None
        self._written = 0.0
        self._hears: list[Callable[[Job], None]] = []

    # Watch

    def watch(self, hear: Callable[[Job], None]) -> None:
        """Hear of each that changes."""
        self._hears.append(hear)

    def unwatch(self, hear: Callable[[Job], None]) -> None:
        """Hear no more."""
        if hear in self._hears:
            self._hears.remove(hear)

    # Look

    async def recent(self, limit: int) -> list[Job]:
        """The newest, without results; those that run as they stand."""
        found = {job.id: job for job in await self._ask("recent", limit)} if self.store is not None else {}
        known = {id: attrs.evolve(job, result="") for id, job in self._known.items()}
        return sorted({**found, **known}.values(), key=lambda job: (job.created, job.id), reverse=True)[:limit]

    async def get(self, id: str) -> Job:
        """One, with its result; raises Unknown."""
        job = self._known.get(id)
        if job is None and self.store is not None:
            job = await self._ask("get", id)
        if job is None or job.expires <= self._engine.wall():
            raise Unknown("no such task; results are kept for a week")
        return job

    # Do

    async def start(self, kind: str, actor: Actor, permission: str, work: Work) -> Job:
        """Order one. Raises Refused where too many wait, or where it cannot be written down.

        :param kind: what is done, in words for a page
        :param permission: what its order needs: its result and its end are for who has it
        :param work: does it, in slices with `Run.step` in between; gives its result, JSON or a `Result`. What it
            raises as Refused is told to who looks
        """
        if self._is_closed:
            raise Refused("the gateway is stopping")
        if len(self._line) >= WAITING:
            raise Refused(f"{WAITING} tasks wait already")
        now = self._engine.wall()
        id, who = secrets.token_hex(8), f"{actor.kind} {actor.name}"
        job = Job(id, kind, who, permission, "waiting", 0, 0, "", "", now, now, now + KEPT_S)
        if self.store is not None:
            await self._ask("put", job)
        self._known[id] = job
        self._runs[id] = Run(self, id)
        self._line.append((id, work))
        self._next()
        return job

    async def cancel(self, id: str) -> Job:
        """End it: at once where it waits, after the slice that runs otherwise. Raises Unknown, and Refused where it is
        over."""
        job = await self.get(id)
        run = self._runs.get(id)
        if run is None or job.state in OVER:
            raise Refused("this task is over")
        run.is_canceled = True
        if job.state == "waiting":
            self._line = deque(one for one in self._line if one[0] != id)
            await self._over(id, "canceled")
        return await self.get(id)

    async def close(self) -> None:
        """Begin no more, and wait for the slice that runs; what did not come to its end is interrupted."""
        self._is_closed = True
        self._line.clear()
        for run in self._runs.values():
            run.is_canceled = True
        if self._is_busy:
            idle = self._idle = Deferred()
            late = self._engine.clock.callLater(STOP_S, self._release)
            await idle
            if late.active():
                late.cancel()

    def _release(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _next(self) -> None:
        self._release()
        if not self._is_busy and self._line and not self._is_closed:
            self._is_busy = True
            id, work = self._line.popleft()
            self._engine.start(self._work(id, work))

    async def _work(self, id: str, work: Work) -> None:
        run = self._runs[id]
        try:
            await self._change(id, state="running")
            result = await work(run)
        except Refused as refused:
            await self._over(id, "failed", detail=str(refused)[:500])
        except Exception as error:
            self._engine.tell(
                Happened("task.failed", "error", f"task {id} failed: {error!r}"[:500], (("error", error),))
            )
            await self._over(id, "failed", detail="a fault of the gateway; the log says more")
        else:
            if isinstance(result, str):
                result = Result(result, "application/json")
            if self._is_closed and run.is_canceled:
                state = "interrupted"
            else:
                state = "canceled" if run.is_canceled else "done"
            if len(result.text) > RESULT_CHARACTERS:
                await self._over(id, "failed", detail="it is done, and its result is too long to be kept")
            else:
                await self._over(id, state, result=result.text, media=result.media)
        finally:
            self._is_busy = False
            self._next()

    async def advance(self, id: str, done: int, total: int) -> None:
        """So much is done."""
        job = self._known[id]
        self._known[id] = job = attrs.evolve(job, done=done, total=total, changed=self._engine.wall())
        self._told(job)
        if self.store is not None and not 0 <= job.changed - self._written < WRITTEN_S:
            self._written = job.changed
            await self._quietly(job)
        turn: Deferred[None] = Deferred()
        self._engine.clock.callLater(PAUSE_S, turn.callback, None)
        await turn

    async def _change(self, id: str, **more: Any) -> None:
        self._known[id] = job = attrs.evolve(self._known[id], changed=self._engine.wall(), **more)
        self._told(job)
        if self.store is not None:
            await self._quietly(job)

    async def _over(self, id: str, state: str, **more: Any) -> None:
        await self._change(id, state=state, **more)
        self._runs.pop(id, None)
        if self.store is not None:
            self._known.pop(id, None)
        elif len(self._known) > WAITING * 2:
            oldest = next((known for known, job in self._known.items() if job.state in OVER), None)
            self._known.pop(oldest or "", None)

    def _told(self, job: Job) -> None:
        for hear in self._hears:
            hear(job)

    async def _quietly(self, job: Job) -> None:
        """What was ordered is done all the same where its progress cannot be written down."""
        try:
            await self.store.put(job)
        except StoreFailed as error:
            self._engine.tell(Happened("task.failed", "error", f"what became of task {job.id} is not kept: {error}"))

    async def _ask(self, verb: str, *args: Any) -> Any:
        try:
            return await getattr(self.store, verb)(*args)
        except StoreFailed as error:
            raise Unavailable(f"tasks cannot be read or kept: {error}") from error
