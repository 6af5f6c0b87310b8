"""The pages of backends: what servers did and were, what is not as configured, how far mail would come."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import attrs

from smtpgate.admin import api_backends as do
from smtpgate.admin import charts
from smtpgate.admin import models_backends as b
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_do import server_verb
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.admin.text import moment, visible
from smtpgate.control.fleet import MOST_WEIGHT
from smtpgate.control.views import Refused, Unavailable, Unknown

#: Lengths of what is said of a server that a form offers, minutes.
DRAINS: Final = ((0, "until Ready"), (60, "for an hour"), (8 * 60, "for 8 hours"), (24 * 60, "for a day"))
#: Domains of a backend of kind mx on a page, and stretches of a server's day in its table.
ROWS: Final = 100
STRETCHES: Final = 30
_PROTOCOLS: Final = ("smtp", "lmtp")
_MODES: Final = ("optional", "required", "implicit", "off")


@attrs.frozen
class Strip:
    """A server's last day as a picture, a line of words, and what it was before last."""

    picture: charts.Picture
    words: str
    stretches: tuple[Any, ...]


def strip_of(ask: Ask, one: b.ServerDetail) -> Strip:
    """Of one server."""
    ribbon = ask.office.control.fleet.figures(one.backend, one.name).ribbon
    picture = charts.ribbon([(part.begin, part.end, part.state) for part in ribbon], ask.office.wall())
    return Strip(picture, picture.about, tuple(reversed(ribbon[-STRETCHES:])))


async def backends(ask: Ask) -> Answer:
    """All servers of all backends."""
    return await _backends(ask)


async def _backends(ask: Ask, status: int = 200, said: str = "", found: b.AskedModel | None = None) -> Answer:
    control = ask.office.control
    by_backend: dict[str, list[Any]] = {name: [] for name in control.settings.backends}
    for one in do.details(ask):
        by_backend.setdefault(one.backend, []).append((one, strip_of(ask, one)))
    known = {name: len(one) for name, one in control.current().destinations.items()}
    return await ask.office.templates.page(
        ask,
        "backends.html",
        status,
        here="backends",
        backends=by_backend,
        slots={view.name: view for view in control.backends()},
        settings=control.settings.backends,
        destinations=known,
        overrides=[b.override_model(one) for one in control.fleet.overrides()],
        said=said,
        found=found,
        asked=ask.form,
        protocols=_PROTOCOLS,
        modes=_MODES,
        recipient=do.usual_recipient(ask),
    )


async def backend(ask: Ask) -> Answer:
    """One backend: its servers, their day, and how quickly they answer."""
    return await _backend(ask)


async def _backend(ask: Ask, status: int = 200, said: str = "", found: Any = None, server: str = "") -> Answer:
    control, pool = ask.office.control, ask.args["pool"]
    settings = control.settings.backends.get(pool)
    if settings is None:
        raise Unknown(f"no backend {pool}")
    servers = [(one, strip_of(ask, one)) for one in do.details(ask, pool)]
    domains = do.destinations_of(ask, pool, ROWS) if settings.kind == "mx" else None
    heat, spread, trouble = await _heat(ask, pool)
    return await ask.office.templates.page(
        ask,
        "backend.html",
        status,
        here="backends",
        pool=pool,
        settings=settings,
        servers=servers,
        slots=next((view for view in control.backends() if view.name == pool), None),
        domains=domains,
        heat=heat,
        spread=spread,
        trouble=trouble,
        say=charts.span,
        drains=DRAINS,
        most_weight=MOST_WEIGHT,
        said=said,
        found=found,
        asked_server=server,
        recipient=ask.form.get("recipient") or do.usual_recipient(ask),
    )


async def _heat(ask: Ask, pool: str) -> tuple[charts.Picture | None, Any, str]:
    """The time to answer over the last day; what is wrong where it cannot be had."""
    statistics = ask.office.control.statistics
    try:
        asked = statistics.range(0, 0)
        spread = await statistics.distribution("backend", "server", asked, {"pool": pool})
    except Unavailable as error:
        return None, None, str(error)

    def link(at: int, step_s: int, row: int) -> str:
        terms = f"backend:{pool} after:{(moment(at) or '')[:16]}Z before:{(moment(at + step_s) or '')[:16]}Z"
        return "/messages?" + urlencode({"q": terms})

    counted = sum(part.count for part in spread.parts)
    if not counted:
        return None, spread, ""
    return charts.heat(spread, f"How long {visible(pool, 80)} took to answer the end of data.", link), spread, ""


def _reason(ask: Ask) -> tuple[str, int]:
    reason = "".join(letter for letter in ask.form.get("reason", "") if letter.isprintable())[:500]
    minutes = ask.form.get("minutes", "0")
    if minutes not in {str(one) for one, _ in DRAINS}:
        raise Refusal("parameter", 400, "choose how long")
    return reason, int(minutes)


def _back(ask: Ask) -> Answer:
    """To the page that the form stood on."""
    pool = ask.args["pool"]
    return redirect(f"/backends/{pool}" if ask.form.get("back", "") == "pool" else "/backends")


async def drain_form(ask: Ask) -> Answer:
    """No new sessions for a server."""
    await server_verb(ask, "drain", *_reason(ask))
    return _back(ask)


async def ready_form(ask: Ask) -> Answer:
    """Sessions for it again."""
    await server_verb(ask, "ready", *_reason(ask))
    return _back(ask)


async def maint_form(ask: Ask) -> Answer:
    """No new sessions for a server, and no looks at it."""
    await do.maintain(ask, *_reason(ask))
    return _back(ask)


async def weight_form(ask: Ask) -> Answer:
    """Another weight, or the configured one."""
    text = ask.form.get("weight", "").strip()
    if not text:
        ask.args = {**ask.args, "kind": "weight"}
        await do.take_back(ask)
        return _back(ask)
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        return await _backend(ask, 422, f"A weight is a number from 1 to {MOST_WEIGHT}.")
    try:
        await do.weigh(ask, int(text), *_reason(ask))
    except Unknown:
        raise
    except Refused as refused:
        return await _backend(ask, 422, f"{refused}.")
    return _back(ask)


async def probe_form(ask: Ask) -> Answer:
    """How far would mail come with a server."""
    recipient = ask.form.get("recipient", "").strip() or do.usual_recipient(ask)
    try:
        found, is_audited = await do.asked(ask, recipient)
    except Unknown:
        raise
    except Refused as refused:
        return await _backend(ask, 422, f"{refused}.", server=ask.args["name"])
    return await _backend(ask, found=b.asked_model(found, recipient, is_audited), server=ask.args["name"])


async def stranger_form(ask: Ask) -> Answer:
    """How far would mail come with a server that is not configured."""
    form = {name: ask.form.get(name, "").strip() for name in ("server", "protocol", "tls", "recipient")}
    if form["protocol"] not in _PROTOCOLS or form["tls"] not in _MODES:
        raise Refusal("parameter", 400, "choose a protocol and what TLS is to be")
    recipient = form["recipient"] or do.usual_recipient(ask)
    try:
        found, is_audited = await do.asked_stranger(ask, form["server"], form["protocol"], form["tls"], recipient)
    except Refused as refused:
        return await _backends(ask, 422, f"{refused}.")
    return await _backends(ask, found=b.asked_model(found, recipient, is_audited))


async def end_form(ask: Ask) -> Answer:
    """As configured again."""
    await do.take_back(ask)
    return redirect("/backends")


_SERVER = "/backends/<pool>/servers/<path:name>"

ROUTES = (
    page_route("/backends", "stats:read", backends),
    page_route("/backends/<pool>", "stats:read", backend),
    page_route(f"{_SERVER}/drain", "runtime:write", drain_form, "POST"),
    page_route(f"{_SERVER}/maint", "runtime:write", maint_form, "POST"),
    page_route(f"{_SERVER}/ready", "runtime:write", ready_form, "POST"),
    page_route(f"{_SERVER}/weight", "runtime:write", weight_form, "POST"),
    page_route(f"{_SERVER}/probe", "runtime:write", probe_form, "POST"),
    page_route("/probe", "config:write", stranger_form, "POST"),
    page_route("/overrides/<kind>/<pool>/<path:name>/end", "runtime:write", end_form, "POST"),
)
