"""Held mail gone through by its managers: the list, one after the other, many at once."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from smtpgate.policy.held import Addressee
from tests.test_admin_quarantine import QuarantineCase

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class ListCase(QuarantineCase):
    """Pages as a token sees them."""

    def page(self, path: str, status: int = 200, role: str = "owner") -> str:
        """A page's text."""
        answer = self.desk.ask("GET", path, role=role)
        self.assertEqual(answer.status, status, answer.text[:500])
        return answer.text  # type: ignore[no-any-return]

    def send(self, path: str, **fields: str) -> Any:
        """A form."""
        more = {name.replace("__", "-"): value for name, value in fields.items()}
        return self.desk.ask("POST", path, body=urlencode(more).encode(), headers=FORM, role="owner")

    def left(self) -> int:
        """How many are held."""
        return int(self.get("/quarantine")["total"])


class LookTests(ListCase):
    """What the pages show."""

    def test_the_list(self) -> None:
        """Classes with their numbers, score, age, when it goes, and what was asked for."""
        self.hold("b", score=7.25)
        self.hold("c", held_as="dlp", asked=1_790_000_000.0, asked_by="c@example.net")
        text = self.page("/quarantine")
        for part in ("spam <b>1</b>", "dlp <b>1</b>", "7.2", "ago</small>", "16 min"):
            self.assertIn(part, text)
        self.assertRegex(text, r"asked for</span> <b>1</b>")
        self.assertIn('aria-current="true"', self.page("/quarantine?held_as=dlp"))
        self.assertNotIn("quarantine:release", self.page("/quarantine", role="helpdesk"))
        self.assertNotIn('name="action"', self.page("/quarantine", role="helpdesk"))

    def test_what_is_new(self) -> None:
        """Those that came after one, by the filter of the list."""
        ids = [self.hold("b"), self.hold("b"), self.hold("b", held_as="dlp"), self.hold("b")]
        found = self.get(f"/quarantine?after={ids[0]}&limit=1")
        self.assertEqual((found["items"][0]["id"], found["total"]), (ids[3], 3))
        self.assertEqual(self.get(f"/quarantine?after={ids[0]}&held_as=dlp")["total"], 1)
        self.assertEqual(self.get(f"/quarantine?after={ids[0]}&recipient=b@example.net")["total"], 3)
        self.assertEqual(self.get(f"/quarantine?after={ids[3]}")["total"], 0)
        self.assertIn(f'data-after="{ids[3]}"', self.page("/quarantine"))

    def test_from_one_to_the_other(self) -> None:
        """In the list that somebody came from, and to its end."""
        ids = [self.hold("b"), self.hold("b", held_as="dlp"), self.hold("b"), self.hold("b", sender="x@example.com")]
        text = self.page(f"/quarantine/{ids[2]}")
        self.assertIn(f'href="/quarantine/{ids[3]}" data-key="k"', text)
        self.assertIn(f'href="/quarantine/{ids[1]}" data-key="j"', text)
        text = self.page(f"/quarantine/{ids[2]}?held_as=spam&sender=ann%40example.org")
        tail = "?held_as=spam&amp;sender=ann%40example.org"
        self.assertNotIn("← Newer", text)
        self.assertIn(f'href="/quarantine/{ids[0]}{tail}" data-key="j"', text)
        self.assertIn(f'action="/quarantine/{ids[2]}/delete{tail}"', text)
        gone = self.send(f"/quarantine/{ids[2]}/delete?held_as=spam&sender=ann%40example.org")
        place = f"/quarantine/{ids[0]}?held_as=spam&sender=ann%40example.org"
        self.assertEqual((gone.status, gone.header("location")), (303, place))
        gone = self.send(f"/quarantine/{ids[0]}/delete?held_as=spam")
        self.assertEqual(gone.header("location"), "/quarantine?held_as=spam")

    def test_similar_ones(self) -> None:
        """With how many there are."""
        id = self.hold("b", subject="win & a car", client_ip="192.0.2.1")
        self.hold("c", subject="win & a car", sender="other@example.org", client_ip="192.0.2.9")
        text = self.page(f"/quarantine/{id}")
        self.assertIn('<a href="/quarantine?subject=win+%26+a+car">1 more with the same subject</a>', text)
        self.assertNotIn("from the same sender", text)
        self.assertIn("Nothing that is held fits", self.page("/quarantine?subject=nothing"))

    def test_a_message_for_nobody(self) -> None:
        """Has a row all the same."""
        self.hold("b", recipients=())
        self.assertIn("–", self.page("/quarantine"))

    def test_no_scripts_are_needed(self) -> None:
        """All orders are buttons of forms."""
        id = self.hold("b", asked=1.0, asked_by="b@example.net")
        text = self.page(f"/quarantine/{id}")
        for verb in ("release", "deny", "delete"):
            self.assertRegex(text, rf'<form [^>]*action="/quarantine/{id}/{verb}" method="post">')


class ManyTests(ListCase):
    """Orders about many."""

    def test_deleting_is_asked_once_more(self) -> None:
        """With the number; nothing is done before, and no more than was shown after."""
        ids = [self.hold("b"), self.hold("c"), self.hold("d")]
        chosen = {f"id-{ids[0]}": "yes", f"id-{ids[1]}": "yes"}
        asked = self.send("/quarantine", action="delete", **chosen)
        self.assertEqual((asked.status, self.left()), (200, 3))
        self.assertIn("Delete 2 messages?", asked.text)
        self.assertIn("cannot be undone", asked.text)
        done = self.send("/quarantine", action="delete", sure="yes", **chosen)
        self.assertEqual((done.status, self.left()), (303, 1))
        self.assertEqual(self.send("/quarantine", action="delete").status, 422)

    def test_a_release_that_was_chosen_by_a_key(self) -> None:
        """Is asked too."""
        id = self.hold("b")
        asked = self.send("/quarantine", action="release", ask="yes", **{f"id-{id}": "yes"})
        self.assertIn("Release 1 message?", asked.text)
        self.assertEqual(self.get("/outbox")["items"], [])
        self.assertEqual(self.send("/quarantine", action="release", **{f"id-{id}": "yes"}).status, 303)
        self.assertEqual(len(self.get("/outbox")["items"]), 1)

    def test_all_that_fit(self) -> None:
        """By the filter, with the number that was shown; where others came meanwhile nothing is done."""
        for name in ("b", "c", "d"):
            self.hold(name, held_as="dlp" if name == "d" else "spam")
        fields = {"action": "delete", "all": "yes", "for__held_as": "spam"}
        text = self.send("/quarantine", **fields).text
        self.assertIn("Delete 2 messages?", text)
        sent = dict(re.findall(r'<input type="hidden" name="([a-z_-]+)" value="([^"]*)">', text))
        self.assertEqual((sent["expected"], sent["for-held_as"]), ("2", "spam"))
        self.hold("e")
        again = {name.replace("-", "__"): value for name, value in sent.items() if name != "csrf"}
        self.assertEqual((self.send("/quarantine", **again).status, self.left()), (409, 4))
        again["expected"] = "3"
        done = self.send("/quarantine", **again)
        self.assertEqual((done.status, done.header("location")), (303, "/quarantine?held_as=spam"))
        self.assertEqual(self.left(), 1)
        for wrong in ("", "-1", "x", "9" * 20, "\u0663"):
            self.assertEqual(self.send("/quarantine", **{**again, "expected": wrong}).status, 422, wrong)

    def test_a_dry_run_counts(self) -> None:
        """And tells the number that the order wants."""
        self.hold("b")
        self.hold("c", held_as="dlp")
        order = {"action": "delete", "filter": {"held_as": "dlp"}}
        answer = self.desk.post_json("/api/v1/quarantine?dry_run=1", order, token=self.owner)
        self.assertEqual((answer.status, answer.json()["would"]["expected_count"]), (200, 1))
        self.assertEqual(self.desk.post_json("/api/v1/quarantine", order, token=self.owner).status, 422)
        done = self.post("/quarantine", {**order, "expected_count": 1})
        self.assertTrue(done["items"][0]["done"])
        self.assertEqual(self.left(), 1)

    def test_one_that_cannot_go(self) -> None:
        """Is told, with the others done."""
        busy = self.hold("b", recipients=(Addressee("b@example.net", state="released"),))
        free = self.hold("c")
        answer = self.send("/quarantine", action="release", **{f"id-{busy}": "yes", f"id-{free}": "yes"})
        self.assertEqual(answer.status, 409)
        self.assertIn("1 done", answer.text)
