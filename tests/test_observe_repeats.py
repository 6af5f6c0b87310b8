"""Tests of smtpgate.observe.repeats."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe.repeats import KEYS, Flood, Repeats


class RepeatsTests(SynchronousTestCase):
    """`Repeats`."""

    def test_first_is_said_and_the_next_are_counted(self) -> None:
        """After the period one is said again, with the number of those between."""
        repeats = Repeats(60.0)
        self.assertEqual(repeats.left_out("a", 0.0), 0)
        self.assertEqual([repeats.left_out("a", at) for at in (1.0, 30.0, 59.9)], [-1, -1, -1])
        self.assertEqual(repeats.left_out("a", 60.0), 3)
        self.assertEqual(repeats.left_out("a", 61.0), -1)
        self.assertEqual(repeats.left_out("a", 120.0), 1)

    def test_kinds_are_apart(self) -> None:
        """One trouble does not hide another."""
        repeats = Repeats(60.0)
        self.assertEqual(repeats.left_out("a", 0.0), 0)
        self.assertEqual(repeats.left_out("b", 0.0), 0)

    def test_forgotten_matter_is_said_at_once(self) -> None:
        """What was left out of it is counted once."""
        repeats = Repeats(60.0)
        for key in (("link", 1), ("link", 2), ("filter", 1)):
            repeats.left_out(key, 0.0)
            repeats.left_out(key, 1.0)
        self.assertEqual(repeats.forget(lambda key: key[0] == "link"), 2)
        self.assertEqual(repeats.forget(lambda key: key[0] == "link"), 0)
        self.assertEqual(repeats.left_out(("link", 1), 2.0), 0)
        self.assertEqual(repeats.left_out(("filter", 1), 2.0), -1)

    def test_memory_is_bounded(self) -> None:
        """However many kinds come, so many are held at most."""
        repeats = Repeats(60.0)
        for number in range(3 * KEYS):
            repeats.left_out(number, 0.0)
        self.assertLessEqual(len(repeats._said), KEYS)


class FloodTests(SynchronousTestCase):
    """`Flood`."""

    def test_some_of_a_second_are_let_through(self) -> None:
        """The rest is told by number when the second is over."""
        flood = Flood(3)
        self.assertEqual([flood.is_let_through("a", 7) for _ in range(5)], [True, True, True, False, False])
        self.assertEqual(flood.settle(7), [])
        self.assertEqual(flood.settle(8), [("a", 2)])
        self.assertEqual(flood.settle(9), [])
        self.assertTrue(flood.is_let_through("a", 9))

    def test_nothing_left_out_is_not_told(self) -> None:
        """A second with few leaves nothing behind."""
        flood = Flood(3)
        flood.is_let_through("a", 1)
        self.assertTrue(flood)
        self.assertEqual(flood.settle(2), [])
        self.assertFalse(flood)

    def test_kinds_are_apart(self) -> None:
        """One flood does not hide another's first."""
        flood = Flood(1)
        self.assertTrue(flood.is_let_through("a", 1))
        self.assertFalse(flood.is_let_through("a", 1))
        self.assertTrue(flood.is_let_through("b", 1))

    def test_memory_is_bounded(self) -> None:
        """However many kinds come, so many are held at most."""
        flood = Flood(1)
        for number in range(2 * KEYS):
            flood.is_let_through(number, 1)
        self.assertEqual(len(flood._seconds), KEYS)
