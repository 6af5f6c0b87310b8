"""Structure: what about a message's form could be read in two ways, or is beyond what is looked at.

Every reading of an ambiguous message is examined, so ambiguity alone hides nothing from the other filters and most
kinds only count. Refused are messages of two authors, of which signatures and readers may see different ones, and those
that reach a limit: what was not looked at must not pass as if it had been. The words of the options are those of
anomalies and limits.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, field_validator

from smtpgate.examine.facts import Facts
from smtpgate.filters.base import Options
from smtpgate.filters.content.base import BY_STRENGTH, Actions, ContentFilter, content_factory, known, sentence
from smtpgate.message.anomaly import ANOMALIES
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: What a limit that ended the look is called, and said of it.
LIMITS: Final = {
    "limit-depth": "its parts lie deeper within each other than is looked at",
    "limit-parts": "it has more parts than are looked at",
    "limit-header": "a header of one of its parts is larger than is looked at",
    "limit-text": "it has more text than is looked at",
    "limit-links": "it has more links than are looked at",
    "limit-files": "it has more files than are looked at",
    "limit-octets": "it unpacks to more than is looked at",
    "limit-ratio": "it unpacks to more than any honest archive",
    "limit-time": "it takes longer to look at than there is time",
    "limit-lines": "it has more lines than are looked at",
    "limit-readings": "it can be read in more ways than are looked at",
}
#: What the header lacks or has too much of.
FIELDS: Final = {
    "no-author": "it has no author",
    "two-authors": "it has several authors, or an author field more than once",
}
WORDS: Final = {**ANOMALIES, **LIMITS, **FIELDS}


class StructureOptions(Options):
    """What becomes of each anomaly and limit, by its word."""

    reject: list[str] = Field(
        ["two-authors", "limit-depth", "limit-parts", "limit-readings", "limit-ratio", "partial-message"],
        description="The message is refused.",
    )
    defer: list[str] = Field(["limit-time"], description="The sender is told to come back later.")
    quarantine: list[str] = Field([], description="The message is one for the quarantine.")
    tag: list[str] = Field(["limit-octets", "limit-files", "limit-header"], description="The message is marked.")
    note: list[str] = Field(sorted(WORDS), description="Recorded; what a list above has too is decided there.")
    scores: dict[str, float] = Field(
        {
            "duplicate-content-type": 2.0,
            "duplicate-encoding": 2.0,
            "broken-header-line": 1.0,
            "no-boundary": 1.0,
            "boundary-junk": 1.0,
            "parts-after-close": 1.5,
            "hidden-preamble": 2.0,
            "hidden-epilogue": 2.0,
            "encoded-multipart": 1.5,
            "external-body": 2.0,
            "base64-padding": 1.5,
            "nul": 1.0,
            "bare-cr": 0.5,
            "no-author": 1.5,
            "two-addresses": 1.5,
            "several-at-signs": 1.5,
            "encoded-address": 2.0,
        },
        description="Weights in the sum of scores, by word; each counts once.",
    )

    @field_validator("reject", "defer", "quarantine", "tag", "note")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return known(value, WORDS)

    @field_validator("scores")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        known(list(value), WORDS)
        return value


class StructureFilter(ContentFilter):
    """Looks at anomalies and limits."""

    def __init__(self, options: StructureOptions, services: Any) -> None:
        super().__init__(options, services)
        self.options = options
        self.actions = Actions({name: getattr(options, name) for name in BY_STRENGTH})

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """One finding for each kind."""
        places: dict[str, list[str]] = {}
        for anomaly in facts.anomalies:
            places.setdefault(anomaly.kind, []).append(
                " ".join(word for word in (anomaly.where and f"part {anomaly.where}", anomaly.detail) if word)
            )
        for limit in facts.limits:
            places[f"limit-{limit}"] = []
        for word in self._authors(facts, transaction):
            places[word] = [", ".join(author.address for author in facts.authors[:5])]
        return [found for word, where in places.items() if (found := self._found(word, where)) is not None]

    @staticmethod
    def _authors(facts: Facts, transaction: Transaction) -> list[str]:
        fields = transaction.header.all("from") if transaction.header is not None else []
        domains = {author.domain for author in facts.authors if author.domain}
        words = ["no-author"] if not any(author.address for author in facts.authors) else []
        # One domain is one author to DMARC, whoever of its users wrote (RFC 9989 section 5.3.1).
        return words + (["two-authors"] if len(fields) > 1 or len(domains) > 1 else [])

    def _found(self, word: str, where: list[str]) -> Finding | None:
        action, score = self.actions.of(word), self.options.scores.get(word, 0.0)
        if not action and not score:
            return None
        said = WORDS.get(word, word)
        return Finding(
            f"structure-{word}",
            action or "note",
            f"The message is not accepted: {said}",
            sentence(said, "; ".join(dict.fromkeys(one for one in where if one))[:500]),
            score,
        )


factory = content_factory("structure", StructureOptions, StructureFilter, on_error="tempfail", category="protocol")
