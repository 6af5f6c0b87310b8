"""The API about sessions as they run: the grid that the page of live sessions shows."""

from __future__ import annotations

from smtpgate.admin import models_live as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.hub import facts_of_row
from smtpgate.admin.params import Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.sieve import Sieve, Terms
from smtpgate.control import Control
from smtpgate.control.live import ROWS

#: What sessions and events are chosen by.
FILTER = Terms("terms as listener:mx, ip:192.0.2.7, verdict:reject, or words")


def look(control: Control, sieve: Sieve, rows: int) -> m.LiveModel:
    """The newest sessions that a filter lets through."""
    grid = control.live.grid()
    wanted = [row for row in grid.rows if sieve.passes(facts_of_row(row))][:rows]
    return m.live_model(grid, wanted, control.settings.listeners, control.reception.is_draining)


async def live(ask: Ask) -> Answer:
    """Sessions as they run, the newest first, with what each filter said of them."""
    return answer_of(look(ask.office.control, ask.params["filter"], ask.params["rows"]))


ROUTES = (
    Route(
        "GET",
        "/api/v1/live",
        "traffic:read",
        live,
        summary="Sessions as they run",
        answer=m.LiveModel,
        query={"filter": FILTER, "rows": Whole(f"how many sessions, at most {ROWS}", ROWS, 50)},
    ),
)
