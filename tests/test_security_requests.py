"""The security checklist, requests: what may be sent, how much of it, and what it may do.

More of each item is in the tests that bear its number elsewhere; `make checklist` lists them.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from typing import Any
from urllib.parse import quote

from smtpgate.admin.params import Free, Several
from smtpgate.admin.routes import Route
from smtpgate.admin.site import ROUTES
from smtpgate.admin.wire import BODY_OCTETS, CONNECTIONS_PER_ADDRESS
from tests.admin_kit import ApiCase, make_session
from tests.test_admin_entry import FORM, Browser
from tests.test_admin_matrix import place
from tests.test_admin_quarantine import QuarantineCase
from tests.web_kit import OfficeOnPort, over_tcp

JSON = {"Content-Type": "application/json"}
#: What somebody could write into an address of a page or a call, percent-encoded as it goes over the wire.
NASTY = (
    "\r\nX-Evil: 1\r\n\r\n<script>",
    "a\0b",
    "../../../../etc/passwd",
    "..\\..\\gate.toml",
    "\u202etxt.exe\u2066",
    "\U0001f600\U0001f4a9",
    "<script>window.hurt=1</script>",
    '"><img src=x onerror=window.hurt=1>',
    "'; DROP TABLE users; --",
    "%25 %00 %s %n {0} {{7*7}} ${x}",
    "*)(uid=*))(|(uid=*",
    "x" * 300,
    "-1",
    "9" * 40,
    "(a+)+$",
    "ip:/ from: -",
)
#: The same for octets that are no text.
RAW = ("%ff%fe", "%ed%a0%80", "%c0%ae%c0%ae/", "%", "%zz", "%0", "+", "")


class UnsafeTests(OfficeOnPort):
    """Forms and calls that change something."""

    @over_tcp
    def test_S_16_each_unsafe_route_wants_its_token(self) -> None:
        """By a session's cookie alone nothing is done: none, an empty one, another's, one of a login form."""
        browser, other = Browser(self.wire), Browser(self.wire)  # type: ignore[arg-type]
        wrong = other.token("/login")
        browser.log_in()
        other.log_in()
        tokens = ("", other.token("/account"), wrong, "null")
        rows = len(self.desk.users.rows)
        walked = 0
        for number, route in enumerate(one for one in ROUTES if one.method != "GET" and "web" in one.doors):
            if route.permission == "public" and route.kind == "word":
                continue
            token = tokens[number % len(tokens)]
            headers = {**browser._headers({}), "If-Match": "*"}
            if route.kind == "page":
                headers |= FORM
                body = f"csrf={token}&name=ann&password=x".encode()
            else:
                headers |= {**JSON, "X-CSRF-Token": token}
                body = b"{}"
            answer = self.wire.ask(route.method, place(route), body=body, headers=headers)
            # Public links that nobody made are 404 whatever comes with them; so is a set-up that is over. A login over
            # the API is no order of a session, and no form (`test_api_login`): an empty one is refused as such.
            wanted = (403, 404) if route.permission == "public" else (403,)
            if route.permission == "public" and route.kind == "api":
                wanted = (422,)
            self.assertIn(answer.status, wanted, f"{route.method} {route.path}")
            if answer.status == 403:
                self.assertIn("no valid token", answer.text, route.path)
            walked += 1
        self.assertGreater(walked, 100)
        self.assertEqual([one["action"] for one in self.desk.users.rows[rows:] if one["action"] != "denied"], [])
        self.assertEqual(browser.get("/account").status, 200)

    @over_tcp
    def test_S_16_calls_take_json_only(self) -> None:
        """What a form of another site could send is refused by each of them, and nothing is read of it."""
        kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json")
        taking = [route for route in ROUTES if route.body is not None]
        self.assertGreater(len(taking), 20)
        for number, route in enumerate(taking):
            headers = {"Content-Type": kinds[number % len(kinds)], "If-Match": "*"}
            answer = self.wire.ask(route.method, place(route), body=b"{}", headers=headers, token=self.owner)
            self.assertIn(answer.status, (415, 404), route.path)

    @over_tcp
    def test_S_16_no_answer_shares_with_another_origin(self) -> None:
        """Nor to a question before a request (preflight), nor to one of a page that was opened from a file."""
        for route in ROUTES:
            headers = {"Origin": "null", "Access-Control-Request-Method": route.method}
            answer = self.wire.ask("OPTIONS", place(route), headers=headers, token=self.owner)
            self.assertEqual([name for name in answer.headers if name.startswith("access-control")], [], route.path)


class CapTests(OfficeOnPort):
    """How much."""

    def head(self, more: str) -> bytes:
        """The head of a call with a body."""
        lines = "POST /api/v1/routes/trace HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{lines}Authorization: Bearer {self.owner}\r\nConnection: close\r\n{more}\r\n".encode()

    def status(self, octets: bytes) -> int:
        """Of the answer."""
        return int(self.wire.send(octets).split(b" ")[1])

    @over_tcp
    def test_S_17_bodies_on_the_wire(self) -> None:
        """Announced, in chunks, in many small ones, with a lie about the length: none is kept beyond the cap."""
        over = BODY_OCTETS + 1
        self.assertEqual(self.status(self.head(f"Content-Length: {over}\r\n") + b"x" * 100), 413)
        chunk = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
        many = self.head("Transfer-Encoding: chunked\r\n") + chunk * (over // 65536 + 1) + b"0\r\n\r\n"
        self.assertEqual(self.status(many), 413)
        small = self.head("Transfer-Encoding: chunked\r\n") + b"a\r\n0123456789\r\n" * (over // 10 + 1) + b"0\r\n\r\n"
        self.assertEqual(self.status(small), 413)
        for lie in ("Content-Length: -1\r\n", "Content-Length: 1e3\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n"):
            self.assertEqual(self.status(self.head(lie) + b"{}   "), 400, lie)
        both = self.head("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\n\r\n"
        self.assertEqual(self.status(both), 400)
        self.assertEqual(self.wire.ask("GET", "/livez").status, 200)

    @over_tcp
    def test_S_17_packed_bodies_are_refused(self) -> None:
        """A body in a coding is not unpacked, however small it is: by calls and by forms."""
        bomb = gzip.compress(b" " * 10_000_000)
        self.assertLess(len(bomb), 20_000)
        for coding in ("gzip", "deflate", "br", "GZIP"):
            headers = {**JSON, "Content-Encoding": coding}
            answer = self.wire.ask("POST", "/api/v1/routes/trace", body=bomb, headers=headers, token=self.owner)
            self.assertEqual((answer.status, answer.json()["type"]), (415, "/problems/media-type"))
            answer = self.wire.ask("POST", "/search", body=bomb, headers={**FORM, **headers}, token=self.owner)
            self.assertEqual(answer.status, 415)
        headers = {**JSON, "Content-Encoding": "identity"}
        answer = self.wire.ask("POST", "/api/v1/routes/trace", body=b"{}", headers=headers, token=self.owner)
        self.assertEqual(answer.status, 422)
        packed = self.head("Transfer-Encoding: gzip, chunked\r\n") + b"2\r\n{}\r\n0\r\n\r\n"
        self.assertIn(self.status(packed), (400, 501))

    @over_tcp
    def test_S_17_connections_of_one_address_on_the_wire(self) -> None:
        """One more than so many is closed at once; when one goes there is room."""
        opened = [self.wire.open() for _ in range(CONNECTIONS_PER_ADDRESS)]
        socks = [one.__enter__() for one in opened]
        try:
            # That each is taken shows by its answer.
            for sock in socks:
                sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 200 ", sock.recv(4096))
            with self.wire.open() as one_more:
                self.assertEqual(self.wire.rest(one_more), b"")
        finally:
            for one in opened:
                one.__exit__(None, None, None)
        self.on_reactor(lambda: None)
        self.assertEqual(self.wire.ask("GET", "/livez").status, 200)

    @over_tcp
    def test_S_17_headers_on_the_wire(self) -> None:
        """Too many, too long, a line without an end."""
        for more in ("X-Y: z\r\n" * 500, f"X-Y: {'z' * 40_000}\r\n", "X-Y: " + "z" * 100_000):
            octets = self.wire.send(f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n".encode())
            self.assertNotIn(b" 200 ", octets[:20])
        self.assertEqual(self.wire.ask("GET", "/livez").status, 200)


class FilledCase(QuarantineCase):
    """A desk with a message in the history and one that is held."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.users.add_user("ann", "owner", "correct horse battery")
        self.desk.history.keep(make_session())
        self.held = self.hold()


class GetTests(FilledCase):
    """What only looks."""

    def state(self) -> list[Any]:
        """All that could be changed."""
        control = self.desk.control
        connection = sqlite3.connect(self.database.path)
        rows = list(connection.iterdump())
        connection.close()
        return [
            rows,
            [(view.name, view.is_drained) for view in control.servers()],
            control.traffic.bans(50),
            control.reception.is_draining,
            control.revision_at,
            sorted(self.desk.users.people.values(), key=str),
            sorted(self.desk.users.keys),
            self.desk.users.factors.secrets,
        ]

    def test_S_18_no_get_changes_anything(self) -> None:
        """Each with what is there and what is not; only that content was read is written down."""
        before = self.state()
        ids = (self.held, "01J9UK7Q0000000000000000AA", "01J9UK7Q0000000000000000AA.1")
        walked = 0
        for route in ROUTES:
            if route.method != "GET" or route.path.endswith("/events"):
                continue
            for id in ids if "<id>" in route.path else ("",):
                path = re.sub(r"<(?:int:)?number>", "1", route.path.replace("<id>", id))
                path = path.replace("<pool>", "mail").replace("<path:name>", "127.0.0.1:2600")
                path = re.sub(r"<\w+>", "ann", path)
                for query in ("", "?action=delete&_method=DELETE&dry_run=0", "?delete=1"):
                    status = self.desk.ask("GET", path + query, token=self.owner).status
                    self.assertLess(status, 500 if status != 503 else 600, path)
                    walked += 1
        self.assertGreater(walked, 200)
        self.assertEqual(self.state(), before)
        self.assertEqual(
            {row["action"] for row in self.desk.users.rows}
            - {"content.read", "messages.export", "audit.export", "denied"},
            set(),
        )


class FuzzTests(FilledCase):
    """Odd texts in every place of an address."""

    def look(self, method: str, path: str, body: bytes = b"", headers: Any = None) -> None:
        """One request: no fault of ours, nothing comes back as markup or as a header."""
        answer = self.desk.ask(method, path, body=body, headers=headers, token=self.owner)
        where = f"{method} {path[:150]}"
        self.assertNotEqual(answer.status, 500, where)
        self.assertEqual(answer.header("x-evil"), "", where)
        kind = answer.header("content-type")
        if kind.startswith("text/html"):
            self.assertNotIn(b"<script>window", answer.body, where)
            self.assertNotIn(b"<script>\xe2", answer.body, where)
            self.assertNotIn(b"<img src=x", answer.body, where)
            self.assertNotIn("\u202e", answer.text, where)
            self.assertNotIn("\0", answer.text, where)
        elif kind in ("application/json", "application/problem+json"):
            answer.json()
        self.assertNotIn(b"Traceback", answer.body, where)
        self.assertNotIn(b"root:x:0", answer.body, where)
        self.assertNotIn("\n", answer.header("location"))

    @staticmethod
    def filled(route: Route, value: str) -> list[str]:
        """The path with a text in each of its variables, one after the other."""
        names = re.findall(r"<(?:\w+:)?\w+>", route.path)
        found = []
        for at in range(len(names)):
            path = route.path
            for number, name in enumerate(names):
                path = path.replace(name, value if number == at else "1", 1)
            found.append(path)
        return found

    def test_S_19_paths(self) -> None:
        """Each variable of each path; a slash in it is a slash of the path."""
        count = 0
        for route in ROUTES:
            headers = FORM if route.kind == "page" else JSON
            headers = {**headers, "If-Match": "*"} if route.method != "GET" else {}
            for value in (*(quote(one, safe="") for one in NASTY), *RAW, *(quote(one, safe="/") for one in NASTY[2:4])):
                for path in self.filled(route, value):
                    self.look(route.method, path, b"{}" if route.body is not None else b"", headers)
                    count += 1
        self.assertGreater(count, 1000)

    def test_S_19_queries(self) -> None:
        """Each parameter that a call declares, all that a page could read, and names that nobody knows."""
        pages = (
            "q cursor limit sort time_from time_to ip from to domain verdict reason page at next back code kind held_as"
        )
        pages += (
            " class state fresh done days step group_by range what name id pool filter level since tab a b revision"
        )
        count = 0
        for route in ROUTES:
            if route.method != "GET" or route.path.endswith("/events"):
                continue
            path = place(route)
            free = [name for name, one in route.query.items() if isinstance(one, Free | Several)]
            for value in (*(quote(one, safe="") for one in NASTY), *RAW):
                if route.kind == "api":
                    names = [list(route.query), free, ["unknown" + value]]
                else:
                    names = [pages.split()]
                for some in names:
                    if some:
                        self.look("GET", path + "?" + "&".join(f"{name}={value}" for name in some))
                        count += 1
        self.assertGreater(count, 1000)

    def test_S_19_streams(self) -> None:
        """The parameters of the event stream: refused before it begins."""
        for value in (*(quote(one, safe="") for one in NASTY), "%ff"):
            self.look("GET", f"/api/v1/events?topics={value}")
            self.look("GET", f"/api/v1/events?topics=nothing&filter={value}&last_event_id={value}")

    def test_S_19_forms(self) -> None:
        """Fields of forms, by pages that take some."""
        fields = (
            "q name role domains reason minutes key text to filter ids action password again back theme revision note"
        )
        for route in ROUTES:
            if not route.is_form or route.path == "/logout":
                continue
            for value in (NASTY[0], NASTY[1], NASTY[2], NASTY[6], NASTY[7], NASTY[13]):
                body = "&".join(f"{name}={quote(value, safe='')}" for name in fields.split()).encode()
                self.look("POST", place(route), body, FORM)

    def test_S_19_headers(self) -> None:
        """Those that are read: cookies, tokens, tags, keys, names of programs, languages."""
        names = (
            "Cookie Authorization If-Match If-None-Match Idempotency-Key User-Agent Accept Accept-Encoding X-Request-Id"
        )
        for name in names.split():
            for value in NASTY[1:]:
                one = value.replace("\0", "").encode("utf-8").decode("latin-1")
                for path in ("/api/v1/users", "/messages", "/metrics"):
                    answer = self.desk.ask(
                        "GET", path, headers={name: one}, token="" if name == "Authorization" else self.owner
                    )
                    self.assertNotEqual(answer.status, 500, f"{name}: {value}")
        for name in ("Host", "Cookie", "Authorization", "User-Agent", "Origin", "Sec-Fetch-Site", "Accept"):
            for raw in ("\u00ff\u00fe", "a\u0080=b", "\u00ed\u00a0\u0080"):
                token = "" if name == "Authorization" else self.owner
                for path in ("/api/v1/me", "/help", "/login"):
                    answer = self.desk.ask("GET", path, headers={name: raw}, token=token)
                    self.assertIn(answer.status, (200, 303, 401, 400), f"{name} {path}")
                    self.assertIn("default-src 'none'", answer.header("content-security-policy"))
        bea = {"name": "bea", "role": "helpdesk", "password": "correct horse battery"}
        answer = self.desk.post_json("/api/v1/users", bea, token=self.owner, headers={"Idempotency-Key": "\u00ff<>'"})
        self.assertIn(answer.status, (201, 400))


class OrderTests(ApiCase):
    """Texts that go on: into SMTP, into the log."""

    def test_S_19_no_line_of_smtp_is_made_by_an_address(self) -> None:
        """An address with a line break, a NUL or a space in it is none."""
        for bad in (
            "a@example.net\r\nRCPT TO:<b@example.net>",
            "a@example.net\n",
            "a\0@example.net",
            "a b@example.net",
            "<a>",
        ):
            for path, body in (
                ("/api/v1/test/send", {"to": bad}),
                ("/api/v1/test/send", {"to": "a@example.net", "sender": bad}),
                ("/api/v1/quarantine/x/forward", {"to": [bad]}),
                ("/api/v1/routes/trace", {"recipient": bad}),
            ):
                answer = self.desk.post_json(path, body, token=self.owner)
                self.assertIn(answer.status, (404, 409, 422), f"{path} {body}")
                self.assertNotEqual((path, answer.status), ("/api/v1/test/send", 409), str(body))

    def test_S_19_no_line_of_the_audit_or_log_is_made_by_a_reason(self) -> None:
        """It is one text, and stays one."""
        bad = 'rude\n{"event":"admin.login","actor":"ann"}\r\n\u2028x'
        order = {"key": "192.0.2.9", "minutes": 5, "reason": bad}
        status = self.desk.post_json("/api/v1/bans", order, token=self.owner).status
        self.assertIn(status, (201, 422))
        exported = self.desk.ask("GET", "/api/v1/audit/export", token=self.owner)
        for line in exported.text.splitlines():
            json.loads(line)
