"""Numbers that name a person or an account, in text: cards, bank accounts, social security numbers, telephones.

A run of digits is no finding. Each candidate must have the form, the length and the check digits of its kind, must not
be a piece of a longer number, and counts for one kind only: what is a card is not a telephone too. The values
themselves do not leave the process, only masked forms and how many distinct ones there are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from stdnum import iban, luhn
from stdnum.exceptions import ValidationError
from stdnum.us import ssn

from smtpgate.message.mime import Part, walk
from smtpgate.message.words import to_text

#: What can be looked for, in words; earlier ones win where spans overlap.
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "iban": "a bank account number (IBAN)",
        "card": "a payment card number",
        "us-ssn": "a US social security number",
        "phone": "a telephone number in international form",
    }
)

#: ISO/IEC 7812: 12 to 19 digits, in one run or in groups with one blank or dash between.
_CARD: Final = re.compile(r"(?<![0-9A-Za-z.,-])(?<![0-9] )[0-9](?:[ -]?[0-9]){11,18}(?![0-9A-Za-z])(?![ -][0-9])")
#: ISO 13616: the length depends on the country; letters behind it may be the next word.
_IBAN: Final = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}")
_SSN: Final = re.compile(r"(?<![0-9-])[0-9]{3}([ -])[0-9]{2}\1[0-9]{4}(?![0-9-])")
#: ITU-T E.164: 15 digits at most.
_PHONE: Final = re.compile(r"(?<![0-9A-Za-z+])\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}(?![0-9])")

#: First digits and lengths of the card schemes.
_SCHEMES: Final = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"6011|65|64[4-9]|62"), (16, 17, 18, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile(r"3(?:0[0-5]|095|[689])"), (14, 16, 19)),
    (re.compile(r"50|5[6-9]|6[0-9]"), (12, 13, 14, 15, 16, 17, 18, 19)),
)


@attrs.frozen
class Identifier:
    """One number that was found.

    :ivar value: digits and letters alone; never leaves the process
    """

    kind: str
    value: str
    start: int
    end: int

    @property
    def masked(self) -> str:
        """What may be shown: the last four."""
        return "*" * (len(self.value) - 4) + self.value[-4:]


def identify(text: str, kinds: tuple[str, ...]) -> list[Identifier]:
    """The identifiers of some kinds in a text, in its order, none over another."""
    taken: list[Identifier] = []
    for kind in KINDS:
        if kind in kinds:
            spans = sorted((one.start, one.end) for one in taken)
            taken += [one for one in _FINDERS[kind](text) if not _overlaps(spans, one)]
    return sorted(taken, key=lambda one: one.start)


def _overlaps(spans: list[tuple[int, int]], one: Identifier) -> bool:
    # Spans do not overlap each other, so only the last that begins before the end of this one can.
    before = bisect_left(spans, (one.end, 0))
    return before > 0 and spans[before - 1][1] > one.start


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _cards(text: str) -> Iterator[Identifier]:
    for found in _CARD.finditer(text):
        digits = _plain(found[0])
        if len(set(digits)) > 1 and _is_scheme(digits) and luhn.is_valid(digits) and _is_grouped(found[0]):
            yield Identifier("card", digits, found.start(), found.end())


def _is_scheme(digits: str) -> bool:
    return any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _SCHEMES)


def _is_grouped(shown: str) -> bool:
    """In one run, or in groups as cards are printed; dates and part numbers are grouped otherwise."""
    groups = re.split(r"[ -]", shown)
    sizes = [len(group) for group in groups]
    return len(groups) == 1 or sizes == [4, 6, 5] or sizes == [4, 6, 4] or all(size == 4 for size in sizes[:-1])


def _ibans(text: str) -> Iterator[Identifier]:
    for found in _IBAN.finditer(text):
        value, ends = "", []
        for offset, character in enumerate(found[0]):
            if character.isalnum():
                value += character
                ends.append(offset + 1)
        for length in range(15, min(34, len(value)) + 1):
            # A number ends with a group: letters that go on are no end.
            end = ends[length - 1]
            behind = text[found.start() + end : found.start() + end + 1]
            if not behind.isalnum() and _is_iban(value[:length]):
                yield Identifier("iban", value[:length], found.start(), found.start() + end)
                break


def _is_iban(value: str) -> bool:
    try:
        iban.validate(value)
    except ValidationError:
        return False
    return True


def _ssns(text: str) -> Iterator[Identifier]:
    for found in _SSN.finditer(text):
        digits = _plain(found[0])
        if ssn.is_valid(digits):
            yield Identifier("us-ssn", digits, found.start(), found.end())


def _phones(text: str) -> Iterator[Identifier]:
    for found in _PHONE.finditer(text):
        yield Identifier("phone", _plain(found[0]), found.start(), found.end())


_FINDERS: Final = MappingProxyType({"iban": _ibans, "card": _cards, "us-ssn": _ssns, "phone": _phones})


#: Text of one part that is searched, in octets; what is longer is told.
TEXT_OCTETS: Final = 32 << 20
#: Masked numbers that are told of each kind.
SHOWN: Final = 5


def find(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job "identifiers": how many distinct numbers of each wanted kind are in a message's texts, and some, masked.

    :param request: `kinds`, a list of `KINDS`
    """
    kinds = tuple(kind for kind in request.get("kinds", ()) if kind in KINDS)
    message = walk(bytes(content))
    values: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    is_complete = message.is_complete
    for part in message.parts:
        if not _is_readable(part):
            continue
        for octets in dict.fromkeys((part.decoded(), *part.readings())):
            is_complete = is_complete and len(octets) <= TEXT_OCTETS
            for one in identify(_text(octets[:TEXT_OCTETS], part), kinds):
                values[one.kind][one.value] = one.masked
    found = {kind: {"count": len(held), "masked": list(held.values())[:SHOWN]} for kind, held in values.items() if held}
    return {"found": found, "is_complete": is_complete}


def _is_readable(part: Part) -> bool:
    return not part.is_container and (part.media_type.startswith("text/") or part.media_type == "application/csv")


def _text(octets: bytes, part: Part) -> str:
    if part.media_type != "text/html":
        return to_text(octets, part.charset)
    from smtpgate.examine.markup import look_at_markup

    markup = look_at_markup(to_text(octets, part.charset))
    return f"{markup.text}\n{markup.hidden}"
