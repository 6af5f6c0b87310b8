"""What stands in a PDF file by its octets alone, for files that are broken, hidden, or made to fool a reader.

`pdf` scans every file first; what the scan sees counts even where the reader of the structure fails or is led
elsewhere. Names are looked for outside of streams (three letters stand in any compressed picture by chance), with
their octets written out (`/#4A#53` is `/JS`), and inside object streams, which are inflated as far as the budget
goes.

ISO 32000-2 sections 7.3.5 (names), 7.3.8 (streams), 7.5.7 (object streams).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

import attrs

from smtpgate.examine.budget import Budget

#: Octets of one object stream and of all: producers put some hundred objects into one.
_STREAM_OCTETS: Final = 2 << 20
_ALL_OCTETS: Final = 16 << 20
#: Streams that are passed: a book of thousand pages with pictures has ten thousand.
_STREAMS: Final = 50_000
#: Octets before a stream in which its dictionary stands.
_DICTIONARY: Final = 2048
_LINKS: Final = 500
_WANTED: Final = (
    rb"JavaScript|JS|Launch|OpenAction|AA|EmbeddedFiles?|Encrypt|RichMedia|XFA|SubmitForm|GoToE|GoToR|ImportData|ObjStm"
)
_NAMES: Final = re.compile(rb"/(" + _WANTED + rb")(?=[\0\t\n\f\r ()<>\[\]{}/%]|$)")
_ESCAPED: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_URI: Final = re.compile(rb"/URI\s{0,8}\(((?:[^()\\]|\\.){1,2048})\)", re.DOTALL)
#: Actions that do something besides moving in the document.
ACTING: Final = frozenset({"JavaScript", "JS", "Launch", "SubmitForm", "GoToE", "GoToR", "ImportData"})


@attrs.frozen
class Scan:
    """What was seen.

    :ivar names: of `_WANTED`
    :ivar links: URLs of link actions that stand in the clear
    :ivar has_end: the mark of the end stands near the end
    :ivar scripts: how many actions are JavaScript
    """

    names: frozenset[str] = frozenset()
    links: tuple[str, ...] = ()
    has_end: bool = False
    scripts: int = 0


def scan(content: bytes, budget: Budget) -> Scan:
    """Names and links of a PDF file. Raises nothing; linear."""
    names: set[str] = set()
    links: dict[str, None] = {}
    scripts = 0
    for piece in _pieces(content, budget):
        if b"#" in piece:
            piece = _ESCAPED.sub(lambda found: bytes([int(found.group(1), 16)]), piece)
        names.update(found.decode("ascii") for found in set(_NAMES.findall(piece)))
        scripts += piece.count(b"/JavaScript")
        if b"/URI" in piece:
            for found in _URI.finditer(piece):
                if len(links) < _LINKS:
                    links[_unescaped(found.group(1))] = None
    return Scan(frozenset(names), tuple(links), b"%%EOF" in content[-2048:], scripts)


def _pieces(content: bytes, budget: Budget) -> Iterator[bytes]:
    """What stands between streams, and what object streams unpack to."""
    at, left = 0, _ALL_OCTETS
    for _ in range(_STREAMS):
        begin = _stream(content, at)
        if begin < 0 or budget.is_late():
            break
        piece = content[at:begin]
        yield piece
        head = piece[-_DICTIONARY:]
        if b"#" in head:
            head = _ESCAPED.sub(lambda found: bytes([int(found.group(1), 16)]), head)
        end = content.find(b"endstream", begin)
        body_end = end if end >= 0 else len(content)
        if left > 0 and b"/ObjStm" in head[max(head.rfind(b" obj"), 0) :]:
            body = content[begin + 6 : body_end].lstrip(b"\r\n")
            try:
                inflated = zlib.decompressobj().decompress(body, min(_STREAM_OCTETS, left))
            except zlib.error:
                inflated = body  # packed in another way, or not at all
            if budget.spend(len(inflated)):
                left -= len(inflated)
                yield inflated
        at = body_end
        if end < 0:
            return
    yield content[at:]


def _stream(content: bytes, at: int) -> int:
    """Where the next stream begins; -1 where none does."""
    while True:
        at = content.find(b"stream", at)
        if at < 0:
            return -1
        if content[at + 6 : at + 7] in (b"\r", b"\n") and content[at - 3 : at] != b"end":
            return at
        at += 6


def _unescaped(raw: bytes) -> str:
    """A literal string as text: escaped brackets and line ends (ISO 32000-2 section 7.3.4.2)."""
    raw = raw.replace(b"\\\r\n", b"").replace(b"\\\n", b"").replace(b"\\(", b"(").replace(b"\\)", b")")
    return raw.replace(b"\\\\", b"\\").decode("latin-1")
