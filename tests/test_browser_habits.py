"""What all pages do for those who use them, in a real browser: ids are copied, what was written is not lost by leaving,
words lead to what they mean, and pages hold on paper, without motion and at four times their size.

Needs what `browser_kit` needs.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.admin.places import GROUPS
from tests.browser_kit import shoot
from tests.house_kit import HouseCase
from tests.test_browser_states import browse


class HabitTests(HouseCase):
    """One walk."""

    timeout = 240

    def test_walk(self) -> Deferred[None]:
        """One after the other."""
        return browse(self, self.walk)

    def walk(self, page: Any) -> None:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        place = f"/sessions/{self.house.ids['refused']}.1"
        page.goto(self.base + place)
        self.copies(page)
        self.words(page)
        page.goto(self.base + place)
        self.paper(page)
        self.leaving(page)
        self.motion(page)
        self.large(page)

    def copies(self, page: Any) -> None:
        page.focus("button[aria-label='Copy reference']")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]:text('reference is copied')", state="attached")
        self.assertEqual(page.evaluate("navigator.clipboard.readText()"), f"{self.house.ids['refused']}.1")

    def words(self, page: Any) -> None:
        """From a word to what it means."""
        page.click("text=What that means")
        page.wait_for_url("**/help#refused")
        self.assertTrue(page.evaluate("document.querySelector('dt:target').textContent === 'refused'"))

    def paper(self, page: Any) -> None:
        """Also of a dark page: black on white, the reason and the tables, and nothing to press."""
        page.emulate_media(media="print", color_scheme="dark")
        shown = page.evaluate("""() => ({
            bar: document.querySelector('.rooms').checkVisibility(),
            search: document.querySelector('#q').checkVisibility(),
            buttons: [...document.querySelectorAll('main button')].filter(one => one.checkVisibility()).length,
            ground: getComputedStyle(document.querySelector('section.card')).backgroundColor,
            ink: getComputedStyle(document.querySelector('.banner p')).color,
        })""")
        expected = {"bar": False, "search": False, "buttons": 0, "ground": "rgb(255, 255, 255)", "ink": "rgb(0, 0, 0)"}
        self.assertEqual(shown, expected)
        self.assertIn("found “no-programs”", page.inner_text(".banner"))
        self.assertTrue(page.is_visible("text=Where its time went"))
        page.emulate_media(media="screen", color_scheme="light")

    def leaving(self, page: Any) -> None:
        """What was written is asked for once; what is sent is not; nor is what was not touched."""
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        page.goto(f"{self.base}/lists")
        page.click("#reason")
        page.keyboard.type("because")
        page.click(".rooms a:has-text('Rules')", no_wait_after=True)
        page.wait_for_function("document.activeElement.textContent === 'Rules'")
        self.assertEqual((asked, page.url), (["beforeunload"], f"{self.base}/lists"))
        page.select_option("#kind", "block-sender")
        page.fill("#entry", "zoe@example.org")
        page.click("button:text-is('Add')")
        page.wait_for_selector("#entries td:has-text('because')")
        page.click(".rooms a:has-text('Rules')")
        page.wait_for_url(f"{self.base}/rules")
        self.assertEqual(asked, ["beforeunload"])

    def motion(self, page: Any) -> None:
        page.emulate_media(reduced_motion="reduce")
        moving = page.evaluate("""[...document.querySelectorAll('*')].filter(
            one => getComputedStyle(one).transitionDuration.split(',').some(each => parseFloat(each) > 0)
        ).map(one => one.outerHTML.slice(0, 80))""")
        self.assertEqual(moving, [])

    def large(self, page: Any) -> None:
        """1280 points wide at 400 % are 320: nothing scrolls sideways (WCAG 2.2, 1.4.10)."""
        page.set_viewport_size({"width": 320, "height": 256})
        wide = []
        places = [place.path for _, group in GROUPS for place in group]
        for path in (*places, *self.house.pages()):
            page.goto(self.base + path, wait_until="domcontentloaded")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(path)
                shoot(page, "large")
        self.assertEqual(wide, [])
