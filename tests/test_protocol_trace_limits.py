"""PROTOCOL sections 20 and 21: trace fields, loops and limits, through the running gateway."""

from __future__ import annotations

import base64
import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.filters.loop import factory as loop
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Backend, Client, Connection, without_trace

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
PROXIED = 'proxy_protocol_from = ["127.0.0.0/8"]'
TRACE = re.compile(
    rb"\AReceived: from ([\x21-\x7e]+) \(\[127\.0\.0\.1\]\)(?:\r\n\t\(using [\x20-\x7e]+\))?\r\n"
    rb"\tby gate\.example\.com \(smtpgate\) with ([A-Z0-9]+) id ([0-9A-V]{26}\.\d+)(?:\r\n\tfor <([^<>\r\n]+)>)?;\r\n"
    rb"\t[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n(?![ \t])"
)


def proxied(gateway: TestGateway, address: str, greet: bool = True) -> Client:
    """A client that a load balancer names so."""
    client = Client(gateway.port(), greet=False)
    kind, own = ("TCP6", "2001:db8:ffff::1") if ":" in address else ("TCP4", "203.0.113.1")
    client.send(f"PROXY {kind} {address} {own} 4711 25\r\n".encode())
    if greet:
        assert client.read().startswith(b"220 ")
    return client


class TraceTests(GatewayCase):
    """P-294 to P-297."""

    def loop(self) -> Use:
        """The filter as it always runs."""
        made = loop.build(loop.options(received_hops=100, own_hops=3, hostname="gate.example.com"), None)
        return Use("loop", made, loop.stages, frozenset({"mx", "submission"}))

    def test_P_294_loop(self) -> Deferred:
        """More than 100 Received fields, or 3 of our own: 554 5.4.6 at the end, no dot; the body is not counted."""
        forms = (
            b"Received: from a by b; now\r\n",
            b"RECEIVED: from a\r\n\tby b;\r\n now\r\n",
            b"received:\r\n from a\r\n",
        )
        hops = b"".join(forms[number % 3] for number in range(100))
        own = b"Received: from a (a [192.0.2.1])\r\n\tby gate.example.com (smtpgate) with ESMTP id X;\r\n\tnow\r\n"

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for content, passes in (
                    (hops + b"Subject: x\r\n\r\nhi\r\n", True),
                    (hops + forms[1] + b"Subject: x\r\n\r\nhi\r\n", False),
                    (forms[2] + hops + b"\r\nhi\r\n", False),
                    (hops + b"\r\n" + hops, True),
                    (b"Subject: x\r\nX-Received: x\r\n" + hops + b"\r\n", True),
                    (own * 3 + b"\r\nhi\r\n", True),
                    (own * 4 + b"\r\nhi\r\n", False),
                    (own * 3 + b"\r\n" + own * 3, True),
                ):
                    count = len(backend.messages)
                    reply = client.message(content)
                    if passes:
                        self.assertRegex(reply, rb"\A250 2\.0\.0 queued" + REFERENCE, content[-60:])
                        self.assertEqual(without_trace(backend.messages[-1]), content)
                    else:
                        self.assertRegex(reply, rb"\A554 5\.4\.6 [^\r\n]*" + REFERENCE, content[-60:])
                    self.assertEqual(len(backend.messages), count + passes)

        return self.drive(run, uses=[self.loop()])

    def test_P_295_own_listener(self) -> Deferred:
        """A backend that turns out to be the gateway itself: 554 5.4.6, and no chain of connections."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                backend.greeting = b"220 Gate.Example.com ESMTP"
                links = len(backend.connections)
                self.assertRegex(client.reply_at("RCPT"), rb"\A554 5\.4\.6 [^\r\n]*" + REFERENCE)
                self.assertLessEqual(len(backend.connections), links + 1)
                self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.drive(run)

    def test_P_295_same_name(self) -> Deferred:
        """A mail server on the gateway's own machine greets with the same name, and is no loop."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.greeting = b"220 gate.example.com ESMTP Postfix"
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(), rb"\A250 ")

        return self.drive(run)

    def sent(
        self,
        gateway: TestGateway,
        backend: Backend,
        opening: Sequence[bytes],
        count: int = 1,
        mail: bytes = MAIL,
        tls: bool = False,
    ) -> tuple[bytes, bytes, bytes]:
        """A message in such a session: name, protocol and `for` of the one trace field at its top."""
        with Client(gateway.port()) as client:
            if tls:
                client.say(opening[0])
                self.assertRegex(client.say(b"STARTTLS"), rb"\A220 ")
                client.starttls()
            for line in opening:
                self.assertRegex(client.say(line), rb"\A2")
            client.say(mail)
            for number in range(count):
                self.assertRegex(client.say(b"RCPT TO:<b%d@example.net>" % number), rb"\A250 ")
            self.assertRegex(client.say(b"DATA"), rb"\A354 ")
            client.send(b"Received: from earlier by hop; now\r\nSubject: x\r\n\r\nhi\r\n.\r\n")
            replies = [client.read() for _ in range(count if opening[0].startswith(b"LHLO") else 1)]
            self.assertRegex(replies[0], rb"\A250 ")
        message = backend.messages[-1]
        match = TRACE.match(message)
        assert match is not None, message
        self.assertEqual(message[match.end() :], b"Received: from earlier by hop; now\r\nSubject: x\r\n\r\nhi\r\n")
        self.assertLessEqual(max(map(len, message.split(b"\r\n"))), 998)
        self.assertIn(match[3], replies[0])
        return match[1], match[2], match[4] or b""

    def test_P_296_trace(self) -> Deferred:
        """One field at the top, with the right protocol, no raw controls, and `for` only with a single recipient."""
        login = b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret")
        hello = b"EHLO client.example"

        def run(gateway: TestGateway, backend: Backend) -> None:
            def sent(*opening: bytes, **more: Any) -> tuple[bytes, bytes, bytes]:
                return self.sent(gateway, backend, opening, **more)

            self.assertEqual(sent(hello), (b"client.example", b"ESMTP", b"b0@example.net"))
            self.assertEqual(sent(hello, count=2), (b"client.example", b"ESMTP", b""))
            self.assertEqual(sent(b"HELO client.example")[1], b"SMTP")
            self.assertEqual(sent(hello, tls=True)[1], b"ESMTPS")
            self.assertEqual(sent(hello, login)[1], b"ESMTPA")
            self.assertEqual(sent(hello, login, tls=True)[1], b"ESMTPSA")
            for more, word in (({}, b"UTF8SMTP"), ({"tls": True}, b"UTF8SMTPS")):
                self.assertEqual(sent(hello, mail=MAIL + b" SMTPUTF8", **more)[1], word)
            for name in (b"a b (c) <d>; by evil", b"x" * 255, b"[IPv6:2001:db8::1]", b"under_score"):
                self.assertRegex(sent(b"EHLO " + name)[0], rb"\A[\x21-\x7e]{1,255}\Z")
            with Client(gateway.port()) as client:
                self.assertRegex(client.say(b"EHLO \x1b[31mred"), rb"\A501 ")

        return self.drive(
            run,
            Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            tls="optional",
            role="submission",
            listener=f'auth = "relay"\nauth_requires_tls = false\nauth_required = false\n'
            f'relay_from = ["127.0.0.0/8"]\ncertificates = ["{self.certificate()}"]',
        )

    def test_P_296_lmtp(self) -> Deferred:
        """The same for LMTP."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.sent(gateway, backend, [b"LHLO client.example"])[1:], (b"LMTP", b"b0@example.net"))
            self.assertEqual(self.sent(gateway, backend, [b"LHLO client.example"], count=2)[1:], (b"LMTP", b""))
            self.assertEqual(self.sent(gateway, backend, [b"LHLO client.example"], tls=True)[1], b"LMTPS")

        return self.drive(run, tls="optional", listener=f'protocol = "lmtp"\ncertificates = ["{self.certificate()}"]')

    def test_P_297_untouched(self) -> Deferred:
        """Trace fields that are there already stay as they are, whatever their form."""
        content = (
            b"Return-Path: <x@example.org>\r\nReceived: from x by y; 31 Feb 99 25:61:99 XYZ\r\n"
            b"RECEIVED: no date at all\r\nReceived: (qmail 1 invoked by uid 2); 1 Jan 2000 00:00:00 -0000\r\n"
            b"Received:\r\n\tfrom a\r\n \tby b\r\n\t; Thu,  1 Jan 1970 00:00 +0000 (long ago)\r\nDate: yesterday\r\n"
            b"Received: by 2002:a05:6e02:1::1 with SMTP id x;\r\n        Mon, 1 Jan 2024 00:00:00 -0800 (PST)\r\n"
            b"Subject: x\r\n\r\nhi\r\n"
        )

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(content), rb"\A250 2\.0\.0 queued")
            match = TRACE.match(backend.messages[0])
            assert match is not None
            self.assertEqual(backend.messages[0][match.end() :], content)

        return self.drive(run, uses=[self.loop()])


class LimitTests(GatewayCase):
    """P-298 to P-306."""

    def test_P_298_connections_of_one(self) -> Deferred:
        """More connections of one address (of one /64 in IPv6) than allowed: 421, closed; the count falls again."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for addresses, other in (
                (("198.51.100.7",) * 3, "198.51.100.8"),
                (("2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"), "2001:db8:0:1::1"),
            ):
                clients = [proxied(gateway, address) for address in addresses[:2]]
                for _ in range(3):
                    refused = proxied(gateway, addresses[2], greet=False)
                    self.assertRegex(refused.read(), rb"\A421 4\.(7\.0|3\.2) [^\r\n]*\r\n\Z")
                    self.assertTrue(refused.is_closed())
                    refused.close()
                proxied(gateway, other).close()
                for client in clients:
                    client.hello()
                    self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertRegex(clients.pop().say(b"QUIT"), rb"\A221 ")
                self.assertTrue(gateway.until(lambda: len(gateway.control.reception.sessions) == 1))
                clients.append(proxied(gateway, addresses[2]))
                for client in clients:
                    client.close()
                self.assertTrue(gateway.idle())

        return self.drive(run, listener=PROXIED, limits="connections_per_client = 2")

    def test_P_299_connections_in_all(self) -> Deferred:
        """More connections than there may be in all: 421 4.3.2, closed, and the door stays open."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            clients = [Client(gateway.port()) for _ in range(3)]
            for _ in range(20):
                with Client(gateway.port(), greet=False) as refused:
                    self.assertRegex(refused.read(), rb"\A421 4\.3\.2 [^\r\n]*\r\n\Z")
                    self.assertTrue(refused.is_closed())
            for client in clients:
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                client.close()
            self.assertTrue(gateway.idle())
            with Client(gateway.port()) as client:
                client.hello()

        return self.drive(run, limits="connections = 3")

    def test_P_300_pool_full(self) -> Deferred:
        """No connection to the backend is free: 451 4.3.2 in a while, and it goes on when one is."""
        backend = Backend()
        self.addCleanup(backend.close)

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as first, Client(gateway.port()) as second:
                for client in (first, second):
                    client.hello()
                self.assertRegex(first.reply_at("DATA"), rb"\A354 ")
                self.assertRegex(second.reply_at("RCPT"), rb"\A451 4\.3\.2 [^\r\n]*" + REFERENCE)
                self.assertRegex(first.say(b"Subject: x\r\n\r\nhi\r\n."), rb"\A250 ")
                self.assertRegex(second.reply_at("DOT"), rb"\A250 2\.0\.0 queued" + REFERENCE)

        text = self.config(backend.port, backend="max_connections = 1", timeouts="greeting = 1")
        return self.run_script(text, run)

    def test_P_301_header_size(self) -> Deferred:
        """A header section past its cap: 554 5.6.0 at the end of data, no dot, and the session goes on."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(gateway.settings.limits.header_size_octets, 2**20)
            with Client(gateway.port()) as client:
                client.hello()
                for content in (
                    b"X: " + b"\r\n\tfolded on and on".join([b"x" * 900] * 2300) + b"\r\n\r\nhi\r\n",
                    b"".join(b"X-Field-%d: %s\r\n" % (n, b"x" * 60) for n in range(20000)) + b"\r\nhi\r\n",
                    b"X-No-End: yes\r\n" * 100_000,
                ):
                    self.assertGreater(len(content), 2**20)
                    self.assertRegex(client.message(content), rb"\A(554 5\.6\.0|552 5\.3\.4) [^\r\n]*" + REFERENCE)
                    self.assertRegex(client.say(b"NOOP"), rb"\A250 ")
                self.assertEqual((backend.messages, backend.seen(b"^DOT")), ([], []))
                fits = b"X-Field: " + b"x" * 60 + b"\r\n"
                self.assertRegex(client.message(fits * 10000 + b"\r\nhi\r\n"), rb"\A250 2\.0\.0 queued" + REFERENCE)

        return self.drive(run)

    def test_P_302_path_lengths(self) -> Deferred:
        """Paths of the lengths that everybody must take are taken; past the cap 501 5.1.7 and 5.1.3."""
        label = b"d" * 63 + b"."
        longest = label * 3 + b"d" * 59 + b".de"
        self.assertEqual(len(longest), 254)

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for path, is_taken in (
                    (b"x" * 64 + b"@example.net", True),
                    (b"x" * 243 + b"@example.net", True),
                    (b"x" * 300 + b"@example.net", False),
                    (b"u@" + longest[3:], True),
                    (b"u@" + label * 4 + b"de", False),
                    (b"x" * 64 + b"@" + label * 4 + b"net", False),
                    (b"x" * 450 + b"@" + b"e" * 30, False),
                ):
                    client.say(b"RSET")
                    reply = client.say(b"MAIL FROM:<" + path + b">")
                    self.assertRegex(
                        reply, rb"\A250 2\.1\.0 " if is_taken else rb"\A501 5\.1\.7 [^\r\n]*" + REFERENCE, path
                    )
                    client.say(b"RSET")
                    client.say(MAIL)
                    reply = client.say(b"RCPT TO:<" + path + b">")
                    accepted = rb"\A250 2\.1\.5 " if path.endswith(b"@example.net") else rb"\A550 5\.7\.1 "
                    self.assertRegex(reply, accepted if is_taken else rb"\A501 5\.1\.3 [^\r\n]*" + REFERENCE, path)
                for start, end in ((b"MAIL FROM:<", b"@example.org>"), (b"RCPT TO:<", b"@example.net>")):
                    self.assertRegex(client.say(start + b"x" * 10000 + end), rb"\A(500 5\.5\.2|501 5\.1\.[37]) ")
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")

        return self.drive(run)

    def test_P_303_messages(self) -> Deferred:
        """More messages in one session than allowed: 421 4.7.0 at MAIL; what was taken before stands."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(3):
                    self.assertRegex(client.reply_at("DOT"), rb"\A250 2\.0\.0 queued" + REFERENCE)
                reply = client.say(MAIL)
                self.assertRegex(reply, rb"\A(421 4\.7\.0|452 4\.5\.3) [^\r\n]*" + REFERENCE)
                if reply.startswith(b"421"):
                    self.assertTrue(client.is_closed())
            self.assertEqual(len(backend.messages), 3)

        return self.drive(run, limits="messages_per_session = 3")

    def test_P_304_disk_full(self) -> Deferred:
        """The disk is full, at any offset: the client is read to its end, 452 4.3.1, no dot, and the file is gone."""

        class Full:
            """A spool file on a small disk."""

            def __init__(self, room: int) -> None:
                self.room = room
                self.file = tempfile.TemporaryFile()

            def write(self, octets: bytes) -> int:
                self.room -= len(octets)
                if self.room < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return self.file.write(octets)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        content = b"Subject: x\r\n\r\n" + b"line of some content\r\n" * 4000

        def none() -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                makers: list[Callable[[], Any]] = [none]
                makers += [lambda room=room: Full(room) for room in (0, 1, 1000, 8000, 30000, 60000, len(content) - 1)]
                for make in makers:
                    gateway.open_spool = make
                    self.assertRegex(client.message(content), rb"\A452 4\.3\.1 [^\r\n]*" + REFERENCE)
                    self.assertRegex(client.say(b"NOOP"), rb"\A250 ")
                self.assertEqual((backend.messages, backend.seen(b"^DOT|^DATA")), ([], []))
                self.assertTrue(gateway.spools)
                gateway.open_spool = tempfile.TemporaryFile
                self.assertRegex(client.message(content), rb"\A250 2\.0\.0 queued" + REFERENCE)
                self.assertTrue(all(file.closed for file in gateway.spools))

        return self.drive(run, listener='body = "spool"', limits='spool_memory = "1 KiB"')

    def test_P_306_many_idle(self) -> Deferred:
        """Many idle sessions cost no timer each, and those at work are served."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            before = gateway.in_reactor(lambda: len(reactor.getDelayedCalls()))
            idle = [Client(gateway.port()) for _ in range(500)]
            self.assertEqual(len(gateway.control.reception.sessions), 500)
            self.assertLessEqual(gateway.in_reactor(lambda: len(reactor.getDelayedCalls())), before + 5)
            good = []

            def work() -> None:
                with Client(gateway.port()) as client:
                    client.hello()
                    good.append(all(client.reply_at("DOT").startswith(b"250 ") for _ in range(10)))

            threads = [threading.Thread(target=work) for _ in range(25)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(15)
            self.assertEqual(good, [True] * 25)
            for client in idle:
                self.assertRegex(client.say(b"QUIT"), rb"\A221 ")
                client.close()
            self.assertTrue(gateway.idle())

        return self.drive(run)


class KilledTests(GatewayCase):
    """P-305: the process itself, with its state in a folder."""

    #: A process takes its time to start on a machine that is busy.
    timeout = 120

    def begin(self, folder: Path, backend: Backend) -> tuple[subprocess.Popen[bytes], int, int]:
        """A gateway in a process of its own, and its ports: one that streams and one that spools."""
        path = folder / "gate.toml"
        text = self.config(backend.port, limits='spool_memory = "1 KiB"', top=f'state_dir = "{folder / "state"}"')
        spool = '[listeners.spool]\nlisten = "tcp:0:interface=127.0.0.1"\ntls = "off"\nbody = "spool"\n'
        path.write_text(text.replace("[limits]", f'[admin]\nlisten = "off"\n{spool}[limits]'))
        twistd = Path(sys.executable).with_name("twistd")
        process = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "smtpgate", "--config", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        lines: list[bytes] = []
        for line in process.stdout:
            lines.append(line)
            if b'"gateway.started"' in line:
                threading.Thread(target=process.stdout.read, daemon=True).start()
                front, other = (re.search(name + rb" 127\.0\.0\.1:(\d+)", line) for name in (b"front", b"spool"))
                assert front is not None and other is not None, line
                return process, int(front[1]), int(other[1])
        raise AssertionError(f"the gateway ended with {process.wait()}: {b''.join(lines).decode()}")
        return None

    def test_P_305_killed(self) -> Deferred:
        """Killed within the content, behind the dot and while spooling: no dot but one that was sent, nothing later."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        came, asked, go = threading.Event(), threading.Event(), threading.Event()

        def hold(connection: Connection) -> bytes:
            asked.set()
            go.wait(15)
            return b"250 2.0.0 taken"

        def middle(connection: Connection) -> None:
            came.set()

        backend = Backend(once=[(b"^DOT", hold)])
        self.addCleanup(backend.close)
        content = b"Subject: x\r\n\r\n" + b"line of some content\r\n" * 10000

        def opened(port: int) -> Client:
            client = Client(port)
            client.hello()
            self.assertRegex(client.reply_at("DATA"), rb"\A354 ")
            return client

        def run() -> None:
            process, port, other = self.begin(folder, backend)
            behind = opened(port)
            behind.send(content + b".\r\n")
            self.assertTrue(asked.wait(15))
            within = opened(port)
            backend.once.append((b"^MIDDLE", middle))  # type: ignore[arg-type]
            within.send(content)
            self.assertTrue(came.wait(15))
            spooled = opened(other)
            spooled.send(content)
            files = Path(f"/proc/{process.pid}/fd")
            end = time.monotonic() + 15
            while not any("(deleted)" in os.readlink(file) for file in list(files.iterdir()) if file.is_symlink()):
                self.assertLess(time.monotonic(), end, "it never came to a spool file")
            process.send_signal(signal.SIGKILL)
            process.wait()
            for client in (behind, within, spooled):
                self.assertTrue(client.is_closed())
                client.close()
            go.set()
            self.assertTrue(backend.all_closed())
            self.assertEqual((len(backend.messages), len(backend.unfinished)), (1, 1))
            self.assertEqual(list((folder / "state" / "spool").iterdir()), [])

            process, port, other = self.begin(folder, backend)
            with Client(other) as client:
                client.hello()
                self.assertRegex(client.message(b"Subject: last\r\n\r\nlast\r\n"), rb"\A250 2\.0\.0 queued" + REFERENCE)
            process.terminate()
            process.wait()
            self.assertEqual(len(backend.messages), 2)
            self.assertEqual(without_trace(backend.messages[1]), b"Subject: last\r\n\r\nlast\r\n")

        return deferToThread(run)
