"""Facts that the core tells, one frozen class each.

The core calls `tell` with one of these and goes on; log, metrics, history and the live view listen
(`interfaces.IWatcher`). A class name is a past participle; its fields are what a witness may need and nothing secret.
"""

from __future__ import annotations

import attrs

from smtpgate.policy.transaction import Session, Transaction


@attrs.frozen
class SessionOpened:
    """A client is connected and known (after a PROXY header)."""

    session: Session


@attrs.frozen
class SessionEnded:
    """A client's connection is over; `session.closed_by` says who ended it."""

    session: Session


@attrs.frozen
class TransactionEnded:
    """A transaction is over, with its outcome."""

    transaction: Transaction


@attrs.frozen
class ConnectionRefused:
    """A connection ended before a session began.

    :ivar result: "refused_limit", "refused_capacity", "refused_pressure", "refused_banned", "refused_paused",
        "refused_policy", "early_talker" or "proxy_error"
    """

    listener: str
    peer_ip: str
    result: str
    detail: str = ""


@attrs.frozen
class CommandRefused:
    """The gateway itself refused a command, for its form or by its rules."""

    session: Session
    verb: str
    code: int
    reason: str


@attrs.frozen
class FilterFailed:
    """A filter could not do its work.

    :ivar kind: raised; unavailable: what it asked is away or said nothing of use; timeout; wrong type: what it answered
        is no finding; blocked: it held up everybody
    """

    filter: str
    stage: str
    kind: str
    detail: str
    policy: str
    session_id: str


@attrs.frozen
class ServerChanged:
    """A backend server is seen in another state."""

    backend: str
    server: str
    before: str
    after: str
    reason: str


@attrs.frozen
class LinkFailed:
    """A connection to a backend server failed or broke.

    :ivar stage: connect, greeting, ehlo, starttls, xclient, auth, mail, rcpt, data, body, end, idle
    """

    backend: str
    server: str
    stage: str
    reason: str
    session_id: str = ""


@attrs.frozen
class DeliveryUnknown:
    """The answer to the end of data was lost: the backend may have the message or not (P-228)."""

    transaction: Transaction
    server: str
    reason: str


@attrs.frozen
class DuplicatePossible:
    """A message whose fate was unknown is sent again."""

    transaction: Transaction
    first_id: str


@attrs.frozen
class Happened:
    """Something about the process itself: started, reloaded, draining, a limit reached.

    :ivar name: from the closed list of event names in docs/operation.md
    :ivar level: debug, info, warning, error
    """

    name: str
    level: str
    message: str
    fields: tuple[tuple[str, object], ...] = ()


Event = (
    SessionOpened
    | SessionEnded
    | TransactionEnded
    | ConnectionRefused
    | CommandRefused
    | FilterFailed
    | ServerChanged
    | LinkFailed
    | DeliveryUnknown
    | DuplicatePossible
    | Happened
)
