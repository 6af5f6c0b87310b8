"""Compound documents: .doc, .xls, .ppt, .msg and what is embedded in them, by the names of their streams.

`office` calls `look_at_compound`; its members are the files that somebody embedded or attached, each looked at in
turn by `files`. `read_native` reads the one form in which Windows embeds any file, and serves `richtext` too. A
locked document is opened with the password that Excel itself tries, and with words of the message, when that costs
little.

At most `_STREAMS` streams are asked for. Nothing raises.

[MS-CFB]; [MS-OLEDS] section 2.3.6 (embedded files); [MS-DOC] section 2.5.2; [MS-OXMSG] section 2.2; [MS-OFFCRYPTO].
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from smtpgate.examine.budget import Budget, Looked, Member, hush, note
from smtpgate.examine.macros import look_at_vba, look_at_workbook, may_hold_vba

#: Streams that are looked at; a document with a hundred embedded objects has some thousand.
_STREAMS: Final = 4000
#: Excel opens what is locked with this without asking ([MS-OFFCRYPTO] section 2.2.10), and so it hides from scanners.
_OPEN_WORD: Final = "VelvetSweatshop"
#: Rounds of hashing that one try may take: Office writes 100,000, the standard allows a hundred times that.
_ROUNDS: Final = 100_000
#: Words of the message that are tried: each costs a tenth of a second.
_WORDS: Final = 8
_FIELDS: Final = ("DDEAUTO", "\x13DDE ", "\x13 DDE ")
#: Beginnings of fields that run commands, in both widths of letters.
_DDE: Final = tuple(field.encode(codec) for field in _FIELDS for codec in ("latin-1", "utf-16-le"))
_SPIN: Final = re.compile(rb"spinCount\s{0,9}=\s{0,9}[\"'](\d{1,12})[\"']")
#: Properties of an attachment of a .msg file: long name, short name, shown name, content.
_LONG, _SHORT, _SHOWN, _DATA = "3707", "3704", "3001", "37010102"


def look_at_compound(content: bytes, budget: Budget, words: Sequence[str] = (), *, with_macros: bool = True) -> Looked:
    """Macros, embedded files, locks and commands of a compound document.

    :param with_macros: False for who wants to know of the files alone
    """
    hush("olefile")
    try:
        import olefile

        ole = olefile.OleFileIO(content)
        paths = [path for path in ole.listdir(streams=True, storages=False)[:_STREAMS] if path]
    except ImportError:
        return Looked(frozenset({"unopened"}), ("olefile is not installed",))
    except Exception as error:  # olefile raises OSError, struct.error, RecursionError and more for hostile octets
        return Looked(frozenset({"broken"}), (note(str(error)),))
    flags: set[str] = set()
    notes: list[str] = []
    members: list[Member] = []
    ends = {path[-1].lower(): path for path in paths if len(path) == 1}
    if "encryptedpackage" in ends or "encryptioninfo" in ends:
        return _unlock(content, ole, budget, words)
    if "__properties_version1.0" in ends:
        members = _attached(ole, paths, budget)
    for name in ("workbook", "book"):
        if name in ends and with_macros:
            more, said = look_at_workbook(_read(ole, ends[name], budget))
            flags |= more
            notes += said
    if "worddocument" in ends:
        head = _read(ole, ends["worddocument"], budget)[:12]
        if len(head) == 12 and head[11] & 1:
            flags.add("encrypted")
        if any(mark in content for mark in _DDE):
            flags.add("dde")
    if "current user" in ends and _read(ole, ends["current user"], budget)[12:16] == b"\xdf\xc4\xd1\xf3":
        flags.add("encrypted")
    if "encrypted" in flags:
        opened = _unlock(content, ole, budget, words)
        if opened.members:
            return opened
    members += _embedded(ole, paths, budget, flags, notes)
    if with_macros and may_hold_vba(content):
        more, said = look_at_vba(content, budget)
        flags |= more
        notes += said
    return Looked(frozenset(flags), tuple(notes), tuple(members))


def read_native(stream: bytes) -> Member | None:
    """The file in an OLE native stream: a name, where it came from, and its octets; None where it is cut short."""
    if len(stream) < 6:
        return None
    if stream[4:6] != b"\2\0":
        size = int.from_bytes(stream[:4], "little")
        content = stream[4 : 4 + size]
        return Member((), content, len(content)) if content else None
    at = 6
    names = []
    for _ in range(2):
        end = stream.find(b"\0", at, at + 1024)
        if end < 0:
            return None
        names.append(stream[at:end].decode("latin-1"))
        at = end + 1
    at += 4
    length = int.from_bytes(stream[at : at + 4], "little")
    temporary = stream[at + 4 : at + 4 + min(length, 1024)].split(b"\0")[0].decode("latin-1")
    at += 4 + length
    size = int.from_bytes(stream[at : at + 4], "little")
    content = stream[at + 4 : at + 4 + size]
    shown = tuple(dict.fromkeys(name.replace("\\", "/").rpartition("/")[2] for name in (*names, temporary) if name))
    return Member(shown, content, len(content), frozenset({"broken"} if len(content) < size else ()))


def _embedded(ole: Any, paths: list[list[str]], budget: Budget, flags: set[str], notes: list[str]) -> list[Member]:
    """Files that stand in streams of embedded objects."""
    members = []
    for path in paths:
        last = path[-1].lower()
        if len(path) > 1 and (path[0] == "ObjectPool" or path[0].startswith("MBD")):
            flags.add("embedded-object")
        if last == "\1ole10native":
            member = read_native(_read(ole, path, budget))
        elif last == "package" or last == "contents" and len(path) > 1:
            content = _read(ole, path, budget)
            member = Member((), content, len(content)) if content else None
        else:
            if last == "equation native":
                notes.append("Equation Editor object")
                flags |= {"embedded-object", "old-equation"}
            continue
        flags.add("embedded-object")
        if member is None:
            flags.add("broken")
        else:
            members.append(member)
    return members


def _attached(ole: Any, paths: list[list[str]], budget: Budget) -> list[Member]:
    """Attachments of a .msg file, and the messages attached to it as far as their own attachments go."""
    found: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for path in paths:
        if len(path) > 1 and path[-2].startswith("__attach") and path[-1].startswith("__substg1.0_"):
            found.setdefault(tuple(path[:-1]), {})[path[-1][12:].upper()] = path
    members = []
    for streams in found.values():
        names = []
        for wanted in (_LONG, _SHORT, _SHOWN):
            for kind, codec in (("001F", "utf-16-le"), ("001E", "latin-1")):
                if wanted + kind in streams:
                    names.append(_read(ole, streams[wanted + kind], budget).decode(codec, "replace").rstrip("\0"))
        content = _read(ole, streams[_DATA], budget) if _DATA in streams else None
        if names or content:
            members.append(Member(tuple(dict.fromkeys(names)), content, len(content or b"")))
    return members


def _unlock(content: bytes, ole: Any, budget: Budget, words: Sequence[str]) -> Looked:
    """A locked document, opened where a password is known."""
    locked = Looked(frozenset({"encrypted"}))
    if _rounds(ole, budget) > _ROUNDS:
        return locked
    for word in (_OPEN_WORD, *words[:_WORDS]):
        if not word or not budget.take_try() or not budget.spend(len(content)):
            break
        opened = _open_with(content, word)
        if opened:
            flags = frozenset() if word == _OPEN_WORD else frozenset({"password-in-text"})
            notes = ("locked with the password that Excel tries by itself",) if word == _OPEN_WORD else ()
            return Looked(flags, notes, (Member((), opened, len(opened)),))
    return locked


def _open_with(content: bytes, word: str) -> bytes:
    """The document without its lock; b"" where the word does not open it."""
    hush("msoffcrypto")
    try:
        import msoffcrypto

        document = msoffcrypto.OfficeFile(io.BytesIO(content))
        document.load_key(password=word, verify_password=True)
        opened = io.BytesIO()
        document.decrypt(opened)
        return opened.getvalue()
    except (
        Exception
    ):  # the library is absent, the word is wrong, the lock is of a kind that it does not know: not opened
        return b""


def _rounds(ole: Any, budget: Budget) -> int:
    """How often a password is hashed ([MS-OFFCRYPTO] section 2.3.4.10); 0 where nothing is said."""
    told = _read(ole, ["EncryptionInfo"], budget)[:65536] if ole.exists("EncryptionInfo") else b""
    if told[:4] != b"\4\0\4\0":
        return 0
    found = _SPIN.search(told)
    return int(found.group(1)) if found else _ROUNDS + 1


def _read(ole: Any, path: list[str], budget: Budget) -> bytes:
    """A stream's octets; b"" where it cannot be read or the budget is used up."""
    try:
        if not budget.spend(ole.get_size(path)):
            return b""
        return bytes(ole.openstream(path).read())
    except Exception:  # olefile raises as above; a stream that cannot be read is an empty one
        return b""
