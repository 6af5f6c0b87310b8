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
from smtpgate.admin.text import moment
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


async def probe(ask: Ask) -> Answer:
    """Look at it now; the result is in the list a moment later."""
    return answer_of(m.Done(is_audited=await server_verb(ask, "probe")))


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


async def users(ask: Ask) -> Answer:
    """Who can log in."""
    found = await ask.office.users.users()
    items = [m.UserModel(name=one.name, role=one.role, created=moment(one.created)) for one in found]
    return answer_of(m.UserList(items=items))


async def add_user(ask: Ask) -> Answer:
    """A new user."""
    body = ask.body
    await ask.office.accounts.add_user(ask.guarded_change, body.name, body.role, body.password)
    return answer_of(m.Done(), 201)


async def set_password(ask: Ask) -> Answer:
    """Another password; other sessions of that user end."""
    await ask.office.accounts.set_password(ask.guarded_change, ask.args["name"], ask.body.password, but=ask.who.id)
    return answer_of(m.Done())


async def remove_user(ask: Ask) -> Answer:
    """A user goes."""
    await ask.office.accounts.remove_user(ask.guarded_change, ask.args["name"])
    return answer_of(m.Done())


async def tokens(ask: Ask) -> Answer:
    """Tokens in force."""
    items = [
        m.TokenModel(
            id=one.id,
            name=one.name,
            role=one.role,
            created=moment(one.created),
            expires=moment(one.expires),
            last_used=moment(one.last_used),
        )
        for one in await ask.office.users.tokens()
    ]
    return answer_of(m.TokenList(items=items))


async def add_token(ask: Ask) -> Answer:
    """A new token. Its text is in this answer and nowhere else."""
    body = ask.body
    text = await ask.office.accounts.add_token(ask.guarded_change, body.name, body.role, body.days)
    return answer_of(m.FreshToken(token=text), 201)


async def revoke_token(ask: Ask) -> Answer:
    """A token holds no more."""
    await ask.office.accounts.revoke_token(ask.guarded_change, ask.args["id"])
    return answer_of(m.Done())


async def audit(ask: Ask) -> Answer:
    """Who changed what, newest first."""
    limit = ask.params["limit"]
    rows = await ask.office.users.audited(limit + 1, ask.params["cursor"])
    items = [m.audit_model(row) for row in rows[:limit]]
    more = len(rows) > limit
    return answer_of(m.AuditList(items=items, has_more=more, next_cursor=str(items[-1].seq) if more else None))


async def verify_audit(ask: Ask) -> Answer:
    """Whether the audit's chain is whole."""
    reason = await ask.office.users.verify_audit()
    return answer_of(m.ChainState(is_intact=not reason, reason=reason))
