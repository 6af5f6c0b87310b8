"""What is searched of a session's record: a row and its words for each message, or one for a session without any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from smtpgate.policy.found import NO_MESSAGE
from smtpgate.policy.record import FINDING_AT, MESSAGE_AT, RECIPIENT_AT, SESSION_AT
from smtpgate.state.history_words import SEARCHED, of_message, of_session, of_silent, subject_of
from smtpgate.state.tables import storable

_S: Final = SESSION_AT
_M: Final = MESSAGE_AT
_R: Final = RECIPIENT_AT
_F: Final = FINDING_AT
#: The time of a row (microseconds since the epoch), its columns but the number, and its words.
Made = tuple[int, tuple[Any, ...], str]


def made(record: list[Any]) -> Iterator[Made]:
    """Of a record as `policy.record.compact` makes it, now or at an earlier version."""
    shared = of_session(record)
    ip, listener, started = record[_S["client_ip"]], record[_S["listener"]], int(record[_S["started"]] * 1_000_000)
    messages = record[_S["messages"]]
    if not messages:
        decided = record[_S["findings"]][-1:]
        filter, reason = (storable(decided[0][_F[name]]) if decided else "" for name in ("filter", "reason"))
        texts = ("", "", 0, "", "", NO_MESSAGE, 0, "", 0.0, filter, reason, "", "", 0)
        yield started, (record[_S["id"]], ip, listener, *texts), of_silent(shared)
        return
    for message in messages:
        subject = subject_of(message[_M["subject"]])
        recipients, reply = message[_M["recipients"]], message[_M["reply"]]
        verdict = message[_M["verdict"]]
        decided = verdict[3] if verdict is not None else None
        columns = (
            message[_M["id"]],
            ip,
            listener,
            storable(message[_M["sender"]]),
            storable(" ".join([one[_R["address"]].replace(" ", "\u2423") for one in recipients[:SEARCHED]])),
            len(recipients),
            storable(message[_M["message_id"]]),
            storable(subject),
            message[_M["outcome"]],
            reply[0] if reply is not None else 0,
            verdict[0] if verdict is not None else "",
            verdict[1] if verdict is not None else 0.0,
            storable(decided[_F["filter"]]) if decided is not None else "",
            storable(decided[_F["reason"]]) if decided is not None else "",
            storable(message[_M["backend"]]),
            storable(message[_M["server"]]),
            message[_M["size_octets"]],
        )
        at = started + (message[_M["begun_ms"]] or 0)
        yield at, columns, of_message(record, message, shared, subject)
