"""Held mail of one's own in a real browser: triage by one key each, a narrow window, no pointer, and no scripts."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import HOSTILE, PASSWORD
from tests.browser_kit import chromium, listen, need_browser, shoot, watch
from tests.test_admin_quarantine import QuarantineCase


class MyInBrowser(QuarantineCase, TestCase):
    """Bea goes through what is held for her."""

    timeout = 90

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.desk.users.add_user("eve", "owner", PASSWORD)
        order = {"name": "bea", "role": "user", "password": PASSWORD, "addresses": ["b@example.net"]}
        self.post("/users", order, 201)
        self.ids = [self.hold("b", subject=text, author=f'"{text[:20]}" <x@shop.example>') for text in HOSTILE[:3]]
        self.ids.append(self.hold("b", held_as="policy", subject="Invoice of March, with a table of what was sent"))
        self.base = listen(self, self.desk)

    def test_triage(self) -> Deferred[None]:
        """From the login to an empty page."""
        return deferToThread(self.browse)  # type: ignore[no-any-return]

    def browse(self) -> None:
        """In a thread."""
        trouble: list[str] = []
        with chromium() as browser:
            page = watch(browser.new_context().new_page(), trouble)
            page.goto(f"{self.base}/")
            page.fill("#name", "bea")
            page.fill("#password", PASSWORD)
            page.click("main button")
            page.wait_for_url(f"{self.base}/my")
            shoot(page, "my")
            self.walk(page)
            self.assertIsNone(page.evaluate("window.hurt ?? null"))
            self.plain(browser)
        self.assertEqual(trouble, [])

    def walk(self, page: Any) -> None:
        """By keys alone: the first row has the focus already."""
        rows = page.locator("#mine tbody tr")
        self.assertEqual(rows.count(), 4)
        page.keyboard.press("e")
        page.wait_for_selector("text=asked for")
        page.keyboard.press("j")
        page.keyboard.press("d")
        page.wait_for_selector("text=It is deleted")
        self.assertEqual(rows.count(), 3)
        page.keyboard.press("z")
        page.wait_for_selector("text=It is back")
        self.assertEqual(rows.count(), 4)
        page.keyboard.press("j")
        page.keyboard.press("b")
        page.wait_for_selector("#lists td:has-text('x@shop.example')")
        # A letter in a field is a letter.
        page.fill("#entry", "")
        page.locator("#entry").press_sequentially("bad.example")
        self.assertEqual(page.input_value("#entry"), "bad.example")
        page.set_viewport_size({"width": 360, "height": 800})
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        page.select_option("#language", "de")
        page.click("#digests button")
        page.wait_for_selector("h1:has-text('Ihre')")
        shoot(page, "my-lists")

    def plain(self, browser: Any) -> None:
        """Without scripts: the buttons do what they say."""
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{self.base}/my")
        page.fill("#name", "bea")
        page.fill("#password", PASSWORD)
        page.click("main button")
        for left in (3, 2, 1, 0):
            page.click("#mine tbody tr >> nth=0 >> button[value=drop]")
            self.assertEqual(page.locator("#mine tbody tr").count(), left)
        self.assertIn("Nichts wird für Sie", page.inner_text("main"))
