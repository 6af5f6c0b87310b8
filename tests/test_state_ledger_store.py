"""Tests of smtpgate.state.ledger_store: the commit ledger's rows on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import ILedgerStore, StoreFailed
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.proxy.ledger import COMMITTED, REFUSED, UNKNOWN, Ledger, Row
from smtpgate.smtp.address import NULL_SENDER
from smtpgate.smtp.reply import Reply
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import LedgerStore

ROW = Row("k", "bob@example.net", COMMITTED, "mail:25", 100.0, "S.1", 250, "2.0.0 ok", "e")


class LedgerStoreTests(TestCase):
    """`LedgerStore`."""

    timeout = 30

    def setUp(self) -> None:
        """Open a database."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "state.sqlite"
        self.store = self.opened()

    def opened(self) -> LedgerStore:
        """A store over the same file, as a program has it that starts anew."""
        self.database = Database(self.path)
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        return LedgerStore(self.database)

    async def rows(self, now: float = 0.0) -> list[Row]:
        """What is kept."""
        return [Row(**row) for row in await self.store.load(now)]

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(ILedgerStore, self.store)

    async def test_rows_come_back_as_they_were(self) -> None:
        """After a restart too, and at once for the start."""
        rows = [
            ROW,
            attrs.evolve(ROW, recipient="jörg@example.net", state=UNKNOWN, text="", envelope="", expires=101.5),
        ]
        await self.store.put(rows)
        self.assertEqual(await self.rows(), rows)
        self.database.close()
        self.store = self.opened()
        self.assertEqual([Row(**row) for row in self.store.load_now(0.0)], rows)

    async def test_a_later_row_takes_the_place_of_the_earlier(self) -> None:
        """Of the same message and recipient, and of no other."""
        await self.store.put([ROW, attrs.evolve(ROW, key="k2"), attrs.evolve(ROW, recipient="eve@example.net")])
        later = attrs.evolve(ROW, state=REFUSED, server="b:25", expires=200.0, code=550, text="no", envelope="f")
        await self.store.put([later])
        self.assertEqual(len(await self.rows()), 3)
        self.assertIn(later, await self.rows())
        self.assertNotIn(ROW, await self.rows())

    async def test_twice_in_one_batch(self) -> None:
        """The last counts."""
        await self.store.put([ROW, attrs.evolve(ROW, state=UNKNOWN)])
        self.assertEqual([row.state for row in await self.rows()], [UNKNOWN])

    async def test_nothing_to_write_is_nothing_written(self) -> None:
        """And no error."""
        await self.store.put([])
        self.assertEqual(await self.rows(), [])

    async def test_rows_past_their_time(self) -> None:
        """They are not loaded, and deleted when somebody sweeps."""
        await self.store.put([ROW, attrs.evolve(ROW, key="k2", expires=50.0)])
        self.assertEqual([row.key for row in await self.rows(50.0)], ["k"])
        self.assertEqual(len(await self.rows(0.0)), 2)
        await self.store.expire(50.0)
        self.assertEqual([row.key for row in await self.rows(0.0)], ["k"])

    async def test_a_ledger_over_it_knows_after_a_restart(self) -> None:
        """The two of them together."""
        session = Session("S", "mx", "mx")
        transaction = Transaction("S.1", session, NULL_SENDER, {"SIZE": b"9"})
        states = [("bob@example.net", COMMITTED, "a:25", Reply(250, "2.0.0", ("ok",)))]
        states.append(("eve@example.net", REFUSED, "a:25", Reply(550, "5.1.1", ("no",))))
        await Ledger(bytes(32), lambda: 10.0, self.store).write(transaction, "key", True, states)
        self.database.close()
        self.store = self.opened()
        fresh = Ledger(bytes(32), lambda: 20.0, self.store)
        fresh.load(Row(**row) for row in self.store.load_now(20.0))
        found: Any = fresh.find("key", "bob@example.net")
        self.assertEqual(found.reply, Reply(250, "2.0.0", ("ok",)))
        refused: Any = fresh.word(transaction, "eve@example.net", ["bob@example.net"], [])
        self.assertEqual(refused.code, 550)

    async def test_whatever_is_wrong_is_one_error(self) -> None:
        """A database that another program holds, or that is closed: the engine knows no errors of SQL."""
        await self.store.put([ROW])
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("BEGIN IMMEDIATE")

            def impatient(connection: Any) -> None:
                connection.exec_driver_sql("PRAGMA busy_timeout=1")

            await self.database.run(impatient)
            await self.assertFailure(self.store.put([ROW]), StoreFailed)
            await self.assertFailure(self.store.expire(0.0), StoreFailed)
        await self.store.put([ROW])
        self.database.close()
        for call in (self.store.put([ROW]), self.store.load(0.0), self.store.expire(0.0)):
            await self.assertFailure(call, StoreFailed)
