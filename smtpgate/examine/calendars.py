"""Files inside calendars: an invitation may carry one in base64, and programs offer it like any attachment.

`files` and `patterns` ask for them. A line may go on over several, a colon in quotes does not end what stands before
the value, and the name stands in one of several parameters. At most `_FILES` files; more are told. Nothing raises.

RFC 5545 sections 3.1 (lines), 3.2 (parameters) and 3.8.1.1 (ATTACH).
"""

from __future__ import annotations

import re
from typing import Final

from smtpgate.examine.budget import Looked, Member
from smtpgate.message.words import lenient_base64

_ATTACH: Final = re.compile(rb"(?:^|\n)ATTACH[;:]", re.IGNORECASE)
_BEFORE_VALUE: Final = re.compile(rb"((?:[^:\"]|\"[^\"]{0,1000}\"){1,2000}):")
_NAME: Final = re.compile(rb";(?:X-)?(?:APPLE-)?FILENAME=(\"[^\"]{1,300}|[^\";:]{1,300})", re.IGNORECASE)
_FILES: Final = 100
_NAMES: Final = 4


def look_at_calendar(content: bytes) -> Looked:
    """The files of a calendar as members."""
    members: list[Member] = []
    for found in _ATTACH.finditer(content):
        if len(members) >= _FILES:
            return Looked(frozenset({"too-many"}), members=tuple(members))
        line = content[found.start() : _end_of_line(content, found.end())]
        line = line.lstrip(b"\r\n").replace(b"\r\n", b"\n").replace(b"\n ", b"").replace(b"\n\t", b"")
        before = _BEFORE_VALUE.match(line)
        if before is not None and b"BASE64" in before[1].upper():
            names = tuple(one.decode("utf-8", "replace").strip('"') for one in _NAME.findall(before[1])[:_NAMES])
            octets = lenient_base64(line[before.end() :])
            members.append(Member(names, octets, len(octets)))
    return Looked(members=tuple(members))


def _end_of_line(content: bytes, at: int) -> int:
    """Where a line ends that may go on over several."""
    while True:
        at = content.find(b"\n", at)
        if at < 0:
            return len(content)
        if content[at + 1 : at + 2] not in (b" ", b"\t"):
            return at
        at += 1
