"""Answers of the API about the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smtpgate.admin.record import View
from smtpgate.admin.text import moment


class AuditModel(View):
    """One record of the audit.

    :ivar hash: covers `prev_hash` and all of the record
    :ivar form: 1 for records of before there were more than who, what and when; 2 for all others
    :ivar actor_kind: user, token, cli (the local socket), link (of a mail or an invitation), sso (a provider of
        identities), or system
    :ivar actor_id: of the session or token
    :ivar object_type: what stands before the dot of the action
    :ivar result: ok, denied (what somebody may not) or failed (a login)
    :ivar auth: session, token or local socket; "" where nobody had logged in
    :ivar method: oidc for who logged in at a provider of identities (`[sso]`), else ""
    :ivar has_code: a one-time code was given with the password
    :ivar left_out: denials like this one before it that were not written, for there were too many
    """

    seq: int
    time: str | None
    prev_hash: str
    hash: str
    form: int
    actor_kind: str
    actor: str
    actor_id: str
    role: str
    auth: str
    method: str
    has_code: bool
    domains: list[str]
    source: str
    agent: str
    request_id: str
    action: str
    object_type: str
    target: str
    detail: str
    result: str
    before: Any
    after: Any
    revision: str
    node: str
    left_out: int


class AuditList(View):
    """Records, newest first."""

    items: list[AuditModel]
    next_cursor: str | None = None
    has_more: bool = False


class ClockStep(View):
    """The clock was set back before a record: the order is right, and the times are not."""

    seq: int
    seconds: float


class ChainState(View):
    """Whether the audit is as it was written."""

    is_intact: bool
    reason: str
    rows: int
    clock_steps: list[ClockStep]


def audit_model(row: Mapping[str, Any]) -> AuditModel:
    """A record as the API tells it."""
    more: Mapping[str, Any] = row["more"]

    def text(name: str) -> str:
        value = more.get(name)
        return value if isinstance(value, str) else ""

    domains, left_out = more.get("domains"), more.get("left_out")
    return AuditModel(
        seq=row["seq"],
        time=moment(row["time"]),
        prev_hash=row["prev_hash"],
        hash=row["hash"],
        form=row["form"],
        actor_kind=row["actor_kind"],
        actor=row["actor"],
        actor_id=text("id"),
        role=text("role"),
        auth=text("auth"),
        method=text("method"),
        has_code=more.get("has_code") is True,
        domains=[str(one) for one in domains] if isinstance(domains, list) else [],
        source=row["source"],
        agent=text("agent"),
        request_id=row["request_id"],
        action=row["action"],
        object_type=row["action"].partition(".")[0],
        target=row["target"],
        detail=row["detail"],
        result=row["result"],
        before=more.get("before"),
        after=more.get("after"),
        revision=text("revision"),
        node=text("node"),
        left_out=left_out if isinstance(left_out, int) else 0,
    )
