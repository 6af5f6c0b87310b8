"""The page of the audit: who did what, what was before and after, and whether the chain is whole."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import attrs

from smtpgate.admin import params
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_audit import FILTERS, KINDS, RESULTS, chain, page_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models_audit import AuditList
from smtpgate.admin.panels import panel
from smtpgate.admin.params import Whole
from smtpgate.admin.routes import Ask, Route

#: Records on a page.
ROWS = 50
_BEFORE = {"before": Whole("records of a smaller number", 2**53, 0)}


@attrs.frozen
class Change:
    """One thing that is otherwise: its name, and what it was and is, "" where there was or is nothing."""

    name: str
    before: str
    after: str


def changes(before: Any, after: Any) -> list[Change]:
    """What is otherwise between two values; of values that are no objects, both."""
    if before is None and after is None:
        return []
    if not isinstance(before, dict | None) or not isinstance(after, dict | None):
        return [Change("", _text(before), _text(after))]
    was, now = before or {}, after or {}
    names = dict.fromkeys((*was, *now))
    found = [Change(str(name), _text(was.get(name)), _text(now.get(name))) for name in names]
    return [one for one in found if one.before != one.after]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def audit(ask: Ask) -> Answer:
    """Who did what."""
    given = {name: text for name, text in ask.query.items() if text and name in (*FILTERS, "before", "check")}
    sought = {name: text for name, text in given.items() if name in FILTERS}
    trouble, found, broken = "", AuditList(items=[]), ""
    try:
        read = params.read({**FILTERS, **_BEFORE}, {name: [text] for name, text in given.items() if name != "check"})
        found, broken = await panel(page_of(ask, read, ROWS, read["before"]), found)
    except Refusal as refusal:
        trouble = "; ".join(f"{one['parameter']}: {one['message']}" for one in refusal.errors) or refusal.detail
    answer: Answer = await ask.office.templates.page(
        ask,
        "audit.html",
        400 if trouble else 503 if broken else 200,
        here="audit",
        broken=broken,
        trouble=trouble,
        items=[(one, changes(one.before, one.after)) for one in found.items],
        chain=await chain(ask) if "check" in given and not broken else None,
        sought=sought,
        kinds=KINDS,
        results=RESULTS,
        query=urlencode(sought),
        older=urlencode({**sought, "before": found.next_cursor}) if found.has_more else "",
        is_first="before" not in given,
    )
    return answer


ROUTES = (Route("GET", "/audit", "audit:read", audit, "page", "Who did what.", doors=frozenset({"web"})),)
