"""One session as the office tells it, a live one from its facts and an ended one from the history, in one
shape.

`api` gives it as it is, `explain` says it in words, `pages` draws it. Times are seconds since the epoch,
`at_ms` and its like are milliseconds since the session began. Models of pydantic, because the API document is
made from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from smtpgate.policy.transaction import Recipient as RecipientFacts
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.reply import Reply


class View(BaseModel):
    """What the API answers with: never more than is declared."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReplyView(View):
    """A reply as it was told."""

    code: int
    enhanced: str = ""
    text: str = ""


class FindingView(View):
    """What one filter found."""

    filter: str = ""
    reason: str = ""
    action: str = "note"
    score: float = 0.0
    public: str = ""
    detail: str = ""
    is_shadow: bool = False
    duration_ms: float = 0.0


class VerdictView(View):
    """The decision over a message, and the finding that made it."""

    action: str = "accept"
    score: float = 0.0
    would: str = ""
    decided_by: FindingView | None = None


class RecipientView(View):
    """What became of one recipient."""

    address: str
    state: str = ""
    reply: ReplyView | None = None
    final: ReplyView | None = None


class Step(View):
    """One step of the timeline: who did what, and when."""

    at_ms: float
    who: str
    what: str
    detail: str = ""


class TLSView(View):
    """TLS of the client's leg."""

    version: str = ""
    cipher: str = ""
    sni: str = ""
    peer_name: str = ""
    is_verified: bool = False


class MessageView(View):
    """One mail transaction. `outcome` is "" while it runs."""

    id: str
    session_id: str = ""
    sender: str = ""
    recipients: tuple[RecipientView, ...] = ()
    route: int = 0
    backend: str = ""
    server: str = ""
    backend_tls: str = ""
    size_octets: int = 0
    message_id: str = ""
    subject: str = ""
    outcome: str = ""
    reply: ReplyView | None = None
    verdict: VerdictView | None = None
    findings: tuple[FindingView, ...] = ()
    notes: tuple[str, ...] = ()
    begun_ms: float = 0.0
    data_ms: float | None = None
    end_ms: float | None = None
    verdict_ms: float | None = None
    committed_ms: float | None = None
    ended_ms: float | None = None


class SessionRecord(View):
    """One client connection with all its messages."""

    id: str
    is_live: bool = False
    listener: str = ""
    role: str = ""
    revision: str = ""
    started: float = 0.0
    duration_ms: float = 0.0
    client_ip: str = ""
    client_port: int = 0
    client_name: str = ""
    peer_ip: str = ""
    helo: str = ""
    protocol: str = ""
    tls: TLSView | None = None
    user: str = ""
    mechanism: str = ""
    stage: str = ""
    closed_by: str = ""
    errors: int = 0
    octets_in: int = 0
    octets_out: int = 0
    findings: tuple[FindingView, ...] = ()
    messages: tuple[MessageView, ...] = ()
    timeline: tuple[Step, ...] = ()
    dropped_steps: int = 0

    def message(self, id: str) -> MessageView | None:
        """One of its messages."""
        return next((message for message in self.messages if message.id == id), None)


def of_facts(facts: Session, now: float) -> SessionRecord:
    """The record of a session that runs, as it stands.

    :param now: of the clock that the session's times are of
    """
    running = [facts.transaction] if facts.transaction is not None else []
    tls = facts.tls
    return SessionRecord(
        id=facts.id,
        is_live=not facts.ended,
        listener=facts.listener,
        role=facts.role,
        revision=facts.revision,
        started=facts.started,
        duration_ms=((facts.ended or now) - facts.begun) * 1000,
        client_ip=facts.client_ip,
        client_port=facts.client_port,
        client_name=facts.client_name,
        peer_ip=facts.peer_ip,
        helo=facts.helo,
        protocol=facts.protocol,
        tls=TLSView(
            version=tls.version,
            cipher=tls.cipher,
            sni=tls.sni,
            peer_name=tls.peer_name,
            is_verified=tls.is_verified,
        )
        if tls is not None
        else None,
        user=facts.user,
        mechanism=facts.mechanism,
        stage=facts.stage,
        closed_by=facts.closed_by,
        errors=facts.errors,
        octets_in=facts.octets_in,
        octets_out=facts.octets_out,
        findings=tuple(_finding(finding) for finding in facts.findings),
        messages=tuple(_message(transaction, facts.begun) for transaction in [*facts.transactions, *running]),
        timeline=tuple(
            Step(at_ms=at * 1000, who=who, what=what, detail=_detail(detail))
            for at, who, what, detail in facts.timeline
        ),
        dropped_steps=facts.dropped_steps,
    )


def _detail(detail: object) -> str:
    if isinstance(detail, RecipientFacts):
        reply = detail.reply
        return f"<{detail.path}> {reply.code} {reply.text}" if reply is not None else f"<{detail.path}>"
    return str(detail)


def _reply(reply: Reply | None) -> ReplyView | None:
    return ReplyView(code=reply.code, enhanced=reply.enhanced, text=reply.text) if reply is not None else None


def _finding(finding: Finding) -> FindingView:
    return FindingView(
        filter=finding.filter,
        reason=finding.reason,
        action=finding.action,
        score=finding.score,
        public=finding.public,
        detail=finding.detail,
        is_shadow=finding.is_shadow,
        duration_ms=finding.seconds * 1000,
    )


def _verdict(verdict: Verdict | None) -> VerdictView | None:
    if verdict is None:
        return None
    decided = _finding(verdict.decided_by) if verdict.decided_by is not None else None
    return VerdictView(action=verdict.action, score=verdict.score, would=verdict.would, decided_by=decided)


def _message(facts: Transaction, begun: float) -> MessageView:
    def since(seconds: float) -> float | None:
        return (seconds - begun) * 1000 if seconds else None

    return MessageView(
        id=facts.id,
        session_id=facts.session.id,
        sender=f"<{facts.sender}>",
        recipients=tuple(
            RecipientView(
                address=f"<{one.path}>", state=one.state, reply=_reply(one.reply), final=_reply(one.final)
            )
            for one in facts.recipients
        ),
        route=facts.route,
        backend=facts.backend,
        server=facts.server,
        backend_tls=facts.backend_tls,
        size_octets=facts.octets,
        message_id=facts.message_id,
        subject=facts.subject,
        outcome=facts.outcome,
        reply=_reply(facts.reply),
        verdict=_verdict(facts.verdict),
        findings=tuple(_finding(finding) for finding in facts.findings),
        notes=tuple(facts.notes),
        begun_ms=since(facts.begun) or 0.0,
        data_ms=since(facts.data_at),
        end_ms=since(facts.end_at),
        verdict_ms=since(facts.verdict_at),
        committed_ms=since(facts.committed_at),
        ended_ms=since(facts.ended),
    )


def of_row(row: Mapping[str, Any]) -> SessionRecord:
    """The record of an ended session, from what the history kept of it."""
    return SessionRecord.model_validate(row)


def of_rows(rows: Sequence[Mapping[str, Any]]) -> list[SessionRecord]:
    """Several."""
    return [of_row(row) for row in rows]
