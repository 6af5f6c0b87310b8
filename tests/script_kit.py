"""A scripted backend and a scripted client: plain blocking sockets in threads, every octet noted."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

EHLO = ("PIPELINING", "SIZE 50000000", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING")
#: No script waits longer for the other side; a test that needs it has failed.
PATIENCE_S = 15.0

Action = bytes | Callable[["Connection"], bytes | None]
DROP, RESET, STALL = b"<drop>", b"<reset>", b"<stall>"


#: How a reply ends that the log can be searched for: the session's id, with .n for a transaction.
REFERENCE = rb" [0-9A-V]{26}(?:\.[0-9]+)?\r\n$"
_TRACE = re.compile(rb"\AReceived: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def without_trace(message: bytes) -> bytes:
    """A message as it reached the backend, without the one trace field that the gateway puts on top."""
    match = _TRACE.match(message)
    assert match is not None, message[:200]
    return message[match.end() :]


def reset(sock: socket.socket) -> None:
    """Close with RST in place of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Connection:
    """One connection of the gateway to the backend."""

    def __init__(self, backend: Backend, sock: socket.socket) -> None:
        self.backend = backend
        self.sock = sock
        self.buffer = b""
        self.commands: list[bytes] = []
        self.recipients = 0
        self.has_mail = False
        #: How many commands came in clear; None while there is no TLS.
        self.clear: int | None = None

    @property
    def in_clear(self) -> list[bytes]:
        """The commands that came without TLS."""
        return self.commands[: self.clear]

    def more(self) -> None:
        """Read some octets."""
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self) -> bytes:
        """One line, without its end."""
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def say(self, octets: bytes) -> None:
        """Write, with the line end where it is missing."""
        self.sock.sendall(octets if octets.endswith(b"\n") else octets + b"\r\n")


class Backend:
    """A mail server that does as it is told.

    :ivar commands: all command lines, in order of arrival over all connections
    :ivar messages: content of each ended message as it was on the wire, dots still stuffed, without the terminator
    :ivar unfinished: content of messages that were cut off
    """

    def __init__(
        self,
        rules: Sequence[tuple[bytes, Action]] = (),
        ehlo: Sequence[str] = EHLO,
        *,
        lmtp: bool = False,
        greeting: Action = b"220 backend.example.net ESMTP",
        certificate: Path | None = None,
        once: Sequence[tuple[bytes, Action]] = (),
        implicit: bool = False,
    ) -> None:
        """
        :param rules: (pattern of a command line or "DOT", action); the first that matches wins
        :param once: the same, each used up by its first match
        """
        self.rules = list(rules)
        self.once = list(once)
        self.ehlo = list(ehlo)
        self.lmtp = lmtp
        self.greeting = greeting
        #: Greetings of the next connections, used up one by one.
        self.greetings: list[Action] = []
        self.certificate = certificate
        self.implicit = implicit
        #: Authorities of client certificates; None: no client is asked for one.
        self.client_ca: Path | None = None
        #: What each TLS client showed; an empty one showed none.
        self.certificates: list[object] = []
        #: Names that TLS clients asked for.
        self.names: list[str | None] = []
        self.commands: list[bytes] = []
        self.messages: list[bytes] = []
        self.unfinished: list[bytes] = []
        self.connections: list[Connection] = []
        self.release = threading.Event()
        #: Set when a rule of `once` was used.
        self.met = threading.Event()
        self._lock = threading.Lock()
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._sock.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody."""
        self.release.set()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        for connection in list(self.connections):
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(PATIENCE_S * 4)
            connection = Connection(self, sock)
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: Connection) -> None:
        try:
            if self.implicit:
                self._tls(connection)
            if self._act(connection, self.greetings.pop(0) if self.greetings else self.greeting):
                while self._command(connection):
                    pass
        except (EOFError, OSError, ValueError):
            pass
        finally:
            connection.sock.close()

    def _rule(self, line: bytes) -> Action | None:
        with self._lock:
            for rule in self.once:
                if re.search(rule[0], line, re.IGNORECASE):
                    self.once.remove(rule)
                    self.met.set()
                    return rule[1]
        return next((action for pattern, action in self.rules if re.search(pattern, line, re.IGNORECASE)), None)

    def _act(self, connection: Connection, action: Action) -> bool:
        """False when the connection is over."""
        if callable(action):
            made = action(connection)
            if made is None:
                return True
            action = made
        if action == DROP:
            return False
        if action == RESET:
            reset(connection.sock)
            return False
        if action == STALL:
            self.release.wait(PATIENCE_S * 4)
            return False
        connection.say(action)
        return True

    def _command(self, connection: Connection) -> bool:
        line = connection.line()
        connection.commands.append(line)
        with self._lock:
            self.commands.append(line)
        verb = line[:4].upper()
        rule = self._rule(line)
        if verb == b"DATA" and connection.recipients and rule is None:
            return self._data(connection)
        if verb == b"BDAT":
            return self._chunk(connection, line, rule)
        if rule is not None:
            if verb == b"STAR" and rule == b"220 go":
                rule = None
            else:
                said = rule(connection) if callable(rule) else rule
                self._note(connection, verb, said)
                return (said is None or self._act(connection, said)) and verb != b"QUIT"
        if verb in (b"EHLO", b"LHLO"):
            connection.has_mail, connection.recipients = False, 0
            words = [b"backend.example.net", *(word.encode() for word in self.ehlo)]
            lines = [b"250-" + word for word in words[:-1]] + [b"250 " + words[-1]]
            connection.say(b"\r\n".join(lines))
        elif verb == b"STAR":
            connection.say(b"220 go")
            self._tls(connection)
        elif verb == b"MAIL":
            connection.has_mail, connection.recipients = True, 0
            connection.say(b"250 2.1.0 sender ok")
        elif verb == b"RCPT":
            if connection.has_mail:
                connection.recipients += 1
                connection.say(b"250 2.1.5 recipient ok")
            else:
                connection.say(b"503 5.5.1 MAIL first")
        elif verb == b"QUIT":
            connection.say(b"221 2.0.0 bye")
            return False
        elif verb == b"XCLI":
            connection.say(b"220 go on")
        elif verb == b"AUTH":
            connection.say(b"235 2.7.0 ok")
        elif verb in (b"RSET", b"HELO", b"NOOP", b"XFOR"):
            connection.has_mail, connection.recipients = False, 0
            connection.say(b"250 2.0.0 ok")
        else:
            connection.say(b"500 5.5.1 unknown")
        return True

    def _note(self, connection: Connection, verb: bytes, said: bytes | None) -> None:
        """A rule answered an envelope command: keep count of what it took. A rule that wrote itself took it."""
        if said is None or said.startswith(b"2"):
            if verb == b"MAIL":
                connection.has_mail, connection.recipients = True, 0
            elif verb == b"RCPT" and connection.has_mail:
                connection.recipients += 1

    def _tls(self, connection: Connection) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)  # type: ignore[arg-type]
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self.client_ca)
        context.sni_callback = lambda sock, name, context: self.names.append(name)
        connection.buffer = b""
        connection.clear = len(connection.commands)
        secure = context.wrap_socket(connection.sock, server_side=True)
        connection.sock = secure
        self.certificates.append(secure.getpeercert())

    def take_data(self, connection: Connection) -> bool:
        """For a rule of DATA that has said its 354 itself: the rest of the data phase."""
        return self._content(connection)

    def _data(self, connection: Connection) -> bool:
        connection.say(b"354 go on")
        return self._content(connection)

    def _content(self, connection: Connection) -> bool:
        connection.buffer = b"\r\n" + connection.buffer
        at = 0
        try:
            while (end := connection.buffer.find(b"\r\n.\r\n", at)) < 0:
                at = max(0, len(connection.buffer) - 4)
                rule = self._rule(b"MIDDLE") if len(connection.buffer) > 2 else None
                if rule is not None and not self._act(connection, rule):
                    raise EOFError
                connection.more()
        except (EOFError, OSError):
            self.unfinished.append(connection.buffer[2:])
            raise
        content, connection.buffer = connection.buffer[2 : end + 2], connection.buffer[end + 5 :]
        return self._ended(connection, content)

    def _ended(self, connection: Connection, content: bytes) -> bool:
        with self._lock:
            self.commands.append(b"DOT")
            self.messages.append(content)
        count = connection.recipients if self.lmtp else 1
        connection.has_mail, connection.recipients = False, 0
        rule = self._rule(b"DOT")
        if rule is not None:
            return self._act(connection, rule)
        connection.say(b"250 2.0.0 queued\r\n" * count)
        return True

    def _chunk(self, connection: Connection, line: bytes, rule: Action | None) -> bool:
        words = line.split()
        size = int(words[1])
        while len(connection.buffer) < size:
            connection.more()
        piece, connection.buffer = connection.buffer[:size], connection.buffer[size:]
        chunks = getattr(connection, "chunks", b"") + piece
        connection.chunks = chunks  # type: ignore[attr-defined]
        if rule is not None:
            return self._act(connection, rule)
        if words[-1].upper() == b"LAST":
            connection.chunks = b""  # type: ignore[attr-defined]
            return self._ended(connection, chunks)
        connection.say(b"250 2.0.0 chunk")
        return True

    def all_closed(self) -> bool:
        """Wait until the gateway has given up every connection; False when it kept one."""
        for thread in list(self._threads):
            thread.join(PATIENCE_S)
        return not any(thread.is_alive() for thread in self._threads)

    def seen(self, pattern: bytes) -> list[bytes]:
        """The command lines that match."""
        return [line for line in self.commands if re.search(pattern, line, re.IGNORECASE)]


class Client:
    """A client that sends what it is told and reads whole replies."""

    def __init__(self, port: int, greet: bool = True) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S * 4)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if greet:
            assert self.read().startswith(b"220 ")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> None:
        """Write just these octets."""
        self.sock.sendall(octets)

    def read(self) -> bytes:
        """One whole reply, lines joined by CRLF; b"" when the connection is closed."""
        out = b""
        while True:
            while b"\r\n" not in self.buffer:
                try:
                    data = self.sock.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    return b""
                self.buffer += data
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            out += line + b"\r\n"
            if line[3:4] != b"-":
                return out

    def say(self, line: bytes) -> bytes:
        """One command and its reply."""
        self.send(line + b"\r\n")
        return self.read()

    def codes(self, octets: bytes, count: int) -> list[int]:
        """Write octets, read so many replies: their codes (0: closed)."""
        self.send(octets)
        return [int(self.read()[:3] or b"0") for _ in range(count)]

    def hello(self) -> bytes:
        """EHLO; the reply."""
        return self.say(b"EHLO client.example.com")

    def message(
        self,
        content: bytes = b"Subject: x\r\n\r\nhi\r\n",
        sender: bytes = b"a@example.org",
        recipients: Sequence[bytes] = (b"b@example.net",),
    ) -> bytes:
        """One whole message; the reply to the last command that was sent."""
        reply = self.say(b"MAIL FROM:<" + sender + b">")
        for recipient in recipients:
            reply = self.say(b"RCPT TO:<" + recipient + b">")
        reply = self.say(b"DATA")
        return self.say(content + b".") if reply.startswith(b"354") else reply

    def is_closed(self) -> bool:
        """Wait for the end of the connection; True when nothing came before it."""
        return self.read() == b""

    def starttls(self, greet: bool = False) -> None:
        """Begin TLS now, without checking the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)
        self.buffer = b""

    def reset(self) -> None:
        """Hang up with RST."""
        reset(self.sock)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def reply_at(self, stage: str, recipient: bytes = b"b@example.net") -> bytes:
        """A new transaction: the reply that tells what the backend said to MAIL, RCPT, DATA or DOT.

        MAIL goes to the backend together with the first RCPT, so that its refusal is the reply to that.
        """
        self.say(b"RSET")
        self.say(b"MAIL FROM:<a@example.org>")
        reply = self.say(b"RCPT TO:<" + recipient + b">")
        if stage in ("MAIL", "RCPT"):
            return reply
        assert reply.startswith(b"250"), reply
        reply = self.say(b"DATA")
        if stage == "DATA":
            return reply
        assert reply.startswith(b"354"), reply
        return self.say(b"Subject: x\r\n\r\nhi\r\n.")
