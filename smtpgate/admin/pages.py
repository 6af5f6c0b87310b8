"""The pages: HTML from the same snapshots that the API gives.

Each reads well and does its forms without scripts; scripts refresh what is marked as live.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from smtpgate.admin import api_do, api_explain, entry, explain, insight, searching, text, waits
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.assets import PUBLIC
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_messages, find_session
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Ask, page_route
from smtpgate.policy.clues import reference_in
from smtpgate.policy.query import LONGEST, QueryError

#: A coding that is not wanted (RFC 9110 section 12.4.2).
_NEVER = re.compile(r";q=0(\.0*)?$")


async def session(ask: Ask) -> Answer:
    """One session, or one message of it: why, and step by step."""
    reference = ask.args["id"]
    record = await find_session(ask.office, ask.who.reach, reference)
    focus = record.message(reference) if "." in reference else None
    if "." in reference and focus is None:
        raise Refusal("not-found", 404, f"no message {text.visible(reference, 80)} in this session")
    if ask.who.kind == "user" and any(one.outcome == "delivered" for one in ([focus] if focus else record.messages)):
        await ask.office.first.note("why")
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
        waits=waits,
        usuals=await ask.office.usuals.known() if record.messages else {},
        gaps=waits.gaps(record),
        touched=waits.touched(record),
        scale=ask.office.control.settings.scale,
        is_same_revision=record.revision == ask.office.control.current().id,
        q=reference,
    )


async def transcript(ask: Ask) -> Answer:
    """What was said in a session, line by line."""
    found = await api_explain.transcript_of(ask, ask.args["id"])
    return await ask.office.templates.page(ask, "transcript.html", here="messages", found=found)


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


ROUTES = (
    page_route("/login", "public", entry.login_page),
    page_route("/login", "public", entry.log_in, "POST"),
    page_route("/login/code", "public", entry.code_page),
    page_route("/login/code", "public", entry.give_code, "POST"),
    page_route("/welcome/<token>", "public", entry.welcome_page),
    page_route("/welcome/<token>", "public", entry.welcome, "POST"),
    page_route("/setup", "public", entry.setup_page),
    page_route("/setup", "public", entry.set_up, "POST"),
    *(page_route(f"/assets/<digest>/{name}", "public", public_asset) for name in sorted(PUBLIC)),
    page_route("/assets/<digest>/<name>", "self", asset, is_own=True),
    page_route("/logout", "self", entry.log_out, "POST", is_own=True),
    page_route("/theme", "self", entry.choose_theme, "POST", is_own=True),
    page_route("/sessions/<id>", "messages:read", session, for_domains=True),
    page_route("/sessions/<id>/transcript", "messages:read", transcript, for_domains=True),
    page_route("/sessions/<id>/kill", "runtime:write", kill, "POST"),
    page_route("/messages", "messages:read", searching.page, for_domains=True),
    page_route("/search", "messages:read", search, for_domains=True),
    page_route("/search", "messages:read", search, "POST", for_domains=True),
    page_route("/problems/<slug>", "self", problem),
)
