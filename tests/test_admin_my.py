"""Held mail of one's own: the API and the page of people with addresses, and nobody else's mail."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import ensureDeferred

from smtpgate.admin.spoken import words_of
from smtpgate.config.loader import loads
from smtpgate.policy.own import writer_of
from tests.admin_kit import CONFIG, HOSTILE, PASSWORD
from tests.test_admin_entry import Browser
from tests.test_admin_quarantine import QuarantineCase


class Visitor(Browser):
    """A browser whose scripts call the API."""

    def api(self, method: str, path: str, value: Any = None) -> Any:
        """One call, with the session's token."""
        headers = {"If-Match": "*", "X-CSRF-Token": self.token("/account"), "Content-Type": "application/json"}
        body = json.dumps(value).encode() if value is not None else b""
        return self.desk.ask(method, path, body=body, headers=self._headers(headers), host=self.host, peer=self.peer)


class OwnCase(QuarantineCase):
    """Bea has two addresses, and is logged in; Carl has one."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.users.add_user("eve", "owner", PASSWORD)
        self.people: dict[str, Visitor] = {}
        for name, addresses in (("bea", ["B@example.net", "sales@example.net"]), ("carl", ["c@example.net"])):
            self.post("/users", {"name": name, "role": "user", "password": PASSWORD, "addresses": addresses}, 201)
            self.people[name] = Visitor(self.desk)
            self.assertEqual(self.people[name].log_in(name).status, 303)

    def own(
        self, name: str, path: str = "/quarantine", method: str = "GET", value: Any = None, status: int = 200
    ) -> Any:
        """The API, as a browser asks it."""
        answer = self.people[name].api(method, f"/api/v1/me{path}", value)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()

    def ids(self, name: str) -> list[str]:
        """What waits for somebody."""
        return [one["id"] for one in self.own(name)["items"]]

    def click(self, name: str, id: str, action: str) -> Any:
        """A button on the page."""
        return self.people[name].form("/my", f"/my/{id}", {"action": action})


class ReachTests(OwnCase):
    """Whose mail is whose."""

    def test_only_ones_own(self) -> None:
        """Of all addresses of theirs, of classes that let recipients decide, that came in; and nothing of others."""
        mine = self.hold("b")
        both = self.hold("sales", "c", subject="both")
        other = self.hold("c")
        self.hold("b", held_as="malware")
        out = self.hold("b", direction="out")
        self.assertEqual(self.ids("bea"), [both, mine])
        self.assertEqual(self.ids("carl"), [other, both])
        one = self.own("bea", f"/quarantine/{both}")
        self.assertEqual(one["recipients"], [{"address": "sales@example.net", "state": "held"}])
        self.assertNotIn("c@example.net", str(one) + self.people["bea"].get("/my").text)
        for id in (other, out, "nothing"):
            for verb in ("release", "request", "delete", "restore"):
                answer = self.own("bea", f"/quarantine/{id}/{verb}", "POST", {}, 404)
                self.assertEqual(answer["type"], "/problems/not-found")
        for id in (other, "nothing"):
            self.assertEqual(self.click("bea", id, "release").status, 404)
        self.assertEqual(self.get(f"/quarantine/{other}")["state"], "held")

    def test_a_token_is_nobody(self) -> None:
        """It has no mail, and no list."""
        self.hold("b")
        self.assertEqual(self.get("/me/quarantine")["items"], [])
        self.post("/me/lists", {"entry": "a@example.org", "kind": "allow"}, 409)

    def test_pages(self) -> None:
        """Each message is on one page, and the pages end."""
        ids = [self.hold("b") for _ in range(5)]
        found, cursor = [], ""
        for _ in range(3):
            page = self.own("bea", f"/quarantine?limit=2{cursor}")
            found += [one["id"] for one in page["items"]]
            cursor = f"&cursor={page['next_cursor']}"
        self.assertEqual((found, page["has_more"]), (ids[::-1], False))

    def test_addresses(self) -> None:
        """One is one user's; they go with the user; a change is in the audit, and ends what was theirs."""
        self.assertEqual([one["addresses"] for one in self.get("/users")["items"] if one["name"] == "bea"],
                         [["b@example.net", "sales@example.net"]])  # fmt: skip
        self.post("/users", {"name": "dan", "role": "user", "password": PASSWORD, "addresses": ["b@EXAMPLE.net"]}, 409)
        self.post("/users", {"name": "dan", "role": "user", "password": PASSWORD, "addresses": ["nobody"]}, 422)
        head = {"If-Match": "*", "Content-Type": "application/json"}
        body = b'{"addresses": ["c@example.net"]}'
        self.assertEqual(self.patch("carl", body, head), 200)
        self.assertEqual(self.patch("bea", body, head), 409)
        self.assertEqual(self.remove("/users/carl"), 200)
        self.assertEqual(self.patch("bea", body, head), 200)
        (changed,) = [one for one in self.desk.users.rows if one["action"] == "user.change" and one["target"] == "bea"]
        self.assertEqual(changed["after"]["addresses"], ["c@example.net"])

    def patch(self, name: str, body: bytes, head: dict[str, str]) -> int:
        """Change a user; the status."""
        return self.desk.ask("PATCH", f"/api/v1/users/{name}", body=body, headers=head, token=self.owner).status


class DecideTests(OwnCase):
    """What somebody may do with their mail."""

    def test_release(self) -> None:
        """To their own address alone, without a say in what other rules hold."""
        id = self.hold("b", "c")
        self.own("bea", f"/quarantine/{id}/release", "POST", {})
        (letter,) = self.successResultOf(self.vault.letters(9))
        self.assertEqual([one.address for one in letter.recipients], ["b@example.net"])
        self.assertNotIn("holds", letter.facts)
        self.own("bea", f"/quarantine/{id}/release", "POST", {}, 409)
        self.assertEqual(self.own("bea")["items"][0]["recipients"][0]["state"], "sending")
        self.assertEqual(self.own("carl")["items"][0]["recipients"][0]["state"], "held")
        row = self.desk.users.rows[-1]
        self.assertEqual((row["action"], row["actor"], row["target"]), ("quarantine.release", "bea", id))

    def test_a_class_to_ask_for(self) -> None:
        """It is asked for, once, and not released; so is one that two persons release."""
        settings = loads(CONFIG + "[quarantine.classes.spam]\ntwo_persons = true\n", "/nowhere/gate.toml")
        for held_as in ("policy", "spam"):
            id = self.hold("b", held_as=held_as)
            if held_as == "spam":
                self.desk.control.revision.settings = settings  # type: ignore[union-attr]
            self.own("bea", f"/quarantine/{id}/release", "POST", {}, 409)
            self.own("bea", f"/quarantine/{id}/request", "POST", {})
            self.assertTrue(self.own("bea", f"/quarantine/{id}")["is_asked"])
            self.assertEqual(self.get(f"/quarantine/{id}")["asked_by"], "b@example.net")
        self.assertEqual(self.successResultOf(self.vault.letters(9)), [])

    def test_deleted_and_taken_back(self) -> None:
        """For others it waits still; for nobody it goes within minutes, and comes back whole before that."""
        id = self.hold("b", "c")
        before = self.get(f"/quarantine/{id}")["expires"]
        self.own("bea", f"/quarantine/{id}/delete", "POST", {})
        self.assertEqual((self.ids("bea"), self.ids("carl")), ([], [id]))
        states = {one["address"]: one["state"] for one in self.get(f"/quarantine/{id}")["recipients"]}
        self.assertEqual(states, {"b@example.net": "dropped", "c@example.net": "held"})
        self.assertEqual(self.get(f"/quarantine/{id}")["expires"], before)
        # A manager releases it to who wants it.
        self.own("carl", f"/quarantine/{id}/delete", "POST", {})
        self.assertLess(self.get(f"/quarantine/{id}")["expires"], before)
        self.post(f"/quarantine/{id}/release", {})
        self.assertEqual(self.successResultOf(self.vault.letters(9)), [])
        self.own("carl", f"/quarantine/{id}/restore", "POST", {})
        self.assertEqual((self.ids("carl"), self.get(f"/quarantine/{id}")["expires"]), ([id], before))
        self.own("carl", f"/quarantine/{id}/restore", "POST", {}, 409)
        self.own("carl", f"/quarantine/{id}/delete", "POST", {})
        self.desk.clock.advance(601)
        self.successResultOf(ensureDeferred(self.desk.control.quarantine.expire()))
        self.assertEqual(self.successResultOf(self.vault.get(id)), None)

    def test_a_dry_run_does_nothing(self) -> None:
        """As everywhere."""
        id = self.hold("b")
        for verb in ("release", "delete"):
            self.own("bea", f"/quarantine/{id}/{verb}?dry_run=1", "POST", {})
        self.own("bea", "/lists?dry_run=1", "POST", {"entry": "a@example.org", "kind": "block"})
        self.assertEqual((self.ids("bea"), self.own("bea", "/lists")["items"]), ([id], []))


class ListTests(OwnCase):
    """Allowed and blocked senders."""

    def word(self, address: str, sender: str) -> str:
        """What the decision over mail knows."""
        own = self.desk.control.engine.own._by_address.get(address)
        return own.word(sender) if own is not None else ""

    def test_kept_and_heeded(self) -> None:
        """From the next message on, for each address; until it is taken off, or the address is somebody else's."""
        self.own("bea", "/lists", "POST", {"entry": " Ann@Example.org", "kind": "block"}, 201)
        self.own("bea", "/lists", "POST", {"entry": "example.org", "kind": "allow"}, 201)
        found = [(one["entry"], one["kind"]) for one in self.own("bea", "/lists")["items"]]
        self.assertEqual(found, [("ann@example.org", "block"), ("example.org", "allow")])
        for address in ("b@example.net", "sales@example.net"):
            self.assertEqual(self.word(address, "ann@example.org"), "block")
            self.assertEqual(self.word(address, "x@example.org"), "allow")
        self.assertEqual(self.word("c@example.net", "ann@example.org"), "")
        self.own("bea", "/lists", "POST", {"entry": "ann@example.org", "kind": "allow"}, 201)
        self.assertEqual(self.word("b@example.net", "ann@example.org"), "allow")
        self.own("bea", "/lists/ann%40example.org", "DELETE")
        self.own("bea", "/lists/ann%40example.org", "DELETE", status=404)
        self.assertEqual(len(self.own("bea", "/lists")["items"]), 1)
        self.assertEqual(self.remove("/users/bea"), 200)
        self.assertEqual(self.word("b@example.net", "x@example.org"), "")

    def test_what_is_no_entry(self) -> None:
        """Nothing of that kind gets in, and the page says why."""
        for entry in ("com", "a b@example.org", "b@example.net", "<x>@", *HOSTILE[:4]):
            self.own("bea", "/lists", "POST", {"entry": entry, "kind": "allow"}, 422)
        answer = self.people["bea"].form("/my", "/my/lists", {"entry": "<script>", "kind": "allow"})
        self.assertEqual(answer.status, 422)
        self.assertIn("write an address", answer.text.lower())

    def test_as_many_as_there_is_room_for(self) -> None:
        """And no more."""
        person = self.successResultOf(ensureDeferred(self.desk.control.people.person("bea")))
        for number in range(1024):
            self.assertTrue(self.successResultOf(self.desk.people.put_entry("bea", f"{number}.example.org", "allow")))
        self.own("bea", "/lists", "POST", {"entry": "one.more.example", "kind": "allow"}, 409)
        self.own("bea", "/lists", "POST", {"entry": "7.example.org", "kind": "block"}, 201)
        self.assertFalse(self.successResultOf(self.desk.people.put_entry("bea", "one.more.example", "allow")))
        self.assertEqual(person.name, "bea")

    def test_from_the_message(self) -> None:
        """Whom the page blocks is the author that it shows, whatever the envelope says."""
        id = self.hold("b", author='"Ann, the boss" <Ann@Shop.example>', sender="bounce+7@esp.example")
        self.assertEqual(self.click("bea", id, "block").status, 303)
        self.assertEqual([one["entry"] for one in self.own("bea", "/lists")["items"]], ["ann@shop.example"])
        message = self.successResultOf(self.vault.get(self.hold("b", author="nobody at all")))
        self.assertEqual(writer_of(message), "ann@example.org")


class PageTests(OwnCase):
    """The page."""

    def test_empty(self) -> None:
        """It says so, and what would come; with no address it says that."""
        self.assertIn("Nothing held for you", self.people["bea"].get("/my").text)
        eve = Browser(self.desk)
        eve.log_in("eve")
        self.assertIn("No address is yours", eve.get("/my").text)

    def test_the_way_in(self) -> None:
        """The first page of who may see nothing else."""
        answer = self.people["bea"].get("/")
        self.assertEqual((answer.status, answer.header("location")), (303, "/my"))
        self.assertEqual(self.people["bea"].get("/quarantine").status, 403)

    def test_triage(self) -> None:
        """Buttons do what they say, and a deletion is taken back from the line above."""
        first, second = self.hold("b"), self.hold("b", held_as="policy")
        page = self.people["bea"].get("/my").text
        self.assertEqual((page.count('value="release"'), page.count('value="request"')), (1, 1))
        gone = self.click("bea", first, "drop")
        said = self.people["bea"].get(gone.header("location")).text
        self.assertIn("It is deleted.", said)
        self.assertIn(f'action="/my/{first}"', said)
        self.assertEqual(self.click("bea", first, "restore").status, 303)
        self.assertEqual(self.click("bea", second, "request").status, 303)
        self.assertEqual(self.click("bea", second, "burn").status, 422)
        self.assertEqual(set(self.ids("bea")), {first, second})

    def test_hostile(self) -> None:
        """What strangers wrote is text; so is what an address of the page says."""
        for text in HOSTILE:
            self.hold("b", subject=text, sender=text[:40], author=text)
        page = self.people["bea"].get("/my?done=block&about=<script>alert(1)</script>").text
        for wrong in ("<script>window", "<script>alert", "<img src=x", "<svg/", "\u202e", "\u0007"):
            self.assertNotIn(wrong, page)

    def test_preferences(self) -> None:
        """In the language that was chosen from then on; what is no choice is refused."""
        self.assertEqual(self.own("bea", "/preferences")["digest"], "default")
        fields = {"digest": "weekly", "at": "17:30", "weekday": "fri", "language": "de"}
        self.assertEqual(self.people["bea"].form("/my", "/my/preferences", fields).status, 303)
        self.assertEqual(self.own("bea", "/preferences"), fields)
        page = self.people["bea"].get("/my").text
        self.assertIn('<div lang="de">', page)
        self.assertIn(words_of("de")["my_empty"], page)
        for wrong in ({"at": "25:00"}, {"digest": "hourly"}, {"weekday": "8"}, {"language": "xx"}):
            self.assertEqual(self.people["bea"].form("/my", "/my/preferences", {**fields, **wrong}).status, 422)
