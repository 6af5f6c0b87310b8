"""Backends whose servers the DNS names: where mail of a domain goes, and how many destinations there are at a time."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trustme
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.model import Backend as BackendSettings
from smtpgate.policy.addresses import is_public
from smtpgate.proxy import destinations as module
from smtpgate.proxy.destinations import IDLE_S, Destinations
from smtpgate.proxy.kept import KEPT
from smtpgate.proxy.nexthop import HOSTS, NextHop, NoNextHop, find
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Task, Timekeeper
from smtpgate.testing.resolver import FakeResolver
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Backend, Client


class NextHopTests(SynchronousTestCase):
    """RFC 5321 section 5.1."""

    def find(self, zones: dict[str, Any], domain: str = "example.org") -> NextHop:
        """Where its mail goes; hosts of one preference in reverse order of the answer."""
        resolver = FakeResolver(zones, is_authentic=False)
        found: NextHop = self.successResultOf(ensureDeferred(find(resolver, domain, "Gate.example.com", list.reverse)))
        return found

    def refused(self, zones: dict[str, Any], domain: str = "example.org") -> Reply:
        """What is said where it goes nowhere."""
        failure = self.failureResultOf(ensureDeferred(find(FakeResolver(zones), domain, "gate.example.com")), NoNextHop)
        return failure.value.reply

    def test_order(self) -> None:
        """By preference; those of one preference are mixed, and none comes twice."""
        hosts = ["20 c.example", "10 a.example", "10 b.example", "30 a.example"]
        found = self.find({"example.org": {"MX": hosts}})
        self.assertEqual(found.hosts, ((1, "b.example"), (1, "a.example"), (2, "c.example")))

    def test_by_default_order_is_random(self) -> None:
        """Over some tries each of two equals is the first."""
        resolver = FakeResolver({"example.org": {"MX": ["10 a.example", "10 b.example"]}})
        first = {
            self.successResultOf(ensureDeferred(find(resolver, "example.org", "x"))).hosts[0][1] for _ in range(200)
        }
        self.assertEqual(first, {"a.example", "b.example"})

    def test_domain_without_mx(self) -> None:
        """It is its own server where it has an address."""
        for kind, address in (("A", "192.0.2.1"), ("AAAA", "2001:db8::1")):
            self.assertEqual(self.find({"example.org": {kind: address}}).hosts, ((1, "example.org"),))

    def test_alias(self) -> None:
        """An alias has the servers of what it stands for."""
        zones = {"example.org": {"CNAME": "other.example"}, "other.example": {"MX": "10 mx.other.example"}}
        self.assertEqual(self.find(zones).hosts, ((1, "mx.other.example"),))

    def test_we_ourselves_are_left_out(self) -> None:
        """And so are those that are no better; where there is none left it is a loop."""
        hosts = ["10 a.example", "20 gate.example.com", "20 b.example", "30 c.example"]
        self.assertEqual(self.find({"example.org": {"MX": hosts}}).hosts, ((1, "a.example"),))
        self.assertIs(self.refused({"example.org": {"MX": hosts[1:]}}), status.PROXY_LOOP)

    def test_address_literal(self) -> None:
        """The address itself; what is none is no destination."""
        self.assertEqual(self.find({}, "[192.0.2.1]").hosts, ((1, "192.0.2.1"),))
        self.assertEqual(self.find({}, "[IPv6:2001:db8::1]").hosts, ((1, "2001:db8::1"),))
        self.assertIs(self.refused({}, "[x]"), status.NO_DOMAIN)

    def test_nowhere(self) -> None:
        """No such domain, no mail for it, no server for it: for good. No answer: for now."""
        for zones, wanted in (
            ({}, status.NO_DOMAIN),
            ({"example.org": {"TXT": "x"}}, status.NO_DOMAIN),
            ({"example.org": {"MX": "0 ."}}, status.NULL_MX),
            ({"example.org": "servfail"}, status.DNS_FAILED),
            ({"example.org": "timeout"}, status.DNS_FAILED),
            ({"example.org": {"TXT": "x", "faults": {"A": "servfail"}}}, status.DNS_FAILED),
        ):
            self.assertIs(self.refused(zones), wanted, str(zones))
        self.assertIs(self.refused({}, ""), status.NO_DOMAIN)

    def test_no_more_than_some(self) -> None:
        """A domain that names a hundred servers is asked at some of them."""
        zones = {"example.org": {"MX": [f"{number} h{number}.example" for number in range(100)]}}
        self.assertEqual(len(self.find(zones).hosts), HOSTS)

    def test_signed(self) -> None:
        """It is known whether DNSSEC vouches for the answer; of a literal nothing does."""
        for is_signed in (True, False):
            zones = {"example.org": {"MX": "10 a.example", "authentic": is_signed}}
            self.assertIs(self.find(zones).is_secure, is_signed)
        self.assertFalse(self.find({}, "[192.0.2.1]").is_secure)


class AddressTests(SynchronousTestCase):
    """`policy.addresses`."""

    def test_what_only_those_inside_have(self) -> None:
        """Loopback, private, link-local, shared and multicast; whatever they are wrapped in."""
        for text in (
            *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
            *("224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1"),
            *(
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "64:ff9b::7f00:1",
                "64:ff9b::a00:1",
                "2002:7f00:1::",
                "2002:a00:1::",
            ),
        ):
            self.assertFalse(is_public(text), text)

    def test_what_all_have(self) -> None:
        """Other addresses."""
        for text in ("8.8.8.8", "2a00:1450:4001:800::200e", "64:ff9b::808:808", "::ffff:8.8.8.8"):
            self.assertTrue(is_public(text), text)


@attrs.define(eq=False)
class FakePool:
    """A pool that does nothing."""

    backend: BackendSettings
    is_idle: bool = True
    ended: int = 0

    def close(self) -> None:
        """Count."""
        self.ended += 1

    def gone(self) -> None:
        """Count."""
        self.ended += 1


class DestinationTests(SynchronousTestCase):
    """`Destinations`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.zones = FakeResolver({f"d{number}.example": {"MX": "10 mx.example", "ttl": 60} for number in range(9)})
        self.made: list[FakePool] = []
        self.all = Destinations(
            BackendSettings("out", kind="mx"), "gate.example", self.zones, self.clock, self.make, most=3
        )

    def make(self, backend: BackendSettings, hop: NextHop) -> Any:
        """A pool."""
        self.made.append(FakePool(backend))
        return self.made[-1]

    def pool(self, domain: str) -> Any:
        """The pool of a domain, or a reply."""
        done: list[Any] = []
        Task(self.all.pool(domain), Timekeeper(self.clock), done.append, done.append).start()
        return done[0]

    def test_one_for_each_domain(self) -> None:
        """With the servers of its domain, asked for once."""
        one = self.pool("d1.example")
        self.assertIs(self.pool("d1.example"), one)
        self.assertIsNot(self.pool("d2.example"), one)
        self.assertEqual([server.address for server in one.backend.servers], ["mx.example:25"])
        self.assertEqual(self.zones.asked.count(("d1.example", "MX")), 1)

    def test_asked_again_when_its_time_is_over(self) -> None:
        """The pool goes on where the answer is the same, and is another where it is not."""
        one = self.pool("d1.example")
        self.clock.advance(61)
        self.assertIs(self.pool("d1.example"), one)
        self.assertEqual(self.zones.asked.count(("d1.example", "MX")), 2)
        self.zones.add({"d1.example": {"MX": "10 other.example"}})
        self.clock.advance(61)
        other = self.pool("d1.example")
        self.assertEqual([server.host for server in other.backend.servers], ["other.example"])
        self.assertEqual((one.ended, other.ended), (2, 0))

    def test_the_bound(self) -> None:
        """The one that has been idle the longest makes room; where all are at work there is none."""
        pools = [self.pool(f"d{number}.example") for number in range(3)]
        self.pool("d0.example")
        pools[1].is_idle = False
        self.pool("d3.example")
        self.assertEqual([pool.ended for pool in pools], [0, 0, 2])
        for pool in self.made:
            pool.is_idle = False
        self.assertIs(self.pool("d4.example"), status.TOO_MANY_DESTINATIONS)
        self.assertEqual(len(self.all), 3)

    def test_idle_ones_are_forgotten(self) -> None:
        """After a while, but for those at work."""
        self.pool("d1.example")
        busy = self.pool("d2.example")
        busy.is_idle = False
        self.clock.advance(IDLE_S + 1)
        self.pool("d3.example")
        self.pool("d3.example")
        self.assertEqual({domain for domain, _ in self.all.pools}, {"d3.example", "d2.example"})
        self.assertEqual(busy.ended, 0)

    def test_closed(self) -> None:
        """All are closed, once."""
        self.pool("d1.example")
        self.all.close()
        self.assertEqual([pool.ended for pool in self.made], [2])

    def test_a_resolver_that_never_answers(self) -> None:
        """The look-up ends, and the client is to come again."""
        self.zones.lookup = lambda name, kind: Deferred()  # type: ignore[method-assign]
        done: list[Any] = []
        Task(self.all.pool("d1.example"), Timekeeper(self.clock), done.append, done.append).start()
        for _ in range(40):
            self.clock.advance(1)
        self.assertEqual(done, [status.DNS_FAILED])
        self.assertEqual(module.LOOK_UP_S, 20.0)


class WireTests(GatewayCase):
    """Through the gateway."""

    def text(self, port: int, more: str = "", keys: str = "") -> str:
        """A configuration for mail that leaves."""
        return f"""
hostname = "gate.example.com"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
relay_from = ["127.0.0.0/8"]
tls = "off"
[backends.out]
kind = "mx"
port = {port}
tls = "off"
{keys}
[[routes]]
backend = "out"
{more}"""

    def run_mx(
        self, backend: Backend, zones: dict[str, Any], script: Any, keys: str = "allow_private = true", more: str = ""
    ) -> Deferred[Any]:
        """A gateway whose DNS leads to this backend."""
        self.addCleanup(backend.close)
        resolver = FakeResolver(zones)
        return self.run_script(self.text(backend.port, more, keys), script, resolver=resolver)

    def test_several_domains_in_one_message(self) -> Deferred[Any]:
        """Each is a leg of its own, and there is one answer."""
        zones = {f"{name}.example": {"MX": f"10 mx.{name}.example"} for name in "ab"}
        zones |= {f"mx.{name}.example": {"A": "127.0.0.1"} for name in "ab"}
        backend = Backend()

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                self.assertIn(b"8BITMIME", client.hello())
                reply = client.message(recipients=(b"x@a.example", b"y@b.example", b"z@a.example"))
                self.assertRegex(reply, rb"^250 .*" + REFERENCE)
            self.assertEqual(len(backend.messages), 2)
            legs = [[line for line in one.commands if line[:4] == b"RCPT"] for one in backend.connections]
            self.assertEqual(
                sorted(leg for leg in legs if leg),
                [[b"RCPT TO:<x@a.example>", b"RCPT TO:<z@a.example>"], [b"RCPT TO:<y@b.example>"]],
            )
            revision = gateway.control.revision
            assert revision is not None
            self.assertEqual({domain for domain, _ in revision.destinations["out"].pools}, {"a.example", "b.example"})

        return self.run_mx(backend, zones, run)

    def test_links_that_a_session_keeps(self) -> Deferred[Any]:
        """One that sends to all the world keeps the last few, and has each domain's mail go over one."""
        domains = [f"d{number}.example" for number in range(12)]
        zones = {domain: {"MX": "10 mx.example"} for domain in domains} | {"mx.example": {"A": "127.0.0.1"}}
        backend = Backend()

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for domain in (*domains, domains[-1]):
                    self.assertRegex(client.message(recipients=(b"x@" + domain.encode(),)), rb"^250 ")
                revision = gateway.control.revision
                assert revision is not None
                pools = [pool for _, pool in revision.destinations["out"].pools]
                links = [server.links for pool in pools for server in pool.servers]
                self.assertEqual((len(links), sum(links)), (len(domains), KEPT))
                client.say(b"QUIT")
            self.assertTrue(gateway.idle())
            self.assertTrue(gateway.until(lambda: all(pool.is_idle for pool in pools)))
            self.assertEqual(len(backend.connections), len(domains))

        return self.run_mx(backend, zones, run)

    def test_the_next_server(self) -> Deferred[Any]:
        """Where the first has no address, or an address that does not answer, the second has the message."""
        zones = {
            "example.org": {"MX": ["10 none.example", "20 dead.example", "30 mx.example"]},
            "dead.example": {"A": "127.0.0.9"},
            "mx.example": {"A": "127.0.0.1"},
        }
        backend = Backend()

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(recipients=(b"x@example.org",)), rb"^250 ")
            self.assertEqual(len(backend.messages), 1)

        return self.run_mx(backend, zones, run)

    @inlineCallbacks
    def test_nowhere(self) -> Iterator[Deferred[Any]]:
        """The stated replies, with no connection to anybody."""
        zones: dict[str, Any] = {
            "null.example": {"MX": "0 ."},
            "broken.example": "servfail",
            "inside.example": {"MX": "10 inside.example", "A": ["127.0.0.1", "10.0.0.1"]},
            "nothing.example": {"MX": "10 absent.example"},
            "late.example": {"MX": "10 late.example", "faults": {"A": "servfail", "AAAA": "servfail"}},
        }
        backend = Backend()

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.net>")
                for domain, wanted in (
                    (b"null.example", rb"556 5\.1\.10"),
                    (b"broken.example", rb"451 4\.4\.3"),
                    (b"absent.example", rb"550 5\.1\.2"),
                    (b"inside.example", rb"550 5\.4\.4"),
                    (b"[127.0.0.1]", rb"550 5\.4\.4"),
                    (b"nothing.example", rb"451 4\.4\.1"),
                    (b"late.example", rb"451 4\.4\.3"),
                ):
                    reply = client.say(b"RCPT TO:<x@" + domain + b">")
                    self.assertRegex(reply, b"^" + wanted + b" .*" + REFERENCE, domain)
            self.assertEqual(backend.connections, [])

        yield self.run_mx(backend, zones, run, keys="")

    def test_what_a_server_cannot_do(self) -> Deferred[Any]:
        """8-bit content and addresses for one that takes none are refused for good."""
        zones = {"example.org": {"MX": "10 mx.example"}, "mx.example": {"A": "127.0.0.1"}}

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.net> BODY=8BITMIME")
                self.assertRegex(client.say(b"RCPT TO:<x@example.org>"), rb"^554 5\.6\.3 ")
                client.say(b"RSET")
                client.say(b"MAIL FROM:<a@example.net> SMTPUTF8")
                self.assertRegex(client.say(b"RCPT TO:<x@example.org>"), rb"^553 5\.6\.7 ")

        return self.run_mx(Backend((), ["PIPELINING"]), zones, run)


class RequireTLSTests(GatewayCase):
    """REQUIRETLS to servers that the DNS names (RFC 8689)."""

    timeout = 120

    @inlineCallbacks
    def test_needs_a_proof_of_the_server(self) -> Iterator[Deferred[Any]]:
        """Signed MX records or an MTA-STS policy, a certificate that is right, and the server's own word."""
        ca = trustme.CA()
        base = Path(self.mktemp()).absolute()
        base.mkdir()
        ca.cert_pem.write_to_path(str(base / "ca.pem"))
        right, wrong = base / "right.pem", base / "wrong.pem"
        ca.issue_cert("mx.example.org").private_key_and_cert_chain_pem.write_to_path(str(right))
        ca.issue_cert("mx.other.example").private_key_and_cert_chain_pem.write_to_path(str(wrong))
        for path in (right, wrong):
            path.chmod(0o600)
        words = [*EHLO, "STARTTLS", "REQUIRETLS"]
        for signed, certificate, ehlo, wanted in (
            (True, right, words, rb"250"),
            (True, right, words[:-1], rb"550 5\.7\.30"),
            (True, wrong, words, rb"550 5\.7\.30"),
            (False, right, words, rb"550 5\.7\.30"),
            (True, right, [*EHLO, "REQUIRETLS"], rb"550 5\.7\.30"),
        ):
            backend = Backend((), ehlo, certificate=certificate)
            self.addCleanup(backend.close)
            text = f"""
hostname = "gate.example.com"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
relay_from = ["127.0.0.0/8"]
certificates = ["{right}"]
[backends.out]
kind = "mx"
port = {backend.port}
allow_private = true
tls_ca = "{base / "ca.pem"}"
[[routes]]
backend = "out"
"""
            zones = {
                "example.org": {"MX": "10 mx.example.org", "authentic": signed},
                "mx.example.org": {"A": "127.0.0.1"},
            }

            def run(gateway: TestGateway, wanted: bytes = wanted, backend: Backend = backend) -> None:
                with Client(gateway.port()) as client:
                    self.assertNotIn(b"REQUIRETLS", client.hello())
                    client.say(b"STARTTLS")
                    client.starttls()
                    self.assertIn(b"REQUIRETLS", client.hello())
                    client.say(b"MAIL FROM:<a@example.net> REQUIRETLS")
                    self.assertRegex(client.say(b"RCPT TO:<x@example.org>"), b"^" + wanted + b" ")
                if wanted == b"250":
                    self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.net> REQUIRETLS"])
                    (one,) = (one for one in backend.connections if isinstance(one.sock, ssl.SSLSocket))
                    self.assertNotIn(b"MAIL", [line[:4] for line in one.in_clear])
                else:
                    self.assertEqual(backend.seen(b"^(MAIL|RCPT)"), [])

            yield self.run_script(text, run, resolver=FakeResolver(zones))
