"""The pages of access, of the audit and of one's account in a real browser: from an invitation to a login with a code,
by keyboard, small and dark, and without scripts.

Skipped without Debian's `chromium` and Python's `playwright`; SMTPGATE_SHOTS=FOLDER keeps pictures.
"""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.admin import totp
from tests.admin_kit import HOSTILE, PASSWORD
from tests.browser_kit import BrowserCase, shoot

FRESH = "a phrase of bob alone"


class AccessTests(BrowserCase):
    """One owner, and somebody new."""

    def fill(self) -> None:
        for text in HOSTILE:
            self.desk.users.log.write(
                "user", text, "a.b", text, text, {"before": text, "after": {text: text}, "agent": text}
            )

    def test_people_come_and_go(self) -> Deferred[None]:
        """Invited, logged in, changed, shut out; the audit has it all."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.keyboard.press("g")
        page.keyboard.press("a")
        page.wait_for_url(f"{self.base}/access")
        shoot(page, "access-empty")
        link = self.invite(page)
        self.welcome(link)
        self.token(page)
        self.narrow(page, "/access")
        shoot(page, "access")
        self.codes(page)
        page.goto(f"{self.base}/access/users/bob")
        page.select_option("#role", "auditor")
        with page.expect_navigation():
            page.click("button:text-is('Change')")
        self.assertEqual(page.input_value("#role"), "auditor")
        shoot(page, "user")
        self.narrow(page, "/access/users/bob")
        page.goto(f"{self.base}/access/roles")
        shoot(page, "roles")
        self.narrow(page, "/access/roles")
        self.audit(page)
        self.proof()

    def narrow(self, page: Any, place: str) -> None:
        """Nothing is wider than a telephone."""
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(self.base + place)
        wide = page.evaluate("document.documentElement.scrollWidth")
        self.assertLessEqual(wide, 360, place)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(self.base + place)

    def invite(self, page: Any) -> str:
        """A user with a link; a name that is taken says so, and what was entered stays."""
        page.click("text=New user")
        page.fill("#user-name", "bob")
        page.select_option("#user-role", "helpdesk")
        page.fill("#user-domains", "example.net example.org")
        page.click("text=Make and invite")
        page.wait_for_selector(".once")
        link = str(page.inner_text(".once .command")).strip()
        shoot(page, "invited")
        again = self.apart()
        again.goto(f"{self.base}/access")
        again.click("text=New user")
        again.fill("#user-name", "bob")
        again.click("text=Make and invite")
        again.wait_for_selector(".trouble")
        self.assertEqual(again.input_value("#user-name"), "bob")
        again.close()
        return link

    def apart(self) -> Any:
        """A page that is refused something, which Chromium calls an error."""
        return self.context.new_page()

    def welcome(self, link: str) -> None:
        """Bob's own browser, without scripts."""
        context = self.context.browser.new_context(java_script_enabled=False)
        try:
            page = context.new_page()
            page.goto(link)
            shoot(page, "welcome")
            page.fill("#password", FRESH)
            page.fill("#again", FRESH)
            page.click("main button")
            page.wait_for_url(f"{self.base}/login")
            page.fill("#name", "bob")
            page.fill("#password", FRESH)
            page.click("main button")
            page.wait_for_url(f"{self.base}/messages")
            page.goto(f"{self.base}/account")
            self.assertIn("example.net, example.org", page.inner_text("main"))
        finally:
            context.close()

    def token(self, page: Any) -> None:
        """With scopes; its text is shown once."""
        page.goto(f"{self.base}/access")
        page.click("text=New token")
        page.fill("#token-name", "grafana")
        page.check("text=metrics:read")
        page.fill("#token-networks", "192.0.2.0/24")
        page.click("text=Make it")
        page.wait_for_selector(".once")
        self.assertRegex(page.inner_text(".once .command"), r"^sgt_")
        page.goto(f"{self.base}/access")
        self.assertNotIn("sgt_", page.content())
        self.assertIn("192.0.2.0/24", page.inner_text("#tokens"))

    def codes(self, page: Any) -> None:
        """Set up on the page of the account."""
        page.goto(f"{self.base}/account")
        shoot(page, "account")
        page.click("text=Set up one-time codes")
        page.wait_for_selector(".qr svg")
        shoot(page, "account-codes")
        self.narrow(page, "/account")
        page.click("text=Set up one-time codes")
        secret = base64.b32decode(page.inner_text(".key-text").replace(" ", ""))
        page.fill("#code", totp.code_at(secret, int(self.desk.office.wall() // 30)))
        page.keyboard.press("Enter")
        page.wait_for_selector(".recovery")
        self.assertEqual(page.locator(".recovery li").count(), 10)
        shoot(page, "recovery")
        recovery = page.inner_text(".recovery li >> nth=0")
        page.click("text=I have kept them")
        page.wait_for_url(f"{self.base}/account")
        page.click(".who summary")
        page.click("text=Log out")
        page.wait_for_url(f"{self.base}/login")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.base}/login/code**")
        shoot(page, "login-code")
        page.fill("#code", recovery)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.base}/")

    def audit(self, page: Any) -> None:
        """Looked through, opened, checked."""
        page.keyboard.press("g")
        page.keyboard.press("u")
        page.wait_for_url(f"{self.base}/audit")
        shoot(page, "audit")
        page.goto(f"{self.base}/audit?action=user")
        page.click(".audit details summary >> nth=0")
        shoot(page, "audit-open")
        self.assertIn("auditor", page.inner_text(".changed >> nth=0"))
        shoot(page, "audit-open")
        page.click("text=Check the chain")
        page.wait_for_selector("text=as they were written")
        page.goto(f"{self.base}/audit?action=nothing")
        page.wait_for_selector("text=Nothing fits")
        page.goto(f"{self.base}/audit")
        for number in range(min(page.locator(".audit > tbody > tr").count(), 20)):
            page.locator(".audit > tbody > tr").nth(number).locator("summary").first.click()
        self.narrow(page, "/audit")

    def proof(self) -> None:
        """The password again, and on with what was sent."""
        page = self.apart()
        page.goto(f"{self.base}/access/users/bob")
        self.on_reactor(self.desk.clock.advance, 700)
        page.check("input[name=is_disabled]")
        page.click("button:text-is('Change')")
        page.wait_for_selector("#proof")
        shoot(page, "proof")
        page.fill("#proof", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=shut out")
        self.assertTrue(self.desk.users.people["bob"].is_disabled)
