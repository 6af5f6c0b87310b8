"""Rows of messages and the index of their words, in the database's thread (`state.history_store`).

Rows are numbered by time, so the newest are found from the end. The index is cut into parts of some time and some
number of rows: a search goes through them from the newest on and stops where it has enough, or where its time is over
and it says so; and a part whose rows are past their time goes whole. A message that ended late may be in a newer part
than its neighbours: a part knows from where to where its rows reach, and parts may overlap.
"""

from __future__ import annotations

import string
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs
import sqlalchemy as sa

from smtpgate.policy.found import NO_MESSAGE, Found, Row
from smtpgate.policy.query import ANY, Clause, Query
from smtpgate.state.history_words import MESSAGE, expression
from smtpgate.state.tables import messages, storable
from smtpgate.state.tables_history import history_parts

#: Rows of one part; whoever asks for a common word waits for a part.
PART_ROWS: Final = 50_000
#: A row is newer than any that will ever come.
END: Final = 2**62
#: A search may take so long; what it has by then is given. 300 ms is what a list may take (docs/admin.md).
SEARCH_S: Final = 0.15
#: Rows looked at one by one between two looks at the clock, at first and at most.
_CHUNK: Final = (1000, 16_000)

_COLUMNS: Final = ", ".join(f"messages.{one.name}" for one in messages.columns)


def name_of(part: int) -> str:
    """The table of a part's words."""
    return f"history_words_{int(part)}"


def table_of(name: str) -> str:
    """How a table of words is made."""
    # All that is printed belongs to a word; the index cuts at blanks.
    marks = string.punctuation.replace("'", "''")
    tokenizer = f"ascii tokenchars '{marks}'".replace('"', '""')
    return (
        f"CREATE VIRTUAL TABLE {name} USING fts5"
        f"(words, content='', detail=none, columnsize=0, tokenize=\"{tokenizer}\")"
    )


@attrs.define
class Part:
    """A part of the index.

    :ivar low: number of its oldest row; `high`: of its newest
    """

    part: int
    low: int
    high: int
    rows: int


def parts(connection: sa.Connection) -> list[Part]:
    """All of them, the newest first."""
    found = connection.exec_driver_sql("SELECT part, low, high, rows FROM history_parts ORDER BY high DESC, part")
    return [Part(*row) for row in found]


def numbered(connection: sa.Connection, wanted: Iterable[int]) -> list[int]:
    """A number for each time (microseconds), in the same order; the next free one where it is taken."""
    asked = list(wanted)
    taken: set[int] = set()
    for at in range(0, len(asked), 64):
        some = asked[at : at + 64]
        marks = ", ".join("?" * len(some))
        sql = f"SELECT n FROM messages WHERE n IN ({marks})"
        taken.update(row[0] for row in connection.exec_driver_sql(sql, tuple(some)))
    given = []
    for number in asked:
        while number in taken or taken and _is_there(connection, number):
            number += 1
        taken.add(number)
        given.append(number)
    return given


def _is_there(connection: sa.Connection, number: int) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM messages WHERE n = ?", (number,)).scalar() is not None


def index(connection: sa.Connection, words: list[tuple[int, str]], span_us: int, most: int) -> None:
    """Put words into a part that has room for them, or into a new one.

    :param words: number and words of each row
    :param span_us: a part reaches over no longer time; `most`: it has no more rows
    """
    if not words:
        return
    words.sort()
    part = _part_for(connection, words[0][0], words[-1][0], len(words), span_us, most)
    # It takes rows that are not in order apart from the rest.
    connection.exec_driver_sql(f"INSERT INTO {name_of(part)} (rowid, words) VALUES (?, ?)", words)


def settle(connection: sa.Connection, span_us: int, most: int) -> int:
    """Put the words that wait into a part; how many rows.

    One statement does it, and the interpreter's lock is free meanwhile.
    """
    # Rows that are past their time already are not looked for any more.
    connection.exec_driver_sql("DELETE FROM history_waiting WHERE n < (SELECT coalesce(min(n), 0) FROM messages)")
    low, high, count = connection.exec_driver_sql("SELECT min(n), max(n), count(*) FROM history_waiting").one()
    if count:
        part = _part_for(connection, low, high, count, span_us, most)
        sql = f"INSERT INTO {name_of(part)} (rowid, words) SELECT n, words FROM history_waiting ORDER BY n"
        connection.exec_driver_sql(sql)
        connection.exec_driver_sql("DELETE FROM history_waiting")
    return int(count)


#: Parts that are looked at for room: live mail, and what is indexed afterwards, have one each.
_OPEN_PARTS: Final = 4


def _part_for(connection: sa.Connection, low: int, high: int, rows: int, span_us: int, most: int) -> int:
    """A part that takes so many rows between these numbers, which are counted as its own from now on."""
    sql = f"SELECT part, low, high, rows, is_closed FROM history_parts ORDER BY part DESC LIMIT {_OPEN_PARTS}"
    newest = [(Part(*row[:4]), row[4]) for row in connection.exec_driver_sql(sql)]
    for one, is_closed in newest:
        if not is_closed and one.rows < most and max(high, one.high) - min(low, one.low) <= span_us:
            connection.exec_driver_sql(
                "UPDATE history_parts SET low = min(low, ?), high = max(high, ?), rows = rows + ? WHERE part = ?",
                (low, high, rows, one.part),
            )
            return one.part
    number = newest[0][0].part + 1 if newest else 1
    connection.exec_driver_sql(table_of(name_of(number)))
    # Words come in large groups: these are put together where there are many, and not again and again (crisismerge).
    connection.exec_driver_sql(f"INSERT INTO {name_of(number)} ({name_of(number)}, rank) VALUES ('automerge', 0)")
    connection.exec_driver_sql(
        "INSERT INTO history_parts (part, low, high, rows) VALUES (?, ?, ?, ?)", (number, low, high, rows)
    )
    return number


#: So many rows are counted; of more it is enough to know about how many there are.
_COUNTED: Final = 100_000


def estimate(connection: sa.Connection) -> int:
    """How many rows there are. Of many only those that are in parts are known, less what is past its time in one."""
    there = parts(connection)
    total = sum(one.rows for one in there)
    oldest = connection.exec_driver_sql("SELECT min(n) FROM messages").scalar()
    if oldest is None or total <= _COUNTED:
        return int(connection.exec_driver_sql("SELECT count(*) FROM messages").scalar() or 0)
    waiting = connection.exec_driver_sql("SELECT count(*) FROM history_waiting").scalar() or 0
    gone = [(one, min(1.0, (oldest - one.low) / max(1, one.high - one.low))) for one in there if one.low < oldest]
    return int(total + waiting - sum(one.rows * share for one, share in gone))


def drop_old(connection: sa.Connection) -> int:
    """Parts go that have no row any more; how many."""
    oldest = connection.exec_driver_sql("SELECT min(n) FROM messages").scalar()
    gone = 0
    for one in parts(connection):
        if oldest is None or one.high < oldest:
            connection.exec_driver_sql(f"DROP TABLE {name_of(one.part)}")
            connection.execute(sa.delete(history_parts).where(history_parts.c.part == one.part))
            gone += 1
    return gone


# Searching


@attrs.frozen
class Asked:
    """A query as the database takes it.

    :ivar words: for the index; "" where it is of no use
    :ivar where: a condition over a row, "" for none; `values`: what it names
    :ivar low, high: numbers of rows: from, and before
    :ivar only: numbers of the only rows that can fit; None for any
    """

    words: str
    where: str
    values: tuple[Any, ...]
    low: int
    high: int
    only: tuple[int, ...] | None


def ask(connection: sa.Connection, query: Query, before: int) -> Asked:
    """A query as the database takes it; `before` as for `search`."""
    universe = MESSAGE if _wants_messages(query) else ""
    conditions: list[str] = []
    values: list[Any] = []
    low, high = 0, before or END
    only: set[int] | None = None
    for clause in query.clauses:
        if clause.field in ("before", "after") and not clause.is_negated:
            for value in clause.values:
                number = int(value.number * 1_000_000)
                if value.mode == "below":
                    high = min(high, number)
                else:
                    low = max(low, number)
        elif clause.field == "id" and not clause.is_negated:
            found = {n for value in clause.values for n in of_reference(connection, value.text)}
            only = found if only is None else only & found
        else:
            said, given = _condition(clause)
            if said:
                conditions.append(f"NOT ({said})" if clause.is_negated else f"({said})")
                values += given
    words = expression(query, universe)
    if universe:
        conditions.append(f"messages.outcome <> '{NO_MESSAGE}'")
    return Asked(words, " AND ".join(conditions), tuple(values), low, high, tuple(only) if only is not None else None)


def _wants_messages(query: Query) -> bool:
    """Sessions without a message are shown to whoever asks for them or for a client."""
    for clause in query.clauses:
        if clause.field in ("ip", "cidr", "id", ANY) and not clause.is_negated:
            return False
        if clause.field == "verdict" and any(value.text == NO_MESSAGE for value in clause.values):
            return False
    return True


def of_reference(connection: sa.Connection, reference: str) -> list[int]:
    """Numbers of the rows of a session or a message."""
    session = reference.partition(".")[0]
    numbers = connection.exec_driver_sql("SELECT numbers FROM sessions WHERE id = ?", (storable(session),)).scalar()
    found = [int(one) for one in (numbers or "").split(",") if one]
    if "." not in reference or not found:
        return found
    marks = ", ".join("?" * len(found))
    sql = f"SELECT n FROM messages WHERE n IN ({marks}) AND id = ?"
    return [row[0] for row in connection.exec_driver_sql(sql, (*found, storable(reference)))]


#: Texts of a row that a part of is looked for in.
_TEXTS: Final = {
    "from": ("sender",),
    "to": ("recipients",),
    "domain": ("sender", "recipients"),
    "subject": ("subject",),
    "message-id": ("message_id",),
    "": ("sender", "recipients", "subject", "message_id", "client_ip"),
}


def _condition(clause: Clause) -> tuple[str, list[Any]]:
    """What the index cannot tell of a row; "" where it can."""
    field = clause.field
    said: list[str] = []
    values: list[Any] = []
    if field in ("size", "score", "before", "after"):
        column = {"size": "octets", "score": "score"}.get(field, "n")
        for value in clause.values:
            sign = {"above": ">", "below": "<"}.get(value.mode, "")
            sign += "" if value.is_open and sign else "="
            said.append(f"messages.{column} {sign} ?")
            values.append(int(value.number * 1_000_000) if column == "n" else value.number)
        return " AND ".join(said), values
    for value in clause.values:
        if field == "id":
            said.append("messages.id = ? OR messages.id LIKE ? ESCAPE '\\'")
            values += (storable(value.text), f"{_escaped(value.text)}.%")
        elif value.mode == "has" or " " in value.text and field in ("", "subject"):
            text = storable(value.text)
            columns = _TEXTS[field] if value.mode == "has" else ("subject",)
            for column in columns:
                pattern = f"%@%{_escaped(text)}%" if field == "domain" else f"%{_escaped(text)}%"
                # The database folds ASCII alone.
                folded = f"messages.{column}" if text.isascii() else f"fold(messages.{column})"
                said.append(f"{folded} LIKE ? ESCAPE '\\'")
                values.append(pattern)
        else:
            return "", []
    return " OR ".join(said), values


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def search(connection: sa.Connection, query: Query, limit: int, before: int = 0, seconds: float = SEARCH_S) -> Found:
    """Rows that fit, newest first.

    :param before: a `Found.place` to go on from; 0 for the newest
    :param seconds: when these are over, what was found is given
    """
    asked = ask(connection, query, before)
    until = time.monotonic() + seconds
    if asked.only is not None:
        return _among(connection, asked, limit)
    found, place = (_by_words if asked.words else _by_rows)(connection, asked, limit + 1, until)
    if len(found) > limit:
        return Found(tuple(found[:limit]), False, found[limit - 1].place)
    return Found(tuple(found), place != 0, place)


def _among(connection: sa.Connection, asked: Asked, limit: int) -> Found:
    numbers = sorted((n for n in asked.only or () if asked.low <= n < asked.high), reverse=True)[:1000]
    if not numbers:
        return Found()
    marks = ", ".join("?" * len(numbers))
    where = f" AND {asked.where}" if asked.where else ""
    sql = f"SELECT {_COLUMNS} FROM messages WHERE n IN ({marks}){where} ORDER BY n DESC"
    found = [_row(row) for row in connection.exec_driver_sql(sql, (*numbers, *asked.values))]
    if asked.words:
        there: set[int] = set()
        for one in parts(connection):
            sql = f"SELECT rowid FROM {name_of(one.part)} WHERE {name_of(one.part)} MATCH ? AND rowid BETWEEN ? AND ?"
            there.update(row[0] for row in connection.exec_driver_sql(sql, (asked.words, numbers[-1], numbers[0])))
        found = [row for row in found if row.place in there]
    return Found(tuple(found[:limit]), False, found[limit - 1].place if len(found) > limit else 0)


def _by_words(connection: sa.Connection, asked: Asked, most: int, until: float) -> tuple[list[Row], int]:
    """Rows, and where to go on; 0 where all that was wanted was found."""
    found: list[Row] = []
    floor = asked.low
    is_begun = False
    for one in parts(connection):
        if one.high < floor or one.low >= asked.high:
            continue
        if one.high + 1 < asked.high and is_begun and time.monotonic() > until:
            # What older parts may still have between the rows is looked for when it goes on.
            return [row for row in found if row.place > one.high], one.high + 1
        is_begun = True
        where = f" AND {asked.where}" if asked.where else ""
        name = name_of(one.part)
        sql = (
            f"SELECT {_COLUMNS} FROM {name} CROSS JOIN messages ON messages.n = {name}.rowid "
            f"WHERE {name} MATCH ? AND {name}.rowid < ? AND {name}.rowid >= ?{where} "
            f"ORDER BY {name}.rowid DESC LIMIT ?"
        )
        values = (asked.words, asked.high, floor, *asked.values, most)
        found += [_row(row) for row in connection.exec_driver_sql(sql, values)]
        found.sort(key=_place, reverse=True)
        del found[most:]
        if len(found) == most:
            floor = found[-1].place + 1
    return found, 0


def _place(row: Row) -> int:
    return row.place


def _by_rows(connection: sa.Connection, asked: Asked, most: int, until: float) -> tuple[list[Row], int]:
    found: list[Row] = []
    for low, high in _chunks(connection, asked):
        if found and len(found) >= most:
            break
        if high != asked.high and time.monotonic() > until:
            return found, high
        where = f" AND {asked.where}" if asked.where else ""
        sql = f"SELECT {_COLUMNS} FROM messages WHERE n < ? AND n >= ?{where} ORDER BY n DESC LIMIT ?"
        values = (high, low, *asked.values, most - len(found))
        found += [_row(row) for row in connection.exec_driver_sql(sql, values)]
    return found, 0


def _chunks(connection: sa.Connection, asked: Asked) -> Iterator[tuple[int, int]]:
    """From the newest on, so many rows at a time that there is a look at the clock every few milliseconds."""
    size, high = _CHUNK[0], asked.high
    while True:
        sql = "SELECT n FROM messages WHERE n < ? AND n >= ? ORDER BY n DESC LIMIT 1 OFFSET ?"
        low = connection.exec_driver_sql(sql, (high, asked.low, size)).scalar()
        yield (asked.low if low is None else low), high
        if low is None:
            return
        high, size = low, min(size * 4, _CHUNK[1])


def _row(row: Any) -> Row:
    (
        n, id, client_ip, listener, sender, recipients, count, message_id, subject, outcome, code, action, score,
        filter, reason, backend, server, octets,
    ) = row  # fmt: skip
    return Row(
        n, id, n / 1_000_000, client_ip, listener, sender, tuple(recipients.split(" ")) if recipients else (), count,
        message_id, subject, outcome, code, action, score, filter, reason, backend, server, octets,
    )  # fmt: skip
