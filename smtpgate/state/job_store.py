"""Long pieces of work on disk: what was ordered, how far it came, and its result until it expires."""

from __future__ import annotations

from typing import Any, Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.policy.job import OVER, Job
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import jobs

#: Rows that are kept, however young, and characters of all results together.
KEPT: Final = 200
KEPT_CHARACTERS: Final = 64 * 2**20


class JobStore:
    """All of one gateway."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def begin(self, now: float) -> None:
        """At the start, at once: what ran then runs no more."""
        self._database.now(_begin, now)

    def put(self, job: Job) -> Deferred[None]:
        """As it stands; what has expired goes."""
        stored: Deferred[None] = self._database.run(_put, job).addErrback(as_store_failure)
        return stored

    def recent(self, limit: int) -> Deferred[list[Job]]:
        """The newest, without their results."""
        found: Deferred[list[Job]] = self._database.run(_recent, limit).addErrback(as_store_failure)
        return found

    def get(self, id: str) -> Deferred[Job | None]:
        """One, with its result."""
        found: Deferred[Job | None] = self._database.run(_get, id).addErrback(as_store_failure)
        return found


def _begin(connection: sa.Connection, now: float) -> None:
    connection.execute(jobs.update().where(jobs.c.state.not_in(OVER)).values(state="interrupted", changed=now))


def _put(connection: sa.Connection, job: Job) -> None:
    values = attrs.asdict(job)
    if not connection.execute(jobs.update().where(jobs.c.id == job.id).values(values)).rowcount:
        connection.execute(jobs.insert().values(values))
        connection.execute(jobs.delete().where(jobs.c.expires <= job.changed))
        oldest = sa.select(jobs.c.id).order_by(jobs.c.created.desc(), jobs.c.id.desc()).offset(KEPT)
        connection.execute(jobs.delete().where(jobs.c.id.in_(oldest)))
    if job.result:
        _make_room(connection)


def _make_room(connection: sa.Connection) -> None:
    """The oldest results go where all are too long; the newest stays."""
    lengths = sa.select(jobs.c.id, sa.func.length(jobs.c.result)).where(jobs.c.result != "")
    total = 0
    for number, (id, length) in enumerate(
        connection.execute(lengths.order_by(jobs.c.created.desc(), jobs.c.id.desc()))
    ):
        total += length
        if number and total > KEPT_CHARACTERS:
            connection.execute(jobs.update().where(jobs.c.id == id).values(result=""))


def _recent(connection: sa.Connection, limit: int) -> list[Job]:
    wanted = [sa.literal("").label("result") if column.name == "result" else column for column in jobs.c]
    found = connection.execute(sa.select(*wanted).order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit))
    return [Job(**row._mapping) for row in found]


def _get(connection: sa.Connection, id: str) -> Job | None:
    row = connection.execute(sa.select(jobs).where(jobs.c.id == id)).first()
    return Job(**row._mapping) if row is not None else None
