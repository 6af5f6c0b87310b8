"""Allow and block lists: what filters make of them, how they are kept, and their API and page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.control.views import Actor
from smtpgate.filters.access import factory as access
from smtpgate.filters.lists import factory
from smtpgate.plugins import find_factories
from smtpgate.proxy.lists import KINDS, MOST, Listed, Lists, Looked
from smtpgate.testing import Gateway, use
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk
from tests.bench_kit import CONFIG as BENCH
from tests.bench_kit import MAIL, BenchCase
from tests.test_bench import TO

ANN = Actor("user", "ann")


class FilterTests(SynchronousTestCase):
    """What an entry does to mail."""

    def gateway(self, options: str = "", *more: Any) -> Any:
        """A gateway with the filter and empty lists."""
        self.lists = Lists(lambda: 1000.0)
        gateway = Gateway(use(factory, options), *more)
        for one in gateway._uses:
            made = getattr(one.filter, "_filter", None)
            if hasattr(made, "lists"):
                made.lists = self.lists
        return gateway

    def put(self, kind: str, entry: str, until: float = 0.0) -> None:
        self.lists.put(Listed(kind, entry, "because", "user ann", 1.0, until))

    def test_a_blocked_client(self) -> None:
        """It is turned away, by its address or its network; what is over has no effect."""
        gateway = self.gateway()
        for entry, until, greeting in (
            ("192.0.2.7", 0.0, "554"),
            ("192.0.2.0/24", 2000.0, "554"),
            ("192.0.2.7", 500.0, "220"),
            ("192.0.2.8", 0.0, "220"),
        ):
            self.lists._entries.clear()
            self.put("block-client", entry, until)
            self.assertEqual(gateway.connect("192.0.2.7").greeting[:3], greeting, entry)

    def test_a_blocked_sender(self) -> None:
        """By mailbox, domain or what is below it, in any case; postmaster hears it all the same."""
        for entry, refused in (
            ("alice@example.org", True),
            ("example.org", True),
            ("*.org", True),
            ("*.example.org", False),
            ("bob@example.org", False),
        ):
            gateway = self.gateway()
            self.put("block-sender", entry)
            client = gateway.connect()
            client.helo()
            client.mail("Alice@Example.ORG")
            self.assertEqual(client.rcpt("bob@example.net")[:3], "550" if refused else "250", entry)
            self.assertEqual(client.rcpt("postmaster@example.net")[:3], "250", entry)
        client = gateway.connect()
        client.helo()
        client.mail("")
        self.assertEqual(client.rcpt()[:3], "250")

    def test_allow_goes_before_block_and_silences_what_is_named(self) -> None:
        """And nothing else."""
        other = use(access, '[[filters.options.entries]]\nclients = ["192.0.2.0/24"]\naction = "reject"\n')
        for skips, greeting in (('client_skips = ["access"]', "220"), ("client_skips = []", "554")):
            gateway = self.gateway(skips, other)
            self.put("allow-client", "192.0.2.0/24")
            self.put("block-client", "192.0.2.7")
            self.assertEqual(gateway.connect("192.0.2.7").greeting[:3], greeting)

    def test_what_is_doubtful(self) -> None:
        """Names that are not there, that look for malware, or that prove who sends; what is left out is no doubt."""
        base = CONFIG + '[[filters]]\nuse = "attachments"\n[[filters]]\nuse = "spf"\n[[filters]]\nuse = "lists"\n'
        for more, count in (
            ("", 0),
            ('[filters.options]\nclient_skips = ["spf"]\n', 0),
            ('[filters.options]\nclient_skips = ["nix"]\nsender_skips = ["spf"]\n', 2),
        ):
            found = loads(base + more, "/nowhere/gate.toml", find_factories()[0]).warnings
            self.assertEqual(len([one for one in found if "skips" in one.key]), count, more)

    def test_hits(self) -> None:
        """They are counted, with the last; not for mail that is only tried."""
        gateway = self.gateway()
        self.put("block-client", "192.0.2.7")
        gateway.connect("192.0.2.7")
        found = self.lists.get("block-client", "192.0.2.7")
        assert found is not None
        self.assertEqual((found.hits, found.last_hit), (1, 1000.0))
        Looked(self.lists).hit(found)
        self.assertEqual(self.lists.get("block-client", "192.0.2.7"), found)


class BookTests(SynchronousTestCase):
    """How entries are kept."""

    def test_they_outlive_the_process(self) -> None:
        """What changed is written, what was taken out or is over is forgotten."""
        lists = Lists(lambda: 1000.0)
        asked: list[int] = []
        lists.on_change = lambda: asked.append(1)
        for kind in KINDS:
            lists.put(Listed(kind, "x y" if "sender" in kind else "192.0.2.7", "why", "user ann", 1.0, 5000.0))
        lists.put(Listed("block-sender", "old@example.org", "", "user ann", 1.0, 900.0))
        lists.remove(KINDS[0], "192.0.2.7")
        rows = lists.changed(1000.0, 100)
        other = Lists(lambda: 1000.0)
        other.restore([row for row in rows if row[1] is not None], 1000.0)
        self.assertEqual(sorted(other.all(), key=str), sorted(lists.all(), key=str))
        self.assertEqual(len(other.all()), 3)
        self.assertEqual(lists.changed(1000.0, 100), [])
        self.assertEqual(len(asked), 6)
        lists.put(Listed("block-sender", "z@example.org", "", "user ann", 1.0, 0.0))
        self.assertIn("block-sender z@example.org", [row[0] for row in lists.changed(1000.0, 100)])


class ApiTests(ApiCase):
    """/api/v1/lists, and what `control.lists.add` takes."""

    def entries(self, query: str = "") -> list[tuple[str, str]]:
        return [(one["kind"], one["entry"]) for one in self.get(f"/lists{query}")["items"]]

    def test_add_and_remove(self) -> None:
        """In the usual form; the newest first; one for the same takes its place."""
        self.post(
            "/lists", {"kind": "block-sender", "entry": " Ann@EXAMPLE.org ", "minutes": 60, "reason": "spam"}, 201
        )
        self.post("/lists", {"kind": "block-client", "entry": "192.0.2.0/24"}, 201)
        self.post("/lists", {"kind": "block-sender", "entry": "ann@example.org", "reason": "more"}, 201)
        self.assertEqual(len(self.entries()), 2)
        (one,) = self.get("/lists?kind=block-sender")["items"]
        self.assertEqual((one["entry"], one["reason"], one["until"]), ("ann@example.org", "more", None))
        self.assertEqual(self.desk.users.rows[-1]["action"], "list.add")
        self.assertEqual(self.remove(f"/lists/block-client/{quote('192.0.2.0/24')}"), 200)
        self.assertEqual(self.remove("/lists/block-client/192.0.2.7"), 404)
        self.assertEqual(self.entries(), [("block-sender", "ann@example.org")])

    def test_what_cannot_be_listed(self) -> None:
        """Nobody, the null sender, a top-level domain, a network that is too wide, the house."""
        for kind, entry in (
            ("nix", "a@example.org"),
            ("block-sender", ""),
            ("block-sender", "<>"),
            ("block-sender", "ann@"),
            ("block-sender", "*.org"),
            ("block-sender", "a b@example.org"),
            ("block-client", "10.0.0.0/8"),
            ("block-client", "example.org"),
            ("block-client", "127.0.0.1"),
        ):
            answer = self.desk.post_json("/api/v1/lists", {"kind": kind, "entry": entry}, token=self.owner)
            self.assertIn(answer.status, (409, 422), f"{kind} {entry}")
        self.assertEqual(self.entries(), [])
        self.assertGreater(MOST, 1000)

    def test_from_a_message(self) -> None:
        """As row actions call it."""
        lists = self.desk.control.lists
        made = lists.add("allow-sender", "*.Example.org", 86400.0, "said\nso", ANN)
        self.assertEqual((made.entry, made.reason, made.source), ("*.example.org", "saidso", "user ann"))
        self.assertAlmostEqual(made.until - made.added, 86400.0)

    def test_take_away_and_in(self) -> None:
        """What is taken away can be taken in; a wrong line keeps all out."""
        text = "# from the old gateway\nblock-sender,spam@example.org,30,bulk, and more\nallow-client,192.0.2.7\n"
        self.assertEqual(self.post("/lists/import", {"text": text})["added"], 2)
        answer = self.desk.ask("GET", "/api/v1/lists/export", token=self.owner)
        self.assertIn('block-sender,spam@example.org,30.000,"bulk, and more"', answer.text)
        self.assertIn("allow-client,192.0.2.7,,", answer.text)
        answer = self.post("/lists/import", {"text": "block-sender,a@example.org\nblock-sender,b@@c\n"}, 422)
        self.assertIn("line 2", answer["detail"])
        self.assertEqual(len(self.entries()), 2)

    def test_a_formula_is_none(self) -> None:
        """No reason begins as one in a spreadsheet."""
        self.post("/lists", {"kind": "block-client", "entry": "192.0.2.7", "reason": "=1+1"}, 201)
        self.assertIn("'=1+1", self.desk.ask("GET", "/api/v1/lists/export", token=self.owner).text)

    def test_who_may(self) -> None:
        """A quarantine manager lists; an auditor does not."""
        body = {"kind": "block-client", "entry": "192.0.2.7"}
        self.assertEqual(self.desk.post_json("/api/v1/lists", body, role="quarantine-manager").status, 201)
        self.assertEqual(self.desk.post_json("/api/v1/lists", body, role="auditor").status, 403)


class PageTests(ApiCase):
    """/lists."""

    def form(self, path: str, **fields: str) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, body=urlencode(fields).encode(), headers=headers, token=self.owner)

    def page(self, path: str = "/lists") -> str:
        return self.desk.ask("GET", path, token=self.owner).text

    def test_add_and_remove(self) -> None:
        """By its forms; what is wrong is said beside them, with what was written."""
        self.assertIn("No filter asks these lists", self.page())
        given = {"kind": "block-sender", "entry": "eve@example.org", "minutes": "10080", "reason": "spam"}
        self.assertEqual(self.form("/lists/add", **given).status, 303)
        self.assertIn("eve@example.org", self.page())
        self.assertNotIn("eve@example.org", self.page("/lists?kind=allow-client"))
        answer = self.form("/lists/add", **{**given, "entry": "b@@c"})
        self.assertEqual((answer.status, "b@@c" in answer.text), (422, True))
        self.assertEqual(self.form("/lists/add", **{**given, "minutes": "7"}).status, 422)
        self.assertEqual(self.form("/lists/remove", kind="block-sender", entry="eve@example.org").status, 303)
        self.assertEqual(self.form("/lists/remove", kind="block-sender", entry="eve@example.org").status, 303)
        self.assertIn("Nobody is listed", self.page())
        self.assertEqual(self.form("/lists/import", text="block-client,192.0.2.9\r\n").status, 303)
        self.assertEqual(self.form("/lists/import", text="nix").status, 422)

    def test_those_of_the_configuration(self) -> None:
        """They are shown beside, with the filter that has them."""
        more = '[[filters]]\nuse = "access"\n[[filters.options.entries]]\nclients = ["198.51.100.0/24"]\n'
        more += 'action = "reject"\n'
        more += '[[filters]]\nuse = "lists"\n'
        self.desk = Desk(CONFIG + more, {"access": access, "lists": factory})
        self.owner = self.desk.token("owner")
        page = self.page()
        self.assertIn("198.51.100.0/24", page)
        self.assertNotIn("No filter asks", page)

    def test_strangers_texts_do_nothing(self) -> None:
        """Reasons may say anything."""
        for number, text in enumerate(one for one in HOSTILE if "<" in one):
            reason = "".join(c for c in text if c.isprintable())
            self.desk.control.lists.add("block-client", f"192.0.2.{number + 1}", 0.0, reason, ANN)
            self.assertNotIn(reason, self.page())


class TriedTests(BenchCase):
    """Mail that is only tried hears of the lists, and counts nothing there."""

    def test_a_listed_sender(self) -> None:
        """It is refused, and the entry has no hit."""
        self.use(BENCH + '[[filters]]\nuse = "lists"\n')
        lists = self.desk.control.lists
        self.desk.provisions.lists = lists.book
        lists.add("block-sender", "ann@example.org", 0.0, "spam", ANN)
        (one,) = self.tried(self.bench.message(MAIL.encode(), TO))
        self.assertEqual(one.outcome, "refused")
        self.assertEqual(lists.entries()[0].hits, 0)
