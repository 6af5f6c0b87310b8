"""Guaranteed shares: never more than there is, each class its part, and what is free for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.classes import CLASSES, SHARES
from smtpgate.traffic.shares import Shares

NAMES = st.sampled_from(CLASSES)


class SharesTests(SynchronousTestCase):
    """Slots of one resource."""

    @given(st.integers(0, 60), st.lists(st.tuples(st.booleans(), NAMES), max_size=200))
    def test_never_more_than_there_is(self, capacity: int, steps: list[tuple[bool, str]]) -> None:
        """Whatever comes and goes, no more are in use than there are, and who has less than its part may have one."""
        shares = Shares(capacity)
        for takes, name in steps:
            if takes and shares.may(name):
                shares.take(name)
            elif not takes and shares.used[name]:
                shares.give_back(name)
            self.assertLessEqual(shares.total, capacity)
            self.assertEqual(shares.total, sum(shares.used.values()))
            for one in CLASSES:
                if shares.used[one] < shares.promised(one) and shares.total < capacity:
                    self.assertTrue(shares.may(one))

    @given(st.integers(1, 200))
    def test_the_parts_fit(self, capacity: int) -> None:
        """All guarantees together are there at the same time."""
        shares = Shares(capacity)
        for name in CLASSES:
            for _ in range(shares.promised(name)):
                self.assertTrue(shares.may(name))
                shares.take(name)

    @given(st.integers(20, 100), st.lists(NAMES, min_size=300, max_size=300))
    def test_under_load_each_class_has_its_part(self, capacity: int, ended: list[str]) -> None:
        """All classes wait all the time, slots come free in any order: in the end each holds what it was promised."""
        shares = Shares(capacity)
        # The worst begin: they borrowed all that was free.
        while shares.may("suspect"):
            shares.take("suspect")
        for name in [*ended, *["suspect"] * capacity]:
            if not shares.used[name]:
                continue
            shares.give_back(name)
            following = shares.next(CLASSES)
            while following is not None:
                shares.take(following)
                following = shares.next(CLASSES)
        for name in CLASSES:
            self.assertGreaterEqual(shares.used[name], shares.promised(name))

    def test_one_class_alone_has_nearly_all(self) -> None:
        """What is free is lent out; nothing is kept for classes that were not seen."""
        shares = Shares(20)
        while shares.may("unknown"):
            shares.take("unknown")
        self.assertEqual(shares.used["unknown"], 20)

    def test_a_quarter_is_kept_for_those_that_were_seen(self) -> None:
        """A trusted session that comes while others have borrowed need not wait."""
        shares = Shares(20)
        shares.take("trusted")
        shares.give_back("trusted")
        while shares.may("unknown"):
            shares.take("unknown")
        self.assertEqual(shares.used["unknown"], 18)
        self.assertTrue(shares.may("trusted"))
        self.assertFalse(shares.may("suspect") and shares.promised("suspect") <= shares.used["suspect"])

    def test_as_many_are_kept_as_were_used_at_a_time(self) -> None:
        """And one more, so that no session of a class that comes as before waits for a borrower; within its part."""
        shares = Shares(20)
        for _ in range(3):
            shares.take("trusted")
        for _ in range(3):
            shares.give_back("trusted")
        while shares.may("unknown"):
            shares.take("unknown")
        self.assertEqual(shares.used["unknown"], 16)
        for _ in range(3):
            shares.take("trusted")
            self.assertFalse(shares.may("unknown"))
            self.assertTrue(shares.may("trusted"))

    def test_what_was_not_seen_for_long_is_lent(self) -> None:
        """After a time without a session of a class nothing is kept for it."""
        shares = Shares(20)
        shares.take("trusted")
        shares.give_back("trusted")
        shares.fade()
        self.assertEqual(shares.promised("trusted"), 8)
        for _ in range(18):
            self.assertTrue(shares.may("unknown"))
            shares.take("unknown")
        self.assertFalse(shares.may("unknown"))
        shares.fade()
        while shares.may("unknown"):
            shares.take("unknown")
        self.assertEqual(shares.total, 20)

    def test_who_has_less_than_its_part_comes_first(self) -> None:
        """Of those that wait, one under its guarantee goes before one over it, whatever their rank."""
        shares = Shares(10, {**SHARES, "trusted": 0.2})
        for _ in range(9):
            shares.take("trusted")
        self.assertEqual(shares.next(["trusted", "unknown"]), "unknown")
        self.assertEqual(shares.next(["trusted"]), "trusted")
        self.assertEqual(shares.borrowed("trusted"), 7)

    def test_nobody_loses_what_it_has(self) -> None:
        """Fewer slots than are in use: nothing is taken away, and nobody gets one until there is room."""
        shares = Shares(10)
        for _ in range(8):
            shares.take("known")
        shares.resize(4)
        self.assertFalse(shares.may("trusted"))
        for _ in range(5):
            shares.give_back("known")
        self.assertTrue(shares.may("trusted"))

    def test_shares_of_more_than_all_are_refused(self) -> None:
        """A wrong table is an error, not a surprise under load."""
        self.assertRaises(ValueError, Shares, 10, {"trusted": 0.7, "known": 0.5})
        self.assertRaises(ValueError, Shares, 10, {"trusted": -0.1})
