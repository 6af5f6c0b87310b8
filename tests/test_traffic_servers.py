"""What is learned of a server: how much it bears, whether it is asked, and how it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.adaptive import LEAST, AdaptiveLimit
from smtpgate.traffic.ewma import Average
from smtpgate.traffic.health import EJECTED_S, FAILURES, LONGEST_S, Health


class AdaptiveLimitTests(SynchronousTestCase):
    """Up slowly, down at once."""

    def test_one_answer_too_late_halves_it(self) -> None:
        """Ten times the usual time, and over a second: at once, and once a second at most."""
        limit = AdaptiveLimit(40)
        for number in range(20):
            limit.answered(0.2, number * 0.1, 40)
        self.assertEqual(limit.slots, 40)
        limit.answered(3.0, 10.0, 40)
        self.assertEqual(limit.slots, 20)
        limit.answered(3.0, 10.5, 20)
        self.assertEqual(limit.slots, 20)
        limit.answered(3.0, 11.1, 20)
        self.assertEqual(limit.slots, 10)

    def test_it_comes_down_from_what_is_in_use(self) -> None:
        """A limit that nobody has reached says nothing: half of what the server had when it was busy."""
        limit = AdaptiveLimit(10_000)
        limit.busy(0.0, 30)
        self.assertEqual(limit.slots, 15)

    def test_it_goes_up_by_one_for_a_round_of_answers(self) -> None:
        """As many answers as the limit is make it one more, while it is in use."""
        limit = AdaptiveLimit(100)
        limit.busy(0.0, 20)
        for number in range(11):
            limit.answered(0.1, 10.0 + number, 10)
        self.assertEqual(limit.slots, 11)
        for number in range(100):
            limit.answered(0.1, 30.0 + number, 2)
        self.assertEqual(limit.slots, 11)

    @given(st.integers(1, 200), st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(1, 200)), max_size=200))
    def test_it_stays_within_its_bounds(self, most: int, answers: list[tuple[float, int]]) -> None:
        """Never over what was configured, never so low that nothing could show that the server is well again."""
        limit = AdaptiveLimit(most)
        for number, (seconds, outstanding) in enumerate(answers):
            limit.answered(seconds, float(number), outstanding)
            self.assertLessEqual(limit.slots, most)
            self.assertGreaterEqual(limit.slots, min(LEAST, most))

    def test_a_server_that_is_always_slow_is_not_punished(self) -> None:
        """Eight seconds a message, from the first on: that is how it is."""
        limit = AdaptiveLimit(20)
        for number in range(100):
            limit.answered(8.0, number * 8.0, 20)
        self.assertEqual(limit.slots, 20)

    def test_a_server_that_has_become_slow_is_forgiven_one_day(self) -> None:
        """What is usual follows."""
        limit = AdaptiveLimit(20)
        limit.answered(0.5, 0.0, 20)
        now = 0.0
        while limit.slots == 20 and now < 600:
            now += 6.0
            limit.answered(6.0, now, 20)
        self.assertLess(limit.slots, 20)
        for _ in range(3000):
            now += 6.0
            limit.answered(6.0, now, 20)
        self.assertEqual(limit.slots, 20)


class AverageTests(SynchronousTestCase):
    """Peak EWMA."""

    def test_it_jumps_up_and_comes_down_slowly(self) -> None:
        """A slow answer is seen at once, and remembered for a while."""
        average = Average(10.0)
        average.add(0.1, 0.0)
        average.add(5.0, 1.0)
        self.assertEqual(average.value, 5.0)
        average.add(0.1, 2.0)
        self.assertGreater(average.value, 4.0)
        for second in range(3, 60):
            average.add(0.1, float(second))
        self.assertLess(average.value, 0.2)


class HealthTests(SynchronousTestCase):
    """Down, put out, tried, and back by degrees."""

    def _fail(self, health: Health, now: float, times: int, may_eject: bool = True) -> bool:
        out = False
        for number in range(times):
            out = health.failed(now + number * 0.01, now + number * 0.01, may_eject)
        return out

    def test_put_out_after_failures_in_a_row(self) -> None:
        """Not before the fifth, and not where an answer came between."""
        health = Health(30.0)
        self.assertFalse(self._fail(health, 1.0, FAILURES - 1))
        health.worked(2.0)
        self.assertFalse(self._fail(health, 3.0, FAILURES - 1))
        self.assertTrue(self._fail(health, 4.0, 1))
        self.assertFalse(health.may_try(4.1))

    def test_what_breaks_together_is_one_failure(self) -> None:
        """Twenty transactions of a server that crashed."""
        health = Health(30.0)
        for _ in range(20):
            self.assertFalse(health.failed(10.0, 5.0, True))
        self.assertEqual(health.failures, 1)

    def test_the_last_one_is_never_put_out(self) -> None:
        """Where nobody else is there, a bad server is better than none."""
        health = Health(30.0)
        self.assertFalse(self._fail(health, 1.0, 50, may_eject=False))
        self.assertTrue(health.may_try(1.6))

    def test_out_for_longer_each_time(self) -> None:
        """30 s, 60 s, 90 s, up to 300 s; each time one session tries, and a failure puts it out again."""
        health = Health(30.0)
        self._fail(health, 0.0, FAILURES)
        at = 0.04
        for times in range(1, 14):
            out_s = min(LONGEST_S, EJECTED_S * times)
            self.assertFalse(health.may_try(at + out_s - 0.001))
            self.assertTrue(health.may_try(at + out_s + 0.001))
            at = at + out_s + 0.001
            health.has_trial = True
            self.assertFalse(health.may_try(at))
            self.assertTrue(health.failed(at, at, True))

    def test_an_ejection_is_forgotten(self) -> None:
        """After a long good time it begins at 30 s again."""
        health = Health(30.0)
        self._fail(health, 0.0, FAILURES)
        self.assertTrue(health.worked(40.0))
        self._fail(health, 50.0, FAILURES)
        self.assertEqual(health.ejections, 2)
        health.worked(120.0)
        self._fail(health, 1000.0, FAILURES)
        self.assertEqual(health.ejections, 1)

    def test_slow_start(self) -> None:
        """A tenth at first, all after its time, and half in the middle."""
        health = Health(30.0)
        self.assertEqual(health.part(0.0), 1.0)
        health.unreachable(5.0, 0.0)
        self.assertTrue(health.reached(100.0))
        self.assertEqual(health.part(100.0), 0.1)
        self.assertAlmostEqual(health.part(115.0), 0.5)
        self.assertEqual(health.part(130.0), 1.0)

    def test_a_port_that_refuses_costs_nothing_and_a_silent_one_one_wait(self) -> None:
        """The next try comes after as much time as the second failure took."""
        health = Health(30.0)
        health.unreachable(1.0, 0.0)
        self.assertTrue(health.may_try(1.0))
        health.unreachable(2.0, 0.0)
        self.assertTrue(health.may_try(2.0))
        health.unreachable(10.0, 5.0)
        self.assertFalse(health.may_try(14.9))
        self.assertAlmostEqual(health.wait_s(12.0), 3.0)
        self.assertTrue(health.may_try(15.0))

    def test_a_blip_costs_no_wait(self) -> None:
        """After the first failure the next session tries at once, however long it took."""
        health = Health(30.0)
        health.unreachable(30.0, 30.0)
        self.assertTrue(health.may_try(30.0))

    def test_a_person_who_says_try_now_waits_for_no_time(self) -> None:
        """Seen down or put out; and one trial at a time stays one."""
        health = Health(30.0)
        health.unreachable(2.0, 0.0)
        health.unreachable(10.0, 5.0)
        health.hasten(11.0)
        self.assertTrue(health.may_try(11.0))
        health.has_trial = True
        health.hasten(12.0)
        self.assertFalse(health.may_try(12.0))
        out = Health(30.0)
        self._fail(out, 0.0, FAILURES)
        self.assertFalse(out.may_try(1.0))
        out.hasten(1.0)
        self.assertTrue(out.may_try(1.0))

    def test_one_that_was_put_out_must_work_before_it_is_back(self) -> None:
        """That it can be reached was never in doubt."""
        health = Health(30.0)
        self._fail(health, 0.0, FAILURES)
        self.assertFalse(health.reached(40.0))
        self.assertTrue(health.is_ejected)
        self.assertTrue(health.worked(41.0))
        self.assertFalse(health.is_ejected)
        self.assertEqual(health.part(41.0), 0.1)

    def test_where_nobody_else_is_there_it_is_tried_early(self) -> None:
        """By one session at a time all the same."""
        health = Health(30.0)
        self._fail(health, 0.0, FAILURES)
        self.assertFalse(health.may_try(10.0))
        health.pardon(10.0)
        self.assertTrue(health.may_try(10.0))
        self.assertTrue(health.needs_trial)
