"""Edits of somebody's draft of the configuration: of who asks, or without one of a draft of what is at work.

Nothing is at work before the draft is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from smtpgate.config import table_texts
from smtpgate.config.text_blocks import NotSo
from smtpgate.control.configuration import Configuration
from smtpgate.control.views import Actor, Refused, Unknown
from smtpgate.policy.config_revision import Draft
from smtpgate.proxy.revision import Engine


@attrs.frozen
class Edited:
    """A draft after an edit.

    :ivar diff: to what is at work, secrets hidden; "" where it is that again
    :ivar problems: what is wrong with the whole draft
    """

    draft: Draft
    diff: str
    problems: tuple[Any, ...]


@attrs.frozen
class Plan:
    """The text that an edit makes, and the draft that it is an edit of."""

    of: Draft
    text: str


class DraftEdits:
    """Edits of drafts, of whatever part."""

    def __init__(self, engine: Engine, books: Configuration) -> None:
        self._engine = engine
        self._books = books

    async def draft(self, actor: Actor) -> Draft:
        """What would be edited."""
        return await self._books.draft(actor)

    async def plan(self, actor: Actor, edit: Callable[..., str], *values: Any) -> Plan:
        """An edit of one's draft that is not kept yet. Raises Refused."""
        draft = await self.draft(actor)
        return Plan(draft, await self.read(edit, draft.text, *values))

    async def keep(self, actor: Actor, plan: Plan) -> Edited:
        """Keep it as one's draft, and say what it would change. Raises Refused where the draft, or without one what is
        at work, is another by now: it would be taken back without a word.
        """
        now = await self.draft(actor)
        if (now.base, now.at, now.text) != (plan.of.base, plan.of.at, plan.of.text):
            raise Refused("the configuration, or your draft of it, was changed meanwhile: look at it and do it again")
        kept = await self._books.keep_draft(actor, plan.text, plan.of.base)
        checked = await self._books.check(plan.text, actor)
        return Edited(kept, checked.diff, checked.problems)

    async def read(self, look: Callable[..., Any], *values: Any) -> Any:
        """What a function of the text says, in a thread. Raises Refused for what it does not allow."""
        try:
            return await self._engine.in_thread(look, *values)
        except NotSo as error:
            raise Refused(str(error)) from None


class TableEdits(DraftEdits):
    """Edits of tables with names: backends, listeners, webhooks, groups."""

    async def text_of(self, actor: Actor, kind: str, name: str) -> tuple[str, bool]:
        """A table as it stands in one's draft, and whether that is a draft at all. Raises Unknown and Refused."""
        draft = await self.draft(actor)
        if (kind, name) not in await self.read(table_texts.names, draft.text):
            raise Unknown(f"there is no {kind}.{name} in the configuration")
        found = await self.read(table_texts.find, draft.text, kind, name)
        return found.text, bool(draft.at)

    async def all(self, actor: Actor) -> tuple[list[tuple[str, str]], bool]:
        """Kind and name of all, and whether that is of a draft. Raises Refused."""
        draft = await self.draft(actor)
        return await self.read(table_texts.names, draft.text), bool(draft.at)

    async def plan_put(self, actor: Actor, text: str, *, is_new: bool) -> tuple[Plan, str]:
        """The draft with tables put in, and their names; with `is_new` none of them is there yet. Raises Refused."""
        draft = await self.draft(actor)
        given = [(one.kind, one.name) for one in await self.read(table_texts.of_text, text)]
        there = set(await self.read(table_texts.names, draft.text))
        taken = [one for one in given if one in there]
        if is_new and taken:
            raise Refused(f"there is {'.'.join(taken[0])} already")
        made: str = await self.read(table_texts.put, draft.text, text)
        return Plan(draft, made), ", ".join(map(".".join, given))
