"""One server of a backend: what is known of it, and how many links and transactions it may have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from smtpgate.config.model import Backend, Server
from smtpgate.policy.transaction import TLSFacts
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.adaptive import AdaptiveLimit
from smtpgate.traffic.balance import Candidate
from smtpgate.traffic.health import Health

#: Addresses of a name are asked for anew after so long.
RESOLVE_S = 60.0
#: Links to one server where `max_connections` is not given: Postfix's smtpd_client_connection_count_limit is 50,
#: Exchange's MaxInboundConnectionPerSource 20.
DISTANT_LINKS = 20
NEARBY_LINKS = 10_000
#: A slow start of a server without a cap of its own is over at this number, or at what it has had before.
SLOW_START_LINKS = 20


#: States in which it has no mail.
OUT: Final = frozenset({"down", "ejected"})
#: Characters that are kept of its words.
WORDS: Final = 200
_MINUTE_S: Final = 60.0


class Rate:
    """Answers in the minute before now, about: the last whole minute counts for the part of it that is not over yet."""

    __slots__ = ("_minute", "_now", "_before")

    def __init__(self) -> None:
        self._minute = 0.0
        self._now = 0
        self._before = 0

    def add(self, now: float) -> None:
        """One more."""
        self._turn(now)
        self._now += 1

    def _turn(self, now: float) -> None:
        minute = now // _MINUTE_S
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else 0
            self._now, self._minute = 0, minute

    def value(self, now: float) -> float:
        """A second."""
        self._turn(now)
        return (self._now + self._before * (1 - now % _MINUTE_S / _MINUTE_S)) / _MINUTE_S


class Load:
    """What all sessions have of one server, whichever revision of the configuration they began with.

    :ivar links: connections; `busy`: transactions at work
    :ivar most: connections that there may be, as the newest revision says
    """

    __slots__ = ("links", "busy", "most")

    def __init__(self, most: int) -> None:
        self.links = 0
        self.busy = 0
        self.most = most


class ServerState:
    """What is known of one server.

    :ivar state: "unknown" before the first look, "up", "down", "ejected"
    :ivar is_drained: takes no further messages, by an administrator's word
    :ivar why: the last reason it was seen down, or not ready
    :ivar links: connections to it
    :ivar busy: those of them that have, or are about to have, a transaction
    :ivar most_busy: the most it has had at a time
    :ivar most_links: the most connections it has had at a time
    :ivar transactions: sessions and messages that were sent there; `octets`: of messages that it took
    :ivar retries: times that another server was asked since this one could not be had
    :ivar is_maint: out of service, and not looked at either
    :ivar own_weight: an administrator's word; 0: as configured
    :ivar last_reply: its last answer to the end of data, and `replied_at` on the clock
    :ivar check: how the last look ended: "" for none yet, "ok", or the stage and the reason
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
        "load",
        "most_busy",
        "capabilities",
        "banner",
        "tls",
        "last_probe",
        "probe_s",
        "transactions",
        "failures",
        "is_ready",
        "changed_at",
        "max_links",
        "health",
        "adaptive",
        "is_maint",
        "own_weight",
        "most_links",
        "octets",
        "retries",
        "last_reply",
        "replied_at",
        "check",
        "out_s",
        "rate",
    )

    def __init__(self, config: Server, max_links: int, slow_start_s: float) -> None:
        self.config = config
        self.name = config.address
        self.host = config.host
        self.addresses: list[Any] = []
        self.resolved_at = -RESOLVE_S
        self.state = "unknown"
        self.is_drained = False
        self.drain_reason = ""
        self.why = ""
        self.load = Load(max_links)
        self.most_busy = 0
        self.capabilities: Capabilities | None = None
        self.banner = ""
        self.tls: TLSFacts | None = None
        self.last_probe = 0.0
        self.probe_s = 0.0
        self.transactions = 0
        self.failures = 0
        self.is_ready = True
        self.changed_at = 0.0
        self.max_links = max_links
        self.health = Health(slow_start_s)
        self.adaptive = AdaptiveLimit(max_links)
        self.is_maint = False
        self.own_weight = 0
        self.most_links = 0
        self.octets = 0
        self.retries = 0
        self.last_reply = ""
        self.replied_at = 0.0
        self.check = ""
        #: Seconds that it was not up, those until now not among them.
        self.out_s = 0.0
        self.rate = Rate()

    @property
    def links(self) -> int:
        """Connections to it."""
        return self.load.links

    @property
    def busy(self) -> int:
        """Transactions at work there."""
        return self.load.busy

    def capacity(self, now: float) -> int:
        """Transactions that it may have at a time now: what was configured, what it has shown to bear, and less while
        it comes back."""
        # It never is over what was configured.
        most = int(self.adaptive.limit)
        if now >= self.health.settled_at:
            return most
        part = self.health.part(now)
        if part < 1.0:
            most = min(most, max(1, math.ceil(part * min(self.max_links, max(SLOW_START_LINKS, self.most_busy)))))
        return most

    def weight(self, now: float) -> float:
        """Its share of the mail now."""
        return (self.own_weight or self.config.weight) * self.health.part(now)

    def candidate(self, now: float) -> Candidate[ServerState]:
        """As the choice among several sees it."""
        return Candidate(self, self.name, self.weight(now), self.busy, self.adaptive.average.value, self.transactions)

    def downtime_s(self, now: float) -> float:
        """How long it was down or put out so far."""
        is_out = self.state in OUT
        return self.out_s + (now - self.changed_at if is_out else 0.0)

    def change(self, state: str, now: float) -> None:
        """It is seen to be another."""
        self.out_s = self.downtime_s(now)
        self.state, self.changed_at = state, now

    def one_more(self) -> None:
        """One more connection to it."""
        self.load.links += 1
        self.most_links = max(self.most_links, self.load.links)

    def probed(self, seconds: float, found: str) -> None:
        """A look at it came to its end."""
        self.probe_s, self.check = seconds, found[:WORDS]

    def heard(self, reply: Reply, octets: int, now: float) -> None:
        """It answered the end of data of so many octets."""
        self.rate.add(now)
        self.last_reply, self.replied_at = f"{reply.code} {reply.text}"[:WORDS], now
        if reply.is_positive:
            self.octets += octets

    def inherit(self, known: ServerState) -> None:
        """Take over what was known of it."""
        for name in _INHERITED:
            setattr(self, name, getattr(known, name))


_INHERITED = (
    "addresses",
    "resolved_at",
    "state",
    "why",
    "capabilities",
    "banner",
    "tls",
    "last_probe",
    "probe_s",
    "is_ready",
    "changed_at",
    "transactions",
    "failures",
    "most_busy",
    "health",
    "adaptive",
    "most_links",
    "octets",
    "retries",
    "last_reply",
    "replied_at",
    "check",
    "out_s",
    "rate",
)


def is_nearby(server: Server) -> bool:
    """A server on this machine: loopback or a unix socket."""
    return server.path is not None or server.host in ("localhost", "::1") or server.host.startswith("127.")


def max_links(backend: Backend, server: Server) -> int:
    """What was configured; by default few enough for a server that counts connections by source address, and no cap
    for one on this machine, which does not."""
    if backend.max_connections is not None:
        return backend.max_connections
    return NEARBY_LINKS if is_nearby(server) else DISTANT_LINKS


def alternatives(
    all_servers: Sequence[ServerState], servers: Sequence[ServerState], without: frozenset[str]
) -> list[ServerState]:
    """Of all servers of a backend those, no less good, that may come into service while somebody waits for these."""
    tier = max(server.config.tier for server in servers)
    return [
        server
        for server in all_servers
        if server not in servers and server.name not in without and server.config.tier <= tier
    ]
