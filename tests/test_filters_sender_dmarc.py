"""Tests of smtpgate.filters.sender.dmarc: results, policies, lists, sealers, and DNS trouble."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.patterns import NetworkList
from smtpgate.filters.sender.dmarc import IDENTIFIERS, author_domain, factory, identifiers, list_domains
from smtpgate.message.header import HeaderSection
from smtpgate.policy.authentication import DKIMResult, Signatures, SPFResult
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp.address import NULL_SENDER, Path
from smtpgate.testing import Client, Gateway, complaints, use

#: These need SPF; without its module they say so, and run as soon as it is there.
OK = "250 2.0.0 Ok"
#: Of the client that every test has.
IP = "192.0.2.1"


@lru_cache(1)
def key() -> tuple[bytes, str]:
    """A private key, and the record of its public half."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, f"v=DKIM1; p={base64.b64encode(public).decode()}"


def signed(content: bytes, domain: str, selector: str = "s") -> bytes:
    """The message with a DKIM signature of a domain on top."""
    import dkim

    signature: bytes = dkim.sign(content, selector.encode(), domain.encode(), key()[0], include_headers=[b"from"])
    return signature + content


def sealed(content: bytes, results: str, domain: str = "relay.example") -> bytes:
    """The message with the ARC set of a domain on top, which saw those results."""
    import dkim

    told = f"Authentication-Results: {domain}; {results}\r\n".encode() + content
    seal = dkim.arc_sign(told, b"s", domain.encode(), key()[0], domain.encode(), include_headers=[b"from"])
    return b"".join(seal) + content


def mail(author: str = "alice@example.org", more: str = "") -> bytes:
    """A message of an author."""
    return f"From: {author}\r\nTo: bob@example.net\r\n{more}Subject: x\r\n\r\nHello.\r\n".encode()


def keys(*domains: str) -> dict[str, Any]:
    """Zones with the key of `signed`."""
    return {f"s._domainkey.{domain}": {"TXT": key()[1]} for domain in domains}


REJECT: dict[str, Any] = {"_dmarc.example.org": {"TXT": "v=DMARC1; p=reject"}, "example.org": {"A": "192.0.2.9"}}
SPF: dict[str, Any] = {"TXT": f"v=spf1 ip4:{IP} -all"}


class Case(SynchronousTestCase):
    """A message through a gateway."""

    def sent(
        self,
        zones: dict[str, Any],
        content: bytes = mail(),
        options: str = 'enforce = "reject"',
        sender: str = "bounce@sender.example",
        mode: str = "enforce",
        recipient: str = "bob@example.net",
    ) -> tuple[Client, str]:
        """The client and the last reply."""
        self.gateway = Gateway(use(factory, options, mode=mode), zones=zones)
        client = self.gateway.connect(IP)
        client.helo()
        reply = client.message(content, sender=sender, recipients=(recipient,))
        if not reply:
            self.gateway.advance(12)
            reply = client.read()
        self.assertEqual(self.gateway.failures, [])
        return client, reply

    def reasons(self, zones: dict[str, Any], content: bytes = mail(), **more: Any) -> list[str]:
        """What was found, without the filter's name; nothing where no policy is there."""
        client, self.reply = self.sent(zones, content, **more)
        return [one.reason.removeprefix("dmarc-") for one in client.findings]


class ResultTests(Case):
    """Pass, fail and what lies between."""

    def test_nothing_proved(self) -> None:
        """A fail is refused, names the domain and its policy, and has the code of RFC 7372."""
        client, reply = self.sent(REJECT)
        self.assertEqual(reply, "550 5.7.26 The DMARC policy of example.org is not met by this message")
        found = client.findings[0]
        self.assertEqual((found.reason, found.action, found.score), ("dmarc-fail", "reject", 2.0))
        self.assertIn("example.org asks for reject at example.org", found.detail)

    def test_no_record(self) -> None:
        """DMARC does not apply."""
        self.assertEqual(self.reasons({}), [])

    def test_spf_proves(self) -> None:
        """Of the author's domain or its organisation; of another it is nothing."""
        for domain, wanted in (
            ("example.org", ["pass"]),
            ("mail.example.org", ["pass"]),
            ("sender.example", ["fail"]),
            ("example.org.sender.example", ["fail"]),
        ):
            self.assertEqual(self.reasons({**REJECT, domain: SPF}, sender=f"b@{domain}"), wanted, domain)

    def test_strict_spf(self) -> None:
        """aspf=s wants the very domain."""
        zones = {
            "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject; aspf=s"},
            "mail.example.org": SPF,
            "example.org": SPF,
        }
        self.assertEqual(self.reasons(zones, sender="b@mail.example.org"), ["fail"])
        self.assertEqual(self.reasons(zones, sender="b@example.org"), ["pass"])

    def test_the_greeting_counts_for_the_null_sender(self) -> None:
        """And for no other."""
        zones = {**REJECT, "client.example.org": SPF}
        self.assertEqual(self.reasons(zones, sender=""), ["pass"])
        self.assertEqual(self.reasons(zones, sender="b@sender.example"), ["fail"])

    def test_a_signature_proves(self) -> None:
        """Of the author's domain or its organisation; a broken one or a stranger's does not."""
        good = signed(mail(), "example.org")
        zones = {**REJECT, **keys("example.org", "mail.example.org", "sender.example")}
        self.assertEqual(self.reasons(zones, good), ["pass"])
        self.assertEqual(self.reasons(zones, signed(mail(), "mail.example.org")), ["pass"])
        self.assertEqual(self.reasons(zones, signed(mail(), "sender.example")), ["fail"])
        self.assertEqual(self.reasons(zones, good.replace(b"Hello", b"Hallo")), ["fail"])
        self.assertEqual(self.reasons(zones, signed(signed(mail(), "example.org"), "sender.example")), ["pass"])

    def test_a_part_of_the_body_proves_nothing(self) -> None:
        """A signature with l= counts where it covers all of it."""
        import dkim

        signature = dkim.sign(mail(), b"s", b"example.org", key()[0], include_headers=[b"from"], length=True)
        zones = {**REJECT, **keys("example.org")}
        self.assertEqual(self.reasons(zones, signature + mail()), ["pass"])
        self.assertEqual(self.reasons(zones, signature + mail() + b"And pay me.\r\n"), ["fail"])

    def test_strict_signatures(self) -> None:
        """adkim=s wants the very domain."""
        zones = {
            **keys("example.org", "mail.example.org"),
            "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject; adkim=s"},
        }
        self.assertEqual(self.reasons(zones, signed(mail(), "mail.example.org")), ["fail"])
        self.assertEqual(self.reasons(zones, signed(mail(), "example.org")), ["pass"])

    def test_two_records_are_none(self) -> None:
        """B-150: through the whole gateway."""
        self.assertEqual(
            self.reasons({"_dmarc.example.org": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=reject"]}}), []
        )

    def test_public_suffixes(self) -> None:
        """Asked only where the option says so: a sibling without any record is of the same owner then."""
        zones = {"_dmarc.news.example.co.uk": {"TXT": "v=DMARC1; p=reject"}, "example.co.uk": SPF}
        content = mail("a@news.example.co.uk")
        self.assertEqual(self.reasons(zones, content, sender="b@example.co.uk"), ["fail"])
        options = 'enforce = "reject"\npsl = true'
        self.assertEqual(self.reasons(zones, content, options=options, sender="b@example.co.uk"), ["pass"])
        zones["other.co.uk"] = SPF
        self.assertEqual(self.reasons(zones, content, options=options, sender="b@other.co.uk"), ["fail"])


class IdentifierTests(SynchronousTestCase):
    """Which domains may speak for the author."""

    def _found(self, sent: SPFResult, *signed: DKIMResult, sender: Path = NULL_SENDER) -> list[tuple[str, str, bool]]:
        transaction = Transaction("1.1", Session("1", "front", "mx"), sender, {})
        found = identifiers(transaction, sent, Signatures(signed), 100)
        return [(one.method, one.domain, one.has_passed) for one in found]

    def test_what_passed_comes_first(self) -> None:
        """Then what could not be checked; each once, nothing else, and no more than are looked at."""
        sent = SPFResult("temperror", "a.example")
        signed = [
            DKIMResult("fail", "b.example"),
            DKIMResult("temperror", "c.example"),
            DKIMResult("pass", "d.example"),
            DKIMResult("pass", "d.example", "other"),
            DKIMResult("pass", ""),
            *(DKIMResult(result, "e.example") for result in ("none", "policy", "neutral", "permerror")),
        ]
        wanted = [("dkim", "d.example", True), ("spf", "a.example", False), ("dkim", "c.example", False)]
        self.assertEqual(self._found(sent, *signed), wanted)
        many = [DKIMResult("pass", f"{number}.example") for number in range(50)]
        self.assertEqual(len(self._found(sent, *many)), IDENTIFIERS)

    def test_signatures_that_leave_something_open(self) -> None:
        """From, or a part of the body, is anybody's then."""
        none = SPFResult("none")
        self.assertEqual(self._found(none, DKIMResult("pass", "a.example", has_from=False)), [])
        self.assertEqual(self._found(none, DKIMResult("pass", "a.example", length=99)), [])
        self.assertEqual(len(self._found(none, DKIMResult("pass", "a.example", length=100))), 1)
        self.assertEqual(len(self._found(none, DKIMResult("pass", "a.example", is_test=True))), 1)

    def test_the_greeting(self) -> None:
        """It stands for the null sender only."""
        greeted = SPFResult("pass", "mail.example.org", "helo")
        self.assertEqual(self._found(greeted), [("spf", "mail.example.org", True)])
        self.assertEqual(self._found(greeted, sender=Path(b"a@b.example", "a", "b.example")), [])


class AuthorTests(Case):
    """Whose domain it is."""

    def test_domains(self) -> None:
        """B-130, B-134: a quoted local part holds no domain; several authors of one domain are checked once."""
        for value, wanted in (
            ("alice@example.org", "example.org"),
            ("Alice <alice@EXAMPLE.org.>", "example.org"),
            ('"Someone <someone@example.org>"@example.net', "example.net"),
            ('"a@example.com" <b@example.org>', "example.org"),
            ("a@example.com, b@example.com", "example.com"),
            ("team: a@example.com, B <b@Example.COM>;", "example.com"),
            ("a@b\u00fccher.example", "xn--bcher-kva.example"),
            ("a@example.com, b@example.org", ""),
            ("a@example.com, b", ""),
            ("a@b.example.com, c@example.com", ""),
            ("<>", ""),
            ("nobody:;", ""),
            ("a@[192.0.2.1]", ""),
            ("a@localhost", ""),
            ("a@exa mple.org", ""),
            ("a@-..-", ""),
            ("", ""),
        ):
            domain, problem = author_domain(HeaderSection(f"From: {value}\r\n\r\n".encode()))
            self.assertEqual((domain, bool(problem)), (wanted, not wanted), value)
        self.assertTrue(author_domain(None)[1])
        self.assertTrue(author_domain(HeaderSection(b"To: a@example.org\r\n\r\n"))[1])

    def test_one_domain_in_many_spellings(self) -> None:
        """A few are taken for one; with more the author is nobody that is known."""
        spelt = [f"a@{'a' * number}{chr(0xFF41)}{'a' * (20 - number)}.example" for number in range(20)]
        for count, wanted in ((5, f"{'a' * 21}.example"), (20, "")):
            section = HeaderSection(f"From: {', '.join(spelt[:count])}\r\n\r\n".encode())
            self.assertEqual(author_domain(section)[0], wanted)

    def test_two_from_fields(self) -> None:
        """B-132: of several domains it is a permerror, which others refuse; of one it is checked."""
        two = b"From: alice@example.org\r\n"
        self.assertEqual(self.reasons(REJECT, two + mail("mallory@evil.example")), ["permerror"])
        self.assertEqual(self.reply, OK)
        self.assertEqual(self.reasons(REJECT, two + mail("bob@example.org")), ["fail"])

    @given(st.text(st.sampled_from('ab@<>",;:() .\\[]=?'), max_size=30))
    @settings(max_examples=200)
    def test_any_author_is_read(self, value: str) -> None:
        """A domain that can be asked for, or a reason why there is none."""
        domain, problem = author_domain(HeaderSection(f"From: {value}\r\n\r\n".encode()))
        self.assertNotEqual(bool(domain), bool(problem))


class PolicyTests(Case):
    """What is asked for, and what comes of it."""

    def _action(self, record: str, options: str, author: str = "alice@example.org", **zones: Any) -> tuple[str, float]:
        client, _ = self.sent({"_dmarc.example.org": {"TXT": record}, **zones}, mail(author), options)
        (found,) = client.findings
        return found.action, found.score

    def test_the_operator_sets_the_limit(self) -> None:
        """The milder of what is asked for and what is allowed; the default marks."""
        for policy, enforce, wanted in (
            ("reject", "", ("tag", 2.0)),
            ("reject", "note", ("note", 2.0)),
            ("reject", "quarantine", ("quarantine", 2.0)),
            ("reject", "reject", ("reject", 2.0)),
            ("quarantine", "reject", ("quarantine", 1.5)),
            ("quarantine", "tag", ("tag", 1.5)),
            ("none", "reject", ("note", 0.3)),
        ):
            options = f'enforce = "{enforce}"' if enforce else ""
            self.assertEqual(self._action(f"v=DMARC1; p={policy}", options), wanted, (policy, enforce))

    def test_test_mode(self) -> None:
        """t=y is one step down."""
        self.assertEqual(self._action("v=DMARC1; p=reject; t=y", 'enforce = "reject"'), ("quarantine", 1.5))
        self.assertEqual(self._action("v=DMARC1; p=quarantine; t=y", 'enforce = "reject"'), ("note", 0.3))

    def test_below_the_domain_with_the_record(self) -> None:
        """B-152: sp for names that exist, np for those that do not; p for the domain itself."""
        record = "v=DMARC1; p=none; sp=quarantine; np=reject"
        options = 'enforce = "reject"'
        here = {"here.example.org": {"A": "192.0.2.9"}}
        self.assertEqual(self._action(record, options)[0], "note")
        self.assertEqual(self._action(record, options, "a@here.example.org", **here)[0], "quarantine")
        self.assertEqual(self._action(record, options, "a@gone.example.org")[0], "reject")
        above = {"x.empty.example.org": {"A": "192.0.2.9"}}
        self.assertEqual(self._action(record, options, "a@empty.example.org", **above)[0], "quarantine")

    def test_a_broken_policy(self) -> None:
        """Without addresses for reports it is as if there were no record."""
        self.assertEqual(self.reasons({"_dmarc.example.org": {"TXT": "v=DMARC1; p=bogus"}}), [])
        record = "v=DMARC1; p=bogus; rua=mailto:a@example.org"
        self.assertEqual(self._action(record, 'enforce = "reject"'), ("note", 0.3))

    def test_postmaster_hears_it_all(self) -> None:
        """Mail to postmaster is marked at most."""
        client, reply = self.sent(REJECT, recipient="postmaster@example.net")
        self.assertEqual(reply, OK)
        self.assertEqual([one.reason for one in client.findings], ["dmarc-fail"])

    def test_shadow(self) -> None:
        """It passes, and what would have been is recorded."""
        client, reply = self.sent(REJECT, mode="shadow")
        verdict = client.verdict
        self.assertEqual((reply, verdict and verdict.would), (OK, "reject"))

    def test_options_are_checked(self) -> None:
        """Actions that a policy cannot have, and domains that are none."""
        for options, key in (('enforce = "defer"', "enforce"), ('trusted_sealers = ["@x"]', "trusted_sealers")):
            self.assertEqual([one.partition(":")[0].partition("[")[0] for one in complaints(factory, options)], [key])


class ListTests(Case):
    """Mailing lists, which change what was signed."""

    LIST = "List-Id: The list <list.lists.example.com>\r\nList-Post: <mailto:list@lists.example.com>\r\n"

    def test_a_list_that_proves_itself(self) -> None:
        """By SPF or a signature of its domain, or of one above it: marked, never refused."""
        zones = {**REJECT, "lists.example.com": SPF, "example.com": SPF, **keys("example.com")}
        for content, sender in (
            (mail(more=self.LIST), "list-bounces@lists.example.com"),
            (mail(more=self.LIST), "bounces@example.com"),
            (signed(mail(more=self.LIST), "example.com"), "b@sender.example"),
            (mail(more="List-Post: <mailto:list@lists.example.com?subject=x>\r\n"), "b@lists.example.com"),
            (mail(more="List-Id: <a.b>\r\nSender: list@lists.example.com\r\n"), "b@lists.example.com"),
        ):
            client, reply = self.sent(zones, content, sender=sender)
            (found,) = client.findings
            self.assertEqual((reply, found.reason, found.action), (OK, "dmarc-fail-list", "tag"), content)

    def test_a_list_that_does_not(self) -> None:
        """The fields alone are nothing; nor is the proof of another domain, or one below the list's."""
        zones = {
            **REJECT,
            "other.example": SPF,
            "x.lists.example.com": SPF,
            "lists.example.com": {"TXT": "v=spf1 -all"},
        }
        for content, sender in (
            (mail(more=self.LIST), "b@other.example"),
            (mail(more=self.LIST), "b@x.lists.example.com"),
            (mail(more=self.LIST), "b@lists.example.com"),
            (mail(more="List-Id: <list.another.example>\r\n"), "b@other.example"),
            (mail(more="Sender: list@other.example\r\n"), "b@other.example"),
            (mail(more="List-Id: other.example (<\r\n"), "b@other.example"),
        ):
            self.assertEqual(self.reasons(zones, content, sender=sender), ["fail"], content)
            self.assertEqual(self.reply[:3], "550")

    def test_the_domains_of_a_list(self) -> None:
        """What each field names; nothing where the message is of no list."""
        for head, wanted in (
            (self.LIST, {"list.lists.example.com", "lists.example.com"}),
            ("List-Post: NO\r\n", set()),
            ("Sender: a@example.com\r\n", set()),
            ("List-Id: <>\r\nList-Post: <mailto:>\r\n", set()),
            ("List-Id: <a.example.com> (<b.example.com>)\r\n", {"b.example.com"}),
        ):
            self.assertEqual(list_domains(HeaderSection(f"{head}\r\n".encode())), wanted, head)


class SealTests(Case):
    """Sealers (ARC) who saw it pass."""

    CLAIM = "spf=fail smtp.mailfrom=example.org; dmarc=pass (p=reject) header.from=example.org"
    TRUST = 'enforce = "reject"\ntrusted_sealers = ["relay.example"]'

    def test_a_trusted_sealer(self) -> None:
        """What passed there passes here, and it is noted."""
        zones = {**REJECT, **keys("relay.example")}
        client, reply = self.sent(zones, sealed(mail(), self.CLAIM), self.TRUST)
        (found,) = client.findings
        self.assertEqual((reply, found.reason, found.score), (OK, "dmarc-fail-sealed", 0.0))

    def test_what_lifts_nothing(self) -> None:
        """A stranger's seal, a broken one, other results, and those of another author."""
        zones = {**REJECT, **keys("relay.example", "evil.example")}
        for content, options in (
            (sealed(mail(), self.CLAIM), 'enforce = "reject"'),
            (sealed(mail(), self.CLAIM, "evil.example"), self.TRUST),
            (sealed(mail(), self.CLAIM).replace(b"dmarc=pass", b"dmarc=Pass"), self.TRUST),
            (sealed(mail(), "dmarc=fail header.from=example.org"), self.TRUST),
            (sealed(mail(), "dmarc=pass header.from=evil.example"), self.TRUST),
            (sealed(mail(), "dmarc=pass"), self.TRUST),
            (sealed(mail(), 'spf=none reason="; dmarc=pass header.from=example.org"'), self.TRUST),
            (sealed(mail(), "spf=none (; dmarc=pass header.from=example.org;)"), self.TRUST),
        ):
            self.assertEqual(self.reasons(zones, content, options=options), ["fail"], content)


class TroubleTests(Case):
    """DNS trouble leads to nothing."""

    def test_the_policy(self) -> None:
        """Failing or silent, at the author's domain or above."""
        for zones in (
            {"_dmarc.example.org": "servfail"},
            {"_dmarc.example.org": "timeout"},
            {"_dmarc.org": "servfail"},
            {"_dmarc.org": "timeout"},
            {"_dmarc.example.org": {"TXT": "v=DMARC1; p=reject", "delay": 2.9}, "_dmarc.org": "timeout"},
        ):
            reasons = self.reasons(
                zones, mail("a@example.org") if "_dmarc.org" not in zones else mail("a@x.example.org")
            )
            self.assertEqual((reasons, self.reply), (["temperror"], OK), zones)

    def test_whether_the_author_exists(self) -> None:
        """Where np asks for something else."""
        zones = {"_dmarc.example.org": {"TXT": "v=DMARC1; p=none; np=reject"}, "x.example.org": "servfail"}
        self.assertEqual((self.reasons(zones, mail("a@x.example.org")), self.reply), (["temperror"], OK))

    def test_what_would_have_been_proved(self) -> None:
        """Of an aligned domain it leaves the result open; of a stranger's not, or anybody could switch DMARC off."""
        good = signed(mail(), "example.org")
        self.assertEqual(self.reasons({**REJECT, "s._domainkey.example.org": "servfail"}, good), ["temperror"])
        self.assertEqual(
            self.reasons({**REJECT, "mail.example.org": "servfail"}, sender="b@mail.example.org"), ["temperror"]
        )
        other = signed(mail(), "evil.example")
        zones = {**REJECT, "s._domainkey.evil.example": "servfail", "sender.example": "servfail"}
        self.assertEqual(self.reasons(zones, other), ["fail"])

    def test_signatures_that_cannot_be_checked(self) -> None:
        """The child process failed: open, but for what SPF proves."""
        content = signed(mail(), "example.org")
        for zones, wanted in ((REJECT, ["dmarc-temperror"]), ({**REJECT, "example.org": SPF}, ["dmarc-pass"])):
            gateway = Gateway(use(factory, 'enforce = "reject"'), zones=zones)
            gateway.children.fails = "timeout"
            client = gateway.connect(IP)
            client.helo()
            self.assertEqual(client.message(content, sender="b@example.org"), OK)
            self.assertEqual([one.reason for one in client.findings], wanted)

    def test_the_very_domain_passes_all_the_same(self) -> None:
        """What is above it need not be known."""
        zones = {**REJECT, "_dmarc.org": "timeout", "example.org": SPF}
        self.assertEqual(self.reasons(zones, sender="b@example.org"), ["pass"])

    def test_names_above_are_asked_once(self) -> None:
        """However many domains below it were proved."""
        zones = {**REJECT, **keys("a.example.org", "b.example.org"), "c.example.org": SPF}
        content = signed(signed(mail(), "a.example.org"), "b.example.org")
        self.assertEqual(self.reasons(zones, content, sender="x@c.example.org"), ["pass"])
        asked = [name for name, _ in self.gateway.resolver.asked if name.startswith("_dmarc.")]
        self.assertLessEqual(asked.count("_dmarc.example.org"), 2)


class EndTests(Case):
    """Clients that leave, and budgets."""

    def test_a_client_that_leaves(self) -> None:
        """While the DNS is waited for; nothing is left over."""
        gateway = Gateway(use(factory), zones={"_dmarc.example.org": "timeout"})
        client = gateway.connect(IP)
        client.helo()
        client.message(mail())
        client.hang_up()
        gateway.advance(20)
        self.assertEqual((gateway.sessions, gateway.resolver.waiting), (0, 0))

    def test_the_look_ups_start_with_the_header(self) -> None:
        """So that they are done when the body has come."""
        gateway = Gateway(use(factory), zones=REJECT)
        client = gateway.connect(IP)
        client.helo()
        client.mail("b@sender.example")
        client.rcpt()
        client.data()
        client.content(
            b"From: alice@example.org\r\nDKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s\r\n\r\nHello.\r\n"
        )
        asked = {name for name, _ in gateway.resolver.asked}
        self.assertLessEqual({"_dmarc.example.org", "sender.example", "s._domainkey.a.example"}, asked)
        self.addCleanup(gateway.close)


class WhoTests(Case):
    """Whose mail is looked at."""

    def test_relays_of_ours(self) -> None:
        """Mail that was born on one of them, or whose sender logged in there, is not judged."""
        relay = "relay.example.net (Postfix)"
        for received, wanted in (
            ("", [("dmarc-fail-unknown-origin", "note")]),
            (f"Received: from pc (unknown [203.0.113.5]) by {relay} with ESMTPA id 1; now\r\n", []),
            (
                f"Received: from x (unknown [203.0.113.5])\r\n\tby {relay} with ESMTP id 1; now\r\n",
                [("dmarc-fail", "reject")],
            ),
        ):
            gateway = Gateway(use(factory, 'enforce = "reject"'), zones=REJECT)
            gateway.services.settings = attrs.evolve(gateway.services.settings, trusted_relays=NetworkList([IP]))
            client = gateway.connect(IP)
            client.helo()
            client.message(received.encode() + mail())
            found = [(one.reason, one.action) for one in client.findings if one.reason.startswith("dmarc")]
            self.assertEqual((found, gateway.failures), (wanted, []), received)
