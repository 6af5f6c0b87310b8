"""Finding a session or a message by its reference, wherever it is: among the live ones, or in the history."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.explain import session_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import MessageList, MessageRow
from smtpgate.admin.record import MessageView, SessionRecord, of_facts, of_row, of_rows
from smtpgate.admin.text import moment, subject, visible
from smtpgate.policy.reach import Reach

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


def message_row(record: SessionRecord, message: MessageView) -> MessageRow:
    """A message for lists."""
    verdict = message.verdict
    return MessageRow(
        id=message.id,
        time=moment(record.started + message.begun_ms / 1000),
        client_ip=record.client_ip,
        sender=message.sender,
        recipients=[one.address for one in message.recipients[:20]],
        recipient_count=len(message.recipients),
        subject=subject(message.subject),
        outcome=message.outcome or "running",
        code=message.reply.code if message.reply is not None else 0,
        mark=verdict.action if verdict is not None and verdict.action == "tag" else "",
        score=verdict.score if verdict is not None else 0.0,
        backend=message.backend,
        server=message.server,
        size_octets=message.size_octets,
    )


async def recent_messages(office: Any, reach: Reach, limit: int, text: str = "", outcome: str = "") -> MessageList:
    """The newest messages in reach; `text` is looked for in sender, recipients, subject, client and ids."""
    records = await recent_sessions(office, reach, limit)
    found: MessageList = await office.in_thread(_choose, records, limit, text.casefold(), outcome)
    return found


def _choose(records: list[SessionRecord], limit: int, wanted: str, outcome: str) -> MessageList:
    rows = []
    for record in records:
        for message in reversed(record.messages):
            row = message_row(record, message)
            if outcome and row.outcome != outcome:
                continue
            if wanted and not any(wanted in part.casefold() for part in _searched(row, message)):
                continue
            rows.append(row)
    return MessageList(items=rows[:limit], has_more=len(rows) > limit)


def _searched(row: MessageRow, message: MessageView) -> list[str]:
    return [row.id, row.sender, row.subject, row.client_ip, message.message_id, *row.recipients]
