"""The page of live sessions: a row for each, a cell for each filter, and what may be done to some of them.

Without scripts it is the table as it was at that moment; with them it follows the event stream.
"""

from __future__ import annotations

from urllib.parse import urlencode

from smtpgate.admin import api_attend, api_live, api_traffic, sieve
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_session
from smtpgate.admin.pages_traffic import LENGTHS, line
from smtpgate.admin.routes import Ask, page_route
from smtpgate.admin.text import visible
from smtpgate.control.attend import MOST_MINUTES
from smtpgate.control.views import Refused

#: How many rows may be chosen.
ROWS = ("25", "50", "100", "200")
_ROWS = "50"
#: Seconds before each reply, and minutes, that the form for a tarpit offers.
DELAYS = (2, 10, 30)
SLOW_MINUTES = (5, 15, 60)


async def live(ask: Ask) -> Answer:
    """Who is connected now, and what the filters say."""
    return await _live(ask, ask.query.get("filter", ""), ask.query.get("rows", _ROWS))


async def _live(ask: Ask, wanted: str, rows: str, status: int = 200, said: str = "") -> Answer:
    chosen = rows if rows in ROWS else _ROWS
    try:
        read = sieve.read(wanted)
    except ValueError as error:
        read, status, said = sieve.read(""), 400, f"The filter is not understood: {error}."
    return await ask.office.templates.page(
        ask,
        "live.html",
        status,
        here="live",
        grid=api_live.look(ask.office.control, read, int(chosen), ask.who.reach),
        wanted=wanted,
        rows=chosen,
        choices=ROWS,
        lengths=LENGTHS,
        said=said,
        traces=[] if ask.who.reach.is_limited or not ask.who.may("messages:read") else api_attend.traces_of(ask),
        trace_minutes=MOST_MINUTES,
    )


async def sessions(ask: Ask) -> Answer:
    """Live sessions have another page."""
    return redirect("/live")


def _chosen(ask: Ask) -> list[str]:
    chosen = [name.removeprefix("id-") for name in ask.form if name.startswith("id-")]
    if not chosen:
        raise Refusal("parameter", 400, "choose a session first")
    return chosen[: int(ROWS[-1])]


def _back(ask: Ask) -> Answer:
    where = {name: ask.form[name] for name in ("filter", "rows") if ask.form.get(name)}
    return redirect(f"/live?{urlencode(where)}" if where else "/live")


async def kill(ask: Ask) -> Answer:
    """End the chosen sessions."""
    outcomes, _ = await api_live.end_sessions(ask, _chosen(ask))
    over = [one for one in outcomes if not one.done]
    if over:
        ended, count = len(outcomes) - len(over), len(over)
        said = f"{ended} ended; {count} {'was' if count == 1 else 'were'} over already."
        return await _live(ask, ask.form.get("filter", ""), ask.form.get("rows", _ROWS), 409, said)
    return _back(ask)


async def ban(ask: Ask) -> Answer:
    """Keep the addresses of the chosen sessions out."""
    chosen, minutes = _chosen(ask), ask.form.get("minutes", "")
    if minutes not in {str(one) for one, _ in LENGTHS}:
        raise Refusal("parameter", 400, "choose how long")
    said = []
    addresses: dict[str, str] = {}
    for id in chosen:
        try:
            record = await find_session(ask.office, ask.who.reach, id)
        except Refusal as refusal:
            said.append(f"{visible(id, 40)}: {refusal.detail}")
        else:
            addresses.setdefault(record.client_ip, record.id)
    for address, id in addresses.items():
        try:
            await api_traffic.set_ban(ask, address, line(ask.form.get("reason", "")) or f"session {id}", int(minutes))
        except Refused as refused:
            said.append(str(refused))
    if said:
        return await _live(ask, ask.form.get("filter", ""), ask.form.get("rows", _ROWS), 409, "; ".join(said)[:500])
    return _back(ask)


async def trace_form(ask: Ask) -> Answer:
    """Trace an address for a quarter of an hour."""
    try:
        await api_attend.trace(ask, ask.form.get("address", ""), MOST_MINUTES, line(ask.form.get("reason", "")))
    except Refused as refused:
        return await _live(ask, "", _ROWS, 422, f"{refused}.")
    return redirect("/live#traces")


async def end_trace_form(ask: Ask) -> Answer:
    """End a trace."""
    await api_attend.forget_trace(ask)
    return redirect("/live#traces")


async def tarpit_form(ask: Ask) -> Answer:
    """Slow a session down."""
    seconds, minutes = ask.form.get("seconds", ""), ask.form.get("minutes", "")
    if seconds not in {str(one) for one in DELAYS} or minutes not in {str(one) for one in SLOW_MINUTES}:
        raise Refusal("parameter", 400, "choose how much and how long")
    await api_attend.slow(ask, float(seconds), int(minutes))
    return redirect(f"/sessions/{ask.args['id']}")


ROUTES = (
    page_route("/live", "traffic:read", live, for_domains=True),
    page_route("/sessions", "traffic:read", sessions),
    page_route("/live/kill", "runtime:write", kill, "POST"),
    page_route("/live/ban", "runtime:write", ban, "POST"),
    page_route("/live/trace", "runtime:write", trace_form, "POST"),
    page_route("/live/traces/<path:address>/end", "runtime:write", end_trace_form, "POST"),
    page_route("/sessions/<id>/tarpit", "runtime:write", tarpit_form, "POST"),
)
