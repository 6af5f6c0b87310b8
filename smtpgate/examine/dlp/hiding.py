"""What was found, taken out of what is told beside it: names of files on the way to a part, and the subject.

A number may stand in the name of a file too, or in the subject, and those go into logs and the history. So every value
that was found anywhere in a message is looked for in them, whatever stands between its letters, and covered. Values
are not gathered anew for it: each is held against the few letters that are told. PCI DSS 3.5.1 asks that no number
of a card is kept readable, in logs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from smtpgate.examine.dlp.fold import octets_of

#: What stands in the place of a value.
COVER: Final = "****"
#: Letters of all that is told; what is beyond them is covered whole. A thousand paths of some depth have fewer.
_LETTERS: Final = 1 << 16
#: A value has so many letters and digits at least; a shorter one is in any name.
_LEAST: Final = 4


class Cover:
    """Texts that are told of a message, with no value in them.

    :ivar texts: each text that was given, to what is told of it
    """

    def __init__(self, texts: Iterable[str], values: Iterable[str]) -> None:
        rows: dict[str, tuple[_Row, _Row]] = {}
        self.texts: dict[str, str] = {}
        left = _LETTERS
        for text in dict.fromkeys(texts):
            left -= len(text)
            if left < 0:
                self.texts[text] = COVER if text else ""
                continue
            self.texts[text] = text
            folded = octets_of(text).decode("latin-1")
            # A sort code and its account have words between them.
            rows[text] = _row(folded, str.isalnum), _row(folded, str.isdigit)
        if found := _there("\n".join(row for both in rows.values() for row, _ in both), values):
            for text, both in rows.items():
                self.texts[text] = _covered(text, both, found)


#: Letters of a text that may be of a value, and where each stands in it.
_Row = tuple[str, Sequence[int]]


def _row(folded: str, is_wanted: Callable[[str], bool]) -> _Row:
    places = [place for place, one in enumerate(folded) if one.isascii() and is_wanted(one)]
    return "".join(folded[place] for place in places).upper(), places


def _there(told: str, values: Iterable[str]) -> list[str]:
    """Those of the values that stand in what is told, the longest first."""
    begins = {told[at : at + _LEAST] for at in range(len(told) - _LEAST + 1)}
    found: set[str] = set()
    for value in values:
        if not (value.isascii() and value.isalnum()):
            value = _row(octets_of(value).decode("latin-1"), str.isalnum)[0]
        value = value.upper()
        if value[:_LEAST] in begins and len(value) >= _LEAST and value in told:
            found.add(value)
    return sorted(found, key=len, reverse=True)


def _covered(text: str, rows: Iterable[_Row], values: Iterable[str]) -> str:
    """A text with its values covered."""
    is_hidden = bytearray(len(text))
    for value in values:
        for row, places in rows:
            at = row.find(value)
            while at >= 0:
                begin, end = places[at], places[at + len(value) - 1] + 1
                is_hidden[begin:end] = b"\x01" * (end - begin)
                at = row.find(value, at + 1)
    if not any(is_hidden):
        return text
    out: list[str] = []
    for place, letter in enumerate(text):
        if not is_hidden[place]:
            out.append(letter)
        elif not place or not is_hidden[place - 1]:
            out.append(COVER)
    return "".join(out)


__all__ = ["COVER", "Cover"]
