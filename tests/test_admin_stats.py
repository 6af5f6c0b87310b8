"""Numbers over time: the API, its tables, and the page."""

from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import charts
from smtpgate.admin.models_stats import as_csv
from smtpgate.admin.text import moment
from smtpgate.control.statistics import HOUR
from smtpgate.control.timeline import MEASURES, SPREADS, Distribution, Part, Step, bucket_of, quantile
from smtpgate.interfaces import StoreFailed
from smtpgate.observe.metrics import Metrics
from smtpgate.observe.recorder import KEPT, Recorder
from smtpgate.policy import event as told
from smtpgate.policy.counted import Counts, add
from smtpgate.policy.meter import LATENCY
from smtpgate.policy.verdict import Verdict
from smtpgate.state.series_store import KEPT_S
from tests.admin_kit import ApiCase
from tests.observe_kit import REFUSED, finding, session, transaction

#: What the kit's wall clock shows at first; and the minute and hour that it is in.
NOW = 1_790_000_000
MINUTE = NOW // 60 * 60


class MemorySeries:
    """An `interfaces.ISeriesStore` in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str, int], Counts] = {}
        self.is_broken = False

    def put(self, minutes: Any) -> Deferred[None]:
        for minute, rows in minutes:
            for step in KEPT_S:
                for name, counts in rows.items():
                    add(self.rows.setdefault((step, name, minute // step * step), {}), counts)
        return succeed(None)

    def load(self, names: Any, step: int, begin: int, end: int) -> Deferred[Any]:
        if self.is_broken:
            return fail(StoreFailed("the disk is gone"))
        found = [
            (name, at, dict(counts))
            for (size, name, at), counts in sorted(self.rows.items())
            if size == step and name in names and begin <= at < end
        ]
        return succeed(found)

    def oldest(self) -> Deferred[int | None]:
        return succeed(min((at for step, _, at in self.rows if step == 60), default=None))


def filled(case: ApiCase) -> MemorySeries:
    """Give a desk's gateway a store, metrics and a recorder; the store."""
    desk = case.desk
    store = MemorySeries()
    metrics = Metrics("1.0")
    metrics.expect({"mx": "mx"}, [("mail", "127.0.0.1:2600")])
    recorder = Recorder(metrics, desk.clock, desk.office.wall, store, lambda event: None)
    recorder.start()
    desk.control.statistics.store, desk.control.statistics.recorder = store, recorder
    case.metrics = metrics  # type: ignore[attr-defined]
    return store


class StatsCase(ApiCase):
    """A desk with numbers."""

    metrics: Metrics

    def setUp(self) -> None:
        super().setUp()
        self.store = filled(self)

    def mail(self, outcome: str = "delivered", **values: Any) -> None:
        """One message ends now."""
        self.metrics.hear(told.TransactionEnded(transaction(session(), outcome, **values)))


class ApiTests(StatsCase):
    """`/api/v1/stats`."""

    def test_what_just_happened_and_what_is_kept(self) -> None:
        """Are one series; nothing is counted twice when it is written."""
        self.mail()
        for seconds in (1.0, 200.0):
            self.desk.clock.advance(seconds)
            found = self.get("/stats/series?group_by=verdict&step=1m&time_from=" + str(moment(MINUTE - 120)))
            self.assertEqual((found["groups"][0], found["totals"][0]), ("accept", 1))
            self.assertEqual(found["items"][2]["counts"][0], 1)
            self.assertEqual(found["items"][2]["time"], moment(MINUTE))
            self.assertIsNone(found["items"][0]["counts"], "before the start there is no zero")
            self.assertEqual(found["since"], moment(MINUTE))
        hours = self.get("/stats/series?step=1h")
        self.assertEqual((hours["groups"], sum(hours["totals"])), (["all"], 1))

    def test_groups_and_what_only(self) -> None:
        """Each measure by its own labels, and no others."""
        self.mail()
        self.mail("refused", reply=REFUSED, accepted=0)
        found = self.get("/stats/series?measure=refusals&group_by=reason")
        self.assertEqual(dict(zip(found["groups"], found["totals"])), {"backend": 1})
        found = self.get("/stats/series?group_by=listener&only=verdict:reject,direction:in")
        self.assertEqual(dict(zip(found["groups"], found["totals"])), {"mx": 1})
        for query in (
            "measure=messages&group_by=reason",
            "only=pool:x",
            "only=pool",
            "measure=nothing",
            "group_by=user",
        ):
            answer = self.desk.ask("GET", f"/api/v1/stats/series?{query}", token=self.owner)
            self.assertIn(answer.status, (400, 422), query)

    def test_ranges_that_are_none(self) -> None:
        """Are refused with what would be right."""
        long_ago, later = str(moment(NOW - 90 * HOUR)), str(moment(NOW + HOUR))
        for query in (
            f"time_from={later}",
            f"time_from={moment(NOW)}&time_to={moment(NOW - 60)}",
            f"step=1m&time_from={long_ago}",
            "step=1h&time_from=2020-01-01",
            "time_from=yesterday",
            "step=2m",
        ):
            answer = self.desk.ask("GET", f"/api/v1/stats/series?{query}", token=self.owner)
            self.assertIn(answer.status, (400, 422), query)
        self.assertEqual(self.get("/stats/series?time_from=" + quote("2026-09-01T00:00:00+02:00"))["step_s"], 6 * HOUR)

    def test_every_measure_and_spread(self) -> None:
        """Is of a metric that is kept, and can be asked for by each of its labels."""
        self.mail(findings=[finding("spf-pass", "note")], verdict=Verdict(score=3.0))
        for path, known in (("series?measure", MEASURES), ("distributions?of", SPREADS)):
            for name, one in known.items():
                self.assertIn(one.metric, KEPT)
                for group in ("", *one.groups):
                    self.get(f"/stats/{path}={name}&group_by={group}")

    def test_distributions(self) -> None:
        """By stage, with percentiles, and over time."""
        for _ in range(3):
            self.mail()
        found = self.get("/stats/distributions?of=stage&group_by=stage")
        parts = {part["name"]: part for part in found["parts"]}
        self.assertEqual({name: part["count"] for name, part in parts.items()},
                         {"rcpt": 3, "data": 3, "filter": 3, "backend": 3})  # fmt: skip
        self.assertAlmostEqual(parts["backend"]["sum"], 0.3, 3)
        self.assertTrue(0.1 < parts["backend"]["p50"] <= 0.25, parts["backend"])
        self.assertEqual(len(found["items"][-1]["counts"]), len(found["bounds"]) + 1)
        self.assertEqual(sum(found["items"][-1]["counts"]), 12)

    def test_reports(self) -> None:
        """Days before the first are not there; the hour of the week is that of UTC."""
        self.mail()
        found = self.get("/stats/reports?days=7")
        self.assertEqual([row["day"] for row in found["days"]], ["2026-09-21"])
        self.assertEqual(found["days"][0]["by_direction"], [1])
        filled_hours = [
            (d, h) for d, line in enumerate(found["week"]) for h, value in enumerate(line) if value is not None
        ]
        self.desk.clock.advance(60.0)
        self.assertLessEqual(filled_hours, [(0, 14)])
        found = self.get("/stats/reports?days=400")
        self.assertGreater(found["week"][0][14], 0)

    def test_tables(self) -> None:
        """By Accept: the same numbers, with their version; a formula is none."""
        self.mail()
        self.desk.clock.advance(1.0)
        for path, column, count in (
            ("series?group_by=verdict", "accept", "1"),
            ("distributions?of=size&group_by=direction", "count", "1"),
            ("reports", "in", "1"),
        ):
            answer = self.desk.ask("GET", f"/api/v1/stats/{path}", token=self.owner, headers={"Accept": "text/csv"})
            self.assertEqual((answer.status, answer.header("content-type")), (200, "text/csv; charset=utf-8"))
            self.assertIn("attachment", answer.header("content-disposition"))
            rows = list(csv.DictReader(io.StringIO(answer.text)))
            self.assertIn(count, [row[column] for row in rows], path)
            headers = {"Accept": "text/csv", "If-None-Match": answer.header("etag")}
            again = self.desk.ask("GET", f"/api/v1/stats/{path}", token=self.owner, headers=headers)
            self.assertEqual(again.status, 304)
        self.assertEqual(as_csv([("=1+1", "@x", "-2", "a\nb", None, -3)]), b"'=1+1,'@x,'-2,\"a\nb\",,-3\r\n")

    def test_a_store_that_is_away(self) -> None:
        """Is said, by API and page; the page stays."""
        self.store.is_broken = True
        answer = self.desk.ask("GET", "/api/v1/stats/series", token=self.owner)
        self.assertEqual((answer.status, "the disk is gone" in answer.text), (503, True))


class PageTests(StatsCase):
    """`/stats`."""

    def page(self, query: str = "", status: int = 200) -> str:
        """Its text."""
        answer = self.desk.ask("GET", f"/stats{query}", token=self.owner)
        self.assertEqual(answer.status, status, answer.text)
        return answer.text

    def test_before_the_first_message(self) -> None:
        """It says so, and what would change that."""
        self.assertIn("No mail in this time", self.page())

    def test_pictures_with_their_tables(self) -> None:
        """Each has one line that says what it shows, and its numbers in words."""
        self.mail(findings=[finding("spf-pass", "note")], verdict=Verdict(score=3.0))
        self.mail("refused", reply=REFUSED, accepted=0)
        self.desk.clock.pump([10.0] * 12)
        for query in ("", "?range=7d", "?range=1h&scale=log&compare=1", f"?time_from={moment(NOW - 600)}"):
            text = self.page(query)
            self.assertIn("Messages by verdict: 2 in all, 1 accepted.", text)
            self.assertIn('<rect class="accept"', text)
            self.assertIn("Sums of scores: 1 messages.", text)
            self.assertGreaterEqual(text.count("as a table</summary>"), 6)
            self.assertNotIn("style=", text)
        self.assertIn("beside the 1 h before".lower(), self.page("?range=1h&compare=1").lower())

    def test_wrong_questions(self) -> None:
        """Are answered by the page, with what would be right."""
        self.assertIn("kept for 48 hours", self.page(f"?step=1m&time_from={moment(NOW - 90 * HOUR)}", 400))
        self.store.is_broken = True
        self.assertIn("the disk is gone", self.page("", 503))


class ChartTests(SynchronousTestCase):
    """What is measured out."""

    def test_quantiles(self) -> None:
        """Evenly inside a bucket; above the last bound its value."""
        self.assertIsNone(quantile((1.0, 2.0), (0, 0, 0), 0.5))
        self.assertEqual(quantile((1.0, 2.0), (0, 4, 0), 0.5), 1.5)
        self.assertEqual(quantile((1.0, 2.0), (1, 0, 9), 0.5), 2.0)
        self.assertEqual([bucket_of((1.0, 2.0), value) for value in (0.5, 1.0, 1.5, 2.0, 9.0)], [0, 0, 1, 1, 2])

    def test_a_heat_map(self) -> None:
        """Gaps are drawn, and break the lines."""
        nothing = (0,) * (len(LATENCY) + 1)
        some = (0, 3, 1, *nothing[3:])
        steps = tuple(Step(60 * at, 0 if at == 2 else 60, nothing if at == 2 else some) for at in range(5))
        view = Distribution("duration", "s", "", 60, 0, 300, 0, LATENCY, (Part("all", 16, 1.0, some, 1, 1, 1),), steps)
        picture = charts.heat(view, "x", lambda at, length, row: "")
        self.assertEqual([box.kind for box in picture.boxes].count("gap"), 1)
        self.assertEqual(len(picture.curves), 6)
        self.assertEqual(max(box.shade for box in picture.boxes if box.kind == "heat"), 1.0)
        for box in picture.boxes:
            self.assertTrue(0 <= box.x and box.x + box.width <= picture.width and 0 <= box.y, box)

    def test_round_tops(self) -> None:
        """1, 2 or 5 and zeros, never below."""
        self.assertEqual([charts.nice_top(value) for value in (0, 1, 3, 10, 11, 50, 51, 1e6)],
                         [1, 1, 5, 10, 20, 50, 100, 1e6])  # fmt: skip
