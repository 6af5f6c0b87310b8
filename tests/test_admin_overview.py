"""The first page and what it is made of: numbers, what is wrong, marks in the plot, and a test message."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from smtpgate.admin.numbers import Point
from smtpgate.admin.pages_overview import marks
from smtpgate.admin.text import moment
from smtpgate.control.config_views import Applied
from smtpgate.policy import event as told
from tests.admin_kit import CONFIG, HOSTILE, PASSWORD, ApiCase, Desk, make_session
from tests.test_admin_events import EventStream
from tests.test_cli_sendtest import ID, Server


class OverviewTests(ApiCase):
    """State, alerts and numbers."""

    def test_all_of_it(self) -> None:
        """Rates, the revision, what is wrong; the page has the same words."""
        self.desk.control.hear(told.TransactionEnded(make_session(outcome="refused").transactions[0]))
        self.desk.control.hear(told.FilterFailed("virus", "data", "timeout", HOSTILE[0], "tempfail", ""))
        self.desk.control.current().pools["mail"].servers[0].state = "down"
        found = self.get("/overview")
        self.assertEqual((found["state"], found["pulse"]["refused"], found["certificate"]), ("degraded", 1.0, None))
        self.assertEqual([one["id"] for one in found["alerts"]], [one["id"] for one in self.get("/alerts")["items"]])
        self.assertEqual(found["alerts"][0]["link"], "/filters")
        self.assertEqual(found["change"]["id"], self.desk.control.current().id)
        page = self.desk.ask("GET", "/", token=self.owner).text
        for one in found["alerts"]:
            self.assertIn(one["text"].replace("'", "&#39;"), page)
        self.assertIn("100.0 %", page)

    def test_marks_stand_where_it_was_changed(self) -> None:
        """Within the picture, and nowhere else."""
        points = [Point(time=moment(60 * minute) or "") for minute in range(1, 61)]
        applied = [Applied(at, "abcdef", number, "user ann") for number, at in enumerate((10.0, 60.0, 1860.0, 9999.0))]
        self.assertEqual(
            [(x, words) for x, words, _ in marks(applied, points)], [(40.0, "revision 1"), (380.0, "revision 2")]
        )
        self.assertEqual(marks(applied, []), ())


class SendTests(ApiCase):
    """A test message through an own listener."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Server(f"250 2.0.0 Ok {ID}.1")
        self.addCleanup(self.server.close)
        self.desk = Desk(CONFIG.replace("tcp:0:", f"tcp:{self.server.port}:"))
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")

    def form(self, **fields: str) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", "/test/send", token=self.owner, body=urlencode(fields).encode(), headers=headers)

    def test_by_the_api(self) -> None:
        """The last reply, its reference and the dialogue; written down before it is sent, and not in a dry run."""
        planned = self.post("/test/send?dry_run=1", {"to": "bob@example.net"})
        self.assertEqual((planned["would"]["action"], self.server.heard), ("test.send", []))
        sent = self.post("/test/send", {"to": "bob@example.net"})
        self.assertEqual((sent["code"], sent["reference"]), (250, f"{ID}.1"))
        self.assertTrue(any("RCPT" in line.upper() and "bob@example.net" in line for line in sent["dialogue"]))
        self.assertEqual(
            [(row["action"], row["target"]) for row in self.desk.users.rows], [("test.send", "bob@example.net")]
        )

    def test_by_the_page(self) -> None:
        """It opens the message's page."""
        self.desk.history.keep(make_session(ID))
        answer = self.form()
        self.assertEqual((answer.status, answer.header("location")), (303, f"/sessions/{ID}.1"))
        self.assertTrue(any("postmaster@example.net" in line for line in self.server.heard))

    def test_mistakes(self) -> None:
        """What is no address goes nowhere, least of all as a command; nor does a listener that there is not."""
        for to in ("bob", "a b@example.net", "a@b>\r\nRCPT TO:<x@y", "ü@example.net"):
            self.post("/test/send", {"to": to}, 422)
            self.assertEqual(self.form(to=to).status, 422, to)
        self.post("/test/send", {"listener": "none"}, 409)
        self.assertEqual((self.server.heard, self.desk.users.rows), ([], []))
        self.post("/test/send", {})

    def test_one_at_a_time(self) -> None:
        """Each has a thread."""
        self.desk.office.is_sending = True
        self.post("/test/send", {}, 429)
        self.desk.office.is_sending = False
        self.post("/test/send", {})


class AlertEventTests(ApiCase):
    """Alerts on the event stream."""

    stream = EventStream.stream

    def test_raised_and_ended(self) -> None:
        """Once each, within a second; what there was before is not raised again."""
        server, other = self.desk.control.current().pools["mail"].servers
        other.state = "down"
        _, transport = self.stream("?topics=alert")
        self.desk.clock.pump([0.2] * 8)
        self.assertNotIn(b"alert.", transport.value())
        server.state, other.state = "down", "up"
        self.desk.clock.pump([0.2] * 8)
        said = [line for line in transport.value().decode().split("\n") if line.startswith(("event: alert", "data: {"))]
        self.assertEqual(said[0::2], ["event: alert.raised", "event: alert.ended"])
        self.assertEqual(json.loads(said[1][6:])["id"], f"server:mail/{server.name}")
