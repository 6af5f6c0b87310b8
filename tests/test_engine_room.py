"""Filters that run otherwise for a while, how they stand, and plugins; over HTTP and on pages too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control import SYSTEM
from smtpgate.control.engine_room import ASK_S, MOST_MINUTES
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.standing import ServerStanding
from tests.admin_kit import CONFIG, make_control
from tests.room_kit import FILTERS, RoomDesk

MAIL, NO, OK = "MAIL FROM:<ann@example.org>", "550 5.7.1 Not today", "250 2.1.0 Sender ok"


class RoomCase(SynchronousTestCase):
    """A desk with two filters at work and one that is off."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.desk = RoomDesk(folder)
        self.room = self.desk.control.room
        # The one that never answers is no part of what is looked at.
        self.tune("slow", "off")

    def tune(self, name: str, mode: str | None = None, seconds: float | None = None, minutes: int = 60) -> None:
        self.room.tune(name, self.room.planned(name, mode, seconds, "looked for a fault", minutes), SYSTEM)

    def told(self, name: str) -> int:
        return sum(getattr(one, "name", "") == name for one in self.desk.control.events)  # type: ignore[attr-defined]


class TuneTests(RoomCase):
    """Through `Control`, with the real chains."""

    def test_shadow_holds_for_sessions_that_begin(self) -> None:
        """One that is under way goes on as it began; taken back, a new one is refused again."""
        before = self.desk.connect()
        self.tune("no-mail", "shadow")
        after = self.desk.connect()
        self.assertEqual((before.say(MAIL), after.say(MAIL)), (NO, OK))
        self.assertEqual([(one.reason, one.is_shadow) for one in after.findings], [("not-today", True)])
        self.room.take_back("no-mail", SYSTEM)
        self.assertEqual((after.say("RSET"), after.say(MAIL)), ("250 2.0.0 Ok", OK))
        self.assertEqual(self.desk.connect().say(MAIL), NO)

    def test_off_is_not_asked_and_one_that_is_off_can_be(self) -> None:
        """Both ways, and the list has all of them."""
        self.tune("no-mail", "off")
        client = self.desk.connect()
        self.assertEqual((client.say(MAIL), client.findings), (OK, []))
        self.tune("asleep", "enforce")
        self.assertEqual(self.desk.connect().say(MAIL), NO)
        modes = {view.name: (view.mode, view.own_mode) for view in self.desk.control.filters()}
        self.assertEqual(modes["no-mail"], ("off", "enforce"))
        self.assertEqual(modes["asleep"], ("enforce", "off"))

    def test_a_shadow_has_services_of_its_own(self) -> None:
        """Whose edits nobody reads; it is built once however often it is wanted, and each is closed once."""
        first = len(self.desk.made)
        for _ in range(3):
            self.tune("no-mail", "shadow")
            self.room.take_back("no-mail", SYSTEM)
        (other,) = self.desk.made[first:]
        self.assertTrue(other.services._is_shadow)
        made = list(self.desk.made)
        self.room.take_back("slow", SYSTEM)
        self.desk.apply(CONFIG)
        self.assertEqual([one.closed for one in made], [1] * len(made))

    def test_it_is_closed_when_the_last_session_is_gone(self) -> None:
        """And not before: a session may be at work with it."""
        self.tune("no-mail", "shadow")
        client = self.desk.connect()
        other = self.desk.made[-1]
        self.room.take_back("no-mail", SYSTEM)
        self.desk.apply(CONFIG)
        self.assertEqual((client.say(MAIL), other.closed), (OK, 0))
        client.say("QUIT")
        self.desk.clock.advance(1)
        self.assertEqual(other.closed, 1)

    def test_over_reloads_and_restarts(self) -> None:
        """Until its time is over, which is told."""
        self.tune("no-mail", "shadow", minutes=30)
        self.desk.apply(CONFIG + FILTERS + "[limits]\nrecipients = 700\n")
        self.assertEqual(self.desk.connect().say(MAIL), OK)
        rows = self.room.tunings.changed(self.desk.control.engine.wall(), 100)
        fresh = make_control(self.desk.clock)
        fresh.room.tunings.restore(rows, fresh.engine.wall())
        self.desk.into(fresh)
        self.desk.apply(CONFIG + FILTERS, fresh)
        self.assertEqual({view.name: view.mode for view in fresh.filters()}["no-mail"], "shadow")
        self.desk.clock.advance(1800)
        self.assertEqual(self.told("filter.tuning_over"), 1)
        self.assertEqual(self.desk.connect().say(MAIL), NO)
        self.assertEqual({view.name: view.mode for view in fresh.filters()}["no-mail"], "enforce")

    def test_one_that_cannot_be_built_stays_as_configured(self) -> None:
        """Whoever asks hears it; where it comes up at a reload it is told, and the rest holds."""
        self.desk.refuses = SystemExit("no shadow here")
        self.assertRaises(Refused, self.tune, "no-mail", "shadow")
        self.assertEqual(self.desk.connect().say(MAIL), NO)
        self.desk.refuses = None
        self.tune("no-mail", "shadow")
        self.desk.refuses = OSError("gone")
        self.desk.apply(CONFIG + FILTERS + "[limits]\nrecipients = 700\n")
        self.assertTrue(self.told("filter.tuning_failed"))
        self.assertEqual(self.desk.connect().say(MAIL), NO)
        self.assertEqual({view.name: view.mode for view in self.desk.control.filters()}["slow"], "off")
        # It could be built again by now, and is not: what is shown is what runs, and a look builds nothing.
        self.desk.refuses = None
        made = len(self.desk.made)
        view = self.room.find("no-mail")
        self.assertEqual((view.mode, view.tuning, len(self.desk.made)), ("enforce", None, made))
        self.desk.apply(CONFIG + FILTERS + "[limits]\nrecipients = 701\n")
        self.assertEqual(self.room.find("no-mail").mode, "shadow")

    def test_it_is_an_alert_while_less_is_looked_at(self) -> None:
        """And none where more is."""
        self.room.take_back("slow", SYSTEM)
        self.tune("asleep", "enforce")
        self.assertEqual([one.id for one in self.desk.control.alerts.now() if one.id.startswith("filter.")], [])
        self.tune("no-mail", "shadow")
        (found,) = [one for one in self.desk.control.alerts.now() if one.id.startswith("filter.")]
        self.assertEqual(found.text, "filter no-mail is in shadow for a while: looked for a fault")

    def test_another_time_for_a_call(self) -> None:
        """The filter fails after that and not after what is configured."""
        self.tune("no-mail", "off")
        self.tune("slow", "", 4.0)
        client = self.desk.connect()
        self.assertEqual(client.say(MAIL), "")
        self.desk.clock.pump([0.5] * 7)
        self.assertEqual(client.read(), "")
        self.desk.clock.pump([0.5] * 2)
        self.assertEqual(client.read(), OK)
        (failed,) = [one for one in self.desk.control.events if isinstance(one, FilterFailed)]  # type: ignore[attr-defined]
        self.assertEqual((failed.filter, failed.detail), ("slow", "after 4.0 s"))

    def test_what_is_refused(self) -> None:
        """Nothing of it is kept."""
        self.room.tunings.changed(0.0, 100)
        for wrong, given in (
            (Unknown, ("nobody", "shadow")),
            (Refused, ("loop", "off")),
            (Invalid, ("no-mail", "enforce")),
            (Invalid, ("no-mail", "asleep")),
            (Invalid, ("no-mail", "", 0.0)),
            (Invalid, ("no-mail", None, 0.01)),
            (Invalid, ("no-mail", None, 301.0)),
            (Invalid, ("no-mail", "shadow", None, 0)),
            (Invalid, ("no-mail", "shadow", None, MOST_MINUTES + 1)),
        ):
            self.assertRaises(wrong, self.tune, *given)
        self.assertRaises(Invalid, self.room.planned, "no-mail", "off", None, " \t", 60)
        self.assertEqual(self.room.tunings.changed(0.0, 100), [])

    def test_who_looks_on_sees_sessions_of_before_and_after(self) -> None:
        """The live grid hears of filters of both."""
        self.desk.control.live.begin()
        self.addCleanup(self.desk.control.live.end)
        first = self.desk.connect()
        self.tune("no-mail", "shadow")
        second = self.desk.connect()
        first.say(MAIL)
        second.say(MAIL)
        cells = [row.cells["no-mail"].word for row in self.desk.control.live.grid(10).rows]
        self.assertEqual(cells, ["reject", "reject"])


class StandingTests(RoomCase):
    """What an engine says of itself."""

    def engine(self, servers: Any, signatures: Any) -> Any:
        from zope.interface import directlyProvides

        from smtpgate.interfaces import IEngine

        made = self.desk.made[0]
        made.standing, made.signatures = servers, signatures  # type: ignore[attr-defined]
        directlyProvides(made, IEngine)
        return made

    def test_up_and_down(self) -> None:
        """Down only where all are left alone."""
        servers = [ServerStanding("a", "down", 3, 0, 5.0), ServerStanding("b", "due", 3, 0, 0.0)]

        async def made() -> float:
            return 1_789_000_000.0

        self.engine(lambda: tuple(servers), made)
        self.successResultOf(self.desk.control.engine.start(self.room.ask_engines()))
        found = self.room.standings()["no-mail"]
        self.assertEqual((found.is_up, found.signatures_at), (True, 1_789_000_000.0))
        servers.pop()
        self.assertFalse(self.room.standings()["no-mail"].is_up)
        self.assertTrue(self.room.standings()["slow"].is_up)

    def test_one_that_fails_keeps_what_it_said(self) -> None:
        """Whatever it raises."""
        answers: list[Any] = [5.0, RuntimeError("strange"), None]

        async def made() -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def broken() -> Any:
            raise RuntimeError("no standing")

        self.engine(broken, made)
        seen = []
        for _ in range(3):
            self.successResultOf(self.desk.control.engine.start(self.room.ask_engines()))
            found = self.room.standings()["no-mail"]
            seen.append((found.signatures_at, found.is_up, found.trouble))
        trouble = "RuntimeError('no standing')"
        self.assertEqual(seen, [(5.0, True, trouble), (5.0, True, trouble), (0.0, True, trouble)])

    def test_one_that_never_answers(self) -> None:
        """Those behind it are asked all the same, and nobody asks beside it."""
        asked = []

        def never() -> Any:
            asked.append("never")
            return Deferred()

        self.engine(tuple, never)
        engine = self.desk.control.engine
        first, second = engine.start(self.room.ask_engines()), engine.start(self.room.ask_engines())
        self.successResultOf(second)
        self.assertNoResult(first)
        self.desk.clock.advance(ASK_S)
        self.successResultOf(first)
        self.assertEqual(asked, ["never"])
        self.assertIn("TimeoutError", self.room.standings()["no-mail"].trouble)

    def test_a_wrong_standing_is_its_own(self) -> None:
        """What a plugin gives in place of one takes nothing away of the others."""

        async def made() -> float:
            return 1.0

        self.engine(lambda: ("up",), made)
        found = self.room.standings()
        self.assertEqual((found["no-mail"].servers, "ServerStanding" in found["no-mail"].trouble), ((), True))
        self.assertIn("slow", found)


class ApiTests(RoomCase):
    """Over HTTP."""

    PLACE = "/api/v1/filters/no-mail"

    def setUp(self) -> None:
        super().setUp()
        self.owner = self.desk.token("owner")

    def patch_filter(self, body: Any, tag: str = "*", query: str = "") -> Any:
        head = {"Content-Type": "application/json", "If-Match": tag, "Content-Length": str(len(json.dumps(body)))}
        return self.desk.ask(
            "PATCH", self.PLACE + query, body=json.dumps(body).encode(), headers=head, token=self.owner
        )

    def get(self, path: str) -> Any:
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, 200, answer.text)
        return answer

    def test_from_shadow_back(self) -> None:
        """By its version; what is not named stays; all is in the audit with before and after."""
        tag = self.get(self.PLACE).header("etag")
        self.assertEqual(self.patch_filter({"mode": "shadow", "reason": "too many"}, tag).status, 200)
        self.assertEqual(self.patch_filter({"timeout_s": 3, "reason": "too many"}, tag).status, 412)
        self.assertEqual(self.patch_filter({"timeout_s": 3.0, "reason": "too slow", "minutes": 5}).status, 200)
        found = self.get(self.PLACE).json()
        self.assertEqual((found["mode"], found["own_mode"], found["budget_s"]), ("shadow", "enforce", 3.0))
        self.assertEqual((found["tuning"]["reason"], found["tuning"]["by"]), ("too slow", "token owner"))
        listed = self.get("/api/v1/filter-overrides").json()["items"]
        self.assertEqual([(one["name"], one["mode"]) for one in listed], [("no-mail", "shadow"), ("slow", "off")])
        self.assertEqual(self.patch_filter({"mode": None, "reason": "enough"}).status, 200)
        self.assertEqual(self.get(self.PLACE + "/override").json()["mode"], None)
        gone = self.desk.ask("DELETE", self.PLACE + "/override", token=self.owner, headers={"If-Match": "*"})
        self.assertEqual(gone.status, 200)
        self.assertIsNone(self.get(self.PLACE).json()["tuning"])
        rows = [one for one in self.desk.users.rows if one["action"] == "filter.tune"]
        self.assertEqual(len(rows), 4)
        self.assertEqual((rows[0]["before"]["mode"], rows[0]["after"]["mode"]), ("enforce", "shadow"))

    def test_a_dry_run_and_an_audit_that_fails_change_nothing(self) -> None:
        """It may open a gate: unaudited it is not done."""
        body = {"mode": "off", "reason": "too many"}
        tried = self.patch_filter(body, query="?dry_run=1")
        self.assertEqual((tried.status, tried.json()["would"]["after"]["mode"]), (200, "off"))
        self.desk.users.fails_audit = True
        self.assertGreaterEqual(self.patch_filter(body).status, 500)
        self.desk.users.fails_audit = False
        self.assertIsNone(self.get(self.PLACE).json()["tuning"])

    def test_what_is_refused(self) -> None:
        """In words."""
        for body in ({"mode": "off"}, {"mode": "of", "reason": "x"}, {"reason": "x"}, {"mode": "off", "reason": "x",
                     "minutes": 1441}, {"timeout_s": 0.0, "reason": "x"}):  # fmt: skip
            self.assertEqual(self.patch_filter(body).status, 422, body)

    def test_plugins(self) -> None:
        """Those in use first; where they come from; the schema of a table."""
        found = self.get("/api/v1/plugins").json()["items"]
        self.assertEqual([one["name"] for one in found[:2]], ["no-mail", "slow"])
        self.assertEqual(
            found[0]["used_as"], [{"name": "no-mail", "mode": "enforce"}, {"name": "asleep", "mode": "off"}]
        )
        schema = self.get("/api/v1/plugins/clamd/schema").json()["options"]
        self.assertIn("servers", schema["required"])
        self.assertEqual(self.desk.ask("GET", "/api/v1/plugins/nobody/schema", token=self.owner).status, 404)


class PageTests(RoomCase):
    """The pages' forms; a page shows nothing that the API lacks."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = self.desk.token("owner")

    def get(self, path: str) -> Any:
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, 200, answer.text)
        return answer

    def form(self, path: str, **fields: str) -> Any:
        """A form of somebody with a token."""
        from urllib.parse import urlencode

        head = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, body=urlencode(fields).encode(), headers=head, token=self.owner)

    def test_shadow_for_an_hour_and_back(self) -> None:
        """What cannot be is said on the page, with what was typed."""
        wrong = self.form("/filters/no-mail/tune", mode="shadow", timeout="soon", minutes="60", reason="why not")
        self.assertEqual((wrong.status, "why not" in wrong.text), (422, True))
        self.assertEqual(self.form("/filters/no-mail/tune", mode="shadow", minutes="61", reason="x").status, 400)
        self.assertEqual(self.form("/filters/nobody/tune", mode="shadow", minutes="60", reason="x").status, 404)
        done = self.form("/filters/no-mail/tune", mode="shadow", minutes="60", reason="<b>why</b>")
        self.assertEqual((done.status, done.header("location")), (303, "/filters/no-mail"))
        for path in ("/filters", "/filters/no-mail"):
            page = self.get(path).text
            self.assertIn("&lt;b&gt;why&lt;/b&gt;", page)
            self.assertIn("configured: enforce", page)
        self.assertEqual(self.form("/filters/no-mail/end").status, 303)
        self.assertEqual(self.desk.connect().say(MAIL), NO)

    def test_plugins_have_pages(self) -> None:
        """With the keys of their tables, and how another is installed."""
        page = self.get("/plugins").text
        self.assertIn("pip install PACKAGE", page)
        self.assertIn("StreamMaxLength", self.get("/plugins/clamd").text)
        self.assertIn("It has no keys", self.get("/plugins/no-mail").text)
        self.assertEqual(self.desk.ask("GET", "/plugins/nobody", token=self.owner).status, 404)
