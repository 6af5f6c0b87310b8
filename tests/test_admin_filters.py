"""What filters took of the time, and what came of their calls; in Chromium too."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.api_filters import FilterFiguresModel
from smtpgate.admin.pages_filters import budgets
from smtpgate.control.views import FilterView
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.meter import LATENCY, Histogram
from tests.admin_kit import ApiCase
from tests.browser_kit import BrowserCase, shoot
from tests.test_admin_routes import Unwritten


def fill(control: Any) -> None:
    """Two filters, and the calls of one minute."""
    views = [
        FilterView(name, ("mx",), ("data",), mode, 1.0, on_error, False, "spam")
        for name, mode, on_error in (("words", "enforce", "tempfail"), ("links", "shadow", "continue"),
                                     ("idle", "enforce", "reject"))
    ]  # fmt: skip
    control.filters = lambda: views
    quick, slow = Histogram(LATENCY), Histogram(LATENCY)
    for _ in range(30):
        quick.add(0.01)
        slow.add(0.03)
    minute = int(control.engine.wall()) // 60 * 60 - 60
    runs = {("words", "hit"): 4, ("words", "timeout"): 2, ("words", "pass"): 24, ("links", "shadow"): 7}
    times = {("words",): [*quick.counts, quick.total], ("links",): [*slow.counts, slow.total]}
    control.statistics.recorder = Unwritten([(minute, {"filter_runs_total": runs, "filter_duration_seconds": times})])


class FigureTests(ApiCase):
    """Over HTTP."""

    def test_share_and_results(self) -> None:
        """In the order of the chain, those without a call too."""
        fill(self.desk.control)
        items = self.desk.ask("GET", "/api/v1/filter-figures", token=self.owner).json()["items"]
        found = {one["name"]: one for one in items}
        self.assertEqual([one["name"] for one in items], ["words", "links", "idle"])
        self.assertEqual((found["words"]["share"], found["links"]["share"]), (0.25, 0.75))
        self.assertEqual(found["words"]["results"], {"hit": 4, "timeout": 2})
        self.assertEqual((found["links"]["results"], found["links"]["calls"]), ({"shadow": 7}, 30))
        self.assertEqual((found["idle"]["mean_ms"], found["idle"]["results"]), (None, {}))

    def test_without_a_store(self) -> None:
        """The chain is shown all the same, and that its times are not known."""
        fill(self.desk.control)

        class Broken:
            def load(self, *_: Any) -> Any:
                return fail(StoreFailed("disk full"))

            oldest = load

        self.desk.control.statistics.store = Broken()
        page = self.desk.ask("GET", "/filters", token=self.owner)
        self.assertEqual((page.status, "disk full" in page.text, "words" in page.text), (503, True, True))
        self.assertEqual(self.desk.ask("GET", "/api/v1/filter-figures", token=self.owner).status, 503)


class BudgetTests(SynchronousTestCase):
    """The picture."""

    def test_bars(self) -> None:
        """The longest is whole; who was not called has none."""
        given = [("a", 10.0, 40.0), ("b", 20.0, 30.0), ("c", None, None)]
        made = budgets(
            [
                FilterFiguresModel(name=name, calls=1, share=0, mean_ms=mean, p50_ms=mean, p95_ms=p95, results={})
                for name, mean, p95 in given
            ]
        )
        self.assertEqual([(bar.name, bar.mean, bar.p95) for bar in made], [("a", 25.0, 100.0), ("b", 50.0, 75.0)])
        self.assertEqual(budgets([]), [])


class BrowserTests(BrowserCase):
    """One visit."""

    def fill(self) -> None:
        """Some calls."""
        fill(self.desk.control)

    def test_filters(self) -> Deferred[None]:
        """The picture and the table."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/filters")
        page.wait_for_selector(".budgets svg")
        page.wait_for_selector(".mark:has-text('2 timeout')")
        shoot(page, "filters")
