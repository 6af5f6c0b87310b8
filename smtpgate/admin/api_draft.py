"""The API of what is not at work: drafts, the file beside the revisions, texts to take away, the schema of forms."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from smtpgate.admin.answer import Answer, as_json
from smtpgate.admin.api_config import revision_of
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.params import Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment
from smtpgate.config.hiding import hide
from smtpgate.config.reference import json_schema
from smtpgate.config.texts import unified

_BASE = "/api/v1/config"


class DraftModel(View):
    """What somebody writes; `time` is null where that is what is at work. Secrets are shown as ***."""

    author: str
    base: int
    time: str | None
    text: str


class DraftOrder(Order):
    """A text to keep, whatever is wrong with it. `base` is the number of the revision that it was made of."""

    text: Annotated[str, Field(max_length=900_000)]
    base: Annotated[int, Field(ge=1, le=2**53)]


class DriftModel(View):
    """How the file differs from what is at work; `problem` where it cannot be read."""

    is_drifted: bool
    file: str
    problem: str
    diff: str


class BlameLine(View):
    """One line of a text, and the revision that brought it."""

    line: int
    number: int
    author: str
    time: str | None
    text: str


class BlameModel(View):
    """All lines of one revision."""

    items: list[BlameLine]


class AppliedModel(View):
    """A moment at which a revision was put to work; a reload is one too."""

    time: str | None
    id: str
    number: int
    author: str


class AppliedList(View):
    """The newest of them since the start, the oldest first."""

    items: list[AppliedModel]


async def applied(ask: Ask) -> Answer:
    """When another configuration was put to work, or the same read anew, since the start: marks for charts."""
    marks = ask.office.control.configuration.applied
    items = [AppliedModel(time=moment(one.at), id=one.id, number=one.number, author=one.author) for one in marks]
    return answer_of(AppliedList(items=items))


async def show_draft(ask: Ask) -> Answer:
    """The draft of who asks; what is at work, where there is none."""
    found = await ask.office.control.configuration.draft(ask.who.actor)
    return answer_of(DraftModel(author=found.author, base=found.base, time=moment(found.at), text=found.text))


async def put_draft(ask: Ask) -> Answer:
    """Keep a draft, in place of the one before."""
    books, body = ask.office.control.configuration, ask.body
    await books.revision(body.base)
    is_audited = await ask.change("config.draft", f"from revision {body.base}")
    await books.keep_draft(ask.who.actor, body.text, body.base)
    return answer_of(Done(is_audited=is_audited))


async def drop_draft(ask: Ask) -> Answer:
    """Forget the draft of who asks."""
    is_audited = await ask.change("config.draft_dropped", "")
    await ask.office.control.configuration.drop_draft(ask.who.actor)
    return answer_of(Done(is_audited=is_audited))


async def import_file(ask: Ask) -> Answer:
    """Make a draft of the file, for who asks; nothing is put to work."""
    books = ask.office.control.configuration
    books.must_be_readable(await books.drift())
    is_audited = await ask.change("config.import", str(ask.office.control.path))
    await books.import_file(ask.who.actor)
    return answer_of(Done(is_audited=is_audited))


async def drift(ask: Ask) -> Answer:
    """How the file differs."""
    books = ask.office.control.configuration
    found, active = await books.drift(), books.active

    def made() -> str:
        return unified(hide(active.text), hide(found.text), f"revision {active.number}", "file")

    diff = await ask.office.in_thread(made) if found.is_drifted and not found.problem else ""
    file = str(ask.office.control.path)
    return answer_of(DriftModel(is_drifted=found.is_drifted, file=file, problem=found.problem, diff=diff))


async def blame(ask: Ask) -> Answer:
    """Which revision brought each line of one."""
    found = await revision_of(ask, ask.args["number"])
    lines = await ask.office.control.configuration.blame(found)
    items = [
        BlameLine(line=at, number=whose.number, author=whose.author, time=moment(whose.at), text=line)
        for at, (whose, line) in enumerate(lines, 1)
    ]
    return answer_of(BlameModel(items=items))


async def export_text(ask: Ask) -> Answer:
    """A text to take away, without its secrets: what is at work, or another revision."""
    number = ask.params["revision"]
    books = ask.office.control.configuration
    found = await revision_of(ask, str(number)) if number else books.active
    text: str = await ask.office.in_thread(hide, found.text)
    headers = {"Content-Disposition": f'attachment; filename="smtpgate-revision-{found.number}.toml"'}
    return Answer(text.encode("utf-8", "replace"), 200, "application/toml", headers)


async def schema(ask: Ask) -> Answer:
    """The JSON schema of the configuration's tables."""
    return as_json(json.loads(await ask.office.in_thread(json_schema)))


_WHICH = {"revision": Whole("number of a revision; without it what is at work", 2**53, 0)}
ROUTES = (
    Route("GET", f"{_BASE}/draft", "config:read", show_draft, summary="Your draft", answer=DraftModel),
    Route("PUT", f"{_BASE}/draft", "config:write", put_draft, summary="Keep it", body=DraftOrder, answer=Done),
    Route("DELETE", f"{_BASE}/draft", "config:write", drop_draft, summary="Forget it", answer=Done),
    Route("GET", f"{_BASE}/applied", "config:read", applied, summary="When it was put to work", answer=AppliedList),
    Route("GET", f"{_BASE}/drift", "config:read", drift, summary="How the file differs", answer=DriftModel),
    Route(
        "POST", f"{_BASE}/import", "config:write", import_file, summary="Draft of the file", body=Nothing, answer=Done
    ),
    Route("GET", f"{_BASE}/export", "config:read", export_text, summary="Text to take away", query=_WHICH),
    Route("GET", f"{_BASE}/schema", "config:read", schema, summary="Schema of all tables"),
    Route(
        "GET", f"{_BASE}/revisions/<number>/blame", "config:read", blame, summary="Who brought it", answer=BlameModel
    ),
)
