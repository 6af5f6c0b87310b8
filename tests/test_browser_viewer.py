"""The content of held mail in a real browser: locked, whatever is in it. Skipped as `test_admin_browser` is."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import CONFIG, PASSWORD
from tests.browser_kit import chromium, listen, need_browser, shoot
from tests.test_admin_viewer import MAIL, ViewerCase

#: A page that tries what it can, in the words that browsers once fell for.
ATTACK = b"""From: a@example.org\r
Subject: <script>window.hurt=1</script>\r
Content-Type: text/html; charset=utf-8\r
\r
<html><head><base href="http://evil.example/"><meta http-equiv="refresh" content="0;url=http://evil.example/r">\r
<link rel="stylesheet" href="http://evil.example/s.css"><link rel="prefetch" href="http://evil.example/f">\r
<style>@import "http://evil.example/i.css"; body { background: url(http://evil.example/b) }</style></head>\r
<body onload="parent.hurt=1" background="http://evil.example/bg"><p id="text">Read me</p>\r
<img src="http://evil.example/p.gif" srcset="http://evil.example/2x 2x" onerror="top.hurt=1">\r
<img src=x onerror="parent.hurt=1"><svg onload="parent.hurt=1"><image href="http://evil.example/v"/></svg>\r
<a href="http://evil.example/go" target="_top" ping="http://evil.example/ping">www.example.com</a>\r
<form action="http://evil.example/f"><button autofocus onfocus="parent.hurt=1">Go</button></form>\r
<div style="background-image:url('http://evil.example/d');position:fixed;top:0">over all</div>\r
<iframe src="http://evil.example/w"></iframe><object data="http://evil.example/o"></object>\r
<video src="http://evil.example/v" poster="http://evil.example/q" autoplay></video>\r
<script>parent.hurt=1;alert(1);fetch("http://evil.example/x")</script></body></html>\r
"""


class ViewerInBrowser(ViewerCase, TestCase):
    """A manager reads mail that would hurt them."""

    timeout = 90
    config = CONFIG + "[quarantine.classes.dlp]\nreason = true\n"

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.base = listen(self, self.desk)

    def test_reading(self) -> Deferred[None]:
        """Attack, an honest mail, and one that is read for a reason."""
        ids = self.held(ATTACK), self.held(MAIL), self.held(MAIL, held_as="dlp")
        return deferToThread(self.browse, *ids)  # type: ignore[no-any-return]

    def browse(self, *ids: str) -> None:
        """In a thread."""
        with chromium() as browser:
            self.walk(browser.new_context(), *ids)

    def walk(self, context: Any, attack: str, honest: str, secret: str) -> None:
        """Login, then the pages."""
        asked: list[str] = []
        trouble: list[str] = []
        page = context.new_page()
        context.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog {dialog.message}"))
        page.on("popup", lambda other: trouble.append(f"window {other.url}"))
        page.goto(f"{self.base}/quarantine/{attack}")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url(f"{self.base}/quarantine/{attack}")
        page.click("text=Read it")
        page.wait_for_url(f"{self.base}/quarantine/{attack}/view")
        page.click("summary:has-text('as HTML')")
        inside = page.frame_locator("iframe.locked")
        self.assertEqual(inside.locator("p").first.inner_text(), "Read me")
        inside.locator(".lead").first.click()
        page.wait_for_timeout(300)
        self.assertEqual(page.url, f"{self.base}/quarantine/{attack}/view")
        frame = page.frames[1]
        self.assertEqual(frame.url, f"{self.base}/quarantine/{attack}/frame/1")
        # The frame is of no origin: the page cannot look in, and it not out.
        self.assertIsNone(page.evaluate("document.querySelector('iframe.locked').contentDocument"))
        self.assertIsNone(page.evaluate("window.hurt ?? null"))
        shoot(page, "held-attack")
        # Opened by itself, the same page is locked up by its own policy.
        page.goto(f"{self.base}/quarantine/{attack}/frame/1")
        self.assertEqual(page.evaluate("window.origin"), "null")
        page.goto(f"{self.base}/quarantine/{honest}/view")
        page.click("summary:has-text('as HTML')")
        inside = page.frame_locator("iframe.locked")
        inside.locator("img").first.wait_for(state="attached")
        self.assertIn("made to deceive?", page.inner_text(".lens"))
        shoot(page, "held-view")
        page.goto(f"{self.base}/quarantine/{secret}/view")
        self.assertNotIn("Hello", page.inner_text("main"))
        shoot(page, "held-reason")
        page.fill("#reason", "the recipient asked")
        page.press("#reason", "Enter")
        page.wait_for_selector("text=Hello")
        self.keys(page, honest)
        self.assertEqual([url for url in asked if not url.startswith((self.base, "data:"))], [])
        self.assertEqual(trouble, [])
        self.assertEqual(len(self.readings()), 3)

    def keys(self, page: Any, honest: str) -> None:
        """The list and one message after the other, by keys alone; more that comes is told, and moves no row."""
        page.goto(f"{self.base}/quarantine")
        shoot(page, "quarantine")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("d")
        page.wait_for_selector("text=Delete 1 message?")
        shoot(page, "quarantine-sure")
        page.go_back()
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Older →")
        page.keyboard.press("j")
        page.wait_for_url(f"{self.base}/quarantine/{honest}")
        shoot(page, "held")
        page.keyboard.press("e")
        self.assertEqual(page.evaluate("document.activeElement.textContent"), "Release")
        page.keyboard.press("d")
        self.assertEqual(page.evaluate("document.activeElement.textContent"), "Delete for good")
        page.goto(f"{self.base}/quarantine")
        rows = page.locator("#held tbody tr").count()
        reactor.callFromThread(self.held, MAIL)  # type: ignore[attr-defined]
        page.wait_for_selector("#fresh:has-text('1 new')", timeout=20_000)
        self.assertEqual(page.locator("#held tbody tr").count(), rows)
        page.click("#fresh")
        page.wait_for_function(f"document.querySelectorAll('#held tbody tr').length === {rows + 1}")
