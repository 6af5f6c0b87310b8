"""The security checklist, output: what answers bear, and what they never have.

More of each item is in the tests that bear its number elsewhere; `make checklist` lists them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import secrets

from twisted.logger import globalLogPublisher

from smtpgate.admin.reports import REPORT_OCTETS, REPORTS_A_MINUTE
from smtpgate.admin.site import ROUTES
from smtpgate.control.views import Actor
from tests.admin_kit import CONFIG, ApiCase, Desk, make_session
from tests.test_admin_entry import FORM
from tests.test_admin_matrix import place
from tests.test_admin_quarantine import QuarantineCase
from tests.web_kit import OfficeOnPort, over_tcp

#: Word by word, as the checklist has it.
POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}


class HeaderTests(OfficeOnPort):
    """Each answer of each route."""

    @over_tcp
    def test_S_22_each_route_has_the_safe_headers(self) -> None:
        """For strangers and for an owner, whatever the status is."""
        for route in ROUTES:
            for token in ("", self.owner):
                if token and route.path.endswith("/events"):
                    continue
                answer = self.wire.ask(route.method, place(route), token=token)
                where = f"{route.method} {route.path} {answer.status}"
                self.assertEqual(answer.header("x-content-type-options"), "nosniff", where)
                self.assertEqual(answer.header("referrer-policy"), "no-referrer", where)
                self.assertEqual(answer.header("cross-origin-opener-policy"), "same-origin", where)
                self.assertEqual(answer.header("cross-origin-resource-policy"), "same-origin", where)
                self.assertIn("camera=()", answer.header("permissions-policy"), where)
                self.assertNotRegex(answer.header("permissions-policy"), r"=(?!\(\))", where)
                self.assertEqual(answer.header("server"), "", where)
                self.assertEqual(answer.header("strict-transport-security"), "", where)
                if not route.path.startswith("/assets"):
                    self.assertEqual(answer.header("cache-control"), "no-store", where)
                policy = dict(part.partition(" ")[::2] for part in answer.header("content-security-policy").split("; "))
                if "sandbox" not in answer.header("content-security-policy"):
                    self.assertEqual({name: policy[name] for name in POLICY}, POLICY, where)
                    self.assertRegex(policy["script-src"], r"^'self'( 'nonce-[\w-]{22}')?$", where)
                    self.assertEqual(policy["report-uri"], "/csp-report", where)

    @over_tcp
    def test_S_22_by_tls_it_stays_with_tls(self) -> None:
        """Behind the configured proxy each answer says so: pages, calls, refusals, redirects."""
        for path, token in (("/login", ""), ("/", ""), ("/api/v1/me", self.owner), ("/api/v1/me", ""), ("/x", "")):
            answer = self.wire.ask("GET", path, token=token, host="admin.example.com")
            self.assertEqual(answer.header("strict-transport-security"), "max-age=31536000", path)

    @over_tcp
    def test_S_30_errors_say_no_more_than_they_must(self) -> None:
        """Neither path nor query nor version nor a place of a file; the request's id is there."""
        secret = secrets.token_hex(8)
        for path, token in ((f"/x{secret}?y={secret}", self.owner), (f"/sessions/{secret}/y?z={secret}z", self.owner)):
            answer = self.wire.ask("GET", path, token=token)
            self.assertEqual(answer.status, 404)
            shown = re.sub(r'name="back" value="[^"]*"', "", answer.text)
            self.assertNotIn(secret, shown)
            self.assertIn(answer.header("x-request-id"), answer.text)
            for word in ("Traceback", ".py", "site-packages", "Twisted", "klein"):
                self.assertNotIn(word, answer.text)


class ReportTests(ApiCase):
    """What browsers report."""

    def test_S_21_reports_are_heard_within_bounds(self) -> None:
        """A line in the log for each of a few, without what is secret in an address; the rest is counted."""
        lines: list[str] = []
        watch = lambda event: lines.append(str(event.get("words", "")) + str(event.get("left_out", "")))  # noqa: E731
        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        report = {
            "csp-report": {
                "document-uri": "https://admin.example.com/welcome/SECRET?x=SECRET",
                "effective-directive": "script-src-elem\n{}",
                "blocked-uri": "inline",
            }
        }
        body = json.dumps(report).encode()
        for _ in range(REPORTS_A_MINUTE + 5):
            kind = {"Content-Type": "application/csp-report", "Origin": "null", "Sec-Fetch-Site": "same-origin"}
            self.assertEqual(self.desk.ask("POST", "/csp-report", body=body, headers=kind).status, 204)
        told = [line for line in lines if "script-src-elem" in line]
        self.assertEqual(len(told), REPORTS_A_MINUTE)
        self.assertIn("document-uri=https://admin.example.com/welcome", told[0])
        self.assertNotIn("SECRET", "".join(told))
        self.assertNotIn("\n", told[0])
        self.desk.clock.advance(60)
        self.desk.ask("POST", "/csp-report", body=body)
        self.assertEqual(lines.count("5"), 1)
        self.assertEqual(self.desk.users.rows, [])

    def test_S_21_what_is_no_report_is_refused(self) -> None:
        """And changes nothing."""
        for body, status in (
            (b"", 400),
            (b"[]", 400),
            (b"{}", 400),
            (b'{"csp-report": 7}', 400),
            (b"[" * 10_000, 400),
            (b"\xff", 400),
            (b" " * (REPORT_OCTETS + 1), 413),
            (b'{"csp-report": {"blocked-uri": {"a": []}}}', 204),
        ):
            self.assertEqual(self.desk.ask("POST", "/csp-report", body=body).status, status, body[:30])

    def test_S_21_under_a_path_of_a_proxy(self) -> None:
        """Reports go where the pages are."""
        desk = Desk(CONFIG.replace("[admin]", '[admin]\npublic_url = "https://admin.example.com/gate"'))
        for path in ("/gate/login", "/gate/nothing"):
            answer = desk.ask("GET", path, host="admin.example.com")
            self.assertIn("report-uri /gate/csp-report", answer.header("content-security-policy"))
        self.assertEqual(desk.ask("POST", "/gate/csp-report", body=b"{}", host="admin.example.com").status, 400)


class FileTests(QuarantineCase):
    """What is taken away."""

    def test_S_23_no_cell_is_a_formula(self) -> None:
        """In each table that is made for spreadsheets, with names and reasons of strangers in it."""
        bads = ("=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=1\n=2", "\uff1d1+1", "\uff20x")
        for number, bad in enumerate(bads):
            word = bad.replace("\t", "").replace("\r", "").replace("\n", "")
            facts = make_session(f"01J9UK7Q000000000000000{number:03}", helo=word, subject=bad, sender="=a@example.org")
            self.desk.history.keep(facts)
            self.desk.control.lists.add("block-sender", f"=x{number}@example.org", 0.0, word, Actor("user", "ann"))
            self.desk.users.audit(
                type("A", (), {"kind": "user", "name": bad})(), "login.failed", bad, bad, {"agent": bad}
            )
        self.assertEqual([one.path for one in ROUTES if one.path.endswith("csv")], ["/stats/csv"])
        for path, kind in (
            ("/api/v1/audit/export?format=csv", ""),
            ("/api/v1/messages/export?format=csv", ""),
            ("/api/v1/lists/export", ""),
            ("/stats/csv", ""),
            *((f"/api/v1/stats/{name}", "text/csv") for name in ("top", "series", "distributions", "reports")),
        ):
            answer = self.desk.ask("GET", path, token=self.owner, headers={"Accept": kind} if kind else {})
            if kind and answer.status == 400:
                continue
            self.assertEqual(answer.status, 200, answer.text)
            self.assertIn("attachment", answer.header("content-disposition"))
            rows = list(csv.reader(io.StringIO(answer.text)))
            self.assertGreater(len(rows), 0 if kind else 1, path)
            for cell in (cell for row in rows for cell in row):
                self.assertFalse(cell.lstrip("\t\r\n ").startswith(("=", "+", "@", "\uff1d", "\uff20")), repr(cell))
                self.assertFalse(cell.startswith("-") and not re.fullmatch(r"-?[\d.]+", cell), repr(cell))

    def test_S_26_what_is_taken_away_is_no_page(self) -> None:
        """Raw mail: attachment, of no type that a browser shows, in a sandbox, by a name of ours."""
        id = self.hold(subject='"><script>x</script>\r\n../../x')
        for path in (f"/quarantine/{id}/content", f"/api/v1/quarantine/{id}/content"):
            answer = self.desk.ask("GET", path, token=self.owner)
            self.assertEqual(answer.status, 200)
            said = answer.header("content-disposition")
            self.assertRegex(said, r'^attachment; filename="[A-Za-z0-9._-]+"$')
            self.assertIn(answer.header("content-type"), ("application/octet-stream", "message/rfc822"))
            self.assertIn("sandbox", answer.header("content-security-policy"))
            self.assertEqual(answer.header("x-content-type-options"), "nosniff")

    def test_S_28_each_reader_of_content_is_written_down_first(self) -> None:
        """Each route with that permission: without an audit no octet, and a role without it gets none."""
        id = self.hold()
        reading = [one for one in ROUTES if one.permission == "content:read" and one.method == "GET"]
        # Who wants to read is no content.
        reading = [one for one in reading if not one.path.endswith("/reading")]
        self.assertGreater(len(reading), 5)
        for is_broken in (True, False):
            self.desk.users.fails_audit = is_broken
            for route in reading:
                path = re.sub(r"<number>", "1", route.path.replace("<id>", id))
                before = len(self.desk.users.rows)
                self.assertEqual(self.desk.ask("GET", path, role="helpdesk").status, 403, path)
                answer = self.desk.ask("GET", path, token=self.owner)
                self.assertNotIn(b"Hello", b"" if not is_broken else answer.body)
                if is_broken:
                    self.assertIn(answer.status, (503, 404), path)
                elif answer.status == 200:
                    actions = [row["action"] for row in self.desk.users.rows[before:]]
                    self.assertTrue("content.read" in actions or route.path.startswith("/quarantine/<id>/frame"), path)


class FormTests(OfficeOnPort):
    """Errors of forms."""

    @over_tcp
    def test_S_30_a_form_that_is_wrong_shows_no_password(self) -> None:
        """What was typed into a password's field does not come back on the page."""
        secret = "hunter2 " + secrets.token_hex(8)
        page = self.wire.ask("GET", "/login")
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is not None
        cookie = {"Cookie": page.header("set-cookie").partition(";")[0]}
        body = f"csrf={token[1]}&name=ann&password={secret.replace(' ', '+')}".encode()
        answer = self.wire.ask("POST", "/login", body=body, headers={**FORM, **cookie})
        self.assertEqual(answer.status, 401)
        self.assertNotIn(secret.encode(), answer.octets)
