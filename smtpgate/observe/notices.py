"""The small lines of the log: what each event but the two wide ones says, as level, name, message and fields.

Pure functions, one for each kind of event; `journal` decides whether a line is written and counts those that
are not.
"""

from __future__ import annotations

from smtpgate.observe.records import LISTED, Fields
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session, Transaction

#: Level, name of the event, message, fields.
Notice = tuple[str, str, str, Fields]


def _envelope(transaction: Transaction) -> list[tuple[str, object]]:
    """The fields that say which message it is."""
    recipients = transaction.recipients
    return [
        ("session_id", transaction.session.id),
        ("msg_id", transaction.id),
        ("mail_from", transaction.sender),
        ("rcpt_to", [recipient.path for recipient in recipients[:LISTED]]),
        ("rcpt_more", max(0, len(recipients) - LISTED) or None),
        ("rcpt_count", len(recipients)),
        ("header_message_id", transaction.message_id),
        ("pool", transaction.backend),
    ]


def session_opened(session: Session) -> Notice:
    """A client is connected and known."""
    tls = session.tls
    fields: Fields = (
        ("session_id", session.id),
        ("config_rev", session.revision),
        ("listener", session.listener),
        ("role", session.role),
        ("client_ip", session.client_ip),
        ("client_port", session.client_port),
        ("client_name", session.client_name),
        ("helo", session.helo),
        ("proxy_ip", session.peer_ip if session.peer_ip != session.client_ip else ""),
        ("tls_version", tls.version if tls is not None else ""),
        ("tls_cipher", tls.cipher if tls is not None else ""),
        ("auth_user", session.user),
    )
    return "debug", "session.opened", f"{session.client_ip} is connected", fields


def connection_refused(event: told.ConnectionRefused) -> Notice:
    """A connection was not let in."""
    level = "warning" if event.result in ("refused_capacity", "proxy_error") else "info"
    fields: Fields = (
        ("listener", event.listener),
        ("client_ip", event.peer_ip),
        ("result", event.result),
        ("detail", event.detail),
    )
    return level, "connection.refused", f"{event.result}: {event.peer_ip}", fields


def connections_refused(listener: str, result: str, count: int) -> Notice:
    """More like it came in the same second."""
    fields: Fields = (("listener", listener), ("result", result), ("repeated", count))
    return "info", "connection.refused", f"{result}: {count} more in one second", fields


def command_refused(session: Session, what: tuple[str, int, str], repeated: int) -> Notice:
    """A command was refused, or was refused so many times more."""
    verb, code, reason = what
    times = f", {repeated} times more" if repeated else ""
    fields: Fields = (
        ("session_id", session.id),
        ("listener", session.listener),
        ("client_ip", session.client_ip),
        ("verb", verb),
        ("code", code),
        ("reason", reason),
        ("repeated", repeated or None),
    )
    return "debug", "command.refused", f"{verb}: {reason}{times}", fields


def filter_failed(event: told.FilterFailed, repeated: int) -> Notice:
    """A filter failed."""
    fields: Fields = (
        ("filter", event.filter),
        ("stage", event.stage),
        ("kind", event.kind),
        ("detail", event.detail),
        ("policy", event.policy),
        ("session_id", event.session_id),
        ("repeated", repeated or None),
    )
    return "warning", "filter.failed", f"filter {event.filter} at {event.stage}: {event.kind}", fields


def server_changed(event: told.ServerChanged, repeated: int) -> Notice:
    """A server is in another state; `repeated` failures of it were not told."""
    fields: Fields = (
        ("pool", event.backend),
        ("server", event.server),
        ("before", event.before),
        ("after", event.after),
        ("reason", event.reason),
        ("repeated", repeated or None),
    )
    level = "info" if event.after == "up" else "warning"
    return level, "backend.changed", f"{event.backend}: {event.server} is {event.after}", fields


def link_failed(event: told.LinkFailed, repeated: int) -> Notice:
    """A connection to a server failed."""
    fields: Fields = (
        ("pool", event.backend),
        ("server", event.server),
        ("stage", event.stage),
        ("reason", event.reason),
        ("session_id", event.session_id),
        ("repeated", repeated or None),
    )
    message = f"{event.backend}: {event.server} at {event.stage}: {event.reason}"
    return "warning", "link.failed", message, fields


def delivery_unknown(event: told.DeliveryUnknown) -> Notice:
    """The answer to the end of data was lost."""
    fields = (*_envelope(event.transaction), ("server", event.server), ("reason", event.reason))
    return "error", "delivery.unknown", f"{event.server} may have the message or not", fields


def duplicate_possible(event: told.DuplicatePossible) -> Notice:
    """A message whose fate was unknown is sent again."""
    transaction = event.transaction
    fields = (*_envelope(transaction), ("server", transaction.server), ("first_id", event.first_id))
    return "warning", "duplicate.possible", "a message whose fate was unknown is sent again", fields


def dropped(count: int) -> Notice:
    """Lines were lost."""
    return "warning", "log.dropped", f"{count} lines could not be written", (("count", count),)


def reopened(file: str, reason: str) -> Notice:
    """The log file was opened anew, or why it was not."""
    if file == "-":
        message = "the log goes to standard output, so there is nothing to open anew"
        return "info", "log.reopened", message, ()
    if reason:
        message = "the log file cannot be opened anew; the old one is kept"
        return "warning", "log.reopened", message, (("file", file), ("reason", reason))
    return "info", "log.reopened", "the log file was opened anew", (("file", file),)


def failed(kind: str, error: Exception) -> Notice:
    """An event could not be written."""
    return "error", "journal.failed", f"{kind} could not be written", (("kind", kind), ("error", error))
