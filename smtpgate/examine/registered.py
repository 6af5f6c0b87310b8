"""What a message has of registered documents and tables, as the job "known" answers it: values for rules.

No word of the message is in them, and none of what was registered but the names that an administrator gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Fingerprint:
    """A registered document, some of which is in the message.

    :ivar share: how much of it, from 0.0 to 1.0
    :ivar longest: words of the longest part that stands there in one go, about
    """

    name: str
    share: float
    longest: int


@attrs.frozen
class RowMatch:
    """A registered table, rows of which are in the message.

    :ivar rows: how many, up to `rowmatch.MOST`
    :ivar columns: names of those whose values stood there
    """

    table: str
    rows: int
    columns: tuple[str, ...]


@attrs.frozen
class Registered:
    """All that was found."""

    fingerprints: tuple[Fingerprint, ...] = ()
    rows: tuple[RowMatch, ...] = ()


def of_answer(answer: Mapping[str, Any]) -> Registered:
    """The answer of a child. Raises ValueError for one that has another form."""
    try:
        fingerprints = tuple(
            Fingerprint(_text(one["name"]), float(one["share"]), int(one["longest"])) for one in answer["fingerprints"]
        )
        rows = tuple(
            RowMatch(_text(one["table"]), int(one["rows"]), tuple(_text(name) for name in one["columns"]))
            for one in answer["rows"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"an answer of another form: {type(error).__name__}") from None
    return Registered(fingerprints, rows)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
