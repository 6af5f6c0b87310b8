"""What is read off the running gateway now and then: numbers for the metrics, and how much it is pressed."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from smtpgate import __version__
from smtpgate.control import Control
from smtpgate.control.upkeep import Machine
from smtpgate.control.views import Refused
from smtpgate.net.allocator import resident_octets
from smtpgate.observe.catalogue import SERVER_STATES
from smtpgate.observe.exposition import Number
from smtpgate.observe.history import History
from smtpgate.observe.journal import Journal
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.revision import Engine
from smtpgate.state.backup import keep, last
from smtpgate.state.folder import StateError
from smtpgate.traffic.pressure import Reading


def machine(folder: Path, database: Path, most: int) -> Machine:
    """Process and state folder now; blocks.

    :param most: descriptors that the process may have
    """
    beside = database.with_name(f"{database.name}-wal")
    backup = last(folder) or (0.0, 0)
    try:
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        descriptors = 0
    return Machine(
        os.getpid(),
        descriptors,
        most if most < sys.maxsize else 0,
        resident_octets(),
        sum(path.stat().st_size for path in (database, beside) if path.exists()),
        shutil.disk_usage(folder).free,
        *backup,
    )


def backup(folder: Path, config: Path) -> tuple[str, int]:
    """Write one beside the state: its file and octets. Blocks; raises Refused."""
    try:
        made = keep(folder, config, __version__)
        return str(made), made.stat().st_size
    except (StateError, OSError) as error:
        raise Refused(str(error)) from None


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
        #: What only the wiring sees: threads, stores, the office.
        self.more: Callable[[], Iterable[Number]] = tuple

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

    def rows(self) -> Iterator[Number]:
        """What the metrics do not count themselves, by the names of the catalogue."""
        control, journal = self._control, self._journal
        view = control.overview()
        sessions = Counter(dict.fromkeys(control.settings.listeners, 0))
        sessions.update(session.facts.listener for session in control.reception.sessions.values())
        for listener, count in sessions.items():
            yield "sessions_active", (listener,), count
        yield "sessions_limit", (), view.sessions_limit
        yield "draining", (), float(view.state == "draining")
        for level, lines in journal.lines_by_level.items():
            yield "log_records_total", (level,), lines
        yield "log_dropped_total", ("log",), journal.dropped
        yield "store_dropped_total", ("sessions",), self._history.dropped
        yield "ledger_rows", (), len(self._engine.ledger)
        yield from self._traffic()
        yield from self._backends()
        yield from self._filters()
        yield from self.more()

    def _backends(self) -> Iterator[Number]:
        control = self._control
        now = self._engine.clock.seconds()
        for name, one in control.tls.destinations():
            yield "destinations", (name,), one
        for result, count in control.tls.reports.totals.items():
            yield "tls_to_mx", (result,), count
        for pool in control.current().pools.values():
            for server in pool.servers:
                place = (pool.backend.name, server.name)
                state = "drain" if server.is_drained else server.state
                yield "backend_up", place, float(server.state == "up")
                yield "backend_weight", place, 0.0 if server.is_drained else server.weight(now)
                for word in SERVER_STATES:
                    yield "backend_state", (*place, word), float(word == state)
                yield "backend_connections", (*place, "active"), server.busy
                yield "backend_connections", (*place, "idle"), max(0, server.links - server.busy)
                if server.tls is not None and server.tls.not_after:
                    yield "tls_certificate_not_after_timestamp_seconds", ("backend", server.name), server.tls.not_after
        for name, door in control.current().doors.items():
            if door.tls is not None:
                yield "tls_certificate_not_after_timestamp_seconds", ("client", name), door.tls.not_after
        for backend in control.backends():
            yield "backend_slots", (backend.name,), backend.capacity
            for name, used in backend.used.items():
                yield "backend_busy", (backend.name, name), used
            for name, waiting in backend.waiting.items():
                yield "backend_queue_depth", (backend.name, name), waiting

    def _filters(self) -> Iterator[Number]:
        room = self._control.room
        for name, one in room.standings().items():
            yield "filter_up", (name,), float(one.is_up)
            if one.signatures_at:
                yield "filter_signature_timestamp_seconds", (name,), one.signatures_at
        for view in room.filters():
            if view.is_tunable:
                source = room.sources.get(view.use)
                yield "plugin_info", (view.name, source.version if source is not None else ""), 1
                yield "plugin_disabled", (view.name,), float(view.mode == "off")

    def _traffic(self) -> Iterator[Number]:
        reception, reputation = self._control.reception, self._reputation
        yield "pressure_level", (), reception.admission.pressure.level
        by_hand, holding = reception.warden.bans.holding_by(self._engine.wall())
        yield "bans_active", ("gateway",), holding - by_hand
        yield "bans_active", ("hand",), by_hand
        yield "replies_paced", (), self._engine.pacer.waiting
        yield "body_memory_bytes", (), self._engine.memory.octets
        yield "reputation_records", (), len(reputation.records)
        yield "correspondents_known", (), len(reputation.correspondents)
        for name, used in reception.shares.used.items():
            yield "sessions_by_class", (name,), used
        for name, stamps in self._limiter.stamps.items():
            yield "ratelimit_keys", (name,), len(stamps)
            yield "ratelimit_evictions_total", (name,), stamps.evicted
