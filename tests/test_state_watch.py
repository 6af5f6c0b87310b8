"""Tests of smtpgate.state.watch: what is wrong with the state folder is told once, and put right where it can be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtpgate.policy.event import Happened
from smtpgate.state.database import Database
from smtpgate.state.spool_store import SpoolStore
from smtpgate.state.watch import WATCH_S, Watch


class WatchTests(TestCase):
    """`Watch`."""

    timeout = 30

    def setUp(self) -> None:
        """A state folder that is watched."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.told: list[Happened] = []
        self.database = Database(self.folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.clock = Clock()
        self.watch = Watch(
            self.clock, self.database, SpoolStore(self.folder, tell=self.told.append), maybeDeferred, self.told.append
        )

    def names(self) -> list[str]:
        """What was told since the last time."""
        names = [event.name for event in self.told]
        self.told.clear()
        return names

    async def test_all_is_well(self) -> None:
        """Nothing is told."""
        await self.watch.look()
        self.assertEqual(self.names(), [])

    async def test_a_deleted_database(self) -> None:
        """It is there again, and said so once."""
        self.database.path.unlink()
        await self.watch.look()
        await self.watch.look()
        self.assertEqual(self.names(), ["database.restored"])
        self.assertTrue(self.database.path.exists())

    async def test_another_database(self) -> None:
        """It is taken over, and said so once."""
        other = Database(self.folder / "other.sqlite")
        other.open()
        other.close()
        other.path.replace(self.database.path)
        for _ in range(4):
            await self.watch.look()
        self.assertEqual(self.names(), ["database.replaced"])

    async def test_what_cannot_be_put_right_is_told_once(self) -> None:
        """With the reason; another reason is another trouble, and the end is told."""
        away = self.folder.with_suffix(".away")
        self.folder.rename(away)
        for _ in range(3):
            await self.watch.look()
        (event,) = self.told
        self.assertEqual((event.name, event.level), ("state.lost", "error"))
        self.assertIn("cannot be written anew", str(dict(event.fields)["reason"]))
        self.names()
        away.rename(self.folder)
        for _ in range(3):
            await self.watch.look()
        self.assertEqual(self.names(), ["state.recovered"])
        shutil.rmtree(self.folder / "spool")
        for _ in range(3):
            await self.watch.look()
        self.assertEqual(self.names(), ["state.lost"])

    async def test_it_looks_by_itself_until_it_is_stopped(self) -> None:
        """At its pace; at the end of the gateway nothing is left of it."""
        asked: list[Any] = []
        look = self.database.mend

        def mend() -> Deferred[Any]:
            asked.append(look())
            return asked[-1]

        self.patch(self.database, "mend", mend)
        self.watch.start()
        self.clock.advance(WATCH_S - 1)
        self.assertEqual(asked, [])
        for count in (1, 2):
            self.clock.advance(WATCH_S)
            self.assertEqual(len(asked), count)
            await asked[-1]
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_after_the_end_of_the_database(self) -> None:
        """A look that comes too late is none."""
        self.database.close()
        await self.watch.look()
        self.assertEqual(self.names(), [])
