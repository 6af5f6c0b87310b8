"""The API about certificates of listeners: for whom they are, until when, whether they would be believed; reading them
again."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.certificate_files import OCTETS, Given, check_place
from smtpgate.control.chains import Chain
from smtpgate.control.views import Refused, Unknown

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


class CertificateOrder(Order):
    """A private key and its certificates in PEM, the listener's own first. It is written, and never given out."""

    pem: Annotated[str, Field(min_length=1, max_length=OCTETS)]


class GivenModel(m.Done):
    """What a listener has now; `doubt`: why a client of the world would not believe it."""

    names: list[str]
    not_after: str | None
    fingerprint: str
    doubt: str


class ShakeOrder(Order):
    """A handshake with a listener: the host that is asked for, and the only version that the client has."""

    listener: m.Name
    name: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x20\x7f]*$")] = ""
    version: Literal["", "TLSv1.2", "TLSv1.3"] = ""


class ShakenModel(View):
    """What a client saw. `problem`: why there is no TLS; `doubt`: why it would not believe the host."""

    is_good: bool
    problem: str
    version: str
    cipher: str
    names: list[str]
    not_after: str | None
    fingerprint: str
    doubt: str


async def certificate(ask: Ask) -> Answer:
    """The certificate of one listener."""
    return answer_of(await chain_of(ask, ask.args["listener"]))


async def chain_of(ask: Ask, listener: str) -> ChainModel:
    """The same for a page; raises Unknown."""
    for one in await chain_models(ask):
        if listener in one.listeners:
            return one
    raise Unknown(f"listener {listener} has no certificate")


async def upload_certificate(ask: Ask) -> Answer:
    """Give a listener another certificate with its key: it is looked at, put in the place of the file, and to work;
    where that fails all stays as it was."""
    given = await upload(ask, ask.args["listener"], ask.body.pem.encode())
    return answer_of(
        GivenModel(
            names=[visible(name, 255) for name in given.names],
            not_after=moment(given.not_after),
            fingerprint=given.fingerprint,
            doubt=visible(given.doubt, 300),
        )
    )


async def upload(ask: Ask, listener: str, octets: bytes) -> Given:
    """The same for a page. Raises Unknown, Invalid, Refused."""
    control = ask.office.control
    certificates = control.certificates
    path = certificates.place(listener)
    await ask.office.in_thread(check_place, path)
    given: Given = await certificates.look_at(octets)
    until = (moment(given.not_after) or "")[:10]
    detail = f"{listener}: {', '.join(given.names[:10])} until {until}, SHA-256 {given.fingerprint}"
    await ask.guarded_change("tls.upload", str(path), detail)
    await certificates.replace(listener, path, given, partial(control.configuration.renew, ask.who.actor))
    certificates.did(ask.who.actor, "tls.upload", str(path), detail)
    return given


async def test_handshake(ask: Ask) -> Answer:
    """A handshake with a listener as a client would begin one, in memory."""
    return answer_of(await shaken(ask, ask.body.listener, ask.body.name, ask.body.version))


async def shaken(ask: Ask, listener: str, name: str, version: str) -> ShakenModel:
    """The same for a page. Raises Unknown, Refused."""
    control = ask.office.control
    door = control.current().doors.get(listener)
    if door is None:
        raise Unknown(f"no listener {listener}")
    if door.tls is None:
        raise Refused(f"listener {listener} has no TLS")
    found = await control.certificates.shake(door.tls, name, version)
    return ShakenModel(
        is_good=not found.problem and not found.doubt,
        problem=visible(found.problem, 300),
        version=found.version,
        cipher=found.cipher,
        names=[visible(one, 255) for one in found.names],
        not_after=moment(found.not_after),
        fingerprint=found.fingerprint,
        doubt=visible(found.doubt, 300),
    )


class DomainOrder(Order):
    """One of `local_domains` that is written out."""

    domain: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f]+$")]


class PromiseModel(View):
    """One finding; `state` is ok, warn or fail, `fix` what would be right."""

    check: str
    state: str
    text: str
    fix: str


class PromiseList(View):
    """All of them: mx, mta-sts, tls-rpt, dane."""

    domain: str
    items: list[PromiseModel]


async def check_promises(ask: Ask) -> Answer:
    """MX, MTA-STS, DANE and reports of a domain of ours, held against the certificates of the listeners."""
    return answer_of(await promises_of(ask, ask.body.domain))


async def promises_of(ask: Ask, domain: str) -> PromiseList:
    """The same for a page. Raises Refused."""
    found = await ask.office.control.promises.check(domain)
    items = [
        PromiseModel(check=one.check, state=one.state, text=visible(one.text, 500), fix=visible(one.fix, 500))
        for one in found
    ]
    return PromiseList(domain=visible(domain, 255), items=items)


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
    Route(
        "POST",
        f"{_BASE}/test",
        "config:read",
        test_handshake,
        summary="A handshake with a listener",
        body=ShakeOrder,
        answer=ShakenModel,
        is_question=True,
    ),
    Route(
        "GET",
        f"{_BASE}/of/<listener>",
        "config:read",
        certificate,
        summary="The certificate of one listener",
        answer=ChainModel,
        unversioned=frozenset({"days_left", "part_left"}),
    ),
    Route(
        "PUT",
        f"{_BASE}/of/<listener>",
        "config:write",
        upload_certificate,
        summary="Give a listener another certificate",
        body=CertificateOrder,
        answer=GivenModel,
        is_guarded=True,
    ),
    Route(
        "POST",
        "/api/v1/tls/promises",
        "test:run",
        check_promises,
        summary="What the world is told of TLS for a domain",
        body=DomainOrder,
        answer=PromiseList,
        is_question=True,
    ),
)
