"""What the audit says of each change and each denial, how it is looked through, and as which files it leaves."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import sqlalchemy as sa
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.api_audit import FILE_ROWS
from smtpgate.admin.pages_audit import Change, changes
from smtpgate.admin.trail import ROWS_ALL, ROWS_EACH, Bounds
from tests.admin_kit import HOSTILE, PASSWORD, ApiCase
from tests.test_admin_entry import Browser


class LogCase(ApiCase):
    """An owner's token, and a browser."""

    def setUp(self) -> None:
        super().setUp()
        self.browser = Browser(self.desk)

    def found(self, query: str = "") -> list[dict[str, Any]]:
        """Records that fit, the newest first."""
        items: list[dict[str, Any]] = self.get(f"/audit?{query}")["items"]
        return items

    def tamper(self, statement: str) -> None:
        """Change it behind its back."""
        self.desk.users.database.run(lambda connection: connection.execute(sa.text(statement)))

    def write(self, action: str, target: str = "x", detail: str = "", **context: Any) -> None:
        """A record of something else."""
        self.successResultOf(self.desk.users.log.write("user", "eve", action, target, detail, context))


class RecordTests(LogCase):
    """What a record has."""

    def test_S_34_who_from_where_by_what(self) -> None:
        """Of a token, of a browser's session, and of the local socket."""
        body = {"name": "bob", "role": "helpdesk", "password": PASSWORD}
        self.post("/users", body, 201)
        (token,) = self.found("action=user.add")
        wanted = {
            "actor_kind": "token",
            "role": "owner",
            "auth": "token",
            "source": "127.0.0.1",
            "object_type": "user",
            "target": "bob",
            "result": "ok",
            "before": None,
            "after": {"role": "helpdesk", "domains": [], "is_disabled": False},
            "revision": self.desk.control.current().id,
            "node": "gate.example.com",
            "form": 2,
        }
        self.assertEqual({name: token[name] for name in wanted}, wanted)
        self.assertEqual(token["actor_id"], next(iter(self.desk.users.keys.values())).id)
        self.assertNotEqual(token["request_id"], "")
        self.browser.log_in()
        csrf = self.browser.token("/account")
        head = {**self.browser._headers({"user_agent": "Fire\x01fox"}), "X-CSRF-Token": csrf}
        change = {"role": "auditor"}
        head |= {"If-Match": "*", "Content-Type": "application/json", "Content-Length": str(len(json.dumps(change)))}
        octets = json.dumps(change).encode()
        self.assertEqual(self.desk.ask("PATCH", "/api/v1/users/bob", body=octets, headers=head).status, 200)
        (session,) = self.found("action=user.change")
        self.assertEqual((session["auth"], session["actor"], session["has_code"]), ("session", "ann", False))
        self.assertEqual((session["before"]["role"], session["after"]["role"]), ("helpdesk", "auditor"))
        self.desk.ask("DELETE", "/api/v1/users/bob", headers={"If-Match": "*"}, door="local")
        (local,) = self.found("action=user.remove")
        self.assertEqual((local["actor_kind"], local["auth"], local["source"]), ("cli", "local socket", "local socket"))
        self.assertNotIn(PASSWORD, json.dumps(self.found("limit=500")))

    def test_the_chain_can_be_followed(self) -> None:
        """Each record names the one before."""
        for _ in range(4):
            self.write("a.b")
        items = self.found()
        self.assertEqual([one["prev_hash"] for one in items[:-1]], [one["hash"] for one in items[1:]])
        self.assertEqual(items[-1]["prev_hash"], "")
        chain = self.get("/audit/verify")
        self.assertEqual((chain["is_intact"], chain["rows"], chain["clock_steps"]), (True, 4, []))
        self.successResultOf(
            self.desk.users.database.run(
                lambda connection: connection.execute(sa.text("DELETE FROM audit WHERE seq = 3"))
            )
        )
        chain = self.get("/audit/verify")
        self.assertEqual((chain["is_intact"], chain["reason"], chain["rows"]), (False, "row 3 is missing", 2))

    def test_denials_are_records(self) -> None:
        """By permission, by reach and by more than one's own; not of strangers, and not what is merely wrong."""
        helpdesk = self.post("/tokens", {"name": "h", "role": "helpdesk"}, 201)["token"]
        some = self.post("/tokens", {"name": "s", "scopes": ["access:write"]}, 201)["token"]
        self.desk.ask("GET", "/api/v1/config", token=helpdesk)
        self.desk.post_json("/api/v1/users", {"name": "x", "role": "owner", "password": PASSWORD}, token=some)
        self.desk.ask("GET", "/api/v1/config")
        self.desk.ask("GET", "/api/v1/nothing", token=helpdesk)
        denied = self.found("result=denied")
        self.assertEqual(
            [(one["actor"], one["action"], one["target"]) for one in denied],
            [("s", "denied", "POST /api/v1/users"), ("h", "denied", "GET /api/v1/config")],
        )
        self.assertIn("config:read", denied[1]["detail"])

    def test_failed_logins_are_records(self) -> None:
        """With the name that was tried, from where; bounded, and the next one says how many are not there."""
        for _ in range(30):
            self.browser.log_in("ann", "wrong")
            self.desk.clock.advance(1)
        failed = self.found("result=failed&limit=500")
        self.assertTrue(3 <= len(failed) <= ROWS_EACH)
        self.assertEqual((failed[0]["action"], failed[0]["actor"]), ("login.failed", "ann"))
        helpdesk = self.post("/tokens", {"name": "h", "role": "helpdesk"}, 201)["token"]
        for _ in range(ROWS_EACH + 5):
            self.desk.ask("GET", "/api/v1/config", token=helpdesk)
        self.assertEqual(len(self.found("result=denied&limit=500")), ROWS_EACH)
        self.desk.clock.advance(60)
        self.desk.ask("GET", "/api/v1/config", token=helpdesk)
        self.assertEqual(self.found("result=denied")[0]["left_out"], 5)

    def test_where_it_cannot_be_written_a_denial_is_still_one(self) -> None:
        """403, and no other."""
        helpdesk = self.desk.token("helpdesk")
        self.desk.users.fails_audit = True
        self.assertEqual(self.desk.ask("GET", "/api/v1/config", token=helpdesk).status, 403)


class BoundsTests(SynchronousTestCase):
    """How many rows of denials there are."""

    def test_each_and_all(self) -> None:
        """Ten of one, three hundred of all; some come back with each minute; memory is bounded."""
        now = 0.0
        bounds = Bounds(lambda: now)
        self.assertEqual([bounds.admit("a") for _ in range(12)], [0] * 10 + [None] * 2)
        self.assertEqual(bounds.admit("b"), 2)
        written = sum(bounds.admit(str(number)) is not None for number in range(3000))
        self.assertEqual(written, ROWS_ALL - 11)
        now = 60.0
        self.assertEqual([bounds.admit(f"x{number}") is not None for number in range(6)], [True] * 5 + [False])
        now = 10_000.0
        for number in range(100):
            now += 60.0
            bounds.admit(f"y{number}")
        self.assertLessEqual(len(bounds._left), 2001)
        now = 5_000.0
        self.assertIsNotNone(bounds.admit("z"))


class LookTests(LogCase):
    """Filters and files."""

    def test_filters(self) -> None:
        """Each by itself and together, in the API and on the page; what cannot be meant is told."""
        self.desk.users.now = 1_790_000_000.0
        self.write("user.add", "bob", source="192.0.2.1")
        self.desk.users.now += 86400
        self.write("token.add", "ci", "role owner", source="192.0.2.2")
        for query, targets in (
            ("actor=eve", ["ci", "bob"]),
            ("kind=token", []),
            ("action=user", ["bob"]),
            ("target=o", ["bob"]),
            ("source=192.0.2.2", ["ci"]),
            ("q=owner", ["ci"]),
            ("time_from=2026-09-22", ["ci"]),
            ("time_to=2026-09-22T12:00:00Z", ["bob"]),
            ("actor=eve&result=ok&q=b", ["bob"]),
        ):
            self.assertEqual([one["target"] for one in self.found(query)], targets, query)
            page = self.desk.ask("GET", f"/audit?{query}", token=self.owner)
            for target in ("bob", "ci"):
                self.assertEqual(f"<bdi>{target}</bdi>" in page.text, target in targets, query)
        for wrong in ("kind=x", "result=x", "time_from=yesterday", "time_to=2026-13-01", "actor=a&actor=b", "sort=x"):
            self.assertEqual(self.desk.ask("GET", f"/api/v1/audit?{wrong}", token=self.owner).status, 400, wrong)
        page = self.desk.ask("GET", "/audit?time_from=yesterday", token=self.owner)
        self.assertEqual(page.status, 400)
        self.assertIn("a day as 2026-11-27", page.text)

    def test_a_file_of_lines(self) -> None:
        """All of it, as the API has it; that it was taken is a record."""
        for number in range(3):
            self.write("a.b", f"t{number}\u202e\x1b")
        answer = self.desk.ask("GET", "/api/v1/audit/export", token=self.owner)
        self.assertEqual(answer.header("content-type"), "application/x-ndjson")
        self.assertIn('attachment; filename="audit.jsonl"', answer.header("content-disposition"))
        self.assertTrue(answer.body.isascii() and b"\x1b" not in answer.body)
        rows = [json.loads(line) for line in answer.body.splitlines()]
        self.assertEqual(rows, self.found())
        self.assertEqual(rows[0]["action"], "audit.export")

    def test_S_23_a_file_for_spreadsheets(self) -> None:
        """No cell is a formula, and none steers a terminal; it can be read again."""
        for text in ("=1+1", "+1", "-1", "@x", "\t=1", '","=1', "a\r\n=2", *HOSTILE):
            self.write("a.b", text, text, before={"=x": text}, agent=text)
        answer = self.desk.ask("GET", "/api/v1/audit/export?format=csv&action=a", token=self.owner)
        self.assertTrue(answer.header("content-type").startswith("text/csv"))
        text = answer.body.decode()
        rows = list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(len(rows), 8 + len(HOSTILE))
        self.assertEqual(rows[0][:2], ["seq", "time"])
        for row in rows:
            for cell in row:
                self.assertNotIn(cell[:1], ("=", "+", "-", "@", "\t", "\r"))
                self.assertTrue(cell.isprintable(), cell)
        empty = self.desk.ask("GET", "/api/v1/audit/export?format=csv&action=none", token=self.owner)
        self.assertEqual(len(list(csv.reader(io.StringIO(empty.text)))), 1)

    def test_a_file_that_is_too_long_goes_on(self) -> None:
        """The next one begins where it ended; none is left out and none comes twice."""

        def fill(connection: sa.Connection) -> None:
            rows = (
                f"({number}, 1.0, 'user', 'eve', 'a.b', 't', '', 'h', 1, 'ok', '', '', '')"
                for number in range(1, FILE_ROWS + 11)
            )
            connection.execute(sa.text(f"INSERT INTO audit VALUES {', '.join(rows)}"))

        self.successResultOf(self.desk.users.database.run(fill))
        first = self.desk.ask("GET", "/api/v1/audit/export?action=a", token=self.owner)
        cursor = first.header("x-next-cursor")
        second = self.desk.ask("GET", f"/api/v1/audit/export?action=a&cursor={cursor}", token=self.owner)
        self.assertEqual(second.header("x-next-cursor"), "")
        numbers = [json.loads(line)["seq"] for one in (first, second) for line in one.body.splitlines()]
        self.assertEqual(numbers, list(range(FILE_ROWS + 10, 0, -1)))


class PageTests(LogCase):
    """The page."""

    def page(self, query: str = "") -> str:
        """Its text."""
        answer = self.desk.ask("GET", f"/audit?{query}", token=self.owner)
        self.assertEqual(answer.status, 200)
        return answer.text

    def test_what_is_otherwise(self) -> None:
        """By name; of what is no object, both."""
        self.assertEqual(
            changes({"role": "a", "same": 1, "gone": [1]}, {"role": "b", "same": 1, "new": "ü"}),
            [Change("role", "a", "b"), Change("gone", "[1]", ""), Change("new", "", "ü")],
        )
        self.assertEqual(changes(None, {"a": None, "b": False}), [Change("b", "", "false")])
        self.assertEqual(changes("x", None), [Change("", "x", "")])
        self.assertEqual(changes(None, None), [])

    def test_main_and_empty(self) -> None:
        """Hostile text is text; older records are a link away; the chain is looked at when asked."""
        self.assertIn("Nothing was done yet", self.page())
        for text in HOSTILE:
            self.write("a.b", text, text, before=text, after={"x": text}, agent=text, domains=[text])
        text = self.page()
        self.assertNotIn("<script>window", text)
        self.assertNotIn("whole", text)
        for number in range(60):
            self.write("c.d", f"number-{number}")
        first = self.page("action=c")
        self.assertIn("number-59", first)
        self.assertNotIn("number-9<", first)
        older = first[first.index('href="/audit?action=c&amp;before=') + 13 :].partition('"')[0].replace("&amp;", "&")
        self.assertIn("number-9<", self.page(older))
        self.assertIn("Nothing fits", self.page("action=none"))
        self.assertIn(f"All {60 + len(HOSTILE)} records", self.page("check=1"))
        self.successResultOf(
            self.desk.users.database.run(
                lambda connection: connection.execute(sa.text("UPDATE audit SET target = 'y'"))
            )
        )
        self.assertIn("row 1 was changed", self.page("check=1"))
