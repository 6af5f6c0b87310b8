"""People with held mail of their own, on the disk: their addresses, lists and digests (`policy.person`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from twisted.internet.defer import Deferred

from smtpgate.policy.held import Letter
from smtpgate.policy.own import MOST
from smtpgate.policy.person import Entry, Person, Preferences
from smtpgate.state import vault_rows
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import storable
from smtpgate.state.tables_people import digest_marks, own_entries, own_preferences, user_addresses

#: Marks are looked for in such groups: SQLite takes so many values in a query.
_GROUP = 500
#: What marks of users begin with, and of those who chose another schedule; no address has a blank there.
USER = "user "
_SWITCHED = "switched "


class People:
    """The tables, each call giving an awaitable."""

    def __init__(self, database: Any, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall

    def load_now(self) -> list[Person]:
        """All who have an address, in this thread: for the start."""
        found: list[Person] = self._database.now(_people)
        return found

    def all(self) -> Deferred[list[Person]]:
        """All who have an address."""
        return self._database.read(_people).addErrback(as_store_failure)

    def person(self, name: str) -> Deferred[Person]:
        """One; of a user who has chosen nothing, one with nothing."""
        return self._database.run(_person, name).addErrback(as_store_failure)

    def owners(self, addresses: Sequence[str]) -> Deferred[dict[str, str]]:
        """By address whose it is, of those that are somebody's."""
        return self._database.run(_owners, tuple(addresses)).addErrback(as_store_failure)

    def set_addresses(self, name: str, addresses: Sequence[str]) -> Deferred[None]:
        """Other addresses of a user; each goes from whoever had it."""
        return self._database.run(_set_addresses, name, tuple(addresses), self._wall()).addErrback(as_store_failure)

    def entries(self, name: str) -> Deferred[list[Entry]]:
        """The lists of a user, by entry."""
        return self._database.run(_entries, name).addErrback(as_store_failure)

    def put_entry(self, name: str, entry: str, kind: str) -> Deferred[bool]:
        """Add an entry, or give it another kind; False where there are `policy.own.MOST` already."""
        return self._database.run(_put_entry, name, entry, kind, self._wall()).addErrback(as_store_failure)

    def drop_entry(self, name: str, entry: str) -> Deferred[bool]:
        """One less; False where it is not there."""
        return self._database.run(_drop_entry, name, entry).addErrback(as_store_failure)

    def set_preferences(self, name: str, preferences: Preferences, heard: tuple[float, bool]) -> Deferred[None]:
        """What a user chose.

        :param heard: up to when they have heard of what is held under the schedule before; False: they heard of nothing
            under it, and are not told of that later
        """
        return self._database.run(_set_preferences, name, preferences, heard).addErrback(as_store_failure)

    # Digests

    def marks(self, who: Sequence[str]) -> Deferred[dict[str, float]]:
        """Up to when some users or addresses have heard of what is held, where a mark says so."""
        return self._database.run(_marks, tuple(who)).addErrback(as_store_failure)

    def switched(self) -> Deferred[dict[str, float]]:
        """Users who chose another schedule and have not heard under it yet: up to when they had heard before."""
        return self._database.run(_switched).addErrback(as_store_failure)

    def settle(self, names: Sequence[str], before: float) -> Deferred[None]:
        """Users have heard under the schedule that they chose; and marks from before a time go, which say no more."""
        return self._database.run(_settle, tuple(names), before).addErrback(as_store_failure)

    def announce(self, letter: Letter, who: str, until: float) -> Deferred[None]:
        """A digest is to go; that somebody has heard up to a time is written with it."""
        return self._database.run(_announce, letter, who, until).addErrback(as_store_failure)


def forget_person(connection: sa.Connection, name: str) -> None:
    """All of a user goes: within the transaction that takes the user away."""
    for table in (user_addresses, own_entries, own_preferences):
        connection.execute(sa.delete(table).where(table.c.user == name))
    connection.execute(sa.delete(digest_marks).where(digest_marks.c.who.in_((USER + name, _SWITCHED + name))))


def _people(connection: sa.Connection) -> list[Person]:
    columns = user_addresses.c
    found: dict[str, list[str]] = {}
    for row in connection.execute(sa.select(columns.user, columns.address).order_by(columns.at, columns.address)):
        found.setdefault(row.user, []).append(row.address)
    entries: dict[str, dict[str, str]] = {}
    for row in connection.execute(sa.select(own_entries)):
        entries.setdefault(row.user, {})[row.entry] = row.kind
    chosen = {row.user: _as_preferences(row) for row in connection.execute(sa.select(own_preferences))}
    return [
        Person(name, tuple(addresses), entries.get(name, {}), chosen.get(name, Preferences()))
        for name, addresses in found.items()
    ]


def _as_preferences(row: Any) -> Preferences:
    return Preferences(row.digest, row.at, row.weekday, row.language)


def _person(connection: sa.Connection, name: str) -> Person:
    columns = user_addresses.c
    query = sa.select(columns.address).where(columns.user == name).order_by(columns.at, columns.address)
    addresses = tuple(connection.execute(query).scalars())
    entries = {one.entry: one.kind for one in _entries(connection, name)}
    chosen = connection.execute(sa.select(own_preferences).where(own_preferences.c.user == name)).first()
    return Person(name, addresses, entries, _as_preferences(chosen) if chosen is not None else Preferences())


def _owners(connection: sa.Connection, addresses: Sequence[str]) -> dict[str, str]:
    columns = user_addresses.c
    rows = connection.execute(sa.select(columns.address, columns.user).where(columns.address.in_(addresses)))
    return {row.address: row.user for row in rows}


def _set_addresses(connection: sa.Connection, name: str, addresses: Sequence[str], now: float) -> None:
    columns = user_addresses.c
    connection.execute(sa.delete(user_addresses).where((columns.user == name) | columns.address.in_(addresses)))
    # Their order is the order of their times.
    rows = [
        {"user": name, "address": address, "at": now + place * 1e-3}
        for place, address in enumerate(dict.fromkeys(map(storable, addresses)))
    ]
    if rows:
        connection.execute(sa.insert(user_addresses), rows)


def _entries(connection: sa.Connection, name: str) -> list[Entry]:
    rows = connection.execute(sa.select(own_entries).where(own_entries.c.user == name).order_by(own_entries.c.entry))
    return [Entry(row.entry, row.kind, row.at) for row in rows]


def _put_entry(connection: sa.Connection, name: str, entry: str, kind: str, now: float) -> bool:
    columns = own_entries.c
    count = sa.select(sa.func.count()).select_from(own_entries).where((columns.user == name) & (columns.entry != entry))
    if int(connection.execute(count).scalar() or 0) >= MOST:
        return False
    row = {"user": name, "entry": storable(entry), "kind": kind, "at": now}
    changed = insert(own_entries).values(row).on_conflict_do_update(set_={"kind": kind, "at": now})
    connection.execute(changed)
    return True


def _drop_entry(connection: sa.Connection, name: str, entry: str) -> bool:
    columns = own_entries.c
    gone = connection.execute(sa.delete(own_entries).where((columns.user == name) & (columns.entry == storable(entry))))
    return bool(gone.rowcount)


def _set_preferences(connection: sa.Connection, name: str, preferences: Preferences, heard: tuple[float, bool]) -> None:
    values = attrs.asdict(preferences)
    changed = insert(own_preferences).values(user=name, **values).on_conflict_do_update(set_=values)
    connection.execute(changed)
    at, was_told = heard
    mark = insert(digest_marks).values(who=_SWITCHED + name, until=at)
    # Of two changes before the next digest the first one says how far it goes back.
    again = mark.on_conflict_do_nothing() if was_told else mark.on_conflict_do_update(set_={"until": at})
    connection.execute(again)


def _marks(connection: sa.Connection, who: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    columns = digest_marks.c
    for at in range(0, len(who), _GROUP):
        some = [storable(one) for one in who[at : at + _GROUP]]
        rows = connection.execute(sa.select(columns.who, columns.until).where(columns.who.in_(some)))
        found.update({row.who: row.until for row in rows})
    return found


def _switched(connection: sa.Connection) -> dict[str, float]:
    columns = digest_marks.c
    rows = connection.execute(sa.select(columns.who, columns.until).where(columns.who.startswith(_SWITCHED)))
    return {row.who.removeprefix(_SWITCHED): row.until for row in rows}


def _settle(connection: sa.Connection, names: Sequence[str], before: float) -> None:
    columns = digest_marks.c
    for at in range(0, len(names), _GROUP):
        some = [_SWITCHED + name for name in names[at : at + _GROUP]]
        connection.execute(sa.delete(digest_marks).where(columns.who.in_(some)))
    connection.execute(sa.delete(digest_marks).where(columns.until < before))


def _announce(connection: sa.Connection, letter: Letter, who: str, until: float) -> None:
    vault_rows.post(connection, letter, {})
    changed = insert(digest_marks).values(who=storable(who), until=until)
    connection.execute(changed.on_conflict_do_update(set_={"until": until}))
