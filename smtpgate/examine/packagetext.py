"""The text of documents that are ZIP files of XML: docx, xlsx, pptx, odt and their kin, and of single XML files.

`reading` calls `read_package` with a draft for the text; what is neither XML nor a picture comes back as a member to
be read as a file of its own (embedded objects, pages, other documents). What a part is its first element says, not its
name, since relationships may lead to any name. Parts are unpacked and parsed bit by bit and never held whole. A part
that is not well-formed is read as far as it goes, and the rest without its tags.

Text of a paragraph is joined without blanks, since programs cut a word into runs wherever the spelling was checked;
deleted text, fields, notes and boxes stand aside so that they cut no word either. A document type ends the parser:
Office programs refuse one, and entities are the bombs of XML.

ECMA-376 part 1 sections 17.3 (text), 18.3 and 18.4 (cells, strings), 21.1.2 (text of drawings); ODF 1.3 part 3
chapters 5 and 6 (text), 9 (tables).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.parsers import expat

from smtpgate.examine.budget import MEMBERS, Member
from smtpgate.examine.celltext import Formats, Strings, shown
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.plaintext import tagless
from smtpgate.examine.zipdir import PIECE, Directory, Entry, ZipBroken, blocks, read_directory, read_entry
from smtpgate.message.words import raw_text

#: Octets of one embedded file, as `office` has it.
_EMBEDDED_OCTETS: Final = 20 << 20
#: Octets of a broken part that are read without their tags.
_BROKEN_OCTETS: Final = 8 << 20
#: Names of elements and attributes that are kept apart from their prefix; documents have some hundreds.
_NAMES: Final = 2000
_PROGRAM_ENDINGS: Final = ("rels", "xml", "vml", "fpage", "opf", "ncx", "fdoc", "xsl")
#: Members that hold no text for people.
_SILENT_WORDS: Final = (
    "png jpg jpeg jfif gif emf wmf bmp tif tiff svg wdp webp ico odttf ttf otf woff woff2 fntdata mp3 mp4 wav"
    " m4a m4v mov avi wmv thmx sigs psmdcp glb"
)
_SILENT: Final = frozenset(_SILENT_WORDS.split())
#: First elements of parts whose text stands in `t` elements.
_RUNS_WORDS: Final = (
    "document hdr ftr comments footnotes endnotes glossaryDocument settings numbering styles sld notes"
    " sldMaster sldLayout notesMaster handoutMaster drawing wsDr dataModel chartSpace userShapes package"
    " wordDocument sst webSettings fonts theme commentsEx people sec"
)
_RUNS: Final = frozenset(_RUNS_WORDS.split())
#: First elements of parts in which paragraphs are `p` and `h` elements with all that is in them.
_OPEN: Final = frozenset({"document-content", "document-styles", "document", "document-settings"})
_SHEETS: Final = frozenset({"worksheet", "chartsheet", "macrosheet", "dialogsheet"})
#: What interrupts a line.
_ASIDE: Final = frozenset({"txbxContent", "annotation", "note-body", "text-box", "footnote", "endnote", "comment"})
#: Text that is there and not seen.
_GONE: Final = frozenset({"delText", "instrText", "delInstrText", "f", "Formula"})
#: Attributes in which people write.
_SPOKEN: Final = frozenset(
    {"descr", "title", "alt", "tooltip", "author", "UnicodeString", "string-value", "current-value", "userName"}
)
_HEADS: Final = frozenset({"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"})
_NAMED: Final = "p h s rPh tab br cr line-break noBreakHyphen table-cell covered-table-cell c v t is cellXfs xf numFmt"
#: Elements that mean something without an attribute.
_ACTING: Final = frozenset(_NAMED.split()) | _ASIDE | _GONE | _HEADS


def read_package(content: bytes, draft: Draft) -> Iterator[Member]:
    """Write the text of a package, and give its members that are files of their own. Raises Enough.

    A flag of a member says what is wrong with it, as `archives` has them.
    """
    directory = read_directory(content, MEMBERS + 1)
    if directory is None:
        raise Enough("broken")
    if directory.is_overlapping or any(draft.budget.is_bomb(one.packed, one.octets) for one in directory.entries):
        raise Enough("too-big")
    package = _Package(content, directory, draft)
    yield from package.run()
    if any(one.is_encrypted for one in directory.entries) or package.is_encrypted:
        raise Enough("encrypted")
    if directory.has_more:
        raise Enough("too-many")
    if directory.is_broken or package.is_broken:
        raise Enough("broken")


def read_xml(content: bytes, draft: Draft) -> None:
    """Write the text of a document in one XML file (Flat OPC, Word 2003, fodt). Raises Enough."""
    _Part(draft, Formats(), Strings()).run(
        iter([content[at : at + PIECE] for at in range(0, len(content), PIECE)]), content
    )


class _Package:
    def __init__(self, content: bytes, directory: Directory, draft: Draft) -> None:
        self.is_broken = self.is_encrypted = False
        self._content = content
        self._directory = directory
        self._draft = draft
        self._formats = Formats()
        self._strings = Strings()

    def run(self) -> Iterator[Member]:
        entries = [one for one in (*self._directory.entries, *self._directory.hidden) if not one.is_folder]
        # Cells name their strings and formats by number, so those come first.
        for entry in sorted(entries, key=lambda one: _order(_plain(one.name))):
            self._draft.check()
            name = _plain(entry.name)
            ending = name.rpartition(".")[2] if "." in name.rpartition("/")[2] else ""
            head = read_entry(self._content, entry, 512)
            is_xml = head.lstrip(b"\xef\xbb\xbf\xff\xfe\xfe\xff\0 \r\n\t")[:1] == b"<"
            if entry.is_encrypted:
                continue
            if name == "meta-inf/manifest.xml" and b"encryption-data" in read_entry(self._content, entry, PIECE * 16):
                self.is_encrypted = True
                return
            if is_xml and b"<html" not in head.lower() and not ending.endswith("htm"):
                self._part(entry, name)
            elif ending in _PROGRAM_ENDINGS and not head:
                self.is_broken = self.is_broken or entry.octets > 0
            elif not is_xml and (ending in _SILENT or name == "mimetype" or not entry.octets and not head):
                continue
            elif ending != "bin" or head.startswith(b"\xd0\xcf\x11\xe0"):
                yield self._member(entry)
            elif "/worksheets/" in name or name.endswith("sharedstrings.bin"):
                # A workbook in BIFF 12 (.xlsb).
                yield Member((entry.name,), None, entry.octets, frozenset({"unopened"}))
        self._draft.aside(self._strings.unused())

    def _member(self, entry: Entry) -> Member:
        body = read_entry(self._content, entry, _EMBEDDED_OCTETS)
        self._draft.spend(len(body))
        is_whole = len(body) >= min(entry.octets, 1)
        return Member((entry.name,), body if is_whole else None, len(body), frozenset(() if is_whole else ("broken",)))

    def _part(self, entry: Entry, name: str) -> None:
        part = _Part(self._draft, self._formats, self._strings, name)
        try:
            part.run(self._unpacked(entry), b"")
        except (ZipBroken, expat.ExpatError, ValueError):
            self.is_broken = True
            left = read_entry(self._content, entry, _BROKEN_OCTETS)[part.parsed :]
            part.finish()
            self._draft.write(tagless(raw_text(left))[0])
        part.finish()

    def _unpacked(self, entry: Entry) -> Iterator[bytes]:
        total = 0
        for piece in blocks(self._content, entry):
            total += len(piece)
            self._draft.spend(len(piece))
            if self._draft.budget.is_bomb(entry.packed or len(self._content), total):
                raise Enough("too-big")
            for at in range(0, len(piece), PIECE):
                self._draft.check()
                yield piece[at : at + PIECE]


def _plain(name: str) -> str:
    return name.lower().replace("\\", "/")


def _order(name: str) -> int:
    last = name.rpartition("/")[2]
    return 0 if last.startswith("styles") else 1 if last.startswith("sharedstrings") else 2


class _Part:
    """One part while it is parsed.

    :ivar parsed: octets that the parser has taken
    """

    def __init__(self, draft: Draft, formats: Formats, strings: Strings, name: str = "") -> None:
        self.parsed = 0
        self._draft = draft
        self._formats = formats
        self._strings = strings
        self._is_relations = name.endswith(".rels")
        self._locals: dict[str, str] = {}
        self._root = ""
        self._mode = "all"
        self._open = 0  # elements of text that are open
        self._silent = 0
        self._gone: list[str] | None = None
        self._cell: dict[str, str] = {}
        self._value: list[str] = []
        self._said: list[str] = []

    def run(self, pieces: Iterator[bytes], content: bytes) -> None:
        """Parse. Raises Enough, expat.ExpatError, ValueError and ZipBroken."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        try:
            for piece in pieces:
                parser.Parse(piece, False)
                self.parsed += len(piece)
                self._draft.check()
            parser.Parse(b"", True)
        except (expat.ExpatError, ValueError):
            self.parsed = max(0, parser.CurrentByteIndex)
            if not content:
                raise
            self.finish()
            self._draft.write(tagless(raw_text(content[self.parsed : self.parsed + _BROKEN_OCTETS]))[0])
            raise Enough("broken") from None

    def finish(self) -> None:
        """The part is over, whole or not."""
        if self._gone:
            self._draft.aside("".join(self._gone))
        self._gone = None
        self._draft.end_line()

    def _local(self, name: str) -> str:
        found = self._locals.get(name)
        if found is None:
            found = name.rpartition(":")[2]
            if len(self._locals) < _NAMES:
                self._locals[name] = found
        return found

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self._local(tag)
        if not self._root:
            self._begin(name)
        if not attributes and name not in _ACTING or name == "t" and self._mode != "sheet":
            # Most elements; those of text in particular.
            self._open += name == "t"
            return
        for key, value in attributes.items():
            if self._local(key) in _SPOKEN:
                self._draft.aside(value)
        if self._is_relations and attributes.get("TargetMode", "").lower() == "external":
            self._draft.aside(attributes.get("Target", ""))
        if self._mode == "sheet":
            self._start_cell(name, attributes)
            return
        if name in _ASIDE and name != self._root:
            self._draft.begin_aside()
        elif name in _GONE:
            self._gone = []
        elif self._mode == "open" and name in ("p", "h"):
            self._open += 1
        elif name == "rPh":
            self._silent += 1
        elif name == "tab" and self._local_value(attributes, "pos") is None and not self._silent:
            self._draft.write("\t")
        elif name in ("br", "cr", "line-break"):
            self._draft.end_line()
        elif name == "noBreakHyphen":
            self._draft.write("-")
        elif name == "s" and self._mode == "open":
            count = self._local_value(attributes, "c") or "1"
            self._draft.write(" " * min(int(count), 100) if count.isdigit() else " ")
        elif name in ("docVar", "default", "result"):
            self._draft.aside(self._local_value(attributes, "val") or "")
        elif self._mode == "styles":
            self._style(name, attributes)
        elif self._mode == "open" and name in ("table-cell", "covered-table-cell"):
            self._cell = {self._local(key): value for key, value in attributes.items()}
            self._said = []

    def _begin(self, name: str) -> None:
        self._root = name
        if name in _SHEETS:
            self._mode = "sheet"
        elif name in _OPEN and (name != "document" or self._is_open(name)):
            self._mode = "open"
        elif name in _RUNS:
            self._mode = "runs"
        elif name == "styleSheet":
            self._mode = "styles"

    def _is_open(self, name: str) -> bool:
        """Whether a `document` is one of ODF; decided by its prefix, which all producers write as the standard does."""
        return any(key.startswith("office:") for key in self._locals)

    def _local_value(self, attributes: dict[str, str], wanted: str) -> str | None:
        return next((value for key, value in attributes.items() if self._local(key) == wanted), None)

    def _style(self, name: str, attributes: dict[str, str]) -> None:
        if name == "cellXfs":
            self._formats.begin()
        elif name == "xf":
            self._formats.use(attributes.get("numFmtId", "0"))
        elif name == "numFmt":
            self._formats.define(attributes.get("numFmtId", ""), attributes.get("formatCode", ""))

    def _text(self, text: str) -> None:
        if self._silent:
            return
        if self._gone is not None:
            self._gone.append(text)
        elif self._mode == "sheet":
            self._value.append(text) if self._open else None
        elif self._root == "sst":
            if self._open:
                self._value.append(text)
        elif self._open:
            self._draft.write(text)
            if self._cell:
                self._said.append(text)
        elif self._mode == "all":
            if not text.isspace():
                self._draft.write(text)
        elif (self._mode == "open" or self._root == "chartSpace") and not text.isspace():
            self._draft.aside(text)

    def _end(self, tag: str) -> None:
        name = self._local(tag)
        if self._mode == "sheet":
            self._end_cell(name)
            return
        if name in _ASIDE and name != self._root:
            self._draft.end_aside()
        elif name in _GONE:
            if self._gone is not None:
                self._draft.aside("".join(self._gone))
            self._gone = None
        elif name == "t":
            self._open -= 1
        elif name in ("p", "h") and self._mode != "all":
            if self._mode == "open":
                self._open -= 1
            self._draft.end_line()
        elif name == "rPh":
            self._silent -= 1
        elif name == "si":
            text = "".join(self._value)
            self._value = []
            if not self._draft.keep(len(text)):
                self._draft.write(text)
                self._draft.end_line()
                text = ""
            self._strings.take(text)
        elif name in ("tc", "table-cell", "covered-table-cell"):
            self._number()
            self._draft.end_cell()
        elif name in ("tr", "table-row") or self._mode == "all":
            self._draft.end_line()

    def _number(self) -> None:
        """The value of a cell whose text shows it otherwise, as 4.1E+15."""
        value = self._cell.get("value", "")
        if value and shown(value) not in "".join(self._said):
            self._draft.go_on()
            self._draft.write(shown(value))
        self._cell = {}

    # Sheets of OOXML

    def _start_cell(self, name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            self._cell = attributes
            self._value = []
        elif name in ("v", "t") or name in _HEADS:
            self._open += 1
        elif name == "f":
            self._gone = []
        elif name == "rPh":
            self._silent += 1

    def _end_cell(self, name: str) -> None:
        if name == "c":
            self._draft.write(self._shown("".join(self._value)))
            self._draft.end_cell()
            self._value = []
        elif name == "row":
            self._draft.end_line()
        elif name in ("v", "t") or name in _HEADS:
            self._open -= 1
            if name in _HEADS:
                self._draft.aside("".join(self._value))
                self._value = []
        elif name == "f":
            if self._gone is not None:
                self._draft.aside("".join(self._gone))
            self._gone = None
        elif name == "rPh":
            self._silent -= 1

    def _shown(self, value: str) -> str:
        kind = self._cell.get("t", "n")
        if kind == "s":
            return self._strings.get(value)
        return self._formats.shown(value, self._cell.get("s", "0")) if kind == "n" else value


def _refuse(*_: Any) -> None:
    raise ValueError("a document type has no place here")
