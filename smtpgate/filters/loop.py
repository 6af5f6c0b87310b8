"""Routing loops: a message that passed too many hosts, or this one too often.

Always in the chain. Received lines are counted in the whole header section at once; only a message with more of them
than an honest one has is looked at field by field.

RFC 5321 section 6.3 (a limit of at least 100); Postfix hopcount_limit is 50, Sendmail's 25.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.message.header import HeaderSection
from smtpgate.policy.verdict import Finding


class LoopOptions(Options):
    """How many hops are too many."""

    received_hops: int = Field(100, ge=1, description="More Received lines than this are a loop.")
    own_hops: int = Field(3, ge=1, description="More Received lines of our own name than this are a loop.")
    hostname: str = Field("", description="Our own name, as it stands behind `by`.")


class LoopFilter(Filter):
    """Counts hops. It keeps nothing of a transaction, so it is its own object for each."""

    def __init__(self, options: LoopOptions, services: Any) -> None:
        self._hops = options.received_hops
        self._own = options.own_hops
        self._few = min(self._hops, self._own)
        self._by = re.compile(rb"\bby\s+" + re.escape(options.hostname.lower().encode()) + rb"(?:[\s;(]|$)")
        self._knows_itself = bool(options.hostname)

    def transaction(self, transaction: Any) -> LoopFilter:
        """The same for every transaction."""
        return self

    def header(self, section: HeaderSection) -> Finding | None:
        """Count the Received lines of the header section, and no others."""
        octets = section.octets.lower()
        hops = octets.count(b"\nreceived:") + octets.startswith(b"received:")
        if hops <= self._few:
            return None
        if hops > self._hops:
            return _loop(f"{hops} Received lines")
        if self._knows_itself:
            own = sum(1 for value in section.all("received") if self._by.search(value.lower()))
            if own > self._own:
                return _loop(f"{own} Received lines of our own")
        return None


def _loop(detail: str) -> Finding:
    return Finding(
        "routing-loop", "reject", "Routing loop: too many Received lines", detail, code=554, enhanced="5.4.6"
    )


factory = Factory("loop", LoopOptions, frozenset({"header"}), LoopFilter)
