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

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import RULES
from smtpgate.config.model_signing import DKIMKey
from smtpgate.interfaces import StoreFailed
from smtpgate.message.splice import Splice
from smtpgate.policy import held
from smtpgate.policy.edits import AddField
from smtpgate.policy.event import Happened
from smtpgate.policy.held import DAMAGED, GATEWAY, Held, Letter
from smtpgate.policy.protection import LENIENT, REQUIRETLS, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.content import edited
from smtpgate.proxy.delivery import Delivery
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.part import Part
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.recall import recall
from smtpgate.proxy.recheck import recheck
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.signing import NotSigned, Signed, sign
from smtpgate.proxy.silence import Silence
from smtpgate.smtp import status
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply, printable
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


@attrs.define
class _Try:
    """What one try came to."""

    letter: Letter
    #: What is known of recipients of the held message: state and reply, by address.
    fates: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    why: str = ""
    #: A finding, or the server's last word, that no further try will change.
    is_final: bool = False
    #: It was taken back while it was on its way, before a server had its end of data.
    is_gone: bool = False


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
        done = _Try(letter, why=f"{why}: it may have been delivered")
        if letter.kind == "release":
            self._unknown(done, [one.address for one in letter.recipients if one.state == "waiting"])
            await self._surely(self._vault.done, done.letter, done.fates)
        else:
            self._engine.tell(Happened("outbox.repeated", "warning", *_said(letter, done.why + ", and is sent again")))
            again = attrs.evolve(letter, state="waiting", due=self._engine.wall(), told=done.why)
            await self._surely(self._vault.go_on, again, {})

    async def _put_aside(self, letter: Letter) -> None:
        """Its row cannot be read whole. Where it was the only copy it is held, for people to look at; a release is held
        again, and where a server may have it, it says so."""
        self._engine.tell(Happened("outbox.damaged", "error", *_said(letter, letter.told)))
        done = _Try(letter, why=letter.told)
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
        self._silence.forget()
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
        self._engine.tell(Happened("outbox.broke", "error", *_said(letter, f"{type(error).__name__}: {error}")))
        work = self._resume(letter, error)
        Task(work, self._engine.keeper, partial(self._over, letter), partial(self._lost, letter)).start()

    def _lost(self, letter: Letter, error: BaseException) -> None:
        """Not even that could be written down. It comes up again, and not at once."""
        over = partial(self._over, letter)
        if isinstance(error, _Stopped):
            over(None)
            return
        self._engine.tell(Happened("outbox.broke", "error", *_said(letter, f"{type(error).__name__}: {error}")))
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
            await self._settle(_Try(there, why=why), self._current().settings)

    def _over(self, letter: Letter, _: object) -> None:
        self._running.discard(letter.id)
        if not self._running and self._idle:
            waiting, self._idle = self._idle, []
            for call in waiting:
                call()
        self.wake()

    # One letter

    async def _send(self, letter: Letter) -> None:
        revision = self._current()
        revision.enter()
        try:
            message: Held | None = await self._vault.get(letter.held) if letter.held else None
            done = _Try(letter)
            try:
                file = await self._vault.open(letter.body)
            except StoreFailed as error:
                done.why, done.is_final = f"its file cannot be read: {error}", True
            else:
                content = Filed(file, letter.octets, message.digest if message else "", self._engine.in_thread)
                try:
                    await self._try(done, revision, content, message)
                finally:
                    content.close()
            await self._settle(done, revision.settings)
        finally:
            revision.leave()

    async def _try(self, done: _Try, revision: Revision, content: Filed, message: Held | None) -> None:
        letter = done.letter
        if message is not None and message.is_damaged:
            # Nobody can tell any more what of it was judged already.
            done.why, done.is_final = message.detail, True
            return
        wanted = [one for one in letter.recipients if one.state == "waiting"]
        transaction = recall(letter.message or letter.id, letter.facts, letter.sender, letter.params, wanted)
        session = transaction.session
        session.listener = revision.settings.listener_of(session.listener, session.role)
        section = await content.header(revision.settings.limits.header_size_octets)
        if message is not None and message.filter != GATEWAY:
            if not session.listener:
                # Nobody would judge it, and no route is for it.
                done.why, done.is_final = f"there is no listener of role {session.role} any more", True
                return
            judged = (message.filter, message.reason, message.detail)
            finding = await recheck(
                self._engine, revision, transaction, section, content, judged, letter.facts.get("holds", ())
            )
            if finding is not None:
                done.why = _refusal(finding)
                done.is_final = finding.action != "defer"
                if finding.filter == RULES and finding.action == "quarantine":
                    done.why = f"{done.why} (a manager who releases it again has judged that too)"
                    done.letter = attrs.evolve(letter, facts=dict(letter.facts) | {"held_by": finding.reason})
                return
        transaction.header = section
        for field in _fields(letter):
            transaction.edits.append(AddField(field))
        splices: Sequence[Splice]
        splices, _ = transaction.edits.splices(section)
        keys = revision.signers.of_letter(letter, transaction)
        if keys:
            try:
                signed = await self._sign(keys, revision, transaction, edited(content.pieces(), splices), splices)
            except NotSigned as error:
                done.why, done.is_final = f"it could not be signed: {error}", error.is_permanent
                return
            splices = signed.onto(splices)
        delivery = self._delivery(revision, transaction, sum(len(one.put) - one.removed for one in splices))
        kept = delivery.kept
        try:
            await self._deliver(done, revision, transaction, delivery.delivery, edited(content.pieces(), splices))
        except BaseException:
            delivery.delivery.abandon("a fault of the gateway")
            raise
        finally:
            delivery.delivery.finish()
            kept.leave()

    async def _sign(
        self,
        keys: Sequence[DKIMKey],
        revision: Revision,
        transaction: Transaction,
        pieces: AsyncIterator[bytes],
        splices: Sequence[Splice],
    ) -> Signed:
        engine = self._engine
        cap = revision.settings.limits.header_size_octets + sum(len(one.put) for one in splices)
        return await sign(keys, pieces, cap, int(engine.wall()), engine.in_thread, engine.tell, transaction)

    def _delivery(self, revision: Revision, transaction: Transaction, more: int) -> _Way:
        engine, kept, timeouts = self._engine, KeptLinks(), revision.settings.timeouts

        def part(pool: Pool) -> Part:
            return Part(transaction, pool, kept, timeouts, engine.clock, engine.tell, more, is_union=False)

        return _Way(Delivery(transaction, part, timeouts, engine.clock), kept)

    async def _deliver(
        self,
        done: _Try,
        revision: Revision,
        transaction: Transaction,
        delivery: Delivery,
        pieces: AsyncIterator[bytes],
    ) -> None:
        """Envelope, content and end of data, as a session does it."""
        by_pool: dict[tuple[Pool, Need], list[Recipient]] = {}
        for recipient in transaction.recipients:
            recipient.state = ""
            pool = await self._pool(revision, done.letter, transaction, recipient)
            if isinstance(pool, Reply):
                self._note(done, recipient, pool)
            else:
                need = need_of(done.letter, revision, transaction, recipient, pool)
                by_pool.setdefault((pool, need), []).append(recipient)
        transaction.accepted = 0
        for (pool, need), group in by_pool.items():
            said = self._silence.said(pool)
            if said is None:
                replies = await delivery.rcpt(pool, group, "", need)
                self._silence.heard(pool, replies)
            else:
                replies = [said] * len(group)
            for recipient, reply in zip(group, replies, strict=True):
                recipient.reply = reply
                if reply.is_positive:
                    recipient.state = "accepted"
                    transaction.accepted += 1
                else:
                    self._note(done, recipient, reply)
        there = [one for one in transaction.recipients if one.state == "accepted"]
        if not there:
            return
        refused = await delivery.start((transaction.params.get("BODY") or b"").upper() == b"BINARYMIME")
        held_back: Chunk | None = None
        if refused is None:
            async for piece in pieces:
                if held_back is not None:
                    refused = await delivery.content(held_back, b"")
                    if refused is not None:
                        break
                held_back = Chunk(piece, None)
        if refused is not None:
            delivery.abandon("refused")
            for recipient in there:
                self._note(done, recipient, refused)
            return
        # From here on a kill leaves it in doubt, and the row must say so.
        done.letter = attrs.evolve(done.letter, state="committing")
        if not await self._vault.go_on(done.letter, {}):
            done.is_gone = True
            delivery.abandon("taken back")
            return
        await delivery.commit(held_back, b"")
        unknown = {one for leg in delivery.legs if leg.is_unknown for one in leg.recipients}
        finals = dict(delivery.finals())
        for recipient in there:
            if recipient not in unknown:
                self._note(done, recipient, finals.get(recipient) or status.BACKEND_LOST)
        if unknown:
            self._unknown(done, [str(recipient.path) for recipient in unknown])

    async def _pool(
        self, revision: Revision, letter: Letter, transaction: Transaction, recipient: Recipient
    ) -> Pool | Reply:
        """Where a recipient is reached; a Reply where it is not. Of letters of the gateway's own it was checked when
        the configuration was read; another may be at work now."""
        name = letter.backend
        session = transaction.session
        if not name and session.listener in revision.settings.listeners:
            route = revision.router.route(session, transaction.sender, recipient.path)
            name = route.backend if route is not None else ""
        if not name and letter.kind != "release":
            name = revision.router.anywhere(recipient.path) or revision.settings.outbox.backend
        destinations = revision.destinations.get(name)
        if destinations is not None:
            return await destinations.pool(recipient.path.domain)
        # A configuration without that backend may be a slip, and is no refusal.
        return revision.pools.get(name) or (_gone(name) if name else _NOWHERE)

    def _note(self, done: _Try, recipient: Recipient, reply: Reply) -> None:
        """What a server, or we for it, said of one."""
        if reply.is_positive:
            state = "sent"
        else:
            state = "refused" if reply.is_permanent else "waiting"
            done.why = reply_text(reply)
        self._mark(done, str(recipient.path), state, reply_text(reply))

    def _mark(self, done: _Try, address: str, state: str, said: str) -> None:
        recipients = tuple(
            attrs.evolve(one, state=state, reply=said[:500]) if one.address == address else one
            for one in done.letter.recipients
        )
        done.letter = attrs.evolve(done.letter, recipients=recipients)
        done.fates[address] = {"sent": "released", "waiting": "sending"}.get(state, state), said

    def _unknown(self, done: _Try, addresses: Iterable[str]) -> None:
        """A server may have it for these."""
        done.why = done.why or "the server's answer to the end of data was lost: it may have been delivered"
        state = "unknown" if done.letter.kind == "release" else "waiting"
        for address in addresses:
            self._mark(done, address, state, done.why)
        self._engine.tell(Happened("outbox.unknown", "warning", *_said(done.letter, done.why)))

    async def _settle(self, done: _Try, settings: Settings) -> None:
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
                Happened("outbox.deferred", "info", *_said(again, f"{done.why}; again in {wait_s:.0f} s"))
            )
            return
        if waiting:
            # No further try: for a release they are as they were, of all else nobody has it.
            state = "held" if letter.kind == "release" else "refused"
            for one in waiting:
                self._mark(done, one.address, state, done.why)
            refused = refused or waiting
        returned: list[Held] = []
        if refused and letter.kind not in _NOT_KEPT:
            returned.append(self._returned(done, settings))
        await self._surely(self._vault.done, done.letter, done.fates, returned)
        if refused:
            self._engine.tell(Happened("outbox.failed", "error", *_said(letter, done.why)))
        else:
            self._engine.tell(Happened("outbox.sent", "info", *_said(letter, done.why or "delivered")))

    def _returned(self, done: _Try, settings: Settings) -> Held:
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


def _said(letter: Letter, why: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    """What an event about a letter says, and its fields."""
    fields: list[tuple[str, object]] = [
        ("letter", letter.id),
        ("kind", letter.kind),
        ("msg_id", letter.message),
        ("recipients", len(letter.recipients)),
        ("tries", letter.tries),
    ]
    if letter.held:
        fields.append(("held", letter.held))
    return f"{letter.kind} {letter.id}: {why[:300]}", tuple(fields)


#: No route leads to a recipient of a letter.
_NOWHERE = Reply(550, "5.1.2", ("No route to this recipient",))


def _gone(name: str) -> Reply:
    return Reply(451, "4.3.5", (f"There is no backend {name} in the configuration",))


def need_of(letter: Letter, revision: Revision, transaction: Transaction, recipient: Recipient, pool: Pool) -> Need:
    """What is asked of the leg to a recipient: what rules and policies asked for the message when it came, and what
    policies and its sender ask for now. A copy goes no less safely than the message."""
    need = revision.policies.need(transaction, recipient.path)
    if letter.kind == "tls-report":
        return need or LENIENT
    if "REQUIRETLS" in transaction.params and pool.backend.kind == "mx":
        need = need.and_(REQUIRETLS)
    if letter.kind != "release":
        need = need.and_(Need(str(letter.facts.get("copy_level", ""))))
    return need.and_(Need(str(letter.facts.get("tls_level", ""))))


@attrs.frozen
class _Way:
    delivery: Delivery
    kept: KeptLinks


def reply_text(reply: Reply) -> str:
    """A reply on one line."""
    return f"{reply.code} {reply.enhanced} {reply.text}".replace("  ", " ").strip()


def _refusal(finding: Finding) -> str:
    """Why a release was stopped."""
    return f"{finding.filter}: {finding.reason}: {finding.detail or finding.public}"


def _fields(letter: Letter) -> list[bytes]:
    """What mail that goes elsewhere than its sender said tells whoever gets it."""
    if letter.kind not in ("redirect", "bcc"):
        return []
    facts = letter.facts
    said = [f"X-Smtpgate-Copy: {letter.kind}; rule={facts.get('rule', '')}; id={letter.message}"]
    said += [f"from=<{facts.get('from', '')}>"]
    said += [f"for=<{one}>" for one in str(facts.get("for", "")).split()[:20]]
    return [(";\r\n\t".join(printable(one)[:400] for one in said) + "\r\n").encode("ascii", "replace")]
