"""Sizes and times with their units, as an operator writes them.

The schema calls `parse_size` and `parse_duration` for every key that holds one; the documents and the
messages write them back with `format_size` and `format_duration`. A number without a unit is octets or
seconds. A unit that different programs read differently ("50M") is refused rather than guessed.
"""

from __future__ import annotations

import math
import re

from smtpgate.config.problem import BadValue, quoted

SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_HINT = 'write it with a unit, for example "50 MiB" or "10 MB", or as a whole number of octets'
TIME_HINT = 'write it with a unit, for example "90s", "5m" or "1h", or as a number of seconds'

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)")
_TIME = re.compile(r"((?:[0-9]{1,9}(?:\.[0-9]{1,6})?\s*(?:ms|s|m|h|d)\s*)+|[0-9]{1,9}(?:\.[0-9]{1,6})?)")
_TIME_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_BY_LOWER_CASE = {unit.lower(): octets for unit, octets in SIZE_UNITS.items()}


def parse_size(value: object) -> int:
    """Octets of a size such as "50 MiB", "10 MB" or 1024."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise BadValue(f"{value} is not a size", SIZE_HINT)
        return value
    if not isinstance(value, str):
        raise BadValue(f"{quoted(value)} is not a size", SIZE_HINT)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise BadValue(f"{quoted(value)} is not a size", SIZE_HINT)
    number, unit = match.groups()
    octets = _BY_LOWER_CASE.get(unit.lower() or "b")
    if octets is None:
        short = unit.upper()
        if short in ("K", "M", "G"):
            # Half of the mail programs read "50M" as binary and half as decimal.
            binary, decimal = f"{short}iB", "kB" if short == "K" else f"{short}B"
            raise BadValue(
                f'the unit "{unit}" has two meanings',
                f'write "{number} {binary}" ({SIZE_UNITS[binary]} octets each)'
                f' or "{number} {decimal}" ({SIZE_UNITS[decimal]} octets each)',
            )
        raise BadValue(f"unknown unit {quoted(unit)}", "use one of " + ", ".join(SIZE_UNITS))
    return round(float(number) * octets) if "." in number else int(number) * octets


def parse_duration(value: object) -> float:
    """Seconds of a time such as "5m", "90s", "1h30m" or 30."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0 or not math.isfinite(value):
            raise BadValue(f"{value} is not a length of time", TIME_HINT)
        return float(value)
    if not isinstance(value, str):
        raise BadValue(f"{quoted(value)} is not a length of time", TIME_HINT)
    match = _TIME.fullmatch(value.strip())
    if match is None:
        raise BadValue(f"{quoted(value)} is not a length of time", TIME_HINT)
    parts = _TIME_PART.findall(match[1])
    if not parts:
        return float(match[1])
    return sum(float(number) * TIME_UNITS[unit] for number, unit in parts)


def format_size(octets: int) -> str:
    """The size in the largest binary unit that shows it exactly."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets and octets % SIZE_UNITS[unit] == 0:
            return f"{octets // SIZE_UNITS[unit]} {unit}"
    return str(octets)


def format_duration(seconds: float) -> str:
    """The time in the largest unit that shows it exactly."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % TIME_UNITS[unit] == 0:
            return f"{int(seconds // TIME_UNITS[unit])}{unit}"
    return f"{seconds:g}s"
