"""The page that tries mail in Chromium: a sample, a message that a draft refuses, a dialogue; narrow, dark, without
scripts, by keyboard."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.filters.replay import Replay
from tests.admin_kit import HOSTILE, PASSWORD, make_session
from tests.bench_kit import CONFIG, RULE, BenchDesk, whole
from tests.browser_kit import BrowserCase, listen, need_browser, shoot


class BenchBrowserTests(BrowserCase):
    """One visit."""

    def setUp(self) -> None:
        need_browser()
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder, True)
        self.desk = BenchDesk(whole(CONFIG + RULE, folder), folder)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.desk.control.replays.make = Replay
        for number in range(6):
            subject = "secret plan" if number % 2 else HOSTILE[0]
            self.desk.history.keep(make_session(f"01J9UK7Q0000000000000000A{number}", subject=subject))
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
        page.goto(f"{self.base}/test/replay")
        shoot(page, "replay-order")
        page.click("button:has-text('Decide again')")
        page.wait_for_selector("table.matrix")
        page.click("td.moved a")
        page.wait_for_selector("#messages :text('rules: plan')")
        shoot(page, "replay")
        page.goto(f"{self.base}/rules")
        shoot(page, "rules")
