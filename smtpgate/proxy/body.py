"""One message's content on its way: policy, header, filters, and the two ways to the backend.

*Stream*: chunks go to the backend as they come, the terminator is held back until the verdict. *Spool*: everything
waits in `proxy.spool` until then. `session` feeds chunks and asks for the end; what comes back is the reply for the
client. Once something refused the message the rest is read and thrown away, so that the reply comes at the true end
of data, once (PROTOCOL A-3).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

from smtpgate.message.header import HeaderReader, HeaderSection
from smtpgate.message.splice import Splice
from smtpgate.policy.edits import Edit
from smtpgate.policy.mark import marks
from smtpgate.policy.protection import LEVELS, NO_NEED
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import PASS
from smtpgate.proxy.content import Whole, edited, minds_eight_bit, oddity
from smtpgate.proxy.delivery import Delivery
from smtpgate.proxy.fate import Fate
from smtpgate.proxy.judge import for_all, judge, judge_each, that_count
from smtpgate.proxy.keeping import Keeping, takes
from smtpgate.proxy.pipeline import ChainRun
from smtpgate.proxy.revision import Door, Engine, Revision
from smtpgate.proxy.signing import NotSigned, sign
from smtpgate.proxy.spool import Spool
from smtpgate.smtp import status
from smtpgate.smtp.framing import Chunk, Content
from smtpgate.smtp.reply import Reply

#: The ledger's checksum covers so much of the content: with sender, identifying fields and size that
#: tells messages apart, and costs large ones nothing.
SUMMED_OCTETS = 16384


class Body:
    """The content of one transaction.

    :ivar refusal: why the message will not go on; set as soon as that is known
    :ivar by_chunks: the client sends it with BDAT
    :ivar fate: what the ledger knows of it, and is told
    """

    __slots__ = (
        "refusal",
        "content",
        "by_chunks",
        "fate",
        "_engine",
        "_revision",
        "_door",
        "_transaction",
        "_delivery",
        "_run",
        "_edits",
        "_reader",
        "_checksum",
        "_unsummed",
        "_held",
        "_prefix",
        "_spool",
        "_copy",
        "_digest",
        "_is_spooled",
        "_is_raw",
        "_started",
        "_leaves_out",
        "_has_lists",
        "_signers",
    )

    def __init__(
        self,
        engine: Engine,
        revision: Revision,
        door: Door,
        transaction: Transaction,
        delivery: Delivery,
        run: ChainRun,
        *,
        by_chunks: bool,
        is_raw: bool,
    ) -> None:
        limits = revision.settings.limits
        self.refusal: Reply | None = None
        self._engine = engine
        self._revision = revision
        self._door = door
        self._transaction = transaction
        self._delivery = delivery
        self._run = run
        self._edits = transaction.edits
        self.by_chunks = by_chunks
        self._is_raw = is_raw
        self.content = Content(limits.line_length_octets, watch_eight_bit=minds_eight_bit(delivery.legs), raw=is_raw)
        self._reader = HeaderReader(limits.header_size_octets)
        self._checksum = 0
        self._unsummed = SUMMED_OCTETS
        self._held: Chunk | None = None
        self._prefix = b""
        self._spool: Spool | None = None
        #: What filters read that must see all of it: the spool, or a copy of what is streamed.
        self._copy: Spool | None = None
        self._digest: Any = hashlib.sha256() if door.chain.needs_content else None
        self.fate = Fate(engine.ledger, transaction, engine.tell)
        self._signers = revision.signers.of(door.listener)
        self._is_spooled = door.chain.spools or door.listener.body == "spool" or self.fate.may_be_known
        if self._signers:
            # The signature stands above the header, and is over the body.
            self._is_spooled = True
        if transaction.accepted > 1 and (
            door.chain.judges and transaction.hears_each or door.chain.may_hold_for_one and door.chain.may_hold
        ):
            # The verdict may leave some of them out, and no backend can be told so when it has content.
            self._is_spooled = True
        is_incoming = transaction.session.role == "mx" and engine.vault is not None
        self._has_lists = is_incoming and engine.own.concerns(transaction.recipients)
        if self._has_lists:
            # They may hold it for some of them, by who wrote it.
            self._is_spooled = True
        self._leaves_out = False
        self._started = False

    @property
    def is_committing(self) -> bool:
        """The terminator has gone to a backend."""
        return self._delivery.is_committing

    async def start(self) -> Reply | None:
        """Come to the point where content may be taken; a Reply where it may not. None: 354, or go on with chunks."""
        self._transaction.body_by = "BDAT" if self.by_chunks else "DATA"
        if self._is_spooled or self._digest is not None or self._door.chain.may_hold:
            limits = self._revision.settings.limits
            account = self._engine.memory.account(self._transaction.session.traffic_class)
            self._copy = Spool(limits.spool_memory_octets, self._engine.open_spool, self._engine.in_thread, account)
        if self._is_spooled:
            self._spool = self._copy
            return None
        self._started = True
        return await self._delivery.start(self.by_chunks)

    # Content

    async def feed(self, chunk: Chunk) -> None:
        """Take a piece of content in."""
        content = self.content
        passed = content.feed(chunk)
        if passed is None:
            return
        if content.is_odd or content.octets > self._revision.settings.limits.message_size_octets:
            self._check(content)
        if self.refusal is not None:
            return
        if self._reader.section is None:
            octets = passed.octets
            dot = octets.find(b"\r\n.", 0, octets.find(b"\r\n\r\n") + 2)
            if dot < 0 and b"\r\n\r\n" in octets and not self._reader.holds:
                # The usual case: the whole header in the first chunk, and no stuffing in it.
                self._reader.feed(octets)
            else:
                whole = self._reader.feed(passed.content)
                if whole is None:
                    return
                if len(whole) != len(passed.content):
                    passed = Chunk(whole, None)
            await self._header(passed)
        else:
            self._look(passed)
            await self._forward(passed, passed)

    def _check(self, content: Content) -> None:
        """The rules that an odd message may break."""
        odd = oddity(content, self._revision.settings.limits, self._door.listener.bare_newline)
        if odd is not None:
            self.refuse(odd)

    async def _header(self, first: Chunk) -> None:
        """The header section is complete: look at it, then let it go on with our trace field above it."""
        section = self._reader.section
        assert section is not None
        if self._reader.is_too_big:
            self.refuse(status.HEADER_TOO_BIG)
            return
        transaction = self._transaction
        transaction.header = section
        if self._run.wants("header"):
            found = await self._run.run("header", section, keeps_recipients=self._judges_each)
            verdict = self._run.verdict(that_count(transaction, found), has_mercy=transaction.has_mercy)
            if verdict.is_refusal:
                transaction.verdict = verdict
                assert verdict.decided_by is not None
                self.refuse(verdict.decided_by.reply())
                return
        if self._copy is not None and self._spool is None and self._digest is None and not self._may_be_kept:
            # Nothing that is still to come can say that it is to be held.
            self._copy.close()
            self._copy = None
        # Of one that is spooled nothing is sent before the verdict; see `_commit`.
        refused = None if self._is_spooled else await self._secure()
        if refused is not None:
            self.refuse(refused)
            return
        self._look(first)
        sent = first
        if self._edits.only_adds:
            self._prefix = self._edits.prefix()
        elif not self._is_spooled:
            sent = Chunk(self._edited(section) + first.content[len(section.octets) :], None)
        await self._forward(first, sent)

    @property
    def _may_be_kept(self) -> bool:
        return self._door.chain.holds_late or self._run.may_take or bool(self._transaction.deeds)

    async def _secure(self) -> Reply | None:
        """What is known of the message may need more protection than its legs have; a Reply where there is none."""
        need = self._run.need() if self._run.has_findings else NO_NEED
        if not need:
            return None
        refused = await self._delivery.secure(need)
        return await self._delivery.start(self.by_chunks) if refused is None and self._started else refused

    def _edited(self, section: HeaderSection) -> bytes:
        """The header section as it goes on. An edit that finds no field to work on is noted."""
        head, missed = self._edits.apply(section)
        self._note_missed(missed)
        return head

    def _note_missed(self, missed: tuple[Edit, ...]) -> None:
        self._transaction.notes += [f"edit_missed:{edit.author}" for edit in missed]

    def _look(self, chunk: Chunk) -> None:
        """Content for checksum and filters."""
        if self._unsummed > 0:
            octets = chunk.opening(self._unsummed)
            self._checksum = zlib.crc32(octets, self._checksum)
            self._unsummed -= len(octets)
        if self._digest is not None:
            self._digest.update(chunk.content)
        if self._door.chain.has_body:
            self._run.feed(chunk.content)

    async def _forward(self, chunk: Chunk, sent: Chunk) -> None:
        """Content on its way.

        :param sent: the same, edited; what is kept of it is kept as it came
        """
        if self._copy is not None:
            try:
                await self._copy.append(chunk.content)
            except OSError as error:
                self._transaction.notes.append(f"spool: {error}")
                self.refuse(status.DISK_FULL)
                return
            if self._spool is not None:
                return
        if self._held is not None:
            held, self._held = self._held, sent
            await self._send(held)
        else:
            self._held = sent

    async def flush(self) -> None:
        """Send what is held back: the client is about to be waited for."""
        if self._held is not None and self.refusal is None:
            held, self._held = self._held, None
            await self._send(held)

    async def _send(self, chunk: Chunk) -> None:
        prefix, self._prefix = self._prefix, b""
        refused = await self._delivery.content(chunk, prefix)
        if refused is not None and self.refusal is None:
            self.refusal = refused

    def refuse(self, reply: Reply) -> None:
        """From here on the message is read and thrown away; the backends never get an end of it."""
        if self.refusal is not None:
            return
        self.refusal = reply
        self._held = None
        if self._copy is not None:
            self._copy.close()
        self._delivery.abandon("refused by the gateway")

    async def end_chunk(self) -> Reply:
        """A chunk that others follow is complete."""
        if self.refusal is None:
            await self.flush()
        if self.refusal is None:
            refused = await self._delivery.end_chunk() if self._spool is None else None
            self.refusal = self.refusal or refused
        return self.refusal or status.CHUNK_OK

    # The end

    async def end(self) -> Reply:
        """The client's true end of data: verdict, then commit. The reply for the client."""
        transaction = self._transaction
        tail = self.content.finish()
        if tail is not None and self.refusal is None:
            if self.content.has_bare_newline and self._door.listener.bare_newline != "normalize":
                self.refuse(status.BARE_NEWLINE)
            elif self._reader.section is None:
                self._reader.feed(tail.content)
            else:
                self._look(tail)
                await self._forward(tail, tail)
        if self._reader.section is None and self.refusal is None:
            await self._header(Chunk(self._reader.finish(), None))
        transaction.octets = self.content.octets
        self.fate.see(self._reader.section, self.content.octets, self._checksum)
        if self.content.has_bare_newline:
            transaction.notes.append("bare_newline")
        if not self.content.is_complete_line and self.content.octets and not self._is_raw:
            transaction.notes.append("no_final_newline")
        transaction.end_at = self._engine.clock.seconds()
        if self.refusal is None:
            # Who has it already is not judged again: a refusal would tell the sender that it was not delivered.
            answered = self._known()
            if answered is not None:
                return answered
            await self._judge()
        reply = self.refusal or await self._conclude()
        return for_all(transaction, reply) if reply.is_permanent else reply

    async def _judge(self) -> None:
        transaction = self._transaction
        if self._copy is not None and self._digest is not None:
            transaction.content = Whole(self._copy, self._digest.hexdigest())
        if self._run.wants("end"):
            role = self._door.listener.role
            seconds = self._revision.settings.timeouts.verdict_for(role)
            await self._run.run("end", seconds=seconds, keeps_recipients=self._judges_each)
        if self._has_lists:
            self._run.add(self._engine.own.findings(transaction))
        if self._run.has_findings:
            refused = (judge_each if self._judges_each else judge)(transaction, self._run)
            if refused is not None:
                self.refuse(refused)
            elif any(recipient.final is not None for recipient in transaction.recipients):
                self._leaves_out = True
        if self._door.chain.marks and self.refusal is None and self._reader.section is not None:
            for edit in marks(self._reader.section, transaction.verdict or PASS, self._run.findings):
                self._edits.append(edit)
        transaction.verdict_at = self._engine.clock.seconds()

    @property
    def _judges_each(self) -> bool:
        """Each recipient has a verdict of its own: it hears an answer of its own, and can be left out."""
        return self._spool is not None and self._transaction.hears_each

    async def _conclude(self) -> Reply:
        """The passing verdict is there: what is to be kept is kept, then the rest goes on."""
        transaction = self._transaction
        if not takes(transaction) or self._copy is None or self._reader.section is None:
            return await self._commit()
        levels = self._tls_level, self._copy_level
        keeping = Keeping(self._engine, self._revision.settings, transaction, *levels)
        refused = await keeping.begin(self._copy, self._reader.section, self.fate.key)
        if refused is not None:
            self.refuse(refused)
            return refused
        reply, is_decided = status.TAKEN, False
        try:
            if keeping.takes_all:
                self._delivery.abandon("the gateway has it")
            else:
                reply = await self._commit()
            is_decided = True
        finally:
            # Broken off, nobody knows what became of it: then it is told of.
            await keeping.end(reply.is_positive or not is_decided)
        return reply

    @property
    def _tls_level(self) -> str:
        """What rules ask of the way to any of its recipients."""
        places = range(len(self._transaction.recipients))
        return max((self._run.need(place).level for place in places), key=LEVELS.index, default="")

    @property
    def _copy_level(self) -> str:
        """What policies ask of the way to any of its recipients. DANE is about the servers of those alone."""
        policies, facts = self._revision.policies, self._transaction
        if not policies.has_backend:
            return ""
        levels = [
            policies.need(facts, one.path).level for one in facts.recipients if one.state == "accepted" or one.taken
        ]
        level = max(levels, key=LEVELS.index, default="")
        return "verified" if level == "dane" else level

    def _known(self) -> Reply | None:
        """Some recipients may have it from an earlier try: they are left out. A Reply where that is the end."""
        if not self.fate.may_be_known:
            return None
        answered, leaves_out = self.fate.leave_out(can_leave_out=self._spool is not None)
        self._leaves_out = self._leaves_out or leaves_out
        if answered is status.EARLIER_TRY:
            self.refuse(answered)
        elif answered is not None:
            self._delivery.abandon("delivered before")
        return answered

    async def _commit(self) -> Reply:
        """Terminators go out, and the answers make the reply."""
        answered = self._known()
        if answered is None and self._leaves_out:
            answered = await self._delivery.again()
        if answered is not None:
            return answered
        delivery = self._delivery
        refused = await self._secure() if self._spool is not None else delivery.lacks(self._run.need())
        if refused is not None:
            return refused
        if self._spool is not None:
            refused = await self._unspool(self._spool)
            if refused is not None:
                return refused
        held, self._held = self._held, None
        prefix, self._prefix = self._prefix, b""
        return await delivery.commit(held, prefix)

    async def _unspool(self, spool: Spool) -> Reply | None:
        """Send a spooled body up to its last piece, which `commit` takes."""
        delivery = self._delivery
        section = self._reader.section
        assert section is not None
        splices: Sequence[Splice]
        splices, missed = self._edits.splices(section)
        self._note_missed(missed)
        held: Chunk | None = None
        self._prefix = b""
        try:
            if self._signers:
                splices = await self._signed(spool, splices)
            refused = await delivery.start(self.by_chunks)
            if refused is not None:
                return refused
            async for piece in edited(spool.pieces(), splices):
                if held is not None:
                    refused = await delivery.content(held, b"")
                    if refused is not None:
                        return refused
                held = Chunk(piece, None)
        except NotSigned as error:
            delivery.abandon("not signed")
            return status.UNSIGNABLE if error.is_permanent else status.NOT_SIGNED
        except ValueError as error:
            # What was planned does not fit what came: nothing of it may be delivered.
            self._transaction.notes.append(f"edits: {error}")
            delivery.abandon("edits do not fit")
            return status.INTERNAL
        except OSError as error:
            self._transaction.notes.append(f"spool: {error}")
            delivery.abandon("spool failed")
            return status.DISK_FULL
        self._held = held
        return None

    async def _signed(self, spool: Spool, splices: Sequence[Splice]) -> Sequence[Splice]:
        """The edits with our signatures on top, made over what they lead to."""
        engine = self._engine
        cap = self._revision.settings.limits.header_size_octets + sum(len(one.put) for one in splices)
        pieces = edited(spool.pieces(), splices)
        made = await sign(
            self._signers, pieces, cap, int(engine.wall()), engine.in_thread, engine.tell, self._transaction
        )
        return made.onto(splices)

    def close(self) -> None:
        """The transaction is over."""
        self.fate.settle()
        if self._copy is not None:
            self._copy.close()
