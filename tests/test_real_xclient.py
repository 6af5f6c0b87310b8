"""300 clients behind a load balancer, XCLIENT to a stock Postfix; then XCLIENT is withdrawn in mid-run.

Postfix counts connections and judges mail by the client's address. As long as it is told that address nobody hears a
421; once it will not listen, nothing is delivered under the gateway's own address.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.real_kit import PATIENCE_S, Gateway, Postfix, RealCase, split_trace, until
from tests.script_kit import Client

#: Clients at the same time: more than Postfix would take from one address.
AT_ONCE = 60
#: Links to Postfix: under its smtpd_client_connection_count_limit, as the operator's guide asks.
LINKS = 40


def address(number: int) -> str:
    """The address of a client."""
    return f"10.{number // 50}.{number % 50}.{number % 250 + 1}"


def content(number: int) -> bytes:
    """A message that names its client."""
    return (
        f"From: a{number}@example.org\r\nMessage-ID: <{number}@{address(number)}>\r\nSubject: from "
        f"{address(number)}\r\n\r\nhello\r\n"
    ).encode()


class XclientTests(RealCase):
    """One gateway, one Postfix that trusts it for XCLIENT and for nothing else."""

    programs = ("postfix",)

    def setUp(self) -> None:
        super().setUp()
        # Stock: limits, anvil and restrictions are Postfix's own. The gateway is not in mynetworks, so nothing exempts
        # it from being counted.
        self.postfix: Postfix = self.start(
            Postfix(self.folder, "stock", "mynetworks = 192.0.2.1\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n")
        )
        self.gate: Gateway = self.gateway(f"""
local_domains = ["example.net"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{self.postfix.port}"]
client_info = "xclient"
max_connections = {LINKS}
[[routes]]
backend = "mail"
""")
        self.port = self.gate.port()

    def one(self, number: int) -> list[bytes]:
        """One client: its connection, one message, QUIT. The replies."""
        with Client(self.port, greet=False) as client:
            client.send(f"PROXY TCP4 {address(number)} 203.0.113.5 {20000 + number} 25\r\n".encode())
            replies = [client.read(), client.hello()]
            replies.append(client.say(f"MAIL FROM:<a{number}@example.org>".encode()))
            replies.append(client.say(b"RCPT TO:<bob@example.net>"))
            if replies[-1].startswith(b"250"):
                replies.append(client.say(b"DATA"))
                replies.append(client.say(content(number) + b"."))
            client.say(b"QUIT")
        return replies

    def crowd(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Many clients at once: the reply that decided, by number."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return dict(zip(numbers, (replies[-1] for replies in threads.map(self.one, numbers))))

    def clients(self) -> list[str]:
        """The client of each message that Postfix has taken."""
        return [line.rpartition("[")[2].rstrip("]") for line in self.postfix.logged(": client=")]

    def check_delivered(self, numbers: Sequence[int]) -> None:
        """These came once each, and Postfix believes that each came from its client."""
        until(lambda: len(self.postfix.messages()) >= len(numbers), "all are delivered")
        wanted = sorted(address(number) for number in numbers)
        self.assertEqual(sorted(self.clients()), wanted)
        found = []
        for stored in self.postfix.messages():
            fields, body = split_trace(stored)
            (subject,) = re.findall(rb"^Subject: from (\S+)$", body, re.MULTILINE)
            for field in fields:
                if field.startswith(b"Received:"):
                    self.assertIn(b"[" + subject + b"]", field)
            found.append(subject.decode())
        self.assertEqual(sorted(found), wanted)

    def test_three_hundred_clients(self) -> None:
        """No 421 and no 4yz, and Postfix sees 300 addresses."""
        said = self.crowd(range(300))
        self.assertEqual({number: reply for number, reply in said.items() if not reply.startswith(b"250 2.0.0")}, {})
        self.check_delivered(range(300))
        self.assertEqual(self.postfix.logged("warning:|too many|NOQUEUE| 421 "), [])
        self.assertEqual(self.gate.crashed(), [])
        # The limits were in force: a crowd from one address that is not trusted with XCLIENT meets them.
        with ExitStack() as stack:
            greetings: list[bytes] = []
            while len(greetings) < 60 and not any(greeting.startswith(b"421") for greeting in greetings):
                place = ("127.0.0.1", self.postfix.port)
                sock = stack.enter_context(socket.create_connection(place, PATIENCE_S, ("127.0.0.2", 0)))
                greetings.append(sock.recv(1000))
            self.assertIn(b"too many connections", greetings[-1])
        self.figures(
            f"300 addresses, {AT_ONCE} at once over {LINKS} links, no 421; directly the {len(greetings)}th gets 421"
        )

    def test_withdrawn_in_mid_run(self) -> None:
        """While clients come and go Postfix stops to offer XCLIENT: from then on 451, and nothing under our address."""
        gone = threading.Event()

        def withdraw() -> None:
            until(lambda: len(self.clients()) >= 80, "the run is under way")
            self.postfix.configure("mynetworks = 192.0.2.1\nsmtpd_authorized_xclient_hosts =\n")
            self.postfix.reload()
            # Processes of the old configuration end when they have served whom they serve.
            until(self.none_offers, "no smtpd offers XCLIENT any more")
            gone.set()

        with ThreadPoolExecutor(1) as threads:
            withdrawn = threads.submit(withdraw)
            said: dict[int, bytes] = {}
            while not gone.is_set() and len(said) < 2000:
                said.update(self.crowd(range(len(said), len(said) + AT_ONCE)))
                if withdrawn.done():
                    withdrawn.result()
            withdrawn.result()
        during = len(said)
        said.update(self.crowd(range(during, during + 100)))
        delivered = [number for number, reply in said.items() if reply.startswith(b"250 2.0.0")]
        others = {number: reply for number, reply in said.items() if not reply.startswith(b"250 2.0.0")}
        self.assertEqual({number: reply for number, reply in others.items() if not reply.startswith(b"451 4.3.5")}, {})
        self.assertEqual([number for number in range(during, during + 100) if number in delivered], [])
        self.assertGreaterEqual(len(delivered), 80)
        self.check_delivered(delivered)
        self.assertNotIn("127.0.0.1", self.clients())
        # The operator hears of it, once.
        (alert,) = self.gate.events("backend.not_ready")
        self.assertEqual(alert["level"], "error")
        self.assertEqual(self.gate.crashed(), [])
        self.figures(f"{len(delivered)} delivered under their own address, then {len(others)} times 451 4.3.5")

    def none_offers(self) -> bool:
        """Whether several connections at once find no XCLIENT."""
        with ThreadPoolExecutor(8) as threads:
            return not any(threads.map(self.offers, range(16)))

    def offers(self, _: int) -> bool:
        """Whether a connection finds XCLIENT."""
        with Client(self.postfix.port) as client:
            has_it = b"XCLIENT" in client.hello()
            client.say(b"QUIT")
        return has_it
