"""Takes links to servers: addresses of a name one after the other, and once more in clear where that is allowed."""

from __future__ import annotations

import socket
from typing import Any

from smtpgate.config.model import Backend
from smtpgate.policy.transaction import Session
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.server import RESOLVE_S, ServerState
from smtpgate.smtp import status
from smtpgate.tasks import Clock, TimeUp, within


class Opener:
    """Opens the links of one backend."""

    def __init__(self, backend: Backend, hostname: str, connector: Any, tls: Any, clock: Clock) -> None:
        """
        :param connector: an `interfaces.IConnector`
        :param tls: the `net.tls.ClientTLS` for the backend; None where its `tls` is off
        """
        self.backend = backend
        self._hostname = hostname
        self._connector = connector
        self._tls = tls
        self._clock = clock

    async def open(self, link: Link, server: ServerState, session: Session | None, deadline: float) -> None:
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
