"""Tests of smtpgate.config.entry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.entry import (
    normal_domain,
    parse_address,
    parse_domain,
    parse_network,
    parse_user,
    write_address,
)
from smtpgate.config.problem import BadValue


class DomainTests(SynchronousTestCase):
    """Domains in normal form."""

    def test_spellings_of_one_domain_are_equal(self) -> None:
        """Case, trailing dot and the two forms of a label do not matter."""
        for text in ("bücher.example", "BÜCHER.Example.", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE."):
            self.assertEqual(normal_domain(text), "xn--bcher-kva.example", text)

    def test_literals_are_written_in_one_way(self) -> None:
        """An address has many spellings in IPv6."""
        self.assertEqual(normal_domain("[IPv6:2001:DB8:0:0::1]"), "[ipv6:2001:db8::1]")
        self.assertEqual(normal_domain("[192.0.2.1]"), "[192.0.2.1]")
        self.assertEqual(normal_domain("[X-tag:Y]"), "[x-tag:y]")

    def test_what_is_no_domain_is_empty(self) -> None:
        """Empty labels and lengths that the DNS does not have match nothing."""
        for text in ("", ".", "..", ".example.net", "a..b", "é" * 64, "a" * 256, "\ud800.example"):
            self.assertEqual(normal_domain(text), "", text)

    def test_entries_are_normal(self) -> None:
        """An entry may be a domain, all below one, or a literal."""
        self.assertEqual(parse_domain(" Example.NET. "), "example.net")
        self.assertEqual(parse_domain("*.Bücher.example"), "*.xn--bcher-kva.example")
        self.assertEqual(parse_domain("_dmarc.example.net"), "_dmarc.example.net")
        self.assertEqual(parse_domain("[192.0.2.1]"), "[192.0.2.1]")

    def test_bad_entries_say_what_would_be_right(self) -> None:
        """The ways of other programs are recognised."""
        for entry, hint in (
            ("*", "name the domains"),
            ("@example.net", 'write "example.net"'),
            (".example.net", '"*.example.net"'),
            ("mail.*.net", "all subdomains"),
            ("*example.net", "all subdomains"),
            ("*.*.net", "all subdomains"),
            ("a b", "such as"),
            ("", "such as"),
            ("-a.example", "such as"),
            ("a_.-b", "such as"),
            ("*.", "such as"),
            ("[192.0.2.300]", '"[192.0.2.1]"'),
            ("[192.0.2.1", '"[192.0.2.1]"'),
        ):
            error = self.assertRaises(BadValue, parse_domain, entry)
            self.assertIn(hint, error.hint, entry)

    @given(st.text(max_size=40))
    def test_normal_form_is_stable(self, text: str) -> None:
        """What is normal stays as it is, and a bad entry is never anything but a BadValue."""
        try:
            entry = parse_domain(text)
        except BadValue:
            return
        self.assertEqual(parse_domain(entry), entry)


class NetworkTests(SynchronousTestCase):
    """Networks and addresses."""

    def test_address_is_a_network_of_one(self) -> None:
        """A single address needs no prefix."""
        self.assertEqual(str(parse_network("192.0.2.7")), "192.0.2.7/32")
        self.assertEqual(str(parse_network("2001:db8::7")), "2001:db8::7/128")

    def test_mapped_network_is_its_ipv4_network(self) -> None:
        """IPv4 in IPv6 clothes is IPv4."""
        self.assertEqual(str(parse_network("::ffff:192.0.2.0/120")), "192.0.2.0/24")

    def test_bits_behind_the_prefix_are_refused_with_both_meanings(self) -> None:
        """The network or the address: only the operator knows."""
        error = self.assertRaises(BadValue, parse_network, "192.0.2.7/24")
        self.assertEqual(error.hint, 'write "192.0.2.0/24" for the network or "192.0.2.7" for the one address')

    def test_nonsense_is_refused(self) -> None:
        """Names and half addresses are no networks."""
        for entry in ("", "office", "192.0.2", "300.0.0.1", "192.0.2.0/33", "192.0.2.1-9", "010.0.0.1"):
            self.assertRaises(BadValue, parse_network, entry)


class AddressTests(SynchronousTestCase):
    """Address entries."""

    def test_forms_of_an_entry(self) -> None:
        """Domains, one address, one user anywhere, the null sender."""
        for entry, parsed in (
            ("Example.NET", (None, "example.net")),
            ("*.example.org", (None, "*.example.org")),
            ("Bob@Example.net", ("bob", "example.net")),
            ("bob@*.example.org", ("bob", "*.example.org")),
            ("Postmaster@", ("postmaster", None)),
            ("<>", ("", "")),
            ('"a \\"b@c"@example.net', ('a "b@c', "example.net")),
        ):
            self.assertEqual(parse_address(entry), parsed, entry)
            self.assertEqual(parse_address(write_address(*parsed)), parsed, entry)

    def test_bad_entries_are_refused(self) -> None:
        """Brackets, blanks and a second @ are told."""
        for entry in (
            "<bob@example.net>",
            "bob smith@example.net",
            "a@b@example.net",
            "@example.net",
            "bob@*",
        ):
            self.assertRaises(BadValue, parse_address, entry)


class UserTests(SynchronousTestCase):
    """User entries."""

    def test_user_is_lower_case_with_single_stars(self) -> None:
        """Two stars mean what one does."""
        self.assertEqual(parse_user(" Bob "), "bob")
        self.assertEqual(parse_user("**@Example.net"), "*@example.net")

    def test_empty_and_control_characters_are_refused(self) -> None:
        """No user is named like that."""
        self.assertRaises(BadValue, parse_user, " ")
        self.assertRaises(BadValue, parse_user, "a\0b")
