"""What the DKIM signatures of a message are worth.

Each signature is noted with its domain, so that lists, documents and the history know of it; DMARC makes use of them. A
fail alone says little: mailing lists and gateways break good signatures, and a message with a broken one is to be
treated as one without (RFC 6376 section 6.1), so it weighs little by default and a pass nothing at all. Signatures
over a part of the body only are told of: what stands behind that part is anybody's.

RFC 6376 sections 6.1, 6.3 and 8.2; RFC 8601 section 2.7.1.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import BUDGET_S
from smtpgate.filters.sender.signed import SignedFilter
from smtpgate.message.signature import SIGNATURES
from smtpgate.policy.authentication import DKIMResult, Signatures
from smtpgate.policy.verdict import Finding

#: The stages of what looks at signatures.
STAGES: Final = frozenset({"header", "end"})


class DKIMOptions(Options):
    """How much each thing weighs, once for a message however many signatures it is true of; 0 only notes it."""

    valid: float = Field(0.0, description="Score of a message with a good signature; below 0 is for good mail.")
    fail: float = Field(0.2, description="Score of a message with a signature that fails and none that is good.")
    partial: float = Field(0.0, description="Score of a message whose good signatures leave a part of the body open.")
    missing: float = Field(0.0, description="Score of a message without a signature.")


class DKIMFilter(SignedFilter):
    """Notes the signatures."""

    def judge(self, found: Signatures) -> list[Finding]:
        """One finding for each signature, and one for those that were not looked at."""
        options: DKIMOptions = self.options
        if not found.dkim:
            return [Finding("dkim-none", score=options.missing)]
        good = [one for one in found.dkim if is_good(one)]
        is_broken = not good and any(one.result == "fail" and not one.is_test for one in found.dkim)
        scores = {"pass": options.valid if good else 0.0, "fail": options.fail if is_broken else 0.0}
        findings = []
        for one in found.dkim:
            # The score is that of the message; the first signature of its kind brings it.
            score = scores.pop(one.result, 0.0)
            findings.append(Finding(f"dkim-{one.result}", detail=_detail(one), score=score))
        if good and all(one.length >= 0 for one in good):
            length = max(one.length for one in good)
            detail = f"{length} octets of the body are signed"
            findings.append(Finding("dkim-partial", detail=detail, score=options.partial))
        if found.unread:
            detail = f"{found.unread} signatures beyond the first {SIGNATURES} were not looked at"
            findings.append(Finding("dkim-unread", detail=detail))
        return findings


def is_good(one: DKIMResult) -> bool:
    """Whether a signature speaks for its domain: it passes, and its key is not there for a test."""
    return one.result == "pass" and not one.is_test


def _detail(one: DKIMResult) -> str:
    told = [one.domain or "no domain"]
    if one.selector:
        told.append(f"s={one.selector}")
    if one.algorithm:
        told.append(f"{one.algorithm} of {one.bits} bits" if one.bits else one.algorithm)
    if one.length >= 0:
        told.append(f"l={one.length}")
    if one.is_test:
        told.append("a test")
    if one.reason:
        told.append(one.reason)
    return ", ".join(told)


factory = Factory(
    "dkim",
    DKIMOptions,
    STAGES,
    DKIMFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="sender",
)
