"""What goes on where the audit cannot be written, and what does not."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from tests.admin_kit import PASSWORD, ApiCase, Desk, make_session
from tests.test_admin_entry import Browser

SERVER = "/backends/mail/servers/127.0.0.1:2600"


class AuditTests(ApiCase):
    """The audit cannot be written: the disk is full, say."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.users.fails_audit = True
        self.lines: list[str] = []

        def hear(event: Any) -> None:
            if event["log_namespace"].startswith("smtpgate.admin") and event["log_level"].name == "error":
                self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def test_S_32_what_keeps_mail_flowing_goes_on(self) -> None:
        """It is done, the answer says that it is not in the audit, and the log has who did what."""
        control = self.desk.control
        self.assertEqual(self.post(f"{SERVER}/drain", {"reason": "a\u202eb"}), {"done": True, "is_audited": False})
        self.assertTrue(control.servers()[0].is_drained)
        self.assertEqual(
            self.lines,
            [
                "the audit cannot be written, server.drain mail/127.0.0.1:2600 a\u27e8U+202E\u27e9b by token owner "
                "goes on without: no room"
            ],
        )
        self.assertFalse(self.post(f"{SERVER}/ready", {})["is_audited"])
        self.assertFalse(control.servers()[0].is_drained)
        self.assertFalse(self.post(f"{SERVER}/probe", {})["is_audited"])
        reloaded: list[str] = []

        async def reload(actor: Any) -> tuple[Any, ...]:
            reloaded.append(actor.name)
            return ()

        control.reload = reload  # type: ignore[method-assign]
        self.assertFalse(self.post("/config/reload", {})["is_audited"])
        self.assertEqual(reloaded, ["owner"])
        control.session = lambda id: (make_session(), 1.0)  # type: ignore[assignment, method-assign]
        killed: list[str] = []
        control.kill_session = lambda id, actor: killed.append(id)  # type: ignore[method-assign]
        self.assertFalse(self.post("/sessions/X/kill", {})["is_audited"])
        self.assertEqual(killed, ["X"])
        stopped: list[int] = []
        control.stop = lambda: stopped.append(1)
        self.assertFalse(self.post("/system/stop", {}, 202)["is_audited"])
        self.desk.clock.advance(0.2)
        self.assertEqual(stopped, [1])
        self.assertEqual(len(self.lines), 6)

    def test_who_may_come_in_stays_as_it_is(self) -> None:
        """Users, passwords and tokens are not changed by anybody without a trace."""
        users = self.desk.users
        users.people["eve"] = users.people["ann"]
        before = [dict(kept) for kept in (users.people, users.passwords, users.keys)]
        phrase = "a long enough phrase"
        for path, body in (
            ("/users", {"name": "bob", "role": "operator", "password": phrase}),
            ("/users/ann/password", {"password": phrase}),
            ("/tokens", {"name": "ci", "role": "auditor"}),
        ):
            self.assertEqual(self.post(path, body, 503)["type"], "/problems/audit")
        id = users.keys[self.owner].id
        for path in ("users/ann", f"tokens/{id}"):
            answer = self.desk.ask("DELETE", f"/api/v1/{path}", token=self.owner, headers={"If-Match": "*"})
            self.assertEqual(answer.status, 503)
        self.assertEqual([users.people, users.passwords, users.keys], before)
        self.assertEqual(len(self.lines), 5)

    def test_logins_go_on(self) -> None:
        """Or nobody could come to drain anything; a wrong password is refused as ever."""
        browser = Browser(self.desk)
        self.assertEqual(browser.log_in(password="wrong wrong wrong").status, 401)
        self.assertEqual(browser.log_in().status, 303)
        self.assertEqual(browser.form("/backends", f"{SERVER}/drain", {}).status, 303)
        self.assertTrue(self.desk.control.servers()[0].is_drained)
        self.assertEqual(browser.form("/", "/logout", {}).status, 303)
        self.assertEqual(len(self.lines), 4)

    def test_no_first_owner_without_a_trace(self) -> None:
        """The setup makes an account."""
        desk = Desk()
        desk.users.fails_audit = True
        browser = Browser(desk)
        fields = {"name": "ann", "password": PASSWORD, "again": PASSWORD}
        token = browser.token("/setup")
        self.assertEqual(browser.post("/setup", {"csrf": token, "code": desk.said[-1], **fields}).status, 503)
        self.assertEqual(desk.users.people, {})
