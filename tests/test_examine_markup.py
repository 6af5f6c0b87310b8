"""Tests of smtpgate.examine.markup: what a person's program shows of HTML."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.markup import INNER, TREE_LETTERS, look_at_markup


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
            'style="text-indent:-9999px"', 'style="color:#fff"', 'style="color: white"',
            'style="color:rgb(255, 255, 255)"', 'style="color:#fdfdfd"', 'style="color:transparent"',
            'style="color:rgba(0,0,0,0)"', 'style="position:absolute;left:-9999px"', 'style="font-size:0.1px"',
            'style="disp/**/lay:block;display:none"', 'style="d\\69splay:none"', 'style="font:0/0 a"',
            'style="display:none!important;display:block"', 'style="width:0;overflow:hidden"',
            'style="background:#000;color:#010101"', 'style="color:#777;background:#777"', 'style="opacity:.0"',
            'style="visibility:hidden"',
        ):  # fmt: skip
            with self.subTest(hiding=hiding):
                found = look_at_markup(f"<p>seen</p><div {hiding}>not <i>seen</i></div>")
                self.assertEqual((found.text, found.hidden), ("seen", "not seen"))

    def test_what_only_looks_like_hiding(self) -> None:
        """White on black is read; so is small print."""
        for shown in (
            '<td bgcolor="#000000"><font color="#ffffff">seen</font></td>', '<p style="font-size:10px">seen</p>',
            '<div style="background:#333"><span style="color:#fff">seen</span></div>',
            '<p style="opacity:0.8">seen</p>', '<p style="font-size:0.9em">seen</p>',
            '<p style="font-size:90%">seen</p>',
            '<td style="font-size:0px"><div style="font-size:13px">seen</div></td>',
            '<td style="line-height:0;min-height:0">seen</td>', '<p style="mso-hide:all">seen</p>',
            '<td style="background:navy;color:#fff">seen</td>', '<td background="x.png" style="color:#fff">seen</td>',
            '<td style="color:#fff"><div style="background:#000">seen</div></td>',
            '<td style="background:url(x.png) #fff;color:#fff">seen</td>', '<p style="color:#ccc">seen</p>',
            '<p style="visibility:hidden"><b style="visibility:visible">seen</b></p>',
            '<noscript>seen</noscript>', '<textarea>seen</textarea>', '<object>seen</object>',
        ):  # fmt: skip
            with self.subTest(shown=shown):
                text = f"<table><tr>{shown}</tr></table>" if shown.startswith("<td") else shown
                self.assertEqual(look_at_markup(text).text, "seen")

    def test_style_sheets_hide_text(self) -> None:
        """By class, element or id; not what holds on some screens only, and an attribute counts more."""
        for sheet, element in (
            (".x{display:none}", "b class='a X'"), ("b{font-size:0}", "b"), ("#i , .y{color:#fff}", "b id=i"),
            ("b.x{visibility:hidden}", "b class=x"), ("/*{*/.x{opacity:0}", "b class=x"),
            ("<!-- .x { DISPLAY : none } -->", "b class=x"), ("@import url(a.css);.x{display:none}", "b class=x"),
        ):  # fmt: skip
            found = look_at_markup(f"<style>{sheet}</style>pass<{element}>zz</b>word")
            self.assertEqual((found.text, found.hidden), ("password", "zz"), sheet)
        for sheet, element in (
            ("@media (max-width:600px){.x{display:none}}", "b class=x"), (".x{display:none}", "b class=xy"),
            (".x{display:none}", "b class=x style='display:inline'"), ("div .x{display:none}", "b class=x"),
            ("}}.x{color:red", "b class=x"),
        ):  # fmt: skip
            self.assertEqual(look_at_markup(f"<style>{sheet}</style><{element}>seen</b>").text, "seen", sheet)

    def test_what_follows_a_block_begins_a_line(self) -> None:
        """Where it ends as where it begins: no two words become a host."""
        found = look_at_markup("<p>our newsletter.</p><a href=https://a.example>Shop</a><div>a<b>b</b></div>c")
        self.assertEqual(found.text, "our newsletter.\nShop\nab\nc")

    def test_words_on_buttons_and_in_fields_are_text(self) -> None:
        """A page that asks for a password often says so there only."""
        found = look_at_markup(
            "<input type=submit value='Sign in'><input placeholder=Password><input type=hidden value=x>"
        )
        self.assertEqual(found.text, "Sign in Password")

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
            ('<noscript><a href="http://e.example">x</a></noscript>', "a"),
            ("<svg><set attributeName=href to='http://e.example'></svg>", "set"),
            ("<!--[if mso]><a href='http://e.exam&#112;le'>x</a><![endif]-->", "comment"),
            ("<iframe srcdoc='<a href=http://e.example>x</a>'></iframe>", "a"),
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

    def test_signs_behind_the_bound_are_found(self) -> None:
        """Scripts, forms, passwords and redirects too; letters of links are decoded."""
        found = look_at_markup(
            "x" * TREE_LETTERS + "<script>1</script><form action=' http://evi&#108;.example'><input type='password'>"
            "<meta http-equiv=refresh content='0;url=http://b.example'>"
        )
        self.assertEqual(found.flags, {"html-script", "html-form", "html-password", "html-redirect"})
        self.assertEqual(found.links[0].raw.strip(), "http://evil.example")

    def test_pages_inside_the_page_are_read(self) -> None:
        """In a frame or data URL, with their forms; so many at the most."""
        page = base64.b64encode(b"<form><input type=password></form><a href=http://e.example>in</a>").decode()
        for outer in (f'<iframe src="data:text/html;base64,{page}">', f"<a href='data:text/html;base64,{page}'>x</a>"):
            found = look_at_markup(outer)
            self.assertIn("html-password", found.flags)
            self.assertIn("http://e.example", [one.raw for one in found.links])
        self.assertTrue(look_at_markup("<iframe srcdoc='<b>x</b>'></iframe>" * (INNER + 1)).is_cut)


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
            ("<svg><foreignObject><script>1</script></foreignObject></svg>", {"html-script"}),
            ("<svg><foreignObject><p>a</p></foreignObject></svg>", set()),
            ("<iframe srcdoc='<script>1</script>'></iframe>", {"html-script"}),
            ("<a href='data:application/octet-stream;base64,TVo='>x</a>", {"html-smuggling"}),
            ("<img src='data:application/zip;base64,UEs='>", set()),
            ("<a href='javascript:location.replace(1)'>x</a>", {"html-redirect"}),
            ("<noscript><!--</noscript><script>1</script>-->", {"html-script"}),
            (
                f"<script>a='{'QUJD' * 900_000}';URL.createObjectURL(atob(a))</script>",
                {"html-script", "html-smuggling"},
            ),
        ):
            self.assertEqual(look_at_markup(text).flags, flags, text[:60])

    @given(st.text(alphabet="<>/=\"' adivstyleABform!-\u200b&;#x0", max_size=400))
    def test_nothing_raises(self, text: str) -> None:
        """Whatever stands there."""
        look_at_markup(text)

    @given(
        st.lists(
            st.sampled_from(
                [
                    "<style>",
                    "</style>",
                    ".a{",
                    "}",
                    "display:none",
                    "/*",
                    "*/",
                    "@media{",
                    "<b class=a style='",
                    "'>",
                    "\\6",
                    "color:",
                    "rgba(0,0,0,0)",
                    "#fff",
                    "font:0/0 a;",
                    "<iframe srcdoc='",
                    "data:text/html;base64,PGE+",
                    "<!--[if",
                    "]>",
                    "-->",
                    "<noscript>",
                    "</noscript>",
                    "<table>",
                    "<td bgcolor='",
                    "<svg>",
                    "<set attributeName=href to='",
                    "x",
                    "left:-9e9px",
                ]
            ),
            max_size=40,
        )
    )
    def test_pieces_in_any_order_raise_nothing(self, pieces: list[str]) -> None:
        """Sheets, comments, frames and quotes left open."""
        look_at_markup("".join(pieces))

    def test_long_runs_are_scanned_once(self) -> None:
        """Runs just below the length that counts are no literal, however many; they once took time by the square."""
        found = look_at_markup("<script>" + f"{'A' * 3999} " * 60 + "atob(1);document.write(2)</script>")
        self.assertNotIn("html-smuggling", found.flags)

    def test_depth_is_no_matter(self) -> None:
        """No recursion."""
        self.assertEqual(look_at_markup("<div>" * 20_000 + "deep").text, "deep")
