"""The pages of who may come in: users, roles, tokens, sessions, failed logins."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from smtpgate.admin import api_access as do
from smtpgate.admin import api_sso
from smtpgate.admin import models_access as a
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models_audit import audit_model
from smtpgate.admin.panels import panel
from smtpgate.admin.permission import ROLES, SCOPES, Principal, held_by
from smtpgate.admin.problem import refusal_of
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.admin.throttle import TooMany
from smtpgate.admin.versions import tag_of
from smtpgate.control.entries import TOKEN_DAYS, TOKEN_DAYS_DEFAULT, check_grant
from smtpgate.control.views import Refused

#: Failed logins on the page; the audit has all.
FAILED: Final = 20
#: What separates domains and networks in one field.
_BETWEEN: Final = re.compile(r"[\s,;]+")
#: What a form may come back with when it was refused.
_WRONG: Final = (Refused, Refusal, TooMany)


async def access(ask: Ask) -> Answer:
    """Who may come in."""
    return await _access(ask)


async def _access(ask: Ask, trouble: str = "", status: int = 200, **shown: Any) -> Answer:
    office, who = ask.office, ask.who
    failed, no_audit = [], ""
    if who.may("audit:read"):
        rows, no_audit = await panel(office.users.log.find(FAILED, 0, {"result": "failed"}), [])
        failed = [audit_model(row) for row in rows]
    sessions = await office.accounts.sessions(who)
    values = {
        "trouble": trouble,
        "users": await do.people(ask),
        "tokens": [a.token_model(one) for one in await office.users.tokens()],
        "sessions": [a.browser_model(one, seen_at, who.id) for one, seen_at in sessions],
        "failed": failed,
        "no_audit": no_audit,
        "providers": api_sso.list_of(ask).items,
        "provider_test": None,
        "roles": _givable(who),
        "scopes": [one for one in SCOPES if who.may(one)],
        "days": (TOKEN_DAYS_DEFAULT, TOKEN_DAYS),
        "form": ask.form if trouble else {},
        "invitation": None,
        "fresh_token": "",
        "about": "",
        **shown,
    }
    answer: Answer = await office.templates.page(ask, "access.html", status, here="access", **values)
    return answer


def _givable(who: Principal) -> list[str]:
    """Roles that somebody holds all of."""
    return [role for role in ROLES if held_by(role) <= who.scopes]


async def roles(ask: Ask) -> Answer:
    """What each role may do."""
    rows = [(scope, [scope in held_by(role) for role in ROLES]) for scope in SCOPES]
    answer: Answer = await ask.office.templates.page(ask, "roles.html", here="access", roles=list(ROLES), rows=rows)
    return answer


async def user(ask: Ask) -> Answer:
    """One user."""
    return await _user(ask)


async def _user(ask: Ask, trouble: str = "", status: int = 200, **shown: Any) -> Answer:
    name = ask.args["name"]
    found = await do.person(ask, name)
    sessions = [one for one in await ask.office.accounts.sessions(ask.who) if one[0].user == name]
    values = {
        "trouble": trouble,
        "one": found,
        "sessions": [a.browser_model(session, seen_at, ask.who.id) for session, seen_at in sessions],
        "roles": list(dict.fromkeys((found.role, *_givable(ask.who)))),
        "version": _version(found),
        "invitation": None,
        **shown,
    }
    answer: Answer = await ask.office.templates.page(ask, "user.html", status, here="access", **values)
    return answer


def _version(one: a.UserModel) -> str:
    """As the API's ETag: what somebody saw who changes it."""
    return tag_of(answer_of(one)).strip('"')


def _listed(text: str) -> list[str]:
    return [one for one in _BETWEEN.split(text) if one]


def _said(error: Exception) -> tuple[str, int]:
    """What a page says of a refusal."""
    refusal = refusal_of(error)
    return f"{refusal.detail[:1].upper()}{refusal.detail[1:]}.", refusal.status


async def add_user(ask: Ask) -> Answer:
    """A new user, and the link by which they set a password: shown this once."""
    name, role = ask.form.get("name", "").strip(), ask.form.get("role", "")
    try:
        domains, addresses = _listed(ask.form.get("domains", "")), _listed(ask.form.get("addresses", ""))
        made = await do.new_user(ask, name, role, "", domains, addresses)
    except _WRONG as error:
        return await _access(ask, *_said(error))
    return await _access(ask, invitation=made.invitation, about=name)


async def change_user(ask: Ask) -> Answer:
    """Other rights."""
    form, name = ask.form, ask.args["name"]
    if form.get("version", "") != _version(await do.person(ask, name)):
        return await _user(ask, "Somebody changed this user meanwhile; this is how it is now.", 409)
    try:
        await ask.office.accounts.grants.change_user(
            ask.guarded_change,
            ask.who,
            name,
            form.get("role", ""),
            _listed(form.get("domains", "")),
            form.get("is_disabled", "") == "yes",
            _listed(form.get("addresses", "")),
        )
    except _WRONG as error:
        return await _user(ask, *_said(error))
    return redirect(f"/access/users/{quote(name, safe='')}")


async def invite(ask: Ask) -> Answer:
    """A link to set a password by: shown this once."""
    try:
        return await _user(ask, invitation=await do.invite(ask, ask.args["name"]))
    except _WRONG as error:
        return await _user(ask, *_said(error))


async def reset_codes(ask: Ask) -> Answer:
    """Take the one-time codes away."""
    return await _done(ask, ask.office.accounts.reset_codes(ask.guarded_change, ask.who, ask.args["name"]))


async def end_sessions(ask: Ask) -> Answer:
    """End all sessions of a user."""
    return await _done(ask, ask.office.accounts.end_sessions(ask.guarded_change, ask.who, ask.args["name"]))


async def _done(ask: Ask, work: Any) -> Answer:
    try:
        await work
    except _WRONG as error:
        return await _user(ask, *_said(error))
    return redirect(f"/access/users/{quote(ask.args['name'], safe='')}")


async def remove_user(ask: Ask) -> Answer:
    """A user goes, where the name was typed."""
    name = ask.args["name"]
    if ask.form.get("name", "") != name:
        return await _user(ask, "Type the name of the user to remove them.", 422)
    try:
        await ask.office.accounts.grants.remove_user(ask.guarded_change, ask.who, name)
    except _WRONG as error:
        return await _user(ask, *_said(error))
    return redirect("/access")


async def add_token(ask: Ask) -> Answer:
    """A new token: its text is shown this once."""
    form = ask.form
    name, role, days = form.get("name", "").strip(), form.get("role", ""), form.get("days", "")
    chosen = [one for one in SCOPES if form.get(f"scope {one}", "")]
    try:
        if not (days.isascii() and days.isdigit() and len(days) < 5):
            raise Refusal("validation", 422, f"a token holds for 1 to {TOKEN_DAYS} days")
        domains, networks = _listed(form.get("domains", "")), _listed(form.get("networks", ""))
        grant = check_grant(name, role, chosen, domains, networks, int(days))
        text = await ask.office.accounts.grants.add_token(ask.guarded_change, ask.who, name, grant)
    except _WRONG as error:
        return await _access(ask, *_said(error))
    return await _access(ask, fresh_token=text, about=name)


async def revoke_token(ask: Ask) -> Answer:
    """A token holds no more."""
    try:
        await ask.office.accounts.grants.revoke_token(ask.guarded_change, ask.who, ask.args["id"])
    except _WRONG as error:
        return await _access(ask, *_said(error))
    return redirect("/access#tokens")


async def test_provider(ask: Ask) -> Answer:
    """Ask a provider of identities now whether it answers."""
    return await _access(ask, provider_test=await api_sso.try_provider(ask, ask.args["name"]), about=ask.args["name"])


async def end_session(ask: Ask) -> Answer:
    """End one session of a browser."""
    try:
        await ask.office.accounts.end_session(ask.guarded_change, ask.who, ask.form.get("id", ""))
    except _WRONG as error:
        return await _access(ask, *_said(error))
    back = ask.form.get("user", "")
    return redirect(f"/access/users/{quote(back, safe='')}" if back else "/access#sessions")


def _page(path: str, serve: Any, method: Any = "GET") -> Route:
    return page_route(path, "access:write", serve, method, is_guarded=method != "GET")


_USER = "/access/users/<name>"

ROUTES = (
    _page("/access", access),
    _page("/access/roles", roles),
    _page("/access/users", add_user, "POST"),
    _page(_USER, user),
    _page(_USER, change_user, "POST"),
    _page(f"{_USER}/invitation", invite, "POST"),
    _page(f"{_USER}/totp", reset_codes, "POST"),
    _page(f"{_USER}/sessions", end_sessions, "POST"),
    _page(f"{_USER}/remove", remove_user, "POST"),
    _page("/access/tokens", add_token, "POST"),
    _page("/access/tokens/<id>/revoke", revoke_token, "POST"),
    _page("/access/sessions", end_session, "POST"),
    _page("/access/sso/<name>/test", test_provider, "POST"),
)
