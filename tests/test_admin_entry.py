"""Login, the first visit, cookies, CSRF, host names, and the delays after failed logins."""

from __future__ import annotations

import gzip
import re
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.throttle import Gate, TooMany, network_of
from tests.admin_kit import CONFIG, PASSWORD, Answer, Desk

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Browser:
    """Keeps cookies and fills forms."""

    def __init__(self, desk: Desk, host: str = "localhost:8080", peer: str = "127.0.0.1") -> None:
        self.desk = desk
        self.host = host
        self.peer = peer
        self.jar: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        return self._keep(self.desk.ask("GET", path, headers=self._headers(headers), host=self.host, peer=self.peer))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        body = urlencode(fields).encode()
        more = {**FORM, **self._headers(headers)}
        return self._keep(self.desk.ask("POST", path, body=body, headers=more, host=self.host, peer=self.peer))

    def form(self, page: str, path: str, fields: dict[str, str]) -> Answer:
        """Fetch a page, and send its form with its token."""
        return self.post(path, {"csrf": self.token(page), **fields})

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(page).text)
        assert found is not None
        return found[1]

    def log_in(self, name: str = "ann", password: str = PASSWORD) -> Answer:
        return self.form("/login", "/login", {"name": name, "password": password})

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        out = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.jar:
            out["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        return out

    def _keep(self, answer: Answer) -> Answer:
        for name, line in answer.cookies.items():
            self.jar[name] = line.partition("=")[2].partition(";")[0]
            if "Max-Age=0" in line:
                del self.jar[name]
        return answer


class EntryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.browser = Browser(self.desk)


class LoginTests(EntryCase):
    """Name and password."""

    def test_a_login_opens_the_pages(self) -> None:
        """A stranger is sent to the login page, and from there back."""
        away = self.browser.get("/backends?x=1")
        self.assertEqual(away.header("location"), "/login?next=%2Fbackends%3Fx%3D1")
        self.browser.get(away.header("location"))
        answer = self.browser.form("/login", "/login", {"name": "ann", "password": PASSWORD, "next": "/backends?x=1"})
        self.assertEqual((answer.status, answer.header("location")), (303, "/backends?x=1"))
        self.assertEqual(self.browser.get("/backends").status, 200)

    def test_nobody_is_led_away_after_the_login(self) -> None:
        """`next` is a place on this site or nothing."""
        for wanted in (
            "//evil.example/",
            "https://evil.example/",
            "/\\evil.example",
            "javascript:1",
            "/a\r\nX: y",
        ):
            answer = self.browser.form("/login", "/login", {"name": "ann", "password": PASSWORD, "next": wanted})
            self.assertEqual(answer.header("location"), "/", wanted)
            self.browser.jar.clear()

    def test_S_07_cookie_on_plain_loopback(self) -> None:
        """Not readable by scripts, not sent from other sites, and without the promise of TLS in its name."""
        line = self.browser.log_in().cookies["sg-local"]
        self.assertIn("HttpOnly", line)
        self.assertIn("SameSite=Strict", line)
        self.assertNotIn("Secure", line)
        self.assertNotIn("Domain", line)

    def test_S_07_cookie_behind_tls(self) -> None:
        """A name that the browser binds to this host and to TLS."""
        browser = Browser(self.desk, host="admin.example.com")
        line = browser.log_in().cookies["__Host-sg"]
        for word in ("Path=/", "HttpOnly", "SameSite=Strict", "Secure"):
            self.assertIn(word, line)

    def test_S_06_login_makes_a_new_session(self) -> None:
        """A planted cookie is never adopted, and the one before is over."""
        self.browser.jar["sg-local"] = "planted-by-somebody"
        self.browser.log_in()
        first = self.browser.jar["sg-local"]
        self.assertNotEqual(first, "planted-by-somebody")
        self.browser.jar["sg-local"] = first
        token = Browser(self.desk)
        token.jar = {"sg-local": first}
        page = token.desk.ask("GET", "/login", headers={"Cookie": f"sg-local={first}"})
        self.assertEqual(page.status, 303)
        self.desk.users.set_password("ann", PASSWORD)
        self.desk.office.accounts.forget_sessions("ann")
        self.assertEqual(self.browser.get("/").status, 303)

    def test_S_06_secrets_are_kept_as_hashes(self) -> None:
        """What is held cannot be used as a cookie."""
        self.browser.log_in()
        self.assertNotIn(self.browser.jar["sg-local"], str(self.desk.users.sessions.rows))
        self.assertGreaterEqual(len(self.browser.jar["sg-local"]), 43)

    def test_S_08_idle_and_absolute_end(self) -> None:
        """30 idle minutes, or 12 hours whatever is done."""
        self.browser.log_in()
        self.desk.clock.advance(1799)
        self.assertEqual(self.browser.get("/").status, 200)
        self.desk.clock.advance(1801)
        self.assertEqual(self.browser.get("/").status, 303)
        self.browser.jar.clear()
        self.browser.log_in()
        for _ in range(12 * 3 - 1):
            self.desk.clock.advance(1199)
            self.assertEqual(self.browser.get("/").status, 200)
        self.desk.clock.advance(1299)
        self.assertEqual(self.browser.get("/").status, 303)

    def test_S_08_logout_ends_the_session(self) -> None:
        """At the server, not only in the browser."""
        self.browser.log_in()
        kept = self.browser.jar["sg-local"]
        answer = self.browser.form("/", "/logout", {})
        self.assertEqual(answer.status, 303)
        self.assertIn("Max-Age=0", answer.cookies["sg-local"])
        self.assertIn("storage", answer.header("clear-site-data"))
        self.browser.jar["sg-local"] = kept
        self.assertEqual(self.browser.get("/").status, 303)

    def test_S_08_a_new_password_ends_other_sessions(self) -> None:
        """Whoever had the old one is out."""
        self.browser.log_in()
        self.desk.post_json("/api/v1/users/ann/password", {"password": "another long phrase"}, role="owner")
        self.assertEqual(self.browser.get("/").status, 303)

    def test_S_06_two_cookies_of_one_name_are_none(self) -> None:
        """Nobody can slip a second one in beside the first."""
        self.browser.log_in()
        value = self.browser.jar["sg-local"]
        answer = self.desk.ask("GET", "/", headers={"Cookie": f"sg-local=x; sg-local={value}"})
        self.assertEqual(answer.status, 303)

    def test_the_wrong_scheme_of_authorization_is_no_cookie(self) -> None:
        """A request that tries to log in otherwise is not served by its cookie."""
        self.browser.log_in()
        value = self.browser.jar["sg-local"]
        headers = {"Cookie": f"sg-local={value}", "Authorization": "Bearer nonsense"}
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", headers=headers).status, 401)

    def test_S_10_wrong_login_says_nothing(self) -> None:
        """Unknown names and wrong passwords look alike and cost alike."""
        known = self.browser.log_in(password="wrong wrong wrong")
        unknown = Browser(self.desk).log_in(name="nobody", password="wrong wrong wrong")
        strip = re.compile(r'value="[^"]*"|Request <code>.*')
        self.assertEqual(known.status, 401)
        self.assertEqual(strip.sub("", known.text), strip.sub("", unknown.text))
        self.assertEqual(self.desk.users.hashes, 2)
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["login.failed", "login.failed"])


class ThrottleTests(EntryCase):
    """After failed logins."""

    def fail(self, browser: Browser, times: int, name: str = "ann") -> list[int]:
        return [browser.log_in(name, "wrong wrong wrong").status for _ in range(times)]

    def test_S_10_delay_grows_and_ends(self) -> None:
        """Three are free; then each failure doubles the wait, and the right password works after it."""
        self.assertEqual(self.fail(self.browser, 4), [401, 401, 401, 429])
        self.desk.clock.advance(1.1)
        self.assertEqual(self.fail(self.browser, 2), [401, 429])
        self.desk.clock.advance(1.1)
        answer = self.browser.log_in()
        self.assertEqual(answer.status, 429)
        self.assertTrue(answer.header("retry-after").isdigit())
        self.desk.clock.advance(1.0)
        self.assertEqual(self.browser.log_in().status, 303)

    def test_S_10_waiting_costs_no_hash(self) -> None:
        """A throttled try is refused before the password is looked at."""
        self.fail(self.browser, 10)
        self.assertEqual(self.desk.users.hashes, 3)

    def test_S_10_strangers_lock_nobody_out(self) -> None:
        """The same account from another network is not delayed."""
        text = CONFIG.replace("[admin]", '[admin]\nlisten = "tcp:8080"\ninsecure = true')
        self.desk = Desk(text)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        attacker = Browser(self.desk, host="gate.example.com", peer="198.51.100.9")
        self.assertEqual(self.fail(attacker, 5)[-1], 429)
        owner = Browser(self.desk, host="gate.example.com", peer="192.0.2.200")
        self.assertEqual(owner.log_in().status, 303)

    def test_S_10_many_accounts_from_one_network(self) -> None:
        """Trying one password on many names is slowed down too."""
        found = [self.browser.log_in(f"user{number}", "wrong wrong wrong").status for number in range(25)]
        self.assertEqual(found[:20], [401] * 20)
        self.assertIn(429, found[20:])

    def test_S_10_longest_delay_is_bounded(self) -> None:
        """A quarter of an hour at most."""
        throttle = self.desk.office.accounts._throttle
        for _ in range(40):
            throttle.failed("ann", "192.0.2.1")
        error = self.assertRaises(TooMany, throttle.check, "ANN", "192.0.2.77")
        self.assertLessEqual(error.seconds, 900)
        self.assertGreater(error.seconds, 890)

    def test_S_10_networks(self) -> None:
        """What is counted together."""
        self.assertEqual(network_of("192.0.2.77"), "192.0.2.0/24")
        self.assertEqual(network_of("::ffff:192.0.2.77"), "192.0.2.0/24")
        self.assertEqual(network_of("2001:db8:1:2:3::4"), "2001:db8:1:2::/64")
        self.assertEqual(network_of("nonsense"), "nonsense")

    def test_S_09_hashing_is_two_at_a_time_with_a_short_queue(self) -> None:
        """What comes beyond is told to come back."""
        from twisted.internet.defer import ensureDeferred

        gate = Gate()
        running: list[Deferred[Any]] = []

        def call() -> Deferred[Any]:
            running.append(Deferred())
            return running[-1]

        waiting = [ensureDeferred(gate.run(call)) for _ in range(18)]
        self.assertEqual(len(running), 2)
        self.failureResultOf(ensureDeferred(gate.run(call)), TooMany)
        for number in range(18):
            running[number].callback(number)
        self.assertEqual([self.successResultOf(one) for one in waiting], list(range(18)))


class SetupTests(SynchronousTestCase):
    """The first visit."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.browser = Browser(self.desk)
        self.successResultOf(self.desk.office.open())

    def fields(self, **more: str) -> dict[str, str]:
        return {"code": self.desk.said[-1], "name": "ann", "password": PASSWORD, "again": PASSWORD, **more}

    def test_S_02_the_code_makes_an_owner(self) -> None:
        """Long enough, told once, used once; then there is no setup page any more."""
        self.assertGreaterEqual(len(self.desk.said[-1]), 32)
        answer = self.browser.form("/setup", "/setup", self.fields())
        self.assertEqual((answer.status, answer.header("location")), (303, "/"))
        self.assertEqual(self.browser.get("/").status, 200)
        self.assertEqual(self.desk.users.people["ann"].role, "owner")
        self.assertEqual(Browser(self.desk).get("/setup").status, 404)
        self.assertEqual(self.desk.ask("POST", "/setup", headers=FORM).status, 404)

    def test_S_02_a_stranger_is_led_to_it(self) -> None:
        """Nobody can log in, so the login page would not help."""
        self.assertEqual(self.browser.get("/").header("location"), "/setup")
        self.assertEqual(self.browser.get("/login").header("location"), "/setup")

    def test_S_02_wrong_code(self) -> None:
        """Refused, counted, and no owner."""
        for _ in range(3):
            self.assertEqual(self.browser.form("/setup", "/setup", self.fields(code="guess")).status, 401)
        self.assertEqual(
            self.browser.post("/setup", {"csrf": self.browser.token("/setup"), **self.fields()}).status, 429
        )
        self.assertEqual(self.desk.users.people, {})

    def test_S_02_old_code(self) -> None:
        """After 30 minutes it holds no more; a look at the page writes a fresh one."""
        old = self.desk.said[-1]
        self.desk.clock.advance(1801)
        answer = self.browser.form("/setup", "/setup", self.fields(code=old))
        self.assertEqual(answer.status, 401)
        self.assertEqual(len(self.desk.said), 2)
        self.assertEqual(self.browser.form("/setup", "/setup", self.fields()).status, 303)

    def test_looking_does_not_flood_the_log(self) -> None:
        """A code that still holds is not said again."""
        for _ in range(5):
            self.browser.get("/setup")
        self.assertEqual(len(self.desk.said), 1)

    def test_S_09_weak_passwords(self) -> None:
        """Short, guessed or monotonous ones are refused with a reason; the code stays good."""
        for password in ("short", "password1234", "aaaaaaaaaaaaaa", "smtpgate2024!"):
            answer = self.browser.form("/setup", "/setup", self.fields(password=password, again=password))
            self.assertEqual(answer.status, 422, password)
        self.assertEqual(self.browser.form("/setup", "/setup", self.fields(again="other")).status, 422)
        self.assertEqual(self.browser.form("/setup", "/setup", self.fields()).status, 303)


class RequestTests(EntryCase):
    """Who made the request, and for which host."""

    def test_S_03_foreign_host_names(self) -> None:
        """Names that are not ours are refused before anything else (DNS rebinding)."""
        for host in (
            "evil.example",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil.example",
            "[::2]",
            "x@localhost:x",
        ):
            self.assertEqual(self.desk.ask("GET", "/login", host=host).status, 421, host)
        for host in (
            "localhost",
            "127.0.0.1:8080",
            "[::1]:8080",
            "gate.example.com",
            "ADMIN.example.com:443",
        ):
            self.assertEqual(self.desk.ask("GET", "/login", host=host).status, 200, host)

    def test_S_03_foreign_pages(self) -> None:
        """Unsafe methods from other sites are refused, cookie or not."""
        self.browser.log_in()
        token = self.browser.token("/backends")
        path = "/backends/mail/servers/127.0.0.1:2600/drain"
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:9999"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
        ):
            self.assertEqual(self.browser.post(path, {"csrf": token}, **headers).status, 403, str(headers))
        for headers in (
            {},
            {"Origin": "http://localhost:8080"},
            {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
        ):
            self.assertEqual(self.browser.post(path, {"csrf": token}, **headers).status, 303, str(headers))

    def test_S_16_forms_without_their_token(self) -> None:
        """Each form of a session fails without it, and with another's."""
        self.browser.log_in()
        other = Browser(self.desk)
        other.log_in()
        for path in ("/logout", "/config/reload", "/config/validate", "/backends/mail/servers/127.0.0.1:2600/ready",
                     "/sessions/x/kill", "/search"):  # fmt: skip
            self.assertEqual(self.browser.post(path, {}).status, 403, path)
            self.assertEqual(self.browser.post(path, {"csrf": other.token("/")}).status, 403, path)
            self.assertEqual(self.browser.post(path, {"csrf": "\u2603"}).status, 403, path)

    def test_a_link_brings_the_code(self) -> None:
        """What looks like a code stands in the form; anything else does not."""
        desk = Desk()
        self.assertIn('name="code" value="abc_-1"', Browser(desk).get("/setup?code=abc_-1").text)
        self.assertIn('name="code" value=""', Browser(desk).get("/setup?code=%22onfocus%3Dx").text)

    def test_S_16_login_and_setup_forms_are_bound_too(self) -> None:
        """Nobody can be logged in by a foreign form."""
        self.assertEqual(self.browser.post("/login", {"name": "ann", "password": PASSWORD}).status, 403)
        stolen = Browser(self.desk).token("/login")
        answer = self.browser.post("/login", {"csrf": stolen, "name": "ann", "password": PASSWORD})
        self.assertEqual(answer.status, 403)

    def test_S_16_api_by_cookie_needs_the_token(self) -> None:
        """A script on our own page sends it as a header."""
        self.browser.log_in()
        cookie = f"sg-local={self.browser.jar['sg-local']}"
        path = "/api/v1/backends/mail/servers/127.0.0.1:2600/drain"
        self.assertEqual(self.desk.post_json(path, {}, headers={"Cookie": cookie}).status, 403)
        token = self.browser.token("/")
        headers = {"Cookie": cookie, "X-CSRF-Token": token}
        self.assertEqual(self.desk.post_json(path, {}, headers=headers).status, 200)

    def test_S_16_api_refuses_form_types(self) -> None:
        """JSON routes take no content type that a foreign form could send."""
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ):
            answer = self.desk.ask(
                "POST", "/api/v1/routes/trace", body=b"{}", headers={"Content-Type": kind}, role="owner"
            )
            self.assertEqual(answer.status, 415, kind)

    def test_S_16_no_cross_origin_sharing(self) -> None:
        """No answer ever permits another origin."""
        for method in ("GET", "OPTIONS"):
            answer = self.desk.ask(method, "/api/v1/overview", headers={"Origin": "https://evil.example"}, role="owner")
            self.assertEqual([name for name in answer.headers if name.startswith("access-control")], [])

    def test_S_15_forwarded_headers_of_strangers_are_ignored(self) -> None:
        """Only a proxy on this machine, under its configured name, is believed."""
        for _ in range(4):
            browser = Browser(self.desk)
            token = browser.token("/login")
            last = browser.post(
                "/login",
                {"csrf": token, "name": "ann", "password": "wrong wrong"},
                X_Forwarded_For="10.9.8.7",
            )
        self.assertEqual(last.status, 429)
        for number in range(4):
            browser = Browser(self.desk, host="admin.example.com")
            token = browser.token("/login")
            fields = {"csrf": token, "name": "ann", "password": "wrong wrong"}
            last = browser.post("/login", fields, X_Forwarded_For=f"10.9.{number}.7")
        self.assertEqual(last.status, 401)

    def test_S_22_every_answer_has_the_safe_headers(self) -> None:
        """Pages, refusals, redirects, JSON and files."""
        self.browser.log_in()
        places = [
            ("GET", "/login"),
            ("GET", "/nothing"),
            ("GET", "/api/v1/me"),
            ("GET", "/livez"),
            ("POST", "/"),
            ("GET", "/"),
        ]
        for method, path in places:
            answer = self.desk.ask(method, path)
            csp = answer.header("content-security-policy")
            self.assertIn("default-src 'none'", csp)
            self.assertIn("frame-ancestors 'none'", csp)
            self.assertNotIn("unsafe", csp)
            self.assertEqual(answer.header("x-content-type-options"), "nosniff")
            self.assertEqual(answer.header("referrer-policy"), "no-referrer")
            self.assertEqual(answer.header("cross-origin-opener-policy"), "same-origin")
            self.assertEqual(answer.header("cross-origin-resource-policy"), "same-origin")
            self.assertEqual(answer.header("cache-control"), "no-store")
            self.assertEqual(answer.header("server"), "")
            self.assertNotIn("0.1.0", self.desk.ask("GET", "/login").text)

    def test_S_21_scripts_are_ours_and_htmx_heeds_what_bears_the_page_s_nonce(self) -> None:
        """Each page has its own nonce, in the policy and on what htmx may heed; a page for strangers has no script."""
        stranger = self.desk.ask("GET", "/login")
        self.assertIn("script-src 'self';", stranger.header("content-security-policy"))
        self.assertIn("trusted-types 'none'", stranger.header("content-security-policy"))
        self.assertNotIn("<script", stranger.text)
        nonces = set()
        for _ in range(2):
            page = self.desk.ask("GET", "/backends", role="owner")
            found = re.search(r"script-src 'self' 'nonce-([\w-]{22,})';", page.header("content-security-policy"))
            assert found is not None
            self.assertIn("trusted-types htmx", page.header("content-security-policy"))
            self.assertIn(f'hx-nonce="{found[1]}"', page.text)
            self.assertEqual(set(re.findall(r'nonce="([^"]*)"', page.text)), {found[1]})
            nonces.add(found[1])
        self.assertEqual(len(nonces), 2)

    def test_colours_are_chosen_and_kept(self) -> None:
        """Light, dark or as the system; the way back leads to no other site."""

        def choose(theme: str, back: str) -> Answer:
            body = urlencode({"theme": theme, "back": back}).encode()
            return self.desk.ask("POST", "/theme", body=body, headers=FORM, role="helpdesk")

        chosen = choose("dark", "/messages?q=a")
        self.assertEqual((chosen.status, chosen.header("location")), (303, "/messages?q=a"))
        cookie = chosen.header("set-cookie")
        self.assertIn("sg-theme=dark; Path=/; HttpOnly; SameSite=Strict", cookie)
        for page in ("/help", "/login"):
            with_cookie = self.desk.ask(
                "GET", page, headers={"Cookie": "sg-theme=dark"}, role="owner" * (page == "/help")
            )
            self.assertIn('data-theme="dark"', with_cookie.text)
        foreign = self.desk.ask("GET", "/help", headers={"Cookie": 'sg-theme="><script>'}, role="owner")
        self.assertNotIn("data-theme", foreign.text)
        self.assertIn("Max-Age=0", choose("", "/").header("set-cookie"))
        self.assertEqual(choose("pink", "/").status, 400)
        for back in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
            self.assertEqual(choose("light", back).header("location"), "/")

    def test_under_a_path_of_a_proxy(self) -> None:
        """Links, forms and redirects lead under it, whether the proxy takes it off or not; foreign text stays."""
        desk = Desk(CONFIG.replace("[admin]", '[admin]\npublic_url = "https://admin.example.com/gate"'))
        for prefix in ("", "/gate"):
            moved = desk.ask("GET", f"{prefix}/messages", host="admin.example.com")
            desk.users.add_user("ann", "owner", PASSWORD)
            self.assertIn(moved.header("location"), ("/gate/setup", "/gate/login?next=%2Fmessages"))
            page = desk.ask("GET", f'{prefix}/messages?q=%22%20href=%22/evil"', host="admin.example.com", role="owner")
            # The quotes are no search; what was typed stands in the box all the same.
            self.assertEqual(page.status, 400)
            places = re.findall(r'\s(?:href|src|action|hx-get|data-base)="(/[^"]*)"', page.text)
            self.assertGreater(len(places), 20)
            self.assertEqual([place for place in places if not place.startswith("/gate/")], [])
            self.assertIn("/evil", page.text)
            self.assertNotIn("/gate/evil", page.text)
        self.assertEqual(desk.ask("GET", "/gatex/messages", role="owner").status, 404)

    def test_assets_are_kept_and_the_private_ones_are_private(self) -> None:
        """The login page's files are for all; the rest wants a login."""
        assets = self.desk.office.assets
        public = self.desk.ask("GET", assets.place("app.css"))
        self.assertEqual((public.status, public.header("content-type")), (200, "text/css; charset=utf-8"))
        self.assertIn("immutable", public.header("cache-control"))
        packed = self.desk.ask("GET", assets.place("app.css"), headers={"Accept-Encoding": "br, gzip;q=0.8"})
        self.assertEqual((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"))
        self.assertEqual(gzip.decompress(packed.body), public.body)
        never = self.desk.ask("GET", assets.place("app.css"), headers={"Accept-Encoding": "gzip;q=0, *"})
        self.assertEqual(never.body, public.body)
        self.assertEqual(self.desk.ask("GET", assets.place("live.js")).status, 303)
        self.assertEqual(self.desk.ask("GET", assets.place("live.js"), role="helpdesk").status, 200)
        for path in ("/assets/x/app.css", "/assets/x/..%2f..%2fsite.py", "/assets/" + "0" * 16 + "/live.js"):
            self.assertEqual(self.desk.ask("GET", path, role="owner").status, 404, path)
