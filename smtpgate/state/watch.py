"""The state folder looked at from time to time: is there room, and is the database where it was?

What is wrong is told once, and again when it is over or another thing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from smtpgate.policy.event import Happened
from smtpgate.state.database import Database, DatabaseClosed
from smtpgate.state.spool_store import SpoolStore

#: So often; a row of the ledger that went nowhere meanwhile is in memory still.
WATCH_S = 10.0


class Watch:
    """Looks after one state folder."""

    def __init__(
        self,
        clock: Any,
        database: Database,
        spool: SpoolStore,
        in_thread: Callable[..., Deferred[Any]],
        tell: Callable[[Happened], None],
    ) -> None:
        """
        :param clock: IReactorTime
        :param in_thread: runs a blocking call elsewhere
        """
        self._database = database
        self._spool = spool
        self._in_thread = in_thread
        self._tell = tell
        self._trouble = ""
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Look from now on."""
        self._loop.start(WATCH_S, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.look())

    async def look(self) -> None:
        """Look now."""
        try:
            await self._in_thread(self._spool.look)
        except OSError as error:
            trouble = f"the spool folder cannot be looked at: {error}"
        else:
            trouble = ""
        file = ("file", str(self._database.path))
        try:
            mended = await self._database.mend()
        except DatabaseClosed:
            return
        except Exception as error:
            mended = ""
            trouble = str(error)
        if mended == "restored":
            message = "the database was deleted under the gateway; all that was in it is written there anew"
            self._tell(Happened("database.restored", "warning", message, (file,)))
        elif mended == "replaced":
            message = "another database was put in the place of ours; it is used from now on, with our ledger in it"
            self._tell(Happened("database.replaced", "warning", message, (file,)))
        if trouble and trouble != self._trouble:
            message = "the state folder is not what it was; what is written now may be lost when the gateway stops"
            self._tell(Happened("state.lost", "error", message, (file, ("reason", trouble))))
        elif self._trouble and not trouble and not mended:
            self._tell(Happened("state.recovered", "info", "the state folder is as it was", (file,)))
        self._trouble = trouble
