"""Held mail for its managers: the API and the pages over a real index and real files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from smtpgate.control.quarantine import MANY
from smtpgate.policy.held import Addressee, Held
from smtpgate.proxy.memory_vault import NoOutbox
from smtpgate.state.bodies import Bodies
from smtpgate.state.database import Database, DatabaseClosed
from smtpgate.state.people import People
from smtpgate.state.vault import Vault
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk

MAIL = b"Received: from x\r\nSubject: <script>\r\n\r\nHello.\r\n"


class Inline:
    """The database, each call at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.look_now = database.look_now
        self.is_closed = False

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        """Write."""
        if self.is_closed:
            return fail(DatabaseClosed("the gateway is about to stop"))
        return maybeDeferred(self.database.now, function, *args)

    def read(self, function: Any, *args: Any) -> Deferred[Any]:
        """Look."""
        if self.is_closed:
            return fail(DatabaseClosed("the gateway is about to stop"))
        return succeed(self.database.look_now(function, *args))


class QuarantineCase(ApiCase):
    """A desk with a vault."""

    def setUp(self) -> None:
        self.desk = Desk(CONFIG)
        self.owner = self.desk.token("owner")
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-desk-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.database = Database(self.folder / "state.sqlite")
        self.database.open()
        self.addCleanup(self.database.close)
        engine = self.desk.control.engine
        engine.in_thread = maybeDeferred
        self.inline = Inline(self.database)
        self.vault = engine.vault = Vault(self.inline, Bodies(self.folder), maybeDeferred, engine.wall)  # type: ignore[arg-type]
        engine.outbox = NoOutbox()
        self.desk.users.persons = self.desk.people = self.desk.control.people.store = People(self.inline, engine.wall)

    def hold(self, *names: str, held_as: str = "spam", **more: Any) -> str:
        """A held message; its id."""
        self.desk.clock.advance(1)
        body = self.successResultOf(self.vault.begin())
        self.successResultOf(body.write(MAIL))
        self.successResultOf(body.finish())
        now = self.desk.control.engine.wall()
        value = Held(
            id=self.vault.fresh_id(),
            at=now,
            expires=now + 1000,
            held_as=held_as,
            message="01K8FEKHS62Q808T53AJ8RJD8S.1",
            listener="mx",
            direction="in",
            client_ip="192.0.2.7",
            sender="ann@example.org",
            recipients=tuple(Addressee(f"{name}@example.net") for name in names or ("b",)),
            subject="hello",
            filter="rules",
            reason="secret",
            octets=len(MAIL),
            body=body.name,
        )
        value = attrs.evolve(value, **more)
        self.successResultOf(self.vault.keep([value], []))
        return value.id

    def asked(self, path: str, token: str = "") -> Any:
        """A GET; the answer."""
        return self.desk.ask("GET", f"/api/v1{path}", token=token or self.owner)

    def files(self) -> int:
        """How many there are."""
        return len(list(Bodies(self.folder).names()))


class LookTests(QuarantineCase):
    """Lists and single messages."""

    def test_lists(self) -> None:
        """The newest first, by what was asked for, with totals of all and pages."""
        ids = [self.hold("b"), self.hold("c", held_as="dlp"), self.hold("b", "c", subject="other thing")]
        found = self.get("/quarantine")
        self.assertEqual([one["id"] for one in found["items"]], ids[::-1])
        self.assertEqual((found["total"], found["has_more"]), (3, False))
        totals = {(one["held_as"], one["state"]): one["count"] for one in found["totals"]}
        self.assertEqual(totals, {("spam", "held"): 2, ("dlp", "held"): 1})
        for question, places in (
            ("held_as=dlp", [1]),
            ("recipient=B@example.net", [2, 0]),
            ("recipient=b", []),
            ("subject=THING", [2]),
            ("sender=ann%40", [2, 1, 0]),
            ("sender=%25", []),
            ("held_as=spam&recipient=c@example.net", [2]),
            ("state=released", []),
            ("direction=out", []),
            ("asked=yes", []),
        ):
            found = self.get(f"/quarantine?{question}")
            self.assertEqual([one["id"] for one in found["items"]], [ids[place] for place in places], question)
            self.assertEqual(found["total"], len(places), question)
        page = self.get("/quarantine?limit=2")
        self.assertTrue(page["has_more"])
        rest = self.get(f"/quarantine?limit=2&cursor={page['next_cursor']}")
        self.assertEqual([one["id"] for one in rest["items"]], ids[:1])

    def test_a_class_that_is_none(self) -> None:
        """A slip is told; what was held under a class that is no more is found."""
        self.hold(held_as="old-class")
        answer = self.desk.ask("GET", "/api/v1/quarantine?held_as=span", token=self.owner)
        self.assertEqual(answer.status, 400)
        self.assertIn("no class span; known: ", answer.text)
        self.assertIn("old-class", answer.text)
        self.assertEqual(self.get("/quarantine?held_as=old-class")["total"], 1)
        self.assertEqual(self.get("/quarantine?held_as=malware")["total"], 0)

    def test_one(self) -> None:
        """All of it; one that is not there is 404."""
        id = self.hold("b", detail="why")
        one = self.get(f"/quarantine/{id}")
        self.assertEqual(
            (one["detail"], one["state"], one["recipients"][0]["address"]), ("why", "held", "b@example.net")
        )
        self.assertEqual(self.asked("/quarantine/nothing").status, 404)

    def test_content(self) -> None:
        """As a file that no browser shows; who reads it is in the audit, and who may not does not get it."""
        id = self.hold()
        answer = self.asked(f"/quarantine/{id}/content")
        self.assertEqual((answer.status, answer.body), (200, MAIL))
        self.assertEqual(answer.header("content-type"), "application/octet-stream")
        self.assertIn("attachment", answer.header("content-disposition"))
        self.assertEqual(self.desk.users.rows[-1]["action"], "content.read")
        helpdesk = self.desk.token("helpdesk")
        self.assertEqual(self.asked(f"/quarantine/{id}/content", helpdesk).status, 403)
        self.assertEqual(self.asked(f"/quarantine/{id}", helpdesk).status, 200)


class FailingTests(QuarantineCase):
    """A database that is closed."""

    def test_it_is_said_that_it_may_be_later(self) -> None:
        """By lists, by single messages and by what is to be done."""
        id = self.hold("b")
        self.inline.is_closed = True
        answers = [self.asked("/quarantine"), self.asked(f"/quarantine/{id}")]
        answers += [self.desk.post_json(f"/api/v1/quarantine/{id}/delete", {}, token=self.owner)]
        for answer in answers:
            problem = answer.json()
            self.assertEqual((answer.status, problem["title"]), (503, "Not to be had now"))
            self.assertIn(
                "the quarantine cannot be read or written now: the gateway is about to stop", problem["detail"]
            )


class DoTests(QuarantineCase):
    """Orders."""

    def order(self, path: str, body: Any, role: str = "owner") -> Any:
        """A POST; the answer."""
        return self.desk.post_json(f"/api/v1{path}", body, role=role)

    def test_release(self) -> None:
        """Once: it is on its way after that. To some of its recipients where that is said."""
        id = self.hold("b", "c")
        first = self.order(f"/quarantine/{id}/release", {"recipients": ["b@example.net"]}).json()
        self.assertEqual(first["items"], [{"id": id, "done": True, "why": ""}])
        again = self.order(f"/quarantine/{id}/release", {"recipients": ["b@example.net"]}).json()
        self.assertFalse(again["items"][0]["done"])
        self.desk.clock.advance(1)
        self.assertTrue(self.order(f"/quarantine/{id}/release", {}).json()["items"][0]["done"])
        letters = self.get("/outbox")["items"]
        self.assertEqual(
            [[who["address"] for who in one["recipients"]] for one in letters], [["c@example.net"], ["b@example.net"]]
        )
        self.assertEqual({one["held"] for one in letters}, {id})
        self.assertEqual(self.get(f"/quarantine/{id}")["state"], "sending")
        self.assertEqual(self.desk.users.rows[-1]["action"], "quarantine.release")
        self.assertEqual(self.order("/quarantine/nothing/release", {}).status, 404)
        self.assertFalse(self.order(f"/quarantine/{id}/delete", {}).json()["items"][0]["done"])
        for letter in letters:
            self.assertEqual(self.order(f"/outbox/{letter['id']}/cancel", {}).status, 200)
        self.assertEqual(self.get(f"/quarantine/{id}")["state"], "held")
        self.assertEqual(self.order(f"/outbox/{letters[0]['id']}/cancel", {}).status, 404)

    def test_dry_runs(self) -> None:
        """Each verb says what it would do, does nothing, and refuses what is not there; nothing is in the audit."""
        id, other = self.hold("b"), self.hold("c")
        self.order(f"/quarantine/{other}/release", {})
        (letter,) = self.get("/outbox")["items"]
        before = self.get("/quarantine"), self.get("/outbox"), len(self.desk.users.rows)
        for path, body, action in (
            (f"/quarantine/{id}/release", {}, "quarantine.release"),
            (f"/quarantine/{id}/delete", {}, "quarantine.delete"),
            (f"/quarantine/{id}/deny", {}, "quarantine.deny"),
            (f"/quarantine/{id}/forward", {"to": ["x@example.net"]}, "quarantine.forward"),
            ("/quarantine", {"action": "delete", "filter": {}, "expected_count": 2}, "quarantine.delete"),
            (f"/outbox/{letter['id']}/try", {}, "outbox.try"),
            (f"/outbox/{letter['id']}/cancel", {}, "outbox.cancel"),
        ):
            said = self.order(f"{path}?dry_run=1", body)
            self.assertEqual((said.status, said.json()["would"]["action"]), (200, action), path)
        self.assertEqual((self.get("/quarantine"), self.get("/outbox"), len(self.desk.users.rows)), before)
        for path in ("/quarantine/nothing/release", "/outbox/nothing/try", "/outbox/nothing/cancel"):
            self.assertEqual(self.order(f"{path}?dry_run=1", {}).status, 404, path)
        self.assertEqual(len(self.desk.users.rows), before[2])
        wrong = {"action": "delete", "filter": {}, "expected_count": 3}
        self.assertEqual(self.order("/quarantine?dry_run=1", wrong).status, 409)

    def test_delete(self) -> None:
        """With its octets; two messages that share them keep them until the last is gone."""
        id = self.hold()
        value = self.successResultOf(self.vault.get(id))
        other = attrs.evolve(value, id=self.vault.fresh_id())
        self.successResultOf(self.vault.keep([other], []))
        self.assertTrue(self.order(f"/quarantine/{id}/delete", {}).json()["items"][0]["done"])
        self.assertEqual(self.files(), 1)
        self.order(f"/quarantine/{other.id}/delete", {})
        self.assertEqual(
            (self.files(), self.get("/quarantine")["total"], self.get("/quarantine")["totals"]), (0, 0, [])
        )

    def test_many(self) -> None:
        """By ids, and all that fit where they are as many as was said."""
        ids = [self.hold("b"), self.hold("c"), self.hold("b", held_as="dlp")]
        found = self.order("/quarantine", {"action": "delete", "ids": [ids[0], "nothing"]}).json()
        self.assertEqual([one["done"] for one in found["items"]], [True, False])
        wrong = self.order("/quarantine", {"action": "release", "filter": {"held_as": "spam"}, "expected_count": 2})
        self.assertEqual((wrong.status, "1 messages fit, and 2" in wrong.json()["detail"]), (409, True))
        right = self.order("/quarantine", {"action": "release", "filter": {"held_as": "spam"}, "expected_count": 1})
        self.assertEqual([one["id"] for one in right.json()["items"]], [ids[1]])
        for body in (
            {"action": "delete"},
            {"action": "delete", "ids": [], "filter": {}},
            {"action": "delete", "filter": {"nonsense": "x"}, "expected_count": 0},
            {"action": "delete", "filter": {"held_as": "spam"}},
        ):
            self.assertIn(self.order("/quarantine", body).status, (400, 409, 422), body)
        self.assertEqual(self.order("/quarantine", {"action": "eat", "ids": []}).status, 422)
        self.assertEqual(self.order("/quarantine", {"action": "deny", "ids": ["x"] * (MANY + 1)}).status, 422)

    def test_many_that_come_meanwhile(self) -> None:
        """Of which nobody has said how many they are: nothing is done."""
        self.hold("b")
        search = self.vault.search

        def searched(*args: Any) -> Any:
            self.hold("c")
            return search(*args)

        self.vault.search = searched  # type: ignore[method-assign]
        order = {"action": "delete", "filter": {"sender": "ann"}, "expected_count": 1}
        wrong = self.order("/quarantine", order)
        self.assertEqual((wrong.status, "2 messages fit, and 1" in wrong.json()["detail"]), (409, True))
        self.vault.search = search  # type: ignore[method-assign]
        self.assertEqual(self.get("/quarantine")["total"], 2)
        wrong = self.order("/quarantine", {"action": "delete", "filter": {"asked": "no"}, "expected_count": 0})
        self.assertEqual(wrong.status, 422)

    def test_roles(self) -> None:
        """Who looks after the quarantine reads and decides; operators decide; others neither."""
        id = self.hold("b", "c", "d")
        allowed = {"quarantine-manager": 200, "operator": 200, "helpdesk": 403, "auditor": 403}
        for role, status in allowed.items():
            self.assertEqual(self.order(f"/quarantine/{id}/deny", {}, role).status, status, role)
        self.assertEqual(self.order(f"/quarantine/{id}/forward", {"to": ["x@example.net"]}, "operator").status, 403)
        self.assertEqual(self.order(f"/quarantine/{id}/forward", {"to": ["x@example.net"]}).status, 200)
        self.assertIn(self.order(f"/quarantine/{id}/forward", {"to": ["no address"]}).status, (409, 422))
        manager = self.desk.token("quarantine-manager")
        self.assertEqual(self.asked("/config", manager).status, 403)

    def test_wishes(self) -> None:
        """A recipient asks; a manager says no, or releases. Nobody asks for what is not theirs, or not for asking."""
        from smtpgate.control.views import Actor, Refused, Unknown

        control, who = self.desk.control.quarantine, Actor("user", "b@example.net")
        id, secret = self.hold("b", held_as="policy"), self.hold("b", held_as="dlp")
        self.successResultOf(Deferred.fromCoroutine(control.ask_for(id, "B@example.net", who)))
        self.assertEqual([one["id"] for one in self.get("/quarantine?asked=yes")["items"]], [id])
        self.assertEqual(self.get(f"/quarantine/{id}")["asked_by"], "B@example.net")
        self.failureResultOf(Deferred.fromCoroutine(control.ask_for(id, "c@example.net", who)), Unknown)
        self.failureResultOf(Deferred.fromCoroutine(control.ask_for(secret, "b@example.net", who)), Refused)
        self.order(f"/quarantine/{id}/deny", {})
        self.assertEqual(self.get("/quarantine?asked=yes")["items"], [])


class PageTests(QuarantineCase):
    """The pages."""

    def test_forwarded_while_it_is_deleted(self) -> None:
        """Two managers at once: nobody is told that it goes where it cannot."""
        id = self.hold("b")
        get, left = self.vault.get, [2]

        def got(asked: str) -> Any:
            found = get(asked)
            left[0] -= 1
            if not left[0]:
                self.successResultOf(self.vault.withdraw([asked]))
            return found

        self.vault.get = got  # type: ignore[method-assign]
        order = {"to": ["soc@example.net"]}
        answer = self.desk.post_json(f"/api/v1/quarantine/{id}/forward", order, token=self.owner)
        self.assertEqual((answer.status, "not held any more" in answer.text), (409, True))
        self.assertEqual(self.successResultOf(self.vault.letters(9)), [])

    def test_why_nothing_was_released(self) -> None:
        """Of those who were named."""
        id = self.hold(recipients=(Addressee("a@example.net", state="released"), Addressee("b@example.net")))
        for whom, why in (("A@example.net", "it is released already"), ("c@example.net", "it is for none of these")):
            answer = self.desk.post_json(
                f"/api/v1/quarantine/{id}/release", {"recipients": [whom]}, token=self.owner
            ).json()
            self.assertFalse(answer["items"][0]["done"])
            self.assertIn(why, answer["items"][0]["why"])

    def test_released_again(self) -> None:
        """To whom it may have come, and not to whom it has come for certain."""
        whom = [Addressee(f"{state}@example.net", state=state) for state in ("unknown", "released", "held")]
        id = self.hold(recipients=tuple(whom))
        self.assertIn("Release again", self.desk.ask("GET", f"/quarantine/{id}", token=self.owner).text)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        place = f"/quarantine/{id}/release"
        answer = self.desk.ask("POST", place, body=b"again=yes", headers=form, token=self.owner)
        self.assertEqual(answer.status, 303, answer.text)
        (letter,) = self.successResultOf(self.vault.letters(9))
        self.assertEqual([one.address for one in letter.recipients], ["unknown@example.net", "held@example.net"])

    def test_hostile_texts(self) -> None:
        """Whatever a stranger wrote is shown as text."""
        for text in HOSTILE:
            id = self.hold("b", subject=text, author=text, sender=text[:50], detail=text, reason=text[:60])
            for page in ("/quarantine", f"/quarantine/{id}"):
                answer = self.desk.ask("GET", page, token=self.owner)
                self.assertEqual(answer.status, 200, page)
                self.assertNotIn(b"<script>window", answer.body)
                self.assertNotIn(b"<img src=x", answer.body)
                self.assertNotIn(b"49{% raw", answer.body)
