"""Whether the name that the client greets with exists, and whether it is the client's.

It only scores. RFC 5321 section 4.1.4 lets a server look the name up, and forbids to refuse mail because it does not
fit the address: many good servers behind address translation give a name that leads elsewhere. A name that does not
exist is the mark of software that does not care. Names of a wrong form are the matter of `filters/helo`, and are not
looked up here.

RFC 5321 sections 2.3.5 and 4.1.4; RFC 1123 section 5.2.5.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import BUDGET_S, STAGES, SenderFilter, host_name, in_time, plain_address, results
from smtpgate.policy.names import Answer
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: One step of look-ups, which have 3 seconds each and run together.
TIME_S: Final = 4.0


class HeloDnsOptions(Options):
    """How much each thing weighs; 0 only notes it."""

    unresolvable: float = Field(1.0, description="Score of a name that has no address.")
    mismatch: float = Field(0.5, description="Score of a name that has other addresses than the client's.")


class HeloDnsFilter(SenderFilter):
    """Looks the name of the greeting up."""

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """At most one finding."""
        options: HeloDnsOptions = self.options
        name = host_name(origin.helo)
        address = plain_address(origin.ip)
        if not name or address is None:
            return []
        found: list[Answer] | None = await in_time(self.services, self._addresses(name), TIME_S)
        if found is None:
            return []
        addresses = [plain_address(one) for answer in found for one in answer.records]
        if address in addresses:
            return []
        # Of a name that is half known nothing can be said.
        if any(answer.is_temporary for answer in found):
            return []
        if not addresses:
            return [Finding("helo-unresolvable", detail=f"{name} has no address", score=options.unresolvable)]
        return [Finding("helo-mismatch", detail=f"{name} is not {address}", score=options.mismatch)]

    async def _addresses(self, name: str) -> Any:
        lookup = self.services.resolver.lookup
        return await results([lookup(name, "A"), lookup(name, "AAAA")])


factory = Factory(
    "helo-dns",
    HeloDnsOptions,
    STAGES,
    HeloDnsFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    category="sender",
)
