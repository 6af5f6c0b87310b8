"""smtpgate.smtp.address: paths that two readers cannot take for two addresses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp.address import BadPath, Path, canonical_domain, parse_path


class GoodTests(SynchronousTestCase):
    """Addresses that are taken."""

    def test_table(self) -> None:
        """The octets stay, the compared form is undone and lower case (P-012 to P-017)."""
        for octets, raw, local, domain in (
            (b"<A.b@Example.ORG>", b"A.b@Example.ORG", "A.b", "example.org"),
            (b"<>", b"", "", ""),
            (b'<"a b"@example.net>', b'"a b"@example.net', "a b", "example.net"),
            (b'<"a\\"b"@example.net>', b'"a\\"b"@example.net', 'a"b', "example.net"),
            (b'<"a@b"@example.net>', b'"a@b"@example.net', "a@b", "example.net"),
            (b'<"a>b"@example.net>', b'"a>b"@example.net', "a>b", "example.net"),
            (b'<"a\\\\"@example.net>', b'"a\\\\"@example.net', "a\\", "example.net"),
            (b"<@h1.example,@h2.example:u@example.net>", b"u@example.net", "u", "example.net"),
            (b"<u@[192.0.2.1]>", b"u@[192.0.2.1]", "u", "[192.0.2.1]"),
            (b"<u@[IPv6:2001:db8::1]>", b"u@[IPv6:2001:db8::1]", "u", "[ipv6:2001:db8::1]"),
            (b"<POSTMASTER>", b"postmaster", "postmaster", ""),
            (
                b"<SRS0=HHH=TT=example.org=u@example.net>",
                b"SRS0=HHH=TT=example.org=u@example.net",
                "SRS0=HHH=TT=example.org=u",
                "example.net",
            ),
            ("<jöran@exämple.org>".encode(), "jöran@exämple.org".encode(), "jöran", "xn--exmple-cua.org"),
        ):
            path, rest = parse_path(octets + b" SIZE=1", utf8=True)
            assert isinstance(path, Path), octets
            self.assertEqual((path.raw, path.local, path.domain, rest), (raw, local, domain, b" SIZE=1"), octets)

    def test_lengths(self) -> None:
        """The minimums of RFC 5321 and longer VERP addresses are taken; what no DNS name can be is not (P-302)."""
        label = b"d" * 60
        for local, domain, good in (
            (b"l" * 64, b"example.net", True),
            (b"l" * 255, b"example.net", True),
            (b"l" * 256, b"example.net", False),
            (b"l", b".".join([label] * 4) + b".ddddddddddd", True),
            (b"l", b".".join([label] * 4) + b".dddddddddddd", False),
            (b"l", b"d" * 64 + b".net", False),
            (b"l" * 10_000, b"example.net", False),
        ):
            path, _ = parse_path(b"<" + local + b"@" + domain + b">")
            self.assertEqual(isinstance(path, Path), good, (len(local), len(domain)))


class BadTests(SynchronousTestCase):
    """Addresses that are not."""

    def test_table(self) -> None:
        """Everything that could be read in two ways (P-010, P-011, P-014, P-016, P-030, P-031)."""
        for octets in (
            b"a@example.org",
            b"<a@example.org",
            b"<<a@example.org>>",
            b"<a>",
            b"<a@>",
            b"<@example.org>",
            b"<a b@x.org>",
            b'<"unterminated@example.net>',
            b"<u@[300.1.1.1]>",
            b"<u@[IPv6:zz]>",
            b"<u@[192.0.2.1>",
            b"<a\0b@example.org>",
            b"<a\x01@example.org>",
            b"<a@exa\x7fmple.org>",
            b"<a..b@example.org>",
            b"<.a@example.org>",
            b"<a.@example.org>",
            b"<a@example..org>",
            b"<a@-example.org>",
            b"<a@example.org.>",
            b"<a@b@c.org>",
            b"<\xff\xfe@example.org>",
            b"<\xc0\xaf@example.org>",
            b"<\xed\xa0\x80@example.org>",
            b"<a,b@example.org>",
        ):
            path, _ = parse_path(octets, utf8=True)
            self.assertIsInstance(path, BadPath, octets)

    def test_utf8_needs_leave(self) -> None:
        """A UTF-8 address without SMTPUTF8 says that this is the cause (P-279)."""
        path, _ = parse_path("<jö@example.org>".encode())
        assert isinstance(path, BadPath)
        self.assertTrue(path.is_utf8)

    @given(st.binary(max_size=120))
    @settings(max_examples=300, deadline=None)
    def test_no_input_raises(self, octets: bytes) -> None:
        """Random octets give a path or the reason why not, and a path is written back as it was read."""
        path, _ = parse_path(b"<" + octets + b">", utf8=True)
        if isinstance(path, Path) and not path.is_null and path.domain:
            again, rest = parse_path(b"<" + path.raw + b">", utf8=True)
            self.assertEqual((again, rest), (path, b""))


class DomainTests(SynchronousTestCase):
    """canonical_domain."""

    def test_labels_compare_equal(self) -> None:
        """U-labels and A-labels of one name are one name (P-282)."""
        self.assertEqual(canonical_domain("EXÄMPLE.org"), canonical_domain("xn--exmple-cua.ORG"))
