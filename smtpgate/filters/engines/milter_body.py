"""The body of a message on its way to a milter, while the message comes in.

`milter_session.Mail` feeds it with content and asks for the end. Pieces go out one after the other, as the milter
answers them. Little is held: what comes faster is left, and read again from the content at the end. So a slow milter
holds up its own message's end, and nobody's memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from kilter.protocol.messages import Body
from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.filters.engines import milter_wire as wire
from smtpgate.filters.engines.base import pieces

#: Of a body that came faster than the milter takes it.
HELD_OCTETS: Final = 1 << 20

Say = Callable[[str, bytes], Coroutine[Any, Any, wire.Verdict]]


class BodyPump:
    """Sends a body.

    :ivar skip: octets of the content that are left before the body begins
    """

    def __init__(self, say: Say) -> None:
        self.skip = 0
        self._say = say
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._taken = 0
        self._before = 0
        self._is_behind = False
        self._is_complete = False
        self._more: Deferred[None] | None = None
        self._work: Deferred[Any] | None = None
        self._outcome: wire.Verdict | BaseException | None = None
        self._finisher: Deferred[None] | None = None

    def feed(self, chunk: bytes) -> None:
        """A piece of content, with what is above the body first."""
        if self.skip:
            cut = min(self.skip, len(chunk))
            self.skip -= cut
            self._before += cut
            chunk = chunk[cut:]
        if not chunk or self._is_behind:
            return
        if self._held + len(chunk) > HELD_OCTETS:
            self._is_behind = True
            return
        self._taken += len(chunk)
        self._held += len(chunk)
        self._pieces.append(chunk)
        if self._work is None:
            work = ensureDeferred(self._run())
            self._work = work.addCallbacks(self._done, lambda failure: self._done(failure.value))
        self._wake()

    def _done(self, outcome: wire.Verdict | BaseException) -> None:
        # It is heard at the end, however early it came.
        self._outcome = outcome
        if self._finisher is not None:
            self._finisher.callback(None)

    def _wake(self) -> None:
        if self._more is not None:
            more, self._more = self._more, None
            more.callback(None)

    async def _run(self) -> wire.Verdict:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                verdict = await self._send(piece)
                if verdict.kind != "continue":
                    # Nothing more is wanted.
                    self._is_behind = True
                    self._pieces.clear()
                    return verdict
            if self._is_complete:
                return wire.CONTINUE
            self._more = Deferred()
            await self._more

    async def _send(self, piece: bytes) -> wire.Verdict:
        for start in range(0, len(piece), wire.CHUNK_OCTETS):
            verdict = await self._say("body", wire.frame(Body, piece[start : start + wire.CHUNK_OCTETS]))
            if verdict.kind != "continue":
                return verdict
        return wire.CONTINUE

    async def finish(self, content: Any) -> wire.Verdict:
        """All has come: send what is left, and give the milter's answer to the body. Raises as `say` does."""
        self._is_complete = True
        self._wake()
        if self._work is not None:
            if self._outcome is None:
                self._finisher = Deferred(lambda _: self.stop())
                await self._finisher
            if isinstance(self._outcome, BaseException):
                raise self._outcome
            assert self._outcome is not None
            if self._outcome.kind != "continue":
                return self._outcome
        left = self._before + self._taken
        async for piece in pieces(content):
            cut = min(left, len(piece))
            left -= cut
            if piece[cut:]:
                verdict = await self._send(piece[cut:])
                if verdict.kind != "continue":
                    return verdict
        return wire.CONTINUE

    def stop(self) -> None:
        """The message is over."""
        if self._work is not None and self._outcome is None:
            self._finisher = None
            self._work.cancel()
