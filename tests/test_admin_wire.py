"""Caps: bodies, headers, time and connections; and what an error may show."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.wire import BODY_OCTETS, CONNECTIONS_PER_ADDRESS, REQUEST_S
from tests.admin_kit import Answer, Desk

HEAD = (
    "POST /api/v1/config/validate HTTP/1.1\r\nHost: localhost\r\n"
    "Authorization: Bearer {}\r\nContent-Type: application/json\r\n"
)


class CapTests(SynchronousTestCase):
    """Nothing is taken in that is not wanted."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", "x")
        self.head = HEAD.format(self.desk.token("owner"))

    def test_S_17_a_body_that_announces_too_much(self) -> None:
        """Refused when its headers are complete; what follows goes nowhere."""
        channel, transport = self.desk.open()
        channel.dataReceived(f"{self.head}Content-Length: {BODY_OCTETS + 1}\r\n\r\n".encode())
        answer = Answer(transport.value())
        self.assertEqual(answer.status, 413)
        self.assertEqual(answer.json()["type"], "/problems/too-large")
        self.assertIn("default-src", answer.header("content-security-policy"))
        before = transport.value()
        channel.dataReceived(b"x" * BODY_OCTETS)
        self.assertEqual(transport.value(), before)
        self.desk.clock.advance(2)
        self.assertTrue(transport.disconnecting)

    def test_S_17_chunks_are_counted(self) -> None:
        """A body without a length is refused where it passes the cap."""
        channel, transport = self.desk.open()
        channel.dataReceived(f"{self.head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(BODY_OCTETS // 65536 + 1):
            channel.dataReceived(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        self.assertEqual(Answer(transport.value()).status, 413)

    def test_S_17_refused_body_is_not_invited(self) -> None:
        """Expect: 100-continue gets the refusal."""
        channel, transport = self.desk.open()
        channel.dataReceived(f"{self.head}Expect: 100-continue\r\nContent-Length: {BODY_OCTETS + 1}\r\n\r\n".encode())
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413"))
        self.assertNotIn(b"100 Continue", transport.value())

    def test_a_large_body_below_the_cap(self) -> None:
        """It stays in memory and is read."""
        answer = self.desk.post_json("/api/v1/config/validate", {"text": "# x\n" * 200_000}, role="owner")
        self.assertEqual(answer.status, 200)

    def test_S_17_headers_are_capped(self) -> None:
        """Many, and long."""
        for extra in ("X: y\r\n" * 200, f"X: {'y' * 20_000}\r\n"):
            channel, transport = self.desk.open()
            channel.dataReceived(f"GET / HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode())
            self.assertNotIn(b" 200 ", transport.value()[:20])
            self.assertTrue(transport.disconnecting)

    def test_S_17_drips_do_not_last(self) -> None:
        """An octet now and then keeps no connection for ever."""
        channel, transport = self.desk.open()
        channel.dataReceived(f"{self.head}Content-Length: 1000\r\n\r\n".encode())
        for _ in range(int(REQUEST_S / 10) + 1):
            channel.dataReceived(b"x")
            self.desk.clock.advance(10)
            if transport.aborting if hasattr(transport, "aborting") else transport.disconnected:
                return
        self.fail("the connection is still there")

    def test_S_17_connections_of_one_address(self) -> None:
        """So many, and when one goes another may come."""
        from twisted.internet.address import IPv4Address
        from twisted.internet.error import ConnectionDone
        from twisted.internet.testing import StringTransport
        from twisted.python.failure import Failure

        site = self.desk.office.site()
        here = IPv4Address("TCP", "192.0.2.1", 1)
        channels = [site.buildProtocol(here) for _ in range(CONNECTIONS_PER_ADDRESS)]
        self.assertNotIn(None, channels)
        self.assertIsNone(site.buildProtocol(here))
        self.assertIsNotNone(site.buildProtocol(IPv4Address("TCP", "192.0.2.2", 1)))
        channels[0].makeConnection(StringTransport())
        channels[0].connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(site.buildProtocol(here))

    def test_S_30_bad_requests_end_quietly(self) -> None:
        """What is no HTTP gets a short word without a stack."""
        for octets in (
            b"\x16\x03\x01\x00\xff\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        ):
            channel, transport = self.desk.open()
            channel.dataReceived(octets)
            self.assertNotIn(b"Traceback", transport.value())

    def test_S_19_odd_paths(self) -> None:
        """Octets that are no text, encoded slashes and dots, NULs: refused, never served, never a stack."""
        for path in (
            "/%ff",
            "/%00",
            "/sessions/%ff",
            "/assets/..%2f..%2fsetup.cfg",
            "/sessions/%0d%0aX:y",
            "*",
            "/%252e",
        ):
            answer = self.desk.ask("GET", path, role="owner")
            self.assertIn(answer.status, (400, 404, 405), path)
            self.assertNotIn("Traceback", answer.text)
            self.assertNotIn("/work", answer.text)


class ErrorTests(SynchronousTestCase):
    """What goes wrong here."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", "x")

    def test_S_30_an_internal_error_shows_an_id_and_no_more(self) -> None:
        """The stack goes to the log under the same id."""

        def broken() -> None:
            raise ValueError("secret detail in /etc/place")

        self.desk.control.servers = broken  # type: ignore[assignment, method-assign]
        for path in ("/backends", "/api/v1/backends"):
            answer = self.desk.ask("GET", path, role="owner")
            self.assertEqual(answer.status, 500)
            self.assertNotIn("secret", answer.text)
            self.assertIn(answer.header("x-request-id"), answer.text)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        answer = self.desk.ask("HEAD", "/livez")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_a_reader_who_leaves(self) -> None:
        """A connection that goes away while its answer is made harms nobody."""
        from twisted.internet.error import ConnectionLost
        from twisted.python.failure import Failure

        waiting: Deferred[object] = Deferred()
        self.desk.history.find = lambda reference: waiting  # type: ignore[assignment, method-assign]
        channel, _ = self.desk.open()
        token = self.desk.token("owner")
        channel.dataReceived(
            f"GET /api/v1/sessions/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.flushLoggedErrors(), [])
