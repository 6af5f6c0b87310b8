"""Tests of smtpgate.policy.mark: what the gateway writes about its verdict."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import EditList
from smtpgate.policy.mark import marks
from smtpgate.policy.verdict import PASS, Finding, Verdict

TAGGED = Verdict("tag", None, 6.25)


def marked(section: bytes, verdict: Verdict, *findings: Finding) -> bytes:
    """A header section with the marks made."""
    edits = EditList()
    for edit in marks(HeaderSection(section), verdict, findings):
        edits.append(edit)
    return edits.apply(HeaderSection(section))[0]


class MarkTests(SynchronousTestCase):
    """`marks`."""

    def test_a_good_message_is_left_alone(self) -> None:
        """Octet for octet."""
        section = b"From: a@example.org\r\nX-Spam-Status: No\r\n\r\n"
        self.assertEqual(marks(HeaderSection(section), PASS, ()), [])

    def test_a_tagged_message_says_why(self) -> None:
        """Above all else, the reasons with the heaviest first, each once."""
        findings = [
            Finding("links", score=1.0, filter="links"),
            Finding("look-alike", score=4.0, filter="people"),
            Finding("links", score=0.5, filter="links"),
            Finding("quiet", filter="x"),
            Finding("tried", score=9.0, filter="x", is_shadow=True),
        ]
        self.assertEqual(
            marked(b"Subject: x\r\n\r\n", TAGGED, *findings),
            b"X-Spam-Flag: YES\r\nX-Spam-Score: 6.2\r\nX-Smtpgate-Verdict: tag;\r\n\tpeople/look-alike\r\n"
            b"\tlinks/links\r\nSubject: x\r\n\r\n",
        )

    def test_claims_of_strangers_are_taken_out(self) -> None:
        """All of them, however spelt, and nothing else."""
        section = (
            b"x-spam-flag: NO\r\nFrom: a@example.org\r\nX-SPAM-FLAG: YES\r\nX-Spam-Score : 1\r\n"
            b"X-Smtpgate-Verdict: accept\r\n folded\r\nX-Spam-Flags: x\r\n\r\n"
        )
        self.assertEqual(marked(section, PASS), b"From: a@example.org\r\nX-Spam-Flags: x\r\n\r\n")
        held = Verdict("quarantine", None, 9.0)
        self.assertEqual(marked(section, held), b"From: a@example.org\r\nX-Spam-Flags: x\r\n\r\n")
