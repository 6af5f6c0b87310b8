"""One server of a backend: what is known of it, and how many links it may have."""

from __future__ import annotations

from collections import deque
from typing import Any

from smtpgate.config.model import Backend, Server
from smtpgate.policy.transaction import TLSFacts
from smtpgate.smtp.capability import Capabilities
from smtpgate.tasks import Signal

#: Addresses of a name are asked for anew after so long.
RESOLVE_S = 60.0
#: Links to one server where `max_connections` is not given: Postfix's smtpd_client_connection_count_limit is 50,
#: Exchange's MaxInboundConnectionPerSource 20.
DISTANT_LINKS = 20
NEARBY_LINKS = 10_000


class ServerState:
    """What is known of one server.

    :ivar state: "unknown" before the first look, "up", "down"
    :ivar is_drained: takes no further messages, by an administrator's word
    :ivar why: the last reason it was seen down, or not ready
    """

    __slots__ = (
        "config",
        "name",
        "host",
        "addresses",
        "resolved_at",
        "state",
        "is_drained",
        "drain_reason",
        "why",
        "links",
        "capabilities",
        "banner",
        "tls",
        "last_probe",
        "probe_s",
        "transactions",
        "failures",
        "waiting",
        "is_ready",
        "changed_at",
        "max_links",
    )

    def __init__(self, config: Server, max_links: int) -> None:
        self.config = config
        self.name = config.address
        self.host = config.host
        self.addresses: list[Any] = []
        self.resolved_at = -RESOLVE_S
        self.state = "unknown"
        self.is_drained = False
        self.drain_reason = ""
        self.why = ""
        self.links = 0
        self.capabilities: Capabilities | None = None
        self.banner = ""
        self.tls: TLSFacts | None = None
        self.last_probe = 0.0
        self.probe_s = 0.0
        self.transactions = 0
        self.failures = 0
        self.waiting: deque[Signal] = deque()
        self.is_ready = True
        self.changed_at = 0.0
        self.max_links = max_links


def is_nearby(server: Server) -> bool:
    """A server on this machine: loopback or a unix socket."""
    return server.path is not None or server.host in ("localhost", "::1") or server.host.startswith("127.")


def max_links(backend: Backend, server: Server) -> int:
    """What was configured; by default few enough for a server that counts connections by source address, and no cap
    for one on this machine, which does not."""
    if backend.max_connections is not None:
        return backend.max_connections
    return NEARBY_LINKS if is_nearby(server) else DISTANT_LINKS
