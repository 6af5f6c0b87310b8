"""The closed words in which all witnesses speak of sessions and transactions.

Log, metrics and history name verdicts, stages and reasons alike, so that a number on a graph can be searched
for in the log and opened in the history. Every function here is pure and never raises.
"""

from __future__ import annotations

from typing import Final

from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: What the outcome of a transaction is called where verdicts are counted.
VERDICTS: Final = {
    "delivered": "accept",
    "unacked": "accept",
    "refused": "reject",
    "deferred": "defer",
    "aborted": "abort",
    "unknown": "error",
    "held": "quarantine",
    "discarded": "discard",
    "redirected": "redirect",
}
#: Our own replies are constants of the process, so their identity says which one it is.
_OWN: Final = {id(reply): name.lower() for name, reply in vars(status).items() if isinstance(reply, Reply)}
_CLOSED_BY: Final = {"quit": "client", "": "client", "admin": "server", "crash": "error"}


def verdict_of(transaction: Transaction) -> str:
    """accept, tag, redirect, discard, quarantine, defer, reject, abort or error."""
    word = VERDICTS.get(transaction.outcome, "error")
    verdict = transaction.verdict
    if verdict is not None and word == "accept" and verdict.action == "tag":
        return verdict.action
    return word


def stage_of(transaction: Transaction) -> str:
    """How far it came: mail, rcpt, data, or final, which is after the client's end of data."""
    if transaction.end_at:
        return "final"
    if transaction.data_at:
        return "data"
    return "rcpt" if transaction.recipients else "mail"


def reason_of(transaction: Transaction) -> tuple[str, str]:
    """Why a transaction was tagged, held, refused or deferred, and the filter that says so ("" for none).

    The reason is a finding's, the name of one of our own replies, or "backend".
    """
    verdict = transaction.verdict
    decided = verdict.decided_by if verdict is not None else None
    if decided is not None:
        return decided.reason, decided.filter
    reply = transaction.reply
    if reply is None or reply.code < 400:
        return "", ""
    return reply_reason(transaction, reply)


def reply_reason(transaction: Transaction, reply: Reply) -> tuple[str, str]:
    """The same for one refusal, which may be that of a single recipient."""
    own = _OWN.get(id(reply))
    if own is not None:
        return own, ""
    for finding in transaction.findings:
        if finding.action in ("reject", "defer") and not finding.is_shadow and finding.reply() == reply:
            return finding.reason, finding.filter
    return "backend", ""


def closed_by(session: Session) -> str:
    """client, server, timeout, error or drain."""
    return _CLOSED_BY.get(session.closed_by, session.closed_by)


def is_quiet(session: Session) -> bool:
    """A connection that did nothing and left by itself, as health checks do."""
    return not (session.transactions or session.errors or session.user) and session.closed_by in (
        "client",
        "quit",
        "",
    )


def direction_of(role: str) -> str:
    """in or out, by the role of the listener."""
    return "out" if role == "submission" else "in"
