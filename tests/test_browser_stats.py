"""The page of statistics in a real browser: pictures, tables, a closer look by dragging, keys, small and dark.

Skipped without Debian's `chromium` and Python's `playwright`; SMTPGATE_SHOTS=FOLDER keeps pictures.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.observe.recorder import Recorder
from smtpgate.policy.counted import COVERED, Rows
from tests.admin_kit import CONFIG, PASSWORD, Desk
from tests.browser_kit import chromium, listen, log_in, need_browser
from tests.test_admin_stats import MINUTE, MemorySeries

SCALE = """[scores]
tag = 5
quarantine = 8
reject = 15
"""


def two_days(store: MemorySeries) -> None:
    """Mail as it comes by day and by night, with a gap and an outage."""
    for back in range(2880, 0, -1):
        if 700 < back < 760:
            continue
        at = MINUTE - 60 * back
        busy = 1.2 + math.sin((at % 86400) / 86400 * 2 * math.pi - 2)
        count = int(20 * busy) + back % 5
        deferred = 60 if 200 < back < 230 else back % 3
        slow = 8 if 200 < back < 230 else 3
        spans = [0.0] * 18
        spans[slow], spans[slow + 1], spans[slow + 2], spans[17] = count, count // 4, back % 2, count * 0.1
        rows: Rows = {
            COVERED: {(): 60},
            "messages_total": {("mx", "in", "accept"): count, ("mx", "in", "defer"): deferred,
                               ("mx", "in", "reject"): count // 4, ("sub", "out", "accept"): count // 3,
                               ("sub", "internal", "accept"): count // 6, ("mx", "in", "quarantine"): back % 2},
            "rejections_total": {("mx", "rcpt", "backend", "5xx"): count // 6,
                                 ("mx", "final", "spam", "5xx"): count // 9,
                                 ("mx", "final", "malware", "5xx"): back % 2},
            "message_duration_seconds": {("in", "accept"): spans},
            "stage_duration_seconds": {("rcpt",): spans, ("filter",): spans, ("backend",): spans},
            "backend_reply_seconds": {("mail", "192.0.2.10:25", "final"): spans},
            "backend_replies_total": {("mail", "192.0.2.10:25", "2xx"): count,
                                      ("mail", "192.0.2.11:25", "2xx"): count // 2},
            "message_size_bytes": {("in",): [1, count, count * 2, count, 4, 2, 1, 0, 0, 0, count * 9e3]},
            "spam_score": {(): [0, 1, 2, count, 9, 6, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, count * 2.0]},
            "auth_results_total": {("spf", "pass"): count, ("spf", "fail"): 3, ("dkim", "pass"): count - 2,
                                   ("dmarc", "none"): 6, ("dmarc", "pass"): count - 8},
            "encryption_total": {("tls", "ok"): count, ("tls", "none"): 2},
            "tls_handshakes_total": {("client", "ok", "TLSv1.3"): count},
            "connections_total": {("mx", "accepted"): count + 4},
        }  # fmt: skip
        store.put([(at, rows)])


class StatsBrowserTests(TestCase):
    """One visit."""

    timeout = 120

    def setUp(self) -> None:
        need_browser()
        self.desk = Desk(CONFIG + SCALE)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.base = listen(self, self.desk)

    def fill(self) -> None:
        """Give it two days."""
        store = MemorySeries()
        two_days(store)
        recorder = Recorder(_Still(), self.desk.clock, self.desk.office.wall, store, lambda event: None)
        self.desk.control.statistics.store, self.desk.control.statistics.recorder = store, recorder

    def shot(self, page: Any, name: str) -> None:
        """A picture of the whole page, where they are wanted."""
        folder = os.environ.get("SMTPGATE_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    def test_visit(self) -> Deferred[None]:
        """Empty, full, a closer look, a file, small and dark."""
        return deferToThread(self.visit)

    def visit(self) -> None:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            errors: list[str] = []
            page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            log_in(page, self.base)
            page.goto(f"{self.base}/stats")
            assert page.locator(".empty").inner_text().startswith("No mail in this time")
            self.shot(page, "stats-empty")
            self.fill()
            page.goto(f"{self.base}/stats")
            assert page.locator("svg.chart").count() == 6
            assert page.locator("#traffic rect.accept").count() > 50
            assert page.locator("#traffic rect.gap").count() >= 1
            assert page.locator("#scores .threshold").count() == 3
            self.shot(page, "stats")
            self.closer(page)
            with page.expect_download() as download:
                page.click("#traffic a[download]")
            head = Path(download.value.path()).read_text().splitlines()[0]
            assert head.startswith("time,covered_s,accept"), head
            page.keyboard.press("g")
            page.keyboard.press("n")
            page.wait_for_url(f"{self.base}/stats")
            page.check("input[name=compare]")
            page.check("input[name=scale]")
            page.click("text=7 days")
            page.wait_for_url("**/stats?*range=7d*")
            assert "scale=log" in page.url and "compare=1" in page.url
            page.emulate_media(color_scheme="dark")
            self.shot(page, "stats-dark")
            page.set_viewport_size({"width": 360, "height": 740})
            for query in ("?range=24h", "?range=7d&compare=1"):
                page.goto(f"{self.base}/stats{query}")
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= 360, f"{query}: {wide} wide"
            self.shot(page, "stats-360")
            assert not errors, errors
        self.without_scripts()

    def closer(self, page: Any) -> None:
        """A drag over a picture opens the time under it; Back comes back."""
        box = page.locator("#traffic svg.chart").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
        page.mouse.up()
        page.wait_for_url("**/stats?time_from=*")
        assert page.locator("#traffic rect.accept").count() > 10
        said = page.locator("main > p").first.inner_text()
        assert "in steps of 1 min" in said, said
        page.go_back()

    def without_scripts(self) -> None:
        """Pictures, buttons and tables are there without them."""
        with chromium() as browser:
            page = browser.new_context(java_script_enabled=False).new_page()
            log_in(page, self.base)
            page.goto(f"{self.base}/stats")
            page.click("text=1 hour")
            assert page.locator("#traffic rect.accept").count() > 10
            page.click("#traffic summary")
            assert page.locator("#traffic tbody tr").count() >= 60


class _Still:
    """Counts of which none changes."""

    def kept(self, names: frozenset[str]) -> Rows:
        """None."""
        return {}
