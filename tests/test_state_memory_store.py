"""Tests of smtpgate.state.memory_store: what filters remember over restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import ITable
from smtpgate.state import memory_store
from smtpgate.state.database import Database
from smtpgate.state.memory_store import GATHER_S, MemoryStore


class MemoryStoreTests(TestCase):
    """`MemoryStore` and its tables."""

    timeout = 30

    def setUp(self) -> None:
        """Open a database; the time stands at 1000."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "state.sqlite"
        self.now = 1000.0
        self.events: list[Any] = []
        self.store = self.opened()

    def opened(self) -> MemoryStore:
        """A store over the same file, as a program has it that starts anew."""
        self.database = Database(self.path)
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.clock = Clock()
        return MemoryStore(self.database, self.clock, lambda: self.now, self.events.append)

    async def again(self) -> MemoryStore:
        """The program ends and starts anew."""
        await self.store.close()
        self.database.close()
        return self.opened()

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(ITable, self.store.table("greylist"))

    async def test_values_outlive_the_process(self) -> None:
        """As JSON holds them; tables of other names have others."""
        table = self.store.table("greylist")
        await table.put("k", {"first": 12.5, "tries": [1, 2]}, 60)
        await self.store.table("other").put("k", "other", 60)
        self.assertEqual(await table.get("k"), {"first": 12.5, "tries": [1, 2]})
        store = await self.again()
        self.assertEqual(await store.table("greylist").get("k"), {"first": 12.5, "tries": [1, 2]})
        self.assertEqual(await store.table("other").get("k"), "other")
        self.assertIsNone(await store.table("third").get("k"))

    async def test_a_value_ends_with_its_time(self) -> None:
        """Held in memory or read from the disk; expired rows are taken out."""
        await self.store.table("t").put("k", 1, 60)
        self.now = 1059.0
        self.assertEqual(await self.store.table("t").get("k"), 1)
        self.now = 1060.0
        self.assertIsNone(await self.store.table("t").get("k"))
        store = await self.again()
        self.assertIsNone(await store.table("t").get("k"))
        await store.expire()
        self.now = 1000.0
        store = await self.again()
        self.assertIsNone(await store.table("t").get("k"))

    async def test_a_later_value_replaces_an_earlier_one(self) -> None:
        """In memory and on the disk."""
        table = self.store.table("t")
        await table.put("k", 1, 60)
        self.clock.advance(GATHER_S)
        await table.put("k", 2, 600)
        self.assertEqual(await table.get("k"), 2)
        store = await self.again()
        self.now = 1500.0
        self.assertEqual(await store.table("t").get("k"), 2)

    async def test_writes_go_together(self) -> None:
        """One timer for all, and none while nothing waits."""
        for number in range(50):
            await self.store.table("t").put(f"k{number}", number, 60)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(GATHER_S)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_memory_is_bounded(self) -> None:
        """What was not asked for longest is read from the disk again."""
        self.patch(memory_store, "HELD", 2)
        table = self.store.table("t")
        for number in range(3):
            await table.put(f"k{number}", number, 60)
        self.clock.advance(GATHER_S)
        self.assertEqual([await table.get(f"k{number}") for number in range(3)], [0, 1, 2])

    async def test_too_much_is_a_mistake_of_the_filter(self) -> None:
        """It hears so at once."""
        table = self.store.table("t")
        self.assertRaises(ValueError, table.put, "k", "x" * 5000, 60)
        self.assertRaises(ValueError, table.put, "k" * 600, 1, 60)
        self.assertRaises(TypeError, table.put, "k", {1, 2}, 60)

    async def test_a_database_that_is_gone_is_said_once(self) -> None:
        """What is in memory is still known; what is not, is not known."""
        table = self.store.table("t")
        await table.put("held", 1, 60)
        self.database.close()
        self.assertIsNone(await table.get("other"))
        self.assertIsNone(await table.get("third"))
        self.clock.advance(GATHER_S)
        self.assertEqual(await table.get("held"), 1)
        self.assertEqual([event.name for event in self.events], ["memory.failing"])
