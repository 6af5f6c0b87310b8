"""The pages on which the history is decided again: the order, how far it is, and the matrix of decisions, whose cells
open lists."""

from __future__ import annotations

from typing import Any, Final

import attrs
from pydantic import ValidationError

from smtpgate.admin import api_tasks, pages_test
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_replay import REPLAY, ReplayModel, ReplayOrder
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.views import Refused, Unknown
from smtpgate.policy.job import OVER
from smtpgate.policy.replayed import DECISIONS

#: Numbers of messages that a form offers.
LASTS: Final = (100, 1000, 10_000)
#: Rows of a list.
ROWS: Final = 200
_TONES: Final = {"accept": "good", "tag": "wait", "quarantine": "wait", "defer": "wait", "reject": "bad"}


async def form(ask: Ask) -> Answer:
    """What to order."""
    return await _form(ask)


async def _form(ask: Ask, status: int = 200, said: str = "") -> Answer:
    draft = await ask.office.control.configuration.draft(ask.who.actor) if pages_test.may_draft(ask) else None
    jobs = [job for job in await api_tasks.recent(ask, 50) if job.kind == REPLAY.summary][:10]
    return await ask.office.templates.page(
        ask,
        "replay.html",
        status,
        here="test",
        said=said,
        lasts=LASTS,
        has_draft=draft is not None and bool(draft.at),
        jobs=[api_tasks.task_model(job) for job in jobs],
        job=None,
        found=None,
    )


async def order(ask: Ask) -> Answer:
    """Begin."""
    last = ask.form.get("last", "")
    try:
        text = await pages_test.draft_text(ask) if ask.form.get("draft") else ""
        if text:
            # What is wrong with it is told now, and not by a task that fails.
            await ask.office.in_thread(ask.office.control.configuration.settings_of, text)
        body = ReplayOrder(
            last=int(last) if last.isdecimal() else 0,
            draft=text,
            whole=bool(ask.form.get("whole")),
            reason=pages_test.line(ask.form.get("reason", "")),
        )
        answer = await api_tasks.begin(attrs.evolve(ask, body=body), REPLAY)
    except ConfigErrors:
        return await _form(ask, 422, "Your draft has errors: see the page Configuration.")
    except ValidationError:
        return await _form(ask, 422, "Choose how many messages.")
    except Refused as refused:
        return await _form(ask, 409, f"{refused}.")
    return redirect(f"/test/replay/{answer.headers['Location'].rpartition('/')[2]}")


async def look(ask: Ask) -> Answer:
    """How far it is; when it is done, what came of it."""
    job = await api_tasks.own(ask)
    if job.kind != REPLAY.summary:
        raise Unknown("no such replay")
    found: Any = await ask.office.in_thread(ReplayModel.model_validate_json, job.result) if job.result else None
    old, new = ask.query.get("old", ""), ask.query.get("new", "")
    rows, ids = [], ()
    if found is not None and (old or new):
        rows = [row for row in found.changed if (row.old, row.new) == (old, new)][:ROWS]
        ids = next((cell.ids for cell in found.cells if (cell.old, cell.new) == (old, new)), ())
        if not ids:
            raise Refusal("not-found", 404, "there is no such cell")
    names = [name for name in DECISIONS if found is not None and any(name in (c.old, c.new) for c in found.cells)]
    return await ask.office.templates.page(
        ask,
        "replay.html",
        here="test",
        said="",
        lasts=LASTS,
        has_draft=False,
        jobs=[],
        job=api_tasks.task_model(job),
        is_over=job.state in OVER,
        found=found,
        counts={(cell.old, cell.new): cell.count for cell in found.cells} if found is not None else {},
        olds=[name for name in names if any(cell.old == name for cell in found.cells)] if found is not None else [],
        news=[name for name in names if any(cell.new == name for cell in found.cells)] if found is not None else [],
        old=old,
        new=new,
        rows=rows,
        ids=ids,
        tones=_TONES,
    )


_WEB = frozenset({"web"})
ROUTES = (
    Route("GET", "/test/replay", "test:run", form, "page", "Decide the history again", doors=_WEB),
    Route("POST", "/test/replay", "test:run", order, "page", "Begin", doors=_WEB),
    Route("GET", "/test/replay/<id>", "test:run", look, "page", "What came of it", doors=_WEB),
)
