"""The page of tasks in Chromium: nothing yet, one at work, its end, its file."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.control.views import Actor
from tests.admin_kit import HOSTILE
from tests.browser_kit import BrowserCase, shoot


class TaskTests(BrowserCase):
    """One visit."""

    def test_tasks(self) -> Deferred[None]:
        """From the empty state to the file."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/tasks")
        page.wait_for_selector("text=No task")
        shoot(page, "tasks-empty")
        self.on_reactor(self.begin, HOSTILE[0], False)
        page.wait_for_selector("text=running")
        self.on_reactor(self.begin, "user", True)
        page.wait_for_selector("text=waiting")
        shoot(page, "tasks")
        page.click("tr:has-text('running') button")
        page.wait_for_selector("text=canceled")
        page.wait_for_selector("tr:has-text('done') a:has-text('Download')")
        with page.expect_download() as found:
            page.click("tr:has-text('done') a:has-text('Download')")
        self.assertEqual(found.value.path().read_text(), '{"a":1}')

    def begin(self, name: str, is_quick: bool) -> Any:
        async def work(run: Any) -> str:
            while not is_quick and await run.step(3, 10):
                pass
            return '{"a":1}'

        control = self.desk.control
        return ensureDeferred(control.jobs.start("Count", Actor("user", name), "test:run", work))
