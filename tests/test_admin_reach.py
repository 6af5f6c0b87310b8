"""Who is limited to domains sees and does nothing beyond them; nobody gives more than they have; sessions are kept."""

from __future__ import annotations

import json
from typing import Any

from smtpgate.admin.browsers import Browsers
from smtpgate.admin.site import ROUTES
from smtpgate.policy.reach import Reach
from tests.admin_kit import PASSWORD, ApiCase, make_session
from tests.test_admin_entry import Browser
from tests.test_admin_matrix import place

OURS, THEIRS = "01J9UK7Q0000000000000000AA", "01J9UK7Q0000000000000000BB"


class LimitedCase(ApiCase):
    """A helpdesk of example.net, and mail of two domains."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.history.keep(make_session(OURS, recipients=("bob@example.net", "eve@example.com")))
        self.desk.history.keep(make_session(THEIRS, sender="x@example.net", recipients=("eve@example.com",)))
        self.limited = self.make(role="helpdesk", domains=["Example.NET."])

    def make(self, status: int = 201, by: str = "", **body: Any) -> str:
        answer = self.desk.post_json("/api/v1/tokens", {"name": "t", **body}, token=by or self.owner)
        self.assertEqual(answer.status, status, answer.text)
        return str(answer.json().get("token", ""))


class ReachTests(LimitedCase):
    """Mail."""

    def test_S_05_mail_of_others_is_as_if_it_were_not_there(self) -> None:
        """The same body as for what never was; a forged sender opens nothing."""
        for path in ("/api/v1/messages/{}.1", "/api/v1/messages/{}.1/explain", "/api/v1/sessions/{}", "/sessions/{}"):
            found = self.desk.ask("GET", path.format(THEIRS), token=self.limited)
            missing = self.desk.ask("GET", path.format("01J9UK7Q0000000000000000CC"), token=self.limited)
            self.assertEqual((found.status, missing.status), (404, 404), path)
            plain = [a.text.replace(THEIRS, "X").replace("01J9UK7Q0000000000000000CC", "X") for a in (found, missing)]
            same = [json.loads(one) | {"request_id": ""} if path.startswith("/api") else "" for one in plain]
            self.assertEqual(*same)
        listed = self.desk.ask("GET", "/api/v1/messages", token=self.limited).json()["items"]
        self.assertEqual([one["id"] for one in listed], [f"{OURS}.1"])

    def test_S_05_recipients_of_others_are_not_shown(self) -> None:
        """Neither in the list nor in the steps."""
        explained = f"/api/v1/messages/{OURS}.1/explain"
        for path in (
            explained,
            f"/api/v1/sessions/{OURS}",
            f"/sessions/{OURS}.1",
            "/api/v1/messages",
            "/messages",
            "/recent",
        ):
            answer = self.desk.ask("GET", path, token=self.limited)
            self.assertEqual(answer.status, 200, path)
            self.assertNotIn("eve@example.com", answer.text, path)
        self.assertIn("bob@example.net", self.desk.ask("GET", f"/api/v1/sessions/{OURS}", token=self.limited).text)

    def test_S_05_routes_that_do_not_look_at_domains_are_closed(self) -> None:
        """Even to an administrator, where limited."""
        admin = self.make(role="admin", domains=["example.net"])
        for route in ROUTES:
            if route.for_domains or route.permission in ("public", "near", "self") or route.path == "/":
                continue
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if route.kind == "page" else {}
            answer = self.desk.ask(route.method, place(route), token=admin, headers=headers)
            self.assertEqual(answer.status, 403, route.path)

    def test_senders_count_for_own_mail_only(self) -> None:
        """Subdomains are others; two spellings of a name are one."""
        reach = Reach(("xn--bcher-kva.example",))
        self.assertTrue(reach.address("a@BÜCHER.example"))
        self.assertFalse(reach.address("a@mail.bücher.example"))
        self.assertFalse(reach.address("a"))
        self.assertTrue(reach.message("a@bücher.example", ["b@example.org"], True))
        self.assertFalse(reach.message("a@bücher.example", ["b@example.org"], False))
        self.assertFalse(reach.all([]))


class GivingTests(LimitedCase):
    """Users and tokens."""

    def test_S_14_nobody_gives_more_than_they_have(self) -> None:
        """Neither scopes, nor a role, nor domains; nor by taking an owner's password."""
        some = self.make(scopes=["access:write", "stats:read"])
        self.make(201, some, scopes=["stats:read"])
        self.make(403, some, scopes=["messages:read"])
        self.make(403, some, role="owner")
        user = {"name": "bob", "role": "owner", "password": PASSWORD}
        self.assertEqual(self.desk.post_json("/api/v1/users", user, token=some).status, 403)
        word = {"password": "another long phrase"}
        self.assertEqual(self.desk.post_json("/api/v1/users/ann/password", word, token=some).status, 403)
        self.assertEqual(self.desk.users.passwords["ann"], PASSWORD)
        self.assertEqual(self.remove("/users/ann", some), 403)

    def test_S_14_what_a_token_may_be(self) -> None:
        """One of role and scopes, known, for a year at most, from its networks."""
        for body in (
            {},
            {"role": "owner", "scopes": ["stats:read"]},
            {"scopes": ["self"]},
            {"role": "owner", "days": 366},
            {"role": "helpdesk", "domains": ["*"]},
            {"role": "helpdesk", "networks": ["10.0.0.1/8"]},
        ):
            self.make(422, **body)
        near = self.make(role="owner", networks=["192.0.2.0/24"])
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=near, peer="198.51.100.1").status, 401)
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=near, peer="192.0.2.9").status, 200)

    def test_S_08_a_disabled_user_is_out_at_once(self) -> None:
        """And cannot come back; the last owner cannot be disabled."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        browser = Browser(self.desk)
        browser.log_in("bob")
        self.assertEqual(browser.get("/messages").status, 200)
        off = json.dumps({"is_disabled": True}).encode()
        kind = {"If-Match": "*", "Content-Type": "application/json", "Content-Length": str(len(off))}
        ask = lambda name: self.desk.ask(  # noqa: E731
            "PATCH", f"/api/v1/users/{name}", body=off, headers=kind, token=self.owner
        )
        self.assertEqual(ask("bob").status, 200)
        self.assertEqual(browser.get("/messages").status, 303)
        self.assertEqual(browser.log_in("bob").status, 401)
        self.assertEqual(ask("ann").status, 409)


class SessionTests(ApiCase):
    """Logins of browsers."""

    def test_they_outlive_a_restart(self) -> None:
        """The cookie holds in a new process; not where it was idle too long."""
        browser = Browser(self.desk)
        browser.log_in()
        accounts = self.desk.office.accounts
        accounts.browsers = Browsers(self.desk.users, self.desk.office.wall)
        self.assertEqual(browser.get("/").status, 200)
        self.desk.clock.advance(1801)
        accounts.browsers = Browsers(self.desk.users, self.desk.office.wall)
        self.assertEqual(browser.get("/").status, 303)

    def test_own_and_others(self) -> None:
        """Each ends their own; an owner everybody's."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        ann, bob = Browser(self.desk), Browser(self.desk)
        ann.log_in()
        bob.log_in("bob")
        seen = bob.get("/api/v1/auth/sessions").json()["items"]
        self.assertEqual([(one["user"], one["is_own"]) for one in seen], [("bob", True)])
        items = {one["user"]: one["id"] for one in self.get("/auth/sessions")["items"]}
        self.assertEqual(set(items), {"ann", "bob"})
        csrf = bob.token("/messages")
        head = {**bob._headers({}), "X-CSRF-Token": csrf}
        place = "/api/v1/auth/sessions/"
        self.assertEqual(self.desk.ask("DELETE", place + items["ann"], headers=head).status, 404)
        self.assertEqual(self.desk.ask("DELETE", place + items["bob"], token=self.owner).status, 200)
        self.assertEqual(bob.get("/messages").status, 303)
        self.assertEqual(ann.get("/messages").status, 200)
