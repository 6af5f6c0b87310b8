"""The pages' words and marks: hostile text, plain sentences, empty states, forms."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import text
from smtpgate.admin.explain import bars, of_message, of_session
from smtpgate.admin.numbers import Point
from smtpgate.admin.plot import draw, nice_top
from smtpgate.admin.record import of_facts
from smtpgate.config.problem import Problem
from smtpgate.policy.changes import Changed
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.status import BACKEND_CLOSING, BACKEND_UNREACHABLE, SHUTTING_DOWN
from tests.admin_kit import HOSTILE, PASSWORD, Desk, make_session


class Reader(HTMLParser):
    """Notes what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")
        if tag in ("iframe", "object", "embed", "style", "base") or tag == "img" and "/assets/" not in str(attrs):
            self.wrong.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if (
                name.startswith("on")
                or name in ("style", "srcdoc")
                or (value or "").strip().lower().startswith("javascript:")
            ):
                if name != "value" and name != "placeholder":
                    self.wrong.append(f"{tag} {name}={value}")


class PageCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")

    def page(self, path: str, status: int = 200) -> str:
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, status, path)
        return answer.text


class HostileTests(PageCase):
    """What peers wrote to hurt whoever looks."""

    def test_S_23_nothing_runs_and_nothing_hides(self) -> None:
        """On every page: our scripts only, no handlers, no styles, no control characters, no bidi marks."""
        places = ["/", "/messages", "/recent", "/messages?q=%3Cscript%3E", "/backends", "/live"]
        for number, bad in enumerate(HOSTILE):
            finding = Finding("hostile", "reject", public=bad, detail=bad, filter="content")
            id = f"01J9UK7Q00000000000000H{number:03d}"
            facts = make_session(
                id,
                helo=bad,
                subject=bad,
                outcome="refused",
                reply=Reply(550, "5.7.1", (bad,)),
                findings=(finding,),
            )
            facts.client_name = facts.user = facts.mechanism = facts.closed_by = bad
            facts.transactions[0].notes = [bad]
            facts.transactions[0].changes = [Changed(f"rules/{bad}", "replaced", bad, bad, bad)]
            facts.transactions[0].server = bad
            facts.note(100.2, bad, bad, bad)
            self.desk.history.keep(facts)
            places += [f"/sessions/{id}", f"/sessions/{id}.1"]
        server = self.desk.control.revision.pools["mail"].servers[0]  # type: ignore[union-attr]
        server.banner = server.why = server.drain_reason = "".join(HOSTILE)
        server.state, server.is_drained = "down", True
        for place in places:
            page = self.page(place)
            reader = Reader()
            reader.feed(page)
            self.assertEqual(reader.wrong, [], place)
            self.assertTrue(all(one.startswith("/assets/") for one in reader.scripts), place)
            self.assertEqual(
                re.findall("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", page),
                [],
                place,
            )
            self.assertEqual(len(reader.ids), len(set(reader.ids)), place)
            self.assertNotIn("49", re.findall(r"<h1>.*?</h1>", page))

    def test_changes(self) -> None:
        """What was done to a message, by whom, where, and what is there now, in a table of its own."""
        facts = make_session("01J9UK7Q0000000000000CHANG")
        self.desk.history.keep(facts)
        self.assertNotIn("<h3>Changes</h3>", self.page("/sessions/01J9UK7Q0000000000000CHANG.1"))
        facts = make_session("01J9UK7Q0000000000000CHANH")
        facts.transactions[0].changes = [
            Changed(
                "rules/no-programs", "replaced", "2 application/x", "executable run.exe, 202 octets", "<b>gone</b>"
            ),
            Changed("rules/no-programs", "breaks", "dkim example.org/s", "", "changed: body"),
        ]
        self.desk.history.keep(facts)
        page = self.page("/sessions/01J9UK7Q0000000000000CHANH.1").partition("<h3>Changes</h3>")[2]
        rows = page.partition("</table>")[0].split("<tr>")[2:]
        self.assertEqual(len(rows), 2)
        for word in (
            "rules/no-programs",
            "replaced",
            "2 application/x",
            "executable run.exe",
            "&lt;b&gt;gone&lt;/b&gt;",
        ):
            self.assertIn(word, rows[0])
        self.assertIn("signature broken", rows[1])

    def test_S_23_search_words_come_back_escaped(self) -> None:
        """What was typed stands in the box and in no tag."""
        page = self.page("/messages?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", status=400)
        self.assertNotIn("<script>alert", page)
        self.assertIn("&lt;script&gt;", page)

    def test_visible(self) -> None:
        """Each character that hides is shown by its number; letters of all scripts stay."""
        self.assertEqual(text.visible("a\x1b[0m\u202eb"), "a⟨U+001B⟩[0m⟨U+202E⟩b")
        self.assertEqual(text.visible("Grüße 日本 עברית"), "Grüße 日本 עברית")
        self.assertEqual(len(text.visible("x" * 1000)), 500)
        self.assertEqual(text.visible(None), "")

    def test_subjects(self) -> None:
        """Encoded words are read; broken ones are shown as they are."""
        self.assertEqual(text.subject("=?utf-8?q?Gr=C3=BC=C3=9Fe?="), "Grüße")
        for raw in ("=?x?q?a?=", "=?utf-8?b?!!!?=", "=?utf-8?q?\udcff?=", "plain"):
            self.assertIsInstance(text.subject(raw), str)


class HelpTests(PageCase):
    """The page that explains the words."""

    def test_a_drain_is_among_the_reasons(self) -> None:
        """What clients hear while the gateway, or all of a backend, is drained."""
        why = self.page("/help").partition("Why was this mail refused?")[2].partition("</section>")[0]
        for heard in (SHUTTING_DOWN, BACKEND_UNREACHABLE, BACKEND_CLOSING):
            self.assertIn(f"<dt>{heard.code} {heard.enhanced}</dt>", why)


class WordTests(PageCase):
    """The sentence over a message."""

    def said(self, **more: object) -> str:
        facts = make_session(**more)  # type: ignore[arg-type]
        return of_message(of_facts(facts, 101.0).messages[0]).sentence

    def test_who_decided(self) -> None:
        """A filter, the backend, the gateway, the client: each is named."""
        self.assertIn("took it", self.said())
        refusal = Reply(550, "5.7.1", ("No",))
        finding = Finding("malware", "reject", filter="clamav")
        self.assertIn(
            "our check “clamav” found “malware”",
            self.said(outcome="refused", reply=refusal, findings=(finding,)),
        )
        self.assertIn("backend server 127.0.0.1:2600, after", self.said(outcome="refused", reply=refusal))
        self.assertIn("try again later", self.said(outcome="deferred", reply=Reply(451, "4.3.0", ("x",))))
        self.assertIn("client", self.said(outcome="aborted", reply=None))
        self.assertIn("ledger", self.said(outcome="unacked"))
        self.assertIn("duplicate", self.said(outcome="unknown", reply=Reply(451, "4.4.2", ("x",))))

    def test_several_backends(self) -> None:
        """Who took it, who did not, and what of it will not come again."""
        facts = make_session(recipients=("a@example.net", "b@example.net", "c@example.net"))
        one, two, three = facts.transactions[0].recipients
        for recipient, backend in ((one, "a"), (two, "b"), (three, "b")):
            recipient.backend, recipient.server, recipient.state = backend, f"{backend}.example:25", "delivered"

        def sentence() -> str:
            return of_message(of_facts(facts, 1).messages[0]).sentence

        self.assertIn("server a.example:25 of backend a and server b.example:25 of backend b took it", sentence())
        facts.transactions[0].outcome, facts.transactions[0].reply = "deferred", Reply(451, "4.3.0", ("Partly",))
        two.state = three.state = "deferred"
        self.assertIn("1 of 3 recipients have it already and do not get it again", sentence())
        self.desk.history.keep(facts)
        shown = self.page(f"/sessions/{facts.id}.1")
        self.assertIn("backends a, b, each with recipients of its own", shown)
        self.assertEqual(shown.count('<td data-name="Goes to">b, b.example:25</td>'), 2)

    def test_the_class_and_why(self) -> None:
        """On the page of a session, in its API record, and in the list of those that run."""
        facts = make_session()
        facts.traffic_class, facts.class_reason = "known", "delivered 40 messages <b>"
        self.desk.history.keep(facts)
        shown = self.page(f"/sessions/{facts.id}")
        self.assertIn("<dt>Class</dt>", shown)
        self.assertIn("known: <bdi>delivered 40 messages &lt;b&gt;</bdi>", shown)
        record = self.desk.ask("GET", f"/api/v1/sessions/{facts.id}", token=self.owner).json()
        self.assertEqual((record["traffic_class"], record["class_reason"]), ("known", "delivered 40 messages <b>"))

    def test_how_it_was_marked(self) -> None:
        """By a sum of scores, or by one check."""
        for finding, score, wanted in (
            (Finding("scores", "tag", filter="scores"), 6.5, "Our checks marked it, with 6.5 points."),
            (Finding("dde", "tag", filter="attachments"), 0.0, "Our checks marked it: “attachments” found “dde”."),
        ):
            facts = make_session()
            facts.transactions[0].verdict = Verdict(finding.action, finding, score)
            self.assertIn(wanted, of_message(of_facts(facts, 101.0).messages[0]).sentence)

    def test_refused_at_rcpt(self) -> None:
        """Before the content: by the backend or by ourselves."""
        facts = make_session(outcome="refused", reply=Reply(550, "5.1.1", ("Unknown",)))
        transaction = facts.transactions[0]
        transaction.data_at = transaction.end_at = transaction.verdict_at = transaction.committed_at = 0.0
        transaction.recipients[0].state, transaction.recipients[0].reply = "refused", facts.transactions[0].reply
        self.assertIn("the backend accepted none", of_message(of_facts(facts, 1).messages[0]).sentence)
        transaction.server = ""
        self.assertIn("the gateway accepted none", of_message(of_facts(facts, 1).messages[0]).sentence)

    def test_no_server_could_be_used(self) -> None:
        """The gateway's own 451 4.4.1 before any link: the reader is sent to look for a drain."""
        facts = make_session(outcome="deferred", reply=BACKEND_UNREACHABLE)
        transaction = facts.transactions[0]
        transaction.data_at = transaction.end_at = transaction.verdict_at = transaction.committed_at = 0.0
        transaction.server = ""
        transaction.recipients[0].state, transaction.recipients[0].reply = "deferred", BACKEND_UNREACHABLE
        self.assertIn("each was drained, or could not be reached", of_message(of_facts(facts, 1).messages[0]).sentence)
        transaction.recipients[0].reply = Reply(451, "4.3.0", ("Other",))
        self.assertIn("the gateway accepted none", of_message(of_facts(facts, 1).messages[0]).sentence)

    def test_a_draining_gateway(self) -> None:
        """A session that it ended says so, with what the client heard."""
        facts = make_session()
        facts.transactions, facts.closed_by = [], "drain"
        self.assertIn("421 4.3.2", of_session(of_facts(facts, 1)).sentence)

    def test_sessions(self) -> None:
        """Without mail, turned away, with several messages."""
        facts = make_session()
        facts.transactions = []
        self.assertEqual(of_session(of_facts(facts, 1)).word, "no mail")
        facts.findings = [Finding("listed", "reject", filter="dnsbl")]
        self.assertIn("dnsbl", of_session(of_facts(facts, 1)).sentence)
        facts = make_session()
        facts.transactions *= 2
        self.assertEqual(of_session(of_facts(facts, 1)).word, "2 of 2 accepted")

    def test_bars_stay_in_the_picture(self) -> None:
        """Whatever the times are."""
        facts = make_session()
        facts.note(100.0, "us", "x")
        facts.note(99.0, "us", "early")
        facts.note(900.0, "us", "late")
        for bar in bars(of_facts(facts, 101.0)):
            self.assertGreaterEqual(bar.width, 3)
            self.assertLessEqual(bar.start + bar.width, 1000)


class StateTests(PageCase):
    """Empty, troubled, and filled."""

    def test_empty_states_say_what_to_do(self) -> None:
        """No blank page."""
        self.assertIn("send-test --to postmaster@example.net", self.page("/"))
        self.assertIn("tcp:0:interface=127.0.0.1", self.page("/live"))
        self.assertIn("No message yet", self.page("/messages"))
        self.assertIn("Nothing matches", self.page("/messages?q=zz"))
        self.assertIn("No session has ended", self.page("/recent"))
        self.assertIn("No filter", self.page("/filters"))
        self.assertIn("not kept any more", self.page("/sessions/01J9UK7Q0000000000000000AA", 404))

    def test_a_mark_is_seen_in_the_list(self) -> None:
        """What passed marked does not look like what passed."""
        facts = make_session()
        self.desk.history.keep(facts)
        self.assertNotIn("marked", self.page("/messages"))
        other = make_session("01J9UK7Q0000000000000000AB")
        other.transactions[0].verdict = Verdict("tag", Finding("scores", "tag", filter="scores"), 6.5)
        self.desk.history.keep(other)
        self.assertIn("marked, 6.5 points", self.page("/messages"))
        row = self.desk.ask("GET", "/api/v1/messages", token=self.owner).json()["items"][0]
        self.assertEqual((row["mark"], row["score"]), ("tag", 6.5))

    def test_problems_stand_on_the_page_with_their_lines(self) -> None:
        """After a reload that failed, every page says so."""
        self.desk.control.problems = (Problem("gate.toml", 12, 3, "routes[0].backend", "no backend x", "known: mail"),)
        page = self.page("/config")
        for words in ("line 12", "routes[0].backend", "no backend x", "known: mail"):
            self.assertIn(words, page)
        self.assertIn("has errors", self.page("/help"))

    def test_draining_and_open_networks_are_said(self) -> None:
        """On every page."""
        self.desk.control.reception.is_draining = True
        self.assertIn("draining", self.page("/help"))
        self.assertEqual(self.desk.ask("GET", "/readyz").status, 503)
        self.assertEqual(self.desk.ask("GET", "/livez").status, 200)

    def test_buttons_are_for_those_who_may(self) -> None:
        """A helpdesk sees no drain."""
        self.assertIn("/drain", self.page("/backends"))
        answer = self.desk.ask("GET", "/backends", role="helpdesk")
        self.assertNotIn("/drain", answer.text)
        self.assertNotIn("/config", answer.text)

    def test_a_found_reference_leads_to_its_page(self) -> None:
        """From the search box."""
        id = "01J9UK7Q0000000000000000AA"
        answer = self.desk.ask("GET", f"/search?q=550%20no%20{id}.1", token=self.owner)
        self.assertEqual(answer.header("location"), f"/sessions/{id}.1")
        answer = self.desk.ask("GET", "/search?q=bob%40example.net%0D%0AX:%20y", token=self.owner)
        self.assertEqual(answer.header("location"), "/messages?q=bob%40example.net%20X%3A%20y")

    def test_plot(self) -> None:
        """Whole numbers, inside the picture."""
        self.assertEqual([nice_top(n) for n in (1, 3, 7, 11, 51, 999)], [1, 5, 10, 20, 100, 1000])
        points = [
            Point(time=f"2026-09-21T14:{n:02d}:00.000Z", accepted=n, refused=n % 3, deferred=1) for n in range(60)
        ]
        plot = draw(points)
        self.assertTrue(all(0 <= one.y and one.y + one.height <= plot.height for one in plot.blocks))
        self.assertEqual(draw([]).blocks, ())

    def test_readable_numbers(self) -> None:
        """Spans and sizes."""
        self.assertEqual(
            [text.duration(n) for n in (0.005, 2.5, 61, 3600, 90061)],
            ["5 ms", "2.5 s", "1 min 1 s", "1 h", "1 d 1 h"],
        )
        self.assertEqual([text.octets(n) for n in (0, 1023, 1536, 2**20)], ["0 B", "1023 B", "1.5 KiB", "1.0 MiB"])
        self.assertIsNone(text.moment(0))
