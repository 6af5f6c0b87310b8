"""Coming and going: the login page, the first visit, and the end of a session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs
from markupsafe import escape

from smtpgate.admin import counted
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import THEME_COOKIE, THEMES, Refusal
from smtpgate.admin.routes import Ask
from smtpgate.admin.throttle import TooMany
from smtpgate.admin.wire import WebRequest
from smtpgate.control.views import Invalid

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OWN_PLACE = re.compile(r"/[A-Za-z0-9._~/?=&%+-]*")


def login_place(request: WebRequest) -> str:
    """Where a stranger is sent, with the way back."""
    wanted = request.uri.decode("latin-1")
    return "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}"


def own_place(wanted: str) -> str:
    """A place on this site; "/" for anything else, so that nobody is led away after the login."""
    return wanted if _OWN_PLACE.fullmatch(wanted) and not wanted.startswith("//") else "/"


def _form(ask: Ask, template: str, status: int, **values: Any) -> Answer:
    """A form that a stranger may send: its key is in it and in a cookie."""
    token, cookie = ask.office.form_keys.issue(ask.caller)
    answer = ask.office.templates.bare(ask.caller, template, status, csrf=token, **values)
    return Answer(answer.body, answer.status, cookies=(cookie,) if cookie else ())


def _words(refusal: TooMany) -> str:
    return f"Too many tries. {str(refusal).capitalize()}."


def _later(form: Answer, refusal: TooMany) -> Answer:
    """The form again, and when it may be sent."""
    return attrs.evolve(form, headers={"Retry-After": str(int(refusal.seconds) + 1)})


def leads_to(
    ask: Ask, address: str, words: str, cookies: tuple[str, ...] = (), headers: Mapping[str, str] | None = None
) -> Answer:
    """A page that leads to another site at once: a redirect behind a form is one that the content policy forbids."""
    answer: Answer = ask.office.templates.bare(ask.caller, "away.html", address=escape(address), words=words)
    return attrs.evolve(answer, cookies=cookies, headers={**answer.headers, **(headers or {})})


async def login_page(ask: Ask) -> Answer:
    """Name and password."""
    if await ask.office.accounts.needs_setup():
        return redirect("/setup")
    if ask.principal is not None:
        return redirect("/")
    return _login(ask, ask.query.get("next", "/"), "")


def _login(ask: Ask, wanted: str, trouble: str, status: int = 200) -> Answer:
    providers = list(ask.office.logins.providers().values())
    return _form(ask, "login.html", status, wanted=own_place(wanted), trouble=trouble, providers=providers)


async def log_in(ask: Ask) -> Answer:
    """Check them, and begin a session."""
    ask.office.form_keys.check(ask.caller, ask.form)
    wanted = own_place(ask.form.get("next", "/"))
    try:
        cookie, is_done = await ask.office.accounts.log_in(
            ask.caller, ask.form.get("name", ""), ask.form.get("password", "")
        )
    except Refusal as refusal:
        if refusal.slug != "unauthenticated":
            raise
        counted.login(ask.office.meter, "password", "failed")
        return _login(ask, wanted, refusal.detail, 401)
    except TooMany as refusal:
        counted.login(ask.office.meter, "password", "throttled")
        return _later(_login(ask, wanted, _words(refusal), 429), refusal)
    counted.login(ask.office.meter, "password", "ok")
    return redirect(wanted if is_done else f"/login/code?next={quote(wanted, safe='')}", (cookie,))


async def code_page(ask: Ask) -> Answer:
    """The second step: the one-time code."""
    if ask.office.accounts.halves.find(ask.caller) is None:
        return redirect("/login")
    return _code(ask, ask.query.get("next", "/"), "")


def _code(ask: Ask, wanted: str, trouble: str, status: int = 200) -> Answer:
    return _form(ask, "code.html", status, wanted=own_place(wanted), trouble=trouble)


async def give_code(ask: Ask) -> Answer:
    """Check it, and begin a session."""
    ask.office.form_keys.check(ask.caller, ask.form)
    wanted = own_place(ask.form.get("next", "/"))
    try:
        cookies = await ask.office.accounts.second(ask.caller, ask.form.get("code", ""))
    except Refusal as refusal:
        if refusal.slug == "conflict":
            return _login(ask, wanted, refusal.detail.capitalize() + ".", 409)
        if refusal.slug != "unauthenticated":
            raise
        counted.login(ask.office.meter, "code", "failed")
        return _code(ask, wanted, refusal.detail, 401)
    except TooMany as refusal:
        counted.login(ask.office.meter, "code", "throttled")
        return _later(_code(ask, wanted, _words(refusal), 429), refusal)
    counted.login(ask.office.meter, "code", "ok")
    return redirect(wanted, cookies)


async def welcome_page(ask: Ask) -> Answer:
    """Somebody was invited, or has to set another password."""
    return await _welcome(ask)


async def _welcome(ask: Ask, trouble: str = "", status: int = 200) -> Answer:
    user = await ask.office.accounts.invitations.whom(ask.args["token"])
    return _form(ask, "welcome.html", status, name=user.name, token=ask.args["token"], trouble=trouble)


async def welcome(ask: Ask) -> Answer:
    """Set it; then it is logged in with."""
    ask.office.form_keys.check(ask.caller, ask.form)
    password = ask.form.get("password", "")
    if password != ask.form.get("again", ""):
        return await _welcome(ask, "The two passwords differ.", 422)
    try:
        await ask.office.accounts.invitations.use(ask.args["token"], password, ask.caller)
    except Invalid as wrong:
        return await _welcome(ask, str(wrong), 422)
    except TooMany as refusal:
        return _later(await _welcome(ask, _words(refusal), 429), refusal)
    return redirect("/login")


async def log_out(ask: Ask) -> Answer:
    """End the session."""
    there = ask.office.logins.leave(ask.caller, ask.who)
    cookie = await ask.office.accounts.log_out(ask.caller, ask.who)
    clear = {"Clear-Site-Data": '"cache", "storage"'}
    return (
        leads_to(ask, there, "You are logged out here", (cookie,), clear)
        if there
        else redirect("/login", (cookie,), clear)
    )


async def choose_theme(ask: Ask) -> Answer:
    """Light, dark, or as the system: kept by the browser for a year."""
    chosen = ask.form.get("theme", "")
    if chosen and chosen not in THEMES:
        raise Refusal("parameter", 400, f"the colours are {', '.join(THEMES)}, or none for those of the system")
    return redirect(
        own_place(ask.form.get("back", "/")), (ask.caller.cookie(THEME_COOKIE, chosen, 365 * 86400 if chosen else 0),)
    )


async def setup_page(ask: Ask) -> Answer:
    """The first visit: the code from the log makes an owner. A link may bring the code along."""
    if not await ask.office.accounts.needs_setup():
        raise Refusal("not-found", 404, "there is nothing here")
    await ask.office.accounts.offer_setup()
    code = ask.query.get("code", "")
    return _setup(ask, "", "", code=code if _CODE.fullmatch(code) else "")


def _setup(ask: Ask, name: str, trouble: str, status: int = 200, code: str = "") -> Answer:
    return _form(ask, "setup.html", status, name=name, trouble=trouble, code=code)


async def set_up(ask: Ask) -> Answer:
    """Make the owner and log them in."""
    if not await ask.office.accounts.needs_setup():
        raise Refusal("not-found", 404, "there is nothing here")
    ask.office.form_keys.check(ask.caller, ask.form)
    form = ask.form
    name = form.get("name", "")
    if form.get("password", "") != form.get("again", ""):
        return _setup(ask, name, "the two passwords differ", 422)
    try:
        cookie = await ask.office.accounts.set_up(ask.caller, form.get("code", ""), name, form.get("password", ""))
    except Invalid as wrong:
        return _setup(ask, name, str(wrong), 422)
    except Refusal as refusal:
        if refusal.status != 401:
            raise
        return _setup(ask, name, refusal.detail, refusal.status)
    return redirect("/", (cookie,))
