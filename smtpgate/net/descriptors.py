"""Descriptors: how many this process may have, and for how many clients that is enough.

A session takes one for its client and one for its link to a backend; the rest of the gateway has a fixed share. So the
limit on connections follows from RLIMIT_NOFILE where that is too low, as HAProxy computes its maxconn from ulimit-n.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable

import attrs

from smtpgate.config.model import Settings
from smtpgate.policy.event import Happened

#: For all but sessions and their links: log, database, listening sockets, probes, admin pages, spooled bodies.
RESERVED = 128
#: The last ones, which no client gets: connections in their lingering close are no sessions any more, and an LMTP
#: message has a link for each recipient.
KEPT_BACK = 32


def raise_limit() -> int:
    """Take what the process may take (the soft limit becomes the hard one), and say how many descriptors that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems call the hard limit endless, and have a lower one all the same.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def fit(settings: Settings, descriptors: int, tell: Callable[[Happened], None]) -> Settings:
    """The settings with no more connections than there are descriptors for; told where that is fewer than wanted."""
    wanted, most = settings.limits.connections, max(1, (descriptors - RESERVED) // 2)
    if wanted <= most:
        return settings
    fields = (("configured", wanted), ("sessions_limit", most), ("descriptors", descriptors))
    needed = 2 * wanted + RESERVED
    message = (
        f"limits.connections is {wanted}, and {descriptors} descriptors are enough for {most}: no more are let in; "
        f"raise the limit of open files (ulimit -n, LimitNOFILE) to {needed}"
    )
    tell(Happened("connections.limited", "warning", message, fields))
    return attrs.evolve(settings, limits=attrs.evolve(settings.limits, connections=most))


def ceiling_of(descriptors: int) -> int:
    """A client whose socket has this number or a higher one is not let in.

    The kernel gives the lowest free number, so then all below it are in use.
    """
    return descriptors - min(KEPT_BACK, descriptors // 8)
