"""Pages in a real browser, for the tests of each piece: an office on a port, somebody logged in, nothing amiss.

Needs Debian's `chromium` and the Python package `playwright`; what uses it is skipped without them, unless
SMTPGATE_REQUIRE_REAL=1. SMTPGATE_SHOTS=FOLDER keeps pictures of the pages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.admin_kit import CONFIG, PASSWORD, Desk

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
]


def need_browser() -> Any:
    """Playwright's entry; skips, or fails where the real things are required."""
    missing = ""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "Python package playwright"
    if not shutil.which(CHROMIUM):
        missing = "Debian package chromium"
    if missing:
        if os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
            raise AssertionError(f"missing: {missing}")
        raise SkipTest(f"missing: {missing}")
    return sync_playwright


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, as long as it is looked with."""
    with need_browser()() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def listen(case: Any, desk: Desk) -> str:
    """The office of a desk on a port of its own, until the test is over; the beginning of its addresses."""
    port: Any = reactor.listenTCP(0, desk.office.site(), interface="127.0.0.1")  # type: ignore[attr-defined]
    case.addCleanup(lambda: maybeDeferred(port.stopListening))
    # The office's clock is the test's: it follows the real one, so that streams and delays go on.
    pace = LoopingCall(lambda: desk.clock.advance(0.05))
    pace.start(0.05, now=False)
    case.addCleanup(pace.stop)
    case.addCleanup(desk.office.close)
    return f"http://127.0.0.1:{port.getHost().port}"


def watch(page: Any, trouble: list[str]) -> Any:
    """Note what goes wrong in a page."""
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append(f"dialog {dialog.message}"))
    page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective"
        " + ' ' + e.blockedURI + ' ' + e.sample))"
    )
    return page


def log_in(page: Any, base: str, name: str = "ann") -> None:
    """By name and password."""
    page.goto(f"{base}/login")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"{base}/")


def shoot(page: Any, name: str) -> None:
    """Pictures, where they are wanted: large and small, light and dark."""
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


class BrowserCase(TestCase):
    """A desk whose pages are looked at.

    :ivar text: its configuration
    """

    timeout = 120
    text = CONFIG

    def setUp(self) -> None:
        need_browser()
        self.desk = Desk(self.text)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.fill()
        self.base = listen(self, self.desk)

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
        with chromium() as browser:
            self.context = browser.new_context()
            page = self.fresh(trouble)
            log_in(page, self.base)
            walk(page)
            self.assertIsNone(page.evaluate("window.hurt ?? null"))
        self.assertEqual(trouble, [])

    def fresh(self, trouble: list[str]) -> Any:
        """Another page of the same browser; what goes wrong in it is noted."""
        return watch(self.context.new_page(), trouble)
