"""What a text that somebody pastes or hands in is about: a line of a log, a reply, a bounce, a whole message.

A reference id of ours is what counts. Where there is none, the Message-ID of the message that a bounce tells of is: of
several the last one, since the returned message comes behind the report's own header (RFC 3462 section 2). Texts are
looked at as they stand and without the codings in which servers of mail send them (RFC 2045 section 6.7 and 6.8):
a reference id may be cut in two by a line that ends with "=".

Pure, and linear in the length of the text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

#: Longest text that is looked at: a pasted bounce.
CHARACTERS: Final = 200_000
#: What a reference id looks like: 26 characters in base 32 (0-9, A-V), perhaps a dot and a message's number.
_REFERENCE: Final = re.compile(r"(?<![0-9A-Za-z])([0-9A-V]{26})(?:\.([0-9]{1,6}))?(?![0-9A-Za-z])")
_ALONE: Final = re.compile(r"[0-9A-Va-v]{26}(\.[0-9]{1,6})?")
#: A line that is pasted into a box has a blank in place of its end.
_MESSAGE_ID: Final = re.compile(r"(?:^|\s)(?:Original-)?Message-ID:[ \t]*(?:\r?\n[ \t]+)?<([^<>\s]{1,500})>", re.I)
#: A block of Base64: lines as long as servers make them, and what is left behind the last.
_BASE64: Final = re.compile(r"(?:^[A-Za-z0-9+/]{60,76}\r?\n){1,3000}(?:[A-Za-z0-9+/]{0,76}={0,2}(?:\r?\n|\Z))?", re.M)
#: A short one stands alone between blank lines, behind its header.
_SHORT: Final = re.compile(r"base64[^\n]*\n(?:[^\n]+\n){0,5}\r?\n([A-Za-z0-9+/]{4,76}={0,2})\r?$", re.I | re.M)
_BLOCKS: Final = 50


def reference_in(text: str) -> str:
    """The last reference id in a text ("" without one): bounces quote the reply, and the reply ends with it."""
    for form in _forms(text[:CHARACTERS]):
        found = ""
        for match in _REFERENCE.finditer(form):
            found = match[0]
        if found:
            return found
    alone = text.strip()
    return alone.upper() if _ALONE.fullmatch(alone) else ""


def message_id_in(text: str) -> str:
    """The last Message-ID field in a text, without its brackets; "" without one."""
    for form in _forms(text[:CHARACTERS]):
        found = _MESSAGE_ID.findall(form)
        if found:
            return str(found[-1])
    return ""


def _forms(text: str) -> Iterator[str]:
    """The text, and what it says in other codings."""
    yield text
    if "=" in text and "\n" in text:
        plain = binascii.a2b_qp(text.encode("utf-8", "replace")).decode("utf-8", "replace")
        if plain != text:
            yield plain
    blocks = [match[0] for match, _ in zip(_BASE64.finditer(text), range(_BLOCKS), strict=False)]
    blocks += [match[1] for match, _ in zip(_SHORT.finditer(text), range(_BLOCKS), strict=False)]
    for block in blocks:
        octets = "".join(block.split()).rstrip("=")
        try:
            yield binascii.a2b_base64(octets + "=" * (-len(octets) % 4)).decode("utf-8", "replace")
        except binascii.Error:
            continue
