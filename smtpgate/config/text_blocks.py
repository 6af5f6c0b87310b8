"""Parts of a configuration text as lines: where a table begins and ends, with the comments above it.

Pure, and about lines: what is not meant is not touched. Comments that stand directly above a table are its own; empty
lines between two tables are nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smtpgate.config.position import BadSyntax, Document, read


class NotSo(ValueError):
    """The text does not allow the edit; the words say why."""


def document(text: str) -> Document:
    """The text with its places. Raises NotSo for what is no TOML."""
    try:
        return read(text)
    except BadSyntax as error:
        raise NotSo(f"the text is no TOML at line {error.line}: {error.reason}") from None


def above(lines: Sequence[str], at: int) -> int:
    """The first of the comments that stand directly above a line."""
    while at and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at


def end_of(lines: Sequence[str], following: int) -> int:
    """Where a table ends: before the comments of the next one, whose line is `following`, and before empty lines.

    :param following: the number of lines where nothing comes behind it
    """
    end = above(lines, following) if following < len(lines) else following
    while end and not lines[end - 1].strip():
        end -= 1
    return end


def joined(lines: Iterable[str]) -> str:
    """Lines as a text."""
    return "\n".join(lines) + "\n"


def spliced(text: str, first: int, last: int, block: str) -> str:
    """The text with other lines in the place of some."""
    lines = text.split("\n")
    return "\n".join([*lines[:first], *block.removesuffix("\n").split("\n"), *lines[last:]])


def without(text: str, first: int, last: int) -> str:
    """The text without some lines, and the empty ones behind them."""
    lines = text.split("\n")
    while last < len(lines) - 1 and not lines[last].strip():
        last += 1
    return "\n".join([*lines[:first], *lines[last:]])


def appended(text: str, block: str) -> str:
    """A block behind all."""
    rest = text if text.endswith("\n") or not text else f"{text}\n"
    return f"{rest}\n{block}" if rest else block
