"""Tests of smtpgate.state.history_store: ended sessions, kept for a time and found again."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import IHistoryStore
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Session
from smtpgate.state.database import Database
from smtpgate.state.history_store import SEARCHED, HistoryStore
from tests.observe_kit import HOSTILE, WALL, session, transaction


def record(facts: Session) -> dict[str, Any]:
    """A session as it is kept."""
    return plain(facts, facts.ended)


def sessions(count: int, first: int = 1) -> list[Session]:
    """So many sessions of one message each, a second apart."""
    made = []
    for number in range(first, first + count):
        facts = session(number)
        transaction(facts)
        made.append(facts)
    return made


class HistoryCase(TestCase):
    """A store with a clock of its own."""

    timeout = 30

    def setUp(self) -> None:
        """Open it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.now = WALL
        self.store = self.made()

    def made(self, **limits: Any) -> HistoryStore:
        """A store over the database."""
        return HistoryStore(self.database, lambda: self.now, **limits)

    async def counts(self) -> tuple[int, int]:
        """Sessions and messages in the tables."""

        def count(connection: Any) -> tuple[int, int]:
            return tuple(
                connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in ("sessions", "messages")
            )

        return await self.database.read(count)


class KeepingTests(HistoryCase):
    """`write`, `session` and `recent`."""

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(IHistoryStore, self.store)

    async def test_a_session_comes_back_as_it_was(self) -> None:
        """By its id; another id is nobody's."""
        (one,) = sessions(1)
        await self.store.write([one])
        self.assertEqual(await self.store.session(one.id), record(one))
        for id in ("", "x", one.id[:-1], one.id + ".1", "\ud800"):
            self.assertIsNone(await self.store.session(id), id)

    async def test_a_stretch_of_time_is_read_page_by_page(self) -> None:
        """Oldest first, each once, also where several began at the same moment; and where the newest of them begin."""
        made = sessions(7)
        for one in made[2:5]:
            one.started = made[2].started
        await self.store.write(made)
        at, after, found = made[1].started, "", []
        while True:
            page = await self.store.begun_since(at, 2, after)
            found += [one["id"] for one in page]
            if len(page) < 2:
                break
            at, after = page[-1]["started"], page[-1]["id"]
        self.assertEqual(found, [one.id for one in made[1:]])
        self.assertEqual(await self.store.edge(2), made[4].started)
        self.assertEqual(await self.store.edge(7), 0.0)

    async def test_a_batch_of_any_size(self) -> None:
        """Rows go in by statements of several; each is kept, with its messages, and none of another."""
        total = 0
        for count in (1, 3, 4, 5, 20, 63, 64, 65, 84, 85, 500):
            batch = sessions(count, total + 1)
            transaction(batch[-1])
            await self.store.write(batch)
            total += count
            for one in (batch[0], batch[count // 2], batch[-1]):
                self.assertEqual(await self.store.session(one.id), record(one))
        self.assertEqual(await self.counts(), (total, total + 11))

    async def test_what_an_earlier_version_kept_is_read(self) -> None:
        """Records with names, beside those of today."""
        one, two = sessions(2)
        await self.store.write([one, two])
        named = zlib.compress(json.dumps(record(one)).encode())

        def age(connection: Any) -> None:
            connection.exec_driver_sql("UPDATE sessions SET record = ? WHERE id = ?", (named, one.id))

        await self.database.run(age)
        self.assertEqual(await self.store.session(one.id), record(one))
        self.assertEqual(await self.store.recent(9), [record(two), record(one)])

    async def test_nothing_to_write(self) -> None:
        """Is no error."""
        await self.store.write([])
        self.assertEqual(await self.counts(), (0, 0))

    async def test_what_is_written_twice_is_kept_once(self) -> None:
        """A batch that was tried again."""
        batch = sessions(3)
        await self.store.write(batch)
        await self.store.write(batch[1:] + sessions(1, 4))
        self.assertEqual(await self.counts(), (4, 4))

    async def test_the_newest_come_first(self) -> None:
        """By pages."""
        await self.store.write(sessions(5))
        newest = await self.store.recent(2)
        self.assertEqual([one["started"] - WALL for one in newest], [5, 4])
        older = await self.store.recent(9, newest[-1]["started"])
        self.assertEqual([one["started"] - WALL for one in older], [3, 2, 1])

    async def test_what_peers_say_to_break_things(self) -> None:
        """It is kept, and found by what the database takes of it."""
        for number, text in enumerate(HOSTILE, 1):
            facts = session(number, helo=text)
            transaction(facts, sender=f"{text}@example.org")
            await self.store.write([facts])
            kept: Any = await self.store.session(facts.id)
            self.assertEqual(kept["helo"], text)
        self.assertEqual(await self.counts(), (len(HOSTILE), len(HOSTILE)))


class SearchTests(HistoryCase):
    """`search`."""

    async def ids(self, *args: Any, **given: Any) -> list[int]:
        """The numbers of the sessions whose messages are found."""
        found = await self.store.search(*args, **given)
        return [int(row["session_id"][-4:]) for row in found]

    async def fill(self) -> None:
        """Four messages of three sessions."""
        one = session(1)
        transaction(one, sender="alice@example.org", recipients=("bob@example.net", "carol@example.net"))
        two = session(2, client_ip="2001:db8::7")
        transaction(two, "refused", sender="")
        three = session(3)
        transaction(three, sender="50%_off@example.com", recipients=("bob@example.net",))
        transaction(three, "deferred", recipients=tuple(f"r{number}@example.net" for number in range(SEARCHED + 5)))
        await self.store.write([one, two, three])

    async def test_every_way_to_ask(self) -> None:
        """Alone and together; newest first."""
        await self.fill()
        self.assertEqual(await self.ids(), [3, 3, 2, 1])
        self.assertEqual(await self.ids("alice"), [1])
        self.assertEqual(await self.ids("2001:db8"), [2])
        self.assertEqual(await self.ids("<1@example.org>"), [3, 3, 2, 1])
        self.assertEqual(await self.ids(client_ip="192.0.2.7"), [3, 3, 1])
        self.assertEqual(await self.ids(client_ip="192.0.2"), [])
        self.assertEqual(await self.ids(sender="<>"), [2])
        self.assertEqual(await self.ids(recipient="carol@"), [1])
        self.assertEqual(await self.ids(recipient="BOB"), [3, 1])
        self.assertEqual(await self.ids(outcome="refused"), [2])
        self.assertEqual(await self.ids("bob", outcome="delivered", sender="alice"), [1])
        self.assertEqual(await self.ids("bob", outcome="refused", sender="alice"), [])
        self.assertEqual(await self.ids("nobody"), [])

    async def test_signs_of_patterns_are_text(self) -> None:
        """What an operator pastes is what is looked for."""
        await self.fill()
        self.assertEqual(await self.ids("50%_off"), [3])
        self.assertEqual(await self.ids("5%off"), [])
        self.assertEqual(await self.ids(sender="_lice"), [])
        self.assertEqual(await self.ids("'; DROP TABLE messages; --"), [])

    async def test_recipients_are_found_up_to_a_number(self) -> None:
        """A list of thousands does not fill the table."""
        await self.fill()
        self.assertEqual(await self.ids(recipient=f"r{SEARCHED - 1}@"), [3])
        self.assertEqual(await self.ids(recipient=f"r{SEARCHED}@"), [])

    async def test_from_one_time_to_another(self) -> None:
        """The end is not in it."""
        await self.store.write(sessions(5))
        first = WALL + 0.1
        self.assertEqual(await self.ids(since=first + 2, until=first + 4), [3, 2])
        self.assertEqual(await self.ids(since=first + 4.5), [5])
        self.assertEqual(await self.ids(until=first + 1.5), [1])

    async def test_page_by_page_nothing_is_missed_or_told_twice(self) -> None:
        """Also where many messages are of one moment."""
        made = []
        for number in range(1, 12):
            facts = session(number, started=WALL, begun=1000.0)
            transaction(facts, begun=1000.5)
            made.append(facts)
        await self.store.write(made)
        seen: list[str] = []
        before = ""
        while page := await self.store.search(limit=3, before=before):
            seen += [row["id"] for row in page]
            before = page[-1]["id"]
        self.assertEqual(len(seen), 11)
        self.assertEqual(seen, sorted(seen, reverse=True))
        self.assertEqual(await self.store.search(before="unknown"), [])


class AgeTests(HistoryCase):
    """What is too old or too much goes."""

    async def test_too_old(self) -> None:
        """With each batch that comes, and by itself where nothing comes; its messages go with it."""
        self.store = self.made(keep_s=100.0)
        await self.store.write(sessions(5))
        self.now = WALL + 103.5
        await self.store.write(sessions(1, 100))
        # Three are too old; twice as many as came go at a time.
        self.assertEqual(await self.counts(), (4, 4))
        self.now = WALL + 104.5
        self.assertEqual(await self.store.expire(self.now), 2)
        self.assertEqual([int(one["id"][-4:]) for one in await self.store.recent(9)], [100, 5])
        self.assertEqual(await self.store.expire(self.now), 0)

    async def test_too_many(self) -> None:
        """The oldest go, whatever their age; never more than is over the limit."""
        self.store = self.made(keep_rows=10)
        for first in range(1, 30, 4):
            await self.store.write(sessions(4, first))
        self.assertEqual(await self.counts(), (10, 10))
        self.assertEqual([int(one["id"][-4:]) for one in await self.store.recent(10)], list(range(32, 22, -1)))

    async def test_a_store_that_was_too_large_shrinks_with_each_batch(self) -> None:
        """A little more goes than came, so nobody waits for a large deletion."""
        await self.store.write(sessions(40))
        self.store = self.made(keep_rows=10)
        await self.store.write(sessions(2, 100))
        self.assertEqual(await self.counts(), (38, 38))
        for first in range(200, 240, 2):
            await self.store.write(sessions(2, first))
        self.assertEqual(await self.counts(), (10, 10))

    async def test_what_came_twice_is_not_counted_twice(self) -> None:
        """Else the limit would be reached too early."""
        self.store = self.made(keep_rows=5)
        for _ in range(4):
            await self.store.write(sessions(5))
        self.assertEqual(await self.counts(), (5, 5))
