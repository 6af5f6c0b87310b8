"""Regression cases on disk, with their content, until somebody deletes them."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.policy.case import MOST, Case
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import cases, storable


class CaseStore:
    """All of one gateway."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def put(self, case: Case) -> Deferred[bool]:
        """Keep one; False, and nothing is written, where there are MOST already."""
        stored: Deferred[bool] = self._database.run(_put, case).addErrback(as_store_failure)
        return stored

    def all(self, *, has_content: bool = False) -> Deferred[list[Case]]:
        """All, the oldest first, without their content unless it is asked for."""
        found: Deferred[list[Case]] = self._database.run(_all, has_content).addErrback(as_store_failure)
        return found

    def remove(self, id: str) -> Deferred[bool]:
        """Delete one; whether it was there."""
        gone: Deferred[bool] = self._database.run(_remove, id).addErrback(as_store_failure)
        return gone


def _put(connection: sa.Connection, case: Case) -> bool:
    count = connection.execute(sa.select(sa.func.count()).select_from(cases)).scalar_one()
    if count >= MOST:
        return False
    values = {name: storable(held) if isinstance(held, str) else held for name, held in attrs.asdict(case).items()}
    connection.execute(cases.insert().values(values))
    return True


def _all(connection: sa.Connection, has_content: bool) -> list[Case]:
    empty = sa.literal(b"", type_=sa.LargeBinary).label("octets")
    wanted = [empty if column.name == "octets" and not has_content else column for column in cases.c]
    found = connection.execute(sa.select(*wanted).order_by(cases.c.created, cases.c.id))
    return [Case(**row._mapping) for row in found]


def _remove(connection: sa.Connection, id: str) -> bool:
    return bool(connection.execute(cases.delete().where(cases.c.id == id)).rowcount)
