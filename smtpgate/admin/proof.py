"""What is dangerous wants a password that is not old: who may do what, what is put to work, what is taken out.

Of a browser's session the password must have been given within ten minutes. A page asks for it and goes on with the
form that was sent, which the question carries along; the API answers 401. A form that
brings a private key is not carried: it is filled in again (`Route.again`). Tokens and the local socket have no
password.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from markupsafe import Markup, escape

from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.permission import Principal
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.throttle import TooMany
from smtpgate.admin.wire import WebRequest

#: How old a password may be (GitHub asks again after two hours, sudo after fifteen minutes).
PROOF_S: Final = 600.0
#: A clock that is set back makes a password no older; beyond that it is as good as old.
_SLACK_S: Final = 60.0

Form = dict[str, str]


def is_proved(principal: Principal, now: float) -> bool:
    """Whether somebody may do what is dangerous."""
    return principal.kind != "user" or -_SLACK_S < now - principal.login_at < PROOF_S


async def wanted(
    office: Any, route: Route, request: WebRequest, caller: Caller, principal: Principal, form: Form | None
) -> Form | Answer | None:
    """The form to go on with; an Answer where the password is asked for first. Raises Refusal to programs."""
    sent = form or {}
    carried = "carried" in sent and "proof" in sent and not route.again
    if is_proved(principal, office.wall()):
        return _carried(sent) if carried else form
    if route.kind != "page":
        raise Refusal("reauth-required", 401, "this wants a password that was given within ten minutes")
    if form is None:
        return redirect(f"/prove?next={quote(request.uri.decode('latin-1'), safe='')}")
    ask = Ask(office, request, caller, principal, {}, {})
    if route.again:
        return await question(ask, "/prove", wanted=route.again, is_again=True)
    if not carried:
        return await question(ask, request.path.decode("latin-1"), carried=sent)
    fields = _carried(sent)
    trouble = await tried(ask, sent["proof"])
    if trouble is not None:
        return await question(ask, request.path.decode("latin-1"), *trouble, carried=fields)
    return fields


def _carried(sent: Form) -> Form:
    try:
        text = base64.b64decode(sent["carried"], validate=True).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict"))
    except (binascii.Error, ValueError):
        raise Refusal("malformed", 400, "the form cannot be read") from None


async def tried(ask: Ask, password: str) -> tuple[str, int] | None:
    """Check the password; what to say, and with which status, where it will not do."""
    try:
        await ask.office.accounts.prove(ask.caller, ask.who, password)
    except TooMany as error:
        return f"Too many tries. {str(error).capitalize()}.", 429
    except Refusal as error:
        if error.slug != "unauthenticated":
            raise
        return error.detail, 401
    return None


async def question(
    ask: Ask,
    action: str,
    trouble: str = "",
    status: int = 401,
    carried: Form | None = None,
    wanted: str = "",
    is_again: bool = False,
) -> Answer:
    """The page that asks.

    :param action: where its form goes
    :param carried: the form that is gone on with; `wanted`: or the place
    :param is_again: a form was sent that is to be filled in again there
    """
    # All of it: what is shown is cut, and what goes on is not. In base64 there is nothing to escape.
    packed = Markup(base64.b64encode(urlencode(list((carried or {}).items())).encode()).decode("ascii"))
    there = ask.office.logins.named(ask.who.issuer) if ask.who.issuer else None
    values: dict[str, Any] = {"action": escape(action), "trouble": trouble, "carried": packed, "wanted": escape(wanted)}
    values["is_again"] = is_again
    values["provider"] = there.button if there is not None else ""
    answer: Answer = await ask.office.templates.page(ask, "prove.html", status, here="account", **values)
    return answer
