"""Changing the configuration: texts beside each other, secrets in them, revisions, confirmations, and what a start
begins with."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate import boot
from smtpgate.config.hiding import hide, left, restore
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.texts import blame, changed_keys, merge, unified
from smtpgate.control.config_views import Moved
from smtpgate.control.views import Actor, Refused, Unavailable
from smtpgate.interfaces import StoreFailed
from smtpgate.state.folder import StateError
from tests.admin_kit import CONFIG
from tests.revisions_kit import ANN, BEA, MANAGED, FolderCase

SECRET = """[[filters]]
use = "a"
options = { password = "one", servers = ["x"] }
[[filters]]
use = "b"
[filters.options]
api_key = 'two'
"""


class TextTests(SynchronousTestCase):
    """Pure work on texts."""

    def test_changes_apart_are_joined_and_others_are_shown(self) -> None:
        """What does not touch is in both; what does is not guessed, and is no TOML."""
        joined = merge("a\nb\nc\nd\n", "A\nb\nc\nd\n", "a\nb\nc\nD\n", "revision 2")
        self.assertEqual((joined.text, joined.is_clean), ("A\nb\nc\nD\n", True))
        clash = merge("a = 1\n", "a = 2\n", "a = 3\n", "revision 2")
        self.assertEqual(clash.text, "<<<<<<< yours\na = 2\n=======\na = 3\n>>>>>>> revision 2\n")
        self.assertEqual([one.theirs for one in clash.clashes], ["a = 3\n"])
        self.assertTrue(merge("a\nb\n", "a\nx\n", "a\nx\n", "revision 2").is_clean)

    def test_who_wrote_a_line(self) -> None:
        """The number of the text that brought it, also where it moved down."""
        self.assertEqual(blame([(1, "a\nb\n"), (2, "a\nx\nb\n"), (5, "a\nx\nB\n")]), (1, 2, 5))

    def test_keys_and_lines(self) -> None:
        """Which keys differ, and where."""
        found = changed_keys("a = 1\nb = 2\n", "b = 3\nc = 4\n")
        self.assertEqual([(one.key, one.how, one.line) for one in found],
                         [("a", "removed", 1), ("b", "changed", 1), ("c", "added", 2)])  # fmt: skip
        self.assertIn("+b = 3", unified("b = 2\n", "b = 3\n", "old", "new"))

    def test_secrets_are_hidden_and_come_back(self) -> None:
        """*** in their place, also where filters changed theirs, and in a text that is no TOML."""
        hidden = hide(SECRET)
        self.assertNotIn("one", hidden)
        self.assertNotIn("two", hidden)
        self.assertEqual(restore(hidden, SECRET), SECRET)
        first, second = hidden.split("[[filters]]")[1:]
        turned = restore(f"[[filters]]{second}[[filters]]{first}", SECRET)
        self.assertIn('password = "one"', turned)
        self.assertIn("api_key = 'two'", turned)
        self.assertNotIn("two", hide(SECRET + "=="))
        self.assertNotIn("one", hide(SECRET.replace("password", '"p\\u0061ssw\\u006frd"').replace("api_key", "x")))
        self.assertNotIn("one", hide(SECRET.replace("password", "PassWord").replace("api_key", "x")))
        self.assertEqual([one.key for one in left(hidden, "x")], ["filters[0].options.password",
                                                                  "filters[1].options.api_key"])  # fmt: skip


class ChangeTests(FolderCase):
    """The control."""

    def test_two_administrators(self) -> None:
        """The second is told, gets both changes in one, and loses nothing."""
        control = self.gateway()
        books = control.configuration
        mine = books.active.text.replace("gate.example.com", "two.example.com")
        self.apply(control, books.active.text + '[log]\nlevel = "debug"\n')
        planned = control.engine.start(books.plan(mine, "why", 1))
        moved = self.failureResultOf(planned, Moved).value
        self.assertTrue(moved.merged.is_clean)
        self.apply(control, moved.merged.text, who=BEA)
        self.assertEqual((control.settings.hostname, control.settings.log.level), ("two.example.com", "debug"))
        self.assertEqual([one.author for one in self.successResultOf(control.engine.start(books.revisions(9)))],
                         ["user bea", "user ann", "system gateway"])  # fmt: skip

    def test_a_bad_draft_changes_nothing(self) -> None:
        """Refused with its problems; the same rules."""
        control = self.gateway()
        planned = control.engine.start(control.configuration.plan(MANAGED + "x = [\n", "why", 1))
        self.failureResultOf(planned, ConfigErrors)
        self.assertEqual((control.configuration.active.number, control.settings.hostname), (1, "gate.example.com"))

    def test_what_cannot_be_bound_changes_nothing(self) -> None:
        """It is kept as failed; the next start begins with the old one."""
        control = self.gateway()

        async def bind(settings: Any) -> None:
            raise OSError("taken")

        control._bind = bind
        books = control.configuration
        plan = self.successResultOf(control.engine.start(books.plan(MANAGED.replace("gate.", "g."), "why", 1)))
        self.failureResultOf(control.engine.start(books.apply(plan, ANN)), Refused)
        self.assertEqual(control.settings.hostname, "gate.example.com")
        self.assertEqual(self.start()[1].number, 1)

    def test_what_cannot_be_written_does_not_rule(self) -> None:
        """The row fails: the old settings are at work again."""
        control = self.gateway()
        books = control.configuration
        plan = self.successResultOf(control.engine.start(books.plan(MANAGED.replace("gate.", "g."), "why", 1)))
        self.store.point = lambda *args: fail(StoreFailed("full"))  # type: ignore[method-assign]
        self.failureResultOf(control.engine.start(books.apply(plan, ANN)), Unavailable)
        self.assertEqual((control.settings.hostname, books.active.number), ("gate.example.com", 1))

    def test_nobody_confirms(self) -> None:
        """At the deadline the former one rules again, and the other is kept."""
        control = self.gateway()
        self.apply(control, MANAGED.replace("gate.", "g."), 5)
        self.assertEqual(control.settings.hostname, "g.example.com")
        self.clock.advance(299)
        self.assertEqual(control.settings.hostname, "g.example.com")
        self.clock.advance(1)
        self.assertEqual(control.settings.hostname, "gate.example.com")
        kept = self.successResultOf(control.engine.start(control.configuration.revisions(9)))
        self.assertEqual([control.configuration.state_of(one) for one in kept], ["unconfirmed", "active"])

    def test_somebody_confirms(self) -> None:
        """Then it stays, over a restart too; another number confirms nothing."""
        control = self.gateway()
        self.apply(control, MANAGED.replace("gate.", "g."), 5)
        self.failureResultOf(control.engine.start(control.configuration.confirm(1, BEA)), Refused)
        self.successResultOf(control.engine.start(control.configuration.confirm(2, BEA)))
        self.clock.advance(999)
        self.assertEqual(control.settings.hostname, "g.example.com")
        self.assertEqual(self.start()[0].settings.hostname, "g.example.com")

    def test_a_restart_before_the_deadline(self) -> None:
        """What nobody confirmed rules at no start."""
        control = self.gateway()
        self.apply(control, MANAGED.replace("gate.", "g."), 5)
        start, ruling, pointer, told = self.start()
        self.assertEqual((start.settings.hostname, ruling.number, pointer.deadline), ("gate.example.com", 1, 0.0))
        self.assertIn("nobody confirmed revision 2", told)
        control.configuration.close()

    def test_back(self) -> None:
        """An old text is a new revision."""
        control = self.gateway()
        self.apply(control, MANAGED.replace("gate.", "g."))
        done = self.successResultOf(control.engine.start(control.configuration.rollback(1, "", ANN)))
        self.assertEqual((done.number, done.way, control.settings.hostname), (3, "rollback", "gate.example.com"))


class StartTests(FolderCase):
    """What a start begins with."""

    def test_a_changed_file_is_drift_and_rules_nothing(self) -> None:
        """The revision rules; the file is told of."""
        control = self.gateway()
        self.assertFalse(self.successResultOf(control.engine.start(control.configuration.drift())).is_drifted)
        self.file.write_text(MANAGED.replace("gate.", "f."))
        self.assertTrue(self.successResultOf(control.engine.start(control.configuration.drift())).is_drifted)
        self.assertEqual(self.start()[0].settings.hostname, "gate.example.com")

    def test_a_broken_file_and_the_last_that_worked(self) -> None:
        """In file mode the start ends and names it; with --fallback it begins on it."""
        self.file.write_text(CONFIG)
        self.start()
        self.file.write_text(CONFIG + "[[[")
        with self.assertRaises(ConfigErrors) as refused:
            boot.choose(self.file, {}, {})
        self.assertIn("the last known good is revision 1", str(refused.exception))
        start = self.start(is_fallback=True)[0]
        self.assertEqual(start.settings.hostname, "gate.example.com")
        self.assertIn("broken", start.fallback)

    def test_two_starts_at_once(self) -> None:
        """What was chosen and is not what is there any more is not taken."""
        start = boot.choose(self.file, {}, {})
        self.start()
        with self.assertRaises(StateError):
            boot.take(self.store, start, 2.0)


class MeanwhileTests(FolderCase):
    """A reload while the one before is not over."""

    def test_a_signal_is_not_lost(self) -> None:
        """It waits for its turn and reads what is there by then; several that wait are one. Others are refused."""
        self.file.write_text(CONFIG)
        control = self.gateway()
        disk: Deferred[None] = Deferred()
        write = self.store.add

        def slow(fresh: Any) -> Any:
            disk.addCallback(lambda _: write(fresh))
            return disk

        self.store.add = slow  # type: ignore[method-assign]
        who, start = Actor("signal", "SIGHUP"), control.engine.start
        self.file.write_text(CONFIG.replace("gate.example.com", "one.example.com"))
        first = start(control.reload(who, is_patient=True))
        self.file.write_text(CONFIG.replace("gate.example.com", "two.example.com"))
        second = start(control.reload(who, is_patient=True))
        self.assertEqual(self.successResultOf(start(control.reload(who, is_patient=True))), ())
        self.failureResultOf(start(control.reload(ANN)), Refused)
        self.assertNoResult(second)
        self.assertEqual(control.settings.hostname, "one.example.com")
        self.store.add = write  # type: ignore[method-assign]
        disk.callback(None)
        self.assertEqual([self.successResultOf(one) for one in (first, second)], [(), ()])
        self.assertEqual(control.settings.hostname, "two.example.com")
