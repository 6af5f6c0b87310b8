"""Wording: what a message says and the form that it says it in, weighed.

`examine.wording` turns the text into numbers by name; here each has a weight, and those that belong together strengthen
each other: a threat alone is a letter, a threat with a link and nobody's name is bait. The sum is one finding whose
detail names what weighed most.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, field_validator

from smtpgate.examine.facts import Facts
from smtpgate.examine.wording import FEATURES
from smtpgate.filters.base import Options
from smtpgate.filters.content.base import ContentFilter, content_factory
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Weights of single features; a feature that is a count weighs so much each time.
WEIGHTS: Final[dict[str, float]] = {
    "account-threat": 1.2, "account-threat-subject": 1.5, "verify-identity": 0.8, "verify-identity-subject": 1.5,
    "urgency": 0.7, "urgency-subject": 0.7, "click-here": 1.5, "mailbox-quota": 1.2, "mailbox-quota-subject": 1.5,
    "payment-trouble": 0.8, "payment-trouble-subject": 1.2, "charge-notice": 0.8, "charge-notice-subject": 0.8,
    "prize": 1.0, "prize-subject": 1.0, "advance-fee": 0.4, "advance-fee-subject": 1.0, "extortion": 0.3,
    "extortion-subject": 1.5, "crypto-lure": 1.3, "crypto-lure-subject": 1.3, "loan-debt": 1.5,
    "loan-debt-subject": 1.3, "pharma": 0.6, "pharma-subject": 1.5, "adult": 0.6, "adult-subject": 1.5,
    "gambling": 1.2, "gambling-subject": 1.2,
    "giveaway": 0.6, "giveaway-subject": 1.2, "marketing": 0.4, "marketing-subject": 0.5, "bulk-words": 1.6,
    "bulk-words-subject": 0.5, "seo-offer": 0.6, "seo-offer-subject": 0.8, "stranger-favour": 0.8,
    "stranger-favour-subject": 1.0, "parcel": 1.2, "parcel-subject": 1.0, "document-lure": 0.1,
    "document-lure-subject": 0.4, "vague-greeting": 2.2, "money": 0.3, "money-subject": 1.6, "refund": 0.5,
    "refund-subject": 1.2, "subject-upper": 2.0, "subject-marks": 0.6, "mixed-words": 0.3, "emoji-subject": 0.6,
    "reply-without-thread": 1.2, "styled-letters": 2.0, "base64-ascii": 1.0,
}  # fmt: skip
#: Features that strengthen each other where all are there.
TOGETHER: Final[tuple[tuple[tuple[str, ...], float], ...]] = (
    (("account-threat", "verify-identity"), 1.0),
    (("account-threat", "click-here"), 0.7),
    (("verify-identity", "vague-greeting"), 0.8),
    (("mailbox-quota", "click-here"), 0.8),
    (("parcel", "money"), 0.5),
    (("prize", "click-here"), 0.7),
    (("giveaway", "click-here"), 0.7),
    (("extortion", "money"), 0.5),
    (("advance-fee", "vague-greeting"), 0.7),
    (("bulk-words", "click-here"), 0.8),
    (("marketing", "bulk-words"), 0.9),
    (("loan-debt", "marketing"), 0.5),
    (("pharma", "marketing"), 0.5),
    (("adult", "marketing"), 0.5),
)
#: No wording alone is worth more.
MOST: Final = 12.0
#: A count weighs at most so many times.
_TIMES: Final = 4.0


class WordingOptions(Options):
    """What each feature weighs."""

    weights: dict[str, float] = Field({}, description="Weights by feature, in place of those that are shipped.")
    least: float = Field(0.5, description="A sum below this is not told.")

    @field_validator("weights")
    @classmethod
    def _features(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(value.keys() - FEATURES.keys() - WEIGHTS.keys())
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no feature; choose of {', '.join(sorted(FEATURES))}")
        return value


class WordingFilter(ContentFilter):
    """Weighs wording."""

    def __init__(self, options: WordingOptions, services: Any) -> None:
        super().__init__(options, services)
        self.options = options
        self.weights = WEIGHTS | options.weights

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """One finding for all of it."""
        parts = weighed(facts.counts, self.weights)
        score = min(MOST, sum(parts.values()))
        if score < self.options.least:
            return []
        named = sorted(parts.items(), key=lambda one: -abs(one[1]))[:12]
        return [
            Finding(
                "wording",
                public="The message is not accepted: it is worded as spam and fraud are",
                detail=", ".join(f"{name} {value:+.1f}" for name, value in named),
                score=round(score, 2),
            )
        ]


def weighed(counts: dict[str, float], weights: dict[str, float]) -> dict[str, float]:
    """What each feature, and each pair that belongs together, weighs."""
    parts = {
        name: weight * min(_TIMES, counts[name]) for name, weight in weights.items() if weight and counts.get(name)
    }
    # Text that is not seen is there for filters; a preheader is short.
    letters, hidden = counts.get("letters", 0.0), counts.get("hidden-letters", 0.0)
    if hidden > 400 and hidden > letters:
        parts["hidden-letters"] = 1.5
    if counts.get("upper-share", 0.0) > 0.4:
        parts["upper-share"] = 1.5
    if counts.get("zero-width", 0.0) > 10 and counts.get("hidden-letters", 0.0) < 20:
        parts["zero-width"] = 1.0
    for names, weight in TOGETHER:
        if all(counts.get(name) or counts.get(f"{name}-subject") for name in names):
            parts["+".join(names)] = weight
    return parts


factory = content_factory("wording", WordingOptions, WordingFilter, on_error="continue", category="spam")
