"""The configuration as its managers see it: who owns it, its revisions, and how another one is put to work.

With `admin.config = "file"` the file rules: what is put to work out of it is noted as a revision, so that there is a
history and a last known good, and nothing here changes it. With "managed" the file was where it began, and the
revisions in the state folder rule.

A revision is put to work in this order: it is judged as at a start; written down, ruling nothing; built and bound
beside the old one, and swapped in; then the one row that says which rules is written, and only then is it answered.
Whatever ends in between, the row names one that was at work: before it is written the old one, after it the new one.
Where the row cannot be written the old one is put to work again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.hiding import restore
from smtpgate.config.loader import ConfigErrors, read_text
from smtpgate.config.model import Settings
from smtpgate.config.problem import Problem
from smtpgate.control.config_books import Books
from smtpgate.control.config_views import Applied, Pending, Plan, author_of
from smtpgate.control.views import Actor, Refused, Unavailable
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.config_revision import ConfigRevision, Pointer, digest_of
from smtpgate.policy.event import Happened

#: Longest time that a revision may wait for its confirmation, minutes. Junos: 10 unless told otherwise.
CONFIRM_MINUTES: Final = 60
#: How long until it is tried again where the former revision could not be put to work.
_AGAIN_S: Final = 10.0
_UNCHANGED: Final = "the running configuration is unchanged"


#: What is done in the middle of a change.
Step = Callable[[], Awaitable[None]]


class Configuration(Books):
    """The one configuration of a gateway, and how another is put to work."""

    # Do

    async def plan(self, text: str, message: str, base: int, minutes: int = 0, way: str = "apply") -> Plan:
        """Check all there is to check. Raises ConfigErrors, Moved, Refused."""
        if not self.is_managed:
            raise Refused(
                f"the file rules (admin.config is file): write the change into {self._control.path} and reload, or set "
                'admin.config = "managed" there and start anew'
            )
        self._must_be_free()
        if not message.strip():
            raise Refused("say why: a message is wanted")
        if not 0 <= minutes <= CONFIRM_MINUTES:
            raise Refused(f"minutes to confirm within: 1 to {CONFIRM_MINUTES}, or 0 to let it hold at once")
        moved = await self.merged(text, base)
        if moved is not None:
            raise moved
        whole = restore(text, self.active.text)
        settings = await self._engine.in_thread(self.settings_of, text)
        return Plan(whole, settings, message.strip(), way, minutes, base)

    def _must_be_free(self) -> None:
        if self._is_busy:
            raise Refused("a change of the configuration is under way already")
        if self.pending is not None:
            raise Refused(
                f"revision {self.pending.number} waits to be confirmed: confirm it, or roll back to revision "
                f"{self.pending.former.number}, first"
            )

    async def apply(self, plan: Plan, actor: Actor) -> ConfigRevision:
        """Put it to work. Raises Refused with everything as it was."""
        self._must_be_free()
        if plan.base != self.active.number:
            raise Refused("somebody changed the configuration in this very moment; look at it and try again")
        return await self._alone(self._apply(plan, actor))

    async def _alone(self, work: Coroutine[Any, Any, Any]) -> Any:
        """One at a time, and to its end: whoever asked may be gone meanwhile."""
        self._is_busy = True
        told: Deferred[Any] = Deferred()

        def over(result: Any) -> Any:
            self._is_busy = False
            told.callback(result)
            waits, self._waits = self._waits, None
            if waits is not None:
                waits.callback(None)

        self._engine.start(work).addBoth(over)
        return await told

    async def _apply(self, plan: Plan, actor: Actor) -> ConfigRevision:
        former, running, wall = self.active, self._control.settings, self._engine.wall()
        author, digest = author_of(actor), digest_of(plan.text)
        is_of_file = await self._is_of_file(digest)
        way = "import" if is_of_file and plan.way == "apply" else plan.way
        fresh = ConfigRevision(0, digest, plan.text, former.number, author, wall, plan.message, way, "trying")
        fresh = attrs.evolve(fresh, number=await self._ask(self._there.add(fresh)))
        try:
            await self._control.put_to_work(plan.settings)
        except Exception as error:
            await self._quietly(self._there.mark(fresh.number, "failed"))
            raise self._failed(error) from error
        deadline = self._engine.wall() + plan.minutes * 60.0 if plan.minutes else 0.0
        seed = digest if is_of_file else self.pointer.seed
        to = Pointer(fresh.number, former.number if deadline else 0, deadline, seed, self.mode)
        try:
            await self._there.point(to, ((fresh.number, "applied"),))
        except StoreFailed as error:
            await self._return(running)
            raise Unavailable(f"it could not be written down, so {_UNCHANGED}: {error}") from error
        self._rules(attrs.evolve(fresh, state="applied"), to)
        if deadline:
            self.pending = Pending(fresh.number, former, running, deadline)
            self._wait(plan.minutes * 60.0)
        await self._quietly(self._there.drop_draft(author))
        words = f"revision {fresh.number} ({fresh.id})"
        verb = "rollback" if plan.way == "rollback" else "apply"
        self._control._did(actor, f"config.{verb}", words, plan.message)
        self._warn(plan.settings)
        await self.drift()
        return self.active

    async def _is_of_file(self, digest: str) -> bool:
        """Whether it is what the file says: then the file is taken over, and is not drifted any more."""
        try:
            text = await self._engine.in_thread(read_text, self._control.path)
        except ConfigErrors:
            return False
        return digest_of(text) == digest

    def _rules(self, revision: ConfigRevision, to: Pointer) -> None:
        self.active, self.pointer = revision, to
        self.fallback = ""
        self._control.problems = ()
        self._mark(revision)

    def _mark(self, revision: ConfigRevision) -> None:
        self.applied.append(Applied(self._engine.wall(), revision.id, revision.number, revision.author))

    def _failed(self, error: Exception) -> Refused:
        message = f"{error}; {_UNCHANGED}"
        self._engine.tell(Happened("config.reload_failed", "error", message))
        return Refused(message)

    async def _return(self, settings: Settings) -> None:
        """Put to work what was at work a moment ago."""
        try:
            await self._control.put_to_work(settings)
        except Exception as error:
            message = f"the former revision could not be put to work again: {error}"
            self._engine.tell(Happened("config.reload_failed", "error", message))

    async def _quietly(self, asked: Deferred[Any]) -> None:
        """What may fail without harm; it is told."""
        try:
            await asked
        except StoreFailed as error:
            self._engine.tell(Happened("config.warning", "warning", f"revisions cannot be written: {error}"))

    def _warn(self, settings: Settings) -> None:
        for key in self.needs_restart(settings):
            message = f"{key} is another, and takes effect when the gateway is started anew"
            self._engine.tell(Happened("config.warning", "warning", message))

    # Confirm

    async def confirm(self, number: int, actor: Actor) -> None:
        """It may stay. Whoever says so names it, so no order that was given before can.

        Raises Refused where it does not wait.
        """
        self.must_wait(number)
        await self._alone(self._confirm(number, actor))

    def must_wait(self, number: int) -> None:
        """Raises Refused where this revision does not wait for its confirmation."""
        if self._is_busy:
            raise Refused("a change of the configuration is under way already")
        if self.pending is None or self.pending.number != number:
            raise Refused(f"revision {number} does not wait to be confirmed")

    async def _confirm(self, number: int, actor: Actor) -> None:
        to = attrs.evolve(self.pointer, former=0, deadline=0.0)
        await self._ask(self._there.point(to))
        self.pointer, self.pending = to, None
        self._stop_timer()
        self._control._did(actor, "config.confirm", f"revision {number}", "")

    def _wait(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._engine.clock.callLater(seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self.pending is None:
            return
        if self._is_busy:
            self._wait(1.0)
            return
        self._engine.start(self._alone(self._give_back(None))).addErrback(self._not_given_back)

    def _not_given_back(self, failure: Any) -> None:
        message = f"the former revision cannot rule again: {failure.getErrorMessage()}; it is tried again"
        self._engine.tell(Happened("config.reload_failed", "error", message))
        self._wait(_AGAIN_S)

    async def _give_back(self, actor: Actor | None) -> ConfigRevision:
        """The former revision rules again; the one that nobody confirmed is kept."""
        pending = self.pending
        assert pending is not None
        await self._control.put_to_work(pending.settings)
        to = attrs.evolve(self.pointer, active=pending.former.number, former=0, deadline=0.0)
        # Where this cannot be written a start comes to the same: what waits rules at no start.
        await self._quietly(self._there.point(to, ((pending.number, "unconfirmed"),)))
        self._stop_timer()
        self.pending = None
        self._rules(pending.former, to)
        if actor is not None:
            self._control._did(actor, "config.rollback", f"revision {pending.former.number}", "not confirmed")
        else:
            message = f"nobody confirmed revision {pending.number}: revision {pending.former.number} rules again"
            self._engine.tell(Happened("config.unconfirmed", "warning", message))
        return pending.former

    async def rollback(self, number: int, message: str, actor: Actor, minutes: int = 0) -> ConfigRevision:
        """An old text is a new revision; of one that waits for its confirmation the former rules again."""
        pending = self.pending
        if pending is not None and number == pending.former.number and not self._is_busy:
            return await self._alone(self._give_back(actor))
        return await self.apply(await self.plan_rollback(number, message, minutes), actor)

    async def plan_rollback(self, number: int, message: str, minutes: int = 0) -> Plan:
        """Check all there is to check."""
        old = await self.revision(number)
        said = message or f"back to revision {number}"
        return await self.plan(old.text, said, self.active.number, minutes, "rollback")

    # Reload

    async def reload(self, actor: Actor, is_patient: bool = False) -> tuple[Problem, ...]:
        """Read anew what rules, the file or the active revision with the files that it names, and put it to work; the
        problems where it has any, and then nothing changed.

        :param is_patient: begin when the change is over that is under way. Several that wait are one: it reads what is
            there by then
        """
        while self._is_busy:
            if not is_patient:
                raise Refused("a reload is under way already")
            if self._waits is not None:
                return ()
            self._waits = Deferred()
            await self._waits
        return await self._alone(self._reload(actor))

    async def renew(self, actor: Actor, first: Step | None = None, back: Step | None = None) -> None:
        """Put the settings at work to work anew, so that certificates are read again. Raises Refused, with everything
        as it was.

        :param first: changes files that are read then; part of the same work, so that nobody else reads one of them
            that is given back later, or writes one meanwhile. Raises Refused
        :param back: gives them back, where they cannot be put to work. Raises Refused
        """
        if self._is_busy:
            raise Refused("a reload is under way already")
        await self._alone(self._renew(first, back))
        fields = (("actor", actor.name), ("actor_kind", actor.kind), ("target", "certificates"), ("detail", ""))
        message = f"{actor.kind} {actor.name}: certificates were read again"
        self._engine.tell(Happened("admin.tls.reload", "info", message, fields))

    async def _renew(self, first: Step | None, back: Step | None) -> None:
        if first is not None:
            await first()
        try:
            await self._control.put_to_work(self._control.settings)
        except Exception as error:
            refused = self._failed(error)
            if back is not None:
                try:
                    await back()
                except Refused as other:
                    raise Refused(f"{refused}, but the file is another now: {other}") from error
            raise refused from error

    async def _reload(self, actor: Actor) -> tuple[Problem, ...]:
        control = self._control
        try:
            text, settings = await self._engine.in_thread(self._read)
            before = control.settings.digest
            await control.put_to_work(settings)
        except ConfigErrors as errors:
            control.problems = tuple(errors.problems)
            message = f"{len(control.problems)} problems; {_UNCHANGED}"
            listed = (("problems", [str(problem) for problem in control.problems]),)
            self._engine.tell(Happened("config.reload_failed", "error", message, listed))
            return control.problems
        except Exception as error:
            raise self._failed(error) from error
        control.problems = ()
        if self.is_managed:
            self._mark(self.active)
            await self.drift()
        else:
            self.fallback = ""
            await self._note(text, settings.digest, actor)
        self._warn(settings)
        same = "no change" if self.is_managed else "no change in the file"
        control._did(actor, "config.reload", control.current().id, same if before == settings.digest else "")
        return ()

    def _read(self) -> tuple[str, Settings]:
        text = self.active.text if self.is_managed else read_text(self._control.path)
        return text, self._settings(text)

    async def _note(self, text: str, digest: str, actor: Actor) -> None:
        """What came out of the file is a revision too. Where it cannot be written down the file rules all the same."""
        author, wall, before = author_of(actor), self._engine.wall(), self.active
        fresh = ConfigRevision(0, digest, text, before.number, author, wall, "read from the file", "file", "applied")
        if digest == before.digest:
            self._mark(before)
            return
        to = self.pointer
        if self.store is not None:
            try:
                fresh = attrs.evolve(fresh, number=await self.store.add(fresh))
                to = Pointer(fresh.number, 0, 0.0, digest, self.mode)
                await self.store.point(to)
            except StoreFailed as error:
                message = f"revisions cannot be written: {error}"
                self._engine.tell(Happened("config.warning", "warning", message))
        self.active, self.pointer = fresh, to
        self._mark(fresh)

    def close(self) -> None:
        """The gateway stops. What waits for its confirmation does not rule at the next start."""
        self._stop_timer()
