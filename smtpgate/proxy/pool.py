"""Backends: their servers, what is known of them, and which one takes the next session.

`Pool` is one backend. It probes each server from time to time, counts links, chooses by the configured balance, and
opens links with failover inside one budget. `session` and `delivery` get a ready `Link` or a `LinkFailed`.

Precedents: HAProxy (leastconn, weights, tiers as backup, drain), Postfix (max connections per source: 50 by default,
which is why ours is below).
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable
from typing import Any

from smtpgate.config.model import Backend
from smtpgate.policy.event import Happened, ServerChanged
from smtpgate.policy.event import LinkFailed as LinkFailedEvent
from smtpgate.policy.transaction import Session
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.server import RESOLVE_S, ServerState, max_links
from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities, intersect
from smtpgate.tasks import Signal, Task, Timekeeper, TimeUp, within

#: A session waits so long for a free link of a server that is full (P-300).
WAIT_S = 5.0
#: An EHLO waits so long for a first probe that is on its way.
FIRST_PROBE_S = 1.0


class Pool:
    """One backend at work."""

    def __init__(
        self,
        backend: Backend,
        hostname: str,
        greeting_s: float,
        connector: Any,
        tls: Any,
        keeper: Timekeeper,
        tell: Callable[[Any], None],
    ) -> None:
        """
        :param tls: the `net.tls.ClientTLS` for it; None where its `tls` is off
        """
        self.backend = backend
        self.servers = [ServerState(server, max_links(backend, server)) for server in backend.servers]
        self._hostname = hostname
        self._greeting_s = greeting_s
        self._connector = connector
        self._tls = tls
        self._keeper = keeper
        self._clock = keeper.clock
        self._tell = tell
        self._turn = 0
        self._calls: dict[ServerState, Any] = {}
        self._probes: dict[ServerState, Task] = {}
        self._first: list[Signal] = []
        self._resting: dict[Link, Callable[[], None]] = {}
        self._drained: set[str] = set()
        self._is_closed = False
        self._merged: tuple[tuple[Capabilities, ...], Capabilities] | None = None
        self._alerted: set[str] = set()

    # What is known

    @property
    def capabilities(self) -> Capabilities | None:
        """What all servers that were seen can honour; None before any was. The same object until a server changes."""
        known = tuple(server.capabilities for server in self.servers if server.capabilities is not None)
        if not known:
            return None
        if self._merged is None or self._merged[0] != known:
            self._merged = (known, intersect(known))
        return self._merged[1]

    def inherit(self, old: Pool) -> None:
        """Keep what a pool of the revision before knows of the same servers."""
        before = {server.name: server for server in old.servers}
        for server in self.servers:
            known = before.get(server.name)
            if known is None:
                continue
            if known.is_drained:
                self.drain(server, known.drain_reason)
            if old.backend == self.backend:
                for name in (
                    "addresses",
                    "resolved_at",
                    "state",
                    "why",
                    "capabilities",
                    "banner",
                    "tls",
                    "last_probe",
                    "probe_s",
                    "is_ready",
                    "changed_at",
                    "transactions",
                    "failures",
                ):
                    setattr(server, name, getattr(known, name))

    # Probes

    def start(self) -> None:
        """Look at each server now, and again and again."""
        for number, server in enumerate(self.servers):
            if server.state == "unknown":
                self._probe(server)
            else:
                self._schedule(server, self.backend.probe_s * (number + 1) / len(self.servers))

    def close(self) -> None:
        """The revision is gone; links that are still open live on with their sessions."""
        self._is_closed = True
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()
        for task in list(self._probes.values()):
            task.throw(LinkFailed("idle", status.BACKEND_LOST, "pool closed"))

    def _schedule(self, server: ServerState, delay: float) -> None:
        if not self._is_closed:
            self._calls[server] = self._clock.callLater(delay, self._probe, server)

    def probe(self, server: ServerState) -> None:
        """Look at a server now."""
        call = self._calls.get(server)
        if call is not None and call.active():
            call.cancel()
        self._probe(server)

    def _probe(self, server: ServerState) -> None:
        if server in self._probes or self._is_closed:
            return

        def done(_: object) -> None:
            self._probes.pop(server, None)
            self._schedule(server, self.backend.probe_s)
            waiting, self._first = self._first, []
            for signal in waiting:
                signal.fire()

        task = Task(self._look(server), self._keeper, done, done)
        self._probes[server] = task
        task.start()

    async def _look(self, server: ServerState) -> None:
        began = self._clock.seconds()
        link = Link(self.backend, server.name, self._clock)
        try:
            await self._open(link, server, None, began + self._greeting_s)
        except LinkFailed as failure:
            link.abort()
            if not self._is_closed:
                self._see(server, "down", f"{failure.stage}: {failure.reason}")
        else:
            server.capabilities = link.capabilities
            server.banner = link.banner
            server.tls = link.tls
            server.probe_s = self._clock.seconds() - began
            server.is_ready = not (self.backend.client_info == "xclient" and not link.capabilities.xclient)
            if not server.is_ready:
                self._alert(server, "XCLIENT is configured and this server does not offer it to us")
            else:
                self._alerted.discard(server.name)
            link.quit()
            self._see(server, "up", "")
        server.last_probe = self._clock.seconds()

    def _alert(self, server: ServerState, message: str) -> None:
        server.why = message
        if server.name not in self._alerted:
            self._alerted.add(server.name)
            self._tell(
                Happened(
                    "backend.not_ready", "error", message, (("backend", self.backend.name), ("server", server.name))
                )
            )

    def _see(self, server: ServerState, state: str, why: str) -> None:
        before = server.state
        if why or state == "up" and server.is_ready:
            server.why = why
        if before != state:
            server.state = state
            server.changed_at = self._clock.seconds()
            self._tell(ServerChanged(self.backend.name, server.name, before, state, why))

    async def known(self) -> None:
        """Wait a moment for a first probe that is on its way."""
        if any(server.state != "unknown" for server in self.servers):
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

    # Links

    def choose(self, key: str = "", without: frozenset[str] = frozenset()) -> list[ServerState]:
        """The servers that may take a session now, best first. Those seen down come last: they may be back."""
        servers = [s for s in self.servers if not s.is_drained and s.name not in without]
        if len(servers) < 2:
            return servers
        balance = self.backend.balance
        if balance == "least-connections":
            load = {s: (s.links / s.config.weight, s.transactions / s.config.weight) for s in servers}
        elif balance == "round-robin":
            self._turn += 1
            load = {s: (s.transactions / s.config.weight, 0) for s in servers}
        elif balance == "hash-recipient":
            load = {s: (zlib.crc32(f"{key} {s.name}".encode()) / s.config.weight, 0) for s in servers}
        else:
            load = dict.fromkeys(servers, (0, 0))
        return sorted(servers, key=lambda s: (s.state == "down", s.config.tier, load[s]))

    async def link(
        self, session: Session, key: str, deadline: float, without: frozenset[str] = frozenset(), prefer: str = ""
    ) -> Link:
        """A ready link to one of the servers; raises LinkFailed when none can be had in time.

        :param key: what `hash-recipient` goes by: the recipient's domain
        :param without: servers not to be asked
        :param prefer: the server to be asked first, where it may be asked at all
        """
        servers = self.choose(key, without)
        if prefer:
            servers.sort(key=lambda server: server.name != prefer)
        failure = LinkFailed("connect", status.BACKEND_UNREACHABLE, "no server is in service")
        for server in servers:
            if self._clock.seconds() >= deadline:
                break
            try:
                return await self._open_counted(server, session, deadline)
            except LinkFailed as failed:
                failure = failed
                self._tell(LinkFailedEvent(self.backend.name, server.name, failed.stage, failed.reason, session.id))
                session.note(self._clock.seconds(), "backend", failed.stage, f"{server.name}: {failed.reason}")
        raise failure

    async def _open_counted(self, server: ServerState, session: Session, deadline: float) -> Link:
        await self._slot(server, deadline)
        link = Link(self.backend, server.name, self._clock)
        try:
            await self._open(link, server, session, deadline)
        except BaseException as error:
            link.abort()
            self._free(server)
            if isinstance(error, LinkFailed):
                server.failures += 1
                if error.stage == "xclient":
                    server.is_ready = False
                    self._alert(server, error.reason)
                elif not error.is_busy:
                    self._see(server, "down", f"{error.stage}: {error.reason}")
            raise
        link.on_over = self._closed
        server.capabilities = link.capabilities
        server.transactions += 1
        if server.state != "up":
            self._see(server, "up", "")
        return link

    async def _slot(self, server: ServerState, deadline: float) -> None:
        if server.links >= server.max_links and not self._reclaim(server):
            signal = Signal()
            signal.deadline = min(deadline, self._clock.seconds() + WAIT_S)
            server.waiting.append(signal)
            try:
                await signal
            except TimeUp:
                raise LinkFailed("connect", status.BACKEND_BUSY, "all links are in use", True) from None
            finally:
                if signal in server.waiting:
                    server.waiting.remove(signal)
        server.links += 1

    def _free(self, server: ServerState) -> None:
        server.links -= 1
        if server.waiting and server.links < server.max_links:
            server.waiting.popleft().fire()

    async def _open(self, link: Link, server: ServerState, session: Session | None, deadline: float) -> None:
        """Try each address of a server; with `optional`, once more in clear where TLS failed (P-157)."""
        addresses = await self._addresses(server, deadline)
        if not addresses:
            raise LinkFailed("connect", status.BACKEND_UNREACHABLE, f"{server.host} has no address")
        for number, address in enumerate(addresses):
            is_last = number == len(addresses) - 1
            now = self._clock.seconds()
            # An address that does not answer must not eat the budget of the next.
            until = deadline if is_last else min(deadline, now + max(1.0, (deadline - now) / 2))
            try:
                await link.open(self._connector, address, server.host, self._tls, self._hostname, session, until)
                return
            except LinkFailed as failure:
                may_retry = failure.stage == "starttls" and not failure.is_attack
                if may_retry and self.backend.tls == "optional" and link.tls is None:
                    link.renew()
                    await link.open(
                        self._connector,
                        address,
                        server.host,
                        self._tls,
                        self._hostname,
                        session,
                        deadline,
                        use_tls=False,
                    )
                    return
                if failure.stage != "connect" or is_last:
                    raise
                link.renew()

    async def _addresses(self, server: ServerState, deadline: float) -> list[Any]:
        if server.config.path is not None:
            return [(socket.AF_UNIX, server.config.path)]
        now = self._clock.seconds()
        if now - server.resolved_at < RESOLVE_S and server.addresses:
            return server.addresses
        try:
            server.addresses = await within(self._connector.resolve(server.host, server.config.port), deadline)
            server.resolved_at = now
        except (OSError, TimeUp) as error:
            if not server.addresses:
                reason = f"{server.host}: {error or 'no answer from the resolver in time'}"
                raise LinkFailed("connect", status.BACKEND_UNREACHABLE, reason) from error
        return server.addresses

    # Links that rest between two transactions of their session

    def rest(self, link: Link, give_up: Callable[[], None]) -> None:
        """A session keeps this link for its next transaction, and gives it up when others need the slot.

        To a server that is drained no further transaction goes.
        """
        self._resting[link] = give_up
        if link.server in self._drained:
            give_up()

    def wake(self, link: Link) -> None:
        """It is at work again."""
        self._resting.pop(link, None)

    def _reclaim(self, server: ServerState) -> bool:
        for link, give_up in self._resting.items():
            if link.server == server.name:
                give_up()
                return server.links < server.max_links
        return False

    def _closed(self, link: Link) -> None:
        self._resting.pop(link, None)
        for server in self.servers:
            if server.name == link.server:
                self._free(server)
                return

    def server(self, name: str) -> ServerState | None:
        """One server by its name."""
        return next((server for server in self.servers if server.name == name), None)

    def drain(self, server: ServerState, reason: str) -> None:
        """No new transactions for it; those that run go on. A session that has logged in there keeps its link."""
        server.is_drained, server.drain_reason = True, reason
        self._drained.add(server.name)
        for link, give_up in list(self._resting.items()):
            if link.server == server.name:
                give_up()

    def ready(self, server: ServerState) -> None:
        """Transactions for it again."""
        server.is_drained, server.drain_reason = False, ""
        self._drained.discard(server.name)
