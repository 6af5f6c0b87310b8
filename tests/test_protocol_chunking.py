"""PROTOCOL section 6: BDAT and CHUNKING, through the running gateway."""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from smtpgate.policy import event as told
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Action, Backend, Client, without_trace

HELLO = b"EHLO client.example.com\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.net>\r\n"
PLAIN_EHLO = tuple(word for word in EHLO if word != "CHUNKING")
#: Each trap of the conversion to DATA once: dots at a line's start, a terminator, UTF-8, an empty line.
CORPUS = b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nMAIL\r\n\r\n\xe2\x82\xac \xc3\xbc\r\nend.\r\n"


def chunk(octets: bytes, last: bool = False) -> bytes:
    """A BDAT command with its octets."""
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


def unstuffed(content: bytes) -> bytes:
    """What a DATA message says, without its transparency dots."""
    return re.sub(rb"(?m)^\.", b"", content)


def stuffed(content: bytes) -> bytes:
    """The wire form of a DATA message."""
    return re.sub(rb"(?m)^\.", b"..", content)


class ChunkingTests(GatewayCase):
    """P-115 to P-137; each row with a backend that takes BDAT and with one that does not."""

    @inlineCallbacks
    def both(
        self,
        script: Callable[[TestGateway, Backend, bool], Any],
        rules: Sequence[tuple[bytes, Action]] = (),
        once: Sequence[tuple[bytes, Action]] = (),
        **config: str,
    ) -> Iterator[Deferred[Any]]:
        """Run a script against a CHUNKING backend, then against one without."""
        for is_chunking in (True, False):
            backend = Backend(rules, EHLO if is_chunking else PLAIN_EHLO, once=once)
            yield self.drive(lambda gateway, behind, flag=is_chunking: script(gateway, behind, flag), backend, **config)

    def talk(self, script: Callable[[Client, Backend, bool], Any], **config: Any) -> Deferred[Any]:
        """The same for a script of one client that has said EHLO."""

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend, is_chunking)

        return self.both(run, **config)

    def open(self, client: Client, params: bytes = b"") -> None:
        """MAIL and RCPT."""
        self.assertEqual(client.say(b"MAIL FROM:<a@example.org>" + params)[:3], b"250")
        self.assertEqual(client.say(b"RCPT TO:<b@example.net>")[:3], b"250")

    def content(self, message: bytes, is_chunking: bool) -> bytes:
        """What the backend would store."""
        if not is_chunking:
            for line in message.split(b"\r\n"):
                self.assertFalse(line.startswith(b".") and not line.startswith(b".."), message)
        content = without_trace(message)
        return content if is_chunking else unstuffed(content)

    def delivered(self, backend: Backend, is_chunking: bool, content: bytes, count: int = 1) -> None:
        """So many messages, each with this content, came the way that this backend takes them."""
        self.assertEqual([self.content(one, is_chunking) for one in backend.messages], [content] * count)
        self.assertEqual(bool(backend.seen(b"^BDAT")), is_chunking)
        self.assertEqual(bool(backend.seen(b"^DATA$")), not is_chunking)

    def assertReply(self, reply: bytes, code: bytes) -> None:
        """A reply of one line with these codes and, where it is due, the reference at its end."""
        self.assertRegex(reply, b"^" + re.escape(code) + b" ")
        self.assertEqual(reply.count(b"\r\n"), 1)
        if code[:1] in b"45":
            self.assertRegex(reply, REFERENCE)

    def assertWorks(self, client: Client) -> None:
        """A whole transaction on the same connection."""
        self.assertRegex(client.message(b"Subject: last\r\n\r\nlast\r\n"), rb"^250 2\.0\.0 .*" + REFERENCE)

    def test_P_115_one_chunk(self) -> Deferred[Any]:
        """BDAT n LAST: one reply, and it is the backend's final one."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            reply = client.say(chunk(CORPUS, True)[:-2])
            self.assertRegex(reply, rb"^250 2\.6\.0 stored as 77" + REFERENCE)
            self.assertEqual(len(backend.messages), 1)
            self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
            self.delivered(backend, is_chunking, CORPUS)

        return self.talk(script, rules=[(b"^DOT$", b"250 2.6.0 stored as 77")])

    def test_P_115_refused_at_the_end(self) -> Deferred[Any]:
        """The backend's refusal of the last chunk is the one reply."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            client.send(chunk(CORPUS, True))
            self.assertReply(client.read(), b"554 5.7.1")
            self.assertWorks(client)

        return self.talk(script, once=[(b"^DOT$", b"554 5.7.1 spam")])

    def test_P_116_three_chunks(self) -> Deferred[Any]:
        """A 250 for each chunk, the last one's from the backend; the content is their concatenation."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            for piece in (CORPUS[:7], CORPUS[7:30]):
                client.send(chunk(piece))
                self.assertRegex(client.read(), rb"^250 2\.\d\.\d [^\r]*\r\n$")
                self.assertEqual(backend.messages, [])
            client.send(chunk(CORPUS[30:], True))
            self.assertRegex(client.read(), rb"^250 2\.0\.0 queued" + REFERENCE)
            self.delivered(backend, is_chunking, CORPUS)

        return self.talk(script)

    def test_P_117_every_boundary(self) -> Deferred[Any]:
        """A chunk boundary at any octet, also inside CRLF, before a dot and in a character, changes nothing."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            for at in range(len(CORPUS) + 1):
                self.open(client, b" BODY=8BITMIME")
                self.assertEqual(client.codes(chunk(CORPUS[:at]) + chunk(CORPUS[at:], True), 2), [250, 250])
            self.delivered(backend, is_chunking, CORPUS, len(CORPUS) + 1)
            if not is_chunking:
                for message in backend.messages:
                    self.assertEqual(without_trace(message), stuffed(CORPUS))

        return self.talk(script)

    def test_P_118_no_line_end(self) -> Deferred[Any]:
        """A last chunk without CRLF: added before the dot and noted, unchanged where BDAT goes on."""
        content = b"Subject: x\r\n\r\nno end"

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.open(client)
                self.assertEqual(client.codes(chunk(content, True), 1), [250])
                self.delivered(backend, is_chunking, content if is_chunking else content + b"\r\n")
                client.say(b"QUIT")
                self.assertTrue(client.is_closed())
            gateway.settle()
            if not is_chunking:
                (ended,) = gateway.told(told.TransactionEnded)
                self.assertIn("no_final_newline", ended.transaction.notes)

        return self.both(run)

    def test_P_119_empty_last(self) -> Deferred[Any]:
        """BDAT 0 LAST ends a message; alone it is an empty one."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            self.assertEqual(client.codes(chunk(CORPUS) + b"BDAT 0 LAST\r\n", 2), [250, 250])
            self.delivered(backend, is_chunking, CORPUS)
            backend.messages.clear()
            self.open(client)
            self.assertReply(client.say(b"BDAT 0 LAST"), b"250 2.0.0")
            self.delivered(backend, is_chunking, b"")

        return self.talk(script)

    def test_P_120_null_chunks(self) -> Deferred[Any]:
        """BDAT 0 again and again: 250, then junk, then the end."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            codes = client.codes(b"BDAT 0\r\n" * 5, 5)
            self.assertEqual(codes[:3], [250] * 3)
            code = 250
            for _ in range(20):
                code = int(client.say(b"BDAT 0")[:3])
                if code != 250:
                    break
            self.assertTrue(code == 421 or code >= 500, code)
            self.assertEqual(backend.messages, [])

        return self.talk(script, limits="junk = 6\nerrors = 3")

    def test_P_121_terminator_in_chunk(self) -> Deferred[Any]:
        """CRLF.CRLF and a command in a chunk are content."""
        content = b"Subject: x\r\n\r\nhi\r\n.\r\nMAIL FROM:<s@example.org>\r\n"

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            self.assertEqual(client.codes(chunk(content, True) + b"NOOP\r\n", 2), [250, 250])
            self.delivered(backend, is_chunking, content)
            self.assertEqual(len(backend.seen(b"^MAIL")), 1)
            if not is_chunking:
                self.assertIn(b"\r\nhi\r\n..\r\nMAIL FROM:<s@example.org>\r\n", backend.messages[0])

        return self.talk(script)

    def test_P_122_dots_stay(self) -> Deferred[Any]:
        """Lines that open with dots are not unstuffed; converted they are stuffed."""
        content = b"Subject: x\r\n\r\n..x\r\n.\r\n.y\r\n"

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            self.assertEqual(client.codes(chunk(content, True), 1), [250])
            self.delivered(backend, is_chunking, content)
            if not is_chunking:
                self.assertTrue(backend.messages[0].endswith(b"\r\n...x\r\n..\r\n..y\r\n"))

        return self.talk(script)

    def test_P_123_out_of_order(self) -> Deferred[Any]:
        """BDAT without a transaction, without a recipient and before EHLO: one 503, the octets vanish."""
        stray = b"BDAT 12 LAST\r\nNOOP\r\nNOOP\r\n"

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            with Client(gateway.port()) as client:
                for before in (b"", HELLO, MAIL):
                    if before:
                        client.codes(before, 1)
                    client.send(stray)
                    self.assertReply(client.read(), b"503 5.5.1")
                    self.assertEqual(client.say(b"VRFY b")[:3], b"252")
                self.assertEqual(backend.seen(b"^(MAIL|BDAT|DATA)"), [])
                client.say(b"RSET")
                self.assertWorks(client)

        return self.both(run)

    def test_P_124_all_refused(self) -> Deferred[Any]:
        """No recipient was taken: 554 for a pipelined chunk, which is consumed."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            client.send(MAIL + RCPT + chunk(b"NOOP\r\nNOOP\r\n", True) + b"VRFY b\r\n")
            replies = [client.read() for _ in range(4)]
            self.assertEqual([reply[:3] for reply in replies], [b"250", b"550", b"554", b"252"])
            self.assertReply(replies[2], b"554 5.5.1")
            self.assertEqual(backend.seen(b"^(BDAT|DATA)"), [])
            client.say(b"RSET")
            self.assertWorks(client)

        return self.talk(script, once=[(b"^RCPT", b"550 5.1.1 nobody")])

    def test_P_125_second_chunk_refused(self) -> Deferred[Any]:
        """Chunk 2 of 4 fails: its error, then 503 for the two that were on the way; RSET heals."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            head, body = b"Subject: x\r\n\r\n", b"NOOP\r\n" * 500
            client.send(chunk(head) + chunk(body) + chunk(body) + chunk(body, True) + b"RSET\r\n")
            replies = [client.read() for _ in range(5)]
            self.assertEqual(replies[0][:3], b"250")
            self.assertReply(replies[1], b"552 5.3.4")
            self.assertReply(replies[2], b"503 5.5.1")
            self.assertReply(replies[3], b"503 5.5.1")
            self.assertRegex(replies[4], rb"^250 2\.0\.0 ")
            self.assertEqual((backend.seen(b"LAST"), backend.messages), ([], []))
            self.assertWorks(client)

        return self.talk(script, limits="message_size = 2000")

    def test_P_125_refused_by_the_backend(self) -> Deferred[Any]:
        """The backend refuses chunk 2 of 4: relayed, the rest consumed, LAST never sent."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            refused = False

            def second(connection: Any) -> bytes:
                nonlocal refused
                pieces = getattr(connection, "chunks", b"")
                if b"body" in pieces and not refused:
                    refused = True
                    return b"452 4.3.1 disk full"
                return b"250 2.0.0 chunk"

            backend.rules.append((rb"^BDAT \d+$", second))
            with Client(gateway.port()) as client:
                client.hello()
                self.open(client)
                client.send(
                    chunk(b"Subject: x\r\n\r\n")
                    + chunk(b"body NOOP\r\n")
                    + chunk(b"QUIT\r\n")
                    + chunk(b"QUIT\r\n", True)
                    + b"RSET\r\n"
                )
                replies = [client.read() for _ in range(5)]
                self.assertEqual(replies[0][:3], b"250")
                self.assertReply(replies[1], b"452 4.3.1")
                self.assertReply(replies[2], b"503 5.5.1")
                self.assertReply(replies[3], b"503 5.5.1")
                self.assertRegex(replies[4], rb"^250 2\.0\.0 ")
                self.assertEqual((backend.seen(b"LAST"), backend.messages), ([], []))
                self.assertWorks(client)

        return self.drive(run, Backend())

    def test_P_126_behind_last(self) -> Deferred[Any]:
        """BDAT behind an accepted LAST: consumed, 503."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            client.send(chunk(CORPUS, True) + chunk(b"QUIT\r\nQUIT\r\n", True) + b"VRFY b\r\n")
            self.assertEqual(client.read()[:3], b"250")
            self.assertReply(client.read(), b"503 5.5.1")
            self.assertEqual(client.read()[:3], b"252")
            self.delivered(backend, is_chunking, CORPUS)
            self.assertWorks(client)

        return self.talk(script)

    def test_P_127_mixed_with_others(self) -> Deferred[Any]:
        """DATA, MAIL and RCPT between chunks: 503, and the chunks stand."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            self.assertEqual(client.codes(chunk(CORPUS), 1), [250])
            for line in (b"DATA", b"MAIL FROM:<c@example.org>", b"RCPT TO:<d@example.net>"):
                self.assertReply(client.say(line), b"503 5.5.1")
            self.assertEqual(client.codes(chunk(b"more\r\n", True), 1), [250])
            self.delivered(backend, is_chunking, CORPUS + b"more\r\n")
            self.assertEqual((len(backend.seen(b"^MAIL")), len(backend.seen(b"^RCPT"))), (1, 1))

        return self.talk(script)

    def test_P_128_data_then_bdat(self) -> Deferred[Any]:
        """A refused DATA transaction, then one with BDAT, then both forms again."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.assertReply(client.message(CORPUS.replace(b"\r\n.", b"\r\n..")), b"550 5.7.1")
            backend.messages.clear()
            self.open(client)
            self.assertEqual(client.codes(chunk(CORPUS, True), 1), [250])
            self.assertEqual([self.content(one, is_chunking) for one in backend.messages], [CORPUS])
            self.assertWorks(client)
            self.open(client)
            self.assertEqual(client.codes(chunk(CORPUS, True), 1), [250])
            self.assertEqual(len(backend.messages), 3)

        return self.talk(script, once=[(b"^DOT$", b"550 5.7.1 spam")])

    def test_P_129_malformed(self) -> Deferred[Any]:
        """A size that cannot be read: 501 and the end; nothing behind it is parsed."""

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            lines = (b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 10 FIRST", b"BDAT 10 LAST x", b"BDAT " + b"9" * 25)
            for line in lines:
                for has_transaction in (False, True):
                    with Client(gateway.port()) as client:
                        client.hello()
                        if has_transaction:
                            self.open(client)
                        client.send(line + b"\r\nMAIL FROM:<evil@example.org>\r\nNOOP\r\n")
                        self.assertReply(client.read(), b"501 5.5.4")
                        self.assertTrue(client.is_closed(), line)
            self.assertEqual((backend.seen(b"evil|BDAT|DATA"), backend.messages), ([], []))

        return self.both(run)

    def test_P_130_over_the_limit(self) -> Deferred[Any]:
        """Chunks that sum past the limit: 552 once that chunk is consumed."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            piece = b"Subject: x\r\n" + b"NOOP\r\n" * 100
            self.assertEqual(client.codes(chunk(piece), 1), [250])
            client.send(chunk(piece, True) + b"VRFY b\r\n")
            self.assertReply(client.read(), b"552 5.3.4")
            self.assertEqual(client.read()[:3], b"252")
            self.assertEqual((backend.seen(b"LAST"), backend.messages), ([], []))
            client.say(b"RSET")
            self.assertWorks(client)

        return self.talk(script, limits="message_size = 1000")

    def test_P_131_huge_chunk(self) -> Deferred[Any]:
        """A terabyte announced to a failed transaction: discarded up to a cap, then the end."""

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            for before, codes in (
                (MAIL, [250]),
                (MAIL + b"RCPT TO:<no@elsewhere.example>\r\n", [250, 550]),
                (MAIL + RCPT + chunk(b"NOOP\r\n" * 100), [250, 250, 552]),
                (MAIL + RCPT, [250, 250]),
            ):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertEqual(client.codes(before, len(codes)), codes)
                    client.send(b"BDAT 1099511627776\r\n")
                    piece = b"NOOP\r\n" * 100_000
                    for _ in range(240):
                        if select.select([client.sock], [], [], 0)[0]:
                            break
                        client.send(piece)
                    self.assertReply(client.read(), b"421 4.7.0")
                    self.assertTrue(client.is_closed())
            self.assertEqual((backend.seen(b"LAST"), backend.messages), ([], []))

        return self.both(run, limits="message_size = 500")

    def test_P_132_client_gone(self) -> Deferred[Any]:
        """The client leaves inside a chunk, at any offset: neither LAST nor dot."""

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            stream = chunk(CORPUS[:20]) + chunk(CORPUS[20:], True)
            for at in range(1, len(stream)):
                client = Client(gateway.port())
                client.codes(HELLO + MAIL + RCPT, 3)
                client.send(stream[:at])
                if at % 2:
                    client.reset()
                else:
                    client.close()
            while gateway.control.reception.sessions:
                gateway.settle()
            for pool in gateway.control.revision.pools.values():
                pool.close()
            self.assertTrue(backend.all_closed())
            self.assertEqual((backend.seen(b"LAST|DOT"), backend.messages), ([], []))

        return self.both(run)

    def test_P_132_client_stalls(self) -> Deferred[Any]:
        """The client stops inside a chunk: 421 and no message."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            client.send(chunk(CORPUS, True)[:-5])
            self.assertRegex(client.read(), rb"^421 4\.4\.2 ")
            self.assertTrue(client.is_closed())
            self.assertEqual((backend.seen(b"LAST|DOT"), backend.messages), ([], []))

        return self.talk(script, timeouts='data_block = "1s"')

    def test_P_133_two_in_one_segment(self) -> Deferred[Any]:
        """Two transactions and QUIT in one segment, cut anywhere: right replies, two messages, nothing mixed."""
        one, two = b"Subject: one\r\n\r\n.\r\nRSET\r\n", b"Subject: two\r\n\r\nMAIL\r\n"
        stream = MAIL + RCPT + chunk(one, True) + MAIL + RCPT + chunk(two, True) + b"QUIT\r\n"

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            for at in range(len(stream)):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.send(stream[:at])
                    gateway.settle()
                    self.assertEqual(client.codes(stream[at:], 7), [250] * 6 + [221], at)
                    self.assertTrue(client.is_closed())
            got = [self.content(message, is_chunking) for message in backend.messages]
            self.assertEqual(got, [one, two] * len(stream))

        return self.both(run)

    def test_P_134_bare_newlines(self) -> Deferred[Any]:
        """Lone LF and CR in a text chunk: delivered as proper lines, not refused."""

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            content = b"Subject: x\r\n\r\na\nb\rc\n.\nd\r\n"
            for at in (len(content), 15, 16, 17, 18, 19, 20, 21):
                self.open(client)
                self.assertEqual(client.codes(chunk(content[:at]) + chunk(content[at:], True), 2), [250, 250])
            self.delivered(backend, is_chunking, b"Subject: x\r\n\r\na\r\nb c\r\n.\r\nd\r\n", 8)

        return self.talk(script)

    def test_P_135_binary(self) -> Deferred[Any]:
        """Octets that are no lines pass untouched where the backend takes them as they are."""
        content = b"Subject: x\r\nMIME-Version: 1.0\r\n\r\n\x00\xff\r\x0a\n.\r\n\r\r" + bytes(range(256)) * 3

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertIn(b"BINARYMIME\r\n", client.say(b"EHLO client.example.com"))
                for at in (len(content) - 1, 40, 60):
                    self.open(client, b" BODY=BINARYMIME")
                    self.assertEqual(client.codes(chunk(content[:at]) + chunk(content[at:], True), 2), [250, 250])
                self.open(client, b" BODY=BINARYMIME")
                self.assertReply(client.say(b"DATA"), b"503 5.5.1")
            self.assertEqual([without_trace(one) for one in backend.messages], [content] * 3)
            self.assertTrue(all(line.endswith(b" BODY=BINARYMIME") for line in backend.seen(b"^MAIL")))

        return self.drive(run, Backend((), (*EHLO, "BINARYMIME")))

    @inlineCallbacks
    def test_P_135_not_offered(self) -> Iterator[Deferred[Any]]:
        """A backend that lacks either, and a listener with a rule about newlines: the keyword is not there."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"BINARYMIME", client.say(b"EHLO client.example.com"))
                self.assertReply(client.say(b"MAIL FROM:<a@example.org> BODY=BINARYMIME"), b"555 5.5.4")
            self.assertEqual(backend.seen(b"^MAIL"), [])

        yield self.drive(run, Backend((), EHLO))
        yield self.drive(run, Backend((), (*PLAIN_EHLO, "BINARYMIME")))
        yield self.drive(run, Backend((), (*EHLO, "BINARYMIME")), listener='bare_newline = "reject"')

    def test_P_136_many_small_chunks(self) -> Deferred[Any]:
        """Thousands of one-octet chunks: answered one by one, one message."""
        count = 4000

        def script(client: Client, backend: Backend, is_chunking: bool) -> None:
            self.open(client)
            content = (b"Subject: x\r\n\r\n" + b"012345\r\n" * 1000)[: count - 2] + b"\r\n"
            for at in range(0, count, 200):
                pieces = b"".join(chunk(content[i : i + 1]) for i in range(at, at + 200))
                self.assertEqual(client.codes(pieces, 200), [250] * 200)
            self.assertEqual(client.codes(chunk(b"end\r\n", True), 1), [250])
            self.delivered(backend, is_chunking, content + b"end\r\n")

        return self.talk(script)

    def test_P_137_not_offered(self) -> Deferred[Any]:
        """CHUNKING switched off, or HELO: not advertised; refused, the octets are no commands."""

        def off(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"CHUNKING", client.hello())
                self.refused(client)
                self.assertEqual(backend.seen(b"BDAT|DATA"), [])
                client.say(b"RSET")
                self.assertWorks(client)

        return self.both(off, listener="chunking = false")

    def test_P_137_after_helo(self) -> Deferred[Any]:
        """A session opened with HELO has no BDAT."""

        def run(gateway: TestGateway, backend: Backend, is_chunking: bool) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(client.say(b"HELO client.example.com"), b"250 gate.example.com\r\n")
                self.refused(client)
                self.assertEqual(backend.seen(b"BDAT|DATA"), [])
                client.say(b"RSET")
                self.assertWorks(client)

        return self.both(run)

    def refused(self, client: Client) -> None:
        """BDAT with and without a transaction: one refusal, its octets consumed."""
        for has_transaction in (False, True):
            if has_transaction:
                self.open(client)
            client.send(b"BDAT 6\r\nQUIT\r\nVRFY b\r\n")
            self.assertRegex(client.read(), rb"^50[23] 5\.5\.1 .*" + REFERENCE)
            self.assertEqual(client.read()[:3], b"252")
