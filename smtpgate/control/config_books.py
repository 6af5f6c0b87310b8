"""What is known of the configuration: what rules, its history, who wrote which line, how the file differs; drafts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.hiding import hide, left, restore
from smtpgate.config.loader import ConfigErrors, loads, read_text
from smtpgate.config.model import Settings
from smtpgate.config.texts import Merged, blame, changed_keys, merge, unified
from smtpgate.control.config_views import Applied, Checked, Drift, Moved, Pending, Signs, author_of
from smtpgate.control.views import Actor, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.config_revision import ConfigRevision, Draft, Pointer, digest_of
from smtpgate.policy.event import Happened

if TYPE_CHECKING:
    from smtpgate.control import Control

#: Keys that a reload leaves as they were at the start.
FIXED: Final = ("state_dir", "log.format", "log.file", "admin.config", "admin.listen", "admin.health_listen")
#: Revisions whose lines are told apart, and letters of the longest text: 50 of 20,000 lines take 2.5 s.
_BLAMED: Final = 50
_BLAMED_TEXT: Final = 300_000
#: Marks for the charts.
_MARKS: Final = 100


class Books:
    """What is known of the one configuration of a gateway, and what is about to become of it."""

    def __init__(self, control: Control, factories: Mapping[str, Any], failed_plugins: Mapping[str, str]) -> None:
        self._control = control
        self._engine = control.engine
        self._factories = factories
        self._failed_plugins = failed_plugins
        #: `state.revision_store`; set by whoever has the stores.
        self.store: Any = None
        #: What is at work.
        self.active = ConfigRevision(0, "", "", 0, "", 0.0, "", "file", "applied")
        self.pointer = Pointer()
        self.pending: Pending | None = None
        #: What the gateway had to begin with instead of what it was told; "" where it was told well.
        self.fallback = ""
        self.is_drifted = False
        self.applied: deque[Applied] = deque(maxlen=_MARKS)
        self.started_with: Settings | None = None
        self._is_busy = False
        #: A reload that waits for its turn.
        self._waits: Deferred[None] | None = None
        self._timer: Any = None

    # Look

    @property
    def mode(self) -> str:
        """file or managed, as it was at the start."""
        return self.started_with.admin.config if self.started_with is not None else "file"

    @property
    def is_managed(self) -> bool:
        """Revisions rule."""
        return self.mode == "managed"

    @property
    def seconds_left(self) -> float:
        """Until the former revision rules again; 0 where none waits."""
        return max(self.pending.deadline - self._engine.wall(), 0.0) if self.pending is not None else 0.0

    def signs(self) -> Signs:
        """What stands on every page."""
        waits, is_drifted = self.pending, self.is_managed and self.is_drifted
        if waits is None:
            return Signs(fallback=self.fallback, is_drifted=is_drifted)
        left = self.seconds_left
        return Signs(waits.number, waits.former.number, waits.deadline, left, self.fallback, is_drifted)

    def needs_restart(self, settings: Settings) -> list[str]:
        """The keys that differ from those at the start and hold until the end."""
        first = self.started_with
        if first is None:
            return []
        return [key for key in FIXED if attrgetter(key)(first) != attrgetter(key)(settings)]

    def state_of(self, revision: ConfigRevision) -> str:
        """In a word: active, pending, former, unconfirmed or failed."""
        if revision.number == self.active.number:
            return "pending" if self.pending is not None else "active"
        return {"applied": "former", "trying": "failed"}.get(revision.state, revision.state)

    async def _ask(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"revisions cannot be read or written now: {error}") from error

    @property
    def _there(self) -> Any:
        if self.store is None:
            raise Refused("this gateway keeps no revisions")
        return self.store

    async def revisions(self, limit: int, before: int = 0) -> list[ConfigRevision]:
        """The newest, without texts."""
        found: list[ConfigRevision] = await self._ask(self._there.recent(limit, before))
        return found

    async def revision(self, number: int) -> ConfigRevision:
        """One with its text. Raises Unknown."""
        if number == self.active.number:
            return self.active
        found: ConfigRevision | None = await self._ask(self._there.get(number))
        if found is None:
            raise Unknown(f"no revision {number}")
        return found

    async def blame(self, revision: ConfigRevision) -> tuple[tuple[ConfigRevision, str], ...]:
        """Each line of one, secrets hidden, with the revision that brought it: the oldest that is kept, where that is
        not known. Raises Refused where the text is too long for that."""
        if len(revision.text) > _BLAMED_TEXT:
            raise Refused(f"its lines are not told apart: it has more than {_BLAMED_TEXT} letters")
        found = await self._ask(self._there.with_texts(_BLAMED, revision.number))
        history = [*(one for one in found if len(one.text) <= _BLAMED_TEXT), revision]

        def made() -> tuple[tuple[int, ...], list[str]]:
            # The secrets are hidden first: one whose value is another is the same line with the same stars.
            texts = [(one.number, hide(one.text)) for one in history]
            return blame(texts), texts[-1][1].split("\n")

        whose, lines = await self._engine.in_thread(made)
        known = {one.number: one for one in history}
        return tuple((known[number], line) for number, line in zip(whose, lines, strict=False))

    async def drift(self) -> Drift:
        """Whether the file is another than what was last taken out of it, and than what is at work."""
        try:
            text = await self._engine.in_thread(read_text, self._control.path)
        except ConfigErrors as errors:
            self.is_drifted = True
            return Drift(True, "", str(errors.problems[0]))
        known = (self.active.digest, *((self.pointer.seed,) if self.is_managed else ()))
        self.is_drifted = digest_of(text) not in known
        return Drift(self.is_drifted, text)

    async def watch_file(self) -> None:
        """Look whether the file is another than what was taken out of it. Where revisions rule it is told, once."""
        before, found = self.is_drifted, await self.drift()
        if self.is_managed and found.is_drifted and not before:
            why = found.problem or "it is another text"
            message = f"{self._control.path} differs from what was last taken out of it, and rules nothing: {why}"
            self._engine.tell(Happened("config.drift", "warning", message))

    # Check

    async def check(self, text: str, drafted_by: Actor | None = None) -> Checked:
        """All that can be said of a text without putting it to work; `drafted_by` as in `whole`."""
        whole = await self.whole(text, drafted_by)
        checked: Checked = await self._engine.in_thread(self._checked, whole)
        return checked

    def _checked(self, text: str) -> Checked:
        settings: Settings | None
        try:
            settings = self.settings_of(text)
            problems = tuple(settings.warnings)
        except ConfigErrors as errors:
            settings, problems = None, tuple(errors.problems)
        before, after = hide(self.active.text), hide(text)
        diff = unified(before, after, f"revision {self.active.number}", "draft")
        restart = tuple(self.needs_restart(settings)) if settings is not None else ()
        return Checked(settings, problems, diff, changed_keys(before, after), restart)

    def settings_of(self, text: str) -> Settings:
        """The settings of a text that is not at work, for whoever tries it out beside what is. *** in it stands for
        the secret that is at work. It takes long: call it in a thread. Raises ConfigErrors."""
        whole = restore(text, self.active.text)
        lost = left(whole, str(self._control.path))
        if lost:
            raise ConfigErrors(lost)
        return self._settings(whole)

    def _settings(self, text: str) -> Settings:
        settings = loads(text, self._control.path, self._factories, self._failed_plugins)
        return self._kept(settings) if self.is_managed else settings

    def _kept(self, settings: Settings) -> Settings:
        """What the file says even where revisions rule."""
        first = self.started_with
        if first is None:
            return settings
        admin = attrs.evolve(
            settings.admin,
            config=first.admin.config,
            listen=first.admin.listen,
            health_listen=first.admin.health_listen,
        )
        return attrs.evolve(settings, state_dir=first.state_dir, admin=admin)

    # Drafts

    async def draft(self, actor: Actor) -> Draft:
        """What somebody writes; what is at work where that is nothing yet (`at` is 0 then). Secrets are hidden."""
        author = author_of(actor)
        found: Draft | None = await self._ask(self._there.draft(author))
        if found is None:
            found = Draft(author, self.active.number, self.active.text, 0.0)
        shown: str = await self._engine.in_thread(hide, found.text)
        return attrs.evolve(found, text=shown)

    async def keep_draft(self, actor: Actor, text: str, base: int, is_of_draft: bool = True) -> Draft:
        """Keep what somebody writes, whatever is wrong with it; nothing where it is what is at work.

        :param is_of_draft: it was written on from their draft, whose secrets *** stands for
        """
        began = await self.revision(base)
        if base == self.active.number and text == await self._engine.in_thread(hide, began.text):
            await self.drop_draft(actor)
            return Draft(author_of(actor), base, began.text, 0.0)
        whole = await self.whole(text, actor if is_of_draft else None)
        draft = Draft(author_of(actor), base, whole, self._engine.wall())
        await self._ask(self._there.keep_draft(draft))
        return draft

    async def whole(self, text: str, drafted_by: Actor | None) -> str:
        """A text with *** as the secret of the draft of `drafted_by`, where that has one of its own. Any other *** is
        left for the secret at work: so is all of a text that was not written on from a draft."""
        if self.store is None or drafted_by is None:
            return text
        found: Draft | None = await self._ask(self._there.draft(author_of(drafted_by)))
        if found is None:
            return text
        restored: str = await self._engine.in_thread(restore, text, found.text)
        return restored

    async def drop_draft(self, actor: Actor) -> None:
        """Forget it."""
        await self._ask(self._there.drop_draft(author_of(actor)))

    async def import_file(self, actor: Actor) -> Draft:
        """A draft of the file."""
        found = await self.drift()
        self.must_be_readable(found)
        return await self.keep_draft(actor, found.text, self.active.number)

    def must_be_readable(self, found: Drift) -> None:
        """Raises Refused where the file cannot be taken over."""
        if found.problem:
            raise Refused(found.problem)

    async def merged(self, text: str, base: int) -> Moved | None:
        """Two changes of one revision in one; None where nobody changed it meanwhile."""
        if base == self.active.number:
            return None
        began, theirs = await self.revision(base), self.active

        def made() -> Merged:
            return merge(hide(began.text), text, hide(theirs.text), f"revision {theirs.number}")

        joined = await self._engine.in_thread(made)
        said = f"{theirs.author} put revision {theirs.number} to work after you began with revision {base}"
        return Moved(said, began, text, theirs, joined)
