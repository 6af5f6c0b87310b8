"""Filters per stage: their order, their time, and what happens when one fails.

A `Chain` is built once for each configuration revision from filters and the way they are used; `ChainRun` holds the
objects of one session or one transaction and calls them stage by stage. A plain method costs a call; asynchronous
ones of a stage run together, each within what is left of the stage's time. A filter that raises, runs out of time or
answers with something that is no finding has failed, and its failure policy speaks for it (promise 9): there is no
silent value. What failed before its first stage is judged at that stage. A filter is a stranger's code, and may raise
what it likes, SystemExit too: all of it is that filter's failure.

An `accept` silences the filters that it names from then on: those of the later stages, and for one of the session
also those of its transactions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Set
from inspect import iscoroutine
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from smtpgate.interfaces import ServiceFailed
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.held import TAKING
from smtpgate.policy.mercy import later
from smtpgate.policy.meter import LATENCY, Meter
from smtpgate.policy.protection import LEVELS, NO_NEED, Need
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import (
    ACTIONS,
    FILTER_FAILED,
    MERCIFUL,
    NO_SCALE,
    OF_RULES,
    PASS,
    Finding,
    Scale,
    Verdict,
    merge,
)
from smtpgate.proxy.filter_slots import FilterSlots
from smtpgate.proxy.gather import LATE, gather
from smtpgate.proxy.use import STREAM_S, Use
from smtpgate.tasks import Clock

#: In the order of a session.
STAGES: Final = ("connect", "helo", "auth", "mail", "rcpt", "data", "header", "body", "end")
_SESSION_STAGES: Final = frozenset({"connect", "helo", "auth"})
#: Time of one stage before the end of data, seconds: below the patience that RFC 5321 section 4.5.3.2 gives a client.
STAGE_S: Final = 30.0
#: A plain method that holds the reactor so long is named in the log.
SLOW_S: Final = 0.1
#: What these find, and no other, is a matter of degree.
_GUESSES: Final = MERCIFUL
#: Those that judge the message, and not one of its recipients.
_OF_MESSAGE: Final = frozenset({"data", "header", "body", "end"})
#: Names of no filters.
NOBODY: Final[frozenset[str]] = frozenset()


class Chain:
    """All filters of one revision for one role, in their order."""

    def __init__(
        self,
        uses: Iterable[Use],
        role: str,
        clock: Clock,
        tell: Callable[[Any], None],
        scale: Scale = NO_SCALE,
        marks: bool = False,
        meter: Meter | None = None,
    ) -> None:
        """
        :param scale: thresholds for the sum of scores
        :param marks: the verdict is written above a message that was found suspicious
        :param meter: counts the calls
        """
        self.uses = tuple(use for use in uses if role in use.roles and use.mode != "off")
        self.clock = clock
        self.tell = tell
        meter = meter if meter is not None else Meter()
        #: The calls of each.
        self.works = {use.name: meter.work(use.name) for use in self.uses}
        #: While somebody looks on: is told of each filter that was asked (session, filter, stage, word, seconds,
        #: whether it is in shadow); the word is "running", "pass", "error" or an action.
        self.seen: Callable[[str, str, str, str, float, bool], None] | None = None
        self.has_session = any(use.stages & _SESSION_STAGES for use in self.uses)
        self.scale = scale
        #: For the stages before the end, where scores decide nothing.
        self.replies = Scale(replies=scale.replies)
        self.needs_content = any(use.needs_content for use in self.uses)
        self.marks = marks and any(use.mode == "enforce" and use.category in _GUESSES for use in self.uses)
        self.has_body = any("body" in use.stages for use in self.uses)
        self.edits_body = any(use.edits_body for use in self.uses)
        self.growth_octets = sum(use.growth_octets for use in self.uses)
        self.stages = frozenset(stage for use in self.uses for stage in use.stages)
        #: The sum of what was found at any stage may refuse a message.
        weighs = (scale.defer is not None or scale.reject is not None) and any(
            use.mode == "enforce" for use in self.uses
        )
        self.judges = weighs or bool(self.stages & _OF_MESSAGE)
        #: A message may be refused by a guess, and then not for those who are spared.
        self.guesses = weighs or any(
            use.mode == "enforce" and use.stages & _OF_MESSAGE and use.category in _GUESSES for use in self.uses
        )
        self.has_judges = any(use.is_judge for use in self.uses)
        #: A message may be one to hold, or to be copied: it is kept until its verdict.
        self.may_hold = scale.quarantine is not None or any(use.mode == "enforce" and use.may_hold for use in self.uses)
        #: That may be said as late as at the end.
        self.holds_late = scale.quarantine is not None or any(
            use.mode == "enforce" and use.may_hold and use.holds_late and use.stages & {"body", "end"}
            for use in self.uses
        )
        #: So may that for one of its recipients be.
        self.may_hold_for_one = any(
            use.mode == "enforce" and use.may_hold and "rcpt" in use.stages for use in self.uses
        )
        self._of_session = tuple(use for use in self.uses if use.stages & _SESSION_STAGES)
        self._of_transaction = tuple(use for use in self.uses if use.stages - _SESSION_STAGES)
        #: The backend may not see the start of a message before the verdict.
        self.spools = self.marks or any(
            use.mode == "enforce" and (use.needs_message or use.budget_s > STREAM_S) for use in self.uses
        )

    def session(self, session: Session) -> ChainRun:
        """The objects of one session."""
        run = ChainRun(self, session)
        run.begin(self._of_session, lambda use: use.filter.session(session))
        return run

    def transaction(self, transaction: Transaction, session_run: ChainRun | None = None) -> ChainRun:
        """The objects of one transaction.

        :param session_run: those of its session: what they found counts for the message too, and whom an `accept`
            of theirs silences is not heard here either
        """
        run = ChainRun(self, transaction.session, session_run)
        if self._of_transaction:
            run.begin(self._of_transaction, lambda use: use.filter.transaction(transaction))
        return run


class ChainRun:
    """One session's or transaction's filters at work.

    :ivar findings: all that was found, in order
    :ivar skips: names of the filters that need not be heard any more
    :ivar delayed: a refusal that waits for the recipients, since some must be spared
    """

    __slots__ = (
        "findings", "skips", "delayed", "_before", "_by_stage", "_chain", "_greeting", "_objects", "_returned",
        "_session_id", "_session", "_of_recipients",
    )  # fmt: skip

    def __init__(self, chain: Chain, session: Session, before: ChainRun | None = None) -> None:
        self.findings: list[Finding] = []
        self.skips: frozenset[str] = before.skips if before is not None else NOBODY
        self.delayed: Finding | None = before.delayed if before is not None else None
        self._before = before
        #: How many of the findings a stage has given to its caller.
        self._returned = 0
        #: Where the findings about the last greeting stand.
        self._greeting = (0, 0)
        self._chain = chain
        self._session = session
        self._session_id = session.id
        self._objects: list[tuple[Use, Any]] = []
        self._by_stage: dict[str, list[tuple[Use, Any]]] = {}
        #: What was found of the message for some of its recipients only.
        self._of_recipients: list[Finding] = []

    def begin(self, uses: Iterable[Use], make: Callable[[Use], Any]) -> None:
        """Make the objects."""
        for use in uses:
            if use.name in self.skips:
                continue
            try:
                made = make(use)
            except BaseException as error:
                self._fail(use, "begin", *_words(error))
                continue
            if made is not None:
                self._objects.append((use, made))

    def _methods(self, stage: str) -> list[tuple[Use, Any]]:
        methods = self._by_stage.get(stage)
        if methods is None:
            methods = []
            if stage in self._chain.stages:
                for use, made in self._objects:
                    if stage in use.stages:
                        method = getattr(made, stage, None)
                        if method is not None:
                            methods.append((use, method))
            self._by_stage[stage] = methods
        return methods

    def wants(self, stage: str) -> bool:
        """Whether that stage is to be run: a filter has a method for it, or what was found is not yet judged."""
        return stage in self._chain.stages and bool(self._methods(stage)) or self._returned < len(self.findings)

    async def run(
        self,
        stage: str,
        *args: object,
        seconds: float = STAGE_S,
        recipient: int | None = None,
        keeps_recipients: bool = False,
    ) -> list[Finding]:
        """Call the filters of a stage; the findings of this call, and those that came up since the last.

        :param recipient: index of the recipient that the call is about
        :param keeps_recipients: each recipient has a verdict of its own
        """
        if stage == "helo":
            # A client that greets anew, as behind STARTTLS, is known by its last name only (RFC 3207 section 4.2).
            del self.findings[slice(*self._greeting)]
            self._returned = len(self.findings)
        first = len(self.findings)
        asked = self._methods(stage)
        running = self._start(stage, asked, args)
        if running:
            await self._finish(stage, running, seconds)
        if self._chain.has_judges:
            running = self._start(stage, asked, (self.found(), *args), judges=True)
            if running:
                await self._finish(stage, running, seconds)
        if recipient is not None:
            about = frozenset((recipient,))
            self.findings[first:] = [
                attrs.evolve(found, recipients=found.recipients or about) for found in self.findings[first:]
            ]
            # A refusal is heard at once; what the gateway is to take is taken when the message is there.
            self._of_recipients += [one for one in self.findings[first:] if one.action in TAKING]
        else:
            for found in self.findings[first:]:
                # One that is about some recipients silences nobody for the others.
                if found.action == "accept" and not found.is_shadow and found.recipients is None:
                    self.skips |= found.skips
            # Those of `feed` came before.
            self._of_recipients += [one for one in self.findings[self._returned :] if one.recipients is not None]
        if stage == "helo":
            self._greeting = first, len(self.findings)
        first, self._returned = self._returned, len(self.findings)
        if recipient is None and keeps_recipients:
            # What is wrong for one is judged at the end, for that one.
            return [one for one in self.findings[first:] if one.recipients is None]
        return self.findings[first:]

    def _start(
        self, stage: str, asked: Iterable[tuple[Use, Any]], args: tuple[object, ...], judges: bool = False
    ) -> list[tuple[Use, Deferred[Any], float]]:
        """Ask the filters, or those that judge what the others have found; those that have not answered yet."""
        running: list[tuple[Use, Deferred[Any], float]] = []
        clock = self._chain.clock
        for use, method in asked:
            if use.is_judge is not judges:
                continue
            if use.name in self.skips:
                self._chain.works[use.name].skipped += 1
                continue
            began = clock.seconds()
            try:
                answer = method(*args) if use.slots is None else self._in_slot(use.slots, method, args)
            except BaseException as error:
                self._fail(use, stage, *_words(error))
                continue
            if iscoroutine(answer) or isinstance(answer, Deferred):
                if self._chain.seen is not None:
                    self._show(use, stage, "running")
                running.append((use, ensureDeferred(answer) if iscoroutine(answer) else answer, began))
            else:
                took = clock.seconds() - began
                if took > SLOW_S:
                    self._tell_slow(use, stage, took)
                self._take(use, stage, answer, took)
        return running

    def found(self) -> list[Finding]:
        """What is in force of all that was found up to now; nothing that is about other recipients."""
        before = self._before.findings if self._before is not None else []
        heard = [one for one in (*before, *self.findings) if not one.is_shadow and one.filter not in self.skips]
        return [one for one in heard if one.recipients is None]

    async def _in_slot(self, slots: FilterSlots, method: Callable[..., Any], args: tuple[object, ...]) -> Any:
        """Ask a filter that has only so many messages at a time."""
        name = self._session.traffic_class
        await slots.take(name)
        try:
            answer = method(*args)
            return await answer if iscoroutine(answer) or isinstance(answer, Deferred) else answer
        finally:
            slots.give_back(name)

    def record(self, finding: Finding) -> None:
        """Something that was found and judged elsewhere: it is shown with the rest, and no stage judges it again."""
        self.findings.insert(self._returned, finding)
        self._returned += 1

    def add(self, found: Iterable[Finding]) -> None:
        """What others than filters have found of the message, for the verdict over it."""
        for finding in found:
            self.record(finding)
            if finding.recipients is not None:
                self._of_recipients.append(finding)

    def verdict(self, found: Iterable[Finding], *, waits: bool = False, has_mercy: bool = False) -> Verdict:
        """What the findings of one stage come to.

        :param waits: the recipients are not known yet, and may be such as must be spared: a refusal that is a guess is
            kept until then (`delayed`), as Postfix does it with smtpd_delay_reject
        """
        verdict = merge(found, self._chain.replies, has_mercy)
        decided = verdict.decided_by
        if waits and verdict.is_refusal and decided is not None and decided.category in MERCIFUL:
            self.delayed = self.delayed or decided
            return PASS
        return verdict

    def need(self, recipient: int | None = None) -> Need:
        """What was found to be needed of the leg to the backend.

        :param recipient: index of one recipient, for what is needed for it too
        """
        if not self.findings:
            return NO_NEED
        level = ""
        for one in self.findings:
            if one.protects and not one.is_shadow and one.filter not in self.skips:
                if one.recipients is None or recipient is not None and recipient in one.recipients:
                    level = max(level, one.protects, key=LEVELS.index)
        return Need(level) if level else NO_NEED

    @property
    def may_take(self) -> bool:
        """Whether something that was found up to now may keep the message here."""
        findings = [*self.findings, *(self._before.findings if self._before is not None else ())]
        return any(one.action in TAKING and not one.is_shadow for one in findings)

    @property
    def has_findings(self) -> bool:
        """Whether there is anything to judge a message by."""
        return bool(self.findings) or self._before is not None and bool(self._before.findings)

    def last_verdict(self, has_mercy: bool, recipients: Set[int] = frozenset()) -> Verdict:
        """The verdict over the message: all that was found of it and of its session, scores weighed.

        :param recipients: indexes of those whose verdict it is. What is wrong for one of them counts, for they have one
            reply; what is wrong for another does not
        """
        before = [later(one) for one in self._before.findings] if self._before is not None else []
        findings = before + [one for one in self.findings if one.recipients is None]
        findings += [one for one in self._of_recipients if one.recipients is not None and one.recipients & recipients]
        return merge(findings, self._chain.scale, has_mercy)

    async def _finish(self, stage: str, running: list[tuple[Use, Deferred[Any], float]], seconds: float) -> None:
        asked = [
            (deferred, began, min(seconds, use.budget_s) if use.budget_s > 0 else seconds)
            for use, deferred, began in running
        ]
        answers = await gather(asked, self._chain.clock)
        for (use, _, _), (result, took) in zip(running, answers, strict=True):
            value = getattr(result, "value", None)
            if result is LATE or isinstance(value, CancelledError):
                self._chain.works[use.name].seconds.add(took)
                self._fail(use, stage, "timeout", f"after {took:.1f} s")
            elif isinstance(value, BaseException):
                self._fail(use, stage, *_words(value))
            else:
                self._take(use, stage, result, took)

    def _show(self, use: Use, stage: str, word: str, took: float = 0.0) -> None:
        """Tell whoever looks on."""
        if self._chain.seen is not None:
            self._chain.seen(self._session_id, use.name, stage, word, took, use.mode == "shadow")

    def _take(self, use: Use, stage: str, answer: object, took: float) -> None:
        work = self._chain.works[use.name]
        work.seconds.counts[bisect_left(LATENCY, took)] += 1
        work.seconds.total += took
        if answer is None:
            work.passed += 1
            if self._chain.seen is not None:
                self._show(use, stage, "pass", took)
            return
        answers: list[Any] = answer if isinstance(answer, list) else [answer]
        wrong = next((one for one in answers if not isinstance(one, Finding)), None)
        if wrong is not None:
            self._fail(use, stage, "wrong type", type(wrong).__name__)
            return
        for one in answers:
            if one.action in OF_RULES and not use.is_judge:
                self._fail(use, stage, "wrong type", f"a finding with action {one.action!r}, which only rules have")
                return
            if one.action == "quarantine" and not use.may_hold and use.mode == "enforce":
                self._fail(use, stage, "wrong type", "a finding with action 'quarantine' of a filter without may_hold")
                return
        if self._chain.seen is not None:
            self._show(use, stage, max((one.action for one in answers), key=ACTIONS.index, default="pass"), took)
        self.findings += [
            attrs.evolve(
                one,
                filter=use.name,
                category=one.category or use.category,
                is_shadow=use.mode == "shadow",
                seconds=took,
            )
            for one in answers
        ]

    def _fail(self, use: Use, stage: str, kind: str, detail: str) -> None:
        """The filter's failure policy speaks for it."""
        self._chain.tell(FilterFailed(use.name, stage, kind, detail[:500], use.on_error, self._session_id))
        self._show(use, stage, "error")
        action = {"tempfail": "defer", "reject": "reject", "continue": "note"}[use.on_error]
        finding = Finding(
            FILTER_FAILED,
            action,
            detail=f"{kind}: {detail[:200]}",
            public="A check could not be done; try again later" if action == "defer" else "A check could not be done",
            enhanced={"defer": "4.3.0", "reject": "5.3.0"}.get(action, ""),
            filter=use.name,
            category=use.category,
            is_shadow=use.mode == "shadow",
        )
        self.findings.append(finding)

    def feed(self, chunk: bytes) -> None:
        """Show a piece of content to the filters that look at it. One that answers, or fails, sees no more of it."""
        clock = self._chain.clock
        for pair in list(self._methods("body")):
            use, method = pair
            if use.name in self.skips:
                continue
            began = clock.seconds()
            try:
                answer = method(chunk)
            except BaseException as error:
                self._fail(use, "body", *_words(error))
            else:
                took = clock.seconds() - began
                if took > SLOW_S:
                    self._tell_slow(use, "body", took)
                if answer is None:
                    continue
                if iscoroutine(answer):
                    answer.close()
                self._take(use, "body", answer, took)
            self._by_stage["body"].remove(pair)

    def _tell_slow(self, use: Use, stage: str, took: float) -> None:
        self._chain.tell(FilterFailed(use.name, stage, "blocked", f"{took:.2f} s", "none", self._session_id))

    def close(self) -> None:
        """Every object hears `closed`, once."""
        objects, self._objects = self._objects, []
        for use, made in objects:
            closed = getattr(made, "closed", None)
            if closed is None:
                continue
            try:
                closed()
            except BaseException as error:
                self._chain.tell(
                    FilterFailed(use.name, "closed", "raised", repr(error)[:500], "none", self._session_id)
                )


def _words(error: BaseException) -> tuple[str, str]:
    """The kind of a failure, and what is told of it: a service that is away is told of by its own words."""
    return ("unavailable", str(error)) if isinstance(error, ServiceFailed) else ("raised", repr(error))
