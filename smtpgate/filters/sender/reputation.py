"""What became of this sender's mail before: a score for senders whose mail was mostly bad, points off for good ones.

A sender is an address, its network, the house of its name in the DNS, the domain that SPF proves, and each domain that
DKIM proves; what nobody proved is not asked about. Of several that are bad the finding names all and scores once. Good
is only a proved domain, for an address may be lent to anybody; and one that our own users write to is good at once.
A mailbox provider is no sender: its domains say nothing, and of its mailboxes one is known only where SPF proves it.

The points that a sender has come from verdicts, each with its reason, and fade (docs/traffic.md). The score here is
small, so that no sender stays bad by it alone: the class of a session (`traffic`) is what reputation is there for.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from twisted.internet.defer import ensureDeferred

from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.authentication import spf
from smtpgate.filters.sender.base import BUDGET_S, SenderFilter, is_exempt, results
from smtpgate.filters.sender.iprev import iprev
from smtpgate.filters.sender.signed import signatures
from smtpgate.policy.houses import FREEMAIL
from smtpgate.policy.origin import Origin
from smtpgate.policy.sender import SenderRecord
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding


class ReputationOptions(Options):
    """How much it weighs."""

    suspect: float = Field(1.5, description="Score of a sender whose mail was mostly bad.")
    known: float = Field(-1.0, description="Score of a proved domain whose mail was good.")
    correspondent: float = Field(-1.5, description="Score of a proved domain that our own users write to.")


class ReputationFilter(SenderFilter):
    """Looks senders up."""

    options: ReputationOptions

    def transaction(self, transaction: Transaction) -> Any:
        """One message; None of clients that logged in or are trusted."""
        return None if is_exempt(transaction.session) else _Visit(self, transaction)

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """What is known of who sent it."""
        services, options = self.services, self.options
        asked = [spf(transaction, services), signatures(transaction, services)]
        sent, _, name = await results([*map(ensureDeferred, asked), iprev(services, transaction)])
        proved = {("dkim", domain) for domain in transaction.authenticated.get("dkim", ())}
        if sent.result == "pass":
            proved.add(("sender", sent.domain.lower()))
        places = [("address", origin.ip), ("network", origin.ip), *sorted(proved)]
        if name.result == "pass":
            places.append(("name", name.name))
        places = [(kind, one) for kind, one in places if one not in FREEMAIL]
        records = [record for place in places if (record := services.senders.record(*place)) is not None]
        found = []
        bad = [record for record in records if record.standing == "suspect"]
        good = [record for record in records if record.standing == "known" and (record.kind, record.name) in proved]
        if bad:
            found.append(Finding("sender-suspect", detail=_words(bad), score=options.suspect))
        local, envelope = transaction.sender.local, sent.domain.lower() if sent.result == "pass" else ""
        # A name of the envelope belongs to the domain of the envelope.
        domains = sorted({domain for _, domain in proved if domain not in FREEMAIL or domain == envelope})
        written = [one for one in domains if services.senders.is_correspondent(local, one)]
        if written and not bad:
            detail = f"our users write to {', '.join(written)}"
            found.append(Finding("sender-correspondent", detail=detail, score=options.correspondent))
        elif good and not bad:
            found.append(Finding("sender-known", detail=_words(good), score=options.known))
        return found


def _words(records: list[SenderRecord]) -> str:
    return "; ".join(f"{record.kind} {record.name}: {record.words}" for record in records)[:1000]


class _Visit:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: ReputationFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    async def end(self) -> list[Finding]:
        """When DKIM has its say."""
        return await self._filter.found(self._transaction)


factory = Factory(
    "reputation",
    ReputationOptions,
    frozenset({"end"}),
    ReputationFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="sender",
)
