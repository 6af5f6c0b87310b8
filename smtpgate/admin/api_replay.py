"""The API that decides the history again, by what is at work or by a draft: how many decisions change, and which.

It can be done as a task (`Prefer: respond-async`); the page does so.
"""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from pydantic import Field

from smtpgate.admin import reading
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_test import DRAFT, Text, draft_of, noted
from smtpgate.admin.guard import Refusal
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment
from smtpgate.control.replays import MOST
from smtpgate.control.views import Refused
from smtpgate.policy.held import Held
from smtpgate.policy.replayed import Replayed, Row


class ReplayOrder(Order):
    """The newest `last` messages. With `whole` held mail is tried with its content, `reason` says why it is read."""

    last: Annotated[int, Field(ge=1, le=MOST)] = 1000
    draft: Annotated[str, Field(max_length=DRAFT)] = ""
    whole: bool = False
    reason: Text = ""


class RowModel(View):
    """One message whose decision is otherwise, or cannot be known (`new` is unknown, `why` says why)."""

    id: str
    time: str | None
    sender: str
    recipient: str
    subject: str
    old: str
    new: str
    old_score: float
    new_score: float
    why: str
    is_whole: bool


class CellModel(View):
    """How many messages had one decision and would have another; `ids` of some."""

    old: str
    new: str
    count: int
    ids: tuple[str, ...]


class ReplayModel(View):
    """The messages, their decisions then and anew (none: nothing was decided over the whole message), and those that
    changed, 2,000 at most. `left_out` says what of the draft cannot be played again."""

    of: str
    messages: int
    since: str | None
    until: str | None
    changes: int
    whole: int
    cells: list[CellModel]
    changed: list[RowModel]
    left_out: tuple[str, ...]
    is_cut: bool


def replay_model(found: Replayed) -> ReplayModel:
    """For an answer. It takes a while: not for the thread of the reactor."""
    return ReplayModel(
        of=found.of,
        messages=found.messages,
        since=moment(found.since),
        until=moment(found.until),
        changes=found.changes,
        whole=found.whole,
        cells=[CellModel(old=one.old, new=one.new, count=one.count, ids=one.ids) for one in found.cells],
        changed=[_row(one) for one in found.changed],
        left_out=found.left_out,
        is_cut=found.is_cut,
    )


def _row(one: Row) -> RowModel:
    return RowModel(time=moment(one.at), **attrs.asdict(one, filter=lambda a, _: a.name not in ("at", "held")))


async def replay(ask: Ask) -> Answer:
    """Decide the newest messages of the history again; nothing comes of it."""
    body: ReplayOrder = ask.body
    draft = await draft_of(ask, body.draft)
    if body.whole and not ask.who.may("content:read"):
        raise Refusal("forbidden", 403, "your role has no permission content:read, and this reads held mail")

    async def read(held: Held) -> None:
        if reading.wants_second(ask, held):
            raise Refused(f"mail held as {held.held_as} is read with a second person's approval only")
        await reading.read(ask, held, "it is replayed", body.reason)

    await noted(ask, "the history", f"the last {body.last} messages", draft)
    step: Any = ask.job.step if ask.job is not None else None
    found = await ask.office.control.replays.run(body.last, draft, step, read if body.whole else None)
    return answer_of(await ask.office.in_thread(replay_model, found))


REPLAY = Route(
    "POST",
    "/api/v1/test/replay",
    "test:run",
    replay,
    is_question=True,
    summary="Decide the history again",
    body=ReplayOrder,
    answer=ReplayModel,
    is_large=True,
    may_wait=True,
)
ROUTES = (REPLAY,)
