"""The pages in a real browser: first visit to explained refusal, with hostile text on every page.

Needs Debian's `chromium` and the Python package `playwright`; skipped without them, unless
SMTPGATE_REQUIRE_REAL=1. SMTPGATE_SHOTS=FOLDER keeps pictures of the pages.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from smtpgate.filters.rule_trial import Trial
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import CONFIG, HOSTILE, PASSWORD, Desk, make_session
from tests.test_filters_rules import Services

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
RULES = """[[rules]]
name = "script-in-subject"
when = "subject.contains('<script')"
action = "reject"

[[rules]]
name = "to-carl"
when = "recipient == 'carl@example.net'"
action = "quarantine"
mode = "shadow"

[[rules]]
name = "files"
when = "attachments.size() > 9"
action = "reject"
"""


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


class BrowserTests(TestCase):
    """One visit, from the setup code on."""

    timeout = 120

    def setUp(self) -> None:
        self.playwright = need_browser()
        self.desk = Desk(CONFIG + RULES)
        self.desk.control.rule_trials.trial = Trial
        self.desk.control.current().services = Services()
        self.fill()
        self.port: Any = reactor.listenTCP(0, self.desk.office.site(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(self.port.stopListening))
        self.base = f"http://127.0.0.1:{self.port.getHost().port}"
        # The office's clock is the test's: it follows the real one, so that streams and delays go on.
        pace = LoopingCall(lambda: self.desk.clock.advance(0.05))
        pace.start(0.05, now=False)
        self.addCleanup(pace.stop)

    def fill(self) -> None:
        """Sessions with hostile text, and some that are as usual."""
        keep = self.desk.history.keep
        now = self.desk.office.wall()
        for number, text in enumerate(HOSTILE):
            local = "".join(c for c in text if c.isprintable() and c not in '"\\<>')
            facts = make_session(
                f"01J9UK7Q00000000000000H{number:03d}",
                helo=text,
                sender=f'"{local}"@example.org',
                recipients=(f'"{local}"@example.net',),
                subject=text.replace("\r", "").replace("\n", ""),
                outcome="refused",
                reply=Reply(550, "5.7.1", (text,)),
                findings=(
                    Finding("hostile", "reject", public=text, detail=text, filter="content", seconds=0.0031),
                    Finding("odd-name", "note", detail=text, score=1.5, filter="names", is_shadow=True),
                ),
                started=now - 4000 + number,
            )
            facts.client_name = text
            facts.note(100.2, "backend", text, text)
            facts.timeline.sort(key=lambda step: step[0])
            keep(facts)
        for number in range(3):
            facts = make_session(f"01J9UK7Q00000000000000G{number:03d}", started=now - 300 + number)
            keep(facts)
            self.desk.control.hear(told.TransactionEnded(facts.transactions[0]))

    def tearDown(self) -> None:
        self.desk.office.close()

    def test_a_first_visit(self) -> Deferred[None]:
        """Setup by code, overview, explained refusal; no script of others runs, nothing is asked for elsewhere."""
        return ensureDeferred(self.visit())

    async def visit(self) -> None:
        await self.desk.office.open()
        await deferToThread(self.browse)

    def shoot(self, page: Any, name: str) -> None:
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

    def browse(self) -> None:
        with self.playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            try:
                self.walk(browser)
            finally:
                browser.close()

    def walk(self, browser: Any) -> None:
        page = browser.new_context().new_page()
        asked: list[str] = []
        trouble: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog {dialog.message}"))
        page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective"
            " + ' ' + e.blockedURI + ' ' + e.sample))"
        )
        page.goto(f"{self.base}/")
        self.assertEqual(page.url, f"{self.base}/setup")
        self.shoot(page, "setup")
        page.fill("#code", self.desk.said[-1])
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.fill("#again", PASSWORD)
        page.click("main button")
        page.wait_for_url(f"{self.base}/")
        page.wait_for_timeout(400)
        self.assertIn("Accepting mail", page.inner_text("h1"))
        self.shoot(page, "overview")
        for place in (
            "/live",
            "/messages",
            "/recent",
            "/backends",
            "/filters",
            "/config",
            "/help",
            "/messages?q=zz",
        ):
            page.goto(self.base + place)
            page.wait_for_timeout(100)
            self.shoot(page, place.strip("/").replace("?", "-"))
        for number in range(len(HOSTILE)):
            bounce = f"host gate said: 550 5.7.1 no 01J9UK7Q00000000000000H{number:03d}.1 (in reply to end of DATA)"
            page.fill("#q", bounce)
            page.press("#q", "Enter")
            page.wait_for_url(f"{self.base}/sessions/01J9UK7Q00000000000000H{number:03d}.1")
            self.assertIn("Refused", page.inner_text(".banner"))
            self.assertIn("content", page.inner_text(".banner"))
            if number in (0, 7):
                self.shoot(page, f"message-{number}")
            page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000H{number:03d}")
        self.assertIsNone(page.evaluate("window.hurt ?? null"))
        self.assertEqual(trouble, [])
        self.assertEqual([url for url in asked if not url.startswith(self.base)], [])
        page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")
        self.shoot(page, "accepted")
        page.goto(f"{self.base}/nothing")
        self.shoot(page, "error")
        self.drains(page)
        self.rules(page)
        page.click(".who summary")
        page.click("text=Log out")
        page.wait_for_url(f"{self.base}/login")
        self.shoot(page, "login")
        page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")

    def rules(self, page: Any) -> None:
        """The list, and rules tried on the history and on a message; what was written stays."""
        page.goto(f"{self.base}/rules")
        self.shoot(page, "rules")
        page.fill("#text", RULES)
        page.click("text=Try on the last 1000 messages")
        page.wait_for_selector("#trial")
        self.assertIn("the history does not keep: attachments", page.inner_text("#trial"))
        self.assertEqual(page.input_value("#text").strip(), RULES.strip())
        self.shoot(page, "rules-history")
        page.fill("#message", f"Subject: {HOSTILE[0]}\nFrom: Ann <ann@example.org>\n\nHello.\n")
        page.fill("#recipients", "bob@example.net, carl@example.net")
        page.click("text=Try on this message")
        page.wait_for_selector("text=rule to-carl")
        self.assertEqual(page.input_value("#message").count("\n\n"), 1)
        self.shoot(page, "rules-message")
        page.fill("#text", RULES.replace("subject", "subjct"))
        page.click("text=Try on the last 1000 messages")
        page.wait_for_selector("text=subjct is no fact")
        self.shoot(page, "rules-mistake")
        self.assertIsNone(page.evaluate("window.hurt ?? null"))

    def drains(self, page: Any) -> None:
        """Drain and ready by the form's button, and the page follows by itself."""
        page.goto(f"{self.base}/backends")
        page.fill("input[name=reason] >> nth=0", "kernel update")
        page.click("text=Drain >> nth=0")
        page.wait_for_selector("text=kernel update")
        self.shoot(page, "drained")
        page.click("text=Ready: sessions again")
        page.wait_for_selector("text=kernel update", state="detached")
        before = time.monotonic()
        server = self.desk.control.revision.pools["mail"].servers[0]  # type: ignore[union-attr]
        reactor.callFromThread(setattr, server, "banner", "220 fresh.example ESMTP")  # type: ignore[attr-defined]
        page.wait_for_selector("text=fresh.example", timeout=10_000)
        self.assertLess(time.monotonic() - before, 10)
