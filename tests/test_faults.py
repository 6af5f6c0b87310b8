"""The fault matrix: the backend leg broken at each step in each way, and the client gone at each step.

For every cell: what was acknowledged is at the backend whole, nothing that was not acknowledged is there as a whole
message unless its answer was lost after the dot, every fault of the link is 4yz, and the next message goes through.
There is one server, so failover hides nothing. `make faults` prints the table.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred

from smtpgate.net.selfsigned import ensure
from smtpgate.policy.event import DeliveryUnknown, TransactionEnded
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, RESET, STALL, Action, Backend, Client, Connection

CONTENT = b"From: a@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\n" + b"line of the body\r\n" * 200
FAST = "greeting = 1\nbackend = 1\ndata_init = 1\ndata_block = 1\ndata_done = 1\n"


def drip(connection: Connection) -> bytes:
    """A reply that comes by single octets and never ends."""
    for octet in b"250-slow and slower and slower still":
        connection.sock.sendall(bytes([octet]))
        if connection.backend.release.wait(0.15):
            break
    return DROP


FAULTS: dict[str, Action] = {
    "close": DROP,
    "reset": RESET,
    "421": b"421 4.3.2 going down",
    "garbage": b"\x16\x03what is this\r\n",
    "stall": STALL,
    "drip": drip,
}
STEPS = {
    "EHLO": b"^EHLO",
    "STARTTLS": b"^STARTTLS",
    "MAIL": b"^MAIL",
    "RCPT": b"^RCPT",
    "DATA": b"^DATA",
    "body": b"^MIDDLE",
    "dot": b"^DOT",
}


class BackendFaultTests(GatewayCase):
    """The backend leg breaks."""

    timeout = 120
    cells = 0

    def cell(self, gateway: TestGateway, backend: Backend, step: str, fault: Action) -> str:
        """One message into the fault, one after it; what the client heard."""
        backend.met.clear()
        # Each cell has its own: what the ledger knows of one must not make the next be spooled.
        self.cells += 1
        recipient = b"r%d@example.net" % self.cells
        mine = b"<cell-%d@" % self.cells
        content = CONTENT.replace(b"<1@", mine)
        if step == "greeting":
            backend.greetings.append(fault)
        else:
            backend.once.append((STEPS[step], fault))
        with Client(gateway.port()) as client:
            client.hello()
            replies = [client.say(b"MAIL FROM:<a@example.org>"), client.say(b"RCPT TO:<" + recipient + b">")]
            replies.append(client.say(b"DATA"))
            if replies[-1].startswith(b"354"):
                half = len(content) // 2
                client.send(content[:half])
                if step == "body":
                    # The second half waits until the backend has met its fault.
                    self.assertTrue(backend.met.wait(10), (step, fault, backend.commands[-8:], replies))
                replies.append(client.say(content[half:] + b"."))
            backend.once.clear()
            backend.greetings.clear()
            bad = [reply for reply in replies if not reply.startswith((b"2", b"3"))]
            if step == "body" and not bad:
                # The rest and its dot overtook the fault on the wire: then the backend took all of it.
                self.assertEqual(len([m for m in backend.messages if mine in m]), 1)
                return "250"
            self.assertTrue(bad, (step, replies))
            for reply in bad:
                # DATA after a refused RCPT is the client's own fault of order.
                self.assertTrue(reply.startswith((b"4", b"554 5.5.1 No recipient")), (step, reply))
            if step not in ("body", "dot"):
                self.assertEqual([m for m in backend.messages if mine in m], [], step)
            if step == "dot":
                self.assertEqual(len([m for m in backend.messages if mine in m]), 1)
                self.assertIn(gateway.events[-1].transaction.outcome, ("unknown", "deferred"))
            heard = bad[0][:3].decode()
            client.say(b"RSET")
            next_one = CONTENT.replace(b"<1@", b"<next-%d@" % self.cells)
            again = client.message(next_one, recipients=[recipient])
            self.assertTrue(again.startswith(b"250 "), (step, again))
            (got,) = [m for m in backend.messages if b"<next-%d@" % self.cells in m]
            self.assertTrue(got.endswith(next_one))
            # Whatever the backend took it took whole.
            self.assertEqual([m for m in backend.messages if not m.endswith(CONTENT[-400:])], [])
        return heard

    def matrix(self, backend_tls: str, steps: list[str]) -> Deferred[None]:
        """All faults at some steps."""
        backend = Backend(
            ehlo=("PIPELINING", "8BITMIME") + (("STARTTLS",) if backend_tls != "off" else ()),
            certificate=ensure(Path(self.mktemp_folder()), "backend.example.net"),
        )
        self.addCleanup(backend.close)

        def run(gateway: TestGateway) -> None:
            for step in steps:
                heard = {}
                for name, fault in FAULTS.items():
                    heard[name] = self.cell(gateway, backend, step, fault)
                if os.environ.get("SMTPGATE_TABLE"):
                    cells = "  ".join(f"{name}: {code}" for name, code in heard.items())
                    print(f"{step:9} {backend_tls:9} {cells}", file=sys.__stderr__, flush=True)

        return self.run_script(self.config(backend.port, backend_tls=backend_tls, timeouts=FAST), run)

    def mktemp_folder(self) -> str:
        """A folder of the test's own."""
        path = self.mktemp()
        os.makedirs(path)
        return path

    def test_opening(self) -> Deferred[None]:
        """At the greeting and at EHLO."""
        return self.matrix("off", ["greeting", "EHLO"])

    def test_starttls(self) -> Deferred[None]:
        """At STARTTLS, where encryption is required."""
        return self.matrix("required", ["STARTTLS"])

    def test_envelope(self) -> Deferred[None]:
        """At MAIL and at RCPT."""
        return self.matrix("off", ["MAIL", "RCPT"])

    def test_data(self) -> Deferred[None]:
        """At DATA and in the middle of the body."""
        return self.matrix("off", ["DATA", "body"])

    def test_dot(self) -> Deferred[None]:
        """After the dot: the fate is unknown, the client keeps the message."""
        return self.matrix("off", ["dot"])


class ClientGoneTests(GatewayCase):
    """The client leaves."""

    def test_at_each_step(self) -> Deferred[None]:
        """Without the client's true end of data no backend sees one, and every slot is free again."""
        backend = Backend(ehlo=("PIPELINING", "8BITMIME"))
        self.addCleanup(backend.close)
        steps = [
            b"EHLO c\r\n",
            b"MAIL FROM:<a@example.org>\r\n",
            b"RCPT TO:<b@example.net>\r\n",
            b"DATA\r\n",
            CONTENT[:100],
            CONTENT[100:],
            b".",
        ]

        def run(gateway: TestGateway) -> None:
            for by_reset in (False, True):
                for count in range(len(steps) + 1):
                    client = Client(gateway.port())
                    for step in steps[:count]:
                        client.send(step)
                        if step.endswith(b"\r\n") and step[:4] in (b"EHLO", b"MAIL", b"RCPT", b"DATA"):
                            client.read()
                    client.reset() if by_reset else client.close()
            with Client(gateway.port()) as client:
                client.hello()
                self.assertTrue(client.message().startswith(b"250 "))
                client.say(b"QUIT")
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual(gateway.told(DeliveryUnknown), [])
            outcomes = {event.transaction.outcome for event in gateway.told(TransactionEnded)}
            self.assertEqual(outcomes, {"aborted", "delivered"})

        return self.run_script(self.config(backend.port), run)
