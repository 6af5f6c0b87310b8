"""What the audit has of changes that were not made after all; and access that a stricter rule takes away."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred, fail

from smtpgate.admin.permission import Principal
from smtpgate.config.loader import loads
from smtpgate.interfaces import StoreFailed
from tests.admin_kit import CONFIG, PASSWORD
from tests.test_admin_entry import Browser
from tests.test_admin_quarantine import QuarantineCase


class OutcomeTests(QuarantineCase):
    """A row is written before a change, and another one where the change was not made."""

    def rows(self) -> list[tuple[Any, ...]]:
        """Action, target, result and detail of all."""
        return [(one["action"], one["target"], one.get("result", "ok"), one["detail"]) for one in self.desk.users.rows]

    def test_a_store_that_fails(self) -> None:
        """The row stands, and beside it that it was not made; the reason is what the answer says."""
        id = self.hold("b")
        self.vault.release = lambda *args, **more: fail(StoreFailed("no room"))  # type: ignore[method-assign]
        self.post(f"/quarantine/{id}/release", {}, 503)
        first, second = self.rows()
        self.assertEqual(first[:3], ("quarantine.release", id, "ok"))
        self.assertEqual(second[:3], ("quarantine.release", id, "failed"))
        self.assertIn("not made, or not whole: the quarantine cannot be", second[3])

    def test_a_fault_of_ours(self) -> None:
        """Its kind, and not its words: they may hold what is secret."""
        id = self.hold("b")

        def broken(*args: Any, **more: Any) -> Any:
            raise ValueError("the password is hunter2")

        self.vault.release = broken  # type: ignore[method-assign]
        self.post(f"/quarantine/{id}/release", {}, 500)
        self.assertEqual(self.rows()[1][2:], ("failed", "not made, or not whole: ValueError"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_page_that_says_it_itself(self) -> None:
        """Its answer is a page, and the audit has it all the same."""
        self.desk.users.add_user("eve", "owner", PASSWORD)
        browser = Browser(self.desk)
        browser.log_in("eve")
        self.desk.users.rows.clear()
        id = self.hold("b")
        self.vault.withdraw = lambda ids: ensureDeferred(self.nothing())  # type: ignore[method-assign, assignment]
        answer = browser.form(f"/quarantine/{id}", f"/quarantine/{id}/delete", {})
        self.assertEqual(answer.status, 409)
        self.assertEqual([one[:3] for one in self.rows()],
                         [("quarantine.delete", id, "ok"), ("quarantine.delete", id, "failed")])  # fmt: skip

    async def nothing(self) -> list[str]:
        """No message was there."""
        return []

    def test_what_was_done_has_one_row(self) -> None:
        """And what was refused before its row has none of that kind; a dry run has none at all."""
        id = self.hold("b")
        self.post(f"/quarantine/{id}/release?dry_run=1", {})
        self.post("/quarantine/nothing/release", {}, 404)
        self.post(f"/quarantine/{id}/release", {})
        self.assertEqual([one[:3] for one in self.rows()], [("quarantine.release", id, "ok")])


class StricterTests(QuarantineCase):
    """One-time codes are wanted from now on."""

    def test_a_stream_without_a_code_ends(self) -> None:
        """At the next look; one with a code goes on, and so do roles that need none."""
        self.desk.users.add_user("eve", "owner", PASSWORD)
        Browser(self.desk).log_in("eve")
        accounts = self.desk.office.accounts
        ((session, _),) = self.successResultOf(ensureDeferred(accounts.browsers.all()))
        who = {code: Principal("user", "eve", "owner", session.id, has_code=code) for code in (True, False)}
        other = Principal("user", "eve", "helpdesk", session.id)

        def valid(one: Principal) -> bool:
            return bool(self.successResultOf(ensureDeferred(accounts.is_valid(one))))

        self.assertEqual([valid(one) for one in (*who.values(), other)], [True, True, True])
        stricter = CONFIG.replace("[admin]", '[admin]\nrequire_totp = ["owner"]')
        self.desk.control.revision.settings = loads(stricter, "/nowhere/gate.toml")  # type: ignore[union-attr]
        self.assertEqual([valid(one) for one in (*who.values(), other)], [True, False, True])
