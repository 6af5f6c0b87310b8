"""Tests of smtpgate.filters.engines.icap and .icap_wire: the language, and the filter in the in-memory gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines import icap_wire as wire
from smtpgate.filters.engines.icap import factory
from smtpgate.filters.engines.servers import BadAnswer
from smtpgate.testing import PLAIN, Gateway, complaints, use
from tests.engine_kit import Network, Peer

URL = "icap://192.0.2.31:1344/avscan"
PLACE = "192.0.2.31:1344"
OK = "250 2.0.0 Ok"
MALWARE = "550 5.7.1 The message holds malware"
FAILED = "451 4.3.0 A check could not be done; try again later"
LARGE = "From: a@example.org\n\n" + "0123456789abcdef\n" * 20_000
INFECTED = b"X-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test-Signature;\r\n"


def head(text: bytes) -> wire.Head:
    """A head out of its lines."""
    return wire.parse_head(text + b"\r\n")


class Icap(Peer):
    """A server that keeps the rules; a test changes what it says.

    :ivar contents: the messages that it was shown
    """

    offer = (
        b'ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nISTag: "one"\r\n'
        b"Preview: 1024\r\nAllow: 204\r\nOptions-TTL: 60\r\n"
    )
    verdict = b'ICAP/1.0 204 No Content\r\nISTag: "one"\r\n\r\n'
    after_preview = b"ICAP/1.0 100 Continue\r\n\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[dict[str, str]] = []
        self.contents: list[bytes] = []
        self.held = b""
        self.state = "head"
        self.content = b""
        self.preview = False

    def heard(self, octets: bytes) -> None:
        self.held += octets
        while self.step():
            pass

    def step(self) -> bool:
        if self.state == "head":
            text, end, rest = self.held.partition(b"\r\n\r\n")
            if not end:
                return False
            self.held = rest
            first, *lines = text.decode().split("\r\n")
            self.requests.append(dict(line.split(": ", 1) for line in lines) | {"": first})
            if first.startswith("OPTIONS "):
                self.say(self.offer + b"\r\n")
                return True
            self.preview = "Preview" in self.requests[-1]
            self.state, self.content = "heads", b""
            return True
        if self.state == "heads":
            size = int(self.requests[-1]["Encapsulated"].rpartition("=")[2])
            if len(self.held) < size:
                return False
            self.heads, self.held = self.held[:size], self.held[size:]
            self.state = "body"
            return True
        line, end, rest = self.held.partition(b"\r\n")
        if not end:
            return False
        size = int(line.partition(b";")[0], 16)
        if len(rest) < size + 2:
            return False
        self.content += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        self.held = rest[size + 2 :]
        if not size:
            self.ended(b"ieof" in line)
        return True

    def ended(self, is_all: bool) -> None:
        """The preview, or all of the content, is here."""
        if self.preview and not is_all:
            self.preview = False
            self.say(self.after_preview)
            if not self.after_preview.startswith(b"ICAP/1.0 100"):
                self.done()
        else:
            self.say(self.answer())
            self.done()

    def done(self) -> None:
        self.contents.append(self.content)
        self.state = "head"

    def answer(self) -> bytes:
        return self.verdict

    def whole(self, body: bytes, status: bytes = b"200 OK", fields: bytes = b"") -> bytes:
        """An answer that gives something back, in two chunks."""
        http = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\n\r\n" % status
        said = b"ICAP/1.0 200 OK\r\n%sEncapsulated: res-hdr=0, res-body=%d\r\n\r\n" % (fields, len(http)) + http
        for piece in (body[:10], body[10:]):
            if piece:
                said += b"%x;ext=1\r\n%s\r\n" % (len(piece), piece)
        return said + b"0\r\nX-Trailer: 1\r\n\r\n"


class WireTests(SynchronousTestCase):
    """`icap_wire`."""

    def test_services(self) -> None:
        """With and without a port, a name, an address of six."""
        self.assertEqual(wire.parse_service("icap://av.example.net/scan?x=1").endpoint, "av.example.net:1344")
        self.assertEqual(wire.parse_service("icap://[2001:db8::1]:11344/scan").endpoint, "[2001:db8::1]:11344")
        for url in (
            "",
            "icap://",
            "icap://host",
            "http://host/x",
            "icap://host:0/x",
            "icap://host:99999/x",
            "icap://h/ü",
            "icap://h/a b",
            "icap://user@h/x",
            "icap://h/x\r\n",
        ):
            self.assertRaises(ValueError, wire.parse_service, url)

    def test_heads(self) -> None:
        """Names in any case, folded values, one name twice."""
        parsed = head(
            b'ICAP/1.0 200 OK\r\nISTag: "a"\r\nX-Violations-Found: 1\r\n\tfile\r\n\tEICAR\r\nA: 1\r\na: 2\r\n'
        )
        self.assertEqual(parsed.status, 200)
        self.assertEqual(parsed.fields, {"istag": '"a"', "x-violations-found": "1\nfile\nEICAR", "a": "1, 2"})
        for bad in (
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"ICAP/1.0 OK\r\n",
            b"ICAP/1.0 999 X\r\n",
            b"ICAP/1.0 200 OK\r\nno colon\r\n",
            b"ICAP/1.0 200 OK\r\n: x\r\n",
            b"ICAP/1.0 200 OK\r\nA B: x\r\n",
            b"ICAP/1.0 20 OK\r\n",
        ):
            self.assertRaises(BadAnswer, wire.parse_head, bad + b"\r\n")

    def test_offers(self) -> None:
        """Limits of ours hold, and no method is no service."""
        offer = wire.parse_offer(
            head(b"ICAP/1.0 200 OK\r\nMethods: respmod\r\nPreview: 99999999\r\nOptions-TTL: 9999999\r\n")
        )
        self.assertEqual((offer.preview, offer.ttl_s), (wire.PREVIEW_OCTETS, wire.TTL_MOST_S))
        self.assertEqual(wire.parse_offer(head(b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\nPreview: 0\r\n")).preview, 0)
        self.assertIsNone(wire.parse_offer(head(b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n")).preview)
        for bad in (
            b"ICAP/1.0 404 X\r\nMethods: RESPMOD\r\n",
            b"ICAP/1.0 200 X\r\n",
            b"ICAP/1.0 200 X\r\nMethods: PUT\r\n",
            b"ICAP/1.0 200 X\r\nMethods: RESPMOD\r\nPreview: -1\r\n",
            b"ICAP/1.0 200 X\r\nMethods: RESPMOD\r\nOptions-TTL: soon\r\n",
        ):
            self.assertRaises(BadAnswer, wire.parse_offer, head(bad))

    def test_encapsulated(self) -> None:
        """Parts in their order, the body last."""
        for text, wanted in (
            ("res-hdr=0, res-body=213", [("res-hdr", 0), ("res-body", 213)]),
            ("null-body=0", [("null-body", 0)]),
            ("req-hdr=0,res-hdr=5,null-body=9", [("req-hdr", 0), ("res-hdr", 5), ("null-body", 9)]),
        ):
            self.assertEqual(wire.parse_encapsulated(wire.Head(200, {"encapsulated": text})), wanted)
        for text in (
            "",
            "res-hdr=0",
            "res-body=5",
            "res-body=0, res-hdr=5",
            "res-hdr=0, res-body=0",
            "res-hdr=x, res-body=9",
            "res-hdr=9, res-hdr=0, res-body=9",
            "res-hdr=0, res-body=999999",
            "other=0, res-body=1",
            "res-body=",
        ):
            self.assertRaises(BadAnswer, wire.parse_encapsulated, wire.Head(200, {"encapsulated": text}))

    def test_sizes(self) -> None:
        """Hexadecimal, with extensions, and nothing else."""
        self.assertEqual([wire.parse_size(line) for line in (b"0\r\n", b"1aF\r\n", b"10; a=b\r\n")], [0, 431, 16])
        for line in (b"\r\n", b"x\r\n", b"-1\r\n", b"0x10\r\n", b"123456789\r\n", b"10\n", b"10 20\r\n", b"+1\r\n"):
            self.assertRaises(BadAnswer, wire.parse_size, line)

    def test_threats(self) -> None:
        """In each form in which they come; what says that nothing was found is nothing."""
        for fields, names in (
            (INFECTED, ("Eicar-Test-Signature",)),
            (b"X-Infection-Found: Type=0; Threat=A; Threat=B;\r\n", ("A", "B")),
            (b"X-Infection-Found: something else\r\n", ("something else",)),
            (b"X-Virus-ID: EICAR test\r\n", ("EICAR test",)),
            (b"X-Virus-ID: no threats\r\n", ()),
            (
                b"X-Violations-Found: 2\r\n\ta.com\r\n\tEICAR\r\n\t1\r\n\t2\r\n\tb\r\n\tOther\r\n\t1\r\n\t2\r\n",
                ("EICAR", "Other"),
            ),
            (b"X-Violations-Found: 1\r\n", ("1",)),
            (b"X-Violations-Found: 0\r\n", ()),
            (INFECTED + b"X-Virus-ID: Eicar-Test-Signature\r\n", ("Eicar-Test-Signature",)),
            (b"ISTag: x\r\n", ()),
        ):
            self.assertEqual(wire.threats(head(b"ICAP/1.0 200 OK\r\n" + fields)), names, fields)

    @given(st.binary(max_size=120) | st.text("ICAP/1.0 25\r\n:;=,-x", max_size=60).map(str.encode))
    def test_nothing_else_is_raised(self, octets: bytes) -> None:
        """Whatever comes."""
        for parse in (
            wire.parse_size,
            lambda raw: wire.threats(wire.parse_head(raw)),
            lambda raw: wire.parse_offer(wire.parse_head(b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nPreview: " + raw)),
            lambda raw: wire.parse_encapsulated(wire.Head(200, {"encapsulated": raw.decode("latin-1")})),
        ):
            try:
                parse(octets)
            except BadAnswer:
                continue


class FilterTests(SynchronousTestCase):
    """`icap` in the in-memory gateway."""

    def gateway(self, make: Callable[[], Peer] | None = Icap, options: str = "", **more: Any) -> None:
        """A gateway with a server behind it."""
        self.gate = Gateway(use(factory, f'servers = "{URL}"\n{options}', **more))
        self.addCleanup(self.gate.close)
        self.network = Network(self.gate)
        self.network.places = {PLACE: make}

    def send(self, content: str = PLAIN, wait: float = 0.0) -> str:
        """A message; the reply."""
        self.client = self.gate.connect("192.0.2.7")
        self.client.helo()
        reply = self.client.message(content)
        if wait:
            self.gate.advance(wait)
            reply = reply or self.client.read()
        return reply

    @property
    def peer(self) -> Icap:
        """The server that was met last."""
        peer = self.network.met[-1]
        assert isinstance(peer, Icap)
        return peer

    def test_a_small_message_is_all_in_the_preview(self) -> None:
        """Asked what it can once; 204 lets pass, and the connection serves the next."""
        self.gateway()
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.send(PLAIN + "more\n"), OK)
        self.assertEqual(len(self.network.met), 1)
        self.assertEqual([one[""].split()[0] for one in self.peer.requests], ["OPTIONS", "RESPMOD", "RESPMOD"])
        self.assertEqual(self.peer.contents[0], PLAIN.replace("\n", "\r\n").encode())
        asked = self.peer.requests[1]
        self.assertEqual((asked["Allow"], asked["Preview"], asked["X-Client-IP"]), ("204", "1024", "192.0.2.7"))
        self.assertTrue(self.peer.heads.startswith(b"GET http://gate.example.com/message.eml HTTP/1.1\r\n"))

    def test_a_large_message_goes_on_where_it_asks_for_it(self) -> None:
        """100 Continue, then the rest; or 204 behind the preview, and no more goes out."""
        self.gateway()
        self.assertEqual(self.send(LARGE), OK)
        self.assertEqual(self.peer.contents, [LARGE.replace("\n", "\r\n").encode()])

        class Brief(Icap):
            after_preview = Icap.verdict

        self.gateway(Brief)
        self.assertEqual(self.send(LARGE), OK)
        self.assertEqual(self.send(), OK)
        self.assertEqual((len(self.network.met), [len(one) for one in self.peer.contents[:1]]), (1, [1024]))

    def test_previews_of_none_and_of_nothing(self) -> None:
        """A server without one gets all at once; one of 0 octets is asked with an empty one."""
        for line, preview in ((b"", None), (b"Preview: 0\r\n", "0")):

            class Other(Icap):
                offer = b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n" + line

            self.gateway(Other)
            self.assertEqual(self.send(LARGE), OK)
            self.assertEqual(self.peer.requests[1].get("Preview"), preview)
            self.assertEqual(self.peer.contents, [LARGE.replace("\n", "\r\n").encode()])

    def test_infections(self) -> None:
        """Named in the head, whatever the status; actions by pattern, the strongest of several."""
        for verdict in (
            b"ICAP/1.0 204 No Content\r\n" + INFECTED + b"\r\n",
            b"ICAP/1.0 200 OK\r\n" + INFECTED + b"Encapsulated: null-body=0\r\n\r\n",
        ):

            class Bad(Icap):
                pass

            Bad.verdict = verdict
            self.gateway(Bad)
            self.assertEqual(self.send(), MALWARE)
            self.assertEqual(
                [(one.reason, one.detail) for one in self.client.findings], [("malware", "Eicar-Test-Signature")]
            )
            self.gateway(Bad, 'actions = { "Eicar*" = "tag" }')
            self.assertEqual(self.send(), OK)
            self.assertEqual([(one.reason, one.action) for one in self.client.findings], [("malware-suspected", "tag")])

    def test_what_is_given_back_is_compared(self) -> None:
        """The message itself passes; another body, a page of the server, less and more of it do not."""
        changed = "550 5.7.1 A content check does not let the message pass as it is"
        for content in (PLAIN, LARGE):
            for make, reply in (
                (lambda peer: peer.whole(peer.content), OK),
                (lambda peer: peer.whole(peer.content[:-1]), changed),
                (lambda peer: peer.whole(peer.content + b"x"), changed),
                (lambda peer: peer.whole(peer.content + b"x" * 500_000), changed),
                (lambda peer: peer.whole(b""), changed),
                (lambda peer: peer.whole(b"<html>Blocked", b"403 Forbidden"), changed),
                (lambda peer: peer.whole(peer.content, b"403 Forbidden"), changed),
                (lambda peer: peer.whole(b"Blocked", fields=INFECTED), MALWARE),
            ):

                class Giving(Icap):
                    def answer(self) -> bytes:
                        return make(self)

                self.gateway(Giving)
                self.assertEqual(self.send(content), reply)
                self.assertEqual(self.gate.failures, [])

    def test_a_message_that_is_given_back_while_it_comes(self) -> None:
        """The server begins its answer before it has all, and waits for the rest."""

        class Passing(Icap):
            offer = b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n"
            given = 0

            def step(self) -> bool:
                if self.state == "body" and not self.given and self.content:
                    http = b"HTTP/1.1 200 OK\r\n\r\n"
                    parts = b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=%d\r\n\r\n" % len(http)
                    self.say(parts + http)
                if self.state == "body" and len(self.content) > self.given:
                    piece = self.content[self.given :]
                    self.given += len(piece)
                    self.say(b"%x\r\n%s\r\n" % (len(piece), piece))
                return super().step()

            def answer(self) -> bytes:
                return b"0\r\n\r\n"

        self.gateway(Passing)
        client = self.gate.connect()
        client.helo()
        client.mail()
        client.rcpt()
        client.data()
        client.content(b"From: a@example.org\r\n\r\n")
        for _ in range(20):
            client.content(b"0123456789abcdef\r\n" * 5000)
        self.assertEqual(client.end(), OK)
        self.assertEqual(self.gate.failures, [])

    def test_an_answer_that_comes_before_all_was_sent(self) -> None:
        """Nobody waits for a server that has spoken to take the rest; its connection ends."""
        for verdict, reply in ((Icap.verdict, OK), (b"ICAP/1.0 204 No Content\r\n" + INFECTED + b"\r\n", MALWARE)):

            class Hasty(Icap):
                offer = b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n"

                def step(self) -> bool:
                    if self.state == "heads":
                        self.say(verdict)
                        self.state = "deaf"
                        self.stall()
                    return self.state != "deaf" and super().step()

            self.gateway(Hasty)
            self.assertEqual(self.send(LARGE), reply)
            self.assertTrue(self.peer.is_lost)

    def test_on_changed(self) -> None:
        """What becomes of a message that would be changed is the operator's to say."""

        class Page(Icap):
            def answer(self) -> bytes:
                return self.whole(b"Blocked", b"403 Forbidden")

        self.gateway(Page, 'on_changed = "tag"')
        self.assertEqual(self.send(), OK)
        self.assertEqual([(one.reason, one.action) for one in self.client.findings], [("icap-changed", "tag")])

    def test_whatever_is_no_answer_is_a_failure(self) -> None:
        """In the offer, in the verdict, in what is given back: never an acceptance."""
        given = Icap().whole(PLAIN.replace("\n", "\r\n").encode())
        verdicts = [
            b"",
            b"ICAP/1.0 500 Server Error\r\n\r\n",
            b"ICAP/1.0 404 Not Found\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"ICAP/1.0 100 Continue\r\n\r\n",
            b"ICAP/1.0 200 OK\r\n\r\n",
            b"garbage\r\n\r\n",
            b"x" * 100_000,
            b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0\r\n\r\n",
            b"ICAP/1.0 204 No Cont",
            given[:-40],
            given.replace(b"0\r\nX-T", b"zz\r\nX-T"),
            given.replace(b"\r\n0\r\nX-T", b"xx0\r\nX-T"),
        ]
        for verdict in verdicts:

            class Bad(Icap):
                def answer(self) -> bytes:
                    self.hang_up()
                    return b""

                def ended(self, is_all: bool) -> None:
                    self.say(verdict)
                    self.hang_up()

            self.gateway(Bad)
            self.assertEqual(self.send(), FAILED, verdict)
            self.assertEqual([one.kind for one in self.gate.failures], ["unavailable"])
        for offer in (
            b"ICAP/1.0 404 Not Found\r\n",
            b"ICAP/1.0 200 OK\r\n",
            b"220 mail.example.org\r\n",
            b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n",
        ):

            class Other(Icap):
                pass

            Other.offer = offer
            self.gateway(Other)
            self.assertEqual(self.send(), FAILED, offer)
        self.gateway(None)
        self.assertEqual(self.send(wait=45), FAILED)
        self.gateway()
        self.network.places = {}
        self.assertEqual(self.send(), FAILED)

    def test_a_connection_that_was_closed_meanwhile_is_no_failure(self) -> None:
        """Noticed or not, a new one is opened; one that breaks after its answer began is a failure."""

        class Once(Icap):
            def done(self) -> None:
                super().done()
                self.verdict = b""

            def ended(self, is_all: bool) -> None:
                if self.contents:
                    self.hang_up()
                else:
                    super().ended(is_all)

        self.gateway(Once)
        for number in range(3):
            self.assertEqual(self.send(PLAIN + f"{number}\n"), OK)
        self.assertEqual(len(self.network.met), 3)
        self.gateway()
        self.send()
        self.network.met[0].hang_up()
        self.gate.advance(0)
        self.assertEqual(self.send(PLAIN + "more\n"), OK)
        self.assertEqual(len(self.network.met), 2)

    def test_connections_end_where_the_server_says_so(self) -> None:
        """Connection: close."""

        class Closing(Icap):
            verdict = b"ICAP/1.0 204 No Content\r\nConnection: close\r\n\r\n"

        self.gateway(Closing)
        self.send()
        self.assertTrue(self.peer.is_lost)

    def test_the_tag_is_part_of_the_memory(self) -> None:
        """The same message is shown once while the rules of the server are the same, and again when they are not."""
        self.gateway()
        self.send(PLAIN + "first\n")
        self.send()
        self.send()
        self.assertEqual(len(self.peer.contents), 2)
        self.peer.offer = self.peer.offer.replace(b"one", b"two")
        self.peer.verdict = self.peer.verdict.replace(b"one", b"two")
        self.send(PLAIN + "more\n")
        self.send(PLAIN + "again\n")
        self.send()
        self.assertEqual(len(self.peer.contents), 5)
        self.assertEqual(sum(one[""].startswith("OPTIONS") for one in self.peer.requests), 2)

    def test_what_it_can_is_asked_anew_when_that_expires(self) -> None:
        """Options-TTL."""
        self.gateway()
        for number in range(3):
            self.send(PLAIN + f"{number}\n")
            self.gate.advance(61)
        self.assertEqual(sum(one[""].startswith("OPTIONS") for one in self.peer.requests), 3)

    def test_reqmod(self) -> None:
        """Shown as something that is sent to a web server."""

        class Request(Icap):
            def answer(self) -> bytes:
                http = b"POST /message.eml HTTP/1.1\r\n\r\n"
                said = b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=%d\r\n\r\n" % len(http) + http
                return said + b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.content), self.content)

        self.gateway(Request, 'method = "REQMOD"')
        self.assertEqual(self.send(), OK)
        self.assertTrue(self.peer.heads.startswith(b"POST http://gate.example.com/message.eml HTTP/1.1\r\n"))
        self.assertTrue(self.peer.requests[1][""].startswith("REQMOD "))

    def test_a_large_message_waits(self) -> None:
        """As shipped; the server is not asked."""
        self.gateway(options='max_octets = "1 kB"')
        self.assertEqual(self.send(LARGE), "451 4.7.1 The message is too large to be checked")
        self.assertEqual(self.network.met, [])

    def test_closing_ends_what_was_kept(self) -> None:
        """With the revision of the configuration."""
        self.gateway()
        self.send()
        self.assertFalse(self.peer.is_lost)
        self.gate.close()
        self.assertTrue(self.peer.is_lost)

    def test_options(self) -> None:
        """Addresses of services."""
        self.assertEqual(complaints(factory, f'servers = "{URL}"\nmethod = "REQMOD"'), [])
        for bad in (
            'servers = "192.0.2.1:1344"',
            "servers = []",
            "servers = [1]",
            f'servers = "{URL}"\nmethod = "PUT"',
        ):
            self.assertEqual(len(complaints(factory, bad)), 1, bad)
