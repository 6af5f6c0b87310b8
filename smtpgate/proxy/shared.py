"""Work that several wait for: begun by the first who asks, heard by all.

`Flight` is one piece of work; who waits may go away without stopping it. `Flights` keeps those of one transaction, or
with a time to live those over all transactions, so that what came too late for one try serves the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed

from smtpgate.policy.meter import Meter
from smtpgate.tasks import Clock

#: Results kept over transactions; the least recently made go first. A verdict of an engine is some hundred octets.
KEPT_RESULTS: Final = 20_000

Make = Callable[[], Coroutine[Any, Any, Any]]


class Flight:
    """One piece of work and all who wait for it."""

    __slots__ = ("is_done", "_result", "_is_failure", "_waiters", "_work")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.is_done = False
        self._result: Any = None
        self._is_failure = False
        self._waiters: list[Deferred[Any]] = []
        self._work = ensureDeferred(coroutine)
        self._work.addCallbacks(self._finish, self._finish, callbackArgs=(False,), errbackArgs=(True,))

    def _finish(self, result: Any, is_failure: bool) -> None:
        self.is_done, self._result, self._is_failure = True, result, is_failure
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            # Some are told that they need not wait any more by one who was told before them.
            if not waiter.called:
                waiter.callback(result)

    def wait(self) -> Deferred[Any]:
        """A Deferred of one's own. Cancelling it stops the waiting, not the work."""
        if self.is_done:
            return fail(self._result) if self._is_failure else succeed(self._result)
        waiter: Deferred[Any] = Deferred(self._forget)
        self._waiters.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[Any]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def cancel(self) -> None:
        """Stop the work."""
        if not self.is_done:
            self._work.cancel()


class Flights:
    """Flights by key, each begun once."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight] = {}

    def ask(self, key: Hashable, make: Make) -> Deferred[Any]:
        """The result under a key; made where nobody has asked before."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(make())
        return flight.wait()

    def cancel(self) -> None:
        """Stop all that is at work."""
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            flight.cancel()


class Memory:
    """Results over all transactions, each with its time to live."""

    def __init__(self, clock: Clock, cap: int = KEPT_RESULTS, meter: Meter | None = None) -> None:
        """
        :param meter: counts what is asked
        """
        self._meter = meter if meter is not None else Meter()
        self._clock = clock
        self._cap = cap
        self._running: dict[Hashable, Flight] = {}
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def ask(self, key: Hashable, make: Make, keep_s: float) -> Deferred[Any]:
        """The result under a key: kept, at work, or made now. A failure is told to all who wait and not kept."""
        kept = self._kept.get(key)
        if kept is not None:
            if self._clock.seconds() < kept[0]:
                self._meter.count("cache_requests_total", "filters", "hit")
                return succeed(kept[1])
            del self._kept[key]
        self._meter.count("cache_requests_total", "filters", "miss")
        flight = self._running.get(key)
        if flight is None:
            flight = Flight(self._made(key, make, keep_s))
            if not flight.is_done:
                self._running[key] = flight
        return flight.wait()

    async def _made(self, key: Hashable, make: Make, keep_s: float) -> Any:
        try:
            result = await make()
        finally:
            self._running.pop(key, None)
        self._kept[key] = (self._clock.seconds() + keep_s, result)
        self._kept.move_to_end(key)
        if len(self._kept) > self._cap:
            self._kept.popitem(last=False)
        return result

    def cancel(self) -> None:
        """Stop all that is at work: the gateway ends."""
        for flight in list(self._running.values()):
            flight.cancel()
