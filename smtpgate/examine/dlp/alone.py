"""Whether a candidate stands by itself, or is a piece of something longer: a number, a date, a version, an identifier.

What follows at once on a sign that joins, or on a blank where the groups go on, is a piece; unless what stands there is
another of its kind, for then both are of a list. `borders` tells where such another would have to be.
"""

from __future__ import annotations

import re
from typing import Final

ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
#: Octets of the longest word that is looked at.
_WORD: Final = 24
_JOINS: Final = frozenset(b".-/+_")
#: A date behind a stroke: of birth, of expiry.
_DATE: Final = re.compile(rb"/(?:[0-9]{1,2}[./-][0-9]{1,2}[./-](?:[0-9]{2}){1,2}|[0-9]{4}-[0-9]{2}-[0-9]{2})(?![0-9])")


def borders(octets: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where another of the same kind must end before a candidate, and begin behind it; -1 where there need be none.

    :return: None where it is a piece whatever stands there
    """
    size = len(octets)
    if start and octets[start - 1] in b"$":
        return None
    before = behind = -1
    if start > 1 and octets[start - 1] in _JOINS and _has_digit(octets[_back(octets, start - 1) : start - 1]):
        before = start - 1
    if end + 1 < size and octets[end] in _JOINS and octets[end] != 43:
        word = octets[end + 1 : _ahead(octets, end + 1)]
        # A date of expiry is written behind a stroke, and the end of a sentence behind a point.
        is_expiry = octets[end] == 47 and len(word) <= 4 and end - start > 14
        if _has_digit(word) and not is_expiry and _DATE.match(octets, end) is None:
            behind = end + 1
    shown = octets[start:end]
    if b" " in shown:
        groups = shown.split(b" ")
        if start and octets[start - 1] == 32:
            word = octets[_back(octets, start - 1) : start - 1]
            if word.isdigit() and len(word) == len(groups[0]):
                before = start - 1
        if end < size and octets[end] == 32:
            word = octets[end + 1 : _ahead(octets, end + 1)]
            if word.isdigit() and len(word) == len(groups[-1]):
                behind = end + 1
    return before, behind


def word_from(folded: bytes, at: int) -> int:
    """Where the next word begins, so that no word is cut in two."""
    if at == 0 or folded[at - 1] not in ALNUM:
        return at
    end = min(at + _WORD, len(folded))
    while at < end and folded[at] in ALNUM:
        at += 1
    return at


def _back(octets: bytes, end: int) -> int:
    first = max(0, end - _WORD)
    while end > first and octets[end - 1] in ALNUM:
        end -= 1
    return end


def _ahead(octets: bytes, start: int) -> int:
    last = min(len(octets), start + _WORD)
    while start < last and octets[start] in ALNUM:
        start += 1
    return start


def _has_digit(octets: bytes) -> bool:
    return any(48 <= one <= 57 for one in octets)
