"""What the scripts of a page are for: to put a file together in the browser, or to lead elsewhere.

`markup` asks about every script that it finds, in elements, attributes and URLs. Signs only: nothing is run.
"""

from __future__ import annotations

import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_DECODES: Final = re.compile(r"atob\s*\(|unescape\s*\(|fromCharCode|decodeURIComponent\s*\(")
_BUILDS: Final = re.compile(
    r"createObjectURL|msSaveOrOpenBlob|msSaveBlob|new\s+Blob|new\s+File\b|data:application|\.download\s*=|setAttribute\(\s*['\"]download"
)
_WRITES: Final = re.compile(r"document\s*\.\s*write|innerHTML|eval\s*\(|new\s+Function|\.srcdoc|insertAdjacentHTML")
_GOES: Final = re.compile(r"location(?:\.href|\.replace|\.assign)?\s*[=(]|window\.open\s*\(|\.submit\s*\(")
#: Runs, to be measured: a pattern that asks for 4,000 letters would begin again at each of them.
_LITERAL: Final = re.compile(r"[A-Za-z0-9+/=%\\x,]+")
_LITERAL_LETTERS: Final = 4000
#: Octets written as numbers, in an array of them.
_NUMBERS: Final = re.compile(r"\s*(?:0[xX])?[0-9a-fA-F]{1,3}(?:\s*,\s*(?:0[xX])?[0-9a-fA-F]{1,3})*\s*,?\s*")
_NUMBERS_LEAST: Final = 500
_TYPED: Final = re.compile(r"\b(?:Ui|I)nt8(?:Clamped)?Array\b")
_ARRAYS: Final = 2000
#: Of what a URL carries, so many letters are read: twice what becomes a tree, for base64.
_CARRIED_LETTERS: Final = 524_288


def script_flags(text: str, is_sure: bool = True) -> set[str]:
    """Of `facts.FLAGS`: "html-smuggling" and "html-redirect".

    :param is_sure: that the text is a script, and not a page that may have some
    """
    flags: set[str] = set()
    builds = _BUILDS.search(text) is not None
    decodes = _DECODES.search(text) is not None
    is_long = any(found.end() - found.start() >= _LITERAL_LETTERS for found in _LITERAL.finditer(text))
    if builds and not is_long and _TYPED.search(text) is not None:
        is_long = _has_octets(text)
    if builds and (decodes or is_long) or is_sure and is_long and decodes and _WRITES.search(text) is not None:
        flags.add("html-smuggling")
    if is_sure and _GOES.search(text) is not None:
        flags.add("html-redirect")
    return flags


def carried(url: str) -> str:
    """The text in a data URL."""
    head, _, content = url[:_CARRIED_LETTERS].partition(",")
    octets = unquote_to_bytes(content)
    if head.lower().rstrip().endswith(";base64"):
        try:
            octets = binascii.a2b_base64(octets + b"==")
        except binascii.Error:
            return ""
    return octets.decode("utf-8", "replace")


def _has_octets(text: str) -> bool:
    """Whether an array in the text is a file, written as numbers."""
    at = 0
    for _ in range(_ARRAYS):
        at = text.find("[", at)
        end = text.find("]", at)
        if at < 0 or end < 0:
            return False
        if text.count(",", at, end) >= _NUMBERS_LEAST and _NUMBERS.fullmatch(text, at + 1, end) is not None:
            return True
        # The next bracket may stand inside this pair.
        inner = text.rfind("[", at + 1, end)
        at = inner if inner > at else end
    return False
