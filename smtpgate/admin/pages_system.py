"""The page and the API of the gateway as a process: how it is, no mail for a while, logs anew, a bundle for support."""

from __future__ import annotations

import json
from typing import Annotated, Final

import attrs
from pydantic import Field

from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_tasks import TaskModel, task_model, told_if_not
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route, page_route
from smtpgate.admin.text import moment
from smtpgate.control.jobs import Run
from smtpgate.control.views import Refused
from smtpgate.policy.job import Job

_BASE: Final = "/api/v1/system"
_SURE: Final = "stop taking mail"


class PlaceModel(View):
    """Where a listener listens."""

    listener: str
    endpoint: str
    address: str


class SystemModel(View):
    """The gateway as a process.

    :ivar lag_p99_ms: how late 99 of 100 timers are at most, since the start; null without any
    :ivar descriptors_most: that it may have; 0 where nobody knows
    :ivar backup: when the last one was made; null for none
    :ivar kept_s: what is kept, and for how long
    """

    version: str
    python: str
    hostname: str
    pid: int
    started: str | None
    uptime_s: float
    is_draining: bool
    sessions: int
    listeners: list[PlaceModel]
    lag_p99_ms: float | None
    descriptors: int
    descriptors_most: int
    memory_octets: int
    database_octets: int
    free_octets: int
    backup: str | None
    backup_octets: int
    kept_s: dict[str, float]


class GatewayDrain(Order):
    """Why; it stands in the audit and in the log."""

    reason: Annotated[str, Field(max_length=500)] = ""


async def system_model(ask: Ask) -> SystemModel:
    """What there is now."""
    view = await ask.office.control.upkeep.look()
    machine = view.machine
    return SystemModel(
        version=view.version,
        python=view.python,
        hostname=view.hostname,
        pid=machine.pid,
        started=moment(view.started),
        uptime_s=round(max(ask.office.wall() - view.started, 0.0), 1),
        is_draining=view.is_draining,
        sessions=view.sessions,
        listeners=[
            PlaceModel(listener=one.listener, endpoint=one.endpoint, address=one.address) for one in view.places
        ],
        lag_p99_ms=None if view.lag_s is None else round(view.lag_s * 1000, 3),
        descriptors=machine.descriptors,
        descriptors_most=machine.descriptors_most,
        memory_octets=machine.memory_octets,
        database_octets=machine.database_octets,
        free_octets=machine.free_octets,
        backup=moment(machine.backup_at) if machine.backup_at else None,
        backup_octets=machine.backup_octets,
        kept_s=dict(view.kept),
    )


async def system(ask: Ask) -> Answer:
    """The gateway as a process."""
    return answer_of(await system_model(ask))


async def drain_gateway(ask: Ask) -> Answer:
    """Take no mail until `undrain`; the process goes on."""
    return answer_of(Done(is_audited=await _drain(ask, ask.body.reason)))


async def _drain(ask: Ask, reason: str) -> bool:
    control = ask.office.control
    if control.reception.is_draining:
        raise Refused("the gateway drains already")
    is_audited = await ask.change("system.drain", "gateway", reason)
    control.upkeep.drain(ask.who.actor, reason)
    return is_audited


async def undrain_gateway(ask: Ask) -> Answer:
    """Take mail again."""
    return answer_of(Done(is_audited=await _undrain(ask)))


async def _undrain(ask: Ask) -> bool:
    control = ask.office.control
    control.upkeep.check_undrain()
    is_audited = await ask.change("system.undrain", "gateway")
    control.upkeep.undrain(ask.who.actor)
    return is_audited


async def reopen_logs(ask: Ask) -> Answer:
    """Open the log file anew, as after a rotation."""
    is_audited = await ask.change("system.reopen_logs", "log")
    ask.office.control.upkeep.reopen_logs(ask.who.actor)
    return answer_of(Done(is_audited=is_audited))


async def bundle(ask: Ask) -> Answer:
    """A bundle for support: versions, state, the newest lines of the log, the configuration without its secrets."""
    octets = await ask.office.control.upkeep.bundle(ask.who.actor)
    headers = {"Content-Disposition": 'attachment; filename="smtpgate-bundle.tar.gz"'}
    return Answer(octets, 200, "application/gzip", headers)


async def back_up(ask: Ask) -> Answer:
    """Write a backup into the state folder, while mail flows: 202 and a task."""
    job = await _back_up(ask)
    return attrs.evolve(answer_of(task_model(job), 202), headers={"Location": f"/api/v1/tasks/{job.id}"})


async def _back_up(ask: Ask) -> Job:
    upkeep, actor = ask.office.control.upkeep, ask.who.actor
    upkeep.check_backup()
    await ask.guarded_change("system.backup", "gateway")

    async def work(run: Run) -> str:
        file, octets = await told_if_not(ask, upkeep.back_up(actor))
        return json.dumps({"file": file, "octets": octets})

    return await ask.office.control.jobs.start("Write a backup", actor, "system:write", work)


# Pages


async def page(ask: Ask) -> Answer:
    """The gateway as a process."""
    return await _page_of(ask)


async def _page_of(ask: Ask, status: int = 200, said: str = "") -> Answer:
    return await ask.office.templates.page(
        ask, "system.html", status, here="system", view=await system_model(ask), said=said, sure=_SURE
    )


async def drain_page(ask: Ask) -> Answer:
    """Take no mail until somebody says so."""
    if ask.form.get("sure", "").strip().lower() != _SURE:
        return await _page_of(ask, 422, f"Type {_SURE!r} to say that you mean it.")
    try:
        await _drain(ask, "".join(c for c in ask.form.get("reason", "") if c.isprintable())[:500])
    except Refused as refused:
        return await _page_of(ask, 409, str(refused))
    return redirect("/system")


async def undrain_page(ask: Ask) -> Answer:
    """Take mail again."""
    try:
        await _undrain(ask)
    except Refused as refused:
        return await _page_of(ask, 409, str(refused))
    return redirect("/system")


async def back_up_page(ask: Ask) -> Answer:
    """Write a backup; the task says how far it is, and where it lies."""
    try:
        job = await _back_up(ask)
    except Refused as refused:
        return await _page_of(ask, 409, str(refused))
    return redirect(f"/tasks/{job.id}")


async def reopen_page(ask: Ask) -> Answer:
    """Open the log file anew."""
    await reopen_logs(ask)
    return redirect("/system")


ROUTES = (
    Route(
        "GET",
        _BASE,
        "config:read",
        system,
        summary="The gateway as a process",
        answer=SystemModel,
        unversioned=frozenset({"uptime_s", "memory_octets", "descriptors", "free_octets"}),
    ),
    Route(
        "POST", f"{_BASE}/drain", "system:write", drain_gateway, summary="Take no mail", body=GatewayDrain, answer=Done
    ),
    Route(
        "POST",
        f"{_BASE}/undrain",
        "system:write",
        undrain_gateway,
        summary="Take mail again",
        body=Nothing,
        answer=Done,
    ),
    Route("POST", f"{_BASE}/reopen-logs", "system:write", reopen_logs, summary="Log anew", body=Nothing, answer=Done),
    Route(
        "POST",
        f"{_BASE}/backup",
        "system:write",
        back_up,
        status=202,
        summary="Write a backup",
        body=Nothing,
        answer=TaskModel,
    ),
    Route("GET", f"{_BASE}/bundle", "system:write", bundle, summary="A bundle for support"),
    page_route("/system", "config:read", page),
    page_route("/system/drain", "system:write", drain_page, "POST"),
    page_route("/system/undrain", "system:write", undrain_page, "POST"),
    page_route("/system/reopen-logs", "system:write", reopen_page, "POST"),
    page_route("/system/backup", "system:write", back_up_page, "POST"),
    page_route("/system/bundle", "system:write", bundle),
)
