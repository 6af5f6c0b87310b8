"""The table about the history as it stands in the file."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from smtpgate.config.table import Table, key
from smtpgate.config.values import Count, Duration


class HistoryTable(Table):
    """What is kept of ended sessions and their messages, for pages and searches. It has no content of mail, but
    addresses and subjects.
    """

    keep: Annotated[Duration, Ge(3600)] = key("30d", "Sessions that began longer ago are deleted.")
    ip_precision_after: Annotated[Duration, Ge(3600)] | None = key(
        None,
        "Of clients of older sessions only the network is kept: /24, and /48 of IPv6.",
        shown="never",
        example='"7d"',
    )
    messages: Annotated[Count, Ge(1000)] = key(
        1_000_000, "Of more messages the oldest are deleted; each takes about 2 KB of disk."
    )
