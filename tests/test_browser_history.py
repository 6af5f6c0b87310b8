"""The list of messages in a real browser: numbers, a stretch of time drawn over them, what came since, nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import make_session
from tests.browser_kit import BrowserCase, shoot

HOUR = 3600.0
BEGUN = 1_790_000_000.0


class MessagesTests(BrowserCase):
    """/messages."""

    def fill(self) -> None:
        """Forty messages over two days."""
        for number in range(40):
            is_bad = number % 5 == 0
            self.keep(number, BEGUN - number * HOUR, is_bad)

    def keep(self, number: int, at: float, is_bad: bool = False) -> None:
        """One more."""
        self.desk.history.keep(
            make_session(
                f"01J9UK7Q0000000000000{number:05d}",
                sender=f"user{number}@mail.example.org",
                subject=f"Invoice {number} <b>bold</b>",
                outcome="refused" if is_bad else "delivered",
                reply=Reply(550, "5.7.1", ("No",)) if is_bad else Reply(250, "2.0.0", ("Ok",)),
                findings=(Finding("no-programs", "reject", filter="rules", score=7.0),) if is_bad else (),
                started=at,
            )
        )

    def test_a_list_and_its_numbers(self) -> Deferred[None]:
        """Bars, kinds, a stretch of time, new messages, nothing, a mistake."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/messages")
        page.wait_for_selector(".plot.hits .hit")
        shoot(page, "messages")
        self.assertIn("40 messages", page.inner_text(".numbers .total"))

        # New ones are counted, and move nothing.
        first = page.inner_text("#list tbody tr:first-child")
        self.on_reactor(self.keep, 90, BEGUN + 60)
        page.evaluate("document.getElementById('new').dispatchEvent(new Event('refresh'))")
        page.wait_for_selector("#new .pill")
        self.assertIn("1 new", page.inner_text("#new"))
        self.assertEqual(page.inner_text("#list tbody tr:first-child"), first)
        page.click("#new .pill")
        page.wait_for_function("document.querySelector('.numbers .total').innerText.includes('41 messages')")

        # A stretch of time drawn over the bars.
        box = page.locator(".plot.hits").bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.5, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=5)
        page.mouse.up()
        page.wait_for_url("**/messages?q=after*")
        page.wait_for_selector(".plot.hits .hit")
        count = page.locator("#list tbody tr").count()
        self.assertTrue(0 < count < 41, count)

        # A kind, by keyboard.
        page.goto(f"{self.base}/messages")
        page.focus(".facets a:has-text('refused')")
        page.keyboard.press("Enter")
        page.wait_for_url("**verdict%3Arefused*")
        self.assertEqual(page.locator("#list tbody tr").count(), 8)
        self.assertEqual(page.locator(".facets a[aria-current]").count(), 1)

        page.goto(f"{self.base}/messages?q=to:bob+from:nobody+last:1h")
        page.wait_for_selector("text=Nothing matches")
        shoot(page, "messages-nothing")
        # A mistake is an answer of 400, which a browser notes by itself; here is only looked for what it says.
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{self.base}/messages")
            self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), width)
