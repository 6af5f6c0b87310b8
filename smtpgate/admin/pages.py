"""The pages: HTML from the same snapshots that the API gives.

Each reads well and does its forms without scripts; scripts refresh what is marked as live.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from smtpgate.admin import api_do, entry, explain, insight, searching, text
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.assets import PUBLIC
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_messages, find_session
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Ask, Route
from smtpgate.policy.clues import reference_in
from smtpgate.policy.query import LONGEST, QueryError

#: Lengths of a drain that a form offers, minutes.
DRAINS = ((0, "until Ready"), (60, "for an hour"), (8 * 60, "for 8 hours"), (24 * 60, "for a day"))
#: A coding that is not wanted (RFC 9110 section 12.4.2).
_NEVER = re.compile(r";q=0(\.0*)?$")


async def session(ask: Ask) -> Answer:
    """One session, or one message of it: why, and step by step."""
    reference = ask.args["id"]
    record = await find_session(ask.office, ask.who.reach, reference)
    focus = record.message(reference) if "." in reference else None
    if "." in reference and focus is None:
        raise Refusal("not-found", 404, f"no message {text.visible(reference, 80)} in this session")
    return await ask.office.templates.page(
        ask,
        "session.html",
        here="messages",
        record=record,
        focus=focus,
        messages=[focus] if focus is not None else list(record.messages),
        banner=explain.of_message(focus) if focus is not None else explain.of_session(record),
        bars=explain.bars(record),
        bans=ask.office.control.traffic.sender(record.client_ip).bans,
        insight=insight,
        scale=ask.office.control.settings.scale,
        is_same_revision=record.revision == ask.office.control.current().id,
        q=reference,
    )


async def search(ask: Ask) -> Answer:
    """A reference, also inside other text, opens its page, and so does whatever only one message has; the rest is
    looked for in the list.
    """
    wanted = ask.query.get("q", "") or ask.form.get("q", "")
    reference = reference_in(wanted)
    if reference:
        return redirect(f"/sessions/{reference}")
    try:
        query = searching.meant(wanted, ask.office.wall())
        found = await find_messages(ask.office, ask.who.reach, query, 2) if query.clauses else None
        text = query.text
    except QueryError:
        found, text = None, " ".join(wanted.split())[:LONGEST]
    if found is not None and len(found.items) == 1 and not found.is_partial:
        return redirect(f"/sessions/{found.items[0].id}")
    return redirect(f"/messages?q={quote(text)}")


async def backends(ask: Ask) -> Answer:
    """All servers of all backends."""
    by_backend: dict[str, list[Any]] = {name: [] for name in ask.office.control.settings.backends}
    for view in ask.office.control.servers():
        by_backend.setdefault(view.backend, []).append(view)
    return await ask.office.templates.page(
        ask,
        "backends.html",
        here="backends",
        backends=by_backend,
        slots={view.name: view for view in ask.office.control.backends()},
        settings=ask.office.control.settings.backends,
        drains=DRAINS,
    )


async def filters(ask: Ask) -> Answer:
    """The chain of filters."""
    return await ask.office.templates.page(ask, "filters.html", here="filters", filters=ask.office.control.filters())


async def help_page(ask: Ask) -> Answer:
    """What the words mean."""
    return await ask.office.templates.page(ask, "help.html", here="help")


async def problem(ask: Ask) -> Answer:
    """What a kind of refusal means, and what to do: the address in the `type` of a problem."""
    slug = ask.args["slug"]
    found = PROBLEMS.get(slug)
    if found is None:
        raise Refusal("not-found", 404, "there is no such problem")
    return await ask.office.templates.page(ask, "problem.html", here="help", problem=found, slug=slug)


# Do


async def kill(ask: Ask) -> Answer:
    """End a session."""
    await api_do.kill(ask, ask.args["id"])
    return redirect("/live")


def _server_form(verb: str) -> Any:
    async def serve(ask: Ask) -> Answer:
        reason = "".join(c for c in ask.form.get("reason", "") if c.isprintable())[:500]
        minutes = ask.form.get("minutes", "0")
        if minutes not in {str(one) for one, _ in DRAINS}:
            raise Refusal("parameter", 400, "choose how long")
        await api_do.server_verb(ask, verb, reason, int(minutes))
        return redirect("/backends")

    serve.__doc__ = f"{verb} a server."
    serve.__name__ = f"{verb}_form"
    return serve


# Files


async def public_asset(ask: Ask) -> Answer:
    """What the login page needs."""
    return _asset(ask, ask.request.path.rpartition(b"/")[2].decode("ascii"), True)


async def asset(ask: Ask) -> Answer:
    """What the other pages need."""
    return _asset(ask, ask.args["name"], False)


def _asset(ask: Ask, name: str, is_public: bool) -> Answer:
    accepted = ask.request.header("accept-encoding").replace(" ", "").split(",")
    is_packed = any(part.partition(";")[0] == "gzip" and not _NEVER.search(part) for part in accepted)
    answer: Answer = ask.office.assets.serve(ask.args["digest"], name, is_public, is_packed)
    return answer


_WEB = frozenset({"web"})


def _page(path: str, permission: str, serve: Any, method: Any = "GET", **more: bool) -> Route:
    summary = (serve.__doc__ or "").strip()
    return Route(method, path, permission, serve, "page", summary, doors=_WEB, **more)  # type: ignore[arg-type]


_SERVER = "/backends/<pool>/servers/<path:name>"

ROUTES = (
    _page("/login", "public", entry.login_page),
    _page("/login", "public", entry.log_in, "POST"),
    _page("/login/code", "public", entry.code_page),
    _page("/login/code", "public", entry.give_code, "POST"),
    _page("/welcome/<token>", "public", entry.welcome_page),
    _page("/welcome/<token>", "public", entry.welcome, "POST"),
    _page("/setup", "public", entry.setup_page),
    _page("/setup", "public", entry.set_up, "POST"),
    *(_page(f"/assets/<digest>/{name}", "public", public_asset) for name in sorted(PUBLIC)),
    _page("/assets/<digest>/<name>", "self", asset, is_own=True),
    _page("/logout", "self", entry.log_out, "POST", is_own=True),
    _page("/theme", "self", entry.choose_theme, "POST", is_own=True),
    _page("/sessions/<id>", "messages:read", session, for_domains=True),
    _page("/sessions/<id>/kill", "runtime:write", kill, "POST"),
    _page("/messages", "messages:read", searching.page, for_domains=True),
    _page("/search", "messages:read", search, for_domains=True),
    _page("/search", "messages:read", search, "POST", for_domains=True),
    _page("/backends", "stats:read", backends),
    _page(f"{_SERVER}/drain", "runtime:write", _server_form("drain"), "POST"),
    _page(f"{_SERVER}/ready", "runtime:write", _server_form("ready"), "POST"),
    _page(f"{_SERVER}/probe", "runtime:write", _server_form("probe"), "POST"),
    _page("/filters", "config:read", filters),
    _page("/help", "self", help_page),
    _page("/problems/<slug>", "self", problem),
)
