"""Detectors are exact: a small draw of what `make accuracy` measures."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.accuracy.numbers import false_texts, measure, true_texts


class NumbersTests(SynchronousTestCase):
    """Made values and look-alikes."""

    def test_each_detector_is_exact(self) -> None:
        """Nearly all of its values are found, and next to nothing else is taken for one."""
        figures = measure([*true_texts(6), *false_texts(200)])
        missed = {name: one for name, one in figures.items() if one.made - one.found > 1}
        false = {name: one for name, one in figures.items() if one.false > 0}
        self.assertEqual((missed, false), ({}, {}))
        self.assertGreaterEqual(
            sum(one.found for one in figures.values()) / sum(one.made for one in figures.values()), 0.98
        )
