"""The cell rate algorithm: exact at the boundary, nothing lost by giving back, bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.gcra import Rate, Stamps

RATES = st.builds(
    lambda interval, burst: Rate(interval, float(burst)),
    st.sampled_from([0.001, 0.1, 1 / 3, 0.7, 1.0, 36.0, 3600.0]),
    st.integers(1, 50),
)
STARTS = st.sampled_from([0.0, 0.1, 1e6 / 3, 1e7])


class RateTests(SynchronousTestCase):
    """One key."""

    @given(RATES, STARTS)
    def test_a_burst_passes_and_not_one_more(self, rate: Rate, now: float) -> None:
        """Of units that come at once exactly the burst conforms."""
        tat = 0.0
        for _ in range(int(rate.burst)):
            self.assertEqual(rate.wait(tat, now), 0.0)
            tat = rate.take(tat, now)
        self.assertGreater(rate.wait(tat, now), 0.0)

    @given(RATES, STARTS, st.integers(1, 30))
    def test_who_comes_when_told_is_let_in(self, rate: Rate, now: float, more: int) -> None:
        """One that waits as long as it is told conforms then, every time, and not earlier."""
        tat = 0.0
        for _ in range(int(rate.burst) + more):
            wait = rate.wait(tat, now)
            if wait:
                self.assertGreater(rate.wait(tat, now + wait * 0.99), 0.0)
            now += wait
            self.assertEqual(rate.wait(tat, now), 0.0)
            tat = rate.take(tat, now)

    @given(RATES, st.lists(st.floats(0.0, 100.0), max_size=60))
    def test_no_window_has_more_than_the_rate_and_the_burst(self, rate: Rate, gaps: list[float]) -> None:
        """Whatever the times, in any stretch no more pass than the burst and what the rate gives in it."""
        tat, now = 0.0, 0.0
        passed: list[float] = []
        for gap in gaps:
            now += gap
            if rate.wait(tat, now) == 0.0:
                tat = rate.take(tat, now)
                passed.append(now)
        for first in range(len(passed)):
            for last in range(first, len(passed)):
                stretch = passed[last] - passed[first]
                self.assertLessEqual(last - first + 1, rate.burst + stretch / rate.interval_s + 1e-3)

    @given(RATES, STARTS, st.integers(1, 20), st.floats(0.0, 1000.0))
    def test_what_is_given_back_was_never_taken(self, rate: Rate, now: float, units: int, later: float) -> None:
        """After giving back, a key waits as long as one that never took."""
        tat = 0.0
        for _ in range(units):
            tat = rate.take(tat, now)
        before = tat
        tat = rate.settle(rate.take(tat, now, 3.0), now, max(tat, now), 3.0, 0.0)
        self.assertAlmostEqual(rate.wait(tat, now + later), rate.wait(before, now + later), places=5)

    @given(RATES, st.lists(st.tuples(st.floats(0.0, 300.0), st.integers(-1, 5)), max_size=60))
    def test_no_more_is_kept_than_the_rate_allows(self, rate: Rate, steps: list[tuple[float, int]]) -> None:
        """Units are taken, and some are given back at any time later: those that are kept conform in any stretch."""
        tat, now = 0.0, 0.0
        taken: list[tuple[float, float]] = []
        for gap, which in steps:
            now += gap
            if which >= 0 and taken:
                _, base = taken.pop(which % len(taken))
                tat = rate.settle(tat, now, base, 1.0, 0.0)
            elif rate.wait(tat, now) == 0.0:
                taken.append((now, max(tat, now)))
                tat = rate.take(tat, now)
        for first in range(len(taken)):
            for last in range(first, len(taken)):
                stretch = taken[last][0] - taken[first][0]
                self.assertLessEqual(last - first + 1, rate.burst + stretch / rate.interval_s + 1e-3)

    def test_what_has_run_out_is_not_given_back(self) -> None:
        """Ten messages begin, ten others come in ten seconds later, then the first ten are put off: nothing comes free
        by that, for their room had come free with time."""
        rate, tat, bases = Rate(1.0, 10), 0.0, []
        for _ in range(10):
            bases.append(max(tat, 100.0))
            tat = rate.take(tat, 100.0)
        for _ in range(10):
            self.assertEqual(rate.wait(tat, 110.0), 0.0)
            tat = rate.take(tat, 110.0)
        for base in bases:
            tat = rate.settle(tat, 110.0, base, 1.0, 0.0)
        self.assertGreater(rate.wait(tat, 110.0), 0.9)

    @given(RATES, STARTS, st.floats(1.0, 50.0), st.floats(0.0, 50.0), st.floats(0.0, 1000.0))
    def test_what_turns_out_to_be_another_amount(
        self, rate: Rate, now: float, cost: float, final: float, later: float
    ) -> None:
        """Settled with what it was, a key waits no longer than if it had taken that at once, and no shorter where it
        was settled before anything ran out."""
        tat = rate.settle(rate.take(0.0, now, cost), now + later, now, cost, final)
        at_once = rate.take(0.0, now, final)
        self.assertGreaterEqual(max(tat, now + later) + 1e-3, min(max(at_once, now + later), tat + 1e-3))
        if not later:
            self.assertAlmostEqual(rate.wait(tat, now), rate.wait(at_once, now), places=4)

    @given(RATES, RATES, STARTS, st.integers(1, 100))
    def test_another_rate_keeps_what_is_in_use(self, before: Rate, after: Rate, now: float, units: int) -> None:
        """As many units, and nobody waits longer than somebody who used up the new one."""
        tat = before.take(0.0, now, units)
        scaled = after.rescale(tat, now, before)
        self.assertAlmostEqual(after.level(scaled, now), min(units, after.burst), places=3)
        self.assertLessEqual(after.wait(scaled, now), after.interval_s + 1e-3)

    def test_what_is_larger_than_the_burst_waits_for_an_idle_key(self) -> None:
        """It comes in when nothing else was taken, and counts in full."""
        rate = Rate(1.0, 10)
        self.assertEqual(rate.wait(0.0, 100.0, 25), 0.0)
        tat = rate.take(0.0, 100.0, 25)
        self.assertEqual(rate.wait(tat, 100.0), 16.0)
        self.assertEqual(rate.level(tat, 100.0), 25.0)


class StampsTests(SynchronousTestCase):
    """Many keys."""

    def test_idle_keys_go_away(self) -> None:
        """A table through which a million keys pass holds those that are in use, and few others."""
        stamps = Stamps(1000)
        for number in range(20_000):
            stamps.put(f"k{number}", number + 50.0, float(number))
            self.assertLessEqual(len(stamps), 120)
        self.assertEqual(stamps.evicted, 0)

    def test_memory_is_bounded(self) -> None:
        """Where all keys are in use the table stays at its size, and says what it forgot."""
        stamps = Stamps(100)
        for number in range(1000):
            stamps.put(f"k{number}", 10_000.0 + number, 0.0)
        self.assertEqual(len(stamps), 100)
        self.assertEqual(stamps.evicted, 900)

    def test_the_disk_holds_what_is_here(self) -> None:
        """What was dropped goes there too, where it would come back after a restart; what is over goes by itself."""
        stamps, disk = Stamps(100), dict[str, float]()

        def save(now: float) -> None:
            for key, tat in stamps.changed(now, 5.0, 10_000):
                if tat:
                    disk[key] = tat
                else:
                    del disk[key]

        for number in range(1000):
            stamps.put(f"k{number}", 10_000.0 + number, 0.0)
            if number % 7 == 0:
                save(0.0)
        save(0.0)
        self.assertEqual(disk, dict(stamps.items()))
        # Given back: its stamp is over before it is asked for again, and the one on the disk is not.
        key = stamps.items()[0][0]
        stamps.put(key, 1.0, 0.0)
        for number in range(300):
            stamps.put(f"n{number}", 20_000.0, 2.0)
        save(2.0)
        self.assertNotIn(key, disk)
        self.assertEqual((disk, len(stamps.kept())), (dict(stamps.items()), 100))

    def test_less_room_takes_what_comes_free_first(self) -> None:
        """However long ago it was used."""
        stamps = Stamps(100)
        for number in range(100):
            stamps.put(f"k{number}", 1000.0 - number, 0.0)
        stamps.resize(10, 0.0)
        self.assertEqual({key for key, _ in stamps.items()}, {f"k{number}" for number in range(10)})

    def test_the_worst_is_kept(self) -> None:
        """What is forgotten is what comes free first of those looked at."""
        stamps = Stamps(8)
        stamps.put("worst", 1e6, 0.0)
        for number in range(50):
            stamps.put(f"k{number}", 100.0, 0.0)
        self.assertEqual(stamps.get("worst"), 1e6)
        self.assertEqual(stamps.fullest(1), [("worst", 1e6)])
