"""The API that edits named tables of the configuration: backends, listeners, webhooks, groups and their like.

Each order changes the draft of who gives it, and says what that would change; nothing is at work before the draft is
(`/config/apply`). With a file that rules the draft is a patch to take away.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_rules_edit import EditedModel, answer_edited
from smtpgate.admin.guard import Refusal
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.config import table_texts
from smtpgate.config.text_blocks import NotSo
from smtpgate.control.draft_edits import Edited


class TableText(Order):
    """Tables as TOML, each with its name: [backends.NAME] and what is within it. "***" keeps a secret."""

    text: Annotated[str, Field(min_length=1, max_length=100_000)]


class TableName(View):
    """A table of the configuration."""

    kind: str
    name: str


class TableNameList(View):
    """All of the draft of who asks (`is_draft`), or of what is at work. `kinds`: those that there may be."""

    items: list[TableName]
    kinds: list[str]
    is_draft: bool


class TableInText(View):
    """One as it is written, secrets as ***, in the draft of who asks (`is_draft`) or in what is at work."""

    kind: str
    name: str
    text: str
    is_draft: bool


async def tables(ask: Ask) -> Answer:
    """Kind and name of each."""
    return answer_of(await list_of(ask))


async def list_of(ask: Ask) -> TableNameList:
    """The same for a page."""
    found, is_draft = await ask.office.control.table_edits.all(ask.who.actor)
    items = [TableName(kind=kind, name=name) for kind, name in found]
    return TableNameList(items=items, kinds=list(table_texts.KINDS), is_draft=is_draft)


async def table(ask: Ask) -> Answer:
    """One as it is written."""
    return answer_of(await text_of(ask))


async def text_of(ask: Ask) -> TableInText:
    """The same for a page. Raises Unknown."""
    kind, name = ask.args["kind"], ask.args["name"]
    text, is_draft = await ask.office.control.table_edits.text_of(ask.who.actor, kind, name)
    return TableInText(kind=kind, name=name, text=text, is_draft=is_draft)


async def add_tables(ask: Ask) -> Answer:
    """Put tables into one's draft whose names are not there yet."""
    return answer_edited(await put(ask, ask.body.text, is_new=True))


async def change_table(ask: Ask) -> Answer:
    """Another text for one, in one's draft."""
    await text_of(ask)
    await check_names(ask, ask.body.text)
    return answer_edited(await put(ask, ask.body.text, is_new=False))


async def check_names(ask: Ask, text: str) -> None:
    """The text has the table of the path and nothing else. Raises Refusal."""
    kind, name = ask.args["kind"], ask.args["name"]
    try:
        named = [(one.kind, one.name) for one in await ask.office.in_thread(table_texts.of_text, text)]
    except NotSo as error:
        raise Refusal("validation", 422, str(error)) from None
    if named != [(kind, name)]:
        raise Refusal("validation", 422, f"give the table [{kind}.{name}] and nothing else")


async def put(ask: Ask, text: str, *, is_new: bool) -> tuple[Edited, bool]:
    """Tables into one's draft; what it is then, and whether that is in the audit. Raises Refused."""
    edits = ask.office.control.table_edits
    made, names = await edits.plan_put(ask.who.actor, text, is_new=is_new)
    is_audited = await ask.change("config.draft", names[:200])
    return await edits.keep(ask.who.actor, made), is_audited


async def remove_table(ask: Ask) -> Answer:
    """Take one out of one's draft."""
    return answer_edited(await take_out(ask))


async def take_out(ask: Ask) -> tuple[Edited, bool]:
    """The same for a page. Raises Unknown and Refused."""
    one, edits = await text_of(ask), ask.office.control.table_edits
    made = await edits.plan(ask.who.actor, table_texts.remove, one.kind, one.name)
    is_audited = await ask.change("config.draft", f"{one.kind}.{one.name}: removed")
    return await edits.keep(ask.who.actor, made), is_audited


_BASE: Final = "/api/v1/config/tables"
_ONE: Final = f"{_BASE}/<kind>/<name>"
_W: Final = "config:write"
ROUTES = (
    Route("GET", _BASE, "config:read", tables, summary="Tables with names", answer=TableNameList),
    Route("POST", _BASE, _W, add_tables, summary="Add tables to your draft", body=TableText, answer=EditedModel),
    Route("GET", _ONE, "config:read", table, summary="One table as it is written", answer=TableInText),
    Route("PUT", _ONE, _W, change_table, summary="Change a table in your draft", body=TableText, answer=EditedModel),
    Route("DELETE", _ONE, _W, remove_table, summary="Take a table out of your draft", answer=EditedModel),
)
