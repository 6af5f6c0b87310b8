"""Reading with a second person in a real browser. Skipped as `test_admin_browser` is."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.browser_kit import chromium, listen, log_in, need_browser, shoot, watch
from tests.test_admin_seconds import SecondCase


class SecondsInBrowser(SecondCase, TestCase):
    """Ann asks, Bea approves, Ann reads."""

    timeout = 90

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.base = listen(self, self.desk)

    def test_walk(self) -> Deferred[None]:
        """Page after page."""
        return deferToThread(self.browse)  # type: ignore[no-any-return]

    def browse(self) -> None:
        """In a thread."""
        trouble: list[str] = []
        with chromium() as browser:
            ann, bea = (watch(browser.new_context().new_page(), trouble) for _ in range(2))
            for page, name in ((ann, "ann"), (bea, "bea")):
                log_in(page, self.base, name)
            ann.goto(f"{self.base}{self.place}/view")
            shoot(ann, "second-asks")
            self.narrow(ann)
            ann.fill("#reason", "the auditors want it")
            ann.click("main button:has-text('Ask')")
            ann.wait_for_selector("text=You have asked")
            bea.goto(f"{self.base}/quarantine")
            shoot(bea, "second-quarantine")
            bea.click("main .strip a")
            bea.wait_for_selector("text=the auditors want it")
            shoot(bea, "second-approves")
            self.narrow(bea)
            bea.click("text=Let them read it")
            bea.wait_for_selector("text=Let them read it", state="detached")
            ann.reload()
            ann.wait_for_selector("pre:has-text('Hello')")
        self.assertEqual(trouble, [])

    def narrow(self, page: Any) -> None:
        """Nothing stands out of a telephone."""
        page.set_viewport_size({"width": 360, "height": 800})
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        page.set_viewport_size({"width": 1280, "height": 900})
