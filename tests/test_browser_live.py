"""What happens, as it happens, in a real browser."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.observe.journal import Journal
from smtpgate.policy import event as told
from tests.admin_kit import HOSTILE, make_session
from tests.browser_kit import BrowserCase, shoot

WORDS = ("pass", "note", "accept", "tag", "discard", "redirect", "quarantine", "defer", "error", "reject")


class LiveTests(BrowserCase):
    """The grid."""

    def test_the_first_page(self) -> Deferred[None]:
        """What goes wrong stands there by itself, and goes; the moment of a change stands in the plot."""
        return self.visit(self.first_page)

    def first_page(self, page: Any) -> None:
        page.wait_for_selector("text=No mail yet")
        shoot(page, "overview-empty")
        facts = make_session(outcome="refused")
        self.on_reactor(lambda: self.desk.control.hear(told.TransactionEnded(facts.transactions[0])))
        self.on_reactor(
            lambda: self.desk.control.hear(told.FilterFailed(HOSTILE[0], "data", "raised", "x", "tempfail", ""))
        )
        page.wait_for_selector(".alerts li.bad")
        page.wait_for_selector("text=100.0 %")
        page.wait_for_selector("text=No mail yet", state="detached")
        self.assertEqual(page.locator("#traffic").get_attribute("data-marks").count(" "), 0)
        shoot(page, "overview-alerts")
        applied = told.Happened("config.applied", "info", "revision x")
        self.on_reactor(lambda: self.desk.control.hear(applied))
        page.wait_for_selector(".alerts li.bad", state="detached")

    def test_the_log(self) -> Deferred[None]:
        """Lines come by themselves, unless it is paused; control characters are shown as such."""
        self.journal = Journal("json", "info", self.mktemp(), wall=self.desk.office.wall)
        self.addCleanup(self.journal.close)
        self.desk.control.logs.journal = self.journal
        return self.visit(self.follow_log)

    def write(self, name: str, level: str, text: str) -> None:
        self.journal.hear(told.Happened(name, level, text, (("reason", text),)))

    def follow_log(self, page: Any) -> None:
        page.goto(f"{self.base}/logs")
        page.wait_for_selector("text=No line yet")
        for number, text in enumerate(HOSTILE):
            self.on_reactor(self.write, "engine.down", ("error", "warning", "info")[number % 3], text)
        self.on_reactor(lambda: self.journal.hear(told.TransactionEnded(make_session().transactions[0])))
        page.wait_for_selector("#log a[href$='.1']")
        self.assertEqual(page.locator("#log tbody tr").count(), len(HOSTILE) + 1)
        self.assertIn("U+001B", page.inner_text("#log"))
        shoot(page, "logs")
        page.press("body", "p")
        self.on_reactor(self.write, "engine.up", "info", "after the pause")
        page.wait_for_timeout(1500)
        self.assertEqual(page.locator("text=after the pause").count(), 0)
        page.press("body", "p")
        page.wait_for_selector("text=after the pause")

    def open(self, number: int, **more: Any) -> Any:
        facts = make_session(f"01J9UK7Q{number:018d}", started=self.desk.office.wall() + number / 1000, **more)
        facts.ended, facts.client_ip = 0.0, f"198.51.100.{number % 250}"
        self.desk.control.hear(told.SessionOpened(facts))
        return facts

    def say(self, number: int, word: str, name: str = "names", is_shadow: bool = False) -> None:
        self.desk.control.live._ran(f"01J9UK7Q{number:018d}", name, "mail", word, 0.0042, is_shadow)

    def test_rows_come_by_themselves(self) -> Deferred[None]:
        """From the empty state on; new columns, the worst stays, pause holds, two tabs share a line, a gap is shown."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/live")
        self.assertIn("Nobody is connected", page.inner_text("#grid-empty"))
        page.wait_for_function("() => document.body.classList.contains('is-stale') === false")
        self.wait_for_line()
        self.on_reactor(self.open, 1)
        page.wait_for_selector("#grid tr[data-id$='1']")
        self.assertTrue(page.is_hidden("#grid-empty"))
        self.on_reactor(self.say, 1, "reject")
        page.wait_for_selector("#grid td.cell.reject")
        self.on_reactor(self.say, 1, "pass")
        page.wait_for_selector("text=reject, then pass")
        self.fill_grid()
        page.wait_for_selector(f"#grid tr[data-id$='{len(HOSTILE) + 9:02d}']")
        self.assertEqual(page.locator("#grid th[data-filter]").count(), 3)
        shoot(page, "live-rows")
        self.paused(page)
        self.shared(page)
        self.chosen(page)

    def wait_for_line(self) -> None:
        for _ in range(200):
            if self.on_reactor(lambda: self.desk.office.streams.count):
                return
        self.fail("no line to the event stream")

    def fill_grid(self) -> None:
        for number, text in enumerate(HOSTILE):
            self.on_reactor(lambda n=number, t=text: self.open(10 + n, helo=t))
            self.on_reactor(self.say, 10 + number, WORDS[number % len(WORDS)])
            self.on_reactor(self.say, 10 + number, WORDS[-1 - number % len(WORDS)], "content", number % 3 == 0)
            self.on_reactor(self.say, 10 + number, "pass", "dnsbl")

    def paused(self, page: Any) -> None:
        """Nothing moves, what waits is counted, and all of it is there afterwards."""
        page.press("body", "p")
        before = page.locator("#grid tbody tr").count()
        self.on_reactor(self.open, 60)
        page.wait_for_selector("text=1 changes wait")
        self.assertEqual(page.locator("#grid tbody tr").count(), before)
        page.press("body", "p")
        page.wait_for_selector("#grid tr[data-id$='60']")

    def shared(self, page: Any) -> None:
        """Another tab gets its rows over the same line; a line that broke leaves a mark."""
        other = self.fresh([])
        other.goto(f"{self.base}/live")
        other.wait_for_selector("#grid tr[data-id$='60']")
        self.on_reactor(self.open, 61)
        other.wait_for_selector("#grid tr[data-id$='61']")
        page.wait_for_selector("#grid tr[data-id$='61']")
        for _ in range(1000):
            # Lines of pages that were closed end a moment later.
            if self.on_reactor(lambda: self.desk.office.streams.count) == 1:
                break
            page.evaluate("1")
        else:
            self.fail("each tab has a line of its own")
        other.close()
        self.on_reactor(self.break_line)
        page.wait_for_selector("#grid tr.gap", timeout=20_000)

    def break_line(self) -> None:
        for stream in list(self.desk.office.streams._open):
            stream.end("the test breaks it")
        self.desk.office.streams.hub.close()

    def chosen(self, page: Any) -> None:
        """The chosen session is named, stays chosen when its row changes, and its address is kept out."""
        self.wait_for_line()
        self.on_reactor(self.open, 61)
        self.on_reactor(self.open, 62)
        self.on_reactor(self.say, 62, "reject")
        page.check("#grid tr[data-id$='61'] input[type=checkbox]")
        self.assertIn("198.51.100.61", page.inner_text("#chosen"))
        self.on_reactor(self.say, 61, "tag")
        page.wait_for_selector("#grid tr[data-id$='61'] td.cell.tag")
        self.assertTrue(page.is_checked("#grid tr[data-id$='61'] input[type=checkbox]"))
        page.goto(f"{self.base}/live?filter=verdict%3Areject")
        page.wait_for_selector("#grid td.cell.reject")
        self.assertEqual(page.locator("#grid tr[data-id$='61']").count(), 0)
