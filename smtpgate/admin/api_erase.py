"""The API's order to take a person's address out of the history. All that is kept beside what is found is read for it,
so it is done as a task.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

import attrs
from pydantic import Field

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_tasks import TaskModel, task_model
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Line
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.control.jobs import Run
from smtpgate.control.views import Refused
from smtpgate.policy.question import recipient_path


class EraseOrder(Order):
    """Whose address, and why."""

    address: Annotated[str, Field(min_length=3, max_length=320)]
    reason: Line = ""


async def erase_address(ask: Ask) -> Answer:
    """Take an address out of all that is kept of messages and sessions, and what its mail was about."""
    control, address = ask.office.control, ask.body.address.strip().strip("<>")
    try:
        fault = "" if recipient_path(address).domain else "it has no domain"
    except ValueError as error:
        fault = str(error)
    if fault:
        refusal = Refusal("validation", 422, f"this is no address: {fault}")
        refusal.errors = [{"pointer": "/address", "code": "value", "message": fault}]
        raise refusal
    if control.history is None:
        raise Refused("there is no history")
    history = control.history
    # The audit outlives the history: what it says can be held against an address, and names none.
    named = hashlib.sha256(address.lower().encode("utf-8", "replace")).hexdigest()[:16]
    await ask.guarded_change("history.erase", f"sha256:{named}", ask.body.reason)

    async def work(run: Run) -> str:
        return json.dumps({"messages": await history.erase(address, run.step)})

    job = await control.jobs.start("Take an address out of the history", ask.who.actor, "system:write", work)
    headers = {"Location": f"/api/v1/tasks/{job.id}"}
    return attrs.evolve(answer_of(task_model(job), 202), headers=headers)


ROUTES = (
    Route(
        "POST",
        "/api/v1/history/erase",
        "system:write",
        erase_address,
        summary="Take an address out of the history",
        body=EraseOrder,
        answer=TaskModel,
        status=202,
        is_guarded=True,
    ),
)
