"""PROTOCOL section 4: framing and transparency of DATA, through the running gateway."""

from __future__ import annotations

import re
import resource
import select
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from smtpgate.policy.event import TransactionEnded
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import PATIENCE_S, REFERENCE, STALL, Backend, Client, Connection, without_trace

QUEUED = rb"^250 2\.0\.0 queued" + REFERENCE
HEADER = b"Subject: x\r\n\r\n"
LIMITLESS = "errors = 100000\njunk = 100000\nmessages_per_session = 100000"

#: Octets that some reader has taken for the end of data. The first list holds a lone CR or LF, the second none.
ODD = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\rx",
    b"\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\n",
)
EVEN = (b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n")
SMUGGLED = b"MAIL FROM:<s@example.org>\r\nRCPT TO:<v@example.net>\r\nDATA\r\nsmuggled"

#: As a client sends it: dots stuffed, without the terminator.
CORPUS = (
    b"From: a@example.org\r\nSubject: corpus\r\n\r\n..\r\n...\r\n..x\r\n....\r\n\r\n\r\n..\r\nplain line\r\n"
    b"x..\r\n.. \r\n"
    + b"".join(b"line %03d of the reference corpus.\r\n" % n for n in range(6))
    + b"\r\n..\r\n\r\n....x\r\n\r\n"
)
CORPUS += b"f" * (398 - len(CORPUS)) + b"\r\n"


def normal(content: bytes) -> bytes:
    """What a backend's wire must carry for what a client sent between the 354 and its true end of data (A-1, A-2)."""
    text = (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    return (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:]


class Scanner:
    """A filter that notes the content it sees and answers as it is told."""

    def __init__(
        self, body: Callable[[bytes], Finding | None] = lambda seen: None, end: Callable[[], Any] = lambda: None
    ) -> None:
        """
        :param body: is given all content so far
        """
        self.seen: list[bytes] = []
        self._body = body
        self._end = end

    def use(self, **more: Any) -> Use:
        """How a chain uses it."""
        return Use("scanner", self, frozenset({"body", "end"}), frozenset({"mx", "submission"}), **more)

    def transaction(self, transaction: Any) -> Scanner:
        """One object serves all transactions: they come one after the other."""
        self.seen.append(b"")
        return self

    def body(self, chunk: bytes) -> Finding | None:
        """A piece of content."""
        self.seen[-1] += chunk
        return self._body(self.seen[-1])

    def end(self) -> Any:
        """The end of the message."""
        return self._end()


class Sink(Backend):
    """A backend for large messages: it keeps a checksum of the content in place of the content.

    :ivar go: it reads content only once this is set
    :ivar sums: (size, checksum of all octets up to the terminator and with it) of each message
    """

    def __init__(self, **given: Any) -> None:
        self.go = threading.Event()
        self.sums: list[tuple[int, int]] = []
        super().__init__(**given)

    def _data(self, connection: Connection) -> bool:
        connection.say(b"354 go on")
        self.go.wait(PATIENCE_S)
        size, checksum, tail = 0, 0, b""
        head = connection.buffer
        while True:
            size += len(head)
            checksum = zlib.crc32(head, checksum)
            tail = (tail + head)[-5:]
            if tail == b"\r\n.\r\n":
                break
            head = connection.sock.recv(1 << 18)
            if not head:
                raise EOFError
        connection.buffer = b""
        self.sums.append((size, checksum))
        return self._ended(connection, b"")


class DataTests(GatewayCase):
    """P-071 to P-103."""

    def talk(self, script: Callable[[Client, Backend], None], **config: Any) -> Deferred[Any]:
        """A script that gets a client that has said EHLO, and the backend."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend)

        config.setdefault("limits", LIMITLESS)
        return self.drive(run, **config)

    def begin(self, client: Client, params: bytes = b"", reply: bytes = rb"^354 ") -> None:
        """MAIL, RCPT and DATA."""
        client.send(b"MAIL FROM:<a@example.org>" + params + b"\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        self.assertRegex(client.read(), rb"^250 2\.1\.0 ")
        self.assertRegex(client.read(), rb"^250 2\.1\.5 ")
        self.assertRegex(client.read(), reply)

    def alive(self, client: Client) -> None:
        """No reply lies waiting, and the session goes on."""
        self.assertRegex(client.say(b"VRFY x"), rb"^252 ")

    def deliver(self, client: Client, content: bytes, reply: bytes = QUEUED, params: bytes = b"") -> None:
        """One message; content as it is on the wire, with its last CRLF, without the dot."""
        self.begin(client, params)
        client.send(content + b".\r\n")
        self.assertRegex(client.read(), reply)

    def got(self, backend: Backend) -> bytes:
        """The last message on the backend's wire."""
        return without_trace(backend.messages[-1])

    @contextmanager
    def growth(self, octets: int) -> Iterator[None]:
        """The process may not grow by more."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        self.assertLess((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, octets)

    def test_P_071_message_is_unchanged(self) -> Deferred[Any]:
        """The backend gets the octets behind our trace field, one end of data, and its 250 comes first."""
        asked, go = threading.Event(), threading.Event()

        def dot(connection: Connection) -> bytes:
            asked.set()
            go.wait(PATIENCE_S)
            return b"250 2.0.0 queued"

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.begin(client)
                client.send(CORPUS + b".\r\n")
                asked.wait(PATIENCE_S)
                gateway.settle()
                self.assertEqual(select.select([client.sock], [], [], 0)[0], [])
                go.set()
                self.assertRegex(client.read(), QUEUED)
                (message,) = backend.messages
                self.assertTrue(message.startswith(b"Received: from client.example.com ([127.0.0.1])\r\n"))
                self.assertEqual(self.got(backend), CORPUS)
                client.say(b"QUIT")
            self.assertTrue(backend.all_closed())
            self.assertEqual([link.buffer for link in backend.connections if link.buffer], [])
            self.assertEqual(backend.seen(b"^500"), [])

        return self.drive(run, Backend([(b"^DOT", dot)]))

    def test_P_072_backend_delays_or_refuses_data(self) -> Deferred[Any]:
        """354 follows the backend's 354; a refusal of DATA is relayed, and no content is read."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            asked, go = threading.Event(), threading.Event()

            def data(connection: Connection) -> None:
                asked.set()
                go.wait(PATIENCE_S)
                backend._data(connection)

            backend.once.append((b"^DATA", data))
            with Client(gateway.port()) as client:
                client.hello()
                client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
                asked.wait(PATIENCE_S)
                self.assertRegex(client.read(), rb"^250 2\.1\.0 ")
                self.assertRegex(client.read(), rb"^250 2\.1\.5 ")
                gateway.settle()
                self.assertEqual(select.select([client.sock], [], [], 0)[0], [])
                go.set()
                self.assertRegex(client.read(), rb"^354 ")
                self.assertRegex(client.say(HEADER + b"."), QUEUED)
                for reply in (b"451 4.3.0", b"503 5.5.1", b"554 5.7.1"):
                    backend.once.append((b"^DATA", reply + b" no data"))
                    self.begin(client, reply=rb"^" + reply + rb" no data" + REFERENCE)
                    self.alive(client)
                self.deliver(client, HEADER)

        return self.drive(run)

    def test_P_073_refused_data_in_spool_mode(self) -> Deferred[Any]:
        """Spooling: 354 is local, and the backend's refusal of DATA is the answer to the end of data."""

        def script(client: Client, backend: Backend) -> None:
            for reply in (b"451 4.3.0", b"503 5.5.1", b"554 5.7.1"):
                backend.once.append((b"^DATA", reply + b" no data"))
                before = len(backend.seen(b"^DATA"))
                self.begin(client)
                self.assertEqual(len(backend.seen(b"^DATA")), before)
                client.send(HEADER + b".\r\n")
                self.assertRegex(client.read(), rb"^" + reply + rb" no data" + REFERENCE)
                self.alive(client)
            self.deliver(client, HEADER)

        return self.talk(script, listener='body = "spool"')

    def test_P_074_stuffed_lines(self) -> Deferred[Any]:
        """A filter sees the lines, the backend's wire carries them stuffed; spooled or not."""
        content = HEADER + b"..\r\n..x\r\n....\r\nend\r\n"

        async def both() -> None:
            for body in ("auto", "spool"):
                scanner = Scanner()

                def script(client: Client, backend: Backend, scanner: Scanner = scanner) -> None:
                    self.deliver(client, content)
                    self.assertEqual(self.got(backend), content)
                    self.assertEqual(scanner.seen, [HEADER + b".\r\n.x\r\n...\r\nend\r\n"])

                await self.talk(script, uses=[scanner.use()], listener=f'body = "{body}"')

        return Deferred.fromCoroutine(both())

    def test_P_075_every_split(self) -> Deferred[Any]:
        """The reference corpus arrives the same wherever it is cut, and by one octet in each TLS record."""
        self.assertEqual(len(CORPUS), 400)
        wire = CORPUS + b".\r\n"

        def run(gateway: TestGateway, backend: Backend) -> None:
            def pieces(client: Client, cuts: Iterable[int]) -> None:
                self.begin(client)
                last = 0
                for cut in (*cuts, len(wire)):
                    client.send(wire[last:cut])
                    gateway.settle()
                    last = cut
                self.assertRegex(client.read(), QUEUED, cuts)
                self.assertEqual(self.got(backend), CORPUS, cuts)

            with Client(gateway.port()) as client:
                client.hello()
                for cut in range(1, len(wire)):
                    pieces(client, (cut,))
                for place in (match.start() for match in re.finditer(rb"[\r\n.]", wire)):
                    if place:
                        pieces(client, (place, place + 1))
                self.alive(client)
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"STARTTLS")
                client.starttls()
                client.hello()
                pieces(client, range(1, len(wire)))
                self.alive(client)

        return self.drive(run, limits=LIMITLESS, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_076_dot_first(self) -> Deferred[Any]:
        """A stuffed dot right behind the 354 is no end, and is stuffed again."""

        def script(client: Client, backend: Backend) -> None:
            for content in (b"..\r\nx\r\n", b"..foo\r\n", b"..\r\n"):
                self.deliver(client, content)
                self.assertTrue(self.got(backend).endswith(content), content)
                self.assertIn(self.got(backend), (content, b"\r\n" + content))
            self.alive(client)

        async def both() -> None:
            await self.talk(script)
            await self.talk(script, listener='body = "spool"')

        return Deferred.fromCoroutine(both())

    def test_P_077_empty_message(self) -> Deferred[Any]:
        """A dot right behind the 354 is the end of a message without lines."""

        def script(client: Client, backend: Backend) -> None:
            self.deliver(client, b"")
            self.assertEqual(self.got(backend), b"")
            backend.once.append((b"^DOT", b"554 5.6.0 empty"))
            self.deliver(client, b"", rb"^554 5\.6\.0 empty" + REFERENCE)
            self.alive(client)

        async def both() -> None:
            await self.talk(script)
            await self.talk(script, listener='body = "spool"')

        return Deferred.fromCoroutine(both())

    def test_P_078_dot_at_the_end_of_a_line(self) -> Deferred[Any]:
        """A dot that ends a line ends no message: the gateway waits, then times out, and no dot goes on."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for pieces in ((b"hi.\r\n",), (b"hi", b".\r\n")):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.begin(client)
                    client.send(HEADER)
                    for piece in pieces:
                        client.send(piece)
                        gateway.settle()
                    client.send(b"more\r\n.\r\n")
                    self.assertRegex(client.read(), QUEUED)
                    self.assertEqual(self.got(backend), HEADER + b"hi.\r\nmore\r\n")
                    self.begin(client)
                    client.send(HEADER)
                    for piece in pieces:
                        client.send(piece)
                        gateway.settle()
                    self.assertRegex(client.read(), rb"^421 4\.4\.2 ")
                    self.assertTrue(client.is_closed())
            self.assertTrue(backend.all_closed())
            self.assertEqual(len(backend.messages), 2)

        return self.drive(run, timeouts='data_block = "1s"')

    def smuggle(self, variant: bytes) -> bytes:
        """A message with that in the middle, as the client sends it."""
        return HEADER + b"first" + variant + SMUGGLED + b"\r\n"

    def test_P_079_smuggling(self) -> Deferred[Any]:
        """Nothing but CRLF.CRLF ends a message: one reply, one MAIL and one end at the backend."""

        def script(client: Client, backend: Backend) -> None:
            for variant in ODD + EVEN:
                del backend.commands[:]
                content = self.smuggle(variant)
                self.deliver(client, content)
                self.alive(client)
                self.assertEqual(len(backend.seen(b"^MAIL")), 1, variant)
                self.assertEqual(len(backend.seen(b"^DOT")), 1, variant)
                self.assertEqual(self.got(backend), normal(content), variant)

        async def both() -> None:
            await self.talk(script)
            await self.talk(script, listener='body = "spool"')

        return Deferred.fromCoroutine(both())

    def test_P_080_smuggling_rejected(self) -> Deferred[Any]:
        """With bare_newline = reject a lone CR or LF is 550 5.5.2 at the true end; what has none is content."""

        def script(client: Client, backend: Backend) -> None:
            for variant in ODD:
                before = len(backend.messages)
                self.deliver(client, self.smuggle(variant), rb"^550 5\.5\.2 .*" + REFERENCE[1:])
                self.alive(client)
                self.assertEqual(len(backend.messages), before, variant)
            for variant in EVEN:
                content = self.smuggle(variant)
                self.deliver(client, content)
                self.alive(client)
                self.assertEqual(self.got(backend), normal(content), variant)

        def closing(gateway: TestGateway, backend: Backend) -> None:
            for variant in ODD:
                with Client(gateway.port()) as client:
                    client.hello()
                    self.deliver(client, self.smuggle(variant), rb"^521 5\.5\.2 .*" + REFERENCE[1:])
                    self.assertTrue(client.is_closed())
            self.assertEqual(backend.messages, [])

        async def all_three() -> None:
            await self.talk(script, listener='bare_newline = "reject"')
            await self.talk(script, listener='bare_newline = "reject"\nbody = "spool"')
            await self.drive(closing, listener='bare_newline = "reject-521"')

        return Deferred.fromCoroutine(all_three())

    def test_P_081_backend_wire(self) -> Deferred[Any]:
        """On the backend's wire no CR or LF stands alone, and a dot that has become the first of a line is doubled."""

        def script(client: Client, backend: Backend) -> None:
            for variant in ODD + EVEN:
                self.deliver(client, self.smuggle(variant))
                self.assertIsNone(re.search(rb"\r(?!\n)|(?<!\r)\n", self.got(backend)), variant)
                if b"\n.\r\n" == variant:
                    self.assertIn(b"first\r\n..\r\nMAIL", self.got(backend))
                if b"\r\n.\n" == variant:
                    self.assertIn(b"first\r\n\r\nMAIL", self.got(backend))

        return self.talk(script)

    def test_P_082_smuggling_at_every_split(self) -> Deferred[Any]:
        """The same results wherever the stimulus is cut, in clear and under TLS."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for tls in (False, True):
                with Client(gateway.port()) as client:
                    client.hello()
                    if tls:
                        client.say(b"STARTTLS")
                        client.starttls()
                        client.hello()
                    for variant in ODD + EVEN:
                        content = self.smuggle(variant)
                        wire, wanted = content + b".\r\n", normal(content)
                        start = len(HEADER + b"first")
                        around = range(start - 1, start + len(variant) + 2)
                        for cut in (*around, *range(len(wire) - 6, len(wire))):
                            self.begin(client)
                            client.send(wire[:cut])
                            gateway.settle()
                            client.send(wire[cut:])
                            self.assertRegex(client.read(), QUEUED, (variant, cut))
                            self.assertEqual(self.got(backend), wanted, (variant, cut))
                    self.alive(client)

        return self.drive(run, limits=LIMITLESS, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_083_all_lines_end_in_lf(self) -> Deferred[Any]:
        """Lines that end in LF are delivered with CRLF, and that is noted."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.deliver(client, b"Subject: x\n\none\n.two\nthree\r\n")
                self.assertEqual(self.got(backend), b"Subject: x\r\n\r\none\r\n..two\r\nthree\r\n")
            (event,) = gateway.told(TransactionEnded)
            self.assertIn("bare_newline", event.transaction.notes)

        return self.drive(run)

    def test_P_084_lf_only_client(self) -> Deferred[Any]:
        """A client that ends with LF.LF gets no reply but the timeout, and no dot goes on."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.begin(client)
                client.send(b"Subject: x\n\nhi\n.\n")
                self.assertRegex(client.read(), rb"^421 4\.4\.2 ")
                self.assertTrue(client.is_closed())
            self.assertTrue(backend.all_closed())
            self.assertEqual(backend.messages, [])

        return self.drive(run, timeouts='data_block = "1s"')

    def test_P_085_lone_cr(self) -> Deferred[Any]:
        """A lone CR becomes one space or is refused, also where it ended a segment."""
        content = HEADER + b"a\rb\r\nc\r\rd\r\n"

        def run(gateway: TestGateway, reply: bytes) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for cut in range(len(HEADER), len(content)):
                    self.begin(client)
                    client.send(content[:cut])
                    gateway.settle()
                    client.send(content[cut:] + b".\r\n")
                    self.assertRegex(client.read(), reply, cut)
                self.alive(client)

        def normalized(gateway: TestGateway, backend: Backend) -> None:
            run(gateway, QUEUED)
            self.assertEqual({without_trace(message) for message in backend.messages}, {HEADER + b"a b\r\nc  d\r\n"})

        def rejected(gateway: TestGateway, backend: Backend) -> None:
            run(gateway, rb"^550 5\.5\.2 ")
            self.assertEqual(backend.messages, [])

        async def both() -> None:
            await self.drive(normalized, limits=LIMITLESS)
            await self.drive(rejected, limits=LIMITLESS, listener='bare_newline = "reject"')

        return Deferred.fromCoroutine(both())

    def test_P_086_cr_cr_lf(self) -> Deferred[Any]:
        """Of CR CR LF the first CR is stray: a space, then the line end."""

        def script(client: Client, backend: Backend) -> None:
            self.deliver(client, HEADER + b"one\r\r\ntwo\r\r\n\r\n")
            self.assertEqual(self.got(backend), HEADER + b"one \r\ntwo \r\n\r\n")

        return self.talk(script)

    def test_P_087_lines_at_the_limit(self) -> Deferred[Any]:
        """Lines of 998, 999 with a stuffed dot, and 1000 octets are unchanged."""

        def script(client: Client, backend: Backend) -> None:
            content = HEADER + b"x" * 998 + b"\r\n.." + b"y" * 998 + b"\r\n" + b"z" * 1000 + b"\r\n"
            self.deliver(client, content)
            self.assertEqual(self.got(backend), content)

        return self.talk(script)

    def test_P_088_long_lines(self) -> Deferred[Any]:
        """Long lines are unchanged, or past the cap 554 5.6.0 at the end; what follows them is content."""
        tail = b"\r\nQUIT\r\nMAIL FROM:<s@example.org>\r\nRSET\r\n"

        def script(client: Client, backend: Backend) -> None:
            for size in (2001, 16_384, 16_385, 70_000):
                for content in (HEADER + b"x" * size + tail, HEADER + b"." * (size + 1) + tail):
                    self.deliver(client, content)
                    self.alive(client)
                    self.assertEqual(self.got(backend), content)

        def capped(client: Client, backend: Backend) -> None:
            for size in (2001, 16_385, 70_000):
                self.deliver(client, HEADER + b"x" * size + tail, rb"^554 5\.6\.0 .*" + REFERENCE[1:])
                self.alive(client)
            self.assertEqual(backend.messages, [])
            self.deliver(client, HEADER + b"x" * 1990 + tail)

        async def both() -> None:
            await self.talk(script)
            await self.talk(capped, limits=LIMITLESS + "\nline_length = 2000")

        return Deferred.fromCoroutine(both())

    def test_P_089_one_huge_line(self) -> Deferred[Any]:
        """A line of 50 MB costs no memory, and its end of data is found."""

        def script(client: Client, backend: Backend) -> None:
            with self.growth(30 << 20):
                self.begin(client)
                client.send(HEADER)
                for _ in range(50):
                    client.send(b"x" * 1_000_000)
                client.send(b"\r\n.\r\n")
                self.assertRegex(client.read(), rb"^554 5\.6\.0 ")
            self.alive(client)
            self.assertEqual(backend.messages, [])

        return self.talk(script)

    def test_P_090_nul(self) -> Deferred[Any]:
        """NULs in header and body reach filter and backend, and cut off nothing."""
        content = b"Subject: a\0b\r\nX-\0: y\r\n\r\nbo\0dy\r\n\0\r\nend\r\n"
        scanner = Scanner()

        def script(client: Client, backend: Backend) -> None:
            self.deliver(client, content)
            self.assertEqual(self.got(backend), content)
            self.assertEqual(scanner.seen, [content])

        return self.talk(script, uses=[scanner.use()])

    def test_P_091_eight_bit(self) -> Deferred[Any]:
        """BODY=8BITMIME and 8-bit content pass."""

        def script(client: Client, backend: Backend) -> None:
            content = HEADER + bytes(range(128, 256)) + b"\r\n"
            self.deliver(client, content, params=b" BODY=8BITMIME")
            self.assertEqual(self.got(backend), content)
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> BODY=8BITMIME"])

        return self.talk(script)

    def test_P_092_eight_bit_undeclared(self) -> Deferred[Any]:
        """8-bit content without BODY passes to a backend with 8BITMIME."""

        def script(client: Client, backend: Backend) -> None:
            content = HEADER + bytes(range(128, 256)) + b"\r\n"
            self.deliver(client, content)
            self.assertEqual(self.got(backend), content)

        return self.talk(script)

    def test_P_093_backend_without_8bitmime(self) -> Deferred[Any]:
        """8BITMIME is not offered, its parameter is 555 5.5.4, and 8-bit content 554 5.6.3 without a dot."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"8BITMIME", client.hello())
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> BODY=8BITMIME"), rb"^555 5\.5\.4 ")
                for content in (HEADER + b"\xe9\r\n", b"Subject: \xe9\r\n\r\nx\r\n", HEADER + b"x\r\n\xff\r\n" * 9999):
                    self.deliver(client, content, rb"^554 5\.6\.3 .*" + REFERENCE[1:])
                    self.alive(client)
                self.assertEqual(backend.messages, [])
                self.deliver(client, HEADER + b"plain\r\n")

        return self.drive(run, Backend(ehlo=("PIPELINING", "SIZE")))

    def test_P_094_binarymime_with_data(self) -> Deferred[Any]:
        """BODY=BINARYMIME then DATA is 503 5.5.1; where it is not offered MAIL is 555 5.5.4."""

        def offered(client: Client, backend: Backend) -> None:
            self.assertIn(b"BINARYMIME", client.hello())
            self.begin(client, b" BODY=BINARYMIME", rb"^503 5\.5\.1 .*" + REFERENCE[1:])
            self.assertEqual(backend.seen(b"^DATA"), [])
            client.say(b"RSET")
            self.deliver(client, HEADER)

        def absent(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> BODY=BINARYMIME"), rb"^555 5\.5\.4 ")

        async def both() -> None:
            await self.talk(offered, backend=Backend(ehlo=("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")))
            await self.talk(absent)

        return Deferred.fromCoroutine(both())

    def test_P_095_bad_body_values(self) -> Deferred[Any]:
        """Malformed and contradictory BODY parameters are 501 5.5.4."""

        def script(client: Client, backend: Backend) -> None:
            for params in (b"BODY=9BIT", b"BODY=", b"BODY", b"BODY=7BIT BODY=8BITMIME"):
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> " + params), rb"^501 5\.5\.4 ", params)
            self.deliver(client, HEADER)

        return self.talk(script)

    def test_P_096_large_message(self) -> Deferred[Any]:
        """100 MB pass in bounded memory, and a slow backend throttles the client."""
        piece = b"".join(b"%06d " % number + b"x" * 69 + b"\r\n" for number in range(12_500))
        self.assertEqual(len(piece), 975_000)
        count = 103

        def run(gateway: TestGateway, backend: Backend) -> None:
            assert isinstance(backend, Sink)
            with Client(gateway.port()) as client, self.growth(60 << 20):
                client.hello()
                self.begin(client)
                client.send(HEADER)
                client.sock.setblocking(False)
                sent = 0
                for _ in range(100 * count):
                    try:
                        sent += client.sock.send(piece[sent % len(piece) :])
                    except BlockingIOError:
                        gateway.settle()
                        if not select.select([], [client.sock], [], 0)[1]:
                            break
                self.assertLess(sent, 50_000_000)
                backend.go.set()
                client.sock.settimeout(PATIENCE_S)
                client.send(piece[sent % len(piece) :])
                for _ in range(count - sent // len(piece) - 1):
                    client.send(piece)
                client.send(b".\r\n")
                self.assertRegex(client.read(), QUEUED)
                # A slow client and a fast backend.
                self.begin(client)
                client.send(HEADER)
                for _ in range(10):
                    for at in range(0, len(piece), 48_750):
                        client.send(piece[at : at + 48_750])
                        gateway.settle()
                client.send(b".\r\n")
                self.assertRegex(client.read(), QUEUED)
                # The end of data comes while the gateway waits for room at the backend.
                backend.go.clear()
                self.begin(client)
                client.send(HEADER)
                (session,) = gateway.control.reception.sessions.values()
                last = 0
                while not blockingCallFromThread(reactor, lambda: session.front.wire.buffered):
                    last += 1
                    client.send(piece[:39_000])
                    gateway.settle()
                client.send(b".\r\n")
                gateway.settle()
                backend.go.set()
                self.assertRegex(client.read(), QUEUED)
            sizes = [size for size, _ in backend.sums]
            for size, sent in zip(sizes, (count, 10, last / 25), strict=True):
                self.assertLess(abs(size - sent * len(piece) - len(HEADER) - 3 - 250), 150)

        return self.drive(run, Sink(), limits='message_size = "200 MiB"')

    def test_P_097_many_lines(self) -> Deferred[Any]:
        """Two million short lines, plain and stuffed, pass."""

        def script(client: Client, backend: Backend) -> None:
            assert isinstance(backend, Sink)
            for line in (b"a\r\n", b"..\r\n", b"\r\n"):
                self.begin(client)
                client.send(HEADER + line * 2_000_000 + b".\r\n")
                self.assertRegex(client.read(), QUEUED)
                self.assertLess(abs(backend.sums[-1][0] - len(line) * 2_000_000 - len(HEADER) - 3 - 250), 150)

        backend = Sink()
        backend.go.set()
        return self.talk(script, backend=backend)

    def test_P_098_commands_in_content(self) -> Deferred[Any]:
        """Lines that look like commands are content."""

        def script(client: Client, backend: Backend) -> None:
            content = HEADER + (
                b"QUIT\r\nRSET\r\nMAIL FROM:<x@example.org>\r\nBDAT 5 LAST\r\nSTARTTLS\r\nDATA\r\n"
                b"EHLO x\r\nAUTH PLAIN\r\n"
            )
            self.deliver(client, content)
            self.assertEqual(self.got(backend), content)
            self.alive(client)
            self.assertEqual(len(backend.seen(b"^MAIL")), 1)

        return self.talk(script)

    def test_P_099_from_line(self) -> Deferred[Any]:
        """A mailbox From line, as long as it may be, is content and counts in the size."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for start in (b"From a@example.org Mon ", b">From "):
                    content = start + b"x" * 60_000 + b"\r\n" + HEADER + b"hi\r\n"
                    self.deliver(client, content)
                    self.assertEqual(self.got(backend), content)
                    self.assertEqual(gateway.told(TransactionEnded)[-1].transaction.octets, len(content))
                    self.deliver(client, start + b"x" * 100_000 + b"\r\n" + HEADER, rb"^552 5\.3\.4 ")

        return self.drive(run, limits="message_size = 100000")

    def test_P_100_filter_condemns_in_the_middle(self) -> Deferred[Any]:
        """A filter's refusal in mid-stream: the client is drained, then one 550 5.7.1; no dot goes on."""
        scanner = Scanner(body=lambda seen: Finding("virus", "reject", public="Virus") if b"VIRUS" in seen else None)

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.begin(client)
                client.send(HEADER + b"VIRUS\r\n")
                gateway.settle()
                for _ in range(100):
                    client.send(b"RSET\r\nQUIT\r\n" * 1000)
                client.send(b".\r\n")
                self.assertRegex(client.read(), rb"^550 5\.7\.1 Virus" + REFERENCE)
                self.alive(client)
                self.deliver(client, HEADER + b"fine\r\n")
                self.assertEqual(len(backend.messages), 1)
                (lost,) = [link for link in backend.connections if link.recipients]
                self.assertEqual(lost.commands[-1], b"DATA")

        return self.drive(run, uses=[scanner.use()])

    def test_P_101_filter_fails(self) -> Deferred[Any]:
        """A filter that crashes or runs out of time: 451 4.3.0 at the end of data, and no dot goes on."""

        def crash() -> None:
            raise RuntimeError("a bug")

        def crash_early(seen: bytes) -> None:
            raise RuntimeError("a bug")

        async def forever() -> None:
            await Deferred()

        def script(client: Client, backend: Backend) -> None:
            self.deliver(client, HEADER, rb"^451 4\.3\.0 .*" + REFERENCE[1:])
            self.alive(client)
            self.assertEqual(backend.messages, [])

        async def all_three() -> None:
            for scanner in (Scanner(end=crash), Scanner(body=crash_early), Scanner(end=forever)):
                await self.talk(script, uses=[scanner.use(budget_s=0.5)])
                await self.talk(script, uses=[scanner.use(budget_s=0.5)], listener='body = "spool"')

        return Deferred.fromCoroutine(all_three())

    def test_P_102_backend_refuses_in_the_middle(self) -> Deferred[Any]:
        """A backend's reply before the end of data: it is fed no more, the client drained and told once."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for reply, wanted in (
                (b"552 5.3.4", b"552 5.3.4"),
                (b"554 5.6.0", b"554 5.6.0"),
                (b"421 4.3.2", b"451 4.3.2"),
            ):
                said = threading.Event()

                def middle(connection: Connection, reply: bytes = reply, said: threading.Event = said) -> None:
                    connection.say(reply + b" enough")
                    said.set()

                backend.once[:] = [(b"^MIDDLE", middle)]
                with Client(gateway.port()) as client:
                    client.hello()
                    self.begin(client)
                    client.send(HEADER + b"x\r\n" * 1000)
                    said.wait(PATIENCE_S)
                    gateway.settle()
                    client.send(b"RSET\r\n" * 1000 + b".\r\n")
                    self.assertRegex(client.read(), rb"^" + wanted + rb" .*enough" + REFERENCE)
                    self.alive(client)
                    self.assertEqual(backend.messages, [])
                    self.assertTrue(backend.all_closed())
                    self.assertNotIn(b"RSET", backend.unfinished[-1])
                    client.say(b"RSET")
                    self.deliver(client, HEADER)
                    del backend.messages[:]

        return self.drive(run)

    def test_P_103_backend_stops_reading(self) -> Deferred[Any]:
        """A backend that reads no more: the client is throttled, and gets 451 4.4.2 at its end of data."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client, self.growth(60 << 20):
                client.hello()
                self.begin(client)
                client.send(HEADER)
                for _ in range(30):
                    client.send(b"x" * 998 + b"\r\n" + b"y\r\n" * 300_000)
                client.send(b".\r\n")
                self.assertRegex(client.read(), rb"^451 4\.4\.2 .*" + REFERENCE[1:])
                self.alive(client)
            self.assertEqual(backend.messages, [])

        return self.drive(run, Backend([(b"^MIDDLE", STALL)]), timeouts='data_block = "1s"')
