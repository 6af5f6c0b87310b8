"""RTF: embedded objects, templates from elsewhere, and fields that run commands.

`office` calls `look_at_rtf`. Objects stand in hexadecimal between words that readers skip, and attackers fill that
gap; so the text of each object is read as Word reads it: control words and groups dropped, odd signs dropped. Written
by hand since the usual parser copies all text before it for each word: 10 MB take a minute there, and a tenth of a
second here.

At most `_OBJECTS` objects. Nothing raises.

Rich Text Format 1.9.1, "Objects"; [MS-OLEDS] section 2.2 (the OLE 1 form that objects have inside).
"""

from __future__ import annotations

import re
from typing import Final

from smtpgate.examine.budget import Budget, Looked, Member, note
from smtpgate.examine.compound import read_native

_OBJECTS: Final = 100
#: Words and digits of one object: honest ones have their digits in a few long runs.
_TOKENS: Final = 1_000_000
_DATA: Final = b"\\objdata"
_TOKEN: Final = re.compile(rb"\\bin(\d{1,10}) ?|\\[a-zA-Z]{1,32}-?\d{0,10} ?|\\[^a-zA-Z]|[{}]|[^\\{}]+")
_HEX: Final = b"0123456789abcdefABCDEF"
_NOT_HEX: Final = bytes(octet for octet in range(256) if octet not in _HEX)
_TEMPLATE: Final = re.compile(rb"\\\*\s{0,9}\\template\s{1,9}((?:[^{}]|\{[^{}]{0,500}\}){1,2048})")
_BARE_HOST: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ESCAPED: Final = re.compile(r"\\'([0-9a-fA-F]{2})|\\u(-?\d{1,6}) ?(?:\\'[0-9a-fA-F]{2}|[^\\{}])?")
_FIELD: Final = re.compile(rb"\bDDE(?:AUTO)?\b", re.IGNORECASE)


def look_at_rtf(content: bytes, budget: Budget) -> Looked:
    """Embedded objects as members, and flags of what loads or runs."""
    flags: set[str] = set()
    notes: list[str] = []
    members: list[Member] = []
    for target in _TEMPLATE.findall(content)[:8]:
        text = _ESCAPED.sub(_letter, target.decode("latin-1")).translate({ord("{"): "", ord("}"): ""}).strip()
        if is_elsewhere(text):
            flags.add("external-template")
            notes.append(note(f"template {text}"))
    if b"\\fldinst" in content and any(_FIELD.search(piece) for piece in _instructions(content)):
        flags.add("dde")
    at = content.find(_DATA)
    for _ in range(_OBJECTS):
        if at < 0:
            break
        raw, end = _octets(content, at + len(_DATA), budget)
        if not budget.spend(len(raw)) or budget.is_late():
            flags.add("too-big")
            break
        flags.add("embedded-object")
        name, member = _object(raw)
        if name:
            notes.append(note(f"object {name}"))
        if name.lower().startswith("equation."):
            flags.add("old-equation")
        if member is not None:
            members.append(member)
        at = content.find(_DATA, max(end, at + len(_DATA)))
    else:
        flags.add("too-many")
    if b"\\objupdate" in content and "embedded-object" in flags:
        notes.append("an object is loaded when the document is opened")
    if not content.rstrip(b" \r\n\0\t").endswith(b"}") and not members:
        flags.add("broken")
    return Looked(frozenset(flags), tuple(notes), tuple(members))


def _letter(found: re.Match[str]) -> str:
    """A letter that is written by its number; what stands behind `\\u` for old readers is dropped."""
    return chr(int(found[1], 16)) if found[1] else chr(int(found[2]) % 0x10000)


def _octets(content: bytes, at: int, budget: Budget) -> tuple[bytes, int]:
    """What the hexadecimal digits of an object say, up to the end of its group, and where that is."""
    level = 0
    digits: list[bytes] = []
    for count in range(_TOKENS):
        found = _TOKEN.match(content, at)
        if found is None or count % 4096 == 0 and budget.is_late():
            break
        token = found.group()
        at = found.end()
        if found.group(1) is not None:
            length = int(found.group(1))
            digits.append(content[at : at + length].hex().encode())
            at += length
        elif token == b"{":
            level += 1
        elif token == b"}":
            level -= 1
            if level < 0:
                break
        elif not token.startswith(b"\\"):
            digits.append(token.translate(None, _NOT_HEX))
    joined = b"".join(digits)
    return bytes.fromhex(joined[: len(joined) & ~1].decode("ascii")), at


def _object(raw: bytes) -> tuple[str, Member | None]:
    """Class name and embedded file of an OLE 1 object."""
    at = 8
    strings = []
    for _ in range(3):
        length = int.from_bytes(raw[at : at + 4], "little")
        strings.append(raw[at + 4 : at + 4 + min(length, 256)].rstrip(b"\0").decode("latin-1"))
        at += 4 + length
        if at > len(raw):
            # Not in this form, or not at its beginning: what it is the octets themselves may say.
            return "", Member((), raw, len(raw)) if raw else None
    size = int.from_bytes(raw[at : at + 4], "little")
    body = raw[at + 4 : at + 4 + size]
    name = strings[0]
    if name.lower() == "package":
        member = read_native(len(body).to_bytes(4, "little") + body)
        return name, member
    return name, Member((), body, len(body)) if body else None


def _instructions(content: bytes) -> list[bytes]:
    """Text of field instructions, without control words."""
    found: list[bytes] = []
    at = content.find(b"\\fldinst")
    while at >= 0 and len(found) < 2000:
        piece = content[at + 8 : at + 1024]
        found.append(_plain(piece))
        at = content.find(b"\\fldinst", at + 8)
    return found


def _plain(piece: bytes) -> bytes:
    """The text of a group whose inside begins the piece, without control words and braces."""
    level = 0
    found = []
    for match in _TOKEN.finditer(piece):
        token = match.group()
        level += (token == b"{") - (token == b"}")
        if level < 0:
            break
        if not token.startswith((b"\\", b"{", b"}")):
            found.append(token)
    return b"".join(found)


def is_of_the_house(target: str) -> bool:
    """True for a share of a server that is named without a domain, as no server outside can be."""
    plain = target.strip().lower().replace("\\", "/").removeprefix("file:")
    # A number in any writing begins with a digit; a port or a way over HTTP stands behind a sign.
    return plain.startswith("//") and _BARE_HOST.fullmatch(plain.lstrip("/").partition("/")[0]) is not None


def is_elsewhere(target: str) -> bool:
    """True for a target that is loaded from another machine, in the writings that Office takes."""
    plain = target.strip().lower().replace("\\", "/")
    if plain.startswith(("http:", "https:", "ftp:", "mhtml:", "ms-", "search-ms:", "//")):
        return True
    rest = plain.removeprefix("file:")
    slashes = len(rest) - len(rest.lstrip("/"))
    # Two slashes lead to a host, four and more to a share; one and three stay on this machine.
    return rest != plain and (slashes > 3 or slashes == 2 and rest[3:4] != ":")
