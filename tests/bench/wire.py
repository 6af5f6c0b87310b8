"""Client and backend of the filter benchmark: plain sockets, one message a session, nothing that would cost much.

The backend takes everything, and counts. Both send each reply or command at once and acknowledge at once: several
servers write a message in bits and would else wait 40 ms for the kernel at each, which would make them look worse.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from tests.bench.mail_mix import RECIPIENT, Mail
from tests.bench.processes import Forked

_WAIT_S = 60.0


def _quick(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Backend:
    """A mail server that forgets all mail, in a process of its own; a thread for each connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._count = mmap.mmap(-1, 8)
        self._process = Forked(self._serve)

    @property
    def messages(self) -> int:
        """Messages that it took."""
        return int.from_bytes(self._count[:8], "little")

    def stop(self) -> None:
        """End it."""
        self._process.stop()
        self._socket.close()

    def _serve(self) -> None:
        lock = threading.Lock()
        while True:
            one, _ = self._socket.accept()
            threading.Thread(target=self._session, args=(one, lock), daemon=True).start()

    def _session(self, one: socket.socket, lock: threading.Lock) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), one:
            one.sendall(b"220 sink.test ESMTP\r\n")
            left = b""
            while True:
                line, end, rest = left.partition(b"\r\n")
                if not end:
                    _quick(one)
                    came = one.recv(65_536)
                    if not came:
                        return
                    left += came
                    continue
                left = rest
                verb = line[:4].upper()
                if verb == b"DATA":
                    one.sendall(b"354 go on\r\n")
                    left = _content(one, left)
                    with lock:
                        self._count[:8] = (self.messages + 1).to_bytes(8, "little")
                    one.sendall(b"250 2.0.0 taken\r\n")
                elif verb == b"EHLO":
                    one.sendall(b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n")
                elif verb == b"QUIT":
                    one.sendall(b"221 2.0.0 bye\r\n")
                    return
                else:
                    one.sendall(b"250 2.0.0 ok\r\n")


def _content(one: socket.socket, left: bytes) -> bytes:
    """Read to the end of the content; what came behind it."""
    tail = b"\r\n" + left
    while (at := tail.find(b"\r\n.\r\n")) < 0:
        _quick(one)
        came = one.recv(262_144)
        if not came:
            raise OSError("closed within the content")
        tail = tail[-4:] + came
    return tail[at + 5 :]


@attrs.frozen
class Sent:
    """What became of one message.

    :ivar seconds: from connect to the last reply, without the farewell
    :ivar reply: the reply that decided; "" for a lost connection
    """

    seconds: float
    reply: str


def send(mail: Mail, port: int, has_proxy: bool) -> Sent:
    """One message over a session of its own."""
    began = time.perf_counter()
    reply = ""
    try:
        with socket.create_connection(("127.0.0.1", port), _WAIT_S) as one:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if has_proxy:
                one.sendall(f"PROXY TCP4 {mail.client} 127.0.0.1 40000 25\r\n".encode())
            reply = _read(one)
            for command in (
                f"EHLO {mail.helo}",
                f"MAIL FROM:<{mail.sender}> SIZE={len(mail.content)}",
                f"RCPT TO:<{RECIPIENT}>",
                "DATA",
            ):
                if reply[:1] not in "23":
                    return Sent(time.perf_counter() - began, reply)
                one.sendall(command.encode() + b"\r\n")
                reply = _read(one)
            if reply[:1] == "3":
                one.sendall(stuffed(mail.content))
                reply = _read(one)
            ended = time.perf_counter()
            with contextlib.suppress(OSError):
                one.sendall(b"QUIT\r\n")
                _read(one)
            return Sent(ended - began, reply)
    except OSError as error:
        return Sent(time.perf_counter() - began, f"lost after {reply[:3]!r}: {error}")


def stuffed(content: bytes) -> bytes:
    """Content as it stands on the wire."""
    return content.replace(b"\r\n.", b"\r\n..") + (b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n")


def _read(one: socket.socket) -> str:
    came = b""
    while True:
        _quick(one)
        octets = one.recv(65_536)
        if not octets:
            raise OSError("closed")
        came += octets
        last = came[came.rfind(b"\r\n", 0, -2) + 2 if came.count(b"\r\n") > 1 else 0 :]
        if came.endswith(b"\r\n") and last[3:4] != b"-":
            return came.decode("latin-1").strip()


def send_all(mails: Sequence[Mail], port: int, has_proxy: bool, sessions: int) -> list[Sent]:
    """All of them, so many at a time."""
    if sessions == 1:
        return [send(mail, port, has_proxy) for mail in mails]
    with ThreadPoolExecutor(sessions) as pool:
        return list(pool.map(lambda mail: send(mail, port, has_proxy), mails))
