"""Whether a candidate stands by itself, or is a piece of something longer: a number, a date, a version, an identifier.

What follows at once on a sign that joins, or on a blank where the groups go on, is a piece; unless what stands there is
another of its kind, for then both are of a list. `borders` tells where such another would have to be.
"""

from __future__ import annotations

import re
from typing import Final

_ALNUM: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ALNUM: Final = frozenset(_ALNUM)
_DIGIT: Final = re.compile(rb"[0-9]")
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
    return _ahead(folded, at)


def _back(octets: bytes, end: int) -> int:
    first = max(0, end - _WORD)
    return first + len(octets[first:end].rstrip(_ALNUM))


def _ahead(octets: bytes, start: int) -> int:
    word = octets[start : start + _WORD]
    return start + len(word) - len(word.lstrip(_ALNUM))


def _has_digit(octets: bytes) -> bool:
    return _DIGIT.search(octets) is not None
