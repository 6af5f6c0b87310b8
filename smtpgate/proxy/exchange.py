"""One mail transaction, from MAIL to the end of data.

The session calls it verb by verb. It holds the transaction's facts, its filters, its edits, its delivery and its body,
and closes each of them exactly once: by commit, refusal, or abandonment (`end`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import partial
from typing import Any

import attrs

from smtpgate.config.model_traffic import PACED_S
from smtpgate.interfaces import StoreFailed
from smtpgate.policy import event as told
from smtpgate.policy.held import TAKING
from smtpgate.policy.protection import NO_NEED, REQUIRETLS, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.proxy.admission import is_better
from smtpgate.proxy.body import Body
from smtpgate.proxy.delivery import Delivery
from smtpgate.proxy.destinations import Destinations
from smtpgate.proxy.judge import that_count
from smtpgate.proxy.ledger import PATIENCE_S
from smtpgate.proxy.leg import Leg
from smtpgate.proxy.limit_rules import Held
from smtpgate.proxy.part import Part
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.trace import date_text, received, trace_origin, trace_word
from smtpgate.smtp import status
from smtpgate.smtp.command import Command
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import DISCARD_BODY_OCTETS, NEED_DATA, EndOfData, Violation
from smtpgate.tasks import TimeUp, within
from smtpgate.traffic.pressure import DOT, RCPT

#: Backends of one transaction; recipients of more come in one of their own.
BACKENDS = 8
#: A ledger row is waited for so long before the client is answered all the same.
_DURABLE_S = 5.0


#: Recipients of each backend with what they ask of their leg, and their places among those that came together.
Batches = dict[tuple[Pool, Need], list[tuple[int, Recipient]]]


class Exchange:
    """One transaction at work.

    :ivar has_end: the client's end of data has come
    :ivar closes: the reply to the end of data ends the session
    """

    __slots__ = (
        "facts",
        "run",
        "delivery",
        "body",
        "has_end",
        "closes",
        "_session",
        "_engine",
        "_now",
        "_is_over",
        "_doom",
        "_paced_s",
    )

    def __init__(self, session: Any, command: Command, number: int) -> None:
        assert command.path is not None
        facts = session.facts
        self.facts = Transaction(f"{facts.id}.{number}", facts, command.path, command.params)
        self._now = session.engine.clock.seconds
        self.facts.begun = begun = self._now()
        facts.note(begun, "client", "MAIL", command.path)
        facts.transaction = self.facts
        self.run = session.door.chain.transaction(self.facts, session.run_filters)
        self.delivery: Delivery | None = None
        self.body: Body | None = None
        self.has_end = False
        self.closes = False
        self._session = session
        self._engine = session.engine
        self._is_over = False
        self._doom: Reply | None = None
        self._paced_s = 0.0

    @property
    def is_committing(self) -> bool:
        """A backend has been given the end of data."""
        return self.body is not None and self.body.is_committing and not self._is_over

    def _note(self, who: str, what: str, detail: object = "") -> None:
        self.facts.session.note(self._now(), who, what, detail)

    # MAIL and RCPT

    async def mail(self, held: Held | None) -> Reply | None:
        """The sender: our filters, and the backend too where the link stands already. A Reply where refused.

        :param held: what limits have to say of it
        """
        session, facts = self._session, self.facts
        if held is not None:
            refused = await self._held(held)
            if refused is not None:
                return refused
        if self.run.wants("mail"):
            refused = await self._filter("mail")
            if refused is not None:
                return refused
        if not session.kept.is_pinned:
            return None
        candidates = session.revision.router.candidates(facts.session)
        pool = session.revision.pools.get(candidates[0].name) if len(candidates) == 1 else None
        if pool is None or not session.kept.is_authentic(pool):
            return session.kept.nameless_reply()
        session.front.flush()
        self.delivery = self._deliver()
        reply = await self.delivery.mail(pool, self.run.need())
        return None if reply.is_positive else reply

    async def _held(self, held: Held, recipient: Recipient | None = None) -> Reply | None:
        """What a limit has to say: the reply waits, or a Reply where there is no room.

        :param recipient: whom it is about; the next of the transaction
        """
        about = None if recipient is None else frozenset((len(self.facts.recipients),))
        for finding in held.findings:
            self.run.record(attrs.evolve(finding, recipients=about))
        if not held.met:
            # Only limits in shadow have a word.
            return None
        if held.is_paced and self._engine.pacer.has_room and self._paced_s + held.wait_s <= PACED_S:
            self._paced_s += held.wait_s
            await self._session.pause(held.wait_s)
            return None
        held.denied()
        self._note("limit", held.findings[0].reason, held.findings[0].detail)
        return held.reply()

    async def _filter(self, stage: str, recipient: Recipient | None = None) -> Reply | None:
        self._session.front.flush()
        facts = self.facts
        if recipient is None:
            # Where each has a reply of its own, the body judges each.
            found = await self.run.run(stage, keeps_recipients=facts.hears_each and facts.accepted > 1)
            found = that_count(facts, found)
            has_mercy = facts.has_mercy
        else:
            found = await self.run.run(stage, recipient, recipient=len(facts.recipients))
            has_mercy = facts.spares(recipient)
        waits = recipient is None and not facts.recipients and facts.session.role == "mx"
        verdict = self.run.verdict(found, waits=waits, has_mercy=has_mercy)
        if not verdict.is_refusal:
            return None
        decided = verdict.decided_by
        assert decided is not None
        if recipient is None:
            facts.verdict = verdict
        elif decided.recipients is None:
            # It is about the whole transaction: no later recipient fares better.
            self._doom = decided.reply()
        self._note("filter", f"{decided.filter}: {decided.reason}", decided.detail)
        return decided.reply()

    def _delayed(self, recipient: Recipient) -> Reply | None:
        """A refusal of the client, its greeting or the sender that waited for the recipients."""
        delayed = self.run.delayed
        if delayed is None or delayed.filter in self.run.skips or self.facts.spares(recipient):
            return None
        self._note("filter", f"{delayed.filter}: {delayed.reason}", delayed.detail)
        return delayed.reply()

    async def rcpt(self, group: Sequence[Command]) -> list[tuple[Reply, bool]]:
        """Recipients that came together: a reply each, and whether it is our own word."""
        out: list[tuple[Reply, bool] | None] = []
        batches: Batches = {}
        pending: list[Recipient] = []
        facts = self.facts
        limits = self._session.revision.limits
        admission = self._session.reception.admission
        is_shed = bool(admission.pressure.level) and RCPT in admission.sheds(facts.session.traffic_class)
        shed = admission.busy_reply(452) if is_shed else None
        knows, run = len(self._engine.ledger) > 0, self.run
        keeps_apart = self._session.door.chain.guesses and not facts.hears_each
        for command in group:
            assert command.path is not None
            recipient = Recipient(command.path, command.params)
            place = len(out)
            found = self._doom or shed or (self._known_word(recipient, pending, group) if knows else None)
            found = found or self._own_word(recipient, len(pending))
            if run.delayed is not None and not isinstance(found, Reply):
                found = self._delayed(recipient) or found
            if run.wants("rcpt") and not isinstance(found, Reply):
                found = await self._filter("rcpt", recipient) or found
            rerouted = recipient.rerouted or facts.rerouted
            if rerouted and not isinstance(found, Reply):
                found = self._session.revision.pools[rerouted]
            if isinstance(found, Destinations):
                self._session.front.flush()
                found = await found.pool(recipient.path.domain)
            if keeps_apart and (pending or facts.recipients) and not isinstance(found, Reply):
                if batches and self._is_apart(recipient, pending):
                    await self._relay(batches, out)
                    batches, pending = {}, []
                if self._is_apart(recipient, ()):
                    found = status.OTHER_DESTINATION
            if not isinstance(found, Reply) and limits.has_rcpt:
                held = limits.rcpt(facts, recipient, found.backend.name)
                found = found if held is None else await self._held(held, recipient) or found
            need = NO_NEED if isinstance(found, Reply) else self._need(recipient, found)
            if not isinstance(found, Reply) and not any(pool is found for pool, _ in batches):
                if batches and not self._fans_out:
                    # Whether it may be in this transaction shows when those before it have their answers.
                    await self._relay(batches, out)
                    batches, pending = {}, []
                pools = len({pool for pool, _ in batches})
                if (batches or self.delivery is not None) and not self._may_go(found, pools):
                    found = status.OTHER_DESTINATION
            facts.recipients.append(recipient)
            if isinstance(found, Reply):
                self._told(recipient, found)
                out.append((found, True))
                continue
            out.append(None)
            batches.setdefault((found, need), []).append((place, recipient))
            pending.append(recipient)
        await self._relay(batches, out)
        return [answer for answer in out if answer is not None]

    def _need(self, recipient: Recipient, pool: Pool) -> Need:
        """What is asked of the leg that takes a recipient, the next of the transaction."""
        policies = self._session.revision.policies
        need = policies.need(self.facts, recipient.path) if policies.has_backend else NO_NEED
        if "REQUIRETLS" in self.facts.params and pool.backend.kind == "mx":
            need = need.and_(REQUIRETLS)
        return need.and_(self.run.need(len(self.facts.recipients))) if self.run.findings else need

    def _is_apart(self, recipient: Recipient, pending: Sequence[Recipient]) -> bool:
        """Whether it may fare otherwise than those that are there or about to be asked for, and there is one reply.

        Whom guesses must not keep its mail from (`policy.mercy`) has a message of its own, or spam gets through to
        all by being sent to postmaster too.
        """
        facts = self.facts
        others = pending or [one for one in facts.recipients if one.state in ("accepted", "known")]
        is_spared = facts.spares(recipient)
        return any(facts.spares(one) is not is_spared for one in others)

    @property
    def _fans_out(self) -> bool:
        """One transaction may go to several backends."""
        return self._session.door.listener.split == "fanout"

    def _may_go(self, pool: Pool, pending: int) -> bool:
        """Whether a recipient of that backend may be in this transaction, beside those that are there.

        :param pending: backends that are about to be asked
        """
        delivery = self.delivery
        if self._fans_out:
            there = delivery.backends if delivery is not None else 0
            return there + pending < BACKENDS or delivery is not None and delivery.goes_to(pool)
        return delivery is None or not self.facts.accepted or delivery.goes_to(pool)

    def _known_word(self, recipient: Recipient, pending: Sequence[Recipient], group: Sequence[Command]) -> Reply | None:
        """What the commit ledger has to say of a recipient."""
        ledger, facts, name = self._engine.ledger, self.facts, str(recipient.path)
        if not ledger.may_know(name):
            return None
        here = [str(one.path) for one in facts.recipients if one.state == "accepted"]
        here += [str(one.path) for one in pending]
        word: Reply | None = ledger.word(facts, name, here, [str(one.path) for one in group])
        if word is not None and word is not status.OTHER_DESTINATION:
            facts.note("known_from_ledger")
        return word

    def _own_word(self, recipient: Recipient, pending: int) -> Reply | Pool | Destinations:
        """Our own checks of a recipient; the pool that it goes to where they pass, or those of which the DNS knows
        which it is."""
        session, facts = self._session, self.facts
        path = recipient.path
        if facts.accepted + pending >= session.revision.settings.limits.recipients:
            return status.TOO_MANY_RECIPIENTS
        router = session.revision.router
        if session.facts.role == "mx" and not router.is_local(path):
            return status.RELAY_DENIED
        refused = session.revision.policies.refusal(facts, path)
        if refused is not None:
            return refused
        route = router.route(session.facts, facts.sender, path)
        if route is None and not path.domain:
            route = router.default(session.facts.listener)
        if route is None:
            return status.NO_ROUTE
        facts.route = route.number
        destinations = session.revision.destinations.get(route.backend)
        if destinations is not None:
            return destinations
        pool: Pool = session.revision.pools[route.backend]
        if (
            session.kept.is_pinned
            and not session.kept.is_authentic(pool)
            and not (self.delivery is not None and self.delivery.goes_to(pool))
        ):
            return status.IDENTITY_PINNED
        return pool

    def _deliver(self) -> Delivery:
        has_size = self._session.door.listener.received and "SIZE" in self.facts.params
        size = len(self._trace().raw) + 64 if has_size else 0
        size += self._session.door.chain.growth_octets
        size += self._session.revision.signers.growth_octets(self._session.door.listener)
        # Nothing of a message may lead back to its exchange: it would live until the collector of cycles comes by.
        make = partial(_part, self._session, self.facts, size)
        return Delivery(self.facts, make, self._session.revision.settings.timeouts, self._engine.clock)

    async def _relay(self, batches: Batches, out: list[tuple[Reply, bool] | None]) -> None:
        """Ask the backends, one after the other, for the recipients of each."""
        if not batches:
            return
        if self.delivery is None:
            self.delivery = self._deliver()
        self._session.front.flush()
        if self.facts.authenticated:
            self._judge_sender()
        ledger = self._engine.ledger
        for (pool, need), batch in batches.items():
            wish = ledger.hint(str(batch[0][1].path)) if len(ledger) else ""
            replies = await self.delivery.rcpt(pool, [recipient for _, recipient in batch], wish, need)
            for (place, recipient), reply in zip(batch, replies, strict=True):
                self._told(recipient, reply)
                out[place] = (reply, False)

    def _judge_sender(self) -> None:
        """Who is proved to be known deserves a better class."""
        session = self._session
        standing = session.reception.admission.of_sender(self.facts)
        if standing is not None and is_better(standing.name, session.facts.traffic_class):
            session.reception.reclass(session, standing)

    def _told(self, recipient: Recipient, reply: Reply) -> None:
        recipient.reply = reply
        if reply.code < 300:
            recipient.state = "accepted"
            self.facts.accepted += 1
        else:
            recipient.state = "deferred" if reply.code < 500 else "refused"
            limits = self._session.revision.limits
            if limits.has_rcpt:
                limits.not_accepted(self.facts, recipient)
                if reply.code >= 500:
                    limits.refused(self.facts, recipient)
        self._note("client", "RCPT", recipient)

    # Content

    async def start(self, by_chunks: bool) -> Reply | None:
        """DATA, or the first chunk: come to where content may be taken; a Reply where refused."""
        session, facts = self._session, self.facts
        facts.data_at = self._engine.clock.seconds()
        session.front.flush()
        if self.run.wants("data"):
            refused = await self._filter("data")
            if refused is not None:
                return refused
        if self.delivery is None:
            return status.NO_RECIPIENTS
        need = self.run.need() if self.run.findings else NO_NEED
        if need:
            refused = await self.delivery.secure(need)
            if refused is not None:
                return refused
        if session.door.listener.received:
            facts.edits.edits.append(self._trace())
        is_raw = (facts.params.get("BODY") or b"").upper() == b"BINARYMIME"
        self.body = Body(
            self._engine,
            session.revision,
            session.door,
            facts,
            self.delivery,
            self.run,
            by_chunks=by_chunks,
            is_raw=is_raw,
        )
        refused = await self.body.start()
        self._note("client", "BDAT" if by_chunks else "DATA", "" if refused is None else refused.text)
        return refused

    def _trace(self) -> Any:
        session, facts = self._session, self.facts
        listener = session.door.listener
        if not session.trace:
            session.trace = trace_origin(session.revision.settings.hostname, session.facts, listener.hide_client)
        word = trace_word(session.facts, "SMTPUTF8" in facts.params, listener.protocol == "lmtp")
        return received(session.trace, word, facts, date_text(self._engine.wall()))

    async def content(self) -> None:
        """The DATA phase up to the reply."""
        body = self.body
        assert body is not None
        await self._take(body)

    async def _take(self, body: Body) -> EndOfData:
        """Feed the body until the end of the message or of a chunk."""
        front, clock = self._session.front, self._engine.clock
        settings = self._session.revision.settings
        began = clock.seconds()
        before = body.content.octets
        cap = settings.limits.message_size_octets + DISCARD_BODY_OCTETS
        while True:
            event = front.wire.next_event()
            if event is NEED_DATA:
                await body.flush()
                if front.wire.has_input:
                    # They came while the backend took what was held back, and nobody was told.
                    continue
                # Octets must come, and not by drips (Postfix smtpd_min_data_rate).
                now = clock.seconds()
                rate = (body.content.octets - before) / settings.limits.min_data_rate_octets
                block = settings.timeouts.data_block_s
                await front.input(min(now + block, began + block + rate))
                continue
            if type(event) is Chunk:
                await body.feed(event)
                if body.refusal is not None and body.content.octets > cap and body.by_chunks:
                    # A DATA phase is read to its end whatever comes; a chunk may be announced with any size.
                    self._session.violation(front.wire.give_up())
            elif type(event) is EndOfData:
                if event.is_last:
                    self.has_end = True
                    await self._finish(event, body)
                return event
            elif type(event) is Violation:
                self._session.violation(event)

    async def chunk(self, command: Command) -> bool:
        """One BDAT of the client. True when the message is over."""
        if self.body is None:
            refused = await self.start(by_chunks=True)
            if self.body is None:
                self.body = Body(
                    self._engine,
                    self._session.revision,
                    self._session.door,
                    self.facts,
                    self.delivery or self._deliver(),
                    self.run,
                    by_chunks=True,
                    is_raw=False,
                )
            self.body.refusal = self.body.refusal or refused
        body = self.body
        event = await self._take(body)
        if event.is_last:
            return True
        reply = await body.end_chunk()
        if reply.is_positive:
            self._session.front.wire.reply(event, reply)
            return False
        self._session.front.wire.reply(event, reply, self.facts.id)
        self.end("refused" if reply.is_permanent else "deferred", reply)
        return True

    async def _finish(self, end: EndOfData, body: Body) -> None:
        """The client's end of data: verdict, commit, reply."""
        facts, session = self.facts, self._session
        front = session.front
        if front.gone is not None:
            body.fate.client_left()
        # Who has sent QUIT along and then stops sending may still read; so P-236.
        is_piped = front.wire.has_input
        admission = session.reception.admission
        if admission.pressure.level and DOT in admission.sheds(session.facts.traffic_class):
            body.refuse(admission.busy_reply(451))
        reply = await body.end()
        facts.committed_at = self._now()
        if self._is_delivered_at_once(reply, end):
            for recipient in facts.recipients:
                if recipient.state == "accepted":
                    recipient.state = "delivered"
                    recipient.final = reply
            session.front.wire.reply(end, reply, facts.id)
            self.end("delivered", reply)
            session.front.flush()
            return
        legs = list(self.delivery.legs) if self.delivery is not None else []
        is_known = reply is status.DELIVERED_BEFORE
        unknown = [leg for leg in legs if leg.is_unknown]
        done = [leg for leg in legs if leg.final is not None and leg.final.is_positive]
        each = facts.hears_each
        has_part = bool(done) or any(recipient.state == "known" for recipient in facts.recipients)
        is_mixed = has_part and len(done) < len([leg for leg in legs if leg.recipients]) and not each
        is_late = facts.committed_at - facts.end_at > PATIENCE_S
        noted: list[Leg] = []
        is_taken, is_taken_noted = any(one.taken is not None for one in facts.recipients), False
        while True:
            # A client that has closed by FIN may have gone for good: it sends again what it did not hear.
            has_left = front.is_gone or front.gone is not None and not is_piped
            wanted = legs if is_mixed or done and (has_left or is_late) else unknown
            notes_taken = is_taken and not is_taken_noted and (has_left or is_late)
            if len(wanted) <= len(noted) and not notes_taken:
                break
            # It may leave while that is written.
            await self._remember(body, wanted, is_mixed)
            noted, is_taken_noted = wanted, is_taken
        is_gone = front.is_gone
        for leg in unknown:
            self._engine.tell(told.DeliveryUnknown(facts, leg.link.server, "answer to the end of data lost"))
        for recipient, final in self.delivery.finals() if self.delivery is not None else ():
            if recipient.taken is not None:
                continue
            recipient.final = final
            if final is not None and final.is_positive:
                recipient.state = "delivered"
        if each:
            reply = _settle_each(facts.recipients, reply, {one for leg in unknown for one in leg.recipients})
        if not reply.is_positive:
            self._blame(legs)
        taken = None if facts.verdict is None else TAKING.get(facts.verdict.action)
        if unknown:
            outcome = "unknown"
        elif taken is not None and reply is status.TAKEN:
            outcome = taken
        elif reply.is_positive:
            outcome = "unacked" if is_gone and not is_known else "delivered"
        else:
            outcome = "refused" if reply.is_permanent else "deferred"
        self._answer(end, reply)
        # Only our own 521 closes: that of a backend is relayed like any other refusal.
        self.closes = reply is status.BARE_NEWLINE_CLOSING
        self.end(outcome, reply)
        session.front.flush()

    def _blame(self, legs: Sequence[Any]) -> None:
        """Of several backends the one that did not take it is the one that the record shows."""
        found = next((leg for leg in legs if leg.final is not None and not leg.final.is_positive), None)
        if found is not None and len(legs) > 1:
            self.facts.backend, self.facts.server = found.pool.backend.name, found.link.server

    def _is_delivered_at_once(self, reply: Reply, end: EndOfData) -> bool:
        """The usual case: one server has it for all recipients, and the client is there to hear that."""
        leg = self.delivery.only if self.delivery is not None else None
        if reply.code >= 300 or end.answers > 1 or leg is None:
            return False
        facts, session = self.facts, self._session
        return (
            leg.final is reply
            and not leg.finals
            and not leg.is_unknown
            and len(leg.recipients) == facts.accepted
            and facts.committed_at - facts.end_at <= PATIENCE_S
            and session.front.gone is None
        )

    async def _remember(self, body: Body, legs: Sequence[Any], is_mixed: bool) -> None:
        clock = self._engine.clock
        try:
            await within(self._engine.start(body.fate.note(legs, only_mixed=is_mixed)), clock.seconds() + _DURABLE_S)
        except (StoreFailed, TimeUp) as error:
            self._engine.tell(told.Happened("ledger.failed", "error", str(error) or "the store is slow", ()))

    def _answer(self, end: EndOfData, reply: Reply) -> None:
        """The reply to the end of data, or one for each recipient that was told 2yz at RCPT."""
        facts, wire = self.facts, self._session.front.wire
        replies = [reply]
        if facts.hears_each:
            finals = [one.final or reply for one in facts.recipients if one.reply is not None and one.reply.is_positive]
            if end.answers == len(finals) and facts.session.protocol == "LMTP":
                replies = finals
            elif len({one.code // 100 for one in finals}) > 1 or len(set(finals)) > 1 and not reply.is_positive:
                # Only where they differ: else one reply says it all.
                replies = [status.ONE_BY_ONE, *finals, reply]
                end.answers = len(replies)
        for one in replies:
            wire.reply(end, one, "" if one is status.ONE_BY_ONE else facts.id)

    # Ending

    def reset(self) -> None:
        """The client gave the transaction up (RSET, EHLO, QUIT)."""
        refused = [r for r in self.facts.recipients if r.state in ("refused", "deferred")]
        if self.facts.recipients and len(refused) == len(self.facts.recipients):
            outcome = "refused" if all(r.state == "refused" for r in refused) else "deferred"
            self.end(outcome, refused[-1].reply)
        else:
            self.end("aborted", None)

    def client_left(self) -> None:
        """The client left behind its end of data: the message goes on without it."""
        if self.body is not None:
            self.body.fate.client_left()

    def client_gone(self) -> None:
        """The client left."""
        if self.facts.outcome == "":
            self.facts.notes.append("client_gone")
        self.reset()

    def abort(self) -> None:
        """The session ends under it."""
        self.end("aborted", None)

    def end(self, outcome: str, reply: Reply | None) -> None:
        """Close everything, once."""
        if self._is_over:
            return
        self._is_over = True
        facts = self.facts
        facts.outcome, facts.reply = outcome, reply
        facts.ended = self._engine.clock.seconds()
        facts.findings = self.run.findings
        if self.body is not None:
            if not facts.octets:
                facts.octets = self.body.content.octets
            self.body.close()
        if self.delivery is not None:
            if outcome in ("delivered", "unacked") or self.body is not None and self.body.is_committing:
                self.delivery.finish()
            else:
                self.delivery.abandon(f"transaction {outcome}")
        self.run.close()
        for call in facts.at_end:
            call()
        facts.at_end.clear()
        if facts.charges:
            self._session.revision.limits.ended(facts)
        facts.content = None
        facts.session.transactions.append(facts)
        facts.session.transaction = None
        self._note("us", outcome, reply.text if reply is not None else "")
        self._engine.tell(told.TransactionEnded(facts))


def _part(session: Any, facts: Transaction, size: int, pool: Pool) -> Part:
    """The part of a message for one backend.

    :param size: octets that we add to it
    """
    engine, union = session.engine, session.door.listener.capability_mode == "union"
    timeouts = session.revision.settings.timeouts
    return Part(facts, pool, session.kept, timeouts, engine.clock, engine.tell, size, is_union=union)


def _settle_each(recipients: Sequence[Recipient], reply: Reply, unknown: Set[Recipient]) -> Reply:
    """Where each recipient of a message has a reply of its own: its state, and the reply for the message.

    Who reads that as a word on all of them must not take back what one has: it is good where one is served, here or at
    an earlier try, and final only where all are refused for good.

    :param unknown: those whose server did not answer: they are told to come again, and have no state
    """
    finals = []
    for one in recipients:
        if one.reply is None or not one.reply.is_positive:
            continue
        final = one.final or reply
        finals.append(final)
        if not final.is_positive and one not in unknown:
            one.state = "refused" if final.is_permanent else "deferred"
    if any(final.is_positive for final in finals):
        return reply if reply.is_positive else next(final for final in finals if final.is_positive)
    if any(final.is_transient for final in finals):
        return reply if reply.is_transient else next(final for final in finals if final.is_transient)
    return reply if reply.is_permanent or not finals else finals[0]
