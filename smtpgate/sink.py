"""A mail server that takes everything and keeps it in a Maildir: the backend of a first try.

It speaks our own front wire over a plain Twisted transport, with STARTTLS, so that `make run` needs nothing else on
the machine. Not for real mail: it has no users, no limits and no locks.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions

from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import Command
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import NEED_DATA, PAUSED, EndOfData, ServerConnection, Violation, WireRules

OFFERED = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE 104857600",
           "XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")  # fmt: skip


class Maildir:
    """Messages as files: written to tmp/, then moved to new/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def keep(self, content: bytes) -> str:
        """Write one message; its file's name."""
        name = f"{time.time():.6f}.{os.getpid()}_{next(self._numbers)}.sink"
        path = self.folder / "tmp" / name
        path.write_bytes(content)
        path.rename(self.folder / "new" / name)
        return name


class SinkProtocol(Protocol):
    """One client of the sink."""

    def __init__(self, factory: SinkFactory) -> None:
        self._sink = factory
        self._wire = ServerConnection(WireRules())
        self._content: list[bytes] = []

    def connectionMade(self) -> None:
        self._wire.greet(f"220 {self._sink.hostname} ESMTP\r\n".encode())
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        self._wire.receive(data)
        self._go_on()

    def _go_on(self) -> None:
        wire = self._wire
        while True:
            event = wire.next_event()
            if event is NEED_DATA or event is PAUSED:
                break
            if isinstance(event, Command):
                self._command(event)
            elif isinstance(event, Violation):
                wire.reply(event, event.suggested)
                if event.is_fatal:
                    self._flush()
                    self._transport().loseConnection()
                    return
            elif isinstance(event, Chunk):
                self._content.append(event.content)
            elif isinstance(event, EndOfData):
                self._end(event)
        self._flush()

    def _command(self, command: Command) -> None:
        wire = self._wire
        if command.verb == "EHLO":
            words = OFFERED + (() if wire.is_tls else ("STARTTLS",))
            wire.offer(Capabilities({word.split(" ")[0]: word.partition(" ")[2] for word in words}))
            wire.reply(command, Reply(250, "", (self._sink.hostname, *words)))
        elif command.verb == "HELO":
            wire.offer(None)
            wire.reply(command, Reply(250, "", (self._sink.hostname,)))
        elif command.verb == "STARTTLS":
            wire.reply(command, status.START_TLS)
            self._flush()
            self._transport().startTLS(self._sink.tls)
            wire.tls_started()
        elif command.verb == "DATA":
            wire.reply(command, status.START_DATA)
        elif command.verb == "QUIT":
            wire.reply(command, status.GOODBYE)
            self._flush()
            self._transport().loseConnection()
        elif command.verb == "XCLIENT":
            # Who the client is, is told for nothing, as a server is told it; it begins anew with its greeting.
            wire.offer(None)
            wire.reply(command, Reply(220, "", (f"{self._sink.hostname} ESMTP",)))
        elif command.verb == "AUTH":
            wire.reply(command, status.NOT_IMPLEMENTED)
        elif command.verb != "BDAT":
            if command.verb == "MAIL":
                self._content = []
            wire.reply(command, status.NOOP_OK)

    def _end(self, end: EndOfData) -> None:
        if not end.is_last:
            self._wire.reply(end, status.CHUNK_OK)
            return
        content, self._content = b"".join(self._content), []

        def kept(name: str) -> None:
            self._wire.reply(end, Reply(250, "2.0.0", (f"Ok: kept as {name}",)))
            self._go_on()

        def failed(_: object) -> None:
            self._wire.reply(end, status.DISK_FULL)
            self._go_on()

        self._sink.in_thread(self._sink.maildir.keep, content).addCallbacks(kept, failed)

    def _transport(self) -> Any:
        return self.transport

    def _flush(self) -> None:
        data = self._wire.take_output()
        if data:
            self._transport().write(data)


class SinkFactory(Factory):
    """The sink."""

    noisy = False

    def __init__(self, maildir: Maildir, certificate: Path, in_thread: Callable[..., Any]) -> None:
        self.hostname = "sink.localhost"
        self.maildir = maildir
        self.in_thread = in_thread
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(certificate))
        self.tls = _Fixed(context)

    def buildProtocol(self, addr: object) -> SinkProtocol:
        """One protocol a client."""
        return SinkProtocol(self)


class _Fixed(CertificateOptions):
    """A context made before, as startTLS wants it."""

    def __init__(self, context: SSL.Context) -> None:
        super().__init__()
        self._made = context

    def getContext(self) -> SSL.Context:
        return self._made
