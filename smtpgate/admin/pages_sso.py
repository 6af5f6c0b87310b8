"""The way to a provider of identities and back, as a browser goes it; and the test of a provider on the page Access.

The way there is a form of ours, and then a page that leads on by itself: a redirect behind a form would be one that the
content policy forbids. The way back is a request of another site, which has no session's cookie, so it opens a page
that sends its ticket on from here: by a script, or by its button.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attrs
from markupsafe import escape

from smtpgate.admin import counted
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.entry import leads_to, own_place
from smtpgate.admin.flows import gone
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.admin.sso import Failed
from smtpgate.admin.throttle import TooMany


async def _failed(ask: Ask, work: Any) -> Any:
    """What a call gives, or the page that says that it did not work, and no more."""
    try:
        return await work
    except Failed:
        counted.login(ask.office.meter, "oidc", "failed")
        return _sorry(ask, "The login did not work.", 403)
    except TooMany as refusal:
        counted.login(ask.office.meter, "oidc", "throttled")
        answer = _sorry(ask, f"Too many tries. {str(refusal).capitalize()}.", 429)
        return attrs.evolve(answer, headers={**answer.headers, "Retry-After": str(int(refusal.seconds) + 1)})


def _sorry(ask: Ask, words: str, status: int) -> Answer:
    answer: Answer = ask.office.templates.bare(
        ask.caller,
        "sso-failed.html",
        status,
        words=words,
        request_id=ask.request.id,
        is_inside=ask.principal is not None,
    )
    return attrs.evolve(answer, cookies=(gone(ask.caller),))


async def begin(ask: Ask) -> Answer:
    """To the provider."""
    ask.office.form_keys.check(ask.caller, ask.form)
    if await ask.office.accounts.needs_setup():
        return redirect("/setup")
    name = ask.args["name"]
    found = await _failed(ask, ask.office.logins.begin(ask.caller, name, own_place(ask.form.get("next", "/"))))
    if isinstance(found, Answer):
        return found
    address, cookie = found
    return leads_to(ask, address, ask.office.logins.provider(name).button, (cookie,))


async def begin_proof(ask: Ask) -> Answer:
    """To the provider, to log in there anew; a form may wait meanwhile."""
    action, carried = own_place(ask.form.get("action", "/")), ask.form.get("carried", "")
    wanted = own_place(ask.form.get("next", "/"))
    work = ask.office.logins.begin_proof(ask.caller, ask.who, wanted, action if carried else "", carried)
    found = await _failed(ask, work)
    if isinstance(found, Answer):
        return found
    address, cookie = found
    return leads_to(ask, address, "Log in anew", (cookie,))


async def back(ask: Ask) -> Answer:
    """From the provider."""
    name = ask.args["name"]
    found = await _failed(ask, ask.office.logins.back(ask.caller, name, ask.query))
    if isinstance(found, Answer):
        return found
    answer: Answer = ask.office.templates.bare(ask.caller, "back.html", name=name, ticket=found)
    return answer


async def finish(ask: Ask) -> Answer:
    """And in."""
    work = ask.office.logins.finish(ask.caller, ask.args["name"], ask.form.get("ticket", ""), ask.principal)
    found = await _failed(ask, work)
    if isinstance(found, Answer):
        return found
    counted.login(ask.office.meter, "oidc", "ok")
    flow = found.flow
    if flow.carried and ask.principal is not None:
        values = {"action": escape(flow.action), "carried": escape(flow.carried)}
        answer: Answer = await ask.office.templates.page(ask, "proved.html", here="account", **values)
        return attrs.evolve(answer, cookies=found.cookies)
    return redirect(flow.wanted if found.is_done else f"/login/code?next={quote(flow.wanted, safe='')}", found.cookies)


ROUTES: tuple[Route, ...] = (
    page_route("/login/sso/<name>", "public", begin, "POST"),
    page_route("/login/sso/<name>/back", "public", back),
    page_route("/login/sso/<name>/finish", "public", finish, "POST"),
    page_route("/prove/sso", "self", begin_proof, "POST", is_own=True),
)
