"""Header and body match: patterns over header fields and raw content, in linear time.

Patterns are RE2: no input can make them slow. Body patterns see the content as it passes, across chunk borders within a
window; they look at octets, not at decoded parts.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import re2
from pydantic import Field, field_validator, model_validator

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: A body match longer than this may be missed where it lies across two chunks.
WINDOW_OCTETS = 1024
#: Body octets that are looked at; what comes behind is not.
SCAN_OCTETS = 10 * 1024 * 1024
_MEMORY_OCTETS = 8 * 1024 * 1024


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_OCTETS
    options.case_sensitive = False
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode("utf-8"), options)


class MatchRule(Options):
    """One pattern."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="Its name: the reason that log and pages give.")
    header: str = Field("", description="Name of the header field that is looked at.")
    body: bool = Field(False, description="Look at the content behind the header in place of a field.")
    pattern: str = Field(min_length=1, description="RE2 pattern, without regard to case.")
    action: Literal["note", "tag", "defer", "reject"] = Field("note", description="What is proposed.")
    score: float = Field(0.0, description="Weight in the sum of scores.")
    reply: str = Field("", description="Text for the sender of a refused message.")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            _compile(value)
        except re2.error as error:
            raise ValueError(f"no RE2 pattern: {error.args[0] if error.args else error}") from None
        return value

    @model_validator(mode="after")
    def _place(self) -> MatchRule:
        if bool(self.header) == self.body:
            raise ValueError("give either header or body = true")
        return self


class MatchOptions(Options):
    """The patterns."""

    rules: list[MatchRule] = Field([], description="All are looked at.")


@attrs.frozen
class _Rule:
    rule: MatchRule
    regex: Any

    def finding(self, place: str) -> Finding:
        """What the rule proposes."""
        return Finding(
            self.rule.name,
            self.rule.action,
            self.rule.reply or "Message refused by content rule",
            f"matched in {place}",
            self.rule.score,
        )


class MatchFilter(Filter):
    """Holds the compiled patterns."""

    def __init__(self, options: MatchOptions, services: Any) -> None:
        self.headers = [_Rule(rule, _compile(rule.pattern)) for rule in options.rules if rule.header]
        self.bodies = [_Rule(rule, _compile(rule.pattern)) for rule in options.rules if rule.body]

    def transaction(self, transaction: Transaction) -> _Look:
        """One message."""
        return _Look(self)


class _Look:
    __slots__ = ("_filter", "_found", "_open", "_seen", "_tail", "_skip")

    def __init__(self, parent: MatchFilter) -> None:
        self._filter = parent
        self._found: list[Finding] = []
        self._open = list(parent.bodies)
        self._seen = 0
        self._tail = b""
        self._skip = 0

    def header(self, section: HeaderSection) -> Finding | None:
        """The strongest header match."""
        self._skip = len(section.octets)
        found = [
            rule.finding(f"header {rule.rule.header}")
            for rule in self._filter.headers
            if any(rule.regex.search(value) for value in section.all(rule.rule.header.lower()))
        ]
        return _strongest(found)

    def body(self, chunk: bytes) -> None:
        """Content as it passes; the header section is not part of it."""
        if not self._open or self._seen >= SCAN_OCTETS:
            return
        if self._skip:
            cut = min(self._skip, len(chunk))
            chunk, self._skip = chunk[cut:], self._skip - cut
        self._seen += len(chunk)
        text = self._tail + chunk
        for rule in list(self._open):
            if rule.regex.search(text):
                self._open.remove(rule)
                self._found.append(rule.finding("body"))
        self._tail = text[-WINDOW_OCTETS:]

    def end(self) -> Finding | None:
        """The strongest body match."""
        return _strongest(self._found)


def _strongest(found: list[Finding]) -> Finding | None:
    order = ("reject", "defer", "tag", "note")
    return min(found, key=lambda finding: order.index(finding.action)) if found else None


factory = Factory("match", MatchOptions, frozenset({"header", "body", "end"}), MatchFilter)
