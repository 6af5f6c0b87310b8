"""One message by its id: when what happened, its content where that is held, and a try of it anew."""

from __future__ import annotations

from tests.admin_kit import make_session
from tests.test_admin_bench import BenchCase, StandIn
from tests.test_admin_viewer import MAIL, ViewerCase

REF = "01J9UK7Q0000000000000000AB"


class ContentTests(ViewerCase):
    """Held mail by the id of the message."""

    def kept(self, note: str = "") -> str:
        """A message of the history; its id."""
        facts = make_session(REF)
        if note:
            facts.transactions[0].note(note)
        self.desk.history.keep(facts)
        return facts.transactions[0].id

    def test_its_header_and_octets(self) -> None:
        """As the held mail has them; each reading is in the audit."""
        id = self.kept(f"held:{self.held()}")
        found = self.get(f"/messages/{id}/headers")
        names = [field["name"] for field in found["items"]]
        self.assertEqual(names[:3], ["Received", "Received", "From"])
        self.assertTrue(found["is_complete"])
        answer = self.desk.ask("GET", f"/api/v1/messages/{id}/raw", token=self.owner)
        self.assertEqual((answer.status, answer.body), (200, MAIL))
        self.assertIn("attachment", answer.header("content-disposition"))
        part = self.desk.ask("GET", f"/api/v1/messages/{id}/parts/4", token=self.owner)
        self.assertEqual(part.body.strip(), b"MZ program")
        self.assertEqual(len(self.readings()), 3)
        for path in ("headers", "raw", "parts/1"):
            answer = self.desk.ask("GET", f"/api/v1/messages/{id}/{path}", role="operator")
            self.assertEqual(answer.status, 403, path)

    def test_what_is_not_kept_is_gone(self) -> None:
        """The metadata is there, and the answer says why no more is; an unknown message is another thing."""
        for id in (self.kept(), self.kept("held:0123456789abcdef")):
            for path in ("headers", "raw", "parts/1"):
                answer = self.desk.ask("GET", f"/api/v1/messages/{id}/{path}", token=self.owner)
                self.assertEqual((answer.status, answer.json()["type"]), (410, "/problems/gone"), path)
            self.assertEqual(self.desk.post_json(f"/api/v1/messages/{id}/retest", {}, token=self.owner).status, 410)
        self.assertEqual(self.readings(), [])
        unknown = self.desk.ask("GET", "/api/v1/messages/01J9UK7Q0000000000000000ZZ.1/raw", token=self.owner)
        self.assertEqual(unknown.status, 404)

    def test_its_time(self) -> None:
        """Steps of this message alone, and the parts of its time; the session has all of them."""
        id = self.kept()
        whole, found = self.get(f"/sessions/{REF}/timeline"), self.get(f"/messages/{id}/timeline")
        begin, end = found["began_ms"], found["began_ms"] + found["took_ms"]
        self.assertTrue(found["phases"])
        self.assertTrue(all(begin <= step["at_ms"] <= end for step in found["steps"]))
        self.assertLess(len(found["steps"]), len(whole["steps"]))
        self.assertEqual([step for step in whole["steps"] if begin <= step["at_ms"] <= end], found["steps"])


class RetestTests(BenchCase):
    """POST /api/v1/messages/<id>/retest."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.control.quarantine = StandIn(self.desk)  # type: ignore[assignment]

    def test_with_what_is_at_work_now(self) -> None:
        """As it came, unless something else is said; on a draft beside it."""
        facts = make_session(REF)
        facts.transactions[0].note("held:h1")
        self.desk.history.keep(facts)
        path = f"/messages/{facts.transactions[0].id}/retest"
        (one,) = self.post(path, {})["items"]
        self.assertEqual(one["session"]["client_ip"], "192.0.2.7")
        (one,) = self.post(path, {"envelope": {"client_ip": "198.51.100.1"}})["items"]
        self.assertEqual(one["session"]["client_ip"], "198.51.100.1")
        self.post(path, {"message": "x"}, 422)
