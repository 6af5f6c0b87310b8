"""What all pages do for those who use them, in a real browser: ids are copied, what was written is not lost by leaving,
words lead to what they mean, columns are chosen, and pages hold on paper and without motion.

Needs what `browser_kit` needs.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.house_kit import HouseCase
from tests.test_browser_states import browse


class HabitTests(HouseCase):
    """One walk."""

    timeout = 400

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
        self.columns(page)

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

    def columns(self, page: Any) -> None:
        """One is hidden, one goes forward, by keys; so it stays for this user, and for no other."""
        page.goto(f"{self.base}/messages")
        heads = "[...document.querySelectorAll('#list th')].filter(one => !one.hidden).map(one => one.dataset.name)"
        self.assertEqual(page.evaluate(heads), ["Time", "Result", "From", "To", "Subject", "Client", "Server"])
        page.focus(".columns summary")
        page.keyboard.press("Enter")
        page.focus(".columns label:has-text('Server') input")
        page.keyboard.press("Space")
        page.focus("button[aria-label='Subject earlier']")
        for _ in range(9):
            # At the end of its way the focus goes to the other button of the row.
            if page.evaluate("document.activeElement.getAttribute('aria-label')") != "Subject earlier":
                break
            page.keyboard.press("Enter")
        self.assertEqual(page.evaluate("document.activeElement.getAttribute('aria-label')"), "Subject later")
        wanted = ["Time", "Subject", "Result", "From", "To", "Client"]
        self.assertEqual(page.evaluate(heads), wanted)
        page.reload()
        page.wait_for_selector(".columns")
        self.assertEqual(page.evaluate(heads), wanted)
        row = "[...document.querySelector('#list tbody tr').cells].map(one => one.dataset.name).join()"
        self.assertEqual(page.evaluate(row), ",".join([*wanted, "Server"]))
        kept = page.evaluate("Object.keys(localStorage).filter(one => one.startsWith('smtpgate-columns'))")
        self.assertEqual(kept, ["smtpgate-columns-messages-ann"])
