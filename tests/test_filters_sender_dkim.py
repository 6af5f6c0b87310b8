"""Tests of smtpgate.filters.sender.dkim and signed: what is noted of signatures, and when keys are asked for."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender import arc, dkim
from smtpgate.filters.sender.signed import read
from smtpgate.interfaces import ChildFailed
from smtpgate.testing import Gateway, use
from tests.signing_kit import MESSAGE, NOW_S, ed25519_key, record, rsa_key, sign

OK = "250 2.0.0 Ok"
NAME = "s._domainkey.example.org"


class DKIMTests(SynchronousTestCase):
    """`dkim` in the in-memory gateway."""

    def start(self, options: str = "", **zone: Any) -> None:
        """A gateway whose DNS has a key, or what is said of it."""
        self.gateway = Gateway(use(dkim.factory, options), zones={NAME: zone or {"TXT": record()}})

    def findings(self, message: bytes, ip: str = "192.0.2.1") -> list[tuple[str, str, float]]:
        """Reason, detail and score of all that is found for a message."""
        client = self.gateway.connect(ip)
        client.helo()
        self.assertEqual(client.message(message), OK)
        self.assertEqual(self.gateway.failures, [])
        return [(one.reason, one.detail, one.score) for one in client.findings]

    def test_each_signature_is_noted(self) -> None:
        """With its domain, selector, algorithm and bits, or why it is not good."""
        self.start()
        found = self.findings(sign(sign(key=ed25519_key(), s="none")))
        said = "example.org, s=none, ed25519-sha256, there is no key none._domainkey.example.org"
        self.assertEqual(
            found,
            [("dkim-pass", "example.org, s=s, rsa-sha256 of 2048 bits", 0.0), ("dkim-permerror", said, 0.0)],
        )

    def test_a_fail_weighs_little_and_once(self) -> None:
        """RFC 6376 section 6.1: as a message without one; nothing beside a signature that is good."""
        self.start()
        changed = sign(sign(s="s", h="from:to")).replace(b"ready?", b"READY?")
        self.assertEqual([(one[0], one[2]) for one in self.findings(changed)], [("dkim-fail", 0.2), ("dkim-fail", 0.0)])
        mixed = sign(sign().replace(b"Subject: dinner", b"Subject: lunch"))
        self.assertEqual([(one[0], one[2]) for one in self.findings(mixed)], [("dkim-pass", 0.0), ("dkim-fail", 0.0)])

    def test_a_key_that_is_a_test_counts_for_nothing(self) -> None:
        """RFC 6376 section 3.6.1: t=y, whether it passes or fails."""
        self.start("valid = -1.0\nfail = 1.0", TXT=record(tags="v=DKIM1; t=y; "))
        passed, failed = self.findings(sign()), self.findings(sign().replace(b"ready?", b"READY?"))
        self.assertEqual([(one[0], one[2]) for one in passed + failed], [("dkim-pass", 0.0), ("dkim-fail", 0.0)])
        self.assertIn("a test", passed[0][1])

    def test_scores_are_the_operators(self) -> None:
        """Each word can weigh."""
        self.start("valid = -0.5\nfail = 2.0\npartial = 1.5\nmissing = 0.7")
        self.assertEqual([one[::2] for one in self.findings(sign(sign()))], [("dkim-pass", -0.5), ("dkim-pass", 0.0)])
        self.assertEqual([one[::2] for one in self.findings(sign(l=5))], [("dkim-pass", -0.5), ("dkim-partial", 1.5)])
        self.assertEqual(
            [one[::2] for one in self.findings(sign(sign(l=5)))], [("dkim-pass", -0.5), ("dkim-pass", 0.0)]
        )
        self.assertEqual([one[::2] for one in self.findings(MESSAGE)], [("dkim-none", 0.7)])

    def test_trouble_of_the_dns_lets_the_mail_through(self) -> None:
        """B-140: temperror or permerror is noted, nothing fails, whatever the answer is."""
        for zone, word in (
            ({"status": "servfail"}, "dkim-temperror"),
            ({"status": "nodata"}, "dkim-permerror"),
            ({"TXT": ""}, "dkim-permerror"),
            ({"TXT": b"\xff\x00;=;"}, "dkim-permerror"),
            ({"TXT": b"p=" + b"A" * 60_000}, "dkim-permerror"),
            ({"TXT": ["x"] * 50}, "dkim-permerror"),
        ):
            self.start(**zone)
            self.assertEqual([(one[0], one[2]) for one in self.findings(sign())], [(word, 0.0)], zone)

    def test_keys_are_asked_for_before_the_body(self) -> None:
        """All at the same time; those that came serve, the silent one is a temporary error of its own."""
        zones = {NAME: {"TXT": record(), "delay": 2.0}, "late._domainkey.example.org": "timeout"}
        self.gateway = Gateway(use(dkim.factory), zones=zones)
        header, _, body = sign(sign(s="late")).partition(b"\r\n\r\n")
        client = self.gateway.connect()
        client.helo()
        for command in (client.mail, client.rcpt, client.data):
            command()
        # A line end alone is held back, since it may be the one before the final dot.
        client.content(header + b"\r\n\r\n" + body[:1])
        asked = [(NAME, "TXT"), ("late._domainkey.example.org", "TXT")]
        self.assertEqual(self.gateway.resolver.asked, asked)
        self.assertEqual(self.gateway.resolver.waiting, 2)
        self.gateway.advance(1)
        client.content(body[1:])
        self.assertEqual(client.end(), "")
        self.gateway.advance(2.5)
        self.assertEqual(client.read(), OK)
        self.assertEqual([one.reason for one in client.findings], ["dkim-pass", "dkim-temperror"])
        self.assertEqual(self.gateway.resolver.asked, asked)

    def test_one_who_gives_up_leaves_nothing_behind(self) -> None:
        """The look-ups end with the session."""
        self.gateway = Gateway(use(dkim.factory), zones={NAME: {"TXT": record(), "delay": 2.0}})
        client = self.gateway.connect()
        client.helo()
        for command in (client.mail, client.rcpt, client.data):
            command()
        client.content(sign())
        self.assertEqual(self.gateway.resolver.waiting, 1)
        client.hang_up()
        self.assertEqual(self.gateway.resolver.waiting, 0)
        self.assertEqual(self.gateway.failures, [])

    def test_signatures_beyond_ten_are_counted(self) -> None:
        """RFC 6376 section 8.4: neither asked for nor looked at."""
        self.start()
        message = MESSAGE
        for number in range(13):
            message = sign(message, s=f"s{number}")
        found = self.findings(message)
        said = "3 signatures beyond the first 10 were not looked at"
        self.assertEqual((len(found), found[-1]), (11, ("dkim-unread", said, 0.0)))
        self.assertEqual(len(self.gateway.resolver.asked), 10)

    def test_a_message_without_signatures_costs_no_child(self) -> None:
        """Nor a look-up."""
        self.start()
        self.assertEqual(self.findings(MESSAGE), [("dkim-none", "", 0.0)])
        self.assertEqual((self.gateway.children.asked, self.gateway.resolver.asked), ([], []))

    def test_the_time_is_that_of_the_message(self) -> None:
        """x= is held against the clock of the gateway."""
        self.start()
        self.assertEqual([one[0] for one in self.findings(sign(x=NOW_S + 60))], ["dkim-pass"])
        self.gateway.advance(600)
        found = self.findings(sign(x=NOW_S + 60))
        self.assertEqual(
            [one[:2] for one in found], [("dkim-fail", "example.org, s=s, rsa-sha256 of 2048 bits, it has expired")]
        )

    def test_a_child_that_fails_claims_nothing(self) -> None:
        """The filter fails as its policy says, and the mail goes on."""
        self.start()
        self.gateway.children.fails = "timeout"
        client = self.gateway.connect()
        client.helo()
        self.assertEqual(client.message(sign()), OK)
        self.assertEqual([event.filter for event in self.gateway.failures], ["dkim"])
        self.assertNotIn("dkim-pass", [one.reason for one in client.findings])

    def test_an_answer_that_is_none(self) -> None:
        """A child that lies has failed."""
        for answer in ({}, {"dkim": [], "arc": {}, "unread": 0}, {"dkim": [{"x": 1}], "arc": 3, "unread": 0}):
            self.assertRaises(ChildFailed, read, answer)

    def test_both_filters_share_one_check(self) -> None:
        """One child, and each key once."""
        self.gateway = Gateway(use(dkim.factory), use(arc.factory), zones={NAME: {"TXT": record()}})
        self.findings(sign(sign()))
        self.assertEqual((self.gateway.children.asked, self.gateway.resolver.asked), (["signatures"], [(NAME, "TXT")]))

    def test_who_is_trusted_is_left_alone(self) -> None:
        """Clients of relay_from and users who logged in send what is to be signed later."""
        self.start()
        session = self.gateway.connect().session
        self.assertIsNotNone(_visit(self.gateway, session))
        for name, value in (("is_trusted", True), ("user", "alice"), ("mechanism", "PLAIN")):
            session = self.gateway.connect().session
            setattr(session, name, value)
            self.assertIsNone(_visit(self.gateway, session), name)

    def test_short_keys(self) -> None:
        """RFC 8301: 1024 bits are the least."""
        self.start(TXT=record(rsa_key(1024)))
        self.assertEqual([one[0] for one in self.findings(sign(key=rsa_key(1024)))], ["dkim-pass"])


def _visit(gateway: Gateway, session: Any) -> Any:
    """What the filter makes of a transaction of a session."""

    class _Transaction:
        pass

    transaction: Any = _Transaction()
    transaction.session = session
    return dkim.DKIMFilter(dkim.DKIMOptions(), gateway.services).transaction(transaction)
