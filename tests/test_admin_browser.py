"""The pages in a real browser: first visit to explained refusal, with hostile text on every page.

Needs what `browser_kit` needs, and keeps pictures as it does.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.filters.rule_trial import Trial
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import CONFIG, HOSTILE, PASSWORD, Desk, make_session
from tests.browser_kit import chromium, listen, need_browser, shoot, watch
from tests.test_filters_rules import Services

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


class BrowserTests(TestCase):
    """One visit, from the setup code on."""

    timeout = 120

    def setUp(self) -> None:
        need_browser()
        self.desk = Desk(CONFIG + RULES)
        self.desk.control.rule_trials.trial = Trial
        self.desk.control.current().services = Services()
        self.fill()
        self.base = listen(self, self.desk)

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

    def test_a_first_visit(self) -> Deferred[None]:
        """Setup by code, overview, explained refusal; no script of others runs, nothing is asked for elsewhere."""
        return ensureDeferred(self.visit())

    async def visit(self) -> None:
        await self.desk.office.open()
        await deferToThread(self.browse)

    def browse(self) -> None:
        with chromium() as browser:
            self.walk(browser)

    def walk(self, browser: Any) -> None:
        asked: list[str] = []
        trouble: list[str] = []
        page = watch(browser.new_context().new_page(), trouble)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{self.base}/")
        self.assertEqual(page.url, f"{self.base}/setup")
        shoot(page, "setup")
        page.fill("#code", self.desk.said[-1])
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.fill("#again", PASSWORD)
        page.click("main button")
        page.wait_for_url(f"{self.base}/")
        page.wait_for_timeout(400)
        self.assertIn("Accepting mail", page.inner_text("h1"))
        shoot(page, "overview")
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
            shoot(page, place.strip("/").replace("?", "-"))
        for number in range(len(HOSTILE)):
            bounce = f"host gate said: 550 5.7.1 no 01J9UK7Q00000000000000H{number:03d}.1 (in reply to end of DATA)"
            page.fill("#q", bounce)
            page.press("#q", "Enter")
            page.wait_for_url(f"{self.base}/sessions/01J9UK7Q00000000000000H{number:03d}.1")
            self.assertIn("Refused", page.inner_text(".banner"))
            self.assertIn("content", page.inner_text(".banner"))
            if number in (0, 7):
                shoot(page, f"message-{number}")
            page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000H{number:03d}")
        self.assertIsNone(page.evaluate("window.hurt ?? null"))
        self.assertEqual(trouble, [])
        self.assertEqual([url for url in asked if not url.startswith(self.base)], [])
        page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")
        shoot(page, "accepted")
        page.goto(f"{self.base}/nothing")
        shoot(page, "error")
        self.drains(page)
        self.rules(page)
        page.click(".who summary")
        page.click("text=Log out")
        page.wait_for_url(f"{self.base}/login")
        shoot(page, "login")
        page.goto(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url(f"{self.base}/sessions/01J9UK7Q00000000000000G001.1")

    def rules(self, page: Any) -> None:
        """The list, and rules tried on the history and on a message; what was written stays."""
        page.goto(f"{self.base}/rules")
        shoot(page, "rules")
        page.fill("#text", RULES)
        page.click("text=Try on the last 1000 messages")
        page.wait_for_selector("#trial")
        self.assertIn("the history does not keep: attachments", page.inner_text("#trial"))
        self.assertEqual(page.input_value("#text").strip(), RULES.strip())
        shoot(page, "rules-history")
        page.fill("#message", f"Subject: {HOSTILE[0]}\nFrom: Ann <ann@example.org>\n\nHello.\n")
        page.fill("#recipients", "bob@example.net, carl@example.net")
        page.click("text=Try on this message")
        page.wait_for_selector("text=rule to-carl")
        self.assertEqual(page.input_value("#message").count("\n\n"), 1)
        shoot(page, "rules-message")
        page.fill("#text", RULES.replace("subject", "subjct"))
        page.click("text=Try on the last 1000 messages")
        page.wait_for_selector("text=subjct is no fact")
        shoot(page, "rules-mistake")
        self.assertIsNone(page.evaluate("window.hurt ?? null"))

    def drains(self, page: Any) -> None:
        """Drain and ready by the form's button, and the page follows by itself."""
        page.goto(f"{self.base}/backends/mail")
        page.fill("input[name=reason] >> nth=0", "kernel update")
        page.click("button:text-is('Drain') >> nth=0")
        page.goto(f"{self.base}/backends")
        page.wait_for_selector("text=kernel update")
        shoot(page, "drained")
        page.click("button:text-is('Ready') >> nth=0")
        page.wait_for_selector("text=kernel update", state="detached")
        page.goto(f"{self.base}/backends/mail")
        before = time.monotonic()
        server = self.desk.control.revision.pools["mail"].servers[0]  # type: ignore[union-attr]
        reactor.callFromThread(setattr, server, "banner", "220 fresh.example ESMTP")  # type: ignore[attr-defined]
        page.wait_for_selector("text=fresh.example", timeout=10_000)
        self.assertLess(time.monotonic() - before, 10)
