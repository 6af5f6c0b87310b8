"""The API's bodies and answers, as pydantic models: what is checked on the way in and documented on the
way out.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from smtpgate.admin.record import MessageView, View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment
from smtpgate.config.problem import Problem
from smtpgate.control.views import Overview, ServerView, SessionView

Line = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]


class Nothing(Order):
    """No fields."""


class Reason(Order):
    """Why something is done."""

    reason: Line = ""


class DrainOrder(Order):
    """Why a server is taken out of service, and for how many minutes; 0 until somebody says ready."""

    reason: Line = ""
    minutes: Annotated[int, Field(ge=0, le=365 * 24 * 60)] = 0


class ConfigText(Order):
    """A configuration to look at; without `text`, the file itself."""

    text: Annotated[str, Field(max_length=900_000)] | None = None


class ProblemModel(View):
    """Something wrong with the configuration."""

    severity: str
    line: int
    column: int
    key: str
    message: str
    hint: str


class OverviewModel(View):
    """Is mail flowing?"""

    version: str
    hostname: str
    state: str
    reasons: list[str]
    revision: str
    revision_time: str | None
    started: str | None
    sessions: int
    sessions_limit: int
    sessions_total: int
    servers_up: int
    servers: int
    outcomes: dict[str, int]
    p95_ms: float | None
    warnings: list[ProblemModel]


class SessionModel(View):
    """One live session, for lists."""

    id: str
    listener: str
    role: str
    client_ip: str
    client_port: int
    client_name: str
    helo: str
    user: str
    tls: str
    stage: str
    sender: str
    recipients: int
    backend: str
    server: str
    started: str | None
    age_s: float
    messages: int
    traffic_class: str


class SessionList(View):
    """Live sessions, the oldest first."""

    items: list[SessionModel]
    total: int


class MessageRow(View):
    """One message, for lists.

    :ivar mark: "tag" for one that passed with a mark
    :ivar outcome: "none" for a session that named no sender, whose id it then is
    :ivar reason: of the finding that decided; `filter`: whose it is
    """

    id: str
    time: str | None
    client_ip: str
    sender: str
    recipients: list[str]
    recipient_count: int
    subject: str
    outcome: str
    code: int
    mark: str = ""
    score: float = 0.0
    backend: str
    server: str
    size_octets: int
    message_id: str = ""
    listener: str = ""
    filter: str = ""
    reason: str = ""


class MessageList(View):
    """Messages, newest first.

    :ivar is_partial: the time of one search was over before all was looked through; `next_cursor` goes on from
        `looked_back_to`
    """

    items: list[MessageRow]
    next_cursor: str | None = None
    has_more: bool = False
    is_partial: bool = False
    looked_back_to: str | None = None


class MessageDetail(View):
    """One message with the sentence that explains it."""

    verdict: str
    explanation: str
    message: MessageView


class ServerModel(View):
    """One backend server."""

    backend: str
    name: str
    state: str
    is_drained: bool
    drain_reason: str
    drained_until: str | None
    is_ready: bool
    why: str
    links: int
    max_links: int
    busy: int
    capacity: int
    answer_ms: float
    part: float
    ejections: int
    retry_s: float
    transactions: int
    failures: int
    weight: int
    tier: int
    banner: str
    capabilities: list[str]
    tls_version: str
    tls_days_left: int | None
    tls_is_verified: bool
    last_probe: str | None
    probe_ms: float
    changed: str | None


class ConfigModel(View):
    """The configuration at work. Secrets are shown as ***. `number` is that of its revision, 0 where none is kept."""

    revision: str
    number: int
    revision_time: str | None
    file: str
    digest: str
    problems: list[ProblemModel]
    warnings: list[ProblemModel]
    settings: dict[str, Any]


class Verdict(View):
    """What a check of a configuration found."""

    is_valid: bool
    problems: list[ProblemModel]


class Reloaded(Verdict):
    """What became of a reload."""

    is_audited: bool = True


class FilterModel(View):
    """One filter of a chain."""

    name: str
    roles: list[str]
    stages: list[str]
    mode: str
    budget_s: float
    on_error: str
    needs_message: bool
    category: str


class FilterList(View):
    """All filters, in their order."""

    items: list[FilterModel]


class Me(View):
    """Who asks. `csrf` is for X-CSRF-Token where a browser's session asks, and "" else."""

    kind: str
    name: str
    role: str
    permissions: list[str]
    domains: list[str]
    csrf: str = ""


class Done(View):
    """It was done. `is_audited` is false where the audit could not be written; the log has it then."""

    done: bool = True
    is_audited: bool = True


def problem_model(problem: Problem) -> ProblemModel:
    """A problem as the API gives it."""
    return ProblemModel(
        severity=problem.severity,
        line=problem.line,
        column=problem.column,
        key=problem.key,
        message=problem.message,
        hint=problem.hint,
    )


def _fields(view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__slots__ if not name.startswith("__")}


def overview_model(view: Overview, p95_ms: float | None) -> OverviewModel:
    """The first page's numbers."""
    return OverviewModel(
        **{
            **_fields(view),
            "reasons": list(view.reasons),
            "revision_time": moment(view.revision_at),
            "started": moment(view.started),
            "outcomes": dict(view.outcomes),
            "warnings": [problem_model(problem) for problem in view.warnings],
            "p95_ms": p95_ms,
        }
    )


def session_model(view: SessionView) -> SessionModel:
    """One live session."""
    return SessionModel(**{**_fields(view), "started": moment(view.started)})


def server_model(view: ServerView) -> ServerModel:
    """One server."""
    return ServerModel(
        **{
            **_fields(view),
            "capabilities": list(view.capabilities),
            "drained_until": moment(view.drained_until),
            "last_probe": moment(view.last_probe),
            "changed": moment(view.changed_at),
        }
    )
