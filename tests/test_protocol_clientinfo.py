"""PROTOCOL section 16: XCLIENT, XFORWARD and the PROXY protocol, through the running gateway."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from smtpgate.config.loader import loads
from smtpgate.policy.event import SessionEnded, SessionOpened, TransactionEnded
from smtpgate.smtp.proxyline import SIGNATURE, crc32c
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Backend, Client, Connection

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
TRUSTED = 'xclient_from = ["127.0.0.0/8"]'
PROXIED = 'proxy_protocol_from = ["127.0.0.0/8"]'
V1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n"


def version2(
    octets: bytes = b"",
    version: int = 0x21,
    family: int = 0x11,
    length: int | None = None,
    signature: bytes = SIGNATURE,
) -> bytes:
    """A version 2 header."""
    return signature + struct.pack("!BBH", version, family, len(octets) if length is None else length) + octets


def block(source: str = "198.51.100.7", destination: str = "203.0.113.1") -> bytes:
    """The addresses of a version 2 header, ports 4711 and 25."""
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + struct.pack("!HH", 4711, 25)


def tlv(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def summed(octets: bytes, error: int = 0) -> bytes:
    """A version 2 header with a CRC32C over it."""
    header = version2(octets + tlv(3, bytes(4)))
    return header[:-4] + struct.pack("!I", crc32c(header) ^ error)


class ClientInfoCase(GatewayCase):
    """A gateway that tells its backend who the client is."""

    def behind(
        self, script: Callable[[TestGateway, Backend], None], backend: Backend, listener: str, word: str
    ) -> Deferred:
        """A script with a backend that is told by `word`."""
        self.addCleanup(backend.close)
        text = self.config(backend.port, listener=listener, backend=f'client_info = "{word}"')
        return self.run_script(text, lambda gateway: script(gateway, backend))


class XclientTests(ClientInfoCase):
    """P-251 to P-259."""

    def facts(self, gateway: TestGateway) -> tuple[str, str, str]:
        """Address, name and user of the client of the last transaction."""
        session = gateway.told(TransactionEnded)[-1].transaction.session
        return session.client_ip, session.client_name, session.user

    def test_P_251_untrusted(self) -> Deferred:
        """From an address that is not trusted: not offered, 550 5.7.0, and nothing changes."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.commands.clear()
            with Client(gateway.port()) as client:
                self.assertNotRegex(client.hello(), rb"XCLIENT|XFORWARD")
                for line in (b"XCLIENT ADDR=198.51.100.7", b"XFORWARD ADDR=198.51.100.7 NAME=x"):
                    self.assertRegex(client.say(line), rb"\A(550 5\.7\.0|50[02] 5\.5\.1) ")
                # The goodbye of the probe may come late.
                self.assertEqual(backend.seen(b"^(?!QUIT)"), [])
                self.assertRegex(client.reply_at("DOT"), rb"^250 ")
            self.assertEqual(self.facts(gateway)[0], "127.0.0.1")
            self.assertEqual(backend.seen(b"^XCLIENT|^XFORWARD"), [])
            self.assertIn(b"[127.0.0.1]", backend.messages[0])

        return self.drive(run, listener='xclient_from = ["192.0.2.0/24"]')

    def test_P_252_trusted(self) -> Deferred:
        """A trusted XCLIENT: 220, back before EHLO, and the new address is the client."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            line = b"XCLIENT NAME=h.example ADDR=198.51.100.7 PORT=1 PROTO=ESMTP HELO=h"
            with Client(gateway.port()) as client:
                self.assertRegex(client.hello(), rb"\r\n250[- ]XCLIENT [^\r\n]*ADDR")
                self.assertRegex(client.say(line), rb"\A220 ")
                self.assertRegex(client.say(MAIL), rb"\A503 5\.5\.1 ")
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(self.facts(gateway), ("198.51.100.7", "h.example", ""))
                self.assertRegex(backend.messages[0], rb"\AReceived: from [^\r\n]*h\.example \[198\.51\.100\.7\]")
                with Client(gateway.port()) as other:
                    other.hello()
                    self.assertRegex(other.say(line), rb"\A421 4\.7\.0 ")
                    self.assertTrue(other.is_closed())
            self.assertTrue(gateway.idle())
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(line), rb"\A220 ")

        return self.drive(run, listener=TRUSTED, limits="connections_per_client = 1")

    def test_P_253_in_transaction(self) -> Deferred:
        """XCLIENT and XFORWARD inside a transaction are 503 5.5.1, and the transaction goes on."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(MAIL)
                for line in (b"XCLIENT ADDR=198.51.100.7", b"XFORWARD ADDR=198.51.100.7"):
                    self.assertRegex(client.say(line), rb"\A503 5\.5\.1 ")
                    self.assertRegex(client.say(RCPT), rb"\A250 ")
                self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                self.assertRegex(client.say(b"x\r\n."), rb"\A250 ")
            self.assertEqual(self.facts(gateway)[0], "127.0.0.1")

        return self.drive(run, listener=TRUSTED)

    def test_P_254_bad_attributes(self) -> Deferred:
        """What is wrong in an attribute is 501 5.5.4, and nothing changes."""
        words = [
            b"FOO=x",
            b"NAME",
            b"NAME=+ZZ",
            b"NAME=x+0",
            b"",
            b"NAME=" + b"x" * 256,
            b"ADDR=999.1.1.1",
            b"ADDR=[198.51.100.7]",
            b"ADDR=198.51.100.7 FOO=x",
            b"ADDR=198.51.100.7 NAME",
            b"PORT=70000",
            b"PORT=x",
            b"PROTO=HTTP",
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for word in words:
                    for verb in (b"XCLIENT ", b"XFORWARD "):
                        self.assertRegex(client.say((verb + word).rstrip()), rb"\A501 5\.5\.4 ", (verb, word))
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
            self.assertEqual(self.facts(gateway), ("127.0.0.1", "", ""))

        return self.drive(run, listener=TRUSTED, limits="errors = 100")

    def test_P_255_injection(self) -> Deferred:
        """Line ends and blanks in an attribute are refused or replaced; never raw on the backend's wire."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for value in (b"x+0D+0AMAIL+20FROM:<e@example.org>", b"x+0Ay", b"x+0Dy", b"x+20y", b"x+00", b"x+1B[31m"):
                for name in (b"NAME", b"HELO", b"LOGIN"):
                    with Client(gateway.port()) as client:
                        client.hello()
                        reply = client.say(b"XCLIENT ADDR=198.51.100.7 " + name + b"=" + value)
                        self.assertRegex(reply, rb"\A(501 5\.5\.4|220) ", (name, value))
                        client.hello()
                        client.reply_at("RCPT")
            with Client(gateway.port()) as client:
                client.say(b"EHLO a=b+c d")
                self.assertRegex(client.reply_at("RCPT"), rb"^250 ")
            self.assertEqual(backend.seen(b"e@example.org>$"), [])
            for line in backend.commands:
                self.assertRegex(line, rb"\A[\x21-\x7e]+( [\x21-\x7e]+)*\Z")
                if line.startswith(b"XCLIENT"):
                    self.assertRegex(line, rb"\AXCLIENT( [A-Z]+=([\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+)+\Z")

        return self.behind(run, Backend(ehlo=(*EHLO, "XCLIENT NAME ADDR PROTO HELO LOGIN")), TRUSTED, "xclient")

    def test_P_256_forms(self) -> Deferred:
        """IPv6 addresses and unknown values are understood in any case; ours go out with IPV6: and no brackets."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for value, address, out in (
                (b"IPV6:2001:db8::1", "2001:db8::1", b"IPV6:2001:db8::1"),
                (b"ipv6:2001:db8::2", "2001:db8::2", b"IPV6:2001:db8::2"),
                (b"198.51.100.7", "198.51.100.7", b"198.51.100.7"),
            ):
                for unknown in (b"[UNAVAILABLE]", b"[unavailable]", b"[TEMPUNAVAIL]", b"[TempUnavail]"):
                    with Client(gateway.port()) as client:
                        client.hello()
                        self.assertRegex(client.say(b"XCLIENT NAME=" + unknown + b" ADDR=" + value), rb"\A220 ")
                        client.hello()
                        self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                    self.assertEqual(self.facts(gateway), (address, "", ""))
                    (line,) = backend.seen(b"^XCLIENT")[-1:]
                    self.assertIn(b" ADDR=" + out, line)
                    self.assertIn(b" NAME=[UNAVAILABLE]", line)
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"XCLIENT ADDR=[UNAVAILABLE]"), rb"\A220 ")

        return self.behind(run, Backend(ehlo=(*EHLO, "XCLIENT NAME ADDR")), TRUSTED, "xclient")

    def test_P_257_login(self) -> Deferred:
        """LOGIN counts as authenticated; it survives RSET and a second XCLIENT that does not name it."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(MAIL), rb"\A530 5\.7\.0 ")
                self.assertRegex(client.say(b"XCLIENT ADDR=198.51.100.7 LOGIN=user"), rb"\A220 ")
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                client.say(b"RSET")
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertEqual(self.facts(gateway), ("198.51.100.7", "", "user"))
                self.assertRegex(client.say(b"XCLIENT NAME=h.example"), rb"\A220 ")
                client.hello()
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertEqual(self.facts(gateway), ("198.51.100.7", "h.example", "user"))
                self.assertRegex(client.say(b"XCLIENT LOGIN=[UNAVAILABLE]"), rb"\A220 ")
                client.hello()
                self.assertRegex(client.say(MAIL), rb"\A530 5\.7\.0 ")

        return self.drive(
            run,
            Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            role="submission",
            listener=TRUSTED + '\nauth = "relay"\nauth_requires_tls = false',
        )

    def test_P_258_to_backend(self) -> Deferred:
        """XCLIENT goes to the backend once, with what it listed; without it, or refused, it is 451 4.3.5."""
        refused = rb"\A451 4\.3\.5 [^\r\n]*" + REFERENCE

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                client.send(V1)
                client.read()
                client.say(b"EHLO name=x.example")
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                commands = backend.connections[-1].commands
                self.assertEqual(commands[0][:5], b"EHLO ")
                self.assertEqual(commands[2][:5], b"EHLO ")
                self.assertEqual(len([line for line in commands if line.startswith(b"XCLIENT")]), 1)
                self.assertRegex(commands[1], rb"\AXCLIENT ")
                self.assertEqual(
                    set(commands[1].split()[1:]),
                    {b"NAME=[UNAVAILABLE]", b"ADDR=198.51.100.7", b"PROTO=ESMTP", b"HELO=name+3Dx.example"},
                )
                self.assertLessEqual(len(commands[1]) + 2, 512)
            self.assertEqual(len(backend.messages), 2)
            self.assertTrue(backend.all_closed())
            backend.rules = [(b"^XCLIENT", b"550 5.7.1 not you")]
            with Client(gateway.port(), greet=False) as client:
                client.send(V1)
                client.read()
                client.hello()
                self.assertRegex(client.reply_at("RCPT"), refused)
                backend.rules = []
                backend.ehlo = list(EHLO)
                self.assertRegex(client.reply_at("RCPT"), refused)
                backend.ehlo.append("XCLIENT NAME ADDR")
                self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertEqual(backend.seen(b"^XCLIENT")[-1], b"XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.7")
            self.assertEqual(len(backend.messages), 3)

        return self.behind(run, Backend(ehlo=(*EHLO, "XCLIENT NAME ADDR PROTO HELO")), PROXIED, "xclient")

    def test_P_259_xforward(self) -> Deferred:
        """XFORWARD goes before each MAIL, never inside a transaction, and tells of its own client."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for address in (b"198.51.100.7", b"198.51.100.8"):
                with Client(gateway.port(), greet=False) as client:
                    client.send(V1.replace(b"198.51.100.7", address))
                    client.read()
                    client.hello()
                    for _ in range(2):
                        self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                    client.reply_at("RCPT")
                    self.assertRegex(client.say(b"RCPT TO:<c@example.net>"), rb"\A250 ")
                verbs = [
                    line[:4] for line in backend.connections[-1].commands if line[:4] in (b"XFOR", b"MAIL", b"RCPT")
                ]
                self.assertEqual(verbs, [b"XFOR", b"MAIL", b"RCPT"] * 3 + [b"RCPT"])
                for line in backend.connections[-1].commands:
                    if line.startswith(b"XFORWARD"):
                        self.assertEqual(line.split()[0], b"XFORWARD")
                        self.assertIn(b"ADDR=" + address, line.split())
                        self.assertEqual(
                            {word.split(b"=")[0] for word in line.split()[1:]},
                            {b"NAME", b"ADDR", b"PROTO", b"HELO", b"SOURCE"},
                        )

        return self.behind(run, Backend(ehlo=(*EHLO, "XFORWARD NAME ADDR PROTO HELO SOURCE")), PROXIED, "xforward")


class ProxyTests(ClientInfoCase):
    """P-260 to P-270."""

    def origin(self, gateway: TestGateway, *pieces: bytes) -> tuple[str, int]:
        """Who the client is after such a header; there is no greeting before its end."""
        with Client(gateway.port(), greet=False) as client:
            for piece in pieces[:-1]:
                client.send(piece)
                gateway.settle()
            client.sock.setblocking(False)
            self.assertRaises(BlockingIOError, client.sock.recv, 1)
            client.sock.settimeout(15)
            client.send(pieces[-1])
            self.assertRegex(client.read(), rb"\A220 gate\.example\.com ESMTP\r\n", pieces)
            session = gateway.told(SessionOpened)[-1].session
            self.assertRegex(client.say(b"QUIT"), rb"\A221 ")
            return session.client_ip, session.client_port

    def all_closed(self, gateway: TestGateway, headers: Sequence[bytes]) -> None:
        """Each is closed without a word."""
        for header in headers:
            with Client(gateway.port(), greet=False) as client:
                client.send(header)
                self.assertTrue(client.is_closed(), header)
                self.assertEqual(client.buffer, b"", header)
        self.assertEqual(gateway.told(SessionOpened), [])
        self.assertTrue(gateway.idle())

    def all_taken(self, gateway: TestGateway, headers: Sequence[tuple[bytes, str]]) -> None:
        """Each names that client; "" for the real one."""
        for header, address in headers:
            self.assertEqual(self.origin(gateway, header)[0], address or "127.0.0.1", header)

    def test_P_260_version1(self) -> Deferred:
        """The address of a version 1 header is the client, wherever the header is cut."""
        six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for header, address in ((V1, "198.51.100.7"), (six, "2001:db8::7")):
                for cut in range(1, len(header)):
                    self.assertEqual(self.origin(gateway, header[:cut], header[cut:]), (address, 4711), cut)

        return self.drive(run, listener=PROXIED)

    def test_P_261_unknown(self) -> Deferred:
        """PROXY UNKNOWN, whatever stands behind it: the real peer counts."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_taken(
                gateway,
                [
                    (b"PROXY UNKNOWN\r\n", ""),
                    (b"PROXY UNKNOWN junk junk\r\n", ""),
                    (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", ""),
                ],
            )

        return self.drive(run, listener=PROXIED)

    def test_P_262_bad_version1(self) -> Deferred:
        """A malformed version 1 header: closed without greeting or reply."""
        headers = [
            V1.lower(),
            V1.replace(b"TCP4 ", b"TCP4  "),
            V1.replace(b"4711", b"04711"),
            V1.replace(b"4711", b"65536"),
            V1.replace(b"\r\n", b"\n"),
            V1.replace(b" 25", b""),
            V1.replace(b"198.51.100.7", b"2001:db8::1"),
            V1.replace(b" 25", b" 25 9"),
            b"PROXY " + b"x" * 102,
            V1.replace(b"PROXY", b"proxy"),
            V1.replace(b"TCP4", b"UDP4"),
            V1.replace(b"198.51.100.7", b"198.51.100.07"),
            V1.replace(b"4711", b"-1"),
            b"PROXY\r\n",
            b"PROXY TCP4\r\n",
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(gateway, headers)

        return self.drive(run, listener=PROXIED)

    def test_P_263_no_header(self) -> Deferred:
        """Nothing, or half of a header: closed after the time for it, 3 s at least by default. EHLO: at once."""
        self.assertGreaterEqual(loads(self.config(25), "/nowhere/gate.toml").timeouts.proxy_header_s, 3)

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(gateway, [b"", V1[:20], b"EHLO c.example\r\n"])

        return self.drive(run, listener=PROXIED, timeouts="proxy_header = 1")

    def test_P_263_at_once(self) -> Deferred:
        """EHLO in place of a header is closed though the time for the header is long."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(gateway, [b"EHLO c.example\r\n", b"E", b"QUIT\r\n"])

        return self.drive(run, listener=PROXIED, timeouts="proxy_header = 300")

    def test_P_264_untrusted(self) -> Deferred:
        """A header from an address that is not trusted: closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(gateway, [V1, version2(block())])

        return self.drive(run, listener='proxy_protocol_from = ["192.0.2.0/24"]')

    def test_P_264_other_listener(self) -> Deferred:
        """A header on a listener without PROXY protocol is 500 and not honoured."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertRegex(client.say(V1.rstrip()), rb"\A500 5\.5\.[12] ")
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.told(SessionEnded)[-1].session.client_ip, "127.0.0.1")

        return self.drive(run)

    def test_P_265_version2(self) -> Deferred:
        """Version 2: the carried address for INET and INET6; the real peer for UNIX, UNSPEC and LOCAL."""
        six = block("2001:db8::7", "2001:db8::1")
        headers = [
            (version2(block()), "198.51.100.7"),
            (version2(six, family=0x21), "2001:db8::7"),
            (version2(bytes(216), family=0x31), ""),
            (version2(b"", family=0x00), ""),
            (version2(bytes(30), family=0x00), ""),
            (version2(b"", version=0x20, family=0), ""),
            (version2(block(), version=0x20), ""),
            (version2(bytes(7), version=0x20, family=0), ""),
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_taken(gateway, headers)
            for cut in range(1, len(headers[0][0])):
                self.assertEqual(self.origin(gateway, headers[0][0][:cut], headers[0][0][cut:]), ("198.51.100.7", 4711))

        return self.drive(run, listener=PROXIED)

    def test_P_266_bad_version2(self) -> Deferred:
        """A broken version 2 header: closed, and never more is read than a header may have."""
        headers = [
            version2(block(), signature=SIGNATURE[:-1] + b"\x0b"),
            version2(block(), version=0x11),
            version2(block(), version=0x31),
            version2(block(), version=0x22),
            version2(block(), family=0x41),
            version2(block()[:8]),
            version2(block(), family=0x21),
            version2(bytes(100), family=0x31),
            version2(block(), length=65535),
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(gateway, headers)

        return self.drive(run, listener=PROXIED, timeouts="proxy_header = 1")

    def test_P_267_tlvs(self) -> Deferred:
        """TLVs that are not known are skipped, a right checksum passes; the TLS of the other leg is not ours."""
        ssl = tlv(0x20, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"client.example"))
        octets = [
            tlv(0xEE, b"x"),
            tlv(4, bytes(9)),
            tlv(2, b"mail.example"),
            tlv(5, b"u" * 128),
            tlv(5, b"u" * 129),
            ssl,
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_taken(gateway, [(version2(block() + each), "198.51.100.7") for each in octets])
            self.all_taken(
                gateway,
                [
                    (version2(block() + b"".join(octets)), "198.51.100.7"),
                    (summed(block()), "198.51.100.7"),
                    (summed(block() + ssl), "198.51.100.7"),
                ],
            )
            with Client(gateway.port(), greet=False) as client:
                client.send(version2(block() + ssl))
                client.read()
                self.assertRegex(client.hello(), rb"STARTTLS")
                self.assertRegex(client.say(MAIL), rb"\A530 5\.7\.0 ")
            self.assertTrue(gateway.idle())
            self.assertEqual({event.session.tls for event in gateway.told(SessionEnded)}, {None})

        return self.drive(run, listener=PROXIED + f'\ncertificates = ["{self.certificate()}"]', tls="required")

    def test_P_267_bad_tlvs(self) -> Deferred:
        """A TLV that runs past the header, and a wrong checksum: closed."""
        over = tlv(2, b"mail.example")[:-1]

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.all_closed(
                gateway,
                [
                    version2(block() + over),
                    version2(block() + b"\x02\x00"),
                    summed(block(), error=1),
                    version2(block() + tlv(3, b"abc")),
                ],
            )

        return self.drive(run, listener=PROXIED)

    def test_P_268_early_talker(self) -> Deferred:
        """What stands behind the header in one segment comes before the greeting: on mx 554 5.5.0 and closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for header in (V1, version2(block())):
                with Client(gateway.port(), greet=False) as client:
                    client.send(header + b"EHLO c.example\r\n")
                    self.assertRegex(client.read(), rb"\A554 5\.5\.0 ")
                    self.assertTrue(client.is_closed())

        return self.drive(run, listener=PROXIED)

    def test_P_268_queued(self) -> Deferred:
        """On submission it is answered in its turn, behind the greeting."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for header in (V1, version2(block())):
                with Client(gateway.port(), greet=False) as client:
                    client.send(header + b"EHLO c.example\r\n")
                    self.assertRegex(client.read(), rb"\A220 ")
                    self.assertRegex(client.read(), rb"\A250-gate\.example\.com")

        return self.drive(run, listener=PROXIED + '\nrelay_from = ["198.51.100.0/24"]', role="submission")

    def test_P_269_implicit_tls(self) -> Deferred:
        """On a TLS listener the header comes in clear, then the handshake."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for header in (V1, version2(block())):
                with Client(gateway.port(), greet=False) as client:
                    client.send(header)
                    client.starttls()
                    self.assertRegex(client.read(), rb"\A220 ")
                    client.hello()
                    self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                session = gateway.told(TransactionEnded)[-1].transaction.session
                self.assertEqual(session.client_ip, "198.51.100.7")
                self.assertIsNotNone(session.tls)

        return self.drive(run, listener=PROXIED + f'\ncertificates = ["{self.certificate()}"]', tls="implicit")

    def outbound(self, word: str) -> Deferred:
        """A backend behind which the PROXY header is looked at."""
        headers: list[bytes] = []

        def greet(connection: Connection) -> bytes:
            while len(connection.buffer) < 16 or word == "proxy-v1" and b"\r\n" not in connection.buffer:
                connection.more()
            if word == "proxy-v1":
                headers.append(connection.line())
            else:
                size = 16 + struct.unpack("!H", connection.buffer[14:16])[0]
                while len(connection.buffer) < size:
                    connection.more()
                headers.append(connection.buffer[:size])
                connection.buffer = connection.buffer[size:]
            return b"220 backend.example.net"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for probe in headers:
                if word == "proxy-v2":
                    self.assertEqual(probe, version2(version=0x20, family=0))
            del headers[:]
            for address in ("198.51.100.7", "198.51.100.8", "2001:db8::7"):
                destination = "2001:db8::1" if ":" in address else "203.0.113.1"
                kind = 6 if ":" in address else 4
                line = f"PROXY TCP{kind} {address} {destination} 4711 25".encode()
                links = len(backend.connections)
                with Client(gateway.port(), greet=False) as client:
                    client.send(line + b"\r\n")
                    client.read()
                    client.hello()
                    for _ in range(2):
                        self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
                self.assertEqual(len(backend.connections), links + 1)
                family = 0x21 if kind == 6 else 0x11
                expected = line if word == "proxy-v1" else version2(block(address, destination), family=family)
                self.assertEqual(headers.pop(), expected)
                self.assertEqual(headers, [])

        return self.behind(run, Backend(greeting=greet), PROXIED, word)

    def test_P_270_version2_out(self) -> Deferred:
        """PROXY v2 to a backend: once for each connection, before all else, with its own client; a probe is LOCAL."""
        return self.outbound("proxy-v2")

    def test_P_270_version1_out(self) -> Deferred:
        """The same with version 1."""
        return self.outbound("proxy-v1")
