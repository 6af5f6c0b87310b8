"""PROTOCOL section 5: SIZE, through the running gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client, without_trace

QUEUED = rb"^250 2\.0\.0 queued" + REFERENCE
TOO_BIG = rb"^552 5\.3\.4 .*" + REFERENCE[1:]
LIMIT = 5000
LIMITS = f"message_size = {LIMIT}\nerrors = 100000\njunk = 100000\nmessages_per_session = 100000"
HEADER = b"Subject: x\r\n\r\n"


class SizeTests(GatewayCase):
    """P-104 to P-114."""

    def talk(self, script: Callable[[Client, Backend], None], **config: Any) -> Deferred[Any]:
        """A script that gets a client that has said EHLO, and the backend; the limit is `LIMIT`."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend)

        config.setdefault("limits", LIMITS)
        return self.drive(run, **config)

    def begin(self, client: Client, params: bytes = b"") -> None:
        """MAIL, RCPT and DATA."""
        self.assertRegex(client.say(b"MAIL FROM:<a@example.org>" + params), rb"^250 2\.1\.0 ")
        self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
        self.assertRegex(client.say(b"DATA"), rb"^354 ")

    def alive(self, client: Client) -> None:
        """No reply lies waiting, and the session goes on."""
        self.assertRegex(client.say(b"VRFY x"), rb"^252 ")

    def content(self, size: int, filler: bytes = b"x" * 70 + b"\r\n") -> bytes:
        """A message of that size."""
        body = filler * (size // len(filler) + 1)
        rest = size - len(HEADER)
        return (
            HEADER
            + body[: rest - 2 - (body[rest - 3 : rest - 2] == b"\r")]
            + (b"y" if body[rest - 3 : rest - 2] == b"\r" else b"")
            + b"\r\n"
        )

    def test_P_104_advertised(self) -> Deferred[Any]:
        """EHLO says the smallest of the real limits."""

        async def each() -> None:
            for word, wanted in (
                ("SIZE 1000", b"1000"),
                ("SIZE 0", b"5000"),
                ("SIZE", b"5000"),
                ("HELP", b"5000"),
                ("SIZE 9000", b"5000"),
            ):

                def run(gateway: TestGateway, backend: Backend, wanted: bytes = wanted) -> None:
                    with Client(gateway.port()) as client:
                        lines = client.hello().split(b"\r\n")
                        self.assertEqual([line[4:] for line in lines if b"SIZE" in line], [b"SIZE " + wanted])

                await self.drive(run, Backend(ehlo=("PIPELINING", word)), limits=LIMITS)

        return Deferred.fromCoroutine(each())

    def test_P_105_declared_too_big(self) -> Deferred[Any]:
        """A declared size over the limit is 552 5.3.4 at MAIL, and the backend sees nothing."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=5001"), TOO_BIG)
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^503 5\.5\.1 ")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=5000"), rb"^250 2\.1\.0 ")
            self.assertEqual(backend.seen(b"^MAIL"), [])

        async def both() -> None:
            await self.talk(script)
            await self.talk(script, backend=Backend(ehlo=("PIPELINING", "SIZE 5000")), limits="message_size = 9000")

        return Deferred.fromCoroutine(both())

    def test_P_106_grows_too_big(self) -> Deferred[Any]:
        """Past the limit the content is drained to its end, then one 552 5.3.4; nothing of it is a command."""
        wire = HEADER + b"x" * 4900 + b"\r\n" + b"RSET\r\nQUIT\r\n" * 20 + b".\r\n"

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for params in (b"", b" SIZE=10"):
                    for cut in (1, *range(LIMIT - 8, LIMIT + 9), *range(len(wire) - 5, len(wire))):
                        self.begin(client, params)
                        client.send(wire[:cut])
                        gateway.settle()
                        client.send(wire[cut:])
                        self.assertRegex(client.read(), TOO_BIG, cut)
                        self.alive(client)
                self.begin(client)
                client.send(HEADER)
                for _ in range(200):
                    client.send(b"RSET\r\n" * 1000)
                client.send(b".\r\n")
                self.assertRegex(client.read(), TOO_BIG)
                self.assertEqual(backend.messages, [])
                self.assertEqual(backend.seen(b"^DOT|^QUIT"), [b"QUIT"] * len(backend.seen(b"^QUIT")))
                self.assertRegex(client.message(), QUEUED)

        async def both() -> None:
            await self.drive(run, limits=LIMITS)
            await self.drive(run, limits=LIMITS, listener='body = "spool"')

        return Deferred.fromCoroutine(both())

    def test_P_107_zero(self) -> Deferred[Any]:
        """SIZE=0 means unknown, with any number of zeros."""

        def script(client: Client, backend: Backend) -> None:
            for value in (b"0", b"0" * 20):
                self.begin(client, b" SIZE=" + value)
                self.assertRegex(client.say(self.content(4000) + b"."), QUEUED)

        return self.talk(script)

    def test_P_108_malformed(self) -> Deferred[Any]:
        """What is no number of up to 20 digits is 501 5.5.4."""

        def script(client: Client, backend: Backend) -> None:
            for value in (
                b"SIZE=",
                b"SIZE",
                b"SIZE=-1",
                b"SIZE=+5",
                b"SIZE=1e3",
                b"SIZE=0x10",
                b"SIZE=1,000",
                b"SIZE=" + b"1" * 21,
                b"SIZE=" + b"0" * 21,
                b"SIZE=\xd9\xa1",
            ):
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> " + value), rb"^501 5\.5\.4 ", value)
            self.assertEqual(backend.seen(b"^MAIL"), [])
            self.assertRegex(client.message(), QUEUED)

        return self.talk(script)

    def test_P_109_twenty_digits(self) -> Deferred[Any]:
        """The largest number that the grammar has is 552 5.3.4."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=99999999999999999999"), TOO_BIG)
            self.assertRegex(client.message(), QUEUED)

        return self.talk(script)

    def test_P_110_larger_than_declared(self) -> Deferred[Any]:
        """More than was declared, below the limit, is accepted."""

        def script(client: Client, backend: Backend) -> None:
            self.begin(client, b" SIZE=10")
            self.assertRegex(client.say(self.content(4000) + b"."), QUEUED)
            self.assertEqual(len(without_trace(backend.messages[-1])), 4000)

        return self.talk(script)

    def test_P_111_exact_limit(self) -> Deferred[Any]:
        """Exactly the limit is accepted, one octet more refused: CRLF counts, stuffing and terminator do not."""

        def script(client: Client, backend: Backend) -> None:
            for filler in (b"x" * 70 + b"\r\n", b".\r\n", b".x\r\n"):
                for size, wanted in ((LIMIT, QUEUED), (LIMIT + 1, TOO_BIG)):
                    content = self.content(size, filler)
                    self.assertEqual(len(content), size)
                    stuffed = content.replace(b"\r\n.", b"\r\n..")
                    self.begin(client)
                    client.send(stuffed + b".\r\n")
                    self.assertRegex(client.read(), wanted, (filler, size))
                    if size == LIMIT:
                        self.assertEqual(without_trace(backend.messages[-1]), stuffed)
                    self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 ")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                    client.send(b"BDAT %d LAST\r\n" % size + content)
                    self.assertRegex(client.read(), wanted, ("BDAT", filler, size))
                    self.alive(client)

        async def both() -> None:
            await self.talk(script, backend=Backend(ehlo=("PIPELINING", "8BITMIME")))
            await self.talk(script, backend=Backend(ehlo=("PIPELINING", "8BITMIME")), listener='body = "spool"')

        return Deferred.fromCoroutine(both())

    def test_P_112_forwarded_size(self) -> Deferred[Any]:
        """The value that goes on covers what we add; without SIZE at the backend it goes without, the rest kept."""

        def covered(client: Client, backend: Backend) -> None:
            content = self.content(3000)
            self.begin(client, b" SIZE=3000 BODY=8BITMIME")
            self.assertRegex(client.say(content + b"."), QUEUED)
            (line,) = backend.seen(b"^MAIL")
            words = dict(word.split(b"=") for word in line.split()[2:])
            self.assertEqual(set(words), {b"SIZE", b"BODY"})
            self.assertEqual(words[b"BODY"], b"8BITMIME")
            self.assertGreaterEqual(int(words[b"SIZE"]), len(backend.messages[0]))
            self.assertLess(int(words[b"SIZE"]), 4000)

        def omitted(client: Client, backend: Backend) -> None:
            self.begin(client, b" SIZE=3000 BODY=8BITMIME")
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> BODY=8BITMIME"])

        def bare(client: Client, backend: Backend) -> None:
            self.begin(client, b" SIZE=3000")
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> SIZE=3000"])

        async def all_three() -> None:
            await self.talk(covered)
            await self.talk(omitted, backend=Backend(ehlo=("PIPELINING", "8BITMIME")))
            await self.talk(bare, listener="received = false")

        return Deferred.fromCoroutine(all_three())

    def test_P_113_given_twice(self) -> Deferred[Any]:
        """Two different sizes are 501 5.5.4; the same one twice is tolerated."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=1 SIZE=2"), rb"^501 5\.5\.4 ")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=1 SIZE=1"), rb"^250 2\.1\.0 ")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
            self.assertEqual(backend.seen(b"^MAIL")[0].count(b"SIZE"), 1)

        return self.talk(script)

    def test_P_114_backend_has_no_room(self) -> Deferred[Any]:
        """The backend's 452 to MAIL, and its 552 or 452 to one RCPT, come at that point with their class."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                backend.once.append((b"^MAIL", b"452 4.3.1 full"))
                client.say(b"MAIL FROM:<a@example.org>")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^452 4\.3\.1 full" + REFERENCE)
                client.say(b"RSET")
                client.say(b"MAIL FROM:<a@example.org>")
                backend.once += [(b"^RCPT TO:<b1@", b"552 5.2.2 full"), (b"^RCPT TO:<b2@", b"452 4.2.2 full")]
                self.assertRegex(client.say(b"RCPT TO:<b1@example.net>"), rb"^552 5\.2\.2 full" + REFERENCE)
                self.assertRegex(client.say(b"RCPT TO:<b2@example.net>"), rb"^452 4\.2\.2 full" + REFERENCE)
                self.assertRegex(client.say(b"RCPT TO:<b3@example.net>"), rb"^250 2\.1\.5 ")
                self.assertRegex(client.say(b"DATA"), rb"^354 ")
                self.assertRegex(client.say(HEADER + b"."), QUEUED)

        return self.drive(run)
