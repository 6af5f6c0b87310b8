"""The pages of who may come in: what they show, what they do, and what they say where they do not."""

from __future__ import annotations

import re
from typing import Any

from smtpgate.admin.permission import ROLES, SCOPES
from smtpgate.interfaces import Taken
from tests.admin_kit import HOSTILE, PASSWORD, Answer, ApiCase
from tests.test_admin_entry import Browser


class PageTests(ApiCase):
    """An owner's browser."""

    def setUp(self) -> None:
        super().setUp()
        self.browser = Browser(self.desk)
        self.browser.log_in()

    def do(self, path: str, status: int = 303, **fields: str) -> Answer:
        """Send a form of the page; that of a user says which version it is of."""
        seen = re.search(r'name="version" value="([^"]+)"', self.browser.get(path).text)
        if seen is not None and "version" not in fields:
            fields["version"] = seen[1]
        answer = self.browser.form("/access", path, {name.replace("__", " "): text for name, text in fields.items()})
        self.assertEqual(answer.status, status, answer.text)
        return answer

    def test_an_invitation_is_shown_once(self) -> None:
        """On the answer to the form, and nowhere after that."""
        made = self.do("/access/users", 200, name="bob", role="helpdesk", domains="Example.net, example.org")
        link = re.search(r'class="command">(http://localhost:8080/welcome/[\w-]{43})<', made.text)
        assert link is not None
        self.assertEqual(self.desk.users.people["bob"].domains, ("example.net", "example.org"))
        self.assertNotIn(link[1], self.browser.get("/access").text)
        again = self.do("/access/users/bob/invitation", 200)
        self.assertIn("/welcome/", again.text)
        self.assertNotIn(link[1], again.text)
        self.assertEqual(Browser(self.desk).get(link[1].removeprefix("http://localhost:8080")).status, 404)

    def test_what_will_not_do_is_said_and_kept(self) -> None:
        """Users and tokens: in the form that was sent, with the page around it."""
        for fields, status, words in (
            ({"name": "b b", "role": "helpdesk"}, 422, "A name has letters"),
            ({"name": "bob", "role": "emperor"}, 422, "No role"),
            ({"name": "bob", "role": "owner", "domains": "example.net"}, 422, "cannot be limited"),
            ({"name": "ann", "role": "owner"}, 409, "There is a user ann already"),
        ):
            answer = self.do("/access/users", status, **fields)
            self.assertIn(words, answer.text)
            self.assertIn(f'name="name" value="{fields["name"]}"', answer.text)
        for fields, words in (
            ({"name": "t", "days": "x", "role": "helpdesk"}, "1 to 365 days"),
            ({"name": "t", "days": "9"}, "Give a role, or scopes"),
            ({"name": "t", "days": "9", "role": "helpdesk", "scope__stats:read": "yes"}, "Give a role, or scopes"),
            ({"name": "t", "days": "9", "role": "helpdesk", "networks": "192.0.2.1/24"}, "is no network"),
        ):
            self.assertIn(words, self.do("/access/tokens", 422, **fields).text)
        self.assertEqual(list(self.desk.users.people), ["ann"])
        self.assertEqual(len(self.desk.users.keys), 1)

    def test_tokens(self) -> None:
        """With scopes that are ticked; shown once; revoked."""
        fields = {"name": "ci", "days": "7", "scope__stats:read": "yes", "scope__metrics:read": "yes"}
        made = self.do("/access/tokens", 200, **fields, networks="192.0.2.0/24 2001:db8::/32")
        text = re.search(r'class="command">(sgt_[^<]+)<', made.text)
        assert text is not None
        token = self.desk.users.keys[text[1]]
        self.assertEqual((token.scopes, token.role), (("stats:read", "metrics:read"), ""))
        self.assertEqual(token.networks, ("192.0.2.0/24", "2001:db8::/32"))
        self.assertNotIn(text[1], self.browser.get("/access").text)
        self.do(f"/access/tokens/{token.id}/revoke")
        self.do(f"/access/tokens/{token.id}/revoke", 404)
        self.assertNotIn(text[1], self.desk.users.keys)

    def test_one_user(self) -> None:
        """Changed, shut out, let in again, removed where the name is typed; the last owner stays as they are."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        bob = Browser(self.desk)
        bob.log_in("bob")
        self.do("/access/users/bob", role="auditor", domains="example.net", is_disabled="yes")
        found = self.desk.users.people["bob"]
        self.assertEqual((found.role, found.domains, found.is_disabled), ("auditor", ("example.net",), True))
        self.assertEqual(bob.get("/messages").status, 303)
        self.do("/access/users/bob", role="auditor", domains="")
        found = self.desk.users.people["bob"]
        self.assertEqual((found.domains, found.is_disabled), ((), False))
        self.do("/access/users/bob/totp", 409)
        self.do("/access/users/bob/remove", 422, name="ann")
        self.do("/access/users/bob/remove", name="bob")
        self.do("/access/users/bob", 404, role="auditor")
        self.assertEqual(self.browser.get("/access/users/bob").status, 404)
        self.assertIn("last owner", self.do("/access/users/ann", 409, role="admin").text)
        self.assertIn("last owner", self.do("/access/users/ann/remove", 409, name="ann").text)

    def test_two_who_add_the_same_user(self) -> None:
        """The second hears it, though the name was free when it looked; and the audit has that it was not made."""

        def taken(*args: Any, **more: Any) -> Any:
            raise Taken("there is a user bob already")

        self.patch(self.desk.users, "add_user", taken)
        answer = self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 409)
        self.assertIn("already", answer["detail"])
        self.assertEqual(self.desk.users.rows[-1]["result"], "failed")

    def test_two_who_change_the_same_user(self) -> None:
        """The second sees what the first did, on the page and over the API."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        seen = re.search(r'name="version" value="([^"]+)"', self.browser.get("/access/users/bob").text)
        tag = self.desk.ask("GET", "/api/v1/users/bob", token=self.owner).header("etag")
        assert seen is not None
        self.assertEqual(tag, f'"{seen[1]}"')
        self.do("/access/users/bob", role="auditor")
        answer = self.do("/access/users/bob", 409, role="operator", version=seen[1])
        self.assertIn("changed this user meanwhile", answer.text)
        body = b'{"role": "operator"}'
        head = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for match, status in (({}, 428), ({"If-Match": tag}, 412), ({"If-Match": "*"}, 200)):
            answer = self.desk.ask("PATCH", "/api/v1/users/bob", body=body, headers={**head, **match}, token=self.owner)
            self.assertEqual(answer.status, status)

    def test_sessions(self) -> None:
        """Ended one by one and all; one that is not there is told."""
        self.post("/users", {"name": "bob", "role": "helpdesk", "password": PASSWORD}, 201)
        browsers = [Browser(self.desk) for _ in range(3)]
        for bob in browsers:
            bob.log_in("bob")
        ids = [one["id"] for one in self.get("/auth/sessions")["items"] if one["user"] == "bob"]
        self.do("/access/sessions", id=ids[-1])
        self.assertEqual([bob.get("/messages").status for bob in browsers], [303, 200, 200])
        self.do("/access/sessions", 404, id="nothing")
        self.do("/access/users/bob/sessions")
        self.assertEqual([bob.get("/messages").status for bob in browsers], [303] * 3)
        self.assertEqual(self.browser.get("/access").status, 200)

    def test_failed_logins_are_text(self) -> None:
        """Whoever tried them chose the name."""
        for text in HOSTILE:
            Browser(self.desk, peer="198.51.100.9").log_in(text.replace("\ud800", ""), "wrong")
        page = self.browser.get("/access").text
        self.assertNotIn("<script>window", page)
        self.assertNotIn("<img src=x", page)
        self.assertIn("&lt;script&gt;window.hurt=1", page)

    def test_roles(self) -> None:
        """The page and the API say what holds."""
        items = {one["name"]: set(one["scopes"]) for one in self.get("/roles")["items"]}
        self.assertEqual(items, {role: set(held) & set(SCOPES) for role, held in ROLES.items()})
        page = self.browser.get("/access/roles").text
        self.assertEqual(page.count("✓"), sum(map(len, items.values())))

    def test_who_gives_no_more_than_they_have_is_offered_no_more(self) -> None:
        """Roles and scopes beyond one's own are not in the forms."""
        some = self.post("/tokens", {"name": "s", "scopes": ["access:write", "stats:read"]}, 201)["token"]
        page = self.desk.ask("GET", "/access", token=some).text
        self.assertEqual(set(re.findall(r'name="scope ([^"]+)"', page)), {"access:write", "stats:read"})
        self.assertEqual(set(re.findall(r"<option[^>]*>([a-z-]+)</option>", page)), {"user"})
        self.assertNotIn("Failed logins", page)
