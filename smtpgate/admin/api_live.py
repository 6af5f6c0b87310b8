"""The API about sessions as they run: the grid that the page of live sessions shows, and ending some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from smtpgate.admin import models_live as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.hub import facts_of_row
from smtpgate.admin.params import Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.sieve import Sieve, Terms
from smtpgate.admin.text import visible
from smtpgate.control import Control
from smtpgate.control.live import ALL, ROWS
from smtpgate.control.views import Unknown
from smtpgate.policy.reach import Reach

#: What sessions and events are chosen by.
FILTER = Terms("terms as listener:mx, ip:192.0.2.7, verdict:reject, or words")


class Sessions(Order):
    """Live sessions."""

    ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=ROWS)]


class KilledModel(View):
    """What became of one; `why` it was not ended."""

    id: str
    done: bool
    why: str


class KilledList(View):
    """What became of each."""

    items: list[KilledModel]
    is_audited: bool = True


def look(control: Control, sieve: Sieve, rows: int, reach: Reach = ALL) -> m.LiveModel:
    """The newest sessions that a filter lets through.

    :param reach: of whoever asks
    """
    grid = control.live.grid(reach=reach)
    wanted = [row for row in grid.rows if sieve.passes(facts_of_row(row))][:rows]
    listeners = {} if reach.is_limited else control.settings.listeners
    return m.live_model(grid, wanted, listeners, control.reception.is_draining)


async def live(ask: Ask) -> Answer:
    """Sessions as they run, the newest first, with what each filter said of them."""
    return answer_of(look(ask.office.control, ask.params["filter"], ask.params["rows"], ask.who.reach))


async def kill_sessions(ask: Ask) -> Answer:
    """End several sessions; one whose message is being committed ends after that."""
    outcomes, is_audited = await end_sessions(ask, ask.body.ids)
    return answer_of(KilledList(items=outcomes, is_audited=is_audited))


async def end_sessions(ask: Ask, ids: Sequence[str]) -> tuple[list[KilledModel], bool]:
    """The same for a page: what became of each, and whether it is in the audit."""
    control = ask.office.control
    live = [id for id in dict.fromkeys(ids) if control.session(id) is not None]
    is_audited = True
    if live:
        target = live[0] if len(live) == 1 else f"{len(live)} sessions"
        is_audited = await ask.change("session.kill", target, " ".join(live)[:4000] if len(live) > 1 else "")
    out = []
    for id in dict.fromkeys(ids):
        try:
            control.kill_session(id, ask.who.actor)
        except Unknown as unknown:
            out.append(KilledModel(id=visible(id, 40), done=False, why=visible(str(unknown), 200)))
        else:
            out.append(KilledModel(id=id, done=True, why=""))
    return out, is_audited


ROUTES = (
    Route(
        "POST",
        "/api/v1/live/kill",
        "runtime:write",
        kill_sessions,
        summary="End several sessions",
        body=Sessions,
        answer=KilledList,
    ),
    Route(
        "GET",
        "/api/v1/live",
        "traffic:read",
        live,
        for_domains=True,
        summary="Sessions as they run",
        answer=m.LiveModel,
        query={"filter": FILTER, "rows": Whole(f"how many sessions, at most {ROWS}", ROWS, 50)},
    ),
)
