"""A pause of the intake: who hears what, when it is over, on the page and over the API."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control import SYSTEM
from smtpgate.control.intake import MOST_MINUTES
from smtpgate.control.views import Invalid, Refused
from smtpgate.policy import event as told
from tests.admin_kit import HOSTILE, ApiCase, make_control
from tests.browser_kit import BrowserCase, shoot


class PauseTests(SynchronousTestCase):
    """Through `Control`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.control = make_control(self.clock)

    def refusal(self, peer: str = "192.0.2.7") -> Any:
        return self.control.reception.refusal("mx", peer)

    def test_nobody_new_comes_in(self) -> None:
        """They hear 421 and come again; when its time is over everybody does, and that is told."""
        self.assertIsNone(self.refusal())
        self.control.intake.begin(10, SYSTEM, "new disk")
        for peer in ("192.0.2.7", "127.0.0.1"):
            reply = self.refusal(peer)
            self.assertEqual((reply.code, reply.enhanced), (421, "4.3.2"))
        self.assertEqual((self.control.overview().state, self.control.is_ready), ("paused", False))
        self.assertIn("new disk", " ".join(alert.text for alert in self.control.alerts.now()))
        self.clock.advance(600)
        self.assertIsNone(self.refusal())
        self.assertEqual(self.control.overview().state == "paused", False)
        events = self.control.events  # type: ignore[attr-defined]
        self.assertIn("intake.resumed", [getattr(event, "name", "") for event in events])
        refused = [event for event in events if isinstance(event, told.ConnectionRefused)]
        self.assertEqual({event.result for event in refused}, {"refused_paused"})

    def test_ended_and_begun_anew(self) -> None:
        """The time of the last one holds."""
        self.control.intake.begin(10, SYSTEM)
        self.control.intake.begin(30, SYSTEM)
        self.clock.advance(601)
        self.assertIsNotNone(self.refusal())
        self.control.intake.end(SYSTEM)
        self.assertIsNone(self.refusal())
        self.clock.advance(1800)
        names = [getattr(event, "name", "") for event in self.control.events]  # type: ignore[attr-defined]
        self.assertNotIn("intake.resumed", names)
        self.assertRaises(Refused, self.control.intake.end, SYSTEM)

    def test_not_for_ever(self) -> None:
        """Nor beside a drain."""
        for minutes in (0, -1, MOST_MINUTES + 1):
            self.assertRaises(Invalid, self.control.intake.begin, minutes, SYSTEM)
        self.control.reception.is_draining = True
        self.assertRaises(Refused, self.control.intake.begin, 10, SYSTEM)
        self.assertIsNone(self.control.intake.pause)


class ApiTests(ApiCase):
    """Over HTTP."""

    def test_paused_and_resumed(self) -> None:
        """A dry run pauses nothing; the audit has both; what there is not cannot be ended."""
        body = {"minutes": 10, "reason": HOSTILE[0]}
        place = "/api/v1/intake"
        self.desk.post_json(f"{place}/pause?dry_run=1", body, token=self.owner)
        self.assertFalse(self.desk.ask("GET", place, token=self.owner).json()["is_paused"])
        self.assertEqual(self.desk.post_json(f"{place}/pause", body, token=self.owner).status, 200)
        shown = self.desk.ask("GET", place, token=self.owner).json()
        self.assertEqual((shown["is_paused"], shown["by"]), (True, "token owner"))
        self.assertNotIn(HOSTILE[0], self.desk.ask("GET", "/", token=self.owner).text)
        self.assertEqual(self.desk.post_json(f"{place}/resume", {}, token=self.owner).status, 200)
        self.assertEqual(self.desk.post_json(f"{place}/resume", {}, token=self.owner).status, 409)
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["intake.pause", "intake.resume"])

    def test_the_form_wants_the_name(self) -> None:
        """Typed as it is."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        name = self.desk.control.settings.hostname.encode()
        for body, status in (
            (b"minutes=10&confirm=yes", 422),
            (b"minutes=11&confirm=" + name, 422),
            (b"minutes=10&confirm=" + name, 303),
        ):
            self.assertIsNone(self.desk.control.intake.pause)
            answer = self.desk.ask("POST", "/intake/pause", token=self.owner, body=body, headers=headers)
            self.assertEqual(answer.status, status)
        self.assertIsNotNone(self.desk.control.intake.pause)

    def test_several_sessions_end(self) -> None:
        """What became of each is told."""
        answer = self.desk.post_json("/api/v1/live/kill", {"ids": ["a", HOSTILE[0]]}, token=self.owner)
        self.assertEqual([one["done"] for one in answer.json()["items"]], [False, False])
        self.assertEqual(self.desk.users.rows, [])
        killed: list[str] = []
        control = self.desk.control

        class Running:
            def __init__(self, id: str) -> None:
                self.id = id
                self.facts = None

            def kill(self, by: str) -> None:
                killed.append(self.id)

        control.reception.sessions = {id: Running(id) for id in ("a", "b", "c")}  # type: ignore[misc]
        answer = self.desk.post_json("/api/v1/live/kill", {"ids": ["a", "c", "a", "x"]}, token=self.owner)
        self.assertEqual([(one["id"], one["done"]) for one in answer.json()["items"]],
                         [("a", True), ("c", True), ("x", False)])  # fmt: skip
        self.assertEqual(killed, ["a", "c"])
        self.assertEqual([row["target"] for row in self.desk.users.rows], ["2 sessions"])
        control.reception.sessions = {}


class BrowserTests(BrowserCase):
    """One visit."""

    def test_pause(self) -> Deferred[None]:
        """From the first page, and back."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.click("#pause summary")
        page.fill("#pause-reason", HOSTILE[0])
        page.fill("#pause-confirm", self.desk.control.settings.hostname)
        shoot(page, "overview-pause")
        page.click("#pause button")
        page.wait_for_selector("#paused")
        page.wait_for_selector("h1 .mark:has-text('Intake paused')")
        shoot(page, "overview-paused")
        page.click("#paused button")
        page.wait_for_selector("#paused", state="detached")
