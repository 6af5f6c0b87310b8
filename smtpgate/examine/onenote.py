"""OneNote sections: the files that are embedded in them, which attackers hide behind a picture that says "open".

`office` calls `look_at_onenote`. Each embedded file stands in one piece behind a class id of its own, so the octets
are searched for that and nothing else of the format is read. Names stand elsewhere in the file and are not told; the
content shows what each one is.

[MS-ONESTORE] section 2.6.13 (FileDataStoreObject).
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.budget import Budget, Looked, Member

_HEAD: Final = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
#: Class id, length in 8 octets, 12 octets that are not used.
_BEFORE: Final = 36
_FILES: Final = 200


def look_at_onenote(content: bytes, budget: Budget) -> Looked:
    """Embedded files as members. Raises nothing."""
    members: list[Member] = []
    flags: set[str] = set()
    at = content.find(_HEAD)
    while at >= 0:
        if len(members) >= _FILES:
            flags.add("too-many")
            break
        size = int.from_bytes(content[at + 16 : at + 24], "little")
        body = content[at + _BEFORE : at + _BEFORE + size]
        if not budget.spend(len(body)):
            flags.add("too-big")
            break
        flags.add("embedded-object")
        members.append(Member((), body, len(body), frozenset({"broken"} if len(body) < size else ())))
        at = content.find(_HEAD, at + _BEFORE + len(body))
    return Looked(frozenset(flags), (), tuple(members))
