"""The API's verbs. Each names its actor and is written to the audit before it is done, and so before it is
answered. Where the audit cannot be written users and tokens stay as they are; what is done to the running gateway
is done all the same, told to the log, and answered with `is_audited` false.
"""

from __future__ import annotations

from typing import Any

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.routes import Ask
from smtpgate.control.views import Unknown, lasting


async def kill_session(ask: Ask) -> Answer:
    """End a session; one whose message is being committed ends after that."""
    return answer_of(m.Done(is_audited=await kill(ask, ask.args["id"])))


async def kill(ask: Ask, id: str) -> bool:
    """The same for a page; whether it is in the audit."""
    if ask.office.control.session(id) is None:
        raise Unknown(f"no live session {id}")
    is_audited = await ask.change("session.kill", id)
    ask.office.control.kill_session(id, ask.who.actor)
    return is_audited


async def server_verb(ask: Ask, verb: str, reason: str = "", minutes: int = 0) -> bool:
    """drain, ready or probe for the server that the path names; whether it is in the audit."""
    control, pool, name = ask.office.control, ask.args["pool"], ask.args["name"]
    if not any(view.backend == pool and view.name == name for view in control.servers()):
        raise Unknown(f"no server {name} in backend {pool}")
    detail = lasting(reason, minutes)
    is_audited = await ask.change(f"server.{verb}", f"{pool}/{name}", detail)
    if verb == "drain":
        control.drain_server(pool, name, ask.who.actor, reason, minutes)
    elif verb == "ready":
        control.ready_server(pool, name, ask.who.actor)
    else:
        control.probe_server(pool, name, ask.who.actor)
    return is_audited


async def drain(ask: Ask) -> Answer:
    """No new sessions for a server; those that run go on."""
    return answer_of(m.Done(is_audited=await server_verb(ask, "drain", ask.body.reason, ask.body.minutes)))


async def ready(ask: Ask) -> Answer:
    """Sessions for it again."""
    return answer_of(m.Done(is_audited=await server_verb(ask, "ready", ask.body.reason)))


async def reload(ask: Ask) -> Answer:
    """Read the configuration file anew; where it has faults, nothing changes."""
    problems, is_audited = await reload_file(ask)
    return answer_of(
        m.Reloaded(
            is_valid=not any(problem.is_error for problem in problems),
            problems=[m.problem_model(problem) for problem in problems],
            is_audited=is_audited,
        )
    )


async def reload_file(ask: Ask) -> tuple[Any, bool]:
    """The same for a page: the problems, and whether it is in the audit."""
    if ask.is_dry_run:
        problems = await ask.office.control.check_file()
        if any(problem.is_error for problem in problems):
            return problems, False
    is_audited = await ask.change("config.reload", str(ask.office.control.path))
    return await ask.office.control.reload(ask.who.actor), is_audited


async def stop(ask: Ask) -> Answer:
    """Drain and stop the gateway."""
    is_audited = await ask.change("stop", "gateway")
    # After the answer has left: stopping closes this connection too.
    ask.office.clock.callLater(0.1, ask.office.control.shut_down, ask.who.actor)
    return answer_of(m.Done(is_audited=is_audited), 202)
