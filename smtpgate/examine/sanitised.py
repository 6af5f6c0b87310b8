"""HTML of a stranger made into HTML that shows and does nothing: for the frame in which managers read held mail.

A tree is read and written anew by an allow list: elements that lay text out, few attributes, declarations of style that
name nothing outside. What is not listed is not passed on, whatever it is. No address of anything is written at all: a
link becomes its text with the host that it leads to behind it, a picture is either in the message (`cid:`) or inside
the page (`data:`) and told by its octets to be a raster, or else a word says that there was one. So nothing can be
fetched, followed or sent, even where a browser heeds no policy.

Own letters and depth are bounded, and what was cut off is told.

WHATWG HTML section 13.3 (how text and values are written); RFC 2392 (cid).
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import attrs

from smtpgate.examine import urls
from smtpgate.examine.texts import for_display

#: Letters of one page that become a tree: as many as `markup` takes.
LETTERS: Final = 1 << 18
#: Octets of what is written, its pictures apart, and those of the pictures before base64. Both together fit into what a
#: child may answer.
OCTETS: Final = 2 << 20
PICTURE_OCTETS: Final = 2 << 20
#: Elements inside one another that are kept; deeper ones leave their text. Browsers flatten at 512.
DEPTH: Final = 200
#: Nodes of a tree that are looked at.
NODES: Final = 200_000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LAYOUT: Final = _words(
    "p div span br hr h1 h2 h3 h4 h5 h6 ul ol li dl dt dd table thead tbody tfoot tr td th caption colgroup col "
    "blockquote pre code b strong i em u s strike del ins small big sub sup font center q cite kbd samp var tt abbr"
)
#: Blocks of other names, which are shown as any block is.
_BLOCKS: Final = _words(
    "address article aside body dir fieldset figcaption figure footer form header main nav section summary"
)
#: Neither they nor what is in them.
_DROPPED: Final = _words(
    "script style template iframe frame frameset object embed applet svg math noscript noembed noframes textarea "
    "select option title head meta link base audio video source track canvas map area param portal dialog input "
    "button datalist progress meter"
)
_VOID: Final = frozenset({"br", "hr", "col"})
#: Attributes whose values are numbers, with or without a percent sign, or short words.
_NUMBER: Final = re.compile(r"\d{1,4}%?")
_WORD: Final = re.compile(r"[a-z]{1,12}")
_COLOUR: Final = re.compile(r"#?[0-9A-Za-z]{1,20}")
_ATTRIBUTES: Final = {
    "width": _NUMBER,
    "height": _NUMBER,
    "border": _NUMBER,
    "cellpadding": _NUMBER,
    "cellspacing": _NUMBER,
    "colspan": re.compile(r"[1-9]\d{0,2}"),
    "rowspan": re.compile(r"[1-9]\d{0,2}"),
    "size": re.compile(r"[+-]?\d{1,2}"),
    "align": _WORD,
    "valign": _WORD,
    "dir": _WORD,
    "bgcolor": _COLOUR,
    "color": _COLOUR,
}
_STYLES: Final = re.compile(
    r"(?:color|background|background-color|font|font-(?:family|size|style|weight|variant)|line-height|letter-spacing|"
    r"word-spacing|text-(?:align|decoration|indent|transform)|vertical-align|white-space|direction|"
    r"(?:margin|padding)(?:-(?:top|right|bottom|left))?|(?:min-|max-)?(?:width|height)|display|visibility|opacity|"
    r"border(?:-(?:top|right|bottom|left))?(?:-(?:color|style|width))?|border-(?:collapse|spacing|radius)|float|clear|"
    r"list-style-type|table-layout|overflow)"
)
#: No brackets but those of a colour: nothing that could name an address or call a function.
_VALUE: Final = re.compile(r"(?:[\w\s#%.,'+-]|(?:rgb|hsl)a?\([\d\s.,%/deg]{1,60}\))+")
_STYLE_LETTERS: Final = 2000
#: Nothing that turns letters round, and no controls; U+FFFD stands for them.
_TURNING: Final = dict.fromkeys(
    [*range(9), 0xB, 0xC, *range(0xE, 0x20), 0x7F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
#: Rasters by their first octets. A drawing (SVG) is none: it is a program.
_RASTERS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_INLINE: Final = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,", re.IGNORECASE)
_HEAD: Final = (
    '<!doctype html><html lang="und"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    "<title>Held message</title><style>body{font:16px/1.4 sans-serif;margin:12px;color:#111;background:#fff;"
    "overflow-wrap:anywhere}img{max-width:100%;height:auto}.lead{text-decoration:underline}.host{font:12px monospace;"
    "background:#fff3c4;color:#4a3500;border:1px solid #c9a227;border-radius:3px;padding:0 3px;margin:0 2px}"
    ".away{font:12px monospace;color:#555;border:1px dashed #777;padding:0 3px}</style></head><body>"
)

#: Gives the octets of what a Content-ID names, or None.
Pictures = Callable[[str], bytes | None]


@attrs.frozen
class Page:
    """What is shown.

    :ivar html: a whole document
    :ivar links: how many led somewhere; `away`: pictures that are not shown
    :ivar is_cut: there was more of it than is shown
    """

    html: str
    links: int = 0
    away: int = 0
    is_cut: bool = False


def sanitised(text: str, pictures: Pictures = lambda name: None) -> Page:
    """A page that shows what a text of HTML shows. Never raises for what is in it."""
    from justhtml import JustHTML

    writer = _Writer(pictures)
    writer.run(JustHTML(text[:LETTERS], sanitize=False, scripting_enabled=False).root)
    body = "".join(writer.out)
    is_cut = writer.is_cut or len(text) > LETTERS
    return Page(f"{_HEAD}{body}</body></html>", writer.links, writer.away, is_cut)


def raster(octets: bytes) -> str:
    """The media type of a picture that is safe to show, by its octets; "" for anything else."""
    if octets[:4] == b"RIFF" and octets[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _RASTERS if octets.startswith(magic)), "")


@attrs.frozen
class _End:
    """What is written when all that is in an element was."""

    text: str


class _Writer:
    def __init__(self, pictures: Pictures) -> None:
        self.out: list[str] = []
        self.links = self.away = 0
        self.is_cut = False
        self._pictures = pictures
        self._left = OCTETS
        self._picture_octets = PICTURE_OCTETS

    def run(self, root: Any) -> None:
        """Write a tree, without recursion."""
        stack: list[Any] = [root]
        open_ends = nodes = 0
        while stack:
            node = stack.pop()
            if isinstance(node, _End):
                # What was opened is closed, however little room is left.
                self.out.append(node.text)
                open_ends -= 1
                continue
            nodes += 1
            if nodes > NODES or self._left <= 0:
                self.is_cut = True
                stack = [one for one in stack if isinstance(one, _End)]
                continue
            name = node.name
            if name == "#text":
                self._write(html.escape((node.data or "").translate(_TURNING)))
                continue
            if name[:1] in "#!" and name not in ("#document", "#document-fragment"):
                continue
            if getattr(node, "namespace", None) not in (None, "html") or name.lower() in _DROPPED:
                continue
            start, end = self._element(node, name.lower())
            self._write(start)
            if end and open_ends < DEPTH:
                stack.append(_End(end))
                open_ends += 1
            elif end:
                # Too deep: its tag was a lie of layout, its text is not.
                self.out[-1] = ""
            stack += reversed(getattr(node, "children", None) or ())

    def _write(self, text: str) -> None:
        self._left -= len(text.encode("utf-8", "replace"))
        if self._left < 0:
            self.is_cut = True
            text = ""
        self.out.append(text)

    def _element(self, node: Any, name: str) -> tuple[str, str]:
        """What is written before what is in an element, and after."""
        given = {key.lower(): value or "" for key, value in (node.attrs or {}).items()}
        if name == "img":
            return self._picture(given), ""
        if name == "a":
            host = _leads_to(given.get("href", ""))
            self.links += bool(host)
            return '<span class="lead">', f'</span><span class="host">{html.escape(host)}</span>' if host else "</span>"
        if name in _BLOCKS:
            name = "div"
        if name not in _LAYOUT:
            return "", ""
        tag = f"<{name}{_attributes(given)}>"
        return tag, "" if name in _VOID else f"</{name}>"

    def _picture(self, given: dict[str, str]) -> str:
        octets = self._octets_of(given.get("src", "").strip())
        kind = raster(octets) if octets else ""
        alt = html.escape(for_display(given.get("alt", ""), 200))
        if not octets or not kind or len(octets) > self._picture_octets:
            self.away += 1
            return f'<span class="away">picture not shown{": " if alt else ""}{alt}</span>'
        self._picture_octets -= len(octets)
        sizes = _attributes({name: given[name] for name in ("width", "height") if name in given})
        shown = f'<img alt="{alt}"{sizes} src="data:{kind};base64,{base64.b64encode(octets).decode()}">'
        # Pictures have room of their own.
        self._left += len(shown)
        return shown

    def _octets_of(self, source: str) -> bytes | None:
        if source[:4].lower() == "cid:":
            return self._pictures(unquote(source[4:]))
        found = _INLINE.match(source)
        if found is None or len(source) > PICTURE_OCTETS * 4 // 3 + 100:
            return None
        try:
            return base64.b64decode(source[found.end() :], validate=True)
        except (binascii.Error, ValueError):
            return None


def _leads_to(href: str) -> str:
    """Where a link leads, for people: its host as it is asked for, an address, or the kind of thing it is."""
    found = urls.link(href, source="html", tag="a") if href.strip() else None
    if found is None:
        return ""
    if found.host:
        return f"{'' if found.scheme in ('http', 'https') else found.scheme + ':'}{for_display(found.host, 200)}"
    return for_display(found.url, 100) if found.scheme in ("mailto", "tel", "sms") else f"{found.scheme}:"


def _attributes(given: dict[str, str]) -> str:
    out = []
    for name, pattern in _ATTRIBUTES.items():
        value = given.get(name, "").strip()
        if value and pattern.fullmatch(value) is not None:
            out.append(f' {name}="{html.escape(value)}"')
    style = _style(given.get("style", "")[:_STYLE_LETTERS])
    if style:
        out.append(f' style="{html.escape(style)}"')
    return "".join(out)


def _style(text: str) -> str:
    kept = []
    for one in text.split(";"):
        name, colon, value = one.partition(":")
        name, value = name.strip().lower(), value.strip()
        value = value[: -len("!important")].strip() if value.lower().endswith("!important") else value
        if colon and _STYLES.fullmatch(name) and 0 < len(value) <= 200 and _VALUE.fullmatch(value):
            kept.append(f"{name}:{value}")
    return ";".join(kept)
