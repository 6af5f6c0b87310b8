"""Which way mail would go: the question as a request's body, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from smtpgate.admin.models import Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.control.views import Way
from smtpgate.policy.question import Question, client_address, recipient_path, sender_path


def _is(read: Callable[[str], object]) -> Any:
    """What `read` takes; its ValueError says what is wrong. The text stays a text."""

    def check(text: str) -> str:
        read(text)
        return text

    return AfterValidator(check)


class RouteQuestion(Order):
    """An envelope whose way is asked for."""

    listener: Line
    client: Annotated[Line, _is(client_address)] = "192.0.2.1"
    sender: Annotated[Line, _is(sender_path)] = ""
    recipients: Annotated[list[Annotated[Line, _is(recipient_path)]], Field(min_length=1, max_length=100)]
    user: Line = ""
    sni: Line = ""


class StepModel(View):
    """One route that was asked; `failed` names what did not match."""

    route: int
    backend: str
    failed: str


class WayModel(View):
    """What would become of one recipient."""

    recipient: str
    answer: str
    steps: list[StepModel]


class RouteAnswer(View):
    """What would become of each recipient, in one transaction."""

    items: list[WayModel]


def question_of(body: RouteQuestion) -> Question:
    """A checked body as a question."""
    recipients = tuple(recipient_path(text) for text in body.recipients)
    return Question(
        body.listener, client_address(body.client), sender_path(body.sender), recipients, body.user, body.sni
    )


def way_model(way: Way) -> WayModel:
    """One recipient's way."""
    steps = [StepModel(route=step.number, backend=step.backend, failed=step.failed) for step in way.steps]
    return WayModel(recipient=way.recipient, answer=way.answer, steps=steps)
