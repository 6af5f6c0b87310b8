"""All that is kept in the state folder, opened and closed as one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import ensureDeferred

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.found import Kept
from smtpgate.state import backup
from smtpgate.state.bodies import Bodies
from smtpgate.state.counter_store import CounterStore
from smtpgate.state.database import Database, DatabaseClosed
from smtpgate.state.folder import StateFolder
from smtpgate.state.history_store import HistoryStore
from smtpgate.state.job_store import JobStore
from smtpgate.state.ledger_store import LedgerStore
from smtpgate.state.memory_store import MemoryStore
from smtpgate.state.offline import DATABASE
from smtpgate.state.register_store import REGISTERED, RegisterStore
from smtpgate.state.revision_store import RevisionStore
from smtpgate.state.series_store import SeriesStore
from smtpgate.state.spool_store import SpoolStore
from smtpgate.state.talker_store import TalkerStore
from smtpgate.state.ticket_store import TicketStore
from smtpgate.state.users import Users
from smtpgate.state.vault import Vault
from smtpgate.state.watch import Watch


class Stores:
    """Of one gateway whose folder is locked.

    :ivar ledger_rows: what the ledger began with
    """

    def __init__(
        self,
        folder: StateFolder,
        reactor: Any,
        in_thread: Callable[..., Any],
        tell: Callable[[Any], None],
        tell_later: Callable[[Any], None],
        kept: Callable[[], Kept],
    ) -> None:
        """Raises StateError, SQLAlchemyError and OSError for what cannot be opened.

        :param tell_later: tells events from any thread
        :param kept: for how long history is kept, as the settings at work say
        """
        path = folder.path
        backup.clear(path)
        self.database = database = Database(path / DATABASE)
        database.open()
        self.ledger = LedgerStore(database)
        self.ledger_rows = self.ledger.load_now(time.time())
        self.history = HistoryStore(database, kept=kept)
        self.counters = CounterStore(database)
        self.series = SeriesStore(database)
        self.talkers = TalkerStore(database)
        self.memory = MemoryStore(database, reactor, time.time, tell)
        self.spool = SpoolStore(path, tell=tell_later)
        self.vault = Vault(database, Bodies(path), in_thread, tell=tell_later)
        self.watch = Watch(reactor, database, self.spool, in_thread, tell)
        self.users = Users(database, in_thread)
        self.register = RegisterStore(path, folder.secret(REGISTERED))
        self.tickets = TicketStore(database, folder.secret("links"))
        self.revisions = RevisionStore(database)
        self.jobs = JobStore(database)
        self.jobs.begin(time.time())

    def start(self, reactor: Any) -> None:
        """The reactor runs."""
        self.database.start(reactor)
        self.watch.start()

    def keep_house(self, now: float) -> None:
        """Delete what is past its time.

        :param now: seconds since the epoch
        """
        self.ledger.expire(now)
        self.history.expire(now)
        for work in (self.history.coarsen(now), self.history.catch_up()):
            ensureDeferred(work).addErrback(lambda failure: failure.trap(DatabaseClosed) and None)
        self.tickets.expire(now).addErrback(lambda failure: failure.trap(StoreFailed) and None)
        self.memory.expire()
        self.counters.expire(now).addErrback(lambda failure: failure.trap(StoreFailed) and None)
