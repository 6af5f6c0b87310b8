"""All text of a message: of its header, its parts in every reading, the documents in them, and what is packed in those.

`read` is what searches for secrets begins with. It gives pieces of text, each with the place where it stood, and beside
them everything that could not be read and why: who judges must not take the rest for clean. It reads; whether a file is
dangerous is the question of `look`, which reads far less and looks at far more.

Everything is bounded over the whole message: letters, octets that are unpacked, files, layers and time, and for each
file letters and time once more, so that one file cannot keep the others from being read. A limit that was reached is
among the unread, never an error: `read` raises nothing for what a stranger sent. What two programs would read as two
texts comes as two pieces; octets that were read once are not read again under another name.

RFC 2045 to 2049; RFC 5751 section 3 and RFC 9580 section 6.2 (what is encrypted to its recipient).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import attrs

from smtpgate.examine.budget import DEPTH, MEMBERS, OCTETS, Budget, Member
from smtpgate.examine.calendars import look_at_calendar
from smtpgate.examine.documents import read_document
from smtpgate.examine.gathering import Enough, Gathering, Piece, Unread
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.passwords import likely
from smtpgate.examine.plaintext import ANY_VALUE, fields, is_readable, page, tagless, texts_of, unescaped
from smtpgate.examine.signeddata import signed_content
from smtpgate.message.mime import Message, MimeLimits, Part, walk
from smtpgate.message.words import decode, raw_text

#: Letters of all texts and of those of one file: all that a mail of 10 MB has. Exchange Online looks at the first
#: 1,000,000 letters of a file.
LETTERS: Final = 16 << 20
FILE_LETTERS: Final = 12 << 20
#: Octets of one member of an archive; of a longer one the beginning is read.
FILE_OCTETS: Final = 20 << 20
#: Octets before the first part and behind the last that are read.
_OUTSIDE_OCTETS: Final = 65_536
#: Fields that programs write, and those whose text comes otherwise.
_SILENT_FIELDS_WORDS: Final = (
    "received return-path delivered-to message-id in-reply-to references date mime-version dkim-signature"
    " domainkey-signature authentication-results received-spf subject content-type content-transfer-encoding"
    " content-disposition content-id x-received autocrypt list-id precedence arc-seal arc-message-signature"
    " arc-authentication-results x-mailer user-agent thread-index thread-topic dkim-filter"
)
_SILENT_FIELDS: Final = frozenset(_SILENT_FIELDS_WORDS.split())
_SILENT_FAMILIES: Final = ("x-google-", "x-ms-exchange-", "x-microsoft-antispam", "x-spam-", "x-forefront-", "x-gm-")
#: Why, by the flags of readers of archives.
_WHYS: Final = (
    ("encrypted", "encrypted"), ("bomb", "too-big"), ("too-big", "too-big"), ("too-many", "too-many"),
    ("not-examined", "late"), ("unopened", "unsupported"), ("broken", "broken"),
)  # fmt: skip
#: Kinds that hold others, or text in a form of their own.
_HOLDERS: Final = frozenset(
    {"archive", "disk-image", "office", "office-legacy", "onenote", "pdf", "tnef", "message", "certificate"}
)
#: Those whose form is a text.
_WRITTEN: Final = frozenset({"message", "certificate"})
#: Beginning of a message that Outlook protects by rights, and endings of what OpenPGP programs write.
_RIGHTS: Final = bytes.fromhex("76e80460c411e386")
_PGP: Final = (".gpg", ".pgp")
#: Octets of the object identifiers in CMS: enveloped, authenticated-enveloped (RFC 5652, RFC 5083), and compressed.
_LOCKED: Final = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d0109100117"))
_PRESSED: Final = bytes.fromhex("2a864886f70d0109100109")
_ARMOUR: Final = "-----BEGIN PGP MESSAGE-----"


@attrs.frozen
class Limits:
    """How far to read.

    :ivar letters: of all texts; `file_letters` of those of one file
    :ivar archive_size_octets: that are unpacked; `file_octets` of one member
    :ivar archive_members: files, those in files too; `archive_depth` layers of packing
    :ivar parts: of MIME, and `depth` their levels
    :ivar time_s: for everything; `file_s` for one file
    :ivar tells_images: pictures, recordings and fonts are told as unread. Nearly every mail has a logo in it, so that a
        rule which stops what was not read would stop them all
    """

    letters: int = LETTERS
    file_letters: int = FILE_LETTERS
    archive_size_octets: int = OCTETS
    file_octets: int = FILE_OCTETS
    archive_members: int = MEMBERS
    archive_depth: int = DEPTH
    parts: int = 1000
    depth: int = 30
    time_s: float = 15.0
    file_s: float = 8.0
    tells_images: bool = False

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Limits:
        """Those of a request; keys that say something else are passed over."""
        given = request.get("limits", {})
        return cls(**{field.name: given[field.name] for field in attrs.fields(cls) if field.name in given})


@attrs.frozen
class Reading:
    """What was read of one message.

    :ivar unread: empty where all of it was read
    """

    pieces: tuple[Piece, ...] = ()
    unread: tuple[Unread, ...] = ()


def read(content: bytes, limits: Limits = Limits()) -> Reading:  # noqa: B008 (it is frozen)
    """All text of a message with CRLF line ends."""
    reader = _Reader(limits)
    reader.message(walk(content, reader.mime), "")
    return reader.reading()


def read_file(content: bytes, name: str, limits: Limits = Limits()) -> Reading:  # noqa: B008
    """All text of a file that is no message, as of one that somebody registers.

    :param name: decides where the octets say nothing
    """
    reader = _Reader(limits)
    reader.file(content, (name,), "", name)
    return reader.reading()


class _Reader:
    """One message while it is read."""

    def __init__(self, limits: Limits) -> None:
        self.mime = MimeLimits(depth=limits.depth, parts=limits.parts)
        self._limits = limits
        ends = time.monotonic() + limits.time_s
        self._budget = Budget(
            time.monotonic,
            ends,
            limits.archive_size_octets,
            limits.archive_members,
            limits.archive_depth,
            limits.file_octets,
        )
        self._gathering = Gathering(self._budget, limits.letters, limits.file_letters, limits.file_s)
        self._names: dict[str, None] = {}
        self._seen: set[bytes] = set()

    def reading(self) -> Reading:
        """What was gathered."""
        self._gathering.add("", "name", "\n".join(self._names))
        return Reading(tuple(self._gathering.pieces), self._gathering.unread)

    @cached_property
    def _words(self) -> Sequence[str]:
        """Passwords to try; asked for when the texts of the mail have been read."""
        texts = [one.text for one in self._gathering.pieces if one.source in ("body", "html")]
        subject = next((one.text for one in self._gathering.pieces if one.source == "subject"), "")
        return tuple(likely(texts, subject))

    # Mail

    def message(self, message: Message, path: str) -> None:
        """A message: its header, its texts, then its files, which may be locked with a word of those."""
        gathering = self._gathering
        for limit in message.limits:
            gathering.miss(path, {"depth": "too-deep", "octets": "too-big"}.get(limit, "too-many"))
        files: list[tuple[Part, bytes, bool]] = []
        for number, part in enumerate(message.parts):
            above = message.parts[part.parent].media_type if part.parent >= 0 else ""
            if number == 0 or above.startswith("message/"):
                self._header(part, path)
            if part.is_container:
                if part.media_type.startswith("multipart/"):
                    self._outside(part, path)
                self._names.update(dict.fromkeys(name for name in part.names if name))
                continue
            if self._budget.is_late():
                gathering.miss(_joined(path, _place(part)), "late")
                break
            usual = part.decoded()
            for octets in dict.fromkeys((usual, *part.readings())):
                if self._is_text(part, octets):
                    with gathering.draft(_joined(path, _place(part))):
                        self._text(part, octets, path)
                else:
                    files.append((part, octets, octets is usual and not part.reading))
        files.reverse()
        while files:
            part, octets, is_usual = files.pop()
            if not self._budget.take_member():
                gathering.miss(_joined(path, _place(part)), "too-many")
                continue
            with gathering.silent(*(() if is_usual else ("broken", "unsupported"))):
                self.file(octets, part.names, part.media_type, _joined(path, _place(part)), part.charset)

    def _header(self, part: Part, path: str) -> None:
        lines = []
        for field in part.header.fields:
            if field.name == "subject":
                self._gathering.add(path, "subject", decode(field.value))
            elif field.name not in _SILENT_FIELDS and not field.name.startswith(_SILENT_FAMILIES):
                lines.append(decode(field.value))
        self._gathering.add(path, "header", "\n".join(lines))

    def _outside(self, part: Part, path: str) -> None:
        """What stands before the first part and behind the last: shown by no program, and sent all the same."""
        body = part.body
        head, tail = bytes(body[:_OUTSIDE_OCTETS]), bytes(body[-_OUTSIDE_OCTETS:])
        first, last = head.find(b"--"), tail.rfind(b"--\r\n")
        outside = head[: max(first, 0)] + b"\n" + (tail[last + 4 :] if last >= 0 else b"")
        self._gathering.add(_joined(path, _place(part)), "hidden", raw_text(outside).strip())

    def _is_text(self, part: Part, octets: bytes) -> bool:
        """Whether a program shows it as a text of the mail: it is called one, and is nothing else that is known."""
        if part.names or not part.media_type.startswith("text/"):
            return False
        if codec_of_two(part.charset):
            return True
        found = kind_of(octets, (), part.media_type)
        if {kind for kind, _ in found.all} & (_HOLDERS - _WRITTEN):
            return False
        return is_readable(octets) or found.kind in ("text", "html", "xml", "script", "unknown", "empty")

    def _text(self, part: Part, octets: bytes, path: str) -> None:
        if not octets or self._is_known(octets, part.charset):
            return
        where = _joined(path, _place(part))
        is_page = part.media_type in ("text/html", "text/x-amp-html", "text/watch-html", "text/enriched")
        self._plain(octets, where, part.charset, "body", is_page=is_page)

    def _plain(self, octets: bytes, path: str, charset: str, source: str, *, is_page: bool = False) -> None:
        """A text in all that it may be."""
        gathering = self._gathering
        most = min(self._limits.file_letters, max(gathering.letters, 1))
        texts, is_cut = texts_of(octets, charset, most, is_markup=is_page)
        if is_cut:
            gathering.miss(path, "too-big")
        for text in texts:
            if _ARMOUR in text:
                gathering.miss(path, "encrypted")
            if is_page:
                with gathering.draft(path) as draft:
                    for name, shown in page(text, draft.check):
                        gathering.add(path, name, shown)
            else:
                gathering.add(path, source, text)
                gathering.add(path, source, unescaped(text))

    def _is_known(self, octets: bytes, salt: str = "") -> bool:
        digest = hashlib.blake2b(octets, digest_size=16, person=salt.encode("utf-8", "replace")[:16]).digest()
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False

    # Files

    def file(self, content: bytes, names: Sequence[str], claimed: str, path: str, charset: str = "") -> None:
        """A file, and what is in it. It was counted."""
        self._names.update(dict.fromkeys(name for name in names if name))
        if not content or self._is_known(content, charset):
            return
        if self._budget.is_late():
            self._gathering.miss(path, "late")
            return
        kinds: tuple[tuple[str, str], ...] = (("unknown", ""),)
        with self._gathering.draft(path):
            kinds = kind_of(content, names, claimed).all
        with self._budget.deeper() as is_allowed:
            for kind, detail in kinds:
                if kind in _HOLDERS and not is_allowed:
                    self._gathering.miss(path, "too-deep")
                else:
                    # Readers have guards of their own; this one is for what goes wrong between them.
                    with self._gathering.draft(path):
                        self._kind(kind, detail, content, names, path, charset)

    def _kind(self, kind: str, detail: str, content: bytes, names: Sequence[str], path: str, charset: str) -> None:
        if kind in ("archive", "disk-image"):
            self._archive(content, detail, names, path)
        elif kind == "message" and detail not in ("msg", "pst"):
            self._mail(content, path)
        elif kind in ("office", "office-legacy", "onenote", "pdf", "tnef", "message"):
            self._document(kind, detail, content, path)
        elif kind in ("calendar", "contact"):
            for text in texts_of(content, charset, self._limits.file_letters)[0]:
                self._gathering.add(path, "document", fields(text))
            self._members(look_at_calendar(content).members, path)
        elif kind == "certificate" and content[:1] == b"\x30":
            self._signed(content, path)
        elif kind in ("image", "audio", "video", "font") or kind == "svg" and content[:2] == b"\x1f\x8b":
            if self._limits.tells_images:
                self._gathering.miss(path, "image")
        elif kind in ("html", "xml", "svg"):
            self._markup(kind, content, path, charset)
        elif kind == "text" or is_readable(content):
            self._plain(content, path, charset, "document")
        elif content.startswith(_RIGHTS) or any(name.lower().endswith(_PGP) for name in names):
            self._gathering.miss(path, "encrypted")
        else:
            self._gathering.miss(path, "unsupported")

    def _markup(self, kind: str, content: bytes, path: str, charset: str) -> None:
        if kind == "html":
            self._plain(content, path, charset, "document", is_page=True)
            return
        for text in texts_of(content, charset, self._limits.file_letters, is_markup=True)[0]:
            with self._gathering.draft(path) as draft:
                shown, aside = tagless(text, draft.check, ANY_VALUE)
                draft.write(shown)
                draft.aside(aside)

    def _mail(self, content: bytes, path: str) -> None:
        lines = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self.message(walk(lines, self.mime), path)

    def _signed(self, content: bytes, path: str) -> None:
        inner = signed_content(content)
        if inner and self._budget.spend(len(inner)):
            self._mail(inner, path)
        elif any(mark in content[:64] for mark in _LOCKED):
            self._gathering.miss(path, "encrypted")
        elif _PRESSED in content[:64]:
            self._gathering.miss(path, "unsupported")

    def _archive(self, content: bytes, detail: str, names: Sequence[str], path: str) -> None:
        from smtpgate.examine.archives import Archive

        archive = Archive(content, detail, self._budget, names, self._words)
        told: set[str] = set()
        for number, member in enumerate(archive, 1):
            told |= self._member(member, number, path)
        # What is wrong with a member is told there.
        self._tell(archive.flags - told, path)

    def _members(self, members: Iterable[Member], path: str) -> None:
        for number, member in enumerate(members, 1):
            if not self._budget.take_member():
                self._gathering.miss(path, "too-many")
                return
            self._member(member, number, path)

    def _member(self, member: Member, number: int, path: str) -> set[str]:
        """A file in a file; gives the flags that were told of it."""
        names = tuple(name[-512:] for name in member.names if name)
        place = _joined(path, names[0] if names else f"member-{number}")
        if member.content is not None:
            self.file(member.content, names, "", place)
        return self._tell(member.flags, place)

    def _tell(self, flags: Iterable[str], path: str) -> set[str]:
        told = set()
        for flag, why in _WHYS:
            if flag in flags:
                told.add(flag)
                self._gathering.miss(path, why)
        return told

    def _document(self, kind: str, detail: str, content: bytes, path: str) -> None:
        """A document: its text, then the files in it, each when it comes and held no longer."""
        with self._gathering.draft(path) as draft:
            members = read_document(kind, detail, content, draft, self._words)
            for number, member in enumerate(members, 1):
                if not self._budget.take_member():
                    raise Enough("too-many")
                self._member(member, number, path)


def codec_of_two(charset: str) -> bool:
    """Whether the letters of a charset have two octets or four, so that its texts look like none."""
    return charset.lower().replace("_", "-").startswith(("utf-16", "utf16", "utf-32", "utf32", "ucs-2", "iso-10646"))


def _place(part: Part) -> str:
    """Where a part stands: its name, or its number."""
    return next((name for name in part.names if name), f"part-{part.number or '0'}")


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


__all__ = ["Limits", "Piece", "Reading", "Unread", "read", "read_file"]
