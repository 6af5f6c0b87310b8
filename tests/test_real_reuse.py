"""Connections to a Postfix that are used again by session after session: whose message it is never gets mixed up."""

from __future__ import annotations

import re
import threading
from collections import Counter

from tests.real_kit import Authority, Gateway, Postfix, RealCase, until
from tests.script_kit import Client

SESSIONS, THREADS, SLOTS = 200, 20, 10


class ReuseTests(RealCase):
    """Ten connections for two hundred sessions."""

    programs = ("postfix",)

    def setUp(self) -> None:
        super().setUp()
        authority = Authority(self.folder)
        certificate = authority.issue("mail.example.net")
        main = f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {certificate}\n"
        main += "smtpd_authorized_xforward_hosts = 127.0.0.1\n"
        self.postfix: Postfix = self.start(Postfix(self.folder, "backend", main))
        self.gate: Gateway = self.gateway(f"""
local_domains = ["example.net"]
[limits]
connections_per_client = 100
[bans]
mode = "off"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
greet_wait = "0s"
[backends.smtp]
servers = ["127.0.0.1:{self.postfix.port}"]
max_connections = {SLOTS}
tls = "verify"
tls_ca = "{authority.ca}"
tls_name = "mail.example.net"
client_info = "xforward"
reuse = "pool"
[[routes]]
backend = "smtp"
""")
        self.wrong: list[str] = []
        self.sent: dict[str, tuple[str, str]] = {}
        self._next = iter(range(SESSIONS))
        self._lock = threading.Lock()

    def work(self) -> None:
        """Sessions, one after the other, of clients with addresses of their own."""
        while True:
            with self._lock:
                number = next(self._next, None)
            if number is None:
                return
            try:
                self.session(number)
            except (AssertionError, OSError, EOFError) as error:
                self.wrong.append(f"session {number}: {error!r}")
                return

    def session(self, number: int) -> None:
        """One delivers; a third of them leave something begun behind first or last."""
        address = f"192.0.2.{number % 250 + 1}"
        with Client(self.gate.port(), greet=False) as client:
            client.send(b"PROXY TCP4 %s 192.0.2.254 40000 25\r\n" % address.encode())
            greeting = client.read()
            assert greeting.startswith(b"220 "), greeting
            client.hello()
            if number % 6 == 0:
                # A transaction that is given up.
                for line in (b"MAIL FROM:<ghost@example.org>", b"RCPT TO:<ghost@example.net>", b"RSET"):
                    reply = client.say(line)
                    assert reply.startswith(b"250"), reply
            id, sender, recipient = f"reuse-{number}", f"s{number}@example.org", f"r{number}@example.net"
            text = f"Message-ID: <{id}@example.org>\r\nSubject: of {number}\r\n\r\nbody of {number}\r\n".encode()
            for _ in range(40):
                reply = client.message(text, sender.encode(), [recipient.encode()])
                if reply.startswith(b"250"):
                    break
                # In line for too long: a polite client comes back.
                assert reply[:3] in (b"451", b"452", b"503"), reply
                client.say(b"RSET")
            assert reply.startswith(b"250"), reply
            self.sent[id] = (sender, address)
            if number % 6 == 3:
                # The client is gone in the middle of a message.
                for line in (b"MAIL FROM:<ghost@example.org>", b"RCPT TO:<ghost@example.net>", b"DATA"):
                    client.say(line)
                client.send(b"Message-ID: <ghost@example.org>\r\n\r\nghost")
            elif number % 2:
                client.say(b"QUIT")

    def test_two_hundred_sessions(self) -> None:
        """Each message once, from its own sender to its own recipient, and of its own client in Postfix's log; no
        ghost of another's transaction; far fewer connections than sessions, and TLS on all."""
        threads = [threading.Thread(target=self.work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(self.wrong, [])
        self.assertEqual(len(self.sent), SESSIONS)
        until(lambda: len(self.postfix.messages()) >= SESSIONS and not self.postfix.queued(), "all arrive")
        stored = Counter()
        for message in self.postfix.messages():
            id = re.search(rb"(?m)^Message-ID: <([^@]+)@", message)[1].decode()  # type: ignore[index]
            number = id.partition("-")[2].encode()
            stored[id] += 1
            self.assertIn(b"Return-Path: <s%s@example.org>" % number, message)
            self.assertIn(b"Delivered-To: r%s@example.net" % number, message)
            self.assertTrue(message.endswith(b"\n\nbody of %s\n" % number), message)
        self.assertEqual(set(stored.values()), {1})
        self.assertEqual(set(stored), set(self.sent))
        self.clients_are_their_own()
        connects = self.postfix.logged(r"smtpd\[\d+\]: connect from")
        self.assertLess(len(connects), SESSIONS // 2, "connections were used again")
        clear = self.postfix.logged(r"lost connection|improper command|warning: non-SMTP")
        self.assertEqual([line for line in clear if "after DATA" not in line and "after CONNECT" not in line], [])
        self.assertEqual(self.gate.crashed(), [])
        done = self.gate.events("message.done")
        self.assertEqual({line.get("backend_tls") for line in done if line["outcome"] == "delivered"}, {"TLSv1.3"})
        self.figures(f"{SESSIONS} sessions over {len(connects)} connections, at most {SLOTS} at a time")

    def clients_are_their_own(self) -> None:
        """XFORWARD names the client of each message anew."""
        ids = {line.split(": ")[1]: line for line in self.postfix.logged(r"message-id=<reuse-\d+@")}
        clients = {line.split(": ")[1]: line for line in self.postfix.logged(r"client=")}
        self.assertEqual(len(ids), SESSIONS)
        for queue_id, line in ids.items():
            id = re.search(r"<(reuse-\d+)@", line)[1]  # type: ignore[index]
            self.assertIn(f"[{self.sent[id][1]}]", clients[queue_id], id)
