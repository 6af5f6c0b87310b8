"""The pages of webhooks and of alerts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from smtpgate.admin import api_hooks as do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.problem import refusal_of
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.views import Invalid, Refused
from smtpgate.policy.call import STATES

#: Calls on a page.
ROWS = 50


def _said(error: Exception) -> tuple[str, int]:
    refusal = refusal_of(error)
    return f"{refusal.detail[:1].upper()}{refusal.detail[1:]}.", refusal.status


async def webhooks(ask: Ask) -> Answer:
    """All webhooks."""
    return await ask.office.templates.page(ask, "webhooks.html", here="webhooks", hooks=(await do.list_of(ask)).items)


async def webhook(ask: Ask) -> Answer:
    """One webhook and its calls."""
    return await _webhook(ask)


async def _webhook(ask: Ask, trouble: str = "", status: int = 200, tried: Any = None) -> Answer:
    name = ask.args["name"]
    found = next((one for one in (await do.list_of(ask)).items if one.name == name), None)
    if found is None:
        return await ask.office.templates.page(
            ask, "webhooks.html", 404, here="webhooks", hooks=(await do.list_of(ask)).items
        )
    state = ask.query.get("state", "") if ask.query.get("state", "") in STATES else ""
    before = ask.query.get("before", "")
    calls = await do.calls_of(ask, name, state, ROWS, int(before) if before.isdigit() and len(before) < 16 else 0)
    more = {"state": state, "before": calls.next_cursor or ""}
    return await ask.office.templates.page(
        ask,
        "webhook.html",
        status,
        here="webhooks",
        one=found,
        calls=calls.items,
        state=state,
        states=STATES,
        next_page=urlencode({key: value for key, value in more.items() if value}) if calls.has_more else "",
        trouble=trouble,
        tried=tried,
    )


async def test(ask: Ask) -> Answer:
    """Call it now."""
    try:
        tried = await do.try_one(ask, ask.args["name"])
    except Refused as error:
        return await _webhook(ask, *_said(error))
    return await _webhook(ask, tried=tried)


async def replay(ask: Ask) -> Answer:
    """Make a call again."""
    name, id = ask.args["name"], ask.args["id"]
    try:
        if not id.isdigit() or len(id) > 15:
            raise Invalid("there is no such call")
        await do.replay(ask, name, int(id))
    except Refused as error:
        return await _webhook(ask, *_said(error))
    return redirect(f"/webhooks/{quote(name, safe='')}")


# Alerts


async def alerts(ask: Ask) -> Answer:
    """What is wrong now, and what nobody is told of."""
    return await _alerts(ask)


async def _alerts(ask: Ask, trouble: str = "", status: int = 200) -> Answer:
    control = ask.office.control
    return await ask.office.templates.page(
        ask,
        "alerts.html",
        status,
        here="alerts",
        alerts=control.alerts.now(),
        mutes={one.id: one for one in control.mutes.all()},
        mail=control.settings.alerts,
        hooks=[one.name for one in control.settings.webhooks.values() if one.wants("alert", "alert.raised")],
        trouble=trouble,
    )


async def mute(ask: Ask) -> Answer:
    """Tell nobody of an alert for a while, or tell of it again."""
    form, id = ask.form, ask.form.get("id", "")
    minutes = form.get("minutes", "")
    try:
        if form.get("action", "") == "lift":
            await do.unmute(ask, id)
        elif not minutes.isdigit() or len(minutes) > 6:
            raise Invalid("say for how many minutes")
        else:
            reason = "".join(one for one in form.get("reason", "") if one.isprintable())[:500]
            await do.mute(ask, id, int(minutes), reason)
    except Refused as error:
        return await _alerts(ask, *_said(error))
    return redirect("/alerts")


ROUTES = (
    page_route("/webhooks", "config:read", webhooks),
    page_route("/webhooks/<name>", "config:read", webhook),
    page_route("/webhooks/<name>/test", "system:write", test, "POST"),
    page_route("/webhooks/<name>/calls/<id>", "system:write", replay, "POST"),
    page_route("/alerts", "stats:read", alerts),
    page_route("/alerts", "runtime:write", mute, "POST"),
)
