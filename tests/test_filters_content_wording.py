"""Tests of smtpgate.filters.content.wording: what words weigh."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import Facts
from smtpgate.examine.wording import FEATURES
from smtpgate.filters.content.wording import MOST, TOGETHER, WEIGHTS, WordingFilter, WordingOptions, factory, weighed
from smtpgate.testing import complaints


class WordingFilterTests(SynchronousTestCase):
    """One finding for all of it."""

    def look(self, options: WordingOptions = WordingOptions(), **counts: float) -> tuple[float, str]:  # noqa: B008
        """Score and detail."""
        facts = Facts(counts={name.replace("_", "-"): value for name, value in counts.items()})
        found = WordingFilter(options, None).look(facts, None)  # type: ignore[arg-type]
        return (found[0].score, found[0].detail) if found else (0.0, "")

    def test_nothing_is_nothing(self) -> None:
        """Nor is little."""
        self.assertEqual(self.look(), (0.0, ""))
        self.assertEqual(self.look(money=1), (0.0, ""))

    def test_features_add_up_and_are_named(self) -> None:
        """The heaviest first."""
        score, detail = self.look(vague_greeting=1, urgency=1)
        self.assertEqual((score, detail), (2.9, "vague-greeting +2.2, urgency +0.7"))

    def test_what_belongs_together_weighs_more(self) -> None:
        """In the text or in the subject."""
        apart = WEIGHTS["account-threat"] + WEIGHTS["verify-identity"]
        self.assertEqual(self.look(account_threat=1, verify_identity=1)[0], round(apart + 1.0, 2))
        self.assertIn("account-threat+verify-identity", self.look(account_threat_subject=1, verify_identity=1)[1])

    def test_hidden_text(self) -> None:
        """More than is seen; a preheader is none."""
        self.assertIn("hidden-letters", self.look(letters=100, hidden_letters=500, urgency=1)[1])
        self.assertNotIn("hidden-letters", self.look(letters=900, hidden_letters=500, urgency=1)[1])
        self.assertNotIn("hidden-letters", self.look(letters=50, hidden_letters=150, urgency=1)[1])

    def test_no_wording_alone_is_worth_more(self) -> None:
        """However bad."""
        self.assertEqual(self.look(**{name.replace("-", "_"): 9.0 for name in WEIGHTS})[0], MOST)

    def test_weights_of_the_operator(self) -> None:
        """In place of ours."""
        self.assertEqual(self.look(WordingOptions(weights={"urgency": 3.0}), urgency=1)[0], 3.0)
        self.assertEqual(len(complaints(factory, "weights = { urgent = 1.0 }")), 1)
        self.assertEqual(complaints(factory, "weights = { urgency = 1.0 }"), [])

    def test_every_weight_is_of_a_feature(self) -> None:
        """And every pair."""
        known = FEATURES.keys() | {"base64-ascii"}
        self.assertEqual(WEIGHTS.keys() - known, set())
        self.assertEqual({name for names, _ in TOGETHER for name in names} - known, set())
        self.assertEqual(weighed({}, WEIGHTS), {})
