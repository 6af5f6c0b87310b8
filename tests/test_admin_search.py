"""Tests of finding messages over the API and on the page: terms, parameters, mistakes, pages, who may see what."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import Any
from urllib.parse import quote

from smtpgate.admin import listing
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


class SummaryTests(SearchCase):
    """GET /api/v1/messages/summary."""

    def test_numbers(self) -> None:
        """How many, when, of which kinds; the same terms as the list."""
        found = self.get("/messages/summary")
        self.assertEqual((found["total"], found["is_partial"], found["facets_of"]), (5, False, 5))
        self.assertEqual(sum(one["count"] for one in found["histogram"]), 5)
        facets = {one["field"]: one["values"] for one in found["facets"]}
        self.assertEqual(facets["verdict"], {"delivered": 4, "refused": 1})
        self.assertEqual((facets["rule"], facets["reason"]), ({"no-programs": 1}, {}))
        self.assertEqual(self.get("/messages/summary?q=to:bob&verdict=refused")["total"], 1)
        self.assertEqual(self.desk.ask("GET", "/api/v1/messages/summary?q=fro:x", token=self.owner).status, 400)

    def test_what_keeps_all_out(self) -> None:
        """The term without which the most would fit is the first."""
        found = self.get("/messages/summary?q=" + quote("from:user3 to:bob verdict:delivered"))
        self.assertEqual(found["total"], 0)
        self.assertEqual(
            [(one["term"], one["total"]) for one in found["without"]], [("from:user3", 4), ("verdict:delivered", 1)]
        )

    def test_others_mail_is_not_counted(self) -> None:
        """Of who may see some domains only."""
        found: list[str] = []
        self.desk.users.add_token("t", "helpdesk", 0.0, (), ("elsewhere.example",)).addCallback(found.append)
        answer = self.desk.ask("GET", "/api/v1/messages/summary?q=from:user3", token=found[0]).json()
        self.assertEqual((answer["total"], answer["without"], answer["facets_of"]), (0, [], 0))
        text = self.desk.ask("GET", "/api/v1/messages/export", token=found[0]).text
        self.assertEqual(text, "")


class ExportTests(SearchCase):
    """GET /api/v1/messages/export."""

    def test_lines_of_json(self) -> None:
        """The same rows as the list, and a record that they were taken."""
        answer = self.desk.ask("GET", "/api/v1/messages/export?q=verdict:delivered", token=self.owner)
        rows = [json.loads(line) for line in answer.text.splitlines()]
        self.assertEqual(rows, self.get("/messages?q=verdict:delivered")["items"])
        self.assertIn("attachment", answer.header("content-disposition"))
        self.assertEqual(
            [(row["action"], row["detail"]) for row in self.desk.users.rows if "export" in row["action"]],
            [("messages.export", "verdict:delivered")],
        )

    def test_no_cell_is_a_formula(self) -> None:
        """Whatever a sender writes, a spreadsheet calculates nothing."""
        for number, subject in enumerate(("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", 'a "quote", and more')):
            sender = f"=1+{number}@x.example"
            self.desk.history.keep(
                make_session(
                    f"01J9UK7Q0000000000000000C{number}", subject=subject, sender=sender, started=1_790_100_000.0
                )
            )
        text = self.desk.ask("GET", "/api/v1/messages/export?format=csv", token=self.owner).text
        rows = list(csv.reader(io.StringIO(text)))
        self.assertEqual(len(rows), 11)
        self.assertEqual(rows[0][0], "id")
        for row in rows[1:]:
            self.assertFalse([cell for cell in row if cell[:1] in "=+-@\t\r" and cell], row)
        at = rows[0].index("subject")
        self.assertIn('a "quote", and more', [row[at] for row in rows])

    def test_a_long_list_goes_on(self) -> None:
        """Where one file ends the next begins."""
        self.patch(listing, "FILE_ROWS", 2)
        self.patch(listing, "_SLICE", 2)
        seen, cursor = "", ""
        while True:
            answer = self.desk.ask("GET", f"/api/v1/messages/export?cursor={cursor}", token=self.owner)
            seen += "".join(json.loads(line)["id"][25] for line in answer.text.splitlines())
            cursor = answer.header("x-next-cursor")
            if not cursor:
                break
        self.assertEqual(seen, "43210")


class EndedTests(SearchCase):
    """GET /api/v1/sessions/ended and /recent."""

    def silent(self, number: int = 7) -> None:
        """A session that named no sender."""
        facts = make_session(f"01J9UK7Q0000000000000000E{number}", started=1_790_500_000.0 + number)
        facts.transactions.clear()
        facts.findings = [Finding("listed", "reject", filter="dnsbl")]
        self.desk.history.keep(facts)

    def test_the_same_terms(self) -> None:
        """Sessions with mail and without, each once; page by page."""
        self.silent()
        self.assertEqual([one["id"][24:] for one in self.get("/sessions/ended?filter=dnsbl")["items"]], ["E7"])
        self.assertEqual([one["id"][25] for one in self.get("/sessions/ended?q=from:user2")["items"]], ["2"])
        self.assertEqual(len(self.get("/sessions/ended")["items"]), 6)
        self.assertEqual(self.get("/messages?filter=dnsbl")["items"], [])
        seen, cursor = [], ""
        while True:
            page = self.get(f"/sessions/ended?limit=2&listener=mx{f'&cursor={cursor}' if cursor else ''}")
            seen += [one["id"][24:] for one in page["items"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        self.assertEqual(seen, ["E7", "A4", "A3", "A2", "A1", "A0"])
        self.assertEqual(self.desk.ask("GET", "/api/v1/sessions/ended?q=fro:x", token=self.owner).status, 400)

    def test_who_is_limited_sees_their_own(self) -> None:
        """And no session without mail."""
        self.silent()
        found: list[str] = []
        self.desk.users.add_token("t", "helpdesk", 0.0, (), ("example.net",)).addCallback(found.append)
        answer = self.desk.ask("GET", "/api/v1/sessions/ended", token=found[0]).json()
        self.assertEqual("".join(one["id"][25] for one in answer["items"]), "43210")

    def test_the_page(self) -> None:
        """What fits; nothing; a mistake."""
        self.silent()
        for query, there, status in (
            ("filter:dnsbl", "01J9UK7Q0000000000000000E7", 200),
            ("", "01J9UK7Q0000000000000000A1", 200),
            ("from:nobody", "Nothing matches", 200),
            ("fro:x", "This cannot be looked for", 400),
        ):
            answer = self.desk.ask("GET", f"/recent?q={quote(query)}", token=self.owner)
            self.assertEqual(answer.status, status, query)
            self.assertIn(there, answer.text)
        self.assertNotIn("A1", self.desk.ask("GET", "/recent?q=filter:dnsbl", token=self.owner).text.split("<main")[1])


class EraseTests(SearchCase):
    """POST /api/v1/history/erase."""

    def erase(self, address: str, **more: Any) -> Any:
        """The answer to the order."""
        body = {"address": address, "reason": "letter of 3 March"}
        return self.desk.post_json("/api/v1/history/erase", body, **{"token": self.owner, **more})

    def test_a_person_is_erased(self) -> None:
        """As a task; the audit says that it was done, and names nobody."""
        answer = self.erase("R1@example.net")
        self.assertEqual(answer.status, 202)
        place = answer.header("location").removeprefix("/api/v1")
        for _ in range(100):
            self.desk.clock.advance(0.1)
            if self.get(place)["state"] == "done":
                break
        self.assertEqual(self.get(f"{place}/result"), {"messages": 1})
        self.assertEqual(self.ids("q=to:r1"), "")
        self.assertEqual(self.ids("q=to:bob"), "43210")
        (row,) = [row for row in self.desk.users.rows if row["action"] == "history.erase"]
        self.assertEqual(row["detail"], "letter of 3 March")
        self.assertNotIn("r1", str(row).lower().replace("sha256", ""))

    def test_mistakes(self) -> None:
        """What is no address is refused; so is who may not."""
        for text in ("bob", "@example.net", "a@b c@d", "postmaster"):
            self.assertEqual(self.erase(text).status, 422, text)
        self.assertEqual(self.erase("r1@example.net", token="", role="operator").status, 403)
        self.assertEqual(self.ids("q=to:r1"), "1")


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
        self.assertIn("user3@<wbr>mail", shown)
        self.assertNotIn("user2@mail", shown)
        self.assertIn("user3@<wbr>mail", self.page("/messages?outcome=refused"))
        self.assertIn("Nothing matches", self.page("/messages?q=from:nobody"))

    def test_a_mistake_is_shown_with_its_place(self) -> None:
        """Escaped, with what would be right, and the text stays in the box."""
        shown = self.page("/messages?q=hello%20fro:%3Cb%3E", 400)
        self.assertIn("at character 7", shown)
        self.assertIn('<code class="foreign">fro:&lt;b&gt;</code>', shown)
        self.assertIn("did you mean from:?", shown)
        self.assertIn('value="hello fro:&lt;b&gt;"', shown)

    def test_numbers_lead_to_their_messages(self) -> None:
        """Each bar and each kind is a link to a list of so many."""
        page = self.page("/messages?q=to:bob")
        self.assertIn("<b>5 messages</b>", page)
        bars = re.findall(r'<a href="([^"]*)" aria-label="[^"]*: ([0-9]+)"', page)
        chips = re.findall(r'<dd class="chips">(.*?)</dd>', page)
        links = [*bars, *re.findall(r'<a href="([^"]*)"><bdi>[^<]*</bdi> <small>([0-9]+)</small>', "".join(chips))]
        self.assertGreater(len(links), 7)
        for place, count in links:
            there = self.page(html.unescape(place))
            self.assertEqual(there.count('<td data-name="Time">'), int(count), place)
        # What is asked for already is taken away by its chip.
        page = self.page("/messages?q=verdict:refused+to:bob")
        (place,) = re.findall(r'<a href="([^"]*)" aria-current="true" title', page)
        self.assertIn("<b>5 messages</b>", self.page(html.unescape(place)))

    def test_nothing_matches(self) -> None:
        """Which term takes away the most, and a longer time."""
        page = self.page("/messages?q=" + quote("after:2027-01-01 to:bob from:user3"))
        self.assertIn("Nothing matches", page)
        (first, *_) = re.findall(r'Without <code class="foreign">([^<]*)</code> <a href="([^"]*)">([^<]*)</a>', page)
        self.assertEqual((first[0], first[2]), ("after:2027-01-01", "1 would"))
        self.assertIn("user3@<wbr>mail", self.page(html.unescape(first[1])))
        (week,) = re.findall(r'href="([^"]*)">Look at 7 days', page)
        self.assertIn("last%3A7d", week)
        self.assertNotIn("after", week)

    def test_new_ones_move_nothing(self) -> None:
        """They are counted beside the list, with its terms."""
        page = self.page("/messages?q=to:bob")
        (newer,) = re.findall(r'hx-get="(/messages/new[^"]*)"', page)
        newer = html.unescape(newer)
        self.assertNotIn("pill", self.page(newer))
        for number, to in enumerate(("bob@example.net", "r@example.net", "bob@example.net")):
            self.desk.history.keep(
                make_session(f"01J9UK7Q0000000000000000D{number}", recipients=(to,), started=1_790_900_000.0 + number)
            )
        self.assertIn(">2 new</a>", self.page(newer))
        self.patch(listing, "_NEW", 2)
        self.assertIn(">2 or more new</a>", self.page(newer))

    def test_older_ones(self) -> None:
        """A link goes on from the last row, to the end."""
        for number in range(230):
            self.desk.history.keep(
                make_session(f"01J9UK7Q00000000000000B{number:03d}", started=1_790_100_000.0 + number)
            )
        seen, path = 0, "/messages?q=to:bob"
        while path:
            shown = self.page(path)
            seen += shown.count('<td data-name="Time"')
            before, _, _ = shown.partition('" rel="next"')
            path = before.rpartition('href="')[2].replace("&amp;", "&") if 'rel="next"' in shown else ""
        self.assertEqual(seen, 235)
