"""Counts by the minute and by the hour: on disk, bounded, and never counted twice."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import ISeriesStore, StoreFailed
from smtpgate.policy.counted import COVERED, Counts, add, as_text, of_text, since
from smtpgate.state.database import Database
from smtpgate.state.series_store import HOUR, KEPT_S, MINUTE, SeriesStore

#: The beginning of an hour.
T = 1_790_000_000 // HOUR * HOUR


class SeriesStoreTests(TestCase):
    """`SeriesStore` over a database in a file."""

    timeout = 30

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.store = SeriesStore(self.database)

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(ISeriesStore, self.store)

    async def test_a_minute_is_also_in_its_hour(self) -> None:
        """Histograms too; what is asked for comes in order of time, the end not included."""
        for minute in (0, 1, 61):
            rows: dict[str, Counts] = {
                "messages_total": {("mx", "in", "accept"): 2, ("mx", "in", "reject"): 1},
                "spam_score": {(): [1, 0, 2, 7.5]},
                COVERED: {(): 60},
            }
            await self.store.put([(T + 60 * minute, rows)])
        found = await self.store.load(["messages_total", "spam_score"], HOUR, T, T + 2 * HOUR)
        self.assertEqual(
            found,
            [
                ("messages_total", T, {("mx", "in", "accept"): 4, ("mx", "in", "reject"): 2}),
                ("messages_total", T + HOUR, {("mx", "in", "accept"): 2, ("mx", "in", "reject"): 1}),
                ("spam_score", T, {(): [2, 0, 4, 15.0]}),
                ("spam_score", T + HOUR, {(): [1, 0, 2, 7.5]}),
            ],
        )
        minutes = await self.store.load([COVERED], MINUTE, T + 60, T + 61 * 60)
        self.assertEqual([at for _, at, _ in minutes], [T + 60])
        self.assertEqual(await self.store.oldest(), T)

    async def test_a_minute_that_two_processes_shared(self) -> None:
        """Both are counted; no minute covers more seconds than it has."""
        for _ in range(2):
            await self.store.put([(T, {"messages_total": {("mx", "in", "accept"): 1}, COVERED: {(): 45}})])
        found = {
            name: counts for name, _, counts in await self.store.load(["messages_total", COVERED], MINUTE, T, T + 60)
        }
        self.assertEqual(found, {"messages_total": {("mx", "in", "accept"): 2}, COVERED: {(): 60}})

    async def test_what_is_old_goes(self) -> None:
        """Minutes after two days, hours after 400; at the turn of an hour."""
        day = 86400
        for at in (T - 401 * day, T - 399 * day, T - 2 * day - HOUR, T - 2 * day, T):
            await self.store.put([(at, {COVERED: {(): 60}})])
        minutes = [at for _, at, _ in await self.store.load([COVERED], MINUTE, 0, T + HOUR)]
        hours = [at for _, at, _ in await self.store.load([COVERED], HOUR, 0, T + HOUR)]
        self.assertEqual(minutes, [T - 2 * day, T])
        self.assertEqual(hours, [T - 399 * day, T - 2 * day - HOUR, T - 2 * day, T])
        self.assertEqual(KEPT_S, {60: 2 * day, 3600: 400 * day})

    async def test_a_damaged_row(self) -> None:
        """It counts as nothing, and hides no other."""
        await self.store.put([(T, {"a": {("x",): 1}}), (T + 60, {"a": {("x",): 1}})])
        for text in ("[1,", '{"a":1}', "[[]]"):
            await self.database.run(
                lambda connection, text: connection.exec_driver_sql(
                    "UPDATE series SET data = ? WHERE step = 60 AND at = ?", (text, T)
                ),
                text,
            )
            found = await self.store.load(["a"], MINUTE, T, T + HOUR)
            self.assertEqual(found, [("a", T, {}), ("a", T + 60, {("x",): 1})])

    async def test_a_closed_database_is_a_failure_of_the_store(self) -> None:
        """Whatever is behind the port."""
        self.database.close()
        for call in (self.store.put([(T, {})]), self.store.load(["a"], HOUR, 0, T), self.store.oldest()):
            with self.assertRaises(StoreFailed):
                await call


_VALUES = st.one_of(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=3, max_size=3))
_COUNTS = st.dictionaries(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), _VALUES, max_size=5)


class CountedTests(SynchronousTestCase):
    """`policy.counted`."""

    @given(_COUNTS)
    def test_text_and_back(self, counts: Counts) -> None:
        """Nothing changes."""
        self.assertEqual(of_text(as_text(counts)), counts)

    @given(st.lists(st.dictionaries(st.tuples(st.sampled_from("abc")), st.integers(0, 9), max_size=3), max_size=6))
    def test_differences_add_up(self, steps: list[Counts]) -> None:
        """To what was counted in all."""
        running: Counts = {}
        total: Counts = {}
        before: dict[str, Counts] = {}
        for step in steps:
            add(running, step)
            now = {"m": dict(running)}
            add(total, since(now, before).get("m", {}))
            before = now
        self.assertEqual(total, {labels: value for labels, value in running.items() if value})

    def test_what_began_anew(self) -> None:
        """A count that is smaller than before is all new."""
        before: dict[str, Counts] = {"m": {("a",): 9, ("b",): [3, 3, 1.5]}}
        now: dict[str, Counts] = {"m": {("a",): 4, ("b",): [1, 3, 1.0], ("c",): 0}}
        self.assertEqual(since(now, before), {"m": {("a",): 4, ("b",): [1, 3, 1.0]}})
