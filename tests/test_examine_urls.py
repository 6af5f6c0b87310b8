"""Tests of smtpgate.examine.urls: the one model of links."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.urls import KEPT, Links, in_text, link, registrable, unwrapped


def host(raw: str, base: str = "") -> str:
    """Where a browser would go; "" for nowhere."""
    made = link(raw, base=base)
    return made.host if made is not None else ""


class LinkTests(SynchronousTestCase):
    """One URL, as a browser reads it."""

    def test_no_spelling_hides_a_host(self) -> None:
        """B-109 among them: what stands before the @ is a user, not the host."""
        for raw, wanted in (
            ("http://evil.example/", "evil.example"),
            ("HTTP:/evil.example", "evil.example"),
            ("https:\\\\evil.example\\x", "evil.example"),
            ("http://evi\tl.exa\nmple/", "evil.example"),
            ("https://" + "a" * 80 + "@evil.example/", "evil.example"),
            ("http://bank.example\\@evil.example/", "bank.example"),
            ("http://user:pw@evil.example:8443/", "evil.example"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://１２７.0.0.1/", "127.0.0.1"),
            ("http://paypal.com。evil.example/", "paypal.com.evil.example"),
            ("http://%65vil.example/", "evil.example"),
            ("http://bücher.example/", "xn--bcher-kva.example"),
            ("http://[::1]/", "[::1]"),
            ("//evil.example/x", "evil.example"),
            ("\\\\evil.example\\share", "evil.example"),
            ("  http://evil.example  ", "evil.example"),
            ("http://evil.example. /", "evil.example"),
            ("https://" + "a" * 9000 + "@evil.example/", "evil.example"),
            ("https://" + "\t" * 9000 + "evil.example/", "evil.example"),
            ("\x01http://evil.example/", "evil.example"),
            ("http://0300.0250.1/", "192.168.0.1"),
            ("http:evil.example", "evil.example"),
            ("http:////evil.example", "evil.example"),
            ("www.evil.example:8080/x", "www.evil.example"),
            ("evil.com/x", "evil.com"),
        ):
            with self.subTest(raw=raw):
                self.assertEqual(host(raw), wanted)

    def test_relative_ones_need_a_base(self) -> None:
        """A fragment leads nowhere."""
        self.assertEqual(host("/x"), "")
        self.assertEqual(host("x.html", "http://base.example/a/"), "base.example")
        self.assertIsNone(link("#top", base="http://base.example"))
        self.assertIsNone(link(""))
        self.assertIsNone(link("bob@example.net"), "B-111")
        made = link("../up?a=1", base="https://base.example/dir/page?x")
        assert made is not None
        self.assertEqual(made.url, "https://base.example/up?a=1")

    def test_schemes_that_are_no_places_are_kept(self) -> None:
        """They run or carry something."""
        for raw, scheme in (
            ("javascript:alert(1)", "javascript"),
            ("data:text/html,x", "data"),
            ("mailto:a@b.example", "mailto"),
            ("tel:+4912345", "tel"),
            ("\x02java\nscript:alert(1)", "javascript"),
        ):
            made = link(raw)
            assert made is not None
            self.assertEqual((made.scheme, made.host), (scheme, ""))

    def test_a_customer_s_name_is_a_domain_of_its_own(self) -> None:
        """The private section of the public suffix list counts."""
        for name, wanted in (
            ("a.b.example.co.uk", "example.co.uk"), ("x.github.io", "x.github.io"), ("y.x.github.io", "x.github.io"),
            ("192.0.2.1", "192.0.2.1"), ("co.uk", "co.uk"), ("", ""),
        ):  # fmt: skip
            self.assertEqual(registrable(name), wanted)

    def test_a_user_part_is_told(self) -> None:
        """People take it for the host."""
        with_user, without = link("http://bank.example@evil.example/"), link("http://evil.example/@bank.example")
        assert with_user is not None and without is not None
        self.assertEqual((with_user.has_user, without.has_user), (True, False))

    def test_wrappers_are_opened_by_their_form(self) -> None:
        """Whoever wraps, the inner one is a link too."""
        for raw in (
            "https://urldefense.com/v3/__https://evil.example/x__;!!abc",
            "https://urldefense.proofpoint.com/v2/url?u=https-3A__evil.example_x&d=D",
            "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fevil.example%2Fx&data=05",
            "https://www.google.com/url?q=https://evil.example/x&sa=D",
            "https://click.example/redir/https://evil.example/x",
            "https://click.example/1ab/https%3A%2F%2Fevil.example%2Fx",
            "https://urldefense.com/v3/__http:/evil.example/a*b__;Kw!!abc!d$",
            "https://urldefense.proofpoint.com/v1/url?u=http://evil.example/x&k=1",
            "https://l.facebook.com/l.php?u=https%3A%2F%2Fevil.example%2Fx&h=1",
            "https://www.google.com/url?q=evil.example/x",
            "https://www.google.com/amp/s/evil.example/x",
            "https://evil-example.translate.goog/x",
            "https://www.bing.com/ck/a?!&&u=a1aHR0cHM6Ly9ldmlsLmV4YW1wbGUveA",
            "https://click.example/?" + "a=1&" * 150 + "u=https://evil.example/",
        ):
            made = link(raw)
            assert made is not None
            self.assertEqual(host(unwrapped(made)), "evil.example", raw)
        plain = link("https://evil.example/?q=1")
        assert plain is not None
        self.assertEqual(unwrapped(plain), "")

    def test_letters_that_a_wrapper_replaced_come_back(self) -> None:
        """They stand behind the URL."""
        made = link("https://urldefense.com/v3/__http://evil.example/a*b__;Kw!!abc!d$")
        assert made is not None
        self.assertEqual(unwrapped(made), "http://evil.example/a+b")

    def test_paths_of_windows_are_told_from_pages(self) -> None:
        """In a text they open a file of that server; both have the host."""
        for source, scheme in (("text", "file"), ("html", "https")):
            made = link("\\\\evil.example\\share", source=source)
            assert made is not None
            self.assertEqual((made.scheme, made.host), (scheme, "evil.example"))

    @given(st.text("a:/\\@?#[]%0123456789.\t x", max_size=60), st.text("ab", min_size=1, max_size=20))
    def test_the_host_is_bounded_and_plain(self, before: str, after: str) -> None:
        """Lower case, ASCII, no user part, whatever the URL is made of."""
        made = link(f"https://{before}{after}")
        if made is not None:
            self.assertTrue(made.host.isascii() and made.host == made.host.lower() and "@" not in made.host)
            self.assertLessEqual(len(made.url), 2048)

    @given(st.text(max_size=300))
    def test_nothing_raises(self, raw: str) -> None:
        """Whatever stands there."""
        made = link(raw)
        if made is not None:
            unwrapped(made)


class LinksTests(SynchronousTestCase):
    """Those of a message."""

    def test_links_in_text(self) -> None:
        """B-111: mail addresses and files are none; defanged ones are."""
        text = "mail bob@example.net, see setup.py, www.example.com/x or hxxp://evil[.]example/y (http://b.example)."
        self.assertEqual(list(in_text(text)), ["http://www.example.com/x", "http://b.example", "http://evil.example/y"])

    def test_unclickable_links_are_read(self) -> None:
        """In each of the usual ways; brackets of other meaning are none."""
        for text, wanted in (
            ("hxxps://evil[.]com/x", ["https://evil.com/x"]), ("see evil[.]com/x now", ["http://evil.com/x"]),
            ("hxxp[:]//evil(.)com", ["http://evil.com"]), ("HXXP://evil.com", ["http://evil.com"]),
            ("http[://]evil[.]com", ["http://evil.com"]), ("a[.]b (.) [dot] bob@evil[.]com", []),
        ):  # fmt: skip
            self.assertEqual(list(in_text(text)), wanted, text)

    def test_layers_of_wrappers_are_opened(self) -> None:
        """Up to a bound, and in a circle once."""
        links = Links()
        url = "https://evil.example/"
        for _ in range(3):
            url = "https://www.google.com/url?q=" + quote(url, safe="")
        links.add(url)
        self.assertEqual(links.all()[-1].host, "evil.example")

    def test_a_wrapped_link_is_two(self) -> None:
        """With the same text and place."""
        links = Links()
        links.add("https://www.google.com/url?q=https://evil.example/", shown="here", source="html", tag="a")
        self.assertEqual([(one.host, one.shown, one.tag) for one in links.all()],
                         [("www.google.com", "here", "a"), ("evil.example", "here", "a")])  # fmt: skip

    def test_so_many_are_kept(self) -> None:
        """What is beyond is a limit that was reached."""
        links = Links()
        for number in range(KEPT + 1):
            links.add(f"http://h{number}.example/")
        self.assertEqual((len(links.all()), links.is_cut), (KEPT, True))

    def test_hostile_text_is_linear(self) -> None:
        """B-206, and a message of nothing but links: all of it is bounded by what is searched."""
        for text in ("http://" + "!" * 40 + "<", "http://" * 50_000, "a." * 150_000, "x@" * 150_000):
            links = Links()
            links.search(text, "text", "1")
            self.assertLessEqual(len(links.all()), KEPT)
