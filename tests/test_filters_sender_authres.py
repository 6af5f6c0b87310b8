"""Tests of smtpgate.filters.sender.authres: the field that tells of the checks, and forged ones that are taken out."""

from __future__ import annotations

from typing import Any

import authres
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.authres import (
    WORDS,
    AuthresFilter,
    AuthresOptions,
    claims,
    factory,
    field,
    tell_arc,
    tell_dkim,
    tell_dmarc,
    tell_iprev,
    tell_spf,
)
from smtpgate.filters.sender.dmarc import factory as dmarc
from smtpgate.filters.sender.iprev import Iprev
from smtpgate.message.header import HeaderSection
from smtpgate.policy.authentication import ARCResult, DKIMResult, DMARCResult, SPFResult
from smtpgate.policy.edits import RemoveField, check_field
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp.address import NULL_SENDER
from smtpgate.testing import Gateway, complaints, use

#: These need SPF; without its module they say so, and run as soon as it is there.
IP = "192.0.2.1"
OURS = frozenset({"gate.example.com"})
#: What strangers may choose, and would like to be read as something else.
HOSTILE = st.lists(
    st.sampled_from([*'ab.@"\\();=: \r\n\t\0\x7f\u00e9\u2028', "; dmarc=pass ", "example.org", "\r\nX: y\r\n"]),
    max_size=20,
).map("".join)


def parsed(raw: bytes) -> Any:
    """The field as the library `authres` reads it."""
    check_field(raw)
    text = raw.decode("ascii").replace("\r\n", "").replace("\t", " ")
    return authres.AuthenticationResultsHeader.parse(text)


def told(raw: bytes) -> list[tuple[str, str, dict[str, str]]]:
    """Methods, results and properties of a field."""
    return [
        (one.method, one.result, {f"{prop.type}.{prop.name}": str(prop.value) for prop in one.properties})
        for one in parsed(raw).results
    ]


class FieldTests(SynchronousTestCase):
    """The form of the field, with a parser of others as the judge."""

    def test_everything_at_once(self) -> None:
        """Each method with its properties; empty ones are left out."""
        raw = field(
            "gate.example.com",
            [
                tell_iprev(Iprev("pass", "2001:db8::1", "mail.example.org")),
                tell_spf(SPFResult("pass", "example.org"), "alice@example.org", "mail.example.org"),
                tell_dkim(DKIMResult("pass", "example.org", "s1", "@example.org")),
                tell_dkim(DKIMResult("fail", "example.org", "s2", "news@mail.example.org", "body hash did not verify")),
                tell_arc(ARCResult("pass")),
                tell_dmarc(DMARCResult("pass", "example.org", "example.org", "example.org", "reject")),
            ],
        )
        self.assertEqual(
            told(raw),
            [
                ("iprev", "pass", {"policy.iprev": "2001:db8::1"}),
                ("spf", "pass", {"smtp.mailfrom": "alice@example.org"}),
                ("dkim", "pass", {"header.d": "example.org", "header.s": "s1"}),
                ("dkim", "fail", {"header.d": "example.org", "header.s": "s2", "header.i": "news@mail.example.org"}),
                ("arc", "pass", {}),
                ("dmarc", "pass", {"header.from": "example.org", "policy.dmarc": "reject"}),
            ],
        )
        self.assertEqual(parsed(raw).authserv_id, "gate.example.com")
        self.assertEqual(str(parsed(raw).results[3].reason), "body hash did not verify")
        self.assertTrue(all(len(line) <= 80 for line in raw.split(b"\r\n")), raw)

    def test_nothing_to_tell(self) -> None:
        """RFC 8601 section 2.2: the word none."""
        self.assertEqual(
            field("gate.example.com", [[], []]), b"Authentication-Results: gate.example.com;\r\n\tnone\r\n"
        )
        self.assertEqual(told(field("gate.example.com", [])), [])

    def test_spf(self) -> None:
        """The sender where it is plain, else its domain; of the null sender the greeting; trouble with its reason."""
        for result, sender, wanted in (
            (SPFResult("fail", "example.org"), "alice@example.org", "spf=fail smtp.mailfrom=alice@example.org"),
            (SPFResult("none", "example.org"), '"a b"@example.org', "spf=none smtp.mailfrom=example.org"),
            (SPFResult("none", "xn--bcher-kva.example"), "a@b\u00fccher.example",
             "spf=none smtp.mailfrom=xn--bcher-kva.example"),
            (SPFResult("pass", "mail.example.org", "helo"), "", "spf=pass smtp.helo=mail.example.org"),
            (SPFResult("none", "", "helo"), "", "spf=none smtp.helo=client.example"),
            (SPFResult("permerror", "a.example", reason="too many"), "b@a.example",
             'spf=permerror reason="too many" smtp.mailfrom=b@a.example'),
            (SPFResult("fail", "a.example", explanation="go away"), "b@a.example",
             "spf=fail smtp.mailfrom=b@a.example"),
        ):  # fmt: skip
            self.assertEqual(" ".join(tell_spf(result, sender, "client.example")), wanted)

    def test_dmarc(self) -> None:
        """Without a record there is no policy."""
        self.assertEqual(tell_dmarc(DMARCResult("none", "a.example")), ["dmarc=none", "header.from=a.example"])
        self.assertEqual(tell_dmarc(DMARCResult("permerror", reason="why"))[:2], ["dmarc=permerror", 'reason="why"'])

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    @example("", "", "", "@.")
    @example("", "", "", "@a..b")
    @example("", "a@b.", "a@.b", "a@b")
    @settings(max_examples=200)
    def test_strangers_write_values_only(self, one: str, two: str, three: str, four: str) -> None:
        """Whatever they choose, the field is one field, with these results and no more."""
        raw = field(
            "gate.example.com",
            [
                tell_iprev(Iprev("fail", one, two)),
                tell_spf(SPFResult("temperror", one, reason=two), three, four),
                tell_spf(SPFResult("fail", one, "helo"), two, three),
                tell_dkim(DKIMResult("fail", one, two, three, four)),
                tell_arc(ARCResult("fail", one)),
                tell_dmarc(DMARCResult("permerror", one, two, three, reason=four)),
            ],
        )
        self.assertEqual(
            [(method, result) for method, result, _ in told(raw)],
            [
                ("iprev", "fail"),
                ("spf", "temperror"),
                ("spf", "fail"),
                ("dkim", "fail"),
                ("arc", "fail"),
                ("dmarc", "permerror"),
            ],
        )

    def test_values_are_capped(self) -> None:
        """No line reaches the 998 octets of RFC 5322."""
        long = "a" * 5000
        raw = field("gate.example.com", [tell_dkim(DKIMResult("fail", long, long, long, long))] * 20)
        self.assertLess(max(map(len, raw.split(b"\r\n"))), 300)
        self.assertEqual(len(told(raw)), 20)

    def test_a_result_that_is_no_word(self) -> None:
        """It is told as a permerror."""
        self.assertEqual(tell_dkim(DKIMResult("pass; dmarc=pass"))[0], "dkim=permerror")
        self.assertIn("softfail", WORDS)


class ClaimTests(SynchronousTestCase):
    """Which fields say that they are ours."""

    def test_in_every_disguise(self) -> None:
        """Case, quotes, comments, versions, folding, and what breaks off."""
        for value in (
            b"gate.example.com; dmarc=pass",
            b"GATE.Example.COM;dmarc=pass",
            b'"gate.example.com"; dmarc=pass',
            b'"g\\ate.example.com"; dmarc=pass',
            b"(x (y)) gate.example.com (z) 1 ; dmarc=pass",
            b"gate.example.com 1; dmarc=pass",
            b"gate.example.com/1; dmarc=pass",
            b'"gate.example.com 1"; dmarc=pass',
            b"gate.example.com.; dmarc=pass",
            b"\t gate.example.com\t; dmarc=pass",
            b"\rgate.example.com\r; dmarc=pass",
            b"\0gate.example.com; dmarc=pass",
            b"gate.example.com",
            b"gate.example.com(x); dmarc=pass",
            b";gate.example.com; dmarc=pass",
            b"(gate.example.com; dmarc=pass",
            b'"gate.example.com; dmarc=pass',
            b"other.example.com; dmarc=pass (gate.example.com",
        ):
            self.assertTrue(claims(value, OURS), value)

    def test_those_of_others(self) -> None:
        """They stay, though our name stands in them."""
        for value in (
            b"mx.example.org; dmarc=pass",
            b"mx.example.org; dmarc=pass header.from=gate.example.com",
            b"mx.example.org (gate.example.com); dmarc=pass",
            b"xgate.example.com; dmarc=pass",
            b"gate.example.com.evil.example; dmarc=pass",
            b"gate.example.comx; dmarc=pass",
            b"example.com; dmarc=pass",
            b"(x; dmarc=pass",
            b"",
            b";",
        ):
            self.assertFalse(claims(value, OURS), value)

    @given(st.binary(max_size=60))
    @settings(max_examples=200)
    def test_any_value_is_read(self, value: bytes) -> None:
        """Nothing raises."""
        self.assertIn(claims(value, OURS), (True, False))


class FilterTests(SynchronousTestCase):
    """Through a whole gateway."""

    def sent(
        self,
        head: str = "",
        options: str = "",
        zones: dict[str, Any] | None = None,
        sender: str = "alice@example.org",
        mode: str = "enforce",
    ) -> HeaderSection:
        """The header section that the mail server got."""
        self.gateway = Gateway(use(factory, options, mode=mode), zones=zones or {})
        client = self.gateway.connect(IP)
        client.helo()
        content = f"{head}From: alice@example.org\nTo: bob@example.net\nSubject: x\n\nHello.\n"
        reply = client.message(content, sender=sender)
        if not reply:
            self.gateway.advance(10)
            reply = client.read()
        self.assertEqual(reply, "250 2.0.0 Ok")
        return HeaderSection(self.gateway.backend.messages[0].content)

    def fields(self, section: HeaderSection) -> list[bytes]:
        """All fields of results, raw."""
        return [one.raw for one in section.fields if one.name == "authentication-results"]

    def test_what_is_told(self) -> None:
        """SPF, DKIM and DMARC of a plain message, in one field."""
        zones = {
            "example.org": {"TXT": f"v=spf1 ip4:{IP} -all"},
            "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject"},
        }
        (raw,) = self.fields(self.sent(zones=zones))
        self.assertEqual(
            told(raw),
            [
                ("spf", "pass", {"smtp.mailfrom": "alice@example.org"}),
                ("dkim", "none", {}),
                ("dmarc", "pass", {"header.from": "example.org", "policy.dmarc": "reject"}),
            ],
        )
        self.assertEqual(self.gateway.failures, [])

    def test_the_null_sender(self) -> None:
        """The greeting stands for it."""
        (raw,) = self.fields(self.sent(sender=""))
        self.assertEqual(told(raw)[0], ("spf", "none", {"smtp.helo": "client.example.org"}))

    def test_names_of_the_address(self) -> None:
        """Where the operator wants them."""
        zones = {"1.2.0.192.in-addr.arpa": {"PTR": "mail.example.org"}, "mail.example.org": {"A": IP}}
        (raw,) = self.fields(self.sent(options="iprev = true", zones=zones))
        self.assertEqual(told(raw)[0], ("iprev", "pass", {"policy.iprev": IP}))

    def test_another_name(self) -> None:
        """The operator's, and then both names are ours."""
        head = "Authentication-Results: gate.example.com; dmarc=pass\nAuthentication-Results: mx.us.example; spf=pass\n"
        (raw,) = self.fields(self.sent(head, 'server = "mx.us.example"'))
        self.assertTrue(raw.startswith(b"Authentication-Results: mx.us.example;\r\n\tspf=none"), raw)

    def test_forged_fields_are_taken_out(self) -> None:
        """Those that claim to be ours, wherever they stand; others keep their octets, and ARC's fields too."""
        head = (
            "Authentication-Results: mx.example.org;\n spf=pass\n"
            "AUTHENTICATION-RESULTS : Gate.Example.Com 1; dmarc=pass\n"
            "ARC-Authentication-Results: i=1; gate.example.com; dmarc=pass\n"
            'Authentication-Results: (c)\n "gate.example.com"; dmarc=pass\n'
            "Authentication-Results: mx.example.com; dkim=pass\n"
        )
        section = self.sent(head)
        ours, *others = self.fields(section)
        self.assertIn(b"dmarc=none", ours)
        self.assertEqual(
            others,
            [
                b"Authentication-Results: mx.example.org;\r\n spf=pass\r\n",
                b"Authentication-Results: mx.example.com; dkim=pass\r\n",
            ],
        )
        self.assertIn(b"ARC-Authentication-Results: i=1; gate.example.com; dmarc=pass\r\n", section.octets)

    def test_a_flood_of_fields(self) -> None:
        """Those that name us are gone, however many; those of others stay."""
        ours = "Authentication-Results: (" + "(" * 500 + "gate.example.com; dmarc=pass\n"
        head = f"Authentication-Results: gate.example.com; dmarc=pass\n{ours * 300}"
        head += "Authentication-Results: mx.example.org; spf=pass\n" * 300
        head += f"Authentication-Results: ({'x' * 20000}) gate.example.com; dmarc=pass\n" * 3
        _, *others = self.fields(self.sent(head))
        self.assertEqual((len(others), set(others)), (300, {b"Authentication-Results: mx.example.org; spf=pass\r\n"}))

    def test_a_silent_dns(self) -> None:
        """The field comes all the same, with what is known."""
        zones = {"example.org": "timeout", "_dmarc.example.org": "timeout"}
        (raw,) = self.fields(self.sent(zones=zones))
        found = {method: result for method, result, _ in told(raw)}
        self.assertEqual((found.get("dkim"), found.get("dmarc")), ("none", "temperror"))

    def test_a_check_that_fails(self) -> None:
        """Forged fields are gone, what is known is told, and the failure is recorded."""
        zones = {"example.org": {"TXT": "v=spf1 -all"}, "_dmarc.example.org": {"TXT": "v=DMARC1; p=none"}}
        gateway = Gateway(use(factory), zones=zones)
        gateway.children.fails = "died"
        client = gateway.connect(IP)
        client.helo()
        head = "Authentication-Results: gate.example.com; spf=pass\nDKIM-Signature: v=1; d=example.org; s=s\n"
        client.message(f"{head}From: alice@example.org\n\nx\n")
        (raw,) = self.fields(HeaderSection(gateway.backend.messages[0].content))
        self.assertEqual([one[:2] for one in told(raw)], [("spf", "fail"), ("dmarc", "temperror")])
        self.assertEqual([(one.stage, one.kind) for one in gateway.failures], [("end", "unavailable")])

    def test_a_client_that_leaves(self) -> None:
        """While the DNS is waited for; nothing is left over."""
        gateway = Gateway(use(factory), zones={"example.org": "timeout", "_dmarc.example.org": "timeout"})
        client = gateway.connect(IP)
        client.helo()
        client.message()
        client.hang_up()
        gateway.advance(20)
        self.assertEqual((gateway.sessions, gateway.resolver.waiting, gateway.backend.messages), (0, 0, []))

    def test_who_logged_in(self) -> None:
        """Nothing is said of them; forged fields go all the same."""
        judge = AuthresFilter(AuthresOptions(), Gateway().services)
        session = Session("1", "front", "mx")
        session.is_trusted = True
        transaction = Transaction("1.1", session, NULL_SENDER, {})
        message = judge.transaction(transaction)
        message.header(HeaderSection(b"Authentication-Results: gate.example.com; spf=pass\r\n\r\n"))
        self.successResultOf(ensureDeferred(message.end()))
        self.assertEqual(transaction.edits.edits, [RemoveField("authentication-results", 0, "authres")])

    def test_one_result_for_all(self) -> None:
        """What the filter dmarc is told to do holds for the field too, whichever comes first."""
        zones = {
            "_dmarc.news.example.co.uk": {"TXT": "v=DMARC1; p=reject"},
            "example.co.uk": {"TXT": f"v=spf1 ip4:{IP} -all"},
        }
        for uses in ((use(factory), use(dmarc, "psl = true")), (use(dmarc, "psl = true"), use(factory))):
            gateway = Gateway(*uses, zones=zones)
            client = gateway.connect(IP)
            client.helo()
            client.message("From: a@news.example.co.uk\n\nx\n", sender="b@example.co.uk")
            (raw,) = self.fields(HeaderSection(gateway.backend.messages[0].content))
            self.assertEqual(told(raw)[-1][:2], ("dmarc", "pass"))
            self.assertEqual(gateway.resolver.asked.count(("_dmarc.news.example.co.uk", "TXT")), 1)

    def test_shadow(self) -> None:
        """Nothing changes."""
        head = "Authentication-Results: gate.example.com; dmarc=pass\n"
        self.assertEqual(self.fields(self.sent(head, mode="shadow")), [head.strip().encode() + b"\r\n"])

    def test_options_are_checked(self) -> None:
        """A name that would break the field."""
        for name in ("a b", "a;b", "(x)", "a\\tb", "a" * 300):
            self.assertEqual([one.partition(":")[0] for one in complaints(factory, f'server = "{name}"')], ["server"])
