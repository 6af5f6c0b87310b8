"""What is printed, and how a command says that it failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_CONFIG = 0, 1, 2, 3


class Failed(Exception):
    """It could not be done; the text says why and what would be right."""

    def __init__(self, text: str, code: int = EXIT_REFUSED) -> None:
        super().__init__(text)
        self.code = code


def shown(value: object) -> str:
    """A value on one line, with everything escaped that could steer a terminal."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def say(*parts: object) -> None:
    """Print one line."""
    sys.stdout.write(" ".join(shown(part) for part in parts) + "\n")


def complain(text: str) -> None:
    """Print what is wrong beside the output."""
    for line in text.splitlines():
        sys.stderr.write(f"smtpgate: {shown(line)}\n")


def tell_unaudited(found: Mapping[str, Any]) -> None:
    """Say so where something was done and is not in the audit."""
    if not found.get("is_audited", True):
        complain("done, but the audit cannot be written; the gateway's log has why")


def say_json(value: object) -> None:
    """Print a value for programs."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns."""
    lines = [list(heads), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def say_list(found: Mapping[str, Any], columns: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Print a list of the API."""
    if as_json:
        say_json(found)
    elif not found["items"]:
        say("none")
    else:
        table(
            [head for head, _ in columns],
            [[_cell(item, key) for _, key in columns] for item in found["items"]],
        )


def _cell(item: Mapping[str, Any], key: str) -> str:
    value = item[key]
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return str(value) if value not in (None, "") else "-"
