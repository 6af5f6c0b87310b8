"""Numbers that name a person or an account, keys, and what else is searched for: how many leave, or come, in a message.

Detectors tell them by form, check and words near (docs/dlp.md), count each different one once, and show them masked:
the values themselves never leave the child process that reads the message. From a number of different ones on the
options say what becomes of the message. Rules say more: which, where, how sure, and to whom.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.content.base import BUDGET_S, known
from smtpgate.filters.search import searched, told
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.rules.searching import CATALOGUE, Match, Search


class IdentifierOptions(Options):
    """Which numbers, how many, and what then."""

    kinds: list[str] = Field(
        ["card", "iban", "us-ssn"],
        description="What is looked for: names of detectors, as card, iban, us-ssn, phone; docs/dlp.md has all.",
    )
    confidence: Literal["low", "medium", "high"] = Field("medium", description="How sure they must be at least.")
    least: int = Field(1, ge=1, description="From so many distinct numbers on.")
    action: Literal["note", "tag", "quarantine", "reject"] = Field("reject", description="What becomes of the message.")

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return known(value, CATALOGUE)


class IdentifierFilter(Filter):
    """Counts numbers."""

    def __init__(self, options: IdentifierOptions, services: Any) -> None:
        self.options = options
        self.services = services
        self.search = Search(tuple(name for name in CATALOGUE if name in options.kinds))

    def transaction(self, transaction: Transaction) -> _Message:
        """One message."""
        return _Message(self, transaction)


class _Message:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: IdentifierFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    async def end(self) -> Finding | None:
        """All of it has come."""
        parent, options = self._filter, self._filter.options
        found = await searched(parent.services, self._transaction, parent.search)
        # Of each detector the match of what is at least so sure; what is surer is in it.
        wanted = [match for match in found.matches if match.confidence == options.confidence]
        said = "; ".join(map(told, wanted))
        if sum(match.distinct for match in wanted) >= options.least:
            first: Match = max(wanted, key=lambda match: match.distinct)
            name = first.detector
            about = CATALOGUE[name].about.partition(":")[0]
            article = "an" if about[0] in "AEIO" else "a"
            text = f"The message is not accepted: it holds {article} {about}"
            return Finding(f"identifier-{name}", options.action, text, said[:1000])
        unread = [why for _, why in found.unread if why in _UNREAD]
        if unread:
            return Finding(
                "identifier-unread", detail=f"not all of its text was read; {said or 'nothing found'}"[:1000]
            )
        return Finding("identifier-few", detail=said[:1000]) if wanted else None


#: What is told as not read: files that hold no text are no matter of this filter.
_UNREAD = frozenset({"too-big", "too-many", "too-deep", "late", "encrypted", "broken"})

factory = Factory(
    "identifiers",
    IdentifierOptions,
    frozenset({"end"}),
    IdentifierFilter,
    on_error="tempfail",
    needs_content=True,
    budget_s=BUDGET_S,
    category="policy",
)
