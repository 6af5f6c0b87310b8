"""Tests of smtpgate.config.endpoint."""

from __future__ import annotations

from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.endpoint import Endpoint, ServerAddress, is_loopback, parse_listen, parse_server
from smtpgate.config.problem import BadValue


class ListenTests(SynchronousTestCase):
    """Texts of `listen`."""

    def test_kinds_are_read(self) -> None:
        """tcp, unix and systemd, with named and unnamed parts."""
        for text, endpoint in (
            ("tcp:25", Endpoint("tcp", "", 25)),
            ("tcp:port=25:interface=127.0.0.1", Endpoint("tcp", "127.0.0.1", 25)),
            (r"tcp:25:interface=2001\:DB8\:\:1:backlog=100", Endpoint("tcp", "2001:db8::1", 25)),
            ("unix:/run/a.sock:mode=660", Endpoint("unix", path="/run/a.sock")),
            ("systemd:domain=INET:index=0", Endpoint("systemd", domain="INET", handed="index=0")),
            ("systemd:domain=INET6:name=smtp", Endpoint("systemd", domain="INET6", handed="name=smtp")),
        ):
            self.assertEqual(parse_listen(text), endpoint, text)

    def test_what_we_take_twisted_takes_too(self) -> None:
        """The text goes to Twisted unchanged, so nothing may be taken here that fails there."""
        for text in ("tcp:25", r"tcp:25:interface=\:\:1:backlog=100", "unix:/run/a.sock:mode=660:lockfile=0"):
            parse_listen(text)
            serverFromString(MemoryReactor(), text)

    def test_tls_endpoints_are_refused_with_the_key(self) -> None:
        """TLS is a key of the listener."""
        for kind in ("ssl", "tls"):
            error = self.assertRaises(BadValue, parse_listen, f"{kind}:465:privateKey=key.pem")
            self.assertEqual(error.hint, 'write "tcp:465" and the key tls = "implicit"')

    def test_bad_texts_are_refused(self) -> None:
        """Each with a hint."""
        for text in (
            "",
            "25",
            "tcp",
            "tcp:",
            "tcp:x",
            "tcp:-1",
            "tcp:65536",
            "tcp:٢٥",
            "tcp:25:interface=eth0",
            "tcp:25:interface=::1",
            "tcp:25:intreface=127.0.0.1",
            "tcp:25:backlog=many",
            "tcp6:25",
            "unix:relative.sock",
            "unix:",
            "unix:/run/a.sock:mode=rw",
            "systemd:domain=INET",
            "systemd:domain=INET:index=0:name=x",
            "systemd:index=0",
            "systemd:domain=INET:index=first",
            "systemd:domain=INET9:index=0",
            "systemd:domain=INET:name=",
            "systemd:domain=INET:name=a\\:b",
        ):
            error = self.assertRaises(BadValue, parse_listen, text)
            self.assertTrue(error.hint, text)

    def test_local_endpoints_are_told_from_public_ones(self) -> None:
        """Loopback and unix sockets are local; a systemd socket may be anything."""
        for text, is_local in (
            ("tcp:25:interface=127.0.0.1", True),
            (r"tcp:25:interface=\:\:1", True),
            ("unix:/run/a.sock", True),
            ("tcp:25", False),
            ("tcp:25:interface=192.0.2.1", False),
            ("systemd:domain=INET:index=0", False),
        ):
            self.assertEqual(parse_listen(text).is_local, is_local, text)

    def test_clashes_are_those_of_the_system(self) -> None:
        """Same port on overlapping addresses; `::` takes IPv4 too; port 0 is a new one each time."""
        for one, other, clash in (
            ("tcp:25", "tcp:25", True),
            ("tcp:25", "tcp:26", False),
            ("tcp:25", "tcp:25:interface=127.0.0.1", True),
            ("tcp:25:interface=192.0.2.1", "tcp:25:interface=192.0.2.2", False),
            ("tcp:25", r"tcp:25:interface=\:\:1", False),
            ("tcp:25:interface=127.0.0.1", r"tcp:25:interface=\:\:", True),
            ("tcp:0", "tcp:0", False),
            ("unix:/a", "unix:/a:mode=600", True),
            ("unix:/a", "unix:/b", False),
            ("tcp:25", "unix:/a", False),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=00", True),
            ("systemd:domain=INET:name=a", "systemd:domain=INET6:name=a", True),
            ("systemd:domain=INET:name=a", "systemd:domain=INET:name=b", False),
        ):
            self.assertEqual(parse_listen(one).clashes_with(parse_listen(other)), clash, (one, other))
            self.assertEqual(parse_listen(other).clashes_with(parse_listen(one)), clash, (other, one))


class ServerTests(SynchronousTestCase):
    """Texts of `servers`."""

    def test_forms_are_read(self) -> None:
        """Names, both kinds of addresses, unix sockets."""
        for text, address in (
            ("Mail.Example.NET:25", ServerAddress("mail.example.net", 25)),
            ("192.0.2.10:25", ServerAddress("192.0.2.10", 25)),
            ("[2001:DB8::10]:25", ServerAddress("2001:db8::10", 25)),
            ("localhost:2525", ServerAddress("localhost", 2525)),
            ("bücher.example:25", ServerAddress("xn--bcher-kva.example", 25)),
            ("my_host:25", ServerAddress("my_host", 25)),
            ("unix:/run/mail.sock", ServerAddress("", None, "/run/mail.sock")),
        ):
            self.assertEqual(parse_server(text), address, text)

    def test_missing_port_is_offered(self) -> None:
        """The hint is the text with a port."""
        self.assertEqual(self.assertRaises(BadValue, parse_server, "mail").hint, 'write "mail:25"')
        self.assertEqual(self.assertRaises(BadValue, parse_server, "[::1]").hint, 'write "[::1]:25"')

    def test_bad_texts_are_refused(self) -> None:
        """Each with a hint."""
        for text in (
            "",
            ":25",
            "a b:25",
            "a:0",
            "a:x",
            "::1",
            "::1:25",
            "[a]:25",
            "[::1:25",
            "smtp://a:25",
            "u@a:25",
            "unix:x",
            "1.2.3:25",
            "300.1.1.1:25",
            "a..b:25",
        ):
            error = self.assertRaises(BadValue, parse_server, text)
            self.assertTrue(error.hint, text)

    def test_loopback_is_known_by_name_and_address(self) -> None:
        """Also mapped, and below .localhost."""
        for host in ("localhost", "LOCALHOST.", "a.localhost", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(is_loopback(host), host)
        for host in ("", "192.0.2.1", "::2", "localhost.example.net", "0.0.0.0"):
            self.assertFalse(is_loopback(host), host)
