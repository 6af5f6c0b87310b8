"""The mail that the gateway delivers by itself: what was released, redirected or copied, reports and digests.

It is small and durable: each letter is a row that names a file (`policy.held.Letter`), and leaves through the same
pools, links and legs as all mail. Each of its recipients has a fate of its own. What a server defers is tried again,
later each time; what it refuses, or what was tried for too long, is not lost: a release waits in the quarantine again,
mail of which there is no other copy is held there as undelivered.

Before a server is given the end of data the row says so, on the disk. Where the answer is then lost, or the gateway
killed, nobody knows whether it was delivered. A release is never sent again by itself then: a person has to say so. All
other letters are: a duplicate can be mended, a loss cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.model import Settings
from smtpgate.interfaces import StoreFailed
from smtpgate.policy import held
from smtpgate.policy.event import Happened
from smtpgate.policy.held import DAMAGED, GATEWAY, Held, Letter
from smtpgate.proxy.attempt import Attempt, told_of
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.silence import Silence
from smtpgate.tasks import Task

#: Letters on their way at a time: mail of people goes first.
AT_ONCE = 4
#: How often is looked for letters whose time has come.
LOOK_S = 30.0
#: Longest time between two tries; Postfix's maximal_backoff_time is 4000 s.
LONGEST_S = 3600.0
#: Letters that are no loss: a release is held still, and what the gateway wrote is written again.
_NOT_KEPT = ("release", "digest", "tls-report")
#: A store that fails is asked again after this time.
_STORE_S = 60.0


class _Stopped(Exception):
    """The outbox was closed while something waited for the store."""


class Outbox:
    """All letters of one gateway."""

    def __init__(self, engine: Engine, vault: Any, current: Callable[[], Revision]) -> None:
        """
        :param vault: an `interfaces.IVault`
        :param current: the revision at work
        """
        self._engine = engine
        self._vault = vault
        self._current = current
        self._running: set[str] = set()
        self._silence = Silence(engine.clock.seconds)
        self._timer: Any = None
        self._is_open = False
        self._is_closed = False
        #: Those that wait for a store that failed; no end waits for them.
        self._resting: dict[Deferred[None], Any] = {}
        self._is_looking = False
        self._looks_again = False
        self._is_failing = False
        self._idle: list[Callable[[], None]] = []

    # From the start to the end

    async def start(self) -> None:
        """Take up what an earlier process left; nothing is sent before that is done."""
        started = self._engine.wall()
        try:
            for letter in await self._surely(self._vault.begin_anew, self._engine.undecided):
                if letter.state == DAMAGED:
                    await self._put_aside(letter)
                else:
                    await self._interrupted(letter, "the gateway was stopped before the server answered")
        except _Stopped:
            return
        if not self._is_closed:
            self._is_open = True
            self.wake()
        try:
            aside = await self._vault.sweep(started)
        except StoreFailed as error:
            self._store_failed(error)
        else:
            if aside:
                message = f"{aside} files that nothing names were put aside, for 30 days, in held/orphans"
                self._engine.tell(Happened("quarantine.orphans", "warning", message))

    async def _interrupted(self, letter: Letter, why: str) -> None:
        """A server had been given its end of data, and nobody knows what it said."""
        done = self._attempt(letter, f"{why}: it may have been delivered")
        if letter.kind == "release":
            done.in_doubt([one.address for one in letter.recipients if one.state == "waiting"])
            await self._surely(self._vault.done, done.letter, done.fates)
        else:
            self._engine.tell(
                Happened("outbox.repeated", "warning", *told_of(letter, done.why + ", and is sent again"))
            )
            again = attrs.evolve(letter, state="waiting", due=self._engine.wall(), told=done.why)
            await self._surely(self._vault.go_on, again, {})

    async def _put_aside(self, letter: Letter) -> None:
        """Its row cannot be read whole. Where it was the only copy it is held, for people to look at; a release is held
        again, and where a server may have it, it says so."""
        self._engine.tell(Happened("outbox.damaged", "error", *told_of(letter, letter.told)))
        done = self._attempt(letter, letter.told)
        message: Held | None = await self._surely(self._vault.get, letter.held) if letter.held else None
        for one in message.recipients if message is not None else ():
            if one.state == "sending":
                done.fates[one.address] = "unknown", letter.told
        returned = [] if letter.kind in _NOT_KEPT else [self._returned(done, self._current().settings)]
        await self._surely(self._vault.done, letter, done.fates, returned)

    async def _surely(self, call: Callable[..., Deferred[Any]], *args: Any) -> Any:
        """A call of the store, again until it is done: what is known now nobody will know later. Raises _Stopped."""
        while True:
            try:
                result = await call(*args)
            except StoreFailed as error:
                self._store_failed(error)
                await self._rest()
            else:
                return result

    def _rest(self) -> Deferred[None]:
        """Some time. Fails with _Stopped where the outbox is closed first."""
        rest: Deferred[None] = Deferred()
        if self._is_closed:
            rest.errback(_Stopped())
            return rest

        def over() -> None:
            del self._resting[rest]
            rest.callback(None)

        self._resting[rest] = self._engine.clock.callLater(_STORE_S, over)
        return rest

    def insist(self, call: Callable[[], Deferred[Any]]) -> None:
        """Something about letters could not be written: it is tried again until it is, or the gateway ends."""

        async def write() -> None:
            await self._rest()
            await self._surely(call)

        Task(write(), self._engine.keeper, lambda _: self.wake(), _is_stop).start()

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self._running)

    def close(self, idle: Callable[[], None]) -> None:
        """Begin nothing any more; `idle` is called when nothing is on its way."""
        self._is_open, self._is_closed = False, True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        resting, self._resting = self._resting, {}
        for rest, call in resting.items():
            call.cancel()
            rest.errback(_Stopped())
        if self._running:
            self._idle.append(idle)
        else:
            idle()

    # Looking

    def wake(self) -> None:
        """There may be something to send."""
        if not self._is_open:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._engine.clock.callLater(0, self._look)

    def try_now(self) -> None:
        """Somebody wants something tried: a backend that was silent may be back."""
        for pool in self._silence.forget():
            pool.hasten()
        self.wake()

    def _look(self) -> None:
        self._timer = self._engine.clock.callLater(LOOK_S, self._look)
        if self._is_looking:
            # What came since that look began is not in it.
            self._looks_again = True
        elif len(self._running) < AT_ONCE:
            self._is_looking = True
            self._engine.start(self._find())

    async def _find(self) -> None:
        try:
            found = await self._vault.due(self._engine.wall(), AT_ONCE + len(self._running))
        except StoreFailed as error:
            self._store_failed(error)
            return
        else:
            self._is_failing = False
        finally:
            self._is_looking = False
        if self._looks_again:
            self._looks_again = False
            self.wake()
        for letter in found:
            if self._is_open and letter.id not in self._running and len(self._running) < AT_ONCE:
                self._begin(letter)

    def _store_failed(self, error: StoreFailed) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._engine.tell(Happened("outbox.failing", "error", f"letters wait: {error}"))

    def _begin(self, letter: Letter) -> None:
        self._running.add(letter.id)
        work = self._put_aside(letter) if letter.state == DAMAGED else self._send(letter)
        Task(work, self._engine.keeper, partial(self._over, letter), partial(self._broke, letter)).start()

    def _broke(self, letter: Letter, error: BaseException) -> None:
        """A fault of ours, or of the store."""
        if isinstance(error, _Stopped):
            self._over(letter, None)
            return
        self._engine.tell(Happened("outbox.broke", "error", *told_of(letter, f"{type(error).__name__}: {error}")))
        work = self._resume(letter, error)
        Task(work, self._engine.keeper, partial(self._over, letter), partial(self._lost, letter)).start()

    def _lost(self, letter: Letter, error: BaseException) -> None:
        """Not even that could be written down. It comes up again, and not at once."""
        over = partial(self._over, letter)
        if isinstance(error, _Stopped):
            over(None)
            return
        self._engine.tell(Happened("outbox.broke", "error", *told_of(letter, f"{type(error).__name__}: {error}")))
        self._rest().addCallbacks(over, over)

    async def _resume(self, letter: Letter, error: BaseException) -> None:
        """The row says how far a letter had come that a fault has stopped. One that no server has is tried again later,
        as if a server had deferred it: one that is never well must not keep the others."""
        if isinstance(error, StoreFailed):
            await self._rest()
        there: Letter | None = await self._surely(self._vault.letter, letter.id)
        if there is None:
            return
        if there.state == DAMAGED:
            await self._put_aside(there)
        elif there.state == "committing":
            await self._interrupted(there, "a fault of the gateway hid the server's answer")
        elif not isinstance(error, StoreFailed):
            why = f"a fault of the gateway: {type(error).__name__}: {error}"
            await self._settle(self._attempt(there, why), self._current().settings)

    def _over(self, letter: Letter, _: object) -> None:
        self._running.discard(letter.id)
        if not self._running and self._idle:
            waiting, self._idle = self._idle, []
            for call in waiting:
                call()
        self.wake()

    # One letter

    def _attempt(self, letter: Letter, why: str = "") -> Attempt:
        return Attempt(letter, self._engine, self._vault, self._silence, why)

    async def _send(self, letter: Letter) -> None:
        revision = self._current()
        revision.enter()
        try:
            message: Held | None = await self._vault.get(letter.held) if letter.held else None
            done = self._attempt(letter)
            try:
                file = await self._vault.open(letter.body)
            except StoreFailed as error:
                done.why, done.is_final = f"its file cannot be read: {error}", True
            else:
                content = Filed(file, letter.octets, message.digest if message else "", self._engine.in_thread)
                try:
                    await done.run(revision, content, message)
                finally:
                    content.close()
            await self._settle(done, revision.settings)
        finally:
            revision.leave()

    async def _settle(self, done: Attempt, settings: Settings) -> None:
        """Write what came of a try."""
        if done.is_gone:
            return
        letter = done.letter
        now = self._engine.wall()
        waiting = [one for one in letter.recipients if one.state == "waiting"]
        refused = [one for one in letter.recipients if one.state == "refused"]
        wait_s = min(settings.outbox.retry_s * 2 ** min(letter.tries, 20), LONGEST_S)
        if waiting and not done.is_final and now + wait_s <= letter.expires:
            again = attrs.evolve(letter, state="waiting", due=now + wait_s, tries=letter.tries + 1, told=done.why[:500])
            await self._surely(self._vault.go_on, again, done.fates)
            self._engine.tell(
                Happened("outbox.deferred", "info", *told_of(again, f"{done.why}; again in {wait_s:.0f} s"))
            )
            return
        if waiting:
            # No further try: for a release they are as they were, of all else nobody has it.
            state = "held" if letter.kind == "release" else "refused"
            for one in waiting:
                done.mark(one.address, state, done.why)
            refused = refused or waiting
        returned: list[Held] = []
        if refused and letter.kind not in _NOT_KEPT:
            returned.append(self._returned(done, settings))
        await self._surely(self._vault.done, done.letter, done.fates, returned)
        if refused:
            self._engine.tell(Happened("outbox.failed", "error", *told_of(letter, done.why)))
        else:
            self._engine.tell(Happened("outbox.sent", "info", *told_of(letter, done.why or "delivered")))

    def _returned(self, done: Attempt, settings: Settings) -> Held:
        """Mail of which there may be no other copy is held, for those who were refused."""
        letter, now = done.letter, self._engine.wall()
        return Held(
            id=self._vault.fresh_id(),
            at=now,
            expires=now + settings.quarantine.of(held.UNDELIVERED).keep_s,
            held_as=held.UNDELIVERED,
            message=letter.message,
            listener=str(letter.facts.get("listener", "")),
            direction="in" if letter.facts.get("role") == "mx" else "out",
            client_ip=str(letter.facts.get("client_ip", "")),
            sender=letter.sender,
            recipients=tuple(attrs.evolve(one, state="held") for one in letter.recipients if one.state == "refused"),
            filter=GATEWAY,
            reason=DAMAGED if letter.state == DAMAGED else letter.kind,
            detail=f"{letter.kind} by rule {letter.facts.get('rule', '')} could not be delivered: {done.why}"[:1000],
            octets=letter.octets,
            body=letter.body,
            facts=dict(letter.facts) | {"backend": letter.backend},
        )


def _is_stop(error: BaseException) -> None:
    if not isinstance(error, _Stopped):
        raise error
