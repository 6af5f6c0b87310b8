"""Tests of smtpgate.state.database: opened, brought up to date, or refused and left alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

import smtpgate.state
from smtpgate.interfaces import StoreFailed
from smtpgate.state import database as module
from smtpgate.state.database import Database, DatabaseClosed, NewerSchema
from smtpgate.state.folder import StateError
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.offline import DATABASE
from smtpgate.state.tables import ledger, metadata
from smtpgate.state.users import InlineDatabase, Users

MIGRATIONS = Path(smtpgate.state.__file__).parent / "migrations"


def revisions() -> list[str]:
    """Every version that there was, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def upgrade(path: Path, revision: str) -> None:
    """Make a database of an older version."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def ask(path: Path, query: str) -> list[Any]:
    """Look into a file beside the program."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


class DatabaseCase(SynchronousTestCase):
    """A place for a database."""

    def setUp(self) -> None:
        """Name the file."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "state.sqlite"

    def opened(self) -> Database:
        """The database, open."""
        made = Database(self.path)
        made.open()
        self.addCleanup(made.close)
        return made

    def fill(self) -> None:
        """A closed database of this version with a user and some history."""
        made = Database(self.path)
        made.open()
        made.now(_write_rows)
        made.close()


_INSERT = sa.text("INSERT INTO users (name, role, password, created) VALUES (:name, :role, :hash, :created)")


def _write_rows(connection: sa.Connection) -> None:
    connection.execute(
        sa.text("INSERT INTO users (name, role, password, created) VALUES ('anna', 'owner', 'hash', 1.0)")
    )
    _write_sessions(connection)


def _write_sessions(connection: sa.Connection) -> None:
    for number in range(200):
        values = {"id": f"s{number}", "record": b"x" * 2000}
        connection.execute(sa.text("INSERT OR IGNORE INTO sessions VALUES (:id, 1.0, :record, '')"), values)


class ErrorTests(DatabaseCase):
    """What is said where the database fails: it stands on pages and in the log."""

    def test_no_value_is_told(self) -> None:
        """Neither by what it refuses, nor by what cannot be written, nor by what the port makes of it."""
        made = self.opened()
        made.now(_write_rows)
        again = self.assertRaises(SQLAlchemyError, made.now, _write_rows)
        values = {"name": "carl", "role": object(), "hash": "secret", "created": 1.0}
        wrong = self.assertRaises(SQLAlchemyError, made.now, lambda connection: connection.execute(_INSERT, values))
        port = self.assertRaises(StoreFailed, as_store_failure, Failure(again))
        self.assertIn("UNIQUE constraint failed: users.name", str(port))
        for text in (str(again), repr(again), str(wrong), repr(wrong), str(port)):
            for word in ("anna", "hash", "carl", "secret", "INSERT", "sqlalche.me"):
                self.assertNotIn(word, text)


class MigrationTests(DatabaseCase):
    """Databases of older versions."""

    def test_the_tables_are_what_the_program_thinks(self) -> None:
        """All migrations together make what the modules of tables say, no more and no less."""
        for found in iter_modules(smtpgate.state.__path__):
            if found.name.startswith("tables"):
                import_module(f"smtpgate.state.{found.name}")

        def compare(connection: sa.Connection) -> list[Any]:
            return list(compare_metadata(MigrationContext.configure(connection), metadata))

        self.assertEqual(self.opened().now(compare), [])

    def test_every_older_version_is_brought_up_to_date(self) -> None:
        """From each one, with what was in it."""
        self.assertGreater(len(revisions()), 1)
        for revision in revisions():
            path = self.path.with_name(f"{revision}.sqlite")
            upgrade(path, revision)
            connection = sqlite3.connect(path)
            connection.execute(
                "INSERT INTO users (name, role, password, created) VALUES ('anna', 'owner', 'hash', 1.0)"
            )
            connection.execute(
                "INSERT INTO ledger VALUES ('k', 'bob@example.net', 'committed', 'a:25', 9.0, 't', 250, 'x', '')"
            )
            connection.execute("INSERT INTO sessions (id, started, record) VALUES ('s', 1.0, x'00')")
            connection.commit()
            connection.close()
            made = Database(path)
            made.open()
            made.close()
            self.assertEqual(ask(path, "SELECT version_num FROM alembic_version"), [(revisions()[-1],)], revision)
            for table in ("users", "ledger", "sessions"):
                self.assertEqual(ask(path, f"SELECT count(*) FROM {table}"), [(1,)], (revision, table))

    def test_an_audit_of_the_first_version_goes_on(self) -> None:
        """Its chain is still whole, and the next row joins it."""
        old = self.path.with_name("old.sqlite")
        upgrade(old, "0001")
        connection = sqlite3.connect(old)
        before = ""
        for number in range(1, 4):
            said = [before, number, 1.0, "user", "anna", "change", f"x{number}", ""]
            before = hashlib.sha256(json.dumps(said).encode()).hexdigest()
            connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*said[1:], before))
        connection.commit()
        connection.close()
        made = Database(old)
        made.open()
        self.addCleanup(made.close)
        users = Users(InlineDatabase(made), _at_once, lambda: 2.0)
        self.assertEqual(self.successResultOf(users.log.verify()).reason, "")
        self.successResultOf(users.audit(_Actor(), "change", "x4", ""))
        self.assertEqual(self.successResultOf(users.log.verify()).reason, "")
        rows = self.successResultOf(users.log.find(9))
        self.assertEqual([(row["seq"], row["form"]) for row in rows], [(4, 2), (3, 1), (2, 1), (1, 1)])

    def test_a_newer_version_is_refused_and_left_alone(self) -> None:
        """It says which one."""
        self.fill()
        connection = sqlite3.connect(self.path)
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.close()
        before = self.path.read_bytes()
        error = self.assertRaises(NewerSchema, Database(self.path).open)
        self.assertIn("was written by a newer version of smtpgate (its tables are 9999)", str(error))
        self.assertEqual(self.path.read_bytes(), before)

    def test_a_migration_that_fails_changes_nothing(self) -> None:
        """All of it is one transaction: the old program can go on."""
        upgrade(self.path, "0001")
        connection = sqlite3.connect(self.path)
        # The last step of the migration meets a trigger that is there already.
        connection.execute("CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT 1; END")
        connection.commit()
        connection.close()
        error = self.assertRaises(StateError, Database(self.path).open)
        self.assertIn("trigger audit_no_delete already exists", str(error))
        self.assertEqual(ask(self.path, "SELECT version_num FROM alembic_version"), [("0001",)])
        self.assertEqual(ask(self.path, "SELECT name FROM sqlite_master WHERE name LIKE '%audit_head%'"), [])

    def test_opening_again_changes_nothing(self) -> None:
        """What is up to date stays as it is."""
        self.fill()
        made = self.opened()
        self.assertEqual(made.now(lambda c: c.exec_driver_sql("SELECT count(*) FROM users").scalar()), 1)


class _Actor:
    kind, name = "user", "anna"


def _at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class DamageTests(DatabaseCase):
    """A database that cannot be trusted."""

    def refused(self, octets: bytes) -> str:
        """What is said about a file with these octets; it is still the same afterwards."""
        self.path.write_bytes(octets)
        error = self.assertRaises(StateError, Database(self.path).open)
        self.assertEqual(self.path.read_bytes(), octets)
        self.assertEqual([path.name for path in self.path.parent.iterdir()], [self.path.name])
        self.assertIn(str(self.path), str(error))
        self.assertNotIn("sqlalche.me", str(error))
        return str(error)

    def test_torn_and_overwritten_files_are_refused_and_left_alone(self) -> None:
        """At whatever place; the text says what to do."""
        self.fill()
        good = self.path.read_bytes()
        page = 4096
        noise = bytes(octet ^ 0x55 for octet in good[page:])
        for name, octets in (
            ("no database", b"smtpgate" * 1000),
            ("half of it", good[: len(good) // 2]),
            ("one page", good[:page]),
            ("part of a page", good[:100]),
            ("zeros behind the first page", good[:page] + bytes(len(good) - page)),
            ("zeros at the start", bytes(page) + good[page:]),
            ("noise", good[:page] + noise),
        ):
            with self.subTest(name=name):
                said = self.refused(octets)
                self.assertIn("put a copy of it in its place, or move it away to begin with an empty one", said)

    def test_damage_in_a_table_that_counts_is_found_at_the_start(self) -> None:
        """Not when somebody wants to log in."""
        self.fill()
        root = ask(self.path, "SELECT rootpage FROM sqlite_master WHERE name = 'users'")[0][0]
        octets = bytearray(self.path.read_bytes())
        octets[(root - 1) * 4096 : (root - 1) * 4096 + 8] = b"\x55" * 8
        self.assertRegex(self.refused(bytes(octets)), "is damaged|malformed")

    def test_somebody_else_s_database_is_refused(self) -> None:
        """What is in it stays."""
        connection = sqlite3.connect(self.path)
        connection.execute("CREATE TABLE users (x)")
        connection.execute("INSERT INTO users VALUES (1)")
        connection.commit()
        connection.close()
        error = self.assertRaises(StateError, Database(self.path).open)
        self.assertIn("table users already exists", str(error))
        self.assertEqual(ask(self.path, "SELECT * FROM users"), [(1,)])
        self.assertEqual(ask(self.path, "SELECT name FROM sqlite_master"), [("users",)])

    def test_a_folder_in_its_place(self) -> None:
        """It is not a matter of a copy."""
        self.path.mkdir()
        error = self.assertRaises(StateError, Database(self.path).open)
        self.assertIn("cannot be used: unable to open database file", str(error))
        self.assertNotIn("copy", str(error))

    def test_an_empty_file_is_a_new_database(self) -> None:
        """So it looks when the very first start was killed."""
        self.path.write_bytes(b"")
        self.opened()
        self.assertEqual(ask(self.path, "SELECT count(*) FROM users"), [(0,)])

    def test_a_kill_loses_nothing_that_was_told(self) -> None:
        """What lies in the write-ahead log is taken over; a torn end of it is not."""
        made = self.opened()
        made.now(_write_rows)
        log = self.path.with_name(self.path.name + "-wal")
        copy = self.path.with_name("copy.sqlite")
        copy_log = copy.with_name(copy.name + "-wal")
        for torn in (b"", b"\x55" * 1000):
            copy.write_bytes(self.path.read_bytes())
            copy_log.write_bytes(log.read_bytes() + torn)
            again = Database(copy)
            again.open()
            count = again.now(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar())
            again.close()
            self.assertEqual(count, 200)

    def test_S_35_only_this_user_reads_it(self) -> None:
        """There are hashes of passwords in it."""
        self.opened().now(_write_rows)
        for path in self.path.parent.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)


class MendTests(DatabaseCase):
    """The file taken away, or another put in its place, while the database is open."""

    def setUp(self) -> None:
        """One that is open, with a row of every kind."""
        super().setUp()
        self.database = self.opened()
        self.database.now(_write_rows)
        self.ledger("first")

    def ledger(self, key: str, recipient: str = "bob@example.net", text: str = "x") -> None:
        """Note a row as the program does."""
        row = {"key": key, "recipient": recipient, "state": "committed", "server": "a:25", "expires": 9.0}
        row |= {"transaction_id": "t", "code": 250, "text": text, "envelope": ""}
        self.database.now(lambda connection: connection.execute(sa.insert(ledger), row))

    def kept(self) -> list[str]:
        """Keys of the ledger as a start after a kill finds them: in copies of what lies in the folder now."""
        place = self.path.parent / "killed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for suffix in ("", "-wal"):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                shutil.copy(source, place)
        made = Database(place / self.path.name)
        made.open()
        try:
            return [row[0] for row in made.now(lambda c: c.execute(sa.select(ledger.c.key)).fetchall())]
        finally:
            made.close()

    def checkpoint(self) -> None:
        """Have all that is in the log written to the file itself."""
        assert self.database._engine is not None
        connection = self.database._engine.raw_connection()
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        connection.close()

    def remove(self, *suffixes: str) -> None:
        """As `rm` does."""
        for suffix in suffixes:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def test_where_nothing_is_wrong_nothing_is_done(self) -> None:
        """The same files, and the same connection."""
        inode = self.path.stat().st_ino
        engine = self.database._engine
        self.assertEqual(self.database.mend_now(), "")
        self.assertEqual(self.path.stat().st_ino, inode)
        self.assertIs(self.database._engine, engine)

    def test_a_deleted_file_is_written_anew(self) -> None:
        """With all that was in it, whichever of its files were deleted; what comes later is in it too."""
        for number, suffixes in enumerate(
            (("",), ("", "-shm"), ("", "-wal"), ("", "-wal", "-shm"), ("-wal",), ("-shm",), ("-wal", "-shm"))
        ):
            with self.subTest(suffixes=suffixes):
                self.ledger(f"before{number}")
                # The copy has other pages than the original with its free ones, and few of these are in the log: who
                # reads the old log over the new file reads nonsense.
                self.database.now(_write_sessions)
                self.database.now(lambda c: c.exec_driver_sql("DELETE FROM sessions"))
                self.checkpoint()
                self.remove(*suffixes)
                self.ledger(f"lost{number}")
                self.assertEqual(self.database.mend_now(), "restored")
                self.ledger(f"after{number}")
                self.assertEqual(self.database.mend_now(), "")
                found = self.kept()
                for word in ("before", "lost", "after"):
                    self.assertIn(f"{word}{number}", found)
                self.assertEqual(self.database.look_now(_count), 0)
                self.assertEqual(ask(self.path, "SELECT name FROM users"), [("anna",)])
                self.assertEqual(ask(self.path, "PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(len(self.kept()), 22)

    def test_S_35_what_is_written_anew_is_for_this_user_alone(self) -> None:
        """There are hashes of passwords in it; nothing else is left."""
        self.remove("", "-wal", "-shm")
        self.database.mend_now()
        self.database.look_now(_count)
        names = {path.name for path in self.path.parent.iterdir()}
        self.assertEqual(names, {self.path.name + suffix for suffix in ("", "-wal", "-shm")})
        for path in self.path.parent.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def other(self, *keys: str) -> Path:
        """Another database with such rows in its ledger, closed."""
        made = Database(self.path.with_name("other.sqlite"))
        made.open()
        for key in keys:
            made.now(
                lambda c, key=key: c.exec_driver_sql(
                    f"INSERT INTO ledger VALUES ('{key}', 'bob@example.net', 'unknown', 'b:25', 9.0, 'o', 0, '', '')"
                )
            )
        made.now(
            lambda c: c.exec_driver_sql(
                "INSERT INTO users (name, role, password, created) VALUES ('eve', 'owner', 'hash', 1.0)"
            )
        )
        made.close()
        return made.path

    def test_another_file_is_taken_over_once_it_rests(self) -> None:
        """It may be a copy that is still being made. Its users hold, and our ledger with what it had itself."""
        self.other("first", "theirs").replace(self.path)
        self.assertEqual(self.database.mend_now(), "")
        self.ledger("between")
        os.utime(self.path)
        self.assertEqual(self.database.mend_now(), "")
        self.assertEqual(self.database.mend_now(), "replaced")
        self.ledger("after")
        self.assertEqual(sorted(self.kept()), ["after", "between", "first", "theirs"])
        self.assertEqual(ask(self.path, "SELECT state FROM ledger WHERE key = 'first'"), [("committed",)])
        self.assertEqual(ask(self.path, "SELECT name FROM users"), [("eve",)])
        self.assertEqual(ask(self.path, "PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(self.database.look_now(_count), 0)
        self.assertEqual(self.database.mend_now(), "")

    def test_a_file_that_is_none_of_ours_is_left_alone(self) -> None:
        """We go on with what is open, and say why; once it is a database it is taken."""
        self.path.unlink()
        self.path.write_bytes(b"smtpgate" * 1000)
        self.assertEqual(self.database.mend_now(), "")
        for _ in range(2):
            error = self.assertRaises(StateError, self.database.mend_now)
            self.assertIn("file is not a database", str(error))
            self.assertEqual(self.path.read_bytes(), b"smtpgate" * 1000)
        self.ledger("still")
        self.path.unlink()
        self.assertEqual(self.database.mend_now(), "restored")
        self.assertEqual(sorted(self.kept()), ["first", "still"])

    def test_a_folder_that_is_gone_is_an_error(self) -> None:
        """Until it is there again."""
        self.path.parent.rename(self.path.parent.with_suffix(".away"))
        error = self.assertRaises(StateError, self.database.mend_now)
        self.assertIn("was deleted, and cannot be written anew", str(error))
        self.ledger("still")
        self.path.parent.mkdir()
        self.assertEqual(self.database.mend_now(), "restored")
        self.assertEqual(sorted(self.kept()), ["first", "still"])

    def test_a_disk_without_room_is_an_error(self) -> None:
        """Nothing is begun that cannot be ended, and nothing half is left."""
        self.remove("", "-wal", "-shm")
        usage = shutil.disk_usage(self.path.parent)
        self.patch(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        error = self.assertRaises(StateError, self.database.mend_now)
        self.assertIn("there is no room for a copy", str(error))
        self.assertEqual(list(self.path.parent.iterdir()), [])


class ThreadTests(TestCase):
    """`run` and `read`."""

    timeout = 30

    def setUp(self) -> None:
        """Open one with its threads."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)

    async def test_work_leaves_the_reactor_s_thread(self) -> None:
        """One thread writes, another reads."""
        here = threading.get_ident()
        writer = await self.database.run(lambda connection: threading.get_ident())
        reader = await self.database.read(lambda connection: threading.get_ident())
        self.assertEqual(len({here, writer, reader}), 3)
        self.assertEqual(await self.database.run(lambda connection: threading.get_ident()), writer)

    async def test_a_reader_sees_what_was_committed(self) -> None:
        """And nothing of what was rolled back."""
        await self.database.run(_write_rows)
        self.assertEqual(await self.database.read(_count), 200)

        def fails(connection: sa.Connection) -> None:
            connection.execute(sa.text("DELETE FROM sessions"))
            raise ValueError("no")

        await self.assertFailure(self.database.run(fails), ValueError)
        self.assertEqual(await self.database.read(_count), 200)
        self.assertEqual(await self.database.run(_count), 200)

    async def test_a_reader_cannot_write(self) -> None:
        """By the database's own word."""
        error = await self.assertFailure(self.database.read(_write_rows), sa.exc.OperationalError)
        self.assertIn("readonly", str(error))

    async def test_a_long_look_keeps_no_writer_waiting(self) -> None:
        """The ledger is written while somebody searches."""
        seen, written = threading.Event(), threading.Event()

        def look(connection: sa.Connection) -> tuple[Any, bool, Any]:
            before = _count(connection)
            seen.set()
            came = written.wait(20)
            return before, came, _count(connection)

        looking: Deferred[Any] = self.database.read(look)

        def write(connection: sa.Connection) -> None:
            seen.wait(20)
            _write_rows(connection)

        await self.database.run(write)
        written.set()
        # One look is one moment: what came meanwhile is not in it.
        self.assertEqual(await looking, (0, True, 0))

    async def test_after_the_end_there_is_an_answer_too(self) -> None:
        """And what was under way was finished."""
        under_way = self.database.run(_write_rows)
        self.database.close()
        await under_way
        for ask_ in (self.database.run, self.database.read):
            await self.assertFailure(ask_(_count), DatabaseClosed)
        self.database.close()
        self.assertEqual(ask(self.database.path, "SELECT count(*) FROM sessions"), [(200,)])

    async def test_before_the_start_there_is_no_thread(self) -> None:
        """Who asks too early hears so."""
        fresh = Database(self.database.path.with_name("other.sqlite"))
        fresh.open()
        self.addCleanup(fresh.close)
        await self.assertFailure(fresh.run(_count), DatabaseClosed)

    def test_the_settings_of_the_connection(self) -> None:
        """A commit that was told is on the disk (promise 1)."""

        def pragmas(connection: sa.Connection) -> list[Any]:
            names = ("journal_mode", "synchronous", "foreign_keys")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        self.assertEqual(self.database.now(pragmas), ["wal", 2, 1])
        self.assertTrue(module._PRAGMAS)


def _count(connection: sa.Connection) -> Any:
    return connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar()


class StartTests(DatabaseCase):
    """The whole program over a bad state folder."""

    def test_a_damaged_database_keeps_the_gateway_from_starting(self) -> None:
        """Exit code 5 and the reason; the file is still there as it was."""
        folder = self.path.parent
        config = folder / "gate.toml"
        config.write_text(
            'hostname = "gate.example.com"\nlocal_domains = ["example.net"]\nstate_dir = "state"\n'
            '[admin]\nlisten = "off"\n'
            '[listeners.mx]\nlisten = "tcp:0:interface=127.0.0.1"\ntls = "off"\n'
            '[backends.mail]\nservers = "127.0.0.1:25"\n[[routes]]\nbackend = "mail"\n'
        )
        (folder / "state").mkdir(mode=0o700)
        database = folder / "state" / DATABASE
        database.write_bytes(b"torn" * 5000)
        twistd = Path(sys.executable).with_name("twistd")
        command_ = [str(twistd), "-n", "--pidfile=", "smtpgate", "--config", str(config)]
        ended = subprocess.run(command_, capture_output=True, timeout=60, cwd=folder)
        self.assertEqual(ended.returncode, 5, ended)
        self.assertIn(f"{database} cannot be used: file is not a database".encode(), ended.stdout + ended.stderr)
        self.assertEqual(database.read_bytes(), b"torn" * 5000)
