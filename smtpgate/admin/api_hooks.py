"""The API about calls out: webhooks with their calls, and alerts that nobody is told of.

Webhooks are in the configuration, and changed there; here they are looked at, tested, and called again.
"""

from __future__ import annotations

from typing import Final

from smtpgate.admin import models_hooks as h
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.params import Free, OneOf, Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.views import Refused, Unknown
from smtpgate.policy.call import STATES

_BASE: Final = "/api/v1"
_ONE: Final = f"{_BASE}/webhooks/<name>"


def hooks_of(ask: Ask) -> object:
    """Who calls them; raises Refused where nobody does."""
    found: object = ask.office.hooks
    if found is None:
        raise Refused("this gateway calls nobody")
    return found


async def webhooks(ask: Ask) -> Answer:
    """All webhooks, and how their calls stand."""
    return answer_of(await list_of(ask))


async def list_of(ask: Ask) -> h.HookList:
    """The same for a page."""
    counts = await ask.office.hooks.counts() if ask.office.hooks is not None else {}
    hooks = ask.office.control.settings.webhooks
    return h.HookList(items=[h.hook_model(one, counts) for one in hooks.values()])


async def webhook(ask: Ask) -> Answer:
    """One of them."""
    found = next((one for one in (await list_of(ask)).items if one.name == ask.args["name"]), None)
    if found is None:
        raise Unknown("no such webhook")
    return answer_of(found)


async def hook_calls(ask: Ask) -> Answer:
    """Calls of one, the newest first."""
    if ask.args["name"] not in ask.office.control.settings.webhooks:
        raise Unknown("no such webhook")
    cursor = ask.params["cursor"] or "0"
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 15:
        raise Refusal("parameter", 400, "the cursor is not one of ours")
    return answer_of(await calls_of(ask, ask.args["name"], ask.params["state"] or "", ask.params["limit"], int(cursor)))


async def calls_of(ask: Ask, name: str, state: str, limit: int, before: int) -> h.CallList:
    """The same for a page."""
    found = await ask.office.hooks.find(limit + 1, before, name, state) if ask.office.hooks is not None else []
    more = len(found) > limit
    items = [h.call_model(one) for one in found[:limit]]
    return h.CallList(items=items, has_more=more, next_cursor=str(items[-1].id) if more else None)


async def test_hook(ask: Ask) -> Answer:
    """Call a webhook now, and say what it answered."""
    return answer_of(await try_one(ask, ask.args["name"]))


async def try_one(ask: Ask, name: str) -> h.TestResult:
    """The same for a page. Raises Unknown."""
    if name not in ask.office.control.settings.webhooks:
        raise Unknown("no such webhook")
    hooks = ask.office.hooks
    hooks_of(ask)
    await ask.change("webhook.test", name)
    call = await hooks.test(name, ask.who.actor)
    return h.TestResult(ok=call.state == "done", code=call.code, told=call.told)


async def replay_call(ask: Ask) -> Answer:
    """Make a call again that is over."""
    id = ask.args["id"]
    if not id.isascii() or not id.isdigit() or len(id) > 15:
        raise Unknown("no such call")
    return answer_of(Done(is_audited=await replay(ask, ask.args["name"], int(id))))


async def replay(ask: Ask, name: str, n: int) -> bool:
    """The same for a page. Raises Unknown and Refused."""
    if name not in ask.office.control.settings.webhooks:
        raise Unknown("no such webhook")
    hooks = ask.office.hooks
    hooks_of(ask)
    call = await hooks.call(name, n)
    if call.state == STATES[0]:
        raise Refused("it waits still")
    is_audited = await ask.change("webhook.replay", f"{name}/{n}")
    await hooks.replay(name, n)
    return is_audited


# Alerts


async def alert_mutes(ask: Ask) -> Answer:
    """Alerts that nobody is told of."""
    return answer_of(h.MuteList(items=[h.mute_model(one) for one in ask.office.control.mutes.all()]))


async def mute_alert(ask: Ask) -> Answer:
    """Tell nobody of an alert for a while."""
    return answer_of(Done(is_audited=await mute(ask, ask.body.id, ask.body.minutes, ask.body.reason)), 201)


async def mute(ask: Ask, id: str, minutes: int, reason: str) -> bool:
    """The same for a page. Raises Invalid and Refused."""
    mutes = ask.office.control.mutes
    mutes.check(id, minutes)
    is_audited = await ask.change("alert.mute", id, f"{minutes} minutes: {reason}" if reason else f"{minutes} minutes")
    await mutes.mute(id, minutes, reason, ask.who.actor)
    return is_audited


async def unmute_alert(ask: Ask) -> Answer:
    """Tell of it again."""
    return answer_of(Done(is_audited=await unmute(ask, ask.args["id"])))


async def unmute(ask: Ask, id: str) -> bool:
    """The same for a page. Raises Unknown."""
    mutes = ask.office.control.mutes
    mutes.check_lift(id)
    is_audited = await ask.change("alert.unmute", id)
    await mutes.lift(id, ask.who.actor)
    return is_audited


ROUTES = (
    Route("GET", f"{_BASE}/webhooks", "config:read", webhooks, summary="Webhooks", answer=h.HookList),
    Route("GET", _ONE, "config:read", webhook, summary="One webhook", answer=h.HookModel),
    Route(
        "GET",
        f"{_ONE}/deliveries",
        "messages:read",
        hook_calls,
        summary="Calls of a webhook",
        answer=h.CallList,
        query={
            "limit": Whole(f"how many items, at most {MOST}", MOST, 50),
            "cursor": Free("next_cursor of the page before"),
            "state": OneOf("only in this state", STATES),
        },
    ),
    Route(
        "POST",
        f"{_ONE}/test",
        "system:write",
        test_hook,
        summary="Call a webhook now",
        body=Nothing,
        answer=h.TestResult,
    ),
    Route(
        "POST",
        f"{_ONE}/deliveries/<id>/replay",
        "system:write",
        replay_call,
        summary="Make a call again",
        body=Nothing,
        answer=Done,
    ),
    Route("GET", f"{_BASE}/alerts/mutes", "stats:read", alert_mutes, summary="Muted alerts", answer=h.MuteList),
    Route(
        "POST",
        f"{_BASE}/alerts/mutes",
        "runtime:write",
        mute_alert,
        summary="Mute an alert",
        body=h.NewMute,
        answer=Done,
        status=201,
    ),
    Route(
        "DELETE",
        f"{_BASE}/alerts/mutes/<path:id>",
        "runtime:write",
        unmute_alert,
        summary="Tell of an alert again",
        answer=Done,
    ),
)
