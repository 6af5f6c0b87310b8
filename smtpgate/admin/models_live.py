"""What the API answers about sessions as they run."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.hub import row_of
from smtpgate.admin.record import View
from smtpgate.control.live import Grid, LiveRow


class LiveSession(View):
    """One session, as the event stream tells of it too.

    :ivar cells: by filter: what it said last, the worst it said, the stage, milliseconds, whether it is in shadow
    :ivar worst: the worst that any filter said that is not in shadow
    """

    id: str
    listener: str
    client_ip: str
    helo: str
    user: str
    tls: str
    sender: str
    recipients: int
    messages: int
    stage: str
    backend: str
    server: str
    started: str
    age_s: float
    is_live: bool
    closed_by: str
    outcome: str
    code: int
    traffic_class: str
    worst: str
    cells: dict[str, tuple[str, str, str, float, bool]]


class StageColumns(View):
    """The filters that are asked first at one stage."""

    stage: str
    filters: list[str]


class WaitingListener(View):
    """Where connections are waited for."""

    name: str
    role: str
    listen: list[str]
    is_listening: bool


class LiveModel(View):
    """The live grid, the newest session first.

    :ivar one_in: of the sessions that begin one in so many is shown; `rate`: how many began in the last second
    """

    items: list[LiveSession]
    columns: list[StageColumns]
    total: int
    limit: int
    one_in: int
    rate: int
    listeners: list[WaitingListener]


def session_of(row: LiveRow) -> LiveSession:
    """A row."""
    return LiveSession.model_validate(row_of(row))


def live_model(grid: Grid, rows: list[LiveRow], listeners: Any, is_draining: bool) -> LiveModel:
    """Some rows of a grid."""
    return LiveModel(
        items=[session_of(row) for row in rows],
        columns=[StageColumns(stage=stage, filters=list(names)) for stage, names in grid.columns],
        total=grid.total,
        limit=grid.limit,
        one_in=grid.one_in,
        rate=grid.rate,
        listeners=[
            WaitingListener(name=name, role=one.role, listen=list(one.listen), is_listening=not is_draining)
            for name, one in listeners.items()
        ],
    )
