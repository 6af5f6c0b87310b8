"""The numbers: counters and histograms of everything that the core tells.

What comes with every message is counted in `tally`, the rest here; nothing is formatted before somebody
looks. The object is a collector of `prometheus_client`. Names and labels are those of `catalogue`.
"""

from __future__ import annotations

import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector
from twisted.logger import Logger
from zope.interface import implementer

from smtpgate.interfaces import IWatcher
from smtpgate.observe import catalogue, words
from smtpgate.observe.catalogue import METRICS, OTHER, Names
from smtpgate.observe.exposition import Number, families
from smtpgate.observe.tally import LIMITS, Tally
from smtpgate.policy import event as told
from smtpgate.policy.counted import Rows, add
from smtpgate.policy.meter import Histogram, Meter
from smtpgate.tasks import Clock
from twisted import __version__ as twisted_version

#: How often the reactor's lag is looked at.
LAG_S: Final = 0.05
_VERB_STAGES: Final = {
    "MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "BDAT": "data", "AUTH": "auth", "STARTTLS": "tls",
    "EHLO": "ehlo", "HELO": "ehlo", "LHLO": "ehlo", "XCLIENT": "proxy", "XFORWARD": "proxy",
}  # fmt: skip
_AUTH_RESULTS: Final = {535: "failed", 454: "unavailable", 501: "cancelled"}
#: Refusals that the core tells of when they are said, and again in full with their transaction.
_TOLD_TWICE: Final = frozenset({"recipient refused", "sender refused"})
#: Where a filter may fail, besides at its making.
HOOKS: Final = ("begin", "connect", "helo", "auth", "mail", "rcpt", "data", "header", "body", "end", "closed")
#: What may be done with what is held.
ACTIONS: Final = ("release", "delete", "deny", "ask", "forward", "expire")
_DIGESTS: Final = {"digest.sent": "sent", "digest.failed": "failed"}
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")


@implementer(IWatcher)
class Metrics(Collector):
    """All counts of this process.

    :ivar gauges: asked at scrape time for what others know
    :ivar meter: what others count
    :ivar collector: what a registry takes
    """

    log = Logger()

    def __init__(self, version: str, wall: Callable[[], float] = time.time, meter: Meter | None = None) -> None:
        self.gauges: Callable[[], Iterable[Number]] | None = None
        self.meter = meter if meter is not None else Meter()
        self.collector = self
        self._version = version
        self._wall = wall
        self._tally = tally = Tally(wall)
        self._counts = tally.counts
        self._durations: dict[str, Histogram] = {}
        self._lag = Histogram(catalogue.LAG)
        self._opened: Counter[str] = Counter()
        self._accepted: dict[str, int] = {}
        self._names: dict[str, Names] = {}
        self._revision = ""
        self._reloaded_at = 0.0
        self._is_reloaded = True
        self._process = ProcessCollector(registry=None)
        self._lag_call: Any = None
        self._tellers: Mapping[type, Callable[[Any], None]] = {
            told.TransactionEnded: tally.transaction_ended,
            told.SessionEnded: self._session_ended,
            told.SessionOpened: self._session_opened,
            told.ConnectionRefused: self._connection_refused,
            told.CommandRefused: self._command_refused,
            told.FilterFailed: self._filter_failed,
            told.ServerChanged: self._server_changed,
            told.LinkFailed: self._link_failed,
            told.DeliveryUnknown: self._delivery_unknown,
            told.DuplicatePossible: self._duplicate_possible,
            told.Happened: self._happened,
        }

    @property
    def hears(self) -> Collection[type]:
        """The kinds of events that it hears of."""
        return self._tellers.keys()

    def hear(self, event: Any) -> None:
        """One event of the core."""
        teller = self._tellers.get(type(event))
        if teller is not None:
            teller(event)

    # Sessions

    def _session_opened(self, event: told.SessionOpened) -> None:
        self._opened[self._tally.listeners.of(event.session.listener)] += 1

    def _session_ended(self, event: told.SessionEnded) -> None:
        session = event.session
        listener = self._tally.listeners.of(session.listener)
        histogram = self._durations.get(listener)
        if histogram is None:
            histogram = self._durations[listener] = Histogram()
        histogram.add(session.ended - session.begun)
        self._counts["bytes_total", "client", "in"] += session.octets_in
        self._counts["bytes_total", "client", "out"] += session.octets_out
        stage = "ehlo" if session.stage == "helo" else _among(session.stage, catalogue.STAGES)
        by = _among(words.closed_by(session), catalogue.CLOSED_BY)
        counts = self._counts
        counts["sessions_closed_total", listener, stage, by] += 1
        if session.tls is not None:
            counts["tls_handshakes_total", "client", "ok", session.tls.version] += 1
        if session.user and session.mechanism != "XCLIENT":
            mechanism = _among(session.mechanism, catalogue.MECHANISMS)
            counts["auth_attempts_total", listener, mechanism, "ok"] += 1
        for finding in session.findings:
            if finding.filter in LIMITS:
                self._tally.limit(finding)
        self._tally.session_ended()

    def _connection_refused(self, event: told.ConnectionRefused) -> None:
        result = _among(event.result, catalogue.REFUSED)
        self._counts["connections_total", self._tally.listeners.of(event.listener), result] += 1

    def _command_refused(self, event: told.CommandRefused) -> None:
        listener = self._tally.listeners.of(event.session.listener)
        if event.verb == "STARTTLS" and not event.code:
            self._counts["tls_handshakes_total", "client", "failed", ""] += 1
            return
        if event.verb == "AUTH":
            mechanism = _among(event.session.mechanism, catalogue.MECHANISMS)
            result = _AUTH_RESULTS.get(event.code, "refused")
            self._counts["auth_attempts_total", listener, mechanism, result] += 1
        if event.code < 400 or event.reason in _TOLD_TWICE:
            return
        # What stands behind a colon, and the reason of a failed login, are texts of peers.
        reason = "auth" if event.verb == "AUTH" else _NO_WORD.sub("_", event.reason.partition(":")[0].lower())[:40]
        self._tally.reject(listener, _VERB_STAGES.get(event.verb, OTHER), reason, event.code)

    # Filters and backends

    def _filter_failed(self, event: told.FilterFailed) -> None:
        name = self._tally.filters.of(event.filter)
        self._counts["filter_runs_total", name, "timeout" if event.kind == "timeout" else "error"] += 1
        self._counts["plugin_errors_total", name, _among(event.stage, HOOKS)] += 1
        if event.policy == "continue":
            self._counts["filter_fail_open_total", name] += 1

    def _server_changed(self, event: told.ServerChanged) -> None:
        to = _among(event.after, ("up", "down", "ejected", "unknown"))
        self._counts[("backend_transitions_total", *self._tally.server(event.backend, event.server), to)] += 1

    def _link_failed(self, event: told.LinkFailed) -> None:
        stage = _among(event.stage, catalogue.LINK_STAGES)
        self._counts[("backend_failures_total", *self._tally.server(event.backend, event.server), stage)] += 1
        if event.stage == "starttls":
            self._counts["tls_handshakes_total", "backend", "failed", ""] += 1

    def _delivery_unknown(self, event: told.DeliveryUnknown) -> None:
        pool, _ = self._tally.server(event.transaction.backend, event.server)
        self._counts["deliveries_unknown_total", pool] += 1

    def _duplicate_possible(self, event: told.DuplicatePossible) -> None:
        self._counts[("duplicates_possible_total",)] += 1

    def _happened(self, event: told.Happened) -> None:
        if event.name in ("config.applied", "config.reload_failed"):
            self._is_reloaded = event.name == "config.applied"
            self._reloaded_at = self._wall()
            self._counts["config_reloads_total", "ok" if self._is_reloaded else "failed"] += 1
            self._revision = str(dict(event.fields).get("config_rev", self._revision))
        elif event.name in _DIGESTS:
            self._counts["digests_total", _DIGESTS[event.name]] += 1
        elif event.name.startswith("admin.quarantine."):
            action = _among(event.name.rpartition(".")[2], ACTIONS)
            by = "user" if dict(event.fields).get("actor_kind") == "link" else "admin"
            self._counts["quarantine_actions_total", action, by] += 1
        elif event.name == "quarantine.expired":
            gone = dict(event.fields).get("count")
            self._counts["quarantine_actions_total", "expire", "auto"] += gone if isinstance(gone, int) else 1

    # The reactor's lag

    def watch(self, clock: Clock) -> None:
        """Look from now on how late timers are."""
        due = clock.seconds() + LAG_S

        def look() -> None:
            self._lag.add(max(0.0, clock.seconds() - due))
            self.watch(clock)

        self._lag_call = clock.callLater(LAG_S, look)

    @property
    def lag(self) -> Histogram:
        """How late timers were."""
        return self._lag

    def close(self) -> None:
        """Look no more."""
        if self._lag_call is not None and self._lag_call.active():
            self._lag_call.cancel()

    # Looking

    def expect(
        self,
        listeners: Mapping[str, str],
        servers: Iterable[tuple[str, str]] = (),
        filters: Iterable[str] = (),
        limits: Iterable[str] = (),
        rules: Iterable[tuple[str, str]] = (),
        dlp: Iterable[str] = (),
    ) -> None:
        """Show zeros for what a configuration can count, so that a first event is seen as an increase.

        :param listeners: role by name
        :param servers: backend and server
        :param rules: name and mode
        :param dlp: names of the rules that look for data that must not leave
        """
        tally = self._tally
        tally.dlp = frozenset(dlp)
        for listener, role in listeners.items():
            for direction in ("out", "internal") if role == "submission" else ("in",):
                for verdict in catalogue.VERDICTS:
                    tally.lane(listener, direction, verdict)
            name = tally.listeners.of(listener)
            self._opened[name] += 0
            self._durations.setdefault(name, Histogram())
            self.meter.talk(listener)
            for result in catalogue.REFUSED:
                self._counts["connections_total", name, result] += 0
        for place in servers:
            label = tally.expect_server(*place)
            for state in ("up", "down", "ejected"):
                self._counts[("backend_transitions_total", *label, state)] += 0
            for result in ("ok", "failed"):
                self.meter.expect("backend_connects_total", *place, result)
                self.meter.expect("backend_checks_total", *place, result)
            for kind in ("2xx", "4xx", "5xx"):
                self.meter.expect("backend_replies_total", *place, kind)
            self.meter.histogram("backend_connect_seconds", *place)
            self.meter.histogram("backend_queue_seconds", place[0])
        for action in catalogue.WOULD:
            self._counts["shadow_verdicts_total", action] += 0
        for result in ("ok", "failed"):
            self._counts["config_reloads_total", result] += 0
            self._counts["digests_total", {"ok": "sent", "failed": "failed"}[result]] += 0
        for action in ACTIONS:
            self._counts["quarantine_actions_total", action, "auto" if action == "expire" else "admin"] += 0
        for result in ("ok", "failed"):
            self._counts["encryption_total", "sign", result] += 0
        for way in ("in", "out"):
            self._counts["bytes_total", "client", way] += 0
        self.meter.begin()
        for filter in filters:
            self.meter.work(filter)
            self._counts["filter_fail_open_total", tally.filters.of(filter)] += 0
            for result in ("hit", "shadow", "timeout", "error"):
                self._counts["filter_runs_total", tally.filters.of(filter), result] += 0
        for limit in limits:
            tally.expect_limit(limit)
        for name, mode in rules:
            tally.expect_rule(name, mode)

    def know(self, is_local: Callable[[str], bool]) -> None:
        """Which domains are ours, from now on."""
        self._tally.is_local = is_local

    @property
    def outcomes(self) -> dict[str, int]:
        """Messages by verdict since the start."""
        return self._tally.outcomes

    def p95_ms(self) -> float | None:
        """95 of 100 of the newest messages took no longer, milliseconds; None before the first."""
        return self._tally.p95_ms()

    def series(self) -> dict[str, object]:
        """Counts of 300 seconds and 48 hours: `counted` names the columns behind the time of a row."""
        return self._tally.series()

    def kept(self, names: frozenset[str]) -> Rows:
        """The counts of these metrics as they are now."""
        out: Rows = {}
        for name, labels, value in self._numbers():
            if name in names:
                add(out.setdefault(name, {}), {labels: int(value)})
        for name, labels, histogram in self._histograms():
            if name in names:
                out.setdefault(name, {})[labels] = [*histogram.counts, histogram.total]
        return out

    def collect(self) -> Iterator[Any]:
        """All families, for `prometheus_client`."""
        yield from self.snapshot().collect()

    def snapshot(self) -> Snapshot:
        """All numbers of this moment, for a thread to write out."""
        numbers = [*self._numbers(), *self._others()]
        histograms = [(name, labels, histogram.copy()) for name, labels, histogram in self._histograms()]
        return Snapshot(numbers, histograms, self._process)

    def _others(self) -> list[Number]:
        if self.gauges is None:
            return []
        try:
            return [one for one in self.gauges() if len(one[1]) == len(METRICS[one[0]].labels)]
        except Exception:
            self.log.failure("the gauges could not be read")
            return []

    def _numbers(self) -> Iterator[Number]:
        yield "build_info", (self._version, platform.python_version(), twisted_version), 1
        if self._revision:
            yield "config_revision_info", (self._revision,), 1
        yield "config_last_reload_success", (), int(self._is_reloaded)
        yield "config_last_reload_timestamp_seconds", (), self._reloaded_at
        for listener, opened in self._opened.items():
            # These two refusals come after the session was opened. A counter must not go down meanwhile.
            late = sum(self._counts["connections_total", listener, word] for word in ("early_talker", "refused_policy"))
            accepted = max(opened - late, self._accepted.get(listener, 0))
            self._accepted[listener] = accepted
            yield "connections_total", (listener, "accepted"), accepted
        yield from self._tally.numbers()
        yield from self._metered()

    def _metered(self) -> Iterator[Number]:
        """What others count, no more different names than there may be."""
        listeners, filters = self._tally.listeners, self._tally.filters
        for listener, verbs in self.meter.verbs.items():
            known = Counter(dict.fromkeys((*catalogue.VERBS, OTHER), 0))
            for verb, count in verbs.copy().items():
                known[_among(verb, catalogue.VERBS)] += count
            for verb, count in known.items():
                yield "commands_total", (listeners.of(listener), verb), count
        for listener, codes in self.meter.codes.items():
            for code, count in sorted(codes.items()):
                yield "replies_total", (listeners.of(listener), str(code)), count
        calls: Counter[tuple[str, str]] = Counter()
        for filter, work in self.meter.works.items():
            calls[filters.of(filter), "pass"] += work.passed
            calls[filters.of(filter), "skip"] += work.skipped
        for labels, count in calls.items():
            yield "filter_runs_total", labels, count
        counts: Counter[tuple[str, ...]] = Counter()
        for key, count in self.meter.counts.items():
            counts[self._label(key)] += count
        for key, count in counts.items():
            yield key[0], key[1:], count

    def _label(self, key: tuple[str, ...]) -> tuple[str, ...]:
        names = self._names
        labels = METRICS[key[0]].labels
        return (key[0], *(names.setdefault(label, Names()).of(value) for label, value in zip(labels, key[1:])))

    def _histograms(self) -> Iterator[tuple[str, tuple[str, ...], Histogram]]:
        yield "reactor_lag_seconds", (), self._lag
        for listener, histogram in self._durations.items():
            yield "session_duration_seconds", (listener,), histogram
        for filter, work in self.meter.works.items():
            name = self._tally.filters.of(filter)
            if name != OTHER:
                yield "filter_duration_seconds", (name,), work.seconds
        for key, histogram in self.meter.times.items():
            place = self._label(key)
            if place == key or OTHER in key:
                yield place[0], place[1:], histogram
        yield from self._tally.histograms()


class Snapshot(Collector):
    """The numbers of one moment, which nobody changes any more."""

    def __init__(
        self, numbers: list[Number], histograms: list[tuple[str, tuple[str, ...], Histogram]], process: Collector
    ) -> None:
        self._numbers = numbers
        self._histograms = histograms
        self._process = process

    def collect(self) -> Iterator[Any]:
        """All families."""
        yield from families(self._numbers, self._histograms)
        yield from self._process.collect()


def _among(word: str, of: tuple[str, ...]) -> str:
    return word if word in of else OTHER
