"""Regression cases: kept with what became of them, tried again, on a draft too; store, API, page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy import case as values
from smtpgate.policy.case import Case
from smtpgate.state import case_store
from smtpgate.state.case_store import CaseStore
from smtpgate.state.tables import cases, metadata
from tests.admin_kit import HOSTILE, AtOnce
from tests.bench_kit import CONFIG, MAIL, RULE, BenchCase
from tests.test_admin_bench import TO, StandIn


class Tables(AtOnce):
    """The table of cases in memory."""

    def __init__(self) -> None:
        super().__init__()
        metadata.create_all(self._engine, [cases])


class StoreTests(SynchronousTestCase):
    """The table."""

    def make(self, id: str, created: float = 1.0) -> Case:
        return Case(id, f"case {id}", "user ann", created, "message", "{}", b"\x00\xff", "refused", "reject", "a: b")

    def test_put_read_remove(self) -> None:
        """With content where it is asked for; the oldest first; no more than there may be."""
        store = CaseStore(Tables())
        for id, created in (("b", 2.0), ("a", 1.0)):
            self.assertTrue(self.successResultOf(store.put(self.make(id, created))))
        found = self.successResultOf(store.all())
        self.assertEqual([(one.id, one.octets) for one in found], [("a", b""), ("b", b"")])
        found = self.successResultOf(store.all(has_content=True))
        self.assertEqual(found[0], self.make("a", 1.0))
        self.patch(case_store, "MOST", 2)
        self.assertFalse(self.successResultOf(store.put(self.make("c"))))
        self.assertTrue(self.successResultOf(store.remove("a")))
        self.assertFalse(self.successResultOf(store.remove("a")))
        self.assertTrue(self.successResultOf(store.put(self.make("c"))))
        self.assertEqual(values.MOST, 200)


class CaseCase(BenchCase):
    """A gateway that keeps cases."""

    def use(self, text: str, zones: Any = ()) -> None:
        store = self.desk.control.cases.store if hasattr(self, "desk") else CaseStore(Tables())
        super().use(text, zones)
        self.desk.control.cases.store = store

    def keep(self, name: str, **body: Any) -> None:
        self.post("/test/cases", {"name": name, "envelope": TO, **(body or {"message": MAIL})}, 201)


class ApiTests(CaseCase):
    """/api/v1/test/cases."""

    def test_kept_and_tried_again(self) -> None:
        """On what is at work, and on a draft that decides otherwise."""
        self.keep("plan")
        script = "EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<x@other.test>\nQUIT"
        self.keep("relay", script=script)
        items = self.get("/test/cases")["items"]
        self.assertEqual([(one["name"], one["kind"], one["outcome"]) for one in items],
                         [("plan", "message", "delivered"), ("relay", "session", "refused")])  # fmt: skip
        found = self.post("/test/cases/run", {})
        self.assertEqual((found["passed"], found["failed"]), (2, 0))
        found = self.post("/test/cases/run", {"draft": self.whole(CONFIG) + RULE})
        self.assertEqual([one["is_passed"] for one in found["items"]], [False, True])
        self.assertEqual(found["items"][0]["decided_by"], "rules: plan")

    def test_one_that_cannot_be_tried(self) -> None:
        """Where its listener is gone it has failed, and says why."""
        self.keep("out", message=MAIL, envelope={**TO, "listener": "out", "user": "ann"})
        draft = self.whole(CONFIG).replace("[listeners.out]", "[listeners.gone]")
        (one,) = self.post("/test/cases/run", {"draft": draft})["items"]
        self.assertEqual(one["is_passed"], False)
        self.assertIn("no listener out", one["why"])

    def test_what_is_not_kept(self) -> None:
        """Without a name, twice the same, or too large; nothing in a dry run."""
        self.keep("plan")
        self.post("/test/cases", {"name": " ", "message": MAIL, "envelope": TO}, 422)
        self.post("/test/cases", {"name": "plan", "message": MAIL, "envelope": TO}, 409)
        self.post("/test/cases", {"name": "big", "message": "x" * (2**20 + 1), "envelope": TO}, 422)
        self.post("/test/cases", {"name": "two", "message": MAIL, "script": "QUIT"}, 422)
        self.post("/test/cases?dry_run=1", {"name": "three", "message": MAIL, "envelope": TO})
        self.assertEqual(len(self.get("/test/cases")["items"]), 1)

    def test_removal(self) -> None:
        """In the audit, as the keeping is."""
        self.keep("plan")
        id = self.get("/test/cases")["items"][0]["id"]
        self.assertEqual(self.get(f"/test/cases/named/{id}")["name"], "plan")
        self.assertEqual(self.remove(f"/test/cases/named/{id}"), 200)
        self.assertEqual(self.remove(f"/test/cases/named/{id}"), 404)
        actions = [one["action"] for one in self.desk.users.rows]
        self.assertEqual(actions[-2:], ["test.case", "test.case_removed"])

    def test_held_mail(self) -> None:
        """It is read for that, which is in the audit; who may not read keeps none."""
        self.desk.control.quarantine = StandIn(self.desk)  # type: ignore[assignment]
        self.post("/test/cases", {"name": "held", "held": "h1"}, 201)
        self.assertIn("content.read", [one["action"] for one in self.desk.users.rows])
        answer = self.desk.post_json("/api/v1/test/cases", {"name": "x", "held": "h1"}, role="operator")
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.post("/test/cases/run", {})["passed"], 1)


class PageTests(CaseCase):
    """/test/cases, and the name in the form of /test."""

    def form(self, path: str, **fields: str) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, body=urlencode(fields).encode(), headers=headers, token=self.owner)

    def page(self) -> str:
        return self.desk.ask("GET", "/test/cases", token=self.owner).text

    def test_keep_run_remove(self) -> None:
        """By the forms alone."""
        self.assertIn("No case yet", self.page())
        given = {"sender": "ann@example.org", "recipients": "bob@example.net", "message": MAIL, "case": "plan"}
        self.assertEqual(self.form("/test", **given).status, 200)
        self.assertEqual(self.form("/test", **given).status, 409)
        self.assertEqual(self.form("/test", form="session", script="QUIT", case="quit").status, 200)
        self.assertIn("all as they were", self.form("/test/cases").text)
        self.use(CONFIG + RULE)
        page = self.form("/test/cases").text
        self.assertIn("1 otherwise", page)
        self.assertIn("rules: plan", page)
        id = self.get("/test/cases")["items"][0]["id"]
        self.assertEqual(self.form(f"/test/cases/{id}/remove").status, 303)
        self.assertNotIn("<b><bdi>plan", self.page())

    def test_strangers_texts_do_nothing(self) -> None:
        """A name may be anything."""
        for text in (one for one in HOSTILE if "<" in one):
            self.keep("".join(letter for letter in text if letter.isprintable()))
            self.assertNotIn(text, self.page())

    def test_where_none_are_kept(self) -> None:
        """It says so."""
        self.desk.control.cases.store = None
        answer = self.desk.ask("GET", "/test/cases", token=self.owner)
        self.assertEqual((answer.status, "keeps no cases" in answer.text), (503, True))
