"""PROTOCOL section 14: the client vanishes, by FIN, by RST and inside TLS, through the running gateway.

Without the client's true end of data the backend never gets its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened, SessionEnded, TransactionEnded
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client, Connection
from tests.test_protocol_data import CORPUS

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
LEAVE: tuple[Callable[[Client], None], ...] = (Client.close, Client.reset)


class Slow:
    """A filter that holds the verdict until it is told to go on."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer: Deferred[None] = Deferred()

    def use(self) -> Use:
        """How a chain uses it."""
        return Use("slow", self, frozenset({"end"}), frozenset({"mx", "submission"}), budget_s=4.0)

    def transaction(self, transaction: Any) -> Slow:
        """One object will do."""
        return self

    def end(self) -> Deferred[None]:
        """Say nothing yet."""
        self.asked.set()
        return self.answer


class ClientGoneTests(GatewayCase):
    """P-233 to P-240."""

    def nothing_left(self, gateway: TestGateway, backend: Backend) -> None:
        """No session, no link, no crash."""
        self.assertTrue(gateway.idle())
        self.assertTrue(backend.all_closed())
        for pool in gateway.control.revision.pools.values():  # type: ignore[union-attr]
            self.assertEqual([server.links for server in pool.servers], [0] * len(pool.servers))
        self.assertEqual([event for event in gateway.told(Happened) if event.level == "error"], [])

    def test_P_233_before_data(self) -> Deferred:
        """Gone after connect, EHLO, MAIL or RCPT: the backend hears QUIT or the end, no DATA, and all is given up."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for leave in LEAVE:
                for lines in ((), (b"EHLO c.example",), (b"EHLO c.example", MAIL), (b"EHLO c.example", MAIL, RCPT)):
                    client = Client(gateway.port())
                    for line in lines:
                        self.assertRegex(client.say(line), rb"^250")
                    leave(client)
                    self.nothing_left(gateway, backend)
            self.assertEqual(backend.seen(b"^DATA|^DOT"), [])
            self.assertEqual({event.session.closed_by for event in gateway.told(SessionEnded)}, {"client"})

        return self.drive(run)

    def test_P_234_in_content(self) -> Deferred:
        """Gone within the content, wherever: no dot reaches the backend and nothing is delivered."""
        octets = CORPUS + b".\r"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for offset in range(len(octets) + 1):
                client = Client(gateway.port())
                client.hello()
                self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                client.send(octets[:offset])
                LEAVE[offset % 2](client)
            self.nothing_left(gateway, backend)
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))
            self.assertEqual({event.transaction.outcome for event in gateway.told(TransactionEnded)}, {"aborted"})
            self.assertEqual(len(gateway.told(TransactionEnded)), len(octets) + 1)

        return self.drive(run)

    def test_P_234_in_tls(self) -> Deferred:
        """The same inside TLS, without a close alert."""
        octets = CORPUS + b".\r"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for offset in (*range(0, len(octets), 23), len(octets) - 2, len(octets) - 1, len(octets)):
                client = Client(gateway.port())
                client.say(b"EHLO c.example")
                self.assertRegex(client.say(b"STARTTLS"), rb"^220 ")
                client.starttls()
                client.hello()
                self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                client.send(octets[:offset])
                LEAVE[offset % 2](client)
            self.nothing_left(gateway, backend)
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))

        return self.drive(run, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_234_spooled(self) -> Deferred:
        """The same where the message waits in a spool: its file is gone."""
        content = b"Subject: x\r\n\r\n" + b"line of content\r\n" * 1000

        def run(gateway: TestGateway, backend: Backend) -> None:
            count = 0
            for octets in (content, content + b".\r"):
                for leave in LEAVE:
                    client = Client(gateway.port())
                    client.hello()
                    self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                    client.send(octets)
                    count += 1
                    self.assertTrue(gateway.until(lambda: len(gateway.spools) == count))
                    leave(client)
                    self.nothing_left(gateway, backend)
            self.assertTrue(gateway.spools)
            self.assertTrue(gateway.until(lambda: all(file.closed for file in gateway.spools)))
            self.assertEqual((backend.messages, backend.seen(b"^DOT|^DATA")), ([], []))

        return self.drive(run, listener='body = "spool"', limits='spool_memory = "1 KiB"')

    def test_P_235_half_closed_in_content(self) -> Deferred:
        """A client that stops sending within the content has sent no end of data."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for octets in (b"", b"Subj", CORPUS, CORPUS + b".", CORPUS + b".\r"):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                    client.send(octets)
                    client.sock.shutdown(socket.SHUT_WR)
                    self.assertRegex(client.read(), rb"\A(421 [^\r\n]*\r\n)?\Z")
            self.nothing_left(gateway, backend)
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))

        return self.drive(run)

    def test_P_236_half_closed_behind_quit(self) -> Deferred:
        """End of data and QUIT, then no more: the message goes through and both replies are written."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number in range(5):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                    client.send(CORPUS + b".\r\nQUIT\r\n")
                    client.sock.shutdown(socket.SHUT_WR)
                    self.assertRegex(client.read(), rb"\A250 2\.0\.0 queued" + REFERENCE)
                    self.assertRegex(client.read(), rb"\A221 2\.0\.0 ")
                    self.assertTrue(client.is_closed())
                self.assertEqual(len(backend.messages), number + 1)

        return self.drive(run)

    def test_P_237_before_verdict(self) -> Deferred:
        """Gone behind its end of data, before the verdict: no dot for the backend."""
        slow = Slow()

        def run(gateway: TestGateway, backend: Backend) -> None:
            client = Client(gateway.port())
            client.hello()
            self.assertRegex(client.reply_at("DATA"), rb"^354 ")
            client.send(CORPUS + b".\r\n")
            self.assertTrue(slow.asked.wait(15))
            client.reset()
            self.nothing_left(gateway, backend)
            if not slow.answer.called:
                gateway.in_reactor(slow.answer.callback, None)
            gateway.settle()
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))
            (ended,) = gateway.told(TransactionEnded)
            self.assertEqual((ended.transaction.outcome, ended.transaction.session.closed_by), ("aborted", "client"))

        return self.drive(run, uses=[slow.use()])

    def test_P_238_behind_dot(self) -> Deferred:
        """Gone when the backend has its dot: the answer is awaited and noted, then all is given up."""
        asked, go = threading.Event(), threading.Event()

        def hold(connection: Connection) -> bytes:
            asked.set()
            go.wait(15)
            return b"250 2.0.0 taken"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number, leave in enumerate(LEAVE):
                asked.clear()
                go.clear()
                client = Client(gateway.port())
                client.hello()
                self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                client.send(b"X-Try: %d\r\n" % number + CORPUS + b".\r\n")
                self.assertTrue(asked.wait(15))
                leave(client)
                gateway.settle()
                go.set()
                self.nothing_left(gateway, backend)
                transaction = gateway.told(TransactionEnded)[-1].transaction
                self.assertEqual(transaction.reply.lines, ("taken",))
                if leave is Client.reset:
                    self.assertEqual(transaction.outcome, "unacked")
            self.assertEqual(len(backend.messages), 2)

        return self.drive(run, Backend([(b"^DOT", hold)]))

    def first_try(
        self, gateway: TestGateway, backend: Backend, sent: bytes, answer: bytes = b"250 2.0.0 taken"
    ) -> tuple[Client, threading.Event]:
        """A client whose end of data the backend has, and an event for which the backend's answer waits.

        :param sent: content as it goes over the wire, and what is sent along behind its end
        """
        asked, go = threading.Event(), threading.Event()

        def hold(connection: Connection) -> bytes:
            asked.set()
            go.wait(15)
            return answer

        backend.once.append((b"^DOT", hold))
        client = Client(gateway.port())
        client.hello()
        self.assertRegex(client.reply_at("DATA"), rb"^354 ")
        client.send(sent)
        self.assertTrue(asked.wait(15))
        return client, go

    def test_P_238_closed_behind_dot(self) -> Deferred:
        """The same by an ordinary close: who gave up waiting has not heard the answer, and its retry is answered."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            client, go = self.first_try(gateway, backend, CORPUS + b".\r\n")
            client.close()
            gateway.settle()
            go.set()
            self.assertTrue(gateway.idle())
            with Client(gateway.port()) as again:
                again.hello()
                self.assertRegex(again.message(CORPUS), rb"\A250 ")
            self.assertEqual(len(backend.messages), 1)

        return self.drive(run)

    def test_P_238_retry_before_the_answer(self) -> Deferred:
        """Gone behind the dot and back before the backend has answered: told to wait, and never delivered twice."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            ledger = gateway.control.engine.ledger  # type: ignore[union-attr]
            answers = (b"250 2.0.0 taken", b"451 4.3.0 not now", b"")
            for number, (leave, answer) in enumerate((leave, answer) for leave in LEAVE for answer in answers):
                content = b"X-Try: %d\r\n" % number + CORPUS
                other = b"X-Other: %d\r\n" % number + CORPUS
                client, go = self.first_try(gateway, backend, content + b".\r\n", answer)
                leave(client)
                gateway.settle()
                with Client(gateway.port()) as again:
                    again.hello()
                    self.assertRegex(again.message(content), rb"\A451 4\.3\.0 An earlier try of this message is not")
                    # Another message of the same people is not held up.
                    self.assertRegex(again.message(other), rb"\A250 ")
                go.set()
                self.assertTrue(gateway.idle())
                self.assertEqual(ledger._waiting, {})
                before = len(backend.messages)
                with Client(gateway.port()) as again:
                    again.hello()
                    self.assertRegex(again.message(content), rb"\A250 ")
                self.assertEqual(len(backend.messages) - before, 0 if answer.startswith(b"250") else 1)

        return self.drive(run)

    def test_P_238_retry_in_other_pieces(self) -> Deferred:
        """However a message is cut, stuffed or sent, it is the same."""
        content = b"Subject: x\r\nMessage-ID: <1@example.org>\r\n\r\nfirst\r\n.dots\r\n..more\r\nlast\r\n"
        stuffed = content.replace(b"\r\n.", b"\r\n..")

        def run(gateway: TestGateway, backend: Backend) -> None:
            client, go = self.first_try(gateway, backend, stuffed + b".\r\n")
            client.close()
            gateway.settle()
            go.set()
            self.assertTrue(gateway.idle())
            for cut in range(0, len(stuffed), 7):
                with Client(gateway.port()) as again:
                    again.hello()
                    self.assertRegex(again.reply_at("DATA"), rb"^354 ")
                    again.send(stuffed[:cut])
                    gateway.settle()
                    again.send(stuffed[cut:] + b".\r\n")
                    self.assertRegex(again.read(), rb"\A250 2\.0\.0 Ok: this message was delivered", cut)
            with Client(gateway.port()) as again:
                again.hello()
                self.assertRegex(again.reply_at("RCPT"), rb"^250 ")
                again.send(b"BDAT %d LAST\r\n" % len(content) + content)
                self.assertRegex(again.read(), rb"\A250 2\.0\.0 Ok: this message was delivered")
            self.assertEqual(len(backend.messages), 1)

        return self.drive(run)

    def test_P_238_quit_before_the_answer(self) -> Deferred:
        """Who lost patience, said QUIT and closed has heard nothing; who had sent QUIT along may still listen."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number, (along, later, copies) in enumerate(((b"", b"QUIT\r\n", 1), (b"QUIT\r\n", b"", 2))):
                content = b"X-Try: %d\r\n" % number + CORPUS
                before = len(backend.messages)
                client, go = self.first_try(gateway, backend, content + b".\r\n" + along)
                client.send(later)
                client.sock.shutdown(socket.SHUT_WR)
                gateway.settle()
                go.set()
                self.assertTrue(gateway.idle())
                client.close()
                with Client(gateway.port()) as again:
                    again.hello()
                    self.assertRegex(again.message(content), rb"\A250 ")
                self.assertEqual(len(backend.messages) - before, copies)

        return self.drive(run)

    def test_P_238_retry_that_had_begun(self) -> Deferred:
        """A second try within its content when the first loses its client: it waits, and is not delivered beside it."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number, is_answered in enumerate((False, True)):
                content = b"X-Try: %d\r\n" % number + CORPUS
                before = len(backend.messages)
                client, go = self.first_try(gateway, backend, content + b".\r\n")
                gateway.events.clear()
                again = Client(gateway.port())
                again.hello()
                self.assertRegex(again.reply_at("DATA"), rb"^354 ")
                again.send(content[:40])
                gateway.settle()
                client.reset()
                gateway.settle()
                if is_answered:
                    go.set()
                    self.assertTrue(gateway.until(lambda: gateway.told(TransactionEnded)))
                again.send(content[40:] + b".\r\n")
                self.assertRegex(again.read(), rb"\A250 .*delivered" if is_answered else rb"\A451 4\.3\.0 An earlier")
                go.set()
                again.close()
                self.assertTrue(gateway.idle())
                self.assertEqual(len(backend.messages) - before, 1)

        return self.drive(run)

    def test_P_238_store_that_fails(self) -> Deferred:
        """The ledger's disk is full: the answer is what it is, the failure is told, and the session goes on."""

        class Full:
            """A store without room."""

            def put(self, rows: Any) -> Deferred[None]:
                return fail(StoreFailed("disk is full"))

        def run(gateway: TestGateway, backend: Backend) -> None:
            ledger = gateway.control.engine.ledger  # type: ignore[union-attr]
            ledger._store = Full()
            backend.once.append((b"^DOT", lambda connection: connection.sock.close() or b""))
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(CORPUS), rb"\A451 4\.4\.2 ")
                self.assertRegex(client.message(b"X: y\r\n" + CORPUS), rb"\A250 ")
            told = [event for event in gateway.told(Happened) if event.name == "ledger.failed"]
            self.assertEqual([event.message for event in told], ["disk is full"])

        return self.drive(run)

    def test_P_239_in_auth(self) -> Deferred:
        """Gone within an AUTH exchange: all is given up."""

        def challenge(connection: Connection) -> bytes:
            connection.say(b"334 VXNlcm5hbWU6")
            connection.line()
            return b"535 5.7.8 no"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for leave in LEAVE:
                for octets in (b"", b"dXNl"):
                    client = Client(gateway.port())
                    client.hello()
                    self.assertRegex(client.say(b"AUTH LOGIN"), rb"^334 ")
                    client.send(octets)
                    leave(client)
                    self.nothing_left(gateway, backend)

        return self.drive(
            run,
            Backend([(b"^AUTH", challenge)], ("AUTH LOGIN",)),
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
        )

    def test_P_239_in_handshake(self) -> Deferred:
        """Gone within the TLS handshake: all is given up."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for leave in LEAVE:
                for octets in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
                    client = Client(gateway.port())
                    client.hello()
                    self.assertRegex(client.say(b"STARTTLS"), rb"^220 ")
                    client.send(octets)
                    leave(client)
                    self.nothing_left(gateway, backend)

        return self.drive(run, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_239_in_proxy_header(self) -> Deferred:
        """Gone within the PROXY header: all is given up."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for leave in LEAVE:
                for octets in (b"", b"PROXY TCP4 198.51", b"\r\n\r\n\x00\r\nQUIT\n\x21"):
                    client = Client(gateway.port(), greet=False)
                    client.send(octets)
                    leave(client)
                    gateway.settle()
                    self.nothing_left(gateway, backend)
            with Client(gateway.port(), greet=False) as client:
                client.send(b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n")
                self.assertRegex(client.read(), rb"^220 ")

        return self.drive(run, listener='proxy_protocol_from = ["127.0.0.0/8"]')

    def test_P_240_while_connecting(self) -> Deferred:
        """Gone while the connection to the backend is pending, a thousand times: nothing is left over."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]

        def probe() -> None:
            sock, _ = listening.accept()
            connection = Connection(None, sock)  # type: ignore[arg-type]
            connection.say(b"220 backend.example.net")
            connection.line()
            connection.say(b"250-backend.example.net\r\n250 PIPELINING")
            connection.line()
            sock.close()

        thread = threading.Thread(target=probe)
        thread.start()

        def fill() -> list[socket.socket]:
            """Take every place in the queue of the listening socket, so that a further SYN is not answered."""
            held = []
            while True:
                sock = socket.socket()
                held.append(sock)
                sock.settimeout(0.3)
                try:
                    sock.connect(("127.0.0.1", port))
                except TimeoutError:
                    return held

        def run(gateway: TestGateway) -> None:
            thread.join()
            held = fill()
            files = calls = 0
            (server,) = gateway.control.revision.pools["mail"].servers  # type: ignore[union-attr]
            for number in range(1050):
                if number == 50:
                    self.assertTrue(gateway.idle())
                    files, calls = self.counted(gateway)
                client = Client(gateway.port())
                client.send(b"EHLO c.example\r\n")
                client.read()
                client.send(MAIL + b"\r\n" + RCPT + b"\r\n")
                self.assertRegex(client.read(), rb"^250 ")
                self.assertTrue(gateway.until(lambda: server.links))
                LEAVE[number % 2](client)
                self.assertTrue(gateway.until(lambda: not server.links))
            self.assertTrue(gateway.idle())
            after = self.counted(gateway)
            self.assertLessEqual(after[0], files + 2)
            self.assertLessEqual(after[1], calls + 2)
            self.assertEqual([event for event in gateway.told(Happened) if event.level == "error"], [])
            for sock in held:
                sock.close()

        return self.run_script(self.config(port), run)

    def counted(self, gateway: TestGateway) -> tuple[int, int]:
        """Open files, and timers of the reactor."""
        gateway.settle()
        return len(os.listdir("/proc/self/fd")), gateway.in_reactor(lambda: len(reactor.getDelayedCalls()))
