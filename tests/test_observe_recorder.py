"""What was counted is written down by the minute: nothing twice, nothing lost, gaps as gaps."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import StoreFailed
from smtpgate.observe.catalogue import METRICS
from smtpgate.observe.metrics import Metrics
from smtpgate.observe.recorder import KEPT, WAITING, Recorder, together
from smtpgate.policy import event as told
from smtpgate.policy.counted import COVERED, Rows
from tests.observe_kit import session, transaction

#: Twelve seconds into a minute.
T = 1_790_000_000 // 60 * 60 + 12
MINUTE = T - 12


class Store:
    """Keeps what it is given, or fails, or takes its time."""

    def __init__(self) -> None:
        self.minutes: list[tuple[int, Rows]] = []
        self.is_broken = False
        self.slow: Deferred[None] | None = None

    def put(self, minutes: list[tuple[int, Rows]]) -> Deferred[None]:
        if self.is_broken:
            return fail(StoreFailed("no room"))
        if self.slow is not None:
            kept, self.slow = self.slow, None
            return kept.addCallback(lambda _: self.minutes.extend(minutes))
        self.minutes += minutes
        return succeed(None)


class RecorderTests(SynchronousTestCase):
    """`Recorder` over real metrics."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = lambda: T + self.clock.seconds() + self.shift
        self.shift = 0.0
        self.metrics = Metrics("1.0")
        self.metrics.expect({"mx": "mx"})
        self.store = Store()
        self.events: list[Any] = []
        self.recorder = Recorder(self.metrics, self.clock, self.wall, self.store, self.events.append)
        self.mail()
        self.recorder.start()

    def mail(self, outcome: str = "delivered") -> None:
        """One message."""
        self.metrics.hear(told.TransactionEnded(transaction(session(), outcome)))

    def counted(self, verdict: str = "accept") -> list[tuple[int, int]]:
        """Messages by minute, as the store has them."""
        key = ("mx", "in", verdict)
        return [
            (at - MINUTE, rows["messages_total"][key])  # type: ignore[misc]
            for at, rows in self.store.minutes
            if key in rows.get("messages_total", {})
        ]

    def test_each_minute_has_its_own(self) -> None:
        """From the start on; what was counted before is another's."""
        self.mail()
        self.clock.advance(48)
        self.assertEqual(self.counted(), [(0, 1)])
        self.assertEqual(self.store.minutes[0][1][COVERED], {(): 48})
        self.clock.advance(59)
        self.mail()
        self.mail()
        self.clock.advance(1)
        self.assertEqual(self.counted(), [(0, 1), (60, 2)])
        self.clock.advance(60)
        self.assertEqual(self.store.minutes[2], (MINUTE + 120, {COVERED: {(): 60}}))

    def test_the_running_minute_is_shown_and_not_written(self) -> None:
        """And is written once, at the end."""
        self.mail("refused")
        self.clock.advance(10)
        ((at, rows),) = self.recorder.unwritten()
        self.assertEqual((at, rows["messages_total"]), (MINUTE, {("mx", "in", "reject"): 1}))
        self.assertEqual(self.store.minutes, [])
        self.successResultOf(ensureDeferred(self.recorder.close()))
        self.assertEqual(self.counted("reject"), [(0, 1)])
        self.assertEqual(self.store.minutes[0][1][COVERED], {(): 10})
        self.clock.advance(600)
        self.assertEqual(len(self.store.minutes), 1)

    def test_a_store_that_fails(self) -> None:
        """What it did not take waits and is shown meanwhile; told once, and once more when it works again."""
        self.store.is_broken = True
        for _ in range(3):
            self.mail()
            self.clock.advance(60)
        self.assertEqual([event.name for event in self.events], ["series.failing"])
        self.assertEqual(sum(counts[("mx", "in", "accept")] for counts in self.shown()), 3)
        self.store.is_broken = False
        self.clock.advance(60)
        self.assertEqual(sum(count for _, count in self.counted()), 3)
        self.assertEqual([event.name for event in self.events], ["series.failing", "series.works"])

    def shown(self) -> list[Any]:
        """Messages of the minutes that are not written."""
        return [rows["messages_total"] for _, rows in self.recorder.unwritten() if "messages_total" in rows]

    def test_a_store_that_fails_for_long(self) -> None:
        """So many minutes wait; the others are counted as dropped."""
        self.store.is_broken = True
        for _ in range(WAITING + 5):
            self.clock.advance(60)
        self.assertEqual(self.recorder.dropped, 5)

    def test_a_slow_store(self) -> None:
        """Nothing is written twice while it works."""
        self.store.slow = slow = Deferred()
        self.mail()
        self.clock.advance(48)
        self.mail()
        self.clock.advance(60)
        self.assertEqual(self.counted(), [])
        slow.callback(None)
        self.assertEqual(self.counted(), [(0, 1), (60, 1)])

    def test_a_clock_that_is_set(self) -> None:
        """Back: what was counted is in the minute that it shows. Forth: the minutes between are a gap."""
        self.clock.advance(48)
        self.mail()
        self.shift = -3600.0
        self.clock.advance(60)
        self.assertEqual(self.counted(), [(-3540 + 60, 1)])
        self.shift = 7200.0
        self.mail()
        self.clock.advance(60)
        covered = [(at - MINUTE, rows[COVERED]) for at, rows in self.store.minutes if COVERED in rows]
        self.assertTrue(all(0 < seconds <= 60 for _, kept in covered for seconds in kept.values()), covered)
        self.assertEqual(sum(count for _, count in self.counted()), 2)

    def test_all_that_is_kept_exists(self) -> None:
        """In the catalogue; only what is counted can be a difference."""
        self.assertEqual([name for name in KEPT if METRICS[name].kind not in ("counter", "histogram")], [])

    def test_minutes_together(self) -> None:
        """As the hours that they are in."""
        rows: Rows = {"m": {("a",): 1}}
        self.assertEqual(
            together([(0, rows), (60, rows), (3600, {"m": {("a",): [1, 2.5]}})], 3600),
            {("m", 0): {("a",): 2}, ("m", 3600): {("a",): [1, 2.5]}},
        )
