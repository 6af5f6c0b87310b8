"""Held mail that two persons release: one asks, another one approves, and nobody is both."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.config.loader import loads
from smtpgate.control.views import Actor, Refused
from tests.admin_kit import CONFIG, PASSWORD
from tests.test_admin_entry import Browser
from tests.test_admin_quarantine import QuarantineCase

TWO = CONFIG + '[quarantine.classes.dlp]\ntwo_persons = true\nusers = "release"\n'


class TwoPersonsCase(QuarantineCase):
    """Ann and Bea, who are logged in."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.control.revision.settings = loads(TWO, "/nowhere/gate.toml")  # type: ignore[union-attr]
        self.desk.users.add_user("eve", "owner", PASSWORD)
        self.people: dict[str, Browser] = {}
        for name in ("ann", "bea"):
            self.desk.users.add_user(name, "admin", PASSWORD)
            self.people[name] = Browser(self.desk)
            self.assertEqual(self.people[name].log_in(name).status, 303)
        self.one = self.hold("b", held_as="dlp")

    def click(self, name: str, verb: str, **fields: str) -> Any:
        """A button on the page of the message."""
        place = f"/quarantine/{self.one}"
        return self.people[name].form(place, f"{place}/{verb}", fields)

    def call(self, path: str, body: Any) -> Any:
        """The API by a token."""
        return self.desk.post_json(f"/api/v1/quarantine{path}", body, token=self.owner)

    def sent(self) -> int:
        """Letters on their way."""
        return len(self.get("/outbox")["items"])


class ReleaseTests(TwoPersonsCase):
    """From the first to the second."""

    def test_S_28_one_asks_and_another_approves(self) -> None:
        """Not the same; what each said is in the audit."""
        self.assertEqual(self.click("ann", "release").status, 409)
        self.assertEqual(self.click("ann", "request").status, 422)
        self.assertEqual(self.click("ann", "request", reason="the auditors want it").status, 303)
        self.assertEqual(self.desk.users.rows[-1]["detail"], "the auditors want it")
        self.assertEqual(self.desk.users.rows[-1]["actor"], "ann")
        again = self.click("ann", "release")
        self.assertEqual((again.status, "somebody else has to approve" in again.text), (409, True))
        self.assertEqual(self.click("bea", "request", reason="me too").status, 409)
        self.assertEqual(self.sent(), 0)
        found = self.get("/quarantine?asked=yes")["items"]
        self.assertEqual([(one["id"], one["proposed_by"]) for one in found], [(self.one, "ann")])
        self.assertIn("wants a second person", self.people["bea"].get("/quarantine").text)
        self.assertIn("Approve the release", self.people["bea"].get(f"/quarantine/{self.one}").text)
        self.assertNotIn("Approve the release", self.people["ann"].get(f"/quarantine/{self.one}").text)
        self.assertEqual(self.click("bea", "release").status, 303)
        self.assertEqual(self.sent(), 1)
        # What comes back is judged by two anew.
        self.post(f"/outbox/{self.get('/outbox')['items'][0]['id']}/cancel", {})
        one = self.get(f"/quarantine/{self.one}")
        self.assertEqual((one["state"], one["proposed_by"], one["asked"]), ("held", "", None))
        self.assertEqual(self.click("bea", "release").status, 409)

    def test_no_is_no(self) -> None:
        """Whoever asked asks again, and nobody approves what was turned down."""
        self.click("ann", "request", reason="please")
        self.assertEqual(self.click("bea", "deny").status, 303)
        self.assertEqual(self.get(f"/quarantine/{self.one}")["proposed_by"], "")
        self.assertEqual(self.click("bea", "release").status, 409)
        self.assertEqual(self.sent(), 0)

    def test_nobody_is_asked_about_other_mail(self) -> None:
        """It is released as ever."""
        self.one = self.hold("b")
        self.assertEqual(self.click("ann", "request", reason="x").status, 409)
        self.assertEqual(self.click("ann", "release").status, 303)

    def test_without_an_audit_nothing_is_asked(self) -> None:
        """Who asked must be known."""
        self.desk.users.fails_audit = True
        self.assertEqual(self.click("ann", "request", reason="x").status, 503)
        self.assertEqual(self.get(f"/quarantine/{self.one}")["proposed_by"], "")


class BesideTests(TwoPersonsCase):
    """Other ways out."""

    def test_S_28_tokens_are_no_persons(self) -> None:
        """Nor is the command line: neither first nor second, alone or among many."""
        self.assertEqual(self.call(f"/{self.one}/request", {"reason": "x"}).status, 409)
        self.click("ann", "request", reason="x")
        self.assertEqual(self.call(f"/{self.one}/approve", {}).status, 409)
        other = self.hold("c")
        for path, body in (
            (f"/{self.one}/release", {}),
            (f"/{self.one}/release", {"again": True}),
            ("", {"action": "release", "ids": [self.one, other]}),
        ):
            items = {one["id"]: one for one in self.call(path, body).json()["items"]}
            self.assertFalse(items[self.one]["done"], path)
            self.assertIn("two persons", items[self.one]["why"])
        self.assertTrue(items[other]["done"])
        self.assertEqual(self.sent(), 1)
        self.assertEqual(self.call(f"/{self.hold('d')}/approve", {}).status, 409)

    def test_it_is_not_forwarded(self) -> None:
        """That would be a release to somebody else."""
        self.assertEqual(self.call(f"/{self.one}/forward", {"to": ["x@example.net"]}).status, 409)
        self.assertEqual(self.sent(), 0)

    def test_a_link_asks(self) -> None:
        """Though its class lets users release: a digest has links that ask, and an old one releases nothing."""
        quarantine = self.desk.control.quarantine
        self.assertFalse(self.desk.control.settings.quarantine.of("dlp").is_released_by_users)
        link = Actor("link", "b@example.net")
        (outcome,) = self.successResultOf(Deferred.fromCoroutine(quarantine.release([self.one], link)))
        self.assertFalse(outcome.done)
        self.failureResultOf(Deferred.fromCoroutine(quarantine.propose(self.one, link, "x")), Refused)
        self.successResultOf(Deferred.fromCoroutine(quarantine.ask_for(self.one, "b@example.net", link)))
        self.assertEqual(self.get(f"/quarantine/{self.one}")["proposed_by"], "")
        self.assertEqual(self.click("ann", "release").status, 409)

    def test_two_at_once(self) -> None:
        """One is first; the second cannot approve what was turned down since it looked."""
        self.assertTrue(self.successResultOf(self.vault.propose(self.one, "ann")))
        self.assertFalse(self.successResultOf(self.vault.propose(self.one, "bea")))
        self.successResultOf(self.vault.ask(self.one, ""))
        gone = self.successResultOf(self.vault.release(self.one, None, False, 1e10, is_manager=True, second="bea"))
        self.assertIsNone(gone)
        self.assertFalse(self.successResultOf(self.vault.propose("nothing", "ann")))
