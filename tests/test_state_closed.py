"""What is looked up in a database that cannot be asked fails as the port says, so that a page can tell why."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.query import Query
from smtpgate.state.audit_log import AuditLog
from smtpgate.state.database import Database
from smtpgate.state.factors import Factors
from smtpgate.state.history_store import HistoryStore
from smtpgate.state.search_store import Searches
from smtpgate.state.web_sessions import WebSessions


class ClosedTests(SynchronousTestCase):
    """A database whose threads do not run."""

    def test_each_look_up(self) -> None:
        """History, audit, searches that are kept, sessions of browsers, second factors."""
        database = Database(Path(self.mktemp()))
        history, log = HistoryStore(database, lambda: 0.0), AuditLog(database, lambda: 0.0)
        searches, sessions, factors = Searches(database), WebSessions(database), Factors(database)
        for asked in (
            history.session("a"),
            history.recent(1),
            history.begun_since(0.0, 1),
            history.edge(1),
            history.search(Query(), 1),
            history.count(Query()),
            history.without(Query()),
            log.find(1, 0),
            log.verify(),
            searches.of("user ann"),
            sessions.find("a"),
            sessions.all(),
            factors.users(),
            factors.invitations(0.0),
        ):
            self.failureResultOf(asked, StoreFailed)
