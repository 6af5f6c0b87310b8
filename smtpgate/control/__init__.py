"""The one door between the running gateway and those who manage it: look, watch, do, check.

Pages, API and command line use this object and nothing behind it. *Look* gives frozen snapshots that are plain values,
cheap to copy; *watch* gives events through a bounded queue; *do* changes something, names who did it, and leaves an
event; *check* tries something without effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Any

from smtpgate import __version__
from smtpgate.config.loader import ConfigErrors, load
from smtpgate.config.model import Settings
from smtpgate.config.problem import Problem
from smtpgate.control import views
from smtpgate.control.alerts import Alerts
from smtpgate.control.attend import Attend
from smtpgate.control.bench import Bench
from smtpgate.control.cases import Cases
from smtpgate.control.certificates import Certificates
from smtpgate.control.configuration import Configuration
from smtpgate.control.draft_edits import TableEdits
from smtpgate.control.dryrun import Trials
from smtpgate.control.engine_room import EngineRoom
from smtpgate.control.fleet import Fleet
from smtpgate.control.intake import Intake
from smtpgate.control.jobs import Jobs
from smtpgate.control.lists import ManagedLists
from smtpgate.control.live import Live
from smtpgate.control.logs import Logs
from smtpgate.control.mutes import Mutes
from smtpgate.control.outcomes import Outcomes
from smtpgate.control.people import People
from smtpgate.control.policy import Policy
from smtpgate.control.quarantine import Quarantine
from smtpgate.control.replays import Replays
from smtpgate.control.routing import explain_route
from smtpgate.control.rule_edits import RuleEdits
from smtpgate.control.rule_trials import RuleTrials
from smtpgate.control.statistics import Statistics
from smtpgate.control.tickets import Tickets
from smtpgate.control.tls import TLSWatch
from smtpgate.control.tls_promises import Promises
from smtpgate.control.top import Top
from smtpgate.control.traffic import Traffic
from smtpgate.control.upkeep import Upkeep
from smtpgate.control.viewer import Viewer
from smtpgate.control.views import (
    Actor,
    BackendView,
    FilterView,
    Overview,
    ServerView,
    SessionView,
    Unknown,
    Way,
)
from smtpgate.policy import event as told
from smtpgate.policy.question import Question
from smtpgate.policy.transaction import Session as Facts
from smtpgate.proxy.drains import Drains
from smtpgate.proxy.memory import PIECE
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.server import ServerState

SYSTEM = Actor("system", "gateway")


class Control:
    """The gateway as its managers see it."""

    def __init__(
        self,
        engine: Engine,
        path: Any,
        factories: Mapping[str, Any],
        failed_plugins: Mapping[str, str],
        build: Callable[[Settings, Revision | None], Revision],
        bind: Callable[[Settings], Any],
        history: Any,
        metrics: Any,
    ) -> None:
        """
        :param path: the configuration file
        :param build: makes a revision from settings, beside the one at work
        :param bind: listens as settings say; a coroutine
        :param history: finds ended sessions: `find(reference)`, `recent(...)`
        :param metrics: counts: `series()`, `outcomes`
        """
        self.engine = engine
        self.path = path
        self.history = history
        self.metrics = metrics
        self.revision: Revision | None = None
        self.revision_at = 0.0
        self.started = engine.wall()
        self.problems: tuple[Problem, ...] = ()
        self.reception = Reception(engine, self.current)
        self.drains = Drains(engine.clock, engine.wall, self._pools, engine.tell)
        self.fleet = Fleet(engine, self.current, self._pools, self.drains, self._did)
        self.trials = Trials(engine, lambda: self.settings, history)
        self.traffic = Traffic(engine, self.reception, self.current, self._did)
        self.lists = ManagedLists(engine, self.current, self._did, self.traffic)
        self.stop: Callable[[], None] | None = None
        self.reopen_logs: Callable[[], None] | None = None
        self._factories = factories
        self._failed_plugins = failed_plugins
        self._build = build
        self._bind = bind
        self._watches: list[Callable[[Any], None]] = []
        #: Revisions that sessions are still at work with.
        self._retired: list[Revision] = []
        self.outcomes = Outcomes(engine.wall)
        self.policy = Policy(engine.wall, self.current, lambda: self.revision)
        self.quarantine = Quarantine(engine, self.current, self._did)
        self.people = People(engine, self.current, self.quarantine, self._did)
        self.viewer = Viewer(engine, self.current, self.quarantine)
        self.tickets = Tickets(engine.wall, self._did)
        self.rule_trials = RuleTrials(engine, self.current, history, self.quarantine)
        self.bench = Bench(engine, self.reception, self.current)
        self.bench.give_up = self._close
        self.cases = Cases(engine, self.current, self.bench)
        self.replays = Replays(engine, self.current, history, self.quarantine, self.bench)
        self.tls = TLSWatch(engine.wall, self.current)
        self.upkeep = Upkeep(self)
        self.statistics = Statistics(engine.wall, engine.in_thread)
        self.top = Top(engine.wall, engine.in_thread)
        self.live = Live(engine, self.reception, self.current, self._revisions)
        count = metrics.kept if metrics is not None else lambda names: {}
        self.room = EngineRoom(engine, self.current, factories, failed_plugins, self._did, self.live.attach, count)
        self.configuration = Configuration(self, factories, failed_plugins)
        self.rule_edits = RuleEdits(engine, self.current, self.configuration)
        self.table_edits = TableEdits(engine, self.configuration)
        self.certificates = Certificates(engine.wall, engine.in_thread, lambda: self.settings)
        self.certificates.did = self._did
        self.promises = Promises(engine.wall, engine.in_thread, lambda: self.settings)
        self.alerts, self.mutes = Alerts(self), Mutes(engine.wall, self._did)
        self.jobs = Jobs(engine)
        self.intake = Intake(engine, self.reception, self._did)
        self.attend = Attend(engine, self.reception, self._did)
        self.logs = Logs(engine, self._did)

    def current(self) -> Revision:
        """The revision at work."""
        assert self.revision is not None
        return self.revision

    def _pools(self) -> list[Mapping[str, Pool]]:
        """Those of the revision at work, and of older ones whose sessions go on."""
        return [revision.pools for revision in self._revisions()]

    def _revisions(self) -> list[Revision]:
        return [self.current(), *self._retired]

    @property
    def settings(self) -> Settings:
        """The settings at work."""
        return self.current().settings

    # Watch

    #: It hears of all events.
    hears: Collection[type] | None = None

    def hear(self, event: Any) -> None:
        """For the witnesses' list: hand events to whoever watches."""
        if type(event) is told.TransactionEnded:
            self.outcomes.add(event.transaction.outcome)
            if event.transaction.findings:
                self.policy.count(event.transaction)
        self.alerts.hear(event)
        if self.live.is_watched:
            self.live.hear(event)
        if type(event) is told.ServerChanged:
            self.fleet.ribbons.look()
        for hear in self._watches:
            hear(event)

    def watch(self, hear: Callable[[Any], None]) -> None:
        """Hear events from now on. It must be quick: the mail waits for it."""
        self._watches.append(hear)

    def unwatch(self, hear: Callable[[Any], None]) -> None:
        """Hear no more."""
        if hear in self._watches:
            self._watches.remove(hear)

    # Look

    def overview(self) -> Overview:
        """The first page."""
        revision = self.current()
        servers = [server for pool in revision.pools.values() for server in pool.servers]
        reasons = self.alerts.reasons()
        state = "degraded" if reasons else "accepting"
        if self.reception.is_draining or self.reception.is_paused:
            state = "draining" if self.reception.is_draining else "paused"
        return Overview(
            __version__,
            revision.settings.hostname,
            state,
            tuple(reasons),
            revision.id,
            self.revision_at,
            self.started,
            len(self.reception.sessions),
            revision.settings.limits.connections,
            self.reception.total,
            sum(1 for server in servers if server.state == "up"),
            len(servers),
            dict(self.outcomes.total),
            revision.settings.warnings,
        )

    @property
    def is_ready(self) -> bool:
        """For /readyz: configured, listening, neither draining nor paused. A backend that is down does not make us
        leave: the sender gets an explained 451 from us and a refused connection otherwise."""
        return self.revision is not None and not (self.reception.is_draining or self.reception.is_paused)

    def sessions(self, most: int | None = None) -> list[SessionView]:
        """Live sessions, the oldest first; `most` of them, so that a page costs the same however many there are."""
        now = self.engine.clock.seconds()
        live = islice(self.reception.sessions.values(), most)
        return [views.session_view(session.facts, now) for session in live]

    def session(self, id: str) -> tuple[Facts, float] | None:
        """The facts of a live session as they stand, and now on their clock; None where it is over or never was."""
        session = self.reception.sessions.get(id)
        return (session.facts, self.engine.clock.seconds()) if session is not None else None

    def filters(self) -> list[FilterView]:
        """All filters in their order, as they are used."""
        return self.room.filters()

    def servers(self) -> list[ServerView]:
        """All servers of all backends."""
        return [
            views.server_view(pool, server, self.engine, self.drains.find(pool.backend.name, server.name))
            for pool in self.current().pools.values()
            for server in pool.servers
        ]

    def backends(self) -> list[BackendView]:
        """All backends: their slots and who waits."""
        return [views.backend_view(pool, self.engine) for pool in self.current().pools.values()]

    # Do

    def _did(self, actor: Actor, action: str, target: str, detail: str = "") -> None:
        self.engine.tell(
            told.Happened(
                f"admin.{action}",
                "info",
                f"{actor.kind} {actor.name}: {action} {target}",
                (("actor", actor.name), ("actor_kind", actor.kind), ("target", target), ("detail", detail)),
            )
        )

    def _server(self, backend: str, name: str) -> tuple[Pool, ServerState]:
        pool = self.current().pools.get(backend)
        server = pool.server(name) if pool is not None else None
        if pool is None or server is None:
            raise Unknown(f"no server {name} in backend {backend}")
        return pool, server

    def drain_server(self, backend: str, name: str, actor: Actor, reason: str = "", minutes: int = 0) -> None:
        """No new sessions for a server: for so long, or until somebody says ready (0)."""
        self._server(backend, name)
        self.drains.drain(backend, name, reason, minutes * 60.0)
        self._did(actor, "server.drain", f"{backend}/{name}", views.lasting(reason, minutes))

    def ready_server(self, backend: str, name: str, actor: Actor) -> None:
        """Sessions for it again."""
        self._server(backend, name)
        self.drains.ready(backend, name)
        self._did(actor, "server.ready", f"{backend}/{name}")

    def probe_server(self, backend: str, name: str, actor: Actor) -> None:
        """Look at it now."""
        pool, server = self._server(backend, name)
        pool.probe(server)
        self._did(actor, "server.probe", f"{backend}/{name}")

    def kill_session(self, id: str, actor: Actor) -> None:
        """End a session; one whose message is being committed ends after that."""
        session = self.reception.sessions.get(id)
        if session is None:
            raise Unknown(f"no live session {id}")
        session.kill(by="admin")
        self._did(actor, "session.kill", id)

    async def start(self, settings: Settings) -> None:
        """The first revision."""
        self.configuration.started_with = settings
        await self._apply(settings)

    async def reload(self, actor: Actor, is_patient: bool = False) -> tuple[Problem, ...]:
        """Read anew what rules, and put it to work; the problems where it has any, and then nothing changed."""
        return await self.configuration.reload(actor, is_patient)

    async def put_to_work(self, settings: Settings) -> None:
        """Other settings. Raises with everything as it was."""
        await self._apply(settings)

    async def _apply(self, settings: Settings) -> None:
        """Build beside, bind, swap one reference; throw the new away where anything fails."""
        old = self.revision
        fresh = self._build(settings, old)
        try:
            # The sockets are bound before any session can ask for the doors of the new revision.
            await self._bind(settings)
        except Exception:
            self._close(fresh)
            raise
        self.revision = fresh
        self.room.tunings.apply()
        fresh.limits.begin()
        self._share_out(settings)
        self.revision_at = self.engine.wall()
        for name, pool in fresh.pools.items():
            if old is not None and name in old.pools:
                pool.inherit(old.pools[name])
            pool.start()
        self.drains.apply()
        self.fleet.weights.apply()
        if old is not None:
            old.close_pools()
            self._retired.append(old)
            old.retire(self._close)
        self.engine.tell(told.Happened("config.applied", "info", f"revision {fresh.id}", (("config_rev", fresh.id),)))

    def _share_out(self, settings: Settings) -> None:
        """What all revisions share follows the newest."""
        memory, parts = self.engine.memory.shares, {name: one.share for name, one in settings.classes.items()}
        memory.resize(settings.limits.body_memory_octets // PIECE)
        for shares in (memory, self.reception.shares):
            shares.divide(parts)

    def _close(self, revision: Revision) -> None:
        """Give a revision up: its probes and, once each, its filters."""
        if revision in self._retired:
            self._retired.remove(revision)
        revision.close_pools()
        for pool in revision.pools.values():
            pool.gone()
        for name, made in revision.filters():
            try:
                made.close()
            except BaseException as error:
                self.engine.tell(told.FilterFailed(name, "close", "raised", repr(error)[:500], "none", ""))
        if revision.at_close is not None:
            revision.at_close()

    def shut_down(self, actor: Actor) -> None:
        """Drain and stop."""
        self._did(actor, "stop", "gateway")
        if self.stop is not None:
            self.stop()

    # Check

    async def check_file(self) -> tuple[Problem, ...]:
        """The problems of the configuration file as it stands on the disk, warnings included; nothing is changed."""
        try:
            settings: Settings = await self.engine.in_thread(load, self.path, self._factories, self._failed_plugins)
        except ConfigErrors as errors:
            return tuple(errors.problems)
        return settings.warnings

    def explain_route(self, question: Question) -> list[Way]:
        """What would become of each recipient of one message."""
        return explain_route(self.current(), question)
