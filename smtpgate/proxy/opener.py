"""Takes links to servers: addresses of a name one after the other, and once more in clear where that is allowed."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import ensureDeferred

from smtpgate.config.model import Backend
from smtpgate.interfaces import Unavailable
from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Session
from smtpgate.proxy import plan as plans
from smtpgate.proxy.guard import Guard, NoRoad
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.server import RESOLVE_S, ServerState
from smtpgate.smtp import status
from smtpgate.tasks import Clock, TimeUp, within


class Opener:
    """Opens the links of one backend."""

    def __init__(
        self, backend: Backend, hostname: str, connector: Any, tls: Any, clock: Clock, guard: Guard | None = None
    ) -> None:
        """
        :param connector: an `interfaces.IConnector`
        :param tls: the `net.tls.ClientTLS` for the backend; None where its `tls` is off
        :param guard: knows addresses and protection of servers that the DNS names
        """
        self.backend = backend
        self._hostname = hostname
        self._connector = connector
        self._tls = tls
        self._clock = clock
        self._guard = guard

    async def open(
        self, link: Link, server: ServerState, session: Session | None, deadline: float, need: Need = NO_NEED
    ) -> None:
        """Try each address of a server; with `optional`, once more in clear where TLS failed (P-157).

        :param need: what the message asks of the link
        """
        try:
            await self._open(link, server, session, deadline, need)
        except Unavailable as error:
            # A file of ours that was there when the configuration was loaded.
            raise LinkFailed("starttls", status.BACKEND_TLS_FAILED, str(error)) from error

    async def _open(
        self, link: Link, server: ServerState, session: Session | None, deadline: float, need: Need
    ) -> None:
        if self._guard is not None:
            await self._open_guarded(self._guard, link, server, session, deadline, need)
            return
        why = plans.why_never(self.backend, need)
        if why:
            raise LinkFailed("starttls", plans.unmet(need), why)
        addresses = await self._addresses(server, deadline)
        if not addresses:
            raise LinkFailed("connect", status.BACKEND_UNREACHABLE, f"{server.host} has no address")
        await self._try(addresses, plans.of_backend(self.backend, self._tls, need), link, server, session, deadline)

    async def _open_guarded(
        self, guard: Guard, link: Link, server: ServerState, session: Session | None, deadline: float, need: Need
    ) -> None:
        """The same for a server that the DNS names: what is seen of its TLS is counted for its domain."""
        try:
            asked = ensureDeferred(guard.route(server.host, server.config.port or 25, need, self._tls))
            route = await within(asked, deadline)
        except TimeUp:
            raise LinkFailed("connect", status.DNS_FAILED, "no answer from the DNS in time", is_late=True) from None
        except NoRoad as error:
            guard.failed(server.host, error.policy, error.fault)
            raise LinkFailed(error.stage, error.reply, error.reason, fault=error.fault) from None
        try:
            await self._try(route.addresses, route.plan, link, server, session, deadline)
        except LinkFailed as failure:
            if failure.stage == "starttls":
                guard.failed(server.host, route.policy, failure.fault or "validation-failure")
            raise
        guard.opened(server.host, route, link.tls)

    async def _try(
        self,
        addresses: Sequence[Any],
        plan: plans.Plan,
        link: Link,
        server: ServerState,
        session: Session | None,
        deadline: float,
    ) -> None:
        for number, address in enumerate(addresses):
            is_last = number == len(addresses) - 1
            now = self._clock.seconds()
            # An address that does not answer must not eat the budget of the next.
            until = deadline if is_last else min(deadline, now + max(1.0, (deadline - now) / 2))
            try:
                await link.open(self._connector, address, server.host, plan, self._hostname, session, until)
                return
            except LinkFailed as failure:
                may_retry = failure.stage == "starttls" and not failure.is_attack
                if may_retry and plan.may_go_clear and link.tls is None:
                    link.renew()
                    clear = plan.in_clear()
                    await link.open(self._connector, address, server.host, clear, self._hostname, session, deadline)
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
