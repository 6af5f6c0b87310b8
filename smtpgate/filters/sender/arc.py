"""What the ARC chain of a message is worth, and what a sealer who is trusted says of it.

Lists and forwarders break what the author signed, and seal what they saw before. A chain that passes proves who said
it, and no more: anybody can seal anything, so it counts only where the operator trusts the last sealer, who vouches for
those before. `trusted_claims` gives DMARC what that sealer saw. Sealers before the last are not asked alone: whoever
comes after them may have put their seals on another message.

RFC 8617 sections 5.2, 7.2.1 and 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field, field_validator

from smtpgate.config.patterns import DomainList
from smtpgate.config.problem import Fault, warning
from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import BUDGET_S
from smtpgate.filters.sender.signed import SignedFilter
from smtpgate.policy.authentication import Signatures
from smtpgate.policy.verdict import Finding

#: The stages of what looks at signatures.
STAGES: Final = frozenset({"header", "end"})
#: Letters of claims in a detail.
_SHOWN: Final = 300


class ARCOptions(Options):
    """Whom to believe."""

    trusted_sealers: list[str] = Field([], description="Domains whose seal is believed, as *.example.org.")
    trusted: float = Field(0.0, description="Score of a chain that a trusted sealer vouches for; below 0 is for good.")
    fail: float = Field(0.0, description="Score of a chain that fails; mail that was changed on its way has one.")

    @field_validator("trusted_sealers")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """A score for sealers, and none that has it."""
        if self.trusted and not self.trusted_sealers:
            yield warning(("trusted",), "no trusted_sealers are named, so nothing has this score", "name some")


def trusted_claims(signatures: Signatures, trusted: DomainList) -> str:
    """What the last sealer of a chain that passes says of the message, where that sealer is trusted; else "".

    :return: the value of an Authentication-Results field, unfolded
    """
    arc = signatures.arc
    if arc.result != "pass" or not arc.sets or not trusted.matches(arc.sets[-1].domain):
        return ""
    return arc.sets[-1].claims


class ARCFilter(SignedFilter):
    """Notes the chain."""

    def __init__(self, options: Any, services: Any) -> None:
        super().__init__(options, services)
        self._trusted = DomainList(options.trusted_sealers)

    def judge(self, found: Signatures) -> list[Finding]:
        """At most one finding for the chain and one for a sealer who is trusted."""
        options: ARCOptions = self.options
        arc = found.arc
        if arc.result == "none":
            return []
        if arc.result != "pass" or not arc.sets:
            return [Finding("arc-fail", detail=arc.reason, score=options.fail)]
        sealers = ", ".join(one.domain for one in arc.sets)
        findings = [Finding("arc-pass", detail=f"sealed by {sealers}")]
        if self._trusted.matches(arc.sets[-1].domain):
            detail = f"{arc.sets[-1].domain} says: {trusted_claims(found, self._trusted)[:_SHOWN]}"
            findings.append(Finding("arc-trusted", detail=detail, score=options.trusted))
        return findings


factory = Factory(
    "arc",
    ARCOptions,
    STAGES,
    ARCFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="sender",
)
