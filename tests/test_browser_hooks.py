"""Webhooks and alerts in a real browser: main, empty and narrow. Skipped as `test_admin_browser` is."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from tests.browser_kit import chromium, listen, log_in, need_browser, shoot, watch
from tests.test_admin_hooks import HookCase


class HooksInBrowser(HookCase, TestCase):
    """Ann looks who is called, and mutes an alert."""

    timeout = 90

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.receivers["ops"].answers = [500, 200]
        self.end("refused", Finding("listed", "reject", filter="dnsbl"))
        self.desk.control.engine.tell(told.Happened("spool.full", "error", "no room is left for <b>mail</b>"))
        self.go(40)
        self.base = listen(self, self.desk)

    def test_walk(self) -> Deferred[None]:
        """Page after page."""
        return deferToThread(self.browse)  # type: ignore[no-any-return]

    def browse(self) -> None:
        """In a thread."""
        trouble: list[str] = []
        with chromium() as browser:
            page = watch(browser.new_context().new_page(), trouble)
            log_in(page, self.base)
            self.walk(page)
        self.assertEqual(trouble, [])

    def walk(self, page: Any) -> None:
        """What there is, and what can be done."""
        page.goto(f"{self.base}/webhooks")
        shoot(page, "webhooks")
        page.click("main a:has-text('ops')")
        page.wait_for_selector("h1:has-text('ops')")
        shoot(page, "webhook")
        page.click("text=Call it now")
        page.wait_for_selector("text=it took the test")
        self.narrow(page)
        page.goto(f"{self.base}/alerts")
        shoot(page, "alerts")
        self.narrow(page)
        row = page.locator("tr:has-text('no room is left for <b>mail')")
        row.locator("select").select_option("1440")
        row.locator("button").click()
        page.wait_for_selector("#mutes td:has-text('spool.full')")
        shoot(page, "alerts-muted")
        page.click("#mutes button")
        page.wait_for_selector("#mutes", state="detached")

    def narrow(self, page: Any) -> None:
        """Nothing stands out of a telephone."""
        page.set_viewport_size({"width": 360, "height": 800})
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        page.set_viewport_size({"width": 1280, "height": 900})
