"""One SQLite database: a thread that writes, and one that reads.

WAL, and every commit is on the disk before it is told (synchronous=FULL): users, audit and ledger must
survive a kill. Readers have a connection of their own, so that a long search never keeps the ledger waiting.
Migrations run at the opening, under the lock of the state folder and in one transaction; a database of a newer
program is refused, and so is one that is damaged: nothing is written over it.

SQLite does not notice that its file was taken away, and writes on where nobody will find it. `mend` does: what was
deleted is written anew, and a file that somebody put in its place is taken over with the rows of this one that mail
depends on.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError, SQLAlchemyError, StatementError
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.meter import Histogram
from smtpgate.spent import counted
from smtpgate.state.folder import StateError
from smtpgate.state.tables import held, held_recipients, ledger, letters

T = TypeVar("T")
#: What `Database.mend` had to do.
Mended = Literal["", "restored", "replaced"]

#: Tables that are looked through at each start: what cannot be lost unnoticed. History is large, and only history; so
#: may be what is held, whose octets are in files.
_EXAMINED = (
    "alembic_version",
    "ledger",
    "users",
    "tokens",
    "audit",
    "audit_head",
    "letters",
    "config_revisions",
    "config_pointer",
)
#: What is to be done about a database that is damaged.
REMEDY = "put a copy of it in its place, or move it away to begin with an empty one"

#: The files that SQLite keeps beside a database in WAL mode.
_BESIDE = ("-wal", "-shm")

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON")


class DatabaseClosed(StoreFailed):
    """Asked before the threads were started, or after they were stopped."""


class NewerSchema(StateError):
    """The database was written by a newer version of the program."""


class Database:
    """One open database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: How long each writing took, commit included. Only the thread that writes adds to it.
        self.writes = Histogram()
        self._engine: sa.Engine | None = None
        self._reader: sa.Engine | None = None
        self._reading = threading.Lock()
        #: The files that are open, by what is behind their name: device and inode.
        self._files: dict[str, tuple[int, int] | None] = {}
        self._stranger: tuple[int, ...] | None = None
        self._threads: tuple[ThreadPool, ThreadPool] | None = None
        self._reactor: Any = None

    def open(self) -> None:
        """Open it in this thread and bring its tables up to date. Raises StateError."""
        engine = _engine(self.path, _PRAGMAS)
        try:
            with engine.connect() as connection:
                self.path.chmod(0o600)
                _need_words(connection, self.path)
                _examine(connection, self.path)
                _migrate(connection, self.path)
        except SQLAlchemyError as error:
            engine.dispose()
            remedy = "" if isinstance(error, OperationalError) else f"; {REMEDY}"
            raise StateError(f"{self.path} cannot be used: {_reason(error)}{remedy}") from error
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        self._reader = _engine(self.path, (*_PRAGMAS[2:], "query_only=ON"))
        self._files = {suffix: _identity(self._beside(suffix)) for suffix in ("", *_BESIDE)}

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def start(self, reactor: Any) -> None:
        """From now on `run` and `read` work in threads."""
        self._reactor = reactor
        self._threads = (ThreadPool(1, 1, "database"), ThreadPool(1, 1, "database reader"))
        for pool in self._threads:
            pool.start()

    @property
    def pools(self) -> tuple[tuple[str, ThreadPool], ...]:
        """Its threads, by name; none before the start."""
        return tuple(zip(("database", "database reader"), self._threads or (), strict=False))

    def now(self, function: Callable[..., T], *args: Any) -> T:
        """Run over a connection in this thread, in one transaction."""
        assert self._engine is not None
        began = time.perf_counter()
        try:
            with self._engine.begin() as connection:
                return function(connection, *args)
        finally:
            self.writes.add(time.perf_counter() - began)

    def look_now(self, function: Callable[..., T], *args: Any) -> T:
        """Run over the connection that cannot write, in this thread."""
        with self._reading:
            assert self._reader is not None
            with self._reader.connect() as connection:
                return function(connection, *args)

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """The same in the database's thread, one call after the other; fires once it is committed."""
        if self._threads is None:
            return fail(DatabaseClosed("the database has no thread"))
        return deferToThreadPool(self._reactor, self._threads[0], counted(self.now), function, *args)

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run over a connection that cannot write, beside what is written; sees what was committed before."""
        if self._threads is None:
            return fail(DatabaseClosed("the database has no thread"))
        return deferToThreadPool(self._reactor, self._threads[1], counted(self.look_now), function, *args)

    def mend(self) -> Deferred[Mended]:
        """Look, in the database's thread, whether the file is still where it was, and put right what is not.

        "restored": it was deleted, and all that was in it is there again; "replaced": another file was in its place,
        and is used from now on; "": nothing was wrong, or a file came just now and may not be whole. Fails with
        StateError where nothing can be done: work goes on in the file that is open, which ends with the process.
        """
        if self._threads is None:
            return fail(DatabaseClosed("the database has no thread"))
        return deferToThreadPool(self._reactor, self._threads[0], self.mend_now)

    def mend_now(self) -> Mended:
        """The same in this thread."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stranger = None
            return self._anew()
        except OSError as error:
            raise StateError(f"{self.path} cannot be looked at: {error.strerror}") from error
        if (found.st_dev, found.st_ino) == self._files[""]:
            self._stranger = None
            if self._has_all():
                return ""
            # What was committed last is in the file that was taken away: the copy has it.
            return self._anew()
        stranger = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if stranger != self._stranger:
            self._stranger = stranger
            return ""
        for suffix in _BESIDE:
            # Ours beside a file of somebody else would be taken for its own, and spoil it.
            if _identity(self._beside(suffix)) == self._files[suffix]:
                self._beside(suffix).unlink(missing_ok=True)
        self._reopen()
        self._stranger = None
        return "replaced"

    def _has_all(self) -> bool:
        """The files beside the database are those that are open; SQLite may have made one since the last look."""
        for suffix in _BESIDE:
            now = _identity(self._beside(suffix))
            if self._files[suffix] is None:
                self._files[suffix] = now
            elif self._files[suffix] != now:
                return False
        return True

    def _anew(self) -> Mended:
        try:
            self._restore()
        except (OSError, SQLAlchemyError, sqlite3.Error) as error:
            raise StateError(f"{self.path} was deleted, and cannot be written anew: {error}") from error
        self._reopen()
        return "restored"

    def _restore(self) -> None:
        """A copy of all that is in the open file, put in its place; there whole or not at all."""
        assert self._engine is not None
        fresh = self._beside(".new")
        fresh.unlink(missing_ok=True)
        connection = self._engine.raw_connection()
        try:
            run: Any = connection.cursor().execute
            pages, octets = (run(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
            if shutil.disk_usage(self.path.parent).free < pages * octets:
                raise OSError("there is no room for a copy")
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            run("VACUUM INTO ?", (str(fresh),))
        finally:
            connection.close()
        _sync(fresh)
        for suffix in _BESIDE:
            self._beside(suffix).unlink(missing_ok=True)
        fresh.replace(self.path)
        _sync(self.path.parent)

    def _reopen(self) -> None:
        """Open what lies there now, with the rows that mail depends on, and let go of what was open."""
        fresh = Database(self.path)
        fresh.open()
        try:
            self.now(_carry, fresh)
        except SQLAlchemyError as error:
            fresh.close()
            raise StateError(f"{self.path} cannot be used: {_reason(error)}") from error
        with self._reading:
            old = self._reader, self._engine
            self._reader, self._engine, self._files = fresh._reader, fresh._engine, fresh._files
        for engine in old:
            assert engine is not None
            # SQLite sees that these were moved, and leaves the files of that name alone.
            engine.dispose()

    def close(self) -> None:
        """Wait for what is under way, and close."""
        threads, self._threads = self._threads, None
        for pool in threads or ():
            pool.stop()
        for engine in (self._reader, self._engine):
            if engine is not None:
                engine.dispose()
        self._engine = self._reader = None


def _identity(path: Path) -> tuple[int, int] | None:
    """What is behind a name; None for nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


#: The ledger, and what was answered with 250 and is nowhere else.
_CARRIED = (ledger, held, held_recipients, letters)
_ROWS = 1000


def _carry(connection: sa.Connection, fresh: Database) -> None:
    for table in _CARRIED:
        for rows in connection.execute(sa.select(table)).partitions(_ROWS):
            fresh.now(_put_rows, table, [dict(row._mapping) for row in rows])


def _put_rows(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    way = "OR REPLACE" if table is ledger else "OR IGNORE"
    connection.execute(sa.insert(table).prefix_with(way), rows)


def memory_engine() -> sa.Engine:
    """An empty database in memory, for tests and measurements."""
    return _engine(Path(":memory:"), ())


def _engine(path: Path, pragmas: tuple[str, ...]) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False},
        poolclass=sa.StaticPool,
        hide_parameters=True,
    )

    def connected(connection: Any, record: object) -> None:
        # The driver begins no transaction before a change of a table; so it begins none, and we begin each.
        connection.isolation_level = None
        connection.text_factory = _text
        # Its own LIKE takes large and small letters alike where they are ASCII.
        connection.create_function("fold", 1, _fold, deterministic=True)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    def failed(context: sa.engine.ExceptionContext) -> None:
        # Errors are shown and logged, and values are addresses, subjects and hashes of passwords: what the database
        # says is all that there is to say.
        error = context.sqlalchemy_exception
        if isinstance(error, StatementError):
            error.statement = error.params = error.code = None

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "handle_error", failed)
    sa.event.listen(engine, "begin", begun)
    return engine


def _text(octets: bytes) -> str:
    """A text that is damaged is shown so, and hides no other row of what was asked for."""
    return octets.decode("utf-8", "backslashreplace")


def _fold(text: Any) -> Any:
    return text.casefold() if isinstance(text, str) else text


def _reason(error: SQLAlchemyError) -> str:
    """What the database itself says, without the statement and the advice that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _need_words(connection: sa.Connection, path: Path) -> None:
    """What messages are searched by."""
    if not connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_FTS5')").scalar():
        raise StateError(
            f"{path} cannot be used: the SQLite of this Python ({sqlite3.sqlite_version}) was built without FTS5; "
            "install one that has it (the packages of all large distributions have)"
        )


def _examine(connection: sa.Connection, path: Path) -> None:
    """SQLite finds damage where it reads; here it must read what would be missed too late."""
    tables = sa.inspect(connection).get_table_names()
    for name in _EXAMINED:
        if name in tables:
            found = str(connection.exec_driver_sql(f"PRAGMA quick_check({name})").scalar()).split("\n")[-1]
            if found != "ok":
                raise StateError(f"{path} is damaged (table {name}: {found}); {REMEDY}")


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
