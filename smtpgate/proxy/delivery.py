"""The back links of one transaction: envelopes, content, and the one place that may produce the final 2yz.

A `Leg` is one mail transaction at one server. SMTP has one leg with all recipients; LMTP has one for each recipient,
in parallel, since there each has a final reply of its own (RFC 2033 section 4.2): all legs come to their dot before
the first is committed. After the dot no other server is tried (promise 7).

Failover is silent until the first 2yz to a RCPT has been relayed, never after (P-231): until then the client has been
promised nothing that another server could not keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from smtpgate.policy.event import LinkFailed as LinkFailedEvent
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.proxy.kept import KeptLink
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.command import mail_line, rcpt_line
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock


class EnvelopeRefused(Exception):
    """A parameter was promised to the client that this server does not keep."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Leg:
    """One mail transaction at one server.

    :ivar recipients: those that the server accepted
    :ivar sender_reply: its reply to MAIL
    :ivar final: the server's last word, or ours for it
    :ivar is_unknown: its answer to the end of data was lost
    """

    __slots__ = (
        "link",
        "recipients",
        "is_begun",
        "final",
        "is_unknown",
        "is_sending",
        "by_chunks",
        "sender_reply",
        "_held",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.recipients: list[Recipient] = []
        self.is_begun = False
        self.final: Reply | None = None
        self.is_unknown = False
        self.is_sending = False
        self.by_chunks = False
        self.sender_reply: Reply | None = None
        self._held = b""

    @property
    def is_alive(self) -> bool:
        """True while it may still be committed."""
        return self.final is None

    async def envelope(
        self,
        transaction: Transaction,
        group: Sequence[Recipient],
        params: Mapping[str, bytes | None],
        backend_s: float,
        clock: Clock,
    ) -> list[Reply]:
        """MAIL, where it was not said yet, and RCPT for each of the group; one packet where the server pipelines."""
        link = self.link
        if "DSN" not in link.capabilities.words and any(recipient.params for recipient in group):
            # What was promised is not dropped (P-187): these must come again, when EHLO offers it no more.
            rest = [recipient for recipient in group if not recipient.params]
            answered = iter(await self.envelope(transaction, rest, params, backend_s, clock) if rest else ())
            return [status.BACKEND_CHANGED if recipient.params else next(answered) for recipient in group]
        commands: list[tuple[str, bytes]] = []
        if not self.is_begun:
            if link.backend.client_info == "xforward":
                await link.xforward(transaction.session, clock.seconds() + backend_s)
            commands.append(("MAIL", mail_line(transaction.sender, params)))
        for recipient in group:
            commands.append(("RCPT", rcpt_line(recipient.path, recipient.params)))
        link.is_dirty = True
        replies: list[Reply] = []
        deadline = clock.seconds() + backend_s
        if "PIPELINING" in link.capabilities.words or len(commands) == 1:
            link.send_all(commands)
            answers = link.answers
            for _ in commands:
                replies.append(answers.popleft() if answers else await link.answer(deadline))
        else:
            for kind, line in commands:
                replies.append(await link.ask(kind, line, clock.seconds() + backend_s))
                if kind == "MAIL" and not replies[0].is_positive:
                    replies += replies[:1] * len(group)
                    break
        if not self.is_begun:
            self.sender_reply = sender_reply = replies.pop(0).completed()
            if sender_reply.code >= 300:
                _no_goodbye(sender_reply, "mail")
                if any(reply.is_positive for reply in replies):
                    link.abort("RCPT accepted after MAIL was refused")
                    raise LinkFailed("rcpt", status.BACKEND_PROTOCOL, "RCPT accepted after MAIL was refused")
                link.is_dirty = False
                return [sender_reply] * len(group)
            self.is_begun = True
            link.transactions += 1
        for number, reply in enumerate(replies):
            if reply.code < 300:
                self.recipients.append(group[number])
            elif reply.code == 421:
                _no_goodbye(reply, "rcpt")
            replies[number] = reply.completed()
        return replies

    # Content

    async def start(self, by_chunks: bool, deadline: float) -> Reply | None:
        """Come to the point where content may be sent; a Reply where the server refuses."""
        self.by_chunks = by_chunks and "CHUNKING" in self.link.capabilities
        self.is_sending = True
        if self.by_chunks:
            return None
        reply = await self.link.answer(deadline)
        if reply.code == 354:
            self.link.start_data()
            return None
        _no_goodbye(reply, "data")
        self.final = reply.completed()
        self.is_sending = False
        return self.final

    def ask_data(self, by_chunks: bool) -> None:
        """Write DATA, so that several legs can wait together."""
        if not (by_chunks and "CHUNKING" in self.link.capabilities):
            self.link.send("DATA", b"DATA\r\n")

    async def content(self, chunk: Chunk, prefix: bytes, deadline: float) -> None:
        """Pass content on; waits while the server is slower than it comes."""
        if self.by_chunks:
            held, self._held = self._held, prefix + chunk.content
            if held:
                self.link.send_chunk(held, False)
                await self._chunk_reply(deadline)
        else:
            self.link.content(chunk, prefix)
            await self.link.room(deadline)
        self.look_early()

    def look_early(self) -> None:
        """A refusal before the end of data ends the leg."""
        early = self.link.early
        if early is not None and self.final is None:
            self.final = early.completed() if early.code != 421 else Reply(451, "4.3.2", early.lines)
            self.link.abort("refused before the end of data")

    async def _chunk_reply(self, deadline: float) -> None:
        reply = await self.link.answer(deadline)
        if not reply.is_positive:
            _no_goodbye(reply, "body")
            self.final = reply.completed()

    async def end_chunk(self, deadline: float) -> None:
        """A chunk of the client is complete, and not the last: have it acknowledged."""
        if self.by_chunks and self._held:
            held, self._held = self._held, b""
            self.link.send_chunk(held, False)
            await self._chunk_reply(deadline)

    def commit(self, chunk: Chunk | None, prefix: bytes) -> None:
        """Write the last content and the terminator: from here on the message may be delivered."""
        if self.by_chunks:
            last = prefix + chunk.content if chunk is not None else prefix
            if self._held and len(self._held) + len(last) <= 1 << 20:
                last = self._held + last
            elif self._held:
                self.link.send_chunk(self._held, False)
            self._held = b""
            self.link.send_chunk(last, True)
        else:
            self.link.end_data(chunk, prefix)

    async def outcome(self, deadline: float) -> Reply:
        """The server's answer to the terminator."""
        try:
            reply = await self.link.answer(deadline)
            while self.by_chunks and self.link.waiting:
                if not reply.is_positive:
                    break
                reply = await self.link.answer(deadline)
        except LinkFailed as failure:
            self.is_unknown = True
            self.final = failure.reply
            raise
        self.is_sending = False
        self.link.is_dirty = False
        self.final = Reply(451, "4.3.2", reply.lines) if reply.code == 421 else reply.completed()
        return self.final

    def abandon(self, reason: str) -> None:
        """Leave the server without an end of data: by RSET where it reads commands, else by dropping the link."""
        link = self.link
        if not link.is_usable or self.is_sending and not self.by_chunks or link.waiting:
            link.abort(reason)
        elif self.is_begun or link.is_dirty:
            link.reset()
        self.is_sending = False


def _no_goodbye(reply: Reply, stage: str) -> None:
    """A 421 ends the link, whatever it answered; the client hears a 451 with the server's own text (A-9)."""
    if reply.code == 421:
        raise LinkFailed(stage, Reply(451, "4.3.2", reply.lines), f"server closes: {reply.text}", is_busy=True)


class Delivery:
    """All legs of one transaction."""

    __slots__ = (
        "transaction",
        "legs",
        "pool",
        "is_broken",
        "_kept",
        "_is_union",
        "_timeouts",
        "_tell",
        "_clock",
        "_prefix_octets",
        "_by_chunks",
        "server_wish",
    )

    def __init__(
        self,
        transaction: Transaction,
        pool: Pool,
        kept: KeptLink,
        timeouts: Any,
        clock: Clock,
        tell: Any,
        prefix_octets: int,
        *,
        is_union: bool,
    ) -> None:
        """
        :param kept: the link that the session keeps between transactions
        :param prefix_octets: how much larger the message will leave than it came (our trace field)
        """
        self.transaction = transaction
        self.pool = pool
        self.legs: list[Leg] = []
        self.is_broken: LinkFailed | None = None
        self.server_wish = ""
        self._kept = kept
        self._is_union = is_union
        self._timeouts = timeouts
        self._clock = clock
        self._tell = tell
        self._prefix_octets = prefix_octets
        self._by_chunks = False

    @property
    def is_lmtp(self) -> bool:
        """One leg for each recipient."""
        return self.pool.backend.protocol == "lmtp"

    # Envelope

    async def mail(self) -> Reply:
        """Relay the sender at once: the link of a relayed login stands already."""
        link = self._kept.take(self.pool)
        if link is None:
            return status.BACKEND_LOST
        leg = Leg(link)
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

    def rcpt(self, group: Sequence[Recipient]) -> Awaitable[list[Reply]]:
        """Relay recipients; the servers' replies, or ours for them, one each."""
        if self.pool.backend.protocol != "lmtp":
            return self._rcpt(group, self.legs[0] if self.legs else None)
        return self._rcpt_each(group)

    async def _rcpt_each(self, group: Sequence[Recipient]) -> list[Reply]:
        replies: list[Reply] = []
        for recipient in group:
            if self.legs and self._full():
                replies.append(status.OTHER_DESTINATION)
            else:
                replies += await self._rcpt([recipient], None)
        return replies

    def _full(self) -> bool:
        server = self.pool.server(self.legs[0].link.server)
        return server is not None and server.links >= server.max_links

    async def _rcpt(self, group: Sequence[Recipient], leg: Leg | None) -> list[Reply]:
        if self.is_broken is not None:
            return [self.is_broken.reply] * len(group)
        tried: set[str] = set()
        failure: LinkFailed | None = None
        key = group[0].path.domain
        wish = self.legs[0].link.server if self.legs else self.server_wish
        while True:
            is_reused = False
            try:
                if leg is None:
                    link = self._kept.take(self.pool)
                    is_reused = link is not None
                    if link is None and self._kept.is_pinned:
                        raise LinkFailed("idle", status.BACKEND_LOST, "the link that was logged in is gone")
                    if link is None:
                        deadline = self._clock.seconds() + self._timeouts.greeting_s
                        link = await self.pool.link(self.transaction.session, key, deadline, frozenset(tried), wish)
                    elif not link.is_settled:
                        await link.settle(self._clock.seconds() + self._timeouts.backend_s)
                    leg = Leg(link)
                    self._note_server(link)
                params = self._params(leg.link)
                replies = await leg.envelope(self.transaction, group, params, self._timeouts.backend_s, self._clock)
            except EnvelopeRefused as refused:
                assert leg is not None
                self._release(leg)
                return [refused.reply] * len(group)
            except LinkFailed as failed:
                failure = failure or failed
                if leg is not None:
                    leg.link.abort(failed.reason)
                    self._report(leg.link, failed)
                    if leg in self.legs:
                        self.legs.remove(leg)
                    if not is_reused:
                        tried.add(leg.link.server)
                elif not is_reused or self._kept.is_pinned:
                    # The pool has asked all that there are.
                    return [failure.reply] * len(group)
                if self._is_promised() or self._kept.is_pinned:
                    self.is_broken = failed
                    return [failed.reply] * len(group)
                leg = None
                continue
            except BaseException:
                if leg is not None:
                    leg.link.abort("client gone")
                raise
            if leg.is_begun and leg not in self.legs:
                if leg.recipients or not self.is_lmtp:
                    self.legs.append(leg)
                else:
                    self._release(leg)
            elif not leg.is_begun:
                self._release(leg)
            return replies

    def _is_promised(self) -> bool:
        """A 2yz to RCPT went to the client: no other server may take over."""
        return self.transaction.accepted > 0

    def _note_server(self, link: Link) -> None:
        transaction = self.transaction
        transaction.backend = self.pool.backend.name
        transaction.server = link.server
        transaction.backend_tls = link.tls.version if link.tls is not None else ""
        transaction.session.note(self._clock.seconds(), "backend", "link", link.server)

    def _report(self, link: Link, failed: LinkFailed) -> None:
        session = self.transaction.session
        self._tell(LinkFailedEvent(self.pool.backend.name, link.server, failed.stage, failed.reason, session.id))
        session.note(self._clock.seconds(), "backend", f"lost at {failed.stage}", f"{link.server}: {failed.reason}")

    def _params(self, link: Link) -> Mapping[str, bytes | None]:
        """MAIL parameters for this server. Nothing that was promised is dropped (P-187, P-279)."""
        given = self.transaction.params
        if not given:
            return given
        offered = link.capabilities
        params: dict[str, bytes | None] = {}
        for name, value in given.items():
            if name == "SIZE":
                # Covers what we add; 0 means unknown and stays so.
                if "SIZE" in offered and value is not None:
                    size = int(value)
                    params[name] = b"%d" % (size + self._prefix_octets if size else 0)
            elif name == "BODY":
                word = (value or b"").upper().decode("ascii")
                if word == "7BIT" and "8BITMIME" not in offered:
                    continue
                if word != "7BIT" and word not in offered or word == "BINARYMIME" and "CHUNKING" not in offered:
                    raise EnvelopeRefused(status.BACKEND_CHANGED)
                params[name] = value
            elif name == "AUTH":
                # Whom the client claims to relay for is believed of nobody (RFC 4954 section 5).
                if "AUTH" in offered:
                    params[name] = b"<>"
            elif name == "REQUIRETLS":
                if "REQUIRETLS" not in offered or link.tls is None or not link.tls.is_verified:
                    raise EnvelopeRefused(status.REQUIRETLS_LOST)
                params[name] = value
            elif name == "SMTPUTF8":
                if name not in offered:
                    # Known beforehand under `union`; otherwise a change of the server's mind.
                    raise EnvelopeRefused(status.NO_SMTPUTF8_RECIPIENT if self._is_union else status.BACKEND_CHANGED)
                params[name] = value
            else:
                if "DSN" not in offered:
                    raise EnvelopeRefused(status.BACKEND_CHANGED)
                params[name] = value
        return params

    def _release(self, leg: Leg) -> None:
        """The server took no part of the transaction: keep the link for the next recipient."""
        leg.abandon("nothing accepted")
        if leg.link.is_usable:
            self._kept.keep(self.pool, leg.link)
        else:
            leg.link.abort()

    # Content

    async def start(self, by_chunks: bool) -> Reply | None:
        """DATA to every leg; a Reply where none goes on."""
        self._by_chunks = by_chunks
        if self.is_broken is not None:
            return self.is_broken.reply
        legs = [leg for leg in self.legs if leg.recipients]
        for leg in legs:
            leg.ask_data(by_chunks)
        deadline = self._clock.seconds() + self._timeouts.data_init_s
        refusal: Reply | None = None
        for leg in legs:
            try:
                refused = await leg.start(by_chunks, deadline)
            except LinkFailed as failed:
                self._fail_leg(leg, failed)
                refused = failed.reply
            if refused is not None and (refusal is None or refused.is_transient):
                refusal = refused
        return None if any(leg.is_alive for leg in legs) else refusal or status.INTERNAL

    def _fail_leg(self, leg: Leg, failed: LinkFailed) -> None:
        leg.final = failed.reply
        leg.is_sending = False
        leg.link.abort(failed.reason)
        self._report(leg.link, failed)

    @property
    def living(self) -> list[Leg]:
        """Legs that may still be committed."""
        return [leg for leg in self.legs if leg.final is None and leg.recipients]

    async def content(self, chunk: Chunk, prefix: bytes) -> Reply | None:
        """Content to every leg; a Reply once none is left."""
        deadline = self._clock.seconds() + self._timeouts.data_block_s
        for leg in self.living:
            try:
                await leg.content(chunk, prefix, deadline)
            except LinkFailed as failed:
                self._fail_leg(leg, failed)
        return None if self.living else self._merged()

    async def end_chunk(self) -> Reply | None:
        """A chunk of the client is complete; a Reply once no leg is left."""
        deadline = self._clock.seconds() + self._timeouts.data_block_s
        for leg in self.living:
            try:
                await leg.end_chunk(deadline)
            except LinkFailed as failed:
                self._fail_leg(leg, failed)
        return None if self.living else self._merged()

    def commit(self, chunk: Chunk | None, prefix: bytes) -> list[Leg]:
        """Write the terminator to each leg that still stands; those legs. The caller holds a passing verdict."""
        committed = []
        for leg in self.living:
            # A refusal that came while we were waiting for the client: no terminator (P-102).
            leg.look_early()
            if leg.final is not None:
                continue
            failure = leg.link.failure
            if failure is not None:
                # Lost while we were waiting for the client: no terminator went out, so nothing is unknown.
                self._fail_leg(leg, failure)
            else:
                leg.commit(chunk, prefix)
                committed.append(leg)
        return committed

    async def outcome(self, legs: Sequence[Leg]) -> Reply:
        """Await every leg's answer; the one reply for the client."""
        deadline = self._clock.seconds() + self._timeouts.data_done_s
        for leg in legs:
            try:
                await leg.outcome(deadline)
            except LinkFailed as failed:
                leg.link.abort(failed.reason)
                self._report(leg.link, failed)
        return self._merged()

    def _merged(self) -> Reply:
        """One reply for all recipients: a common class is relayed, a mix is 451 and the ledger remembers."""
        finals = [leg.final for leg in self.legs if leg.final is not None and leg.recipients]
        if not finals:
            return status.INTERNAL
        if all(reply.is_positive for reply in finals) or all(reply.is_permanent for reply in finals):
            return finals[0]
        if len(finals) == 1:
            return finals[0]
        if any(reply.is_positive for reply in finals):
            return status.PARTLY_DELIVERED
        return next(reply for reply in finals if reply.is_transient)

    # Ending

    def abandon(self, reason: str) -> None:
        """No end of data goes to any server."""
        for leg in self.legs:
            leg.abandon(reason)
        self.finish()

    def finish(self) -> None:
        """Give the links back to the session, or up."""
        for leg in self.legs:
            link = leg.link
            if not link.is_usable or leg.is_sending or link.waiting and not link.is_dirty:
                link.abort()
            elif self._kept.link is not None:
                link.quit()
            else:
                self._kept.keep(self.pool, link)
        self.legs = []
