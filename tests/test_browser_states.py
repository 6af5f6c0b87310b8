"""Every page of the side bar in the states that are not the usual one, in a real browser: nothing there yet and no
scripts, its stores broken, nothing heard any more.

Needs what `browser_kit` needs.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.admin.places import GROUPS
from tests.browser_kit import chromium, log_in, shoot
from tests.house_kit import HouseCase

PLACES = [place for _, places in GROUPS for place in places]
#: What each page says on its first day: what will stand there, and what to do.
EMPTY = {
    "overview": "No mail yet",
    "live": "Waiting for connections",
    "messages": "has the command for a test message",
    "recent": "No session has ended yet",
    "quarantine": "The quarantine is empty. What a rule or a filter with the action quarantine is true of comes here",
    "tickets": "makes one with each refusal",
    "outbox": "Nothing waits",
    "my": "Whoever gave you this login can say which",
    "stats": "No mail in this time",
    "routes": "Routes in their order",
    "backends": "Look at another server",
    "traffic": "0 senders are remembered",
    "limits": "you can try one on the mail of the last day first",
    "senders": "reputation comes from what becomes of mail",
    "filters": "What a filter finds is a proposal",
    "plugins": "How to install one",
    "rules": "refuse programs, also in archives",
    "lists": "Nobody is listed",
    "dlp": "Begin with cards-out",
    "test": "Begin with a sample",
    "access": "New user",
    "audit": "login",
    "tls": "No handshake",
    "config": "Put to work",
    "tasks": "Prefer: respond-async",
    "alerts": "nothing is wrong",
    "webhooks": "Hears of",
    "logs": "No line yet",
    "system": "No backup was made yet",
    "help": "Why was this mail refused?",
}
#: Pages that take nothing from a store: all they show is in memory.
WHOLE = frozenset(
    "overview live backends traffic limits senders rules lists dlp test tls alerts logs system help".split()
)
#: Pages that follow what happens.
FOLLOWING = frozenset({"overview", "live", "backends", "filters", "traffic", "limits", "tasks", "alerts", "logs"})


def browse(case: Any, walk: Any, **more: Any) -> Deferred[None]:
    """A walk of somebody who is logged in."""

    def visit() -> None:
        with chromium() as browser:
            page = browser.new_context(**more).new_page()
            page.set_default_timeout(20_000)
            log_in(page, case.base)
            walk(page)

    return deferToThread(visit)  # type: ignore[no-any-return]


class FirstDayTests(HouseCase):
    """Nothing has happened."""

    is_new = True
    timeout = 400

    def test_empty_and_without_scripts(self) -> Deferred[None]:
        """Each page says what will be there and what to do, and is read without scripts."""
        return browse(self, self.walk, java_script_enabled=False)

    def walk(self, page: Any) -> None:
        self.assertEqual(set(EMPTY), {place.name for place in PLACES})
        missing = {}
        for place in PLACES:
            answer = page.goto(self.base + place.path)
            words = " ".join(page.inner_text("main").split())
            if answer.status != 200 or EMPTY[place.name] not in words or not page.locator("h1").count():
                missing[place.name] = (answer.status, words[:300])
        self.assertEqual(missing, {})


class BrokenTests(HouseCase):
    """Nothing that is kept can be read."""

    timeout = 400

    def fill(self) -> None:
        self.house.break_stores()

    def test_broken_stores(self) -> Deferred[None]:
        """What, why, what next and a request id; the way to all other pages stays, and no part is blank."""
        return browse(self, self.walk)

    def walk(self, page: Any) -> None:
        wrong = {}
        for place in PLACES:
            answer = page.goto(self.base + place.path)
            words = " ".join(page.inner_text("main").split())
            told = re.search(r"(cannot be|is gone|about to stop).*(try again|Try again).*Request [0-9a-f]{16}", words)
            is_right = told is not None and answer.status == 503 or place.name in WHOLE and answer.status == 200
            is_right = is_right and page.locator(".rooms a").count() == len(PLACES)
            empty = page.evaluate(
                "[...document.querySelectorAll('main section.card')].filter(one => !one.hidden"
                " && one.innerText.trim() === (one.querySelector('h2, h3')?.innerText.trim() ?? '')).length"
            )
            if not is_right or empty:
                wrong[place.name] = (answer.status, empty, words[:300])
        self.assertEqual(wrong, {})
        # One part of a page fails by itself.
        page.goto(self.base)
        self.assertIn("This cannot be shown now", page.inner_text("section:has(h2:text('Latest messages'))"))
        self.assertTrue(page.locator(".tiles").count())
        shoot(page, "broken-overview")
        page.goto(f"{self.base}/quarantine")
        shoot(page, "broken-quarantine")


class StaleTests(HouseCase):
    """Nothing is heard from the gateway any more."""

    timeout = 400

    def test_old_and_back(self) -> Deferred[None]:
        """After three beats the page says how old it is; when it hears again, for how long it did not."""
        return browse(self, self.walk)

    def walk(self, page: Any) -> None:
        page.clock.install()
        seen = set()
        for place in PLACES:
            page.goto(self.base + place.path)
            is_following = page.locator("[data-live], #grid, #log").count() > 0
            if place.name in FOLLOWING:
                self.assertTrue(is_following, place.name)
            if place.name not in FOLLOWING or not is_following:
                continue
            seen.add(place.name)
            page.route("**/*", lambda route: route.abort())
            for _ in range(60):
                page.clock.run_for(2000)
                if page.evaluate("document.body.classList.contains('is-stale')"):
                    break
            self.assertRegex(page.inner_text("#stale"), r"^last update \d+ s ago: what you see is old$", place.name)
            self.assertTrue(
                page.evaluate("document.querySelector('footer').getBoundingClientRect().bottom <= innerHeight + 1"),
                place.name,
            )
            if place.name == "overview":
                shoot(page, "stale-overview")
            page.unroute("**/*")
            for _ in range(60):
                page.clock.run_for(2000)
                page.wait_for_timeout(20)
                if not page.evaluate("document.body.classList.contains('is-stale')"):
                    break
            self.assertRegex(
                page.inner_text("#stale"), r"^as of .* UTC; nothing was heard from .* for \d+ s$", place.name
            )
        self.assertEqual(seen, FOLLOWING)
