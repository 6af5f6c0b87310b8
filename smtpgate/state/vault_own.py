"""Held mail as its recipients decide on it: what one does not want is theirs no more, and comes back where they say so.

The row stays while it waits for others. Nobody's copy is gone before the time that a slip can be mended in is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from smtpgate.policy.held import DROPPED, Held
from smtpgate.state.tables import held, held_recipients, storable
from smtpgate.state.vault_rows import one
from smtpgate.state.vault_values import row_of

#: What nobody wants any more is kept for so long.
UNDO_S: Final = 600.0
#: Where the time is kept until which it would have been held.
_UNTIL: Final = "held_until"


def drop(connection: sa.Connection, id: str, addresses: Sequence[str], now: float) -> list[str]:
    """Some recipients do not want a message; those for whom it waited. It is deleted once it waits for nobody."""
    message = one(connection, id)
    if message is None or message.is_damaged:
        return []
    wanted = {address.lower() for address in addresses}
    gone = [who for who in message.recipients if who.address.lower() in wanted and who.state in ("held", "refused")]
    if not gone:
        return []
    changed = _with_states(message, {who.address for who in gone}, DROPPED)
    if all(who.state == DROPPED for who in changed.recipients):
        facts = {**changed.facts, _UNTIL: changed.expires}
        changed = attrs.evolve(changed, facts=facts, expires=min(changed.expires, now + UNDO_S))
    _write(connection, changed)
    where = (held_recipients.c.id == id) & held_recipients.c.address.in_([storable(a.address.lower()) for a in gone])
    connection.execute(sa.delete(held_recipients).where(where))
    return [who.address for who in gone]


def restore(connection: sa.Connection, id: str, addresses: Sequence[str]) -> list[str]:
    """They want it after all; those for whom it waits again."""
    message = one(connection, id)
    wanted = {address.lower() for address in addresses}
    if message is None or message.is_damaged:
        return []
    back = [who for who in message.recipients if who.address.lower() in wanted and who.state == DROPPED]
    if not back:
        return []
    facts = dict(message.facts)
    expires = float(facts.pop(_UNTIL, message.expires))
    changed = _with_states(message, {who.address for who in back}, "held")
    _write(connection, attrs.evolve(changed, facts=facts, expires=expires))
    rows = [{"address": storable(who.address.lower()), "id": id} for who in back]
    connection.execute(insert(held_recipients).on_conflict_do_nothing(), rows)
    return [who.address for who in back]


def _with_states(message: Held, addresses: set[str], state: str) -> Held:
    recipients = (attrs.evolve(who, state=state) if who.address in addresses else who for who in message.recipients)
    return attrs.evolve(message, recipients=tuple(recipients))


def _write(connection: sa.Connection, message: Held) -> None:
    row = row_of(message)
    values = {name: row[name] for name in ("recipients", "state", "facts", "expires")}
    connection.execute(sa.update(held).where(held.c.id == message.id).values(values))
