"""What of a message can be read as text, piece by piece, and what cannot: `read` is called by whoever searches content.

All readings of all parts are there: header fields, plain texts, pages with what they show and what they hide, tables
and other files of text. A file that is no text is told in `Reading.unread` with the reason, and so is what lies beyond
a limit, so that who searches knows what was not searched. Never raises for what is in a message.

RFC 2045; RFC 2047 (header fields).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from smtpgate.examine.kinds import kind_of
from smtpgate.examine.markup import TREE_LETTERS, look_at_markup
from smtpgate.examine.texts import decoded
from smtpgate.message.mime import MimeLimits, Part, walk
from smtpgate.message.words import decode

#: Why something was not read.
REASONS: Final = ("encrypted", "unsupported", "broken", "too-big", "too-many", "picture")
#: Files that are texts, whatever their parts are called.
_TEXTS: Final = frozenset({"text", "html", "xml", "contact", "script", "empty", "unknown"})
_APPLICATIONS: Final = frozenset(
    ("csv", "json", "xml", "x-yaml", "yaml", "sql", "javascript", "x-ndjson", "x-sh", "toml", "x-pem-file")
)
_TAG: Final = re.compile(r"<[^<>]{0,4096}>")
#: Fields that say nothing of their own and are long.
_SILENT: Final = frozenset(
    ("dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results", "authentication-results",
     "received", "received-spf", "message-id", "content-type", "content-transfer-encoding", "mime-version", "date",
     "content-disposition", "content-id", "references", "in-reply-to", "return-path")
)  # fmt: skip
_FIELDS: Final = 500


@attrs.frozen
class ReadingLimits:
    """How much is read.

    :ivar letters: of one text: the usual limit of a message, so that nothing of one is left out
    :ivar total: letters of all texts together: other readings of a text count too
    """

    letters: int = 50 << 20
    total: int = 100 << 20
    parts: int = 1000
    depth: int = 30


@attrs.frozen
class Piece:
    """A text.

    :ivar path: number of the part, or names from the outermost file in, joined by "/"
    :ivar source: subject, header, plain, html, hidden (of a page, not seen), file
    """

    path: str
    source: str
    text: str


@attrs.frozen
class Reading:
    """All that was read.

    :ivar unread: path, and one of `REASONS`
    """

    pieces: Sequence[Piece] = ()
    unread: tuple[tuple[str, str], ...] = ()


def read(content: bytes, limits: ReadingLimits = ReadingLimits()) -> Reading:  # noqa: B008 (it is frozen)
    """The texts of a message with CRLF line ends."""
    return _Read(limits).run(content)


class _Read:
    def __init__(self, limits: ReadingLimits) -> None:
        self._limits = limits
        self._left = limits.total
        self._pieces: list[Piece] = []
        self._unread: dict[tuple[str, str], None] = {}

    def run(self, content: bytes) -> Reading:
        message = walk(content, MimeLimits(depth=self._limits.depth, parts=self._limits.parts))
        for limit in message.limits:
            self._unread["", "too-big" if limit == "octets" else "too-many"] = None
        for number, part in enumerate(message.parts):
            if number == 0 or part.media_type == "message/rfc822" or part.depth == 0:
                self._header(part)
            self._part(part)
        return Reading(tuple(self._pieces), tuple(self._unread))

    def _header(self, part: Part) -> None:
        for field in part.header.fields[:_FIELDS]:
            if field.name not in _SILENT:
                source = "subject" if field.name == "subject" else "header"
                self._keep(part.number or "header", source, decode(field.value))

    def _part(self, part: Part) -> None:
        if part.is_container:
            return
        path = part.names[0] if part.names else part.number or "1"
        usual = part.decoded()
        if not _is_text(part, usual):
            kind = kind_of(usual).kind
            self._unread[path, "picture" if kind == "image" else "unsupported"] = None
            return
        is_markup = part.media_type in ("text/html", "application/xhtml+xml")
        for octets in dict.fromkeys((usual, *part.readings())):
            for text in self._texts(path, octets, part.charset, is_markup):
                self._shown(path, text, is_markup, "file" if part.names else "plain")

    def _texts(self, path: str, octets: bytes, charset: str, is_markup: bool) -> Iterator[str]:
        read = decoded(octets, charset, is_markup=is_markup, most=self._limits.letters)
        if read.is_cut:
            self._unread[path, "too-big"] = None
        yield read.text
        yield from read.others

    def _shown(self, path: str, text: str, is_markup: bool, source: str) -> None:
        if not is_markup:
            self._keep(path, source, text)
            return
        markup = look_at_markup(text)
        self._keep(path, "html", markup.text)
        self._keep(path, "hidden", markup.hidden)
        if len(text) > TREE_LETTERS:
            # What became no tree is read without its tags; what it would look like is not known.
            self._keep(path, "html", html.unescape(_TAG.sub(" ", text[TREE_LETTERS - 4096 :])))

    def _keep(self, path: str, source: str, text: str) -> None:
        if not text.strip():
            return
        if len(text) > self._left:
            self._unread[path, "too-big"] = None
            text = text[: self._left]
        self._left -= len(text)
        if text:
            self._pieces.append(Piece(path, source, text))


def _is_text(part: Part, octets: bytes) -> bool:
    main, _, sub = part.media_type.partition("/")
    if main in ("text", "message") or main == "application" and (sub in _APPLICATIONS or sub.endswith("+xml")):
        return kind_of(octets[:65536]).kind in _TEXTS or main == "text" and b"\0" not in octets[:512]
    return main == "application" and kind_of(octets[:65536]).kind == "text"
