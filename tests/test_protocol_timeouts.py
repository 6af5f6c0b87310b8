"""PROTOCOL section 15: time-outs, the stop and the reload, through the running gateway.

Where time must pass, the configuration says one second and the script reads until the reply comes. That the gateway
waits as long as it must is shown by what it does not do meanwhile, and by the defaults.
"""

from __future__ import annotations

import select
import threading
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.config.loader import loads
from smtpgate.policy.event import DeliveryUnknown, SessionEnded, TransactionEnded
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, STALL, Backend, Client, Connection

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
TIMEOUT = rb"\A421 4\.4\.2 [^\r\n]*\r\n\Z"


class Hold:
    """An action that waits until it is let go."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> bytes:
        self.asked.set()
        self.go.wait(15)
        return self.reply


def until_closed(connection: Connection) -> bytes:
    """Say nothing until the gateway hangs up."""
    while True:
        connection.more()


class TimeoutTests(GatewayCase):
    """P-241 to P-248."""

    def settings(self) -> Any:
        """A configuration that says nothing of time."""
        return loads(self.config(25), "/nowhere/gate.toml")

    def test_P_241_silent_client(self) -> Deferred:
        """A client that falls silent, in whatever state, hears 421 4.4.2; by default not before 300 s."""
        timeouts = self.settings().timeouts
        self.assertGreaterEqual(timeouts.command_s, 300)
        self.assertGreaterEqual(timeouts.data_block_s, 180)
        states: list[tuple[bytes, ...]] = [(), (b"EHLO c.example",)]
        states += [(*states[1], MAIL), (*states[1], MAIL, RCPT), (*states[1], MAIL, RCPT, b"DATA")]
        states.append((*states[1], MAIL, RCPT, b"DATA", b"x\r\n."))

        def run(gateway: TestGateway, backend: Backend) -> None:
            clients = []
            for lines in states:
                client = Client(gateway.port())
                clients.append(client)
                for line in lines:
                    self.assertRegex(client.say(line), rb"\A[23]")
            clients[4].send(b"Subject: x\r\n\r\nhalf a li")
            client = Client(gateway.port())
            clients.append(client)
            for line in states[3]:
                client.say(line)
            client.send(b"BDAT 100\r\nonly this")
            client = Client(gateway.port())
            clients.append(client)
            client.hello()
            client.send(b"MAIL FR")
            for number, client in enumerate(clients):
                self.assertRegex(client.read(), TIMEOUT, number)
                self.assertTrue(client.is_closed())
                client.close()
            self.assertTrue(gateway.idle())
            self.assertTrue(backend.all_closed())
            self.assertEqual(len(backend.messages), 1)

        return self.drive(run, timeouts="command = 1\ndata_block = 1")

    def drip(self, client: Client, octets: bytes) -> bytes:
        """One octet after the other, with a pause between, until a reply comes."""
        for octet in octets:
            ready, _, _ = select.select([client.sock], [], [], 0.1)
            if ready:
                return client.read()
            client.send(bytes((octet,)))
        raise AssertionError("no reply however long it took")

    def test_P_242_slow_command(self) -> Deferred:
        """A command has one time-out, which its octets do not extend."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.drip(client, b"NOOP " + b"x" * 100), TIMEOUT)
                self.assertTrue(client.is_closed())

        return self.drive(run, timeouts="command = 1")

    def test_P_243_slow_content(self) -> Deferred:
        """Content that comes by drips ends in 421 4.4.2, without a dot for the backend."""
        self.assertGreater(self.settings().limits.min_data_rate_octets, 0)

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                self.assertRegex(self.drip(client, b"Subject: x\r\n\r\n" + b"line\r\n" * 30), TIMEOUT)
                self.assertTrue(client.is_closed())
            self.assertTrue(backend.all_closed())
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))

        return self.drive(run, timeouts="data_block = 1", limits="min_data_rate = 500")

    def slow_backend(self, stages: dict[bytes, bytes]) -> Deferred:
        """Hold the backend's replies until another client's time-out has passed; the waiting client is not cut off."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for stage, reply in stages.items():
                hold = Hold(reply)
                backend.once.append((b"^" + stage, hold))
                with Client(gateway.port()) as client, Client(gateway.port()) as other:
                    client.hello()
                    lines = [b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"]
                    if stage in (b"DATA", b"DOT"):
                        lines.append(b"DATA")
                    for line in lines[:-1]:
                        self.assertRegex(client.say(line), rb"^250 ")
                    if stage == b"DOT":
                        self.assertRegex(client.say(lines[-1]), rb"^354 ")
                        client.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")
                    else:
                        client.send(lines[-1] + b"\r\n")
                    self.assertTrue(hold.asked.wait(15))
                    self.assertRegex(other.read(), TIMEOUT)
                    hold.go.set()
                    answer = reply if reply[:3] == b"354" else b"250 2"
                    self.assertEqual(client.read()[:4], answer[:4], stage)
                    if stage == b"DOT":
                        self.assertEqual(len(backend.messages), 1)

        return self.drive(run, timeouts="command = 1")

    def test_P_244_slow_envelope(self) -> Deferred:
        """The backend's reply to MAIL, RCPT and DATA is waited for, 300 and 120 s by default, and relayed."""
        timeouts = self.settings().timeouts
        self.assertGreaterEqual(timeouts.backend_s, 300)
        self.assertGreaterEqual(timeouts.data_init_s, 120)
        return self.slow_backend({b"MAIL": b"250 2.1.0 ok", b"RCPT": b"250 2.1.5 ok", b"DATA": b"354 go"})

    def test_P_245_slow_end(self) -> Deferred:
        """The backend's reply to the dot is waited for, 600 s by default, and there is one delivery."""
        self.assertGreaterEqual(self.settings().timeouts.data_done_s, 600)
        return self.slow_backend({b"DOT": b"250 2.0.0 queued"})

    def test_P_246_no_answer(self) -> Deferred:
        """A backend that never answers the dot: 451 4.4.2, outcome unknown, connection closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A451 4\.4\.2 [^\r\n]*" + REFERENCE)
                self.assertTrue(backend.all_closed())
                self.assertEqual(gateway.told(TransactionEnded)[-1].transaction.outcome, "unknown")
                self.assertEqual(len(gateway.told(DeliveryUnknown)), 1)
                self.assertRegex(client.say(b"NOOP"), rb"^250 ")
            self.assertEqual(len(backend.messages), 1)

        return self.drive(run, Backend([(b"^DOT", until_closed)]), timeouts="data_done = 1")

    def test_P_247_client_never_reads(self) -> Deferred:
        """A client that never reads its replies: what is held for it is bounded, and in time it is closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.sock.setblocking(False)
                poll = select.poll()
                poll.register(client.sock, select.POLLOUT)
                sent = 0
                while sent < 1 << 27 and poll.poll(500):
                    try:
                        sent += client.sock.send(b"HELP\r\n" * 1000)
                    except BlockingIOError:
                        continue
                    except ConnectionError:
                        break
                self.assertLess(sent, 1 << 25, "the gateway reads on and on")
                self.assertTrue(gateway.idle())
                (ended,) = gateway.told(SessionEnded)
                self.assertEqual(ended.session.closed_by, "timeout")

        return self.drive(run, timeouts="command = 1", limits="junk = 100000000")

    def test_P_247_backend_never_reads(self) -> Deferred:
        """A backend that never reads its content: 451 4.4.2 once, the client is read to its end, no dot."""

        def deaf(connection: Connection) -> bytes:
            connection.say(b"354 go on")
            return STALL

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                client.send(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 400_000 + b".\r\n")
                self.assertRegex(client.read(), rb"\A451 4\.4\.2 [^\r\n]*" + REFERENCE)
                self.assertRegex(client.say(b"NOOP"), rb"^250 ")
            self.assertEqual(gateway.told(DeliveryUnknown), [])

        return self.drive(run, Backend([(b"^DATA", deaf)]), timeouts="data_block = 1")

    def test_P_248_slow_filter(self) -> Deferred:
        """A check that takes longer than its budget: 451 4.3.0 and no dot."""
        timeouts = self.settings().timeouts
        self.assertLessEqual(timeouts.verdict_s or 0, 300)

        class Never:
            def transaction(self, transaction: Any) -> Never:
                return self

            def end(self) -> Deferred[None]:
                return Deferred()

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A451 4\.3\.0 [^\r\n]*" + REFERENCE)
                self.assertRegex(client.say(b"NOOP"), rb"^250 ")
            self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))

        use = Use("never", Never(), frozenset({"end"}), frozenset({"mx", "submission"}), budget_s=0)
        return self.drive(run, uses=[use], timeouts="verdict = 1")


class StopTests(GatewayCase):
    """P-249, P-250."""

    def test_P_249_stop(self) -> Deferred:
        """A stop: idle sessions hear 421 4.3.2, mail on its way and behind its dot is finished, the door is shut."""
        hold = Hold(b"250 2.0.0 taken")

        def run(gateway: TestGateway, backend: Backend) -> None:
            port = gateway.port()
            idle, sending, behind, new = (Client(port) for _ in range(4))
            for client in (idle, sending, behind):
                client.hello()
            self.assertRegex(idle.reply_at("DOT"), rb"^250 ")
            self.assertRegex(sending.reply_at("DATA"), rb"^354 ")
            sending.send(b"Subject: x\r\n\r\nfirst\r\n")
            backend.once.append((b"^DOT", hold))
            self.assertRegex(behind.reply_at("DATA"), rb"^354 ")
            behind.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")
            self.assertTrue(hold.asked.wait(15))
            gateway.settle()
            gateway.in_reactor(gateway.ports.close)
            gateway.in_reactor(gateway.control.reception.drain)
            for client in (idle, new):
                self.assertRegex(client.read(), rb"\A421 4\.3\.2 [^\r\n]*\r\n\Z")
                self.assertTrue(client.is_closed())
            self.assertRaises(OSError, Client, port)
            sending.send(b"second\r\n.\r\n")
            self.assertRegex(sending.read(), rb"\A250 2\.0\.0 queued" + REFERENCE)
            hold.go.set()
            self.assertRegex(behind.read(), rb"\A250 2\.0\.0 taken" + REFERENCE)
            for client in (sending, behind):
                self.assertRegex(client.read(), rb"\A421 4\.3\.2 [^\r\n]*\r\n\Z")
                self.assertTrue(client.is_closed())
                client.close()
            self.assertTrue(gateway.idle())
            self.assertEqual(len(backend.messages), 3)

        return self.drive(run)

    def test_P_249_grace_over(self) -> Deferred:
        """The grace time is over: content on its way ends in 421 without a dot; behind the dot it is waited."""
        hold = Hold(b"250 2.0.0 taken")

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as sending, Client(gateway.port()) as behind:
                for client in (sending, behind):
                    client.hello()
                    self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                sending.send(b"Subject: x\r\n\r\nfirst\r\n")
                behind.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")
                self.assertTrue(hold.asked.wait(15))
                gateway.in_reactor(gateway.control.reception.drain)
                gateway.in_reactor(gateway.control.reception.kill_all)
                self.assertRegex(sending.read(), rb"\A421 4\.3\.2 [^\r\n]*\r\n\Z")
                self.assertTrue(sending.is_closed())
                hold.go.set()
                self.assertRegex(behind.read(), rb"\A250 2\.0\.0 taken" + REFERENCE)
                self.assertRegex(behind.read(), rb"\A421 4\.3\.2 ")
                self.assertTrue(gateway.idle())
            self.assertEqual(len(backend.messages), 1)

        return self.drive(run, Backend([(b"^DOT", hold)]))

    def test_P_250_reload(self) -> Deferred:
        """A reload under load: no reply is lost, running sessions keep their settings, new ones have the new."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            failed: list[str] = []
            stop = threading.Event()

            def send(number: int) -> None:
                sent = 0
                with Client(gateway.port()) as client:
                    client.hello()
                    while not stop.is_set() and sent < 900:
                        sent += 1
                        reply = client.message(b"Subject: %d\r\n\r\nhi\r\n" % number)
                        if not reply.startswith(b"250 2.0.0 queued"):
                            failed.append(repr(reply))
                            return

            old = Client(gateway.port())
            self.assertIn(b"SIZE 1000\r\n", old.hello())
            threads = [threading.Thread(target=send, args=(number,)) for number in range(5)]
            for thread in threads:
                thread.start()
            text = self.config(backend.port, limits="message_size = 2000")
            for number in range(10):
                settings = loads(text.replace("[limits]", f"[limits]\nrecipients = {100 + number}"), "/nowhere/g.toml")
                gateway.in_reactor(gateway.control.start, settings)
                with Client(gateway.port()) as client:
                    self.assertIn(b"SIZE 2000\r\n", client.hello())
                    self.assertRegex(client.reply_at("DOT"), rb"^250 ")
            stop.set()
            for thread in threads:
                thread.join(15)
            self.assertEqual(failed, [])
            with old:
                self.assertIn(b"SIZE 1000\r\n", old.hello())
                self.assertRegex(old.say(b"MAIL FROM:<a@example.org> SIZE=1500"), rb"^552 5\.3\.4 ")
                self.assertRegex(old.reply_at("DOT"), rb"^250 ")

        return self.drive(run, limits="message_size = 1000")
