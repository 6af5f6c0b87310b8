"""What a detector is: its forms, what proves it, and the words around it that make it more or less sure.

The tables of this room (`payment`, `identity`, `secrets`) are lists of these values; `scan` works by them, and
`docs/dlp.md` is written from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

#: In their order. Microsoft's sensitive information types call them 65, 75 and 85.
LEVELS: Final = ("low", "medium", "high")
#: What detectors find, in words.
GROUPS: Final[Mapping[str, str]] = {
    "payment": "payment cards",
    "bank": "bank accounts and routing",
    "identity": "numbers that name a person",
    "tax": "numbers by which people and companies are taxed",
    "health": "numbers of patients and doctors",
    "contact": "where a person is reached",
    "secret": "keys, tokens and passwords",
    "custom": "detectors of the configuration",
    "dictionary": "dictionaries of the configuration and of packs",
}
#: Characters on both sides in which a word of evidence stands: Microsoft's proximity.
WINDOW: Final = 300


@attrs.frozen
class Detector:
    """One kind of thing that is found.

    Forms are masks: 9 is a digit, A a letter, X either; anything else stands for itself. The level of a form is what it
    is taken for by itself; "" means that it counts only with evidence near.

    :ivar forms: mask to level
    :ivar pattern: RE2, in place of forms; searched in folded octets
    :ivar level: of a pattern by itself
    :ivar check: name in `checks`, or module of python-stdnum, as "us.ssn"; "": form alone
    :ivar evidence: words that make it `near`, from their beginning on; four letters and fewer stand alone
    :ivar labels: words of evidence that say something else in other languages (ein, sin, said): only at once before
        a number, or as the name of a column
    :ivar near: level with evidence
    :ivar against: words close by that take it one level down
    :ivar shown: first and last characters that samples show
    :ivar weight: which wins where two are as sure of the same digits: the harder check
    :ivar good, bad: test vectors: text that holds one, and text that does not
    """

    name: str
    group: str
    about: str
    country: str = ""
    forms: Mapping[str, str] = attrs.field(factory=dict)
    pattern: str = ""
    level: str = ""
    check: str = ""
    evidence: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    near: str = "high"
    against: tuple[str, ...] = ()
    window: int = WINDOW
    shown: tuple[int, int] = (0, 3)
    weight: int = 1
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


def words(text: str) -> tuple[str, ...]:
    """Words of a table, divided by bars."""
    return tuple(one.strip() for one in text.split("|") if one.strip())
