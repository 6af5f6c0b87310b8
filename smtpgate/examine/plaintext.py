"""Texts that are no documents: plain ones in whatever charset, pages without their tags, calendars and cards.

`reading` asks for all that programs might show of the octets: where a label lies or is not known, several texts come
out, and who searches searches them all. `tagless` reads a page of any length in one pass and without a tree: what
stands between tags, and beside it what is never shown (comments, script, values of attributes). Nothing raises; all is
linear.

WHATWG HTML section 13.2.5 (tags, comments), RFC 5545 section 3.1 and RFC 6350 section 3.2 (lines that go on).
"""

from __future__ import annotations

import base64
import html
import quopri
import re
from collections.abc import Callable, Iterator
from typing import Final

from smtpgate.examine.markup import TREE_LETTERS, look_at_markup
from smtpgate.examine.texts import ZERO_WIDTH, decoded
from smtpgate.message.words import codec, raw_text, to_text

#: Octets by which a charset shows whether it has ASCII in its place.
_PROBE: Final = b"0123456789 AZaz-"
#: Of octets with a NUL in them, so many are looked at for letters of two octets.
_HEAD_OCTETS: Final = 4096
_ODD: Final = bytes(octet for octet in range(32) if octet not in (9, 10, 12, 13, 27)) + b"\x7f"
_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_PIECE: Final = re.compile(
    r"<!--(.*?)(?:--!?>|\Z)"
    r"|<(script|style|title|textarea|template)\b[^>]{0,4096}>(.*?)(?:</\2[^>]{0,100}>|\Z)"
    r"|<([/!?]?[A-Za-z][^\s/>]{0,100})([^>]*)>?",
    re.DOTALL | re.IGNORECASE,
)
_VALUE: Final = re.compile(
    r"(?<![\w-])(?:alt|title|value|content|placeholder|label|summary|aria-label|data-[\w-]{1,60})\s{0,9}=\s{0,9}"
    r"(?:\"([^\"]*)|'([^']*)|([^\s\"'>]+))",
    re.IGNORECASE,
)
ANY_VALUE: Final = re.compile(r"=\s{0,9}(?:\"([^\"]*)|'([^']*)|([^\s\"'>]+))")
#: Elements that begin a line of their own.
_BLOCKS: Final = frozenset(
    (
        "address", "article", "aside", "blockquote", "br", "caption", "center", "dd", "div", "dl", "dt", "fieldset",
        "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option",
        "p", "pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
    )
)  # fmt: skip
#: Elements of XML that are known to begin none: those of pages, and of pictures.
_INLINE: Final = frozenset({"tspan", "textpath", "a", "b", "i", "u", "em", "strong", "span", "sub", "sup", "font"})
_LINE_ENDS: Final = {10: " ", 13: " "}
_CELLS: Final = frozenset({"td", "th"})
_NO_ZERO: Final = dict.fromkeys(map(ord, ZERO_WIDTH))
#: Bits of text that are kept before they are joined.
_BITS: Final = 4096
_FOLD: Final = re.compile(r"\r?\n[ \t]")
#: Short values in base64 (vCard 3.0): pictures are longer.
_BASE64: Final = re.compile(r"ENCODING=(?:b|BASE64)\b[^:\n]{0,100}:([A-Za-z0-9+/=]{8,20000})(?=\r?$)", re.I | re.M)
_LIST_ESCAPE: Final = re.compile(r"\\([nN,;\\])")


def texts_of(octets: bytes, charset: str, most: int, *, is_markup: bool = False) -> tuple[tuple[str, ...], bool]:
    """All texts that programs may take octets for, the usual one first; and whether some of them was cut off.

    :param charset: as declared; may be unknown or a lie
    :param most: letters of one text
    """
    read = decoded(octets, charset, is_markup=is_markup, most=most)
    found = dict.fromkeys((read.text, *read.others))
    kept = octets[: 4 * most]
    told = codec(charset)
    if told and not read.text.isascii() and not _has_ascii(told):
        # A program that does not know such a charset shows plain letters where there are some.
        found[raw_text(kept)[:most]] = None
    if b"\0" in kept[:_HEAD_OCTETS] and not read.charset.startswith(("utf_16", "utf_32", "utf-16", "utf-32")):
        for name in ("utf-16-le", "utf-16-be"):
            found[to_text(kept, name)[:most]] = None
    return tuple(found), read.is_cut


def _has_ascii(name: str) -> bool:
    try:
        return _PROBE.decode(name) == _PROBE.decode("ascii")
    except (UnicodeError, LookupError):
        return False


def is_readable(octets: bytes) -> bool:
    """Whether octets that no mark tells are a text: some stray ones in it, or letters of two octets each."""
    head = octets[:_HEAD_OCTETS]
    if len(head.translate(None, _ODD)) * 20 >= len(head) * 19:
        return True
    for first in (0, 1):
        high = head[first::2]
        common = max(range(16), key=high.count)
        if len(head) >= 16 and high.count(common) * 10 > len(high) * 6 and not head[1 - first :: 2].count(0):
            return True
    return False


def unescaped(text: str) -> str:
    r"""A text with letters that JSON and source code write by their number (`\u0041`); "" where there are none."""
    if _ESCAPE.search(text) is None:
        return ""
    return (
        _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


def _no_check() -> None:
    """No limit of time."""


def page(text: str, check: Callable[[], None] = _no_check) -> Iterator[tuple[str, str]]:
    """(source, text) of a page: what is seen, what is not, and what stands aside. What a tree is too small for is
    taken as seen."""
    first = text[:TREE_LETTERS]
    markup = look_at_markup(first)
    yield "html", markup.text
    yield "hidden", markup.hidden
    yield "aside", tagless(first, check)[1]
    if len(text) > TREE_LETTERS:
        rest, aside = tagless(text, check, begin=TREE_LETTERS)
        yield "html", rest
        yield "aside", aside


class _Bits:
    """A text that comes in bits: each takes ten times the memory of its letters, so that they are joined soon."""

    def __init__(self, between: str = "") -> None:
        self._between = between
        self._last: list[str] = []
        self._done: list[str] = []

    def add(self, bit: str) -> None:
        self._last.append(bit)
        if len(self._last) > _BITS:
            self._done.append(self._between.join(self._last))
            self._last.clear()

    def text(self) -> str:
        return self._between.join((*self._done, *self._last))


def tagless(
    text: str, check: Callable[[], None] = _no_check, values: re.Pattern[str] = _VALUE, begin: int = 0
) -> tuple[str, str]:
    """What stands between the tags of a page, and what stands in them, in comments and in scripts.

    :param check: asked every now and then; may raise to end it
    :param values: finds the values of attributes that people write; `ANY_VALUE` for XML, whose names may be any
    :param begin: what stands before is passed over
    """
    shown, asides = _Bits(), _Bits("\n")
    at = begin
    is_page = values is not ANY_VALUE
    pre = 0

    def show(bit: str) -> None:
        bit = html.unescape(bit).translate(_NO_ZERO)
        shown.add(bit if pre or not is_page else bit.translate(_LINE_ENDS))

    def aside(bit: str) -> None:
        if bit.strip():
            asides.add(bit)

    for count, found in enumerate(_PIECE.finditer(text, begin)):
        if count % 4096 == 0:
            check()
        if found.start() > at:
            show(text[at : found.start()])
        at = found.end()
        if found[1] is not None:
            aside(found[1])
            continue
        if found[2] is not None:
            aside(html.unescape(found[3]))
            shown.add("\n")
            continue
        name = found[4].lower().lstrip("/")
        if name in _CELLS:
            if found[4][:1] == "/":
                shown.add("\t")
        elif name in _BLOCKS or not is_page and name not in _INLINE:
            shown.add("\n")
            if name == "pre":
                pre = max(0, pre + (-1 if found[4][:1] == "/" else 1))
        for one in values.finditer(found[5]):
            aside(html.unescape(one[one.lastindex or 1]))
    show(text[at:])
    return shown.text(), asides.text()


def fields(text: str) -> str:
    """A calendar or card with its lines whole and its escapes undone."""
    text = _FOLD.sub("", text)
    text = _BASE64.sub(_plain, text)
    if "QUOTED-PRINTABLE" in text.upper():
        text = "\n".join(_unquoted(text.split("\n")))
    return _LIST_ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], text)


def _plain(found: re.Match[str]) -> str:
    """A value in base64 behind it as it is read, where it is a text."""
    try:
        octets = base64.b64decode(found[1], validate=True)
    except ValueError:
        return found[0]
    return f"{found[0]}\n{raw_text(octets)}" if is_readable(octets) else found[0]


def _unquoted(lines: list[str]) -> Iterator[str]:
    """Lines with values in quoted-printable as people read them (vCard 2.1 section 2.1.3)."""
    held: list[str] = []
    for line in lines:
        line = line.rstrip("\r")
        if not held and "QUOTED-PRINTABLE" not in line.partition(":")[0].upper():
            yield line
            continue
        held.append(line.removesuffix("="))
        if not line.endswith("="):
            yield raw_text(quopri.decodestring("".join(held).encode("utf-8")))
            held = []
    if held:
        yield raw_text(quopri.decodestring("".join(held).encode("utf-8")))
