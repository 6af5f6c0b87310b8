"""Which rules nothing reaches, because of one before them. It is said where that is sure, and not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from smtpgate.config.model_policy import Rule
from smtpgate.policy.held import TAKING
from smtpgate.policy.verdict import ACTIONS
from smtpgate.rules.vocabulary import STEPS

#: Actions that end a message.
_ENDS: Final = frozenset({"defer", "reject", *TAKING})


def shadowed_by(rules: Sequence[Rule]) -> dict[str, str]:
    """For each rule that nothing reaches, or that changes nothing, the one before it that is the reason: it is about
    all that mail, is true of it at the same step or before, and ends it or the rules behind it."""
    out: dict[str, str] = {}
    for place, rule in enumerate(rules):
        for other in rules[:place]:
            if other.name not in out and _covers(other, rule) and _outdoes(other, rule):
                out[rule.name] = other.name
                break
    return out


def _covers(one: Rule, other: Rule) -> bool:
    is_always = one.when.strip() == "true" and one.unless.strip() == "false"
    is_same = " ".join(one.when.split()) == " ".join(other.when.split()) and one.unless == other.unless
    if one.mode != "enforce" or not (is_always or is_same):
        return False
    if STEPS.index(one.condition.step) > STEPS.index(other.condition.step) or one.self_service:
        return False
    if one.listener and not (other.listener and set(other.listener) <= set(one.listener)):
        return False
    if one.direction not in ("", other.direction):
        return False
    scopes = (one.sender, other.sender), (one.recipient, other.recipient)
    return all(not mine.entries or set(mine.entries) == set(theirs.entries) for mine, theirs in scopes)


def _outdoes(one: Rule, other: Rule) -> bool:
    if one.action == "accept":
        return one.condition.step != "rcpt"
    if one.action not in _ENDS:
        return False
    if other.action in _ENDS:
        return ACTIONS.index(other.action) <= ACTIONS.index(one.action)
    return one.action in ("reject", "defer")
