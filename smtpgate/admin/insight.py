"""What a record shows of a message: who it is proved to be from, how its points add up, what each part of its time was
spent on, what the backend calls it, and what a sender who asks can be told.

Pure functions of a record, as in `explain`. What would have been without a finding is worked out by the very function
that decided (`policy.verdict.merge`), not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from smtpgate.admin.record import FindingView, MessageView, SessionRecord
from smtpgate.admin.text import octets
from smtpgate.policy.held import TAKING
from smtpgate.policy.verdict import SCORES, Finding, Scale, merge

#: Filters whose reasons are "method-result" with the words of RFC 8601 section 2.7.
METHODS: Final = ("spf", "dkim", "arc", "dmarc")
_TONES: Final = {"pass": "good", "trusted": "good", "fail": "bad", "softfail": "wait", "permerror": "wait"}
#: Findings that are looked at one by one: what would have been without them.
_LOOKED_AT: Final = 50


@attrs.frozen
class Proof:
    """One result of one method, "" where the method said nothing."""

    method: str
    result: str
    tone: str
    detail: str


def proofs(message: MessageView) -> list[Proof]:
    """What SPF, DKIM, ARC and DMARC said, in this order; empty where none of them looked."""
    out = []
    for method in METHODS:
        found = [one for one in message.findings if one.filter == method or one.reason.startswith(f"{method}-")]
        for one in found:
            result = one.reason.removeprefix(f"{method}-")
            out.append(Proof(method, result, _TONES.get(result.partition("-")[0], "neutral"), one.detail))
    return out


@attrs.frozen
class Point:
    """One finding that has points, with its bar, in thousandths of the picture."""

    filter: str
    reason: str
    score: float
    is_shadow: bool
    start: int
    width: int
    tone: str


@attrs.frozen
class Points:
    """How points add up.

    :ivar marks: thresholds as (action, points, place in thousandths)
    :ivar zero: place of nothing
    """

    total: float
    bars: tuple[Point, ...]
    marks: tuple[tuple[str, float, int], ...]
    zero: int


def points(message: MessageView, scale: Scale) -> Points | None:
    """The points of a message, the largest first; None where nothing has any."""
    scored = [one for one in message.findings if one.score]
    if not scored:
        return None
    scored.sort(key=lambda one: (one.is_shadow, -abs(one.score)))
    ends, at = [], 0.0
    for one in scored:
        begin = 0.0 if one.is_shadow else at
        at = at if one.is_shadow else at + one.score
        ends.append((one, begin, begin + one.score))
    thresholds = [
        (action, limit)
        for action in ("tag", "quarantine", "defer", "reject")
        if (limit := getattr(scale, action)) is not None
    ]
    places = [0.0, *(end for _, begin, to in ends for end in (begin, to)), *(limit for _, limit in thresholds)]
    low, high = min(places), max(places)
    room = max(high - low, 1.0)

    def place(value: float) -> int:
        return round((value - low) / room * 1000)

    bars = []
    for one, begin, to in ends:
        left, right = sorted((place(begin), place(to)))
        tone = "shadow" if one.is_shadow else "bad" if one.score > 0 else "good"
        bars.append(Point(one.filter, one.reason, one.score, one.is_shadow, left, max(right - left, 4), tone))
    marks = tuple((action, limit, place(limit)) for action, limit in thresholds)
    return Points(at, tuple(bars), marks, place(0.0))


@attrs.frozen
class Otherwise:
    """What would have become of a message without one finding."""

    filter: str
    reason: str
    action: str


def otherwise(message: MessageView, scale: Scale) -> list[Otherwise]:
    """The findings without which a weaker decision would have been made, the strongest difference first; empty
    where a record does not say enough to tell.

    :param scale: the thresholds at work; with those of another revision it may have been otherwise
    """
    verdict = message.verdict
    if verdict is None or verdict.action in ("accept", "note"):
        return []
    findings = [_finding(one) for one in message.findings if one.filter != SCORES][:_LOOKED_AT]
    whole = merge(findings, scale)
    if whole.action != verdict.action or any(one.action == "accept" for one in findings):
        # Thresholds were others, mercy was shown, or one finding silenced others: a record has not all of that.
        return []
    out = []
    for number, one in enumerate(findings):
        if one.is_shadow or not (one.score or one.action != "note"):
            continue
        less = merge([*findings[:number], *findings[number + 1 :]], scale)
        if less.rank < whole.rank:
            out.append((less.rank, Otherwise(one.filter, one.reason, less.action)))
    return [one for _, one in sorted(out, key=lambda pair: pair[0])]


_BELOW: Final = {"tag": "accepted with a mark", "quarantine": "held", "defer": "deferred"}


def below(message: MessageView, found: Points | None) -> str:
    """With how few points a milder decision would have been made, and where most of them came from; "" where points did
    not decide, or the thresholds are others by now.
    """
    verdict = message.verdict
    if found is None or verdict is None or verdict.decided_by is None or verdict.decided_by.filter != SCORES:
        return ""
    reached = sorted((limit, action) for action, limit, _ in found.marks if limit <= found.total + 1e-9)
    if not reached or reached[-1][1] != verdict.action:
        return ""
    limit = reached[-1][0]
    milder = _BELOW.get(reached[-2][1], "") if len(reached) > 1 else "accepted"
    most = max((one for one in found.bars if not one.is_shadow), key=lambda one: one.score)
    if not milder:
        return ""
    return (
        f"Below {limit:g} points it would have been {milder}; it has {found.total:g}, most of them from {most.filter}: "
        f"{most.reason} ({most.score:+g})."
    )


def _finding(view: FindingView) -> Finding:
    return Finding(
        view.reason,
        view.action,
        view.public,
        view.detail,
        view.score,
        category=view.category,
        filter=view.filter,
        is_shadow=view.is_shadow,
    )


@attrs.frozen
class Phase:
    """A part of a message's time, with its bar in thousandths of the picture.

    :ivar waits_for: for whom was waited: client, filter, backend or us
    :ivar is_inner: it is a part of the phase above it
    """

    name: str
    waits_for: str
    began_ms: float
    took_ms: float
    detail: str
    start: int
    width: int
    is_inner: bool = False


def phases(message: MessageView, record: SessionRecord) -> list[Phase]:
    """Where the time of a message went: the phases behind each other, checks inside theirs.

    Checks of one phase run side by side where they can; each is drawn from its phase's begin, since a record keeps how
    long it took and not when it began.
    """
    known = (message.ended_ms, message.committed_ms, message.verdict_ms, message.end_ms, message.data_ms)
    last = max((at for at in known if at), default=record.duration_ms)
    end = message.ended_ms or (record.duration_ms if record.is_live else last)
    marks: list[tuple[str, str, float | None, float | None, str]] = [
        ("envelope", "client", message.begun_ms, message.data_ms if message.data_ms is not None else end, ""),
        ("content", "client", message.data_ms, message.end_ms or end, _rate(message)),
        ("checks", "filter", message.end_ms, message.verdict_ms or end, ""),
        ("backend", "backend", message.verdict_ms or message.end_ms, message.committed_ms or end, message.server),
        ("reply", "us", message.committed_ms, message.ended_ms, ""),
    ]
    begun, room = message.begun_ms, max(end - message.begun_ms, 0.001)
    out: list[Phase] = []

    def bar(name: str, who: str, since: float, took: float, detail: str, is_inner: bool = False) -> Phase:
        start = min(max(round((since - begun) / room * 1000), 0), 997)
        width = max(3, min(round(took / room * 1000), 1000 - start))
        return Phase(name, who, since, took, detail, start, width, is_inner)

    for name, who, since, until, detail in marks:
        if since is None or until is None or (name != "envelope" and until <= since and name != "checks"):
            continue
        if name == "backend":
            action = message.verdict.action if message.verdict is not None else ""
            if action in TAKING:
                # No server has it: it is written to the disk.
                name, who, detail = "keeping", "us", ""
            elif not message.server or action in ("reject", "defer"):
                continue
        out.append(bar(name, who, since, max(0.0, until - since), detail))
        if name == "checks":
            slow = sorted((one for one in message.findings if one.duration_ms >= 0.1), key=lambda one: -one.duration_ms)
            seen: set[str] = set()
            for one in slow:
                if one.filter not in seen and len(seen) < 12:
                    seen.add(one.filter)
                    out.append(bar(one.filter, "filter", since, one.duration_ms, one.reason, True))
    return out


def _rate(message: MessageView) -> str:
    if message.data_ms is None or message.end_ms is None or not message.size_octets:
        return ""
    took_s = max(message.end_ms - message.data_ms, 0.001) / 1000
    return f"{octets(round(message.size_octets / took_s))}/s"


#: How servers say under which name they have a message; group 1 is the name.
_QUEUED: Final = (
    re.compile(r"queued as ([0-9A-Za-z]{6,40})\b"),  # Postfix
    re.compile(r"\bid=([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})\b"),  # Exim
    re.compile(r"^([0-9A-Za-z]{10,20}) Message accepted for delivery"),  # Sendmail
    re.compile(r"\[InternalId=([0-9]{5,20})"),  # Exchange
    re.compile(r"\bqp ([0-9]{2,10})\b"),  # qmail
    re.compile(r"\bkept as (\S{5,80})"),  # smtpgate's sink
    re.compile(r"^OK\s+[0-9]{9,11} (\S{10,80}) - gsmtp"),  # Google
)


def queue_id(text: str) -> str:
    """Under which name a backend has a message, where its reply says so in one of the usual ways; "" else."""
    for pattern in _QUEUED:
        found = pattern.search(text)
        if found is not None:
            return found[1]
    return ""


#: What a sender can do, by the class of the enhanced code (RFC 3463): the longest that fits.
_REMEDIES: Final = {
    "5.1.1": "Check the address: there is no such mailbox.",
    "5.1.2": "Check the part of the address behind the @.",
    "5.2.2": "The mailbox is full; its owner must make room.",
    "5.3.4": "Send less: the message is larger than is taken here.",
    "5.7.1": "Ask the recipient by another way, or your own postmaster with the reference below.",
    "5.7.10": "Your server must use TLS for this message.",
    "5.7.20": "Your server's DKIM signature is missing or broken.",
    "5.7.23": "Your server may not send for your domain by its SPF record.",
    "5.7.25": "Your server needs a name in the DNS that leads back to its address.",
    "5.7.26": "Your domain's own DMARC policy forbids this message as it was sent.",
    "4.7.1": "Nothing: your server tries again by itself.",
    "4": "Nothing: your server tries again by itself; if it does so for a day, ask your postmaster.",
    "5": "Ask your postmaster with the reference below.",
}


def answer(message: MessageView, hostname: str, when: str) -> str:
    """What helpdesk can send to a sender who asks, as text; "" where there is nothing to explain.

    It says no more than the reply said: no name of a filter, no score.
    """
    if message.reply is None or message.outcome not in ("refused", "deferred"):
        return ""
    code = message.reply.enhanced or str(message.reply.code)
    remedy = next((words for start, words in sorted(_REMEDIES.items(), reverse=True) if code.startswith(start)), "")
    verb = "did not accept" if message.outcome == "refused" else "could not take yet"
    to = ", ".join(one.address for one in message.recipients[:3])
    return "\n".join(
        (
            f"Your message of {when} from {message.sender} to {to}",
            f"was offered to {hostname}, which {verb} it and said:",
            "",
            f"    {message.reply.code} {message.reply.enhanced} {message.reply.text}".rstrip(),
            "",
            f"What you can do: {remedy}",
            f"Reference: {message.id}",
        )
    )


def reached(phases: Sequence[Phase]) -> str:
    """One line over the picture: which phase took most."""
    outer = [one for one in phases if not one.is_inner]
    if not outer:
        return ""
    longest = max(outer, key=lambda one: one.took_ms)
    share = longest.took_ms / max(sum(one.took_ms for one in outer), 0.001)
    whom = {"client": "the client", "filter": "our checks", "backend": "the backend", "us": "the gateway"}
    return f"Most of it, {share:.0%}, was waiting for {whom[longest.waits_for]}."
