"""The page of certificates: what each is for, until when, whether it would be believed; and TLS of both legs."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import api_tls, charts
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.certificate_files import VERSIONS
from smtpgate.control.views import Refused, Unavailable, Unknown


async def certificates(ask: Ask) -> Answer:
    """Certificates, and how much of the mail is encrypted."""
    return await _certificates(ask)


async def _certificates(
    ask: Ask, status: int = 200, said: str = "", shaken: Any = None, promises: Any = None
) -> Answer:
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
        shaken=shaken,
        promises=promises,
        domains=control.promises.domains(),
        asked=ask.form,
        with_tls=[name for name, one in settings.listeners.items() if one.tls != "off"],
        versions=("", *VERSIONS),
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


async def test_form(ask: Ask) -> Answer:
    """A handshake with a listener."""
    form = {name: ask.form.get(name, "").strip() for name in ("listener", "name", "version")}
    if form["version"] not in ("", *VERSIONS) or len(form["name"]) > 255:
        raise Refusal("parameter", 400, "choose a version")
    try:
        found = await api_tls.shaken(ask, form["listener"], form["name"], form["version"])
    except Unknown:
        raise
    except Refused as refused:
        return await _certificates(ask, 422, f"{refused}.")
    return await _certificates(ask, shaken=found)


async def promises_form(ask: Ask) -> Answer:
    """What the world is told of TLS for a domain."""
    try:
        found = await api_tls.promises_of(ask, ask.form.get("domain", ""))
    except Refused as refused:
        return await _certificates(ask, 409, f"{refused}.")
    return await _certificates(ask, promises=found)


async def upload_form(ask: Ask) -> Answer:
    """Give a listener another certificate."""
    octets = ask.files.get("file", b"") or ask.form.get("pem", "").encode("utf-8", "replace")
    # What was typed is a secret: it is not shown again.
    ask.form = {name: value for name, value in ask.form.items() if name != "pem"}
    try:
        await api_tls.upload(ask, ask.form.get("listener", ""), octets)
    except Unknown:
        raise
    except Refused as refused:
        return await _certificates(ask, 422, f"Nothing was changed: {refused}.")
    return redirect("/tls")


ROUTES = (
    page_route("/tls", "config:read", certificates),
    page_route("/tls/test", "config:read", test_form, "POST"),
    page_route("/tls/promises", "test:run", promises_form, "POST"),
    page_route("/tls/upload", "config:write", upload_form, "POST", is_guarded=True, takes_files=True, again="/tls"),
    page_route("/tls/reload", "config:write", reload, "POST"),
)
