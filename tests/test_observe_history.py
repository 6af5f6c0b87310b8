"""Tests of smtpgate.observe.history: what is held, what is written, and what is found, up to the limits.

The store is the real one, over a database in a file; where it must be slow or fail, a door stands before it.
"""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.observe import history as module
from smtpgate.observe.history import BATCH, BATCH_S, HELD, HELD_OCTETS, WAITING, WAITING_OCTETS, History, weight
from smtpgate.policy import event as told
from smtpgate.policy.query import Query, parse
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.state.database import Database
from smtpgate.state.history_store import HistoryStore
from tests.observe_kit import finding, session, transaction

MEGABYTE = 2**20


class AtOnce:
    """A database whose calls are done when they are made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        """Write."""
        return maybeDeferred(self._database.now, function, *args)

    read = run


class Door:
    """Before a store: it may be shut for a while, or nothing may be behind it.

    :ivar batches: the sessions of each batch that came
    """

    def __init__(self, store: HistoryStore) -> None:
        self.batches: list[list[Session]] = []
        self.is_broken = False
        self._store = store
        self._shut: Deferred[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def shut(self) -> None:
        """What comes now waits."""
        self._shut = Deferred()

    def open(self) -> None:
        """What waited goes on."""
        shut, self._shut = self._shut, None
        if shut is not None:
            shut.callback(None)

    def write(self, facts: list[Session]) -> Deferred[None]:
        """A batch."""
        self.batches.append(list(facts))
        done: Deferred[None] = Deferred() if self._shut is None else self._shut
        done.addCallback(lambda _: self._write(facts))
        if self._shut is None:
            done.callback(None)
        return done

    def _write(self, facts: list[Session]) -> Deferred[None]:
        if self.is_broken:
            raise OSError("no such disk")
        return self._store.write(facts)


class HistoryCase(SynchronousTestCase):
    """A history over a store."""

    def setUp(self) -> None:
        """Open it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        database = Database(folder / "state.sqlite")
        database.open()
        self.addCleanup(database.close)
        self.store = Door(HistoryStore(AtOnce(database), lambda: 1795585100.0))  # type: ignore[arg-type]
        self.clock = Clock()
        self.told: list[told.Happened] = []
        self.history = History(self.clock, self.store, self.told.append)

    def open(self, facts: Session) -> Session:
        """A session that begins."""
        self.history.hear(told.SessionOpened(facts))
        return facts

    def end(self, facts: Session) -> Session:
        """One that is over."""
        self.history.hear(told.SessionEnded(facts))
        return facts

    def erring(self, number: int) -> Session:
        """A session that is worth a row."""
        return session(number, errors=1)

    def large(self, number: int, octets: int = MEGABYTE) -> Session:
        """One that takes so much memory, roughly."""
        facts = session(number)
        transaction(facts, header=HeaderSection(b"Subject: " + b"x" * (octets - 13) + b"\r\n\r\n"))
        return facts

    def done(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """The answer, which is there at once."""
        return self.successResultOf(Deferred.fromCoroutine(asked))

    def found(self, reference: str) -> dict[str, Any] | None:
        """What `find` gives."""
        record: dict[str, Any] | None = self.done(self.history.find(reference))
        return record

    def recent(self, limit: int) -> list[str]:
        """The ids that `recent` gives."""
        return [record["id"] for record in self.done(self.history.recent(limit))]

    def written(self) -> list[int]:
        """How large the batches were."""
        return [len(batch) for batch in self.store.batches]


class FindingTests(HistoryCase):
    """What is found by a reference, whatever became of the session."""

    def test_a_live_session_is_found_as_it_stands(self) -> None:
        """By its id, and by those of its messages, also of one that it has not begun."""
        facts = self.open(session(ended=0.0))
        self.clock.advance(facts.begun + 5)
        for reference in (facts.id, f"{facts.id}.1", f"{facts.id}.99"):
            record = self.found(reference)
            assert record is not None
            self.assertEqual((record["id"], record["is_live"], record["duration_ms"]), (facts.id, True, 5000))
        facts.helo = "another.example.com"
        self.assertEqual(self.found(facts.id)["helo"], "another.example.com")  # type: ignore[index]

    def test_an_ended_session_is_found_before_it_is_written(self) -> None:
        """And once, with its messages."""
        facts = self.open(session(ended=0.0))
        made = transaction(facts)
        facts.ended = facts.begun + 1
        self.end(facts)
        self.assertEqual(self.store.batches, [])
        record = self.found(made.id)
        assert record is not None
        self.assertEqual([message["id"] for message in record["messages"]], [made.id])
        self.assertFalse(record["is_live"])

    def test_an_old_session_is_found_in_the_store(self) -> None:
        """As it was, by either reference."""
        facts = session()
        made = transaction(facts)
        self.end(facts)
        self.clock.advance(BATCH_S)
        fresh = History(self.clock, self.store)
        for reference in (facts.id, made.id):
            record = self.successResultOf(Deferred.fromCoroutine(fresh.find(reference)))
            self.assertEqual(record, self.found(reference))

    def test_who_was_never_here_is_not_found(self) -> None:
        """Nor is nothing."""
        self.end(self.erring(1))
        for reference in ("", ".", ".1", "01JEXAMPLE", "x" * 1000, self.erring(2).id):
            self.assertIsNone(self.found(reference), reference)

    def test_messages_are_searched_in_the_store(self) -> None:
        """What ended just now is written first; where the store is slow, a search waits for one batch."""
        for number, sender in enumerate(("a@example.org", "b@example.org"), 1):
            facts = session(number)
            transaction(facts, sender=sender)
            self.end(facts)
        self.assertEqual(len(self.done(self.history.search(Query(), 10)).rows), 2)
        found = self.done(self.history.search(parse("from:b", 0.0), 10))
        self.assertEqual([row.sender for row in found.rows], ["<b@example.org>"])
        self.assertEqual(self.done(self.history.count(Query())).total, 2)
        self.store.shut()
        facts = session(3)
        transaction(facts)
        self.end(facts)
        asked = Deferred.fromCoroutine(self.history.search(Query(), 10))
        self.assertNoResult(asked)
        self.store.open()
        self.assertEqual(len(self.successResultOf(asked).rows), 3)
        self.store.is_broken = True
        self.end(session(4, errors=1))
        self.assertEqual(len(self.done(self.history.search(Query(), 10)).rows), 3)


class MemoryTests(HistoryCase):
    """What is held of ended sessions."""

    def test_the_oldest_goes_first_by_number(self) -> None:
        """The newest stay when they are written; the one before them is in the store alone, and until then waits."""
        self.store.shut()
        for number in range(HELD + 1):
            self.end(self.erring(number))
        self.assertIsNotNone(self.found(self.erring(0).id))
        self.clock.advance(BATCH_S)
        self.store.open()
        self.clock.advance(BATCH_S)
        self.assertEqual(len(self.history._unwritten), 0)
        self.assertEqual(list(self.history._ended), [self.erring(number).id for number in range(1, HELD + 1)])
        self.assertIsNotNone(self.found(self.erring(0).id))

    def test_the_oldest_goes_first_by_size(self) -> None:
        """A few with large headers push out many small ones, and come to rest within the limit."""
        small = HELD - 10
        for number in range(small):
            self.end(self.erring(number))
        most = HELD_OCTETS // weight(self.large(0))
        for number in range(small, small + most):
            self.end(self.large(number))
        left = (HELD_OCTETS - most * weight(self.large(0))) // weight(self.erring(0))
        held = self.history._ended
        self.assertEqual(
            [number for number in range(small) if self.erring(number).id in held], list(range(small - left, small))
        )
        self.assertTrue(0 < left < small)
        self.end(self.large(small + most))
        self.assertNotIn(self.erring(small - 1).id, held)
        self.assertNotIn(self.large(small).id, held)
        self.assertIn(self.large(small + 1).id, held)

    def test_one_that_is_larger_than_all(self) -> None:
        """It is not held once it is written, and neither breaks anything nor stays away from the store."""
        self.end(self.erring(1))
        self.end(self.large(2, HELD_OCTETS + 1))
        self.assertEqual(len(self.history._ended), 0)
        self.assertIsNotNone(self.found(self.large(2).id))
        self.end(self.erring(3))
        self.assertIsNotNone(self.found(self.erring(3).id))
        self.clock.advance(BATCH_S)
        self.assertEqual(list(self.history._ended), [self.erring(3).id])
        self.assertIsNotNone(self.found(self.large(2).id))
        self.assertEqual(self.history.dropped, 0)

    def test_what_a_session_weighs(self) -> None:
        """Everything that a peer can make more of counts."""
        light = session()
        stepped = session()
        for _ in range(100):
            stepped.note(stepped.begun, "client", "NOOP", "")
        one, many, large = session(), session(), session()
        transaction(one)
        transaction(many, recipients=("b@example.net",) * 100)
        transaction(large, header=HeaderSection(b"x" * 100_000))
        self.assertGreater(weight(stepped), weight(light) + 100 * 100)
        self.assertGreater(weight(one), weight(light))
        self.assertGreater(weight(many), weight(one) + 100 * 256)
        self.assertGreater(weight(large), 100_000)

    def test_what_is_let_go_is_freed_at_once(self) -> None:
        """Session and messages hold each other: nothing of it waits for the collector of cycles."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

        def alive() -> int:
            return sum(type(one) is Transaction for one in gc.get_objects())

        before = alive()
        for number in range(2 * HELD):
            facts = session(number)
            transaction(facts)
            self.end(facts)
            if number % BATCH == BATCH - 1:
                self.clock.advance(BATCH_S)
        self.store.batches.clear()
        self.assertEqual(alive() - before, HELD)

    def test_live_sessions_go_when_they_end(self) -> None:
        """Nothing is kept of those that are neither held nor live."""
        for number in range(HELD + 10):
            self.open(self.erring(number))
        for number in range(HELD + 10):
            self.end(self.erring(number))
        self.assertEqual(len(self.history._live), 0)
        self.assertEqual(len(self.history._ended), HELD)

    def test_one_that_was_never_opened_may_end(self) -> None:
        """Behind a wrong PROXY header."""
        self.end(self.erring(1))
        self.assertIsNotNone(self.found(self.erring(1).id))


class WritingTests(HistoryCase):
    """What goes to the store, and when."""

    def test_a_second_s_sessions_go_together(self) -> None:
        """In the order in which they ended, and each once."""
        for number in (3, 1, 2):
            self.end(self.erring(number))
            self.clock.advance(BATCH_S / 4)
        self.assertEqual(self.written(), [])
        self.clock.advance(BATCH_S / 4)
        self.assertEqual(
            [[facts.id for facts in batch] for batch in self.store.batches], [[self.erring(n).id for n in (3, 1, 2)]]
        )
        self.clock.advance(10 * BATCH_S)
        self.assertEqual(self.written(), [3])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_go_in_batches_without_a_pause(self) -> None:
        """So many at a time; what is less than a batch waits for its second."""
        for number in range(2 * BATCH + 10):
            self.end(self.erring(number))
        self.clock.advance(BATCH_S)
        self.clock.advance(0)
        self.assertEqual(self.written(), [BATCH, BATCH])
        self.clock.advance(BATCH_S)
        self.assertEqual(self.written(), [BATCH, BATCH, 10])

    def test_one_batch_at_a_time(self) -> None:
        """A slow store is not asked again before it has answered."""
        self.store.shut()
        for number in range(BATCH + 1):
            self.end(self.erring(number))
        self.clock.advance(BATCH_S)
        self.end(self.erring(BATCH + 1))
        self.clock.advance(100 * BATCH_S)
        self.assertEqual(self.written(), [BATCH])
        self.store.open()
        self.clock.advance(BATCH_S)
        self.assertEqual(self.written(), [BATCH, 2])

    def test_a_connection_that_did_nothing_is_not_written(self) -> None:
        """A health check is in memory alone, and in no list; one that a filter spoke about is kept."""
        quiet = self.end(session(1))
        noted = session(2)
        noted.findings.append(finding(action="note"))
        self.end(noted)
        self.clock.advance(BATCH_S)
        self.assertEqual(self.written(), [1])
        self.assertIsNotNone(self.found(quiet.id))
        self.assertEqual(self.recent(10), [noted.id])

    def test_more_than_may_wait_by_number(self) -> None:
        """The newest are dropped and counted: what was taken in is kept."""
        self.store.shut()
        facts = self.erring(0)
        for _ in range(WAITING + 7):
            self.end(facts)
        self.assertEqual(self.history.dropped, 7)
        self.clock.advance(BATCH_S)
        self.end(facts)
        self.assertEqual(self.history.dropped, 7)

    def test_more_than_may_wait_by_size(self) -> None:
        """The same for few large ones; small ones still fit in what is left."""
        self.store.shut()
        most = WAITING_OCTETS // weight(self.large(0))
        for number in range(most + 3):
            self.end(self.large(number))
        self.assertEqual(self.history.dropped, 3)
        self.end(self.erring(1000))
        self.assertEqual(self.history.dropped, 3)
        self.clock.advance(BATCH_S)
        self.store.open()
        self.assertEqual(self.written(), [most + 1])
        for number in range(2000, 2000 + most):
            self.end(self.large(number))
        self.assertEqual(self.history.dropped, 3)

    def test_a_store_that_fails(self) -> None:
        """Told once, with the reason; each lost session is counted; told again when it is over."""
        self.store.is_broken = True
        for number in range(3):
            self.end(self.erring(2 * number))
            self.end(self.erring(2 * number + 1))
            self.clock.advance(BATCH_S)
        self.assertEqual(self.history.dropped, 6)
        (failed,) = self.told
        self.assertEqual((failed.name, failed.level), ("history.failed", "error"))
        self.assertEqual(dict(failed.fields), {"count": 2, "reason": "no such disk"})
        self.store.is_broken = False
        for number in (10, 11):
            self.end(self.erring(number))
            self.clock.advance(BATCH_S)
        self.assertEqual([event.name for event in self.told], ["history.failed", "history.recovered"])
        self.assertEqual(dict(self.told[1].fields), {"count": 6})
        self.store.is_broken = True
        self.end(self.erring(12))
        self.clock.advance(BATCH_S)
        self.assertEqual(self.told[2].name, "history.failed")

    def test_a_store_that_raises_is_one_that_fails(self) -> None:
        """Mail goes on."""
        self.patch(self.store, "write", lambda *_: 1 / 0)
        self.end(self.erring(1))
        self.clock.advance(BATCH_S)
        self.assertEqual(self.history.dropped, 1)
        self.assertEqual([event.name for event in self.told], ["history.failed"])


class ClosingTests(HistoryCase):
    """The end."""

    def test_all_that_waits_is_written(self) -> None:
        """Without a second of patience for each batch."""
        for number in range(2 * BATCH + 10):
            self.end(self.erring(number))
        closing = Deferred.fromCoroutine(self.history.close())
        for _ in range(3):
            self.clock.advance(0)
        self.successResultOf(closing)
        self.assertEqual(self.written(), [BATCH, BATCH, 10])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_under_way_is_waited_for(self) -> None:
        """And what came behind it."""
        self.store.shut()
        self.end(self.erring(1))
        self.clock.advance(BATCH_S)
        self.end(self.erring(2))
        closing = Deferred.fromCoroutine(self.history.close())
        self.assertNoResult(closing)
        self.store.open()
        self.clock.advance(0)
        self.successResultOf(closing)
        self.assertEqual(self.written(), [1, 1])

    def test_nothing_waits(self) -> None:
        """It is over at once."""
        self.successResultOf(Deferred.fromCoroutine(self.history.close()))

    def test_a_store_that_fails_keeps_nobody(self) -> None:
        """What it does not take is counted."""
        self.store.is_broken = True
        for number in range(BATCH + 1):
            self.end(self.erring(number))
        closing = Deferred.fromCoroutine(self.history.close())
        self.clock.advance(0)
        self.successResultOf(closing)
        self.assertEqual(self.history.dropped, BATCH + 1)


class RecentTests(HistoryCase):
    """The newest."""

    def test_newest_first_from_memory_and_store(self) -> None:
        """Each once, whether it is in one of them or in both."""
        self.patch(module, "HELD", 3)
        for number in range(1, 7):
            self.end(self.erring(number))
        self.clock.advance(BATCH_S)
        self.end(self.erring(7))
        wanted = [self.erring(number).id for number in range(7, 0, -1)]
        for limit in (1, 3, 4, 7):
            self.assertEqual(self.recent(limit), wanted[:limit])
        self.assertEqual(self.recent(100), wanted)

    def test_after_a_restart(self) -> None:
        """The store alone."""
        for number in range(1, 4):
            self.end(self.erring(number))
        self.clock.advance(BATCH_S)
        self.history = History(self.clock, self.store)
        self.assertEqual(self.recent(2), [self.erring(3).id, self.erring(2).id])

    def test_quiet_ones_take_no_place(self) -> None:
        """However many health checks came since."""
        self.end(self.erring(1))
        for number in range(2, 50):
            self.end(session(number))
        self.assertEqual(self.recent(1), [self.erring(1).id])
