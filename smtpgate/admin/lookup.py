"""Finding a session or a message by its reference, wherever it is: among the live ones, or in the history."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.explain import session_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import MessageList, MessageRow
from smtpgate.admin.record import MessageView, SessionRecord, of_facts, of_row, of_rows
from smtpgate.admin.text import moment, subject, visible


async def find_session(office: Any, reference: str) -> SessionRecord:
    """The session of a reference; raises Refusal where there is none."""
    live = office.control.session(session_of(reference))
    if live is not None:
        return of_facts(*live)
    row = await office.control.history.find(reference) if office.control.history is not None else None
    if row is None:
        raise Refusal("not-found", 404, f"no session {visible(reference, 80)}: it is not live, and not kept any more")
    record: SessionRecord = await office.in_thread(of_row, row)
    return record


async def find_message(office: Any, reference: str) -> tuple[SessionRecord, MessageView]:
    """The message of a reference, and its session; raises Refusal where there is none."""
    record = await find_session(office, reference)
    message = record.message(reference)
    if message is None:
        raise Refusal("not-found", 404, f"no message {visible(reference, 80)} in this session")
    return record, message


async def recent_sessions(office: Any, limit: int) -> list[SessionRecord]:
    """The newest ended sessions."""
    if office.control.history is None:
        return []
    rows = await office.control.history.recent(limit)
    records: list[SessionRecord] = await office.in_thread(of_rows, rows)
    return records


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


async def recent_messages(office: Any, limit: int, text: str = "", outcome: str = "") -> MessageList:
    """The newest messages; `text` is looked for in sender, recipients, subject, client and ids."""
    records = await recent_sessions(office, limit)
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
