"""The API about who asks: their password, their one-time codes. For sessions of browsers; tokens have neither."""

from __future__ import annotations

from smtpgate.admin import models_access as a
from smtpgate.admin import totp
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.permission import Principal
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment

_BASE = "/api/v1/auth"


def person(ask: Ask) -> Principal:
    """Who asks, where that is somebody with a password."""
    if ask.who.kind != "user":
        raise Refusal("conflict", 409, "this is for people who have logged in; tokens have no password")
    return ask.who


async def reauth(ask: Ask) -> Answer:
    """The password again."""
    await ask.office.accounts.prove(ask.caller, person(ask), ask.body.password)
    return answer_of(Done())


async def set_own_password(ask: Ask) -> Answer:
    """Another password; all sessions end, and the cookie of the answer is a new one's."""
    who = person(ask)
    if ask.is_dry_run:
        await ask.guarded_change("user.password", who.name, "own")
    cookie = await ask.office.accounts.set_own_password(ask.caller, who, ask.body.current, ask.body.password)
    answer = answer_of(Done())
    return Answer(answer.body, answer.status, answer.content_type, cookies=(cookie,))


async def codes(ask: Ask) -> Answer:
    """Whether a login takes a one-time code."""
    factor = await ask.office.accounts.codes.of(person(ask).name)
    return answer_of(
        a.CodesModel(
            is_set=factor is not None,
            made=moment(factor.made) if factor is not None else None,
            recovery_left=factor.recovery_left if factor is not None else 0,
            is_wanted=ask.office.accounts.wants_code(ask.who.role),
        )
    )


async def begin_codes(ask: Ask) -> Answer:
    """A secret for the telephone. It holds once a first code of it was sent."""
    who = person(ask)
    secret = ask.office.accounts.codes.begin(who.id, who.name)
    return answer_of(a.CodesBegun(key=totp.key_of(secret), uri=ask.office.accounts.codes.uri(who.name, secret)))


async def confirm_codes(ask: Ask) -> Answer:
    """The first code: from now on a login takes one. All sessions end; the cookie of the answer is a new one's."""
    who = person(ask)
    if ask.is_dry_run:
        ask.office.accounts.codes.first_step(who.id, who.name, ask.body.code)
        await ask.guarded_change("totp.set", who.name)
    recovery, cookie = await ask.office.accounts.set_up_codes(ask.caller, who, ask.body.code)
    answer = answer_of(a.RecoveryCodes(recovery_codes=list(recovery)))
    return Answer(answer.body, answer.status, answer.content_type, cookies=(cookie,))


async def renew_codes(ask: Ask) -> Answer:
    """Other recovery codes in place of those before."""
    who = person(ask)
    if ask.is_dry_run:
        await ask.guarded_change("totp.recovery", who.name)
    return answer_of(a.RecoveryCodes(recovery_codes=list(await ask.office.accounts.renew_codes(ask.caller, who))))


async def drop_codes(ask: Ask) -> Answer:
    """No one-time codes any more."""
    who = person(ask)
    if ask.is_dry_run:
        await ask.guarded_change("totp.remove", who.name)
    await ask.office.accounts.drop_codes(ask.caller, who)
    return answer_of(Done())


ROUTES = (
    Route(
        "POST",
        f"{_BASE}/reauth",
        "self",
        reauth,
        summary="The password again",
        body=a.Proof,
        answer=Done,
        is_question=True,
        is_own=True,
    ),
    Route(
        "POST",
        f"{_BASE}/password",
        "self",
        set_own_password,
        summary="Another password",
        body=a.OwnPassword,
        answer=Done,
        is_secret=True,
        is_own=True,
    ),
    Route("GET", f"{_BASE}/totp", "self", codes, summary="One's one-time codes", answer=a.CodesModel, is_own=True),
    Route(
        "POST",
        f"{_BASE}/totp",
        "self",
        begin_codes,
        summary="Begin to set up one-time codes",
        body=Nothing,
        answer=a.CodesBegun,
        is_question=True,
        is_guarded=True,
        is_own=True,
    ),
    Route(
        "POST",
        f"{_BASE}/totp/confirm",
        "self",
        confirm_codes,
        summary="The first one-time code",
        body=a.FirstCode,
        answer=a.RecoveryCodes,
        is_secret=True,
        is_guarded=True,
        is_own=True,
    ),
    Route(
        "POST",
        f"{_BASE}/totp/recovery",
        "self",
        renew_codes,
        summary="Other recovery codes",
        body=Nothing,
        answer=a.RecoveryCodes,
        is_secret=True,
        is_guarded=True,
        is_own=True,
    ),
    Route(
        "DELETE",
        f"{_BASE}/totp",
        "self",
        drop_codes,
        summary="No one-time codes any more",
        answer=Done,
        is_guarded=True,
        is_own=True,
    ),
)
