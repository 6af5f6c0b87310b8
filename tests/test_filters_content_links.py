"""Tests of smtpgate.filters.content.links: where a message wants its reader to go."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.content.links import KINDS, factory
from smtpgate.testing import Gateway, complaints, use

HEAD = "From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def found(body: str, options: str = "", kind: str = "text/html", head: str = HEAD) -> dict[str, Any]:
    """What the filter says of a message with that body, by kind."""
    gateway = Gateway(use(factory, options))
    client = gateway.connect()
    client.helo()
    client.message(f"{head}Content-Type: {kind}; charset=utf-8\r\n\r\n{body}\r\n", sender="alice@example.org")
    return {finding.reason.removeprefix("link-"): finding for finding in client.findings}


class LinkFilterTests(SynchronousTestCase):
    """Each kind, and what only looks like one."""

    def test_honest_links_are_nothing(self) -> None:
        """To the sender's own hosts, with their own names, to pictures anywhere."""
        for body in (
            '<a href="https://www.example.org/x">www.example.org/x</a>',
            '<a href="https://click.mail.example.org/t?u=1">www.example.org</a> <img src="https://cdn.example.com/i.png">',
            '<a href="https://www.example.org/x">Read more</a><a href="mailto:alice@example.org">mail</a>',
            '<a href="https://example.org">https://example.org/</a>',
        ):
            self.assertEqual(found(body), {}, body)

    def test_a_text_that_shows_another_host(self) -> None:
        """B-105, B-107: without quotes, in look-alike letters, with a scheme or without."""
        for shown in (
            "http://bank.example.com",
            "bank.example.com/login",
            "https://bаnk.exаmple.com/login",
            "WWW.Bank.COM",
        ):
            say = found(f"<a href=http://evil.example>{shown}</a>")
            self.assertEqual(say["mismatch"].score, KINDS["mismatch"][1], shown)
            self.assertIn("leads to http://evil.example/", say["mismatch"].detail)

    def test_a_sender_may_count_clicks_elsewhere(self) -> None:
        """It shows its own name and leads to its mailing service."""
        say = found('<a href="https://ct.mailservice.example/x">www.example.org</a>')
        self.assertNotIn("mismatch", say)
        self.assertIn("tracked", say)

    def test_texts_that_are_no_hosts(self) -> None:
        """Words, files, addresses, prices."""
        for shown in ("Click here", "report.pdf", "bob@example.com", "e.g. this", "12.50", "v1.2.3"):
            self.assertNotIn("mismatch", found(f'<a href="https://evil.example">{shown}</a>'), shown)

    def test_forms_of_hosts(self) -> None:
        """Each by its sign."""
        for url, kind in (
            ("https://" + "a" * 80 + "@evil.example.com/", "user-part"),
            ("http://203.0.113.5/x", "number-host"),
            ("http://0xcb007105/x", "encoded-host"),
            ("https://xn--pypal-4ve.com/", "mixed-letters"),
            ("https://paypal-login.com/", "look-alike"),
            ("https://bit.ly/abc", "short"),
            ("https://forms.gle/abc", "hosting"),
            ("https://x.evil.example.com:4443/", "odd-port"),
            ("https://a.b.c.d.e.f.example.com/", "deep-host"),
            ("javascript:alert(1)", "active"),
            ("https://evil.example.com/?e=bob@example.net", "reader-known"),
            ("https://evil.example.com/#Ym9iQGV4YW1wbGUubmV0", "reader-known"),
            ("https://win.top/", "cheap-ending"),
        ):
            self.assertIn(kind, found(f'<a href="{url}">x</a>'), url)

    def test_what_the_mail_itself_does(self) -> None:
        """Forms, passwords, script, being led elsewhere."""
        say = found('<form action="https://www.example.org"><input type="password"></form><script>1</script>')
        self.assertEqual({"form", "password-form", "script"} - say.keys(), set())
        self.assertIn("redirect", found('<meta http-equiv="refresh" content="0;url=https://www.example.org">'))

    def test_lists_of_the_operator(self) -> None:
        """Hosts with what is below them, beginnings of URLs; marked, or refused."""
        options = 'domains = ["evil.example", "*.evil.example"]\naddresses = ["https://docs.example.com/d/bad"]\n'
        for url in ("http://evil.example/", "http://a.evil.example/x", "https://docs.example.com/d/bad1"):
            self.assertEqual(found(url, options, "text/plain")["listed"].action, "tag", url)
        self.assertEqual(
            found("http://evil.example/", options + 'listed = "reject"', "text/plain")["listed"].action, "reject"
        )
        self.assertNotIn("listed", found("https://docs.example.com/d/good and notevil.example", options, "text/plain"))

    def test_trusted_hosts_are_passed_over(self) -> None:
        """Whatever they look like."""
        self.assertEqual(found('<a href="https://bit.ly/abc">x</a>', 'trusted = ["bit.ly"]\nscores = { foreign = 0.0 }')
                         .keys() - {"foreign"}, set())  # fmt: skip

    def test_a_page_without_a_way_home(self) -> None:
        """All its few links lead to strangers."""
        self.assertIn(
            "foreign", found('<a href="https://evil.example.com/">a</a><a href="https://evil.example.com/u">b</a>')
        )
        self.assertNotIn(
            "foreign", found('<a href="https://evil.example.com/">a</a><a href="https://www.example.org/">b</a>')
        )
        self.assertNotIn("foreign", found("https://evil.example.com/", kind="text/plain"))

    def test_a_kind_counts_once(self) -> None:
        """However many links are of it."""
        say = found('<a href="https://bit.ly/1">a</a><a href="https://bit.ly/2">b</a>')
        self.assertEqual(
            (say["short"].score, say["short"].detail),
            (KINDS["short"][1], f'{KINDS["short"][0]}: "a" leads to https://bit.ly/1 (html 1)'),
        )

    def test_options(self) -> None:
        """What means nothing is refused."""
        self.assertEqual(complaints(factory, 'domains = ["*.example.org"]\nscores = { short = 0.0 }'), [])
        self.assertEqual(len(complaints(factory, "scores = { shrt = 0.0 }")), 1)
        self.assertEqual(len(complaints(factory, 'domains = ["a b"]')), 1)
