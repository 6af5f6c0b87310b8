"""One session with its messages as plain values, ready for JSON: what history keeps and pages show.

Made from the facts when somebody asks, never while mail moves. Times are seconds since the epoch; `at_ms` and its like
are milliseconds since the session began.
"""

from __future__ import annotations

from typing import Any

from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.reply import Reply


def plain(facts: Session, now: float) -> dict[str, Any]:
    """A session as it stands.

    :param now: of the clock that the session's times are of
    """
    running = [facts.transaction] if facts.transaction is not None else []
    tls = facts.tls
    return {
        "id": facts.id,
        "is_live": not facts.ended,
        "listener": facts.listener,
        "role": facts.role,
        "revision": facts.revision,
        "started": facts.started,
        "duration_ms": ((facts.ended or now) - facts.begun) * 1000,
        "client_ip": facts.client_ip,
        "client_port": facts.client_port,
        "client_name": facts.client_name,
        "peer_ip": facts.peer_ip,
        "helo": facts.helo,
        "protocol": facts.protocol,
        "tls": {
            "version": tls.version,
            "cipher": tls.cipher,
            "sni": tls.sni,
            "peer_name": tls.peer_name,
            "is_verified": tls.is_verified,
        }
        if tls is not None
        else None,
        "user": facts.user,
        "mechanism": facts.mechanism,
        "stage": facts.stage,
        "closed_by": facts.closed_by,
        "errors": facts.errors,
        "octets_in": facts.octets_in,
        "octets_out": facts.octets_out,
        "findings": [_finding(finding) for finding in facts.findings],
        "messages": [_message(transaction, facts.begun) for transaction in (*facts.transactions, *running)],
        "timeline": [
            {"at_ms": at * 1000, "who": who, "what": what, "detail": _detail(detail)}
            for at, who, what, detail in facts.timeline
        ],
        "dropped_steps": facts.dropped_steps,
    }


def _detail(detail: object) -> str:
    if isinstance(detail, Recipient):
        reply = detail.reply
        return f"<{detail.path}> {reply.code} {reply.text}" if reply is not None else f"<{detail.path}>"
    return str(detail)


def _reply(reply: Reply | None) -> dict[str, Any] | None:
    return {"code": reply.code, "enhanced": reply.enhanced, "text": reply.text} if reply is not None else None


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "filter": finding.filter,
        "reason": finding.reason,
        "action": finding.action,
        "score": finding.score,
        "public": finding.public,
        "detail": finding.detail,
        "is_shadow": finding.is_shadow,
        "duration_ms": finding.seconds * 1000,
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "action": verdict.action,
        "score": verdict.score,
        "would": verdict.would,
        "decided_by": _finding(verdict.decided_by) if verdict.decided_by is not None else None,
    }


def _message(facts: Transaction, begun: float) -> dict[str, Any]:
    def since(seconds: float) -> float | None:
        return (seconds - begun) * 1000 if seconds else None

    return {
        "id": facts.id,
        "session_id": facts.session.id,
        "sender": f"<{facts.sender}>",
        "recipients": [
            {"address": f"<{one.path}>", "state": one.state, "reply": _reply(one.reply), "final": _reply(one.final)}
            for one in facts.recipients
        ],
        "route": facts.route,
        "backend": facts.backend,
        "server": facts.server,
        "backend_tls": facts.backend_tls,
        "size_octets": facts.octets,
        "message_id": facts.message_id,
        "subject": facts.subject,
        "outcome": facts.outcome,
        "reply": _reply(facts.reply),
        "verdict": _verdict(facts.verdict),
        "findings": [_finding(finding) for finding in facts.findings],
        "notes": list(facts.notes),
        "begun_ms": since(facts.begun) or 0.0,
        "data_ms": since(facts.data_at),
        "end_ms": since(facts.end_at),
        "verdict_ms": since(facts.verdict_at),
        "committed_ms": since(facts.committed_at),
        "ended_ms": since(facts.ended),
    }
