"""Whether the domain of the sender names the client among those that send for it (SPF).

The filter notes the result, which `authentication.spf` has for all, and scores: a fail alone never refuses, since
whoever forwards mail breaks SPF, and what to do about it is DMARC's business.

RFC 7208; RFC 8601 section 2.7.2 (results).
"""

from __future__ import annotations

from pydantic import Field

from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.authentication import spf
from smtpgate.filters.sender.base import BUDGET_S, STAGES, SenderFilter, plain_address
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding


class SPFOptions(Options):
    """How much each result weighs; 0 only notes it, below 0 is for good mail."""

    valid: float = Field(0.0, description="Score of a pass.")
    neutral: float = Field(0.0, description="Score of neutral: the domain says nothing about this client.")
    softfail: float = Field(0.5, description="Score of a softfail: the domain does not know this client.")
    fail: float = Field(1.5, description="Score of a fail: the domain says that this client does not send for it.")
    permerror: float = Field(0.3, description="Score of a policy that cannot be used.")
    none: float = Field(0.0, description="Score of a domain without a policy.")


class SPFFilter(SenderFilter):
    """Notes and scores the result."""

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """One finding; none about an address of a house."""

        if plain_address(origin.ip) is None:
            return []
        found = await spf(transaction, self.services)
        scores = {"pass": self.options.valid, "temperror": 0.0}
        score = scores[found.result] if found.result in scores else getattr(self.options, found.result)
        shown = f"{found.domain or 'the sender'} ({found.identity}), {origin.ip}"
        parts = [shown, found.reason, f'they say: "{found.explanation}"' if found.explanation else ""]
        return [Finding(f"spf-{found.result}", detail=", ".join(filter(None, parts)), score=score)]


factory = Factory(
    "spf",
    SPFOptions,
    STAGES,
    SPFFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    category="sender",
)
