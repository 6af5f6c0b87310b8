"""The grid of live sessions: what the API and the page without scripts show, and what may be done to one session."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from smtpgate.policy import event as told
from tests.admin_kit import HOSTILE, ApiCase, make_session
from tests.test_admin_pages import Reader


class GridTests(ApiCase):
    """Rows of sessions that were opened while somebody looked."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.control.live.begin()

    def open(self, number: int, ip: str = "192.0.2.7", said: str = "", **more: Any) -> Any:
        facts = make_session(f"01J9UK7Q{number:018d}", **more)
        facts.ended, facts.client_ip = 0.0, ip
        self.desk.control.hear(told.SessionOpened(facts))
        if said:
            self.desk.control.live._ran(facts.id, "names", "mail", said, 0.004, False)
        return facts

    def page(self, query: str = "", status: int = 200) -> str:
        answer = self.desk.ask("GET", f"/live{query}", token=self.owner)
        self.assertEqual(answer.status, status)
        return answer.text

    def form(self, path: str, **fields: str) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, token=self.owner, body=urlencode(fields).encode(), headers=headers)

    def test_rows_are_those_of_the_stream(self) -> None:
        """The same fields, the newest first, as many as were asked for, and what a filter lets through."""
        self.open(1, said="pass")
        self.open(2, "198.51.100.9", said="reject")
        grid = self.get("/live")
        self.assertEqual([row["id"][-1] for row in grid["items"]], ["2", "1"])
        self.assertEqual(grid["items"][0]["cells"], {"names": ["reject", "reject", "mail", 4.0, False]})
        self.assertEqual(grid["columns"], [{"stage": "other", "filters": ["names"]}])
        self.assertEqual(grid["listeners"][0]["is_listening"], True)
        self.assertEqual(len(self.get("/live?rows=1")["items"]), 1)
        for wanted, ids in (("verdict:reject", ["2"]), ("ip:192.0.2.7", ["1"]), ("nobody", []), ("ann", ["2", "1"])):
            self.assertEqual([row["id"][-1] for row in self.get(f"/live?filter={wanted}")["items"]], ids, wanted)
        self.assertEqual(self.desk.ask("GET", "/api/v1/live?filter=colour:red", token=self.owner).status, 400)

    def test_the_page_says_all_without_scripts(self) -> None:
        """Letter and word of the worst, the client, where the row leads; a filter that means nothing is told."""
        facts = self.open(1, said="reject")
        self.desk.control.live._ran(facts.id, "names", "rcpt", "pass", 0.001, False)
        page = self.page()
        self.assertIn("<b>R</b> <small>reject, then pass 1.0 ms</small>", page)
        self.assertIn(f'href="/sessions/{facts.id}"', page)
        self.assertIn("No session matches", self.page("?filter=nobody"))
        self.assertIn("not understood", self.page("?filter=colour%3Ared", 400))
        self.assertIn("<option selected>50</option>", self.page("?rows=9999"))

    def test_hostile_text_stays_text(self) -> None:
        """Names that strangers choose."""
        for number, text in enumerate(HOSTILE):
            self.open(number, helo=text)
        reader = Reader()
        reader.feed(self.page("?rows=200"))
        self.assertEqual(reader.wrong, [])
        self.assertNotIn("inline", reader.scripts)
        self.assertEqual(len(reader.ids), len(set(reader.ids)))

    def test_who_may_only_look_is_shown_no_orders(self) -> None:
        """No choice, no form."""
        self.open(1)
        page = self.desk.ask("GET", "/live", role="helpdesk").text
        self.assertNotIn('type="checkbox"', page)
        self.assertNotIn("/live/ban", page)

    def test_a_session_that_is_over_cannot_be_ended(self) -> None:
        """The page says so, and shows what there is now; nothing chosen is a mistake."""
        facts = self.open(1)
        answer = self.form("/live/kill", **{f"id-{facts.id}": "yes"})
        self.assertEqual((answer.status, "was over already" in answer.text), (409, True))
        self.assertEqual(self.form("/live/kill").status, 400)
        self.assertEqual(self.desk.users.rows, [])

    def test_the_address_of_a_session_is_kept_out(self) -> None:
        """Also of one that ended; the ban names it as evidence, and one that may not be is told as such."""
        facts = self.open(1, "198.51.100.9")
        self.desk.history.keep(facts)
        answer = self.form("/live/ban", **{f"id-{facts.id}": "yes"}, minutes="60", filter="verdict:reject", rows="100")
        self.assertEqual((answer.status, answer.header("location")), (303, "/live?filter=verdict%3Areject&rows=100"))
        (ban,), _ = self.desk.control.traffic.bans(10)
        self.assertEqual((ban.key, facts.id in ban.reason), ("198.51.100.9", True))
        self.assertEqual(self.form("/live/ban", **{f"id-{facts.id}": "yes"}, minutes="61").status, 400)
        facts.client_ip = "127.0.0.1"
        self.desk.history.records.clear()
        self.desk.history.keep(facts)
        self.assertEqual(self.form("/live/ban", **{f"id-{facts.id}": "yes"}, minutes="60").status, 409)

    def test_the_old_address_leads_here(self) -> None:
        """Bookmarks go on."""
        answer = self.desk.ask("GET", "/sessions", token=self.owner)
        self.assertEqual((answer.status, answer.header("location")), (303, "/live"))
