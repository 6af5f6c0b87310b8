"""Tests of smtpgate.net.descriptors, and of the door that keeps the last ones back."""

from __future__ import annotations

import socket
import subprocess
import sys

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.model import Settings
from smtpgate.net import descriptors
from smtpgate.net.front import Acceptor
from smtpgate.net.poller import READ, make_poller
from smtpgate.policy.event import Happened

CONFIG = """hostname = "gate.example.com"
local_domains = ["example.net"]
[limits]
connections = 1000
[listeners.front]
listen = "tcp:25"
tls = "off"
[backends.mail]
servers = "127.0.0.1:26"
tls = "off"
[[routes]]
backend = "mail"
"""
RAISE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from smtpgate.net.descriptors import raise_limit
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


class LimitTests(SynchronousTestCase):
    """How many there may be."""

    def fitted(self, count: int) -> tuple[Settings, list[Happened]]:
        """The settings of a process with so many descriptors, and what it tells."""
        told: list[Happened] = []
        return descriptors.fit(loads(CONFIG, "/nowhere/gate.toml"), count, told.append), told

    def test_the_soft_limit_becomes_the_hard_one(self) -> None:
        """And one that is there already stays."""
        for soft, hard in ((100, 300), (300, 300)):
            made = subprocess.run(
                [sys.executable, "-c", RAISE, str(soft), str(hard)], capture_output=True, text=True, check=True
            )
            self.assertEqual(made.stdout.split(), ["300", "300", "300"])

    def test_enough_descriptors_change_nothing(self) -> None:
        """Two for each connection, and the share of all else."""
        settings, told = self.fitted(2000 + descriptors.RESERVED)
        self.assertEqual((settings.limits.connections, told), (1000, []))

    def test_too_few_lower_the_limit_and_are_told(self) -> None:
        """With what would be enough; nothing else of the settings is another."""
        settings, told = self.fitted(2000 + descriptors.RESERVED - 1)
        self.assertEqual(settings.limits.connections, 999)
        self.assertEqual(settings.limits.recipients, 1000)
        self.assertEqual(list(settings.listeners), ["front"])
        (event,) = told
        self.assertEqual((event.name, event.level), ("connections.limited", "warning"))
        self.assertEqual(dict(event.fields), {"configured": 1000, "sessions_limit": 999, "descriptors": 2127})
        self.assertIn("to 2128", event.message)

    def test_hardly_any_are_enough_for_one(self) -> None:
        """A limit of nothing would be no gateway."""
        self.assertEqual(self.fitted(40)[0].limits.connections, 1)

    def test_the_last_ones_are_kept_back(self) -> None:
        """Not so many that a small number is all gone."""
        self.assertEqual(descriptors.ceiling_of(1024), 1024 - descriptors.KEPT_BACK)
        self.assertGreater(descriptors.ceiling_of(64), 50)


class DoorTests(SynchronousTestCase):
    """`Acceptor` and its ceiling."""

    def test_a_client_above_the_ceiling_is_refused(self) -> None:
        """It hears why, and its descriptor is free again; one below is let in."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        poller = make_poller(reactor)
        self.addCleanup(poller.close)
        begun: list[socket.socket] = []
        refused: list[str] = []

        def full(peer: str) -> bytes:
            refused.append(peer)
            return b"421 full\r\n"

        clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
        probe = socket.socket()
        lowest = probe.fileno()
        probe.close()
        acceptor = Acceptor(
            listening,
            poller,
            reactor,
            lambda peer: None,
            lambda sock, peer: begun.append(sock),
            lambda reason: self.fail(reason),
            lowest + 1,
            full,
        )
        self.addCleanup(acceptor.close)
        acceptor.ready(READ)
        for sock in begun:
            self.addCleanup(sock.close)
        self.assertEqual([sock.fileno() for sock in begun], [lowest])
        self.assertEqual(refused, ["127.0.0.1"] * 2)
        self.assertEqual(clients[1].recv(100) + clients[1].recv(100), b"421 full\r\n")
