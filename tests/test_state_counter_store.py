"""Counters on disk, and what writes them: nothing waits for the disk, nothing is lost at a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import ICounterStore, StoreFailed
from smtpgate.proxy.counters import NEXT_S, SAVE_ROWS, SAVE_S, Counters, Row
from smtpgate.state.counter_store import CounterStore
from smtpgate.state.database import Database


class CounterStoreTests(TestCase):
    """`CounterStore`."""

    timeout = 30

    def setUp(self) -> None:
        """Open a database."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.store = CounterStore(self.database)

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(ICounterStore, self.store)

    async def test_rows_come_back_as_they_were(self) -> None:
        """By space; a second row of a key replaces the first, None takes it away."""
        await self.store.put("rates", [("a b", 12.5, 100.0), ("c", [1, "x"], 100.0), ("d", 1, 5.0)])
        await self.store.put("bans", [("a b", {"why": "spray"}, 100.0)])
        await self.store.put("rates", [("a b", 13.5, 120.0), ("c", None, 0.0)])
        self.assertEqual(await self.store.load("rates", 10.0), [("a b", 13.5, 120.0)])
        self.assertEqual(self.store.load_now("bans", 10.0), [("a b", {"why": "spray"}, 100.0)])
        await self.store.expire(110.0)
        self.assertEqual(await self.store.load("bans", 0.0), [])
        self.assertEqual(len(await self.store.load("rates", 0.0)), 1)

    async def test_many_rows_and_odd_keys(self) -> None:
        """Thousands at once; a key that is no UTF-8 harms nobody."""
        rows: list[Row] = [(f"k{number}", number, 100.0) for number in range(3000)]
        await self.store.put("rates", [*rows, ("\udcff odd", 1, 100.0), ("\udcff gone", None, 0.0)])
        self.assertEqual(len(await self.store.load("rates", 0.0)), 3001)
        await self.store.put("rates", [(key, None, 0.0) for key, _, _ in rows])
        self.assertEqual(len(await self.store.load("rates", 0.0)), 1)

    async def test_a_closed_database_is_a_failure_of_the_store(self) -> None:
        """Whatever is behind the port."""
        self.database.close()
        await self.assertFailure(self.store.put("rates", [("a", 1, 2.0)]), StoreFailed)
        await self.assertFailure(self.store.load("rates", 1.0), StoreFailed)


class Store:
    """A store in memory that fails when told."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Any] = {}
        self.fails = False
        self.puts = 0

    def load_now(self, space: str, now: float) -> list[Row]:
        return [(key, value, 1e9) for (one, key), value in self.rows.items() if one == space]

    def put(self, space: str, rows: list[Row]) -> Deferred[None]:
        self.puts += 1
        if self.fails:
            return fail(StoreFailed("disk full"))
        self.rows.update({(space, key): value for key, value, _ in rows})
        return succeed(None)


class Thing:
    """Something counted."""

    def __init__(self) -> None:
        self.pending: list[Row] = []
        self.restored: list[Row] = []

    def changed(self, wall: float, most: int) -> list[Row]:
        rows, self.pending = self.pending[:most], self.pending[most:]
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        self.restored = rows


class CountersTests(SynchronousTestCase):
    """`Counters`."""

    def setUp(self) -> None:
        """One thing that is counted."""
        self.clock, self.store, self.thing = Clock(), Store(), Thing()
        self.events: list[Any] = []
        self.counters = Counters(self.clock, lambda: 1000.0, self.store, {"rates": self.thing}, self.events.append)

    def test_what_changed_is_written_from_time_to_time(self) -> None:
        """In groups, and nothing where nothing changed."""
        self.counters.start()
        self.thing.pending = [(f"k{number}", number, 1e9) for number in range(SAVE_ROWS + 7)]
        self.clock.advance(SAVE_S)
        self.assertEqual(len(self.store.rows), SAVE_ROWS)
        self.clock.advance(SAVE_S)
        self.assertEqual(len(self.store.rows), SAVE_ROWS + 7)
        self.clock.advance(SAVE_S)
        self.assertEqual(self.store.puts, 2)

    def test_what_must_not_be_lost_is_written_at_once(self) -> None:
        """And the rest with it; then as often as before."""
        self.counters.start()
        self.thing.pending = [("a", 1, 1e9)]
        self.counters.soon()
        self.clock.advance(0)
        self.assertEqual(self.store.rows, {("rates", "a"): 1})
        self.clock.advance(SAVE_S)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)

    def test_at_once_while_something_is_being_written(self) -> None:
        """As soon as that is done, on a slow disk too."""
        self.counters.start()
        self.thing.pending = [("a", 1, 1e9)]
        slow: Deferred[None] = Deferred()
        real = self.store.put
        self.store.put = lambda space, rows: slow.addCallback(lambda _: real(space, rows))  # type: ignore[method-assign]
        self.clock.advance(SAVE_S)
        self.store.put = real  # type: ignore[method-assign]
        self.thing.pending = [("b", 2, 1e9)]
        self.counters.soon()
        slow.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.store.rows, {("rates", "a"): 1, ("rates", "b"): 2})

    def test_more_than_one_group_goes_on_soon(self) -> None:
        """Not as much later as the usual time: a flood of new keys must not keep them from the disk."""
        self.counters.start()
        self.thing.pending = [(f"k{number}", number, 1e9) for number in range(3 * SAVE_ROWS)]
        self.clock.advance(SAVE_S)
        for _ in range(3):
            self.clock.advance(NEXT_S)
        self.assertEqual(len(self.store.rows), 3 * SAVE_ROWS)
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime() - self.clock.seconds(), SAVE_S)

    def test_all_is_written_at_the_end(self) -> None:
        """However much it is; and nothing after that."""
        self.counters.start()
        self.thing.pending = [(f"k{number}", number, 1e9) for number in range(3 * SAVE_ROWS)]
        self.successResultOf(Deferred.fromCoroutine(self.counters.close()))
        self.assertEqual(len(self.store.rows), 3 * SAVE_ROWS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_kept_is_taken_over(self) -> None:
        """By its space."""
        self.store.rows = {("rates", "a"): 1, ("other", "b"): 2}
        self.counters.restore()
        self.assertEqual(self.thing.restored, [("a", 1, 1e9)])

    def test_a_store_that_fails_is_told_of_once(self) -> None:
        """And so is that it works again; the counting goes on."""
        self.counters.start()
        self.store.fails = True
        self.thing.pending = [("b", 1, 1e9)]
        for _ in range(3):
            self.clock.advance(SAVE_S)
            self.thing.pending = [("a", 1, 1e9)]
            self.clock.advance(SAVE_S)
        self.assertEqual([event.name for event in self.events], ["counters.failing"])
        self.store.fails = False
        self.thing.pending = [("a", 2, 1e9)]
        self.clock.advance(SAVE_S)
        self.assertEqual([event.name for event in self.events], ["counters.failing", "counters.works"])
        self.assertEqual(self.store.rows, {("rates", "a"): 2, ("rates", "b"): 1})
        self.store.fails = True
        self.thing.pending = [("a", 3, 1e9)]
        self.successResultOf(Deferred.fromCoroutine(self.counters.close()))
        self.assertEqual(self.events[-1].name, "counters.failing")
