"""The engine room in Chromium: a filter into shadow and back, plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.admin_kit import PASSWORD
from tests.browser_kit import BrowserCase, listen, need_browser, shoot
from tests.room_kit import RoomDesk


class BrowserTests(BrowserCase):
    """One visit."""

    def setUp(self) -> None:
        need_browser()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.desk = RoomDesk(folder)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.base = listen(self, self.desk)

    def test_a_filter_into_shadow_and_back(self) -> Deferred[None]:
        """By its form and by keyboard; the list says what is not as configured."""
        return self.visit(self.walk)

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
