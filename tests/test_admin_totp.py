"""One-time codes: the arithmetic of RFC 6238, two steps of a login, setting up; and a password that is asked again."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import zxingcpp
from PIL import Image, ImageDraw
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import totp
from smtpgate.admin.halves import TRIES
from smtpgate.admin.permission import ROLES
from smtpgate.admin.site import ROUTES
from smtpgate.config.schema import AdminRole
from tests.admin_kit import CONFIG, PASSWORD, Answer, ApiCase, Desk
from tests.test_admin_entry import Browser

SECRET = b"12345678901234567890"


def read(size: int, paths: str) -> str:
    """What a reader of QR codes makes of a picture."""
    image = Image.new("L", (size * 4, size * 4), 255)
    draw = ImageDraw.Draw(image)
    for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", paths):
        left, top = int(x) * 4, int(y) * 4
        draw.rectangle((left, top, left + int(width) * 4 - 1, top + 3), fill=0)
    return zxingcpp.read_barcodes(image)[0].text


class CodeTests(SynchronousTestCase):
    """Pure functions."""

    def test_the_vectors_of_the_rfc(self) -> None:
        """RFC 6238 appendix B, in six digits."""
        for now, code in (
            (59, "287082"),
            (1111111109, "081804"),
            (1111111111, "050471"),
            (1234567890, "005924"),
            (2000000000, "279037"),
            (20000000000, "353130"),
        ):
            self.assertEqual(totp.code_at(SECRET, now // 30), code)
            self.assertEqual(totp.step_of(SECRET, code, now, -1), now // 30)

    def test_a_clock_may_be_one_step_off(self) -> None:
        """No more; and no step is taken twice, nor one before it."""
        now = 1111111111.0
        step = int(now // 30)
        for off, is_taken in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
            found = totp.step_of(SECRET, totp.code_at(SECRET, step + off), now, -1)
            self.assertEqual(found, step + off if is_taken else None)
        for last in (step, step + 1):
            self.assertIsNone(totp.step_of(SECRET, totp.code_at(SECRET, step), now, last))
        for wrong in ("", "0", "0504711", "٠٥٠٤٧١", "\ud800", "05047 "):
            self.assertIsNone(totp.step_of(SECRET, wrong, now, -1), wrong)

    def test_the_picture_is_read_by_a_reader(self) -> None:
        """And says what the telephone needs, whatever the names are."""
        text = totp.uri_of(SECRET, "smtpgate gate.example.com", "ann:b?c&d")
        split = urlsplit(text)
        self.assertEqual((split.scheme, split.netloc), ("otpauth", "totp"))
        self.assertEqual(split.path, "/smtpgate%20gate.example.com:ann%3Ab%3Fc%26d")
        query = parse_qs(split.query)
        self.assertEqual(base64.b32decode(query["secret"][0]), SECRET)
        self.assertEqual(query["issuer"], ["smtpgate gate.example.com"])
        picture = totp.picture_of(text)
        self.assertEqual(read(picture.size, "".join(picture.paths)), text)

    def test_S_11_recovery_codes(self) -> None:
        """Ten, each another, 80 bits, the same however typed."""
        codes = totp.fresh_recovery()
        self.assertEqual(len({totp.recovery_digest(one) for one in codes}), 10)
        for code in codes:
            self.assertRegex(code, r"^([a-z2-7]{4}-){3}[a-z2-7]{4}$")
            self.assertEqual(totp.recovery_digest(f" {code.upper().replace('-', ' ')} "), totp.recovery_digest(code))
        for wrong in ("", "abcd", "ä" * 16):
            self.assertEqual(totp.recovery_digest(wrong), "")

    def test_the_configuration_knows_the_roles(self) -> None:
        """By another list, which must be the same."""
        self.assertEqual(list(AdminRole.__args__), list(ROLES))  # type: ignore[attr-defined]


class CodesCase(ApiCase):
    """An owner with a browser."""

    config = CONFIG

    def setUp(self) -> None:
        self.desk = Desk(self.config)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")
        self.browser = Browser(self.desk)
        self.browser.log_in()

    def code(self, name: str = "ann", steps: int = 0) -> str:
        """What the telephone shows."""
        secret, _ = self.desk.users.factors.secrets[name]
        return totp.code_at(secret, int(self.desk.office.wall() // 30) + steps)

    def set_up(self, browser: Browser) -> list[str]:
        """Codes for whoever is logged in; the recovery codes."""
        page = browser.form("/account", "/account/codes", {})
        self.assertEqual(page.status, 200, page.text)
        key = re.search(r'class="key-text">([A-Z2-7 ]+)<', page.text)
        assert key is not None
        secret = base64.b32decode(key[1].replace(" ", ""))
        size = re.search(r'viewBox="0 0 (\d+) ', page.text)
        assert size is not None
        self.assertIn(f"secret={key[1].replace(' ', '')}&", read(int(size[1]), page.text))
        code = totp.code_at(secret, int(self.desk.office.wall() // 30))
        done = browser.form("/account", "/account/codes/confirm", {"code": code})
        self.assertEqual(done.status, 200, done.text)
        self.desk.clock.advance(30)
        return re.findall(r"<li><code>([a-z2-7-]+)</code>", done.text)

    def half(self) -> Browser:
        """A browser that gave the password."""
        browser = Browser(self.desk)
        answer = browser.log_in()
        self.assertEqual((answer.status, answer.header("location")), (303, "/login/code?next=%2F"))
        self.assertEqual(browser.get("/").status, 303)
        return browser

    def give(self, browser: Browser, code: str) -> Answer:
        """The second step."""
        return browser.form("/login/code", "/login/code", {"code": code})

    def actions(self) -> list[str]:
        """What is in the audit."""
        return [row["action"] for row in self.desk.users.rows]


class LoginTests(CodesCase):
    """Two steps."""

    def test_S_11_a_login_takes_a_code(self) -> None:
        """The password alone opens nothing; a code opens once, and the session is a new one."""
        other = Browser(self.desk)
        other.log_in()
        before = self.browser.jar["sg-local"]
        self.assertEqual(len(self.set_up(self.browser)), 10)
        self.assertNotEqual(self.browser.jar["sg-local"], before)
        self.assertEqual(self.browser.get("/").status, 200)
        self.assertEqual(other.get("/").status, 303)
        browser, second = self.half(), self.half()
        code = self.code()
        self.assertEqual(self.give(browser, "000000" if code != "000000" else "111111").status, 401)
        answer = self.give(browser, f"{code[:3]} {code[3:]}")
        self.assertEqual((answer.status, answer.header("location")), (303, "/"))
        self.assertEqual(browser.get("/").status, 200)
        self.assertNotIn("sg-half", browser.jar)
        self.assertEqual(self.give(second, code).status, 401)
        self.assertEqual(self.actions()[-3:], ["login.failed", "login", "login.failed"])
        self.assertNotIn(code, str(self.desk.users.rows))

    def test_S_11_recovery_codes_open_once(self) -> None:
        """And are counted; new ones take the place of all before."""
        recovery = self.set_up(self.browser)
        first, second = self.half(), self.half()
        self.assertEqual(self.give(first, recovery[3].upper()).status, 303)
        self.assertEqual(self.give(second, recovery[3]).status, 401)
        self.assertIn("9 of ten", first.get("/account").text)
        fresh = self.browser.form("/account", "/account/codes/recovery", {})
        self.assertEqual(len(re.findall(r"<li><code>", fresh.text)), 10)
        self.assertEqual(self.give(second, recovery[4]).status, 401)
        self.assertIn("10 of ten", first.get("/account").text)

    def test_S_11_a_login_is_half_for_a_while(self) -> None:
        """Five minutes and five codes; then the password is wanted again."""
        self.set_up(self.browser)
        late = self.half()
        token = late.token("/login/code")
        self.desk.clock.advance(301)
        answer = late.post("/login/code", {"csrf": token, "code": self.code()})
        self.assertEqual((answer.status, answer.header("location")), (409, ""))
        self.assertEqual(late.get("/login/code").header("location"), "/login")
        browser = self.half()
        token = browser.token("/login/code")
        for _ in range(TRIES):
            self.desk.clock.advance(40)
            self.assertIn(browser.post("/login/code", {"csrf": token, "code": "1"}).status, (401, 429))
        self.assertEqual(browser.post("/login/code", {"csrf": token, "code": self.code()}).status, 409)

    def test_S_11_wrong_codes_are_delayed_from_everywhere(self) -> None:
        """By account: the throttle of passwords goes by network, and that is not enough here."""
        self.set_up(self.browser)
        statuses = []
        for number in range(8):
            browser = Browser(self.desk, peer=f"198.51.{number}.1")
            browser.host = "gate.example.com"
            browser.log_in()
            statuses.append(self.give(browser, "1").status)
        self.assertEqual(statuses[:3], [401] * 3)
        self.assertEqual(set(statuses[4:]), {429})

    def test_a_half_login_rests_on_the_password(self) -> None:
        """Another password, or to be shut out, ends it."""
        self.set_up(self.browser)
        for change in (
            lambda: self.post("/users/ann/password", {"password": "another long phrase"}),
            lambda: self.desk.office.accounts.forget_sessions("ann"),
        ):
            browser = self.half()
            token = browser.token("/login/code")
            change()
            self.desk.users.passwords["ann"] = PASSWORD
            self.assertEqual(browser.post("/login/code", {"csrf": token, "code": self.code()}).status, 409)

    def test_no_step_without_the_form(self) -> None:
        """The second form has its token too, and without the first step there is none."""
        self.set_up(self.browser)
        browser = self.half()
        self.assertEqual(browser.post("/login/code", {"code": self.code()}).status, 403)
        stranger = Browser(self.desk)
        self.assertEqual(stranger.get("/login/code").header("location"), "/login")


class SetUpTests(CodesCase):
    """Setting up and taking away."""

    def test_nothing_holds_before_the_first_code(self) -> None:
        """A wrong code leaves the same key on the page; so does a quarter of an hour not."""
        page = self.browser.form("/account", "/account/codes", {})
        key = re.search(r'class="key-text">([A-Z2-7 ]+)<', page.text)
        assert key is not None
        wrong = self.browser.form("/account", "/account/codes/confirm", {"code": "12"})
        self.assertEqual(wrong.status, 422)
        self.assertIn(key[1], wrong.text)
        self.assertEqual(self.desk.users.factors.secrets, {})
        fresh = Browser(self.desk)
        self.assertEqual(fresh.log_in().header("location"), "/")

    def test_S_11_an_owner_takes_it_away(self) -> None:
        """For who lost all; it is in the audit, and their sessions end."""
        self.set_up(self.browser)
        place = "/api/v1/users/ann/totp"
        self.assertEqual(self.desk.ask("DELETE", place, token=self.desk.token("admin")).status, 403)
        self.assertEqual(self.desk.ask("DELETE", place, token=self.owner).status, 200)
        self.assertEqual(self.actions()[-1], "totp.reset")
        self.assertEqual(self.browser.get("/").status, 303)
        self.assertEqual(self.browser.log_in().header("location"), "/")
        self.assertEqual(self.desk.ask("DELETE", place, token=self.owner).status, 409)

    def test_it_goes_with_its_user(self) -> None:
        """Who takes the name later has no codes."""
        self.post("/users", {"name": "bob", "role": "owner", "password": PASSWORD}, 201)
        bob = Browser(self.desk)
        bob.log_in("bob")
        self.set_up(bob)
        self.assertEqual(self.remove("/users/bob"), 200)
        self.assertEqual(self.desk.users.factors.secrets, {})

    def test_without_the_audit_nothing_is_set(self) -> None:
        """Neither codes nor a password."""
        page = self.browser.form("/account", "/account/codes", {})
        key = re.search(r'class="key-text">([A-Z2-7 ]+)<', page.text)
        assert key is not None
        code = totp.code_at(base64.b32decode(key[1].replace(" ", "")), int(self.desk.office.wall() // 30))
        self.desk.users.fails_audit = True
        fields = {"current": PASSWORD, "password": "another long phrase", "again": "another long phrase"}
        self.assertEqual(self.browser.form("/account", "/account/codes/confirm", {"code": code}).status, 503)
        self.assertEqual(self.browser.form("/account", "/account/password", fields).status, 503)
        self.assertEqual((self.desk.users.factors.secrets, self.desk.users.passwords["ann"]), ({}, PASSWORD))

    def test_S_08_ones_own_password(self) -> None:
        """By the one before; other sessions end, and this one is a new one."""
        other = Browser(self.desk)
        other.log_in()
        fields = {"current": PASSWORD, "password": "another long phrase", "again": "another long phrase"}
        for wrong, status in (
            ({"current": "x"}, 401),
            ({"again": "x"}, 422),
            ({"password": "short", "again": "short"}, 422),
        ):
            self.assertEqual(self.browser.form("/account", "/account/password", {**fields, **wrong}).status, status)
        self.assertEqual(self.browser.form("/account", "/account/password", fields).status, 303)
        self.assertEqual((self.browser.get("/").status, other.get("/").status), (200, 303))
        self.assertEqual(self.desk.users.passwords["ann"], "another long phrase")

    def test_tokens_have_none(self) -> None:
        """A token is no person."""
        for path in ("/password", "/reauth", "/totp", "/totp/confirm", "/totp/recovery"):
            body = {"current": "x", "password": "x"} if path == "/password" else {}
            body = {"password": "x"} if path == "/reauth" else {"code": "x"} if path == "/totp/confirm" else body
            answer = self.desk.post_json(f"/api/v1/auth{path}", body, token=self.owner)
            self.assertEqual(answer.status, 409, path)
        self.assertEqual(self.desk.ask("GET", "/account", token=self.owner).status, 409)

    def test_the_same_over_the_api(self) -> None:
        """Begin, confirm, renew, drop; what is shown once is kept in no answer that is given again."""
        ask = lambda path, value: self.api(path, value)  # noqa: E731
        begun = ask("/totp", {}).json()
        secret = base64.b32decode(begun["key"])
        self.assertIn(begun["key"], begun["uri"])
        self.assertFalse(self.browser.get("/api/v1/auth/totp").json()["is_set"])
        code = totp.code_at(secret, int(self.desk.office.wall() // 30))
        self.assertEqual(ask("/totp/confirm?dry_run=1", {"code": code}).json()["is_dry_run"], True)
        self.assertEqual(self.desk.users.factors.secrets, {})
        done = ask("/totp/confirm", {"code": code})
        self.assertEqual(len(done.json()["recovery_codes"]), 10, done.text)
        self.assertEqual(self.browser.get("/api/v1/auth/totp").json()["recovery_left"], 10)
        self.assertEqual(len(ask("/totp/recovery", {}).json()["recovery_codes"]), 10)
        csrf = self.browser.token("/account")
        tag = self.browser.get("/api/v1/auth/totp").header("etag")
        head = {**self.browser._headers({}), "X-CSRF-Token": csrf, "If-Match": tag}
        self.assertEqual(self.desk.ask("DELETE", "/api/v1/auth/totp", headers=head).status, 200)
        self.assertEqual(self.desk.users.factors.secrets, {})

    def api(self, path: str, value: Any) -> Answer:
        """A call with the browser's session."""
        csrf = self.browser.token("/account")
        head = {**self.browser._headers({}), "X-CSRF-Token": csrf}
        return self.browser._keep(self.desk.post_json(f"/api/v1/auth{path}", value, headers=head))


class WantedTests(CodesCase):
    """Roles that must have codes."""

    config = CONFIG.replace("[admin]", '[admin]\nrequire_totp = ["owner"]')

    def test_nothing_else_is_open_before(self) -> None:
        """No page, no call, no stream; then all of it; and it cannot be switched off."""
        for route in ROUTES:
            if route.is_own or route.permission in ("public", "near") or "web" not in route.doors:
                continue
            if route.method == "GET":
                path = re.sub(r"<[^>]+>", "x", re.sub(r"<int:[^>]+>", "1", route.path))
                answer = self.browser.get(path)
                wanted = (303, "/account") if route.kind == "page" else (403, "")
                self.assertEqual((answer.status, answer.header("location")), wanted, route.path)
        page = self.browser.get("/account")
        self.assertIn("must have one-time codes", page.text)
        self.assertNotIn('class="rooms"', page.text)
        self.set_up(self.browser)
        self.assertEqual(self.browser.get("/").status, 200)
        self.assertEqual(self.browser.form("/account", "/account/codes/remove", {}).status, 409)
        self.assertIn("state", self.get("/overview"))

    def test_other_roles_need_none(self) -> None:
        """As the configuration says."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        bob = Browser(self.desk)
        bob.log_in("bob")
        self.assertEqual(bob.get("/messages").status, 200)


class ProofTests(CodesCase):
    """The password again."""

    def test_S_12_the_api_says_so(self) -> None:
        """After ten minutes; by the password it goes on; tokens need none."""
        call = lambda: self.send({"name": "bob", "role": "helpdesk", "password": PASSWORD})  # noqa: E731
        self.desk.clock.advance(601)
        answer = call()
        self.assertEqual((answer.status, answer.json()["type"]), (401, "/problems/reauth-required"))
        self.assertEqual(self.send({"password": "wrong"}, "/api/v1/auth/reauth").status, 401)
        self.assertEqual(call().status, 401)
        self.assertEqual(self.send({"password": PASSWORD}, "/api/v1/auth/reauth").status, 200)
        self.assertEqual(call().status, 201)
        self.desk.clock.advance(601)
        self.assertEqual(self.send({"name": "c", "role": "helpdesk", "password": PASSWORD}).status, 401)
        self.post("/users", {"name": "c", "role": "helpdesk", "password": PASSWORD}, 201)

    def send(self, value: Any, path: str = "/api/v1/users") -> Answer:
        """A call of the browser's session."""
        csrf = self.browser.token("/account")
        return self.desk.post_json(path, value, headers={**self.browser._headers({}), "X-CSRF-Token": csrf})

    def test_S_12_a_page_asks_and_goes_on(self) -> None:
        """The form that was sent is not lost, whatever is in it; a wrong password asks again."""
        text = "Ünï \u202e & = + %0a\nsecond line" * 200
        self.desk.clock.advance(601)
        asked = self.browser.form("/account", "/account/codes", {"note": text})
        self.assertEqual(asked.status, 401)
        carried = re.search(r'name="carried" value="([^"]+)"', asked.text)
        csrf = re.search(r'name="csrf" value="([^"]+)"', asked.text)
        assert carried is not None and csrf is not None
        self.assertIn('action="/account/codes"', asked.text)
        fields = {"csrf": csrf[1], "carried": carried[1], "proof": "wrong"}
        again = self.browser.post("/account/codes", fields)
        self.assertEqual(again.status, 401)
        self.assertIn(carried[1], again.text)
        kept = base64.b64decode(carried[1]).decode()
        self.assertEqual(parse_qs(kept)["note"], [text])
        done = self.browser.post("/account/codes", {**fields, "proof": PASSWORD})
        self.assertEqual(done.status, 200)
        self.assertIn("key-text", done.text)
        for broken in ("x", "%", "YWJj", "w6Q="):
            self.assertIn(
                self.browser.post("/account/codes", {**fields, "carried": broken, "proof": PASSWORD}).status, (200, 400)
            )
        self.assertEqual(self.browser.post("/account/codes", {"carried": carried[1], "proof": PASSWORD}).status, 403)

    def test_a_page_that_is_only_looked_at(self) -> None:
        """It is gone to after the password, and nowhere else."""
        self.desk.clock.advance(601)
        away = self.browser.get("/quarantine/x/content")
        self.assertEqual(away.header("location"), "/prove?next=%2Fquarantine%2Fx%2Fcontent")
        for wanted, place in (("/quarantine/x/content", "/quarantine/x/content"), ("//evil.example", "/")):
            fields = {"next": wanted, "proof": PASSWORD}
            self.assertEqual(self.browser.form("/prove", "/prove", fields).header("location"), place)

    def test_guessing_is_delayed(self) -> None:
        """As at the login."""
        self.desk.clock.advance(601)
        statuses = [self.browser.form("/prove", "/prove", {"proof": "wrong"}).status for _ in range(5)]
        self.assertEqual(statuses, [401, 401, 401, 429, 429])
        self.assertEqual(self.actions().count("proof.failed"), 3)

    def test_S_12_a_clock_that_is_set_back_makes_nobody_younger(self) -> None:
        """A password of the future is as good as none."""
        session = next(iter(self.desk.users.sessions.rows.values()))
        known = self.desk.office.accounts.browsers._known[session.digest]
        self.desk.clock.advance(1200)
        self.assertEqual(self.browser.form("/account", "/account/codes", {}).status, 401)
        known.session = attrs.evolve(known.session, proved_at=self.desk.office.wall() + 4000)  # type: ignore[misc]
        self.assertEqual(self.browser.form("/account", "/account/codes", {}).status, 401)

    def test_S_12_all_that_is_dangerous(self) -> None:
        """By permission: access, and by name: what puts a configuration to work and what takes mail out."""
        named = {
            "POST /api/v1/config/reload",
            "POST /config/reload",
            "POST /api/v1/config/apply",
            "POST /api/v1/config/rollback",
            "GET /api/v1/quarantine/<id>/content",
            "GET /quarantine/<id>/content",
            "POST /api/v1/quarantine/<id>/forward",
        }
        own = {f"POST /api/v1/auth/totp{end}" for end in ("", "/confirm", "/recovery")} | {"DELETE /api/v1/auth/totp"}
        own |= {f"POST /account/codes{end}" for end in ("", "/confirm", "/recovery", "/remove")}
        guarded = {f"{one.method} {one.path}" for one in ROUTES if one.is_guarded}
        for route in ROUTES:
            if route.permission == "access:write" and route.method != "GET":
                named.add(f"{route.method} {route.path}")
        self.assertLessEqual(named | own, guarded)
