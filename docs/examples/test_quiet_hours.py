"""Tests of the sample plugin: `PYTHONPATH=. trial test_quiet_hours`."""

from __future__ import annotations

from smtpgate.plugins.quiet_hours import factory
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.testing import Gateway, complaints, use

HOURS = 'opens = "07:00"\ncloses = "20:00"\n'
WAIT = "451 4.7.1 Mail is taken from 07:00 on, time zone UTC"


class QuietHoursTests(SynchronousTestCase):
    """The filter, in a gateway without sockets."""

    def test_mail_waits_at_night(self) -> None:
        """The sender's server is told to come back; the backend sees nothing."""
        gateway = Gateway(use(factory, HOURS), now="2026-01-07 03:00")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), WAIT)
        self.assertEqual([finding.reason for finding in client.findings], ["quiet-hours"])
        self.assertEqual(gateway.backend.messages, [])

    def test_mail_is_taken_by_day(self) -> None:
        """Nothing is found."""
        gateway = Gateway(use(factory, HOURS), now="2026-01-07 07:00")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "250 2.0.0 Ok")
        self.assertEqual(client.findings, [])

    def test_a_session_that_lasts_into_the_night(self) -> None:
        """What counts is when the message comes."""
        gateway = Gateway(use(factory, HOURS), now="2026-01-07 19:58")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "250 2.0.0 Ok")
        gateway.advance(120)
        self.assertEqual(client.message(), WAIT)

    def test_urgent_recipients_always_get_mail(self) -> None:
        """One recipient of a message may wait while the other does not."""
        gateway = Gateway(use(factory, HOURS + 'urgent = ["oncall@example.net"]'), now="2026-01-07 03:00")
        client = gateway.connect()
        client.helo()
        client.mail()
        self.assertEqual(client.rcpt("bob@example.net"), WAIT)
        self.assertTrue(client.rcpt("oncall@example.net").startswith("250 "))

    def test_bounces_are_taken(self) -> None:
        """They are about mail of our own."""
        gateway = Gateway(use(factory, HOURS), now="2026-01-07 03:00")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(sender=""), "250 2.0.0 Ok")

    def test_in_shadow_nothing_happens(self) -> None:
        """What it would have done is recorded."""
        gateway = Gateway(use(factory, HOURS, mode="shadow"), now="2026-01-07 03:00")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "250 2.0.0 Ok")
        self.assertEqual([(one.reason, one.is_shadow) for one in client.findings], [("quiet-hours", True)])

    def test_mistakes_in_the_configuration(self) -> None:
        """The operator reads what is wrong."""
        self.assertEqual(complaints(factory, 'opens = "7 am"'), ["opens: '7 am' is no time of day; write it as 07:30"])
        self.assertEqual(complaints(factory, "open = 7"), ["open: unknown key"])
