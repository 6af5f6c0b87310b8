"""The page of who asks: their password, their one-time codes, their sessions; and the question for the password."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import models_access as a
from smtpgate.admin import proof, totp
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_account import person
from smtpgate.admin.entry import own_place
from smtpgate.admin.guard import Refusal
from smtpgate.admin.problem import refusal_of
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.admin.throttle import TooMany
from smtpgate.control.views import Invalid


async def account(ask: Ask) -> Answer:
    """What one has here."""
    return await _account(ask)


async def _account(ask: Ask, trouble: str = "", status: int = 200, **shown: Any) -> Answer:
    who, accounts = person(ask), ask.office.accounts
    # An owner sees everybody's sessions on the page of all who have access.
    own = [one for one in await accounts.sessions(who) if one[0].user == who.name]
    values = {
        "trouble": trouble,
        "factor": await accounts.codes.of(who.name),
        "wants_code": accounts.wants_code(who.role),
        "sessions": [a.browser_model(one, seen_at, who.id) for one, seen_at in own],
        "picture": None,
        "key": "",
        "recovery": (),
        **shown,
    }
    answer: Answer = await ask.office.templates.page(ask, "account.html", status, here="account", **values)
    return answer


async def set_password(ask: Ask) -> Answer:
    """Another password."""
    form = ask.form
    if form.get("password", "") != form.get("again", ""):
        return await _account(ask, "The two new passwords differ.", 422)
    try:
        cookie = await ask.office.accounts.set_own_password(
            ask.caller, person(ask), form.get("current", ""), form.get("password", "")
        )
    except (Invalid, TooMany, Refusal) as error:
        return await _trouble(ask, error)
    return redirect("/account", (cookie,))


async def _trouble(ask: Ask, error: Exception, **shown: Any) -> Answer:
    refusal = refusal_of(error)
    return await _account(ask, f"{refusal.detail[:1].upper()}{refusal.detail[1:]}.", refusal.status, **shown)


async def begin_codes(ask: Ask) -> Answer:
    """A secret for the telephone, as a picture and as text."""
    return await _account(ask, **_secret(ask))


def _secret(ask: Ask) -> dict[str, Any]:
    who, codes = person(ask), ask.office.accounts.codes
    secret = codes.begin(who.id, who.name)
    key = totp.key_of(secret)
    grouped = " ".join(key[place : place + 4] for place in range(0, len(key), 4))
    return {"picture": totp.picture_of(codes.uri(who.name, secret)), "key": grouped}


async def confirm_codes(ask: Ask) -> Answer:
    """The first code; the recovery codes are shown this once."""
    try:
        recovery, cookie = await ask.office.accounts.set_up_codes(ask.caller, person(ask), ask.form.get("code", ""))
    except (TooMany, Refusal) as error:
        return await _trouble(ask, error, **_secret(ask))
    values = {"codes": recovery, "is_new": True}
    answer = await ask.office.templates.page(ask, "recovery.html", here="account", **values)
    return Answer(answer.body, answer.status, headers=answer.headers, cookies=(cookie,))


async def renew_codes(ask: Ask) -> Answer:
    """Other recovery codes, shown this once."""
    recovery = await ask.office.accounts.renew_codes(ask.caller, person(ask))
    answer: Answer = await ask.office.templates.page(ask, "recovery.html", here="account", codes=recovery, is_new=False)
    return answer


async def drop_codes(ask: Ask) -> Answer:
    """No one-time codes any more."""
    try:
        await ask.office.accounts.drop_codes(ask.caller, person(ask))
    except Refusal as error:
        return await _trouble(ask, error)
    return redirect("/account")


async def end_session(ask: Ask) -> Answer:
    """End one of one's own sessions."""
    await ask.office.accounts.end_session(ask.guarded_change, person(ask), ask.form.get("id", ""))
    return redirect("/account")


async def prove_page(ask: Ask) -> Answer:
    """Ask for the password, and go on to a page."""
    wanted = own_place(ask.query.get("next", "/"))
    return await proof.question(ask, "/prove", status=200, wanted=wanted)


async def prove(ask: Ask) -> Answer:
    """Check it."""
    person(ask)
    wanted = own_place(ask.form.get("next", "/"))
    trouble = await proof.tried(ask, ask.form.get("proof", ""))
    if trouble is not None:
        return await proof.question(ask, "/prove", *trouble, wanted=wanted)
    return redirect(wanted)


def _page(path: str, serve: Any, method: Any = "GET", is_guarded: bool = False) -> Route:
    return page_route(path, "self", serve, method, is_own=True, is_guarded=is_guarded)


ROUTES = (
    _page("/account", account),
    _page("/account/password", set_password, "POST"),
    _page("/account/codes", begin_codes, "POST", is_guarded=True),
    _page("/account/codes/confirm", confirm_codes, "POST", is_guarded=True),
    _page("/account/codes/recovery", renew_codes, "POST", is_guarded=True),
    _page("/account/codes/remove", drop_codes, "POST", is_guarded=True),
    _page("/account/sessions/end", end_session, "POST"),
    _page("/prove", prove_page),
    _page("/prove", prove, "POST"),
)
