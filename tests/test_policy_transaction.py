"""Tests of smtpgate.policy.transaction: the facts that filters, routes and witnesses read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import TIMELINE_STEPS, Session, Transaction
from smtpgate.smtp.address import NULL_SENDER


class TimelineTests(SynchronousTestCase):
    """`Session.note`."""

    def test_steps_are_told_from_the_start_of_the_session(self) -> None:
        """In seconds."""
        session = Session("id", "mx", "mx")
        session.begun = 100.0
        session.note(101.5, "client", "EHLO", "mail.example.org")
        self.assertEqual(session.timeline, [(1.5, "client", "EHLO", "mail.example.org")])

    def test_a_talkative_client_costs_no_memory(self) -> None:
        """What does not fit is counted (promise 8)."""
        session = Session("id", "mx", "mx")
        for number in range(TIMELINE_STEPS + 7):
            session.note(float(number), "client", "NOOP")
        self.assertEqual((len(session.timeline), session.dropped_steps), (TIMELINE_STEPS, 7))


class MessageTests(SynchronousTestCase):
    """What a transaction says of its message."""

    def transaction(self, header: bytes | None) -> Transaction:
        """One with this header section."""
        made = Transaction("id.1", Session("id", "mx", "mx"), NULL_SENDER, {})
        made.header = HeaderSection(header) if header is not None else None
        return made

    def test_before_the_header_there_is_nothing_to_say(self) -> None:
        """Neither where the fields are not there."""
        for header in (None, b"", b"From: a\r\n\r\n"):
            self.assertEqual((self.transaction(header).message_id, self.transaction(header).subject), ("", ""))

    def test_message_id_and_subject_are_bounded(self) -> None:
        """They go to logs and tables."""
        made = self.transaction(b"Message-ID: <" + b"x" * 2000 + b">\r\nSubject: \xfc" + b"y" * 2000 + b"\r\n\r\n")
        self.assertEqual((len(made.message_id), len(made.subject)), (500, 500))
        self.assertEqual(made.subject[0], "\\")
