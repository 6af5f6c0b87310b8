"""Tests of smtpgate.filters.content.blocklists and .entries: what files and lists in the DNS say of links and files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.problem import BadValue
from smtpgate.examine.urls import link
from smtpgate.filters.content.blocklists import DOMAINS, factory
from smtpgate.filters.content.entries import Entries, read_entries, read_entry
from smtpgate.policy.event import Happened
from smtpgate.testing import Client, Gateway, complaints, use

ZONE = {"test.uri.example": {"A": "127.0.0.2"}}


def mail(*links: str, attachment: bytes = b"") -> bytes:
    """A message with links in its text, and perhaps a file."""
    text = "\r\n".join(links).encode()
    head = b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    if not attachment:
        return head + b"Content-Type: text/plain\r\n\r\n" + text + b"\r\n"
    head += b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + text
    return head + b"\r\n--b\r\nContent-Disposition: attachment; filename=a.bin\r\n\r\n" + attachment + b"\r\n--b--\r\n"


class EntryTests(SynchronousTestCase):
    """Lines of files."""

    def test_forms(self) -> None:
        """Domains, hosts files, addresses, URLs, digests; all in the form in which links are compared."""
        digest = "A" * 64
        for line, wanted in (
            ("Evil.Example.ORG", ("domain", "evil.example.org")),
            ("*.example.org", ("domain", "example.org")),
            (".example.org.", ("domain", "example.org")),
            ("bücher.example", ("domain", "xn--bcher-kva.example")),
            ("0.0.0.0 evil.example # why", ("domain", "evil.example")),
            ("127.0.0.1 localhost", ("domain", "")),
            ("203.0.113.9", ("domain", "203.0.113.9")),
            ("[2001:DB8::1]", ("domain", "2001:db8::1")),
            ("https://Evil.example/a/b?c=D#e", ("url", "evil.example/a/b?c=D")),
            ("http://evil.example:8080/", ("url", "evil.example:8080")),
            (digest, ("digest", digest.lower())),
        ):
            self.assertEqual(read_entry(line), wanted, line)

    def test_what_is_none(self) -> None:
        """A word, a path, an address of mail, a digest of another kind."""
        for line in ("word", "/etc/passwd", "a@example.org", "0" * 40, "two words here", "https://", "a..b", "<html>"):
            self.assertRaises(ValueError, read_entry, line)

    @given(st.text(max_size=80))
    def test_nothing_else_is_raised(self, line: str) -> None:
        """An entry, or ValueError."""
        try:
            kind, _ = read_entry(line)
        except ValueError:
            return
        self.assertIn(kind, ("domain", "url", "digest"))

    def test_domains_hold_what_is_below_them(self) -> None:
        """Not what only ends alike, and of addresses only themselves."""
        entries = Entries(frozenset({"evil.example", "203.0.113.9", "113.9"}))
        for url, wanted in (
            ("http://evil.example/", "evil.example"), ("https://a.b.evil.example/x", "evil.example"),
            ("http://notevil.example/", ""), ("http://203.0.113.9/", "203.0.113.9"), ("http://203.113.9.113.9/", ""),
            ("http://0xcb.0x00.0x71.0x09/", "203.0.113.9"), ("http://EVIL.example./", "evil.example"),
        ):  # fmt: skip
            found = link(url)
            self.assertEqual(entries.of_link(found) if found is not None else "", wanted, url)

    def test_urls_hold_what_goes_on_behind_them(self) -> None:
        """By parts of the path."""
        entries = Entries(urls=frozenset({"drive.example/d/abc", "short.example/x?q=1"}))
        for url, is_listed in (
            ("https://drive.example/d/abc", True), ("http://drive.example/d/abc/edit?x=1#y", True),
            ("https://drive.example/d/abc/", True), ("https://drive.example/d/abcd", False),
            ("https://drive.example/d", False), ("https://short.example/x?q=1", True),
            ("https://short.example/x", False), ("https://www.drive.example/d/abc", False),
            ("https://user@drive.example/d/abc", True),
        ):  # fmt: skip
            found = link(url)
            assert found is not None
            self.assertEqual(bool(entries.of_link(found)), is_listed, url)

    def test_a_bad_line_is_named(self) -> None:
        """File and line; comments and empty lines are none."""
        path = Path(self.mktemp())
        path.write_text("# feed\n\n; more\nevil.example\r\n!\nno entry\n")
        with self.assertRaises(BadValue) as caught:
            read_entries([str(path)])
        self.assertIn("line 6", str(caught.exception.message))


class FilterTests(SynchronousTestCase):
    """Messages."""

    def gateway(self, lines: str = "", options: str = "", zones: Any = None) -> Gateway:
        """With one file."""
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text(lines)
        return Gateway(use(factory, f'files = ["{self.path}"]\n{options}'), zones=zones)

    def send(self, gateway: Gateway, content: bytes) -> Client:
        """One message."""
        client = gateway.connect()
        client.helo()
        client.greeting = client.message(content)
        return client

    def found(self, gateway: Gateway, content: bytes) -> list[tuple[str, str, float]]:
        """What is found about it."""
        client = self.send(gateway, content)
        self.assertEqual(gateway.failures, [])
        return [(one.reason, one.action, one.score) for one in client.findings]

    def test_links(self) -> None:
        """Marked as shipped; ours and trusted ones are passed over."""
        gateway = self.gateway("evil.example\nexample.net\ngood.example\n", 'trusted = ["*.good.example"]')
        self.assertEqual(self.found(gateway, mail("http://a.evil.example/x")), [("blocklist-link", "tag", 6.0)])
        for good in ("http://example.net/", "http://a.good.example/", "http://other.example/"):
            self.assertEqual(self.found(gateway, mail(good)), [], good)

    def test_attachments(self) -> None:
        """By the SHA-256 of what is in them, refused as malware."""
        body = b"any octets at all"
        gateway = self.gateway(hashlib.sha256(body).hexdigest())
        client = self.send(gateway, mail(attachment=body))
        self.assertEqual(client.greeting, "550 5.7.1 An attachment of the message is known to be malware")
        self.assertEqual([(one.reason, one.category) for one in client.findings], [("blocklist-file", "malware")])
        self.assertEqual(self.found(gateway, mail(attachment=body + b".")), [])

    def test_files_that_change(self) -> None:
        """Are taken over after a while; broken ones are told of once, and what there was stays."""
        gateway = self.gateway("evil.example\n")
        self.path.write_text("worse.example\n")
        os.utime(self.path, (1, 1))
        self.assertEqual(self.found(gateway, mail("http://worse.example/")), [])
        gateway.advance(61)
        self.assertEqual(len(self.found(gateway, mail("http://worse.example/"))), 1)
        self.path.write_text("what is this\n")
        for _ in range(2):
            gateway.advance(61)
            self.assertEqual(len(self.found(gateway, mail("http://worse.example/"))), 1)
        self.path.unlink()
        gateway.advance(61)
        self.assertEqual(len(self.found(gateway, mail("http://worse.example/"))), 1)
        told = [event.name for event in gateway.events if isinstance(event, Happened)]
        self.assertEqual(told, ["engine.rules", "engine.rules_refused", "engine.rules_refused"])

    def test_lists_in_the_dns(self) -> None:
        """Asked for the domain that somebody has registered, or the address; scores add up, thresholds act."""
        options = '[[filters.options.lists]]\nzone = "uri.example"\nweight = 3.0\n'
        zones = ZONE | {
            "evil.example.uri.example": {"A": "127.0.0.2", "TXT": "spam source"},
            "9.113.0.8.uri.example": {"A": "127.0.0.4"},
        }
        for link_, wanted in (
            ("http://www.evil.example/x", [("blocklist-dns", "note", 3.0)]),
            ("http://8.0.113.9/", [("blocklist-dns", "note", 3.0)]),
            ("http://10.0.0.1/", []), ("http://other.example/", []), ("http://example.net/", []),
        ):  # fmt: skip
            self.assertEqual(self.found(self.gateway("", options, zones), mail(link_)), wanted, link_)
        gateway = self.gateway("", "reject_at = 3.0\n" + options, zones)
        client = self.send(gateway, mail("http://www.evil.example/x"))
        self.assertEqual(client.greeting, "550 5.7.1 evil.example is listed by uri.example: spam source")

    def test_a_list_that_lists_everything_is_switched_off(self) -> None:
        """A parked zone marks nobody."""
        options = '[[filters.options.lists]]\nzone = "uri.example"\n'
        gateway = self.gateway("", options, {"*.uri.example": {"A": "127.0.0.2"}})
        self.assertEqual(self.found(gateway, mail("http://evil.example/")), [])

    def test_so_many_domains_are_asked_for(self) -> None:
        """Each once, the first ones."""
        options = '[[filters.options.lists]]\nzone = "uri.example"\n'
        gateway = self.gateway("", options, ZONE)
        urls = [f"http://x{number % 30}.example/{number}" for number in range(90)]
        self.found(gateway, mail(*urls))
        asked = [name for name, _ in gateway.resolver.asked if name.endswith(".uri.example") and name[0] == "x"]
        self.assertEqual(asked, [f"x{number}.example.uri.example" for number in range(DOMAINS)])

    def test_while_the_dns_is_away(self) -> None:
        """Nothing is found, and nothing fails."""
        options = '[[filters.options.lists]]\nzone = "uri.example"\n'
        gateway = self.gateway("", options, {"*.example": "timeout"})
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(mail("http://evil.example/")), "")
        gateway.advance(4)
        self.assertTrue(client.read().startswith("250"))
        self.assertEqual((client.findings, gateway.failures), ([], []))

    def test_options(self) -> None:
        """Mistakes are said at load."""
        for options in (
            'files = ["/nowhere/list"]', 'trusted = ["*"]', 'links = "drop"', "tag_at = 0",
            'lists = [{zone = "uri.example"}, {zone = "uri.example"}]', 'lists = [{zone = "uri.example", kind = "ip"}]',
        ):  # fmt: skip
            self.assertTrue(complaints(factory, options), options)
