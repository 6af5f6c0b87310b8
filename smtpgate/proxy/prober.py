"""Looks at the servers of a backend from time to time: greeting, EHLO, STARTTLS, EHLO, QUIT.

What a look shows is what EHLO may offer to clients before any mail went there, and whether a server that was down is
back. Precedent: HAProxy smtpchk, and a QUIT that keeps the server's log quiet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from smtpgate.config.model import Backend
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.server import ServerState
from smtpgate.smtp import status
from smtpgate.tasks import Signal, Task, Timekeeper

#: An EHLO waits so long for a first probe that is on its way.
FIRST_PROBE_S = 1.0


class Prober:
    """The probes of one backend."""

    def __init__(
        self,
        backend: Backend,
        greeting_s: float,
        keeper: Timekeeper,
        open_link: Callable[[Link, ServerState, None, float], Awaitable[None]],
        seen: Callable[[ServerState, Link | None, LinkFailed | None, float], None],
    ) -> None:
        """
        :param open_link: takes a link to a server up to where MAIL may be sent
        :param seen: is told of each look: the link, or why there is none, and how long it took
        """
        self._backend = backend
        self._greeting_s = greeting_s
        self._keeper = keeper
        self._clock = keeper.clock
        self._open_link = open_link
        self._seen = seen
        self._calls: dict[ServerState, Any] = {}
        self._probes: dict[ServerState, Task] = {}
        self._first: list[Signal] = []
        self.is_closed = False

    def start(self, servers: list[ServerState]) -> None:
        """Look at each server now, and again and again."""
        for number, server in enumerate(servers):
            if server.state == "unknown":
                self._probe(server)
            else:
                self._schedule(server, self._backend.probe_s * (number + 1) / len(servers))

    def close(self) -> None:
        """Look no more."""
        self.is_closed = True
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()
        for task in list(self._probes.values()):
            task.throw(LinkFailed("idle", status.BACKEND_LOST, "pool closed"))

    def _schedule(self, server: ServerState, delay: float) -> None:
        if not self.is_closed:
            self._calls[server] = self._clock.callLater(delay, self._probe, server)

    def probe(self, server: ServerState) -> None:
        """Look at a server now."""
        call = self._calls.get(server)
        if call is not None and call.active():
            call.cancel()
        self._probe(server)

    def _probe(self, server: ServerState) -> None:
        if server in self._probes or self.is_closed:
            return
        if server.is_maint:
            self._schedule(server, self._backend.probe_s)
            return

        def done(_: object) -> None:
            self._probes.pop(server, None)
            self._schedule(server, self._backend.probe_s)
            waiting, self._first = self._first, []
            for signal in waiting:
                signal.fire()

        task = Task(self._look(server), self._keeper, done, done)
        self._probes[server] = task
        task.start()

    async def _look(self, server: ServerState) -> None:
        began = self._clock.seconds()
        link = Link(self._backend, server.name, self._clock)
        try:
            await self._open_link(link, server, None, began + self._greeting_s)
        except LinkFailed as failure:
            link.abort()
            if not self.is_closed:
                self._seen(server, None, failure, self._clock.seconds() - began)
        else:
            self._seen(server, link, None, self._clock.seconds() - began)
            link.quit()
        server.last_probe = self._clock.seconds()

    async def first(self, servers: list[ServerState]) -> None:
        """Wait a moment for a first probe that is on its way."""
        if any(server.state != "unknown" for server in servers):
            return
        signal = Signal()
        self._first.append(signal)
        call = self._clock.callLater(FIRST_PROBE_S, self._wake, signal)
        try:
            await signal
        finally:
            if call.active():
                call.cancel()
            if signal in self._first:
                self._first.remove(signal)

    @staticmethod
    def _wake(signal: Signal) -> None:
        if signal.task is not None:
            signal.fire()
