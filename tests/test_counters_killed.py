"""Counters of a gateway that is killed: what was saved holds in the next process, the last seconds are forgotten, and
nothing else goes wrong; a drain is never forgotten."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.cli.gateway import Gateway
from smtpgate.state.offline import DATABASE
from tests.gateway_kit import GatewayCase
from tests.script_kit import PATIENCE_S, Client
from tests.test_faults import Outliving, Process

TEXT = """
hostname = "gate.example.com"
state_dir = "{state}"
local_domains = ["example.net"]
[admin]
listen = "off"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{port}"]
tls = "off"
[[routes]]
backend = "mail"
[[rate_limits]]
name = "per-sender"
count = "messages"
by = ["sender"]
rate = "3/1d"
pace = "0s"
"""


class KilledTests(GatewayCase):
    """SIGKILL between two savings."""

    timeout = 180

    def setUp(self) -> None:
        """A folder that outlives the processes."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.backend = Outliving()
        self.addCleanup(self.backend.close)

    def start(self) -> Process:
        text = TEXT.format(state=self.folder / "state", port=self.backend.port)
        return Process(self, self.folder, text)

    def send(self, process: Process, sender: bytes, times: int) -> list[bytes]:
        """Messages; for each the code of the first refusal, or of what was said at last."""
        heard = []
        with Client(process.ports["front"]) as client:
            client.hello()
            for _ in range(times):
                for line in (
                    b"MAIL FROM:<%s>" % sender,
                    b"RCPT TO:<b@example.net>",
                    b"DATA",
                    b"Subject: x\r\n\r\nx\r\n.",
                ):
                    reply = client.say(line)
                    if reply[:1] not in b"23":
                        client.say(b"RSET")
                        break
                heard.append(reply[:3])
        return heard

    def is_kept(self, space: str, key: str) -> bool:
        """Wait until the database has a row; False where it never has."""
        end = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < end:
            with closing(sqlite3.connect(self.folder / "state" / DATABASE, timeout=5)) as database:
                rows = database.execute("SELECT key FROM counters WHERE space = ?", (space,)).fetchall()
            if any(key in str(row[0]) for row in rows):
                return True
            time.sleep(0.1)
        return False

    def test_what_was_saved_holds(self) -> Deferred[None]:
        """A sender that had used all of its limit hears 450 again; one of the last seconds may begin anew."""

        def run() -> None:
            first = self.start()
            self.assertEqual(self.send(first, b"early@example.org", 4), [b"250"] * 3 + [b"450"])
            self.assertTrue(self.is_kept("rates", "early@example.org"))
            self.assertEqual(self.send(first, b"late@example.org", 3), [b"250"] * 3)
            first.kill()
            second = self.start()
            self.assertEqual(self.send(second, b"early@example.org", 1), [b"450"])
            late = self.send(second, b"late@example.org", 4)
            self.assertIn(late.count(b"250"), (0, 3), "what was not saved is forgotten whole, never in part")
            self.assertEqual(late[-1], b"450")
            self.assertFalse([line for line in second.lines if b'"level":"error"' in line])

        return deferToThread(run)

    def test_a_drain_is_kept_at_once(self) -> Deferred[None]:
        """The process that comes after the kill does not use the server, and the one after Ready does."""

        def run() -> None:
            process = self.start()
            gateway = Gateway(self.folder / "gate.toml")
            place = f"/backends/mail/servers/127.0.0.1:{self.backend.port}"
            gateway.ask("POST", f"{place}/drain", {"reason": "new disk"})
            self.assertTrue(self.is_kept("drains", "mail "))
            process.kill()
            process = self.start()
            (server,) = gateway.ask("GET", "/backends")["items"]
            self.assertEqual((server["is_drained"], server["drain_reason"]), (True, "new disk"))
            self.assertEqual(self.send(process, b"a@example.org", 1), [b"451"])
            gateway.ask("POST", f"{place}/ready", {})
            self.assertEqual(self.send(process, b"a@example.org", 1), [b"250"])
            process.end()
            process = self.start()
            self.assertEqual(self.send(process, b"b@example.org", 1), [b"250"])

        return deferToThread(run)
