"""Servers for who manages them: what each did and was, what is not as configured, how far mail would come."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.control import SYSTEM, Control
from smtpgate.control.fleet import ASK_S, Fleet
from smtpgate.control.ribbons import KEPT_S, MOST, SEEN_S, Ribbons
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.proxy.drains import Drains
from smtpgate.proxy.opener import Opener
from smtpgate.smtp.reply import Reply
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, make_control
from tests.pool_kit import PoolKit

FIRST, SECOND = "127.0.0.1:2600", "unix:/run/mail.sock"
_OK, _NO = Reply(250, "2.0.0", ("ok",)), Reply(550, "5.0.0", ("no",))


class OverrideTests(SynchronousTestCase):
    """Maintenance and weights, as drains are kept (`test_proxy_drains`)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.control = make_control(self.clock)
        self.fleet = self.control.fleet

    def weights(self, control: Control) -> list[float]:
        pool = control.current().pools["mail"]
        return [server.weight(self.clock.seconds()) for server in pool.servers]

    def test_a_weight_holds_over_reloads_and_restarts(self) -> None:
        """Until it is taken back; what the configuration says comes then."""
        before = self.weights(self.control)
        self.fleet.weigh("mail", FIRST, 7, SYSTEM, "new disk")
        settings = loads(CONFIG + "[limits]\nrecipients = 700\n", "/nowhere/gate.toml")
        self.successResultOf(ensureDeferred(self.control._apply(settings)))
        self.assertEqual(self.weights(self.control)[0], 7)
        rows = self.fleet.weights.changed(0.0, 10)
        fresh = make_control(self.clock)
        fresh.fleet.weights.restore(rows, 0.0)
        fresh.fleet.weights.apply()
        self.assertEqual(self.weights(fresh)[0], 7)
        fresh.fleet.take_back("weight", "mail", FIRST, SYSTEM)
        self.assertEqual(self.weights(fresh), before)
        self.assertEqual(fresh.fleet.weights.changed(0.0, 10), [(f"mail {FIRST}", None, 0.0)])

    def test_its_time_is_over(self) -> None:
        """By itself, and that is told."""
        self.fleet.weigh("mail", FIRST, 7, SYSTEM, minutes=5)
        self.fleet.maintain("mail", SECOND, SYSTEM, minutes=10)
        self.assertEqual([one.kind for one in self.fleet.overrides()], ["service", "weight"])
        self.clock.advance(300)
        self.assertEqual([(one.kind, one.value) for one in self.fleet.overrides()], [("service", "maint")])
        self.clock.advance(300)
        self.assertEqual(self.fleet.overrides(), [])
        names = [getattr(event, "name", "") for event in self.control.events]  # type: ignore[attr-defined]
        self.assertEqual([name for name in names if name.endswith(".over")], ["weight.over", "drain.over"])

    def test_what_is_not_there(self) -> None:
        """Nothing is said of it, and nothing is kept."""
        for call in (
            lambda: self.fleet.weigh("mail", "elsewhere:25", 7, SYSTEM),
            lambda: self.fleet.maintain("other", FIRST, SYSTEM),
            lambda: self.fleet.take_back("weight", "mail", FIRST, SYSTEM),
            lambda: self.fleet.take_back("colour", "mail", FIRST, SYSTEM),
        ):
            self.assertRaises(Unknown, call)
        for weight in (0, -1, 1001):
            self.assertRaises(Invalid, self.fleet.weigh, "mail", FIRST, weight, SYSTEM)
        self.assertEqual(self.fleet.weights.changed(0.0, 10), [])

    def test_one_that_is_not_configured_now(self) -> None:
        """What was said of it stays, and can be taken back."""
        self.fleet.maintain("mail", FIRST, SYSTEM)
        text = CONFIG.replace(f'"{FIRST}"', '"127.0.0.1:2699"')
        self.successResultOf(ensureDeferred(self.control._apply(loads(text, "/nowhere/gate.toml"))))
        self.assertEqual([one.is_known for one in self.fleet.overrides()], [False])
        self.fleet.take_back("service", "mail", FIRST, SYSTEM)
        self.assertEqual(self.fleet.overrides(), [])

    def test_a_row_of_before_there_were_kinds(self) -> None:
        """Is a drain."""
        drains = Drains(self.clock, self.control.engine.wall, lambda: (), lambda event: None)
        drains.restore([("mail a:25", ["new disk", 5.0, 0.0], 0.0)], 0.0)
        found = drains.find("mail", "a:25")
        self.assertEqual((found.kind, found.reason), ("drain", "new disk") if found is not None else None)


class PoolTests(SynchronousTestCase):
    """What a pool makes of it."""

    def test_maintenance_is_not_looked_at(self) -> None:
        """And gets no mail; when it is over both begin again."""
        kit = PoolKit("a:25", "b:25", probe_s=30.0)
        kit.pool.start()
        kit.advance(1)
        first, second = kit.pool.servers
        kit.pool.drain(first, "new disk", True)
        seen = len(kit.connector.opened)
        kit.advance(61, 1.0)
        self.assertEqual(set(kit.connector.opened[seen:]), {"b"})
        self.assertEqual([[one.name for one in tier] for tier in kit.pool.choose()], [["b:25"]])
        kit.pool.ready(first)
        kit.advance(31, 1.0)
        self.assertIn("a", kit.connector.opened[seen:])
        self.assertFalse(first.is_maint or first.is_drained)

    def test_what_is_counted(self) -> None:
        """Links at the most, times that another was asked, time that it was out, how the last look ended."""
        kit = PoolKit("a:25", "b:25", balance="failover", probe_s=3600.0)
        kit.pool.start()
        kit.advance(1)
        first, second = kit.pool.servers
        self.assertEqual(first.check, "ok")
        kit.connector.refused.add("a")
        asked = kit.ask()
        self.assertEqual((asked.link.server, first.retries, second.most_links), ("b:25", 1, 1))  # type: ignore[union-attr]
        kit.advance(10, 1.0)
        self.assertAlmostEqual(first.downtime_s(kit.clock.seconds()), 10, places=3)
        kit.pool.probe(first)
        kit.advance(1)
        self.assertIn("ECONNREFUSED", first.check)
        kit.connector.refused.clear()
        kit.pool.probe(first)
        kit.advance(1)
        out = first.downtime_s(kit.clock.seconds())
        kit.advance(100, 10.0)
        self.assertEqual((first.state, first.downtime_s(kit.clock.seconds())), ("up", out))

    def test_answers(self) -> None:
        """Per second over a minute, and the last one with its octets."""
        kit = PoolKit("a:25")
        asked = kit.ask()
        link, (server,) = asked.link, kit.pool.servers
        for _ in range(6):
            kit.pool.answered(link, _OK, 0.1, 1000)  # type: ignore[arg-type]
        now = kit.clock.seconds()
        self.assertEqual(server.octets, 6000)
        self.assertAlmostEqual(server.rate.value(now), 0.1)
        kit.pool.answered(link, _NO, 0.1, 1000)  # type: ignore[arg-type]
        self.assertEqual((server.octets, server.last_reply), (6000, "550 no"))
        self.assertEqual(server.rate.value(now + 200), 0)


class RibbonTests(SynchronousTestCase):
    """The last day."""

    def setUp(self) -> None:
        self.now = 1_000_000.0
        self.kit = PoolKit("a:25", "b:25")
        self.ribbons = self.made()

    def made(self) -> Ribbons:
        return Ribbons(lambda: self.now, lambda: [self.kit.pool])

    def states(self, ribbons: Ribbons | None = None) -> list[tuple[str, float]]:
        return [(one.state, one.length_s) for one in (ribbons or self.ribbons).of("mail", "a:25")]

    def test_one_after_the_other(self) -> None:
        """Drained wins over what is seen; the same again is no change."""
        server = self.kit.pool.servers[0]
        for state in ("up", "down", "up", "up"):
            server.state = state
            self.ribbons.look()
            self.now += 10
        self.kit.pool.drain(server, "new disk", True)
        self.ribbons.look()
        self.now += 5
        self.assertEqual(self.states(), [("up", 10), ("down", 10), ("up", 20), ("maint", 5)])

    def test_a_day_and_no_more(self) -> None:
        """What was before it began is cut; one that comes and goes all day stays bounded."""
        server = self.kit.pool.servers[0]
        server.state = "up"
        self.ribbons.look()
        self.now += 2 * KEPT_S
        self.assertEqual(self.states(), [("up", KEPT_S)])
        for number in range(3 * MOST):
            server.state = ("up", "down")[number % 2]
            self.ribbons.look()
            self.now += 1
        self.assertLessEqual(len(self.states()), MOST + 1)

    def test_a_stop_stands_in_it(self) -> None:
        """From when it was written last."""
        self.kit.pool.servers[0].state = "up"
        self.ribbons.look()
        self.now += SEEN_S
        rows = self.ribbons.changed(self.now, 100)
        self.assertEqual(self.ribbons.changed(self.now + 1, 100), [])
        self.now += 500
        fresh = self.made()
        fresh.restore(rows, self.now)
        fresh.look()
        self.now += 3
        self.assertEqual(self.states(fresh), [("up", SEEN_S), ("off", 500.0), ("up", 3.0)])


class HeadroomTests(SynchronousTestCase):
    """What if it goes."""

    def verdicts(self, kit: PoolKit) -> list[str]:
        from smtpgate.control.fleet import headroom

        now = kit.clock.seconds()
        return [headroom(kit.pool, server, now).verdict for server in kit.pool.servers]

    def test_what_the_others_can(self) -> None:
        """Now, and at the busiest; who is drained or down does not count, nor does a later tier beside a better one."""
        kit = PoolKit("a:25", "b:25", max_connections=10)
        first, second = kit.pool.servers
        self.assertEqual(self.verdicts(kit), ["fits", "fits"])
        first.most_busy, second.most_busy = 8, 8
        self.assertEqual(self.verdicts(kit), ["tight", "tight"])
        first.load.busy, second.load.busy = 8, 8
        self.assertEqual(self.verdicts(kit), ["none", "none"])
        first.load.busy = second.load.busy = first.most_busy = second.most_busy = 0
        second.is_drained = True
        self.assertEqual(self.verdicts(kit), ["none", "fits"])
        second.is_drained, second.state = False, "down"
        self.assertEqual(self.verdicts(kit), ["none", "fits"])
        self.assertEqual(self.verdicts(PoolKit("only:25")), ["none"])


class AskTests(SynchronousTestCase):
    """How far would it come."""

    def setUp(self) -> None:
        self.kit = PoolKit("a:25", "b:25")
        self.control = make_control(self.kit.clock)
        self.fleet: Fleet = self.control.fleet
        self.control.engine.keeper = self.kit.keeper
        self.control.revision.pools = {"mail": self.kit.pool}  # type: ignore[union-attr]
        self.fleet.opener = lambda backend: Opener(backend, "gate.example", self.kit.connector, None, self.kit.clock)

    def asked(self, *args: str) -> Any:
        told = ensureDeferred(self.fleet.ask("mail", "a:25", *args))
        self.kit.turn()
        self.kit.advance(1)
        return self.successResultOf(told)

    def test_as_far_as_rcpt(self) -> None:
        """And then it is taken back: no DATA."""
        found = self.asked("b@example.net")
        self.assertEqual([(step.stage, step.code, step.is_good) for step in found.steps],
                         [("open", 220, True), ("mail", 250, True), ("rcpt", 250, True)])  # fmt: skip
        self.assertTrue(found.is_good)
        self.assertEqual(self.kit.connector.backend("a").messages, [])

    def test_a_refusal(self) -> None:
        """Stands there as it was said."""
        self.kit.connector.backend("a").answers["RCPT"] = "550 5.1.1 No such user"
        found = self.asked("nobody@example.net")
        self.assertEqual((found.is_good, found.steps[-1].code, found.steps[-1].text), (False, 550, "No such user"))

    def test_what_refuses(self) -> None:
        """Stands there with its words, and where nobody is too."""
        self.kit.connector.refused.add("a")
        found = self.asked("b@example.net")
        self.assertEqual([(step.stage, step.code, step.is_good) for step in found.steps], [("connect", 0, False)])
        self.assertFalse(found.is_good)

    def test_silence_is_over_in_time(self) -> None:
        """Whoever asks hears of it."""
        self.kit.connector.silent.add("a")
        told = ensureDeferred(self.fleet.ask("mail", "a:25", "b@example.net"))
        self.kit.advance(ASK_S + 1, 1.0)
        self.assertFalse(self.successResultOf(told).is_good)

    def test_nonsense(self) -> None:
        """Is told before anybody is asked; so is what is too much at a time."""
        for address in ("", "host", "host:0", "host:99999", "a b:25", HOSTILE[0]):
            told = ensureDeferred(self.fleet.ask_stranger(address, "smtp", "off", "b@example.net"))
            self.failureResultOf(told, Invalid)
        self.failureResultOf(ensureDeferred(self.fleet.ask("mail", "a:25", "b@example.net\r\nDATA")), Invalid)
        self.kit.connector.silent.add("s")
        waiting = [ensureDeferred(self.fleet.ask_stranger("s:25", "smtp", "off", "b@x.example")) for _ in range(4)]
        self.failureResultOf(ensureDeferred(self.fleet.ask("mail", "a:25", "b@example.net")), Refused)
        self.kit.advance(ASK_S + 1, 1.0)
        self.assertEqual([self.successResultOf(one).is_good for one in waiting], [False] * 4)

    def test_a_stranger(self) -> None:
        """As one that is configured."""
        told = ensureDeferred(self.fleet.ask_stranger("new:25", "smtp", "off", "b@example.net"))
        self.kit.turn()
        self.assertTrue(self.successResultOf(told).is_good)
        self.assertEqual(self.kit.connector.opened[-1], "new")


class ApiTests(ApiCase):
    """Over HTTP."""

    SERVER = f"/api/v1/backends/mail/servers/{FIRST}"

    def test_maintenance_and_weight(self) -> None:
        """Said, shown, listed, taken back; the audit has each with what was before."""
        body = {"reason": "new disk", "minutes": 60}
        self.assertEqual(self.desk.post_json(f"{self.SERVER}/maint", body, token=self.owner).status, 200)
        tag = self.desk.ask("GET", self.SERVER, token=self.owner).header("etag")
        self.patch_server({"weight": 9}, "", 428)
        self.patch_server({"weight": 9, "reason": "slow"}, tag)
        shown = self.desk.ask("GET", self.SERVER, token=self.owner).json()
        self.assertEqual((shown["shown_state"], shown["own_weight"]), ("maint", 9))
        listed = self.desk.ask("GET", "/api/v1/overrides", token=self.owner).json()["items"]
        self.assertEqual([(one["kind"], one["value"]) for one in listed], [("service", "maint"), ("weight", "9")])
        for kind in ("service", "weight"):
            place = f"/api/v1/overrides/{kind}/mail/{FIRST}"
            tag = self.desk.ask("GET", place, token=self.owner).header("etag")
            answer = self.desk.ask("DELETE", place, token=self.owner, headers={"If-Match": tag})
            self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(self.desk.ask("GET", "/api/v1/overrides", token=self.owner).json()["items"], [])
        actions = [row["action"] for row in self.desk.users.rows]
        self.assertEqual(actions, ["server.maint", "server.weight", "server.ready", "server.weight"])

    def patch_server(self, body: Any, tag: str, status: int = 200) -> None:
        headers = {"Content-Type": "application/json", **({"If-Match": tag} if tag else {})}
        answer = self.desk.ask("PATCH", self.SERVER, body=json.dumps(body).encode(), token=self.owner, headers=headers)
        self.assertEqual(answer.status, status, answer.text)

    def test_a_look_does_not_wait_for_ever(self) -> None:
        """A dry run asks nobody."""
        body = {"server": "127.0.0.1:9", "recipient": "b@example.net"}
        answer = self.desk.post_json("/api/v1/probe?dry_run=1", body, token=self.owner)
        self.assertEqual(answer.json()["would"]["action"], "probe")
        answer = self.desk.post_json("/api/v1/probe", body, token=self.owner)
        self.assertEqual(answer.status, 503, answer.text)
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["probe", "probe"])
        self.assertEqual(self.desk.users.rows[1]["result"], "failed")

    def test_pages(self) -> None:
        """Both are there, with what was said; nonsense in a form is told on the page."""
        self.desk.post_json(f"{self.SERVER}/drain", {"reason": HOSTILE[0]}, token=self.owner)
        for path in ("/backends", "/backends/mail"):
            page = self.desk.ask("GET", path, token=self.owner)
            self.assertEqual(page.status, 200)
            self.assertIn("drained", page.text)
            self.assertNotIn(HOSTILE[0], page.text)
        self.assertEqual(self.desk.ask("GET", "/backends/other", token=self.owner).status, 404)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for path, body, said in (
            (f"/backends/mail/servers/{FIRST}/weight", b"weight=0", "from 1 to"),
            (f"/backends/mail/servers/{FIRST}/weight", b"weight=1e9", "from 1 to"),
            (f"/backends/mail/servers/{FIRST}/probe", b"recipient=%3C", "recipient:"),
            ("/probe", b"protocol=smtp&tls=off&server=nonsense", "has no port"),
        ):
            page = self.desk.ask("POST", path, token=self.owner, body=body, headers=headers)
            self.assertEqual((page.status, said in page.text), (422, True), page.text)
