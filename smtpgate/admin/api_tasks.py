"""The API about tasks: orders that take long, done beside the mail. A call that can take long is made one by the header
`Prefer: respond-async` (RFC 7240 section 4.1); it is then answered with 202 and where its task is.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import attrs

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.params import Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.jobs import Run
from smtpgate.control.views import Refused, Unknown
from smtpgate.policy.job import OVER, Job

T = TypeVar("T")
_BASE = "/api/v1"
#: Endings of files with results, by what is in them.
ENDINGS: Final = {"application/json": "json", "application/jsonl": "jsonl", "text/csv": "csv"}


class TaskModel(View):
    """A long piece of work.

    :ivar state: waiting, running, done, failed, canceled, or interrupted by a restart
    :ivar done: of `total` steps; 0 of 0 where nobody knows how many
    :ivar detail: why it failed
    :ivar expires: until then its result is kept
    """

    id: str
    kind: str
    who: str
    state: str
    done: int
    total: int
    detail: str
    created: str | None
    changed: str | None
    expires: str | None
    has_result: bool


class TaskList(View):
    """The newest first."""

    items: list[TaskModel]


def task_model(job: Job) -> TaskModel:
    """One task."""
    return TaskModel(
        id=job.id,
        kind=job.kind,
        who=visible(job.who, 200),
        state=job.state,
        done=job.done,
        total=job.total,
        detail=visible(job.detail, 500),
        created=moment(job.created),
        changed=moment(job.changed),
        expires=moment(job.expires),
        has_result=job.state in ("done", "canceled"),
    )


def is_wanted(ask: Ask) -> bool:
    """Whether the caller would rather not wait."""
    return any(part.strip().lower() == "respond-async" for part in ask.request.header("prefer").split(","))


async def begin(ask: Ask, route: Route) -> Answer:
    """Do what a route does as a task. What it checks, and its audit, are part of the task."""

    async def work(run: Run) -> str:
        try:
            answer = await told_if_not(ask, route.serve(attrs.evolve(ask, job=run)))
        except (Refusal, Unknown, Refused) as error:
            raise Refused(str(error)) from error
        return str(answer.body, "utf-8")

    job = await ask.office.control.jobs.start(route.summary, ask.who.orderer, route.permission, work)
    answer = answer_of(task_model(job), 202)
    return attrs.evolve(answer, headers={"Location": f"{_BASE}/tasks/{job.id}", "Preference-Applied": "respond-async"})


async def told_if_not(ask: Ask, work: Awaitable[T]) -> T:
    """What a task does of an order that is in the audit already; where it fails that is in there too."""
    try:
        return await work
    except Exception as error:
        await ask.office.accounts.not_done(ask.caller, error)
        raise


async def tasks(ask: Ask) -> Answer:
    """Long pieces of work, the newest first."""
    return answer_of(TaskList(items=[task_model(one) for one in await recent(ask, ask.params["limit"])]))


async def recent(ask: Ask, limit: int) -> list[Job]:
    """Those in reach: who is limited to domains sees what they ordered themselves."""
    found = await ask.office.control.jobs.recent(MOST if ask.who.domains else limit)
    return [job for job in found if _is_seen(ask, job)][:limit]


async def _seen(ask: Ask) -> Job:
    job: Job = await ask.office.control.jobs.get(ask.args["id"])
    if not _is_seen(ask, job):
        raise Unknown("no such task; results are kept for a week")
    return job


def _is_seen(ask: Ask, job: Job) -> bool:
    return not ask.who.domains or job.who == f"{ask.who.orderer.kind} {ask.who.orderer.name}"


async def task(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(task_model(await _seen(ask)))


async def own(ask: Ask) -> Job:
    """The task that the path names; raises Refusal for who could not have ordered it."""
    job = await _seen(ask)
    if not ask.who.may(job.permission):
        raise Refusal("forbidden", 403, f"your role has no permission {job.permission}, which this task needed")
    return job


async def result(ask: Ask) -> Answer:
    """What came of it, as its call would have answered."""
    job = await own(ask)
    if not job.result:
        why = f": {job.detail}" if job.detail else ""
        raise Refused(f"this task has no result{why}" if job.state in OVER else "this task is not done yet")
    ending = ENDINGS.get(job.media, "txt")
    headers = {"Content-Disposition": f'attachment; filename="task-{job.id}.{ending}"'}
    return Answer(job.result.encode("utf-8", "replace"), 200, job.media, headers)


async def cancel(ask: Ask) -> Answer:
    """End it after the slice that runs."""
    return answer_of(m.Done(is_audited=await end(ask)))


async def end(ask: Ask) -> bool:
    """The same for a page; whether it is in the audit."""
    job = await own(ask)
    if job.state in OVER:
        raise Refused("this task is over")
    is_audited = await ask.change("task.cancel", job.id, job.kind)
    await ask.office.control.jobs.cancel(job.id)
    return is_audited


_TASK = f"{_BASE}/tasks/<id>"
_UNVERSIONED = frozenset({"done", "changed"})
_LIMIT: dict[str, Any] = {"limit": Whole(f"how many items, at most {MOST}", MOST, 50)}

_ALL = (
    Route("GET", f"{_BASE}/tasks", "messages:read", tasks, summary="Tasks", answer=TaskList, query=_LIMIT),
    Route("GET", _TASK, "messages:read", task, summary="One task", answer=TaskModel, unversioned=_UNVERSIONED),
    Route("GET", f"{_TASK}/result", "messages:read", result, summary="What came of a task"),
    Route("DELETE", _TASK, "messages:read", cancel, summary="End a task", answer=m.Done),
)

ROUTES = tuple(attrs.evolve(route, for_domains=True) for route in _ALL)
