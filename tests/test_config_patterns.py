"""Tests of smtpgate.config.patterns."""

from __future__ import annotations

import ipaddress
import re
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.patterns import AddressList, DomainList, NetworkList, PatternList

LABELS = st.sampled_from(["a", "b", "c", "xn--bcher-kva"])
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ENTRIES = st.tuples(st.sampled_from(["", "*."]), DOMAINS).map("".join)
NETWORKS = st.tuples(st.integers(0, 15), st.integers(28, 32)).map(
    lambda pair: str(ipaddress.ip_network((pair[0], pair[1]), strict=False))
)


class NetworkListTests(SynchronousTestCase):
    """`NetworkList`."""

    def test_addresses_in_networks_are_contained(self) -> None:
        """Both families, with single addresses."""
        networks = NetworkList(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])
        for address in ("10.255.0.1", "192.0.2.7", "2001:db8:1::1", ipaddress.ip_address("10.0.0.1")):
            self.assertTrue(networks.contains(address), address)
        for address in ("11.0.0.1", "192.0.2.8", "2001:db9::1", ipaddress.ip_address("::1")):
            self.assertFalse(networks.contains(address), address)

    def test_mapped_address_counts_as_ipv4(self) -> None:
        """A dual-stack socket shows IPv4 clients so; no list may be passed by because of it."""
        self.assertTrue(NetworkList(["192.0.2.0/24"]).contains("::ffff:192.0.2.1"))
        self.assertTrue(NetworkList(["::ffff:192.0.2.0/120"]).contains("192.0.2.1"))

    def test_zone_of_an_address_is_ignored(self) -> None:
        """Link-local peers come with the interface in their address."""
        self.assertTrue(NetworkList(["fe80::/10"]).contains("fe80::1%eth0"))

    def test_what_is_no_address_is_in_no_network(self) -> None:
        """The peer of a unix socket has none."""
        for text in ("", "/run/x.sock", "example.net", "1.2.3"):
            self.assertFalse(NetworkList(["0.0.0.0/0", "::/0"]).contains(text))

    def test_widest_network_contains_all_of_its_family(self) -> None:
        """A prefix of 0 works."""
        self.assertTrue(NetworkList(["0.0.0.0/0"]).contains("203.0.113.9"))
        self.assertFalse(NetworkList(["0.0.0.0/0"]).contains("2001:db8::1"))

    def test_covers_and_overlaps_compare_networks(self) -> None:
        """A network is covered by a wider one and overlaps with a narrower one."""
        networks = NetworkList(["192.0.2.0/24"])
        self.assertTrue(networks.covers("192.0.2.128/25"))
        self.assertFalse(networks.covers("192.0.0.0/16"))
        self.assertTrue(networks.overlaps("192.0.0.0/16"))
        self.assertFalse(networks.overlaps("2001:db8::/32"))

    @given(st.lists(NETWORKS, max_size=4), NETWORKS)
    def test_covers_agrees_with_contains(self, own: list[str], other: str) -> None:
        """One covering network contains all addresses of the other."""
        networks = NetworkList(own)
        if networks.covers(other):
            self.assertTrue(all(map(networks.contains, ipaddress.ip_network(other))))
        self.assertEqual(networks.overlaps(other), any(map(networks.contains, ipaddress.ip_network(other))))


class DomainListTests(SynchronousTestCase):
    """`DomainList`."""

    def test_exact_entry_is_that_domain_only(self) -> None:
        """Nothing below and nothing above."""
        domains = DomainList(["example.net"])
        self.assertTrue(domains.matches("EXAMPLE.net."))
        self.assertFalse(domains.matches("a.example.net"))
        self.assertFalse(domains.matches("net"))
        self.assertFalse(domains.matches("notexample.net"))

    def test_wildcard_is_all_below_but_not_itself(self) -> None:
        """The star stands for one label or more."""
        domains = DomainList(["*.example.org"])
        self.assertTrue(domains.matches("a.example.org"))
        self.assertTrue(domains.matches("a.b.example.org"))
        self.assertFalse(domains.matches("example.org"))
        self.assertFalse(domains.matches("aexample.org"))

    def test_labels_compare_in_both_forms(self) -> None:
        """A-labels and U-labels are one, in entry and value."""
        self.assertTrue(DomainList(["bücher.example"]).matches("xn--bcher-kva.example"))
        self.assertTrue(DomainList(["*.xn--bcher-kva.example"]).matches("a.BÜCHER.example"))

    def test_odd_domains_do_not_slip_in(self) -> None:
        """Empty labels, odd dots and the empty domain match no wildcard."""
        domains = DomainList(["*.example.org", "example.org"])
        for text in ("", ".", ".example.org", "a..example.org", "example.org..", "*"):
            self.assertFalse(domains.matches(text), text)

    def test_literals_match_as_addresses(self) -> None:
        """Whatever the spelling."""
        self.assertTrue(DomainList(["[IPv6:2001:db8::1]"]).matches("[ipv6:2001:DB8:0::1]"))

    def test_empty_list_matches_nothing(self) -> None:
        """An empty list is false, and so are its answers."""
        self.assertFalse(DomainList())
        self.assertFalse(DomainList().matches("example.net"))

    def test_overlap_is_found_from_both_sides(self) -> None:
        """A wildcard overlaps with what is below it, and a domain with a wildcard above it."""
        domains = DomainList(["lists.example.net", "*.a.example.org"])
        self.assertTrue(domains.overlaps("*.example.net"))
        self.assertTrue(domains.overlaps("*.example.org"))
        self.assertTrue(domains.overlaps("*.b.a.example.org"))
        self.assertFalse(domains.overlaps("example.net"))
        self.assertFalse(domains.overlaps("*.example.com"))

    def test_lists_of_the_same_entries_are_equal(self) -> None:
        """Equality is by what is meant, so that a reload sees what changed."""
        self.assertEqual(DomainList(["Example.net"]), DomainList(["example.net."]))
        self.assertEqual(hash(DomainList(["a.b"])), hash(DomainList(["a.b"])))
        self.assertNotEqual(DomainList(["a.b"]), DomainList(["b.a"]))
        self.assertNotEqual(DomainList([]), NetworkList([]))

    def test_ten_thousand_entries_are_as_fast_as_ten(self) -> None:
        """The answer is hashed, not searched."""
        few = DomainList([f"*.d{n}.example" for n in range(10)])
        many = DomainList([f"*.d{n}.example" for n in range(10000)])

        def cost(domains: DomainList) -> float:
            best = 1.0
            for _ in range(5):
                start = time.perf_counter()
                for _ in range(500):
                    domains.matches("a.b.c.nowhere.example")
                best = min(best, time.perf_counter() - start)
            return best

        self.assertLess(cost(many), 10 * cost(few))

    @given(st.lists(ENTRIES, max_size=4), DOMAINS)
    def test_matches_as_the_words_say(self, entries: list[str], domain: str) -> None:
        """The quick answer equals the slow one."""
        slow = any(domain.endswith(e[1:]) if e.startswith("*.") else domain == e for e in entries)
        self.assertEqual(DomainList(entries).matches(domain), slow)

    @given(st.lists(ENTRIES, max_size=4), ENTRIES, DOMAINS)
    def test_covered_entry_has_no_domain_outside(self, entries: list[str], entry: str, domain: str) -> None:
        """Covering means that the list matches whatever the entry does."""
        domains = DomainList(entries)
        if DomainList([entry]).matches(domain):
            self.assertTrue(domains.matches(domain) or not domains.covers(entry))
            self.assertTrue(domains.overlaps(entry) or not domains.matches(domain))


class AddressListTests(SynchronousTestCase):
    """`AddressList`."""

    def test_each_form_matches(self) -> None:
        """Domains, addresses, users anywhere, the null sender; all without regard to case."""
        addresses = AddressList(["example.net", "*.example.org", "Bob@example.com", "postmaster@", "<>"])
        for local, domain in (
            ("anyone", "EXAMPLE.net"),
            ("anyone", "a.example.org"),
            ("BOB", "Example.com"),
            ("Postmaster", "example.edu"),
            ("postmaster", ""),
            ("", ""),
        ):
            self.assertTrue(addresses.matches(local, domain), (local, domain))
        for local, domain in (
            ("alice", "example.com"),
            ("bob", "example.edu"),
            ("x", "example.org"),
            ("bob", ""),
        ):
            self.assertFalse(addresses.matches(local, domain), (local, domain))

    def test_null_sender_is_matched_by_its_own_entry_only(self) -> None:
        """Nothing else stands for it."""
        self.assertFalse(AddressList(["example.net", "postmaster@"]).matches("", ""))

    def test_local_parts_beyond_ascii_compare_folded(self) -> None:
        """Composed and decomposed, upper and lower are one."""
        addresses = AddressList(["Jürgen@example.net"])
        self.assertTrue(addresses.matches("JU\u0308RGEN", "example.net"))

    def test_quoted_local_part_is_compared_unquoted(self) -> None:
        """The session hands the local part over with its quotes undone."""
        addresses = AddressList(['"john doe"@example.net'])
        self.assertTrue(addresses.matches("John Doe", "example.net"))
        self.assertEqual(addresses, AddressList(addresses.entries))

    def test_covers_goes_from_wide_to_narrow(self) -> None:
        """A domain covers its addresses, a user anywhere covers him in each domain."""
        addresses = AddressList(["example.net", "postmaster@", "bob@*.example.org", "<>"])
        for entry in (
            "example.net",
            "bob@example.net",
            "postmaster@a.b",
            "postmaster@",
            "bob@a.example.org",
            "<>",
        ):
            self.assertTrue(addresses.covers(entry), entry)
        for entry in ("*.example.net", "bob@", "bob@example.org", "a.example.org"):
            self.assertFalse(addresses.covers(entry), entry)
        self.assertFalse(AddressList(["example.net"]).covers("<>"))

    def test_overlaps_finds_any_common_address(self) -> None:
        """One common address is enough."""
        addresses = AddressList(["example.net", "bob@example.com"])
        for entry in ("alice@", "bob@", "bob@*.com", "*.net", "example.com", "x@example.net"):
            self.assertTrue(addresses.overlaps(entry), entry)
        for entry in ("<>", "alice@example.com", "example.org"):
            self.assertFalse(addresses.overlaps(entry), entry)
        self.assertTrue(addresses.overlaps_domain("*.com"))
        self.assertFalse(addresses.overlaps_domain("example.org"))


class PatternListTests(SynchronousTestCase):
    """`PatternList`."""

    def test_names_and_stars_match(self) -> None:
        """A star is any run of characters, also none; no other character is special."""
        users = PatternList(["bob", "*@example.net", "a*b*c", "x.[ab]?"])
        for name in ("BOB", "alice@Example.NET", "@example.net", "abc", "a1b2c", "abbcc", "x.[ab]?"):
            self.assertTrue(users.matches(name), name)
        for name in ("bobby", "alice@example.net.", "ab", "acb", "x.a1", ""):
            self.assertFalse(users.matches(name), name)

    def test_star_alone_is_everybody(self) -> None:
        """Every name, also the empty one."""
        self.assertTrue(PatternList(["*"]).matches("anybody"))
        self.assertTrue(PatternList(["*"]).matches(""))

    def test_head_and_tail_do_not_share_characters(self) -> None:
        """`ab*ba` needs four characters."""
        self.assertFalse(PatternList(["ab*ba"]).matches("aba"))
        self.assertTrue(PatternList(["ab*ba"]).matches("abba"))

    def test_S_20_hostile_name_is_not_slow(self) -> None:
        """No backtracking, so many stars cost no more than few."""
        users = PatternList(["*a" * 50 + "*b"])
        start = time.perf_counter()
        self.assertFalse(users.matches("a" * 10000))
        self.assertLess(time.perf_counter() - start, 1.0)

    def test_covers_and_overlaps(self) -> None:
        """A wider pattern covers; patterns that could share a name overlap."""
        users = PatternList(["*@example.net", "bob"])
        self.assertTrue(users.covers("a*@example.net"))
        self.assertFalse(users.covers("*"))
        self.assertTrue(users.overlaps("*"))
        self.assertTrue(users.overlaps("b*"))
        self.assertFalse(users.overlaps("*@example.org"))
        self.assertFalse(users.overlaps("alice"))

    @given(st.lists(st.text("ab*", min_size=1, max_size=5), min_size=1, max_size=3), st.text("ab", max_size=6))
    def test_matches_as_a_regular_expression_would(self, patterns: list[str], name: str) -> None:
        """The own matcher equals the slow one."""
        slow = any(re.fullmatch(pattern.replace("*", ".*"), name) for pattern in patterns)
        self.assertEqual(PatternList(patterns).matches(name), slow)
