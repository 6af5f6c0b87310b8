"""Revisions of the configuration on disk: texts, drafts, and the one row that says which of them rules.

Each call is one transaction that is on the disk when it fires, so a kill leaves the row as it was or as it is to be,
and never none. The texts are as private as the database (mode 0600). `peek` reads them before the folder is locked:
what the configuration says must be known before anything is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.policy.config_revision import ConfigRevision, Draft, Pointer
from smtpgate.state.database import REMEDY
from smtpgate.state.folder import StateError, as_owner
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import config_drafts as drafts
from smtpgate.state.tables import config_pointer as pointer
from smtpgate.state.tables import config_revisions as revisions

#: Revisions that are kept. Junos keeps 50; ours are as large as a text.
KEPT: Final = 500
_FIELDS: Final = tuple(field.name for field in attrs.fields(ConfigRevision))


class RevisionStore:
    """All revisions of one gateway."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def now(self, function: Any, *args: Any) -> Any:
        """One of the functions below, at once: for the start."""
        return self._database.now(function, *args)

    def _run(self, function: Any, *args: Any) -> Deferred[Any]:
        return self._database.run(function, *args).addErrback(as_store_failure)

    def pointer(self) -> Deferred[Pointer]:
        """Which one rules."""
        return self._run(find_pointer)

    def recent(self, limit: int, before: int = 0) -> Deferred[list[ConfigRevision]]:
        """The newest, without their texts.

        :param before: of a smaller number only; 0: all
        """
        return self._run(_recent, limit, before)

    def with_texts(self, limit: int) -> Deferred[list[ConfigRevision]]:
        """The newest that were at work, the oldest first, with their texts."""
        return self._run(_with_texts, limit)

    def get(self, number: int) -> Deferred[ConfigRevision | None]:
        """One, with its text."""
        return self._run(find, number)

    def add(self, revision: ConfigRevision) -> Deferred[int]:
        """A new one; its number. It does not rule yet."""
        return self._run(add, revision)

    def mark(self, number: int, state: str) -> Deferred[None]:
        """What became of one."""
        return self._run(mark, number, state)

    def point(self, to: Pointer, states: Sequence[tuple[int, str]] = ()) -> Deferred[None]:
        """Another rules, and what became of which: all of it or nothing."""
        return self._run(point, to, tuple(states))

    def draft(self, author: str) -> Deferred[Draft | None]:
        """What somebody writes."""
        return self._run(_draft, author)

    def keep_draft(self, draft: Draft) -> Deferred[None]:
        """Write it, in place of what its author wrote before."""
        return self._run(_keep_draft, draft)

    def drop_draft(self, author: str) -> Deferred[None]:
        """Forget it."""
        return self._run(_drop_draft, author)


def find_pointer(connection: sa.Connection) -> Pointer:
    """Which one rules; that of nothing where there was never one."""
    row = connection.execute(sa.select(pointer)).mappings().first()
    return Pointer(**{name: value for name, value in row.items() if name != "id"}) if row is not None else Pointer()


def find(connection: sa.Connection, number: int) -> ConfigRevision | None:
    """One of a number."""
    row = connection.execute(sa.select(revisions).where(revisions.c.number == number)).mappings().first()
    return ConfigRevision(**row) if row is not None else None


def add(connection: sa.Connection, revision: ConfigRevision) -> int:
    """A new one. The oldest beyond those that are kept goes, where it does not rule."""
    last = connection.execute(sa.select(sa.func.max(revisions.c.number))).scalar() or 0
    row = attrs.asdict(revision) | {"number": last + 1}
    connection.execute(sa.insert(revisions), [row])
    rules = find_pointer(connection)
    old = revisions.c.number <= last + 1 - KEPT
    connection.execute(sa.delete(revisions).where(old & revisions.c.number.not_in((rules.active, rules.former))))
    return int(last + 1)


def mark(connection: sa.Connection, number: int, state: str) -> None:
    """Another state."""
    connection.execute(sa.update(revisions).where(revisions.c.number == number).values(state=state))


def point(connection: sa.Connection, to: Pointer, states: Sequence[tuple[int, str]]) -> None:
    """Another rules."""
    for number, state in states:
        mark(connection, number, state)
    connection.execute(sa.insert(pointer).prefix_with("OR REPLACE"), [{"id": 1, **attrs.asdict(to)}])


def _recent(connection: sa.Connection, limit: int, before: int) -> list[ConfigRevision]:
    columns = [revisions.c[name] if name != "text" else sa.literal("").label("text") for name in _FIELDS]
    query = sa.select(*columns).order_by(revisions.c.number.desc()).limit(limit)
    if before:
        query = query.where(revisions.c.number < before)
    return [ConfigRevision(**row) for row in connection.execute(query).mappings()]


def _with_texts(connection: sa.Connection, limit: int) -> list[ConfigRevision]:
    query = sa.select(revisions).where(revisions.c.state == "applied").order_by(revisions.c.number.desc()).limit(limit)
    return [ConfigRevision(**row) for row in connection.execute(query).mappings()][::-1]


def _draft(connection: sa.Connection, author: str) -> Draft | None:
    row = connection.execute(sa.select(drafts).where(drafts.c.author == author)).mappings().first()
    return Draft(**row) if row is not None else None


def _keep_draft(connection: sa.Connection, draft: Draft) -> None:
    connection.execute(sa.insert(drafts).prefix_with("OR REPLACE"), [attrs.asdict(draft)])


def _drop_draft(connection: sa.Connection, author: str) -> None:
    connection.execute(sa.delete(drafts).where(drafts.c.author == author))


@attrs.frozen
class Peeked:
    """What a state folder says before it is opened.

    :ivar revisions: those that were at work, the newest first; that which rules is the first
    """

    pointer: Pointer
    revisions: tuple[ConfigRevision, ...]


def peek(folder: Path, path: Path) -> Peeked | None:
    """Which revision a start begins with, and what else was at work; None where nothing was kept yet.

    Raises StateError where the database is there and cannot be read.

    :param path: the database
    """
    if not path.exists():
        return None
    with as_owner(folder):
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
            try:
                return _peek(connection)
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            # One that is busy or may not be opened is whole; what is damaged needs a copy (as in `database`).
            remedy = "" if isinstance(error, sqlite3.OperationalError | OSError) else f"; {REMEDY}"
            raise StateError(f"{path} cannot be used: {error}{remedy}") from error


def _peek(connection: sqlite3.Connection) -> Peeked | None:
    connection.row_factory = sqlite3.Row
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if pointer.name not in there:
        return None
    row = connection.execute("SELECT active, former, deadline, seed, mode FROM config_pointer").fetchone()
    if row is None:
        return None
    found = Pointer(*row)
    names = ", ".join(_FIELDS)
    rows = connection.execute(
        f"SELECT {names} FROM config_revisions WHERE state = 'applied' OR number = ? "  # noqa: S608 - names of ours
        "ORDER BY number = ? DESC, number DESC LIMIT 10",
        (found.at_start, found.at_start),
    )
    kept = tuple(ConfigRevision(**dict(one)) for one in rows)
    return Peeked(found, tuple(one for one in kept if one.number != found.active or not found.former))
