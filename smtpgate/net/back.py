"""The leg to backends: connecting, and one edge for each connection.

`Connector` opens sockets to addresses that were resolved beforehand; `BackEdge` moves octets for its owner, the link.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from smtpgate.interfaces import IConnector, ILinkEdge, ILinkOwner
from smtpgate.net.edge import BODY_OCTETS, Edge
from smtpgate.net.poller import BROKEN, READ, WRITE
from smtpgate.net.tls import ClientSide

#: An address as `socket.socket` wants it: family and what connect takes.
Address = tuple[int, Any]


@implementer(ILinkOwner)
class _Nobody:
    """Who hears an edge that is over."""

    def connected(self) -> None:
        """Nothing follows."""

    def received(self, octets: bytes) -> None:
        """Nothing follows."""

    def drained(self) -> None:
        """Nothing follows."""

    def tls_started(self, facts: Any) -> None:
        """Nothing follows."""

    def lost(self, reason: str) -> None:
        """Nothing follows."""


_NOBODY = _Nobody()


@implementer(ILinkEdge)
class BackEdge(Edge):
    """One connection to a backend server."""

    __slots__ = ("_owner", "_connected", "_host")

    def __init__(
        self, sock: socket.socket, poller: Any, clock: Any, owner: ILinkOwner, host: str, server_first: bool
    ) -> None:
        self._owner: Any = owner
        self._connected = False
        self._host = host
        # Where the server speaks first, that it does so says that the connection stands: one wake-up for both.
        super().__init__(sock, poller, clock, READ if server_first else WRITE)

    def ready(self, events: int) -> None:
        """For the poller."""
        if events == READ and self._tls is None and self._lingering is None:
            # The usual case in one piece.
            if not self._connected:
                self._connected = True
                self._owner.connected()
                if not self.is_open:
                    return
            try:
                data = self._recv(self.read_octets)
            except OSError as error:
                self._read_failed(error)
                return
            if data:
                self.octets_in += len(data)
                self._owner.received(data)
            else:
                self._eof()
            return
        if self._connected:
            Edge.ready(self, events)
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code or events & BROKEN and not events & (READ | WRITE):
            self._end(errno.errorcode.get(code, "refused"), is_reset=True)
            return
        self._connected = True
        self._watch(READ)
        self._owner.connected()
        if events & READ and self.is_open:
            Edge.ready(self, events & ~WRITE)

    @property
    def is_connected(self) -> bool:
        """The connection stands, though the server may have said nothing yet."""
        if not self._connected and self.is_open:
            try:
                self.sock.getpeername()
            except OSError:
                return False
        return self.is_open

    def local(self) -> tuple[str, int]:
        """Our own address on this connection; ("", 0) on a unix socket."""
        try:
            name = self.sock.getsockname()
        except OSError:
            return "", 0
        return (name[0], name[1]) if isinstance(name, tuple) else ("", 0)

    def remote(self) -> tuple[str, int]:
        """The server's address; ("", 0) on a unix socket."""
        try:
            name = self.sock.getpeername()
        except OSError:
            return "", 0
        return (name[0], name[1]) if isinstance(name, tuple) else ("", 0)

    def start_tls(self, tls: ClientSide) -> None:
        """Begin a handshake; the owner hears `tls_started` or `lost`."""
        self._begin_tls(tls, self._host)

    def _received(self, data: bytes) -> None:
        self._owner.received(data)

    def _ended(self, reason: str, is_reset: bool) -> None:
        # A server that closes its half has nothing more to say to us.
        owner, self._owner = self._owner, _NOBODY
        self._close_now()
        owner.lost(reason)

    # Who has ended it hears nothing more. The owner has the edge, and with both ways a link would live until the
    # collector of cycles comes by.

    def close(self, linger: bool = False) -> None:
        """Send what is queued, then end."""
        Edge.close(self, linger)
        self._owner = _NOBODY

    def abort(self) -> None:
        """End at once."""
        Edge.abort(self)
        self._owner = _NOBODY

    def _drained(self) -> None:
        self._owner.drained()

    def _handshake_done(self) -> None:
        assert self._tls is not None
        self._owner.tls_started(self._tls.facts)


@implementer(IConnector)
class Connector:
    """Opens edges."""

    def __init__(self, poller: Any, reactor: Any) -> None:
        self._poller = poller
        self._reactor = reactor

    def connect(self, address: Address, owner: ILinkOwner, host: str, server_first: bool) -> BackEdge:
        """Begin to connect. Raises OSError where the kernel refuses at once (no descriptor, no route).

        :param server_first: nothing will be written before the server has spoken
        """
        family, where = address
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            code = sock.connect_ex(where)
            if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
                raise OSError(code, errno.errorcode.get(code, str(code)))
            return BackEdge(sock, self._poller, self._reactor, owner, host, server_first)
        except OSError:
            sock.close()
            raise

    def resolve(self, host: str, port: int) -> Deferred[list[Address]]:
        """Addresses of a name, in the order of the system's preference."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _look_up, host, port)


def _look_up(host: str, port: int) -> list[Address]:
    return [(int(found[0]), found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


__all__ = ["BODY_OCTETS", "Address", "BackEdge", "Connector"]
