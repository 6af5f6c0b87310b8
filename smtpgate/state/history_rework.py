"""Rows and words of a part made anew from the records of its sessions, in steps: where something is taken out of them.

Words cannot be taken out of a part one by one, so all of it is written once more beside it, and takes its place at the
end. Meanwhile the part is searched as it was. What a killed process left is thrown away when the next one begins.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from smtpgate.policy.record import listed
from smtpgate.policy.redaction import Change
from smtpgate.state import history_rows as rows
from smtpgate.state.history_record import made
from smtpgate.state.history_words import MESSAGE, SESSION
from smtpgate.state.packing import pack, unpack
from smtpgate.state.tables import messages

#: Rows of one step.
STEP: Final = 500
_BESIDE: Final = "history_rework"
_NAMES: Final = [column.name for column in messages.columns if column.name != "n"]
_UPDATE: Final = f"UPDATE messages SET {', '.join(f'{name} = ?' for name in _NAMES)} WHERE n = ?"


def begin(connection: sa.Connection, part: int) -> None:
    """An empty part beside; nothing more is put into the one that it will replace."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_BESIDE}")
    connection.exec_driver_sql(rows.table_of(_BESIDE))
    connection.exec_driver_sql("UPDATE history_parts SET is_closed = 1 WHERE part = ?", (part,))


def step(connection: sa.Connection, part: int, after: int, change: Change) -> tuple[int, int]:
    """The next rows; the number of the last one, 0 where there are no more or the part has gone, and how many rows were
    of a record that was changed.
    """
    if connection.exec_driver_sql("SELECT 1 FROM history_parts WHERE part = ?", (part,)).scalar() is None:
        return 0, 0
    name = rows.name_of(part)
    sql = f"SELECT rowid FROM {name} WHERE {name} MATCH ? AND rowid > ? ORDER BY rowid LIMIT ?"
    numbers = [row[0] for row in connection.exec_driver_sql(sql, (f'"{MESSAGE}" OR "{SESSION}"', after, STEP))]
    if not numbers:
        return 0, 0
    marks = ", ".join("?" * len(numbers))
    ids = connection.exec_driver_sql(f"SELECT n, id FROM messages WHERE n IN ({marks})", tuple(numbers)).all()
    wanted = set(numbers)
    words: list[tuple[int, str]] = []
    changed = 0
    for id in dict.fromkeys(id.partition(".")[0] for _, id in ids):
        found = connection.exec_driver_sql("SELECT record, numbers FROM sessions WHERE id = ?", (id,)).fetchone()
        if found is None or not found[1]:
            continue
        try:
            kept: Any = unpack(found[0])
            record = kept if isinstance(kept, list) else listed(kept)
        except (ValueError, LookupError, TypeError, AttributeError):
            # Nobody can say what is in a damaged one: it goes.
            _drop(connection, id, found[1])
            continue
        if is_changed := change(record):
            connection.exec_driver_sql("UPDATE sessions SET record = ? WHERE id = ?", (pack(record), id))
        for number, (_, columns, text) in zip(map(int, found[1].split(",")), made(record), strict=False):
            if is_changed:
                connection.exec_driver_sql(_UPDATE, (*columns, number))
            if number in wanted:
                changed += is_changed
                words.append((number, text))
    words.sort()
    if words:
        connection.exec_driver_sql(f"INSERT INTO {_BESIDE} (rowid, words) VALUES (?, ?)", words)
    return numbers[-1], changed


def _drop(connection: sa.Connection, id: str, numbers: str) -> None:
    connection.exec_driver_sql("DELETE FROM messages WHERE n = ?", [(int(one),) for one in numbers.split(",")])
    connection.exec_driver_sql("DELETE FROM sessions WHERE id = ?", (id,))


def end(connection: sa.Connection, part: int, is_coarse: bool) -> None:
    """What was made takes the place of what was."""
    if connection.exec_driver_sql("SELECT 1 FROM history_parts WHERE part = ?", (part,)).scalar() is None:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_BESIDE}")
        return
    connection.exec_driver_sql(f"DROP TABLE {rows.name_of(part)}")
    connection.exec_driver_sql(f"ALTER TABLE {_BESIDE} RENAME TO {rows.name_of(part)}")
    if is_coarse:
        connection.exec_driver_sql("UPDATE history_parts SET is_coarse = 1 WHERE part = ?", (part,))


def with_words(connection: sa.Connection, words: list[str]) -> list[int]:
    """Parts that have one of these words."""
    asked = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
    found = []
    for one in rows.parts(connection):
        name = rows.name_of(one.part)
        if connection.exec_driver_sql(f"SELECT 1 FROM {name} WHERE {name} MATCH ? LIMIT 1", (asked,)).scalar():
            found.append(one.part)
    return found


def too_exact(connection: sa.Connection, before_us: int) -> int | None:
    """A part that is wholly older, and has whole addresses of clients."""
    sql = "SELECT part FROM history_parts WHERE high < ? AND is_coarse = 0 ORDER BY high LIMIT 1"
    found: int | None = connection.exec_driver_sql(sql, (before_us,)).scalar()
    return found
