"""Restarts and reloads under load with sockets that are handed over, in short; and sockets that cannot be taken."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtpgate.config.endpoint import parse_listen
from smtpgate.net.handed import Handed
from smtpgate.net.ports import BindFailed, Ports
from tests.real_kit import RealCase
from tests.restarts import trial


class RestartTests(RealCase):
    """`make restarts` has twenty restarts and fifty reloads."""

    def test_nothing_is_lost_or_refused(self) -> None:
        """A service manager holds the socket: no connect is refused, each message is there once."""
        seen = trial(self.folder, 1, 4, per_second=40, connections=8)
        for line in seen.lines():
            self.figures(line)
        self.assertTrue(seen.is_good, list(seen.lines()))
        self.assertEqual((len(seen.stops_s), len(seen.reloads_s)), (1, 4))


class Door:
    """What accepts, as far as ports know it."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.sock = sock

    def close(self) -> None:
        """Nothing is accepted here."""


class HandedTests(TestCase):
    """Ports over sockets that were handed over, in one process."""

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sg", dir="/tmp")
        self.addCleanup(self.folder.cleanup)

    def listening(self) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        return sock

    def ports(self, **sockets: socket.socket) -> Ports:
        # As after an exec: descriptors that belong to nobody but the process.
        numbers = [os.dup(sock.fileno()) for sock in sockets.values()]
        for number in numbers:
            self.addCleanup(os.close, number)
        made = Ports(reactor, Door, Handed(tuple(numbers), tuple(sockets)))  # type: ignore[arg-type]
        self.addCleanup(lambda: ensureDeferred(made.close()))
        return made

    def change(self, ports: Ports, *wanted: str) -> Deferred[None]:
        return ensureDeferred(ports.change({("mx", text) for text in wanted}))

    def refused(self, ports: Ports, text: str) -> str:
        return str(self.failureResultOf(self.change(ports, text), BindFailed).value)

    def test_a_listener_is_given_up_and_taken_again(self) -> None:
        """The socket of the manager stays open all the while: who connects meanwhile waits."""
        held = self.listening()
        ports = self.ports(front=held)
        text = "systemd:domain=INET:name=front"
        self.successResultOf(self.change(ports, text))
        first = ports.acceptors["mx", text].sock
        self.assertEqual(first.getsockname(), held.getsockname())
        self.successResultOf(self.change(ports))
        self.assertEqual(first.fileno(), -1)
        with socket.create_connection(held.getsockname(), 5) as client:
            self.successResultOf(self.change(ports, text))
            sock, address = ports.acceptors["mx", text].sock.accept()
            self.assertEqual(address, client.getsockname())
            sock.close()

    def test_the_path_of_a_unix_socket_stays(self) -> None:
        """It is the manager's: one that were removed could not be connected to until he is started anew."""
        place = f"{self.folder.name}/s"
        held = socket.socket(socket.AF_UNIX)
        self.addCleanup(held.close)
        held.bind(place)
        held.listen()
        ports = self.ports(local=held)
        self.successResultOf(self.change(ports, "systemd:domain=UNIX:index=0"))
        ((_, _, host),) = ports.addresses()
        self.assertEqual(host, UNIXAddress(place.encode()))
        self.successResultOf(self.change(ports))
        self.assertTrue(Path(place).is_socket())

    def test_what_was_not_handed_over(self) -> None:
        """What is wanted is named, and what is there."""
        ports = self.ports(front=self.listening())
        self.assertIn("there are front", self.refused(ports, "systemd:domain=INET:name=back"))
        self.assertIn("there are front", self.refused(ports, "systemd:domain=INET:index=1"))
        self.assertIn("is the socket unit started?", self.refused(self.ports(), "systemd:domain=INET:name=front"))

    def test_what_would_go_wrong_without_a_word(self) -> None:
        """Two of one name, another domain, a socket that does not listen."""
        listening = self.listening()
        numbers = (listening.fileno(), self.listening().fileno())
        two = Ports(reactor, Door, Handed(numbers, ("front", "front")))  # type: ignore[arg-type]
        self.assertIn("2 sockets have that name", self.refused(two, "systemd:domain=INET:name=front"))
        one = self.ports(front=listening)
        self.assertIn("domain=INET", self.refused(one, "systemd:domain=INET6:name=front"))
        with socket.create_connection(listening.getsockname(), 5) as client:
            connected = self.ports(front=client)
            self.assertIn("does not listen", self.refused(connected, "systemd:domain=INET:name=front"))
        self.assertEqual((two.acceptors, one.acceptors, connected.acceptors), ({}, {}, {}))


class UnusedTests(SynchronousTestCase):
    """Sockets that nobody takes clients from."""

    def test_they_are_named(self) -> None:
        """By name or by number a listener has one."""
        given = Handed((7, 8, 9), ("a", "b", "c"))
        texts = ("systemd:domain=INET:name=a", "systemd:domain=INET:index=1", "tcp:25")
        self.assertEqual(given.unused(map(parse_listen, texts)), ["c"])
