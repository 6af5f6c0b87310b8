"""Tests of smtpgate.examine.chain with the cases of the public validation suite for ARC."""

from __future__ import annotations

import sys
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.signatures import verify
from tests.arc_cases import CASES, DIFFERENT
from tests.arc_made import known, made
from tests.signing_kit import NOW_S


class SuiteTests(SynchronousTestCase):
    """The table, case by case."""

    def test_each_case(self) -> None:
        """The state that the suite asks for, and where it is fail, for the reason that the case is about."""
        keys = known()
        agreed = 0
        wrong = []
        for name, base, steps, asked in CASES:
            wanted = DIFFERENT[name][0] if name in DIFFERENT else asked
            word, _, why = wanted.partition(": ")
            arc = verify(made(base, steps), {"keys": keys, "now": NOW_S})["arc"]
            agreed += arc["result"] == asked.partition(": ")[0]
            if arc["result"] != word or why not in arc["reason"]:
                wrong.append((name, wanted, arc["result"], arc["reason"]))
        print(f"\narc suite: {agreed} of {len(CASES)}", file=sys.__stderr__)
        self.assertEqual(wrong, [])

    def test_the_table_is_whole(self) -> None:
        """As many cases as the suite has, none with the same message twice; what is different is in it, and differs."""
        self.assertEqual(len(CASES), 156)
        self.assertEqual([one for one, count in Counter((row[0], row[1]) for row in CASES).items() if count > 1], [])
        asked = {name: told.partition(": ")[0] for name, _, _, told in CASES}
        for name, (ours, _) in DIFFERENT.items():
            self.assertNotEqual(asked[name], ours.partition(": ")[0])
