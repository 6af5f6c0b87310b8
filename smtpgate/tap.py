"""The wiring: `twistd smtpgate`. The only place that sees all rooms, and the only one that imports the reactor.

`makeService` reads the configuration (exit code 3 where it is wrong); `Gateway.privilegedStartService` takes the state
folder (5) and binds (4) before the reactor runs and before twistd gives up its privileges; signals drain, reload and
reopen logs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy.exc import SQLAlchemyError
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from smtpgate import __version__, boot
from smtpgate.assembly import Assembly, client_tls
from smtpgate.config.endpoint import parse_listen
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.model import Backend, Settings
from smtpgate.config.model_hooks import Webhook
from smtpgate.config.model_sso import Provider
from smtpgate.config.paths import control_socket
from smtpgate.control import Control
from smtpgate.control.upkeep import Place
from smtpgate.control.views import Actor, Refused
from smtpgate.filters.replay import Replay
from smtpgate.filters.rule_trial import Trial
from smtpgate.gauges import Gauges, backup, machine
from smtpgate.interfaces import StoreFailed
from smtpgate.net import descriptors, selfsigned
from smtpgate.net.allocator import keep_memory
from smtpgate.net.back import Connector
from smtpgate.net.front import Acceptor, FrontEdge
from smtpgate.net.notify import Notifier
from smtpgate.net.poller import make_poller
from smtpgate.net.ports import BindFailed, Ports
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.net.selfsigned import ensure
from smtpgate.net.tls import TLSConfigError
from smtpgate.observe.exposition import Number
from smtpgate.observe.history import History
from smtpgate.observe.journal import Journal
from smtpgate.observe.metrics import Metrics
from smtpgate.observe.recorder import Recorder
from smtpgate.observe.stock import Stock
from smtpgate.observe.talkers import Talkers
from smtpgate.plugins import TwoOfOneName, find_factories, sources
from smtpgate.policy.addresses import is_public, may_be_called
from smtpgate.policy.event import ConnectionRefused, Happened
from smtpgate.policy.found import Kept
from smtpgate.policy.meter import Meter
from smtpgate.policy.standing import Source
from smtpgate.proxy.counters import Counted, Counters
from smtpgate.proxy.ledger import Ledger, Row
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.opener import Opener
from smtpgate.proxy.outbox import Outbox
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.smtp import status
from smtpgate.spent import counted
from smtpgate.state.backup import last as last_backup
from smtpgate.state.case_store import CaseStore
from smtpgate.state.database import DatabaseClosed
from smtpgate.state.folder import StateError
from smtpgate.state.job_store import JobStore
from smtpgate.state.revision_store import RevisionStore
from smtpgate.tasks import Timekeeper
from smtpgate.wiring import Provisions, Roads

EXIT_USAGE, EXIT_CONFIG, EXIT_BIND, EXIT_STATE, EXIT_PRIVILEGE = 2, 3, 4, 5, 6
#: How often the ledger forgets and the certificates of the state folder are looked at.
_HOUSEKEEPING_S = 600.0
#: A letter that is on its way when the gateway stops has so long to arrive.
_OUTBOX_S = 10.0
#: How long a thread that computes may keep the reactor from its turn.
SWITCH_S = 0.0005


class Options(usage.Options):
    """The options of `twistd smtpgate`."""

    synopsis = "[options]"
    optFlags = [
        ["fallback", None, "Where the configuration is broken, begin on the last one that worked"],
    ]
    longdesc = "An SMTP proxy gateway. The configuration file says everything; see docs/configuration.md."
    optParameters = [
        ["config", "c", None, "The configuration file"],
        [
            "sink",
            None,
            None,
            "Run a built-in mail sink too, on this endpoint, for a first try (Maildir in the state folder)",
        ],
    ]

    def parseOptions(self, options: Any = None) -> None:
        """Wrong usage ends with exit code 2, which twistd itself does not do."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            print(f"twistd smtpgate: {error}\n{self}", file=sys.stderr)
            raise SystemExit(EXIT_USAGE) from None

    def opt_version(self) -> None:
        """Print the version."""
        print(f"smtpgate {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """The configuration file must be named."""
        if not self["config"]:
            raise usage.UsageError("give the configuration file with --config FILE")


def makeService(options: Options) -> Gateway:
    """What twistd runs."""
    from twisted.internet import reactor

    path = Path(options["config"])
    try:
        factories, failed = find_factories()
        start = boot.choose(path, factories, failed, bool(options["fallback"]))
    except (ConfigErrors, TwoOfOneName) as errors:
        print(errors, file=sys.stderr)
        raise SystemExit(EXIT_CONFIG) from None
    except StateError as error:
        print(f"smtpgate: {error}", file=sys.stderr)
        raise SystemExit(EXIT_STATE) from None
    return Gateway(reactor, path, start, factories, failed, options["sink"])


class Gateway(Service):
    """The whole gateway as one Twisted service."""

    log = Logger(namespace="smtpgate")

    def __init__(
        self, reactor: Any, path: Path, start: boot.Start, factories: Any, failed: Any, sink: str | None = None
    ) -> None:
        self.reactor = reactor
        self._start = start
        self._first = settings = start.settings
        self._path = path
        self._factories, self._failed = factories, failed
        self._sink = sink
        #: Those that hear of events (`interfaces.IWatcher`), and by kind of event what is called.
        self._witnesses: tuple[Any, ...] = ()
        self._hearers: dict[type, tuple[Callable[[Any], None], ...]] = {}
        self.journal = Journal(
            settings.log.format,
            settings.log.level,
            settings.log.file,
            call_later=reactor.callLater,
        )
        self.meter = Meter()
        self.metrics = Metrics(__version__, meter=self.meter)
        self.notifier = Notifier(os.environ, reactor, self._standing)
        self._is_stopping = False
        self._is_halting = False
        self._parts: list[Any] = []
        self._listener_at: dict[Acceptor, str] = {}

    # Twisted's own log goes where ours goes.

    def setServiceParent(self, parent: Any) -> None:
        """Take twistd's place as the observer of the log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.journal)
        super().setServiceParent(parent)

    # Events

    def tell(self, event: Any) -> None:
        """Tell the witnesses. What they do wrong stays theirs."""
        kind = type(event)
        hearers = self._hearers.get(kind)
        if hearers is None:
            hearing = [one for one in self._witnesses if one.hears is None or kind in one.hears]
            hearers = self._hearers[kind] = tuple(one.hear for one in hearing)
        for hear in hearers:
            try:
                hear(event)
            except Exception:
                self.log.failure("a witness failed on {kind}", kind=kind.__name__)

    def _tell_later(self, event: Any) -> None:
        """From any thread."""
        self.reactor.callFromThread(self.tell, event)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        """Run a blocking call in a thread."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), counted(function), *args)

    # Start

    def privilegedStartService(self) -> None:
        """State folder and sockets: what can fail, fails here, before the reactor runs."""
        from smtpgate.state.folder import StateFolder
        from smtpgate.state.register_store import REGISTERED, RegisterStore
        from smtpgate.state.ticket_store import TicketStore

        super().privilegedStartService()
        settings = self._first
        self.descriptors = descriptors.raise_limit()
        try:
            self.state = StateFolder(Path(os.path.normpath(settings.state_dir)))
            self.state.lock()
            self._open_stores()
            secret = self.state.secret("ledger")
            self.register = RegisterStore(self.state.path, self.state.secret(REGISTERED))
            self.tickets = TicketStore(self.database, self.state.secret("links"))
            self.revisions = RevisionStore(self.database)
            jobs = JobStore(self.database)
            jobs.begin(time.time())
            ruling, pointer, told = boot.take(self.revisions, self._start, time.time())
        except (StateError, SQLAlchemyError, OSError) as error:
            self._die(EXIT_STATE, str(error))
        self.poller = make_poller(self.reactor)
        self.keeper = Timekeeper(self.reactor)
        self.reputation = Reputation(time.time, lambda: self.control.settings)
        table = self.memory_store.table
        self.provisions = Provisions(
            self.reactor, self.tell, self.in_thread, table, self.reputation, self.register, self.tickets, self.meter
        )
        self.connector = Connector(self.poller, self.reactor)
        ledger = Ledger(secret, time.time, self.ledger_store)
        ledger.load(Row(**row) for row in self.ledger_rows)
        self.engine = Engine(
            self.reactor,
            self.keeper,
            time.time,
            self.tell,
            ledger,
            self.spool_store.open,
            self.in_thread,
            ensureDeferred,
            meter=self.meter,
        )
        self.limiter = Limiter(self.reactor)
        self.history = History(self.reactor, self.history_store, self.tell)
        self.recorder = Recorder(self.metrics, self.reactor, time.time, self.series_store, self.tell)
        self.talkers = Talkers(self.reactor, time.time, self.talker_store, self.tell)
        self.stock = Stock(
            self.reactor,
            self.vault.totals,
            self.in_thread,
            self.vault.oldest_times,
            lambda: last_backup(self.state.path),
            self.database.path,
            self._room,
        )
        self.control = Control(
            self.engine,
            self._path,
            self._factories,
            self._failed,
            self._assemble,
            self._bind,
            self.history,
            self.metrics,
        )
        self.engine.vault = self.vault
        self.control.tickets.store, self.control.people.store = self.tickets, self.users.persons
        self.control.people.begin()
        self.control.statistics.store, self.control.statistics.recorder = self.series_store, self.recorder
        self.control.top.store, self.control.top.talkers = self.talker_store, self.talkers
        configuration = self.control.configuration
        configuration.store, configuration.active, configuration.pointer = self.revisions, ruling, pointer
        configuration.fallback = self._start.fallback
        self.outbox = self.engine.outbox = Outbox(self.engine, self.vault, self.control.current)
        self.roads = Roads(self.control.tls.reports, time.time, self.reactor)
        self.assembly = Assembly(
            self.reactor,
            self.tell,
            self.in_thread,
            self._factories,
            self.provisions,
            self.roads,
            self.connector,
            self.keeper,
            self.limiter,
            self.meter,
            self.metrics,
            self.descriptors,
            self.state.path,
        )
        counted: dict[str, Counted] = {
            "rates": self.limiter,
            "reputation": self.reputation,
            "correspondents": self.reputation.correspondents,
            "bans": self.control.reception.warden.bans,
            "homes": self.control.reception.warden.homes,
            "drains": self.control.drains,
            "weights": self.control.fleet.weights,
            "tunings": self.control.room.tunings,
            "ribbons": self.control.fleet.ribbons,
            "tls_reports": self.control.tls.reports,
            "rule_hits": self.control.policy,
            "lists": self.control.lists.book,
        }
        self.counters = Counters(self.reactor, time.time, self.counter_store, counted, self.tell)
        self.counters.restore()
        fleet = self.control.fleet
        fleet.opener = self._opener
        self.control.room.sources = self._sources()
        for kept in (self.control.drains, fleet.weights, self.control.room.tunings, self.control.reception.warden):
            kept.on_change = self.counters.soon
        self.provisions.lists, self.control.lists.book.on_change = self.control.lists.book, self.counters.soon
        self.control.stop = self.drain
        self.control.policy.register, self.control.policy.in_thread = self.register, self.in_thread
        self.control.rule_trials.trial, self.control.bench.build = Trial, self.assembly.apart
        self.control.replays.make, self.control.cases.store = Replay, CaseStore(self.database)
        self.control.reception.admission.reputation = self.reputation
        upkeep = self.control.upkeep
        upkeep.machine = lambda: machine(self.state.path, self.database.path, self.descriptors)
        upkeep.backup = lambda: backup(self.state.path, self.control.path)
        upkeep.lag = lambda: self.metrics.lag
        upkeep.places = lambda: tuple(Place(name, text, _place(host)) for name, text, host in self.ports.addresses())
        self.control.reopen_logs, self.control.logs.journal = self.journal.reopen, self.journal
        self.control.jobs.store = jobs
        self.control.certificates.own = self.state.path / selfsigned.NAME
        promises = self.control.promises
        promises.lookup, promises.http = self.lookup, PublicHTTPClient(self.reactor, self, is_public)
        promises.own = lambda: self.control.certificates.own
        warden = self.control.reception.warden
        self._witnesses = (
            self.metrics,
            self.journal,
            self.history,
            self.control,
            self.reputation,
            warden,
            self.talkers,
        )
        self._hearers.clear()
        self._gauges = Gauges(self.control, self.engine, self.limiter, self.reputation, self.journal, self.history)
        self._gauges.more = self._inner_gauges
        self.metrics.gauges = self._gauges.rows
        self.ports = Ports(self.reactor, self._acceptor)
        if self._sink is not None:
            self._start_sink(self._sink)
        started = ensureDeferred(self.control.start(settings))
        failure: list[Any] = []
        started.addErrback(failure.append)
        if failure:
            if failure[0].check(BindFailed):
                self._die(EXIT_BIND, failure[0].getErrorMessage())
            if failure[0].check(TLSConfigError):
                self._die(EXIT_CONFIG, failure[0].getErrorMessage())
            failure[0].raiseException()
        try:
            self._open_office(settings)
        except CannotListenError as error:
            self._die(EXIT_BIND, str(error))
        for name in self.ports.given.unused(map(parse_listen, _listens(settings))):
            message = f"the service manager holds a socket {name} that nothing listens on: its clients wait in vain"
            self.tell(Happened("listener.unused", "warning", message, (("listener", name),)))
        if told:
            self.tell(Happened("config.unconfirmed", "warning", told))
        if self._start.fallback:
            message = f"begins on revision {ruling.number}, the last known good: {self._start.fallback}"
            self.tell(Happened("config.fallback", "error", message, (("config_rev", ruling.id),)))
        for warning in settings.warnings:
            self.tell(Happened("config.warning", "warning", str(warning)))

    def _sources(self) -> dict[str, Source]:
        """Where plugins come from; ours have the gateway's version."""
        found = sources(self._factories)
        return {
            name: attrs.evolve(one, version=one.version or (__version__ if one.is_builtin else ""))
            for name, one in found.items()
        }

    def _start_sink(self, endpoint: str) -> None:
        from smtpgate.sink import Maildir, SinkFactory

        sink = SinkFactory(
            Maildir(self.state.path / "Maildir"), ensure(self.state.path, self._first.hostname), self.in_thread
        )
        self._listen(endpoint, sink, "sink")

    def _listen(self, endpoint: str, factory: Any, what: str) -> None:
        """Bind one of our own doors, or end. A Deferred would swallow the exit."""
        from twisted.internet.endpoints import serverFromString

        failures: list[Any] = []
        try:
            made = serverFromString(self.reactor, endpoint)
        except (IndexError, KeyError):
            self._die(EXIT_BIND, f"{what}: {endpoint}: no such socket was handed over")
        made.listen(factory).addErrback(failures.append)
        if failures:
            self._die(EXIT_BIND, f"{what}: {failures[0].getErrorMessage()}")

    def _die(self, code: int, reason: str) -> None:
        """End before anything was served: said in the log, and to whoever started it."""
        self.journal.hear(Happened("gateway.failed", "error", reason))
        # twistd has led sys.stderr into the log by now.
        print(f"smtpgate: {reason}", file=sys.__stderr__)
        raise SystemExit(code)

    def startService(self) -> None:
        """The reactor is about to run."""
        super().startService()
        self.reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        # Each look at the sockets gives the interpreter away; a thread that computes would keep it for 5 ms.
        sys.setswitchinterval(SWITCH_S)
        for number, handler in (
            (signal.SIGTERM, self._on_term),
            (signal.SIGINT, self._on_term),
            (signal.SIGHUP, self._on_hup),
            (signal.SIGUSR1, self._on_usr1),
            (signal.SIGUSR2, self._on_usr2),
        ):
            signal.signal(number, handler)
        keep_memory()
        # What was made up to here lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        # Up to here each line was written at once, so that no failure to start can be silent.
        self.journal.gather(lambda call: self.reactor.callLater(0, call))
        self.metrics.watch(self.reactor)
        self.database.start(self.reactor)
        self.counters.start()
        self.recorder.start()
        self.stock.start()
        self.talkers.start()
        ensureDeferred(self.outbox.start())
        self.control.reception.admission.start(self._gauges.reading)
        self.watch.start()
        if self._first.admin.listen is not None:
            self.office.open()
        self.digests.open()
        self.alert_mails.open()
        self.office.hooks.open()
        ensureDeferred(self.control.mutes.load())
        self.tls_sending.open()
        ensureDeferred(self.control.configuration.watch_file())
        ensureDeferred(self.control.room.ask_engines())
        self.reactor.callLater(_HOUSEKEEPING_S, self._keep_house)
        self.tell(
            Happened(
                "gateway.started",
                "info",
                f"smtpgate {__version__} serves",
                (("listeners", [f"{name} {_place(host)}" for name, _, host in self.ports.addresses()]),),
            )
        )
        self.notifier.ready()
        if self._sink is not None:
            self._welcome()

    def _standing(self) -> str:
        """How it stands, in a line for the service manager."""
        view = self.control.overview()
        return f"{view.state}, {view.sessions} sessions, {view.servers_up} of {view.servers} servers up"

    def _welcome(self) -> None:
        """The three lines that a newcomer needs."""
        _, _, host = self.ports.addresses()[0]
        domain = next(iter(self._first.local_domains.entries), "example.net")
        for line in (
            f"send mail:   swaks --server {host.host}:{host.port} --tls --from alice@example.org --to bob@{domain}",
            f"admin page:  {self._admin_page()} (the code for the first visit stands below)",
            f"messages:    {self.state.path / 'Maildir' / 'new'}",
        ):
            self.tell(Happened("gateway.first_try", "info", line))

    def _admin_page(self) -> str:
        """The address for a browser, where the door is a TCP port."""
        listen = self._first.admin.listen
        if listen is None:
            return "off"
        endpoint = parse_listen(listen)
        if endpoint.kind != "tcp":
            return listen
        return f"http://{endpoint.interface or 'localhost'}:{endpoint.port}/"

    def _history_kept(self) -> Kept:
        revision = self.control.revision
        return revision.settings.history if revision is not None else Kept()

    def _keep_house(self) -> None:
        revision = self.control.revision
        if revision is not None:
            revision.fade()
        for shares in (self.control.reception.shares, self.engine.memory.shares):
            shares.fade()
        self.engine.ledger.expire()
        self.ledger_store.expire(time.time())
        self.history_store.expire(time.time())
        ensureDeferred(self.history_store.coarsen(time.time())).addErrback(
            lambda failure: failure.trap(DatabaseClosed) and None
        )
        ensureDeferred(self.history_store.catch_up()).addErrback(lambda failure: failure.trap(DatabaseClosed) and None)
        self.tickets.expire(time.time()).addErrback(lambda failure: failure.trap(StoreFailed) and None)
        ensureDeferred(self.control.quarantine.expire()).addErrback(lambda failure: failure.trap(Refused) and None)
        ensureDeferred(self.control.configuration.watch_file())
        ensureDeferred(self.control.room.ask_engines())
        self.memory_store.expire()
        self.counter_store.expire(time.time()).addErrback(lambda failure: failure.trap(StoreFailed) and None)
        self.reactor.callLater(_HOUSEKEEPING_S, self._keep_house)

    # Signals: handlers only leave word for the reactor.

    def _on_term(self, *_: object) -> None:
        self.reactor.callFromThread(self.drain)

    def _on_hup(self, *_: object) -> None:
        self.reactor.callFromThread(self._reload)

    def _on_usr1(self, *_: object) -> None:
        self.reactor.callFromThread(self.journal.reopen)

    def _on_usr2(self, *_: object) -> None:
        self.reactor.callFromThread(self._dump)

    def _reload(self) -> None:
        self.notifier.reloading()
        done = ensureDeferred(self.control.reload(Actor("signal", "SIGHUP"), is_patient=True))
        done.addErrback(lambda failure: failure.trap(Refused) and None)
        done.addBoth(self._reloaded)

    def _reloaded(self, result: Any) -> Any:
        self.notifier.ready()
        return result

    def _dump(self) -> None:
        view = self.control.overview()
        fields: list[tuple[str, object]] = [
            ("state", view.state),
            ("sessions", view.sessions),
            ("sessions_total", view.sessions_total),
            ("config_rev", view.revision),
        ]
        for server in self.control.servers():
            fields.append((f"{server.backend} {server.name}", f"{server.state} links={server.links}"))
        self.tell(Happened("gateway.state", "info", f"{view.state}, {view.sessions} sessions", tuple(fields)))

    # Revisions

    def _assemble(self, settings: Settings, _: Revision | None) -> Revision:
        return self.assembly.build(settings)

    # Listening

    async def _bind(self, settings: Settings) -> None:
        """Listen where the settings say. An endpoint that is open stays so under whatever name its listener has now."""
        # Of port 0 there may be many, each with a port of its own.
        there = {place[1]: place for place in self.ports.acceptors if parse_listen(place[1]).port != 0}
        wanted = {(name, endpoint) for name, listener in settings.listeners.items() for endpoint in listener.listen}
        places = {place: there.get(place[1], place) for place in wanted}
        await self.ports.change(set(places.values()))
        acceptors = self.ports.acceptors
        self._listener_at = {acceptors[at]: name for (name, _), at in places.items()}

    def _acceptor(self, _: str, sock: Any) -> Acceptor:
        reception = self.control.reception

        def admit(peer: str) -> bytes | None:
            refusal = reception.refusal(self._listener_at[acceptor], peer)
            return refusal.octets() if refusal is not None else None

        def begin(sock: Any, peer: tuple[str, int]) -> None:
            revision = self.control.revision
            assert revision is not None
            name = self._listener_at[acceptor]
            reception.begin(name, FrontEdge(sock, peer, self.poller, self.reactor, revision.doors[name].rules))

        def exhausted(reason: str) -> None:
            name = self._listener_at[acceptor]
            self.tell(
                Happened(
                    "listener.paused",
                    "error",
                    f"listener {name} accepts no connection for a moment: {reason}",
                    (("listener", name),),
                )
            )

        def full(peer: str) -> bytes:
            name = self._listener_at[acceptor]
            self.tell(ConnectionRefused(name, peer, "refused_capacity", "the last descriptors are kept back"))
            return status.TOO_MANY_CONNECTIONS.octets()

        ceiling = descriptors.ceiling_of(self.descriptors)
        acceptor = Acceptor(sock, self.poller, self.reactor, admit, begin, exhausted, ceiling, full)
        return acceptor

    def _opener(self, backend: Backend) -> Opener:
        hostname = self.control.settings.hostname
        return Opener(backend, hostname, self.connector, client_tls(backend), self.reactor)

    # Stop

    def drain(self) -> None:
        """The first call lets mail in flight finish; the second stops now."""
        if self._is_stopping:
            self._halt()
            return
        self._is_stopping = True
        seconds = self.control.settings.timeouts.drain_s
        self.tell(Happened("gateway.draining", "info", f"no new sessions; {seconds:g} s for those that run"))
        reception = self.control.reception
        reception.on_idle = self._halt
        ensureDeferred(self.ports.close())
        reception.drain()
        self.notifier.stopping()
        if not reception.sessions:
            self._halt()
        else:
            self.reactor.callLater(seconds, reception.kill_all)

    def _halt(self) -> None:
        if self._is_halting:
            return
        self._is_halting = True
        self.control.reception.on_idle = None
        # Last replies may still be queued to slow readers for the lingering close; a turn is enough for the rest.
        self.reactor.callLater(0, self._stop_reactor)

    def _stop_reactor(self) -> None:
        if self.reactor.running:
            self.reactor.stop()

    async def _close(self) -> None:
        self.tell(Happened("gateway.stopped", "info", "stopped"))
        await self._outbox_idle()
        self.control.reception.admission.close()
        self.control.drains.close()
        self.control.fleet.weights.close()
        self.control.room.tunings.close()
        self.control.configuration.close()
        self.control.logs.close()
        self.control.intake.close()
        self.control.attend.close()
        await self.control.jobs.close()
        self.office.close()
        self.digests.close()
        self.alert_mails.close()
        self.office.hooks.close()
        self.tls_sending.close()
        self.metrics.close()
        self.stock.close()
        self.watch.stop()
        self.provisions.close()
        await self.history.close()
        await self.memory_store.close()
        await self.counters.close()
        await self.recorder.close()
        await self.talkers.close()
        self.database.close()
        self.state.unlock()
        self.notifier.close()
        self.journal.close()

    async def _outbox_idle(self) -> None:
        """What is on its way arrives, or is taken up again at the next start."""
        idle: Deferred[None] = Deferred()
        self.outbox.close(lambda: idle.callback(None))
        try:
            await idle.addTimeout(_OUTBOX_S, self.reactor)
        except TimeoutError:
            self.tell(Happened("outbox.interrupted", "warning", "a letter is on its way still: it is taken up again"))

    def stopService(self) -> Deferred[None]:
        """The reactor stops."""
        super().stopService()
        return ensureDeferred(self._close())

    # Stores

    def _open_stores(self) -> None:
        from smtpgate.state.bodies import Bodies
        from smtpgate.state.counter_store import CounterStore
        from smtpgate.state.database import Database
        from smtpgate.state.history_store import HistoryStore
        from smtpgate.state.ledger_store import LedgerStore
        from smtpgate.state.memory_store import MemoryStore
        from smtpgate.state.offline import DATABASE
        from smtpgate.state.series_store import SeriesStore
        from smtpgate.state.spool_store import SpoolStore
        from smtpgate.state.talker_store import TalkerStore
        from smtpgate.state.users import Users
        from smtpgate.state.vault import Vault
        from smtpgate.state.watch import Watch

        self.database = Database(self.state.path / DATABASE)
        self.database.open()
        self.meter.times[("store_write_seconds",)] = self.database.writes
        self.ledger_store = LedgerStore(self.database)
        self.ledger_rows = self.ledger_store.load_now(time.time())
        self.history_store = HistoryStore(self.database, kept=self._history_kept)
        self.counter_store = CounterStore(self.database)
        self.series_store = SeriesStore(self.database)
        self.talker_store = TalkerStore(self.database)
        self.memory_store = MemoryStore(self.database, self.reactor, time.time, self.tell)
        self.spool_store = SpoolStore(self.state.path, tell=self._tell_later)
        self.vault = Vault(self.database, Bodies(self.state.path), self.in_thread, tell=self._tell_later)
        self.watch = Watch(self.reactor, self.database, self.spool_store, self.in_thread, self.tell)
        self.users = Users(self.database, self.in_thread)

    def _room(self) -> tuple[int, tuple[str, ...]]:
        """Octets that held messages may have, and their classes."""
        quarantine = self.control.settings.quarantine
        return quarantine.size_octets, tuple(quarantine.classes)

    def _inner_gauges(self) -> Iterator[Number]:
        """Threads, stores and the office."""
        for name, pool in (("reactor", self.reactor.getThreadPool()), *self.database.pools):
            yield "threadpool_active", (name,), len(pool.working)
            # The pool says it nowhere else.
            waiting = pool._team.statistics().backloggedWorkCount
            yield "threadpool_queue_depth", (name,), waiting
            if name == "database":
                yield "store_queue_depth", (), waiting
        for cache, entries in self.provisions.caches().items():
            yield "cache_entries", (cache,), entries
        yield "store_dropped_total", ("series",), self.recorder.dropped
        yield from self.stock.rows()
        yield from self.office.gauges()

    # Office

    def _open_office(self, settings: Settings) -> None:
        """The admin pages, the API, and the door of the command line."""
        from smtpgate.admin.alert_mail import AlertMails
        from smtpgate.admin.digest import Digests
        from smtpgate.admin.hooks import Webhooks
        from smtpgate.admin.site import Office
        from smtpgate.control.tls_sending import TLSSending
        from smtpgate.state.hook_store import HookStore

        secret = self.state.secret("links")
        self.office = Office(
            self.control,
            self.users,
            self.metrics,
            self.reactor,
            self.in_thread,
            self._say_code,
            self.memory_store.table("repeats"),
            secret,
        )
        table = self.memory_store.table("digest")
        if self._sink is not None:
            self.office.first.sink(self._sink)
        self.digests = Digests(
            self.control, self.office.templates.mail, self.office.links, self.reactor, table, ensureDeferred
        )
        self.office.heard = self.digests.heard
        self.tls_sending = TLSSending(
            self.control,
            lambda resolver: PublicHTTPClient(self.reactor, resolver, is_public),
            self.reactor,
            self.memory_store.table("tls-reports"),
            ensureDeferred,
        )
        self.control.mutes.table = self.memory_store.table("mutes")
        self.alert_mails = AlertMails(self.control, self.reactor, self.memory_store.table("alert-mail"), ensureDeferred)
        self.office.hooks = Webhooks(self.control, HookStore(self.database), self._caller, self.reactor)
        self.office.logins.client = self._provider_client
        for endpoint, door in ((settings.admin.listen, "web"), (settings.admin.health_listen, "health")):
            if endpoint is not None:
                self._listen(endpoint, self.office.site(door), "admin")
        # We hold the folder's lock, so a socket that lies there is nobody's.
        path = control_socket(self.state.path)
        Path(path).unlink(missing_ok=True)
        self.reactor.listenUNIX(path, self.office.site("local"), mode=0o600)

    def _caller(self, hook: Webhook) -> PublicHTTPClient:
        """A client that goes where a webhook may be, and nowhere else."""
        return PublicHTTPClient(
            self.reactor, self, lambda ip: may_be_called(ip, hook.networks.contains), None, 0, in_clear=True
        )

    def _provider_client(self, provider: Provider) -> PublicHTTPClient:
        """A client that goes where a provider of identities may be, and nowhere else."""
        return PublicHTTPClient(
            self.reactor, self, lambda ip: may_be_called(ip, provider.networks.contains), None, 0, in_clear=True
        )

    def lookup(self, name: str, kind: str) -> Deferred[Any]:
        """Ask the DNS as the settings at work say (`interfaces.IResolver`)."""
        return ensureDeferred(self.provisions.lookup(self.control.settings, name, kind))

    def _say_code(self, code: str) -> None:
        self.tell(
            Happened(
                "admin.setup",
                "warning",
                f"nobody can log in yet: give this code on the admin pages within 30 minutes: {code}",
            )
        )


def _listens(settings: Settings) -> Iterator[str]:
    """Every endpoint that is listened on."""
    for listener in settings.listeners.values():
        yield from listener.listen
    yield from filter(None, (settings.admin.listen, settings.admin.health_listen))


def _place(host: Any) -> str:
    """An address as people write it."""
    if hasattr(host, "port"):
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"
    name = host.name
    return name if isinstance(name, str) else os.fsdecode(name or b"")
