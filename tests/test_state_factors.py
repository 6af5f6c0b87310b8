"""Second factors and links on the disk."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.test_state_users import UsersCase


class FactorTests(UsersCase):
    """Secrets, recovery codes, links."""

    def setUp(self) -> None:
        super().setUp()
        self.factors = self.users.factors
        self.done(self.users.add_user("anna", "owner", "secret"))

    def result(self, deferred: Deferred[Any]) -> Any:
        """Of one call."""
        return self.successResultOf(deferred)

    def test_S_11_a_step_is_taken_once(self) -> None:
        """And none before it; of a user without codes none at all."""
        self.assertFalse(self.result(self.factors.spend_step("anna", 7)))
        self.result(self.factors.set("anna", b"\x00\xff" * 10, 5, ["a", "b"], 9.0))
        found = self.result(self.factors.of("anna"))
        self.assertEqual((found.secret, found.last_step, found.made), (b"\x00\xff" * 10, 5, 9.0))
        self.assertNotIn("xff", repr(found))
        taken = [self.result(self.factors.spend_step("anna", step)) for step in (5, 4, 6, 6, 7)]
        self.assertEqual(taken, [False, False, True, False, True])

    def test_S_11_recovery_codes_are_taken_once(self) -> None:
        """Each by its own user; others take the place of all."""
        self.result(self.factors.set("anna", b"x", 1, ["a", "b"], 9.0))
        self.assertFalse(self.result(self.factors.spend_recovery("bob", "a")))
        taken = [self.result(self.factors.spend_recovery("anna", code)) for code in ("a", "a", "c")]
        self.assertEqual(taken, [True, False, False])
        self.assertEqual(self.result(self.factors.of("anna")).recovery_left, 1)
        self.result(self.factors.set_recovery("anna", ["d", "e", "f"]))
        self.assertFalse(self.result(self.factors.spend_recovery("anna", "b")))
        self.assertEqual(self.result(self.factors.of("anna")).recovery_left, 3)

    def test_all_of_it_goes(self) -> None:
        """With the factor, with another one, and with the user."""
        for take in (
            lambda: self.result(self.factors.remove("anna")),
            lambda: self.done(self.users.remove_user("anna")),
        ):
            self.result(self.factors.set("anna", b"x", 1, ["a"], 9.0))
            self.result(self.factors.set("anna", b"y", 1, ["b"], 9.0))
            self.assertFalse(self.result(self.factors.spend_recovery("anna", "a")))
            self.assertEqual(self.result(self.factors.users()), ["anna"])
            take()
            self.assertEqual((self.result(self.factors.of("anna")), self.result(self.factors.users())), (None, []))
            self.assertFalse(self.result(self.factors.spend_recovery("anna", "b")))

    def test_links(self) -> None:
        """One for each user, until its time; a password by any way ends it, and so does the end of the user."""
        invite = lambda user, digest: self.result(self.factors.invite(user, digest, "owner", 100.0, 50.0))  # noqa: E731
        invited = lambda digest, now=99.0: self.result(self.factors.invited(digest, now))  # noqa: E731
        invite("anna", "1")
        invite("anna", "2")
        invite("bob", "3")
        self.assertEqual([invited(digest) for digest in ("1", "2", "3", "4")], [None, "anna", "bob", None])
        self.assertIsNone(invited("2", 100.0))
        self.assertEqual(self.result(self.factors.invitations(99.0)), {"anna": 100.0, "bob": 100.0})
        self.done(self.users.set_password("anna", "another"))
        self.assertIsNone(invited("2"))
        invite("anna", "5")
        self.done(self.users.remove_user("anna"))
        self.assertEqual(self.result(self.factors.invitations(99.0)), {"bob": 100.0})
