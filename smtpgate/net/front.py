"""The leg to clients: accepting, and one edge for each client.

`Acceptor` takes connections from a listening socket that a Twisted endpoint made; `FrontEdge` gives the session wire
events and writes the wire's replies. Neither knows a reply text: refusals at the door come from `admit`.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from smtpgate.interfaces import ClientGone, IFrontLeg
from smtpgate.net.edge import BODY_OCTETS, COMMAND_OCTETS, Edge
from smtpgate.net.poller import READ
from smtpgate.net.tls import ServerTLS
from smtpgate.policy.transaction import TLSFacts
from smtpgate.smtp import proxyline
from smtpgate.smtp.address import plain_ip
from smtpgate.smtp.server import NEED_DATA, Event, ServerConnection, WireRules
from smtpgate.tasks import Signal

#: Octets a client may send ahead of what the session has taken.
READ_AHEAD = 65536
#: Connections accepted in one go.
_ACCEPTS = 64
#: Accepting rests so long when the process has no descriptor left.
_REST_S = 1.0


@implementer(IFrontLeg)
class FrontEdge(Edge):
    """One client.

    :ivar on_gone: called when the client left while the session was not waiting for it
    :ivar on_closed: called once the descriptor is free
    """

    __slots__ = ("wire", "peer", "gone", "on_gone", "on_closed", "_input", "_output", "_shaking", "_header")

    def __init__(self, sock: socket.socket, peer: tuple[str, int], poller: Any, clock: Any, rules: WireRules) -> None:
        self.wire = ServerConnection(rules)
        self.peer = peer
        self.gone: ClientGone | None = None
        self.on_gone: Callable[[ClientGone], None] | None = None
        self.on_closed: Callable[[], None] | None = None
        self._input = Signal()
        self._output: Signal | None = None
        self._shaking: Signal | None = None
        self._header: bytes | None = None
        super().__init__(sock, poller, clock, READ)

    @property
    def is_gone(self) -> bool:
        """True when the client cannot hear us any more."""
        return self.gone is not None and (self.gone.is_reset or not self.is_open)

    def local(self) -> tuple[str, int]:
        """Our own address on this connection; ("", 0) on a unix socket."""
        try:
            name = self.sock.getsockname()
        except OSError:
            return "", 0
        return (name[0], name[1]) if isinstance(name, tuple) else ("", 0)

    # Input

    def ready(self, events: int) -> None:
        """For the poller. `Edge.ready` says the same for all cases; this is the usual one, in one piece."""
        if events != READ or self._tls is not None or self._lingering is not None or self._header is not None:
            Edge.ready(self, events)
            return
        try:
            data = self._recv(self.read_octets)
        except OSError as error:
            self._read_failed(error)
            return
        if not data:
            self._eof()
            return
        self.octets_in += len(data)
        self.wire.receive(data)
        if self._input.task is not None:
            self._input.fire()
        elif self.wire.buffered > READ_AHEAD:
            self.pause()

    def _received(self, data: bytes) -> None:
        if self._header is not None:
            self._header += data
            self._input.fire()
            return
        self.wire.receive(data)
        if self._input.task is not None:
            self._input.fire()
        elif self.wire.buffered > READ_AHEAD:
            self.pause()

    def _ended(self, reason: str, is_reset: bool) -> None:
        gone = ClientGone(reason, is_reset)
        if self.gone is None or is_reset:
            self.gone = gone
        for signal in (self._shaking, self._output, self._input):
            if signal is not None and signal.task is not None:
                if signal is self._input and not is_reset:
                    # What came before the end may still hold events.
                    signal.fire()
                else:
                    signal.fail(gone)
                return
        if self.on_gone is not None:
            self.on_gone(gone)

    async def event(self, deadline: float) -> Event:
        """The next thing the client said; raises ClientGone, or TimeUp at `deadline`."""
        while True:
            event = self.wire.next_event()
            if event is not NEED_DATA:
                return event
            await self.input(deadline)

    def input(self, deadline: float) -> Signal:
        """What to await when the wire says NEED_DATA: all that it had to say is written, and reading goes on."""
        if self.gone is not None:
            raise self.gone
        wire = self.wire
        out = wire.out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.write(data)
        self.read_octets = BODY_OCTETS if wire.is_reading_body else COMMAND_OCTETS
        if not self._events & READ:
            self.resume()
        signal = self._input
        signal.deadline = deadline
        return signal

    async def sent(self, deadline: float) -> None:
        """Wait until all that was written is with the kernel: a client that does not read gets nothing more."""
        if self.has_unsent and self.is_open:
            self._output = Signal()
            self._output.deadline = deadline
            await self._output

    def _drained(self) -> None:
        if self._output is not None and self._output.task is not None:
            self._output.fire()

    def flush(self) -> None:
        """Write what the wire has to say."""
        data = self.wire.take_output()
        if data:
            self.write(data)

    # PROXY and TLS

    async def proxy_header(self, deadline: float) -> proxyline.Origin | proxyline.BadHeader:
        """The PROXY header that must come first."""
        self._header = b""
        while True:
            found = proxyline.parse(self._header)
            if found is not None:
                break
            if self.gone is not None:
                raise self.gone
            self._input.deadline = deadline
            await self._input
        rest, self._header = self._header, None
        if isinstance(found, proxyline.Origin) and len(rest) > found.octets:
            self.wire.receive(rest[found.octets :])
        return found

    async def start_tls(self, tls: ServerTLS, deadline: float) -> TLSFacts:
        """The handshake. What is in the wire's buffer on an implicit-TLS port is its beginning."""
        self.flush()
        early = self.wire.take_input()
        self._shaking = Signal()
        self._shaking.deadline = deadline
        self._begin_tls(tls)
        assert self._tls is not None
        if early:
            self._read_tls(self._tls, early)
        if not self._tls.is_done:
            if self.gone is not None:
                raise self.gone
            await self._shaking
        self._shaking = None
        return self._tls.facts

    def _handshake_done(self) -> None:
        # The wire starts anew before octets that came with the last of the handshake reach it.
        self.wire.tls_started()
        if self._shaking is not None and self._shaking.task is not None:
            self._shaking.fire()

    def _closed(self) -> None:
        if self.on_closed is not None:
            self.on_closed()


class Acceptor:
    """Takes connections from one listening socket.

    :ivar is_paused: no descriptor was left; accepting goes on by itself
    """

    _log = Logger(namespace="smtpgate.net.front")

    def __init__(
        self,
        sock: socket.socket,
        poller: Any,
        clock: Any,
        admit: Callable[[str], bytes | None],
        begin: Callable[[socket.socket, tuple[str, int]], None],
        exhausted: Callable[[str], None],
        ceiling: int = sys.maxsize,
        full: Callable[[str], bytes] = lambda peer: b"",
    ) -> None:
        """
        :param admit: is asked for each peer address; gives the octets of a refusal, or None
        :param begin: gets each socket that was let in, with the peer's address
        :param exhausted: told when accepting pauses, with the reason
        :param ceiling: a socket whose descriptor is this one or a higher is refused: the last are for others
        :param full: gives the octets of that refusal for a peer address
        """
        self.is_paused = False
        self._sock = sock
        self._poller = poller
        self._clock = clock
        self._admit = admit
        self._begin = begin
        self._exhausted = exhausted
        self._ceiling = ceiling
        self._full = full
        self._call: Any = None
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Accepted sockets inherit both, so they cost no system call each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        poller.add(self, READ)

    def fileno(self) -> int:
        """For the poller."""
        return self._sock.fileno()

    def ready(self, events: int) -> None:
        """For the poller: somebody is at the door."""
        for _ in range(_ACCEPTS):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(error.strerror or "no descriptor left")
                    return
                # The client left between the queue and us: the next one may be there.
                continue
            sock.setblocking(False)
            peer = (plain_ip(str(address[0])), int(address[1])) if isinstance(address, tuple) else ("", 0)
            refusal = self._admit(peer[0]) if sock.fileno() < self._ceiling else self._full(peer[0])
            if refusal is not None:
                _refuse(sock, refusal)
                continue
            self._begin(sock, peer)

    def crashed(self) -> None:
        """For the poller: the door stays open."""

    def _rest(self, reason: str) -> None:
        self.is_paused = True
        self._poller.remove(self)
        self._call = self._clock.callLater(_REST_S, self._go_on)
        self._exhausted(reason)

    def _go_on(self) -> None:
        self.is_paused = False
        self._poller.add(self, READ)

    def close(self) -> None:
        """Accept no more. The socket itself belongs to the endpoint's port."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        if not self.is_paused:
            self._poller.remove(self)


def _refuse(sock: socket.socket, refusal: bytes) -> None:
    try:
        sock.send(refusal)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    sock.close()
