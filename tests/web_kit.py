"""The office on a port of its own, and a client that speaks HTTP to it octet by octet: what a test writes is what goes
over the wire.

`OfficeOnPort` is a desk (`admin_kit`) behind a real listener; its tests run in a thread (`over_tcp`), so that they read
from top to bottom while the reactor serves. `Wire.ask` has the signature of `Desk.ask`, so `Browser` of
test_admin_entry works over it.
"""

from __future__ import annotations

import functools
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import CONFIG, PASSWORD, Answer, Desk

#: Longest wait for an answer.
PATIENCE_S = 30.0


def over_tcp(test: Callable[[Any], None]) -> Callable[[Any], Deferred[None]]:
    """A test that runs in a thread."""

    @functools.wraps(test)
    def run(self: Any) -> Deferred[None]:
        return deferToThread(test, self)

    return run


class Wire:
    """A client of one port."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def open(self) -> Iterator[socket.socket]:
        """A connection."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
            yield sock

    def send(self, octets: bytes) -> bytes:
        """The first answer; what there is of it where the other side closes before."""
        with self.open() as sock:
            try:
                sock.sendall(octets)
            except OSError:
                # It was refused before all of it was sent; what was answered is still there.
                pass
            found = b""
            while not _is_whole(found):
                try:
                    piece = sock.recv(65536)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                found += piece
            return found

    @staticmethod
    def rest(sock: socket.socket) -> bytes:
        """What comes until the end."""
        found = b""
        while True:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return found
            if not piece:
                return found
            found += piece

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        token: str = "",
        host: str = "localhost:8080",
        peer: str = "127.0.0.1",
    ) -> Answer:
        """One request and its answer."""
        lines = {"Host": host, "Connection": "close", **(headers or {})}
        if body or method in ("POST", "PUT", "PATCH"):
            lines.setdefault("Content-Length", str(len(body)))
        if token:
            lines["Authorization"] = f"Bearer {token}"
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        with self.open() as sock:
            sock.sendall(head.encode("latin-1") + b"\r\n" + body)
            octets = self.rest(sock)
        assert octets, f"{method} {path}: no answer"
        return Answer(octets)

    def json(self, method: str, path: str, value: Any, **more: Any) -> Answer:
        """One with a JSON body."""
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        return self.ask(method, path, body=json.dumps(value).encode(), headers=headers, **more)


def _is_whole(octets: bytes) -> bool:
    """Whether an answer has all that its head announces."""
    head, blank, body = octets.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(blank) and length is not None and len(body) >= int(length[1])


class OfficeOnPort(TestCase):
    """A desk with an owner, behind a listener.

    :ivar text: its configuration
    """

    timeout = 120
    text = CONFIG

    def setUp(self) -> None:
        self.desk = Desk(self.text)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")
        port: Any = reactor.listenTCP(0, self.desk.office.site(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        self.addCleanup(self.desk.office.close)
        self.wire = Wire(port.getHost().port)

    def on_reactor(self, call: Callable[..., Any], *args: Any) -> Any:
        """Do something where the office is at home, and wait for it."""
        return blockingCallFromThread(reactor, maybeDeferred, call, *args)
