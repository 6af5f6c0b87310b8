"""Tests of smtpgate.control.live: which sessions are shown, and what stands in their rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control import live
from smtpgate.control.live import ROWS, Sampler
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from tests.admin_kit import make_control, make_session


class SamplerTests(SynchronousTestCase):
    """Too many sessions to follow."""

    def test_a_flood_is_sampled_and_its_end_is_seen(self) -> None:
        """Within the second that it comes in; afterwards all are shown again, step by step."""
        now = [100.0]
        sampler = Sampler(lambda: now[0], 10)
        for _ in range(10):
            sampler.count()
        self.assertEqual(sampler.one_in, 1)
        for _ in range(90):
            sampler.count()
        self.assertEqual(sampler.one_in, 16)
        shown = sum(sampler.takes(f"01J9UK7Q{number:018d}") for number in range(4096))
        self.assertTrue(100 < shown < 500, shown)
        now[0] += 1
        sampler.count()
        self.assertEqual((sampler.rate, sampler.one_in), (100, 16))
        for _ in range(6):
            now[0] += 1
            sampler.count()
        self.assertEqual((sampler.rate, sampler.one_in), (1, 1))


class RowTests(SynchronousTestCase):
    """Rows of a control without sockets."""

    def setUp(self) -> None:
        self.control = make_control(Clock())
        self.live = self.control.live

    def open(self, number: int, **more: Any) -> Any:
        facts = make_session(f"01J9UK7Q{number:018d}", **more)
        facts.ended = 0.0
        self.control.hear(told.SessionOpened(facts))
        return facts

    def test_nothing_is_kept_while_nobody_looks(self) -> None:
        """And the chains are silent."""
        self.open(1)
        self.assertEqual((len(self.live._seen), self.live.grid().rows), (0, ()))
        chains = [door.chain for door in self.control.current().doors.values()]
        self.assertEqual({chain.seen for chain in chains}, {None})
        self.live.begin()
        self.assertEqual({chain.seen for chain in chains}, {self.live._ran})
        self.live.end()
        self.assertEqual({chain.seen for chain in chains}, {None})

    def test_those_that_ended_make_room_first(self) -> None:
        """A long session stays in sight while others come and go."""
        self.live.begin()
        self.live.sampler.takes = lambda id: True  # type: ignore[method-assign]
        stays = self.open(0)
        for number in range(1, ROWS + 50):
            self.open(number).ended = 200.0
        rows = self.live.grid().rows
        self.assertEqual((len(rows), rows[-1].id, rows[-1].is_live), (ROWS, stays.id, True))
        self.assertEqual(rows[0].id, f"01J9UK7Q{ROWS + 49:018d}")

    def test_only_what_changed(self) -> None:
        """A row is told once for each change of the session, by whatever it is seen."""
        self.live.begin()
        facts = self.open(1)
        self.assertEqual([row.id for row in self.live.changed()], [facts.id])
        self.assertEqual(list(self.live.changed()), [])
        facts.note(101.0, "client", "RSET")
        self.assertEqual(len(list(self.live.changed())), 1)
        self.live._ran(facts.id, "names", "mail", "running", 0.0, False)
        self.assertEqual(next(self.live.changed()).cells["names"].word, "running")
        self.live._ran("01J9UK7Q000000000000009999", "names", "mail", "pass", 0.0, False)
        self.assertEqual(list(self.live.changed()), [])

    def test_an_end_is_told_once(self) -> None:
        """Also of a session that ends between the look and the taking of its row."""
        self.live.begin()
        facts = [self.open(number) for number in (1, 2)]
        rows = self.live.changed()
        next(rows)
        facts[1].closed_by = "client"
        self.assertEqual(list(rows), [])
        self.assertEqual([row.id for row in self.live.changed()], [facts[1].id])
        self.assertEqual(list(self.live.changed()), [])

    def test_no_more_is_gathered_than_is_shown(self) -> None:
        """Of ten thousand sessions a page shows two hundred."""
        asked = []
        self.patch(live, "_found", lambda facts: asked.append(facts.id) or ())
        sessions = self.control.reception.sessions
        for number in range(50):
            facts = make_session(f"01J9UK7Q{number:018d}")
            sessions[facts.id] = SimpleNamespace(facts=facts)  # type: ignore[assignment]
        rows = self.live.grid(10).rows
        self.assertEqual([row.id for row in rows], [f"01J9UK7Q{number:018d}" for number in range(49, 39, -1)])
        self.assertEqual(len(asked), 10)

    def test_the_worst_stays_and_a_shadow_decides_nothing(self) -> None:
        """What a filter in shadow would have said is in its own cell only."""
        self.live.begin()
        facts = self.open(1)
        for filter, word, is_shadow in (
            ("a", "tag", False), ("a", "pass", False), ("b", "reject", True), ("c", "error", False),
        ):  # fmt: skip
            self.live._ran(facts.id, filter, "end", word, 0.0, is_shadow)
        (row,) = self.live.grid().rows
        self.assertEqual((row.worst, row.cells["a"].word, row.cells["a"].worst), ("error", "pass", "tag"))

    def test_a_filter_that_nobody_configured_has_a_column(self) -> None:
        """As the rules of an earlier revision have."""
        self.live.begin()
        facts = self.open(1)
        self.live._ran(facts.id, "gone", "end", "note", 0.0, False)
        self.assertEqual(self.live.grid().columns[-1], ("other", ("gone",)))

    def test_what_was_found_before_anybody_looked(self) -> None:
        """Stands in the row of a session that runs already."""
        facts = make_session(findings=(Finding("filter-failed", "defer", filter="scan"), Finding("x", filter="names")))
        facts.ended = 0.0

        class Running:
            """A session of the engine."""

        running: Any = Running()
        running.facts = facts
        self.control.reception.sessions[facts.id] = running
        for look in (lambda: None, self.live.begin):
            look()
            (row,) = self.live.grid().rows
            self.assertEqual({name: cell.word for name, cell in row.cells.items()}, {"scan": "error", "names": "note"})
