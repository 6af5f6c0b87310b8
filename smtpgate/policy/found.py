"""What a search of the history gives: rows of messages, newest first, and how far it looked.

A row is what a list shows of a message; all that is known of it is in the record of its session (`policy.record`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

#: The outcome of a row for a session that named no sender: turned away, or gone before.
NO_MESSAGE: Final = "none"


@attrs.frozen
class Kept:
    """What of the history is kept.

    :ivar keep_s: sessions that began before that long ago are deleted
    :ivar messages: of more the oldest are deleted; a session without one counts as one
    :ivar exact_s: of clients whose session is older the network is kept, and not the address; None: always the address
    """

    keep_s: float = 30 * 86400.0
    messages: int = 1_000_000
    exact_s: float | None = None


@attrs.frozen
class Row:
    """One message, or a session without one.

    :ivar place: its number in the order of time, microseconds since the epoch and unique; pages go on from it
    :ivar id: reference id of the message, or of the session where it has none
    :ivar at: seconds since the epoch
    :ivar sender: in angle brackets, as are `recipients`, the first of `count`
    :ivar subject: decoded
    :ivar outcome: of `policy.transaction.OUTCOMES`, or NO_MESSAGE
    :ivar action: of its verdict; "" without one
    :ivar reason: of the finding that decided; `filter`: whose it is
    """

    place: int
    id: str
    at: float
    client_ip: str
    listener: str
    sender: str
    recipients: tuple[str, ...]
    count: int
    message_id: str
    subject: str
    outcome: str
    code: int
    action: str
    score: float
    filter: str
    reason: str
    backend: str
    server: str
    octets: int


@attrs.frozen
class Found:
    """A page of rows.

    :ivar is_partial: the time of one search was over before all was looked through
    :ivar place: where the next page begins; 0 where there is nothing more
    """

    rows: tuple[Row, ...] = ()
    is_partial: bool = False
    place: int = 0


@attrs.frozen
class Without:
    """How much a query would fit without one of its clauses.

    :ivar clause: its place among them
    :ivar total: at least so many rows where `is_partial`
    """

    clause: int
    total: int
    is_partial: bool


@attrs.frozen
class Counted:
    """What a query fits, counted.

    :ivar total: how many rows; at least so many where `is_partial`
    :ivar histogram: rows by the beginning of each stretch of `step` seconds, seconds since the epoch
    :ivar facets: by column, how many of the newest `of` rows have each value
    :ivar since: how far back was looked, seconds since the epoch; 0.0 for all
    """

    total: int = 0
    is_partial: bool = False
    since: float = 0.0
    step: float = 0.0
    histogram: tuple[tuple[float, int], ...] = ()
    facets: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    of: int = 0
