"""Office documents: what runs, what loads from elsewhere, what is embedded.

`files` calls `look_at_office` for kinds office, office-legacy and onenote. Packages (docx, odt and their kin) are
read here by the members of their ZIP file; compound documents in `compound`, RTF in `richtext`, OneNote in `onenote`,
macros in `macros`. A member of a package that no document has is given back as a file to be looked at, so that a ZIP
file full of programs does not pass because it claims to be a document.

Cheap looks come first: oletools is imported only where a macro project stands. At most `_RELATIONS` relationship
files and `_PARTS_OCTETS` of text parts are read. Nothing raises.

ECMA-376 part 1 sections 17.14 (external content) and 17.16 (fields), part 2 section 6.5 (relationships); ODF 1.3 part
2."""

from __future__ import annotations

import binascii
import html
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final
from xml.parsers import expat

from smtpgate.examine.budget import MEMBERS, Budget, Looked, Member, note
from smtpgate.examine.compound import look_at_compound
from smtpgate.examine.macros import judge_source, look_at_vba
from smtpgate.examine.onenote import look_at_onenote
from smtpgate.examine.richtext import is_elsewhere, is_of_the_house, look_at_rtf
from smtpgate.examine.sourcecode import has_dde
from smtpgate.examine.texts import without_comments
from smtpgate.examine.zipdir import Directory, Entry, read_directory, read_entry

#: Relationship files, octets of each, and relationships in all: books of a thousand slides stay below.
_RELATIONS: Final = 4000
_RELATION_OCTETS: Final = 1 << 20
_TARGETS: Final = 5000
#: Octets of all parts that are searched for fields.
_PARTS_OCTETS: Final = 16 << 20
_VBA_OCTETS: Final = 20 << 20
_EMBEDDED_OCTETS: Final = 20 << 20
#: Endings of the parts of packages. What has another is no part of a document.
_PART_ENDINGS: Final = (
    "xml rels vml png jpg jpeg jfif gif emf wmf bmp tif tiff svg wdp webp ico odttf ttf otf woff woff2 fntdata thmx xsd"
    " sigs psmdcp mp3 mp4 wav m4a m4v mov avi wmv rdf css xhtml htm html ncx opf iwa plist fpage fdoc fdseq struct frag"
    " glb data pdf txt xpl json"
)
_PARTS: Final = frozenset(_PART_ENDINGS.split())
#: Relationships that load as soon as the document is opened, by the last word of their type.
_LOADING: Final = "attachedtemplate oleobject frame subdocument package afchunk mailmergesource control"
_LOADED: Final = frozenset(_LOADING.split())
_FIELD: Final = re.compile(rb"<(?:[\w.-]{1,64}:)?(instrText|fldSimple|fldChar|ddeLink)\b([^<>]{0,4096})>([^<]{0,4096})")
#: A defined name with which a sheet of macros runs by itself ([MS-XLS] 2.4.150, the same in OOXML).
_STARTS: Final = re.compile(rb"(?:_xlnm\.|\b)auto_(?:open|close|activate|deactivate)(?![a-z_])", re.IGNORECASE)
#: Macros in documents of one XML file (Flat OPC, Word 2003).
_BLOB: Final = re.compile(rb"(?:binaryData|binData)\b[^<>]{0,200}>([A-Za-z0-9+/=\s]{100,})<")
_BLOBS: Final = 50
_SYLK_CALL: Final = re.compile(rb";e(?:exec|call|register|fopen|urldownload)\w{0,20}\(")
_FIELDS_READ: Final = 5000
_BASIC_OCTETS: Final = 4 << 20
_COMPOUND: Final = b"\xd0\xcf\x11\xe0"
_PROGRAMS: Final = (b"MZ", b"\x7fELF", b"PK\3\4", b"Rar!", b"7z\xbc\xaf")
#: The first word of a field, or one that is never anything else.
_DDE: Final = re.compile(r"\bDDEAUTO\b|(?:^|\n)[\s\"]{0,50}DDE\b", re.IGNORECASE)


def look_at_office(content: bytes, detail: str, budget: Budget, words: Sequence[str] = ()) -> Looked:
    """Everything that an Office document of this detail (see `kinds`) could do; `words` are tried as passwords."""
    if content.startswith(b"{\\rt"):
        return look_at_rtf(content, budget)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        return look_at_compound(content, budget, words)
    if detail in ("one", "onetoc2"):
        return look_at_onenote(content, budget)
    directory = read_directory(content, MEMBERS + 1)
    if directory is not None:
        return _Package(content, directory, budget).look()
    if content.lstrip()[:1] == b"<":
        return _look_at_xml(content, budget)
    if detail == "slk":
        return _look_at_sylk(content)
    if detail == "activemime":
        flags, notes = _project(content, budget)
        return Looked(frozenset(flags), tuple(notes))
    return Looked() if detail in ("mdb", "accdb") else Looked(frozenset({"broken"}))


class _Package:
    """One package while it is looked at."""

    def __init__(self, content: bytes, directory: Directory, budget: Budget) -> None:
        self._content = content
        self._directory = directory
        self._budget = budget
        self._flags: set[str] = set()
        self._notes: list[str] = []
        self._members: list[Member] = []
        self._links: list[tuple[str, str]] = []
        self._has_macro_sheet = self._starts = False
        self._has_basic = self._listens = False

    def look(self) -> Looked:
        directory = self._directory
        if directory.is_broken:
            self._flags.add("broken")
        if directory.is_overlapping or any(self._budget.is_bomb(one.packed, one.octets) for one in directory.entries):
            return Looked(frozenset(self._flags | {"bomb"}))
        if directory.has_more:
            self._flags.add("too-many")
        if directory.hidden:
            self._flags.add("hidden-member")
        if any(entry.is_encrypted for entry in directory.entries):
            self._flags.add("encrypted")
        relations = 0
        left = _PARTS_OCTETS
        for entry in (*directory.entries, *directory.hidden):
            if self._budget.is_late():
                self._flags.add("not-examined")
                break
            if entry.is_renamed:
                self._flags.add("names-differ")
            name = entry.name.lower().replace("\\", "/")
            ending = name.rpartition(".")[2] if "." in name.rpartition("/")[2] else ""
            if entry.is_folder:
                continue
            # What a part is its octets say first: relationships may lead to one under any name.
            head = read_entry(self._content, entry, 16)
            if name.endswith(".rels"):
                relations += 1
                part = self._read(entry, _RELATION_OCTETS) if relations <= _RELATIONS else b""
                self._flags |= {"too-many"} if relations > _RELATIONS else set()
                self._flags |= {"too-big"} if len(part) == _RELATION_OCTETS else set()
                self._relations(part)
            elif head.startswith(_COMPOUND):
                self._binary(entry, name)
            elif head.startswith(_PROGRAMS):
                self._member(entry)
            elif name == "[content_types].xml":
                part = self._read(entry, _RELATION_OCTETS)
                self._flags |= {"too-big"} if len(part) == _RELATION_OCTETS else set()
                if b"macrosheet" in part.replace(b"\0", b"").lower():
                    self._macro_sheet()
            elif name.endswith("xl/workbook.bin"):
                self._names(self._read(entry, _RELATION_OCTETS))
            elif ending == "bin":
                self._binary(entry, name)
            elif "/embeddings/" in name or ending not in _PARTS and name not in _BARE and "/" not in ending:
                self._flags |= {"embedded-object"} if "/embeddings/" in name else set()
                self._member(entry)
            elif "/macrosheets/" in name:
                self._macro_sheet()
            elif name.startswith(("basic/", "scripts/")) and ending == "xml":
                self._basic(self._read(entry, _VBA_OCTETS), name)
            elif name == "meta-inf/manifest.xml" and b"encryption-data" in self._read(entry, _RELATION_OCTETS):
                self._flags.add("encrypted")
            elif ending == "xml" and not name.startswith(_NO_FIELDS):
                part = self._read(entry, left) if left else b""
                self._flags |= {"too-big"} if len(part) == left and entry.octets > left else set()
                left -= len(part)
                self._fields(part, name)
        if self._starts and self._has_macro_sheet or self._listens and self._has_basic:
            self._flags.add("macro-autorun")
        return Looked(
            frozenset(self._flags),
            tuple(dict.fromkeys(self._notes)),
            tuple(self._members),
            tuple(dict.fromkeys(self._links)),
        )

    def _read(self, entry: Entry, most: int) -> bytes:
        """A part, at most so many octets of it."""
        part = read_entry(self._content, entry, most)
        if not self._budget.spend(len(part)):
            self._flags.add("too-big")
            return b""
        return part

    def _macro_sheet(self) -> None:
        """A sheet of Excel 4 macros; the workbook says whether one runs by itself."""
        self._has_macro_sheet = True
        self._flags.add("macro")
        self._notes.append("Excel 4 macro sheet")

    def _names(self, part: bytes) -> None:
        """Names that are defined in a workbook, in XML or BIFF 12."""
        plain = html.unescape(part.replace(b"\0", b"").decode("latin-1")).encode("latin-1", "ignore")
        self._starts = self._starts or _STARTS.search(plain) is not None

    def _basic(self, part: bytes, name: str) -> None:
        """A module of an OpenDocument; the lists of libraries are there without any."""
        if name.rpartition("/")[2] in ("script-lc.xml", "script-lb.xml", "dialog-lc.xml", "dialog-lb.xml"):
            return
        self._has_basic = True
        flags, notes = judge_source(html.unescape(part.decode("utf-8", "replace")), ())
        self._flags |= {"macro", *flags}
        self._notes += notes

    def _member(self, entry: Entry) -> None:
        body = self._read(entry, _EMBEDDED_OCTETS)
        is_whole = len(body) >= entry.octets
        flags = frozenset() if is_whole else frozenset({"encrypted" if entry.is_encrypted else "broken"})
        self._members.append(Member((entry.name, *entry.others), body or None, max(len(body), entry.octets), flags))

    def _binary(self, entry: Entry, name: str) -> None:
        """Parts named .bin: a macro project, an embedded object, settings of a printer."""
        body = self._read(entry, _VBA_OCTETS)
        if not body.startswith(b"\xd0\xcf\x11\xe0"):
            if name.endswith("vbaproject.bin"):
                self._flags |= {"macro", "broken"}
            elif "/macrosheets/" in name:
                self._macro_sheet()
            elif "/embeddings/" in name:
                self._flags.add("embedded-object")
                self._members.append(Member((entry.name,), body, len(body)))
            return
        if "/activex/" in name:
            self._notes.append("ActiveX control")
            return
        # A macro project may have any name; the relationships know, and so do its own streams.
        flags, notes = look_at_vba(body, self._budget) if "VBA".encode("utf-16-le") in body else (set(), [])
        if not flags and name.endswith("vbaproject.bin"):
            flags = {"macro", "broken"}
        self._flags |= flags
        self._notes += notes
        if "macro" not in flags:
            looked = look_at_compound(body, self._budget)
            self._flags |= looked.flags - {"broken"}
            self._notes += looked.notes
            self._members += looked.members
            if "/embeddings/" in name:
                self._flags.add("embedded-object")

    def _relations(self, part: bytes) -> None:
        found = list(_relationships(part))
        self._flags |= {"too-many"} if len(found) >= _TARGETS else set()
        for kind, target, is_external in found:
            if not is_external:
                continue
            if kind == "hyperlink":
                self._links.append((target, ""))
            elif kind == "attachedtemplate" and is_of_the_house(target):
                self._notes.append(note(f"{kind} {target}"))
            elif kind in _LOADED and is_elsewhere(target):
                self._flags.add("external-template")
                self._notes.append(note(f"{kind} {target}"))
                self._links.append((target, ""))
            elif is_elsewhere(target):
                self._links.append((target, ""))

    def _fields(self, part: bytes, name: str) -> None:
        """Commands in fields, also where the word is split over several runs."""
        if part.startswith((b"\xff\xfe", b"\xfe\xff")):
            part = part.decode("utf-16", "replace").encode()
        if b"<!ENTITY" in part:
            self._notes.append("XML entities")
        if b"<!" in part:
            part = without_comments(part, b"<!--", b"-->").replace(b"<![CDATA[", b"").replace(b"]]>", b"")
        if b"definedName" in part:
            self._names(part)
        self._listens = self._listens or b"event-listener" in part and b"dom:load" in part
        if b"ppaction://program" in part:
            self._flags.add("dde")
            self._notes.append("a click starts a program")
        text = []
        for tag, attributes, inner in _FIELD.findall(part):
            if tag == b"fldChar":
                text.append("\n")
            elif tag == b"instrText":
                text.append(html.unescape(inner.decode("utf-8", "replace")))
            else:
                shown = html.unescape(attributes.decode("utf-8", "replace"))
                text.append("\n" + shown.replace("=", "=\n") + "\n")
                if tag == b"ddeLink":
                    self._flags.add("dde")
                    self._notes.append(note(shown.strip()))
        joined = "".join(text)
        if "dde" not in self._flags and (found := _DDE.search(joined)):
            self._flags.add("dde")
            self._notes.append(note(joined[found.start() : found.start() + 120].strip()))


#: Members without an ending that packages have.
_BARE: Final = frozenset({"mimetype", "thumbnails/thumbnail", "layout-cache", "configurations2/accelerator/current"})


#: Large parts that programs read no fields from, wherever the package has its text.
_NO_FIELDS: Final = (
    *("xl/worksheets/", "xl/sharedstrings", "xl/styles", "xl/pivotcache/", "xl/charts/", "xl/chartsheets/"),
    *("word/theme/", "word/styles.xml", "word/charts/", "ppt/theme/", "ppt/charts/"),
)


def _relationships(part: bytes) -> Iterator[tuple[str, str, bool]]:
    """(last word of the type, target, whether it leads out of the package) of a relationships part."""
    found: list[tuple[str, str, bool]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(":")[2].lower() == "relationship" and len(found) < _TARGETS:
            kind = attributes.get("Type", "").rpartition("/")[2].lower()
            found.append((kind, attributes.get("Target", ""), attributes.get("TargetMode", "").lower() == "external"))

    def refuse(*_: object) -> None:
        raise ValueError("a document type has no place here")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    # What stands before a fault is what an Office program could act on.
    with suppress(expat.ExpatError, ValueError):
        parser.Parse(part, True)
    yield from found


def _look_at_xml(content: bytes, budget: Budget) -> Looked:
    """Documents in one XML file: macros stand in them as base64."""
    flags: set[str] = set()
    notes: list[str] = []
    for found in _BLOB.findall(content)[:_BLOBS]:
        with suppress(binascii.Error, ValueError):
            more, said = _project(binascii.a2b_base64(found), budget)
            flags |= more
            notes += said
    if any(word in content for word in (b"editdata.mso", b"vbaProject", b'macrosPresent="yes"', b"ActiveMime")):
        flags.add("macro")
    if b"instrText" in content or b"instr=" in content:
        fields = islice(_FIELD.finditer(content), _FIELDS_READ)
        text = b"".join(b"\n" if one[1] == b"fldChar" else one[2].replace(b"=", b"=\n") + one[3] for one in fields)
        if _DDE.search(html.unescape(text.decode("utf-8", "replace"))):
            flags.add("dde")
    if b"<office:scripts" in content or b"script:source-code" in content:
        more, said = judge_source(html.unescape(content[:_BASIC_OCTETS].decode("utf-8", "replace")), ())
        flags |= {"macro", *more} | ({"macro-autorun"} if b"dom:load" in content else set())
        notes += said
    return Looked(frozenset(flags), tuple(notes))


def _project(content: bytes, budget: Budget) -> tuple[set[str], list[str]]:
    """Flags and notes of a macro project as it is, or in the envelope that Word puts around it in a web page."""
    if content.startswith(b"ActiveMime"):
        start = content.find(b"\x78", 46, 80)
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(content[start:], _VBA_OCTETS) if start > 0 else b""
        except zlib.error:
            content = b""
        if not budget.spend(len(content)):
            return {"macro", "too-big"}, []
        if not content.startswith(_COMPOUND):
            return {"macro", "broken"}, []
    return look_at_vba(content, budget) if content.startswith(_COMPOUND) else (set(), [])


def _look_at_sylk(content: bytes) -> Looked:
    """A table in text, which may be a sheet of Excel 4 macros (SYLK; records E, NN and O)."""
    lower = content.lower()
    flags: set[str] = set()
    if b";nauto_open" in lower or b";nauto_close" in lower:
        flags |= {"macro", "macro-autorun"}
    if _SYLK_CALL.search(lower) is not None:
        flags |= {"macro", "macro-suspicious"}
    if has_dde(content.decode("latin-1").replace(";K", "\n").replace(";E", "\n=")):
        flags.add("dde")
    return Looked(frozenset(flags))
