"""Findings and the one decision.

A filter only says what it found (`Finding`); `merge` alone decides, purely, whatever the order in which filters ran.
Beside the actions that findings propose it weighs the sum of their scores against the operator's thresholds
(`Scale`). The session turns the `Verdict` into a reply, the explain page shows all of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.smtp.reply import Reply, printable

#: What a finding may propose, mildest first. `note` records only; `accept` exempts from the checks it names. What one
#: wants to be looked at is not thrown away because another would: a hold is stronger than a discard.
ACTIONS: Final = ("note", "accept", "tag", "discard", "redirect", "quarantine", "defer", "reject")
#: Those that only rules may have: they need to be told where to.
OF_RULES: Final = frozenset({"discard", "redirect"})
_RANK: Final = {action: rank for rank, action in enumerate(ACTIONS)}

#: Code and enhanced code where a finding names none (RFC 3463 section 3.8: delivery not authorised).
_DEFAULT: Final = {"reject": (550, "5.7.1"), "defer": (451, "4.7.1")}
_ENHANCED: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
#: What a filter guards against. The first two are guesses about good and bad senders, and have mercy on mail that must
#: always get through (RFC 5321 section 4.5.1: postmaster); the others are not.
CATEGORIES: Final = ("spam", "sender", "malware", "policy", "protocol")
MERCIFUL: Final = frozenset(CATEGORIES[:2])
#: How well the leg to a backend may have to be protected, mildest first (`policy.protection`).
TLS_LEVELS: Final = ("", "encrypted", "verified", "dane")
#: Who speaks where the sum of scores decides.
SCORES: Final = "scores"
_REASON: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def _valid_action(_: object, attribute: object, value: str) -> None:
    if value not in _RANK:
        raise ValueError(f"action {value!r} is none of {', '.join(ACTIONS)}")


def _valid_reason(_: object, attribute: object, value: str) -> None:
    if _REASON.fullmatch(value) is None:
        raise ValueError(f"reason {value!r} is no identifier of lower-case letters, digits, '-', '_' and '.'")


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError(f"skips is a set of names, not the text {value!r}")
    return frozenset(value)


def _indexes(value: Iterable[int] | None) -> frozenset[int] | None:
    return None if value is None else frozenset(value)


def _valid_score(_: object, attribute: object, value: float) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"score {value!r} is no finite number")


#: The reason of the finding that stands for a filter which could not do its work.
FILTER_FAILED: Final = "filter-failed"


@attrs.frozen
class Finding:
    """What one filter found.

    :ivar reason: a stable identifier, for metrics, lists and documents
    :ivar action: what it proposes
    :ivar public: text for the sender; names no internals
    :ivar detail: text for the administrator
    :ivar score: weight in a sum that thresholds judge; positive is bad
    :ivar code: reply code for a refusal, of the class of the action; 0: the default
    :ivar enhanced: enhanced code of the same class; "": the default
    :ivar recipients: indexes of the recipients that it is about; None: all
    :ivar skips: of an `accept`: names of the filters that need not be heard
    :ivar protects: level of TLS (`policy.protection.LEVELS`) that it asks of the leg to the backend
    :ivar category: one of CATEGORIES; "": that of the filter
    :ivar filter: who says so; set by the chain
    :ivar is_shadow: recorded without effect; set by the chain
    :ivar seconds: how long the filter took; set by the chain
    """

    reason: str = attrs.field(validator=_valid_reason)
    action: str = attrs.field(default="note", validator=_valid_action)
    public: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    detail: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    score: float = attrs.field(default=0.0, validator=_valid_score)
    code: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    enhanced: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    recipients: frozenset[int] | None = attrs.field(default=None, converter=_indexes)
    skips: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    category: str = attrs.field(default="", validator=attrs.validators.in_(("", *CATEGORIES)))
    protects: str = attrs.field(default="", validator=attrs.validators.in_(TLS_LEVELS))
    filter: str = ""
    is_shadow: bool = False
    seconds: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.code:
            wanted = {"reject": 5, "defer": 4}.get(self.action)
            if wanted is None or self.code // 100 != wanted:
                raise ValueError(f"reply code {self.code} does not fit action {self.action!r}")
        if self.enhanced and _ENHANCED.fullmatch(self.enhanced) is None:
            raise ValueError(f"enhanced code {self.enhanced!r} is none (RFC 3463 section 2)")
        if self.enhanced and self.action in _DEFAULT and self.enhanced[0] != str(_DEFAULT[self.action][0])[0]:
            raise ValueError(f"enhanced code {self.enhanced} does not fit action {self.action!r}")

    def reply(self) -> Reply:
        """The refusal that this finding makes."""
        code, enhanced = _DEFAULT[self.action]
        text = printable(self.public) or ("Refused by policy" if self.action == "reject" else "Try again later")
        return Reply(self.code or code, self.enhanced or enhanced, (text,))


def _read_only(given: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(given))


@attrs.frozen
class Scale:
    """What the sum of scores leads to. A threshold of None is off.

    :ivar replies: by reason of a finding: the text for the sender, in place of the filter's own; `SCORES` for the sum
    """

    tag: float | None = None
    quarantine: float | None = None
    defer: float | None = None
    reject: float | None = None
    replies: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only)

    def action(self, score: float) -> tuple[str, float]:
        """The strongest action that a sum reaches, and its threshold; ("note", 0.0) for none."""
        for action in ("reject", "defer", "quarantine", "tag"):
            threshold = getattr(self, action)
            if threshold is not None and score >= threshold:
                return action, threshold
        return "note", 0.0


NO_SCALE: Final = Scale()


@attrs.frozen
class Verdict:
    """The decision over a stage, and over a message.

    :ivar action: the strongest that is in force
    :ivar decided_by: the finding that decided; None for an undisturbed pass
    :ivar score: sum of the scores in force
    :ivar would: what the shadow findings would have made of it, where that is stronger; else ""
    :ivar spared: what it would have been but for mercy; else ""
    """

    action: str = "accept"
    decided_by: Finding | None = None
    score: float = 0.0
    would: str = ""
    spared: str = ""

    @property
    def rank(self) -> int:
        """How strong its action is."""
        return _RANK[self.action]

    @property
    def is_refusal(self) -> bool:
        """True when the mail does not go on now."""
        return self.action in ("reject", "defer")


PASS: Final = Verdict()


def merge(findings: Iterable[Finding], scale: Scale = NO_SCALE, has_mercy: bool = False) -> Verdict:
    """The one decision: the strongest action in force wins, among equals the first found.

    A refusal for good is stronger than one for now: where one filter has seen malware, another's failure to answer
    does not make the sender try again. An `accept` silences the filters that it names, and no other.

    :param scale: thresholds for the sum of scores; the sum speaks where no finding says something as strong
    :param has_mercy: the message is for somebody whom guesses must not keep it from: a finding of a category in
        `MERCIFUL`, and the sum, tag it at most
    """
    findings = tuple(findings)
    if not findings:
        return PASS
    skipped: set[str] = set()
    for finding in findings:
        if finding.action == "accept" and not finding.is_shadow:
            skipped |= finding.skips
    heard = [finding for finding in findings if finding.filter not in skipped]
    best, score, spared = _strongest([one for one in heard if not one.is_shadow], scale, has_mercy)
    action = best.action if best is not None else "accept"
    would = ""
    if len(heard) and any(one.is_shadow for one in heard):
        # As if shadow were enforce: scores that are tried out add up with those in force.
        other, _, _ = _strongest(heard, scale, has_mercy)
        if other is not None and _RANK[other.action] > max(_RANK[action], _RANK["accept"]):
            would = other.action
    return Verdict(action, best, score, would, spared)


def _strongest(findings: list[Finding], scale: Scale, has_mercy: bool) -> tuple[Finding | None, float, str]:
    """The finding that decides, the sum of scores, and the action that mercy took away."""
    best: Finding | None = None
    score = 0.0
    spared = ""
    for finding in findings:
        score += finding.score
        if finding.action == "note":
            continue
        if has_mercy and finding.category in MERCIFUL and _RANK[finding.action] > _RANK["tag"]:
            spared = max(spared, finding.action, key=lambda one: _RANK.get(one, -1))
            finding = attrs.evolve(finding, action="tag", code=0, enhanced="")
        if best is None or _RANK[finding.action] > _RANK[best.action]:
            best = finding
    action, threshold = scale.action(score)
    if action != "note":
        if has_mercy and _RANK[action] > _RANK["tag"]:
            spared = max(spared, action, key=lambda one: _RANK.get(one, -1))
            action = "tag"
        if best is None or _RANK[action] > _RANK[best.action]:
            best = _sum_speaks(findings, action, threshold, score)
    if best is not None:
        text = scale.replies.get(best.reason)
        if text is not None:
            best = attrs.evolve(best, public=text)
    return best, score, spared


def _sum_speaks(findings: list[Finding], action: str, threshold: float, score: float) -> Finding:
    parts = sorted((one for one in findings if one.score), key=lambda one: -one.score)
    what = ", ".join(f"{one.reason} {one.score:+.1f}" for one in parts)
    return Finding(
        SCORES,
        action,
        "The message looks like spam"
        if action == "reject"
        else "The message looks suspicious; it may be sent again later",
        f"{score:.1f} points, {threshold:g} are enough: {what}"[:1000],
        category="spam",
        filter=SCORES,
    )
