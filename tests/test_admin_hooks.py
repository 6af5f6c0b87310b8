"""Webhooks: what is called, how it is signed, when it is called again, and that no hook keeps mail waiting."""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.hooks import LISTED, Webhooks, signature
from smtpgate.config.loader import load
from smtpgate.config.model_hooks import Webhook
from smtpgate.interfaces import HTTPFailed, StoreFailed
from smtpgate.net.http import Response
from smtpgate.policy import event as told
from smtpgate.policy.call import pause_s
from smtpgate.policy.verdict import Finding, merge
from smtpgate.state.hook_store import HookStore
from smtpgate.state.tables_hooks import hook_calls
from tests.admin_kit import CONFIG, ApiCase, AtOnce, make_session
from tests.test_admin_entry import Browser

SECRET = b"0123456789abcdef-secret"
HOOKS = """
[webhooks.ops]
url = "https://hooks.example.com/a?key=hidden"
secret = "hook.secret"
events = ["message", "admin.server.*"]
outcomes = ["refused", "held"]
[webhooks.all]
url = "https://other.example.com/"
secret = "hook.secret"
events = ["alert", "config", "log"]
keep = "5m"
queue = 20
"""


class Receiver:
    """What is called.

    :ivar answers: statuses of the next answers; 0 for none, None for one that never comes; 200 when they are used up
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int | None] = []

    def request(self, method: str, url: str, headers: Any, body: Any, timeout_s: float, cap: int) -> Deferred[Response]:
        """A call."""
        self.calls.append((url, dict(headers), body))
        status = self.answers.pop(0) if self.answers else 200
        if status is None:
            return Deferred()
        return succeed(Response(status, {}, b"")) if status else fail(HTTPFailed("no answer within 10 s"))

    def told(self) -> list[dict[str, Any]]:
        """What was said."""
        return [json.loads(body) for _, _, body in self.calls]


class HookCase(ApiCase):
    """A desk with two hooks."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(tempfile.mkdtemp())
        (folder / "hook.secret").write_bytes(SECRET + b"\n")
        (folder / "hook.secret").chmod(0o600)
        (folder / "gate.toml").write_text(CONFIG + HOOKS)
        self.desk.control.revision.settings = load(folder / "gate.toml", {}, {})  # type: ignore[union-attr]
        self.receivers: dict[str, Receiver] = {"ops": Receiver(), "all": Receiver()}
        self.database = AtOnce((hook_calls,))
        self.store = HookStore(self.database)
        self.begin()

    def begin(self) -> None:
        """As after a start."""
        self.hooks = Webhooks(self.desk.control, self.store, self.client, self.desk.clock)
        self.desk.office.hooks = self.hooks
        self.hooks.open()
        self.addCleanup(self.hooks.close)
        self.desk.clock.advance(0)

    def client(self, hook: Webhook) -> Any:
        """Where a hook goes."""
        return self.receivers[hook.name]

    def end(self, outcome: str, finding: Finding | None = None) -> None:
        """A message is over."""
        session = make_session(outcome=outcome, findings=(finding,) if finding else ())
        transaction = session.transactions[0]
        transaction.verdict = merge(transaction.findings)
        self.desk.control.engine.tell(told.TransactionEnded(transaction))

    def happen(self, name: str) -> None:
        """Something else."""
        self.desk.control.engine.tell(told.Happened(name, "info", f"it is {name}"))

    def go(self, seconds: float = 2.0) -> None:
        """Time passes."""
        step = 1.0 if seconds <= 60 else 5.0
        self.desk.clock.pump([step] * int(seconds / step))


class CallTests(HookCase):
    """What is called."""

    def test_what_each_hears_of(self) -> None:
        """By topic, by name, and of messages by their end; with who decided."""
        self.end("refused", Finding("listed", "reject", filter="dnsbl"))
        self.end("delivered")
        self.happen("admin.server.drain")
        self.happen("config.applied")
        self.assertEqual(self.receivers["ops"].calls, [])
        self.go()
        first, second = self.receivers["ops"].told()
        self.assertEqual((first["event"], first["node"]), ("message.done", "gate.example.com"))
        self.assertEqual(first["data"]["outcome"], "refused")
        self.assertEqual(first["data"]["reason"], {"filter": "dnsbl", "reason": "listed"})
        self.assertEqual(second["event"], "admin.server.drain")
        self.assertEqual(
            {one["event"] for one in self.receivers["all"].told()}, {"admin.server.drain", "config.applied"}
        )

    def test_what_is_for_the_log_alone(self) -> None:
        """The code that makes the first owner goes to nobody else."""
        self.happen("admin.setup")
        self.happen("gateway.started")
        self.go(10)
        names = {one["event"] for one in self.receivers["all"].told()}
        self.assertEqual(names & {"admin.setup", "gateway.started"}, {"gateway.started"})

    def test_signed(self) -> None:
        """With its time, so that nothing can be changed or sent later; no secret is in it."""
        self.happen("admin.server.ready")
        self.go()
        ((url, headers, body),) = self.receivers["ops"].calls
        at, _, mac = headers["Smtpgate-Signature"].partition(",v1=")
        moment = at.removeprefix("t=")
        self.assertLess(abs(int(moment) - self.desk.control.engine.wall()), 10)
        wanted = hmac.new(SECRET, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
        self.assertEqual(mac, wanted)
        self.assertNotEqual(signature(SECRET, int(moment) + 1, body), headers["Smtpgate-Signature"])
        self.assertEqual(headers["Smtpgate-Event"], "admin.server.ready")
        self.assertNotIn(SECRET, body)
        self.assertEqual(url, "https://hooks.example.com/a?key=hidden")

    def test_called_again(self) -> None:
        """Later each time, under one id, until it is answered; others wait meanwhile, and go then."""
        one = self.receivers["ops"]
        one.answers = [0, 500, 302, 200]
        self.happen("admin.server.a")
        self.go()
        self.happen("admin.server.b")
        self.assertEqual(len(one.calls), 1)
        self.go(200)
        ids = [headers["Smtpgate-Delivery"] for _, headers, _ in one.calls]
        self.assertEqual((len(ids), len(set(ids))), (5, 2))
        states = {call["event"]: call["state"] for call in self.get("/webhooks/ops/deliveries")["items"]}
        self.assertEqual(states, {"admin.server.a": "done", "admin.server.b": "done"})
        self.assertEqual([pause_s(n) for n in (1, 2, 3, 9, 99)], [15.0, 30.0, 60.0, 3600.0, 3600.0])

    def test_given_up(self) -> None:
        """After its time, or when it says that it wants no more; and nothing of that calls anybody."""
        one = self.receivers["all"]
        one.answers = [500] * 99
        self.happen("config.applied")
        self.go(1000)
        call = self.calls("all", "config.applied")[0]
        self.assertEqual((call["state"], call["code"], call["told"]), ("failed", 500, "answered 500"))
        self.assertIn("webhook.given_up", [getattr(event, "name", "") for event in self.desk.control.events])  # type: ignore[attr-defined]
        self.assertEqual(self.calls("all", "webhook.given_up"), [])
        one.answers = [410] * 99
        self.happen("config.rejected")
        self.go(60)
        self.assertEqual([(call["tries"], call["code"]) for call in self.calls("all", "config.rejected")], [(1, 410)])

    def calls(self, hook: str, event: str) -> list[dict[str, Any]]:
        """Of an event."""
        return [call for call in self.get(f"/webhooks/{hook}/deliveries")["items"] if call["event"] == event]

    def test_over_a_restart(self) -> None:
        """What was written down is called by the next process."""
        self.receivers["ops"].answers = [0]
        self.happen("admin.server.drain")
        self.go()
        self.hooks.close()
        self.begin()
        self.go(60)
        self.assertEqual([one["event"] for one in self.receivers["ops"].told()], ["admin.server.drain"] * 2)

    def test_alerts(self) -> None:
        """One when it begins, one when it is over; none while it is muted."""
        self.go(10)
        self.receivers["all"].calls.clear()
        engine = self.desk.control.engine
        engine.tell(told.Happened("spool.full", "error", "no room"))
        self.go(10)
        engine.tell(told.Happened("spool.full", "error", "no room"))
        self.go(10)
        engine.tell(told.Happened("spool.recovered", "info", "room"))
        self.go(10)
        found = [one for one in self.receivers["all"].told() if one["data"].get("id") == "spool.full"]
        self.assertEqual([one["event"] for one in found], ["alert.raised", "alert.ended"])
        self.post("/alerts/mutes", {"id": "spool.full", "minutes": 60}, 201)
        engine.tell(told.Happened("spool.full", "error", "no room"))
        self.go(10)
        again = [one for one in self.receivers["all"].told() if one["data"].get("id") == "spool.full"]
        self.assertEqual(len(again), 2)


class SlowTests(HookCase):
    """A hook that hangs."""

    def test_nobody_waits(self) -> None:
        """Neither mail nor the other hook: to tell an event takes no call, and its calls are written down as ever."""
        self.receivers["ops"].answers = [None]
        for _ in range(3):
            self.happen("admin.server.drain")
        self.go(60)
        self.assertEqual(len(self.receivers["ops"].calls), 1)
        self.assertEqual(len([one for one in self.receivers["all"].told() if one["event"] != "alert.raised"]), 3)
        self.assertEqual(self.hooks.waiting["ops"], 3)

    def test_full(self) -> None:
        """So many wait at most; what is beyond is counted, and the memory has an end too."""
        self.receivers["all"].answers = [None]
        self.go(10)
        for number in range(50):
            self.happen(f"config.n{number}")
        self.go(12)
        self.assertEqual(self.hooks.waiting["all"], 20)
        self.assertGreaterEqual(self.counted("all", "dropped"), 30)
        before = self.counted("ops", "dropped")
        for _ in range(LISTED + 7):
            self.happen("admin.server.drain")
        self.assertEqual(len(self.hooks._pending), LISTED)
        self.go()
        self.assertEqual(self.counted("ops", "dropped") - before, 7)

    def counted(self, hook: str, result: str) -> int:
        """A count of the metrics."""
        rows = self.desk.control.engine.meter.counts
        return int(rows.get(("webhook_deliveries_total", hook, result), 0))

    def test_a_disk_that_is_full(self) -> None:
        """What cannot be written is lost and told of; the next is written again."""
        run = self.database.run
        self.database.run = lambda *args: fail(StoreFailed("no room"))  # type: ignore[method-assign]
        self.happen("admin.server.a")
        self.go()
        self.database.run = run  # type: ignore[method-assign]
        self.assertIn("webhook.failed", [getattr(event, "name", "") for event in self.desk.control.events])  # type: ignore[attr-defined]
        self.happen("admin.server.b")
        self.go()
        self.assertEqual([one["event"] for one in self.receivers["ops"].told()], ["admin.server.b"])


class ManageTests(HookCase):
    """The API and the pages."""

    def test_looked_at(self) -> None:
        """What may be a secret in an address, and the secret, are nowhere."""
        self.happen("admin.server.drain")
        self.go()
        found = {one["name"]: one for one in self.get("/webhooks")["items"]}
        self.assertEqual(found["ops"]["url"], "https://hooks.example.com/a?***")
        self.assertEqual((found["ops"]["waiting"], found["ops"]["done"]), (0, 1))
        self.assertEqual(self.get("/webhooks/ops")["events"], ["message", "admin.server.*"])
        self.desk.ask("GET", "/api/v1/webhooks/none", token=self.owner)
        whole = self.desk.ask("GET", "/api/v1/config", token=self.owner).text
        for text in (whole, json.dumps(found), json.dumps(self.get("/webhooks/ops/deliveries"))):
            self.assertNotIn("0123456789abcdef", text)
            self.assertNotIn(SECRET.hex(), text)

    def test_tested(self) -> None:
        """It is called at once, and the answer says what came of it; in a dry run it is not."""
        self.post("/webhooks/ops/test?dry_run=1", {})
        self.assertEqual(self.receivers["ops"].calls, [])
        self.assertEqual(self.post("/webhooks/ops/test", {}), {"ok": True, "code": 200, "told": "answered 200"})
        self.receivers["ops"].answers = [0]
        self.assertEqual(self.post("/webhooks/ops/test", {})["code"], 0)
        self.assertEqual(self.receivers["ops"].told()[0]["event"], "webhook.test")
        self.post("/webhooks/none/test", {}, 404)

    def test_called_once_more(self) -> None:
        """What was made or given up, as it was; what waits is not."""
        self.happen("admin.server.drain")
        self.go()
        (call,) = self.get("/webhooks/ops/deliveries")["items"]
        self.post(f"/webhooks/ops/deliveries/{call['id']}/replay", {})
        self.go()
        first, second = self.receivers["ops"].calls
        self.assertEqual(first[2], second[2])
        self.assertNotEqual(first[1]["Smtpgate-Delivery"], second[1]["Smtpgate-Delivery"])
        for path in ("all/deliveries/1", "ops/deliveries/999", "ops/deliveries/x"):
            self.post(f"/webhooks/{path}/replay", {}, 404)

    def test_pages(self) -> None:
        """Lists, the way to try one, what is empty, and what strangers wrote."""
        browser = Browser(self.desk)
        browser.log_in()
        page = browser.get("/webhooks/ops").text
        self.assertIn("Nothing was to be told yet", page)
        self.end("refused", Finding("x", "reject", filter="rules"))
        self.go()
        self.assertIn("message.done", browser.get("/webhooks/ops").text)
        answer = browser.form("/webhooks/ops", "/webhooks/ops/test", {})
        self.assertIn("it took the test", answer.text)
        self.assertEqual(browser.form("/webhooks/ops", "/webhooks/ops/calls/1", {}).status, 303)
        self.assertEqual(browser.get("/webhooks/nothing").status, 404)
        self.assertIn("/webhooks/ops", browser.get("/webhooks").text)
        self.desk.control.engine.tell(told.Happened("spool.full", "error", "<script>window.hurt=1</script>"))
        alerts = browser.get("/alerts").text
        self.assertNotIn("<script>window", alerts)
        done = browser.form("/alerts", "/alerts", {"id": "spool.full", "minutes": "60", "reason": "known"})
        self.assertEqual(done.status, 303)
        self.assertIn("muted", browser.get("/alerts").text)
        self.assertEqual(browser.form("/alerts", "/alerts", {"id": "spool.full", "minutes": "no"}).status, 422)
        self.assertEqual(browser.form("/alerts", "/alerts", {"id": "spool.full", "action": "lift"}).status, 303)
        self.assertEqual(self.get("/alerts/mutes")["items"], [])

    def test_mutes(self) -> None:
        """They hold for their time, outlive a restart, and are in the audit."""
        from smtpgate.control.mutes import Mutes
        from smtpgate.testing.ports import Table

        mutes = self.desk.control.mutes
        mutes.table = Table(self.desk.clock.seconds)
        self.post("/alerts/mutes", {"id": "server:mail/127.0.0.1:2600", "minutes": 5, "reason": "work"}, 201)
        self.assertEqual(self.desk.users.rows[-1]["detail"], "5 minutes: work")
        again = Mutes(self.desk.control.engine.wall, lambda *args: None)
        again.table = mutes.table
        self.successResultOf(ensureDeferred(again.load()))
        self.assertTrue(again.holds("server:mail/127.0.0.1:2600"))
        self.assertEqual(self.remove("/alerts/mutes/server:mail/127.0.0.1:2600"), 200)
        self.assertEqual(self.remove("/alerts/mutes/server:mail/127.0.0.1:2600"), 404)
        self.desk.clock.advance(301)
        self.assertFalse(again.holds("server:mail/127.0.0.1:2600"))
        self.post("/alerts/mutes", {"id": "x", "minutes": 0}, 422)


class WordTests(SynchronousTestCase):
    """`Webhook.wants`."""

    def test_words(self) -> None:
        """A topic, a name, or the beginning of one."""
        hook = Webhook("x", "https://x.example/", b"", ("alert", "admin.config.*", "digest.sent"))
        for topic, name, wanted in (
            ("alert", "alert.raised", True),
            ("config", "admin.config.apply", True),
            ("config", "admin.configuration", False),
            ("log", "digest.sent", True),
            ("log", "digest.sent.more", False),
            ("message", "message.done", False),
        ):
            self.assertEqual(hook.wants(topic, name), wanted, name)
