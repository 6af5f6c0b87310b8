"""The event stream (text/event-stream): what happens, as it happens, to whoever may see it.

A stream is a place in the hub's ring and a filter. Events leave at most five times a second, in one write; a beat
every 15 s shows that the line is alive. A slow reader loses the oldest and is told how many; one that comes back with
the number of the last event it had goes on behind it, or is told of a gap. A stream ends when its principal may no
longer see it, and when the office closes, and says which.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smtpgate.admin.accounts import Accounts
from smtpgate.admin.answer import SAFE_HEADERS
from smtpgate.admin.guard import Refusal
from smtpgate.admin.hub import TOPICS, Hub, frame
from smtpgate.admin.pace import Pace
from smtpgate.admin.permission import Principal
from smtpgate.admin.sieve import Sieve
from smtpgate.admin.wire import WebRequest
from smtpgate.control import Control

__all__ = ["TOPICS", "Streams"]

BEAT_S = 15.0
#: A principal is looked at again so often.
CHECK_S = 4.0
#: How long a browser waits before it comes back, and how much longer it may be, so that not all come at once.
RETRY_MS, JITTER_MS = 3000, 2000
#: Events in one write; the rest follows when the reader took these.
PIECE = 500
STREAMS = 50
STREAMS_PER_PRINCIPAL = 6


class Streams:
    """All streams that are open.

    :ivar hub: what they read from
    :ivar dropped: events that slow readers missed
    """

    def __init__(self, control: Control, accounts: Accounts, clock: Any, pace: Pace) -> None:
        self.hub = Hub(control, clock, pace)
        self._accounts = accounts
        self._clock = clock
        self._open: set[_Stream] = set()
        self.dropped = 0
        accounts.on_end(self._check_all)

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def admit(self, principal: Principal) -> None:
        """Raises Refusal where too many are open."""
        who = (principal.kind, principal.name)
        own = sum((one.principal.kind, one.principal.name) == who for one in self._open)
        if len(self._open) >= STREAMS or own >= STREAMS_PER_PRINCIPAL:
            raise Refusal("rate-limited", 429, "too many event streams are open", 30.0)

    async def serve(
        self, request: WebRequest, principal: Principal, topics: frozenset[str], sieve: Sieve, last: int = 0
    ) -> None:
        """Stream until somebody ends it.

        :param last: the number of the last event that the reader has; 0: whatever comes from now on
        """
        stream = _Stream(self.hub, self._clock, request, principal, topics, sieve, self._check, self._missed)
        self._open.add(stream)
        try:
            await stream.run(last)
        finally:
            self._open.discard(stream)

    def _missed(self, count: int) -> None:
        self.dropped += count

    def _check(self, stream: _Stream) -> None:
        checked = ensureDeferred(self._accounts.is_valid(stream.principal))
        checked.addCallbacks(
            lambda valid: None if valid else stream.end("revoked"), lambda _: stream.end("not known who you are")
        )

    def _check_all(self) -> None:
        for stream in list(self._open):
            self._check(stream)

    def close(self) -> None:
        """End all."""
        for stream in list(self._open):
            stream.end("the gateway stops")
        self.hub.close()


@implementer(IPushProducer)
class _Stream:
    """One reader."""

    def __init__(
        self,
        hub: Hub,
        clock: Any,
        request: WebRequest,
        principal: Principal,
        topics: frozenset[str],
        sieve: Sieve,
        check: Any,
        missed: Callable[[int], None],
    ) -> None:
        self.principal = principal
        self._hub = hub
        self._clock = clock
        self._request = request
        self._topics = topics
        self._sieve = sieve
        self._check = check
        self._missed = missed
        self._over: Deferred[None] = Deferred()
        self._is_over = False
        self._is_paused = False
        self._calls: dict[str, Any] = {}
        self._place = 0
        self._reach = principal.reach

    async def run(self, last: int) -> None:
        """Write the head, then events until the end."""
        request, hub = self._request, self._hub
        request.notifyFinish().addBoth(lambda _: self.end())
        request.setResponseCode(200)
        request.responseHeaders.removeHeader("Server")
        for name, value in {**SAFE_HEADERS, "X-Accel-Buffering": "no", "X-Request-Id": request.id}.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.responseHeaders.setRawHeaders("Content-Type", ["text/event-stream; charset=utf-8"])
        request.registerProducer(self, True)
        hub.join(self, self._wake)
        is_whole = hub.holds_all_after(last)
        self._place = last if is_whole else hub.last
        # With its number, so that whoever loses the line before the first event knows where it was.
        gap = frame("gap", {}, hub.last) if last and not is_whole else f"id: {self._place}\n\n".encode()
        retry = RETRY_MS + secrets.randbelow(JITTER_MS)
        request.write(f"retry: {retry}\n\n".encode() + gap)
        self._later("beat", BEAT_S, self._beat)
        self._later("check", CHECK_S, self._recheck)
        self._wake()
        await self._over

    def end(self, reason: str = "") -> None:
        """Over, from whichever side.

        :param reason: what the reader is told; "" where it is gone
        """
        if self._is_over:
            return
        self._is_over = True
        self._hub.leave(self)
        for call in self._calls.values():
            if call.active():
                call.cancel()
        if reason:
            self._request.write(frame("end", {"reason": reason}))
            self._request.unregisterProducer()
        self._over.callback(None)

    def _later(self, name: str, seconds: float, call: Any) -> None:
        self._calls[name] = self._clock.callLater(seconds, call)

    def _wake(self) -> None:
        """There may be something to write."""
        pending = self._calls.get("rest")
        if self._is_over or self._is_paused or (pending is not None and pending.active()):
            return
        octets, place, lost = self._hub.after(self._place, self._topics, self._sieve, PIECE, self._reach)
        if place == self._place:
            return
        self._place = place
        # What passed this reader's filter is not known of what is lost: all of it is counted.
        if lost:
            self._missed(lost)
        told = frame("dropped", {"count": lost}) if lost else b""
        if told or octets:
            self._request.write(told + octets)
        if place < self._hub.last:
            self._later("rest", 0, self._wake)

    def _beat(self) -> None:
        if not self._is_paused:
            self._request.write(b": beat\n\n")
        self._later("beat", BEAT_S, self._beat)

    def _recheck(self) -> None:
        self._later("check", CHECK_S, self._recheck)
        self._check(self)

    # Push producer: a reader that is slow loses events, not our memory.

    def pauseProducing(self) -> None:
        """The reader is behind."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._is_paused = False
        self._wake()

    def stopProducing(self) -> None:
        """It is gone; the request says so in a moment (notifyFinish), and then this ends."""
        self._is_paused = True
