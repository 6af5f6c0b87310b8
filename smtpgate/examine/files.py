"""One attachment, and everything inside it: the tie between kinds, names, archives, documents and pictures.

The reader of a message calls `look_at_file` for each part that is a file, with one `Context` for the whole message.
The file itself comes first in the answer, its members follow in the order in which they were found. What needs
another room goes out by the hooks of the context: markup, and messages inside. Links and texts are gathered there.

It is bounded by the context's budget over all files together, whatever they are packed in, also across messages inside
messages. It never raises for what a stranger sent: a reader that fails all the same is flagged `broken`, by name.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from smtpgate.examine.budget import NOTES, Budget, Looked, Member, note
from smtpgate.examine.calendars import look_at_calendar
from smtpgate.examine.facts import File
from smtpgate.examine.kinds import Kind, kind_of, kind_of_name
from smtpgate.examine.mediatypes import kind_of_type
from smtpgate.examine.names import ENDINGS, RUNS, look_at_names
from smtpgate.examine.sourcecode import as_text, has_dde
from smtpgate.message import transfer

#: Pictures of a message that are searched for codes: a newsletter has dozens, and none in them.
PICTURES: Final = 20
#: Octets of the smallest and the largest picture that is searched.
_PICTURE_OCTETS: Final = (100, 8 << 20)
#: Links and texts that are gathered.
_LINKS: Final = 1000
_TEXTS: Final = 100
#: Values of internal entities in a document type (XML 1.0 section 4.2.1).
_ENTITY: Final = re.compile(
    rb"<!ENTITY\s{1,20}[^\s%\"'<>]{1,100}\s{1,20}(?:\"|')(.{1,2000}?)(?:\"|')\s{0,20}>", re.DOTALL
)
#: Of a text that holds coded files (uuencode), so much is read.
_CODED_OCTETS: Final = 20 << 20
#: Kinds of which no program makes anything else.
_SHOWN: Final = frozenset({"pdf", "image", "audio", "video", "office", "font"})
#: Kinds that make a document dangerous which holds one.
_RUNS: Final = frozenset({"executable", "script", "shortcut", "help"})
_DOCUMENTS: Final = frozenset({"office", "office-legacy", "onenote", "pdf"})
#: Kinds that hold other files: what lies too deep in them is not seen.
_HOLDERS: Final = _DOCUMENTS | {"archive", "disk-image", "tnef", "message"}
#: Letters of one name of a member, from its end.
_NAME_LETTERS: Final = 512


@attrs.frozen
class FoundLink:
    """A link as it stood: `source` pdf, qr or office; `part` the path of the file."""

    url: str
    shown: str
    source: str
    part: str


@attrs.frozen
class FoundText:
    """What a person reads in a file; `part` is its path."""

    text: str
    part: str


def _no_markup(content: bytes, name: str) -> Iterable[str]:
    return ()


def _no_message(content: bytes) -> Iterable[File]:
    return ()


@attrs.define
class Context:
    """What all files of one message share.

    :ivar words: gives passwords to try, most likely first
    :ivar on_markup: called with the octets of HTML, SVG or XML and its path; gives flags for the file
    :ivar on_message: called with the octets of a message inside; gives its files, paths and depths counted from it
    """

    budget: Budget
    words: Callable[[], Sequence[str]] = tuple
    on_markup: Callable[[bytes, str], Iterable[str]] = _no_markup
    on_message: Callable[[bytes], Iterable[File]] = _no_message
    pictures: int = PICTURES
    links: list[FoundLink] = attrs.field(factory=list)
    texts: list[FoundText] = attrs.field(factory=list)


def look_at_file(
    content: bytes,
    names: Sequence[str],
    claimed: str,
    part: str,
    depth: int,
    context: Context,
    *,
    is_inline: bool = False,
    path: str = "",
) -> list[File]:
    """The file and all files inside it.

    :param names: every name that some program would give it; the first is what most would show
    :param claimed: media type that the message says; "" inside archives
    :param part: number of the MIME part
    :param depth: 0 for a part of the message itself
    :param path: where a member stands; "" for a part
    """
    path = path or (names[0] if names and names[0] else f"part-{part}")
    look = _Look(content, names, path, part, depth, context)
    look.flags |= look_at_names(names).flags
    with _guard(look, "kind"):
        look.kind = kind_of(content, names, claimed)
    look.flags |= look.kind.flags
    if "bad-name" in look.flags and look.kind.kind in _SHOWN and _is_host_name(names):
        # "Screenshot www.example.com" ends like a program of old, and is none.
        look.flags.discard("bad-name")
    look.notes += [f"also {detail or kind}" for kind, detail in look.kind.also]
    wanted = [one for one in look.kind.all if one[0] in _LOOKS]
    # A document that is sent as an archive will be opened as one.
    is_called_archive = "archive" in look_at_names(names).classes or kind_of_type(claimed) == "archive"
    if look.kind.kind == "office" and content.startswith(b"PK") and is_called_archive:
        look.is_archive_too = True
        wanted.append(("archive", "zip"))
    with context.budget.deeper() as is_allowed:
        for kind, detail in wanted:
            if not is_allowed:
                look.flags |= {"too-deep"} if kind in _HOLDERS else set()
            elif context.budget.is_late():
                look.flags.add("not-examined")
            else:
                with _guard(look, kind):
                    _LOOKS[kind](look, detail)
    if look.kind.kind in _DOCUMENTS and any(one.depth == depth + 1 and one.kind in _RUNS for one in look.inner):
        look.flags.add("embedded-program")
    return [look.file(claimed, is_inline), *look.inner]


def _is_host_name(names: Sequence[str]) -> bool:
    """True where nothing but `.com` makes the name a program's."""
    named = look_at_names(names)
    return {ending for ending in named.endings if ENDINGS.get(ending) in RUNS} == {"com"}


@attrs.define
class _Look:
    """One file while it is looked at."""

    content: bytes
    names: Sequence[str]
    path: str
    part: str
    depth: int
    context: Context
    kind: Kind = Kind("unknown")
    is_archive_too: bool = False
    flags: set[str] = attrs.field(factory=set)
    notes: list[str] = attrs.field(factory=list)
    inner: list[File] = attrs.field(factory=list)

    def file(self, claimed: str, is_inline: bool) -> File:
        return File(
            self.path,
            tuple(self.names),
            self.part,
            self.depth,
            claimed,
            self.kind.kind,
            self.kind.detail,
            len(self.content),
            hashlib.sha256(self.content).hexdigest(),
            is_inline,
            frozenset(self.flags),
            tuple(dict.fromkeys(self.notes))[:NOTES],
        )

    def carry(self, content: bytes) -> None:
        """A message inside this file: its files."""
        for file in self.context.on_message(content):
            path, depth = f"{self.path}/{file.path}", self.depth + 1 + file.depth
            self.inner.append(attrs.evolve(file, path=path, depth=depth, part=self.part))

    def take(self, looked: Looked, source: str) -> None:
        """What a reader gave back: flags and notes here, links and text to the context, members to be looked at."""
        self.flags |= looked.flags
        self.notes += looked.notes
        for url, shown in looked.links:
            if len(self.context.links) < _LINKS:
                self.context.links.append(FoundLink(url, shown, source, self.path))
        if looked.text and len(self.context.texts) < _TEXTS:
            self.context.texts.append(FoundText(looked.text, self.path))
        for markup, name in looked.markup:
            self.flags |= frozenset(self.context.on_markup(markup, f"{self.path}/{name}"))
        for number, member in enumerate(looked.members, 1):
            if not self.context.budget.take_member():
                self.flags.add("too-many")
                break
            self.member(member, number)

    def member(self, member: Member, number: int) -> None:
        """A file inside this one, and what is inside it."""
        names = tuple(name[-_NAME_LETTERS:] for name in member.names if name)
        path = f"{self.path}/{names[0] if names else f'member-{number}'}"
        if member.content is not None:
            first, *rest = look_at_file(member.content, names, "", self.part, self.depth + 1, self.context, path=path)
        else:
            kind = kind_of_name(names)
            flags = look_at_names(names).flags
            first, rest = File(path, names, self.part, self.depth + 1, "", kind.kind, kind.detail, flags=flags), []
        notes = (*first.notes, *member.notes)[:NOTES]
        self.inner.append(
            attrs.evolve(first, octets=max(first.octets, member.octets), flags=first.flags | member.flags, notes=notes)
        )
        self.inner += rest


def _archive(look: _Look, detail: str) -> None:
    from smtpgate.examine.archives import Archive

    archive = Archive(look.content, detail, look.context.budget, look.names, look.context.words())
    for number, member in enumerate(archive, 1):
        look.member(member, number)
    look.flags |= archive.flags
    look.notes += archive.notes


def _office(look: _Look, detail: str) -> None:
    from smtpgate.examine.office import look_at_office

    looked = look_at_office(look.content, detail, look.context.budget, look.context.words())
    if look.is_archive_too:
        # All members come out of the archive.
        looked = attrs.evolve(looked, members=())
    look.take(looked, "office")


def _pdf(look: _Look, detail: str) -> None:
    from smtpgate.examine.pdf import look_at_pdf

    look.take(look_at_pdf(look.content, look.context.budget, look.context.words()), "pdf")


def _tnef(look: _Look, detail: str) -> None:
    from smtpgate.examine.tnef import look_at_tnef

    look.take(look_at_tnef(look.content, look.context.budget), "office")


def _message(look: _Look, detail: str) -> None:
    if detail == "msg":
        _office(look, detail)
    elif detail == "pst":
        look.flags.add("unopened")
    else:
        look.carry(look.content)


def _markup(look: _Look, detail: str) -> None:
    flags = set(look.context.on_markup(look.content, look.path))
    if detail in ("svg", "xml-script", "html") and b"<!ENTITY" in look.content[:65_536]:
        # What stands in an entity stands wherever that is named.
        for value in _ENTITY.findall(look.content[:65_536])[:20]:
            flags |= set(look.context.on_markup(html.unescape(value.decode("utf-8", "replace")).encode(), look.path))
    if detail == "svg" and "html-script" in flags:
        flags.add("svg-script")
    look.flags |= flags


def _calendar(look: _Look, detail: str) -> None:
    look.take(look_at_calendar(look.content), "office")


def _signed(look: _Look, detail: str) -> None:
    """A signed message that stands in its own signature (S/MIME, RFC 8551 section 3.5.2)."""
    from smtpgate.examine.signeddata import signed_content

    inner = signed_content(look.content)
    if inner and look.context.budget.spend(len(inner)):
        look.carry(inner)


def _script(look: _Look, detail: str) -> None:
    if detail == "hta":
        _markup(look, detail)


def _image(look: _Look, detail: str) -> None:
    from smtpgate.examine.codes import FORMATS, read_codes

    least, most = _PICTURE_OCTETS
    if detail not in FORMATS or not least <= len(look.content) <= most or look.context.pictures <= 0:
        return
    look.context.pictures -= 1
    texts = read_codes(look.content, detail, look.context.budget)
    look.notes += [note(f"code: {text}") for text in texts]
    look.take(Looked(links=tuple((text, "") for text in texts)), "qr")


def _text(look: _Look, detail: str) -> None:
    if has_dde(as_text(look.content)):
        look.flags.add("dde")
    if b"begin" in look.content[:_CODED_OCTETS]:
        text = look.content[:_CODED_OCTETS]
        members = []
        for block in transfer.blocks(text):
            content = transfer.decode_block(text, block)
            members.append(Member((block.name,), content, len(content)))
        look.take(Looked(members=tuple(members)), "office")


_LOOKS: Final[dict[str, Callable[[_Look, str], None]]] = {
    "archive": _archive,
    "disk-image": _archive,
    "office": _office,
    "office-legacy": _office,
    "onenote": _office,
    "pdf": _pdf,
    "tnef": _tnef,
    "message": _message,
    "html": _markup,
    "svg": _markup,
    "script": _script,
    "image": _image,
    "text": _text,
    "calendar": _calendar,
    "certificate": _signed,
}


@contextmanager
def _guard(look: _Look, what: str) -> Iterator[None]:
    """A fault of a reader becomes a flag: the rest of the message stays seen, and this file does not pass as read."""
    try:
        yield
    except MemoryError:
        look.flags.add("not-examined")
        look.notes.append(f"{what}: out of memory")
    except Exception as error:
        look.flags.add("broken")
        look.notes.append(note(f"{what}: {error!r}"))
