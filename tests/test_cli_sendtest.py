"""send-test: which listener it takes, and its dialogue with a real SMTP server."""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.control.sendtest import Sent, choose, run
from tests.admin_kit import CONFIG

ID = "01J9UK7Q0000000000000000AA"


class Server:
    """One scripted session on a loopback port."""

    def __init__(self, final: str) -> None:
        self.final = final
        self.heard: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.socket.accept()
        connection.settimeout(5)
        with connection, connection.makefile("rwb", 0) as file:
            file.write(b"220 gate ESMTP\r\n")
            while line := file.readline().decode("ascii").strip():
                self.heard.append(line)
                verb = line.upper().split(" ")[0]
                if verb == "DATA":
                    file.write(b"354 go\r\n")
                    while file.readline() != b".\r\n":
                        pass
                    file.write(f"{self.final}\r\n".encode())
                elif verb == "QUIT":
                    file.write(b"221 bye\r\n")
                    return
                else:
                    file.write(b"250 ok\r\n")

    def close(self) -> None:
        self.thread.join(5)
        self.socket.close()


class SendTests(SynchronousTestCase):
    """A message through a listener."""

    def send(self, final: str) -> tuple[Sent, list[str]]:
        server = Server(final)
        self.addCleanup(server.close)
        settings = loads(CONFIG.replace("tcp:0:", f"tcp:{server.port}:"), "/nowhere/gate.toml")
        lines: list[str] = []

        def say(*parts: Any) -> None:
            lines.append(" ".join(map(str, parts)))

        return run(settings, "bob@example.net", "ann@example.org", "", say), lines

    def test_accepted(self) -> None:
        """The reference is the end of the last reply; both sides are printed."""
        sent, lines = self.send(f"250 2.0.0 Ok: queued {ID}.1")
        self.assertEqual(sent, Sent(250, f"{ID}.1"))
        self.assertIn("C: mail FROM:<ann@example.org>", [line.replace("MAIL", "mail") for line in lines])
        self.assertIn(f"S: 250 2.0.0 Ok: queued {ID}.1", lines)

    def test_refused(self) -> None:
        """The reply is printed, and its reference found."""
        sent, lines = self.send(f"550 5.7.1 No {ID}.1")
        self.assertEqual(sent, Sent(550, f"{ID}.1"))
        self.assertIn(f"S: 550 5.7.1 No {ID}.1", lines)

    def test_which_listener(self) -> None:
        """The first of role mx, or the one named; none will do without a port."""
        settings = loads(CONFIG, "/nowhere/gate.toml")
        self.assertRaises(ValueError, choose, settings, "")
        self.assertRaises(ValueError, choose, settings, "none")
        settings = loads(CONFIG.replace("tcp:0:interface=127.0.0.1", "tcp:2525"), "/nowhere/gate.toml")
        self.assertEqual(choose(settings, "mx")[1:], ("127.0.0.1", 2525))
