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
#: A condition that all mail meets.
_ALWAYS: Final = "true unless false"


def shadowed_by(rules: Sequence[Rule]) -> dict[str, str]:
    """For each rule that nothing reaches, or that changes nothing, the one before it that is the reason: it is about
    all that mail, is true of it at the same step or before, and ends it or the rules behind it."""
    out: dict[str, str] = {}
    #: Those before that could be the reason, by their conditions: there may be thousands of rules.
    before: dict[str, list[Rule]] = {}
    for rule in rules:
        said = _said(rule)
        candidates = [*before.get(_ALWAYS, ()), *(before.get(said, ()) if said != _ALWAYS else ())]
        found = next((one for one in candidates if _covers(one, rule) and _outdoes(one, rule)), None)
        if found is not None:
            out[rule.name] = found.name
        elif rule.mode == "enforce" and not rule.self_service and (rule.action == "accept" or rule.action in _ENDS):
            before.setdefault(said, []).append(rule)
    return out


def _said(rule: Rule) -> str:
    """A condition as it is written: blanks within may stand in a text that is compared."""
    return f"{rule.when.strip()} unless {rule.unless.strip()}"


def _covers(one: Rule, other: Rule) -> bool:
    if STEPS.index(one.condition.step) > STEPS.index(other.condition.step):
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
