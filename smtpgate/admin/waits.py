"""Who waits for whom: the usual time of each part of a message beside its own, the gaps between the steps of a session,
and how long a client is patient.

The usual time is that of the last 24 hours, as exactly as the buckets of the metrics tell; of the time that one look-up
in the DNS took inside a check nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.admin import insight
from smtpgate.admin.record import FindingView, MessageView, SessionRecord, Step
from smtpgate.control.views import Unavailable

#: How long a client waits at least for the reply to its message (RFC 5321 section 4.5.3.2.6).
PATIENCE_MS: Final = 600_000.0
#: Usual times are looked up so often.
KEPT_S: Final = 60.0
#: What phases are called among the metrics.
_STAGES: Final = {"envelope": "rcpt", "content": "data", "checks": "filter", "backend": "backend"}
#: Filters that speak for limits.
_LIMITS: Final = frozenset({"rate_limits", "concurrency_limits"})


@attrs.frozen
class Usual:
    """The usual time of something: half of it and 95 of 100 took no longer, milliseconds."""

    half_ms: float
    most_ms: float


Known = Mapping[tuple[str, str], Usual]


class Usuals:
    """Those of one gateway, looked up once in a while."""

    def __init__(self, statistics: Any, seconds: Callable[[], float]) -> None:
        self._statistics = statistics
        self._seconds = seconds
        self._known: Known = {}
        self._until = 0.0

    async def known(self) -> Known:
        """By ("stage", name) and ("filter", name); what cannot be had is not there."""
        now = self._seconds()
        if now < self._until:
            return self._known
        self._until = now + KEPT_S
        found: dict[tuple[str, str], Usual] = {}
        try:
            asked = self._statistics.range(0, 0)
            for of in ("stage", "filter"):
                for part in (await self._statistics.distribution(of, of, asked)).parts:
                    if part.p50 is not None and part.p95 is not None:
                        found[of, part.name] = Usual(part.p50 * 1000, part.p95 * 1000)
        except Unavailable:
            # The page is about one message; how others fare is a help and no more.
            pass
        self._known = found
        return found


@attrs.frozen
class Wait:
    """A phase beside its usual time, both in thousandths of the picture.

    :ivar usual: None where nothing is known of it
    :ivar half, most: where its bar would usually end; at most 1000
    """

    phase: insight.Phase
    usual: Usual | None
    half: int = 0
    most: int = 0

    @property
    def is_slow(self) -> bool:
        """It took longer than 95 of 100 do."""
        return self.usual is not None and self.phase.took_ms > self.usual.most_ms


def beside(phases: Sequence[insight.Phase], known: Known) -> list[Wait]:
    """Each phase with its usual time."""
    if not phases:
        return []
    begun = phases[0].began_ms
    room = max(max(one.began_ms + one.took_ms for one in phases) - begun, 0.001)
    out = []
    for one in phases:
        usual = known.get(("filter", one.name) if one.is_inner else ("stage", _STAGES.get(one.name, "")))
        if usual is None:
            out.append(Wait(one, None))
            continue
        since = one.began_ms - begun
        half, most = (min(1000, round((since + took) / room * 1000)) for took in (usual.half_ms, usual.most_ms))
        out.append(Wait(one, usual, half, most))
    return out


@attrs.frozen
class Patience:
    """How much of a client's patience a message has taken.

    :ivar used: part of `PATIENCE_MS` from the end of its data to the reply, or to now
    :ivar line: where that patience ends in the picture, in thousandths; None: far to the right of it
    :ivar left_ms: when the client left without the reply, since the session began; None where it did not
    """

    used: float
    line: int | None
    left_ms: float | None


def patience(message: MessageView, record: SessionRecord) -> Patience | None:
    """None for a message whose data did not come to their end."""
    if message.end_ms is None:
        return None
    until = message.ended_ms if message.ended_ms is not None else record.duration_ms
    room = max(until - message.begun_ms, 0.001)
    at = round((message.end_ms + PATIENCE_MS - message.begun_ms) / room * 1000)
    gone = next((step.at_ms for step in record.timeline if (step.who, step.what) == ("client", "gone")), None)
    left = gone if gone is not None and message.end_ms <= gone <= until else None
    return Patience(max(0.0, until - message.end_ms) / PATIENCE_MS, at if at <= 1000 else None, left)


# Gaps


@attrs.frozen
class Gap:
    """From one step of a session to the next: for whom was waited, and the words for it."""

    step: Step
    took_ms: float
    waits_for: str
    words: str


_WORDS: Final = {
    "client": "the client said nothing",
    "backend": "the backend had the word",
    "filter": "our checks were at work",
    "us": "the gateway was at work",
}
#: What the gateway itself notes, and who waited for what until then.
_OURS: Final = {"paced": "us", "close": "client", "class": "us"}
_ENDED_BY: Final = frozenset({"client", "quit", "timeout"})
#: Shorter gaps need no words.
NAMED_MS: Final = 1.0


def gaps(record: SessionRecord) -> list[Gap]:
    """One behind each step; the last one lasts until the end of the session."""
    steps = record.timeline
    end = max(record.duration_ms, steps[-1].at_ms if steps else 0.0)
    out = []
    for number, step in enumerate(steps):
        following = steps[number + 1] if number + 1 < len(steps) else None
        took = max(0.0, (following.at_ms if following is not None else end) - step.at_ms)
        who = _waited(step, following, record)
        out.append(Gap(step, took, who, _WORDS[who] if took >= NAMED_MS else ""))
    return out


def _waited(step: Step, following: Step | None, record: SessionRecord) -> str:
    if following is None:
        if record.is_live:
            return "us" if step.who == "client" and step.what not in ("EHLO", "HELO", "LHLO", "TLS") else "client"
        return "client" if record.closed_by in _ENDED_BY else "us"
    if following.who in ("client", "backend", "filter"):
        return following.who
    if following.who == "limit":
        return "us"
    for message in record.messages:
        # The last word about a message: its own parts say for whom most of it was waited.
        if message.outcome == following.what and message.ended_ms is not None:
            if abs(message.ended_ms - following.at_ms) < 5.0:
                parts = [one for one in insight.phases(message, record) if one.began_ms >= step.at_ms - 5.0]
                outer = [one for one in parts if not one.is_inner]
                if outer:
                    return max(outer, key=lambda one: one.took_ms).waits_for
    return _OURS.get(following.what, "us")


# Limits


@attrs.frozen
class Touched:
    """A limit that was met, by the session or by one of its messages (`message` is "" for the session)."""

    limit: str
    action: str
    detail: str
    is_shadow: bool
    message: str


def touched(record: SessionRecord) -> list[Touched]:
    """Limits that were met."""

    def of(findings: Sequence[FindingView], message: str) -> list[Touched]:
        return [
            Touched(one.reason, one.action, one.detail, one.is_shadow, message)
            for one in findings
            if one.filter in _LIMITS
        ]

    out = of(record.findings, "")
    for message in record.messages:
        out += of(message.findings, message.id)
    return out
