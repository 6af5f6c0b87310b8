"""How much of the gateway's time the pages and the API may take: mail comes first.

Both share one reactor. What a request costs there, and in threads, is measured in CPU time and paid from a budget that
fills up at a rate. Where the reactor has time left the rate is high, and nobody notices. Where it has not, the rate
falls to a small part, and requests wait in line unread: one at a time of each address in turn, and those first from
where somebody has logged in. What has waited too long is told to come back. New connections wait in the kernel.

The precedents are the budgets of nice(1) schedulers and TCP's congestion control: additive increase, multiplicative
decrease. The local socket and the health paths never wait.
"""

from __future__ import annotations

import contextlib
import os
import time
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Final

import attrs

from smtpgate.spent import PAYER

#: Seconds of CPU a second where the reactor is busy, and at most; where it begins, and what it gains each time.
FLOOR: Final = 0.03
MOST: Final = 0.6
BEGIN: Final = 0.3
GAIN: Final = 0.02
LOSS: Final = 0.7
#: What may be spent at once after a rest, and the deepest debt: five seconds at the floor, half of the longest wait.
BURST_S: Final = 0.25
DEBT_S: Final = 0.15
#: How often it is looked how busy the reactor is.
TICK_S: Final = 0.1
#: It is busy when it computes, or waits for a processor, for this part of the time, or when the look itself comes so
#: late.
BUSY: Final = 0.85
LATE_S: Final = 0.02
#: One turn of the reactor does no more admin work than this, but for one request.
TURN_S: Final = 0.004
#: Requests at work at once; what they may cost is kept back until it is known.
AT_ONCE: Final = 24
ADVANCE_S: Final = 0.004
#: What twisted.web takes for a request and for a connection besides what is measured here.
REQUEST_S: Final = 0.0005
CONNECTION_S: Final = 0.0002
#: Connections that are taken in one turn of the reactor, and those twenty more that tcp.Port adds.
ACCEPTS: Final = 1
#: Longest time in line.
WAIT_S: Final = 10.0
#: Addresses from which somebody logged in that are remembered, and for how long.
KNOWN: Final = 1000
KNOWN_S: Final = 1800.0
#: Of so many turns one is a stranger's.
STRANGERS: Final = 4


class Delay:
    """How long the reactor's thread stood in the kernel's run queue: on a machine with more work than processors it
    computes little and is busy all the same (sched-stats(5), proc/PID/schedstat).
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def seconds(self) -> float:
        """Since the thread began; 0 where the kernel does not count it. To be asked in that thread alone."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._descriptor = -1
        if self._descriptor < 0:
            return 0.0
        return int(os.pread(self._descriptor, 100, 0).split()[1]) / 1e9

    def close(self) -> None:
        """Ask no more."""
        if self._descriptor is not None and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


@attrs.define(eq=False)
class Place:
    """A request in line or at work.

    :ivar go: begins the work
    :ivar give_up: called where it waited too long
    """

    key: str
    since: float
    go: Callable[[], None]
    give_up: Callable[[], None]
    state: str = "waiting"
    line: Any = None


class _Line:
    """Places, each address in turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Place]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, place: Place) -> None:
        place.line = self
        self._queues.setdefault(place.key, deque()).append(place)

    def pop(self) -> Place:
        """Whose turn it is."""
        key, queue = next(iter(self._queues.items()))
        place = queue.popleft()
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return place

    def remove(self, place: Place) -> None:
        """It is gone."""
        queue = self._queues[place.key]
        queue.remove(place)
        if not queue:
            del self._queues[place.key]

    def older(self, since: float) -> list[Place]:
        """Those that came before a time."""
        found = []
        for queue in self._queues.values():
            for place in queue:
                if place.since >= since:
                    break
                found.append(place)
        return found


class Pace:
    """The budget, and the lines before it."""

    def __init__(
        self,
        clock: Any,
        cpu: Callable[[], float] = time.thread_time,
        fixed: tuple[float, float] | None = None,
        waited: Callable[[], float] | None = None,
    ) -> None:
        """
        :param clock: IReactorTime
        :param cpu: CPU seconds of the reactor's thread
        :param waited: seconds in which it could have computed and other processes did; None: as the kernel counts
        :param fixed: what each request and each connection costs besides; None: as measured
        """
        self._clock = clock
        self._cpu = cpu
        self._delay = Delay()
        self._waited = self._delay.seconds if waited is None else waited
        self._request_s, self._connection_s = (REQUEST_S, CONNECTION_S) if fixed is None else fixed
        self._advance_s = ADVANCE_S if fixed is None else 0.0
        self.rate = BEGIN
        self._level = BURST_S
        #: Paid in threads since the last look; `append` is safe from any of them.
        self._elsewhere: deque[float] = deque()
        self._known: OrderedDict[str, float] = OrderedDict()
        self._lines = (_Line(), _Line())
        self._turns = 0
        self._at_work = 0
        self._turn_s = 0.0
        self._tick_call: Any = None
        self._turn_call: Any = None
        self._looked = self._busy_then = 0.0
        self._ports: set[Any] = set()
        #: Requests that were told to come back.
        self.shed = 0

    @property
    def is_strained(self) -> bool:
        """Whether the reactor has little time for us."""
        return self.rate < BEGIN / 2

    @property
    def waiting(self) -> bool:
        """Whether anybody is in line."""
        return bool(self._lines[0] or self._lines[1])

    def know(self, key: str) -> None:
        """Somebody has logged in from there."""
        self._known[key] = self._clock.seconds()
        self._known.move_to_end(key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def _is_known(self, key: str) -> bool:
        return self._clock.seconds() - self._known.get(key, -KNOWN_S) < KNOWN_S

    # Paying

    def charge(self, seconds: float) -> None:
        """CPU time was spent in the reactor's thread."""
        self._level = max(self._level - seconds, -DEBT_S)
        self._turn_s += seconds
        if self._level < BURST_S:
            self._look_later()

    @contextlib.contextmanager
    def paid(self) -> Iterator[None]:
        """What is done within is paid for."""
        began = self._cpu()
        try:
            yield
        finally:
            self.charge(self._cpu() - began)

    async def metered(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The work; its steps, and what it has done in threads, are paid for."""
        PAYER.set(self._elsewhere.append)
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            began = self._cpu()
            try:
                wanted = work.send(value) if error is None else work.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                self.charge(self._cpu() - began)
            value = error = None
            try:
                value = yield wanted
            except GeneratorExit:
                work.close()
                raise
            except BaseException as raised:  # whatever it was, the work is to hear of it
                error = raised

    # Requests

    def place(self, key: str, go: Callable[[], None], give_up: Callable[[], None]) -> Place:
        """A request has come whole.

        :param key: its address
        """
        return Place(key, self._clock.seconds(), go, give_up)

    def enter(self, place: Place) -> None:
        """It goes now, and may be over when this returns, or later."""
        if not self.waiting and self._may_go():
            self._begin(place)
        else:
            self._lines[0 if self._is_known(place.key) else 1].add(place)
            self._look_later()
            self._next_turn()

    def leave(self, place: Place) -> None:
        """It is answered, or its peer is gone."""
        if place.state == "at work":
            self._at_work -= 1
            self._level = min(self._level + self._advance_s, BURST_S)
            if self.waiting:
                self._next_turn()
        elif place.state == "waiting":
            place.line.remove(place)
        place.state = "over"

    def _may_go(self) -> bool:
        return self._level > 0 and self._at_work < AT_ONCE and self._turn_s < TURN_S

    def _begin(self, place: Place) -> None:
        place.state = "at work"
        self._at_work += 1
        self._level -= self._advance_s
        self.charge(self._request_s)
        place.go()
        if self._turn_s > 0.0:
            self._next_turn()

    def _next_turn(self) -> None:
        if self._turn_call is None:
            self._turn_call = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        """A turn of the reactor is over: others had theirs."""
        self._turn_call = None
        self._turn_s = 0.0
        while self.waiting and self._may_go():
            self._turns += 1
            known, strangers = self._lines
            line = strangers if not known or strangers and self._turns % STRANGERS == 0 else known
            self._begin(line.pop())
        if self.waiting and self._level > 0 and self._at_work < AT_ONCE:
            self._next_turn()

    # Connections

    def connected(self, port: Any) -> None:
        """A connection came over a port (IReadDescriptor); where too much is spent the next ones wait in the kernel."""
        self.charge(self._connection_s)
        if port is not None:
            # tcp.Port takes so many at once and 20 more each time there were more; not in one turn of ours.
            port.numberAccepts = ACCEPTS
        if self._level <= 0 and port is not None and port not in self._ports:
            self._ports.add(port)
            port.stopReading()

    def _open_ports(self) -> None:
        while self._ports:
            port = self._ports.pop()
            if port.connected:
                port.startReading()

    # How busy it is

    def _look_later(self) -> None:
        if self._tick_call is None:
            self._looked, self._busy_then = self._clock.seconds(), self._busy()
            self._tick_call = self._clock.callLater(TICK_S, self._look)

    def _busy(self) -> float:
        """Seconds in which the reactor's thread had something to do."""
        return self._cpu() + self._waited()

    def _look(self) -> None:
        self._tick_call = None
        now, busy = self._clock.seconds(), self._busy()
        passed = max(now - self._looked, 1e-6)
        while self._elsewhere:
            self._level = max(self._level - self._elsewhere.popleft(), -DEBT_S)
        if (busy - self._busy_then) / passed > BUSY or passed - TICK_S > LATE_S:
            self.rate = max(self.rate * LOSS, FLOOR)
        else:
            self.rate = min(self.rate + GAIN, MOST)
        self._level = min(self._level + self.rate * min(passed, 1.0), BURST_S)
        for place in [old for line in self._lines for old in line.older(now - WAIT_S)]:
            self.leave(place)
            self.shed += 1
            place.give_up()
        if self._level > 0:
            self._open_ports()
            if self.waiting:
                self._next_turn()
        if self.waiting or self._ports or self._level < BURST_S or self.rate < BEGIN:
            self._look_later()

    def close(self) -> None:
        """The office closes."""
        for call in (self._tick_call, self._turn_call):
            if call is not None and call.active():
                call.cancel()
        self._tick_call = self._turn_call = None
        self._ports.clear()
        self._delay.close()
