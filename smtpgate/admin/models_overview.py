"""What the API answers about the whole: is mail flowing, what is wrong, and what came of a test message."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from smtpgate.admin.models import OverviewModel, overview_model
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment, visible


class AlertModel(View):
    """One thing that is wrong now.

    :ivar level: "bad" where mail suffers, "wait" where it will
    :ivar link: the page that says more
    """

    id: str
    level: str
    text: str
    since: str | None
    link: str
    count: int


class AlertList(View):
    """All of them, the worst first."""

    items: list[AlertModel]


class PulseModel(View):
    """How much mail goes through now.

    :ivar per_s: messages in a second, over ten
    :ivar refused, deferred: parts of the messages of the last five minutes; null where there were none
    :ivar errors: times that our own code failed in the last hour
    """

    per_s: float
    messages: int
    refused: float | None
    deferred: float | None
    errors: int
    filters: int
    filters_failing: int


class CertificateModel(View):
    """The certificate of a listener that expires first."""

    path: str
    listeners: list[str]
    not_after: str | None
    days: int


class ChangeModel(View):
    """The revision at work.

    :ivar number: 0 where no revisions are kept
    """

    number: int
    id: str
    author: str
    message: str
    way: str
    time: str | None


class WholeModel(OverviewModel):
    """Is mail flowing, and what is wrong."""

    pulse: PulseModel
    alerts: list[AlertModel]
    certificate: CertificateModel | None
    change: ChangeModel


class TestSend(Order):
    """A test message.

    :ivar to: the recipient; "" for the postmaster of the first local domain
    :ivar listener: its name; "" for the first of role mx
    :ivar is_bad: one that should be refused: a program in disguise, with words that engines know as spam
    """

    to: str = Field("", max_length=320)
    sender: str = Field("", max_length=320)
    listener: str = Field("", max_length=100)
    is_bad: bool = False


class TestSent(View):
    """What the gateway said to a test message.

    :ivar code: the last reply; 0 where the connection broke
    :ivar reference: the id of the message; "" where the reply had none
    :ivar dialogue: what both sides said
    """

    is_audited: bool = True
    code: int
    reference: str
    dialogue: list[str]


def alert_model(alert: Any) -> AlertModel:
    """One alert."""
    return AlertModel(
        id=alert.id,
        level=alert.level,
        text=visible(alert.text, 500),
        since=moment(alert.since),
        link=alert.link,
        count=alert.count,
    )


def pulse_model(pulse: Any) -> PulseModel:
    """The rates of now."""
    return PulseModel(**{name: getattr(pulse, name) for name in PulseModel.model_fields})


def certificate_model(certificate: Any, now: float) -> CertificateModel | None:
    """The soonest certificate; None where none is known."""
    if certificate is None:
        return None
    return CertificateModel(
        path=certificate.path,
        listeners=list(certificate.listeners),
        not_after=moment(certificate.not_after),
        days=int((certificate.not_after - now) // 86400),
    )


def whole_model(control: Any, p95_ms: float | None, now: float) -> WholeModel:
    """All of it."""
    view = overview_model(control.overview(), p95_ms)
    return WholeModel(
        **{name: getattr(view, name) for name in OverviewModel.model_fields},
        pulse=pulse_model(control.alerts.pulse()),
        alerts=[alert_model(one) for one in control.alerts.now()],
        certificate=certificate_model(control.certificates.soonest, now),
        change=change_model(control),
    )


def change_model(control: Any) -> ChangeModel:
    """The revision at work, and who made it so."""
    active = control.configuration.active
    return ChangeModel(
        number=active.number,
        id=control.current().id,
        author=active.author,
        message=visible(active.message, 500),
        way=active.way,
        time=moment(control.revision_at),
    )
