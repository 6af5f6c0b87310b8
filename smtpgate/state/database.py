"""One SQLite database: a thread that writes, and one that reads.

WAL, and every commit is on the disk before it is told (synchronous=FULL): users, audit and ledger must
survive a kill. Readers have a connection of their own, so that a long search never keeps the ledger waiting.
Migrations run at the opening, under the lock of the state folder and in one transaction; a database of a newer
program is refused, and so is one that is damaged: nothing is written over it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpgate.state.folder import StateError

T = TypeVar("T")

#: Tables that are looked through at each start: what cannot be lost unnoticed. History is large, and only history.
_EXAMINED = ("alembic_version", "ledger", "users", "tokens", "audit", "audit_head")
_REMEDY = "put a copy of it in its place, or move it away to begin with an empty one"

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON")


class DatabaseClosed(Exception):
    """Asked before the threads were started, or after they were stopped."""


class NewerSchema(StateError):
    """The database was written by a newer version of the program."""


class Database:
    """One open database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: sa.Engine | None = None
        self._reader: sa.Engine | None = None
        self._threads: tuple[ThreadPool, ThreadPool] | None = None
        self._reactor: Any = None

    def open(self) -> None:
        """Open it in this thread and bring its tables up to date. Raises StateError."""
        engine = _engine(self.path, _PRAGMAS)
        try:
            with engine.connect() as connection:
                self.path.chmod(0o600)
                _examine(connection, self.path)
                _migrate(connection, self.path)
        except SQLAlchemyError as error:
            engine.dispose()
            remedy = "" if isinstance(error, OperationalError) else f"; {_REMEDY}"
            raise StateError(f"{self.path} cannot be used: {_reason(error)}{remedy}") from error
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        self._reader = _engine(self.path, (*_PRAGMAS[2:], "query_only=ON"))

    def start(self, reactor: Any) -> None:
        """From now on `run` and `read` work in threads."""
        self._reactor = reactor
        self._threads = (ThreadPool(1, 1, "database"), ThreadPool(1, 1, "database reader"))
        for pool in self._threads:
            pool.start()

    def now(self, function: Callable[..., T], *args: Any) -> T:
        """Run over a connection in this thread, in one transaction."""
        assert self._engine is not None
        with self._engine.begin() as connection:
            return function(connection, *args)

    def _look(self, function: Callable[..., T], *args: Any) -> T:
        assert self._reader is not None
        with self._reader.connect() as connection:
            return function(connection, *args)

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """The same in the database's thread, one call after the other; fires once it is committed."""
        if self._threads is None:
            return fail(DatabaseClosed("the database has no thread"))
        return deferToThreadPool(self._reactor, self._threads[0], self.now, function, *args)

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run over a connection that cannot write, beside what is written; sees what was committed before."""
        if self._threads is None:
            return fail(DatabaseClosed("the database has no thread"))
        return deferToThreadPool(self._reactor, self._threads[1], self._look, function, *args)

    def close(self) -> None:
        """Wait for what is under way, and close."""
        threads, self._threads = self._threads, None
        for pool in threads or ():
            pool.stop()
        for engine in (self._reader, self._engine):
            if engine is not None:
                engine.dispose()
        self._engine = self._reader = None


def _engine(path: Path, pragmas: tuple[str, ...]) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False}, poolclass=sa.StaticPool)

    def connected(connection: Any, record: object) -> None:
        # The driver begins no transaction before a change of a table; so it begins none, and we begin each.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine


def _reason(error: SQLAlchemyError) -> str:
    """What the database itself says, without the statement and the advice that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _examine(connection: sa.Connection, path: Path) -> None:
    """SQLite finds damage where it reads; here it must read what would be missed too late."""
    tables = sa.inspect(connection).get_table_names()
    for name in _EXAMINED:
        if name in tables:
            found = str(connection.exec_driver_sql(f"PRAGMA quick_check({name})").scalar()).split("\n")[-1]
            if found != "ok":
                raise StateError(f"{path} is damaged (table {name}: {found}); {_REMEDY}")


def _migrate(connection: sa.Connection, path: Path) -> None:
    config = Config()
    # A percent sign in a path would be taken for a reference to another option.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if sa.inspect(connection).has_table("alembic_version"):
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if found is not None and found not in known:
            raise NewerSchema(
                f"{path} was written by a newer version of smtpgate (its tables are {found}); "
                "start that version, or give this one a folder of its own"
            )
    command.upgrade(config, "head")
    connection.commit()
