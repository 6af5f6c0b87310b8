"""Header and body match: patterns over header fields and raw content, in linear time.

Patterns are RE2: no input can make them slow. They look at what is on the wire, in UTF-8, not at decoded words or
parts. A field is looked at unfolded, as one line. A body is looked at line by line as it passes: ``^`` and ``$`` are
the ends of a line, and a match may go over several lines within a window. The header section is not part of the body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import re2
from pydantic import Field, field_validator, model_validator

from smtpgate.config.problem import BadValue, quoted
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import ACTIONS, Finding

#: A body match longer than this may be missed where it lies across two chunks.
WINDOW_OCTETS = 1024
#: Body octets that are looked at; what comes behind is not.
SCAN_OCTETS = 10 * 1024 * 1024
_MEMORY_OCTETS = 8 * 1024 * 1024
#: RFC 5322 section 2.2: printable and no colon.
_FIELD_NAME = re.compile(r"[!-9;-~]+")


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_OCTETS
    options.case_sensitive = False
    options.encoding = re2.Options.Encoding.UTF8
    return re2.compile(f"(?m:{pattern})".encode(), options)


class MatchRule(Options):
    """One pattern."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="Its name: the reason that log and pages give.")
    header: str = Field("", description="Name of the header field that is looked at.")
    body: bool = Field(False, description="Look at the content behind the header in place of a field.")
    pattern: str = Field(min_length=1, description="RE2 pattern, without regard to case.")
    action: Literal["note", "tag", "defer", "reject"] = Field("note", description="What is proposed.")
    score: float = Field(0.0, description="Weight in the sum of scores.")
    reply: str = Field("", description="Text for the sender of a refused message.")

    @field_validator("header")
    @classmethod
    def _header(cls, value: str) -> str:
        if value and _FIELD_NAME.fullmatch(value) is None:
            raise BadValue(f"{quoted(value)} is no name of a field", 'write it without the colon, as "subject"')
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            # On its own first: a bracket too many must not close ours.
            re2.compile(value.encode(), _quiet())
            _compile(value)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            shown = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            raise BadValue(f"{quoted(value)} is no RE2 pattern: {shown}") from None
        return value

    @model_validator(mode="after")
    def _place(self) -> MatchRule:
        if bool(self.header) == self.body:
            raise BadValue(
                "no place to look at" if not self.body else "two places", "give either header or body = true"
            )
        if self.body and "\\z" in self.pattern:
            # What comes last in a chunk is not the end of the body.
            raise BadValue("\\z has no meaning in a body", "use $ for the end of a line")
        return self


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


class MatchOptions(Options):
    """The patterns."""

    rules: list[MatchRule] = Field([], description="All are looked at.")


@attrs.frozen
class _Rule:
    rule: MatchRule
    regex: Any


class MatchFilter(Filter):
    """Holds the compiled patterns."""

    def __init__(self, options: MatchOptions, services: Any) -> None:
        self.headers = [_Rule(rule, _compile(rule.pattern)) for rule in options.rules if rule.header]
        self.bodies = [_Rule(rule, _compile(rule.pattern)) for rule in options.rules if rule.body]

    def transaction(self, transaction: Transaction) -> _Look:
        """One message."""
        return _Look(self)


class _Look:
    __slots__ = ("_filter", "_found", "_is_inside", "_open", "_seen", "_skip", "_text")

    def __init__(self, parent: MatchFilter) -> None:
        self._filter = parent
        self._found: list[MatchRule] = []
        self._open = list(parent.bodies)
        self._seen = 0
        self._skip = 0
        #: What is still to be looked at, behind the end of what was: a match may begin there.
        self._text = b""
        self._is_inside = False

    def header(self, section: HeaderSection) -> Finding | None:
        """The header matches."""
        self._skip = len(section.octets)
        found = []
        for one in self._filter.headers:
            values = section.all(one.rule.header.lower())
            if any(one.regex.search(value) for value in values):
                found.append(one.rule)
        return _finding(found, "header")

    def body(self, chunk: bytes) -> None:
        """Content as it passes."""
        if not self._open or self._seen >= SCAN_OCTETS:
            return
        if self._skip:
            cut = min(self._skip, len(chunk))
            chunk, self._skip = chunk[cut:], self._skip - cut
        self._seen += len(chunk)
        text = self._text + chunk
        whole = text.rfind(b"\n") + 1
        if len(text) - whole > WINDOW_OCTETS:
            whole = len(text)
        self._text = text
        if whole:
            self._look(whole)

    def _look(self, whole: int) -> None:
        """Look at so much of the text; only there does it end with a line."""
        text = self._text[:whole].replace(b"\r\n", b"\n")
        # Behind a cut the first octet is there to say whether a line begins after it.
        start = 1 if self._is_inside else 0
        for one in list(self._open):
            if one.regex.search(text, start):
                self._open.remove(one)
                self._found.append(one.rule)
        self._is_inside = self._is_inside or len(text) > WINDOW_OCTETS
        self._text = text[-WINDOW_OCTETS:] + self._text[whole:]

    def end(self) -> Finding | None:
        """The body matches."""
        if self._open and self._text:
            self._look(len(self._text))
        return _finding(self._found, "body")


def _finding(found: Sequence[MatchRule], place: str) -> Finding | None:
    """One finding for all that matched in one place: the strongest speaks, the scores of all count."""
    if not found:
        return None
    first = max(found, key=lambda rule: ACTIONS.index(rule.action))
    matched = ", ".join(rule.name + (f" ({rule.header})" if rule.header else "") for rule in found)
    return Finding(
        first.name,
        first.action,
        first.reply or "Message refused by content rule",
        f"matched in {place}: {matched}",
        sum(rule.score for rule in found),
    )


factory = Factory("match", MatchOptions, frozenset({"header", "body", "end"}), MatchFilter)
