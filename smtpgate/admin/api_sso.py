"""The API about providers of identities: which there are, and whether one answers. They are in the configuration, and
changed there."""

from __future__ import annotations

from typing import Final

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.issuer import Issuer
from smtpgate.admin.jose import ALGORITHMS, Untrusted, usable
from smtpgate.admin.models import Nothing
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.model_sso import Provider
from smtpgate.control.views import Unknown
from smtpgate.interfaces import HTTPFailed

_BASE: Final = "/api/v1/sso"


class ProviderGrant(View):
    """What people of a group may do. `domains`: those that they are limited to; none for no limit."""

    group: str
    role: str
    domains: list[str]


class ProviderModel(View):
    """A provider of identities.

    :ivar redirect: where it sends browsers back to, which must be registered there; in the address that who asks has
        come by where `admin.public_url` is not set
    :ivar logout: the same for a logout
    :ivar groups: the first that somebody is in counts
    """

    name: str
    issuer: str
    client_id: str
    label: str
    scopes: list[str]
    groups_claim: str
    algorithms: list[str]
    second_factor: list[str]
    groups: list[ProviderGrant]
    redirect: str
    logout: str


class ProviderList(View):
    """All of them."""

    items: list[ProviderModel]


class ProviderTest(View):
    """Whether a provider answers, and its keys can be used; `told` is what is wrong."""

    ok: bool
    told: str
    authorization: str
    token: str
    end_session: str
    keys: int


async def providers(ask: Ask) -> Answer:
    """Where administrators log in besides here."""
    return answer_of(list_of(ask))


def list_of(ask: Ask) -> ProviderList:
    """The same for a page."""
    return ProviderList(items=[_model(ask, one) for one in ask.office.logins.providers().values()])


def _model(ask: Ask, one: Provider) -> ProviderModel:
    groups = [ProviderGrant(group=group.name, role=group.role, domains=list(group.domains)) for group in one.groups]
    return ProviderModel(
        name=one.name,
        issuer=one.issuer,
        client_id=one.client_id,
        label=one.button,
        scopes=list(one.scopes),
        groups_claim=one.groups_claim,
        algorithms=list(one.algorithms),
        second_factor=sorted(one.second_factor),
        groups=groups,
        redirect=ask.office.logins.place(ask.caller, one),
        logout=ask.office.logins.logout_place(ask.caller),
    )


async def test_provider(ask: Ask) -> Answer:
    """Ask a provider now what it is, and for its keys."""
    return answer_of(await try_provider(ask, ask.args["name"]))


async def try_provider(ask: Ask, name: str) -> ProviderTest:
    """The same for a page. Raises Unknown."""
    logins = ask.office.logins
    provider = logins.providers().get(name)
    if provider is None:
        raise Unknown("no such provider")
    issuer: Issuer = logins.issuer(provider)
    said = None
    try:
        said = await issuer.description(is_anew=True)
        keys = usable(await issuer.keys(0.0), [one for one in provider.algorithms if one in ALGORITHMS])
        told = "" if keys else f"none of its keys is for {', '.join(provider.algorithms)}"
    except (Untrusted, HTTPFailed) as error:
        keys, told = 0, str(error)
    return ProviderTest(
        ok=not told,
        told=told,
        authorization=said.authorization if said is not None else "",
        token=said.token if said is not None else "",
        end_session=said.end_session if said is not None else "",
        keys=keys,
    )


ROUTES = (
    Route("GET", _BASE, "access:write", providers, summary="Providers of identities", answer=ProviderList),
    Route(
        "POST",
        f"{_BASE}/<name>/test",
        "access:write",
        test_provider,
        summary="Whether a provider answers",
        body=Nothing,
        answer=ProviderTest,
        is_question=True,
        is_guarded=True,
    ),
)
