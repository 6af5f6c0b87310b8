"""What both legs have in common: a non-blocking socket in the poller, written to at once, with TLS laid over it.

`front.FrontEdge` and `back.BackEdge` say what happens with octets that came, and when the other side is gone.
"""

from __future__ import annotations

import socket
from typing import Any

from smtpgate.net.poller import BROKEN, READ, WRITE
from smtpgate.net.tls import ClientSide, ServerTLS, TLSFailed, TLSLayer

#: Read at most so much in one go: commands are short, content comes in bulk (docs/performance.md).
COMMAND_OCTETS = 16384
BODY_OCTETS = 262144
#: More than this unsent, and the writer should wait.
HIGH_WATER = 131072
#: After our last words, so long we wait for the other side to hear them before the descriptor is closed.
LINGER_S = 5.0


class Edge:
    """One connected (or connecting) socket."""

    __slots__ = (
        "sock",
        "is_open",
        "is_eof",
        "octets_in",
        "octets_out",
        "read_octets",
        "_poller",
        "_clock",
        "_events",
        "_fd",
        "_unsent",
        "_unsent_octets",
        "_late",
        "tls_fault",
        "_tls",
        "_lingering",
        "_pending_close",
        "_recv",
        "_send",
    )

    def __init__(self, sock: socket.socket, poller: Any, clock: Any, events: int) -> None:
        self.sock = sock
        self.is_open = True
        self.is_eof = False
        self.octets_in = 0
        self.octets_out = 0
        self.read_octets = COMMAND_OCTETS
        self._poller = poller
        self._clock = clock
        self._events = events
        self._fd = sock.fileno()
        self._unsent: list[bytes] = []
        self._unsent_octets = 0
        self._late = b""
        #: What of the other side's certificate ended a handshake (`net.tls.TLSFailed.fault`).
        self.tls_fault = ""
        self._tls: TLSLayer | None = None
        self._lingering: Any = None
        self._pending_close = False
        # Looked up once: they are called some fourteen times a message.
        self._recv = sock.recv
        self._send = sock.send
        poller.add(self, events)

    def fileno(self) -> int:
        """For the poller."""
        return self._fd

    # What a leg says

    def _received(self, data: bytes) -> None:
        raise NotImplementedError

    def _ended(self, reason: str, is_reset: bool) -> None:
        """The other side is gone; comes once."""
        raise NotImplementedError

    def _drained(self) -> None:
        """All that was queued is with the kernel."""

    def _handshake_done(self) -> None:
        raise NotImplementedError

    # Reading

    def ready(self, events: int) -> None:
        """For the poller."""
        if events & WRITE and self.is_open:
            self._write_more()
        if events & READ and self.is_open:
            self._read()
        elif events & BROKEN and self.is_open:
            self._broken()

    def _broken(self) -> None:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._end("connection reset" if code else "connection closed", is_reset=True)

    def crashed(self) -> None:
        """For the poller."""
        self._end("internal error", is_reset=True)

    def _read(self) -> None:
        try:
            data = self._recv(self.read_octets)
        except OSError as error:
            self._read_failed(error)
            return
        if self._lingering is not None:
            if not data:
                self._close_now()
            return
        if not data:
            self._eof()
            return
        self.octets_in += len(data)
        if self._tls is None:
            self._received(data)
        else:
            self._read_tls(self._tls, data)

    def _read_failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._end(error.strerror or "connection reset", is_reset=True)

    def _read_tls(self, tls: TLSLayer, data: bytes) -> None:
        was_done = tls.is_done
        try:
            clear = tls.receive(data)
        except TLSFailed as error:
            self.tls_fault = error.fault
            self._send_raw(tls.outgoing())
            self._end(f"TLS: {error}", is_reset=True)
            return
        outgoing = tls.outgoing()
        if outgoing:
            self._send_raw(outgoing)
        if not self.is_open:
            return
        if tls.is_done and not was_done:
            self._handshake_done()
        if clear and self.is_open:
            self._received(clear)
        if tls.is_closed and self.is_open and not self.is_eof:
            self._eof()

    def _eof(self) -> None:
        self.is_eof = True
        self._watch(self._events & ~READ)
        self._ended("closed by the other side", is_reset=False)

    def _watch(self, events: int) -> None:
        if events != self._events and self.is_open:
            self._events = events
            self._poller.change(self, events)

    def pause(self) -> None:
        """Read no more for now."""
        self._watch(self._events & ~READ)

    def resume(self) -> None:
        """Read again."""
        if not self.is_eof:
            self._watch(self._events | READ)

    # Writing

    @property
    def is_full(self) -> bool:
        """True while more is queued than should be."""
        return self._unsent_octets > HIGH_WATER

    @property
    def has_unsent(self) -> bool:
        """True while something is queued."""
        return self._unsent_octets > 0

    def write(self, data: bytes) -> None:
        """Send what the kernel takes, at once or when the poller has served all that is ready; queue the rest."""
        if not self.is_open:
            return
        if self._tls is not None:
            try:
                data = self._tls.encrypt(data)
            except TLSFailed as error:
                self._later(f"TLS: {error}")
                return
        late = self._poller.late
        if late is None:
            self._send_raw(data)
        elif self._late:
            self._late += data
        else:
            self._late = data
            late.append(self)

    def send_late(self) -> None:
        """For the poller: all that was ready has been served."""
        data, self._late = self._late, b""
        if data and not self._unsent_octets:
            try:
                sent = self._send(data)
            except OSError:
                # What is wrong, if it is more than a full buffer, is found again below.
                sent = 0
            self.octets_out += sent
            if sent == len(data):
                return
            data = data[sent:]
        self._send_raw(data)

    def _send_raw(self, data: bytes) -> None:
        if not data:
            return
        if self._late:
            self._late += data
            return
        self.octets_out += len(data)
        if self._unsent_octets:
            self._unsent.append(data)
            self._unsent_octets += len(data)
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._later(error.strerror or "connection reset")
            return
        if sent < len(data):
            self._unsent.append(data[sent:])
            self._unsent_octets = len(data) - sent
            self._watch(self._events | WRITE)

    def _write_more(self) -> None:
        while self._unsent:
            data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            try:
                sent = self._send(data)
            except BlockingIOError:
                self._unsent = [data]
                return
            except OSError as error:
                self._end(error.strerror or "connection reset", is_reset=True)
                return
            self._unsent_octets = len(data) - sent
            self._unsent = [data[sent:]] if sent < len(data) else []
            if self._unsent:
                return
        self._watch(self._events & ~WRITE)
        if self._pending_close:
            self._finish_close()
        else:
            self._drained()

    def _later(self, reason: str) -> None:
        """A write failed: told from the reactor, never from inside the writer's own call."""
        self._unsent, self._unsent_octets = [], 0
        self._clock.callLater(0, self._end, reason, True)

    # TLS

    def _begin_tls(self, tls: ServerTLS | ClientSide, host: str = "") -> None:
        self._tls = TLSLayer(tls, host)
        self._send_raw(self._tls.start())

    # Ending

    def _end(self, reason: str, is_reset: bool) -> None:
        """The connection broke."""
        if not self.is_open:
            return
        if self._lingering is not None or self._pending_close:
            self._close_now()
            return
        self._close_now()
        self._ended(reason, is_reset)

    def close(self, linger: bool = False) -> None:
        """Send what is queued, then end.

        :param linger: the other side may still be sending: let it read our last words before the kernel resets it
        """
        if not self.is_open or self._pending_close:
            return
        if self._tls is not None:
            self._send_raw(self._tls.close())
        self.send_late()
        self._pending_close = True
        if linger:
            self._lingering = self._clock.callLater(LINGER_S, self._close_now)
            self._watch(self._events | READ if not self.is_eof else self._events)
        if not self._unsent_octets:
            self._finish_close()
        elif self._lingering is None:
            self._lingering = self._clock.callLater(LINGER_S, self._close_now)

    def _finish_close(self) -> None:
        if self._lingering is None or self.is_eof:
            self._close_now()
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close_now()

    def abort(self) -> None:
        """End at once."""
        self.send_late()
        self._close_now()

    def _close_now(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self._lingering = None
        self._unsent, self._unsent_octets, self._late = [], 0, b""
        self._poller.forget(self)
        self.sock.close()
        self._closed()

    def _closed(self) -> None:
        """The descriptor is free."""
