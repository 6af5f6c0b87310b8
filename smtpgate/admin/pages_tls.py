"""The page of certificates: what each is for, until when, whether it would be believed; and TLS of both legs."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import api_tls, charts
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.views import Refused, Unavailable


async def certificates(ask: Ask) -> Answer:
    """Certificates, and how much of the mail is encrypted."""
    return await _certificates(ask)


async def _certificates(ask: Ask, status: int = 200, said: str = "") -> Answer:
    control = ask.office.control
    try:
        legs, trouble = [await _leg(ask, side) for side in ("client", "backend")], ""
    except Unavailable as error:
        legs, trouble = [], str(error)
    settings = control.settings
    bare = [name for name, one in settings.listeners.items() if one.tls == "off"]
    return await ask.office.templates.page(
        ask,
        "tls.html",
        status,
        here="tls",
        chains=await api_tls.chain_models(ask),
        legs=legs,
        trouble=trouble,
        bare=bare,
        backends={name: one.tls for name, one in settings.backends.items()},
        said=said,
    )


async def _leg(ask: Ask, side: str) -> tuple[str, int, Any]:
    """Handshakes of the last day by version: side, how many, and bars."""
    statistics = ask.office.control.statistics
    asked = statistics.range(0, 0)
    done = await statistics.series("handshakes", "version", asked, {"side": side, "result": "ok"})
    failed = await statistics.series("handshakes", "result", asked, {"side": side, "result": "failed"})
    rows = [(version or "none", [("c1", "handshakes", count)]) for version, count in zip(done.groups, done.totals)]
    if sum(failed.totals):
        rows.append(("failed", [("c4", "failed", sum(failed.totals))]))
    return side, sum(done.totals) + sum(failed.totals), charts.bars(rows)


async def reload(ask: Ask) -> Answer:
    """Read the files of certificates again."""
    try:
        await api_tls.renew(ask)
    except Refused as refused:
        return await _certificates(ask, 409, f"Nothing was changed: {refused}.")
    return redirect("/tls")


ROUTES = (
    page_route("/tls", "config:read", certificates),
    page_route("/tls/reload", "config:write", reload, "POST"),
)
