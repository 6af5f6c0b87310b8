"""The API of regression cases: mail that was tried once, kept with what became of it, and tried again on a draft.

A case holds its message: whoever keeps one of held mail reads it, which is in the audit. Content is never shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

import attrs
from pydantic import Field, model_validator

from smtpgate.admin import api_test as do
from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment
from smtpgate.control.bench import SCRIPT_LETTERS, Arrival, Tried
from smtpgate.control.cases import Case, Checked


class CaseOrder(Order):
    """Something to try and keep: one of message, message_base64, sample, held, stored and script; see /test/message."""

    name: do.Text
    message: str = ""
    message_base64: str = ""
    sample: do.Text = ""
    held: do.Text = ""
    stored: do.Text = ""
    script: Annotated[str, Field(max_length=SCRIPT_LETTERS)] = ""
    envelope: do.ArrivalModel = do.ArrivalModel()
    reason: do.Text = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = (self.message, self.message_base64, self.sample, self.held, self.stored, self.script)
        if sum(map(bool, ways)) != 1:
            raise ValueError("give one of message, message_base64, sample, held, stored and script")
        return self


class RunOrder(Order):
    """`draft`: the text of a configuration; without it what is at work."""

    draft: Annotated[str, Field(max_length=do.DRAFT)] = ""


class CaseModel(View):
    """A case, and what is wanted to become of it."""

    id: str
    name: str
    kind: str
    author: str
    created: str | None
    outcome: str
    action: str
    decided_by: str


class CaseList(View):
    """All of them, the oldest first."""

    items: list[CaseModel]


class CheckedModel(View):
    """A case that was tried again: what it came to, or why it could not be tried."""

    case: CaseModel
    is_passed: bool
    outcome: str
    action: str
    decided_by: str
    why: str


class CheckedList(View):
    """All cases, tried again."""

    items: list[CheckedModel]
    passed: int
    failed: int


def case_model(one: Case) -> CaseModel:
    """For an answer."""
    return CaseModel(
        id=one.id,
        name=one.name,
        kind=one.kind,
        author=one.author,
        created=moment(one.created),
        outcome=one.outcome,
        action=one.action,
        decided_by=one.decided_by,
    )


def checked_model(found: list[Checked]) -> CheckedList:
    """For an answer."""
    items = [
        CheckedModel(
            case=case_model(one.case),
            is_passed=one.is_passed,
            outcome=one.outcome,
            action=one.action,
            decided_by=one.decided_by,
            why=one.why,
        )
        for one in found
    ]
    passed = sum(one.is_passed for one in items)
    return CheckedList(items=items, passed=passed, failed=len(items) - passed)


async def cases(ask: Ask) -> Answer:
    """All cases."""
    return answer_of(CaseList(items=[case_model(one) for one in await ask.office.control.cases.all()]))


async def one_case(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(case_model(await ask.office.control.cases.check_there(ask.args["id"])))


async def keep_case(ask: Ask) -> Answer:
    """Try it, and keep it with what became of it."""
    body = ask.body
    comes = do.arrival(body.envelope)
    if body.script:
        octets = body.script.replace("\r\n", "\n").removesuffix("\n").encode("utf-8", "replace")
        found = await do.session_tried(ask, body.script, comes, None)
    else:
        given = do.MessageTrial(**body.model_dump(exclude={"name", "script"}))
        octets, comes, _ = await do.given(ask, given)
        found = await do.octets_tried(ask, octets, comes, body.name, None)
    case, is_audited = await keep(ask, body.name, octets, comes, found[0])
    answer = answer_of(m.Done(is_audited=is_audited), 201)
    return attrs.evolve(answer, headers={**answer.headers, "Location": f"{_BASE}/named/{case.id}"})


async def keep(ask: Ask, name: str, octets: bytes, comes: Arrival, tried: Tried) -> tuple[Case, bool]:
    """Keep what was just tried; whether that is in the audit."""
    managed = ask.office.control.cases
    case = await managed.plan(name, octets, comes, tried, ask.who.actor)
    is_audited = await ask.change("test.case", case.name, f"{case.outcome}, {len(octets)} octets")
    await managed.keep(case)
    return case, is_audited


async def remove_case(ask: Ask) -> Answer:
    """Delete one."""
    return answer_of(m.Done(is_audited=await remove(ask, ask.args["id"])))


async def remove(ask: Ask, id: str) -> bool:
    """The same for a page; whether it is in the audit."""
    managed = ask.office.control.cases
    case = await managed.check_there(id)
    is_audited = await ask.change("test.case_removed", case.name)
    await managed.remove(id)
    return is_audited


async def run_cases(ask: Ask) -> Answer:
    """Try all cases again; nothing comes of it."""
    draft = await do.draft_of(ask, ask.body.draft)
    step: Any = ask.job.step if ask.job is not None else None
    await do.noted(ask, "all cases", "", draft)
    return answer_of(checked_model(await ask.office.control.cases.run(draft, step)))


_BASE: Final = "/api/v1/test/cases"
ROUTES = (
    Route("GET", _BASE, "test:run", cases, summary="Regression cases", answer=CaseList),
    Route(
        "POST",
        _BASE,
        "test:run",
        keep_case,
        summary="Try something, and keep it as a case",
        body=CaseOrder,
        answer=m.Done,
        status=201,
        is_large=True,
    ),
    Route("GET", f"{_BASE}/named/<id>", "test:run", one_case, summary="One case", answer=CaseModel),
    Route("DELETE", f"{_BASE}/named/<id>", "test:run", remove_case, summary="Delete a case", answer=m.Done),
    Route(
        "POST",
        f"{_BASE}/run",
        "test:run",
        run_cases,
        is_question=True,
        summary="Try all cases again",
        body=RunOrder,
        answer=CheckedList,
        may_wait=True,
    ),
)
