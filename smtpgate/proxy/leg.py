"""One mail transaction at one server: envelope, content, terminator, answer.

A leg never decides: `delivery` holds all legs of a message and says what happens when one fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.proxy.link import Link, LinkFailed
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

    :ivar pool: the backend (`proxy.pool.Pool`) whose server it is
    :ivar recipients: those that the server accepted
    :ivar sender_reply: its reply to MAIL
    :ivar final: the server's last word, or ours for it
    :ivar finals: its last word on each recipient, where it has one for each (draft-hall-prdr-00)
    :ivar is_unknown: its answer to the end of data was lost
    :ivar need: what its recipients and the message ask of its link
    """

    __slots__ = (
        "link",
        "pool",
        "recipients",
        "is_begun",
        "final",
        "finals",
        "is_unknown",
        "is_sending",
        "by_chunks",
        "sender_reply",
        "need",
        "_held",
        "_acks",
        "_each",
    )

    def __init__(self, link: Link, pool: Any, need: Need = NO_NEED) -> None:
        self.link = link
        self.need = need
        self.pool = pool
        self.recipients: list[Recipient] = []
        self.is_begun = False
        self.final: Reply | None = None
        self.finals: tuple[Reply, ...] = ()
        self.is_unknown = False
        self.is_sending = False
        self.by_chunks = False
        self.sender_reply: Reply | None = None
        self._held = b""
        #: Chunks before the last one that are not acknowledged yet.
        self._acks = 0
        self._each = False

    @property
    def is_alive(self) -> bool:
        """True while it may still be committed."""
        return self.final is None

    def final_of(self, recipient: Recipient) -> Reply | None:
        """The last word on a recipient of this leg; None where there is none yet."""
        if self.finals:
            return self.finals[self.recipients.index(recipient)]
        return self.final

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
            self._each = "PRDR" in params
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
                self.link.send_chunk(held)
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
            self.link.send_chunk(held)
            await self._chunk_reply(deadline)

    def commit(self, chunk: Chunk | None, prefix: bytes) -> None:
        """Write the last content and the terminator: from here on the message may be delivered."""
        each = len(self.recipients) if self._each else 0
        if self.by_chunks:
            last = prefix + chunk.content if chunk is not None else prefix
            if self._held and len(self._held) + len(last) <= 1 << 20:
                last = self._held + last
            elif self._held:
                self.link.send_chunk(self._held)
                self._acks = 1
            self._held = b""
            self.link.send_last_chunk(last, each)
        else:
            self.link.end_data(chunk, prefix, each)

    async def outcome(self, deadline: float) -> Reply:
        """The server's answer to the terminator."""
        try:
            reply = await self.link.answer(deadline)
            while self._acks and reply.is_positive:
                self._acks -= 1
                reply = await self.link.answer(deadline)
            finals: list[Reply] = []
            if reply.code == 353:
                finals = [await self.link.answer(deadline) for _ in self.recipients]
                reply = await self.link.answer(deadline)
        except LinkFailed as failure:
            self.is_unknown = True
            self.final = failure.reply
            raise
        self.is_sending = False
        self.link.is_dirty = False
        self.final = Reply(451, "4.3.2", reply.lines) if reply.code == 421 else reply.completed()
        if finals:
            self.finals = tuple(_final_word(one, self.final) for one in finals)
        return self.final

    def abandon(self, reason: str) -> None:
        """Leave the server without an end of data: by RSET where it reads commands, else by dropping the link."""
        link = self.link
        if not link.is_usable or self.is_sending and not self.by_chunks or link.waiting:
            link.abort(reason)
        elif self.is_begun or link.is_dirty:
            link.reset()
        self.is_sending = False


def _final_word(reply: Reply, message: Reply) -> Reply:
    """The word on one recipient beside that on the message, which holds for all where it is none of acceptance; but who
    was refused for good is so (as Exim reads it)."""
    if not message.is_positive and (message.is_permanent or not reply.is_permanent):
        return message
    return Reply(451, "4.3.2", reply.lines) if reply.code == 421 else reply.completed()


def _no_goodbye(reply: Reply, stage: str) -> None:
    """A 421 ends the link, whatever it answered; the client hears a 451 with the server's own text (A-9)."""
    if reply.code == 421:
        raise LinkFailed(stage, Reply(451, "4.3.2", reply.lines), f"server closes: {reply.text}", is_busy=True)
