"""The fault matrix: the backend leg broken at each step in each way, the client gone at each step, the gateway killed.

For every cell: what was acknowledged is at the backend whole, nothing that was not acknowledged is there as a whole
message unless its answer was lost after the dot, every fault of the link is 4yz, and the next message goes through.
There is one server, so failover hides nothing. `make faults` prints the table.

Each kind of fault has a listener, a backend and a route of its own in one gateway, and all kinds are tried side by
side: most of them cost a time-out.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.net.selfsigned import ensure
from smtpgate.policy.event import DeliveryUnknown, Happened, SessionEnded, TransactionEnded
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import (
    DROP,
    PATIENCE_S,
    RESET,
    STALL,
    Action,
    Backend,
    Client,
    Connection,
    reset,
    without_trace,
)

HEAD = b"From: a@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\n"
CONTENT = HEAD + b"line of the body\r\n" * 200
#: More than the kernel and the gateway together keep for a server that does not read.
LARGE = HEAD + b"line of a body that is long\r\n" * 550_000
#: More than a server reads at once.
MIDDLING = HEAD + b"line of the body\r\n" * 60_000
FAST = "greeting = 1\nbackend = 1\ndata_init = 1\ndata_block = 1\ndata_done = 1\n"
EHLO = ("PIPELINING", "8BITMIME")
SENDER = b"MAIL FROM:<a@example.org>"
RECIPIENT = b"RCPT TO:<b@example.net>"
USER, PASSWORD = base64.b64encode(b"alice"), base64.b64encode(b"s3cret-word")
PLAIN = base64.b64encode(b"\0alice\0s3cret-word")


def show(row: str, cells: Mapping[str, str]) -> None:
    """One row of the table, where it was asked for."""
    if cells and os.environ.get("SMTPGATE_TABLE"):
        text = "  ".join(f"{name}: {heard}" for name, heard in cells.items())
        print(f"{row:36} {text}", file=sys.__stderr__, flush=True)


def drip(connection: Connection) -> bytes:
    """A reply that comes by single octets and never ends."""
    for octet in b"250-slow and slower and slower still":
        connection.sock.sendall(bytes([octet]))
        if connection.backend.release.wait(0.15):
            break
    return DROP


def slow(connection: Connection) -> bytes:
    """The same, and what the gateway says is read as slowly."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sock.settimeout(0.15)
    for octet in b"250-slow and slower and slower still":
        # A server in the middle of a message says nothing yet.
        if not connection.recipients:
            connection.sock.sendall(bytes([octet]))
        began = time.monotonic()
        try:
            if not connection.sock.recv(16):
                break
        except TimeoutError:
            pass
        if connection.backend.release.wait(max(0.0, 0.15 - (time.monotonic() - began))):
            break
    return DROP


FAULTS: dict[str, Action] = {
    "close": DROP,
    "reset": RESET,
    "421": b"421 4.3.2 going down",
    "garbage": b"\x16\x03what is this\r\n",
    "stall": STALL,
    "drip": drip,
    "slow": slow,
}
STEPS = {
    "EHLO": b"^EHLO",
    "STARTTLS": b"^STARTTLS",
    "handshake": b"^STARTTLS",
    "AUTH": b"^AUTH",
    "AUTH user": b"^" + USER,
    "AUTH password": b"^" + PASSWORD,
    "MAIL": b"^MAIL",
    "RCPT": b"^RCPT",
    "DATA": b"^DATA",
    "body": b"^MIDDLE",
    "chunk": rb"^BDAT \d+$",
    "last chunk": rb"^BDAT \d+ LAST$",
    "dot": b"^DOT",
}
#: A login by LOGIN, for the lines of a dialogue that the scripted server takes for commands.
LOGIN: tuple[tuple[bytes, Action], ...] = (
    (b"^AUTH LOGIN", b"334 VXNlcm5hbWU6"),
    (b"^" + USER, b"334 UGFzc3dvcmQ6"),
    (b"^" + PASSWORD, b"235 2.7.0 welcome"),
)


def in_handshake(fault: Action) -> Action:
    """The fault behind the 220 to STARTTLS, in place of the server's part of the handshake."""

    def act(connection: Connection) -> bytes | None:
        connection.say(b"220 go")
        connection.more()
        return fault(connection) if callable(fault) else fault

    return act


def nothing_kept(case: GatewayCase, gateway: TestGateway) -> None:
    """No session is left, and no slot of a backend is taken."""
    case.assertTrue(gateway.idle())
    pools = gateway.control.revision.pools.values()  # type: ignore[union-attr]
    case.assertTrue(
        gateway.until(lambda: not any(server.links for pool in pools for server in pool.servers)),
        [(server.name, server.links) for pool in pools for server in pool.servers],
    )


class BackendFaultTests(GatewayCase):
    """The backend leg breaks."""

    timeout = 120

    def columns(self, backends: Mapping[str, Backend], listener: str, backend: str, role: str) -> str:
        """A configuration with a way of its own for each backend."""
        text = f'hostname = "gate.example.com"\nlocal_domains = ["example.net"]\n[timeouts]\n{FAST}'
        for name, behind in backends.items():
            text += (
                f'[listeners.{name}]\nlisten = "tcp:0:interface=127.0.0.1"\nrole = "{role}"\ntls = "off"\n{listener}\n'
                f'[backends.{name}]\nservers = ["127.0.0.1:{behind.port}"]\n{backend}\n'
                f'[[routes]]\nlistener = "{name}"\nbackend = "{name}"\n'
            )
        return text

    def matrix(
        self,
        steps: Iterable[str],
        kind: str = "",
        *,
        ehlo: Iterable[str] = EHLO,
        rules: Iterable[tuple[bytes, Action]] = (),
        listener: str = "",
        backend: str = 'tls = "off"',
        role: str = "mx",
        send: Callable[[Cell], list[bytes]] | None = None,
    ) -> Deferred[None]:
        """All faults at some steps.

        :param kind: stands behind the step in the table
        :param send: how a client sends one message; all that it hears
        """
        certificate = ensure(Path(self.folder()), "backend.example.net")
        backends = {name: Backend(list(rules), list(ehlo), certificate=certificate) for name in FAULTS}
        for behind in backends.values():
            self.addCleanup(behind.close)

        def run(gateway: TestGateway) -> None:
            with ThreadPoolExecutor(len(FAULTS)) as workers:
                for number, step in enumerate(steps):
                    cells = [
                        Cell(self, gateway, backends[name], step, name, number, send or sent_by_data) for name in FAULTS
                    ]
                    heard = dict(zip(FAULTS, workers.map(Cell.run, cells), strict=True))
                    show(f"{step} {kind}", heard)
                    nothing_kept(self, gateway)

        return self.run_script(self.columns(backends, listener, backend, role), run)

    def folder(self) -> str:
        """A folder of the test's own."""
        path = self.mktemp()
        os.makedirs(path)
        return path

    def test_connect(self) -> Deferred[None]:
        """Nobody listens, nobody answers, nobody speaks."""

        class Door(Backend):
            """A server whose port can be shut."""

            def shut(self) -> None:
                """Nobody listens there any more."""
                self._sock.shutdown(socket.SHUT_RDWR)
                self._sock.close()
                self._acceptor.join(PATIENCE_S)

            def open(self) -> None:
                """Listen again."""
                self._sock = socket.create_server(("127.0.0.1", self.port), backlog=200)
                self._acceptor = threading.Thread(target=self._accept, daemon=True)
                self._acceptor.start()

        backends = {name: Door(ehlo=EHLO) for name in ("refused", "unanswered", "silent", "reset")}
        for behind in backends.values():
            self.addCleanup(behind.close)

        def try_one(gateway: TestGateway, name: str) -> str:
            backend = backends[name]
            backend.shut()
            queued: list[socket.socket] = []
            stop = threading.Event()
            if name == "refused":
                listening = None
            else:
                listening = socket.create_server(("127.0.0.1", backend.port), backlog=0 if name == "unanswered" else 9)
            if name == "unanswered":
                # A full queue: the kernel answers no SYN.
                for _ in range(4):
                    sock = socket.socket()
                    sock.setblocking(False)
                    sock.connect_ex(("127.0.0.1", backend.port))
                    queued.append(sock)
            elif name == "reset":
                assert listening is not None
                accepting = listening

                def turn_away() -> None:
                    accepting.settimeout(0.1)
                    while not stop.is_set():
                        with contextlib.suppress(TimeoutError):
                            reset(accepting.accept()[0])

                thread = threading.Thread(target=turn_away)
                thread.start()
            with Client(gateway.port(name)) as client:
                client.hello()
                replies = [client.say(SENDER), client.say(RECIPIENT)]
                self.assertRegex(replies[-1], rb"^451 4\.4\.[12] ", name)
                stop.set()
                if name == "reset":
                    thread.join()
                if listening is not None:
                    # Those in the queue are reset, so that the port is free again.
                    listening.close()
                for sock in queued:
                    reset(sock)
                backend.open()
                client.say(b"RSET")
                self.assertRegex(client.message(CONTENT), b"^250 ", name)
            self.assertEqual([without_trace(message) for message in backend.messages], [CONTENT])
            return replies[-1][:3].decode()

        def run(gateway: TestGateway) -> None:
            with ThreadPoolExecutor(len(backends)) as workers:
                heard = workers.map(lambda name: try_one(gateway, name), backends)
                show("connect", dict(zip(backends, heard, strict=True)))

        return self.run_script(self.columns(backends, "", 'tls = "off"', "mx"), run)

    def test_opening(self) -> Deferred[None]:
        """At the greeting and at EHLO."""
        return self.matrix(["greeting", "EHLO"])

    def test_starttls(self) -> Deferred[None]:
        """At STARTTLS and in the handshake, where encryption is required."""
        return self.matrix(["STARTTLS", "handshake"], ehlo=(*EHLO, "STARTTLS"), backend='tls = "required"')

    def test_own_login(self) -> Deferred[None]:
        """At AUTH with the gateway's own credentials."""
        path = Path(self.folder()) / "login.toml"
        path.write_text('user = "alice"\npassword = "s3cret-word"\n')
        path.chmod(0o600)
        backend = f'tls = "off"\ncredentials = "{path.absolute()}"'
        return self.matrix(["AUTH"], "own, PLAIN", ehlo=(*EHLO, "AUTH PLAIN LOGIN"), backend=backend)

    def test_own_login_by_steps(self) -> Deferred[None]:
        """At each line of it."""
        path = Path(self.folder()) / "login.toml"
        path.write_text('user = "alice"\npassword = "s3cret-word"\n')
        path.chmod(0o600)
        backend = f'tls = "off"\ncredentials = "{path.absolute()}"'
        steps = ["AUTH", "AUTH user", "AUTH password"]
        return self.matrix(steps, "own, LOGIN", ehlo=(*EHLO, "AUTH LOGIN"), rules=LOGIN, backend=backend)

    def test_relayed_login(self) -> Deferred[None]:
        """At each line of a client's AUTH: a temporary failure, and the next try works on the same connection."""
        return self.matrix(
            ["AUTH", "AUTH user", "AUTH password"],
            "relayed",
            ehlo=(*EHLO, "AUTH PLAIN LOGIN"),
            rules=LOGIN,
            listener='auth = "relay"\nauth_requires_tls = false',
            role="submission",
            send=sent_by_login,
        )

    def test_envelope(self) -> Deferred[None]:
        """At MAIL and at RCPT."""
        return self.matrix(["MAIL", "RCPT"])

    def between(self, faults: Mapping[str, Action]) -> Deferred[None]:
        """Faults in the answer to RSET: the next message goes over another connection, and the client hears nothing."""
        backends = {name: Backend(ehlo=EHLO, once=[(b"^RSET", fault)]) for name, fault in faults.items()}
        for behind in backends.values():
            self.addCleanup(behind.close)

        def try_one(gateway: TestGateway, name: str) -> str:
            with Client(gateway.port(name)) as client:
                client.hello()
                for line in (SENDER, RECIPIENT, b"RSET"):
                    self.assertRegex(client.say(line), b"^250 ", name)
                reply = client.message(CONTENT)
                self.assertRegex(reply, b"^250 ", name)
            self.assertEqual([without_trace(message) for message in backends[name].messages], [CONTENT])
            return reply[:3].decode()

        def run(gateway: TestGateway) -> None:
            with ThreadPoolExecutor(len(backends)) as workers:
                heard = workers.map(lambda name: try_one(gateway, name), backends)
                show("RSET", dict(zip(backends, heard, strict=True)))
            nothing_kept(self, gateway)

        return self.run_script(self.columns(backends, "", 'tls = "off"', "mx"), run)

    def test_reset(self) -> Deferred[None]:
        """At RSET, between two messages."""
        return self.between(FAULTS)

    def test_reset_refused(self) -> Deferred[None]:
        """RSET is refused: that connection is used no more, and given up."""
        return self.between({"450": b"450 4.3.0 no", "500": b"500 5.5.1 what"})

    def test_data(self) -> Deferred[None]:
        """At DATA and in the middle of the body."""
        return self.matrix(["DATA", "body"])

    def test_chunks(self) -> Deferred[None]:
        """At a chunk and at the last one."""
        return self.matrix(["chunk", "last chunk"], ehlo=(*EHLO, "CHUNKING"), send=sent_by_chunks)

    def test_dot(self) -> Deferred[None]:
        """After the dot: the fate is unknown, the client keeps the message."""
        return self.matrix(["dot"])

    def test_spooled(self) -> Deferred[None]:
        """The same where the whole message waits here for its verdict."""
        return self.matrix(["DATA", "body", "dot"], "spooled", listener='body = "spool"')

    def test_slow_and_steady(self) -> Deferred[None]:
        """A server that takes octets slowly, but takes them, is waited for past every single time-out, and the client
        is read no faster."""
        backend = Backend(ehlo=EHLO)
        self.addCleanup(backend.close)

        def sip(connection: Connection) -> None:
            """Three seconds for the first part, by small pieces."""
            for _ in range(30):
                connection.buffer += connection.sock.recv(100_000)
                if backend.release.wait(0.1):
                    break

        def run(gateway: TestGateway) -> None:
            backend.once.append((b"^MIDDLE", sip))  # type: ignore[arg-type]
            with Client(gateway.port()) as client:
                client.hello()
                for line in (SENDER, RECIPIENT, b"DATA"):
                    self.assertRegex(client.say(line), b"^[23]5")
                sender = threading.Thread(target=client.send, args=(LARGE + b".\r\n",))
                sender.start()
                self.assertTrue(backend.met.wait(PATIENCE_S))
                (session,) = gateway.control.reception.sessions.values()
                self.assertLess(session.front.octets_in, len(LARGE))
                sender.join(PATIENCE_S)
                self.assertRegex(client.read(), b"^250 ")
            self.assertEqual(without_trace(backend.messages[0]), LARGE)
            show("slow but steady", {"body": "250"})

        return self.run_script(self.config(backend.port, timeouts="data_block = 2\ndata_done = 2"), run)


class Cell:
    """One cell of the matrix: a message into the fault, and one after it."""

    def __init__(
        self,
        case: BackendFaultTests,
        gateway: TestGateway,
        backend: Backend,
        step: str,
        name: str,
        number: int,
        send: Callable[[Cell], list[bytes]],
    ) -> None:
        self.case = case
        self.gateway = gateway
        self.backend = backend
        self.step = step
        self.name = name
        self.listener = name
        self.is_spooled = gateway.settings.listeners[name].body == "spool"
        # Each cell has its own: what the ledger knows of one must not make another be spooled.
        self.recipient = b"r%d-%s@example.net" % (number, name.encode())
        mine = LARGE if name == "slow" and step == "body" else MIDDLING if self.is_spooled else CONTENT
        self.id = b"<cell-%d@" % number
        self.content = mine.replace(b"<1@", self.id)
        self.next_id = b"<next-%d@" % number
        self.next_content = CONTENT.replace(b"<1@", self.next_id)
        self.send = send
        self.client: Any = None

    def arrived(self, id: bytes) -> list[bytes]:
        """The messages of that Message-ID that the server took to their end."""
        return [message for message in self.backend.messages if id in message[:1000]]

    def run(self) -> str:
        """What the client heard."""
        case, backend, step = self.case, self.backend, self.step
        where = (step, self.name)
        fault = FAULTS[self.name]
        backend.met.clear()
        if step == "greeting":
            backend.greetings.append(fault)
        else:
            backend.once.append((STEPS[step], in_handshake(fault) if step == "handshake" else fault))
        with Client(self.gateway.port(self.listener)) as self.client:
            self.client.hello()
            replies = self.send(self)
            backend.once.clear()
            backend.greetings.clear()
            bad = [reply for reply in replies if not reply.startswith((b"2", b"3"))]
            if step == "body" and not bad:
                # The answer to the dot overtook the fault too: then the backend took all of it.
                case.assertEqual(len(self.arrived(self.id)), 1, where)
                return "250"
            case.assertTrue(bad, (*where, replies))
            for reply in bad:
                # DATA after a refused RCPT is the client's own fault of order.
                case.assertRegex(reply, rb"^(4|554 5\.5\.1 No recipient|503 5\.5\.1 |530 5\.7\.0 )", where)
            case.assertRegex(bad[0], b"^4", where)
            came = len(self.arrived(self.id))
            case.assertIn(came, {"dot": (1,), "body": (0, 1)}.get(step, (0,)), where)
            if came:
                # At the dot; or the rest and its dot overtook the fault on the wire, and the fault was its answer.
                told = [one.transaction for one in self.gateway.told(TransactionEnded)]
                mine = [one for one in told if one.session.listener == self.listener]
                case.assertIn(mine[-1].outcome, ("unknown", "deferred"), where)
            self.client.say(b"RSET")
            again = self.client.message(self.next_content, recipients=[self.recipient])
            case.assertTrue(again.startswith(b"250 "), (*where, again))
            (got,) = self.arrived(self.next_id)
            case.assertEqual(without_trace(got), self.next_content, where)
            # Whatever the backend took it took whole.
            for message in self.arrived(self.id):
                case.assertEqual(without_trace(message), self.content, where)
        return bad[0][:3].decode()


def sent_by_data(cell: Cell) -> list[bytes]:
    """A message by DATA, in two halves; all replies."""
    client = cell.client
    replies = [client.say(SENDER), client.say(b"RCPT TO:<" + cell.recipient + b">"), client.say(b"DATA")]
    if replies[-1].startswith(b"354"):
        half = len(cell.content) // 2
        client.send(cell.content[:half])
        if cell.step == "body" and not cell.is_spooled:
            # The second half waits until the backend has met its fault.
            cell.case.assertTrue(cell.backend.met.wait(10), (cell.step, cell.name, cell.backend.commands[-8:], replies))
        replies.append(client.say(cell.content[half:] + b"."))
    return replies


def sent_by_chunks(cell: Cell) -> list[bytes]:
    """The same by BDAT."""
    client = cell.client
    replies = [client.say(SENDER), client.say(b"RCPT TO:<" + cell.recipient + b">")]
    half = len(cell.content) // 2
    for piece, last in ((cell.content[:half], b""), (cell.content[half:], b" LAST")):
        client.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
        replies.append(client.read())
    return replies


def sent_by_login(cell: Cell) -> list[bytes]:
    """A login that breaks, then one that works; all replies of the first."""
    client = cell.client
    if cell.step == "AUTH":
        replies = [client.say(b"AUTH PLAIN " + PLAIN)]
    else:
        replies = [client.say(b"AUTH LOGIN"), client.say(USER)]
        if cell.step == "AUTH password":
            replies.append(client.say(PASSWORD))
    # Nobody is logged in.
    replies.append(client.say(SENDER))
    cell.case.assertRegex(replies[-1], b"^530 ", (cell.step, cell.name, replies))
    cell.backend.once.clear()
    cell.case.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), b"^235 ", (cell.step, cell.name))
    return replies


class ClientGoneTests(GatewayCase):
    """The client leaves."""

    LEAVE = {"close": Client.close, "reset": Client.reset}

    def nothing_left(self, gateway: TestGateway, backend: Backend) -> None:
        """No session, no link, no end of a message."""
        self.assertTrue(gateway.idle())
        self.assertTrue(backend.all_closed())
        for pool in gateway.control.revision.pools.values():  # type: ignore[union-attr]
            self.assertEqual([server.links for server in pool.servers], [0] * len(pool.servers))
        self.assertEqual([event for event in gateway.told(Happened) if event.level == "error"], [])
        self.assertEqual(backend.messages, [])

    def test_at_each_step(self) -> Deferred[None]:
        """Without the client's true end of data no backend sees one, and every slot is free again."""
        backend = Backend(ehlo=EHLO)
        self.addCleanup(backend.close)
        steps = {
            "connect": b"",
            "EHLO": b"EHLO c\r\n",
            "MAIL": SENDER + b"\r\n",
            "RCPT": RECIPIENT + b"\r\n",
            "DATA": b"DATA\r\n",
            "header": CONTENT[:40],
            "body": CONTENT[40:100],
            "all but the dot": CONTENT[100:],
            "half a dot": b".",
        }

        def run(gateway: TestGateway) -> None:
            for count, name in enumerate(steps):
                heard = {}
                for way, leave in self.LEAVE.items():
                    client = Client(gateway.port())
                    for step in list(steps.values())[: count + 1]:
                        client.send(step)
                        if step.endswith(b"\r\n") and step[:4] in (b"EHLO", b"MAIL", b"RCPT", b"DATA"):
                            client.read()
                    leave(client)
                    self.nothing_left(gateway, backend)
                    heard[way] = gateway.told(SessionEnded)[-1].session.closed_by
                show(f"client gone, {name}", heard)
            with Client(gateway.port()) as client:
                client.hello()
                self.assertTrue(client.message().startswith(b"250 "))
                client.say(b"QUIT")
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual(gateway.told(DeliveryUnknown), [])
            outcomes = {event.transaction.outcome for event in gateway.told(TransactionEnded)}
            self.assertEqual(outcomes, {"aborted", "delivered"})

        return self.run_script(self.config(backend.port), run)

    def test_in_reset(self) -> Deferred[None]:
        """While the server still thinks about the RSET before."""
        asked, go = threading.Event(), threading.Event()

        def think(connection: Connection) -> bytes:
            asked.set()
            go.wait(PATIENCE_S)
            return b"250 2.0.0 ok"

        def run(gateway: TestGateway, backend: Backend) -> None:
            heard = {}
            for way, leave in self.LEAVE.items():
                asked.clear()
                go.clear()
                backend.once.append((b"^RSET", think))
                client = Client(gateway.port())
                client.hello()
                for line in (SENDER, RECIPIENT, b"RSET", SENDER):
                    self.assertRegex(client.say(line), b"^250 ")
                client.send(RECIPIENT + b"\r\n")
                self.assertTrue(asked.wait(PATIENCE_S))
                gateway.settle()
                leave(client)
                if way == "reset":
                    self.assertTrue(gateway.idle())
                go.set()
                nothing_kept(self, gateway)
                heard[way] = gateway.told(SessionEnded)[-1].session.closed_by
            show("client gone, RSET", heard)

        self.addCleanup(go.set)
        return self.drive(run, Backend(ehlo=EHLO))

    def test_in_auth(self) -> Deferred[None]:
        """In the middle of a relayed login: the half of it is nobody's, and nobody inherits the link."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for name, lines in {
                "AUTH": (b"AUTH LOGIN",),
                "AUTH user": (b"AUTH LOGIN", USER),
                "half a line": (b"AUTH LOGIN", USER),
            }.items():
                heard = {}
                for way, leave in self.LEAVE.items():
                    client = Client(gateway.port())
                    client.hello()
                    for line in lines:
                        self.assertRegex(client.say(line), b"^334 ")
                    if name == "half a line":
                        client.send(PASSWORD[:5])
                        gateway.settle()
                    leave(client)
                    self.nothing_left(gateway, backend)
                    heard[way] = gateway.told(SessionEnded)[-1].session.closed_by
                    self.assertEqual(gateway.told(SessionEnded)[-1].session.mechanism, "")
                show(f"client gone, {name}", heard)
            self.assertEqual(backend.seen(b"^" + PASSWORD), [])
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(SENDER), b"^530 ")
                self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), b"^235 ")
                self.assertRegex(client.message(), b"^250 ")

        return self.drive(
            run,
            Backend(list(LOGIN), [*EHLO, "AUTH PLAIN LOGIN"]),
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
        )

    def test_in_handshake(self) -> Deferred[None]:
        """Behind the 220 to STARTTLS, and in the middle of the handshake."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            out = ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
            hello = out.read()
            for name, octets in {
                "STARTTLS": b"",
                "half a ClientHello": hello[: len(hello) // 2],
                "after the ClientHello": hello,
            }.items():
                heard = {}
                for way, leave in self.LEAVE.items():
                    client = Client(gateway.port())
                    client.hello()
                    self.assertRegex(client.say(b"STARTTLS"), b"^220 ")
                    client.send(octets)
                    if octets == hello:
                        self.assertTrue(client.sock.recv(1))
                    gateway.settle()
                    leave(client)
                    self.nothing_left(gateway, backend)
                    heard[way] = gateway.told(SessionEnded)[-1].session.closed_by
                show(f"client gone, {name}", heard)
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"STARTTLS")
                client.starttls()
                client.hello()
                self.assertRegex(client.message(), b"^250 ")

        return self.drive(run, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_in_chunk(self) -> Deferred[None]:
        """In the middle of a chunk, between two, and one octet before the end of the last."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            size = len(CONTENT)
            by = "BDAT" if "CHUNKING" in backend.ehlo else "DATA"
            for name, octets in {
                "BDAT": b"BDAT %d LAST\r\n" % size,
                "in a chunk": b"BDAT %d\r\n" % size + CONTENT[: size // 2],
                "between chunks": b"BDAT %d\r\n" % size + CONTENT,
                "in the last chunk": b"BDAT %d\r\n" % size + CONTENT + b"BDAT %d LAST\r\n" % size + CONTENT[:-1],
            }.items():
                heard = {}
                for way, leave in self.LEAVE.items():
                    client = Client(gateway.port())
                    client.hello()
                    self.assertRegex(client.say(SENDER), b"^250 ")
                    self.assertRegex(client.say(RECIPIENT), b"^250 ")
                    client.send(octets)
                    gateway.settle()
                    leave(client)
                    self.nothing_left(gateway, backend)
                    heard[way] = gateway.told(SessionEnded)[-1].session.closed_by
                show(f"client gone, {name}, on by {by}", heard)
            self.assertEqual(backend.seen(b"^BDAT .*LAST"), [])
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(), b"^250 ")

        def both() -> Iterable[Backend]:
            yield Backend(ehlo=(*EHLO, "CHUNKING"))
            yield Backend(ehlo=EHLO)

        done: Deferred[None] = Deferred()
        done.callback(None)
        for backend in both():
            done.addCallback(lambda _, backend=backend: self.drive(run, backend))
        return done


class Process:
    """A gateway in a process of its own, with its state in a folder."""

    def __init__(self, case: GatewayCase, folder: Path, text: str) -> None:
        path = folder / "gate.toml"
        path.write_text(text)
        twistd = Path(sys.executable).with_name("twistd")
        self.process = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "smtpgate", "--config", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        case.addCleanup(self.end)
        assert self.process.stdout is not None
        self.lines: list[bytes] = []
        self.ports: dict[str, int] = {}
        for line in self.process.stdout:
            self.lines.append(line)
            if b'"gateway.started"' in line:
                found = re.findall(rb"(\w+) 127\.0\.0\.1:(\d+)", line)
                self.ports = {name.decode(): int(port) for name, port in found}
                break
        else:
            raise AssertionError(f"the gateway ended with {self.process.wait()}: {b''.join(self.lines).decode()}")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += self.process.stdout

    def says(self, pattern: bytes) -> bool:
        """Wait for a log line; False where none comes."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if any(re.search(pattern, line) for line in self.lines):
                return True
            time.sleep(0.02)
        return False

    def has_spool_file(self) -> bool:
        """Wait until it holds a file that no folder names; False where it never does."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for file in Path(f"/proc/{self.process.pid}/fd").iterdir():
                # It may be closed while we look.
                with contextlib.suppress(OSError):
                    if "(deleted)" in os.readlink(file):
                        return True
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        """SIGKILL: it can do nothing more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Stop it, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()


class Outliving(Backend):
    """A server that gateways come to and are killed under."""

    def all_closed(self) -> bool:
        """Also while it still accepts those that had just connected."""
        while True:
            with contextlib.suppress(RuntimeError):
                return super().all_closed()
            time.sleep(0.01)

    def close(self) -> None:
        """Accept nobody more before the others are sent home."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE_S)
        super().close()


class KilledTests(GatewayCase):
    """The gateway itself is killed. Whatever it acknowledged the backend has, whole; of anything else the backend has
    nothing or all; and the next gateway on the same state folder goes on."""

    #: A process takes its time to start on a machine that is busy.
    timeout = 180
    WAYS = ("stream", "spool", "chunks")

    def setUp(self) -> None:
        """A backend that outlives the gateways."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.backend = Outliving(ehlo=(*EHLO, "CHUNKING"))
        self.addCleanup(self.backend.close)
        self.sent: dict[bytes, bytes] = {}
        self.acknowledged: set[bytes] = set()
        self._lock = threading.Lock()

    def start(self) -> Process:
        """A gateway on the state folder: one listener for each way."""
        text = (
            f'hostname = "gate.example.com"\nstate_dir = "{self.folder / "state"}"\nlocal_domains = ["example.net"]\n'
        )
        text += '[admin]\nlisten = "off"\n[limits]\nspool_memory = "1 KiB"\n'
        for way in self.WAYS:
            body = "spool" if way == "spool" else "auto"
            text += f'[listeners.{way}]\nlisten = "tcp:0:interface=127.0.0.1"\ntls = "off"\nbody = "{body}"\n'
        text += f'[backends.mail]\nservers = ["127.0.0.1:{self.backend.port}"]\ntls = "off"\n'
        return Process(self, self.folder, text + '[[routes]]\nbackend = "mail"\n')

    def content(self, id: bytes, lines: int = 500) -> bytes:
        """A message that is noted as sent."""
        made = b"Message-ID: <%s@example.org>\r\nSubject: x\r\n\r\n" % id + b"line of %s\r\n" % id * lines
        with self._lock:
            self.sent[id] = made
        return made

    def envelope(self, port: int, way: str, id: bytes) -> Client:
        """A client that has come to where content may be sent."""
        client = Client(port)
        client.hello()
        self.assertRegex(client.say(SENDER), b"^250 ")
        self.assertRegex(client.say(b"RCPT TO:<" + id + b"@example.net>"), b"^250 ")
        if way != "chunks":
            self.assertRegex(client.say(b"DATA"), b"^354 ")
        return client

    def octets(self, way: str, content: bytes) -> bytes:
        """A message with its end."""
        return b"BDAT %d LAST\r\n" % len(content) + content if way == "chunks" else content + b".\r\n"

    def deliver(self, gateway: Process, way: str, id: bytes) -> bytes:
        """A whole message; the reply, noted where it is an acknowledgement."""
        content = self.sent.get(id) or self.content(id)
        with self.envelope(gateway.ports[way], way, id) as client:
            client.send(self.octets(way, content))
            reply = client.read()
        if reply.startswith(b"250 "):
            with self._lock:
                self.acknowledged.add(id)
        return reply

    def check(self, row: str, outcome: Mapping[str, str]) -> None:
        """Every message at the backend is one that was sent, whole; every acknowledged one is there."""
        arrived = []
        for message in self.backend.messages:
            match = re.search(rb"\r\nMessage-ID: <([^@]+)@", message)
            assert match is not None, message[:300]
            self.assertEqual(without_trace(message), self.sent[match[1]])
            arrived.append(match[1])
        self.assertEqual(self.acknowledged - set(arrived), set())
        show(row, outcome)

    def test_in_body(self) -> Deferred[None]:
        """In the middle of the content: the backend gets no end of it, and the retry goes through the next gateway."""

        def run() -> None:
            gateway = self.start()
            clients = []
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"before-" + way.encode()), b"^250 ")
                id = b"cut-" + way.encode()
                self.backend.met.clear()
                if way != "spool":
                    pattern = b"^MIDDLE" if way == "stream" else b"^BDAT"
                    said = (lambda connection: None) if way == "stream" else b"250 2.0.0 chunk"
                    self.backend.once.append((pattern, said))  # type: ignore[arg-type]
                client = self.envelope(gateway.ports[way], way, id)
                content = self.content(id)
                if way == "chunks":
                    client.send(b"BDAT %d\r\n" % 600 + content[:600] + b"BDAT 5000 LAST\r\n" + content[600:900])
                else:
                    client.send(content[:-10])
                if way == "spool":
                    self.assertTrue(gateway.has_spool_file(), "it never came to a spool file")
                else:
                    self.assertTrue(self.backend.met.wait(PATIENCE_S), way)
                if way == "chunks":
                    self.assertRegex(client.read(), b"^250 ")
                clients.append(client)
            gateway.kill()
            for client in clients:
                self.assertTrue(client.is_closed())
                client.close()
            self.assertTrue(self.backend.all_closed())
            self.assertEqual(len(self.backend.messages), 3)
            self.assertEqual(list((self.folder / "state" / "spool").iterdir()), [])
            gateway = self.start()
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"cut-" + way.encode()), b"^250 ")
                self.assertRegex(self.deliver(gateway, way, b"after-" + way.encode()), b"^250 ")
            gateway.end()
            self.assertEqual(len(self.backend.messages), 9)
            self.check("killed, body", dict.fromkeys(self.WAYS, "not delivered, retry 250"))

        return deferToThread(run)

    def test_after_dot(self) -> Deferred[None]:
        """After the dot and before the answer: the backend has all of it, the client knows nothing, its retry is a
        duplicate and no loss."""
        go = threading.Event()

        def run() -> None:
            gateway = self.start()
            clients = []
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"before-" + way.encode()), b"^250 ")
                asked = threading.Event()

                def hold(connection: Connection, asked: threading.Event = asked) -> bytes:
                    asked.set()
                    go.wait(PATIENCE_S)
                    return b"250 2.0.0 taken"

                id = b"dot-" + way.encode()
                self.backend.once.append((b"^DOT", hold))
                client = self.envelope(gateway.ports[way], way, id)
                client.send(self.octets(way, self.content(id)))
                self.assertTrue(asked.wait(PATIENCE_S))
                clients.append(client)
            gateway.kill()
            for client in clients:
                self.assertTrue(client.is_closed())
                client.close()
            go.set()
            self.assertTrue(self.backend.all_closed())
            self.assertEqual((len(self.backend.messages), len(self.backend.unfinished)), (6, 0))
            gateway = self.start()
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"dot-" + way.encode()), b"^250 ")
                self.assertRegex(self.deliver(gateway, way, b"after-" + way.encode()), b"^250 ")
            gateway.end()
            self.assertEqual(len(self.backend.messages), 12)
            self.check("killed, dot", dict.fromkeys(self.WAYS, "unknown, retry 250"))

        self.addCleanup(go.set)
        return deferToThread(run)

    def test_after_note(self) -> Deferred[None]:
        """After the client left and the commit was noted: the next gateway answers the retry and delivers nothing."""
        go = threading.Event()

        def run() -> None:
            gateway = self.start()
            for way in self.WAYS:
                asked = threading.Event()

                def hold(connection: Connection, asked: threading.Event = asked) -> bytes:
                    asked.set()
                    go.wait(PATIENCE_S)
                    return b"250 2.0.0 taken"

                id = b"noted-" + way.encode()
                self.backend.once.append((b"^DOT", hold))
                client = self.envelope(gateway.ports[way], way, id)
                client.send(self.octets(way, self.content(id)))
                self.assertTrue(asked.wait(PATIENCE_S))
                client.reset()
            # Time for the process to see that they left; nothing that it tells shows it yet.
            time.sleep(0.2)
            go.set()
            for way in self.WAYS:
                self.assertTrue(gateway.says(rb'unacked.*"%s"|"%s".*unacked' % (way.encode(), way.encode())), way)
            gateway.kill()
            gateway = self.start()
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"noted-" + way.encode()), b"^250 ")
            self.assertEqual(len(self.backend.messages), 3)
            for way in self.WAYS:
                self.assertRegex(self.deliver(gateway, way, b"after-" + way.encode()), b"^250 ")
            gateway.end()
            self.check("killed, after the note", dict.fromkeys(self.WAYS, "delivered once, retry 250"))

        self.addCleanup(go.set)
        return deferToThread(run)

    def test_under_load(self) -> Deferred[None]:
        """At any moment, with many clients at work."""
        seed = random.randrange(2**32)
        chance = random.Random(seed)

        def work(gateway: Process, way: str, name: bytes) -> int:
            count = 0
            with contextlib.suppress(OSError, AssertionError):
                while True:
                    if not self.deliver(gateway, way, b"%s-%d" % (name, count)).startswith(b"250 "):
                        break
                    count += 1
            return count

        def run() -> None:
            taken = {}
            for number in range(3):
                gateway = self.start()
                with ThreadPoolExecutor(9) as workers:
                    jobs = [
                        workers.submit(work, gateway, way, b"load-%d-%d-%s" % (number, client, way.encode()))
                        for way in self.WAYS
                        for client in range(3)
                    ]
                    time.sleep(0.3 + chance.random())
                    gateway.kill()
                    taken[f"run {number + 1}"] = f"{sum(job.result() for job in jobs)} acknowledged"
                self.assertTrue(self.backend.all_closed())
                self.check("", {})
            gateway = self.start()
            for id in sorted(set(self.sent) - self.acknowledged):
                self.assertRegex(self.deliver(gateway, "stream", id), b"^250 ", seed)
            gateway.end()
            self.assertEqual(self.acknowledged, set(self.sent))
            self.check("killed, under load", taken)

        return deferToThread(run)
