"""The pages about the configuration in Chromium: typing is checked, faults are found, two people meet, one confirms."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import PASSWORD, Desk
from tests.browser_kit import chromium, listen, log_in, need_browser, shoot, watch
from tests.revisions_kit import MANAGED, FolderCase

NOTED = MANAGED + '\n# The night shift asked for this: ticket 4711\n[log]\nlevel = "info"\n'


class BrowserTests(FolderCase, TestCase):
    """One visit of two."""

    timeout = 120

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.file.write_text(MANAGED)
        self.desk = Desk(MANAGED)
        self.attach(self.desk.control)
        for name in ("ann", "bea"):
            self.desk.users.add_user(name, "owner", PASSWORD)
        self.base = listen(self, self.desk)
        self.addCleanup(self.desk.control.configuration.close)

    def test_a_change(self) -> Deferred[None]:
        """From the first letter to the confirmation."""
        return deferToThread(self.browse)

    def browse(self) -> None:
        with chromium() as browser:
            self.walk(browser)

    def enter(self, browser: Any, name: str, **more: Any) -> Any:
        page = watch(browser.new_context(**more).new_page(), self.trouble)
        log_in(page, self.base, name)
        return page

    def walk(self, browser: Any) -> None:
        self.trouble: list[str] = []
        ann = self.enter(browser, "ann")
        bea = self.enter(browser, "bea", java_script_enabled=False)
        for page in (ann, bea):
            page.goto(f"{self.base}/config")
        shoot(ann, "config")
        # A fault is found while it is typed, and its line is one click away.
        ann.fill("#text", NOTED.replace("level", "levle"))
        ann.wait_for_selector("#checked [data-line]")
        self.assertIn('did you mean "level"', ann.inner_text("#checked"))
        ann.click("#checked li:has-text('levle') [data-line]")
        marked = "(t => t.value.slice(t.selectionStart, t.selectionEnd))(document.getElementById('text'))"
        self.assertEqual(ann.evaluate(marked), 'levle = "info"')
        wrong = ann.locator(".editor .wrong").all_inner_texts()
        self.assertIn(str(NOTED.count("\n")), wrong)
        shoot(ann, "config-fault")
        ann.fill("#text", NOTED)
        ann.wait_for_selector("#checked :text('It can be put to work')")
        self.assertNotIn(str(NOTED.count("\n")), ann.locator(".editor .wrong").all_inner_texts())
        shoot(ann, "config-checked")
        ann.fill("#message", "what the night shift asked for")
        ann.select_option("#minutes", "10")
        ann.click("button[formaction='/config/apply']")
        ann.wait_for_selector("text=Keep revision 2")
        shoot(ann, "config-waits")
        # The other one, who has no scripts, began before that and is told what came first.
        bea.goto(f"{self.base}/")
        self.assertIn("waits to be confirmed", bea.inner_text(".strip.waits"))
        bea.click("text=Keep revision 2")
        bea.wait_for_url(f"{self.base}/config")
        self.assertEqual(bea.locator(".strip.waits").count(), 0)
        ann.goto(f"{self.base}/config")
        bea.fill("#text", NOTED.replace("gate.example.com", "bea.example.com"))
        bea.fill("#message", "a name of its own")
        bea.click("button[formaction='/config/apply']")
        bea.wait_for_url(f"{self.base}/config")
        ann.fill("#text", NOTED.replace("gate.example.com", "ann.example.com"))
        ann.fill("#message", "another name")
        ann.click("button[formaction='/config/apply']")
        ann.wait_for_selector("#moved .sides")
        shoot(ann, "config-conflict")
        text = ann.input_value("#text")
        self.assertIn("<<<<<<< yours", text)
        ann.fill("#text", NOTED.replace("gate.example.com", "both.example.com"))
        ann.fill("#message", "we talked")
        ann.click("button[formaction='/config/apply']")
        ann.wait_for_url(f"{self.base}/config")
        self.assertEqual(self.desk.control.settings.hostname, "both.example.com")
        ann.click("#history tbody tr:nth-child(1) a")
        ann.wait_for_url(f"{self.base}/config/4")
        shoot(ann, "config-revision")
        self.file.write_text(MANAGED.replace("gate.example.com", "file.example.com"))
        ann.goto(f"{self.base}/config/1")
        ann.fill("#message", "as it was")
        ann.click("text=Go back to revision 1")
        ann.wait_for_url(f"{self.base}/config")
        self.assertEqual(self.desk.control.settings.hostname, "gate.example.com")
        shoot(ann, "config-drift")
        self.assertEqual([line for line in self.trouble if "412" not in line and "409" not in line], [])
