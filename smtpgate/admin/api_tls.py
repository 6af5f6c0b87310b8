"""The API about certificates of listeners: for whom they are, until when, whether they would be believed; reading them
again."""

from __future__ import annotations

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.chains import Chain

_BASE = "/api/v1/tls/certificates"
DAY_S = 86400.0


class ChainModel(View):
    """One file with a certificate.

    :ivar listeners: those that use it
    :ivar problem: why it cannot be read
    :ivar above: subjects of the certificates behind the first
    :ivar is_own_key: the private key in the file is the certificate's
    :ivar doubt: why a client of the world would not believe it; "" where it would
    :ivar part_left: of its time, 0 to 1
    """

    path: str
    listeners: list[str]
    problem: str
    subject: str
    issuer: str
    names: list[str]
    not_before: str | None
    not_after: str | None
    days_left: int
    part_left: float
    key: str
    has_key: bool
    is_own_key: bool
    is_self_signed: bool
    above: list[str]
    doubt: str
    fingerprint: str
    serial: str


class ChainList(View):
    """All files of listeners, what cannot be read first, then the soonest to expire."""

    items: list[ChainModel]


def chain_model(one: Chain, now: float) -> ChainModel:
    """One file."""
    return ChainModel(
        path=one.path,
        listeners=list(one.listeners),
        problem=visible(one.problem, 300),
        subject=visible(one.subject, 300),
        issuer=visible(one.issuer, 300),
        names=[visible(name, 255) for name in one.names],
        not_before=moment(one.not_before),
        not_after=moment(one.not_after),
        days_left=int((one.not_after - now) // DAY_S) if one.not_after else 0,
        part_left=round(one.part_left(now), 3),
        key=one.key,
        has_key=one.has_key,
        is_own_key=one.is_own_key,
        is_self_signed=one.is_self_signed,
        above=[visible(name, 300) for name in one.above],
        doubt=visible(one.doubt, 300),
        fingerprint=one.fingerprint,
        serial=one.serial,
    )


async def chain_models(ask: Ask) -> list[ChainModel]:
    """All of them, read and tried now."""
    now = ask.office.wall()
    return [chain_model(one, now) for one in await ask.office.control.certificates.chains()]


async def certificates(ask: Ask) -> Answer:
    """The certificates of the listeners as their files are now, each tried as a client would."""
    return answer_of(ChainList(items=await chain_models(ask)))


async def reload_certificates(ask: Ask) -> Answer:
    """Read the files of certificates again; sessions go on, and where one is bad all stay as they were."""
    return answer_of(m.Done(is_audited=await renew(ask)))


async def renew(ask: Ask) -> bool:
    """The same for a page; whether it is in the audit. Raises Refused."""
    is_audited = await ask.change("tls.reload", "certificates")
    await ask.office.control.configuration.renew(ask.who.actor)
    return is_audited


ROUTES = (
    Route(
        "GET",
        _BASE,
        "config:read",
        certificates,
        summary="Certificates of listeners, tried now",
        answer=ChainList,
        unversioned=frozenset({"days_left", "part_left"}),
    ),
    Route(
        "POST",
        f"{_BASE}/reload",
        "config:write",
        reload_certificates,
        summary="Read the files of certificates again",
        body=m.Nothing,
        answer=m.Done,
    ),
)
