"""Signature fields: their tag lists, which of them are looked at, and the names under which their keys stand.

The filters ask the DNS for keys while the body still comes, and a child process checks the signatures afterwards. Both
use this module, so that the names that were asked for are the ones that are needed. It decides nothing about a
signature, and only says what its field holds.

Promised: time in proportion to the octets, and no error for any input. Refused: tag lists that could be read in two
ways, as those that name a tag twice.

RFC 6376 sections 3.2 (tag lists), 3.6.2.1 (names of keys) and 8.4 (bounds against attacks); RFC 8617 section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from smtpgate.message.header import Field, HeaderSection

#: DKIM signatures that are looked at in one message. dkimpy's milter has 10 too; RFC 6376 section 8.4 wants a bound.
SIGNATURES: Final = 10
#: The highest instance of a chain (RFC 8617 section 4.2.1).
INSTANCES: Final = 50
_BLANKS: Final = b" \t\r\n"
#: RFC 1035 section 2.3.4, as text without the final dot.
_NAME_LETTERS: Final = 253


def read_tags(value: bytes) -> dict[str, bytes] | None:
    """The tags of a list with their values, without the blanks around them; None where it is no tag list."""
    tags: dict[str, bytes] = {}
    specs = value.split(b";")
    if not specs[-1].strip(_BLANKS):
        specs.pop()
    for spec in specs:
        name, equals, text = spec.partition(b"=")
        name = name.strip(_BLANKS)
        if not equals or not name.isascii() or not name[:1].isalpha() or not name.replace(b"_", b"").isalnum():
            return None
        key = name.decode("ascii")
        if key in tags:
            return None
        tags[key] = text.strip(_BLANKS)
    return tags


def read_domain(value: bytes) -> str:
    """A domain or selector in lower case, without a final dot, U-labels as they are; "" where it is none."""
    try:
        name = value.decode("utf-8").lower().removesuffix(".")
    except UnicodeDecodeError:
        return ""
    if len(name) > _NAME_LETTERS or not all(name.split(".")):
        return ""
    fits = all(one.isalnum() or one in "-_." or not one.isascii() and one.isprintable() for one in name)
    return name if fits else ""


def key_name(tags: Mapping[str, bytes]) -> str:
    """Where the key of a signature stands; "" where its tags name none."""
    selector, domain = read_domain(tags.get("s", b"")), read_domain(tags.get("d", b""))
    return f"{selector}._domainkey.{domain}" if selector and domain else ""


def read_instance(value: bytes) -> int:
    """The instance of a field of ARC, whose tag is the first in ARC-Authentication-Results; 0 where there is none."""
    for spec in value.split(b";"):
        name, _, text = spec.partition(b"=")
        if name.strip(_BLANKS) == b"i":
            text = text.strip(_BLANKS)
            return int(text) if text.isdigit() and len(text) <= 3 else 0
    return 0


def key_names(section: HeaderSection) -> tuple[str, ...]:
    """The names of all keys that are needed for the signatures of a message, each once.

    Those are the keys of the first `SIGNATURES` signatures, of the seals of a chain, and of its newest signature.
    """
    values = section.all("dkim-signature")[:SIGNATURES]
    seals = section.all("arc-seal")
    if seals and len(seals) <= INSTANCES:
        values += seals + newest(section.all("arc-message-signature"))
    names = [key_name(tags) for tags in map(read_tags, values) if tags is not None]
    return tuple(dict.fromkeys(name for name in names if name))


def newest(values: Sequence[bytes]) -> list[bytes]:
    """Of fields of a chain, the one with the highest instance: only that signature of a chain is checked."""
    return [max(values, key=read_instance)] if values else []


def signatures_of(fields: Sequence[Field]) -> tuple[list[Field], int]:
    """The DKIM signatures that are looked at, top first, and the number of those beyond."""
    found = [field for field in fields if field.name == "dkim-signature"]
    return found[:SIGNATURES], max(0, len(found) - SIGNATURES)
