"""Numbers that name a person or an account: how many leave, or come, in one message.

Payment cards, bank accounts, US social security numbers and telephones are told by form, length and check digits, not
by pattern alone, and are counted once each (`examine.identifiers`). The numbers themselves never leave the child
process that reads the message; findings and logs have masked ones. From a number of distinct ones on the options say
what becomes of the message.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from smtpgate.examine.identifiers import KINDS
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.content.base import BUDGET_S, known
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding


class IdentifierOptions(Options):
    """Which numbers, how many, and what then."""

    kinds: list[str] = Field(["card", "iban", "us-ssn"], description="What is looked for: card, iban, us-ssn, phone.")
    least: int = Field(1, ge=1, description="From so many distinct numbers on.")
    action: Literal["note", "tag", "quarantine", "reject"] = Field("reject", description="What becomes of the message.")

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return known(value, KINDS)


class IdentifierFilter(Filter):
    """Counts numbers."""

    def __init__(self, options: IdentifierOptions, services: Any) -> None:
        self.options = options
        self.services = services

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
        options = self._filter.options
        request = {"kinds": options.kinds}
        answer = await self._filter.services.in_child("identifiers", self._transaction, request)
        found = answer["found"]
        total = sum(held["count"] for held in found.values())
        said = "; ".join(f"{held['count']} {kind}: {', '.join(held['masked'])}" for kind, held in found.items())
        if total >= options.least:
            kind = max(found, key=lambda one: found[one]["count"])
            text = f"The message is not accepted: it holds {KINDS[kind]}"
            return Finding(f"identifier-{kind}", options.action, text, said)
        if not answer["is_complete"]:
            return Finding("identifier-unread", detail=f"not all of its text was read; {said or 'nothing found'}")
        return Finding("identifier-few", detail=said) if total else None


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
