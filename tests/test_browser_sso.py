"""A login at a provider of identities in a real browser, for which the provider is another site: cookies that are
Strict stay at home on the way back, and policies hold. Skipped as `test_admin_browser` is.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.browser_kit import BrowserCase, chromium, shoot, watch
from tests.oidc_kit import Provider
from tests.test_admin_sso import with_provider


class SsoInBrowser(BrowserCase):
    """Carla comes in, proves who she is, and leaves; and once she does not come in."""

    provider: Provider

    def fill(self) -> None:
        self.provider = with_provider(self, host="localhost")
        self.provider.person["groups"] = ["mail-owners"]

    def test_walk(self) -> Deferred[None]:
        """Page after page."""
        return deferToThread(self.browse)  # type: ignore[no-any-return]

    def browse(self) -> None:
        """In a thread."""
        trouble: list[str] = []
        with chromium() as browser:
            self.context = browser.new_context()
            page = watch(self.context.new_page(), trouble)
            self.walk(page)
            self.assertIsNone(page.evaluate("window.hurt ?? null"))
            # The question for a proof is a 401, of which the browser tells.
            self.assertEqual([one for one in trouble if "401" not in one], [])
            self.fail_to(watch(browser.new_context().new_page(), []))
            self.plain(browser)

    def there(self, page: Any, words: str) -> None:
        """The button here, and the one there."""
        page.click(f"main button:has-text('{words}')")
        page.wait_for_url(f"{self.provider.issuer}/login?**")
        page.click("button")

    def walk(self, page: Any) -> None:
        """In, a form that waits for a proof, and out."""
        page.goto(f"{self.base}/backends")
        shoot(page, "sso-login")
        self.narrow(page)
        self.there(page, "Log in with Corp")
        page.wait_for_url(f"{self.base}/backends")
        page.wait_for_selector(".who bdi:has-text('carla')")
        names = {one["name"]: one["sameSite"] for one in self.context.cookies(self.base)}
        self.assertEqual(names["sg-local"], "Strict")
        self.assertNotIn("sg-sso", names)
        page.goto(f"{self.base}/access")
        page.click("#sso button:has-text('Test')")
        page.wait_for_selector("text=it answers, with 2 keys")
        shoot(page, "sso-access")
        self.narrow(page)
        page.goto(f"{self.base}/account")
        shoot(page, "sso-account")
        page.goto(f"{self.base}/access")
        self.on_reactor(self.desk.clock.advance, 700)
        page.click("#users summary")
        page.fill("#user-name", "dora")
        page.click("text=Make and invite")
        page.wait_for_selector("h1:has-text('Log in anew')")
        shoot(page, "sso-prove")
        self.there(page, "Log in with Corp")
        page.wait_for_url(f"{self.base}/login/sso/corp/finish")
        shoot(page, "sso-proved")
        page.click("text=Do it")
        page.wait_for_selector("text=dora is made")
        page.click(".who summary")
        page.click("text=Log out")
        page.wait_for_url(f"{self.provider.issuer}/logout?**")
        page.goto(f"{self.base}/backends")
        page.wait_for_url(f"{self.base}/login?**")

    def fail_to(self, page: Any) -> None:
        """No group of hers has a role; the page does not say so."""
        self.provider.person["groups"] = ["nothing"]
        page.goto(f"{self.base}/login")
        self.there(page, "Log in with Corp")
        page.wait_for_selector("h1:has-text('Not logged in')")
        self.assertNotIn("group", page.inner_text("main"))
        shoot(page, "sso-failed")
        self.narrow(page)
        self.provider.person["groups"] = ["mail-owners"]

    def plain(self, browser: Any) -> None:
        """Without scripts there is a button more to press."""
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{self.base}/system")
        self.there(page, "Log in with Corp")
        page.click("main button:has-text('Go on')")
        page.wait_for_url(f"{self.base}/system")

    def narrow(self, page: Any) -> None:
        """Nothing stands out of a telephone."""
        page.set_viewport_size({"width": 360, "height": 800})
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        page.set_viewport_size({"width": 1280, "height": 900})
