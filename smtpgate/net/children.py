"""Child processes that read hostile octets (`interfaces.IChildren`): a pool, with one job at a time in each.

`wiring` makes it, `proxy.services` runs jobs; `child` is our end of one process, `smtpgate.examine.child` the other.

A job that kills its child, takes too long or answers nonsense fails alone, with ChildFailed, and another child takes
the place. Jobs wait in the order in which they came, and not too many of them; one that was given to a child that broke
before it had it, or over an earlier job, is given to another. Nothing outlives the pool: `close` kills all children,
and those of a gateway that was killed end with it. Children start as they are needed, one at a time. Where they cannot,
that is tried again with growing pauses, told once, and jobs are refused at once.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count as numbers
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from smtpgate.interfaces import ChildFailed, IChildren
from smtpgate.net.child import FRAME_OCTETS, TEXT_LENGTH, Child, open_again
from smtpgate.policy.event import Happened

#: Jobs that may wait: clamd's MaxQueue.
WAITING: Final = 100
#: Longest time of a job in a child, whatever its caller has: clamd's MaxScanTime.
WALL_S: Final = 120.0
#: A child that did so many jobs is replaced, for what libraries leak. Its start costs as much as fifty jobs.
JOBS_PER_CHILD: Final = 5000
#: A child that is not ready after that is broken: systemd grants a service three times as much.
START_S: Final = 30.0
#: A job that nobody waits for any more has about the time that a new child costs to come to its end and spare it.
GRACE_S: Final = 0.5
#: Pauses between starts that fail: systemd's RestartSec, doubled up to what Postfix's master waits.
PAUSE_S: Final = 0.1
PAUSE_MOST_S: Final = 60.0
#: So many starts that failed in a row are an outage.
BAD_STARTS: Final = 3


@attrs.define(eq=False)
class _Job:
    """One request, from `run` to its end.

    :ivar descriptor: our own of the content, or -1
    :ivar is_wanted: False once the caller has its answer or has given up
    :ivar is_again: a child that had it before answered another job
    """

    name: str
    number: int
    octets: bytes
    descriptor: int
    done: Any = None
    timer: Any = None
    child: Child | None = None
    is_wanted: bool = True
    is_again: bool = False

    def close(self) -> bool:
        """Hold nothing any more; True when the caller is still to be answered."""
        if self.timer.active():
            self.timer.cancel()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        was_wanted, self.is_wanted = self.is_wanted, False
        return was_wanted


@implementer(IChildren)
class Children:
    """The pool.

    :ivar confined: what the system granted the child that started last, of "landlock" and "seccomp"
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        memory_octets: int,
        cpu_s: float,
        wall_s: float = WALL_S,
        jobs_per_child: int = JOBS_PER_CHILD,
        tell: Callable[[Happened], object] = lambda event: None,
        jobs: Mapping[str, str] | None = None,
        warm: Iterable[str] = (),
    ) -> None:
        """
        :param count: most children at one time; none is started before the first job, or `prepare`
        :param memory_octets: address space of one child
        :param cpu_s: CPU time of one job
        :param wall_s: longest time of one job in a child
        :param tell: hears `children.failing` and `children.up`
        :param jobs: "module:function" by name, in place of `examine.jobs.JOBS`
        :param warm: modules that a child loads before its first job, beside those of the jobs
        """
        self.confined: tuple[str, ...] = ()
        self._reactor = reactor
        self._count = count
        self._wall_s = wall_s
        self._jobs_per_child = jobs_per_child
        self._tell = tell
        self._settings = {
            "memory_octets": memory_octets,
            "cpu_s": cpu_s,
            "answer_octets": FRAME_OCTETS,
            "jobs": None if jobs is None else dict(jobs),
            "warm": list(warm),
        }
        self._numbers = numbers(1)
        self._queue: deque[_Job] = deque()
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._starting: Child | None = None
        self._ending: dict[Child, str] = {}
        #: So many children there should be; it grows when a job has to wait.
        self._wanted = 0
        self._bad_starts = 0
        self._outage = ""
        self._pause: Any = None
        self._is_closed = False
        self._closing: list[Deferred[None]] = []

    def prepare(self) -> None:
        """Start one child ahead of the first job."""
        self._wanted = max(self._wanted, 1)
        self._grow()

    def run(
        self, job: str, descriptor: int | None, request: Mapping[str, Any], timeout_s: float
    ) -> Deferred[dict[str, Any]]:
        """Run a job.

        Cancelled, a job that waits is dropped; one that runs has half a second, then its child is killed.

        :param job: its name in the table
        :param descriptor: of the content, in a file that can be mapped; the caller keeps it, and may close it at once
        :param request: what the job is told; plain values as JSON takes them
        :param timeout_s: from now to the answer, waiting and running
        :return: the job's answer; fails with ChildFailed
        """
        if self._is_closed:
            return fail(ChildFailed("closed"))
        if self._is_out:
            return fail(ChildFailed("died", self._outage))
        if len(self._queue) >= WAITING:
            return fail(ChildFailed("busy", f"{WAITING} jobs are waiting"))
        number = next(self._numbers)
        asked = {"id": number, "job": job, "has_content": descriptor is not None, "request": dict(request)}
        try:
            octets = json.dumps(asked).encode("ascii")
            if len(octets) > FRAME_OCTETS:
                raise ValueError(f"it has {len(octets)} octets")
            ours = -1 if descriptor is None else open_again(descriptor)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            return fail(ChildFailed("error", f"the request cannot be sent: {error}"))
        one = _Job(job, number, octets, ours)
        done: Deferred[dict[str, Any]] = Deferred(lambda _: self._give_up(one))
        one.done = done
        one.timer = self._reactor.callLater(timeout_s, self._late, one)
        self._queue.append(one)
        self._work()
        return done

    def close(self) -> Deferred[None]:
        """Kill all children and fail all jobs; fires when nothing is left of them."""
        self._is_closed = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._clear(ChildFailed("closed"))
        for child in [*self._children]:
            job = self._part(child, "closed")
            if job is not None:
                self._fail(job, ChildFailed("closed"))
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        self._closed()
        return done

    # Jobs

    def _work(self) -> None:
        """Give jobs to children, and start one where that leaves a job waiting."""
        while self._queue and self._idle:
            # The one that worked last: its memory is still near.
            child, job = self._idle.pop(), self._queue.popleft()
            child.job, job.child = job, child
            if job.timer.getTime() - self._reactor.seconds() > self._wall_s:
                job.timer.reset(self._wall_s)
            try:
                child.send(job.octets, job.descriptor)
            except OSError:
                self.gone(child)
        if self._is_out:
            self._clear(ChildFailed("died", self._outage))
        self._grow()

    def _late(self, job: _Job) -> None:
        child = job.child
        if child is None:
            self._queue.remove(job)
            self._fail(job, ChildFailed("busy", f"no child was free for {job.name} in time"))
            return
        self._part(child, "took too long")
        self._fail(job, ChildFailed("timeout", f"{job.name} took too long"))
        self._work()

    def _give_up(self, job: _Job) -> None:
        job.is_wanted = False
        if job.child is None:
            self._queue.remove(job)
            job.close()
        elif job.timer.active() and job.timer.getTime() - self._reactor.seconds() > GRACE_S:
            job.timer.reset(GRACE_S)

    def _fail(self, job: _Job, failure: ChildFailed) -> None:
        if job.close():
            job.done.errback(failure)

    def _clear(self, failure: ChildFailed) -> None:
        while self._queue:
            self._fail(self._queue.popleft(), failure)

    def _again(self, job: _Job) -> None:
        """It is not to blame: it is the next that another child gets."""
        if job.is_wanted:
            job.child = None
            self._queue.appendleft(job)
        else:
            job.close()

    # What a child does

    def heard(self, child: Child, frame: bytes) -> None:
        """It is ready, or has done its job."""
        try:
            said = json.loads(frame)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            self.lied(child, "it does not speak JSON")
        elif child is self._starting:
            self._ready(child, said)
        elif child.job is None:
            self.lied(child, "it answered unasked")
        elif said.get("id") != child.job.number:
            self._mixed_up(child)
        else:
            self._answered(child, said)

    def _answered(self, child: Child, said: dict[str, Any]) -> None:
        answer, error, text = said.get("answer"), said.get("error"), said.get("text")
        if not isinstance(answer, dict) and not (isinstance(error, str) and isinstance(text, str)):
            self.lied(child, "it gave no answer")
            return
        job, child.job = child.job, None
        child.jobs += 1
        if child.jobs < self._jobs_per_child:
            self._idle.append(child)
        else:
            self._part(child, "did its share")
        # The child has work before we have.
        self._work()
        if isinstance(answer, dict):
            if job.close():
                job.done.callback(answer)
        else:
            self._fail(job, ChildFailed("error", f"{job.name}: {error}: {text}"[:TEXT_LENGTH]))

    def _mixed_up(self, child: Child) -> None:
        """It answered another job: an earlier one may have taken it over. Once, its job is not to blame."""
        job = child.job
        if job.is_again:
            self.lied(child, "it answered another job")
            return
        job.is_again = True
        self._part(child, "")
        self._again(job)
        self._work()

    def lied(self, child: Child, why: str) -> None:
        """It cannot be trusted any more."""
        job = self._part(child, why)
        if job is not None:
            self._fail(job, ChildFailed("lied", f"{job.name}: {why}"))
        self._work()

    def gone(self, child: Child) -> None:
        """It is dead, or as good as that."""
        if child not in self._children:
            return
        if child.job is None or child.has_all:
            if child.job is not None and child.job.timer.active():
                # The job hears how the child ended, as soon as that is known.
                child.job.timer.cancel()
            self._leave(child, "")
        else:
            self._again(self._part(child, ""))
        self._work()

    # From start to end

    @property
    def _is_out(self) -> bool:
        return bool(self._outage) and self._children <= {self._starting}

    def _grow(self) -> None:
        """Start a child where one is wanted, after the one before it is ready."""
        if self._is_closed or self._starting is not None or self._pause is not None:
            return
        if self._queue and len(self._children) >= self._wanted:
            self._wanted = min(self._wanted + 1, self._count)
        if len(self._children) < self._wanted:
            self._start()

    def _start(self) -> None:
        try:
            child = Child(self, self._reactor, self._settings)
        except OSError as error:
            self._start_failed(str(error))
            return
        self._children.add(child)
        self._starting = child
        child.timer = self._reactor.callLater(START_S, self.lied, child, f"it was not ready after {START_S:.0f} s")

    def _ready(self, child: Child, said: dict[str, Any]) -> None:
        granted = said.get("ready")
        if not isinstance(granted, list):
            self.lied(child, "it said something else than that it is ready")
            return
        child.timer.cancel()
        child.is_ready = True
        self.confined = tuple(map(str, granted))
        self._starting = None
        self._idle.append(child)
        self._bad_starts = 0
        if self._outage:
            self._outage = ""
            self._tell(Happened("children.up", "info", "child processes start again: content is looked at"))
        self._work()

    def _start_failed(self, why: str) -> None:
        if self._is_closed:
            return
        self._bad_starts += 1
        pause_s = min(PAUSE_S * 2 ** min(self._bad_starts - 1, 20), PAUSE_MOST_S)
        self._pause = self._reactor.callLater(pause_s, self._rested)
        if self._bad_starts == BAD_STARTS:
            message = f"child processes cannot be started, and content is not looked at: {why}"
            self._tell(Happened("children.failing", "error", message, (("reason", why),)))
        if self._bad_starts >= BAD_STARTS:
            self._outage = f"children cannot be started: {why}"
        self._work()

    def _rested(self) -> None:
        self._pause = None
        self._grow()

    def _part(self, child: Child, why: str) -> Any:
        """End a child; gives the job that it had."""
        job, child.job = child.job, None
        self._leave(child, why)
        return job

    def _leave(self, child: Child, why: str) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        self._ending[child] = why
        child.end(self._ended)

    def _ended(self, child: Child, how: str) -> None:
        why = self._ending.pop(child) or how
        if child.job is not None:
            job, child.job = child.job, None
            self._fail(job, ChildFailed("died", f"{job.name}: {how}"))
        if child is self._starting:
            self._starting = None
            self._start_failed(why)
        self._closed()

    def _closed(self) -> None:
        if self._is_closed and not self._ending:
            while self._closing:
                self._closing.pop().callback(None)
