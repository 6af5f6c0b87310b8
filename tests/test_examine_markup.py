"""Tests of smtpgate.examine.markup: what a person's program shows of HTML."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.markup import TREE_LETTERS, look_at_markup


class TextTests(SynchronousTestCase):
    """Seen and hidden text."""

    def test_text_as_it_is_shown(self) -> None:
        """Blocks are lines; script and style are no text."""
        shown = look_at_markup("<style>p{}</style><p>One <b>two</b></p><div>three<br>four</div><script>x</script>")
        self.assertEqual(shown.text, "One two\nthree\nfour")

    def test_ways_to_hide_text(self) -> None:
        """Each is hidden, and kept apart."""
        for hiding in (
            'style="display:none"', 'style="DISPLAY : NONE"', 'style="visibility:hidden"', 'style="font-size:0"',
            'style="font-size:1px"', 'style="opacity:0"', 'style="max-height:0;overflow:hidden"', "hidden",
            'style="text-indent:-9999px"', 'style="mso-hide:all"', 'style="color:#fff"', 'style="color: white"',
            'style="color:rgb(255, 255, 255)"',
        ):  # fmt: skip
            with self.subTest(hiding=hiding):
                found = look_at_markup(f"<p>seen</p><div {hiding}>not <i>seen</i></div>")
                self.assertEqual((found.text, found.hidden), ("seen", "not seen"))

    def test_what_only_looks_like_hiding(self) -> None:
        """White on black is read; so is small print."""
        for shown in (
            '<td bgcolor="#000000"><font color="#ffffff">seen</font></td>', '<p style="font-size:10px">seen</p>',
            '<div style="background:#333"><span style="color:#fff">seen</span></div>',
            '<p style="opacity:0.8">seen</p>',
        ):  # fmt: skip
            self.assertEqual(look_at_markup(f"<table><tr>{shown}</tr></table>").text, "seen", shown)

    def test_zero_width_letters_are_undone(self) -> None:
        """And counted."""
        found = look_at_markup("<p>pass\u200bwo\u00adrd</p>")
        self.assertEqual((found.text, found.counts["zero-width"]), ("password", 2))


class LinkTests(SynchronousTestCase):
    """Where it leads."""

    def test_a_link_has_the_text_that_stands_for_it(self) -> None:
        """B-105: without quotes too; the words for a picture are text."""
        (one,) = look_at_markup("<a href=http://evil.example.org>http://bank.<b>example</b>.com</a>").links
        self.assertEqual((one.raw, one.shown, one.tag), ("http://evil.example.org", "http://bank.example.com", "a"))
        first, second = look_at_markup('<a href="http://e.example"><img src="http://i.example" alt="Log in"></a>').links
        self.assertEqual((first.shown.strip(), second.tag), ("Log in", "img"))

    def test_every_element_that_leads_somewhere(self) -> None:
        """Forms, frames, pictures, refresh, areas, SVG; Outlook's conditional comments."""
        for text, tag in (
            ('<form action="http://e.example">', "form"), ('<iframe src="http://e.example">', "iframe"),
            ('<area href="http://e.example">', "area"), ('<embed src="http://e.example">', "embed"),
            ('<meta http-equiv=refresh content="0; url=http://e.example">', "meta"),
            ('<svg><a xlink:href="http://e.example"><text>x</text></a></svg>', "a"),
            ('<!--[if mso]><a href="http://e.example">x</a><![endif]-->', "comment"),
            ('<button formaction="http://e.example">', "button"),
        ):  # fmt: skip
            found = look_at_markup(text).links
            self.assertEqual([(one.raw, one.tag) for one in found], [("http://e.example", tag)], text)

    def test_a_base_is_no_link(self) -> None:
        """Relative ones are read against it."""
        found = look_at_markup('<base href="http://b.example/"><a href="x">y</a>')
        self.assertEqual((found.base, [one.raw for one in found.links]), ("http://b.example/", ["x"]))

    def test_links_behind_the_bound_are_found(self) -> None:
        """Padding hides none, though there is no tree."""
        found = look_at_markup("x" * TREE_LETTERS + '<a href="http://evil.example/">y</a>')
        self.assertEqual(([one.raw for one in found.links], found.is_cut), (["http://evil.example/"], True))


class FlagTests(SynchronousTestCase):
    """What runs, asks and builds."""

    def test_flags(self) -> None:
        """Each by its sign, and none without."""
        for text, flags in (
            ("<p>hello</p>", set()),
            ("<script>1</script>", {"html-script"}),
            ('<p onmouseover="go()">x</p>', {"html-script"}),
            ("<form></form>", {"html-form"}),
            ("<form><input type=PASSWORD></form>", {"html-form", "html-password"}),
            ("<form><input name=passwd></form>", {"html-form", "html-password"}),
            ('<meta http-equiv="Refresh" content="1;URL=http://e.example">', {"html-redirect"}),
            ("<script>location.href='http://e.example'</script>", {"html-script", "html-redirect"}),
            (
                "<script>var b=atob(d);var u=URL.createObjectURL(new Blob([b]))</script>",
                {"html-script", "html-smuggling"},
            ),
            (f"<script>document.write(unescape('{'%41' * 2000}'))</script>", {"html-script", "html-smuggling"}),
            ('<a download="a.zip" href="data:application/zip;base64,UEs=">x</a>', {"html-smuggling"}),
            ("<svg><foreignObject></foreignObject></svg>", {"html-script"}),
        ):
            self.assertEqual(look_at_markup(text).flags, flags, text[:60])

    @given(st.text(alphabet="<>/=\"' adivstyleABform!-\u200b&;#x0", max_size=400))
    def test_nothing_raises(self, text: str) -> None:
        """Whatever stands there."""
        look_at_markup(text)

    def test_depth_is_no_matter(self) -> None:
        """No recursion."""
        self.assertEqual(look_at_markup("<div>" * 20_000 + "deep").text, "deep")
