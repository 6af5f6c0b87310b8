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


class DraftEdits:
    """Edits of drafts, of whatever part."""

    def __init__(self, engine: Engine, books: Configuration) -> None:
        self._engine = engine
        self._books = books

    async def draft(self, actor: Actor) -> Draft:
        """What would be edited."""
        return await self._books.draft(actor)

    async def plan(self, actor: Actor, edit: Callable[..., str], *values: Any) -> str:
        """The draft with an edit of its text. Raises Refused."""
        draft = await self.draft(actor)
        made: str = await self.read(edit, draft.text, *values)
        return made

    async def keep(self, actor: Actor, text: str) -> Edited:
        """Keep it as one's draft, and say what it would change."""
        before = await self.draft(actor)
        kept = await self._books.keep_draft(actor, text, before.base)
        checked = await self._books.check(text, actor)
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

    async def plan_put(self, actor: Actor, text: str, *, is_new: bool) -> tuple[str, str]:
        """The draft with tables put in, and their names; with `is_new` none of them is there yet. Raises Refused."""
        draft = await self.draft(actor)
        given = [(one.kind, one.name) for one in await self.read(table_texts.of_text, text)]
        there = set(await self.read(table_texts.names, draft.text))
        taken = [one for one in given if one in there]
        if is_new and taken:
            raise Refused(f"there is {'.'.join(taken[0])} already")
        made: str = await self.read(table_texts.put, draft.text, text)
        return made, ", ".join(map(".".join, given))
