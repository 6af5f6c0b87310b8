"""Tests of smtpgate.edits.markup: where people begin and end to read, held against a browser's tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from justhtml import JustHTML
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.edits import markup

MARK = "<div class=here>HERE</div>"
PIECES = st.lists(
    st.sampled_from(
        [
            *"<>\"'=/! -x",
            "<html>",
            "<head>",
            "</head>",
            "<title>t</title>",
            "<meta charset=utf-8>",
            "<body>",
            "<body class='a>b'>",
            "</body>",
            "</html>",
            "<p>",
            "word ",
            "<!--",
            "-->",
            "--!>",
            "<!-->",
            "<style>",
            "</style>",
            "<script>",
            "</script>",
            '<a href="',
            "<b title='x'>",
            "</b>",
            "<!DOCTYPE html>",
            "<?xml?>",
            "&amp;",
            "<!--!>",
            "<template>",
            "</template>",
            "<body =",
            " a=b=",
            "</style\xa0>",
            "</script\x0b>",
        ]
    ),
    max_size=20,
).map("".join)


def seen(text: str) -> list[str]:
    """Words as a browser shows them, in order."""
    words: list[str] = []

    def walk(node: Any) -> None:
        if node.name in ("script", "style", "title", "head", "template", "#comment"):
            return
        if node.name == "#text":
            words.extend(str(node.data).split())
        for child in getattr(node, "children", None) or ():
            walk(child)

    walk(JustHTML(text, sanitize=False).root)
    return words


class PlaceTests(SynchronousTestCase):
    """`top` and `bottom`."""

    def test_usual_pages(self) -> None:
        """Behind the tag of the body, and before its end."""
        for text, top, bottom in (
            ("<html><body><p>x</p></body></html>", 12, 20),
            ("<BODY a='>'>x</BODY >", 12, 13),
            ("<p>x</p>", 0, 8),
            ("<head><title><body></title></head>x", 34, 35),
            ("<body>x</body>y</body>", 6, 15),
            ("<body>x</html>", 6, 7),
            ("", 0, 0),
            ("<!-- <body> -->x<!-- </body> -->", 15, 32),
            ("x<!-- never", 0, 1),
            ("x<style>never</body>", 0, 1),
            ('x<a href="never</body>', 0, 1),
            ("a < b </body", 0, 6),
        ):
            self.assertEqual((markup.top(text), markup.bottom(text)), (top, bottom), text)

    def test_nobody_hides_the_place(self) -> None:
        """Tags, comments and scripts that end elsewhere for a browser than they seem to."""
        for before, behind in (
            ("", "<!--!> x --><body>y"),
            ("", "<!---!>a-->b"),
            ("<!-- !>a--><!--><!--->", "b"),
            ('<body =">', '<!--">q-->z'),
            ('<body a=b=">', '<!--">q-->z'),
            ('<body a==">', '<!--">q-->z'),
            ('<body a/=">', '<!--">q-->z'),
            ("<body a='>' b = '>'c=d/>", "x"),
            ("<style></style\xa0><p></style>", "x"),
            ("<style></style\x0b><p></style>", "x"),
            ("<style></\u017ftyle><p></style>", "x"),
            ("", "<body\x0b>x"),
            ("", "<" + "a" * 41 + ' b="><!--">x'),
            ("", "<template><template></template>x</template><body>y"),
            ("", "<script><!--<script></script>x</script><body>y"),
            ("", "<noscript><body></noscript><body>y"),
            ("<script><!-- a //--></script><body>", "y"),
        ):
            self.assertEqual(markup.top(before + behind), len(before), before + behind)

    @settings(max_examples=600, deadline=None)
    @given(PIECES)
    def test_what_is_put_is_seen(self, text: str) -> None:
        """By a browser, whatever stands around it, and nothing before it or behind it becomes another text."""
        for place in (markup.top(text), markup.bottom(text)):
            words = seen(text[:place] + MARK + text[place:])
            self.assertIn("HERE", " ".join(words), (text, place))

    def test_words(self) -> None:
        """Without marks, and letters alone."""
        self.assertEqual(markup.words("<p>a &lt; b</p><style>c</style>d").split(), ["a", "<", "b", "d"])
        self.assertEqual(markup.letters("> > Grüße, _A_\n1"), "grüssea1")

    def test_linear(self) -> None:
        """Tags without end, quotes without end, comments without end: few tokens, however long they are."""
        for text in (
            "<" * 100_000,
            '<a x="' * 50_000,
            "<!--" * 50_000,
            "<script>" * 50_000,
            "<script>" + "<!--" * 50_000 + "</script>",
            "<a" + " " * 100_000,
            "<a" + "='" * 50_000,
        ):
            self.assertLessEqual(len(list(markup.tokens(text))), 3, text[:10])
