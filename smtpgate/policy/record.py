"""One session with its messages as plain values, ready for JSON: what history keeps and pages show.

Made from the facts when somebody asks, never while mail moves. Times are seconds since the epoch; `at_ms` and its like
are milliseconds since the session began.

There are two forms. `compact` gives bare lists, in the order of the names below, times in whole microseconds: half the
work and the room, for what is kept by the thousand and seldom read. `expand` puts the names to them. Fields are added
at the end of a list and never taken away: what was kept before lacks the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.reply import Reply

_SESSION: Final = (
    "id",
    "is_live",
    "listener",
    "role",
    "revision",
    "started",
    "duration_ms",
    "client_ip",
    "client_port",
    "client_name",
    "peer_ip",
    "helo",
    "protocol",
    "tls",
    "user",
    "mechanism",
    "stage",
    "closed_by",
    "errors",
    "octets_in",
    "octets_out",
    "findings",
    "messages",
    "timeline",
    "dropped_steps",
    "traffic_class",
    "class_reason",
)
_TLS: Final = ("version", "cipher", "sni", "peer_name", "is_verified")
_MESSAGE: Final = (
    "id",
    "session_id",
    "sender",
    "recipients",
    "route",
    "backend",
    "server",
    "backend_tls",
    "size_octets",
    "message_id",
    "subject",
    "outcome",
    "reply",
    "verdict",
    "findings",
    "notes",
    "begun_ms",
    "data_ms",
    "end_ms",
    "verdict_ms",
    "committed_ms",
    "ended_ms",
    "changes",
)
_CHANGE: Final = ("author", "what", "where", "before", "after")
_RECIPIENT: Final = ("address", "state", "reply", "final", "backend", "server")
_REPLY: Final = ("code", "enhanced", "text")
_FINDING: Final = ("filter", "reason", "action", "score", "public", "detail", "is_shadow", "duration_ms", "category")
_VERDICT: Final = ("action", "score", "would", "decided_by", "spared")
_STEP: Final = ("at_ms", "who", "what", "detail")

#: Where a value stands in the lists of `compact`.
SESSION_AT: Final = {name: at for at, name in enumerate(_SESSION)}
MESSAGE_AT: Final = {name: at for at, name in enumerate(_MESSAGE)}
RECIPIENT_AT: Final = {name: at for at, name in enumerate(_RECIPIENT)}
FINDING_AT: Final = {name: at for at, name in enumerate(_FINDING)}

#: Whole microseconds in a list, milliseconds under a name.
_TIMES: Final = {name for names in (_SESSION, _MESSAGE, _FINDING, _STEP) for name in names if name.endswith("_ms")}


def plain(facts: Session, now: float) -> dict[str, Any]:
    """A session as it stands, with names.

    :param now: of the clock that the session's times are of
    """
    return expand(compact(facts, now))


# Without names


def compact(facts: Session, now: float) -> list[Any]:
    """The same as lists of values.

    :param now: of the clock that the session's times are of
    """
    begun, id, tls, running = facts.begun, facts.id, facts.tls, facts.transaction
    transactions = facts.transactions if running is None else [*facts.transactions, running]
    return [
        id,
        not facts.ended,
        facts.listener,
        facts.role,
        facts.revision,
        facts.started,
        round(((facts.ended or now) - begun) * 1_000_000),
        facts.client_ip,
        facts.client_port,
        facts.client_name,
        facts.peer_ip,
        facts.helo,
        facts.protocol,
        [tls.version, tls.cipher, tls.sni, tls.peer_name, tls.is_verified] if tls is not None else None,
        facts.user,
        facts.mechanism,
        facts.stage,
        facts.closed_by,
        facts.errors,
        facts.octets_in,
        facts.octets_out,
        [_finding(finding) for finding in facts.findings],
        [_message(transaction, id, begun) for transaction in transactions],
        [
            [round(at * 1_000_000), who, what, detail if type(detail) is str else _detail(detail)]
            for at, who, what, detail in facts.timeline
        ],
        facts.dropped_steps,
        facts.traffic_class,
        facts.class_reason,
    ]


def _detail(detail: object) -> str:
    if isinstance(detail, Recipient):
        reply = detail.reply
        return f"<{detail.path}> {reply.code} {reply.text}" if reply is not None else f"<{detail.path}>"
    return str(detail)


def _reply(reply: Reply | None) -> list[Any] | None:
    return [reply.code, reply.enhanced, reply.text] if reply is not None else None


def _finding(finding: Finding) -> list[Any]:
    return [
        finding.filter,
        finding.reason,
        finding.action,
        finding.score,
        finding.public,
        finding.detail,
        finding.is_shadow,
        round(finding.seconds * 1_000_000),
        finding.category,
    ]


def _verdict(verdict: Verdict) -> list[Any]:
    decided = verdict.decided_by
    by = _finding(decided) if decided is not None else None
    return [verdict.action, verdict.score, verdict.would, by, verdict.spared]


def _recipient(facts: Transaction, one: Recipient) -> list[Any]:
    """What became of one: who was accepted at RCPT shares what the message heard at its end."""
    state, final = one.state, one.final
    if state == "accepted" and facts.outcome in ("refused", "deferred"):
        state, final = facts.outcome, final or facts.reply
    return [f"<{one.path}>", state, _reply(one.reply), _reply(final), one.backend, one.server]


def _message(facts: Transaction, session_id: str, begun: float) -> list[Any]:
    return [
        facts.id,
        session_id,
        f"<{facts.sender}>",
        [_recipient(facts, one) for one in facts.recipients],
        facts.route,
        facts.backend,
        facts.server,
        facts.backend_tls,
        facts.octets,
        facts.message_id,
        facts.told_subject,
        facts.outcome,
        _reply(facts.reply),
        _verdict(facts.verdict) if facts.verdict is not None else None,
        [_finding(finding) for finding in facts.findings] if facts.findings else [],
        list(facts.notes),
        round((facts.begun - begun) * 1_000_000) if facts.begun else 0,
        round((facts.data_at - begun) * 1_000_000) if facts.data_at else None,
        round((facts.end_at - begun) * 1_000_000) if facts.end_at else None,
        round((facts.verdict_at - begun) * 1_000_000) if facts.verdict_at else None,
        round((facts.committed_at - begun) * 1_000_000) if facts.committed_at else None,
        round((facts.ended - begun) * 1_000_000) if facts.ended else None,
        [[one.author, one.what, one.where, one.before, one.after] for one in facts.changes] if facts.changes else [],
    ]


# With names


def expand(values: list[Any]) -> dict[str, Any]:
    """Names to what `compact` made, now or at an earlier version."""
    record = _named(_SESSION, values)
    record["tls"] = _named_or_none(_TLS, record["tls"])
    record["findings"] = [_named(_FINDING, one) for one in record["findings"]]
    record["messages"] = [_named_message(one) for one in record["messages"]]
    record["timeline"] = [_named(_STEP, one) for one in record["timeline"]]
    return record


def _named(names: tuple[str, ...], values: list[Any]) -> dict[str, Any]:
    named = dict(zip(names, values, strict=False))
    for name in _TIMES & named.keys():
        if named[name] is not None:
            named[name] /= 1000
    return named


def _named_or_none(names: tuple[str, ...], values: list[Any] | None) -> dict[str, Any] | None:
    return None if values is None else _named(names, values)


def _named_message(values: list[Any]) -> dict[str, Any]:
    message = _named(_MESSAGE, values)
    message["reply"] = _named_or_none(_REPLY, message["reply"])
    message["findings"] = [_named(_FINDING, one) for one in message["findings"]]
    verdict = message["verdict"] = _named_or_none(_VERDICT, message["verdict"])
    if verdict is not None:
        verdict["decided_by"] = _named_or_none(_FINDING, verdict["decided_by"])
    message["changes"] = [_named(_CHANGE, one) for one in message.get("changes", ())]
    message["recipients"] = [_named(_RECIPIENT, one) for one in message["recipients"]]
    for recipient in message["recipients"]:
        for name in ("reply", "final"):
            recipient[name] = _named_or_none(_REPLY, recipient[name])
    return message


def listed(record: Mapping[str, Any]) -> list[Any]:
    """The lists of a record with names, as an earlier version kept it."""
    values = _values(_SESSION, record)
    values[SESSION_AT["tls"]] = _values(_TLS, record["tls"]) if record.get("tls") else None
    values[SESSION_AT["findings"]] = [_values(_FINDING, one) for one in record.get("findings", ())]
    values[SESSION_AT["messages"]] = [_listed_message(one) for one in record.get("messages", ())]
    values[SESSION_AT["timeline"]] = [_values(_STEP, one) for one in record.get("timeline", ())]
    return values


def _values(names: tuple[str, ...], named: Mapping[str, Any]) -> list[Any]:
    values: list[Any] = [named.get(name) for name in names]
    for at, name in enumerate(names):
        if name in _TIMES and values[at] is not None:
            values[at] = round(values[at] * 1000)
    return values


def _listed_message(named: Mapping[str, Any]) -> list[Any]:
    values = _values(_MESSAGE, named)
    values[MESSAGE_AT["reply"]] = _values(_REPLY, named["reply"]) if named.get("reply") else None
    values[MESSAGE_AT["findings"]] = [_values(_FINDING, one) for one in named.get("findings", ())]
    verdict = named.get("verdict")
    if verdict:
        decided = verdict.get("decided_by")
        verdict = _values(_VERDICT, {**verdict, "decided_by": _values(_FINDING, decided) if decided else None})
    values[MESSAGE_AT["verdict"]] = verdict or None
    values[MESSAGE_AT["changes"]] = [_values(_CHANGE, one) for one in named.get("changes", ())]
    values[MESSAGE_AT["recipients"]] = [
        [
            *_values(_RECIPIENT[:2], one),
            *(_values(_REPLY, one[name]) if one.get(name) else None for name in ("reply", "final")),
            *_values(_RECIPIENT[4:], one),
        ]
        for one in named.get("recipients", ())
    ]
    return values
