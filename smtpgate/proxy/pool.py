"""Backends: their servers, which one takes the next transaction, and who waits where all are busy.

`Pool` is one backend. It chooses by the configured balance among the servers that are in service, counts links and
transactions, keeps the waiting line, and opens links with failover inside one budget. `session` and `delivery` get a
ready `Link` or a `LinkFailed`. What a server can bear is learned from its answers (`traffic.adaptive`), whether it is
asked at all from its failures (`traffic.health`), and who has the next slot is decided by class (`traffic.shares`).

Precedents: HAProxy (leastconn, weights, tiers as backup, drain, slow start), Envoy (outlier ejection), Postfix (50
connections for a source at most, which is why our default is below; destination concurrency feedback).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from smtpgate.config.model import Backend
from smtpgate.policy.event import Happened, ServerChanged
from smtpgate.policy.event import LinkFailed as LinkFailedEvent
from smtpgate.policy.meter import Meter
from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Session
from smtpgate.proxy.guard import Guard
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.opener import Opener
from smtpgate.proxy.pool_counts import PoolCounts
from smtpgate.proxy.prober import Prober
from smtpgate.proxy.server import ServerState, alternatives, max_links
from smtpgate.proxy.slots import Slots
from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities, intersect
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Timekeeper, TimeUp
from smtpgate.traffic.balance import Balance, Candidate
from smtpgate.traffic.classes import SHARES, WAITS

#: A session that tries whether a server works again waits no longer for it.
TRIAL_S: Final = 5.0
#: Failures of these stages are no fault of how the server does its work.
_NO_FAULT: Final = frozenset({"idle", "xclient", "auth"})


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
        shares: Mapping[str, float] = SHARES,
        waits: Mapping[str, float] = WAITS,
        guard: Guard | None = None,
        meter: Meter | None = None,
    ) -> None:
        """
        :param tls: the `net.tls.ClientTLS` for it; None where its `tls` is off
        :param guard: knows addresses and protection of servers that the DNS names
        :param shares: the part of its slots that each class is promised
        :param waits: how long each class waits for one, seconds
        :param meter: counts links, probes, answers and waits
        """
        self._counts = PoolCounts(backend, meter)
        self.backend = backend
        slow_start_s = backend.slow_start_s
        self.servers = [
            ServerState(server, max_links(backend, server), slow_start_s)
            for server in sorted(backend.servers, key=lambda server: server.tier)
        ]
        self.opener = Opener(backend, hostname, connector, tls, keeper.clock, guard)
        self._clock = keeper.clock
        self._tell = tell
        self._balance: Balance[ServerState] = Balance(backend.balance)
        self._by_name = {server.name: server for server in self.servers}
        self._prober = Prober(backend, greeting_s, keeper, self.opener.open, self._probed)
        self.slots = Slots(backend, self.servers, self._clock, shares, waits)
        self._shares = shares
        self._merged: tuple[tuple[Capabilities, ...], Capabilities] | None = None
        #: Part of the messages that are refused at their end, the last twenty or so.
        self.refusals = 0.0
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

    def server(self, name: str) -> ServerState | None:
        """One server by its name."""
        return self._by_name.get(name)

    def inherit(self, old: Pool) -> None:
        """Keep what a pool of the revision before knows of the same servers."""
        for server in self.servers:
            known = old.server(server.name)
            if known is not None and old.backend == self.backend:
                server.inherit(known)
        self.slots.inherit(old.slots, self._shares)

    @property
    def is_idle(self) -> bool:
        """Nobody has, or waits for, a link."""
        return not self.slots.line.count and not any(server.links or server.busy for server in self.servers)

    def start(self) -> None:
        """Look at each server now, and again and again."""
        self._prober.start(self.servers)

    def close(self) -> None:
        """The revision is gone; links that are still open live on with their sessions."""
        self._prober.close()
        self.slots.close()

    def gone(self) -> None:
        """The last session of its revision has ended: nothing of it counts in the next."""
        self.slots.gone()

    def probe(self, server: ServerState) -> None:
        """Look at a server now."""
        self._prober.probe(server)

    async def known(self) -> None:
        """Wait a moment for a first probe that is on its way."""
        await self._prober.first(self.servers)

    def _probed(self, server: ServerState, link: Link | None, failure: LinkFailed | None, took_s: float) -> None:
        self._counts.checked(server.name, link is not None)
        server.probed(took_s, f"{failure.stage}: {failure.reason}" if failure is not None else "ok")
        if link is None:
            assert failure is not None
            self._unreachable(server, failure, took_s)
            return
        server.capabilities = link.capabilities
        server.banner = link.banner
        server.tls = link.tls
        server.is_ready = not (self.backend.client_info == "xclient" and not link.capabilities.xclient)
        if not server.is_ready:
            self._alert(server, "XCLIENT is configured and this server does not offer it to us")
        else:
            self._alerted.discard(server.name)
        self._reached(server)

    def _alert(self, server: ServerState, message: str) -> None:
        server.why = message
        if server.name not in self._alerted:
            self._alerted.add(server.name)
            self._tell(
                Happened(
                    "backend.not_ready", "error", message, (("backend", self.backend.name), ("server", server.name))
                )
            )

    # What the servers' answers say of them

    def _see(self, server: ServerState, state: str, why: str) -> None:
        before = server.state
        if why or state == "up" and server.is_ready:
            server.why = why
        if before != state:
            server.change(state, self._clock.seconds())
            if self.backend.kind == "mx":
                # Strangers' servers are no news of ours.
                return
            self._tell(ServerChanged(self.backend.name, server.name, before, state, why))

    def _reached(self, server: ServerState) -> None:
        server.health.reached(self._clock.seconds())
        if not server.health.is_ejected:
            self._see(server, "up", "")
        self.slots.serve()

    def _unreachable(self, server: ServerState, failure: LinkFailed, took_s: float) -> None:
        server.health.unreachable(self._clock.seconds(), took_s)
        if not server.health.is_ejected:
            self._see(server, "down", f"{failure.stage}: {failure.reason}")
        self.slots.serve()

    def answered(self, link: Link, reply: Reply, seconds: float, octets: int = 0) -> None:
        """A server answered the end of data, after so long; of so many octets."""
        server = self._by_name.get(link.server)
        if server is None:
            return
        now = self._clock.seconds()
        self._counts.answered(server.name, reply)
        server.heard(reply, octets, now)
        self.refusals += ((not reply.is_positive) - self.refusals) / 20
        if reply.code >= 400 and (reply.code == 421 or reply.is_transient and reply.enhanced.startswith("4.3.")):
            server.adaptive.busy(now, server.busy)
        else:
            server.adaptive.answered(seconds, now, server.load.busy)
        link.is_trial = False
        if server.health.worked(now):
            self._see(server, "up", "")
        if self.slots.line.count:
            self.slots.serve()

    def failed(self, link: Link, failure: LinkFailed) -> None:
        """A link broke while a transaction was on it."""
        server = self._by_name.get(link.server)
        if server is None or failure.stage in _NO_FAULT:
            return
        now = self._clock.seconds()
        if failure.is_busy or failure.is_late:
            # One that crashed was not slow; what it bears when it is back the slow start sees to.
            server.adaptive.busy(now, server.busy)
        others = any(
            other is not server and not other.is_drained and not other.health.needs_trial for other in self.servers
        )
        if server.health.failed(now, link.begun, others):
            self._see(server, "ejected", f"{server.health.failures} failures in a row, the last {failure.reason}")

    def choose(
        self, key: str = "", without: frozenset[str] = frozenset(), prefer: str = "", wait_s: float = 0.0
    ) -> list[list[ServerState]]:
        """The servers that may have a transaction now or soon, best first, tier by tier; those seen down come last: one
        session at a time sees whether they are back.

        :param wait_s: how long soon may be
        """
        now = self._clock.seconds()
        if len(self.servers) == 1:
            (server,) = self.servers
            away = server.is_drained or server.name in without or server.health.wait_s(now) > wait_s
            return [] if away else [[server]]
        tiers: dict[tuple[bool, int], list[Candidate[ServerState]]] = {}
        for server in self.servers:
            if server.is_drained or server.name in without or server.health.wait_s(now) > wait_s:
                continue
            candidate = server.candidate(now)
            tiers.setdefault((server.health.is_down, server.config.tier), []).append(candidate)
        ordered = [self._balance.order(tiers[tier], key, tier) for tier in sorted(tiers)]
        if prefer:
            wished = self._by_name.get(prefer)
            for servers in ordered:
                if wished in servers:
                    servers.remove(wished)
                    ordered.insert(0, [wished])
                    break
        return [servers for servers in ordered if servers]

    async def link(
        self,
        session: Session,
        key: str,
        deadline: float,
        without: frozenset[str] = frozenset(),
        prefer: str = "",
        *,
        may_wait: bool = True,
        need: Need = NO_NEED,
    ) -> Link:
        """A ready link to one of the servers; raises LinkFailed when none can be had in time. That is 5yz only where no
        server has what the message needs, and none of them may have it later.

        :param key: what `hash-recipient` goes by: the recipient's domain
        :param without: servers not to be asked
        :param prefer: the server to be asked first, where it may be asked at all
        :param may_wait: wait in line for a slot
        :param need: what the message asks of the link
        """
        if self.backend.balance == "hash-user":
            key = session.user or session.client_ip
        failure: LinkFailed | None = None
        tried = without
        # In all, whatever servers it waits for.
        until = min(deadline, self._clock.seconds() + self.slots.waits[session.traffic_class])
        while failure is None or self._clock.seconds() < deadline:
            tiers = self.choose(key, tried, prefer, max(0.0, until - self._clock.seconds()))
            if not tiers and not self._pardon(tried):
                break
            if not tiers:
                # Those in line have waited for that longer.
                self.slots.serve()
                continue
            began = self._clock.seconds()
            try:
                others = partial(alternatives, self.servers, tiers[0], tried) if may_wait else None
                server = await self.slots.take(session, tiers[0], until, others)
            except TimeUp:
                failure = LinkFailed("connect", status.BACKEND_BUSY, "all links are in use", True)
                tried |= {server.name for server in tiers[0]}
                self._missed(session, tiers[0][0], failure)
                continue
            finally:
                self._counts.waited(session, self._clock.seconds() - began)
            try:
                return await self._open_counted(server, session, deadline, need)
            except LinkFailed as failed:
                if failure is None or failure.reply.is_permanent or failed.reply.is_transient:
                    failure = failed
                tried |= {server.name}
                self._missed(session, server, failed)
        try:
            raise failure or self._nobody(without)
        finally:
            # It knows this frame: without that each would live until the collector of cycles comes by.
            del failure

    def _missed(self, session: Session, server: ServerState, failed: LinkFailed) -> None:
        server.retries += 1
        self._counts.given_up(failed.stage)
        self._tell(LinkFailedEvent(self.backend.name, server.name, failed.stage, failed.reason, session.id))
        session.note(self._clock.seconds(), "backend", failed.stage, f"{server.name}: {failed.reason}")

    def _pardon(self, without: frozenset[str]) -> bool:
        """Nobody may be asked: those that were put out may be tried all the same. Whether there are such."""
        now = self._clock.seconds()
        out = [s for s in self.servers if s.health.until > now and not s.is_drained and s.name not in without]
        for server in out:
            server.health.pardon(now)
        return bool(out)

    def hasten(self) -> None:
        """A person says that its servers may be back: those seen down are tried without waiting for their time."""
        now = self._clock.seconds()
        for server in self.servers:
            server.health.hasten(now)
        self.slots.serve()

    def _nobody(self, without: frozenset[str]) -> LinkFailed:
        """No server may be asked: all are drained, or somebody is trying right now whether they are back."""
        away = [s for s in self.servers if not s.is_drained and s.name not in without]
        if not away:
            return LinkFailed("connect", status.BACKEND_UNREACHABLE, "no server is in service")
        reasons = "; ".join(f"{server.name}: {server.why}" for server in away)
        return LinkFailed("connect", status.BACKEND_UNREACHABLE, f"not asked again yet: {reasons}", True)

    async def _open_counted(self, server: ServerState, session: Session, deadline: float, need: Need) -> Link:
        name = session.traffic_class
        parked = self.slots.idle(server.name, session, need)
        if parked is not None:
            # It is counted as a link of that server already.
            parked.begin(name, self._clock.seconds())
            parked.is_trial = server.health.needs_trial
            server.transactions += 1
            return parked
        server.one_more()
        link = Link(self.backend, server.name, self._clock)
        link.is_trial = server.health.needs_trial
        now = self._clock.seconds()
        until = min(deadline, now + TRIAL_S) if link.is_trial else deadline
        try:
            await self.opener.open(link, server, session, until, need)
        except BaseException as error:
            link.abort()
            server.load.links -= 1
            if link.is_trial:
                server.health.trial_ended()
            if isinstance(error, LinkFailed):
                server.failures += 1
                self._counts.not_connected(server.name)
                if error.stage == "xclient":
                    server.is_ready = False
                    self._alert(server, error.reason)
                elif error.stage == "starttls" and (need or self.backend.kind == "mx"):
                    # It serves others as before.
                    self.slots.serve()
                elif error.is_busy:
                    server.adaptive.busy(self._clock.seconds(), server.busy)
                else:
                    self._unreachable(server, error, self._clock.seconds() - now)
            self.slots.leave(server, name)
            raise
        self._counts.connected(server.name, self._clock.seconds() - now, link.tls_s if link.tls is not None else None)
        link.begin(name, self._clock.seconds())
        link.on_over = self.slots.closed
        server.capabilities = link.capabilities
        server.transactions += 1
        self._reached(server)
        return link

    # By an administrator's word

    def drain(self, server: ServerState, reason: str, is_maint: bool = False) -> None:
        """No new transactions for it; those that run go on. A session that has logged in there keeps its link.

        :param is_maint: do not look at it either
        """
        server.is_drained, server.drain_reason, server.is_maint = True, reason, is_maint
        self.slots.drain(server)

    def ready(self, server: ServerState) -> None:
        """Transactions for it again."""
        server.is_drained, server.drain_reason, server.is_maint = False, "", False
        self.slots.serve()
