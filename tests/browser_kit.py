"""Pages in a real browser, for the tests of one piece each: an office on a port, somebody logged in, nothing amiss.

Needs what `test_admin_browser` needs, and keeps pictures as it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import CONFIG, PASSWORD, Desk
from tests.test_admin_browser import ARGUMENTS, CHROMIUM, need_browser


class BrowserCase(TestCase):
    """A desk whose pages are looked at.

    :ivar text: its configuration
    """

    timeout = 120
    text = CONFIG

    def setUp(self) -> None:
        self.playwright = need_browser()
        self.desk = Desk(self.text)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.fill()
        self.port: Any = reactor.listenTCP(0, self.desk.office.site(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(self.port.stopListening))
        self.base = f"http://127.0.0.1:{self.port.getHost().port}"
        # The office's clock is the test's: it follows the real one, so that streams and delays go on.
        pace = LoopingCall(lambda: self.desk.clock.advance(0.05))
        pace.start(0.05, now=False)
        self.addCleanup(pace.stop)
        self.addCleanup(self.desk.office.close)

    def fill(self) -> None:
        """What there is to see."""

    def visit(self, walk: Callable[[Any], None]) -> Deferred[None]:
        """Walk through pages in a thread, logged in."""
        return deferToThread(self._browse, walk)

    def on_reactor(self, call: Callable[..., Any], *args: Any) -> Any:
        """Do something where the gateway is at home, and wait for it."""
        return blockingCallFromThread(reactor, maybeDeferred, call, *args)

    def _browse(self, walk: Callable[[Any], None]) -> None:
        trouble: list[str] = []
        with self.playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            try:
                self.context = browser.new_context()
                page = self.fresh(trouble)
                page.goto(f"{self.base}/login")
                page.fill("#name", "ann")
                page.fill("#password", PASSWORD)
                page.click("main button")
                page.wait_for_url(f"{self.base}/")
                walk(page)
                self.assertIsNone(page.evaluate("window.hurt ?? null"))
            finally:
                browser.close()
        self.assertEqual(trouble, [])

    def fresh(self, trouble: list[str]) -> Any:
        """Another page of the same browser; what goes wrong in it is noted."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog {dialog.message}"))
        page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective"
            " + ' ' + e.blockedURI + ' ' + e.sample))"
        )
        return page

    def shoot(self, page: Any, name: str) -> None:
        """Pictures, where they are wanted."""
        folder = os.environ.get("SMTPGATE_SHOTS")
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for width in (1280, 360):
                page.set_viewport_size({"width": width, "height": 900})
                page.wait_for_timeout(150)
                page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 900})
