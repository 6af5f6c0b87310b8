"""The API's bodies and answers about servers of backends, and about what holds otherwise than configured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from smtpgate.admin.models import Line, ServerModel, server_model
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment, visible
from smtpgate.control.fleet import MOST_WEIGHT, Destination, Figures, Override
from smtpgate.control.views import ServerView
from smtpgate.policy.asked import Asked

#: Longest that something is said of a server, minutes; 0 until it is taken back.
Minutes = Annotated[int, Field(ge=0, le=365 * 24 * 60)]
Address = Annotated[str, Field(min_length=1, max_length=320, pattern=r"^[^\x00-\x1f\x7f]+$")]


class WeightOrder(Order):
    """Another weight: why, and for how many minutes; 0 until it is taken back. Without one: the configured one."""

    weight: Annotated[int, Field(ge=1, le=MOST_WEIGHT)] | None = None
    reason: Line = ""
    minutes: Minutes = 0


class AskOrder(Order):
    """How far would a message come: MAIL with the null sender and RCPT are said, and no message is sent.

    :ivar recipient: "" for postmaster at the first local domain; without one the server is only looked at, and what
        is seen is in the list a moment later
    """

    recipient: Annotated[str, Field(max_length=320, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None


class StrangerOrder(Order):
    """The same of a server that is not configured: host:port, or unix:/path."""

    server: Address
    protocol: Literal["smtp", "lmtp"] = "smtp"
    tls: Literal["off", "optional", "required", "implicit"] = "optional"
    recipient: Address


class StepModel(View):
    """One thing that was said to a server, and its reply; `code` is 0 where none came."""

    stage: str
    code: int
    text: str
    ms: float
    is_good: bool


class AskedModel(View):
    """What a server said.

    :ivar is_good: it would take mail for that recipient; null where it was not asked
    """

    done: bool = True
    is_audited: bool = True
    is_good: bool | None = None
    recipient: str = ""
    banner: str = ""
    capabilities: list[str] = []
    tls_version: str = ""
    tls_is_verified: bool = False
    steps: list[StepModel] = []


class StretchModel(View):
    """What a server was for a while: up, unready, drain, maint, ejected, down, unknown, or off (the gateway)."""

    begin: str | None
    end: str | None
    state: str


class HeadroomModel(View):
    """What if this server goes: `verdict` is fits, tight (not what there was at the busiest) or none.

    :ivar left: transactions that the others may have; `busy`: at work now; `most`: at the busiest
    """

    verdict: str
    others: int
    left: int
    busy: int
    most: int


class ServerDetail(ServerModel):
    """One backend server, with what it did and was.

    :ivar rate: answers to the end of data a second
    :ivar check: how the last look ended: "ok", or where and why it failed
    :ivar own_weight: instead of the configured one; 0 for none
    """

    shown_state: str
    most_links: int
    rate: float
    octets: int
    retries: int
    last_reply: str
    replied: str | None
    check: str
    downtime_s: float
    own_weight: int
    weight_until: str | None
    weight_reason: str
    headroom: HeadroomModel
    ribbon: list[StretchModel]


class ServerList(View):
    """Servers of all backends, or of one."""

    items: list[ServerDetail]


class OverrideModel(View):
    """What holds otherwise than the configuration says.

    :ivar kind: service (`value` is drain or maint) or weight
    :ivar until: null until it is taken back
    :ivar is_known: there is such a server in the configuration at work
    """

    kind: str
    backend: str
    server: str
    value: str
    reason: str
    since: str | None
    until: str | None
    is_known: bool


class OverrideList(View):
    """All of them."""

    items: list[OverrideModel]


class DestinationModel(View):
    """A domain that mail goes to by the DNS."""

    backend: str
    domain: str
    servers: list[str]
    state: str
    links: int
    busy: int
    why: str


class DestinationList(View):
    """Those that are known now, the busiest first."""

    items: list[DestinationModel]
    total: int


#: Fields of a server that change by themselves, and are no other version of it.
BY_ITSELF = frozenset(ServerDetail.model_fields) - {
    "backend", "name", "is_drained", "drain_reason", "drained_until", "weight", "tier", "own_weight", "weight_until",
    "weight_reason",
}  # fmt: skip


def detail_model(view: ServerView, figures: Figures) -> ServerDetail:
    """One server."""
    room = figures.headroom
    return ServerDetail(
        **server_model(view).model_dump(),
        shown_state=figures.state,
        most_links=figures.most_links,
        rate=round(figures.rate, 3),
        octets=figures.octets,
        retries=figures.retries,
        last_reply=visible(figures.last_reply, 300),
        replied=moment(figures.replied_at),
        check=visible(figures.check, 300),
        downtime_s=round(figures.downtime_s, 1),
        own_weight=figures.own_weight,
        weight_until=moment(figures.weight_until),
        weight_reason=visible(figures.weight_reason, 500),
        headroom=HeadroomModel(
            verdict=room.verdict, others=room.others, left=room.left, busy=room.busy, most=room.most
        ),
        ribbon=[StretchModel(begin=moment(one.begin), end=moment(one.end), state=one.state) for one in figures.ribbon],
    )


def asked_model(found: Asked, recipient: str, is_audited: bool) -> AskedModel:
    """What a server said."""
    return AskedModel(
        is_audited=is_audited,
        is_good=found.is_good,
        recipient=visible(recipient, 320),
        banner=visible(found.banner, 500),
        capabilities=[visible(word, 200) for word in found.capabilities],
        tls_version=found.tls,
        tls_is_verified=found.is_verified,
        steps=[
            StepModel(
                stage=step.stage,
                code=step.code,
                text=visible(step.text, 600),
                ms=round(step.ms, 1),
                is_good=step.is_good,
            )
            for step in found.steps
        ],
    )


def override_model(one: Override) -> OverrideModel:
    """One of them."""
    fields: dict[str, Any] = {
        "reason": visible(one.reason, 500),
        "since": moment(one.since),
        "until": moment(one.until),
    }
    return OverrideModel(
        kind=one.kind, backend=one.backend, server=one.server, value=one.value, is_known=one.is_known, **fields
    )


def destination_model(one: Destination) -> DestinationModel:
    """One domain."""
    return DestinationModel(
        backend=one.backend,
        domain=visible(one.domain, 255),
        servers=[visible(name, 255) for name in one.servers],
        state=one.state,
        links=one.links,
        busy=one.busy,
        why=visible(one.why, 300),
    )
