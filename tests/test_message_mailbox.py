"""Tests of smtpgate.message.mailbox: address fields, and what is ambiguous about them."""

from __future__ import annotations

from email.utils import formataddr

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.anomaly import ANOMALIES
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import MAILBOXES, Mailbox, parse, read

PIECES = st.lists(
    st.sampled_from(
        [b'"', b"\\", b"<", b">", b"(", b")", b",", b";", b":", b"[", b"]", b"@", b".", b" ", b"a", b"b.example", b"\0"]
        + [b"=?utf-8?q?", b"=40", b"?=", b"\xff", b"\xc3\xbc", b"Alice <a@b.example>"]
    ),
    max_size=16,
).map(b"".join)


def found(value: bytes) -> list[tuple[str, str]]:
    """Names and addresses."""
    return [(one.name, one.address) for one in parse(value).mailboxes]


def kinds(value: bytes) -> list[str]:
    """Kinds of anomalies, once each."""
    return list(dict.fromkeys(one.kind for one in parse(value).anomalies))


class RegularTests(SynchronousTestCase):
    """What the standards allow has no anomaly."""

    def test_mailboxes(self) -> None:
        """Names and addresses of regular values."""
        for value, expected in (
            (b"alice@example.com", [("", "alice@example.com")]),
            (b"Alice <alice@example.com>", [("Alice", "alice@example.com")]),
            (b'"Doe, Alice" <alice@example.com>', [("Doe, Alice", "alice@example.com")]),
            (b'"a\\"b" <c@d.example>', [('a"b', "c@d.example")]),
            (b"alice@example.com (Alice (x))", [("Alice (x)", "alice@example.com")]),
            (b"alice(at)@example.com", [("at", "alice@example.com")]),
            (b"alice @ example . com", [("", "alice@example.com")]),
            (b"a@example.com, b@example.com", [("", "a@example.com"), ("", "b@example.com")]),
            (b"<@x.example,@y.example:c@d.example>", [("", "c@d.example")]),
            (b"<>", [("", "")]),
            (b"", []),
            (b",, a@b.example,", [("", "a@b.example")]),
            (b"a@[192.0.2.1], b@[IPv6:2001:db8::1]", [("", "a@[192.0.2.1]"), ("", "b@[IPv6:2001:db8::1]")]),
            (b"=?utf-8?q?J=C3=BCrgen?= <j@b.example>", [("Jürgen", "j@b.example")]),
            ("jürgen@bücher.example".encode(), [("", "jürgen@bücher.example")]),
            (b'"a>b"@c.example', [("", '"a>b"@c.example')]),
            (b'X <"a>b"@c.example>', [("X", '"a>b"@c.example')]),
            (b"Dr. A. B. <a@b.example>", [("Dr. A. B.", "a@b.example")]),
            (b"a@b.example <a@b.example>", [("a@b.example", "a@b.example")]),
            (b"'a@b.example' <a@b.example>", [("'a@b.example'", "a@b.example")]),
        ):
            self.assertEqual((found(value), kinds(value)), (expected, []), value)

    def test_groups(self) -> None:
        """Their mailboxes count; an open end does no harm (B-57)."""
        for value, mailboxes, groups in (
            (b"undisclosed-recipients:;", 0, ("undisclosed-recipients",)),
            (b"undisclosed recipients: bob@example.net", 1, ("undisclosed recipients",)),
            (b"A: a@b.example, C <c@d.example>;, e@f.example", 3, ("A",)),
        ):
            one = parse(value)
            self.assertEqual((len(one.mailboxes), one.groups, one.anomalies), (mailboxes, groups, ()), value)

    def test_a_quoted_local_part_is_no_address(self) -> None:
        """The domain is what stands behind the last @ (B-130)."""
        (mailbox,) = parse(b'"Someone <someone@example.org>"@example.net').mailboxes
        self.assertEqual((mailbox.domain, mailbox.name), ("example.net", ""))

    def test_several_addresses(self) -> None:
        """Both count (B-134)."""
        one = parse(b"Alice <alice@example.com>, Carol <carol@example.com>")
        self.assertEqual([mailbox.domain for mailbox in one.mailboxes], ["example.com", "example.com"])
        self.assertEqual(one.anomalies, ())

    def test_an_encoded_line_feed_in_a_name(self) -> None:
        """The address is found, the name is clean (B-53)."""
        self.assertEqual(found(b"=?utf-8?q?=0AMy_Shop?= <alice@example.com>"), [("My Shop", "alice@example.com")])

    def test_raw_octets_in_a_name(self) -> None:
        """The address is found, the name is shown somehow (B-63)."""
        (mailbox,) = parse(b'"\xcf\xf0\xe8\xe2\xe5" <alice@example.com>').mailboxes
        self.assertEqual((mailbox.address, len(mailbox.name)), ("alice@example.com", 5))

    def test_a_name_that_repeats_the_address(self) -> None:
        """It is its sender's own, and no ambiguity (B-113)."""
        self.assertEqual(kinds(b"alice@example.com- private <alice@example.com>"), [])

    def test_a_quoted_name_with_another_address(self) -> None:
        """That is regular: whether it deceives is judged elsewhere (B-115)."""
        value = b'"accounts@example.net" <mary@example.org>'
        self.assertEqual((found(value), kinds(value)), ([("accounts@example.net", "mary@example.org")], []))


class IrregularTests(SynchronousTestCase):
    """What programs read differently is told, and still gives mailboxes."""

    def test_what_is_told(self) -> None:
        """Each value with its mailboxes and anomalies."""
        for value, expected, told in (
            (b"a@b.example <c@d.example>", [("a@b.example", "c@d.example")], ["two-addresses"]),
            (b"<a@b.example> <c@d.example>", [("", "a@b.example"), ("", "c@d.example")], ["two-addresses"]),
            (b"a@b.example c@d.example", [("", "a@b.example"), ("", "c@d.example")], ["two-addresses"]),
            (b"Alice a@b.example", [("Alice", "a@b.example")], ["broken-address"]),
            (b"Alice <a@b.example", [("Alice", "a@b.example")], ["broken-address"]),
            (b"A <a@b.example, B <c@d.example>", [("A", "a@b.example"), ("B", "c@d.example")], ["broken-address"]),
            (b'"Alice <a@b.example>', [("Alice", "a@b.example")], ["broken-address"]),
            (b"Alice <a@b.example>junk", [("Alice", "a@b.example")], ["broken-address"]),
            (b"a <b@<c@d.example>", [("a", "b@"), ("", "c@d.example")], ["broken-address", "two-addresses"]),
            (b'<"no-reply@b.example">', [("", "no-reply@b.example")], ["broken-address"]),
            (b"<a@b,example>", [("", "a@b,example")], ["broken-address"]),
            (b"a@b@c.example", [("", "a@b@c.example")], ["several-at-signs"]),
            (b"a@b.example\0.evil.example", [("", "a@b.example.evil.example")], ["control-in-address"]),
            (b"<=?utf-8?q?a=40b.example?=>", [("", "a@b.example")], ["encoded-address"]),
            (
                b"=?utf-8?q?Bank_=3Cservice=40bank.example=3E?=",
                [("Bank <service@bank.example>", "service@bank.example")],
                ["encoded-address"],
            ),
        ):
            self.assertEqual((found(value), kinds(value)), (expected, told), value)

    def test_an_encoded_name_is_not_read_for_addresses(self) -> None:
        """Addresses are found before words are decoded."""
        self.assertEqual(found(b"=?utf-8?q?x=40bank.example?= <a@b.example>"), [("x@bank.example", "a@b.example")])


class FieldTests(SynchronousTestCase):
    """`read`."""

    def test_two_fields_of_authors(self) -> None:
        """Both are given, and told (B-132)."""
        section = HeaderSection(
            b"From: Alice <alice@example.com>\r\nTo: b@c.example\r\nfrom: service@example.org\r\n\r\n"
        )
        one = read(section, "from")
        self.assertEqual(one.mailboxes, (Mailbox("Alice", "alice@example.com"), Mailbox("", "service@example.org")))
        self.assertEqual([(a.kind, a.detail) for a in one.anomalies], [("duplicate-address-field", "from")])

    def test_a_group_of_authors(self) -> None:
        """Few programs read it; among recipients it is usual."""
        section = HeaderSection(b"From: A: a@b.example;\r\nTo: A: a@b.example;\r\n\r\n")
        self.assertEqual([one.kind for one in read(section, "from").anomalies], ["group-of-authors"])
        self.assertEqual(read(section, "to", "cc").anomalies, ())

    def test_folded_values(self) -> None:
        """Line ends are no part of a name."""
        section = HeaderSection(b"To: Alice\r\n\tDoe <a@b.example>,\r\n c@d.example\r\n\r\n")
        self.assertEqual([one.name for one in read(section, "to").mailboxes], ["Alice Doe", ""])


class BoundTests(SynchronousTestCase):
    """Hostile values."""

    def test_more_addresses_than_are_looked_at(self) -> None:
        """So many are given, and told."""
        one = parse(b"a@b.example," * (MAILBOXES + 5))
        self.assertEqual(len(one.mailboxes), MAILBOXES)
        self.assertEqual([a.kind for a in one.anomalies], ["too-many-addresses"])

    def test_time_grows_with_the_value_only(self) -> None:
        """Openings without end, nested and escaped; a quadratic search would take minutes."""
        for unit in (
            b'"',
            b'"\\',
            b"(",
            b"<",
            b"< ",
            b"<a",
            b'<"',
            b'<\\"',
            b'<],"',
            b"[",
            b":",
            b"@ ",
            b"a@b <c@d> ",
            b"=",
        ):
            parse(unit * (300_000 // len(unit)))
            parse(b"<" + unit * (300_000 // len(unit)))

    @settings(max_examples=400, deadline=None)
    @given(PIECES | st.binary(max_size=60))
    def test_anything_is_a_value(self, value: bytes) -> None:
        """It never raises, and nothing that a person sees has control characters."""
        one = parse(value)
        for mailbox in one.mailboxes:
            self.assertNotRegex(mailbox.name + mailbox.address, "[\x00-\x1f\x7f-\x9f]")
            (mailbox.name + mailbox.address + mailbox.domain).encode("utf-8")
        for anomaly in one.anomalies:
            self.assertIn(anomaly.kind, ANOMALIES)
            self.assertLessEqual(len(anomaly.detail), 200)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=("C", "Z")), max_size=12),
                st.from_regex(r"[a-z0-9.+-]{1,8}@[a-z0-9-]{1,8}\.example", fullmatch=True),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_what_the_library_writes_is_read(self, mailboxes: list[tuple[str, str]]) -> None:
        """Names and addresses that the standard library writes come back, without an anomaly."""
        one = parse(", ".join(formataddr(mailbox) for mailbox in mailboxes).encode())
        self.assertEqual([mailbox.address for mailbox in one.mailboxes], [address for _, address in mailboxes])
        self.assertEqual([mailbox.name for mailbox in one.mailboxes if "=?" not in mailbox.name],
                         [name for name, _ in mailboxes if "=?" not in name])  # fmt: skip
        self.assertEqual(one.anomalies, ())
