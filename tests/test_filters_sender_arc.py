"""Tests of smtpgate.filters.sender.arc: what is noted of a chain, and whose claims are believed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.patterns import DomainList
from smtpgate.filters.sender.arc import factory, trusted_claims
from smtpgate.policy.authentication import ARCResult, ARCSet, Signatures
from smtpgate.testing import Gateway, complaints, use
from tests.signing_kit import MESSAGE, record, seal, sign

OK = "250 2.0.0 Ok"
CLAIMS = "mx.example.org; dmarc=pass header.from=example.org"
ZONES = {f"s._domainkey.{domain}": {"TXT": record()} for domain in ("example.org", "lists.example")}


class ARCTests(SynchronousTestCase):
    """`arc` in the in-memory gateway."""

    def findings(self, message: bytes, options: str = "") -> list[tuple[str, str, float]]:
        """Reason, detail and score of all that is found for a message."""
        gateway = Gateway(use(factory, options), zones=ZONES)
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(message), OK)
        self.assertEqual(gateway.failures, [])
        return [(one.reason, one.detail, one.score) for one in client.findings]

    def test_a_message_without_a_chain_says_nothing(self) -> None:
        """Signed or not."""
        self.assertEqual(self.findings(MESSAGE) + self.findings(sign()), [])

    def test_a_chain_that_passes_is_noted(self) -> None:
        """With all who sealed it, the first one first."""
        message = seal(seal(), 2, d="lists.example")
        self.assertEqual(self.findings(message), [("arc-pass", "sealed by example.org, lists.example", 0.0)])

    def test_a_chain_that_fails_is_noted(self) -> None:
        """Why, and with the score that the operator gives it; a part of one is one that fails."""
        broken = seal().replace(b"ready?", b"READY?")
        self.assertEqual(self.findings(broken), [("arc-fail", "signature 1: the body was changed", 0.0)])
        half = b"ARC-Authentication-Results: i=1; x\r\n" + MESSAGE
        self.assertEqual(self.findings(half, "fail = 0.5"), [("arc-fail", "a field is missing, or there twice", 0.5)])
        missing = seal(s="none")
        said = "seal 1: there is no key none._domainkey.example.org"
        self.assertEqual(self.findings(missing), [("arc-fail", said, 0.0)])

    def test_the_last_sealer_is_the_one_to_trust(self) -> None:
        """Not one before it: whoever came after may have put that seal on another message."""
        message = seal(seal(claims="mx.first; dmarc=fail"), 2, claims="mx.last; dmarc=pass", d="lists.example")
        trusted = self.findings(message, 'trusted_sealers = ["lists.example"]\ntrusted = -1.0')
        self.assertEqual(trusted[1:], [("arc-trusted", "lists.example says: mx.last; dmarc=pass", -1.0)])
        for given in ('["example.org"]', '["*.lists.example"]', "[]"):
            self.assertEqual([one[0] for one in self.findings(message, f"trusted_sealers = {given}")], ["arc-pass"])

    def test_a_trusted_seal_on_a_broken_chain_is_nothing(self) -> None:
        """Whatever it says."""
        broken = seal().replace(b"Subject: dinner", b"Subject: lunch")
        found = self.findings(broken, 'trusted_sealers = ["example.org"]\ntrusted = -1.0')
        self.assertEqual([(one[0], one[2]) for one in found], [("arc-fail", 0.0)])

    def test_lists_of_sealers_are_checked(self) -> None:
        """An entry that is no domain is a fault of the configuration."""
        self.assertEqual(complaints(factory, 'trusted_sealers = ["*.example.org", "lists.example"]'), [])
        self.assertEqual(len(complaints(factory, 'trusted_sealers = ["not a domain"]')), 1)


class ClaimTests(SynchronousTestCase):
    """`trusted_claims`, which DMARC asks."""

    def test_claims_are_those_of_the_newest_set(self) -> None:
        """Of a chain that passes, where its sealer is trusted."""
        sets = (ARCSet(1, "first.example", "one"), ARCSet(2, "sub.last.example", "two"))
        passed = Signatures(arc=ARCResult("pass", "", sets))
        self.assertEqual(trusted_claims(passed, DomainList(["*.last.example"])), "two")
        self.assertEqual(trusted_claims(passed, DomainList(["first.example", "last.example"])), "")
        self.assertEqual(trusted_claims(passed, DomainList()), "")
        for result in ("fail", "none"):
            self.assertEqual(
                trusted_claims(Signatures(arc=ARCResult(result, "", sets)), DomainList(["*.last.example"])), ""
            )
        self.assertEqual(trusted_claims(Signatures(arc=ARCResult("pass")), DomainList(["*.last.example"])), "")
