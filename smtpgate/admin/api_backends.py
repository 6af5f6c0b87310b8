"""The API about servers of backends: what each did and was, what is not as configured, how far mail would come."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import models as m
from smtpgate.admin import models_backends as b
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_do import server_verb
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.params import Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.fleet import Override, path_of, stranger
from smtpgate.control.views import ServerView, Unknown, lasting
from smtpgate.policy.asked import Asked

_BASE = "/api/v1"
_SERVER = f"{_BASE}/backends/<pool>/servers/<path:name>"
_OVERRIDE = f"{_BASE}/overrides/<kind>/<pool>/<path:name>"


# Look


def view_of(ask: Ask) -> ServerView:
    """The server that the path names; raises Unknown."""
    pool, name = ask.args["pool"], ask.args["name"]
    for view in ask.office.control.servers():
        if view.backend == pool and view.name == name:
            found: ServerView = view
            return found
    raise Unknown(f"no server {name} in backend {pool}")


def details(ask: Ask, pool: str = "") -> list[b.ServerDetail]:
    """All servers, or those of one backend."""
    control = ask.office.control
    views = [view for view in control.servers() if not pool or view.backend == pool]
    return [b.detail_model(view, control.fleet.figures(view.backend, view.name)) for view in views]


async def backends(ask: Ask) -> Answer:
    """All servers of all backends."""
    return answer_of(b.ServerList(items=details(ask)))


async def backend(ask: Ask) -> Answer:
    """The servers of one backend; none where the DNS names them."""
    pool = ask.args["pool"]
    if pool not in ask.office.control.settings.backends:
        raise Unknown(f"no backend {pool}")
    return answer_of(b.ServerList(items=details(ask, pool)))


async def server(ask: Ask) -> Answer:
    """One server: what it has, did and was in the last 24 hours, and what happens if it goes."""
    view = view_of(ask)
    return answer_of(b.detail_model(view, ask.office.control.fleet.figures(view.backend, view.name)))


async def overrides(ask: Ask) -> Answer:
    """What holds otherwise than the configuration says: servers out of service, other weights."""
    found = ask.office.control.fleet.overrides()
    return answer_of(b.OverrideList(items=[b.override_model(one) for one in found]))


def _override(ask: Ask) -> Override:
    args = ask.args
    found: Override = ask.office.control.fleet.override(args["kind"], args["pool"], args["name"])
    return found


async def override(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(b.override_model(_override(ask)))


async def destinations(ask: Ask) -> Answer:
    """Domains that a backend of kind mx has servers for now."""
    return answer_of(destinations_of(ask, ask.args["pool"], ask.params["limit"]))


def destinations_of(ask: Ask, pool: str, limit: int) -> b.DestinationList:
    """The same for a page; raises Unknown where it is no backend of kind mx."""
    control = ask.office.control
    known = control.current().destinations.get(pool)
    if known is None:
        raise Unknown(f"no backend {pool} of kind mx")
    found = control.fleet.destinations(pool, limit)
    return b.DestinationList(items=[b.destination_model(one) for one in found], total=len(known))


# Do


async def maint(ask: Ask) -> Answer:
    """No new sessions for a server, and no looks at it."""
    return answer_of(m.Done(is_audited=await maintain(ask, ask.body.reason, ask.body.minutes)))


async def maintain(ask: Ask, reason: str, minutes: int) -> bool:
    """The same for a page; whether it is in the audit."""
    view = view_of(ask)
    is_audited = await ask.change("server.maint", f"{view.backend}/{view.name}", lasting(reason, minutes))
    ask.office.control.fleet.maintain(view.backend, view.name, ask.who.actor, reason, minutes)
    return is_audited


async def change_server(ask: Ask) -> Answer:
    """Give a server another weight, or the configured one again."""
    if ask.body.weight is None:
        view_of(ask)
        ask.args = {**ask.args, "kind": "weight"}
        return answer_of(m.Done(is_audited=await take_back(ask)))
    return answer_of(m.Done(is_audited=await weigh(ask, ask.body.weight, ask.body.reason, ask.body.minutes)))


async def weigh(ask: Ask, weight: int, reason: str, minutes: int) -> bool:
    """The same for a page; whether it is in the audit."""
    view = view_of(ask)
    fleet = ask.office.control.fleet
    was = fleet.figures(view.backend, view.name).own_weight or view.weight
    target, detail = f"{view.backend}/{view.name}", lasting(reason, minutes)
    is_audited = await ask.change("server.weight", target, detail, {"weight": was}, {"weight": weight})
    fleet.weigh(view.backend, view.name, weight, ask.who.actor, reason, minutes)
    return is_audited


async def end_override(ask: Ask) -> Answer:
    """As configured again."""
    return answer_of(m.Done(is_audited=await take_back(ask)))


async def take_back(ask: Ask) -> bool:
    """The same for a page; whether it is in the audit."""
    one = _override(ask)
    verb = "ready" if one.kind == "service" else "weight"
    is_audited = await ask.change(f"server.{verb}", f"{one.backend}/{one.server}", "as configured")
    ask.office.control.fleet.take_back(one.kind, one.backend, one.server, ask.who.actor)
    return is_audited


# Check


async def probe(ask: Ask) -> Answer:
    """Look at it now, and ask how far mail for a recipient would come: MAIL and RCPT, no message."""
    if ask.body.recipient is None:
        return answer_of(b.AskedModel(is_audited=await server_verb(ask, "probe")))
    recipient = ask.body.recipient or usual_recipient(ask)
    found, is_audited = await asked(ask, recipient)
    return answer_of(b.asked_model(found, recipient, is_audited))


def usual_recipient(ask: Ask) -> str:
    """Somebody that a server of ours has: postmaster, at the first local domain where there is one."""
    names = [name for name in ask.office.control.settings.local_domains.entries if not name.startswith("*.")]
    return f"postmaster@{names[0]}" if names else "postmaster"


async def asked(ask: Ask, recipient: str) -> tuple[Asked, bool]:
    """The same for a page; and whether it is in the audit."""
    view = view_of(ask)
    path_of(recipient)
    is_audited = await server_verb(ask, "probe", f"RCPT TO <{recipient}>")
    return await ask.office.control.fleet.ask(view.backend, view.name, recipient), is_audited


async def probe_stranger(ask: Ask) -> Answer:
    """The same with a server that is not configured."""
    body = ask.body
    found, is_audited = await asked_stranger(ask, body.server, body.protocol, body.tls, body.recipient)
    return answer_of(b.asked_model(found, body.recipient, is_audited))


async def asked_stranger(ask: Ask, server: str, protocol: str, tls: str, recipient: str) -> tuple[Asked, bool]:
    """The same for a page; and whether it is in the audit. Raises Invalid."""
    stranger(server, protocol, tls)
    path_of(recipient)
    is_audited = await ask.change("probe", server, f"{protocol}, TLS {tls}, RCPT TO <{recipient}>")
    return await ask.office.control.fleet.ask_stranger(server, protocol, tls, recipient), is_audited


_LIMIT: dict[str, Any] = {"limit": Whole(f"how many items, at most {MOST}", MOST, 50)}

ROUTES = (
    Route("GET", f"{_BASE}/backends", "stats:read", backends, summary="All servers", answer=b.ServerList),
    Route("GET", f"{_BASE}/backends/<pool>", "stats:read", backend, summary="One backend", answer=b.ServerList),
    Route(
        "GET",
        f"{_BASE}/backends/<pool>/destinations",
        "stats:read",
        destinations,
        summary="Domains that mail goes to by the DNS",
        answer=b.DestinationList,
        query=_LIMIT,
    ),
    Route("GET", _SERVER, "stats:read", server, summary="One server", answer=b.ServerDetail, unversioned=b.BY_ITSELF),
    Route(
        "PATCH", _SERVER, "runtime:write", change_server, summary="Another weight", body=b.WeightOrder, answer=m.Done
    ),
    Route(
        "POST",
        f"{_SERVER}/maint",
        "runtime:write",
        maint,
        summary="Maintenance: no sessions for a server, and no looks at it",
        body=m.DrainOrder,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_SERVER}/probe",
        "runtime:write",
        probe,
        summary="Look at a server now, as far as RCPT",
        body=b.AskOrder,
        answer=b.AskedModel,
    ),
    Route(
        "POST",
        f"{_BASE}/probe",
        "config:write",
        probe_stranger,
        summary="Look at a server that is not configured",
        body=b.StrangerOrder,
        answer=b.AskedModel,
    ),
    Route(
        "GET", f"{_BASE}/overrides", "stats:read", overrides, summary="What is not as configured", answer=b.OverrideList
    ),
    Route("GET", _OVERRIDE, "stats:read", override, summary="One of them", answer=b.OverrideModel),
    Route("DELETE", _OVERRIDE, "runtime:write", end_override, summary="As configured again", answer=m.Done),
)
