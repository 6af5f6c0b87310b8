"""Coroutines without a scheduler: `Task` drives one, `Signal` is what it may wait for.

A session is one coroutine from greeting to goodbye, and wakes some seven times a message. Driving it straight from the
place where the awaited thing happens costs a fifth of what a Deferred for each wait does, and keeps two things in one
spot: the deadline of the present wait, and what to do when the client hangs up in the middle of it (`throw`).

A Task may await a Deferred as well, so filters and stores keep Twisted's own currency. Nothing here imports Twisted;
the clock is any `IReactorTime`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

NEVER = float("inf")


class Clock(Protocol):
    """The part of IReactorTime that is used here."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, call: Callable[..., object], *args: object) -> Any: ...


class TimeUp(Exception):
    """The deadline of a wait passed."""


class Signal:
    """Something that one task at a time waits for; it may fire again and again, and keeps a value fired early.

    :ivar deadline: when the wait is over in any case; stays until it is set anew
    """

    __slots__ = ("task", "deadline", "_value", "_error", "_is_set")

    def __init__(self) -> None:
        self.task: Task | None = None
        self.deadline = NEVER
        self._value: Any = None
        self._error: BaseException | None = None
        self._is_set = False

    def __await__(self) -> Generator[Signal, Any, Any]:
        if not self._is_set:
            return (yield self)
        self._is_set = False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        value, self._value = self._value, None
        return value

    def fire(self, value: Any = None) -> None:
        """Wake the task, or keep the value for the next wait."""
        task = self.task
        if task is None:
            self._is_set, self._value, self._error = True, value, None
            return
        # `Task._step` and `Task._wait` in place: this is where a session spends its life.
        self.task = None
        task.waiting = None
        try:
            waiting = task._send(value)
        except StopIteration as stop:
            task._finish(stop.value)
        except Exception as error:
            task._fail(error)
        else:
            if type(waiting) is Signal:
                task.waiting = waiting
                waiting.task = task
            else:
                task._wait(waiting)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in the task, or at its next wait."""
        task = self.task
        if task is None:
            self._is_set, self._error = True, error
            return
        self.task = None
        task._throw(error)


class Task:
    """One running coroutine.

    :ivar waiting: what it waits for now: a Signal, a Deferred, or None while it runs and when it is over
    """

    __slots__ = ("waiting", "is_done", "result", "_coroutine", "_send", "_done", "_failed", "_keeper", "__weakref__")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        keeper: Timekeeper,
        done: Callable[[Any], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """
        :param done: called with the result
        :param failed: called with what the coroutine raised; without it that is raised where the task was woken
        """
        self.waiting: Any = None
        self.is_done = False
        self.result: Any = None
        self._coroutine = coroutine
        self._send = coroutine.send
        self._done = done
        self._failed = failed
        self._keeper = keeper

    def start(self) -> Task:
        """Run up to the first wait."""
        self._keeper.add(self)
        self._step(None)
        return self

    def throw(self, error: BaseException) -> bool:
        """Break the present wait with `error`. False where the task runs itself, or is over."""
        waiting = self.waiting
        if waiting is None:
            return False
        if type(waiting) is Signal:
            waiting.task = None
        else:
            self.waiting = None
            waiting.cancel()
        self._throw(error)
        return True

    def _step(self, value: Any) -> None:
        self.waiting = None
        try:
            waiting = self._send(value)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as error:
            self._fail(error)
        else:
            self._wait(waiting)

    def _throw(self, error: BaseException) -> None:
        self.waiting = None
        try:
            waiting = self._coroutine.throw(error)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as raised:
            self._fail(raised)
        else:
            self._wait(waiting)

    def _wait(self, waiting: Any) -> None:
        self.waiting = waiting
        if type(waiting) is Signal:
            waiting.task = self
        else:
            waiting.addCallbacks(
                self._deferred_step, self._deferred_throw, callbackArgs=(waiting,), errbackArgs=(waiting,)
            )

    def _deferred_step(self, value: Any, waiting: object) -> None:
        if self.waiting is waiting:
            self._step(value)

    def _deferred_throw(self, failure: Any, waiting: object) -> None:
        if self.waiting is waiting:
            self._throw(failure.value)

    def _finish(self, result: Any) -> None:
        self.is_done = True
        self.result = result
        self._keeper.remove(self)
        if self._done is not None:
            self._done(result)

    def _fail(self, error: BaseException) -> None:
        self.is_done = True
        self._keeper.remove(self)
        if self._failed is None:
            raise error
        self._failed(error)


async def within(deferred: Any, deadline: float) -> Any:
    """Await a Deferred no longer than up to `deadline`; then it is cancelled and TimeUp raised."""
    signal = Signal()
    signal.deadline = deadline
    deferred.addCallbacks(signal.fire, lambda failure: signal.fail(failure.value))
    try:
        return await signal
    except BaseException:
        deferred.cancel()
        raise


def _is_late(task: Task, now: float) -> bool:
    waiting = task.waiting
    return type(waiting) is Signal and waiting.deadline <= now


class Timekeeper:
    """Ends the waits whose deadline passed. One timer for all tasks, so a wait costs no timer of its own.

    Deadlines are kept to the second: the shortest that SMTP knows is minutes, the shortest of ours five seconds.
    """

    __slots__ = ("clock", "_tasks", "_interval", "_call")

    def __init__(self, clock: Clock, interval: float = 1.0) -> None:
        self.clock = clock
        self._tasks: set[Task] = set()
        self._interval = interval
        self._call: Any = None

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Watch a task."""
        self._tasks.add(task)
        if self._call is None:
            self._call = self.clock.callLater(self._interval, self._look)

    def remove(self, task: Task) -> None:
        """Watch it no longer."""
        self._tasks.discard(task)

    def _look(self) -> None:
        self._call = None
        now = self.clock.seconds()
        for task in [task for task in self._tasks if _is_late(task, now)]:
            # Those before it may have woken it.
            if _is_late(task, now):
                task.throw(TimeUp())
        if self._tasks and self._call is None:
            self._call = self.clock.callLater(self._interval, self._look)
