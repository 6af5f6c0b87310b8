"""A message of the history decided again by another configuration, from what the history keeps.

What filters found then is taken as it was: each counts by the mode that the filter has now, and none that is gone does.
Rules are asked anew, and the sum is weighed anew. What cannot be done: to ask a filter again, or one that is new; to
ask a rule about what is not kept. Such a rule counts as it did where it is the same and was at work then; else it is
not known how the message would be decided, unless something else decides it that is as strong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import RULES, Rule
from smtpgate.filters.rule_findings import finding
from smtpgate.filters.rule_trial import Trial
from smtpgate.policy.replayed import NONE, UNKNOWN, Decided, Row, decided
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.tried import Said
from smtpgate.policy.verdict import FILTER_FAILED, Finding, Verdict, merge

#: What speaks without being a filter of the configuration: the engine's own, and its limits.
_BUILT_IN: Final = frozenset({"loop", "rate_limits", "concurrency_limits"})
_FAILED: Final = {"tempfail": "defer", "reject": "reject", "continue": "note"}


class Replay:
    """Decides by one configuration.

    :ivar left_out: what of it cannot be played again
    """

    def __init__(self, settings: Settings, at_work: Settings, revision: str) -> None:
        """
        :param at_work: what is at work, and `revision` its id
        """
        self._trial = Trial(settings)
        self._scale = settings.scale
        self._modes = {use.name: use for use in settings.filters}
        self._revision = revision
        self._same = {one.name for one in settings.rules if any(_is_same(one, other) for other in at_work.rules)}
        self.left_out = _left_out(settings, at_work)
        #: What is at work decides again what it decided: where that is otherwise, something is not kept.
        self._check = None if settings is at_work else Replay(at_work, at_work, revision)

    def row(self, session: Mapping[str, Any], message: Mapping[str, Any]) -> Row:
        """What became of a message, and what would."""
        verdict = message["verdict"]
        old, new = decided(message), self.decide(session, message)
        if session["revision"] == self._revision and new.action != UNKNOWN:
            before = (self._check or self).decide(session, message) if self._check is not None else new
            if before.action != old:
                new = Decided(UNKNOWN, new.score, "what decided it then is not kept")
        held = next((note.partition(":")[2] for note in message["notes"] if note.startswith("held")), "")
        recipients = message["recipients"]
        return Row(
            message["id"],
            session["started"] + (message["begun_ms"] or 0.0) / 1000,
            message["sender"],
            recipients[0]["address"] if recipients else "",
            message["subject"] or "",
            old,
            new.action,
            verdict["score"] if verdict is not None else 0.0,
            new.score,
            new.why,
            held,
        )

    def rows(self, records: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Row]:
        """Several. It takes a while: not for the thread of the reactor."""
        return [self.row(session, message) for session, message in records]

    def decide(self, session: Mapping[str, Any], message: Mapping[str, Any]) -> Decided:
        """What this configuration decides."""
        transaction, said = self._trial.recalled(session, message)
        found = [again for record in message["findings"] if (again := self._found(record)) is not None]
        doubts: list[Rule] = []
        was = {one["reason"]: one for one in message["findings"] if one["filter"] == RULES}
        is_known = session["revision"] == self._revision
        for rule, one in zip(self._trial.rules, said, strict=True):
            if one.ended_by or rule.mode == "off":
                continue
            if one.answer == "unknown":
                if is_known and rule.name in self._same:
                    if rule.name in was:
                        found.append(_rule(rule, finding(rule, ())))
                elif rule.mode == "enforce":
                    doubts.append(rule)
            elif one.answer == "failed":
                found.append(_rule(rule, Finding(FILTER_FAILED, _FAILED[rule.on_error], detail=one.why[:500])))
            elif one.answer == "true" and _is_about_all(one, transaction):
                found.append(_rule(rule, finding(rule, ())))
        verdict = merge(found, self._scale, transaction.has_mercy)
        by = verdict.decided_by
        why = f"{by.filter}: {by.reason}" if by is not None else ""
        stronger = [one for one in doubts if Verdict(_decides(one)).rank > verdict.rank]
        if stronger and message["end_ms"] is not None:
            lack = next(one.why for one in said if one.rule == stronger[0].name)
            return Decided(UNKNOWN, verdict.score, f"rule {stronger[0].name}: {lack}")
        action = "accept" if verdict.action == "note" else verdict.action
        if action in ("accept", "tag") and decided(message) == NONE:
            # It never came to its end, for a reason that has nothing to do with what filters and rules say.
            return Decided(NONE, verdict.score, why)
        return Decided(action, verdict.score, why)

    def _found(self, record: Mapping[str, Any]) -> Finding | None:
        """What a filter found then, as it counts now; None where it does not."""
        name, action = record["filter"], record["action"]
        if name == RULES:
            return None
        use = self._modes.get(name)
        is_shadow = record["is_shadow"]
        if use is None:
            if name not in _BUILT_IN:
                return None
        elif use.mode == "off":
            return None
        else:
            is_shadow = use.mode == "shadow"
            if record["reason"] == FILTER_FAILED and use.on_error is not None:
                action = _FAILED[use.on_error]
        return Finding(
            record["reason"],
            action,
            score=record["score"],
            category=record.get("category", ""),
            filter=name,
            is_shadow=is_shadow,
        )


def _rule(rule: Rule, found: Finding) -> Finding:
    return attrs.evolve(found, filter=RULES, category="policy", is_shadow=rule.mode == "shadow")


def _decides(rule: Rule) -> str:
    """The strongest that a rule can come to."""
    action = finding(rule, ()).action
    failed = _FAILED[rule.on_error]
    return max(action, failed, key=lambda one: Verdict(one).rank)


def _is_about_all(said: Said, transaction: Transaction) -> bool:
    """What is wrong for some recipients only does not decide over the message."""
    if not said.recipients:
        return True
    accepted = {str(one.path).lower() for one in transaction.recipients if one.state == "accepted"}
    return accepted <= set(said.recipients)


def _is_same(one: Rule, other: Rule) -> bool:
    """The same rule, wherever it stands."""
    return attrs.evolve(one, number=0) == attrs.evolve(other, number=0)


def _left_out(settings: Settings, at_work: Settings) -> tuple[str, ...]:
    """What a configuration has that the history cannot be asked about."""
    before = {use.name: use for use in at_work.filters}
    out = []
    for use in settings.filters:
        old = before.get(use.name)
        if use.mode == "off":
            continue
        if old is None or old.mode == "off":
            out.append(f"filter {use.name} is new: it was not asked")
        elif old.use != use.use or old.options != use.options:
            out.append(f"filter {use.name} has other options: what it found then counts")
    for name, words in (
        ("rate_limits", "rate limits"),
        ("concurrency_limits", "concurrency limits"),
        ("routes", "routes"),
        ("tls_policies", "TLS policies"),
        ("listeners", "listeners"),
        ("local_domains", "local domains"),
    ):
        if getattr(settings, name) != getattr(at_work, name):
            out.append(f"other {words}: they are not asked")
    return tuple(out)
