"""The API's login by name and password: for programs that act as a browser does, with its cookie. Others have tokens.

A session's cookie comes with the answer; every call that changes something then needs the header `X-CSRF-Token`, which
GET /me tells. Where a one-time code is wanted too, the first answer says so, and its cookie is that of the second step.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from smtpgate.admin import counted
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_account import person
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.throttle import TooMany

_BASE: Final = "/api/v1/auth"


class Login(Order):
    """Who one is."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class LoginCode(Order):
    """The one-time code, or a recovery code."""

    code: Annotated[str, Field(min_length=1, max_length=64)]


class LoginStep(View):
    """`wants_code`: a one-time code is to be sent to /auth/login/code, with the cookie of this answer."""

    wants_code: bool


async def begin_session(ask: Ask) -> Answer:
    """Name and password."""
    meter = ask.office.meter
    try:
        cookie, is_done = await ask.office.accounts.log_in(ask.caller, ask.body.name, ask.body.password)
    except (Refusal, TooMany) as refusal:
        counted.login(meter, "password", "throttled" if isinstance(refusal, TooMany) else "failed")
        raise
    counted.login(meter, "password", "ok")
    return _with(LoginStep(wants_code=not is_done), cookie)


async def give_login_code(ask: Ask) -> Answer:
    """The second step."""
    meter = ask.office.meter
    try:
        cookies = await ask.office.accounts.second(ask.caller, ask.body.code)
    except (Refusal, TooMany) as refusal:
        counted.login(meter, "code", "throttled" if isinstance(refusal, TooMany) else "failed")
        if isinstance(refusal, Refusal) and refusal.slug == "conflict":
            # Whoever has no first step is nobody.
            raise Refusal("unauthenticated", 401, refusal.detail) from None
        raise
    counted.login(meter, "code", "ok")
    return _with(LoginStep(wants_code=False), *cookies)


def _with(step: LoginStep, *cookies: str) -> Answer:
    answer = answer_of(step)
    return Answer(answer.body, answer.status, answer.content_type, cookies=cookies)


async def end_session(ask: Ask) -> Answer:
    """End the session, here and at once."""
    who = person(ask)
    if ask.is_dry_run:
        await ask.guarded_change("logout", who.name)
    cookie = await ask.office.accounts.log_out(ask.caller, who)
    answer = answer_of(Done())
    headers = {"Clear-Site-Data": '"cache", "storage"'}
    return Answer(answer.body, answer.status, answer.content_type, headers, (cookie,))


ROUTES = (
    Route(
        "POST",
        f"{_BASE}/login",
        "public",
        begin_session,
        summary="Log in",
        body=Login,
        answer=LoginStep,
        is_question=True,
    ),
    Route(
        "POST",
        f"{_BASE}/login/code",
        "public",
        give_login_code,
        summary="The one-time code of a login",
        body=LoginCode,
        answer=LoginStep,
        is_question=True,
    ),
    Route("POST", f"{_BASE}/logout", "self", end_session, summary="Log out", body=Nothing, answer=Done, is_own=True),
)
