"""Where mail goes: the picture, its numbers, and the way of one address; in Chromium too."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import flow
from tests.admin_kit import HOSTILE, ApiCase
from tests.browser_kit import BrowserCase, shoot

COUNTS = st.lists(st.integers(0, 10**7), min_size=1, max_size=8)


class FlowTests(SynchronousTestCase):
    """The drawing."""

    @given(COUNTS, COUNTS)
    def test_it_stays_in_the_picture(self, left: list[int], right: list[int]) -> None:
        """Nothing over another of its side, nothing outside, the middle holds both sides."""
        listeners = [(f"l{place}", count) for place, count in enumerate(left)]
        ends = [("backend", f"b{place}", count) for place, count in enumerate(right)]
        drawn = flow.draw(listeners, ends, "the last hour", {})
        for x in {node.x for node in drawn.nodes}:
            side = sorted((node for node in drawn.nodes if node.x == x), key=lambda node: node.y)
            for upper, lower in zip(side, side[1:]):
                self.assertLessEqual(upper.y + upper.height, lower.y)
            for node in side:
                self.assertTrue(0 <= node.y and node.y + node.height <= drawn.height, node)
        self.assertEqual(len(drawn.bands), len(left) + len(right))

    def test_width_is_rate(self) -> None:
        """Twice the mail is twice as high; what was asked for is marked."""
        drawn = flow.draw(
            [("a", 100), ("b", 200)], [("backend", "m", 300)], "an hour", {}, frozenset({("listener", "b")})
        )
        height = {node.name: node.height for node in drawn.nodes}
        self.assertAlmostEqual(height["b"], 2 * height["a"], places=0)
        self.assertAlmostEqual(height["m"], height["a"] + height["b"], places=0)
        self.assertEqual([band.is_on for band in drawn.bands], [False, True, False])


class ApiTests(ApiCase):
    """Over HTTP."""

    def test_the_map(self) -> None:
        """Listeners, routes with what they want, backends with their servers."""
        found = self.desk.ask("GET", "/api/v1/routes", token=self.owner).json()
        settings = self.desk.control.settings
        self.assertEqual([one["name"] for one in found["listeners"]], list(settings.listeners))
        self.assertEqual([one["backend"] for one in found["routes"]], [one.backend for one in settings.routes])
        self.assertEqual([one["name"] for one in found["backends"]], list(settings.backends))
        self.assertIn("of 2 servers", found["backends"][0]["about"])

    def test_the_page_traces(self) -> None:
        """All that is asked stands in the address; what is none is told."""
        good = self.desk.ask("GET", "/routes?listener=mx&recipient=b@example.net", token=self.owner)
        self.assertEqual(
            (good.status, "goes on" in good.text, 'class="band listener on"' in good.text), (200, True, True)
        )
        far = self.desk.ask("GET", "/routes?listener=mx&recipient=b@elsewhere.example", token=self.owner)
        self.assertEqual((far.status, "is refused" in far.text), (200, True))
        for wrong in ({"listener": "none"}, {"recipient": "<"}, {"client": HOSTILE[0]}, {"sender": "x"}):
            query = urlencode({"listener": "mx", "recipient": "b@example.net", **wrong})
            page = self.desk.ask("GET", f"/routes?{query}", token=self.owner)
            self.assertEqual((page.status, 'role="alert"' in page.text), (422, True))

    def test_no_route(self) -> None:
        """Is told with what to do."""
        revision: Any = self.desk.control.revision
        revision.settings = attrs.evolve(revision.settings, routes=())
        self.assertIn("no recipient is taken", self.desk.ask("GET", "/routes", token=self.owner).text)


@attrs.define
class Unwritten:
    """A recorder whose minutes are in memory."""

    minutes: list[Any]
    writes: int = 0

    def unwritten(self) -> list[Any]:
        return self.minutes


class BrowserTests(BrowserCase):
    """One visit."""

    def test_routes(self) -> Deferred[None]:
        """From the picture to the way of an address."""
        return self.visit(self.walk)

    def fill(self) -> None:
        """Some mail of the last minutes, not written to a store yet."""
        control = self.desk.control
        minute = int(control.engine.wall()) // 60 * 60 - 60
        came = {("mx", "in", "accept"): 700, ("mx", "in", "reject"): 240, ("submission", "out", "accept"): 90}
        went = {("mail", "127.0.0.1:2600", "2xx"): 790}
        counts = {"messages_total": came, "backend_replies_total": went}
        control.statistics.recorder = Unwritten([(minute, counts)])

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/routes")
        page.wait_for_selector("svg.flow .band")
        shoot(page, "routes")
        page.fill("#trace-recipient", "b@example.net")
        page.press("#trace-recipient", "Enter")
        page.wait_for_selector("#way:has-text('goes on')")
        self.assertIn("recipient=b%40example.net", page.url)
        self.assertGreater(page.locator("svg.flow .band.on").count(), 1)
        shoot(page, "routes-traced")
