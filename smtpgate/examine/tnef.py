"""winmail.dat: the attachments that Outlook packs into one file, as members with their names.

`files` calls `look_at_tnef`; each attachment is looked at in turn, and an attached message comes out as TNEF again.
Read by hand: the usual library copies all that is left for each attribute, and counts to what a length field says, so
that a small file can hold it for hours. Here each octet is looked at once, and at most `_ATTRIBUTES` attributes and
`_PROPERTIES` properties are read. Nothing raises: what cannot be read is `broken`, and what came before stands.

[MS-OXTNEF] sections 2.1.3 (attributes) and 2.1.3.4 (properties); [MS-OXCMSG] section 2.2.2 (attachments).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from smtpgate.examine.budget import Budget, Looked, Member

SIGNATURE: Final = b"\x78\x9f\x3e\x22"
_ATTRIBUTES: Final = 5000
_PROPERTIES: Final = 2000
_MEMBERS: Final = 500
#: Attributes of an attachment ([MS-OXTNEF] section 2.1.3.1): its begin, title, content, properties.
_BEGIN, _TITLE, _CONTENT, _ATTACHMENT = 0x9002, 0x8010, 0x800F, 0x9005
_MESSAGE: Final = 0x9003
_SUBJECT, _BODY = 0x8004, 0x800C
#: Names and content of an attachment, and the HTML body, as properties.
_LONG, _SHORT, _SHOWN, _OBJECT, _HTML = 0x3707, 0x3704, 0x3001, 0x3701, 0x1013
_PACKED: Final = 0x1009
#: Octets of the property types that have a fixed length, as they stand in TNEF.
_FIXED: Final = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 10: 4, 11: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_VARIABLE: Final = frozenset({0, 0x0D, 0x1E, 0x1F, 0x102})
#: Class id before an attached message.
_IMESSAGE: Final = bytes.fromhex("0703020000000000c000000000000046")


def look_at_tnef(content: bytes, budget: Budget) -> Looked:
    """Attachments as members, and the HTML body as markup."""
    flags: set[str] = set()
    found: list[_Attachment] = []
    markup: list[tuple[bytes, str]] = []
    if not content.startswith(SIGNATURE):
        return Looked(frozenset({"broken"}))
    try:
        for level, name, body in _attributes(content):
            if budget.is_late():
                flags.add("not-examined")
                break
            if level == 1 and name == _MESSAGE:
                markup += [(value, "body.html") for number, _, value in _properties(body) if number == _HTML]
            if level != 2:
                continue
            if name == _BEGIN or not found:
                if len(found) >= _MEMBERS:
                    flags.add("too-many")
                    break
                found.append(_Attachment())
            found[-1].take(name, body)
    except (struct.error, ValueError):
        flags.add("broken")
    members = []
    for one in found:
        if not budget.spend(len(one.content)):
            flags.add("too-big")
            break
        names = tuple(dict.fromkeys(name for name in (*one.names, one.title) if name))
        if names or one.content:
            members.append(Member(names, one.content, len(one.content)))
    return Looked(frozenset(flags), (), tuple(members), markup=tuple(markup))


def texts_of_tnef(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What people wrote in the message itself: ("text", "html" or "rtf" as Outlook packs it, octets).

    Raises struct.error and ValueError where it is cut off.
    """
    for level, name, body in _attributes(content) if content.startswith(SIGNATURE) else ():
        if level == 1 and name in (_SUBJECT, _BODY):
            yield "text", body.rstrip(b"\0")
        elif level == 1 and name == _MESSAGE:
            for number, kind, value in _properties(body):
                if number == _PACKED and kind == 0x102:
                    yield "rtf", value
                elif number == _HTML:
                    yield "html", value
                elif kind == 0x1F:
                    yield "text", value.decode("utf-16-le", "replace").rstrip("\0").encode("utf-8")
                elif kind == 0x1E:
                    yield "text", value.rstrip(b"\0")


class _Attachment:
    """One attachment while its attributes come."""

    def __init__(self) -> None:
        self.title = ""
        self.names: list[str] = []
        self.content = b""

    def take(self, name: int, body: bytes) -> None:
        if name == _TITLE:
            self.title = _text(body)
        elif name == _CONTENT:
            self.content = body
        elif name == _ATTACHMENT:
            for number, kind, value in _properties(body):
                if number in (_LONG, _SHORT, _SHOWN):
                    self.names.append(
                        value.decode("utf-16-le", "replace").rstrip("\0") if kind == 0x1F else _text(value)
                    )
                elif number == _OBJECT and (value or not self.content):
                    self.content = value[16:] if value.startswith(_IMESSAGE) or value[16:20] == SIGNATURE else value


def _attributes(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(level, name, octets) one after the other. Raises ValueError where one is cut off."""
    at = 6
    for _ in range(_ATTRIBUTES):
        if at + 9 > len(content):
            if at < len(content):
                raise ValueError("cut off")
            return
        level, name, _, length = struct.unpack_from("<BHHI", content, at)
        body = content[at + 9 : at + 9 + length]
        yield level, name, body
        if len(body) < length:
            raise ValueError("cut off")
        at += 11 + length
    raise ValueError("too many attributes")


def _properties(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(number, type, octets of each value) of the properties; of numbers of the first. Raises struct.error or
    ValueError where cut off, and behind the last that is read."""
    count, at = struct.unpack_from("<I", body)[0], 4
    for done in range(count):
        if done >= _PROPERTIES:
            raise ValueError("too many properties")
        kind, number = struct.unpack_from("<HH", body, at)
        at += 4
        if number >= 0x8000:
            named = struct.unpack_from("<I", body, at + 16)[0]
            length = struct.unpack_from("<I", body, at + 20)[0]
            at += 24 + (_padded(length) if named else 0)
        values, is_many = 1, bool(kind & 0x1000)
        kind &= 0x0FFF
        if is_many or kind in _VARIABLE:
            values = struct.unpack_from("<I", body, at)[0]
            at += 4
        if kind in _FIXED:
            size = _FIXED[kind] if not is_many or kind not in (2, 11) else 2
            yield number, kind, body[at : at + size]
            at += _padded(values * size)
            continue
        if kind not in _VARIABLE:
            raise ValueError(f"property type {kind:#x}")
        for _ in range(values):
            length = struct.unpack_from("<I", body, at)[0]
            yield number, kind, body[at + 4 : at + 4 + length]
            at += 4 + _padded(length)
            if at > len(body) + 3:
                raise ValueError("cut off")


def _padded(length: int) -> int:
    return (length + 3) & ~3


def _text(raw: bytes) -> str:
    """A name in the sender's code page, which is UTF-8 or a Windows one."""
    raw = raw.split(b"\0")[0]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
