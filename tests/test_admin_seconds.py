"""Held mail that is read with a second person's approval: one asks, another one approves, and nobody is both."""

from __future__ import annotations

from typing import Any

from tests.admin_kit import CONFIG, PASSWORD
from tests.test_admin_entry import Browser
from tests.test_admin_viewer import ViewerCase


class SecondCase(ViewerCase):
    """Ann and Bea, who are logged in; a message of a class of two, and one that is not."""

    config = CONFIG + "[quarantine.classes.dlp]\nsecond_person = true\nreason = true\n"

    def setUp(self) -> None:
        super().setUp()
        self.desk.users.add_user("eve", "owner", PASSWORD)
        self.people: dict[str, Browser] = {}
        for name in ("ann", "bea"):
            self.desk.users.add_user(name, "quarantine-manager", PASSWORD)
            self.people[name] = Browser(self.desk)
            self.assertEqual(self.people[name].log_in(name).status, 303)
        self.one, self.other = self.held(held_as="dlp"), self.held()
        self.place = f"/quarantine/{self.one}"

    def click(self, who: str, verb: str = "", **fields: str) -> Any:
        """A button on the page of the content."""
        return self.people[who].form(f"{self.place}/view", f"{self.place}/reading{verb}", fields)

    def sees(self, name: str) -> bool:
        """Whether somebody reads it on the page, in the frame and as a file; all or none."""
        found = {
            path: b"Hello" in self.people[name].get(f"{self.place}/{path}").body
            for path in ("view", "content", "parts/1")
        }
        frame = self.people[name].get(f"{self.place}/frame/2").status == 200
        self.assertEqual({*found.values(), frame}, {frame}, found)
        return frame

    def audit(self, action: str) -> list[tuple[str, str]]:
        """Who, and what."""
        return [(row["actor"], row["detail"]) for row in self.desk.users.rows if row["action"] == action]


class ReadingTests(SecondCase):
    """From the first to the second."""

    def test_S_28_one_asks_and_another_approves(self) -> None:
        """Nothing is read before, the first reads for a quarter of an hour, and all of it is in the audit."""
        self.assertFalse(self.sees("ann"))
        self.assertEqual(self.click("ann").status, 422)
        self.assertEqual(self.click("ann", reason="the auditors want it").status, 303)
        self.assertFalse(self.sees("ann"))
        self.assertIn("You have asked", self.people["ann"].get(f"{self.place}/view").text)
        self.assertIn(f'<a href="{self.place}/view">', self.people["bea"].get("/quarantine").text)
        page = self.people["bea"].get(f"{self.place}/view")
        self.assertIn("the auditors want it", page.text)
        self.assertNotIn("Hello", page.text)
        self.assertEqual(self.click("bea", "/approve", name="ann").status, 303)
        self.assertTrue(self.sees("ann"))
        self.assertFalse(self.sees("bea"))
        self.assertEqual(self.audit("content.ask"), [("ann", "held as dlp; reason: the auditors want it")])
        self.assertEqual(self.audit("content.approve"), [("bea", "for ann; reason: the auditors want it")])
        said = "held as dlp; its content on a page, approved by bea; reason: the auditors want it"
        self.assertEqual(self.audit("content.read")[0], ("ann", said))
        self.desk.clock.advance(899)
        self.people["ann"].get(f"{self.place}/view")
        self.desk.clock.advance(2)
        self.assertFalse(self.sees("ann"))

    def test_S_28_nobody_is_both(self) -> None:
        """Not in another browser, not by a token or the local socket, and not for a wish that is none."""
        self.click("ann", reason="I want it")
        again = Browser(self.desk)
        again.log_in("ann")
        path = f"{self.place}/view"
        answer = again.post(f"{self.place}/reading/approve", {"csrf": again.token(path), "name": "ann"})
        self.assertEqual(answer.status, 409)
        place = f"/api/v1/quarantine/{self.one}/reading"
        for more in ({"role": "owner"}, {"door": "local"}):
            self.assertEqual(self.desk.post_json(f"{place}/approve", {"name": "ann"}, **more).status, 409)
            self.assertEqual(self.desk.post_json(place, {"reason": "me"}, **more).status, 409)
            answer = self.desk.ask("GET", f"/api/v1/quarantine/{self.one}/content?reason=x", **more)
            self.assertEqual((answer.status, answer.json()["type"]), (403, "/problems/second-person-required"))
        for verb in ("/approve", "/deny"):
            self.assertEqual(self.click("bea", verb, name="bea").status, 404)
        self.assertFalse(self.sees("ann"))
        self.assertEqual(self.audit("content.approve"), [])

    def test_S_28_other_ways_to_the_content(self) -> None:
        """It is not forwarded and not tried; by the history neither."""
        order = {"to": ["x@example.net"]}
        for path, body in (
            (f"/quarantine/{self.one}/forward", order),
            ("/test/message", {"held": self.one, "reason": "x"}),
        ):
            answer = self.desk.post_json(f"/api/v1{path}", body, token=self.owner)
            self.assertEqual((answer.status, answer.json()["type"]), (403, "/problems/second-person-required"), path)
        self.assertEqual(self.audit("content.read"), [])

    def test_no_is_no_and_a_day_is_long_enough(self) -> None:
        """What was denied is asked for anew; what nobody said anything to is forgotten."""
        self.click("ann", reason="once")
        self.assertEqual(self.click("bea", "/deny", name="ann").status, 303)
        self.assertEqual(self.audit("content.deny"), [("bea", "for ann; reason: once")])
        self.assertEqual(self.click("bea", "/approve", name="ann").status, 404)
        self.click("ann", reason="twice")
        self.desk.office.seconds._seconds = lambda: self.desk.clock.seconds() + 86401
        self.assertEqual(self.click("bea", "/approve", name="ann").status, 404)
        self.assertFalse(self.sees("ann"))

    def test_S_28_where_the_audit_cannot_be_written(self) -> None:
        """Nobody asks, and nobody approves."""
        self.desk.users.fails_audit = True
        self.assertEqual(self.click("ann", reason="x").status, 503)
        self.desk.users.fails_audit = False
        self.click("ann", reason="x")
        self.desk.users.fails_audit = True
        self.assertEqual(self.click("bea", "/approve", name="ann").status, 503)
        self.desk.users.fails_audit = False
        self.assertFalse(self.sees("ann"))

    def test_S_12_to_approve_wants_a_password(self) -> None:
        """Of the last ten minutes; to ask does not."""
        self.desk.clock.advance(601)
        self.assertEqual(self.click("ann", reason="x").status, 303)
        self.assertEqual(self.click("bea", "/approve", name="ann").status, 401)
        self.assertEqual(self.audit("content.approve"), [])

    def test_other_classes(self) -> None:
        """Are read as before, and take no wishes."""
        self.assertIn("Hello", self.people["ann"].get(f"/quarantine/{self.other}/view").text)
        place = f"/quarantine/{self.other}"
        fields = {"csrf": self.people["ann"].token(f"{place}/view"), "reason": "x"}
        self.assertEqual(self.people["ann"].post(f"{place}/reading", fields).status, 409)
        found = self.get(f"/quarantine/{self.other}/reading")
        self.assertEqual(found, {"is_wanted": False, "items": []})
        self.click("ann", reason="x")
        found = self.get(f"/quarantine/{self.one}/reading")
        self.assertTrue(found["is_wanted"])
        self.assertEqual([(one["name"], one["approved_by"]) for one in found["items"]], [("ann", "")])
