"""The page that tries mail in Chromium: a sample, a message that a draft refuses, a dialogue; narrow, dark, without
scripts, by keyboard."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.filters.replay import Replay
from smtpgate.policy.verdict import Finding
from smtpgate.state.case_store import CaseStore
from tests.admin_kit import HOSTILE, PASSWORD, Desk, make_session
from tests.bench_kit import CONFIG, RULE, BenchDesk, whole
from tests.browser_kit import BrowserCase, listen, need_browser, shoot
from tests.revisions_kit import MANAGED, FolderCase
from tests.test_cases_bench import Tables

SCORES = "[scores]\ntag = 1.0\nreject = 1.5\n"


class BenchBrowserTests(BrowserCase):
    """One visit."""

    def setUp(self) -> None:
        need_browser()
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder, True)
        self.desk = BenchDesk(whole(CONFIG + RULE + SCORES, folder), folder)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.desk.control.replays.make, self.desk.control.cases.store = Replay, CaseStore(Tables())
        for number in range(6):
            subject = "secret plan" if number % 2 else HOSTILE[0]
            found = Finding("points", "note", score=number * 0.8, filter="attachments", category="spam")
            self.desk.history.keep(
                make_session(f"01J9UK7Q0000000000000000A{number}", subject=subject, findings=(found,))
            )
        self.base = listen(self, self.desk)

    def test_try(self) -> Deferred[None]:
        """From a sample to a refusal, and a dialogue."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/test")
        shoot(page, "test")
        page.click("a[href='/test?sample=clean']")
        page.fill("#recipients", "bob@example.net")
        page.fill("#sender", "ann@example.org")
        page.click("button:has-text('Try it')")
        page.wait_for_selector("#tried-1")
        self.assertIn("accepted", page.inner_text("#tried-1 h2"))
        # The form still has what was said.
        self.assertEqual(page.input_value("#recipients"), "bob@example.net")
        shoot(page, "test-accepted")
        page.fill("#message", "Subject: secret plan\n\nx")
        page.focus("button:has-text('Try it')")
        page.keyboard.press("Enter")
        page.wait_for_selector("#tried-1 :text('No plans')")
        page.click("#tried-1 summary")
        self.assertIn("C: RCPT TO:<bob@example.net>", page.inner_text("#tried-1 pre"))
        shoot(page, "test-refused")
        page.goto(f"{self.base}/test?form=session")
        page.click("button:has-text('Try it')")
        page.wait_for_selector("#tried-1")
        self.assertIn("given up", page.inner_text("#tried-1"))
        shoot(page, "test-session")
        page.fill("#case", "greeting")
        page.click("button:has-text('Try it')")
        page.wait_for_selector("#tried-1")
        page.goto(f"{self.base}/test/cases")
        page.click("button:has-text('Try all again')")
        page.wait_for_selector("#checked :text('all as they were')")
        shoot(page, "cases")
        page.goto(f"{self.base}/lists")
        page.select_option("#kind", "block-sender")
        page.fill("#entry", "eve@example.org")
        page.fill("#reason", "spam")
        page.click("button:text-is('Add')")
        page.wait_for_selector("#entries td:has-text('eve@example.org')")
        shoot(page, "lists")
        page.goto(f"{self.base}/dlp")
        shoot(page, "dlp")
        page.goto(f"{self.base}/test/replay")
        shoot(page, "replay-order")
        page.click("button:has-text('Decide again')")
        page.wait_for_selector("table.matrix")
        page.click("td.moved a")
        page.wait_for_selector("#messages :text('rules: plan')")
        shoot(page, "replay")
        page.goto(f"{self.base}/rules/scores?reject=2")
        self.assertIn("fewer refused", page.inner_text("#scores"))
        shoot(page, "scores")


class RuleBrowserTests(FolderCase, BrowserCase):
    """A rule from a template to work, and out of the way again."""

    def setUp(self) -> None:
        need_browser()
        FolderCase.setUp(self)
        text = MANAGED + RULE
        self.file.write_text(text)
        self.desk = Desk(text)
        self.attach(self.desk.control)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.base = listen(self, self.desk)
        self.addCleanup(self.desk.control.configuration.close)

    def test_edit(self) -> Deferred[None]:
        """Each change goes into the draft, and from there to work."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/rules")
        page.click("a[href='/rules/edit/large?template=1']")
        shoot(page, "rule")
        page.select_option("#before", "plan")
        page.click("button:has-text('Into the draft')")
        page.wait_for_url("**/config#text")
        self.assertIn('name   = "large"', page.input_value("#text"))
        page.fill("#message", "large mail is noted")
        page.click("button[formaction='/config/apply']")
        page.wait_for_selector("text=revision 2")
        page.goto(f"{self.base}/rules")
        self.assertEqual(page.locator("table.rules td[data-name=Rule] b").all_inner_texts()[:2], ["large", "plan"])
        page.click("table.rules tr:has-text('plan') summary")
        shoot(page, "rules-change")
        page.click("table.rules tr:has-text('plan') button:has-text('shadow')")
        page.wait_for_url("**/config#text")
        self.assertIn('mode = "shadow"', page.input_value("#text"))
