"""The API about traffic: classes and pressure, limits, bans, senders; and what may be changed of them at once.

As in `api_do`, each change names its actor and is in the audit before it is done.
"""

from __future__ import annotations

from typing import Any

from smtpgate.admin import models as m
from smtpgate.admin import models_traffic as t
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.params import Free, Param, Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.dryrun import DryRun
from smtpgate.control.views import lasting

_BASE = "/api/v1"


# Look


async def traffic(ask: Ask) -> Answer:
    """Pressure, and what each class has of what there is."""
    return answer_of(t.TrafficModel.model_validate(t.plain(ask.office.control.traffic.overview())))


async def limits(ask: Ask) -> Answer:
    """All limits, with the keys that are nearest to each."""
    views = ask.office.control.traffic.limits()
    return answer_of(t.LimitList(items=[t.LimitModel.model_validate(t.plain(view)) for view in views]))


async def bans(ask: Ask) -> Answer:
    """Who may not come in: why, on what evidence, until when."""
    wanted = (ask.params["q"] or "").strip()[:200]
    views, total = await ask.office.control.traffic.find_bans(ask.params["limit"], wanted)
    items = [t.BanModel.model_validate(t.plain(view)) for view in views]
    return answer_of(t.BanList(items=items, total=total))


async def senders(ask: Ask) -> Answer:
    """The senders with most bad points."""
    views = ask.office.control.traffic.worst(ask.params["limit"])
    return answer_of(t.RecordList(items=[t.RecordModel.model_validate(t.plain(view)) for view in views]))


async def sender(ask: Ask) -> Answer:
    """What is known of an address, a host's name, a domain or a mailbox: its class, and why."""
    asked = (ask.params["asked"] or "").strip()
    if not asked:
        raise Refusal("parameter", 400, "asked: say whom you ask about")
    return answer_of(t.sender_model(ask.office.control.traffic.sender(asked)))


async def simulate(ask: Ask) -> Answer:
    """What a limit would have done to the last hours."""
    try:
        found = await try_limit(ask, ask.body.name, ask.body.text, ask.body.hours)
    except ConfigErrors as errors:
        refusal = Refusal("validation", 422, "the text is no limit that could be put to work")
        refusal.errors = [
            {"pointer": "/text", "code": one.key or "syntax", "message": f"line {one.line}: {one.message}; {one.hint}"}
            for one in errors.problems
            if one.is_error
        ]
        raise refusal from None
    return answer_of(t.trial_model(found))


async def try_limit(ask: Ask, name: str, text: str, hours: int) -> DryRun:
    """The same for a page; raises ConfigErrors for a text that is no limit."""
    found: DryRun = await ask.office.control.trials.run(name, text, hours)
    return found


# Do


async def ban(ask: Ask) -> Answer:
    """Keep an address or a network out for a while."""
    body = ask.body
    view, is_audited = await set_ban(ask, body.key, body.reason, body.minutes)
    return answer_of(m.Done(is_audited=is_audited), 201)


async def set_ban(ask: Ask, key: str, reason: str, minutes: int) -> tuple[Any, bool]:
    """The same for a page: the ban, and whether it is in the audit."""
    traffic = ask.office.control.traffic
    key = traffic.check_ban(key, minutes * 60.0)
    detail = lasting(reason or "by hand", minutes)
    is_audited = await ask.change("ban.set", key, detail)
    return traffic.ban(key, reason, minutes * 60.0, ask.who.actor), is_audited


async def lift(ask: Ask) -> Answer:
    """Let it in again."""
    return answer_of(m.Done(is_audited=await lift_ban(ask, ask.args["key"])))


async def lift_ban(ask: Ask, key: str) -> bool:
    """The same for a page; whether it is in the audit."""
    traffic = ask.office.control.traffic
    key = traffic.check_lift(key)
    is_audited = await ask.change("ban.lift", key)
    traffic.lift(key, ask.who.actor)
    return is_audited


async def free(ask: Ask) -> Answer:
    """Forget what one key has used of a limit: it may send at once."""
    return answer_of(m.Done(is_audited=await free_key(ask, ask.args["name"], ask.body.key)))


async def free_key(ask: Ask, name: str, key: str) -> bool:
    """The same for a page; whether it is in the audit."""
    traffic = ask.office.control.traffic
    traffic.rate_of(name, key)
    is_audited = await ask.change("limit.free", name, key)
    traffic.free(name, key, ask.who.actor)
    return is_audited


async def forget(ask: Ask) -> Answer:
    """Forget what is known of a sender: it begins anew."""
    return answer_of(m.Done(is_audited=await forget_sender(ask, ask.body.key)))


async def forget_sender(ask: Ask, key: str) -> bool:
    """The same for a page; whether it is in the audit."""
    traffic = ask.office.control.traffic
    key = traffic.check_sender(key)
    is_audited = await ask.change("sender.forget", key)
    traffic.forget(key, ask.who.actor)
    return is_audited


_LIMIT = {"limit": Whole(f"how many items, at most {MOST}", MOST, 50)}

_BANS: dict[str, Param] = {
    **_LIMIT,
    "q": Free("an address, or a part of key, reason, evidence or maker"),
}

ROUTES = (
    Route("GET", f"{_BASE}/traffic", "traffic:read", traffic, summary="Classes and pressure", answer=t.TrafficModel),
    Route("GET", f"{_BASE}/limits", "traffic:read", limits, summary="All limits", answer=t.LimitList),
    Route(
        "POST",
        f"{_BASE}/limits/simulate",
        "test:run",
        simulate,
        is_question=True,
        may_wait=True,
        summary="Try a limit on the history",
        body=t.Trial,
        answer=t.TrialModel,
    ),
    Route(
        "POST",
        f"{_BASE}/limits/<name>/free",
        "runtime:write",
        free,
        summary="Free one key of a limit",
        body=t.LimitKey,
        answer=m.Done,
    ),
    Route("GET", f"{_BASE}/bans", "traffic:read", bans, summary="Who may not come in", answer=t.BanList, query=_BANS),
    Route(
        "POST",
        f"{_BASE}/bans",
        "runtime:write",
        ban,
        summary="Keep somebody out",
        body=t.NewBan,
        answer=m.Done,
        status=201,
    ),
    Route("DELETE", f"{_BASE}/bans/<path:key>", "runtime:write", lift, summary="Lift a ban", answer=m.Done),
    Route(
        "GET",
        f"{_BASE}/senders",
        "traffic:read",
        senders,
        summary="The worst senders",
        answer=t.RecordList,
        query=_LIMIT,
    ),
    Route(
        "GET",
        f"{_BASE}/senders/known",
        "traffic:read",
        sender,
        summary="What is known of a sender",
        answer=t.SenderModel,
        query={"asked": Free("an address, a host's name, a domain or a mailbox")},
    ),
    Route(
        "POST",
        f"{_BASE}/senders/forget",
        "runtime:write",
        forget,
        summary="Forget a sender",
        body=t.SenderKey,
        answer=m.Done,
    ),
)
