"""One backend's part of a transaction: its legs, from the first recipient to the answer after the end of data.

SMTP has one leg (proxy.leg) with all recipients; LMTP has one for each recipient, in parallel, since there each has a
final reply of its own (RFC 2033 section 4.2).

Failover is silent until the first 2yz to a RCPT has been relayed, never after (P-231): until then the client has been
promised nothing that another server could not keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from smtpgate.policy.event import LinkFailed as LinkFailedEvent
from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.leg import EnvelopeRefused, Leg
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.params import mail_params
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock


class Part:
    """The legs at one backend.

    :ivar is_lmtp: there is one leg for each recipient
    :ivar broken: a leg was lost after its recipients were promised something: nothing can be delivered there
    :ivar server_wish: the server that is to be asked first
    """

    __slots__ = (
        "transaction",
        "pool",
        "is_lmtp",
        "legs",
        "broken",
        "server_wish",
        "_kept",
        "_is_union",
        "_timeouts",
        "_tell",
        "_clock",
        "_prefix_octets",
    )

    def __init__(
        self,
        transaction: Transaction,
        pool: Pool,
        kept: KeptLinks,
        timeouts: Any,
        clock: Clock,
        tell: Callable[[Any], None],
        prefix_octets: int,
        *,
        is_union: bool,
    ) -> None:
        """:param prefix_octets: how much larger the message will leave than it came"""
        self.transaction = transaction
        self.pool = pool
        self.is_lmtp = pool.backend.protocol == "lmtp"
        self.legs: list[Leg] = []
        self.broken: LinkFailed | None = None
        self.server_wish = ""
        self._kept = kept
        self._is_union = is_union or pool.backend.kind == "mx"
        self._timeouts = timeouts
        self._clock = clock
        self._tell = tell
        self._prefix_octets = prefix_octets

    @property
    def living(self) -> list[Leg]:
        """Legs that may still be committed."""
        return [leg for leg in self.legs if leg.final is None and leg.recipients]

    # Envelope

    async def mail(self, need: Need = NO_NEED) -> Reply:
        """Relay the sender at once: the link of a relayed login stands already."""
        if self._kept.has_less(self.pool, need):
            return status.ENCRYPTION_NEEDED
        link = self._kept.take(self.pool, self.transaction.session.traffic_class)
        if link is None:
            return status.BACKEND_LOST
        leg = Leg(link, self.pool)
        self._note_server(link)
        try:
            await link.settle(self._clock.seconds() + self._timeouts.backend_s)
            await leg.envelope(self.transaction, [], self._params(link), self._timeouts.backend_s, self._clock)
        except EnvelopeRefused as refused:
            self._release(leg)
            return refused.reply
        except LinkFailed as failed:
            link.abort(failed.reason)
            self._report(link, failed)
            return failed.reply
        except BaseException:
            link.abort("client gone")
            raise
        if leg.is_begun:
            self.legs.append(leg)
        else:
            self._release(leg)
        assert leg.sender_reply is not None
        return leg.sender_reply

    def rcpt(self, group: Sequence[Recipient], is_first: bool, need: Need = NO_NEED) -> Awaitable[list[Reply]]:
        """Relay recipients; the servers' replies, or ours for them, one each.

        :param need: what they ask of their link; those who ask for more than the others have a leg of their own
        :param is_first: the transaction has no other leg. Another one waits for no slot, or two transactions could wait
            for each other: its recipients hear 452, and come in a transaction of their own
        """
        if self.is_lmtp:
            return self._rcpt_each(group, is_first, need)
        if not need:
            return self._rcpt(group, self.legs[0] if self.legs else None, is_first, need)
        leg = next((one for one in self.legs if need.is_met(one.link.tls, one.link.need)), None)
        if leg is not None:
            leg.need = leg.need.and_(need)
        return self._rcpt(group, leg, is_first and not self.legs, need)

    async def _rcpt_each(self, group: Sequence[Recipient], is_first: bool, need: Need) -> list[Reply]:
        replies: list[Reply] = []
        for recipient in group:
            replies += await self._rcpt([recipient], None, is_first and not self.legs, need)
        return replies

    async def _rcpt(
        self, group: Sequence[Recipient], leg: Leg | None, may_wait: bool, need: Need = NO_NEED
    ) -> list[Reply]:
        if self.broken is not None:
            return [self.broken.reply] * len(group)
        # The link of a login is in use, or kept: no other will do.
        if leg is None and need and (self._kept.has_less(self.pool, need) or self.legs and self._kept.is_pinned):
            return [status.ENCRYPTION_NEEDED] * len(group)
        session = self.transaction.session
        # A 2yz to RCPT of this backend went to the client: no other server may take over.
        is_promised = bool(self.legs) and any(one.recipients for one in self.legs)
        tried: set[str] = set()
        #: The first failure, without its traceback: that knows this frame, and both would wait for the collector.
        reply: Reply | None = None
        is_busy = False
        key = group[0].path.domain
        wish = self.legs[0].link.server if self.legs else self.server_wish
        while True:
            is_reused = False
            try:
                if leg is None:
                    link = self._kept.take(self.pool, session.traffic_class, need)
                    is_reused = link is not None
                    if link is not None:
                        leg = Leg(link, self.pool, need)
                        if not link.is_settled:
                            await link.settle(self._clock.seconds() + self._timeouts.backend_s)
                    elif self._kept.is_pinned:
                        raise LinkFailed("idle", status.BACKEND_LOST, "the link that was logged in is gone")
                    else:
                        deadline = self._clock.seconds() + self._timeouts.greeting_s
                        link = await self.pool.link(
                            session, key, deadline, frozenset(tried), wish, may_wait=may_wait, need=need
                        )
                        is_reused = link.transactions > 0
                        leg = Leg(link, self.pool, need)
                    self._note_server(link)
                params = self._params(leg.link)
                replies = await leg.envelope(self.transaction, group, params, self._timeouts.backend_s, self._clock)
            except EnvelopeRefused as refused:
                assert leg is not None
                self._release(leg)
                return [refused.reply] * len(group)
            except LinkFailed as failed:
                if reply is None:
                    reply, is_busy = failed.reply, failed.is_busy
                if leg is not None:
                    leg.link.abort(failed.reason)
                    self._report(leg.link, failed, is_fault=not is_reused)
                    if leg in self.legs:
                        self.legs.remove(leg)
                    if not is_reused:
                        tried.add(leg.link.server)
                elif not is_reused or self._kept.is_pinned:
                    # The pool has asked all that there are.
                    if not may_wait and is_busy:
                        return [status.OTHER_DESTINATION] * len(group)
                    return [reply] * len(group)
                if is_promised or self._kept.is_pinned:
                    self.broken = failed
                    return [failed.reply] * len(group)
                leg = None
                continue
            except BaseException:
                if leg is not None:
                    leg.link.abort("client gone")
                raise
            for recipient in group:
                recipient.backend, recipient.server = self.pool.backend.name, leg.link.server
            if leg.is_begun and leg not in self.legs:
                if leg.recipients or not self.is_lmtp:
                    self.legs.append(leg)
                else:
                    self._release(leg)
            elif not leg.is_begun:
                self._release(leg)
            return replies

    async def again(self) -> dict[Recipient, Reply | None]:
        """Some recipients are left out (`state` is no longer "accepted"): the others of their legs are asked for anew.
        All that are left, each with the server's reply to that; None for one whose leg stands as it is."""
        answers: dict[Recipient, Reply | None] = {}
        for leg in list(self.legs):
            rest = [one for one in leg.recipients if one.state == "accepted"]
            if len(rest) == len(leg.recipients):
                answers.update(dict.fromkeys(rest))
                continue
            self.legs.remove(leg)
            leg.abandon("not for all of its recipients")
            if not rest:
                self._give_back(leg.link)
                continue
            answers.update(zip(rest, await self._anew(leg.link, rest, leg.need), strict=True))
        return answers

    async def secure(self, need: Need, is_alone: bool) -> dict[Recipient, Reply | None]:
        """The message asks for more than its recipients did: legs whose link has less are begun anew, before any of its
        content has gone there. The answers are as those of `again`; one that is alone may wait for a slot."""
        answers: dict[Recipient, Reply | None] = {}
        for leg in list(self.legs):
            group = leg.recipients
            if need.is_met(leg.link.tls, leg.link.need):
                leg.need = leg.need.and_(need)
                answers.update(dict.fromkeys(group))
                continue
            if self._kept.is_pinned:
                answers.update(dict.fromkeys(group, status.ENCRYPTION_NEEDED))
                continue
            self.legs.remove(leg)
            leg.abandon("it has not the protection that the message needs")
            self._give_back(leg.link)
            both = leg.need.and_(need)
            replies = await self._rcpt(group, None, is_alone and not self.legs, both) if group else []
            answers.update(zip(group, replies, strict=True))
        return answers

    async def _anew(self, link: Link, group: Sequence[Recipient], need: Need) -> list[Reply]:
        """A transaction for these on a link that has just said RSET; on another where it is lost."""
        leg = Leg(link, self.pool, need)
        try:
            await link.settle(self._clock.seconds() + self._timeouts.backend_s)
            params = self._params(link)
            replies = await leg.envelope(self.transaction, group, params, self._timeouts.backend_s, self._clock)
        except EnvelopeRefused as refused:
            self._release(leg)
            return [refused.reply] * len(group)
        except LinkFailed as failed:
            link.abort(failed.reason)
            self._report(link, failed)
            return await self._rcpt(group, None, not self.legs, need)
        except BaseException:
            link.abort("client gone")
            raise
        if leg.is_begun and leg.recipients:
            self.legs.append(leg)
        else:
            self._release(leg)
        return replies

    def _give_back(self, link: Link) -> None:
        if link.is_usable:
            self._kept.keep(self.pool, link)
        else:
            link.abort()

    def _note_server(self, link: Link) -> None:
        transaction = self.transaction
        if not transaction.server or transaction.backend == self.pool.backend.name:
            transaction.backend = self.pool.backend.name
            transaction.server = link.server
            transaction.backend_tls = link.tls.version if link.tls is not None else ""
        transaction.session.note(self._clock.seconds(), "backend", "link", link.server)

    def _report(self, link: Link, failed: LinkFailed, is_fault: bool = True) -> None:
        """A link is lost. One that was closed while it rested says nothing of its server."""
        session = self.transaction.session
        if is_fault:
            self.pool.failed(link, failed)
        self._tell(LinkFailedEvent(self.pool.backend.name, link.server, failed.stage, failed.reason, session.id))
        session.note(self._clock.seconds(), "backend", f"lost at {failed.stage}", f"{link.server}: {failed.reason}")

    def _params(self, link: Link) -> Mapping[str, bytes | None]:
        """MAIL parameters for this server."""
        return mail_params(self.transaction, link, self._prefix_octets, is_lmtp=self.is_lmtp, is_union=self._is_union)

    def _release(self, leg: Leg) -> None:
        """The server took no part of the transaction: keep the link for the next recipient."""
        leg.abandon("nothing accepted")
        self._give_back(leg.link)

    # Content

    def ask_data(self, by_chunks: bool) -> None:
        """DATA to every leg, so that all can be waited for together."""
        for leg in self.legs:
            if leg.recipients and not leg.is_sending:
                leg.ask_data(by_chunks)

    async def start(self, by_chunks: bool, deadline: float) -> Reply | None:
        """Come to where content may be sent; the refusal of a leg, a transient one before a permanent one. Legs that
        are there already stay so."""
        refusal: Reply | None = None
        for leg in self.legs:
            if not leg.recipients or leg.is_sending:
                continue
            try:
                refused = await leg.start(by_chunks, deadline)
            except LinkFailed as failed:
                self._fail(leg, failed)
                refused = failed.reply
            if refused is not None and (refusal is None or refused.is_transient):
                refusal = refused
        return refusal

    def _fail(self, leg: Leg, failed: LinkFailed) -> None:
        leg.final = failed.reply
        leg.is_sending = False
        leg.link.abort(failed.reason)
        self._report(leg.link, failed)

    async def content(self, chunk: Chunk, prefix: bytes, deadline: float) -> None:
        """Content to every leg that still stands."""
        for leg in self.living:
            try:
                await leg.content(chunk, prefix, deadline)
            except LinkFailed as failed:
                self._fail(leg, failed)

    async def end_chunk(self, deadline: float) -> None:
        """A chunk of the client is complete."""
        for leg in self.living:
            try:
                await leg.end_chunk(deadline)
            except LinkFailed as failed:
                self._fail(leg, failed)

    def look(self) -> list[Leg]:
        """See what has become of the legs while we were waiting for others; those that may still be committed."""
        legs = []
        for leg in self.legs:
            if leg.final is not None or not leg.recipients:
                continue
            # A refusal that came while we were waiting for the client: no terminator (P-102).
            leg.look_early()
            if leg.final is None and leg.link.failure is not None:
                # Lost while we were waiting for the client: no terminator went out, so nothing is unknown.
                self._fail(leg, leg.link.failure)
            elif leg.final is None:
                legs.append(leg)
        return legs

    def commit(self, chunk: Chunk | None, prefix: bytes) -> list[Leg]:
        """Write the terminator to each leg that still stands; those legs. The caller holds a passing verdict."""
        legs = self.look()
        for leg in legs:
            leg.commit(chunk, prefix)
        return legs

    async def outcome(self, legs: Sequence[Leg]) -> None:
        """Await every leg's answer."""
        deadline = (began := self._clock.seconds()) + self._timeouts.data_done_s
        for leg in legs:
            try:
                reply = await leg.outcome(deadline)
                self.pool.answered(leg.link, reply, self._clock.seconds() - began, self.transaction.octets)
            except LinkFailed as failed:
                leg.link.abort(failed.reason)
                self._report(leg.link, failed)

    # Ending

    def abandon(self, reason: str) -> None:
        """No end of data goes there any more."""
        for leg in self.legs:
            leg.abandon(reason)

    def finish(self) -> None:
        """Give the links back to the session, or up."""
        for leg in self.legs:
            link = leg.link
            if not link.is_usable or leg.is_sending or link.waiting and not link.is_dirty:
                link.abort()
            else:
                self._kept.keep(self.pool, link)
        self.legs = []
