"""Letters to octets, one for one: what patterns are searched in, so that a place in the one is the place in the other.

Digits of all scripts become 0 to 9, blanks of all widths a blank, dashes a dash, letters lose their accents, and those
of other scripts stand for themselves by an octet that is no ASCII. Invisible characters are taken out before. So a
number is found whatever it is written with, and words of evidence in any language are looked for in octets.

Unicode Standard Annex 44 (decimal digits), Annex 15 (compatibility decompositions).
"""

from __future__ import annotations

import unicodedata
from typing import Final

#: Characters that are not seen, and may stand in the middle of a number: joiners, marks of direction, selectors of a
#: look, fillers, tags; and those that stand over the one before (first and last of each range).
_INVISIBLE: Final = (
    "\u00ad\u00ad\u0300\u036f\u061c\u061c\u115f\u1160\u17b4\u17b5\u180b\u180f\u1ab0\u1aff\u1dc0\u1dff\u200b\u200f\u202a"
    "\u202e\u2060\u206f\u20d0\u20ff\u3164\u3164\ufe00\ufe0f\ufe20\ufe2f\ufeff\ufeff\uffa0\uffa0\U000e0000\U000e0fff"
)
_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d"
_OTHERS: Final = {
    "ß": "s", "æ": "a", "œ": "o", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "þ": "t", "ð": "d", "ħ": "h",
    "Æ": "A", "Œ": "O", "Ø": "O", "Đ": "D", "Ł": "L", "Þ": "T", "Ð": "D", "\u2028": "\n", "\u2029": "\n",
    "\u0085": "\n",
}  # fmt: skip
#: Cyrillic and Greek letters by the Latin ones that they are heard as, so that words of evidence stay words.
_HEARD: Final = dict(
    zip(
        "абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ" + "αβγδεζηθικλμνξοπρσςτυφχψω",
        "abvgdejzijklmnoprstufxcqwwuyyeuaiieg" + "avgdezetiklmnxoprsstufxyo",
        strict=True,
    )
)


def _folded(character: str) -> str:
    """One character as one of Latin-1."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if character in _DASHES:
        return "-"
    if character.isspace():
        return " "
    if character in _OTHERS:
        return _OTHERS[character]
    base = unicodedata.normalize("NFKD", character)[:1]
    if base.isascii() and base.isprintable():
        return base
    heard = _HEARD.get(base.lower())
    if heard is not None:
        return heard.upper() if base.isupper() else heard
    # An octet that is no ASCII and no blank; two characters of it in a row are hardly another word's.
    return chr(0xA1 + ord(character) % 94)


class _Table(dict[int, str]):
    def __missing__(self, number: int) -> str:
        found = chr(number) if number < 0x80 else _folded(chr(number))
        if len(self) < 20_000:
            self[number] = found
        return found


_TABLE: Final = _Table()
_NOTHING: Final = dict.fromkeys(
    (one for first, last in zip(_INVISIBLE[::2], _INVISIBLE[1::2], strict=True)
     for one in range(ord(first), ord(last) + 1)), "",
)  # fmt: skip


def visible(text: str) -> str:
    """Without what is not seen."""
    return text if text.isascii() else text.translate(_NOTHING)


def octets_of(text: str) -> bytes:
    """As many octets as there are characters."""
    if text.isascii():
        return text.encode("ascii")
    return text.translate(_TABLE).encode("latin-1")
