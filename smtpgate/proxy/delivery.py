"""The back legs of one transaction, and the one place that may produce the final 2yz.

Recipients of several backends have one content and one reply after it. All legs come to their dot before the first is
committed, and are then committed one backend after the other, the strictest first: what it refuses goes nowhere. Once
one has the message the others are no condition any more: who fails then is told so at the retry, and the ledger knows
whom not to serve again. After the dot no other server is tried (promise 7).

Where the client takes an answer for each recipient (`Transaction.hears_each`) no leg depends on another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.proxy.leg import Leg
from smtpgate.proxy.part import Part
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock

#: What a message needs cannot be had, by what asks for it.
UNMET = (status.ENCRYPTION_NEEDED, status.REQUIRETLS_LOST)


class Delivery:
    """All legs of one transaction.

    :ivar is_committing: a server has been given the end of data
    """

    __slots__ = (
        "transaction",
        "is_committing",
        "_parts",
        "_single",
        "_pools",
        "_make",
        "_timeouts",
        "_clock",
        "_by_chunks",
    )

    def __init__(self, transaction: Transaction, make: Callable[[Pool], Part], timeouts: Any, clock: Clock) -> None:
        """
        :param make: gives the part of a backend
        """
        self.transaction = transaction
        self.is_committing = False
        self._parts: dict[Pool, Part] = {}
        #: The part of a message that goes to one backend; None where it goes to several.
        self._single: Part | None = None
        self._pools: dict[Recipient, Pool] = {}
        self._make = make
        self._timeouts = timeouts
        self._clock = clock
        self._by_chunks = False

    @property
    def only(self) -> Leg | None:
        """The leg of a message that has one alone, as most have; None for all others."""
        part = self._single
        if part is not None and len(part.legs) == 1 and part.broken is None and part.legs[0].recipients:
            return part.legs[0]
        return None

    @property
    def legs(self) -> list[Leg]:
        """All legs, backend by backend."""
        return [leg for part in self._parts.values() for leg in part.legs]

    def goes_to(self, pool: Pool) -> bool:
        """Whether it has a leg at that backend."""
        part = self._parts.get(pool)
        return part is not None and bool(part.legs)

    @property
    def backends(self) -> int:
        """At how many backends it has legs with recipients."""
        return sum(1 for part in self._parts.values() if any(leg.recipients for leg in part.legs) or part.broken)

    def _part(self, pool: Pool) -> Part:
        part = self._parts.get(pool)
        if part is None:
            part = self._make(pool)
            self._single = None if self._parts else part
            self._parts[pool] = part
        return part

    # Envelope

    async def mail(self, pool: Pool, need: Need = NO_NEED) -> Reply:
        """Relay the sender at once: the link of a relayed login stands already."""
        return await self._part(pool).mail(need)

    def rcpt(
        self, pool: Pool, group: Sequence[Recipient], server_wish: str = "", need: Need = NO_NEED
    ) -> Awaitable[list[Reply]]:
        """Relay recipients of one backend; the servers' replies, or ours for them, one each.

        :param server_wish: the server that is to be asked first
        :param need: what they ask of their link
        """
        part = self._part(pool)
        part.server_wish = server_wish
        is_first = True
        for other in list(self._parts.values()) if part is not self._single else ():
            if other is not part and other.legs:
                if any(leg.recipients for leg in other.legs):
                    is_first = False
                else:
                    # Nobody was accepted there: the transaction goes on without it (P-195).
                    other.abandon("no recipient accepted")
                    other.finish()
        for recipient in group:
            self._pools[recipient] = pool
        return part.rcpt(group, is_first, need)

    async def again(self) -> Reply | None:
        """Some recipients are left out: their state says so. A Reply where nobody is left, or one of the others is not
        taken any more and there is one reply for all.

        Only legs with one of them are begun anew, on the link that they have: it has a slot, and others wait for that.
        """
        answers: dict[Recipient, Reply | None] = {}
        for part in self._parts.values():
            answers |= await part.again()
        return self._begun_anew(answers)

    async def secure(self, need: Need) -> Reply | None:
        """The message needs more protection than some of its legs have, and nothing of its content has gone there: they
        are begun anew where it can be had. A Reply where it cannot."""
        answers: dict[Recipient, Reply | None] = {}
        parts = list(self._parts.values())
        for part in parts:
            is_alone = not any(other.legs for other in parts if other is not part)
            answers |= await part.secure(need, is_alone)
        return self._begun_anew(answers)

    def lacks(self, need: Need) -> Reply | None:
        """Content has gone, and only now it is known what the message needs: a Reply where a leg has less. None of them
        is committed then."""
        if all(need.is_met(leg.link.tls, leg.link.need) for part in self._parts.values() for leg in part.living):
            return None
        self.abandon("it has not the protection that the message needs")
        return status.ENCRYPTION_NEEDED

    def _begun_anew(self, answers: Mapping[Recipient, Reply | None]) -> Reply | None:
        """What is to be said of it; see `again`."""
        each = self.transaction.hears_each
        refused: Reply | None = None
        is_left = False
        for recipient, reply in answers.items():
            if reply is None or reply.is_positive:
                is_left = True
                continue
            refused = reply if refused is None or refused in UNMET else refused
            recipient.state = "refused" if each and reply.is_permanent else "deferred"
            if each:
                recipient.final = reply
        if refused is None or each and is_left:
            return None
        # What cannot be had is the message's own fault; who was taken and is not any more may be taken again.
        return refused if refused.is_transient or refused in UNMET else Reply(451, "4.3.0", refused.lines)

    # Content

    def start(self, by_chunks: bool) -> Awaitable[Reply | None]:
        """DATA to every leg; a Reply where content is not wanted."""
        self._by_chunks = by_chunks
        if self.only is not None and self._single is not None:
            self._single.ask_data(by_chunks)
            return self._single.start(by_chunks, self._clock.seconds() + self._timeouts.data_init_s)
        return self._start_all(by_chunks)

    async def _start_all(self, by_chunks: bool) -> Reply | None:
        for part in self._parts.values():
            if part.broken is not None and not self.transaction.hears_each:
                return self._give_up(part.broken.reply)
        for part in self._parts.values():
            part.ask_data(by_chunks)
        deadline = self._clock.seconds() + self._timeouts.data_init_s
        refusal: Reply | None = None
        for part in self._parts.values():
            refused = await part.start(by_chunks, deadline)
            if refused is not None and (refusal is None or refused.is_transient):
                refusal = refused
        return self._judge(refusal)

    def _judge(self, refusal: Reply | None = None) -> Reply | None:
        """Whether the message may go on: a Reply where a backend is lost or refuses, or no leg is left."""
        each = self.transaction.hears_each
        leg = self.only
        if leg is not None and leg.final is None:
            return None
        for part in self._parts.values():
            finals = [leg.final for leg in part.legs if leg.recipients and leg.final is not None]
            if finals and not part.living and not each:
                return self._give_up(refusal or _merged(finals, each))
        if not any(part.living for part in self._parts.values()):
            return refusal or (self._reply() if each else status.INTERNAL)
        return None

    def _give_up(self, reply: Reply) -> Reply:
        """One backend cannot have the message before any has been given its end: then none has it."""
        for part in self._parts.values():
            if part.living:
                part.abandon("another backend does not take the message")
                for leg in part.living:
                    leg.final = reply
        return reply

    async def content(self, chunk: Chunk, prefix: bytes) -> Reply | None:
        """Content to every leg; a Reply once that is of no use any more."""
        deadline = self._clock.seconds() + self._timeouts.data_block_s
        for part in self._parts.values():
            await part.content(chunk, prefix, deadline)
        return self._judge()

    async def end_chunk(self) -> Reply | None:
        """A chunk of the client is complete; a Reply where the message is of no use any more."""
        deadline = self._clock.seconds() + self._timeouts.data_block_s
        for part in self._parts.values():
            await part.end_chunk(deadline)
        return self._judge()

    async def commit(self, chunk: Chunk | None, prefix: bytes) -> Reply:
        """Write the terminators, backend by backend, and await the answers. The caller holds a passing verdict.

        :return: the one reply for the message
        """
        only = self.only
        if only is not None and self._single is not None:
            legs = self._single.commit(chunk, prefix)
            self.is_committing = bool(legs)
            await self._single.outcome(legs)
            return only.final if only.final is not None and not only.finals else self._reply()
        each = self.transaction.hears_each
        parts = list(self._in_order())
        if len(parts) > 1:
            # All have all of it but the terminator before the first is committed.
            if chunk is not None:
                deadline = self._clock.seconds() + self._timeouts.data_block_s
                for part in parts:
                    await part.content(chunk, prefix, deadline)
                chunk, prefix = None, b""
            for part in parts:
                part.look()
            refused = self._judge()
            if refused is not None:
                return refused
        for number, part in enumerate(parts):
            legs = part.commit(chunk, prefix)
            self.is_committing = self.is_committing or bool(legs)
            await part.outcome(legs)
            is_taken = any(leg.final is not None and leg.final.is_positive for leg in legs)
            if not number and not is_taken and not each:
                for other in parts[1:]:
                    other.abandon("the first backend did not take the message")
                break
        return self._reply()

    def _reply(self) -> Reply:
        """The one reply for the message, as far as there are answers."""
        leg = self.only
        if leg is not None and leg.final is not None and not leg.finals:
            return leg.final
        return _merged([final for _, final in self.finals() if final is not None], self.transaction.hears_each)

    def finals(self) -> Iterator[tuple[Recipient, Reply | None]]:
        """The last word on each recipient that a backend accepted."""
        told = set()
        for leg in self.legs:
            for recipient in leg.recipients:
                told.add(recipient)
                yield recipient, leg.final_of(recipient)
        for recipient, pool in self._pools.items():
            broken = self._parts[pool].broken
            if broken is not None and recipient.state == "accepted" and recipient not in told:
                yield recipient, broken.reply

    def _in_order(self) -> Iterator[Part]:
        """Those that still stand, the one that refuses most at the end of data first."""
        living = [part for part in self._parts.values() if part.living]
        if len(living) > 1:
            living.sort(key=lambda part: -part.pool.refusals)
        return iter(living)

    # Ending

    def abandon(self, reason: str) -> None:
        """No end of data goes to any server."""
        for part in self._parts.values():
            part.abandon(reason)
        self.finish()

    def finish(self) -> None:
        """Give the links back to the session, or up."""
        for part in self._parts.values():
            part.finish()


def _merged(finals: Sequence[Reply], each: bool) -> Reply:
    """One reply for all recipients: a common class is relayed, a mix is 451 and the ledger remembers.

    :param each: each recipient hears its own besides: then one that has it makes it good
    """
    if not finals:
        return status.INTERNAL
    if each:
        done = next((reply for reply in finals if reply.is_positive), None)
        return done or next((reply for reply in finals if reply.is_transient), finals[0])
    if len(finals) == 1 or all(reply.is_positive for reply in finals) or all(reply.is_permanent for reply in finals):
        return finals[0]
    if any(reply.is_positive for reply in finals):
        return status.PARTLY_DELIVERED
    return next(reply for reply in finals if reply.is_transient)
