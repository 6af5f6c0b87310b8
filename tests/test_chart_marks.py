"""Pictures over time: moments of configurations, links to messages; limits that were met, and a trial as a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import charts
from smtpgate.admin.chart_marks import direction_terms, to_messages, verdict_terms, with_changes
from smtpgate.control.timeline import MEASURES, Series, Step
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.query import parse
from smtpgate.traffic.bans import GROWTH
from tests.admin_kit import ApiCase
from tests.test_admin_routes import Unwritten

AT = 1_790_000_040


def series(*counts: int) -> Series:
    """Steps of a minute with accepted messages."""
    steps = tuple(Step(AT + 60 * place, 60, (count,)) for place, count in enumerate(counts))
    end = AT + 60 * len(counts)
    return Series(MEASURES["messages"], "verdict", 60, AT, end, AT, ("accept",), (sum(counts),), steps)


class MarkTests(SynchronousTestCase):
    """`admin.chart_marks`."""

    def test_moments_of_configurations(self) -> None:
        """Where they were in the time of the picture; others are not in it."""
        picture = charts.stacked(series(1, 2), "Messages", charts.VERDICTS)
        applied = [SimpleNamespace(at=at, number=number, id="abc") for at, number in
                   ((AT - 1, 1), (AT, 2), (AT + 60, 0), (AT + 121, 4))]  # fmt: skip
        made = with_changes(picture, applied)
        found = [box for box in made.boxes if box.kind == "change"]
        self.assertEqual([box.x for box in found], [46, 46 + (720 - 46 - 6) / 2])
        self.assertIn("revision 2 was put to work", found[0].about)
        self.assertIn("abc was put to work", found[1].about)
        empty = charts.stacked(series(), "Messages")
        self.assertEqual(with_changes(empty, applied), empty)

    def test_a_column_leads_to_its_messages(self) -> None:
        """By time and verdict, in words that are understood."""
        picture = charts.stacked(series(3, 0), "Messages", charts.VERDICTS, link=to_messages(verdict_terms))
        (box,) = [box for box in picture.boxes if box.kind == "accept"]
        (query,) = parse_qs(urlsplit(box.link).query)["q"]
        self.assertTrue(query.startswith("verdict:delivered after:"))
        for terms, groups in ((verdict_terms, charts.VERDICTS), (direction_terms, ("in", "out", "internal"))):
            for group in groups:
                (query,) = parse_qs(urlsplit(to_messages(terms)(AT, 60, group)).query)["q"]
                self.assertGreaterEqual(len(parse(query, float(AT)).clauses), 2)


class LimitPageTests(ApiCase):
    """Limits that were met, over time."""

    def met(self) -> None:
        minute = int(self.desk.control.engine.wall()) // 60 * 60 - 60
        counts = {("per-host", "refused"): 4, ("per-host", "paced"): 2, ("per-user", "shadow"): 1}
        self.desk.control.statistics.recorder = Unwritten([(minute, {"ratelimit_decisions_total": counts})])

    def test_chart_and_table(self) -> None:
        """And a store that fails takes only them away."""
        self.assertIn("No limit was met", self.desk.ask("GET", "/limits", token=self.owner).text)
        self.met()
        page = self.desk.ask("GET", "/limits", token=self.owner).text
        for text in ("in the last 24 hours: 7 times", "per-host", "4 refused", "1 shadow"):
            self.assertIn(text, page)

        class Broken:
            def load(self, *_: Any) -> Any:
                return fail(StoreFailed("disk full"))

            oldest = load

        self.desk.control.statistics.store = Broken()
        page = self.desk.ask("GET", "/limits", token=self.owner)
        self.assertEqual((page.status, "disk full" in page.text, "Bans" in page.text), (503, True, True))

    def test_a_ban_grows(self) -> None:
        """How long the next one would be is told with this one."""
        bans, now = self.desk.control.reception.warden.bans, self.desk.control.engine.wall()
        bans.ban("192.0.2.7", "harvest", "", now)
        bans.ban("192.0.2.8", "by hand", "", now, 60.0, "user ann")
        found = {one["key"]: one["next_s"] for one in self.get("/bans")["items"]}
        self.assertEqual(found, {"192.0.2.7": bans.first_s * GROWTH, "192.0.2.8": 0.0})
        self.assertIn("the next one would be for", self.desk.ask("GET", "/limits", token=self.owner).text)

    def test_a_trial_as_a_task(self) -> None:
        """By the second button."""
        text = '[[rate_limits]]\nname = "x"\ncount = "messages"\nby = ["network"]\nrate = "1/1h"\n'
        body = urlencode({"text": text, "task": "yes"}).encode()
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.desk.ask("POST", "/limits/simulate", body=body, headers=head, token=self.owner)
        self.assertEqual((answer.status, answer.header("location")), (303, "/tasks"))
        self.desk.clock.pump([0.0] * 5)
        (task,) = self.get("/tasks")["items"]
        self.assertEqual(task["kind"], "Try a limit on the history")
