"""A reload through the running gateway: a bad file changes nothing and is told of in whole, a good one is put to work.

SIGHUP to a real process, with its state in a folder; test_protocol_timeouts reloads under load.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.net.selfsigned import ensure
from tests.gateway_kit import GatewayCase
from tests.script_kit import PATIENCE_S, Backend, Client
from tests.test_faults import Process

TESTS = Path(__file__).parent


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class ReloadTests(GatewayCase):
    """SIGHUP."""

    timeout = 120

    def setUp(self) -> None:
        """A file that is good."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.backend = Backend()
        self.addCleanup(self.backend.close)
        self.file = self.folder / "gate.toml"
        certificate = ensure(self.folder, "gate.example.com")
        self.good = f"""hostname = "gate.example.com"
state_dir = "{self.folder / "state"}"
local_domains = ["example.net"]
[admin]
listen = "off"
[limits]
message_size = 1000
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "optional"
certificates = ["{certificate.absolute()}"]
[backends.mail]
servers = ["127.0.0.1:{self.backend.port}"]
tls = "off"
[[routes]]
backend = "mail"
"""

    def reload(self, gateway: Process, text: str) -> dict[str, object]:
        """Write the file and have it read; the last that is told about it."""
        self.file.write_text(text)
        begun = len(gateway.lines)
        gateway.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for line in gateway.lines[begun:]:
                if b'"config.reload_failed"' in line or b'"config.applied"' in line:
                    return dict(json.loads(line))
            time.sleep(0.02)
        raise AssertionError(b"".join(gateway.lines[begun:]).decode())

    def drive_process(self, script: Callable[[Process], None]) -> Deferred[None]:
        """Run a script against a process, in a thread."""

        def run() -> None:
            gateway = Process(self, self.folder, self.good)
            script(gateway)
            gateway.end()
            self.assertEqual(gateway.process.returncode, 0)

        return deferToThread(run)

    def listener_of(self, gateway: Process, client: Client) -> str:
        """The listener that the log names for a client's session."""
        port = client.sock.getsockname()[1]
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for line in gateway.lines:
                told = json.loads(line) if b'"client_port"' in line else {}
                if told.get("client_port") == port:
                    return str(told["listener"])
            time.sleep(0.02)
        raise AssertionError(b"".join(gateway.lines).decode())

    def assert_as_it_was(self, gateway: Process, old: Client) -> None:
        """The session that was there goes on, and a new one finds the old settings, certificate and backend."""
        self.assertRegex(old.reply_at("DOT"), b"^250 ")
        with Client(gateway.ports["front"]) as client:
            self.assertIn(b"SIZE 1000\r\n", client.hello())
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=1500"), b"^552 ")
            self.assertRegex(client.say(b"STARTTLS"), b"^220 ")
            client.starttls()
            client.hello()
            self.assertRegex(client.reply_at("DOT"), b"^250 ")

    def test_S_32_bad_files_change_nothing(self) -> Deferred[None]:
        """No TOML, one mistake, many, no file, a certificate that is gone: all told at once, nothing changed."""
        changed = self.good.replace("message_size = 1000", "message_size = 2000")
        many = changed.replace('tls = "off"', 'tls = "of"').replace("example.net", "*.net") + "[limit]\nx = 1\n"
        bad = {
            "no TOML": (changed + "[listeners\n", 1),
            "unknown key": (changed.replace("message_size", "mesage_size"), 1),
            "wrong unit": (changed.replace("2000", '"2M"'), 1),
            "missing backend": (changed.replace('backend = "mail"', 'backend = "male"'), 1),
            "unreadable certificate": (changed.replace(".pem", ".gone.pem"), 1),
            "many": (many, 3),
            "empty": ("", 1),
        }

        def script(gateway: Process) -> None:
            with Client(gateway.ports["front"]) as old:
                old.hello()
                for name, (text, count) in bad.items():
                    told = self.reload(gateway, text)
                    self.assertEqual(told["event"], "config.reload_failed", name)
                    problems = told["problems"]
                    assert isinstance(problems, list)
                    errors = [problem for problem in problems if "  warning: " not in problem]
                    self.assertGreaterEqual(len(errors), count, (name, problems))
                    for problem in errors:
                        self.assertTrue(problem.startswith(f"{self.file}:"), problem)
                    self.assertIn("unchanged", str(told["msg"]), name)
                    self.assert_as_it_was(gateway, old)
                self.file.unlink()
                gateway.process.send_signal(signal.SIGHUP)
                self.assertTrue(gateway.says(b"cannot be read"))
                self.assert_as_it_was(gateway, old)

        return self.drive_process(script)

    def test_S_32_a_port_that_is_taken_changes_nothing(self) -> Deferred[None]:
        """What only binding can show, beside a listener that could be bound."""

        def script(gateway: Process) -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken, Client(gateway.ports["front"]) as old:
                old.hello()
                port = taken.getsockname()[1]
                more = "".join(
                    f'[listeners.{name}]\nlisten = "tcp:{number}:interface=127.0.0.1"\ntls = "off"\n'
                    for name, number in (("another", 0), ("more", port))
                )
                text = self.good.replace("message_size = 1000", "message_size = 2000").replace(
                    "[backends", more + "[backends"
                )
                told = self.reload(gateway, text)
                self.assertEqual(told["event"], "config.reload_failed")
                self.assertIn(str(port), str(told["msg"]))
                self.assert_as_it_was(gateway, old)

        return self.drive_process(script)

    def test_a_good_file_behind_bad_ones(self) -> Deferred[None]:
        """It is put to work; whoever was there keeps what he began with."""

        def script(gateway: Process) -> None:
            with Client(gateway.ports["front"]) as old:
                old.hello()
                for _ in range(2):
                    told = self.reload(gateway, "nonsense = 1\n")
                    self.assertEqual(told["event"], "config.reload_failed")
                    told = self.reload(gateway, self.good.replace("message_size = 1000", "message_size = 2000"))
                    self.assertEqual(told["event"], "config.applied")
                    with Client(gateway.ports["front"]) as client:
                        self.assertIn(b"SIZE 2000\r\n", client.hello())
                        self.assertRegex(client.reply_at("DOT"), b"^250 ")
                    self.assertIn(b"SIZE 1000\r\n", old.hello())
                    self.assertRegex(old.reply_at("DOT"), b"^250 ")

        return self.drive_process(script)

    def test_a_listener_by_another_name_takes_over(self) -> Deferred[None]:
        """Its port is never closed: who is there goes on, who comes finds the new settings and the new name."""
        port = free_port()
        fixed = self.good.replace("tcp:0:", f"tcp:{port}:")
        renamed = fixed.replace("message_size = 1000", "message_size = 2000").replace(
            "[listeners.front]", "[listeners.door]"
        )

        def script(gateway: Process) -> None:
            told = self.reload(gateway, fixed)
            self.assertEqual(told["event"], "config.applied")
            with Client(port) as old:
                old.hello()
                for text, size, name in ((renamed, 2000, "door"), (fixed, 1000, "front"), (renamed, 2000, "door")):
                    told = self.reload(gateway, text)
                    self.assertEqual(told["event"], "config.applied", told)
                    with Client(port) as client:
                        self.assertIn(f"SIZE {size}\r\n".encode(), client.hello())
                        self.assertRegex(client.reply_at("DOT"), b"^250 ")
                        self.assertEqual(self.listener_of(gateway, client), name)
                    self.assertIn(b"SIZE 1000\r\n", old.hello())
                    self.assertRegex(old.reply_at("DOT"), b"^250 ")

        return self.drive_process(script)

    def test_names_that_are_swapped(self) -> Deferred[None]:
        """Two listeners, each with the other's endpoint: each port follows its new settings."""
        ports = free_port(), free_port()

        def text(first: str, second: str) -> str:
            more = f'[listeners.{second}]\nlisten = "tcp:{ports[1]}:interface=127.0.0.1"\ntls = "off"\n'
            good = self.good.replace("tcp:0:", f"tcp:{ports[0]}:").replace("[listeners.front]", f"[listeners.{first}]")
            return good.replace("[backends", more + "[backends")

        def script(gateway: Process) -> None:
            for names in (("one", "two"), ("two", "one"), ("one", "three")):
                self.assertEqual(self.reload(gateway, text(*names))["event"], "config.applied", names)
                for name, port, has_tls in zip(names, ports, (True, False), strict=True):
                    with Client(port) as client:
                        self.assertEqual(b"STARTTLS" in client.hello(), has_tls, (name, port))
                        self.assertRegex(client.reply_at("DOT"), b"^250 ")
                        self.assertEqual(self.listener_of(gateway, client), name)

        return self.drive_process(script)

    def test_a_new_name_beside_a_port_that_is_taken(self) -> Deferred[None]:
        """The reload fails, and the door has its old name and settings."""
        port = free_port()
        fixed = self.good.replace("tcp:0:", f"tcp:{port}:")

        def script(gateway: Process) -> None:
            self.assertEqual(self.reload(gateway, fixed)["event"], "config.applied")
            gateway.ports["front"] = port
            with socket.create_server(("127.0.0.1", 0)) as taken, Client(port) as old:
                old.hello()
                more = f'[listeners.more]\nlisten = "tcp:{taken.getsockname()[1]}:interface=127.0.0.1"\ntls = "off"\n'
                text = fixed.replace("[listeners.front]", "[listeners.door]").replace("[backends", more + "[backends")
                self.assertEqual(self.reload(gateway, text)["event"], "config.reload_failed")
                self.assert_as_it_was(gateway, old)

        return self.drive_process(script)
