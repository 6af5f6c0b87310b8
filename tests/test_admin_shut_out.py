"""Somebody is shut out, removed or given another role while their login is under way: what counts is what holds when it
is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.admin_kit import PASSWORD, Desk, MemorySessions
from tests.test_admin_entry import Browser
from tests.test_admin_sso import SsoCase
from tests.web_kit import over_tcp


class SlowSessions(MemorySessions):
    """Sessions that are kept after something else happened, or before."""

    def __init__(self, meanwhile: Callable[[], Any], is_kept_first: bool) -> None:
        super().__init__()
        self._meanwhile: Callable[[], Any] | None = meanwhile
        self._is_kept_first = is_kept_first

    def keep(self, session: Any, most: int, began_after: float) -> Deferred[None]:
        kept = super().keep(session, most, began_after) if self._is_kept_first else None
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return kept if kept is not None else super().keep(session, most, began_after)


def on_row(desk: Desk, action: str, call: Callable[[], Any]) -> None:
    """Something happens while a row of the audit is written, once."""
    write, done = desk.users.audit, []

    def audit(actor: Any, written: str, *more: Any) -> Deferred[None]:
        if written == action and not done:
            done.append(True)
            call()
        return write(actor, written, *more)

    desk.users.audit = audit  # type: ignore[method-assign]


def change(desk: Desk, name: str, *rights: Any) -> Callable[[], None]:
    """An owner changes somebody."""

    def call() -> None:
        desk.users.change_user(name, *rights)
        desk.office.accounts.forget_sessions(name)

    return call


class PasswordTests(SynchronousTestCase):
    """By password, here."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.addCleanup(self.desk.office.close)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.desk.users.add_user("bob", "admin", PASSWORD)
        self.browser = Browser(self.desk)

    def log_in(self, meanwhile: Callable[[], Any], is_kept_first: bool) -> Any:
        self.desk.users.sessions = SlowSessions(meanwhile, is_kept_first)
        return self.browser.log_in("bob")

    def test_S_08_shut_out_or_removed_or_another_password_meanwhile(self) -> None:
        """Before or after the session was kept: it is none."""
        for call in (
            change(self.desk, "bob", None, None, True),
            lambda: self.desk.users.remove_user("bob"),
            lambda: self.desk.users.set_password("bob", "another horse battery"),
        ):
            for is_kept_first in (False, True):
                self.desk.users.add_user("bob", "admin", PASSWORD)
                answer = self.log_in(call, is_kept_first)
                self.assertEqual(answer.status, 401, answer.text)
                self.assertNotIn("sg-local", answer.cookies)
                self.assertEqual(self.desk.users.sessions.rows, {})
                self.assertEqual(self.desk.office.accounts.browsers.count, 0)
                row = self.desk.users.rows[-1]
                self.assertEqual((row["action"], row["actor"], row["result"]), ("login.failed", "bob", "failed"))

    def test_S_08_another_role_meanwhile(self) -> None:
        """The session has the rights of today."""
        answer = self.log_in(change(self.desk, "bob", "auditor", (), None), False)
        self.assertEqual(answer.status, 303)
        self.assertEqual(self.browser.get("/account").status, 200)
        self.assertEqual({one.user.role for one in self.desk.office.accounts.browsers._known.values()}, {"auditor"})

    def test_S_34_a_password_that_was_changed_is_not_told_as_not_changed(self) -> None:
        """The new session is none where its user is shut out meanwhile, and the password is the new one."""
        self.browser.log_in("bob")
        self.desk.users.sessions = SlowSessions(change(self.desk, "bob", None, None, True), False)
        fields = {"current": PASSWORD, "password": "another horse battery", "again": "another horse battery"}
        self.assertEqual(self.browser.form("/account", "/account/password", fields).status, 401)
        self.assertEqual(self.desk.users.passwords["bob"], "another horse battery")
        found = [row.get("result", "ok") for row in self.desk.users.rows if row["action"] == "user.password"]
        self.assertEqual(found, ["ok"])

    def test_two_changes_at_once(self) -> None:
        """Who is shut out while another owner changes their role stays shut out."""
        on_row(self.desk, "user.change", change(self.desk, "bob", None, None, True))
        head = {"Content-Type": "application/json", "If-Match": "*"}
        answer = self.desk.ask(
            "PATCH", "/api/v1/users/bob", body=b'{"role": "auditor"}', headers=head, token=self.desk.token("owner")
        )
        self.assertEqual(answer.status, 200, answer.text)
        bob = self.desk.users.people["bob"]
        self.assertEqual((bob.role, bob.is_disabled), ("auditor", True))


class ElsewhereTests(SsoCase):
    """At a provider."""

    def refused(self, answer: Any) -> None:
        self.assertEqual(answer.status, 403, answer.text)
        self.assertNotIn("sg-local", answer.cookies)
        self.assertEqual(self.desk.users.sessions.rows, {})
        row = self.desk.users.rows[-1]
        self.assertEqual((row["action"], row["result"], row["method"]), ("login.failed", "failed", "oidc"))
        self.assertIn("shut out", row["detail"])

    @over_tcp
    def test_S_13_shut_out_while_the_groups_are_others(self) -> None:
        """Another role lets nobody in again; and that it was changed is true."""
        self.log_in()
        self.provider.person["groups"] = ["mail-help"]
        on_row(self.desk, "user.change", change(self.desk, "carla", None, None, True))
        self.refused(self.log_in())
        self.assertTrue(self.carla().is_disabled)
        self.assertEqual([row.get("result", "ok") for row in self.rows("user.change")], ["ok"])

    @over_tcp
    def test_S_34_a_change_that_was_made_is_not_told_as_not_made(self) -> None:
        """A proof that finds another role ends, and the role is another."""
        self.log_in()
        self.on_reactor(self.desk.clock.advance, 700)
        fields = {"csrf": self.browser.token("/account"), "next": "/system"}
        asked = self.away(self.browser, self.browser.post("/prove/sso", fields))
        self.provider.person["groups"] = ["mail-help"]
        answer = self.finish(self.browser, self.back(self.browser, self.permit(asked)))
        self.refusal(answer, "the session of the proof is over")
        self.assertEqual(self.carla().role, "helpdesk")
        self.assertEqual([row.get("result", "ok") for row in self.rows("user.change")], ["ok"])

    @over_tcp
    def test_S_13_removed_while_the_groups_are_others(self) -> None:
        """Nobody is made of it."""
        self.log_in()
        self.provider.person["groups"] = ["mail-help"]
        on_row(self.desk, "user.change", lambda: self.desk.users.remove_user("carla"))
        self.refused(self.log_in())
        self.assertIsNone(self.carla())

    @over_tcp
    def test_S_13_shut_out_while_the_session_is_made(self) -> None:
        """It is none."""
        self.log_in()
        for is_kept_first in (False, True):
            change(self.desk, "carla", None, None, False)()
            self.desk.users.sessions = SlowSessions(change(self.desk, "carla", None, None, True), is_kept_first)
            self.refused(self.log_in())
