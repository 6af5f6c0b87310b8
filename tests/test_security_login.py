"""The security checklist, login and session: who somebody is, and for how long.

More of each item is in the tests that bear its number elsewhere; `make checklist` lists them.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, fail, maybeDeferred

from smtpgate.admin import totp
from smtpgate.admin.browsers import SESSIONS_PER_USER
from smtpgate.admin.site import ROUTES, Office
from smtpgate.admin.throttle import HASHES_AT_ONCE, HASHES_WAITING
from smtpgate.state import passwords
from smtpgate.state import users as users_module
from smtpgate.state.passwords import TooBusy
from smtpgate.state.users import InlineDatabase, Users
from smtpgate.testing.ports import Table
from tests.admin_kit import PASSWORD, Answer, ApiCase, Desk
from tests.test_admin_entry import FORM, Browser, EntryCase
from tests.test_admin_matrix import place
from tests.test_state_users import UsersCase
from tests.web_kit import OfficeOnPort, over_tcp


class StoredCase(UsersCase):
    """An office over a real database: what is on the disk is looked at octet by octet."""

    def setUp(self) -> None:
        super().setUp()
        self.desk = Desk()
        self.users = Users(InlineDatabase(self.database), maybeDeferred, self.desk.office.wall)
        self.desk.users = self.users  # type: ignore[assignment]
        said, repeats = self.desk.said.append, Table(self.desk.clock.seconds)
        self.desk.office = Office(self.desk.control, self.users, None, self.desk.clock, maybeDeferred, said, repeats)
        self.done(self.users.add_user("ann", "owner", PASSWORD))
        self.browser = Browser(self.desk)

    def hashed(self) -> str:
        """What is kept of a password."""
        row = self.database.now(users_module._user, "ann")
        assert row is not None
        return str(row["password"])


class StoredTests(StoredCase):
    """What is kept."""

    def test_S_06_no_cookie_is_on_the_disk(self) -> None:
        """Of the secret of 256 bits a digest is kept; each login has another, and the same again at no time."""
        seen = set()
        for _ in range(3):
            self.assertEqual(self.browser.log_in().status, 303)
            cookie = self.browser.jar["sg-local"]
            self.assertRegex(cookie, r"^[A-Za-z0-9_-]{43}$")
            self.assertNotIn(cookie.encode(), self.octets())
            seen.add(cookie)
            self.browser.jar.clear()
        self.assertEqual(len(seen), 3)

    def test_S_09_a_hash_is_made_anew_at_a_login(self) -> None:
        """Where it was made with other costs; password and sessions stay, and a wrong password changes nothing."""
        self.browser.log_in()
        before = self.hashed()
        self.patch(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
        self.assertEqual(Browser(self.desk).log_in(password="wrong wrong wrong").status, 401)
        self.assertEqual(self.hashed(), before)
        self.assertEqual(Browser(self.desk).log_in().status, 303)
        after = self.hashed()
        self.assertIn("m=16,t=2,p=1", after)
        self.assertEqual(self.browser.get("/").status, 200)
        self.assertEqual(Browser(self.desk).log_in().status, 303)
        self.assertEqual(self.hashed(), after)

    def test_S_10_unknown_and_known_names_do_the_same_work(self) -> None:
        """One check of a hash of the same costs, one look for the name, one row of audit; and the same page."""
        work: list[str] = []
        real = passwords._hasher

        class Hasher:
            def verify(self, hashed: str, password: str) -> bool:
                work.append(hashed.rpartition("$")[0].rpartition("$")[0])
                return real.verify(hashed, password)

            def hash(self, password: str) -> str:
                return real.hash(password)

            check_needs_rehash = staticmethod(real.check_needs_rehash)

        self.patch(passwords, "_hasher", Hasher())
        run = self.users._database.run
        self.users._database.run = lambda function, *args: (work.append(function.__name__), run(function, *args))[1]
        strip = re.compile(r'value="[^"]*"|Request <code>.*')
        pages, works = [], []
        Browser(self.desk).log_in("somebody", "wrong wrong wrong")
        for name in ("ann", "nobody"):
            browser = Browser(self.desk)
            token = browser.token("/login")
            work.clear()
            answer = browser.post("/login", {"csrf": token, "name": name, "password": "wrong wrong wrong"})
            pages.append((answer.status, strip.sub("", answer.text), sorted(answer.headers)))
            works.append(list(work))
        self.assertEqual(pages[0], pages[1])
        self.assertEqual(works[0], works[1])
        self.assertEqual(len([one for one in works[0] if one.startswith("$argon2id$")]), 1)

    def test_S_11_no_recovery_code_is_on_the_disk(self) -> None:
        """Ten digests are; and a code that was used is no more good after a restart."""
        self.browser.log_in()
        page = self.browser.form("/account", "/account/codes", {})
        key = re.search(r"secret=([A-Z2-7]+)&", page.text) or re.search(r'class="key-text">([A-Z2-7 ]+)<', page.text)
        assert key is not None
        secret = base64.b32decode(key[1].replace(" ", ""))
        code = totp.code_at(secret, int(self.desk.office.wall() // 30))
        done = self.browser.form("/account", "/account/codes/confirm", {"code": code})
        recovery = re.findall(r"<li><code>([a-z2-7-]+)</code>", done.text)
        self.assertEqual(len(recovery), 10)
        octets = self.octets()
        for one in recovery:
            for written in (one, one.replace("-", ""), one.upper(), one.replace("-", "").upper()):
                self.assertNotIn(written.encode(), octets)

    def test_S_14_no_token_is_on_the_disk(self) -> None:
        """256 bits behind a prefix that scanners know; compared by digest in constant time; revoked from the next
        request on."""
        text = self.done(self.users.add_token("t", "owner", 0.0))
        self.assertRegex(text, r"^sgt_[0-9a-f]{8}_[A-Za-z0-9_-]{43}$")
        self.assertNotIn(text.rpartition("_")[2].encode(), self.octets())
        compared: list[tuple[str, str]] = []
        real = hmac.compare_digest

        def compare(one: str, two: str) -> bool:
            compared.append((one, two))
            return real(one, two)

        self.patch(users_module.hmac, "compare_digest", compare)
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=text).status, 200)
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=text[:-1] + "!").status, 401)
        self.assertEqual([len(one) for pair in compared[:2] for one in pair], [64] * 4)
        self.assertNotIn(text.rpartition("_")[2], str(compared))
        self.done(self.users.revoke_token(text.split("_")[1]))
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=text).status, 401)


class SessionTests(OfficeOnPort):
    """Sessions over the wire."""

    def setUp(self) -> None:
        super().setUp()
        self.browser = Browser(self.wire)  # type: ignore[arg-type]

    @over_tcp
    def test_S_06_a_planted_cookie_is_never_adopted(self) -> None:
        """By no name and in no number: the login gives another; and a session of somebody else's login is theirs."""
        for name in ("sg-local", "__Host-sg"):
            self.browser.jar = {name: "A" * 43}
            self.assertEqual(self.browser.get("/").status, 303)
            self.browser.log_in()
            self.assertNotEqual(self.browser.jar["sg-local"], "A" * 43)
            self.assertEqual(self.wire.ask("GET", "/", headers={"Cookie": f"{name}={'A' * 43}"}).status, 303)
        # The cookie of the other kind of connection counts for nothing here.
        secret = self.browser.jar["sg-local"]
        self.assertEqual(self.wire.ask("GET", "/", headers={"Cookie": f"__Host-sg={secret}"}).status, 303)

    @over_tcp
    def test_S_06_other_rights_end_what_was_begun(self) -> None:
        """A role that changes leaves nobody with a session of the former one."""
        self.on_reactor(self.desk.users.add_user, "bob", "helpdesk", PASSWORD)
        self.browser.log_in("bob")
        self.assertEqual(self.browser.get("/messages").status, 200)
        headers = {"If-Match": "*"}
        answer = self.wire.json("PATCH", "/api/v1/users/bob", {"role": "admin"}, token=self.owner, headers=headers)
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(self.browser.get("/messages").status, 303)

    @over_tcp
    def test_S_06_one_user_has_so_many(self) -> None:
        """The oldest makes room."""
        self.browser.log_in()
        for _ in range(SESSIONS_PER_USER):
            Browser(self.wire).log_in()  # type: ignore[arg-type]
        self.assertEqual(self.browser.get("/").status, 303)

    def stream(self) -> Any:
        """An event stream of the browser; a socket, after its first octets."""
        sock = self.enterContext(self.wire.open())
        cookie = f"sg-local={self.browser.jar['sg-local']}"
        head = "GET /api/v1/events HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n"
        sock.sendall(f"{head}Cookie: {cookie}\r\n\r\n".encode())
        self.assertIn(b"200", sock.recv(4096))
        return sock

    @over_tcp
    def test_S_08_the_end_of_a_session_ends_its_streams(self) -> None:
        """By logout, by another password, by other rights: within five seconds, with a word."""
        for end in ("logout", "password", "ended"):
            self.browser.jar.clear()
            self.browser.log_in()
            token = self.browser.token("/account")
            sock = self.stream()
            if end == "logout":
                answer = self.browser.post("/logout", {"csrf": token})
                self.assertEqual(answer.header("clear-site-data"), '"cache", "storage"')
            elif end == "password":
                order = {"password": PASSWORD}
                self.wire.json("POST", "/api/v1/users/ann/password", order, token=self.owner)
            else:
                self.wire.ask("DELETE", "/api/v1/users/ann/sessions", token=self.owner, headers={"If-Match": "*"})
            self.on_reactor(self.desk.clock.pump, [1.0] * 5)
            self.assertIn(b"event: end", self.wire.rest(sock))
            self.assertEqual(self.on_reactor(lambda: self.desk.office.streams.count), 0)

    @over_tcp
    def test_S_07_the_cookies_of_each_kind_of_connection(self) -> None:
        """All that are ever set: strict, unreadable, for all of the site; by TLS with the prefix and Secure."""
        proxied = Browser(self.wire, host="admin.example.com")  # type: ignore[arg-type]
        for browser, is_secure in ((self.browser, False), (proxied, True)):
            lines = list(browser.get("/login").cookies.values())
            lines += browser.log_in().cookies.values()
            lines += browser.form("/account", "/theme", {"theme": "dark"}).cookies.values()
            lines += browser.form("/account", "/logout", {}).cookies.values()
            self.assertEqual(len(lines), 4)
            for line in lines:
                words = line.split("; ")
                self.assertLessEqual({"Path=/", "HttpOnly", "SameSite=Strict"}, set(words))
                self.assertEqual("Secure" in words, is_secure, line)
                self.assertNotIn("domain=", line.lower())
                if words[0].startswith("__Host-") or is_secure and words[0].startswith("sg-local"):
                    self.assertTrue(is_secure and words[0].startswith("__Host-sg="), line)

    @over_tcp
    def test_S_15_spoofed_headers_of_proxies(self) -> None:
        """From whoever is no proxy they make nobody secure, near, another, or logged in."""
        spoofs = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "admin.example.com",
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Port": "443",
            "Forwarded": "for=203.0.113.9;proto=https;host=admin.example.com",
            "X-Real-IP": "203.0.113.9",
            "X-Client-IP": "203.0.113.9",
            "X-Remote-User": "ann",
            "Remote-User": "ann",
            "X-Forwarded-User": "ann",
            "X-Auth-Request-User": "ann",
            "X-Original-URL": "/livez",
            "X-Rewrite-URL": "/livez",
        }
        self.assertEqual(self.wire.ask("GET", "/", headers=spoofs).header("location"), "/login")
        self.assertEqual(self.wire.ask("GET", "/api/v1/me", headers=spoofs).status, 401)
        self.assertEqual(self.wire.ask("GET", "/login", headers=spoofs, host="evil.example").status, 421)
        self.assertEqual(self.wire.ask("GET", "/metrics", headers=spoofs).status, 401)
        page = self.wire.ask("GET", "/login", headers=spoofs)
        self.assertEqual([one for line in page.cookies.values() for one in line.split("; ") if one == "Secure"], [])
        self.assertEqual(page.header("strict-transport-security"), "")
        named = {"X_Forwarded_For": "203.0.113.9", "X_Real_IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        token = self.browser.token("/login")
        self.browser.post("/login", {"csrf": token, "name": "ann", "password": PASSWORD}, **named)
        self.assertEqual(self.desk.users.rows[-1]["source"], "127.0.0.1")

    @over_tcp
    def test_S_15_the_configured_proxy_is_believed(self) -> None:
        """Under its name and from this machine: the last address that it added is who asks."""
        browser = Browser(self.wire, host="admin.example.com")  # type: ignore[arg-type]
        token = browser.token("/login")
        fields = {"csrf": token, "name": "ann", "password": PASSWORD}
        browser.post("/login", fields, X_Forwarded_For="198.51.100.1, 203.0.113.9")
        self.assertEqual(self.desk.users.rows[-1]["source"], "203.0.113.9")


class BusyTests(EntryCase):
    """Hashing."""

    def begin(self, verify: Any, count: int) -> list[Any]:
        """So many logins, each under way; their transports."""
        self.desk.users.verify = verify  # type: ignore[method-assign]
        transports = []
        for number in range(count):
            browser = Browser(self.desk)
            token = browser.token("/login")
            body = f"csrf={token}&name=user{number}&password=x"
            head = f"POST /login HTTP/1.1\r\nHost: localhost:8080\r\nCookie: sg-form={browser.jar['sg-form']}\r\n"
            head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
            channel, transport = self.desk.open()
            channel.dataReceived((head + body).encode())
            transports.append(transport)
        return transports

    def test_S_09_two_are_hashed_16_wait_and_the_next_is_told(self) -> None:
        """429 with the time to wait, at once; the others get their answers, and then there is room again."""
        running: list[Deferred[None]] = []

        def verify(name: str, password: str) -> Deferred[None]:
            running.append(Deferred())
            return running[-1]

        room = HASHES_AT_ONCE + HASHES_WAITING
        self.assertEqual((HASHES_AT_ONCE, HASHES_WAITING), (2, 16))
        transports = self.begin(verify, room + 1)
        self.assertEqual(len(running), HASHES_AT_ONCE)
        self.assertEqual([transport.value() for transport in transports[:room]], [b""] * room)
        told = Answer(transports[-1].value())
        self.assertEqual(told.status, 429)
        self.assertTrue(told.header("retry-after").isdigit())
        # An API call that hashes waits in the same queue.
        order = {"name": "bob", "role": "helpdesk", "password": PASSWORD}
        full = self.desk.post_json("/api/v1/users", order, role="owner")
        self.assertEqual((full.status, full.json()["type"]), (429, "/problems/rate-limited"))
        for number in range(room):
            running[number].callback(None)
        self.assertEqual([Answer(one.value()).status for one in transports[:room]], [401] * room)

    def test_S_09_logins_of_mail_clients_have_all_turns(self) -> None:
        """Who manages the gateway is told to come again, and by nobody that something is broken."""
        self.desk.users.verify = lambda name, password: fail(TooBusy("x"))  # type: ignore[method-assign]
        answer = self.browser.log_in()
        self.assertEqual(answer.status, 429)
        self.assertTrue(answer.header("retry-after").isdigit())
        self.assertEqual(self.desk.users.rows, [])

    def test_S_09_what_a_password_may_be(self) -> None:
        """Twelve characters of any kind are enough, and nothing is asked of their composition; known ones are not."""
        order = {"name": "bob", "role": "helpdesk"}
        for password, status in (
            ("x" * 11, 422),
            ("eleven char", 422),
            ("password1234", 422),
            ("abababababab", 422),
            ("x" * 1025 + "abcdefg", 422),
            ("all lower case", 201),
        ):
            answer = self.desk.post_json("/api/v1/users", {**order, "password": password}, role="owner")
            self.assertEqual(answer.status, status, password)


class ProofTests(EntryCase):
    """The password of the last ten minutes."""

    def test_S_12_each_dangerous_route_asks_for_it(self) -> None:
        """API and pages; nothing is done before, and a token of a program is not asked."""
        self.browser.log_in()
        token = self.browser.token("/account")
        self.desk.clock.advance(601)
        guarded = [route for route in ROUTES if route.is_guarded]
        self.assertGreater(len(guarded), 30)
        before = len(self.desk.users.rows)
        for route in guarded:
            kind = FORM if route.kind == "page" else {"Content-Type": "application/json"}
            headers = {**self.browser._headers({}), **kind, "X-CSRF-Token": token, "If-Match": "*"}
            body = f"csrf={token}".encode() if route.kind == "page" else b"{}"
            answer = self.desk.ask(route.method, place(route), body=body, headers=headers)
            where = f"{route.method} {route.path}"
            if route.kind == "page" and route.method == "GET":
                self.assertEqual((answer.status, answer.header("location")[:7]), (303, "/prove?"), where)
            else:
                self.assertEqual(answer.status, 401, where)
                self.assertIn("password", answer.text)
        self.assertEqual(len(self.desk.users.rows), before)


class ScopeTests(ApiCase):
    """Tokens with few scopes."""

    def test_S_14_a_scope_opens_what_it_names(self) -> None:
        """On each route: 403 but where the permission is the scope, or is anybody's."""
        for scope in ("stats:read", "quarantine:release", "test:run"):
            order = {"name": "t", "scopes": [scope]}
            token = self.desk.post_json("/api/v1/tokens", order, token=self.owner).json()["token"]
            for route in ROUTES:
                if route.permission in ("public", "near", "self"):
                    continue
                kind = FORM if route.kind == "page" else {"Content-Type": "application/json"}
                answer = self.desk.ask(route.method, place(route), token=token, headers=kind)
                where = f"{scope} {route.method} {route.path}"
                if route.permission == scope:
                    self.assertNotIn(answer.status, (401, 500), where)
                else:
                    self.assertEqual(answer.status, 403, where)

    def test_S_14_a_token_of_a_network_is_not_moved_by_a_header(self) -> None:
        """Where it may be used from is who is connected."""
        order = {"name": "t", "role": "owner", "networks": ["203.0.113.0/24"]}
        token = self.desk.post_json("/api/v1/tokens", order, token=self.owner).json()["token"]
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"):
            answer = self.desk.ask("GET", "/api/v1/me", token=token, headers={name: "203.0.113.9"})
            self.assertEqual(answer.status, 401, name)
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=token, peer="203.0.113.9").status, 200)

    def test_S_14_a_token_ends(self) -> None:
        """A year is the most, and 90 days is what one gets that asks for nothing."""
        for days, status in ((366, 422), (0, 422), (365, 201)):
            order = {"name": "t", "role": "helpdesk", "days": days}
            self.assertEqual(self.desk.post_json("/api/v1/tokens", order, token=self.owner).status, status)
        self.post("/tokens", {"name": "plain", "role": "helpdesk"}, 201)
        tokens = [one for one in self.desk.users.keys.values() if one.name == "plain"]
        self.assertAlmostEqual(tokens[0].expires - self.desk.office.wall(), 90 * 86400, delta=1)
