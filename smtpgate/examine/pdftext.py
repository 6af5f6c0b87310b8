"""The text of PDF files: of all pages, of form fields, notes, bookmarks and properties; and the files inside.

What stands beside the pages `pdfparts` finds.

`reading` calls `read_pdf` with a draft. pypdf reads the structure within the limits that `pdf` sets for it; the draft
is asked for time at every operation of a page, so that one page of a million strokes ends as a late one. A file that
opens without a password is read, for others words of the message are tried. Pages that hold pictures and no letters
are told: a scanner's text is for eyes alone, and nothing here recognises letters in pictures.

ISO 32000-2 sections 9.10 (text), 12.5.6 (notes), 12.7 (forms), 14.3 (properties).
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs

from smtpgate.examine.budget import TRIES_A_FILE, Member, hush
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.pdf import LIMITS
from smtpgate.examine.pdfparts import (
    Instead,
    described,
    hanging,
    looks,
    named_scripts,
    patterns,
    resolved,
    scripts,
    string,
)
from smtpgate.examine.plaintext import tagless

#: Octets of the longest file that is read, as `pdf` has it: pypdf takes a second for some MB of objects.
_OCTETS: Final = 30 << 20
#: Pages; a longer book is one of the "too-big".
_PAGES: Final = 5000
_NOTES: Final = 5000
_FIELDS: Final = 10_000
_FILES: Final = 100
#: A page with a picture and fewer letters than this was scanned: headers and stamps are longer.
_LETTERS: Final = 4
#: Operations of one page: a plan of a town has some hundred thousand.
_MORE: Final[dict[str, Any]] = {"stream_parsing_work_maximum_count": 500_000}
_STREAMS: Final = 20_000
_STREAM_OCTETS: Final = 4 << 20
#: Strings that are shown, and operators that begin a line (ISO 32000-2 section 9.4).
_SHOWN: Final = re.compile(rb"\(((?:[^()\\]|\\.){0,4096})\)|\b(?:T[dDm]|ET)\b|T\*", re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_SIGNS: Final = {b"n": b"\n", b"r": b"\n", b"t": b"\t", b"b": b"", b"f": b"\n", b"\n": b"", b"\r": b""}
_NAMES_OF_TEXT: Final = ("/Contents", "/T", "/TU", "/V", "/DV", "/Subj", "/Opt")
_RICH: Final = ("/RC", "/RV")
#: Names that a button has for what it is set to.
_SET: Final = frozenset({"/Off", "/On", "/Yes", "/No"})
#: Operations of a page that is read a second time, by places: each may stand 10,000 blanks off the one before.
_SMALL: Final = 5000
#: Blanks between columns, and lines between paragraphs.
_GAPS: Final = re.compile(r"[ \n]{3,}")


def read_pdf(content: bytes, draft: Draft, words: Sequence[str]) -> Iterator[Member]:
    """Write the text of a file, and give the files inside. Raises Enough, and what pypdf raises.

    :param words: passwords to try
    """
    if len(content) > _OCTETS:
        raise Enough("too-big")
    draft.check()
    hush("pypdf")
    from pypdf import PdfReader, apply_configuration

    with apply_configuration(**LIMITS | _MORE):
        try:
            reader = PdfReader(io.BytesIO(content), strict=False)
            is_open = not reader.is_encrypted or _unlock(reader, draft, words)
            work = _Work(reader, draft)
        except Enough:
            raise
        except Exception:
            # Nothing leads to its pages; what stands in its streams is all that can be had.
            _salvage(content, draft)
            raise
        if not is_open:
            raise Enough("encrypted")
        yield from work.run()
        if work.has_no_pages:
            _salvage(content, draft)
        if work.why:
            raise Enough(work.why)


def _salvage(content: bytes, draft: Draft) -> None:
    """Write the strings of all streams, in the order of the file. Raises Enough."""
    at = 0
    for _ in range(_STREAMS):
        at = content.find(b"stream", at)
        if at < 0:
            return
        draft.check()
        end = content.find(b"endstream", at)
        body = content[at + 6 : end if end >= 0 else len(content)].lstrip(b"\r\n")
        at = end + 9 if end >= 0 else len(content)
        with suppress(zlib.error):
            body = zlib.decompressobj().decompress(body, _STREAM_OCTETS)
        draft.spend(len(body))
        _shown(body, draft)


def _shown(body: bytes, draft: Draft) -> None:
    """Write the strings of one stream."""
    for found in _SHOWN.finditer(body):
        if found[1] is not None:
            draft.write(_ESCAPED.sub(_sign, found[1]).decode("cp1252", "replace"))
        else:
            draft.end_line()
    draft.end_line()


def _sign(found: re.Match[bytes]) -> bytes:
    sign = found[1]
    return bytes([int(sign, 8) & 255]) if sign.isdigit() else _SIGNS.get(sign, sign)


def _unlock(reader: Any, draft: Draft, words: Sequence[str]) -> bool:
    if reader.decrypt(""):
        return True
    return any(word and draft.budget.take_try() and reader.decrypt(word) for word in words[:TRIES_A_FILE])


class _Work:
    """One file while it is read.

    :ivar why: some of it could not be read, of `gathering.WHYS`
    """

    def __init__(self, reader: Any, draft: Draft) -> None:
        self.why = ""
        self.has_no_pages = False
        self._reader = reader
        self._draft = draft
        self._seen: set[int] = set()
        #: Files that hang on something, given behind the others.
        self._hanging: list[tuple[tuple[str, ...], Any]] = []

    def run(self) -> Iterator[Member]:
        """Read all."""
        for step in (self._pages, self._fields, self._properties, self._bookmarks, self._structure):
            self._try(step)
        number = 0
        try:
            for number, file in enumerate(self._reader.attachment_list):
                self._draft.check()
                if number >= _FILES:
                    raise Enough("too-many")
                stream = resolved(getattr(file, "_embedded_file", None))
                self._seen.add(id(stream))
                yield self._member((str(file.name),), partial(getattr, file, "content"))
        except Enough:
            raise
        except Exception:
            self.why = self.why or "broken"
        for place, (names, stream) in enumerate(self._hanging, number):
            self._draft.check()
            if place >= _FILES:
                raise Enough("too-many")
            if id(stream) not in self._seen:
                self._seen.add(id(stream))
                yield self._member(names, stream.get_data)

    def _try(self, step: Any) -> None:
        """One thing of many: that it cannot be read keeps nothing else from being read."""
        from pypdf.errors import LimitReachedError

        try:
            step()
        except Enough:
            raise
        except LimitReachedError:
            self.why = self.why or "too-big"
        except Exception:
            self.why = self.why or "broken"

    def _member(self, names: tuple[str, ...], read: Callable[[], Any]) -> Member:
        names = tuple(name for name in names if name)
        try:
            content = bytes(read())
        except Exception:
            return Member(names, None, 0, frozenset({"broken"}))
        self._draft.spend(len(content))
        return Member(names, content, len(content))

    def _pages(self) -> None:
        pictures = read = 0
        for number, page in enumerate(self._reader.pages):
            if number >= _PAGES:
                raise Enough("too-big")
            self._draft.check()
            letters = _Letters()
            self._try(lambda page=page, letters=letters: self._page(page, letters))
            read += 1
            if letters.count < _LETTERS and _has_picture(page):
                pictures += 1
            self._try(lambda page=page: self._notes(page))
        self.has_no_pages = not read
        if not read:
            self.why = "broken"
        elif 2 * pictures > read:
            # A cover that is a picture makes no scan; more such pages than others do.
            self.why = self.why or "empty-scan"

    def _page(self, page: Any, letters: _Letters) -> None:
        instead = Instead(page)
        order = _Order()

        def ask(operator: Any = b"", operands: Any = (), *matrices: Any) -> None:
            self._draft.check()
            instead.see(operator, operands)
            order.see(operator, *matrices)

        text = str(page.extract_text(visitor_operand_before=ask))
        letters.count = len(text.strip())
        self._draft.write(text)
        self._draft.end_line()
        self._draft.aside(instead.text())
        if order.is_turned and order.count <= _SMALL:
            text = str(page.extract_text(extraction_mode="layout"))
            self._draft.aside(_GAPS.sub(lambda gap: "\n" if "\n" in gap[0] else "  ", text))
        for pattern in patterns(page):
            self._drawn(page, pattern)

    def _drawn(self, page: Any, stream: Any) -> None:
        """A stream that draws, beside those of the page; once."""
        if id(stream) in self._seen:
            return
        self._seen.add(id(stream))
        text = str(page.extract_xform_text(stream, visitor_operand_before=lambda *_: self._draft.check()))
        if text.strip():
            self._draft.aside(text)
        elif "/Resources" not in stream:
            # Its fonts are those of the form that it belongs to; figures and Latin letters are the same in all.
            self._draft.end_line()
            _shown(bytes(stream.get_data()), self._draft)

    def _notes(self, page: Any) -> None:
        self._hang(page)
        for script in scripts(page):
            self._draft.aside(script)
        notes = resolved(page.get("/Annots"))
        for note in list(notes)[:_NOTES] if isinstance(notes, list) else ():
            self._draft.check()
            note = resolved(note)
            if isinstance(note, dict):
                self._try(lambda note=note: self._note(page, note))

    def _note(self, page: Any, note: Any) -> None:
        self._say(note)
        self._hang(note)
        for script in scripts(note):
            self._draft.aside(script)
        action = resolved(note.get("/A"))
        if isinstance(action, dict) and "/URI" in action:
            self._draft.aside(string(action["/URI"]))
        for look in looks(note):
            self._drawn(page, look)

    def _hang(self, holder: Any) -> None:
        """Files that hang on something."""
        if len(self._hanging) <= _FILES:
            self._hanging += hanging(holder)

    def _say(self, held: Any) -> None:
        for name in _NAMES_OF_TEXT:
            value = resolved(held.get(name))
            for one in value if isinstance(value, list) else (value,):
                one = resolved(one)
                # Of a choice what is sent and what is shown.
                for text in map(string, one if isinstance(one, list) else (one,)):
                    if text and text not in _SET:
                        self._draft.aside(text)
        for name in _RICH:
            if name in held:
                self._draft.aside(tagless(string(held[name]))[0])

    def _fields(self) -> None:
        """Fields of forms, those without a place on a page too."""
        form = resolved(self._reader.trailer["/Root"].get_object().get("/AcroForm"))
        if not isinstance(form, dict):
            return
        queue = [form.get("/Fields")]
        seen = 0
        while queue and seen < _FIELDS:
            self._draft.check()
            held = resolved(queue.pop())
            for field in held if isinstance(held, list) else ():
                field = resolved(field)
                seen += 1
                if isinstance(field, dict) and seen < _FIELDS:
                    self._say(field)
                    queue.append(field.get("/Kids"))
        # Its packets are one document of XML.
        xfa = resolved(form.get("/XFA"))
        packets = [resolved(packet) for packet in (xfa if isinstance(xfa, list) else (xfa,))]
        octets = b"".join(bytes(packet.get_data()) for packet in packets if hasattr(packet, "get_data"))
        if octets:
            self._hanging.insert(0, (("xfa.xml",), _Octets(octets)))

    def _properties(self) -> None:
        for value in (self._reader.metadata or {}).values():
            self._draft.aside(string(value))
        metadata = resolved(self._reader.trailer["/Root"].get_object().get("/Metadata"))
        if hasattr(metadata, "get_data"):
            self._draft.aside(tagless(metadata.get_data().decode("utf-8", "replace"))[0])

    def _structure(self) -> None:
        """Descriptions, scripts and files of the whole."""
        root = self._reader.trailer["/Root"].get_object()
        self._hang(root)
        for find in (lambda: scripts(root), lambda: named_scripts(root, self._draft.check),
                     lambda: described(root, self._draft.check)):  # fmt: skip
            for text in find():
                self._draft.aside(text)

    def _bookmarks(self) -> None:
        queue = [self._reader.outline]
        while queue:
            for one in queue.pop():
                self._draft.check()
                if isinstance(one, list):
                    queue.append(one)
                else:
                    self._draft.aside(string(one.title))


class _Letters:
    """How many letters a page had."""

    def __init__(self) -> None:
        self.count = 0


@attrs.frozen
class _Octets:
    """A stream that is none of the file's."""

    octets: bytes

    def get_data(self) -> bytes:
        """All of it."""
        return self.octets


class _Order:
    """Whether a page draws its lines from left to right.

    :ivar count: operations
    :ivar is_turned: some line has what stands before another piece drawn after it
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_turned = False
        self._last = (0.0, 0.0)

    def see(self, operator: Any, page: Any = (), text: Any = ()) -> None:
        """One operation, and the matrices at it."""
        self.count += 1
        if operator not in (b"Tj", b"TJ", b"'", b'"') or len(page) < 6 or len(text) < 6:
            return
        across = float(text[4] * page[0] + text[5] * page[2] + page[4])
        down = float(text[4] * page[1] + text[5] * page[3] + page[5])
        # A point is less than any letter is wide or high.
        if abs(down - self._last[1]) < 1 and across < self._last[0] - 1:
            self.is_turned = True
        self._last = (across, down)


def _has_picture(page: Any) -> bool:
    try:
        resources = resolved(page.get("/Resources"))
        objects = resolved(resources.get("/XObject")) if isinstance(resources, dict) else None
        found = [resolved(one) for one in list(objects.values())[:50]] if isinstance(objects, dict) else []
    except Exception:
        # What cannot be resolved has made the page broken before.
        return False
    return any(isinstance(one, dict) and one.get("/Subtype") in ("/Image", "/Form") for one in found)
