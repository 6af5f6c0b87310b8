"""The pages by keyboard alone, in a real browser: from the login to a reason, to a release and to a drained server, and
every key on the way.

Needs what `browser_kit` needs. No pointer is used.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.admin.places import GROUPS
from tests.admin_kit import PASSWORD
from tests.browser_kit import chromium
from tests.house_kit import HouseCase

PLACES = [place for _, places in GROUPS for place in places]
#: Where the focus is, and whether that is seen. Chromium draws what is not a colour by its own ring.
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || style.boxShadow !== "none";
  const all = [...document.querySelectorAll("*")];
  const words = one.getAttribute("aria-label") || one.textContent || one.id;
  return { name: one.localName, words: words.trim().slice(0, 60), marked,
            place: all.indexOf(one), seen: box.width > 0 && box.height > 0 };
}"""


class KeysTests(HouseCase):
    """Somebody without a pointer."""

    timeout = 400

    def test_walk(self) -> Deferred[None]:
        """In, to why a message was refused, to a release and a drain."""
        return deferToThread(self.browse, self.walk)

    def test_keys(self) -> Deferred[None]:
        """Each of them, the list of them, and that they can be switched off."""
        return deferToThread(self.browse, self.keys)

    def browse(self, walk: Any) -> None:
        with chromium() as browser:
            page = browser.new_context().new_page()
            page.set_default_timeout(20_000)
            page.goto(f"{self.base}/login")
            page.wait_for_function("document.activeElement.id === 'name'")
            page.keyboard.type("ann")
            page.keyboard.press("Tab")
            page.keyboard.type(PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{self.base}/")
            walk(page)

    def tab_to(self, page: Any, words: str, key: str = "Tab") -> None:
        """Press it until the focus is on what is called so."""
        for _ in range(120):
            page.keyboard.press(key)
            if page.evaluate(FOCUS)["words"].startswith(words):
                return
        self.fail(f"{words} is not reached on {page.url}")

    def go(self, page: Any, key: str, path: str) -> None:
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"{self.base}{path}")

    def walk(self, page: Any) -> None:
        self.order(page)
        # To the reason of a refusal: the list of messages, the first refused one.
        self.go(page, "m", "/messages")
        page.keyboard.press("j")
        for _ in range(40):
            if "refused" in page.evaluate("document.activeElement.closest('tr').innerText"):
                break
            page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/sessions/*")
        self.assertIn("refused", page.inner_text("h1"))
        self.assertIn("found “no-programs”", page.inner_text(".banner"))
        # Its sender is blocked on a page that says whom, and asks.
        page.keyboard.press("b")
        page.wait_for_url("**/lists?kind=block-sender&entry=*")
        self.assertIn("@mail.example.org", page.input_value("#entry"))
        page.wait_for_function("document.activeElement.id === 'reason'")
        # The reason has the focus: it is written, and a letter in it is a letter.
        page.keyboard.type("gj?x")
        self.assertEqual(page.input_value("#reason"), "gj?x")
        page.keyboard.press("Enter")
        page.wait_for_selector("#entries td:has-text('gj?x')")
        self.release(page)
        self.drain(page)

    def order(self, page: Any) -> None:
        """The skip link is first; then the order of the page, each stop with a mark around it."""
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUS)
        self.assertEqual((found["words"], found["marked"], found["seen"]), ("To the content", True, True))
        page.keyboard.press("Enter")
        self.assertEqual(page.evaluate("document.activeElement.id"), "main")
        page.reload()
        stops = []
        for _ in range(25):
            page.keyboard.press("Tab")
            stops.append(page.evaluate(FOCUS))
        self.assertEqual([one["words"] for one in stops if not one["marked"] or not one["seen"]], [])
        places = [one["place"] for one in stops]
        self.assertEqual(places, sorted(places))

    def release(self, page: Any) -> None:
        """Two of three, by a range; what asks has the focus on its answer."""
        self.go(page, "q", "/quarantine")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("j")
        page.keyboard.press("Shift+X")
        self.assertEqual(page.locator("#held tbody input:checked").count(), 2)
        page.keyboard.press("e")
        page.wait_for_selector("h1:has-text('Release 2 messages?')")
        page.wait_for_function("document.activeElement.textContent === 'Release 2 messages'")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("#held")
        page.keyboard.press("j")
        page.keyboard.press("b")
        page.wait_for_url("**#block")
        self.assertTrue(page.evaluate(FOCUS)["words"].startswith("Put it on the list"))
        page.keyboard.press("d")
        self.assertEqual(page.evaluate(FOCUS)["words"], "Delete for good")
        page.keyboard.press("e")
        self.assertEqual(page.evaluate(FOCUS)["words"], "Release")
        page.keyboard.press("Enter")
        page.wait_for_selector(".mark:has-text('on its way'), .mark:has-text('released')")

    def drain(self, page: Any) -> None:
        self.go(page, "b", "/backends")
        page.keyboard.press("j")
        self.tab_to(page, "Drain")
        page.keyboard.press("Enter")
        page.wait_for_selector(".mark:has-text('drained')")

    def keys(self, page: Any) -> None:
        # The first page last: it is where the walk begins.
        for place in [*PLACES[1:], PLACES[0]]:
            self.assertTrue(place.key, place)
            self.go(page, place.key, place.path)
        self.palette(page)
        # /: the search; a letter in it is one. Out of it by Tab.
        page.goto(f"{self.base}/live")
        page.keyboard.press("/")
        page.keyboard.type("gop?/")
        self.assertEqual((page.evaluate("document.activeElement.id"), page.input_value("#q")), ("q", "gop?/"))
        page.keyboard.press("Tab")
        page.keyboard.press("p")
        self.assertEqual(page.get_attribute("#pause", "aria-pressed"), "true")
        # ?: all of them, and the switch.
        page.keyboard.press("?")
        words = page.inner_text("#palette")
        for key in ("Ctrl K", "Shift x", "g o", "g S"):
            self.assertIn(key, words)
        self.tab_to(page, "", "Shift+Tab")
        page.keyboard.press("Space")
        self.assertTrue(page.is_checked("#palette input"))
        page.keyboard.press("Escape")
        page.wait_for_selector("#palette", state="hidden")
        page.goto(f"{self.base}/quarantine")
        for key in ("j", "?", "g", "m", "/", "e"):
            page.keyboard.press(key)
        self.assertEqual((page.url, page.is_visible("#palette")), (f"{self.base}/quarantine", False))
        self.assertEqual(page.evaluate("document.activeElement.localName"), "body")
        # What has a key beside it works still, and switches them on again.
        page.keyboard.press("Control+k")
        page.keyboard.type("keys")
        page.keyboard.press("Enter")
        page.wait_for_selector("#palette input[type=checkbox]")
        self.tab_to(page, "", "Shift+Tab")
        page.keyboard.press("Space")
        page.keyboard.press("Escape")
        self.go(page, "h", "/help")

    def palette(self, page: Any) -> None:
        """Pages, ids and what can be done; Escape closes it, and the focus is where it was."""
        page.goto(f"{self.base}/quarantine")
        page.keyboard.press("j")
        before = page.evaluate(FOCUS)
        page.keyboard.press("Control+k")
        self.assertEqual(page.evaluate("document.activeElement.getAttribute('role')"), "combobox")
        page.keyboard.press("Escape")
        page.wait_for_selector("#palette", state="hidden")
        self.assertEqual(page.evaluate(FOCUS), before)
        page.keyboard.press("Control+k")
        page.keyboard.type("release")
        page.keyboard.press("Enter")
        self.assertEqual((page.evaluate(FOCUS)["words"], page.is_visible("#palette")), ("Release", False))
        page.keyboard.press("Control+k")
        page.keyboard.type("certif")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.base}/tls")
        page.keyboard.press("Control+k")
        page.keyboard.type(self.house.ids["refused"].lower() + ".1")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.base}/sessions/{self.house.ids['refused']}.1")
