"""Each item of the security checklist has tests that bear its number."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.security_report import OPEN, named, rows


class ChecklistTests(SynchronousTestCase):
    """`make checklist` runs them; here they are counted."""

    def test_no_item_is_without_a_test(self) -> None:
        """But for those that stand in OPEN with the reason, and no test bears a number that is none."""
        items = [row[0] for row in rows()]
        self.assertEqual(items, [f"S-{number:02d}" for number in range(1, 37)])
        found = named()
        self.assertLessEqual(set(found), set(items))
        self.assertLessEqual(set(items) - set(found), set(OPEN))
