"""How values are shown: foreign text made harmless, times, sizes and durations made readable.

Everything a peer can choose (HELO, addresses, subject, reply text) passes `visible` before a page shows it.
Escaping for HTML is the templates' work; this module takes away what escaping leaves: control characters,
which could hide or reorder what is read, are shown as what they are.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from email.header import decode_header, make_header
from typing import Final

#: Longest foreign text that a page shows in one place.
SHOWN_CHARACTERS = 500
#: Categories that are not shown as they are: controls, formats (bidi, zero width), surrogates, private use,
#: unassigned, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def visible(value: object, longest: int = SHOWN_CHARACTERS) -> str:
    """The text with every character that could hide or steer something shown by its number."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if len(text) > longest:
        text = text[: longest - 1] + "\u2026"
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() else _shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN:
        return f"\u27e8U+{ord(character):04X}\u27e9"
    return character


def subject(raw: object) -> str:
    """A Subject field as people read it: encoded words decoded where they can be."""
    text = raw if isinstance(raw, str) else ""
    try:
        return str(make_header(decode_header(text.replace("\r", "").replace("\n", " "))))
    except (ValueError, LookupError, UnicodeError):
        return text


def bare(path: object) -> str:
    """An address without the brackets of a path (RFC 5321 section 4.1.2), for lists; the null path keeps its own."""
    text = path if isinstance(path, str) else ""
    return text[1:-1] if len(text) > 2 and text[0] == "<" and text[-1] == ">" else text


def moment(seconds: float) -> str | None:
    """RFC 3339 in UTC with milliseconds; None for 0, which stands for never."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(seconds: float) -> str:
    """A time as a page shows it: UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else "never"


def since(told: str | None, now: float) -> float:
    """Seconds from a time as `moment` tells it to now; negative for what is to come, 0.0 for never."""
    return now - datetime.fromisoformat(told).timestamp() if told else 0.0


#: With what a cell may not begin that a spreadsheet would take for a formula (OWASP, CSV injection); the wide ones too.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def duration(seconds: float) -> str:
    """A span in the two largest units that matter."""
    if seconds < 0:
        seconds = 0
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    parts = [
        (whole // 86400, "d"),
        (whole % 86400 // 3600, "h"),
        (whole % 3600 // 60, "min"),
        (whole % 60, "s"),
    ]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number)


def milliseconds(value: float) -> str:
    """A span of a timeline."""
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def octets(number: int) -> str:
    """A size."""
    value = float(number)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
