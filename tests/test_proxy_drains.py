"""Servers out of service: until somebody says ready or for a time, over reloads and restarts."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.control import SYSTEM, Control
from smtpgate.policy import event as told
from tests.admin_kit import CONFIG, make_control

FIRST, SECOND = "127.0.0.1:2600", "unix:/run/mail.sock"


class DrainTests(SynchronousTestCase):
    """Through `Control`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.control = make_control(self.clock)

    def drained(self, control: Control | None = None) -> list[str]:
        """The names of those that are."""
        return [view.name for view in (control or self.control).servers() if view.is_drained]

    def restarted(self) -> Control:
        """Another process with what this one has kept, at the same time."""
        rows = self.control.drains.changed(self.control.engine.wall(), 100)
        fresh = make_control(self.clock)
        fresh.drains.restore(rows, fresh.engine.wall())
        # It is restored before the first revision is built.
        fresh.drains.apply()
        return fresh

    def apply(self, text: str) -> None:
        """A reload with another file."""
        self.successResultOf(self.control.engine.start(self.control._apply(loads(text, "/nowhere/gate.toml"))))

    def test_it_holds_over_reloads_and_restarts(self) -> None:
        """With its reason, until somebody says ready."""
        self.control.drain_server("mail", SECOND, SYSTEM, "new disk")
        self.apply(CONFIG + "[limits]\nrecipients = 700\n")
        self.assertEqual(self.drained(), [SECOND])
        fresh = self.restarted()
        self.assertEqual(self.drained(fresh), [SECOND])
        self.assertEqual(fresh.servers()[1].drain_reason, "new disk")
        fresh.ready_server("mail", SECOND, SYSTEM)
        self.assertEqual(self.drained(fresh), [])

    def test_ready_holds_over_restarts_too(self) -> None:
        """What was taken back does not come back."""
        self.control.drain_server("mail", FIRST, SYSTEM)
        first = {key: value for key, value, _ in self.control.drains.changed(0.0, 100)}
        self.assertIsNotNone(first[f"mail {FIRST}"])
        self.control.ready_server("mail", FIRST, SYSTEM)
        self.assertEqual(self.control.drains.changed(0.0, 100), [(f"mail {FIRST}", None, 0.0)])

    def test_it_ends_by_itself(self) -> None:
        """After so many minutes, also of a process that was started meanwhile; and that is told."""
        self.control.drain_server("mail", FIRST, SYSTEM, "update", 10)
        self.assertEqual(self.control.servers()[0].drained_until, self.control.engine.wall() + 600.0)
        self.clock.advance(300)
        self.control.drains._changed.fresh["mail", FIRST] = None
        fresh = self.restarted()
        self.clock.advance(299)
        self.assertEqual((self.drained(), self.drained(fresh)), ([FIRST], [FIRST]))
        self.clock.advance(1.01)
        self.assertEqual((self.drained(), self.drained(fresh)), ([], []))
        events = [one for one in self.control.events if isinstance(one, told.Happened) and one.name == "drain.over"]  # type: ignore[attr-defined]
        self.assertEqual(len(events), 1)
        self.assertEqual(self.control.drains.changed(0.0, 10)[0][1], None)

    def test_another_word_replaces_the_first(self) -> None:
        """A drain without end after one for a time, and the other way round."""
        self.control.drain_server("mail", FIRST, SYSTEM, "", 10)
        self.control.drain_server("mail", FIRST, SYSTEM, "longer")
        self.clock.advance(3600)
        self.assertEqual(self.drained(), [FIRST])
        self.control.drain_server("mail", FIRST, SYSTEM, "", 1)
        self.clock.advance(61)
        self.assertEqual(self.drained(), [])

    def test_a_server_that_is_not_configured_for_a_while(self) -> None:
        """It is drained when it comes back: nobody has said ready."""
        self.control.drain_server("mail", SECOND, SYSTEM)
        self.apply(CONFIG.replace(f', "{SECOND}"', ""))
        self.assertEqual(self.drained(), [])
        self.apply(CONFIG)
        self.assertEqual(self.drained(), [SECOND])

    def test_it_is_kept_at_once(self) -> None:
        """Nobody waits for the next saving of counters."""
        calls: list[int] = []
        self.control.drains.on_change = lambda: calls.append(1)
        self.control.drain_server("mail", FIRST, SYSTEM)
        self.control.ready_server("mail", FIRST, SYSTEM)
        self.assertEqual(len(calls), 2)

    def test_sessions_of_an_older_revision_hear_of_it(self) -> None:
        """They began before a reload and go on: drained there too, and ready again."""
        old = self.control.revision
        assert old is not None
        old.enter()
        self.apply(CONFIG + "[limits]\nrecipients = 700\n")
        self.control.drain_server("mail", FIRST, SYSTEM)
        found = old.pools["mail"].server(FIRST)
        assert found is not None
        self.assertTrue(found.is_drained)
        self.control.ready_server("mail", FIRST, SYSTEM)
        self.assertFalse(found.is_drained)
        old.leave()
        self.control.drain_server("mail", FIRST, SYSTEM)
        self.assertFalse(found.is_drained)
