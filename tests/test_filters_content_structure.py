"""Tests of smtpgate.filters.content.structure: forms that could be read in two ways, and limits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import Anomaly, Facts, Mailbox
from smtpgate.filters.content.structure import WORDS, StructureFilter, StructureOptions, factory
from smtpgate.message.header import HeaderSection
from smtpgate.policy.verdict import Finding
from smtpgate.testing import complaints

ALICE = Mailbox("Alice", "alice@example.com")


def found(facts: Facts, header: bytes = b"From: alice@example.com\r\n\r\n", **options: Any) -> list[Finding]:
    """What the filter says."""
    transaction: Any = SimpleNamespace(header=HeaderSection(header))
    return StructureFilter(StructureOptions(**options), None).look(facts, transaction)


class StructureTests(SynchronousTestCase):
    """Anomalies, limits and authors."""

    def test_a_plain_message_has_nothing(self) -> None:
        """Nor have two authors of one domain (B-134)."""
        self.assertEqual(found(Facts(authors=(ALICE,))), [])
        self.assertEqual(found(Facts(authors=(ALICE, Mailbox("", "bob@EXAMPLE.com")))), [])

    def test_two_authors_are_refused(self) -> None:
        """B-132: two fields, or two domains in one."""
        two = (ALICE, Mailbox("", "mallory@example.org"))
        for header in (b"From: alice@example.com\r\nFrom: mallory@example.org\r\n\r\n", b"From: both\r\n\r\n"):
            (finding,) = found(Facts(authors=two), header)
            self.assertEqual((finding.reason, finding.action), ("structure-two-authors", "reject"))
            self.assertTrue(finding.detail.endswith(": alice@example.com, mallory@example.org"), finding.detail)

    def test_no_author_counts(self) -> None:
        """A name without an address is none."""
        (finding,) = found(Facts(authors=(Mailbox("Alice", ""),)))
        self.assertEqual((finding.reason, finding.action, finding.score), ("structure-no-author", "note", 1.5))

    def test_limits_are_refused(self) -> None:
        """B-88: what was not looked at does not pass as if it had been."""
        facts = Facts(authors=(ALICE,), limits=("depth", "text", "time"), is_complete=False)
        self.assertEqual(
            {finding.reason: finding.action for finding in found(facts)},
            {"structure-limit-depth": "reject", "structure-limit-text": "note", "structure-limit-time": "defer"},
        )

    def test_ambiguity_counts_once_for_each_kind(self) -> None:
        """With every place in the detail."""
        facts = Facts(
            authors=(ALICE,),
            anomalies=(
                Anomaly("duplicate-encoding", "1", "base64, 7bit"),
                Anomaly("duplicate-encoding", "2"),
                Anomaly("no-close", "3"),
            ),
        )
        first, second = found(facts)
        self.assertEqual(first.score, 2.0)
        self.assertTrue(first.detail.endswith(": part 1 base64, 7bit; part 2"), first.detail)
        self.assertEqual((second.reason, second.score), ("structure-no-close", 0.0))

    def test_the_operator_may_refuse_ambiguity(self) -> None:
        """With the reason in words."""
        facts = Facts(authors=(ALICE,), anomalies=(Anomaly("no-close", "3"),))
        (finding,) = found(facts, reject=["no-close"])
        self.assertEqual(finding.public, f"The message is not accepted: {WORDS['no-close']}")

    def test_words_that_mean_nothing_are_refused(self) -> None:
        """At load."""
        self.assertEqual(len(complaints(factory, 'reject = ["noclose"]')), 1)
        self.assertEqual(complaints(factory, 'tag = ["no-close"]\nscores = { nul = 3.0 }'), [])
