"""Tests of smtpgate.filters.sender.reputation: what became of a sender's mail before."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.reputation import factory
from smtpgate.policy.verdict import Finding
from smtpgate.testing import Client, Gateway, complaints, use
from tests.signing_kit import record, sign

ADDRESS = "192.0.2.7"
GOOD = sign()
NAMES = {
    "s._domainkey.example.org": {"TXT": record()},
    "example.org": {"TXT": "v=spf1 ip4:192.0.2.0/24 -all"},
    "s._domainkey.gmail.com": {"TXT": record()},
    "gmail.com": {"TXT": "v=spf1 ip4:192.0.2.0/24 -all"},
    "7.2.0.192.in-addr.arpa": {"PTR": "mx1.mail.example.org"},
    "mx1.mail.example.org": {"A": ADDRESS},
}


class ReputationTests(SynchronousTestCase):
    """Senders with a record."""

    def setUp(self) -> None:
        self.made = Gateway(use(factory), zones=NAMES)

    def know(self, key: str, reason: str = "spam: bulk", points: float = 20.0) -> None:
        """A record; twenty points say something of an address and of a network."""
        self.made.senders.records.add(key, reason, points, self.made.clock.seconds())

    def sent(
        self, content: bytes = b"Subject: x\r\n\r\nx\r\n", sender: str = "a@example.org", ip: str = ADDRESS
    ) -> Client:
        client = self.made.connect(ip)
        client.helo()
        client.message(content, sender=sender)
        self.assertEqual(self.made.failures, [])
        return client

    def found(self, *args: object, **given: object) -> list[Finding]:
        """What is said of one message."""
        return [one for one in self.sent(*args, **given).findings if one.filter == "reputation"]  # type: ignore[arg-type]

    def test_nothing_is_known_of_most(self) -> None:
        """No finding, no look-up is missed."""
        self.assertEqual(self.found(), [])

    def test_a_bad_sender_scores_once(self) -> None:
        """By its address, its network, the house of its name, what SPF and DKIM prove; all are named."""
        keys = (
            "address 192.0.2.7",
            "network 192.0.2.0/24",
            "name example.org",
            "sender example.org",
            "dkim example.org",
        )
        for key in keys:
            self.setUp()
            self.know(key)
            (one,) = self.found(GOOD)
            self.assertEqual((one.reason, one.score), ("sender-suspect", 1.5), key)
            kind, _, name = key.partition(" ")
            self.assertTrue(
                one.detail.startswith(f"{kind} {name}: 20.0 bad of 20.0 points (spam: bulk 20.0)"), one.detail
            )
        for key in keys:
            self.know(key)
        (one,) = self.found(GOOD)
        self.assertEqual((one.score, one.detail.count("; ")), (1.5, 4))

    def test_good_is_a_proved_domain_alone(self) -> None:
        """An address may be lent to anybody."""
        self.know("address 192.0.2.7", "delivered")
        self.assertEqual(self.found(), [])
        self.know("sender example.org", "delivered")
        (one,) = self.found()
        self.assertEqual((one.reason, one.score), ("sender-known", -1.0))
        self.assertEqual(self.found(sender="a@example.com"), [])
        self.assertEqual(self.found(ip="198.51.100.9"), [], "SPF does not prove it from there")

    def test_a_bad_address_takes_the_good_name_along(self) -> None:
        """Points off are for who is good in all that is known."""
        self.know("sender example.org", "delivered")
        self.know("address 192.0.2.7")
        self.assertEqual([one.reason for one in self.found()], ["sender-suspect"])

    def test_whom_our_users_write_to(self) -> None:
        """Is good at once, where it is proved."""
        self.made.senders.correspondents.learn("bob", "example.org", self.made.clock.seconds())
        (one,) = self.found()
        self.assertEqual(
            (one.reason, one.score, one.detail), ("sender-correspondent", -1.5, "our users write to example.org")
        )
        self.assertEqual(self.found(ip="198.51.100.9"), [])

    def test_a_mailbox_provider_is_no_sender(self) -> None:
        """What one of its users did, or earned, is not another's."""
        signed = sign(d="gmail.com")
        for reason in ("spam: bulk", "delivered"):
            for key in ("sender gmail.com", "dkim gmail.com"):
                self.setUp()
                self.know(key, reason)
                self.assertEqual(self.found(signed, sender="a@gmail.com"), [], (key, reason))

    def test_a_name_of_the_envelope_is_not_borrowed(self) -> None:
        """Our users write to ann at a mailbox provider: SPF proves her mail; a signature of the provider under an
        envelope of somebody else's does not, whatever stands before the at."""
        signed = sign(d="gmail.com")
        self.made.senders.correspondents.learn("ann", "gmail.com", self.made.clock.seconds())
        self.assertEqual([one.reason for one in self.found(signed, sender="ann@gmail.com")], ["sender-correspondent"])
        for sender in ("ann@example.org", "ann@elsewhere.example", "bob@gmail.com"):
            self.assertEqual(self.found(signed, sender=sender), [], sender)

    def test_a_sample_that_is_small_or_old_says_nothing(self) -> None:
        """Points fade."""
        self.know("address 192.0.2.7", points=2.0)
        self.assertEqual(self.found(), [])
        self.know("address 192.0.2.7", points=10.0)
        self.assertEqual(len(self.found()), 1)
        self.made.clock.advance(40 * 86400)
        self.assertEqual(self.found(), [])

    def test_options(self) -> None:
        """Other scores; what is none is refused."""
        self.made = Gateway(use(factory, "suspect = 3.0"), zones=NAMES)
        self.know("address 192.0.2.7")
        self.assertEqual([one.score for one in self.found()], [3.0])
        self.assertEqual(complaints(factory, 'suspect = "much"')[0].partition(":")[0], "suspect")
