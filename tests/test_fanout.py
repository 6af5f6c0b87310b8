"""One message for several backends: each leg broken at each step, and what becomes of every recipient.

The client is a queueing sender: it tries again what was put off until each recipient is delivered or refused. In the
end each has the message once, or was refused and has it not; a second copy is there only where the answer to the end of
data was lost, and then that was told. `make faults` prints the table.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from smtpgate.policy import event as told
from smtpgate.proxy.exchange import BACKENDS
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, RESET, STALL, Action, Backend, Client, Connection, without_trace
from tests.test_faults import show

HEAD = b"From: a@example.org\r\nMessage-ID: <1@example.org>\r\nDate: today\r\nSubject: x\r\n\r\n"
SMALL = HEAD + b"body\r\n"
LARGE = HEAD + b"line of the body\r\n" * 20_000
FAST = "greeting = 1\nbackend = 1\ndata_init = 1\ndata_block = 1\ndata_done = 1\n"

STEPS = {"EHLO": b"^EHLO", "MAIL": b"^MAIL", "RCPT": b"^RCPT", "DATA": b"^DATA", "body": b"^MIDDLE", "dot": b"^DOT"}
FAULTS: dict[str, Action] = {
    "close": DROP,
    "reset": RESET,
    "421": b"421 4.3.2 going down",
    "451": b"451 4.3.0 not now",
    "550": b"550 5.7.1 never",
    "stall": STALL,
}


def then_gone(said: Action) -> Action:
    """A server that refuses in the middle of the content does not take it afterwards."""

    def act(connection: Connection) -> bytes:
        if isinstance(said, bytes) and said[:1] in b"45":
            connection.say(said)
            return DROP
        assert isinstance(said, bytes)
        return said

    return act


class Mailboxes(Backend):
    """A server that knows who got what.

    :ivar delivered: recipients of each message that it has taken for good, or whose answer it did not bring home
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        self.delivered: list[str] = []
        self._local = threading.local()
        super().__init__(*args, **given)

    def _rule(self, line: bytes) -> Action | None:
        action = super()._rule(line)
        if line == b"DOT":
            if action is None or action in (DROP, RESET, STALL) or isinstance(action, bytes) and action[:1] == b"2":
                # Before the reply, so that whoever hears that finds it here.
                self.delivered += self._local.names
        return action

    def _command(self, connection: Connection) -> bool:
        before, known = connection.recipients, len(connection.commands)
        names = connection.__dict__.setdefault("names", [])
        goes_on = super()._command(connection)
        line = connection.commands[known] if len(connection.commands) > known else b""
        if line[:4].upper() == b"MAIL":
            names.clear()
        elif line[:4].upper() == b"RCPT" and connection.recipients > before:
            names.append(re.findall(rb"<(.*)>", line)[0].decode())
        return goes_on

    def _ended(self, connection: Connection, content: bytes) -> bool:
        self._local.names = list(connection.__dict__["names"])
        return super()._ended(connection, content)


class Sender:
    """A mail server with a queue, sending one message.

    :ivar left: recipients that wait; `fate`: what became of the others
    """

    def __init__(self, port: int, recipients: Sequence[str], content: bytes) -> None:
        self.left = list(recipients)
        self.fate: dict[str, str] = {}
        self.heard: list[str] = []
        self._port = port
        self._content = content

    def run(self, tries: int = 10) -> None:
        """Try until nothing is left."""
        for _ in range(tries):
            if not self.left:
                return
            try:
                with Client(self._port) as client:
                    client.hello()
                    self._send(client)
            except (EOFError, OSError):
                self.heard.append("lost")

    def _send(self, client: Client) -> None:
        lines = [b"MAIL FROM:<a@example.org>", *(b"RCPT TO:<%s>" % name.encode() for name in self.left)]
        client.send(b"\r\n".join(lines) + b"\r\n")
        replies = [client.read() for _ in lines]
        taken = []
        for name, reply in zip(list(self.left), replies[1:], strict=True):
            if reply[:1] == b"2":
                taken.append(name)
            elif reply[:1] == b"5":
                self._settle([name], "refused")
        self.heard += [reply[:3].decode() for reply in replies[1:] if reply[:1] != b"2"]
        if not taken:
            return
        reply = client.say(b"DATA")
        if reply[:3] == b"354":
            reply = client.say(self._content + b".")
        self.heard.append(reply[:3].decode())
        if reply[:1] == b"2":
            self._settle(taken, "delivered")
        elif reply[:1] == b"5":
            self._settle(taken, "refused")

    def _settle(self, names: Sequence[str], fate: str) -> None:
        for name in names:
            self.left.remove(name)
            self.fate[name] = fate


class FanoutCase(GatewayCase):
    """A gateway before several servers, each with a domain of its own and two mailboxes there."""

    timeout = 300

    def text(self, backends: Sequence[Backend], split: str = "fanout", more: str = "") -> str:
        """A configuration."""
        domains = ", ".join(f'"d{number}.example"' for number in range(len(backends)))
        parts = "".join(
            f"""
[backends.b{number}]
servers = ["127.0.0.1:{backend.port}"]
tls = "off"
{more}
[[routes]]
recipient = ["d{number}.example"]
backend = "b{number}"
"""
            for number, backend in enumerate(backends)
        )
        return f"""
hostname = "gate.example.com"
local_domains = [{domains}]
[timeouts]
{FAST}
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
split = "{split}"
{parts}
"""

    def names(self, count: int) -> list[str]:
        """Two recipients of each domain, mixed."""
        return [f"{who}@d{number}.example" for who in ("u", "v") for number in range(count)]

    def play(self, backends: Sequence[Backend], script: Callable[[TestGateway], Any], **given: Any) -> Deferred[Any]:
        """A script before these backends."""
        for backend in backends:
            self.addCleanup(backend.close)
        return self.run_script(self.text(backends, **given), script)


class FaultMatrixTests(FanoutCase):
    """Every leg, every step, every fault."""

    def cell(self, count: int, leg: int, step: str, fault: str, heard: dict[str, str]) -> Deferred[Any]:
        """One message while one leg breaks once."""
        backends = [Mailboxes() for _ in range(count)]
        content = LARGE if step == "body" else SMALL

        def script(gateway: TestGateway) -> None:
            # The probes have been there already.
            action = then_gone(FAULTS[fault]) if step == "body" else FAULTS[fault]
            backends[leg].once.append((STEPS[step], action))
            sender = Sender(gateway.port(), self.names(count), content)
            sender.run()
            where = (count, leg, step, fault, sender.heard, sender.fate)
            self.assertEqual(sender.left, [], where)
            self.assertTrue(gateway.idle(), where)
            for backend in backends:
                backend.release.set()
                self.assertTrue(backend.all_closed(), where)
            copies = Counter(name for backend in backends for name in backend.delivered)
            unknown = gateway.told(told.DeliveryUnknown)
            for name, fate in sender.fate.items():
                is_of_leg = name.endswith(f"@d{leg}.example")
                if fate == "refused":
                    self.assertEqual(copies[name], 0, where)
                    self.assertEqual(fault, "550", where)
                elif unknown and is_of_leg:
                    # Its answer was lost: a duplicate can be mended, and was told.
                    self.assertIn(copies[name], (1, 2), where)
                    self.assertTrue(copies[name] == 1 or gateway.told(told.DuplicatePossible), where)
                else:
                    self.assertEqual(copies[name], 1, where)
            for number, backend in enumerate(backends):
                # Nobody got what is another's, and all that was taken is whole.
                self.assertEqual(
                    {name for name in backend.delivered if not name.endswith(f"@d{number}.example")}, set()
                )
                self.assertEqual({without_trace(message) for message in backend.messages} - {content}, set(), where)
            heard[fault] = ",".join(sender.heard)
            self.assertEqual([event for event in gateway.events if getattr(event, "name", "") == "session.crashed"], [])

        return self.play(backends, script)

    @inlineCallbacks
    def matrix(self, count: int) -> Iterator[Deferred[Any]]:
        """All cells for so many backends."""
        for leg in range(count):
            for step in STEPS:
                heard: dict[str, str] = {}
                for fault in FAULTS:
                    if step == "EHLO" and fault in ("451", "550"):
                        continue
                    yield self.cell(count, leg, step, fault, heard)
                show(f"{count} backends, leg {leg + 1} at {step}", heard)

    def test_two_backends(self) -> Deferred[Any]:
        """Either leg broken at each step."""
        return self.matrix(2)

    def test_three_backends(self) -> Deferred[Any]:
        """Each of three."""
        return self.matrix(3)


class FanoutTests(FanoutCase):
    """What a transaction with several backends is."""

    def test_one_message_for_all(self) -> Deferred[Any]:
        """All take it: 250, each server has its own recipients and the same content."""
        backends = [Mailboxes() for _ in range(3)]

        def script(gateway: TestGateway) -> None:
            sender = Sender(gateway.port(), self.names(3), LARGE)
            sender.run()
            self.assertEqual(sender.heard, ["250"])
            for number, backend in enumerate(backends):
                self.assertEqual(sorted(backend.delivered), [f"u@d{number}.example", f"v@d{number}.example"])
                self.assertEqual([without_trace(message) for message in backend.messages], [LARGE])
            gateway.settle()
            ended = gateway.told(told.TransactionEnded)[-1].transaction
            self.assertEqual({one.state for one in ended.recipients}, {"delivered"})
            self.assertEqual(
                [(one.path.domain, one.backend) for one in ended.recipients[:3]],
                [("d0.example", "b0"), ("d1.example", "b1"), ("d2.example", "b2")],
            )

        return self.play(backends, script)

    @inlineCallbacks
    def test_what_the_first_refuses_goes_nowhere(self) -> Iterator[Deferred[Any]]:
        """Its code and text are the reply; the other has no end of data."""
        for fault in (b"550 5.7.1 spam", b"451 4.3.0 later"):
            backends = [Mailboxes([(b"^DOT", fault)]), Mailboxes()]

            def script(gateway: TestGateway, backends: Sequence[Mailboxes] = backends, fault: bytes = fault) -> None:
                sender = Sender(gateway.port(), self.names(2), SMALL)
                sender.run(1)
                self.assertEqual(sender.heard, [fault[:3].decode()])
                self.assertTrue(gateway.idle())
                self.assertTrue(backends[1].all_closed())
                self.assertEqual((backends[1].messages, backends[1].delivered), ([], []))
                self.assertEqual(backends[1].seen(b"^DATA"), [b"DATA"])

            yield self.play(backends, script)

    def test_the_one_that_refuses_most_goes_first(self) -> Deferred[Any]:
        """The second backend refused often: it is asked before the first, which then gets nothing."""
        backends = [Mailboxes(), Mailboxes([(b"^DOT", b"550 5.7.1 spam")])]

        def script(gateway: TestGateway) -> None:
            for _ in range(3):
                Sender(gateway.port(), ["u@d1.example"], SMALL).run(1)
            sender = Sender(gateway.port(), self.names(2), SMALL)
            sender.run(1)
            self.assertEqual(sender.heard, ["550"])
            self.assertEqual(backends[0].messages, [])

        return self.play(backends, script)

    def test_a_later_one_that_always_refuses(self) -> Deferred[Any]:
        """451 while the first has it; at the retry the refused hear their own 550, and the others nothing new."""
        backends = [Mailboxes(), Mailboxes([(b"^DOT", b"550 5.2.1 closed")])]

        def script(gateway: TestGateway) -> None:
            sender = Sender(gateway.port(), self.names(2), SMALL)
            sender.run()
            self.assertEqual(
                sender.fate,
                {"u@d0.example": "delivered", "v@d0.example": "delivered"}
                | dict.fromkeys(("u@d1.example", "v@d1.example"), "refused"),
            )
            self.assertEqual(Counter(backends[0].delivered), Counter(["u@d0.example", "v@d0.example"]))
            self.assertEqual(sender.heard[0], "451")
            gateway.settle()
            partly = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual((partly.outcome, partly.backend), ("deferred", "b1"), "who did not take it")
            self.assertEqual([one.state for one in partly.recipients if one.backend == "b0"], ["delivered"] * 2)

        return self.play(backends, script)

    def test_where_the_other_is_full_452(self) -> Deferred[Any]:
        """A second leg never waits for a slot: its recipients come in a message of their own."""
        backends = [Mailboxes(), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as holder:
                holder.hello()
                holder.say(b"MAIL FROM:<x@example.org>")
                self.assertEqual(holder.say(b"RCPT TO:<u@d1.example>")[:3], b"250")
                sender = Sender(gateway.port(), self.names(2), SMALL)
                sender.run(1)
                self.assertEqual(sender.heard, ["452", "452", "250"])
                self.assertEqual(sorted(backends[0].delivered), ["u@d0.example", "v@d0.example"])
            sender.run()
            self.assertEqual(set(sender.fate.values()), {"delivered"})

        return self.play(backends, script, more="max_connections = 1")

    def test_two_that_want_the_same_two_do_not_wait_for_each_other(self) -> Deferred[Any]:
        """One slot at each backend, taken crosswise."""
        backends = [Mailboxes(), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as one, Client(gateway.port()) as two:
                for client, first in ((one, 0), (two, 1)):
                    client.hello()
                    client.say(b"MAIL FROM:<x@example.org>")
                    self.assertEqual(client.say(b"RCPT TO:<u@d%d.example>" % first)[:3], b"250")
                self.assertEqual(one.say(b"RCPT TO:<u@d1.example>")[:3], b"452")
                self.assertEqual(two.say(b"RCPT TO:<u@d0.example>")[:3], b"452")
                for client in (one, two):
                    client.say(b"DATA")
                    self.assertEqual(client.say(SMALL + b".")[:3], b"250")

        return self.play(backends, script, more="max_connections = 1")

    def test_recipients_that_take_turns(self) -> Deferred[Any]:
        """In one packet, a backend each and back again: each server is asked once, for all of its own, and the replies
        come in the order of the commands."""
        backends = [Mailboxes([(b"^RCPT TO:<u0", b"550 5.1.1 nobody")]), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<x@example.org>")
                names = [b"u%d@d%d.example" % (number, number % 2) for number in range(6)]
                client.send(b"".join(b"RCPT TO:<" + name + b">\r\n" for name in names))
                self.assertEqual([client.read()[:3] for _ in names], [b"550"] + [b"250"] * 5)
                client.say(b"DATA")
                self.assertEqual(client.say(SMALL + b".")[:3], b"250")
            self.assertEqual(sorted(backends[0].delivered), ["u2@d0.example", "u4@d0.example"])
            self.assertEqual(sorted(backends[1].delivered), ["u1@d1.example", "u3@d1.example", "u5@d1.example"])
            for number, backend in enumerate(backends):
                seen = [name.decode() for name in backend.seen(b"^RCPT")]
                expected = [f"RCPT TO:<u{turn}@d{number}.example>" for turn in range(number, 6, 2)]
                self.assertEqual(seen, expected)

        return self.play(backends, script)

    def test_nine_backends(self) -> Deferred[Any]:
        """Eight of them at most in one message, in one packet or in several: the ninth comes in one of its own."""
        backends = [Mailboxes() for _ in range(BACKENDS + 1)]

        def script(gateway: TestGateway) -> None:
            names = [b"u@d%d.example" % number for number in range(BACKENDS + 1)]
            for together in (True, False):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<x@example.org>")
                    if together:
                        client.send(b"".join(b"RCPT TO:<" + name + b">\r\n" for name in names))
                        codes = [client.read()[:3] for _ in names]
                    else:
                        codes = [client.say(b"RCPT TO:<" + name + b">")[:3] for name in names]
                    self.assertEqual(codes, [b"250"] * BACKENDS + [b"452"])
                    # One more for a backend that is there.
                    self.assertEqual(client.say(b"RCPT TO:<v@d3.example>")[:3], b"250")

        return self.play(backends, script)

    def test_told_to_come_apart(self) -> Deferred[Any]:
        """`split = "defer"`: 452 for those of the other backend, who come next."""
        backends = [Mailboxes(), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            sender = Sender(gateway.port(), self.names(2), SMALL)
            sender.run(1)
            self.assertEqual(sender.heard, ["452", "452", "250"])
            sender.run()
            self.assertEqual(sorted(name for backend in backends for name in backend.delivered), sorted(self.names(2)))

        return self.play(backends, script, split="defer")

    def test_the_links_of_all_are_used_again(self) -> Deferred[Any]:
        """Three messages in one session: one connection to each server, besides that of the probe."""
        backends = [Mailboxes(), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(3):
                    client.say(b"MAIL FROM:<a@example.org>")
                    for number in range(2):
                        self.assertEqual(client.say(b"RCPT TO:<u@d%d.example>" % number)[:3], b"250")
                    client.say(b"DATA")
                    self.assertEqual(client.say(SMALL + b".")[:3], b"250")
            self.assertEqual([len(backend.connections) for backend in backends], [2, 2])

        return self.play(backends, script)

    def test_a_client_that_vanishes_before_its_end_of_data(self) -> Deferred[Any]:
        """No server has an end of the message."""
        backends = [Mailboxes(), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            client = Client(gateway.port())
            client.hello()
            client.say(b"MAIL FROM:<a@example.org>")
            for number in range(2):
                client.say(b"RCPT TO:<u@d%d.example>" % number)
            client.say(b"DATA")
            client.send(LARGE)
            client.reset()
            self.assertTrue(gateway.idle())
            self.assertEqual([backend.messages for backend in backends], [[], []])

        return self.play(backends, script)
