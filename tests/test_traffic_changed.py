"""Keys to be written: in the order in which they changed, each once until it changes again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.changed import Changed


class ChangedTests(SynchronousTestCase):
    """`Changed`."""

    @given(st.lists(st.one_of(st.integers(0, 9), st.none())))
    def test_none_is_lost_and_none_waits_for_ever(self, steps: list[int | None]) -> None:
        """What waits is what changed and was not given since, whatever changes while some are given."""
        changed: Changed[int] = Changed()
        waiting: set[int] = set()
        for step in steps:
            if step is not None:
                changed.fresh[step] = None
                waiting.add(step)
                continue
            key = changed.pop()
            if key is None:
                self.assertEqual(waiting, set())
                continue
            if key not in changed.fresh:
                waiting.discard(key)
        while (key := changed.pop()) is not None:
            if key not in changed.fresh:
                waiting.discard(key)
        self.assertEqual(waiting, set())

    def test_in_their_order(self) -> None:
        """What is new comes after what was there."""
        changed: Changed[str] = Changed()
        for key in ("a", "b", "c", "a"):
            changed.fresh[key] = None
        self.assertEqual(changed.pop(), "a")
        changed.fresh["x"] = changed.fresh["a"] = None
        self.assertEqual([changed.pop() for _ in range(5)], ["b", "c", "x", "a", None])
