"""The page of live sessions: a row for each, a cell for each filter, and what may be done to some of them.

Without scripts it is the table as it was at that moment; with them it follows the event stream.
"""

from __future__ import annotations

from urllib.parse import urlencode

from smtpgate.admin import api_live, api_traffic, sieve
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_session
from smtpgate.admin.pages_traffic import LENGTHS, line
from smtpgate.admin.routes import Ask, page_route
from smtpgate.admin.text import visible
from smtpgate.control.views import Refused

#: How many rows may be chosen.
ROWS = ("25", "50", "100", "200")
_ROWS = "50"


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
        grid=api_live.look(ask.office.control, read, int(chosen)),
        wanted=wanted,
        rows=chosen,
        choices=ROWS,
        lengths=LENGTHS,
        said=said,
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


ROUTES = (
    page_route("/live", "traffic:read", live),
    page_route("/sessions", "traffic:read", sessions),
    page_route("/live/kill", "runtime:write", kill, "POST"),
    page_route("/live/ban", "runtime:write", ban, "POST"),
)
