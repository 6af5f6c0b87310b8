"""Finding a session or a message by its reference, wherever it is: among the live ones, or in the history."""

from __future__ import annotations

from typing import Any

import attrs

from smtpgate.admin.explain import session_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import MessageList, MessageRow
from smtpgate.admin.record import MessageView, SessionRecord, of_facts, of_row, of_rows
from smtpgate.admin.text import moment, visible
from smtpgate.policy.found import Found, Row
from smtpgate.policy.query import ANY, OWNER, Clause, Query, Value
from smtpgate.policy.reach import Reach

#: Rows of a list that are written out in the reactor's thread; more are written elsewhere.
AT_ONCE = 25
#: Sessions looked through for those who see only some.
_LIMITED = 500


def within(reach: Reach, record: SessionRecord) -> SessionRecord | None:
    """What of a session is in somebody's reach; None where nothing is.

    Of a message that came from elsewhere the recipients of others' domains are left out, and of a session that had
    any such the steps, which name them.
    """
    if not reach.is_limited:
        return record
    is_ours = record.role == "submission"
    messages = []
    for message in record.messages:
        if is_ours and reach.address(message.sender):
            messages.append(message)
            continue
        recipients = tuple(one for one in message.recipients if reach.address(one.address))
        if recipients:
            messages.append(message.model_copy(update={"recipients": recipients}))
    if not messages:
        return None
    if tuple(messages) == record.messages:
        return record
    steps = len(record.timeline) + record.dropped_steps
    return record.model_copy(update={"messages": tuple(messages), "timeline": (), "dropped_steps": steps})


async def find_session(office: Any, reach: Reach, reference: str) -> SessionRecord:
    """The session of a reference; raises Refusal where there is none in reach."""
    found = await _find(office, reference)
    record = within(reach, found) if found is not None else None
    if record is None:
        raise Refusal("not-found", 404, f"no session {visible(reference, 80)}: it is not live, and not kept any more")
    return record


async def _find(office: Any, reference: str) -> SessionRecord | None:
    live = office.control.session(session_of(reference))
    if live is not None:
        return of_facts(*live)
    row = await office.control.history.find(reference) if office.control.history is not None else None
    return await office.in_thread(of_row, row) if row is not None else None


async def find_message(office: Any, reach: Reach, reference: str) -> tuple[SessionRecord, MessageView]:
    """The message of a reference, and its session; raises Refusal where there is none in reach."""
    record = await find_session(office, reach, reference)
    message = record.message(reference)
    if message is None:
        raise Refusal("not-found", 404, f"no message {visible(reference, 80)} in this session")
    return record, message


async def recent_sessions(office: Any, reach: Reach, limit: int) -> list[SessionRecord]:
    """The newest ended sessions in reach."""
    if office.control.history is None:
        return []
    rows = await office.control.history.recent(_LIMITED if reach.is_limited else limit)
    records: list[SessionRecord] = await office.in_thread(_within, reach, rows)
    return records[:limit]


def _within(reach: Reach, rows: Any) -> list[SessionRecord]:
    records = (within(reach, one) for one in of_rows(rows))
    return [one for one in records if one is not None]


@attrs.frozen
class Sessions:
    """A page of ended sessions."""

    records: list[SessionRecord]
    next_cursor: str | None = None
    is_partial: bool = False


async def find_sessions(office: Any, reach: Reach, query: Query, limit: int, cursor: str = "") -> Sessions:
    """Ended sessions in reach of which a message fits, or they themselves, newest first; raises Refusal as
    `find_messages` does.
    """
    history = office.control.history
    if history is None:
        return Sessions([])
    asked = owned(query, reach).with_all([Clause(ANY, ())])
    of = f"sessions {asked.text} {' '.join(reach.domains)}"
    found: Found = await history.search(asked, limit, office.cursors.open(of, cursor) if cursor else 0)
    ids = dict.fromkeys(session_of(row.id) for row in found.rows)
    rows = [row for id in ids if (row := await history.find(id)) is not None]
    records: list[SessionRecord] = await office.in_thread(_within, reach, rows)
    return Sessions(records, office.cursors.seal(of, found.place) if found.place else None, found.is_partial)


def message_row(row: Row, reach: Reach, is_ours: bool) -> MessageRow:
    """A message for lists, with the recipients that are in reach.

    :param is_ours: it came from the operator's own users
    """
    recipients, count = list(row.recipients), row.count
    if reach.is_limited and not (is_ours and reach.address(row.sender)):
        recipients = [one for one in recipients if reach.address(one)]
        count = len(recipients)
    return MessageRow(
        id=row.id,
        time=moment(row.at),
        client_ip=row.client_ip,
        sender=row.sender,
        recipients=recipients[:20],
        recipient_count=count,
        subject=row.subject,
        outcome=row.outcome,
        code=row.code,
        mark=row.action if row.action == "tag" else "",
        score=row.score,
        backend=row.backend,
        server=row.server,
        size_octets=row.octets,
        message_id=row.message_id,
        listener=row.listener,
        filter=row.filter,
        reason=row.reason,
    )


def owned(query: Query, reach: Reach) -> Query:
    """The query as it is asked for somebody: what is not in reach is not looked for."""
    if not reach.is_limited:
        return query
    values = tuple(Value(domain) for domain in reach.domains)
    return query.with_all([Clause(OWNER, values)])


async def find_messages(office: Any, reach: Reach, query: Query, limit: int, cursor: str = "") -> MessageList:
    """Messages in reach that fit, newest first; raises Refusal where the cursor is not one of this query's.

    :param cursor: `next_cursor` of the page before
    """
    if office.control.history is None:
        return MessageList(items=[])
    asked = owned(query, reach)
    of = f"messages {asked.text} {' '.join(reach.domains)}"
    place = office.cursors.open(of, cursor) if cursor else 0
    found: Found = await office.control.history.search(asked, limit, place)
    listeners = office.control.settings.listeners
    ours = {name for name, one in listeners.items() if one.role == "submission"}

    def made() -> list[MessageRow]:
        return [message_row(row, reach, row.listener in ours) for row in found.rows]

    return MessageList(
        items=await office.in_thread(made) if len(found.rows) > AT_ONCE else made(),
        next_cursor=office.cursors.seal(of, found.place) if found.place else None,
        has_more=found.place != 0,
        is_partial=found.is_partial,
        looked_back_to=moment(found.place / 1_000_000) if found.is_partial else None,
    )
