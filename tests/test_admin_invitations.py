"""Links by which somebody sets a password."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from tests.admin_kit import CONFIG, PASSWORD, Answer, ApiCase, Desk
from tests.test_admin_entry import Browser

FRESH = "another long phrase"


class InvitationTests(ApiCase):
    """From the order to the login."""

    def invite(self, status: int = 201, name: str = "bob", token: str = "", host: str = "localhost:8080") -> Any:
        """A link for somebody who is there."""
        place = f"/api/v1/users/{name}/invitation"
        answer = self.desk.post_json(place, {}, token=token or self.owner, host=host)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()

    def add(self) -> str:
        """A user without a password; the path of the link."""
        found = self.post("/users", {"name": "bob", "role": "helpdesk"}, 201)
        link = str(found["invitation"]["link"])
        self.assertTrue(link.startswith("http://localhost:8080/welcome/"), link)
        return link.removeprefix("http://localhost:8080")

    def use(self, path: str, password: str = FRESH, again: str = "") -> Answer:
        """Fill the form."""
        return Browser(self.desk).form(path, path, {"password": password, "again": again or password})

    def test_a_new_user_sets_a_password(self) -> None:
        """Before that nobody can log in by the name; after that the link is nothing."""
        path = self.add()
        (ann, bob) = self.get("/users")["items"]
        self.assertEqual((ann["has_password"], bob["has_password"], bob["has_codes"]), (True, False, False))
        self.assertIsNotNone(bob["invited_until"])
        for password in ("", PASSWORD):
            self.assertEqual(Browser(self.desk).log_in("bob", password).status, 401)
        for word, again in (("short", ""), ("passwordpassword", "x"), ("bob1234567890", "")):
            self.assertEqual(self.use(path, word, again).status, 422)
        answer = self.use(path)
        self.assertEqual((answer.status, answer.header("location")), (303, "/login"))
        self.assertEqual(self.use_again(path), (404, 404))
        browser = Browser(self.desk)
        self.assertEqual(browser.log_in("bob", FRESH).header("location"), "/")
        self.assertEqual(browser.get("/messages").status, 200)
        rows = [
            (row["actor_kind"], row["action"], row["target"])
            for row in self.desk.users.rows
            if row["action"].startswith("user.")
        ]
        self.assertEqual(
            rows, [("token", "user.add", "bob"), ("token", "user.invite", "bob"), ("link", "user.password", "bob")]
        )
        self.assertNotIn(path.rpartition("/")[2], str(self.desk.users.rows) + str(self.desk.users.factors.links))

    def use_again(self, path: str) -> tuple[int, int]:
        """What both methods say of a link that is over."""
        fields = {"csrf": "x", "password": FRESH, "again": FRESH}
        browser = Browser(self.desk)
        fields["csrf"] = browser.token("/login")
        return browser.get(path).status, browser.post(path, fields).status

    def test_a_reset_changes_nothing_until_it_is_used(self) -> None:
        """Then the sessions end; the newest link alone holds."""
        browser = Browser(self.desk)
        browser.log_in()
        first, second = (self.invite(name="ann")["link"].removeprefix("http://localhost:8080") for _ in "12")
        self.assertEqual(self.use_again(first), (404, 404))
        self.assertEqual(browser.get("/").status, 200)
        self.assertEqual(self.use(second).status, 303)
        self.assertEqual(browser.get("/").status, 303)
        self.assertEqual(self.desk.users.passwords["ann"], FRESH)

    def test_a_link_is_over(self) -> None:
        """After a day, with another password, where the user is shut out, and with the user."""
        for number, end in enumerate(
            (
                lambda: self.desk.clock.advance(86401),
                lambda: self.desk.users.set_password("bob", FRESH),
                lambda: self.desk.users.change_user("bob", "helpdesk", (), True),
                lambda: self.desk.users.remove_user("bob"),
            )
        ):
            path = self.add() if not number else self.invite()["link"].removeprefix("http://localhost:8080")
            end()
            self.assertEqual(self.use_again(path), (404, 404), number)
        self.assertEqual(Browser(self.desk).get("/welcome/nonsense").status, 404)
        self.invite(404)

    def test_two_at_once(self) -> None:
        """The second is told so: one of the two would not know that the password is another."""
        path = self.add()
        waiting: list[Deferred[None]] = []
        plain = self.desk.users.set_password

        def slow(name: str, password: str) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            waiting.append(done)
            return done.addCallback(lambda _: plain(name, password))

        self.desk.users.set_password = slow  # type: ignore[method-assign]
        invitations = self.desk.office.accounts.invitations
        token = path.rpartition("/")[2]
        caller: Any = SimpleNamespace(
            address="192.0.2.1",
            door="web",
            written=[],
            facts={},
            principal=None,
            request=SimpleNamespace(id="r", header=lambda _: ""),
        )
        first = Deferred.fromCoroutine(invitations.use(token, FRESH, caller))
        second = Deferred.fromCoroutine(invitations.use(token, "a third long phrase", caller))
        self.failureResultOf(second)
        waiting[0].callback(None)
        self.successResultOf(first)
        self.assertEqual((len(waiting), self.desk.users.passwords["bob"]), (1, FRESH))

    def test_where_the_link_leads(self) -> None:
        """To the public address, else to where who asks has come."""
        self.add()
        with_tls = self.invite(host="admin.example.com")["link"]
        self.assertTrue(with_tls.startswith("https://admin.example.com/welcome/"), with_tls)
        text = 'public_url = "https://admin.example.com/gate"'
        self.desk = Desk(CONFIG.replace("[admin]", f"[admin]\n{text}"))
        self.owner = self.desk.token("owner")
        self.desk.users.add_user("bob", "helpdesk", PASSWORD)
        self.assertTrue(self.invite()["link"].startswith("https://admin.example.com/gate/welcome/"))
        local = self.desk.ask(
            "POST",
            "/api/v1/users/bob/invitation",
            body=b"{}",
            headers={"Content-Type": "application/json"},
            door="local",
        )
        self.assertEqual(local.status, 201)

    def test_nobody_invites_above_themselves(self) -> None:
        """It would be a way to an owner's login."""
        scopes = ["access:write", "stats:read"]
        some = self.post("/tokens", {"name": "t", "scopes": scopes}, 201)["token"]
        self.invite(403, "ann", some)
        self.assertEqual(self.desk.users.factors.links, {})

    def test_an_owner_without_a_password_is_no_owner_yet(self) -> None:
        """The last one who can log in stays."""
        self.post("/users", {"name": "eve", "role": "owner"}, 201)
        self.assertEqual(self.remove("/users/ann"), 409)
        self.assertEqual(self.remove("/users/eve"), 200)

    def test_without_the_audit_nothing_is_set(self) -> None:
        """Neither is a link made, nor one used."""
        path = self.add()
        self.desk.users.fails_audit = True
        self.invite(503)
        self.assertEqual(self.use(path).status, 503)
        self.assertEqual(self.desk.users.passwords["bob"], "")
