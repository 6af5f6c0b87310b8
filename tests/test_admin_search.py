"""Tests of finding messages over the API and on the page: terms, parameters, mistakes, pages, who may see what."""

from __future__ import annotations

from urllib.parse import quote

from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import ApiCase, make_session


class SearchCase(ApiCase):
    """Five messages."""

    def setUp(self) -> None:
        """Keep them."""
        super().setUp()
        for number in range(5):
            is_bad = number == 3
            self.desk.history.keep(
                make_session(
                    f"01J9UK7Q0000000000000000A{number}",
                    sender=f"user{number}@mail.example.org",
                    recipients=("bob@example.net", f"r{number}@example.net"),
                    subject=f"Invoice {number}",
                    outcome="refused" if is_bad else "delivered",
                    reply=Reply(550, "5.7.1", ("No <programs>",)) if is_bad else Reply(250, "2.0.0", ("Ok as Q77X",)),
                    findings=(Finding("no-programs", "reject", filter="rules", score=7.0),) if is_bad else (),
                    started=1_790_000_000.0 + number * 3600,
                )
            )

    def ids(self, query: str) -> str:
        """The numbers of what is found, newest first."""
        return "".join(one["id"][25] for one in self.get(f"/messages?{query}")["items"])


class ApiTests(SearchCase):
    """GET /api/v1/messages."""

    def test_text_and_parameters_say_the_same(self) -> None:
        """Each parameter is a term; one given twice means either; different ones mean both."""
        for text, params, found in (
            ("", "", "43210"),
            ("from:user2", "mail_from=user2", "2"),
            ("from:user2 from:user4", "mail_from=user2&mail_from=user4", "42"),
            ("to:r1 domain:example.org", "rcpt=r1&domain=example.org", "1"),
            ("verdict:refused", "verdict=refused", "3"),
            ("verdict:refused", "outcome=refused", "3"),
            ("rule:no-programs score:>=7", "rule=no-programs&score_min=7", "3"),
            ("score:<=6.9", "score_max=6.9", "4210"),
            ("cidr:192.0.2.0/24 backend:mail", "cidr=192.0.2.0/24&pool=mail", "43210"),
            ("ip:192.0.2.8", "ip=192.0.2.8", ""),
            ("size:>=4321 size:<=4321", "size_min=4321&size_max=4321", "43210"),
            ("subject:invoice tls:TLSv1.3", "subject=invoice&tls=TLSv1.3", "43210"),
            (
                "after:2026-09-21T15:00Z before:2026-09-21T17:00Z",
                "time_from=2026-09-21T15:00Z&time_to=2026-09-21T17:00Z",
                "21",
            ),
        ):
            self.assertEqual(self.ids(f"q={quote(text)}"), found, text)
            self.assertEqual(self.ids(params), found, params)
        self.assertEqual(self.ids("q=invoice&verdict=delivered&mail_from=user0"), "0")

    def test_what_an_old_message_has_is_found(self) -> None:
        """However many came after it."""
        for number in range(200):
            self.desk.history.keep(
                make_session(f"01J9UK7Q00000000000000B{number:03d}", started=1_790_100_000.0 + number)
            )
        self.assertEqual(
            [one["sender"] for one in self.get("/messages?q=from:user0")["items"]], ["<user0@mail.example.org>"]
        )

    def test_a_bounce(self) -> None:
        """Its reference, whatever else it says; a field beside it stays a field."""
        text = "550 5.7.1 No <programs> 01J9UK7Q0000000000000000A3.1 (in reply to end of DATA)"
        self.assertEqual(self.ids(f"q={quote(text)}"), "3")
        self.assertEqual(self.ids("q=01J9UK7Q0000000000000000A2"), "2")
        self.assertEqual(self.ids(f"q={quote('id:01J9UK7Q0000000000000000A2 to:r3')}"), "")

    def test_mistakes(self) -> None:
        """All are named at once, with the place in the text and what would be right."""
        answer = self.desk.ask("GET", "/api/v1/messages?q=a%20fro:b&ip=300.1.1.1&size_min=big", token=self.owner)
        self.assertEqual(answer.status, 400)
        faults = {one["parameter"]: one["message"] for one in answer.json()["errors"]}
        self.assertEqual(set(faults), {"q", "ip", "size_min"})
        self.assertIn("at character 3", faults["q"])
        self.assertIn("from", faults["q"])

    def test_page_by_page(self) -> None:
        """The cursor belongs to one query; a new message in between moves nothing."""
        first = self.desk.ask("GET", "/api/v1/messages?limit=2&rcpt=bob", token=self.owner)
        page = first.json()
        self.assertEqual([one["id"][25] for one in page["items"]], ["4", "3"])
        self.assertIn(page["next_cursor"], first.header("link"))
        self.desk.history.keep(make_session("01J9UK7Q0000000000000000A9", started=1_790_900_000.0))
        seen = ""
        while page["has_more"]:
            page = self.get(f"/messages?limit=2&rcpt=bob&cursor={page['next_cursor']}")
            seen += "".join(one["id"][25] for one in page["items"])
        self.assertEqual(seen, "210")
        self.assertIsNone(page["next_cursor"])
        cursor = first.json()["next_cursor"]
        answer = self.desk.ask("GET", f"/api/v1/messages?limit=2&rcpt=r1&cursor={cursor}", token=self.owner)
        self.assertEqual(answer.status, 400)


class PageTests(SearchCase):
    """/messages."""

    def page(self, path: str, status: int = 200) -> str:
        """Its text."""
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, status)
        return answer.text

    def test_what_fits_is_shown(self) -> None:
        """And nothing else."""
        shown = self.page("/messages?q=from:user3")
        self.assertIn("user3@mail", shown)
        self.assertNotIn("user2@mail", shown)
        self.assertIn("user3@mail", self.page("/messages?outcome=refused"))
        self.assertIn("Nothing matches", self.page("/messages?q=from:nobody"))

    def test_a_mistake_is_shown_with_its_place(self) -> None:
        """Escaped, with what would be right, and the text stays in the box."""
        shown = self.page("/messages?q=hello%20fro:%3Cb%3E", 400)
        self.assertIn("at character 7", shown)
        self.assertIn('<code class="foreign">fro:&lt;b&gt;</code>', shown)
        self.assertIn("did you mean from:?", shown)
        self.assertIn('value="hello fro:&lt;b&gt;"', shown)

    def test_older_ones(self) -> None:
        """A link goes on from the last row, to the end."""
        for number in range(230):
            self.desk.history.keep(
                make_session(f"01J9UK7Q00000000000000B{number:03d}", started=1_790_100_000.0 + number)
            )
        seen, path = 0, "/messages?q=to:bob"
        while path:
            shown = self.page(path)
            seen += shown.count('data-name="Time"')
            before, _, _ = shown.partition('" rel="next"')
            path = before.rpartition('href="')[2].replace("&amp;", "&") if 'rel="next"' in shown else ""
        self.assertEqual(seen, 235)
