"""The event stream (text/event-stream): what happens, as it happens, to whoever may see it.

One `control.watch` for each stream, with its bounded queue: a slow reader loses the oldest and is told how
many. Events leave at most five times a second, in one write; a beat every 15 s shows that the line is alive.
A stream ends when its principal may no longer see it, and when the office closes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smtpgate.admin.accounts import Accounts
from smtpgate.admin.answer import SAFE_HEADERS
from smtpgate.admin.guard import Refusal
from smtpgate.admin.permission import Principal
from smtpgate.admin.record import of_facts
from smtpgate.admin.text import moment, visible
from smtpgate.admin.wire import WebRequest
from smtpgate.control import Control
from smtpgate.policy import event as told
from smtpgate.policy.reach import Reach

TOPICS = ("session", "message", "backend", "config", "log")
BEAT_S = 15.0
#: A principal is looked at again so often.
CHECK_S = 4.0
#: Events are gathered so long before they are written.
GATHER_S = 0.2
STREAMS = 50
STREAMS_PER_PRINCIPAL = 6


def describe(event: Any) -> tuple[str, str, Mapping[str, object]] | None:
    """Topic, name and content of an event; None for what is not streamed."""
    if isinstance(event, told.SessionOpened | told.SessionEnded):
        facts = event.session
        ended = isinstance(event, told.SessionEnded)
        return (
            "session",
            "session.ended" if ended else "session.opened",
            {
                "id": facts.id,
                "listener": facts.listener,
                "client_ip": facts.client_ip,
                "messages": facts.messages,
                "closed_by": facts.closed_by,
            },
        )
    if isinstance(event, told.TransactionEnded):
        transaction = event.transaction
        record = of_facts(transaction.session, transaction.ended)
        message = record.message(transaction.id)
        return "message", "message.done", message.model_dump(mode="json") if message is not None else {}
    if isinstance(event, told.ServerChanged):
        content = {
            "backend": event.backend,
            "server": event.server,
            "before": event.before,
            "after": event.after,
        }
        return "backend", "backend.changed", {**content, "reason": event.reason}
    if isinstance(event, told.Happened):
        topic = "config" if event.name.startswith(("config.", "admin.config")) else "log"
        return topic, event.name, {"level": event.level, "message": visible(event.message)}
    if isinstance(event, told.ConnectionRefused):
        return (
            "session",
            "connection.refused",
            {"listener": event.listener, "ip": event.peer_ip, "result": event.result},
        )
    return None


def _is_within(reach: Reach, event: Any) -> bool:
    """Whether somebody limited to domains may hear of an event: of a message that concerns nobody else."""
    if not isinstance(event, told.TransactionEnded):
        return False
    transaction = event.transaction
    is_ours = transaction.session.role == "submission" and reach.address(str(transaction.sender))
    return is_ours or reach.all([str(one.path) for one in transaction.recipients])


class Streams:
    """All streams that are open."""

    def __init__(self, control: Control, accounts: Accounts, clock: Any) -> None:
        self._control = control
        self._accounts = accounts
        self._clock = clock
        self._open: set[_Stream] = set()
        accounts.on_end(self._check_all)

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def admit(self, principal: Principal) -> None:
        """Raises Refusal where too many are open."""
        own = sum(one.principal.id == principal.id for one in self._open)
        if len(self._open) >= STREAMS or own >= STREAMS_PER_PRINCIPAL:
            raise Refusal("rate-limited", 429, "too many event streams are open", 30.0)

    async def serve(self, request: WebRequest, principal: Principal, topics: frozenset[str]) -> None:
        """Stream until somebody ends it."""
        stream = _Stream(self._control, self._clock, request, principal, topics, self._check)
        self._open.add(stream)
        try:
            await stream.run()
        finally:
            self._open.discard(stream)

    def _check(self, stream: _Stream) -> None:
        checked = ensureDeferred(self._accounts.is_valid(stream.principal))
        checked.addCallbacks(lambda valid: None if valid else stream.end(), lambda _: stream.end())

    def _check_all(self) -> None:
        for stream in list(self._open):
            self._check(stream)

    def close(self) -> None:
        """End all."""
        for stream in list(self._open):
            stream.end()


@implementer(IPushProducer)
class _Stream:
    """One reader."""

    def __init__(
        self,
        control: Control,
        clock: Any,
        request: WebRequest,
        principal: Principal,
        topics: frozenset[str],
        check: Any,
    ) -> None:
        self.principal = principal
        self._control = control
        self._clock = clock
        self._request = request
        self._topics = topics
        self._check = check
        self._over: Deferred[None] = Deferred()
        self._is_over = False
        self._is_paused = False
        self._calls: dict[str, Any] = {}
        self._number = 0
        self._reach = principal.reach
        self._watch = control.watch(self._wake)

    async def run(self) -> None:
        """Write the head, then events until the end."""
        request = self._request
        request.notifyFinish().addBoth(lambda _: self.end(is_gone=True))
        request.setResponseCode(200)
        request.responseHeaders.removeHeader("Server")
        for name, value in {**SAFE_HEADERS, "X-Accel-Buffering": "no", "X-Request-Id": request.id}.items():
            request.responseHeaders.setRawHeaders(name, [value])
        request.responseHeaders.setRawHeaders("Content-Type", ["text/event-stream; charset=utf-8"])
        request.registerProducer(self, True)
        gap = "event: gap\ndata: {}\n\n" if request.header("last-event-id") else ""
        request.write(f"retry: 3000\n\n{gap}".encode())
        self._later("beat", BEAT_S, self._beat)
        self._later("check", CHECK_S, self._recheck)
        await self._over

    def end(self, is_gone: bool = False) -> None:
        """Over, from whichever side."""
        if self._is_over:
            return
        self._is_over = True
        self._control.unwatch(self._watch)
        for call in self._calls.values():
            if call.active():
                call.cancel()
        if not is_gone:
            self._request.unregisterProducer()
        self._over.callback(None)

    def _later(self, name: str, seconds: float, call: Any) -> None:
        self._calls[name] = self._clock.callLater(seconds, call)

    def _wake(self) -> None:
        pending = self._calls.get("flush")
        if not self._is_paused and not (pending is not None and pending.active()):
            self._later("flush", GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._is_over or self._is_paused:
            return
        events, dropped = self._watch.take()
        out = []
        if dropped:
            out.append(f'event: dropped\ndata: {{"count":{dropped}}}\n\n')
        for event in events:
            if self._reach.is_limited and not _is_within(self._reach, event):
                continue
            described = describe(event)
            if described is None or described[0] not in self._topics:
                continue
            self._number += 1
            content = json.dumps({"time": moment(self._control.engine.wall()), **described[2]}, ensure_ascii=False)
            out.append(f"id: {self._number}\nevent: {described[1]}\ndata: {content}\n\n")
        if out:
            self._request.write("".join(out).encode("utf-8", "replace"))

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
