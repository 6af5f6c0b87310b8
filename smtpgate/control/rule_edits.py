"""Rules added, changed, moved, put into shadow and taken out, as edits of somebody's draft of the configuration.

What is edited is the draft of who asks, or without one a draft of what is at work; nothing is at work before the draft
is. Each edit is checked as a rule beside what is at work first, with the place of what is wrong in its own text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from smtpgate.config import rule_texts
from smtpgate.config.rule_texts import MODES
from smtpgate.config.text_blocks import NotSo
from smtpgate.control.configuration import Configuration
from smtpgate.control.draft_edits import DraftEdits, Plan
from smtpgate.control.rule_trials import settings_of
from smtpgate.control.views import Actor, Invalid, Refused, Unknown
from smtpgate.proxy.revision import Engine, Revision

#: Without a hit for so long a rule is shown as unused.
UNUSED_S: Final = 30 * 86400.0


@attrs.frozen
class Template:
    """A rule to begin with."""

    name: str
    words: str
    text: str


TEMPLATES: Final = (
    Template(
        "no-programs",
        "refuse programs, also in archives",
        '[[rules]]\nname   = "no-programs"\nwhen   = "attachments.exists(a, a.kind == \'executable\')"\n'
        'action = "reject"\nreply  = "550 5.7.1 Programs are not accepted by mail"\nmode   = "shadow"\n',
    ),
    Template(
        "external-banner",
        "mark the subject of what comes from outside",
        '[[rules]]\nname        = "external"\ndirection   = "in"\naction      = "tag"\n'
        'subject_tag = "[EXTERNAL]"\nmode        = "shadow"\n',
    ),
    Template(
        "many-recipients",
        "refuse mail to more than 50 recipients at once",
        '[[rules]]\nname   = "many-recipients"\nwhen   = "recipients.size() > 50"\naction = "reject"\n'
        'reply  = "550 5.7.1 Too many recipients at once"\nmode   = "shadow"\n',
    ),
    Template(
        "cards-out",
        "hold mail with card numbers that leaves",
        '[[rules]]\nname      = "cards-out"\ndirection = "out"\n'
        "when      = \"matches.exists(m, m.detector == 'card' && m.confidence == 'high')\"\n"
        'action    = "quarantine"\nheld_as   = "dlp"\nmode      = "shadow"\n',
    ),
    Template(
        "large",
        "note mail over 20 MB, to see who sends it",
        '[[rules]]\nname   = "large"\nwhen   = "size > 20000000"\naction = "note"\n',
    ),
)


class RuleEdits(DraftEdits):
    """Edits of drafts."""

    def __init__(self, engine: Engine, current: Callable[[], Revision], books: Configuration) -> None:
        super().__init__(engine, books)
        self._current = current

    async def text_of(self, actor: Actor, name: str) -> tuple[str, bool]:
        """A rule as it stands in one's draft, and whether that is a draft at all. Raises Unknown."""
        draft = await self.draft(actor)
        try:
            found = await self._engine.in_thread(rule_texts.find, draft.text, name)
        except NotSo as error:
            raise Unknown(str(error)) from None
        return found.text, bool(draft.at)

    async def all_of(self, actor: Actor) -> str:
        """All rules of one's draft, as a text of their own."""
        draft = await self.draft(actor)
        found: str = await self.read(rule_texts.all_of, draft.text)
        return found

    async def plan_put(self, actor: Actor, rules: str, before: str, *, is_new: bool) -> Plan:
        """The draft with rules put in; with `is_new` none of them is there yet. Raises ConfigErrors for what is wrong
        in them, Refused, and Invalid for what is no rule."""
        draft = await self.draft(actor)
        named = await self.read(rule_texts.of_text, rules)
        there = {one.name for one in await self.read(rule_texts.blocks, draft.text)}
        taken = sorted({one.name for one in named} & there)
        if is_new and taken:
            raise Refused(f"there is a rule {taken[0]} already")
        await self._engine.in_thread(settings_of, rules, self._current().settings)
        return Plan(draft, await self.read(rule_texts.put, draft.text, rules, before))

    async def plan_mode(self, actor: Actor, name: str, mode: str) -> Plan:
        """The draft with a rule in another mode."""
        if mode not in MODES:
            raise Invalid(f"mode is one of {', '.join(MODES)}")
        return await self.plan(actor, rule_texts.with_mode, name, mode)
