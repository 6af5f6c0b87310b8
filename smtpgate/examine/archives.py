"""Archives walked in memory: every member with its names, its content as far as the budget goes, and what is odd
about it.

`files` makes an `Archive` for each file of kind archive or disk-image and iterates over it once; the members that
come out are looked at in turn. ZIP files are read by both of their directories (`zipdir`); the other formats, and ZIP
members that are locked or packed in a rare way, by libarchive, with that one format and no filter but the one that
the octets call for: so neither outside programs nor formats that guess are ever started. Nothing is written to disk.

It stops at the limits of `budget`: octets, members, time, and a ratio that no honest archive has. It tries words of the
message as passwords. It never raises for what a stranger packed; what cannot be read is flagged.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Final

from smtpgate.examine.budget import MEMBERS, RATIO, RATIO_FROM_OCTETS, TRIES_A_FILE, Budget, Member, note
from smtpgate.examine.names import base
from smtpgate.examine.rarblocks import locked_members
from smtpgate.examine.unpacking import entries, is_locked, pieces, reader
from smtpgate.examine.zipdir import Directory, Entry, ZipBroken, blocks, read_directory

#: Formats of libarchive by the detail of the kind.
_FORMATS: Final = {
    "zip": ("zip_seekable",),
    "7z": ("7zip",),
    "rar": ("rar", "rar5"),
    "tar": ("tar",),
    "cab": ("cab",),
    "iso": ("iso9660",),
    "lha": ("lha",),
    "cpio": ("cpio",),
    "ar": ("ar",),
    "deb": ("ar",),
    "xar": ("xar",),
}
#: Filters of libarchive for files that hold one packed file, and the endings that they add to its name.
_FILTERS: Final = {
    "gz": ("gzip", ("gz", "gzip")),
    "bz2": ("bzip2", ("bz2", "bz")),
    "xz": ("xz", ("xz",)),
    "lzma": ("lzma", ("lzma",)),
    "lzip": ("lzip", ("lz",)),
    "zst": ("zstd", ("zst",)),
    "lz4": ("lz4", ("lz4",)),
    "compress": ("compress", ("z",)),
}
#: A shorter ending that says both: what stands in place of it.
_BOTH: Final = {
    "tgz": "tar",
    "tbz": "tar",
    "tbz2": "tar",
    "txz": "tar",
    "tlz": "tar",
    "tzst": "tar",
    "taz": "tar",
    "svgz": "svg",
}
#: Octets of the longest member that passwords are tried on.
_TRY_OCTETS: Final = 4 << 20
#: Octets of the longest target of a link.
_LINK_OCTETS: Final = 4096


class Archive:
    """One archive; iterate over it once for its members, then read `flags` and `notes`.

    :ivar flags: of `facts.FLAGS`, about the archive as a whole
    """

    def __init__(
        self, content: bytes, detail: str, budget: Budget, names: Sequence[str] = (), words: Sequence[str] = ()
    ):
        self.flags: set[str] = set()
        self.notes: list[str] = []
        self._content = content
        # libmagic knows forms of tar that have no mark.
        self._detail = "tar" if detail in ("x-tar", "x-gtar", "x-ustar") else detail
        self._budget = budget
        self._names = names
        self._words = words[:TRIES_A_FILE]
        self._unpacked = 0
        self._is_over = False

    def __iter__(self) -> Iterator[Member]:
        """Members in the order in which they stand. Raises nothing."""
        if self._detail == "zip":
            yield from self._zip()
        elif self._detail in _FORMATS:
            yield from self._guarded(self._walk())
        elif self._detail in _FILTERS:
            yield from self._guarded(self._single())
        else:
            self.flags.add("unopened")

    # -- ZIP

    def _zip(self) -> Iterator[Member]:
        directory = read_directory(self._content, MEMBERS + 1)
        if directory is None:
            self.flags.add("broken")
            return
        self._judge(directory)
        listed = [(entry, False) for entry in directory.entries] + [(entry, True) for entry in directory.hidden]
        by_library = [entry for entry in directory.entries if entry.is_encrypted or entry.method not in (0, 8)]
        found = self._by_library(directory, by_library) if by_library and "bomb" not in self.flags else {}
        for entry, is_hidden in listed:
            if entry.is_folder:
                continue
            if not self._budget.take_member():
                self.flags.add("too-many")
                return
            flags = set(_escapes(entry.name))
            if entry.is_renamed:
                flags.add("names-differ")
            if is_hidden:
                flags.add("hidden-member")
            content, more = found.get(entry.offset, (None, frozenset()))
            if content is None and not more:
                content, more = self._plain(entry)
            flags |= more
            notes = []
            if entry.is_link and content is not None:
                target = content[:_LINK_OCTETS].decode("utf-8", "replace")
                notes.append(note(f"link to {target}"))
                flags |= _link_escapes(entry.name, target)
            yield Member(
                (entry.name, *entry.others),
                content,
                len(content) if content is not None else entry.octets,
                frozenset(flags),
                tuple(notes),
            )

    def _judge(self, directory: Directory) -> None:
        """What the directories say before anything is unpacked."""
        if directory.is_broken:
            self.flags.add("broken")
        if directory.has_more:
            self.flags.add("too-many")
            self._budget.reach("files")
        if directory.hidden:
            self.flags.add("hidden-member")
            self.notes.append(f"{len(directory.hidden)} members are not in the directory")
        if any(entry.is_renamed for entry in directory.entries):
            self.flags.add("names-differ")
        if directory.is_overlapping:
            self.flags.add("bomb")
            self._budget.reach("ratio")
            self.notes.append("members lie over one another")
        elif any(self._budget.is_bomb(entry.packed, entry.octets) for entry in directory.entries):
            self.flags.add("bomb")
            self.notes.append(f"{sum(entry.octets for entry in directory.entries)} octets declared")

    def _plain(self, entry: Entry) -> tuple[bytes | None, frozenset[str]]:
        """A member that is stored or deflated."""
        if entry.is_encrypted:
            self.flags.add("encrypted")
            return None, frozenset({"encrypted"})
        if "bomb" in self.flags or self._is_over:
            return None, frozenset({"bomb" if "bomb" in self.flags else "too-big"})
        if entry.start < 0:
            self.flags.add("broken")
            return None, frozenset({"broken"})
        if entry.method not in (0, 8):
            self.flags.add("unopened")
            return None, frozenset({"unopened"})
        return self._collect(blocks(self._content, entry), entry.packed or len(self._content))

    def _by_library(self, directory: Directory, wanted: list[Entry]) -> dict[int, tuple[bytes | None, frozenset[str]]]:
        """Locked and rarely packed members by the offset of their header; what libarchive cannot read is not in it."""
        order = sorted({entry.offset: entry for entry in directory.entries}.values(), key=lambda entry: entry.offset)
        offsets = {entry.offset for entry in wanted}
        places = {number: entry for number, entry in enumerate(order) if entry.offset in offsets}
        locked = [entry for entry in wanted if entry.is_encrypted and entry.octets]
        word = self._find_word(places, min(locked, key=lambda entry: entry.packed)) if locked else ""
        found: dict[int, tuple[bytes | None, frozenset[str]]] = {}
        try:
            with reader(self._content, _FORMATS["zip"], "", word) as (ffi, archive):
                for number, entry in enumerate(entries(ffi, archive)):
                    member = places.get(number)
                    if member is None or self._is_over or member.is_encrypted and not word:
                        continue
                    content, flags = self._collect(pieces(ffi, archive, entry), member.packed)
                    if content is None and member.is_encrypted:
                        continue
                    if member.is_encrypted:
                        flags |= {"password-in-text"}
                        self.flags.add("password-in-text")
                    found[member.offset] = content, flags
        except (
            Exception
        ) as error:  # whatever fails here leaves members out, and those are flagged as locked or unopened
            self._blame(str(error))
        return found

    def _find_word(self, places: dict[int, Entry], wanted: Entry) -> str:
        """The word of the message that opens the shortest locked member; "" where none does."""
        if wanted.packed > _TRY_OCTETS or wanted.octets > _TRY_OCTETS:
            return ""
        for word in self._words:
            if not word or not self._budget.take_try():
                continue
            try:
                with reader(self._content, _FORMATS["zip"], "", word) as (ffi, archive):
                    for number, entry in enumerate(entries(ffi, archive)):
                        if number in places and places[number].offset == wanted.offset:
                            length = sum(len(piece) for piece in pieces(ffi, archive, entry, _TRY_OCTETS))
                            if length == wanted.octets:
                                return word
                            break
            except Exception:  # a wrong password fails in many ways; each of them means: not this one
                continue
        return ""

    # -- everything else, by libarchive

    def _guarded(self, members: Iterator[Member]) -> Iterator[Member]:
        """The members, with every failure of the library made a flag."""
        try:
            yield from members
        except ImportError:
            self.flags.add("unopened")
            self.notes.append("libarchive is not installed")
        except Exception as error:  # libarchive-c raises its own errors, OSError, TypeError and more for hostile octets
            self._blame(str(error))

    def _blame(self, words: str) -> str:
        """The flag for what the library said, noted here too."""
        words = words.partition(" (errno")[0]
        is_locked = "ncrypt" in words or "assphrase" in words
        flag = "encrypted" if is_locked else "unopened" if "nsupported" in words else "broken"
        self.flags.add(flag)
        self.notes.append(note(words))
        return flag

    def _walk(self) -> Iterator[Member]:
        positions, has_locked_names = locked_members(self._content)
        if has_locked_names:
            self.flags.add("encrypted")
            return
        with reader(self._content, _FORMATS[self._detail], "", "") as (ffi, archive):
            for number, entry in enumerate(entries(ffi, archive), 1):
                if not self._budget.take_member():
                    self.flags.add("too-many")
                    return
                if self._budget.is_late():
                    self.flags.add("not-examined")
                    return
                name = entry.pathname
                name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name or f"member-{number}"
                if entry.isdir:
                    continue
                flags, notes = set(_escapes(name)), []
                target = entry.linkpath if entry.issym or entry.islnk else None
                if target:
                    target = target.decode("utf-8", "replace") if isinstance(target, bytes) else target
                    notes.append(note(f"link to {target}"))
                    # A hard link is read from the top.
                    flags |= _link_escapes(name if entry.issym else "", target)
                content: bytes | None = None
                if number - 1 in positions or is_locked(ffi, entry):
                    flags.add("encrypted")
                    self.flags.add("encrypted")
                else:
                    content, more = self._collect(pieces(ffi, archive, entry), len(self._content))
                    flags |= more
                octets = len(content) if content is not None else entry.size or 0
                yield Member((name,), content, octets, frozenset(flags), tuple(notes))
                if self._is_over:
                    # What follows could only be reached by unpacking the rest of this.
                    return

    def _single(self) -> Iterator[Member]:
        filter_name, endings = _FILTERS[self._detail]
        if not self._budget.take_member():
            self.flags.add("too-many")
            return
        with reader(self._content, ("raw",), filter_name, "") as (ffi, archive):
            for entry in entries(ffi, archive):
                if ffi.filter_count(archive) < 2:
                    self.flags.add("broken")
                    return
                content, flags = self._collect(pieces(ffi, archive, entry), len(self._content))
                names = tuple(dict.fromkeys(_inner(name, endings) for name in self._names))
                if self._detail == "gz" and (told := _gzip_name(self._content)) and told not in names:
                    names = (*names, told)
                yield Member(names, content, len(content or b""), flags)
                return

    def _collect(self, parts: Iterator[bytes], packed: int) -> tuple[bytes | None, frozenset[str]]:
        """The content of one member, as long as the budget lasts; None where a limit or a fault ended it."""
        held = bytearray()
        try:
            for piece in parts:
                held += piece
                self._unpacked += len(piece)
                if not self._budget.spend(len(piece)):
                    self._is_over = True
                    is_bomb = self._unpacked > RATIO * len(self._content)
                    self.flags.add("bomb" if is_bomb else "too-big")
                    return None, frozenset({"bomb" if is_bomb else "too-big"})
                if len(held) > RATIO_FROM_OCTETS and self._budget.is_bomb(packed, len(held)):
                    self._is_over = True
                    self.flags.add("bomb")
                    return None, frozenset({"bomb"})
                if len(held) > self._budget.file_octets:
                    del held[self._budget.file_octets :]
                    return bytes(held), frozenset({"too-big"})
                if self._budget.is_late():
                    self._is_over = True
                    self.flags.add("not-examined")
                    return None, frozenset({"not-examined"})
        except ZipBroken as error:
            self._blame(str(error))
            return (bytes(held) or None), frozenset({"broken"})
        except Exception as error:  # as in `_guarded`; what came before the fault is what other programs show too
            flag = self._blame(str(error))
            return (bytes(held) or None) if flag == "broken" else None, frozenset({flag})
        return bytes(held), frozenset()


def _link_escapes(name: str, target: str) -> frozenset[str]:
    """The same of what a link leads to, read from where it stands."""
    plain = target.replace("\\", "/")
    if not plain.startswith("/"):
        plain = posixpath.normpath(posixpath.join(name.replace("\\", "/").rpartition("/")[0], plain))
    return _escapes(plain)


def _escapes(path: str) -> frozenset[str]:
    """The flag of a path that leads out of the folder that the archive is unpacked to."""
    plain = path.replace("\\", "/")
    leads_out = plain.startswith("/") or ".." in plain.split("/") or plain[1:3] == ":/"
    return frozenset({"path-escape"}) if leads_out else frozenset()


def _inner(name: str, endings: tuple[str, ...]) -> str:
    """The name of the file in a packed file, from that of the packed file."""
    stem, _, ending = base(name).rpartition(".")
    ending = ending.lower()
    if ending in _BOTH:
        return f"{stem}.{_BOTH[ending]}"
    return stem if ending in endings and stem else base(name)


def _gzip_name(content: bytes) -> str:
    """The name in the head of a gzip file (RFC 1952 section 2.3); "" where it has none."""
    if len(content) < 18 or not content[3] & 8:
        return ""
    at = 10
    if content[3] & 4:
        at += 2 + int.from_bytes(content[10:12], "little")
    end = content.find(b"\0", at, at + 1024)
    return content[at:end].decode("latin-1") if end > at else ""
