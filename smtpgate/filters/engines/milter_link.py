"""A connection to a milter: events with their macros go out, answers come back.

`milter_session` opens one for each session. First it is agreed what the milter wants to hear and to answer. Each
answer has its time, which a sign of life begins anew. Whatever ends the wait for an answer ends the connection: the
next answer could not be told from that one. Changes that a milter asks for at the end of a message are kept until they
are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilter.protocol.messages import Abort, Close, Message, ReplaceBody
from twisted.internet.defer import ensureDeferred

from smtpgate.filters.engines import milter_wire as wire
from smtpgate.filters.engines.servers import BadAnswer, Loan, reason_of

#: Changes that one message may have; a milter that signs and marks asks for five.
EDITS: Final = 1000
#: Of all of them together.
EDIT_OCTETS: Final = 4 << 20


class Link:
    """A connection to a milter.

    :ivar is_broken: it cannot be used any more
    :ivar edits: what was asked for at the end of the message
    """

    def __init__(self, stream: Any, loan: Loan, clock: Any, timeout_s: float) -> None:
        self.is_broken = False
        self.edits: list[Message] = []
        self.terms: wire.Terms = wire.Terms(wire.VERSION, 0, 0)
        self._stream = stream
        self._loan = loan
        self._clock = clock
        self._timeout_s = timeout_s
        self._size = 0
        self._edit_octets = 0

    async def agree(self) -> None:
        """Negotiate. Raises what `servers.FAILURES` names."""
        self._stream.write(wire.negotiate())
        self.terms = wire.agree(await self._message())

    async def tell(self, event: str, octets: bytes, macros: Mapping[str, str] | None = None) -> wire.Verdict:
        """Tell an event, and await the answer where there is one. Raises what `servers.FAILURES` names.

        Whatever ends it before the answer breaks the link: the next answer could not be told from this one's.
        """
        terms = self.terms
        if not terms.wants(event):
            return wire.CONTINUE
        is_whole = False
        try:
            self._stream.write(wire.macros(event, terms.chosen(event, macros or {})) + octets)
            await ensureDeferred(self._stream.drained()).addTimeout(self._timeout_s, self._clock)
            verdict = await self._verdict(event) if terms.answers(event) else wire.CONTINUE
            is_whole = True
        finally:
            if not is_whole:
                self.abandon()
        return verdict

    async def _verdict(self, event: str) -> wire.Verdict:
        while True:
            message = await self._message()
            verdict = wire.verdict(message, event, self.terms)
            if verdict is not None:
                return verdict
            if wire.is_edit(message):
                self._take(message)

    def _take(self, message: Message) -> None:
        """Keep a change that is asked for; of a new body, only that there is one."""
        if isinstance(message, ReplaceBody):
            if not any(isinstance(one, ReplaceBody) for one in self.edits):
                self.edits.append(ReplaceBody(b""))
            return
        self.edits.append(message)
        self._edit_octets += self._size
        if len(self.edits) > EDITS or self._edit_octets > EDIT_OCTETS:
            raise BadAnswer("more changes than a message can have")

    async def _message(self) -> Message:
        message: Message = await ensureDeferred(self._read()).addTimeout(self._timeout_s, self._clock)
        return message

    async def _read(self) -> Message:
        size = int.from_bytes(await self._stream.read_exactly(4), "big")
        if not 0 < size <= wire.ANSWER_OCTETS:
            raise BadAnswer(f"a message of {size} octets")
        octets = await self._stream.read_exactly(size)
        self._size = size
        return wire.unpack(octets[0], octets[1:])

    def abort(self) -> None:
        """The message is over; the session may have another."""
        self.done()
        if not self.is_broken and self._stream.is_open:
            self._stream.write(wire.frame(Abort))

    def done(self) -> None:
        """The message is over, and the milter knows."""
        self.edits = []
        self._edit_octets = 0

    def works(self) -> None:
        """The milter has answered as it should."""
        self._loan.works()

    def close(self) -> None:
        """The session is over."""
        if not self.is_broken:
            self.is_broken = True
            if self._stream.is_open:
                self._stream.write(wire.frame(Close))
            self._stream.close()
            self._loan.release()

    def abandon(self) -> None:
        """End it at once."""
        if not self.is_broken:
            self.is_broken = True
            self._stream.abort()
            self._loan.release()

    def fails(self, error: BaseException) -> None:
        """The milter has not answered as it should."""
        self._loan.fails(reason_of(error, self._timeout_s))
        self.abandon()
