"""What the cells of a sheet show: strings by their number, and numbers as their format shows them.

`packagetext` and `oldsheet` ask. A number is written with all its digits, however it is stored (a card number of 15
digits stands as 3.78282246310005E14). Formats are followed as far as they make another text of the digits: those of
zeros with signs between them (123-45-6789), and dates, which are written as 2026-03-02. Currency, thousands and places
behind the point are not: who searches for an amount finds its digits.

ECMA-376 part 1 sections 18.8.30 (formats) and 18.17.4 (dates); [MS-XLS] section 2.4.126.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

#: Formats and uses of them that one workbook may have; Excel itself allows 64,000 uses.
_FORMATS: Final = 65_536
#: Numbers that a program gives to formats for dates without saying so.
_DATES: Final = frozenset({*range(14, 18), 22, *range(27, 32), 36, *range(50, 59)})
_DIGITS: Final = re.compile(r"[0#?\-\s/()+.]*\Z")
_LITERAL: Final = re.compile(r"\\(.)|\"([^\"]*)\"|_.|\*.|\[[^\]]*\]")
_DATE: Final = re.compile(r"[dy]|m{3}", re.IGNORECASE)
#: Days of a date: from 1900 to 9999. Excel counts a day that 1900 did not have.
_DAYS: Final = (61, 2_958_465)
_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)
#: Digits of the longest number that is written out; what has more is none that stands for something.
_LONGEST: Final = 30


def shown(value: str) -> str:
    """A number with all its digits; what is none as it stands."""
    if "e" not in value.lower() and not value.endswith(".0"):
        return value
    try:
        number = Decimal(value.strip())
        if not number.is_finite() or abs(number.adjusted()) > _LONGEST:
            return value
    except InvalidOperation:
        return value
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def of_double(number: float) -> str:
    """A number as `shown` has it."""
    return shown(str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number))


class Strings:
    """The strings of a workbook, by number."""

    def __init__(self) -> None:
        self._strings: list[str] = []
        self._unused: set[int] = set()

    def take(self, text: str) -> None:
        """The next one."""
        self._unused.add(len(self._strings))
        self._strings.append(text)

    def get(self, number: str | int) -> str:
        """The one of that number; "" where there is none."""
        place = int(number) if isinstance(number, int) or number.isdecimal() and len(number) < 10 else -1
        if not 0 <= place < len(self._strings):
            return ""
        self._unused.discard(place)
        return self._strings[place]

    def unused(self) -> str:
        """Those that no cell named, a line for each."""
        return "\n".join(self._strings[place] for place in sorted(self._unused))


class Formats:
    """The formats of a workbook, by the number that cells name."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}
        self._uses: list[str] = []
        self._is_begun = False
        self._kinds: dict[str, str] = {}

    def define(self, number: str, code: str) -> None:
        """A format of the workbook's own."""
        if len(self._codes) < _FORMATS:
            self._codes[number] = code[:255]

    def begin(self) -> None:
        """What is used from here on is used by cells."""
        self._is_begun = True

    def use(self, number: str) -> None:
        """The next use."""
        if self._is_begun and len(self._uses) < _FORMATS:
            self._uses.append(number)

    def shown(self, value: str, use: str) -> str:
        """A number as its cell shows it."""
        plain = shown(value)
        kind = self._kinds.get(use)
        if kind is None:
            kind = self._kinds[use] = self._kind(use) if len(self._kinds) < _FORMATS else ""
        if kind == "date":
            return _date(plain)
        return _masked(plain, kind) if kind else plain

    def _kind(self, use: str) -> str:
        """ "date", a mask of digits and signs, or "" for what is shown as it is."""
        place = int(use) if use.isdecimal() and len(use) < 10 else -1
        number = self._uses[place] if 0 <= place < len(self._uses) else ""
        code = self._codes.get(number)
        if code is None:
            return "date" if number.isdecimal() and int(number) in _DATES else ""
        first = code.partition(";")[0]
        # What stands in quotes is no letter of a date.
        bare = _LITERAL.sub("", first)
        if _DATE.search(bare) is not None and "0" not in bare.split(".")[0]:
            return "date"
        mask = _LITERAL.sub(lambda found: found[1] or found[2] or "", first)
        is_mask = _DIGITS.match(mask) is not None and "." not in mask and mask.count("0") > 1
        return mask if is_mask else ""


def _date(value: str) -> str:
    try:
        days = float(value)
    except ValueError:
        return value
    if not _DAYS[0] <= days <= _DAYS[1]:
        return value
    return (_ZERO + timedelta(days=int(days))).date().isoformat()


def _masked(value: str, mask: str) -> str:
    """The digits of a whole number put into a mask, from its end."""
    if not value.isdecimal():
        return value
    digits = list(value)
    out: list[str] = []
    for sign in reversed(mask):
        if sign in "0#?":
            out.append(digits.pop() if digits else "0" if sign == "0" else "")
        else:
            out.append(sign)
    return "".join(digits) + "".join(reversed(out))
