"""What the gateway has taken on itself: held messages and letters, in the index, and their octets in files.

An answer to a client depends on it, so that nothing here fires before it is on the disk. The order of writing is what
makes a kill harmless: first the file, then the rows that name it, all rows of one message together; and of deleting the
other way round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, BinaryIO, Final

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import IVault, StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Held, Letter
from smtpgate.state import vault_own
from smtpgate.state import vault_rows as rows
from smtpgate.state.bodies import Bodies, Body
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import held, held_totals
from smtpgate.state.vault_rows import Fates, fresh_id

#: A retry of a held message is known for so long, as by the commit ledger.
KNOWN_S: Final = 24 * 3600.0


@implementer(IVault)
class Vault:
    """The index and the files of one gateway."""

    def __init__(
        self,
        database: Database,
        bodies: Bodies,
        in_thread: Callable[..., Deferred[Any]],
        wall: Callable[[], float] = time.time,
        tell: Callable[[object], None] = lambda event: None,
    ) -> None:
        """
        :param tell: of files that cannot be removed
        """
        self._database = database
        self._bodies = bodies
        self._in_thread = in_thread
        self._wall = wall
        self._tell = tell
        #: Names of files that are younger than this object; None once the files were swept. No time says which they
        #: are, since clocks step.
        self._young: set[str] | None = set()

    # Files

    def fresh_id(self) -> str:
        """A name that was never used."""
        return fresh_id(self._wall())

    def begin(self) -> Deferred[Writer]:
        """A file to be written."""
        name = self.fresh_id()
        if self._young is not None:
            self._young.add(name)
        return self._file(self._bodies.begin, name).addCallback(lambda body: Writer(self, name, body))

    def _file(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self._in_thread(function, *args).addErrback(as_store_failure)

    def open(self, name: str) -> Deferred[BinaryIO]:
        """A file to be read."""
        return self._file(self._bodies.open, name)

    # Rows

    def keep(self, messages: Sequence[Held], letters: Sequence[Letter]) -> Deferred[None]:
        """Put rows in, all or none. They are durable when this fires."""
        return self._database.run(rows.keep, messages, letters).addErrback(as_store_failure)

    def known(self, key: str) -> Deferred[Held | None]:
        """The message that was held for the same try, within a day."""
        return self._database.run(rows.known, key, self._wall() - KNOWN_S).addErrback(as_store_failure)

    def settle(self, ids: Sequence[str], *, is_taken: bool) -> Deferred[None]:
        """Of letters that are pending: they go, or they never were."""
        done = self._database.run(rows.settle, ids, is_taken, self._wall()).addErrback(as_store_failure)
        return done.addCallback(self._remove)

    def withdraw(self, ids: Sequence[str]) -> Deferred[list[str]]:
        """Delete held messages; the ids of those that were there. One that is on its way out stays."""
        done = self._database.run(rows.withdraw, ids).addErrback(as_store_failure)
        return done.addCallback(lambda found: self._remove(found[1]).addCallback(lambda _: found[0]))

    def _remove(self, bodies: Sequence[str]) -> Deferred[Any]:
        return self._file(self._bodies.remove, bodies).addErrback(self._stays)

    def _stays(self, failure: Failure) -> None:
        """The rows are gone, and that is what was asked for; the next start puts the files aside."""
        failure.trap(StoreFailed)
        self._tell(Happened("quarantine.failed", "error", f"files stay that nothing names: {failure.value}"))

    def get(self, id: str) -> Deferred[Held | None]:
        """One held message."""
        return self._database.run(rows.one, id).addErrback(as_store_failure)

    def search(self, wanted: Mapping[str, Any], limit: int, before: str = "") -> Deferred[list[Held]]:
        """Held messages, the newest first.

        :param wanted: what must fit: held_as, state, listener, direction, recipient and message exactly; sender,
            subject and client_ip in part; `asked` true; since and until, seconds since the epoch; expires_before;
            after: an id: those that came after it; next_after: of these the ones nearest to it;
            domains: mail of theirs (`policy.reach`); mine: addresses in normal form (`policy.own`), one of which it
            is for; without: classes that are left out
        :param before: an id: only those that came earlier, for the next page
        """
        return self._database.read(rows.search, dict(wanted), limit, before).addErrback(as_store_failure)

    def count(self, wanted: Mapping[str, Any]) -> Deferred[int]:
        """How many fit."""
        return self._database.read(rows.count, dict(wanted)).addErrback(as_store_failure)

    def totals(self, domains: Sequence[str] = ()) -> Deferred[list[dict[str, Any]]]:
        """By class and state: how many there are, and their octets; of all, or of the mail of some domains."""
        return self._database.read(rows.totals, tuple(domains)).addErrback(as_store_failure)

    def oldest_times(self) -> Deferred[dict[str, float]]:
        """By class when the oldest message was held that waits still, seconds since the epoch."""
        return self._database.read(_oldest_times).addErrback(as_store_failure)

    def oldest(self, held_as: str, octets: int) -> Deferred[list[str]]:
        """Ids of the oldest of a class, as many as have so many octets together."""
        return self._database.run(rows.oldest, held_as, octets).addErrback(as_store_failure)

    def ask(self, id: str, who: str) -> Deferred[bool]:
        """Somebody asks for a held message; False where it is not there. An empty name: the wish is turned down."""
        now = self._wall() if who else 0.0
        return self._database.run(rows.ask, id, who, now).addErrback(as_store_failure)

    def drop(self, id: str, addresses: Sequence[str]) -> Deferred[list[str]]:
        """Some recipients do not want a message; those for whom it waited (`vault_own`)."""
        return self._database.run(vault_own.drop, id, addresses, self._wall()).addErrback(as_store_failure)

    def restore(self, id: str, addresses: Sequence[str]) -> Deferred[list[str]]:
        """They want it after all; those for whom it waits again."""
        return self._database.run(vault_own.restore, id, addresses).addErrback(as_store_failure)

    def expired(self, now: float) -> Deferred[list[str]]:
        """Ids of a slice of those past their time."""
        return self._database.read(rows.expired, now).addErrback(as_store_failure)

    # Letters

    def post(self, letter: Letter, fates: Fates) -> Deferred[None]:
        """A letter is to go, or goes on; what became of recipients of its held message is written with it."""
        return self._database.run(rows.post, letter, fates).addErrback(as_store_failure)

    def go_on(self, letter: Letter, fates: Fates) -> Deferred[bool]:
        """A letter goes on, as `post`; False where it was taken back meanwhile, and nothing is written."""
        return self._database.run(rows.go_on, letter, fates).addErrback(as_store_failure)

    def hasten(self, id: str) -> Deferred[bool]:
        """A letter that waits is due now; False where there is none."""
        return self._database.run(rows.hasten, id, self._wall()).addErrback(as_store_failure)

    def letter(self, id: str) -> Deferred[Letter | None]:
        """One letter."""
        return self._database.run(rows.one_letter, id).addErrback(as_store_failure)

    def propose(self, id: str, who: str) -> Deferred[bool]:
        """The first of two persons wants a held message released; False where somebody did, or it is not there."""
        return self._database.run(rows.propose, id, who, self._wall()).addErrback(as_store_failure)

    def release(
        self,
        id: str,
        addresses: Sequence[str] | None,
        again: bool,
        expires: float,
        *,
        is_manager: bool = False,
        second: str | None = None,
    ) -> Deferred[Letter | None]:
        """A held message goes to recipients for whom it waits; the letter, or None where it waits for none of them.

        :param addresses: None for all
        :param again: also to those who may have it, or have it
        :param expires: when the delivery is given up
        :param is_manager: whoever does it knows which rules have held it before on its way out, and has judged that
        :param second: the second of two persons: nothing goes but what another one has proposed
        """
        done = self._database.run(rows.release, id, addresses, again, self._wall(), expires, is_manager, second)
        return done.addErrback(as_store_failure)

    def due(self, now: float, limit: int) -> Deferred[list[Letter]]:
        """The letters to try now, those that waited longest first."""
        return self._database.run(rows.due_letters, now, limit).addErrback(as_store_failure)

    def done(self, letter: Letter, fates: Fates, returned: Sequence[Held] = ()) -> Deferred[None]:
        """A letter is over; what became of recipients of its held message is written with it, and what came back of it
        is held. Of one that was taken back meanwhile nothing is written."""
        done = self._database.run(rows.done, letter, fates, returned).addErrback(as_store_failure)
        return done.addCallback(self._remove)

    def letters(self, limit: int, before: str = "") -> Deferred[list[Letter]]:
        """All that wait, the newest first."""
        return self._database.read(rows.all_letters, limit, before).addErrback(as_store_failure)

    def cancel(self, id: str) -> Deferred[Letter | None]:
        """Take a letter back that waits; None where there is none, or a server has its end of data."""
        done = self._database.run(rows.cancel, id).addErrback(as_store_failure)
        return done.addCallback(
            lambda found: self._remove(found[1]).addCallback(lambda _: found[0]) if found[0] is not None else None
        )

    # The start

    def begin_anew(self, undecided: Collection[str]) -> Deferred[list[Letter]]:
        """After a stop or a kill: pending letters go; the letters whose server may have them (`committing`).

        :param undecided: ids of letters that this process has written for messages that it has not decided yet
        """
        return self._database.run(rows.interrupted, self._wall(), frozenset(undecided)).addErrback(as_store_failure)

    def sweep(self, started: float) -> Deferred[int]:
        """Put files aside that nothing names; how many. Once, at the start."""
        young = self._young if self._young is not None else set()

        def known(name: str) -> bool:
            return name in young or self._database.look_now(rows.is_named, name)

        def swept(result: Any) -> Any:
            self._young = None
            return result

        return self._file(self._bodies.sweep, known, started).addBoth(swept)


class Writer:
    """A file on its way to the disk.

    :ivar name: what the rows call it
    """

    def __init__(self, vault: Vault, name: str, body: Body) -> None:
        self.name = name
        self._vault = vault
        self._body = body

    @property
    def octets(self) -> int:
        """What was written."""
        return self._body.octets

    def write(self, octets: bytes) -> Deferred[None]:
        """Add to it."""
        return self._vault._file(self._body.write, octets)

    def finish(self) -> Deferred[None]:
        """It is whole; on the disk when this fires."""
        return self._vault._file(self._body.finish)

    def abandon(self) -> Deferred[None]:
        """It is not needed. One that a row names stays: whoever wrote that may have been told so."""
        named = self._vault._database.run(rows.is_named, self.name).addErrback(as_store_failure)
        return named.addCallback(lambda is_named: None if is_named else self._vault._file(self._body.abandon))


def _oldest_times(connection: sa.Connection) -> dict[str, float]:
    """By class when the oldest message was held that waits still."""
    waiting = sa.select(held.c.at).where(held.c.held_as == sa.bindparam("kind"), held.c.state == "held")
    first = waiting.order_by(held.c.id).limit(1)
    classes = connection.execute(sa.select(held_totals.c.held_as).where(held_totals.c.count > 0).distinct())
    found = {row.held_as: connection.execute(first, {"kind": row.held_as}).scalar() for row in classes.all()}
    return {kind: at for kind, at in found.items() if at is not None}
