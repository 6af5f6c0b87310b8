"""Who is here: connections counted at the door, and the sessions that run.

The acceptor asks `refusal` for each connection; behind a PROXY header the client is counted once it is known
(`admit`). Limits are on the total and on each client: an IPv4 address or an IPv6 /64 (Postfix anvil counts alike).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any

from smtpgate.config.model import Listener
from smtpgate.policy.event import ConnectionRefused
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.session import Session
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply


def client_key(address: str) -> str:
    """What one client is counted by."""
    if ":" not in address:
        return address
    parsed = ipaddress.ip_address(address.partition("%")[0])
    assert isinstance(parsed, ipaddress.IPv6Address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::ffff:127.")) or address in ("", "::1")


class Reception:
    """The sessions of this process.

    :ivar sessions: those that run, by id
    :ivar on_idle: called whenever the last one has gone
    """

    def __init__(self, engine: Engine, revision: Callable[[], Revision]) -> None:
        self.sessions: dict[str, Session] = {}
        self.total = 0
        self.is_draining = False
        self.on_idle: Callable[[], None] | None = None
        self._engine = engine
        self._revision = revision
        self._by_client: Counter[str] = Counter()
        self._keys: dict[str, str] = {}

    def refusal(self, listener_name: str, peer: str) -> Reply | None:
        """Asked at the door; a Reply where the connection is not let in."""
        settings = self._revision().settings
        limits = settings.limits
        if len(self.sessions) >= limits.connections:
            self._refused(listener_name, peer, "refused_capacity")
            return status.TOO_MANY_CONNECTIONS
        listener = settings.listeners[listener_name]
        if listener.proxy_protocol_from:
            return None
        return self._count_refusal(listener, peer)

    def _count_refusal(self, listener: Listener, client: str) -> Reply | None:
        limits = self._revision().settings.limits
        if _is_loopback(client) or listener.relay_from and listener.relay_from.contains(client):
            return None
        if self._by_client[client_key(client)] >= limits.connections_per_client:
            self._refused(listener.name, client, "refused_limit")
            return status.TOO_MANY_FROM_CLIENT
        return None

    def _refused(self, listener: str, peer: str, result: str) -> None:
        self._engine.tell(ConnectionRefused(listener, peer, result))

    def begin(self, listener_name: str, front: Any) -> Session:
        """A session for a connection that was let in."""
        revision = self._revision()
        door = revision.doors[listener_name]
        session = Session(self._engine, revision, door, front, self)
        self.total += 1
        self.sessions[session.facts.id] = session
        if not door.listener.proxy_protocol_from:
            self._count(session, front.peer[0])
        front.on_gone = session.gone
        session.start()
        return session

    def _count(self, session: Session, client: str) -> None:
        key = client_key(client)
        self._keys[session.facts.id] = key
        self._by_client[key] += 1

    def _uncount(self, session: Session) -> None:
        key = self._keys.pop(session.facts.id, None)
        if key is not None:
            self._by_client[key] -= 1
            if not self._by_client[key]:
                del self._by_client[key]

    def admit(self, session: Session) -> Reply | None:
        """The PROXY header or XCLIENT named the client: count it; a Reply where it has too many connections."""
        client = session.facts.client_ip
        # It may have been counted under the address that it had before.
        self._uncount(session)
        refusal = self._count_refusal(session.door.listener, client)
        if refusal is None:
            self._count(session, client)
        return refusal

    def ended(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session.facts.id, None)
        self._uncount(session)
        if not self.sessions and self.on_idle is not None:
            self.on_idle()

    def drain(self) -> None:
        """Let transactions in flight finish; idle sessions hear 421 now."""
        self.is_draining = True
        for session in list(self.sessions.values()):
            session.drain()

    def kill_all(self) -> None:
        """The grace time is over: only messages that are being committed are still waited for."""
        for session in list(self.sessions.values()):
            session.kill()
