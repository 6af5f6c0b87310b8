"""One SQLite database in one thread of its own.

WAL, and every commit is on the disk before it is told (synchronous=FULL): users, audit and ledger must survive a kill.
Migrations run at the opening, under the lock of the state folder; a database of a newer program is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpgate.state.folder import StateError

T = TypeVar("T")


class Database:
    """One open database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: sa.Engine | None = None
        self._pool: ThreadPool | None = None
        self._reactor: Any = None

    def open(self) -> None:
        """Open it in this thread and bring its tables up to date. Raises StateError."""
        engine = sa.create_engine(
            f"sqlite:///{self.path}", connect_args={"check_same_thread": False}, poolclass=sa.StaticPool
        )
        sa.event.listen(engine, "connect", _configure)
        try:
            with engine.connect() as connection:
                _migrate(connection, self.path)
        except SQLAlchemyError as error:
            engine.dispose()
            raise StateError(f"{self.path} cannot be used: {error}") from error
        self.path.chmod(0o600)
        self._engine = engine

    def start(self, reactor: Any) -> None:
        """From now on `run` works in a thread."""
        self._reactor = reactor
        self._pool = ThreadPool(1, 1, "database")
        self._pool.start()

    def now(self, function: Callable[..., T], *args: Any) -> T:
        """Run over a connection in this thread, in one transaction."""
        assert self._engine is not None
        with self._engine.begin() as connection:
            return function(connection, *args)

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """The same in the database's thread; fires once it is committed."""
        if self._pool is None:
            raise RuntimeError("the database has no thread yet")
        return deferToThreadPool(self._reactor, self._pool, self.now, function, *args)

    def close(self) -> None:
        """Wait for what is under way, and close."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _configure(connection: Any, record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: sa.Connection, path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if sa.inspect(connection).has_table("alembic_version"):
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if found is not None and found not in known:
            raise StateError(f"{path} was written by a newer version of smtpgate (its tables are {found})")
    command.upgrade(config, "head")
    connection.commit()
