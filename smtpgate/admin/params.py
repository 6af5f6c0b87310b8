"""The parameters of the API's queries: what each means and may be, read before the route and described in the
API document.

What a route does not declare is refused, and so is a value that cannot be meant: a typing error must not give
another list than the one that was asked for. The refusal is 400 and names every parameter that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs

from smtpgate.admin.guard import Refusal
from smtpgate.admin.text import visible
from smtpgate.policy.tls_report import day_of


class Param(Protocol):
    """One parameter."""

    @property
    def meaning(self) -> str:
        """What it is for."""

    def read(self, text: str | None) -> Any:
        """The value of a text, or what holds where none was given; raises ValueError with what would be right."""

    def schema(self) -> Mapping[str, object]:
        """For the API document; "schema" and what belongs beside it."""


@attrs.frozen
class Whole:
    """A whole number from `least` to `most`."""

    meaning: str
    most: int
    default: int
    least: int = 1

    def read(self, text: str | None) -> int:
        """The number."""
        if text is None:
            return self.default
        if not (text.isascii() and text.isdigit() and len(text) < 17 and self.least <= int(text) <= self.most):
            raise ValueError(f"a whole number from {self.least} to {self.most}")
        return int(text)

    def schema(self) -> Mapping[str, object]:
        """An integer with its bounds."""
        bounds = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"schema": {**bounds, "default": self.default} if self.default >= self.least else bounds}


@attrs.frozen
class OneOf:
    """One word of a list; "" for none."""

    meaning: str
    words: Sequence[str]

    def read(self, text: str | None) -> str:
        """The word."""
        if text and text not in self.words:
            raise ValueError(f"one of {', '.join(self.words)}")
        return text or ""

    def schema(self) -> Mapping[str, object]:
        """An enumeration."""
        return {"schema": {"type": "string", "enum": list(self.words)}}


@attrs.frozen
class SomeOf:
    """Words of a list, joined by commas; all of them where none was given."""

    meaning: str
    words: Sequence[str]

    def read(self, text: str | None) -> frozenset[str]:
        """The words."""
        wanted = frozenset(self.words if text is None else text.split(","))
        if not wanted <= frozenset(self.words):
            raise ValueError(f"some of {', '.join(self.words)}, joined by commas")
        return wanted

    def schema(self) -> Mapping[str, object]:
        """A list in one value."""
        return {
            "schema": {"type": "array", "items": {"type": "string", "enum": list(self.words)}},
            "style": "form",
            "explode": False,
        }


@attrs.frozen
class Day:
    """A day, as 2026-11-27; "" for none."""

    meaning: str

    def read(self, text: str | None) -> str:
        """The day."""
        return day_of(text) if text else ""

    def schema(self) -> Mapping[str, object]:
        """A date."""
        return {"schema": {"type": "string", "format": "date"}}


@attrs.frozen
class Moment:
    """A time, as 2026-11-27T05:00:00Z; 0.0 for none. Without a zone it is UTC."""

    meaning: str

    def read(self, text: str | None) -> float:
        """Seconds since the epoch."""
        if not text:
            return 0.0
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("a time, as 2026-11-27T05:00:00Z") from None

    def schema(self) -> Mapping[str, object]:
        """A date with a time."""
        return {"schema": {"type": "string", "format": "date-time"}}


@attrs.frozen
class Free:
    """Any text."""

    meaning: str

    def read(self, text: str | None) -> str:
        """The text."""
        return text or ""

    def schema(self) -> Mapping[str, object]:
        """A text."""
        return {"schema": {"type": "string"}}


def read(declared: Mapping[str, Param], given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The values of all declared parameters; raises Refusal where anything else was given.

    :param given: the values of each parameter of the query
    """
    faults = []
    for name in given:
        if name not in declared:
            known = f"this takes {', '.join(declared)}" if declared else "this takes none"
            faults.append(_fault(name, "unknown", f"no such parameter; {known}"))
    values: dict[str, Any] = {}
    for name, param in declared.items():
        texts = given.get(name, ())
        if len(texts) > 1:
            faults.append(_fault(name, "repeated", "given more than once; give it once"))
            continue
        try:
            values[name] = param.read(texts[0] if texts else None)
        except ValueError as error:
            faults.append(_fault(name, "value", f"{visible(texts[0], 80) or 'nothing'} will not do; give {error}"))
    if faults:
        refusal = Refusal("parameter", 400, "the query has faults")
        refusal.errors = faults
        raise refusal
    return values


def _fault(name: str, code: str, message: str) -> dict[str, str]:
    return {"parameter": visible(name, 80), "code": code, "message": message}
