"""The API of allow and block lists: entries with ends, reasons and hits, and those of the configuration beside them."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Final

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.params import OneOf
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import cell, moment
from smtpgate.control.lists import KINDS, Listed, ListView
from smtpgate.control.views import lasting

_Line = Annotated[str, Field(max_length=400, pattern=r"^[^\x00-\x1f\x7f]*$")]
#: Entries of one answer.
SHOWN: Final = 5000


class EntryOrder(Order):
    """An entry to add: `kind` is allow-client, block-client, allow-sender or block-sender; `minutes` 0: for good."""

    kind: Annotated[str, Field(max_length=20)]
    entry: _Line
    minutes: Annotated[int, Field(ge=0, le=5_270_400)] = 0
    reason: _Line = ""


class EntriesOrder(Order):
    """Lines `kind,entry[,days[,reason]]`; # begins a comment. All are added, or none."""

    text: Annotated[str, Field(max_length=900_000)]


class EntryModel(View):
    """One entry; `until` is null for good."""

    kind: str
    entry: str
    reason: str
    source: str
    added: str | None
    until: str | None
    hits: int
    last_hit: str | None


class ConfiguredModel(View):
    """An entry of the configuration, where it is changed; `where` is the filter that has it."""

    kind: str
    entry: str
    reason: str
    owner: str
    until: str
    where: str


class EntryList(View):
    """All entries, the newest first, and those of the configuration. `is_asked`: a filter `lists` asks them; without
    one they have no effect."""

    items: list[EntryModel]
    total: int
    configured: list[ConfiguredModel]
    is_asked: bool


class AddedModel(View):
    """How many were added."""

    added: int
    is_audited: bool


def entry_model(one: Listed) -> EntryModel:
    """For an answer."""
    return EntryModel(
        kind=one.kind,
        entry=one.entry,
        reason=one.reason,
        source=one.source,
        added=moment(one.added),
        until=moment(one.until),
        hits=one.hits,
        last_hit=moment(one.last_hit),
    )


def configured_model(one: ListView) -> ConfiguredModel:
    """For an answer."""
    return ConfiguredModel(
        kind=one.kind, entry=one.entry, reason=one.reason, owner=one.owner, until=one.until, where=one.where
    )


async def lists(ask: Ask) -> Answer:
    """All entries that hold."""
    managed = ask.office.control.lists
    found = managed.entries(ask.params["kind"])
    return answer_of(
        EntryList(
            items=[entry_model(one) for one in found[:SHOWN]],
            total=len(found),
            configured=[configured_model(one) for one in managed.configured()][:SHOWN],
            is_asked=managed.is_asked,
        )
    )


async def add_entry(ask: Ask) -> Answer:
    """Add one, in place of one for the same."""
    body = ask.body
    is_audited = await add(ask, body.kind, body.entry, body.minutes, body.reason)
    return answer_of(m.Done(is_audited=is_audited), 201)


async def add(ask: Ask, kind: str, entry: str, minutes: int, reason: str) -> bool:
    """The same for a page, and from a message; whether it is in the audit."""
    managed = ask.office.control.lists
    checked = managed.check(kind, entry, minutes * 60.0)
    is_audited = await ask.change("list.add", f"{kind} {checked.entry}", lasting(reason, minutes))
    managed.add(kind, entry, minutes * 60.0, reason, ask.who.actor)
    return is_audited


async def remove_entry(ask: Ask) -> Answer:
    """Take one out."""
    return answer_of(m.Done(is_audited=await remove(ask, ask.args["kind"], ask.args["entry"])))


async def remove(ask: Ask, kind: str, entry: str) -> bool:
    """The same for a page; whether it is in the audit."""
    managed = ask.office.control.lists
    found = managed.check_there(kind, entry)
    is_audited = await ask.change("list.remove", f"{kind} {found.entry}")
    managed.remove(kind, entry, ask.who.actor)
    return is_audited


async def import_entries(ask: Ask) -> Answer:
    """Add those of a file, all or none."""
    added, is_audited = await take_in(ask, ask.body.text)
    return answer_of(AddedModel(added=added, is_audited=is_audited))


async def take_in(ask: Ask, text: str) -> tuple[int, bool]:
    """The same for a page: how many, and whether it is in the audit."""
    managed, actor = ask.office.control.lists, ask.who.actor
    found = managed.read(text)
    is_audited = await ask.change("list.import", f"{len(found)} entries")
    for one, reason in found:
        seconds = one.until - one.added if one.until else 0.0
        managed.add(one.kind, one.entry, seconds, reason, actor)
    return len(found), is_audited


async def export_entries(ask: Ask) -> Answer:
    """All entries as they are taken in: kind, entry, days that are left, reason."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    now = ask.office.wall()
    for one in ask.office.control.lists.entries():
        days = f"{max((one.until - now) / 86400, 0.001):.3f}" if one.until else ""
        writer.writerow([one.kind, cell(one.entry), days, cell(one.reason)])
    headers = {"Content-Disposition": 'attachment; filename="smtpgate-lists.csv"'}
    return Answer(out.getvalue().encode("utf-8", "replace"), 200, "text/csv", headers)


_BASE: Final = "/api/v1/lists"
_KIND: dict[str, Any] = {"kind": OneOf("only this kind", KINDS)}
ROUTES = (
    Route("GET", _BASE, "config:read", lists, summary="Allow and block lists", answer=EntryList, query=_KIND),
    Route("POST", _BASE, "lists:write", add_entry, summary="List somebody", body=EntryOrder, answer=m.Done, status=201),
    Route(
        "POST",
        f"{_BASE}/import",
        "lists:write",
        import_entries,
        summary="List those of a file",
        body=EntriesOrder,
        answer=AddedModel,
    ),
    Route("GET", f"{_BASE}/export", "config:read", export_entries, summary="Lists to take away"),
    Route(
        "DELETE",
        f"{_BASE}/<kind>/<path:entry>",
        "lists:write",
        remove_entry,
        summary="Take an entry out",
        answer=m.Done,
    ),
)
