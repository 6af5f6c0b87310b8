"""The API's login by name and password: two steps where a code is wanted, and the rules of a session afterwards."""

from __future__ import annotations

import json
from typing import Any

from smtpgate.admin import totp
from tests.admin_kit import PASSWORD
from tests.test_admin_entry import EntryCase

SECRET = b"01234567890123456789"


class ApiLoginTests(EntryCase):
    """/api/v1/auth/login and logout."""

    def call(self, method: str, path: str, value: Any = None, **headers: str) -> Any:
        """The API, with the cookies that came."""
        head = {name.replace("_", "-"): one for name, one in headers.items()}
        if self.browser.jar:
            head["Cookie"] = "; ".join(f"{name}={one}" for name, one in self.browser.jar.items())
        body = json.dumps(value).encode() if value is not None else b""
        if value is not None:
            head.setdefault("Content-Type", "application/json")
        answer = self.desk.ask(method, f"/api/v1{path}", body=body, headers=head)
        for name, line in answer.cookies.items():
            given = line.partition("=")[2].partition(";")[0]
            self.browser.jar[name] = given
            if not given or "Max-Age=0" in line:
                del self.browser.jar[name]
        return answer

    def test_in_and_out(self) -> None:
        """A cookie, and with it a session as any: its changes want the token that `me` tells."""
        answer = self.call("POST", "/auth/login", {"name": "ann", "password": PASSWORD})
        self.assertEqual((answer.status, answer.json()), (200, {"wants_code": False}))
        me = self.call("GET", "/me").json()
        self.assertEqual((me["name"], me["kind"]), ("ann", "user"))
        self.assertEqual(self.call("POST", "/auth/logout", {}).status, 403)
        answer = self.call("POST", "/auth/logout?dry_run=1", {}, X_CSRF_Token=me["csrf"])
        self.assertEqual(answer.json()["would"]["action"], "logout")
        answer = self.call("POST", "/auth/logout", {}, X_CSRF_Token=me["csrf"])
        self.assertEqual(answer.status, 200)
        self.assertIn("storage", answer.header("clear-site-data"))
        self.assertEqual(self.call("GET", "/me").status, 401)
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["login", "denied", "logout"])

    def test_a_wrong_password(self) -> None:
        """The same answer whoever it was, in the audit, and after some of them a pause."""
        told = []
        for name in ("ann", "nobody"):
            answer = self.call("POST", "/auth/login", {"name": name, "password": "guess"})
            told.append((answer.status, answer.json()["detail"], answer.cookies))
        self.assertEqual(told[0], told[1])
        self.assertEqual((told[0][0], told[0][2]), (401, {}))
        for _ in range(20):
            answer = self.call("POST", "/auth/login", {"name": "ann", "password": "guess"})
            if answer.status == 429:
                break
        self.assertEqual(answer.status, 429)
        self.assertTrue(answer.header("retry-after"))

    def test_S_16_it_is_no_form(self) -> None:
        """What another site's form could send is refused, and so is another site."""
        for headers in (
            {"Content_Type": "text/plain"},
            {"Content_Type": "application/x-www-form-urlencoded"},
            {"Origin": "https://evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
        ):
            answer = self.call("POST", "/auth/login", {"name": "ann", "password": PASSWORD}, **headers)
            self.assertIn(answer.status, (403, 415), headers)
            self.assertEqual(answer.cookies, {})

    def test_in_two_steps(self) -> None:
        """The cookie of the first is no session; the code makes one, once."""
        now = int(self.desk.office.wall() // 30)
        self.assertEqual(self.call("POST", "/auth/login/code", {"code": "123456"}).status, 401)
        self.desk.users.factors.set("ann", SECRET, -1, (), 0.0)
        answer = self.call("POST", "/auth/login", {"name": "ann", "password": PASSWORD})
        self.assertEqual(answer.json(), {"wants_code": True})
        self.assertEqual(self.call("GET", "/me").status, 401)
        self.assertEqual(self.call("POST", "/auth/login/code", {"code": "000000"}).status, 401)
        answer = self.call("POST", "/auth/login/code", {"code": totp.code_at(SECRET, now)})
        self.assertEqual((answer.status, answer.json()), (200, {"wants_code": False}))
        self.assertEqual(self.call("GET", "/me").json()["name"], "ann")
