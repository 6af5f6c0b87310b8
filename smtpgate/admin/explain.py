"""Why: the plain words over one session or message, and the bars of its timeline.

Pure functions of a record. The sentence names who decided: a filter of ours, the gateway itself, the backend
server, or the client that went away. It repeats no foreign text; the reply is shown beside it.
"""

from __future__ import annotations

from typing import Final

import attrs

from smtpgate.admin.record import FindingView, MessageView, RecipientView, SessionRecord, VerdictView
from smtpgate.policy.held import TAKEN, TAKING
from smtpgate.policy.verdict import FILTER_FAILED, SCORES
from smtpgate.smtp.status import BACKEND_UNREACHABLE


@attrs.frozen
class Banner:
    """One sentence and how it is meant: "good", "bad", "wait", "open" or "neutral"."""

    tone: str
    word: str
    sentence: str


@attrs.frozen
class Bar:
    """One row of the timeline with its place in the picture, in thousandths of the width."""

    at_ms: float
    delta_ms: float
    who: str
    what: str
    detail: str
    start: int
    width: int


def session_of(reference: str) -> str:
    """The session's part of a reference."""
    return reference.partition(".")[0]


def of_message(message: MessageView) -> Banner:
    """The sentence over one message."""
    if not message.outcome:
        return Banner("open", "running", f"This message is on its way: {_progress(message)}.")
    server = f"server {message.server} of backend {message.backend}" if message.server else "the backend"
    if message.outcome == "delivered":
        server = _takers(message) or server
        known = " It was delivered at an earlier try and not sent again." if _was_known(message) else ""
        refused = _count(message.recipients, ("refused", "deferred"))
        part = f" {refused} of {len(message.recipients)} recipients were not accepted." if refused else ""
        tag = ""
        if message.verdict is not None and message.verdict.action == "tag":
            tag = _mark(message.verdict)
        taken = [one.address for one in message.recipients if one.state in TAKEN]
        part += f" For {', '.join(taken[:3])} it was {_taken_as(message)}." if taken else ""
        return Banner("good", "accepted", f"Accepted: {server} took it, and the client was told so.{known}{part}{tag}")
    if message.outcome in TAKEN:
        verb, rest = _TAKEN[message.outcome]
        return Banner("wait", message.outcome, f"{verb}, {_culprit(message)}; the client heard 250.{rest}")
    if message.outcome == "unacked":
        return Banner(
            "wait",
            "accepted, not acknowledged",
            f"Accepted: {_takers(message) or server} took it, but the client left before it could hear so. Its retry "
            "is answered from the ledger and not delivered again.",
        )
    if message.outcome == "unknown":
        return Banner(
            "wait",
            "unknown",
            f"The connection to {server} was lost after the end of the message: it may be delivered or not. The client "
            "was asked to try again; a duplicate is possible, a loss is not.",
        )
    if message.outcome == "aborted":
        gone = "left" if "client_gone" in message.notes else "gave it up"
        return Banner(
            "neutral",
            "given up by the client",
            f"The client {gone} {_progress(message)}; nothing was delivered.",
        )
    now = message.outcome == "deferred"
    verb, word = ("Deferred: the sender was asked to try again later", "deferred") if now else ("Refused", "refused")
    have = _count(message.recipients, ("delivered", "known")) if now else 0
    part = f" {have} of {len(message.recipients)} recipients have it already and do not get it again." if have else ""
    return Banner("wait" if now else "bad", word, f"{verb}, {_culprit(message)}.{part}")


def _takers(message: MessageView) -> str:
    """The servers that have it; "" where the record does not say."""
    took = dict.fromkeys((one.server, one.backend) for one in message.recipients if one.state == "delivered")
    return " and ".join(f"server {server} of backend {backend}" for server, backend in took if server)


def _mark(verdict: VerdictView) -> str:
    """Which mark it got, and why."""
    decided = verdict.decided_by
    if decided is None:
        return " Our checks marked it."
    if decided.filter == SCORES:
        return f" Our checks marked it, with {verdict.score:.1f} points."
    return f" Our checks marked it: \u201c{decided.filter}\u201d found \u201c{decided.reason}\u201d."


_DECIDED = frozenset({"reject", "defer", *TAKING})
#: What became of a message that the gateway took.
_TAKEN = {
    "held": ("Held", " It is in the quarantine, and goes to nobody until somebody releases it."),
    "discarded": ("Discarded", " Nobody gets it; for some days it is in the quarantine."),
    "redirected": ("Redirected", " It goes to the addresses of the rule, and to nobody else."),
}


def _taken_as(message: MessageView) -> str:
    states = dict.fromkeys(one.state for one in message.recipients if one.state in TAKEN)
    return " or ".join(states)


def _culprit(message: MessageView) -> str:
    verdict = message.verdict
    if verdict is not None and verdict.decided_by is not None and verdict.action in _DECIDED:
        return _check(verdict.decided_by)
    recipients = [
        one
        for one in message.recipients
        if one.state in ("refused", "deferred") and (one.reply is None or one.reply.code >= 400)
    ]
    if recipients and len(recipients) == len(message.recipients) and message.end_ms is None:
        if not message.server and all(_is_unreachable(one) for one in recipients):
            return "because no server of the backend could be used: each was drained, or could not be reached"
        who = "the backend" if message.server else "the gateway"
        return f"because {who} accepted none of its recipients"
    if not message.server:
        return "by the gateway itself, before any backend was asked"
    if message.end_ms is not None:
        return f"by the backend server {message.server}, after it had seen the whole message"
    return f"by the backend server {message.server} or on the way to it"


def _check(decided: FindingView) -> str:
    if decided.reason == FILTER_FAILED:
        return f"because our check \u201c{decided.filter}\u201d could not be done"
    return f"because our check \u201c{decided.filter}\u201d found \u201c{decided.reason}\u201d"


def _is_unreachable(recipient: RecipientView) -> bool:
    """Whether it heard the gateway's own word for a backend without a server (`smtp.status.BACKEND_UNREACHABLE`)."""
    reply, ours = recipient.reply, BACKEND_UNREACHABLE
    return reply is not None and (reply.code, reply.enhanced) == (ours.code, ours.enhanced)


def _progress(message: MessageView) -> str:
    if message.end_ms is not None:
        return "after the end of the message"
    if message.data_ms is not None:
        return "while its content came"
    return "after the recipients" if message.recipients else "after the sender was named"


def _was_known(message: MessageView) -> bool:
    return any(one.state == "known" for one in message.recipients) or "known_from_ledger" in message.notes


def _count(recipients: tuple[RecipientView, ...], states: tuple[str, ...]) -> int:
    return sum(one.state in states for one in recipients)


_ENDS: Final = {
    "quit": "The client said goodbye.",
    "client": "The client closed the connection.",
    "server": "The gateway closed the connection.",
    "timeout": "The client said nothing for too long.",
    "error": "The session was ended after too many errors of the client.",
    "crash": "Something went wrong in the gateway itself, which ended the session; the log says what.",
    "drain": "The gateway was draining to shut down, and told the client to come again soon (421 4.3.2).",
    "admin": "An administrator ended it.",
}


def of_session(record: SessionRecord) -> Banner:
    """The sentence over a whole session."""
    count = len(record.messages)
    if record.is_live:
        return Banner("open", "live", f"This session is running; stage: {record.stage or 'connect'}.")
    end = _ENDS.get(record.closed_by, "The session is over.")
    if not count:
        refused = next(
            (one for one in record.findings if one.action in ("reject", "defer") and not one.is_shadow), None
        )
        if refused is not None:
            return Banner("bad", "turned away", f"Turned away {_check(refused)}. {end}")
        return Banner("neutral", "no mail", f"No mail was offered in this session. {end}")
    if count == 1:
        banner = of_message(record.messages[0])
        return attrs.evolve(banner, sentence=f"{banner.sentence} {end}")
    good = sum(one.outcome in ("delivered", "unacked") for one in record.messages)
    tone = "good" if good == count else "wait" if good else "bad"
    return Banner(tone, f"{good} of {count} accepted", f"{good} of {count} messages were accepted. {end}")


def bars(record: SessionRecord) -> list[Bar]:
    """The timeline: each step lasts until the next, the last until the end."""
    steps = record.timeline
    total = max(record.duration_ms, steps[-1].at_ms if steps else 0.0, 1.0)
    out = []
    before = 0.0
    for number, step in enumerate(steps):
        until = steps[number + 1].at_ms if number + 1 < len(steps) else total
        start = min(round(step.at_ms / total * 1000), 997)
        width = max(3, min(round((until - step.at_ms) / total * 1000), 1000 - start))
        out.append(Bar(step.at_ms, step.at_ms - before, step.who, step.what, step.detail, start, width))
        before = step.at_ms
    return out
