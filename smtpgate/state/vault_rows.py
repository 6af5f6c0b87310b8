"""The index of held messages and letters, in the database's thread (`state.vault`)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.held import DAMAGED, Addressee, Held, Letter
from smtpgate.policy.reach import unicode_domain
from smtpgate.state.tables import held, held_recipients, held_totals, letters, storable
from smtpgate.state.vault_values import letter_of, message_of, row_of

#: Rows that go at once; whoever waits for the database waits no longer.
SLICE: Final = 500
#: No letter waits so long for its next try (`proxy.outbox.LONGEST_S`): the clock was stepped back since.
AHEAD_S: Final = 2 * 3600.0
_ALPHABET: Final = "0123456789abcdefghijkmnpqrstuvwxyz"
#: By address of a recipient of a held message: its state, and what was said of it last.
Fates = Mapping[str, tuple[str, str]]


def fresh_id(now: float) -> str:
    """Of a row or a file: milliseconds in eight letters, and eight of chance (40 bits). In order of time until 2057."""
    at, out = int(now * 1000), ""
    for _ in range(8):
        at, rest = divmod(at, len(_ALPHABET))
        out = _ALPHABET[rest] + out
    return out + "".join(_ALPHABET[one % 32] for one in os.urandom(8))


def keep(connection: sa.Connection, messages: Sequence[Held], given: Sequence[Letter]) -> None:
    """Put rows in."""
    if messages:
        connection.execute(sa.insert(held), [row_of(one) for one in messages])
        pairs = {(who.address.lower(), one.id) for one in messages for who in one.recipients}
        if pairs:
            connection.execute(
                sa.insert(held_recipients), [{"address": storable(address), "id": id} for address, id in sorted(pairs)]
            )
    if given:
        connection.execute(sa.insert(letters), [row_of(one) for one in given])


def known(connection: sa.Connection, key: str, since: float) -> Held | None:
    """The message that was held for the same try."""
    query = sa.select(held).where(held.c.key == key, held.c.at >= since).order_by(held.c.id).limit(1)
    found = connection.execute(query).mappings().first()
    return message_of(found) if found is not None else None


def settle(connection: sa.Connection, ids: Sequence[str], is_taken: bool, now: float) -> list[str]:
    """Pending letters go, or never were; names of files that nothing names any more."""
    where = letters.c.id.in_(ids) & (letters.c.state == "pending")
    if is_taken:
        connection.execute(sa.update(letters).where(where).values(state="waiting", due=now))
        return []
    bodies = list(connection.execute(sa.select(letters.c.body).where(where)).scalars())
    connection.execute(sa.delete(letters).where(where))
    return _unnamed(connection, bodies)


def _unnamed(connection: sa.Connection, bodies: Iterable[str]) -> list[str]:
    """Of these files those that no row names any more."""
    return [name for name in dict.fromkeys(bodies) if name and not is_named(connection, name)]


def is_named(connection: sa.Connection, name: str) -> bool:
    """Whether a row names a file."""
    return any(
        connection.execute(sa.select(sa.literal(1)).where(table.c.body == name).limit(1)).scalar()
        for table in (held, letters)
    )


def withdraw(connection: sa.Connection, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Delete held messages that are not on their way; their ids, and files that nothing names any more."""
    gone: list[str] = []
    bodies: list[str] = []
    for at in range(0, len(ids), SLICE):
        some = list(ids[at : at + SLICE])
        busy = sa.select(letters.c.held).where(letters.c.held == held.c.id).exists()
        found = connection.execute(sa.select(held.c.id, held.c.body).where(held.c.id.in_(some), ~busy)).all()
        there = [row.id for row in found]
        connection.execute(sa.delete(held_recipients).where(held_recipients.c.id.in_(there)))
        connection.execute(sa.delete(held).where(held.c.id.in_(there)))
        gone += there
        bodies += [row.body for row in found]
    return gone, _unnamed(connection, bodies)


def one(connection: sa.Connection, id: str) -> Held | None:
    """One held message."""
    found = connection.execute(sa.select(held).where(held.c.id == storable(id))).mappings().first()
    return message_of(found) if found is not None else None


_EXACT: Final = ("held_as", "state", "listener", "direction", "message")
_PART: Final = ("sender", "subject", "client_ip")


def _ids(wanted: Mapping[str, Any], before: str = "") -> Any:
    """Ids of those that fit. What most look for is in indexes: no row is read to find one."""
    if "recipient" in wanted:
        ids = held_recipients.c.id
        query = sa.select(ids).where(held_recipients.c.address == storable(wanted["recipient"].lower()))
        if wanted.keys() - {"recipient", "since", "until", "after", "next_after"}:
            query = query.join(held, held.c.id == ids)
    elif "mine" in wanted:
        ids = held_recipients.c.id
        mine = [storable(spelled) for spelled in _written(wanted["mine"])]
        query = sa.select(ids).where(held_recipients.c.address.in_(mine)).distinct().join(held, held.c.id == ids)
    else:
        ids = held.c.id
        query = sa.select(ids)
    if before:
        query = query.where(ids < storable(before))
    for name, value in wanted.items():
        if name in _EXACT:
            query = query.where(held.c[name] == storable(value))
        elif name in _PART:
            query = query.where(held.c[name].contains(storable(value), autoescape=True))
        elif name == "without":
            query = query.where(held.c.held_as.not_in(list(map(storable, value))))
        elif name == "asked":
            query = query.where(held.c.asked > 0)
        elif name == "since":
            query = query.where(ids >= fresh_id(value)[:8])
        elif name == "until":
            query = query.where(ids < fresh_id(value)[:8])
        elif name in ("after", "next_after"):
            query = query.where(ids > storable(value))
        elif name == "domains":
            query = query.where(ids.in_(_within(value)))
        elif name == "expires_before":
            query = query.where(held.c.expires < value)
        elif name not in ("recipient", "mine"):
            raise StoreFailed(f"no messages can be looked for by {name}")
    return query, ids


def _within(domains: Sequence[str]) -> Any:
    """Ids of the mail of some domains (`policy.reach`)."""
    names = _spellings(domains)
    theirs = sa.or_(*(held_recipients.c.address.endswith(f"@{name}", autoescape=True) for name in names))
    ours = sa.or_(*(sa.func.lower(held.c.sender).endswith(f"@{name}", autoescape=True) for name in names))
    return sa.union(
        sa.select(held_recipients.c.id).where(theirs), sa.select(held.c.id).where((held.c.direction == "out") & ours)
    )


def _spellings(domains: Sequence[str]) -> list[str]:
    """Domains as they may stand in a row: addresses are kept as they were written, but for the case of ASCII."""
    return [name for domain in domains for name in dict.fromkeys((domain, unicode_domain(domain)))]


def _written(addresses: Sequence[str]) -> list[str]:
    """Addresses in normal form (`policy.own`) as they may stand in a row."""
    found = []
    for address in addresses:
        local, at, domain = address.rpartition("@")
        found += [f"{local}{at}{spelled}" for spelled in _spellings([domain])]
    return found


def search(connection: sa.Connection, wanted: Mapping[str, Any], limit: int, before: str) -> list[Held]:
    """Those that fit, the newest first: the newest of all, or with next_after those that came next after one."""
    query, ids = _ids(wanted, before)
    some = query.order_by(ids if "next_after" in wanted else ids.desc()).limit(limit)
    rows = connection.execute(sa.select(held).where(held.c.id.in_(some)).order_by(held.c.id.desc()))
    return [message_of(row) for row in rows.mappings()]


def count(connection: sa.Connection, wanted: Mapping[str, Any]) -> int:
    """How many fit."""
    exact = {name: wanted[name] for name in ("held_as", "state") if name in wanted}
    if len(exact) == len(wanted):
        columns = held_totals.c
        query = sa.select(sa.func.coalesce(sa.func.sum(columns.count), 0))
        for name, value in exact.items():
            query = query.where(columns[name] == storable(value))
    else:
        query = sa.select(sa.func.count()).select_from(_ids(wanted)[0].subquery())
    return int(connection.execute(query).scalar() or 0)


def totals(connection: sa.Connection, domains: Sequence[str] = ()) -> list[dict[str, Any]]:
    """By class and state; of all, or of the mail of some domains."""
    if domains:
        columns = held.c
        counted = (sa.func.count().label("count"), sa.func.sum(columns.octets).label("octets"))
        query = sa.select(columns.held_as, columns.state, *counted).where(columns.id.in_(_within(domains)))
        rows = connection.execute(query.group_by(columns.held_as, columns.state))
        return [dict(row._mapping) for row in rows]
    found = connection.execute(sa.select(held_totals).where(held_totals.c.count > 0))
    return [dict(row._mapping) for row in found]


def oldest(connection: sa.Connection, held_as: str, octets: int) -> list[str]:
    """The oldest of a class, until they have so many octets."""
    query = sa.select(held.c.id, held.c.octets).where(held.c.held_as == held_as, held.c.state != "sending")
    found: list[str] = []
    for row in connection.execute(query.order_by(held.c.id).limit(SLICE)):
        if octets <= 0:
            break
        found.append(row.id)
        octets -= row.octets
    return found


def ask(connection: sa.Connection, id: str, who: str, now: float) -> bool:
    """Note a wish, or that it was turned down, whoever's it was."""
    values = {"asked": now, "asked_by": storable(who)} | ({} if who else {"proposed_by": ""})
    changed = sa.update(held).where(held.c.id == storable(id)).values(values)
    return bool(connection.execute(changed).rowcount)


def propose(connection: sa.Connection, id: str, who: str, now: float) -> bool:
    """Note the first of two persons; False where there is one already, or no such message."""
    where = (held.c.id == storable(id)) & (held.c.proposed_by == "")
    changed = sa.update(held).where(where).values(asked=now, asked_by=storable(who), proposed_by=storable(who))
    return bool(connection.execute(changed).rowcount)


def expired(connection: sa.Connection, now: float) -> list[str]:
    """A slice of those past their time, without those on their way, which stay."""
    where = (held.c.expires <= now) & (held.c.state != "sending")
    return list(connection.execute(sa.select(held.c.id).where(where).limit(SLICE)).scalars())


def _change(connection: sa.Connection, id: str, fates: Fates, held_by: str = "") -> None:
    """What became of some recipients of a held message; another letter may be about others of them.

    :param held_by: name of a rule that has held its release
    """
    message = one(connection, id) if id and fates else None
    if message is None:
        return
    if message.is_damaged:
        # Its recipients stay as they were written; the state must not say for ever that it is on its way.
        state = attrs.evolve(message, recipients=tuple(Addressee(who, state=fates[who][0]) for who in fates)).state
        connection.execute(sa.update(held).where(held.c.id == id).values(state=state))
        return
    recipients = tuple(
        attrs.evolve(one, state=fates[one.address][0], reply=fates[one.address][1][:500])
        if one.address in fates
        else one
        for one in message.recipients
    )
    row = row_of(attrs.evolve(message, recipients=recipients))
    changed = {"recipients": row["recipients"], "state": row["state"]}
    if held_by:
        holds = sorted({*message.facts.get("holds", ()), held_by})
        changed["facts"] = row_of(attrs.evolve(message, facts=dict(message.facts) | {"holds": holds}))["facts"]
    if row["state"] == "released":
        changed |= {"asked": 0.0, "asked_by": ""}
    connection.execute(sa.update(held).where(held.c.id == id).values(changed))


#: For whom a held message waits. One that may have it gets it again only where somebody says so.
_WAITING: Final = frozenset({"held", "refused"})
_AGAIN: Final = _WAITING | {"unknown", "released"}


def release(
    connection: sa.Connection,
    id: str,
    addresses: Sequence[str] | None,
    again: bool,
    now: float,
    expires: float,
    is_manager: bool,
    second: str | None,
) -> Letter | None:
    """A letter to those for whom a held message waits."""
    message = one(connection, id)
    if message is None or second is not None and message.proposed_by in ("", second):
        return None
    states = _AGAIN if again else _WAITING
    wanted = None if addresses is None else {address.lower() for address in addresses}
    chosen = [
        who for who in message.recipients if who.state in states and (wanted is None or who.address.lower() in wanted)
    ]
    if not chosen:
        return None
    letter = Letter(
        id=fresh_id(now),
        kind="release",
        at=now,
        expires=expires,
        body=message.body,
        octets=message.octets,
        sender=message.sender,
        recipients=tuple(attrs.evolve(one, state="waiting", reply="") for one in chosen),
        held=message.id,
        message=message.message,
        facts={name: value for name, value in message.facts.items() if is_manager or name != "holds"},
        params=message.facts.get("params", {}),
        backend=str(message.facts.get("backend", "")),
        due=now,
    )
    post(connection, letter, {one.address: ("sending", "") for one in chosen})
    if second is not None:
        # What comes back is judged by two anew.
        done = {"proposed_by": "", "asked": 0.0, "asked_by": ""}
        connection.execute(sa.update(held).where(held.c.id == message.id).values(done))
    return letter


def post(connection: sa.Connection, letter: Letter, fates: Fates) -> None:
    """Write a letter, and what became of recipients of its held message.

    Raises StoreFailed for one that forwards a message which was deleted since it was looked at: its file is gone.
    """
    if letter.kind == "forward" and not is_named(connection, letter.body):
        raise StoreFailed("the message is not held any more")
    row = row_of(letter)
    there = connection.execute(sa.select(sa.literal(1)).where(letters.c.id == letter.id)).scalar()
    if there:
        connection.execute(sa.update(letters).where(letters.c.id == letter.id).values(row))
    else:
        connection.execute(sa.insert(letters), [row])
    _change(connection, letter.held, fates)


def go_on(connection: sa.Connection, letter: Letter, fates: Fates) -> bool:
    """Write a letter anew that is there still, as `post`; False where it was taken back meanwhile."""
    changed = sa.update(letters).where(letters.c.id == letter.id).values(row_of(letter))
    if not connection.execute(changed).rowcount:
        return False
    _change(connection, letter.held, fates)
    return True


def hasten(connection: sa.Connection, id: str, now: float) -> bool:
    """A letter that waits is due now. Nothing else of it is written: it may be on its way at this moment."""
    where = (letters.c.id == storable(id)) & (letters.c.state == "waiting")
    return bool(connection.execute(sa.update(letters).where(where).values(due=now)).rowcount)


def one_letter(connection: sa.Connection, id: str) -> Letter | None:
    """One letter."""
    found = connection.execute(sa.select(letters).where(letters.c.id == storable(id))).mappings().first()
    return letter_of(found) if found is not None else None


def due_letters(connection: sa.Connection, now: float, limit: int) -> list[Letter]:
    """Letters to be tried."""
    due = (letters.c.due <= now) | (letters.c.due > now + AHEAD_S)
    query = sa.select(letters).where(letters.c.state == "waiting", due)
    return [letter_of(row) for row in connection.execute(query.order_by(letters.c.due).limit(limit)).mappings()]


def done(connection: sa.Connection, letter: Letter, fates: Fates, returned: Sequence[Held] = ()) -> list[str]:
    """Delete a letter, and hold what came back of it; files that nothing names any more.

    Of one that was taken back meanwhile nothing is written: its held message may be on its way with another.
    """
    if connection.execute(sa.delete(letters).where(letters.c.id == letter.id)).rowcount:
        keep(connection, returned, [])
        _change(connection, letter.held, fates, str(letter.facts.get("held_by", "")))
    return _unnamed(connection, [letter.body])


def all_letters(connection: sa.Connection, limit: int, before: str) -> list[Letter]:
    """All letters, the newest first."""
    query = sa.select(letters).order_by(letters.c.id.desc()).limit(limit)
    if before:
        query = query.where(letters.c.id < storable(before))
    return [letter_of(row) for row in connection.execute(query).mappings()]


def cancel(connection: sa.Connection, id: str) -> tuple[Letter | None, list[str]]:
    """Delete a letter that waits; its held message waits again. One that is damaged is put aside by the outbox."""
    where = (letters.c.id == storable(id)) & (letters.c.state == "waiting")
    found = connection.execute(sa.select(letters).where(where)).mappings().first()
    letter = letter_of(found) if found is not None else None
    if letter is None or letter.state == DAMAGED:
        return None, []
    fates = {one.address: ("held", one.reply) for one in letter.recipients if one.state == "waiting"}
    return letter, done(connection, letter, fates)


def interrupted(connection: sa.Connection, now: float, undecided: Collection[str]) -> list[Letter]:
    """After a stop: pending letters go; those that a server may have.

    :param undecided: ids of those whose messages this process is about; no time says which they are, since clocks step
    """
    # Their message may have been delivered or not, and nobody knows any more: a copy too many can be mended.
    pending = connection.execute(sa.select(letters.c.id).where(letters.c.state == "pending")).scalars().all()
    left = [id for id in pending if id not in undecided]
    for at in range(0, len(left), SLICE):
        where = letters.c.id.in_(left[at : at + SLICE])
        connection.execute(sa.update(letters).where(where).values(state="waiting", due=now))
    query = sa.select(letters).where(letters.c.state == "committing")
    return [letter_of(row) for row in connection.execute(query).mappings()]
