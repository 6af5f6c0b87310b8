"""The gateway killed at each step of a hold and of a release: nothing that was answered with 250 is lost, and no
release is delivered twice.

Between two writes to the disk nothing changes there; so a copy of the state folder before and after each write is what
each kill would leave behind. From each of them another gateway is started, and does what it would do.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks

from smtpgate.control import SYSTEM
from tests.script_kit import STALL, Backend, without_trace
from tests.test_quarantine_wire import HOLD
from tests.vault_kit import MAIL, VaultCase, VaultGateway

#: Calls of the vault that write.
WRITES = ("begin", "keep", "settle", "withdraw", "post", "go_on", "done", "release")

REDIRECT = """
[[rules]]
name = "away"
when = "subject == 'away'"
action = "redirect"
to = ["x@example.net"]
[[rules]]
name = "report"
when = "subject == 'report'"
action = "journal"
to = ["x@example.net"]
"""


class KilledTests(VaultCase):
    """Every step."""

    timeout = 240
    copies = 0

    def watched(self, gateway: VaultGateway, copies: list[tuple[str, Path, int]], backend: Backend) -> None:
        """Copy the folder before and after each write; with the number of messages that the backend has then."""

        def copy(when: str) -> None:
            place = Path(f"{self.folder}-{self.copies}")
            self.copies += 1
            shutil.copytree(self.folder, place)
            self.addCleanup(shutil.rmtree, place, True)
            copies.append((when, place, len(backend.messages)))

        def wrap(name: str) -> None:
            call = getattr(gateway.vault, name)

            def wrapped(*args: Any, **more: Any) -> Any:
                copy(f"before {name}")
                return call(*args, **more).addCallback(done)

            def done(result: Any) -> Any:
                copy(f"after {name}")
                return result

            setattr(gateway.vault, name, wrapped)

        for name in WRITES:
            wrap(name)

    @inlineCallbacks
    def each(self, copies: list[tuple[str, Path, int]], backend: Backend, check: Any) -> Any:
        """A gateway over each copy."""
        text = self.config(backend.port) + HOLD + REDIRECT
        for when, place, before in list(copies):
            self.kind.folder = place
            yield ensureDeferred(
                self._with_gateway(text, lambda gateway, when=when, before=before: check(gateway, when, before), (), {})
            )

    @inlineCallbacks
    def test_while_it_is_held(self) -> Any:
        """Answered with 250 it is held; before that it may be, and its retry is held once."""
        copies: list[tuple[str, Path, int]] = []
        answered: list[int] = []
        behind = Backend()

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.in_reactor(self.watched, gateway, copies, backend)
            self.assertEqual(self.send(gateway, b"b", subject=b"secret")[:3], b"250")
            answered.append(len(copies))

        yield self.talk(HOLD, script, behind)
        place = Path(f"{self.folder}-last")
        shutil.copytree(self.folder, place)
        self.addCleanup(shutil.rmtree, place, True)
        copies.append(("after 250", place, 0))
        steps = [when for when, _, _ in copies]
        self.assertEqual(steps, ["before begin", "after begin", "before keep", "after keep", "after 250"])
        found = []

        def check(gateway: VaultGateway, when: str, before: int) -> None:
            held = gateway.held()
            found.append(len(held))
            if held:
                octets = gateway.in_reactor(lambda: gateway.control.quarantine.content(held[0].id))
                self.assertEqual(without_trace(octets), MAIL % b"secret", when)
            else:
                self.assertEqual(gateway.files(), [], when)

        yield self.each(copies, behind, check)
        self.assertEqual(found, [0, 0, 0, 1, 1])

    @inlineCallbacks
    def released(self, behind: Backend) -> Any:
        """Copies of a release on its way."""
        copies: list[tuple[str, Path, int]] = []

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            gateway.in_reactor(self.watched, gateway, copies, backend)
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
            self.assertTrue(gateway.posted())

        yield self.talk(HOLD, script, behind)
        return copies

    @inlineCallbacks
    def test_while_it_is_released(self) -> Any:
        """Delivered at most once; where nobody knows it waits for a person, and says so."""
        behind = Backend()
        copies = yield self.released(behind)
        steps = [when for when, _, _ in copies]
        self.assertEqual(
            steps, ["before release", "after release", "before go_on", "after go_on", "before done", "after done"]
        )
        self.assertEqual([before for _, _, before in copies], [0, 0, 0, 0, 1, 1])
        seen = []

        def check(gateway: VaultGateway, when: str, before: int) -> None:
            self.assertTrue(gateway.posted())
            count = len(behind.messages)
            (held,) = gateway.held()
            seen.append((held.state, count - self.before))
            self.assertLessEqual(before + count - self.before, 1, when)
            if held.state != "released":
                self.assertEqual(without_trace(gateway.files()[0]), MAIL % b"secret", when)
            self.before = count

        self.before = len(behind.messages)
        yield self.each(copies, behind, check)
        self.assertEqual(
            seen,
            [("held", 0), ("released", 1), ("released", 1), ("unknown", 0), ("unknown", 0), ("released", 0)],
        )

    @inlineCallbacks
    def test_while_it_is_redirected(self) -> Any:
        """Answered with 250 it arrives, perhaps twice, and never not at all."""
        for subject, at_once in ((b"away", 0), (b"report", 1)):
            copies: list[tuple[str, Path, int]] = []
            behind = Backend()

            def script(gateway: VaultGateway, backend: Backend, copies: Any = copies, subject: bytes = subject) -> None:
                gateway.in_reactor(self.watched, gateway, copies, backend)
                self.assertEqual(self.send(gateway, b"b", subject=subject)[:3], b"250")
                self.assertTrue(gateway.posted())

            yield self.talk(REDIRECT, script, behind)
            got: dict[str, int] = {}

            def check(gateway: VaultGateway, when: str, before: int, behind: Any = behind, got: Any = got) -> None:
                gateway.posted()
                count = len(behind.messages)
                got[when] = before + count - self.before
                self.before = count

            self.before = len(behind.messages)
            # The second settle and what follows are those of the letter.
            yield self.each(copies, behind, check)
            steps = [when for when, _, _ in copies]
            kept = steps.index("after keep")
            for when in steps[:kept]:
                self.assertEqual(got[when], 0, when)
            for when in steps[kept:]:
                self.assertIn(got[when], (1, 2) if not at_once else (1, 2, 3), when)
            self.assertEqual(got["after done"], 1 + at_once)
            self.kind.folder = self.folder
            shutil.rmtree(self.folder)


CONFIG = """
hostname = "gate.example.com"
state_dir = "var"
local_domains = ["example.net"]
[admin]
listen = "off"
[listeners.front]
listen = ["unix:{folder}/front"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{port}"]
tls = "off"
[[routes]]
backend = "mail"
"""


class ProcessTests(VaultCase):
    """The real process and a real SIGKILL."""

    timeout = 600

    def start(self, config: Path) -> subprocess.Popen[bytes]:
        """A gateway of its own; back when it answers."""
        program = Path(sys.executable).with_name("twistd")
        process = subprocess.Popen(
            [program, "-n", "--pidfile=", "smtpgate", "--config", config],
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        self.addCleanup(self.end, process)
        end = time.monotonic() + 120
        while not self.answers():
            self.assertIsNone(process.poll(), (self.folder / "log").read_text())
            self.assertLess(time.monotonic(), end)
        return process

    def answers(self) -> bool:
        """Whether it listens at its command line's door."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.folder / "var" / "control.sock")) == 0

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """It is over."""
        if process.poll() is None:
            process.kill()
        process.wait()

    def tool(self, config: Path, *args: str) -> str | None:
        """The command line; None where it failed."""
        program = Path(sys.executable).with_name("smtpgate")
        done = subprocess.run([program, "--config", config, *args], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def test_killed_behind_the_dot(self) -> Deferred[Any]:
        """The backend has the end of data and does not answer: after the kill the release is not sent again."""
        from twisted.internet.threads import deferToThread

        backend = Backend(rules=[(b"DOT", STALL)])
        self.addCleanup(backend.close)

        def script() -> None:
            config = self.folder / "gate.toml"
            config.write_text(CONFIG.format(folder=self.folder, port=backend.port) + HOLD)
            process = self.start(config)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(self.folder / "front"))
                reader = client.makefile("rb")
                for line in (b"", b"HELO x", b"MAIL FROM:<ann@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
                    if line:
                        client.sendall(line + b"\r\n")
                    self.assertIn(reader.readline()[:1], b"23")
                client.sendall(MAIL % b"secret" + b".\r\n")
                self.assertEqual(reader.readline()[:3], b"250")
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = self.start(config)
            listed = self.tool(config, "quarantine", "list") or ""
            id = listed.splitlines()[1].split()[0]
            self.assertIn("done", self.tool(config, "quarantine", "release", id) or "")
            end = time.monotonic() + 30
            while not backend.messages and time.monotonic() < end:
                os.sched_yield()
            self.assertEqual(len(backend.messages), 1)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = self.start(config)
            self.assertIn(": unknown, class dlp", self.tool(config, "quarantine", "show", id) or "")
            self.assertIn("none", self.tool(config, "outbox", "list") or "")
            self.assertEqual(len(backend.messages), 1)
            backend.release.set()
            self.assertIsNone(self.tool(config, "quarantine", "release", id))
            self.stopped(process, config, backend)

        return deferToThread(script)

    def stopped(self, process: subprocess.Popen[bytes], config: Path, backend: Backend) -> None:
        """Stopped in order, with an idle client and a release behind the dot: it ends, without a fault in the log, and
        the next start says that nobody knows."""
        backend.release.clear()
        listed = self.tool(config, "quarantine", "list") or ""
        id = listed.splitlines()[1].split()[0]
        self.assertIn("done", self.tool(config, "quarantine", "release", id, "--again") or "")
        end = time.monotonic() + 30
        while len(backend.messages) < 2 and time.monotonic() < end:
            os.sched_yield()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(self.folder / "front"))
            self.assertEqual(client.recv(3), b"220")
            process.terminate()
            self.assertEqual(process.wait(), 0)
        log = (self.folder / "log").read_text()
        self.assertIn("outbox.interrupted", log)
        self.assertNotIn("Traceback", log)
        process = self.start(config)
        self.assertIn(": unknown, class dlp", self.tool(config, "quarantine", "show", id) or "")
        self.assertEqual(len(backend.messages), 2)
        backend.release.set()
        process.terminate()
        self.assertEqual(process.wait(), 0)
