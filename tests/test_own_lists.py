"""Lists of one's own: what an entry says of a sender, and what it does to mail for one recipient."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy import event as told
from smtpgate.policy.own import ALLOW, BLOCK, Own, Writers, decide, normal_address, normal_entry
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.script_kit import Backend
from tests.test_pipeline_verdict import says
from tests.vault_kit import VaultCase, VaultGateway


class EntryTests(SynchronousTestCase):
    """`policy.own`."""

    def test_normal(self) -> None:
        """Case, A-labels and what people write around a domain."""
        self.assertEqual(normal_entry(" Ann@Example.ORG "), "ann@example.org")
        self.assertEqual(normal_entry("*.example.org"), "example.org")
        self.assertEqual(normal_entry("@b\xfccher.example"), "xn--bcher-kva.example")
        self.assertEqual(normal_address("J\xf6rg@B\xdcCHER.example"), "j\xf6rg@xn--bcher-kva.example")
        for wrong in (
            "",
            "com",
            "a b@example.org",
            "<ann@example.org>",
            "ann@",
            "ann@exa mple.org",
            "\u202e.org",
            "[192.0.2.1]",
        ):
            with self.assertRaises(ValueError, msg=wrong):
                normal_entry(wrong)

    def decide(self, entries: dict[str, str], *authors: str, sender: str = "", proved: tuple[str, ...] = ()) -> str:
        """The word on a message."""
        return decide(Own(entries), Writers(authors, sender), proved)[0]

    def test_the_more_exact_decides(self) -> None:
        """An address stands above its domain, and a domain above those above it."""
        entries = {"example.org": BLOCK, "news.example.org": ALLOW, "ann@example.org": ALLOW}
        own = Own(entries)
        self.assertEqual(own.word("ann@example.org"), ALLOW)
        self.assertEqual(own.word("bob@example.org"), BLOCK)
        self.assertEqual(own.word("x@a.news.example.org"), ALLOW)
        self.assertEqual(own.word("x@notexample.org"), "")

    def test_an_allowed_name_is_proved(self) -> None:
        """By the domain itself, or one above it; neither a domain beside nor one below it proves anything."""
        entries = {"ann@shop.example.org": ALLOW}
        for proved, word in (
            ((), ""),
            (("shop.example.org",), ALLOW),
            (("example.org",), ALLOW),
            (("mail.shop.example.org",), ""),
            (("evil.example",), ""),
            (("org",), ""),
            (("op.example.org",), ""),
        ):
            self.assertEqual(self.decide(entries, "ann@shop.example.org", proved=proved), word, str(proved))
        # The envelope is proved, and somebody else's name stands in From.
        self.assertEqual(
            self.decide(entries, "ann@shop.example.org", sender="x@evil.example", proved=("evil.example",)), ""
        )

    def test_a_block_needs_no_proof(self) -> None:
        """Of From or envelope; of several authors one is enough, and all must be allowed."""
        self.assertEqual(self.decide({"bad.example": BLOCK}, "x@bad.example"), BLOCK)
        self.assertEqual(self.decide({"bad.example": BLOCK}, "x@good.example", sender="y@bad.example"), BLOCK)
        both = {"good.example": ALLOW, "bad.example": BLOCK}
        self.assertEqual(self.decide(both, "x@good.example", "x@bad.example", proved=("good.example",)), BLOCK)
        self.assertEqual(self.decide(both, "x@good.example", "x@other.example", proved=("good.example",)), "")
        # A newsletter that somebody wants, sent by a house that they do not want.
        self.assertEqual(self.decide(both, "x@good.example", sender="y@bad.example", proved=("good.example",)), ALLOW)


class WireTests(VaultCase):
    """Through the running gateway."""

    def finding(self, finding: Finding, category: str, proved: str = "example.org") -> list[Use]:
        """A filter that finds that of every message, and proves a domain."""

        def end(transaction: Any, services: Any) -> Finding:
            transaction.authenticated["dkim"] = (proved,)
            return finding

        made = says("guess", category, end=end).factory
        return [Use.of(made, made.name, made.build(None, None), None, "enforce", None)]

    def test_blocked(self) -> Deferred[Any]:
        """It is held for who blocks, and goes to the others; the client hears one answer that is true for all."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["b@example.net"], {"ann@example.org": BLOCK})
            self.assertEqual(self.send(gateway, b"b", b"c", subject=b"hello")[:9], b"250 2.0.0")
            (held,) = gateway.held()
            self.assertEqual([one.address for one in held.recipients], ["b@example.net"])
            self.assertEqual((held.held_as, held.filter, held.reason), ("spam", "own-lists", "blocked-by-recipient"))
            whom = [line for line in backend.commands if line.startswith(b"RCPT")]
            self.assertEqual((len(backend.messages), whom[-1][:24]), (1, b"RCPT TO:<c@example.net>"[:24]))
            gateway.engine.own.put("bea", ["b@example.net"], {})
            self.send(gateway, b"b", subject=b"again")
            self.assertEqual((len(gateway.held()), len(backend.messages)), (1, 2))

        return self.talk("", script)

    def test_nobody_blocks_for_the_postmaster(self) -> Deferred[Any]:
        """A block is a guess about mail like any other: it marks there."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["postmaster@example.net"], {"example.org": BLOCK})
            self.assertEqual(self.send(gateway, b"postmaster")[:3], b"250")
            self.assertEqual((len(gateway.held()), len(backend.messages)), (0, 1))

        return self.talk("", script)

    def test_allowed(self) -> Deferred[Any]:
        """What would be held as spam goes to who wants it, and is held for the other."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["b@example.net"], {"ann@example.org": ALLOW})
            self.assertEqual(self.send(gateway, b"b", b"c")[:3], b"250")
            (held,) = gateway.held()
            self.assertEqual([one.address for one in held.recipients], ["c@example.net"])
            self.assertEqual(len(backend.messages), 1)
            (ended,) = gateway.told(told.TransactionEnded)
            self.assertIn("allowed-by-recipient", [one.reason for one in ended.transaction.findings])

        return self.talk("", script, uses=self.finding(Finding("looks-bad", "quarantine"), "spam"))

    def test_a_refusal_of_spam(self) -> Deferred[Any]:
        """One answer for all: it passes where all want it, and not where one does not."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["b@example.net"], {"ann@example.org": ALLOW})
            self.assertEqual(self.send(gateway, b"b", b"c")[:3], b"550")
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertEqual(len(backend.messages), 1)

        return self.talk("", script, uses=self.finding(Finding("looks-bad", "reject"), "spam"))

    def test_never_over_malware_or_policy(self) -> Deferred[Any]:
        """What somebody wants is refused all the same where it is not a guess about spam."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["b@example.net"], {"ann@example.org": ALLOW})
            self.assertEqual(self.send(gateway, b"b")[:3], b"550")
            self.assertEqual(backend.messages, [])

        def one(category: str) -> Deferred[Any]:
            return self.talk("", script, uses=self.finding(Finding("seen", "reject"), category))

        return one("malware").addCallback(lambda _: one("policy"))

    def test_a_name_that_is_borrowed(self) -> Deferred[Any]:
        """Nobody proved that it is from who is allowed."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.engine.own.put("bea", ["b@example.net"], {"ann@example.org": ALLOW})
            self.assertEqual(self.send(gateway, b"b")[:3], b"550")
            self.assertEqual(backend.messages, [])

        return self.talk("", script, uses=self.finding(Finding("bad", "reject"), "spam", proved="evil.example"))
