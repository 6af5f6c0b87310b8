"""What was said in a session, as far as its record has it: commands and replies with their times.

Secrets and content are not in a record, so they are not here: AUTH has its mechanism, content its size. A reply that
the record does not keep (to EHLO, MAIL and DATA, where it was good) is not made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from smtpgate.admin.record import MessageView, ReplyView, SessionRecord, Step
from smtpgate.admin.text import octets

#: Lines of one answer; a record keeps 400 steps.
MOST: Final = 1000


@attrs.frozen
class Line:
    """One line.

    :ivar who: client, gateway or backend; note: nobody said it, it happened
    :ivar is_hidden: something that was said here is not shown
    """

    at_ms: float
    who: str
    text: str
    is_hidden: bool = False


def of_record(record: SessionRecord) -> list[Line]:
    """All lines, in order."""
    lines = [line for step in record.timeline for line in _of_step(step)]
    for message in record.messages:
        lines += _of_message(message)
    lines.sort(key=lambda line: line.at_ms)
    return lines[:MOST]


_PLAIN: Final = ("EHLO", "HELO", "LHLO")


def _of_step(step: Step) -> Iterator[Line]:
    at, what, detail = step.at_ms, step.what, step.detail
    if step.who == "client":
        if what in _PLAIN:
            yield Line(at, "client", f"{what} {detail}".rstrip())
        elif what == "TLS":
            yield Line(at, "note", f"TLS from here on: {detail}")
        elif what == "AUTH":
            yield Line(at, "client", f"AUTH {detail} [hidden]", True)
        elif what == "MAIL":
            yield Line(at, "client", f"MAIL FROM:{detail if detail.startswith('<') else f'<{detail}>'}")
        elif what == "RCPT":
            path, _, reply = detail.partition("> ")
            yield Line(at, "client", f"RCPT TO:{path}{'>' if reply else ''}")
            if reply:
                yield Line(at, "gateway", reply)
        elif what in ("DATA", "BDAT"):
            yield Line(at, "client", what)
            if detail:
                yield Line(at, "gateway", detail)
        else:
            yield Line(at, "note", f"client: {what} {detail}".rstrip())
    elif step.who == "backend":
        yield Line(at, "backend", f"{what} {detail}".rstrip())
    elif not (step.who == "us" and detail and what not in ("close", "paced", "class")):
        # What became of a message stands with the message.
        yield Line(at, "gateway" if what == "close" else "note", f"{what} {detail}".strip())


def _of_message(message: MessageView) -> Iterator[Line]:
    if message.data_ms is not None and message.size_octets:
        at = message.end_ms if message.end_ms is not None else message.data_ms
        yield Line(at, "client", f"[content: {octets(message.size_octets)}, hidden]", True)
    if message.reply is not None:
        at = message.ended_ms if message.ended_ms is not None else message.begun_ms
        yield Line(at, "gateway", said(message.reply, message.id))


def said(reply: ReplyView, reference: str) -> str:
    """A reply as it was told."""
    return " ".join(part for part in (str(reply.code), reply.enhanced, reply.text, reference) if part)
