"""The text of PDF files: of all pages, of form fields, notes, bookmarks and properties; and the files inside.

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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from smtpgate.examine.budget import TRIES_A_FILE, Member, hush
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.pdf import LIMITS
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
_NAMES_OF_TEXT: Final = ("/Contents", "/T", "/TU", "/V", "/DV", "/Subj")


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

    def run(self) -> Iterator[Member]:
        """Read all."""
        for step in (self._pages, self._fields, self._properties, self._bookmarks):
            self._try(step)
        number = 0
        try:
            for number, file in enumerate(self._reader.attachment_list):
                self._draft.check()
                if number >= _FILES:
                    raise Enough("too-many")
                yield self._member(file)
        except Enough:
            raise
        except Exception:
            self.why = self.why or "broken"

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

    def _member(self, file: Any) -> Member:
        names = tuple(str(name) for name in (file.name,) if name)
        try:
            content = bytes(file.content)
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
        def ask(*_: Any) -> None:
            self._draft.check()

        text = str(page.extract_text(visitor_operand_before=ask))
        letters.count = len(text.strip())
        self._draft.write(text)
        self._draft.end_line()

    def _notes(self, page: Any) -> None:
        notes = _resolved(page.get("/Annots"))
        for note in list(notes)[:_NOTES] if isinstance(notes, list) else ():
            self._draft.check()
            note = _resolved(note)
            if isinstance(note, dict):
                self._say(note)
                rich = note.get("/RC")
                if rich is not None:
                    self._draft.aside(tagless(_string(rich))[0])
                action = _resolved(note.get("/A"))
                if isinstance(action, dict) and "/URI" in action:
                    self._draft.aside(_string(action["/URI"]))

    def _say(self, held: Any) -> None:
        for name in _NAMES_OF_TEXT:
            value = _resolved(held.get(name))
            for one in value if isinstance(value, list) else (value,):
                if one is not None and _string(one)[:1] != "/":
                    self._draft.aside(_string(one))

    def _fields(self) -> None:
        """Fields of forms, those without a place on a page too."""
        form = _resolved(self._reader.trailer["/Root"].get_object().get("/AcroForm"))
        if not isinstance(form, dict):
            return
        queue = [form.get("/Fields")]
        seen = 0
        while queue and seen < _FIELDS:
            self._draft.check()
            held = _resolved(queue.pop())
            for field in held if isinstance(held, list) else ():
                field = _resolved(field)
                seen += 1
                if isinstance(field, dict) and seen < _FIELDS:
                    self._say(field)
                    queue.append(field.get("/Kids"))
        xfa = _resolved(form.get("/XFA"))
        for packet in xfa if isinstance(xfa, list) else (xfa,):
            packet = _resolved(packet)
            if hasattr(packet, "get_data"):
                self._draft.aside(tagless(packet.get_data().decode("utf-8", "replace"))[0])

    def _properties(self) -> None:
        for value in (self._reader.metadata or {}).values():
            self._draft.aside(_string(value))
        metadata = _resolved(self._reader.trailer["/Root"].get_object().get("/Metadata"))
        if hasattr(metadata, "get_data"):
            self._draft.aside(tagless(metadata.get_data().decode("utf-8", "replace"))[0])

    def _bookmarks(self) -> None:
        queue = [self._reader.outline]
        while queue:
            for one in queue.pop():
                self._draft.check()
                if isinstance(one, list):
                    queue.append(one)
                else:
                    self._draft.aside(_string(one.title))


class _Letters:
    """How many letters a page had."""

    def __init__(self) -> None:
        self.count = 0


def _has_picture(page: Any) -> bool:
    try:
        resources = _resolved(page.get("/Resources"))
        objects = _resolved(resources.get("/XObject")) if isinstance(resources, dict) else None
        found = [_resolved(one) for one in list(objects.values())[:50]] if isinstance(objects, dict) else []
    except Exception:
        # What cannot be resolved has made the page broken before.
        return False
    return any(isinstance(one, dict) and one.get("/Subtype") in ("/Image", "/Form") for one in found)


def _resolved(value: Any) -> Any:
    return value.get_object() if hasattr(value, "get_object") else value


def _string(value: Any) -> str:
    value = _resolved(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if value is not None else ""
