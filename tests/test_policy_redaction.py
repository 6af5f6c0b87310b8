"""Tests of smtpgate.policy.redaction: what is taken out of a kept record."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.changes import Changed
from smtpgate.policy.record import MESSAGE_AT, SESSION_AT, compact
from smtpgate.policy.redaction import coarsen, eraser, network_of
from smtpgate.smtp.reply import Reply
from tests.observe_kit import finding, session, transaction


class EraseTests(SynchronousTestCase):
    """`eraser`."""

    def test_all_that_names_somebody_goes(self) -> None:
        """Sender, recipient, login, replies, findings, steps; and what the mail was about. Others stay."""
        facts = session(user="Bob@example.net")
        made = transaction(
            facts,
            recipients=("b@example.net", "BOB@Example.NET", "jbob@example.net", "bob@example.net.example.org"),
            reply=Reply(550, "5.1.1", ("no bob@example.net here",)),
        )
        made.findings = [finding(detail="for <bob@example.net>, of bob@example.network")]
        made.changes = [Changed("rule", "field", "Subject", "before", "after")]
        transaction(facts, recipients=("c@example.net",))
        record = compact(facts, facts.ended)
        self.assertTrue(eraser("bob@example.net")(record))
        said = json.dumps(record).lower()
        for text in ('"bob@example.net', "<bob@example.net>", " bob@example.net "):
            self.assertNotIn(text, said)
        for text in ("<jbob@example.net>", "bob@example.net.example.org", "bob@example.network", "<b@example.net>"):
            self.assertIn(text, said)
        first, second = record[SESSION_AT["messages"]]
        self.assertEqual([first[MESSAGE_AT[name]] for name in ("subject", "message_id")], ["", ""])
        self.assertEqual(first[MESSAGE_AT["changes"] :], [])
        self.assertEqual(second[MESSAGE_AT["subject"]], "Hello there")
        self.assertFalse(eraser("bob@example.net")(record))

    def test_a_domain_of_letters(self) -> None:
        """Written either way."""
        for given in ("bob@m\u00fcller.example", "bob@xn--mller-kva.example"):
            facts = session()
            transaction(facts, recipients=("bob@xn--mller-kva.example",))
            record = compact(facts, facts.ended)
            self.assertTrue(eraser(given)(record), given)

    def test_signs_of_patterns_are_text(self) -> None:
        """An address is no pattern."""
        facts = session()
        transaction(facts, recipients=("axb@example.net",))
        self.assertFalse(eraser("a.b@example.net")(compact(facts, facts.ended)))
        self.assertFalse(eraser(".*@example.net")(compact(facts, facts.ended)))


class CoarsenTests(SynchronousTestCase):
    """`coarsen`."""

    def test_the_network_stays(self) -> None:
        """In all texts; the name by which the client is known goes, with its port."""
        for ip, cut in (("192.0.2.77", "192.0.2.0"), ("2001:db8:1:2::77", "2001:db8:1::")):
            facts = session(client_ip=ip, peer_ip=ip, client_name="host-77.example.org", helo=f"[{ip}]")
            transaction(facts).findings = [finding(detail=f"{ip} is listed, and {ip}0 is not; host-77.example.org")]
            record = compact(facts, facts.ended)
            self.assertTrue(coarsen(record))
            said = json.dumps(record)
            self.assertNotIn(f"{ip} ", said)
            self.assertNotIn("host-77", said)
            self.assertIn(f"{cut} is listed, and {ip}0 is not", said)
            self.assertEqual((record[SESSION_AT["client_ip"]], record[SESSION_AT["client_port"]]), (cut, 0))
            self.assertFalse(coarsen(record))

    def test_what_is_no_address(self) -> None:
        """Stays."""
        self.assertEqual(network_of("unix"), "unix")
        self.assertEqual(network_of(""), "")
