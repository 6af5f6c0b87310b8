"""The pages of backends in Chromium: what each server is, out of service and back, a look at a new one."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from smtpgate.policy.asked import Asked, Step
from tests.admin_kit import HOSTILE
from tests.browser_kit import BrowserCase, shoot

SERVER = "127.0.0.1:2600"


class BackendTests(BrowserCase):
    """One visit."""

    def fill(self) -> None:
        """A day with something in it, and servers that say hostile things."""
        control = self.desk.control
        pool = control.current().pools["mail"]
        for number, state in enumerate(("up", "down", "up", "ejected", "up")):
            pool.servers[0].state = state
            control.fleet.ribbons.look()
            self.desk.clock.advance(3000 + 2000 * number)
        pool.servers[0].last_reply = HOSTILE[0]
        steps = (Step("open", 220, HOSTILE[0], 3.0, True), Step("mail", 250, "ok", 1.0, True),
                 Step("rcpt", 550, HOSTILE[1], 2.0, False))  # fmt: skip
        control.fleet._ask = lambda *_: succeed(Asked(steps, HOSTILE[0], ("SIZE 100", "STARTTLS"), "TLSv1.3"))  # type: ignore
        control.fleet.opener = lambda backend: None  # type: ignore

    def test_backends(self) -> Deferred[None]:
        """From the list to a server and back."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/backends")
        page.wait_for_selector(f"text={SERVER}")
        shoot(page, "backends")
        page.click("h2 a:has-text('mail')")
        page.wait_for_selector("text=Time to answer")
        shoot(page, "backend")
        page.fill("#reason-1", HOSTILE[0])
        page.click(f"article:has-text('{SERVER}') button:has-text('Maintenance')")
        page.wait_for_selector("#servers .mark:has-text('maintenance')")
        page.fill("#weight-1", "7")
        page.click(f"article:has-text('{SERVER}') button:text-is('Weight')")
        page.wait_for_selector("text=7 instead of")
        page.click(f"article:has-text('{SERVER}') button:has-text('Probe')")
        page.wait_for_selector("#found .mark:has-text('would not take mail')")
        shoot(page, "backend-asked")
        page.goto(f"{self.base}/backends")
        page.wait_for_selector("#overrides li:has-text('weight 7')")
        shoot(page, "backends-overrides")
        for _ in range(2):
            page.click("#overrides li:first-child button")
            page.wait_for_url(f"{self.base}/backends")
        page.wait_for_selector("#overrides", state="detached")
        page.fill("#probe-server", "mail.example.net:25")
        page.click("button:text-is('Probe')")
        page.wait_for_selector("#found")
        shoot(page, "backends-asked")
