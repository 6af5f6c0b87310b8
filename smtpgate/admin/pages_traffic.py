"""The pages about traffic: classes and pressure, limits and bans, senders."""

from __future__ import annotations

from typing import Any

import attrs
from pydantic import ValidationError

from smtpgate.admin import api_tasks, charts
from smtpgate.admin import api_traffic as do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.chart_marks import with_changes
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models_traffic import Trial
from smtpgate.admin.routes import Ask, page_route
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.views import Refused, Unavailable, Unknown
from smtpgate.policy.clues import reference_in

#: Bans on a page.
ROWS = 100
#: Lengths of a ban that a form offers, minutes.
LENGTHS = ((60, "an hour"), (24 * 60, "a day"), (7 * 24 * 60, "a week"), (90 * 24 * 60, "90 days"))
#: What a limit may decide, from the ground up.
_DECISIONS = ("refused", "paced", "shadow")
#: What a form may say in one line, and of a limit.
LINE, TEXT = 500, 20_000


async def traffic(ask: Ask) -> Answer:
    """Whose mail goes first, and what is shed."""
    view = ask.office.control.traffic.overview()
    return await ask.office.templates.page(
        ask, "traffic.html", here="traffic", view=view, classes=tuple(view.resources[0].used)
    )


async def limits(ask: Ask) -> Answer:
    """Limits and bans."""
    return await _limits(ask)


async def _limits(ask: Ask, status: int = 200, **more: Any) -> Answer:
    traffic = ask.office.control.traffic
    wanted = line(ask.query.get("q", ""))
    bans, total = await traffic.find_bans(ROWS, wanted)
    decided, picture, trouble = None, None, ""
    try:
        statistics = ask.office.control.statistics
        decided = await statistics.series("limits", "decision", statistics.range(0, 0))
        by_limit = await statistics.series("limits", "limit", statistics.range(0, 0))
        picture = with_changes(
            charts.stacked(
                decided, f"Limits that were met in the last 24 hours: {sum(decided.totals)} times.", _DECISIONS
            ),
            ask.office.control.configuration.applied,
        )
        met = list(zip(by_limit.groups, by_limit.totals))
    except Unavailable as error:
        met, trouble, status = [], str(error), 503 if status == 200 else status
    given = {"said": "", "trial": None, "problems": (), "tried": "", "text": "", "key": "", "reason": "", **more}
    return await ask.office.templates.page(
        ask,
        "limits.html",
        status,
        here="limits",
        limits=traffic.limits(),
        bans=[(ban, reference_in(f"{ban.reason} {ban.evidence}")) for ban in bans],
        wanted=wanted,
        bans_total=total,
        lengths=LENGTHS,
        mode=ask.office.control.settings.bans.mode,
        decided=decided,
        picture=picture,
        met=[(name, count) for name, count in met if count],
        trouble=trouble,
        **given,
    )


async def senders(ask: Ask) -> Answer:
    """What is known of a sender."""
    asked = line(ask.query.get("asked", ""))
    traffic = ask.office.control.traffic
    return await ask.office.templates.page(
        ask,
        "senders.html",
        here="senders",
        asked=asked,
        view=traffic.sender(asked) if asked else None,
        worst=traffic.worst(),
    )


# Do


def line(text: str) -> str:
    """What a form says in one line."""
    return "".join(c for c in text if c.isprintable())[:LINE].strip()


async def set_ban(ask: Ask) -> Answer:
    """Keep somebody out."""
    minutes = ask.form.get("minutes", "")
    if minutes not in {str(one) for one, _ in LENGTHS}:
        raise Refusal("parameter", 400, "choose how long")
    key, reason = line(ask.form.get("key", "")), line(ask.form.get("reason", ""))
    try:
        await do.set_ban(ask, key, reason, int(minutes))
    except Refused as refused:
        return await _limits(ask, 409, said=str(refused), key=key, reason=reason)
    return redirect("/limits#bans")


async def lift_ban(ask: Ask) -> Answer:
    """Let it in again."""
    await do.lift_ban(ask, ask.form.get("key", ""))
    return redirect("/limits#bans")


async def free_key(ask: Ask) -> Answer:
    """Forget what one key has used of a limit."""
    await do.free_key(ask, ask.form.get("limit", ""), ask.form.get("key", ""))
    return redirect("/limits")


async def simulate(ask: Ask) -> Answer:
    """Try a limit on the last day."""
    name, text = line(ask.form.get("name", "")), ask.form.get("text", "")[:TEXT].replace("\r\n", "\n")
    if bool(name) == bool(text.strip()):
        return await _limits(ask, 422, said="Give the text of a limit.", tried="text")
    if ask.form.get("task"):
        return await _as_task(ask, name, text)
    try:
        trial = await do.try_limit(ask, name, text, 24)
    except ConfigErrors as errors:
        found = [one for one in errors.problems if one.is_error]
        return await _limits(ask, 422, problems=found, tried="text", text=text)
    except Unknown:
        raise
    except Refused as refused:
        return await _limits(ask, 409, said=str(refused), tried="text", text=text)
    return await _limits(ask, trial=trial, tried=name or "text", text=text)


async def _as_task(ask: Ask, name: str, text: str) -> Answer:
    """The same beside the mail: its answer is the result of a task."""
    route = next(one for one in do.ROUTES if one.serve is do.simulate)
    try:
        body = Trial(name=name, text=text, hours=24)
        answer = await api_tasks.begin(attrs.evolve(ask, body=body), route)
    except ValidationError:
        return await _limits(ask, 422, said="Give the text of a limit.", tried="text", text=text)
    except Refused as refused:
        return await _limits(ask, 409, said=str(refused), tried="text", text=text)
    assert answer.status == 202
    return redirect("/tasks")


async def forget_sender(ask: Ask) -> Answer:
    """Forget what is known of a sender."""
    await do.forget_sender(ask, ask.form.get("key", ""))
    return redirect("/senders")


ROUTES = (
    page_route("/traffic", "traffic:read", traffic),
    page_route("/limits", "traffic:read", limits),
    page_route("/limits/free", "runtime:write", free_key, "POST"),
    page_route("/limits/simulate", "test:run", simulate, "POST"),
    page_route("/bans/set", "runtime:write", set_ban, "POST"),
    page_route("/bans/lift", "runtime:write", lift_ban, "POST"),
    page_route("/senders", "traffic:read", senders),
    page_route("/senders/forget", "runtime:write", forget_sender, "POST"),
)
