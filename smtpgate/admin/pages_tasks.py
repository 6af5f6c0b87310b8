"""The page of tasks: what was ordered that takes long, how far it is, and what came of it."""

from __future__ import annotations

from functools import partial

from smtpgate.admin import api_tasks
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.views import Refused, Unavailable, Unknown

#: Rows on a page.
ROWS = 100


async def tasks(ask: Ask) -> Answer:
    """Orders that take long."""
    return await _tasks(ask)


async def _tasks(ask: Ask, status: int = 200, said: str = "") -> Answer:
    try:
        found = await api_tasks.recent(ask, ROWS)
    except Unavailable as error:
        found, status, said = [], 503, str(error)
    return await ask.office.templates.page(
        ask,
        "tasks.html",
        status,
        here="tasks",
        tasks=[(api_tasks.task_model(one), ask.who.may(one.permission)) for one in found],
        said=said,
    )


async def cancel(ask: Ask) -> Answer:
    """End a task."""
    try:
        await api_tasks.end(ask)
    except Unknown:
        raise
    except Refused as refused:
        return await _tasks(ask, 409, f"{refused}.")
    return redirect("/tasks")


async def result(ask: Ask) -> Answer:
    """What came of a task, as a file."""
    return await api_tasks.result(ask)


#: Open to those who are limited to domains.
_page = partial(page_route, for_domains=True)

ROUTES = (
    _page("/tasks", "messages:read", tasks),
    _page("/tasks/<id>/result", "messages:read", result),
    _page("/tasks/<id>/cancel", "messages:read", cancel, "POST"),
)
