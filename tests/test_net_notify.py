"""Words for the service manager: over a real socket, with a clock of our own; and those of a whole process."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.net.notify import EXTEND_EVERY_S, Notifier
from tests.real_kit import RealCase, until
from tests.test_real_process import config


class Manager:
    """What a service manager hears."""

    def __init__(self, place: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(place)
        self.socket.setblocking(False)
        self.all: list[str] = []

    def heard(self) -> list[str]:
        """What came since the last time, without the lines that tell how it stands."""
        fresh = []
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                self.all += fresh
                return fresh
            fresh += [line for line in text.split("\n") if not line.startswith("STATUS=")]

    def has(self, word: str) -> bool:
        """Whether it came up to now."""
        self.heard()
        return word in self.all


class NotifierTests(SynchronousTestCase):
    """One line to a manager."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = f"{folder.name}/notify"
        self.manager = Manager(self.place)
        self.addCleanup(self.manager.socket.close)
        self.clock = Clock()

    def notifier(self, **environ: str) -> Notifier:
        self.environ = {"NOTIFY_SOCKET": self.place, "HOME": "/", **environ}
        made = Notifier(self.environ, self.clock, lambda: "well\nREADY=0")
        self.addCleanup(made.close)
        return made

    def test_life(self) -> None:
        """Ready, a reload with the time of its begin, and the stop, which asks for more time as long as it lasts."""
        notifier = self.notifier()
        notifier.ready()
        self.assertEqual(self.manager.heard(), ["READY=1"])
        notifier.reloading()
        begun, at = self.manager.heard()
        self.assertEqual((begun, re.sub("[0-9]+", "N", at)), ("RELOADING=1", "MONOTONIC_USEC=N"))
        notifier.stopping()
        self.assertEqual(self.manager.heard(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"])
        self.clock.pump([EXTEND_EVERY_S] * 2)
        self.assertEqual(self.manager.heard(), ["EXTEND_TIMEOUT_USEC=30000000"] * 2)
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_watchdog(self) -> None:
        """At half of the interval, from the first READY on; another READY begins no second beat."""
        notifier = self.notifier(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
        self.clock.advance(10)
        self.assertEqual(self.manager.heard(), [])
        notifier.ready()
        notifier.ready()
        self.assertEqual(self.manager.heard(), ["READY=1", "WATCHDOG=1", "READY=1"])
        self.clock.pump([1.9, 0.2, 1.9, 0.2])
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1", "WATCHDOG=1"])

    def test_the_watchdog_of_another(self) -> None:
        """WATCHDOG_PID says whose it is; nonsense is nobody's."""
        for environ in ({"WATCHDOG_PID": "1", "WATCHDOG_USEC": "4000000"}, {"WATCHDOG_USEC": "soon"}, {}):
            self.notifier(**environ).ready()
            self.assertEqual(self.clock.getDelayedCalls(), [], environ)

    def test_children_do_not_speak_for_us(self) -> None:
        """The variables are gone from the environment."""
        self.notifier(WATCHDOG_USEC="1", WATCHDOG_PID="1")
        self.assertEqual(self.environ, {"HOME": "/"})

    def test_nobody_hears(self) -> None:
        """No variable, a place that is none, a manager that went away or does not read: we go on."""
        for place in ("", "relative", "/nowhere/at/all", "@nobody-listens-here"):
            self.notifier(NOTIFY_SOCKET=place).ready()
        notifier = self.notifier()
        for _ in range(2000):
            notifier.ready()
        self.manager.socket.close()
        notifier.ready()
        self.assertTrue(notifier.is_heard)

    def test_an_abstract_socket(self) -> None:
        """As containers have it."""
        name = f"smtpgate-test-{os.getpid()}"
        manager = Manager(f"\0{name}")
        self.addCleanup(manager.socket.close)
        self.notifier(NOTIFY_SOCKET=f"@{name}").ready()
        self.assertEqual(manager.heard(), ["READY=1"])


class ProcessTests(RealCase):
    """The gateway under a service manager."""

    def test_a_life(self) -> None:
        """Ready when clients can come, reloads that end whether the file is good or bad, a beat, and the stop."""
        manager = Manager(str(Path(self.folder) / "notify"))
        self.addCleanup(manager.socket.close)
        env = {"NOTIFY_SOCKET": str(Path(self.folder) / "notify"), "WATCHDOG_USEC": "400000"}
        gate = self.gateway(config(9), env=env)
        until(lambda: manager.has("READY=1"), "READY")
        socket.create_connection(("127.0.0.1", gate.port()), 5).close()
        until(lambda: manager.has("WATCHDOG=1") and manager.all.count("WATCHDOG=1") > 2, "the beat")
        for text in (config(9), "nonsense = 1"):
            before = len(manager.all)
            gate.write(text)
            gate.signal(signal.SIGHUP)
            until(lambda: manager.has("RELOADING=1") and "READY=1" in manager.all[before:], "the reload")
            told = [word for word in manager.all[before:] if word in ("RELOADING=1", "READY=1")]
            self.assertEqual(told, ["RELOADING=1", "READY=1"])
        gate.signal(signal.SIGTERM)
        self.assertEqual(gate.wait(), 0)
        manager.heard()
        self.assertIn("STOPPING=1", manager.all)
        self.assertEqual(manager.all.index("READY=1") < manager.all.index("WATCHDOG=1"), True)
