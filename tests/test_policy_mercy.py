"""Tests of smtpgate.policy.mercy: whom guesses must not keep mail from."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.mercy import is_spared, later
from smtpgate.policy.verdict import ACTIONS, Finding
from smtpgate.smtp.address import Path


class MercyTests(SynchronousTestCase):
    """Who is spared, and what a session's finding is for a message."""

    def test_postmaster_and_abuse_are_spared(self) -> None:
        """In any case, in any domain, and the bare postmaster."""
        for local, domain in (("postmaster", "example.net"), ("PostMaster", ""), ("abuse", "example.org")):
            self.assertTrue(is_spared(Path(b"x", local, domain)), local)
        for local in ("postmaster2", "abuse+x", "bob", "post.master", ""):
            self.assertFalse(is_spared(Path(b"x", local, "example.net")), local)

    def test_a_refusal_that_was_heard_is_not_heard_again(self) -> None:
        """A guess that met a spared recipient marks the message, anything else is a note."""
        for category, action in (("spam", "tag"), ("sender", "tag"), ("policy", "note"), ("malware", "note")):
            for refusal in ("reject", "defer"):
                self.assertEqual(later(Finding("r", refusal, category=category, score=2.0)).action, action)

    def test_what_refuses_nothing_stays(self) -> None:
        """With its score."""
        for action in ACTIONS[:4]:
            finding = Finding("r", action, category="spam", score=1.0)
            self.assertIs(later(finding), finding)
