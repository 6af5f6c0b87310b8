"""One part of a document of XML while it is parsed: what its elements mean for the text.

`packagetext` makes one for each part of a package. Text of a paragraph is joined without blanks, since programs cut a
word into runs wherever the spelling was checked; deleted text, fields, notes and boxes stand aside so that they cut no
word either. A document type ends the parser: Office programs refuse one, and entities are the bombs of XML.

ECMA-376 part 1 sections 17.3 (text), 18.3 and 18.4 (cells, strings), 21.1.2 (text of drawings); ODF 1.3 part 3
chapters 5 and 6 (text), 9 (tables).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.parsers import expat

from smtpgate.examine.celltext import Formats, Strings, shown
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.packagewords import head, sign, spoken
from smtpgate.examine.plaintext import tagless
from smtpgate.message.words import raw_text

#: Octets of a broken part that are read without their tags.
BROKEN_OCTETS: Final = 8 << 20
#: Names of elements and attributes that are kept apart from their prefix; documents have some hundreds.
_NAMES: Final = 2000
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
_ASIDE: Final = frozenset(
    {"txbxContent", "annotation", "note-body", "text-box", "footnote", "endnote", "comment", "rt", "ruby-text"}
)
#: Text that is there and not seen.
_GONE: Final = frozenset({"delText", "instrText", "delInstrText", "f", "Formula"})
#: Formulas of sheets: of cells, of what may be entered, of looks.
_FORMULAS: Final = frozenset({"f", "formula", "formula1", "formula2"})
_HEADS: Final = frozenset({"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"})
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_NAMED: Final = "p h s rPh tab br cr line-break noBreakHyphen table-cell covered-table-cell c v t is cellXfs xf numFmt"
#: Elements that mean something without an attribute.
_ACTING: Final = frozenset(_NAMED.split()) | _ASIDE | _GONE | _FORMULAS | _HEADS


class PackagePart:
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
        self._gone: list[str] = []
        self._is_gone = False
        self._paragraphs = 0
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
            self._draft.write(tagless(raw_text(content[self.parsed : self.parsed + BROKEN_OCTETS]))[0])
            raise Enough("broken") from None

    def finish(self) -> None:
        """The part is over, whole or not."""
        self._is_gone = False
        self._end_gone()
        self._draft.end_line()

    def _end_gone(self) -> None:
        """Deleted text and fields are cut into runs too: what follows on another is one."""
        if self._gone:
            self._draft.aside("".join(self._gone))
            self._gone = []

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
        if not attributes and self._mode == "sheet":
            self._start_cell(name, attributes)
            return
        if not attributes and name not in _ACTING or name == "t" and self._mode != "sheet":
            # Most elements; those of text in particular.
            self._open += name == "t"
            return
        for value in spoken(self._root, name, {self._local(key): value for key, value in attributes.items()}):
            self._draft.aside(value)
        if self._is_relations and attributes.get("TargetMode", "").lower() == "external":
            self._draft.aside(attributes.get("Target", ""))
        if self._mode == "sheet":
            self._start_cell(name, attributes)
            return
        if name in _ASIDE and name != self._root:
            self._draft.begin_aside()
        elif name in _GONE:
            self._gone = self._gone or []
            self._is_gone = True
        elif self._mode == "open" and name in ("p", "h"):
            self._open += 1
        elif self._mode == "all" and name == "p":
            self._paragraphs += 1
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
        elif name == "sym":
            self._draft.write(sign({self._local(key): value for key, value in attributes.items()}))
        elif name == "property" and self._mode == "all":
            # The name of a property of the user, beside its value.
            self._draft.write(f"{attributes.get('name', '')}\t")
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
        if self._is_gone:
            self._gone.append(text)
        elif self._mode == "sheet":
            self._value.append(text) if self._open else None
        elif self._root == "sst":
            if self._open:
                self._value.append(text)
        elif self._open:
            self._end_gone()
            if self._mode == "open":
                text = _BLANKS.sub(" ", text)
            self._draft.write(text)
            if self._cell:
                self._said.append(text)
        elif self._mode == "all":
            if self._paragraphs or not text.isspace():
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
            self._is_gone = False
        elif name == "t":
            self._open -= 1
        elif name in ("p", "h") and self._mode != "all":
            if self._mode == "open":
                self._open -= 1
            self._end_gone()
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
        elif name in ("tr", "table-row"):
            self._draft.end_line()
        elif self._mode == "all":
            # Runs of a paragraph are one text; other elements of parts that are not known are texts of their own.
            self._paragraphs -= name == "p" and self._paragraphs > 0
            if not self._paragraphs:
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
        elif name in _FORMULAS:
            self._is_gone = True
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
                self._draft.aside(head("".join(self._value)))
                self._value = []
        elif name in _FORMULAS:
            self._is_gone = False
            self._end_gone()
        elif name == "rPh":
            self._silent -= 1

    def _shown(self, value: str) -> str:
        kind = self._cell.get("t", "n")
        if kind == "s":
            return self._strings.get(value)
        return self._formats.shown(value, self._cell.get("s", "0")) if kind == "n" else value


def _refuse(*_: Any) -> None:
    raise ValueError("a document type has no place here")
