"""`smtpgate top` over the socket of an office: what it prints, once and for programs."""

from __future__ import annotations

import json

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.cli.top import _fit
from smtpgate.observe.metrics import Metrics
from smtpgate.observe.recorder import Recorder
from smtpgate.observe.talkers import Talkers
from smtpgate.policy import event as told
from tests.admin_kit import Desk
from tests.observe_kit import REFUSED, session, transaction
from tests.test_admin_stats import MemorySeries
from tests.test_cli import Place, run
from tests.test_observe_talkers import MemoryTalkers


class TopTests(TestCase):
    """A desk with a little mail."""

    timeout = 60

    def setUp(self) -> None:
        self.place = Place(self)
        self.desk = Desk()
        control, wall = self.desk.control, self.desk.office.wall
        metrics = Metrics("1.0")
        recorder = Recorder(metrics, self.desk.clock, wall, MemorySeries(), lambda event: None)
        recorder.start()
        control.statistics.recorder = recorder
        control.top.talkers = talkers = Talkers(self.desk.clock, wall, MemoryTalkers(), lambda event: None)
        for sender, outcome in (("a@example.org", "delivered"), ("x@evil\x1b[2J.example", "refused")):
            made = transaction(session(), outcome, sender=sender, reply=REFUSED if outcome == "refused" else None)
            for one in (metrics, talkers):
                one.hear(told.TransactionEnded(made))
        self.desk.clock.advance(2.0)
        path = str(self.place.folder / "var" / "control.sock")
        port = reactor.listenUNIX(path, self.desk.office.site("local"))  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(port.stopListening))

    def top(self, *words: str) -> Deferred[tuple[int, str, str]]:
        """Run it in a thread, for it waits for this one."""
        return deferToThread(run, *self.place.config, "top", *words)

    async def test_once(self) -> None:
        """State, rate, servers and names; what peers wrote steers no terminal."""
        code, out, err = await self.top("--once")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("messages of 5 minutes: 2, 1.0 a second: 1 accept, 1 reject", out)
        self.assertIn("mail 127.0.0.1:2600", out)
        self.assertIn("DOMAINS OF SENDERS", out)
        self.assertIn("evil\\u001b[2j.example", out)
        self.assertNotIn("\x1b", out)

    async def test_for_programs(self) -> None:
        """The same as JSON; few rows where few are asked for."""
        code, out, err = await self.top("--json", "--rows", "1")
        self.assertEqual((code, err), (0, ""))
        found = json.loads(out)
        self.assertEqual(found["messages"]["totals"], [1, 1])
        self.assertEqual([len(found["top"][kind]) for kind in ("client", "sender")], [1, 1])
        self.assertEqual(found["top"]["client"][0]["count"], 2)

    def test_columns(self) -> None:
        """Are of one width, whatever a name holds."""
        self.assertEqual({len(_fit(name)) for name in ("a", "x" * 200, "\x1b" * 20)}, {44})
