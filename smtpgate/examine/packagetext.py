"""The text of documents that are ZIP files of XML: docx, xlsx, pptx, odt and their kin, and of single XML files.

`reading` calls `read_package` with a draft for the text; what is neither XML nor a picture comes back as a member to
be read as a file of its own (embedded objects, pages, other documents). What a part is its first element says, not its
name, since relationships may lead to any name. Parts are unpacked and parsed bit by bit and never held whole. A part
that is not well-formed is read as far as it goes, and the rest without its tags; `packagepart` does that.

ECMA-376 part 2 (packages); ODF 1.3 part 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from smtpgate.examine.budget import MEMBERS, Member
from smtpgate.examine.celltext import Formats, Strings
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.packagepart import BROKEN_OCTETS, PackagePart
from smtpgate.examine.plaintext import tagless
from smtpgate.examine.zipdir import PIECE, Directory, Entry, ZipBroken, blocks, read_directory, read_entry
from smtpgate.message.words import raw_text

#: Octets of one embedded file, as `office` has it.
_EMBEDDED_OCTETS: Final = 20 << 20
_PROGRAM_ENDINGS: Final = ("rels", "xml", "vml", "fpage", "opf", "ncx", "fdoc", "xsl")
#: Members that hold no text for people.
_SILENT_WORDS: Final = (
    "png jpg jpeg jfif gif emf wmf bmp tif tiff svg wdp webp ico odttf ttf otf woff woff2 fntdata mp3 mp4 wav"
    " m4a m4v mov avi wmv thmx sigs psmdcp glb"
)
_SILENT: Final = frozenset(_SILENT_WORDS.split())


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
    PackagePart(draft, Formats(), Strings()).run(
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
        part = PackagePart(self._draft, self._formats, self._strings, name)
        try:
            part.run(self._unpacked(entry), b"")
        except (ZipBroken, expat.ExpatError, ValueError):
            self.is_broken = True
            left = read_entry(self._content, entry, BROKEN_OCTETS)[part.parsed :]
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
