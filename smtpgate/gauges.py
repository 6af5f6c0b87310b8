"""What is read off the running gateway now and then: numbers for the metrics, and how much it is pressed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from smtpgate.control import Control
from smtpgate.net.allocator import resident_octets
from smtpgate.observe.exposition import Gauge
from smtpgate.observe.history import History
from smtpgate.observe.journal import Journal
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.revision import Engine
from smtpgate.traffic.pressure import Reading


class Gauges:
    """Of one gateway."""

    def __init__(
        self,
        control: Control,
        engine: Engine,
        limiter: Limiter,
        reputation: Reputation,
        journal: Journal,
        history: History,
    ) -> None:
        self._control = control
        self._engine = engine
        self._limiter = limiter
        self._reputation = reputation
        self._journal = journal
        self._history = history

    def reading(self, lag_s: float) -> Reading:
        """How much the gateway is pressed, for the admission of sessions.

        :param lag_s: how late timers are
        """
        reception, revision = self._control.reception, self._control.revision
        assert revision is not None
        settings = revision.settings
        uses: dict[int, Any] = {
            id(use.slots): use for door in revision.doors.values() for use in door.chain.uses if use.slots
        }
        now = self._engine.clock.seconds()
        return Reading(
            lag_s,
            resident_octets() / settings.pressure.memory_octets,
            len(reception.sessions) / settings.limits.connections,
            min((pool.slots.part(now) for pool in revision.pools.values()), default=0.0),
            max((use.slots.part for use in uses.values() if use.on_error != "continue"), default=0.0),
        )

    def rows(self) -> Iterator[Gauge]:
        """What the metrics do not count themselves."""
        view = self._control.overview()
        yield "sessions_active", "Sessions now", {}, view.sessions
        yield "sessions_limit", "Most sessions", {}, view.sessions_limit
        yield "draining", "1 while draining", {}, float(view.state == "draining")
        yield "log_dropped", "Log lines lost", {}, self._journal.dropped
        yield "history_dropped", "Sessions not kept in the history", {}, self._history.dropped
        yield "ledger_rows", "Rows of the commit ledger", {}, len(self._engine.ledger)
        yield from self._traffic()
        for name, one in self._control.tls.destinations():
            yield "destinations", "Domains whose servers are known, of a backend of kind mx", {"pool": name}, one
        for result, count in self._control.tls.reports.totals.items():
            yield "tls_to_mx", "Sessions with servers of kind mx since the start", {"result": result}, count
        for server in self._control.servers():
            labels = {"pool": server.backend, "server": server.name}
            yield "backend_up", "1 while a server is up", labels, float(server.state == "up")
            yield "backend_connections", "Links to a server", labels, server.links
        for backend in self._control.backends():
            yield "backend_slots", "Transactions it may have now", {"pool": backend.name}, backend.capacity
            for name, used in backend.used.items():
                yield "backend_busy", "Transactions it has", {"pool": backend.name, "class": name}, used
            for name, waiting in backend.waiting.items():
                labels = {"pool": backend.name, "class": name}
                yield "backend_queue_depth", "Sessions that wait for a slot", labels, waiting

    def _traffic(self) -> Iterator[Gauge]:
        reception, reputation = self._control.reception, self._reputation
        yield "pressure_level", "0 normal, 1 busy, 2 high, 3 severe, 4 critical", {}, reception.admission.pressure.level
        yield "bans_active", "Bans that hold", {}, reception.warden.bans.holding(time.time())
        yield "replies_paced", "Replies that wait", {}, self._engine.pacer.waiting
        yield "body_memory_bytes", "Memory of messages that wait", {}, self._engine.memory.octets
        yield "reputation_records", "Senders that are remembered", {}, len(reputation.records)
        yield "correspondents_known", "Whom our users write to", {}, len(reputation.correspondents)
        for name, used in reception.shares.used.items():
            yield "sessions_by_class", "Sessions now", {"class": name}, used
        for name, stamps in self._limiter.stamps.items():
            yield "ratelimit_keys", "Keys of a limit that are remembered", {"limit": name}, len(stamps)
            yield "ratelimit_evicted", "Keys forgotten for want of room", {"limit": name}, stamps.evicted
