"""Tests of smtpgate.proxy.shared: work that several wait for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.proxy.shared import Flights, Memory


class Work:
    """Coroutines that end when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.deferred: Deferred[Any] = Deferred()
        self.is_cancelled = False

    async def __call__(self) -> Any:
        self.begun += 1
        try:
            return await self.deferred
        except CancelledError:
            self.is_cancelled = True
            raise


class FlightsTests(SynchronousTestCase):
    """What belongs to one transaction."""

    def setUp(self) -> None:
        """One set of flights."""
        self.flights, self.work = Flights(), Work()

    def test_all_who_ask_get_the_result_of_one_work(self) -> None:
        """Those too who come when it is done."""
        first, second = self.flights.ask("k", self.work), self.flights.ask("k", self.work)
        self.assertNoResult(first)
        self.work.deferred.callback(7)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (7, 7))
        self.assertEqual(self.successResultOf(self.flights.ask("k", self.work)), 7)
        self.assertEqual(self.work.begun, 1)

    def test_another_key_is_other_work(self) -> None:
        """Keys do not meet."""
        other = Work()
        self.flights.ask("k", self.work)
        self.flights.ask("other", other)
        self.assertEqual((self.work.begun, other.begun), (1, 1))

    def test_one_who_gives_up_stops_nobody_else(self) -> None:
        """The work goes on for the others, and for those who come later."""
        first, second = self.flights.ask("k", self.work), self.flights.ask("k", self.work)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(self.work.is_cancelled)
        self.work.deferred.callback("late")
        self.assertEqual(self.successResultOf(second), "late")

    def test_a_failure_is_everybody_s(self) -> None:
        """The same error for each who waits and for who comes later."""
        waiters = [self.flights.ask("k", self.work) for _ in range(2)]
        self.work.deferred.errback(LookupError("gone"))
        for waiter in [*waiters, self.flights.ask("k", self.work)]:
            self.failureResultOf(waiter, LookupError)

    def test_the_end_of_the_transaction_ends_the_work(self) -> None:
        """Whoever still waits hears that."""
        waiter = self.flights.ask("k", self.work)
        self.flights.cancel()
        self.assertTrue(self.work.is_cancelled)
        self.failureResultOf(waiter, CancelledError)

    def test_a_waiter_may_ask_again_in_its_callback(self) -> None:
        """Reentrance finds the result."""
        seen: list[Any] = []
        self.flights.ask("k", self.work).addCallback(
            lambda _: self.flights.ask("k", self.work).addCallback(seen.append)
        )
        self.work.deferred.callback(1)
        self.assertEqual(seen, [1])


class MemoryTests(SynchronousTestCase):
    """What holds over transactions."""

    def setUp(self) -> None:
        """A memory of two results, on a clock that stands."""
        self.clock = Clock()
        self.memory, self.work = Memory(self.clock, cap=2), Work()

    def test_a_result_is_kept_for_its_time(self) -> None:
        """And made anew after that."""
        first = self.memory.ask(("f", 1), self.work, 60)
        self.work.deferred.callback("x")
        self.assertEqual(self.successResultOf(first), "x")
        self.clock.advance(59)
        self.assertEqual(self.successResultOf(self.memory.ask(("f", 1), self.work, 60)), "x")
        self.clock.advance(1)
        again = Work()
        self.memory.ask(("f", 1), again, 60)
        self.assertEqual(again.begun, 1)

    def test_a_late_result_serves_the_next_try(self) -> None:
        """Whoever asked first has given up meanwhile."""
        first = self.memory.ask(("f", 1), self.work, 60)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.work.deferred.callback("late")
        self.assertEqual(self.successResultOf(self.memory.ask(("f", 1), Work(), 60)), "late")

    def test_one_is_at_work_for_each_key(self) -> None:
        """A retry that comes while the first is at work waits with it."""
        first, second = self.memory.ask(("f", 1), self.work, 60), self.memory.ask(("f", 1), self.work, 60)
        self.work.deferred.callback(3)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second), self.work.begun), (3, 3, 1))

    def test_a_failure_is_not_kept(self) -> None:
        """The next try tries."""
        first = self.memory.ask(("f", 1), self.work, 60)
        self.work.deferred.errback(OSError("down"))
        self.failureResultOf(first, OSError)
        again = Work()
        again.deferred.callback("up")
        self.assertEqual(self.successResultOf(self.memory.ask(("f", 1), again, 60)), "up")

    def test_the_oldest_results_go_first(self) -> None:
        """Memory is bounded."""
        for number in range(3):
            work = Work()
            work.deferred.callback(number)
            self.successResultOf(self.memory.ask(("f", number), work, 60))
        fresh = Work()
        self.memory.ask(("f", 0), fresh, 60)
        self.assertEqual(fresh.begun, 1)
        self.assertEqual(self.successResultOf(self.memory.ask(("f", 2), Work(), 60)), 2)
