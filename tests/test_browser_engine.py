"""The engine room in Chromium: a filter into shadow and back, plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy.meter import LATENCY, Histogram
from smtpgate.policy.verdict import Finding
from tests.admin_kit import PASSWORD, make_session
from tests.browser_kit import BrowserCase, listen, need_browser, shoot
from tests.room_kit import RoomDesk
from tests.test_admin_routes import Unwritten


class BrowserTests(BrowserCase):
    """One visit."""

    def setUp(self) -> None:
        need_browser()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.desk = RoomDesk(folder)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        findings = (Finding("dnsbl-listed", filter="dnsbl", seconds=0.004),)
        facts = make_session(findings=findings)
        facts.note(100.322, "client", "gone", "connection reset")
        self.desk.history.keep(facts)
        slow = Histogram(LATENCY)
        for _ in range(20):
            slow.add(0.02)
        minute = int(self.desk.control.engine.wall()) // 60 * 60 - 60
        times = {("backend",): [*slow.counts, slow.total], ("data",): [*slow.counts, slow.total]}
        self.desk.control.statistics.recorder = Unwritten([(minute, {"stage_duration_seconds": times})])
        self.base = listen(self, self.desk)

    def test_a_filter_into_shadow_and_back(self) -> Deferred[None]:
        """By its form and by keyboard; the list says what is not as configured."""
        return self.visit(self.walk)

    def test_where_the_time_of_a_message_went(self) -> Deferred[None]:
        """Beside what is usual; and what was said."""
        return self.visit(self.times)

    def times(self, page: Any) -> None:
        page.goto(f"{self.base}/sessions/01J9UK7Q0000000000000000AA.1")
        page.wait_for_selector(".waterfall >> text=slow")
        shoot(page, "session-usual")
        page.click("text=What was said, line by line")
        page.wait_for_selector("text=MAIL FROM:<ann@example.org>")
        shoot(page, "transcript")

    def test_what_an_address_says(self) -> Deferred[None]:
        """The form below the live sessions, by keyboard."""
        return self.visit(self.listen)

    def listen(self, page: Any) -> None:
        page.goto(f"{self.base}/live")
        page.fill("#trace-address", "192.0.2.1")
        page.press("#trace-address", "Enter")
        page.wait_for_selector("#traces >> text=listening")
        self.on_reactor(lambda: self.desk.connect() and None)
        page.goto(f"{self.base}/live")
        page.click("#traces li a")
        page.wait_for_selector("text=EHLO client.example.org")
        shoot(page, "transcript-whole")
        page.goto(f"{self.base}/live")
        shoot(page, "live-traces")

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/filters/no-mail")
        page.select_option("#tune-mode", "shadow")
        page.fill("#tune-reason", "it refuses good mail")
        page.press("#tune-reason", "Enter")
        page.wait_for_selector("text=configured: enforce")
        shoot(page, "filter")
        page.goto(f"{self.base}/filters")
        page.wait_for_selector("#overrides >> text=it refuses good mail")
        shoot(page, "filters-tuned")
        page.click("#overrides button")
        page.wait_for_selector("main:not(:has(#overrides))")
        page.goto(f"{self.base}/plugins")
        page.wait_for_selector("text=How to install one")
        shoot(page, "plugins")
        page.click("td a:has-text('clamd')")
        page.wait_for_selector("text=StreamMaxLength")
        shoot(page, "plugin")
