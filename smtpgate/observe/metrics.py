"""Counters and histograms, rendered for Prometheus when somebody asks.

While mail moves only integers in dictionaries and lists grow. Label values come from closed sets (names of the
configuration, enums, our own reasons); never an address, a domain or a user. Names as docs/operation.md lists them.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from smtpgate.observe import words
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Transaction

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OCTETS: Final = (1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
#: Reasons that may be labels; more become "other".
REASONS: Final = 60
#: The newest times that the 95th percentile is taken of.
RECENT: Final = 1000

Gauges = Callable[[], Iterable[tuple[str, str, dict[str, str], float]]]


class Histogram:
    """Counts by bucket. `sum` is of the values themselves."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus wants them."""
        out, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            out.append((bound, float(total)))
        return out


class Metrics(Collector):
    """The numbers of one process.

    :ivar gauges: gives what lives elsewhere as (name, help, labels, value), asked at each rendering
    """

    def __init__(self, version: str) -> None:
        self.gauges: Gauges | None = None
        #: What the office registers.
        self.collector = self
        self._version = version
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _COUNTERS}
        self._durations: dict[tuple[str, ...], Histogram] = {}
        self._sizes: dict[tuple[str, ...], Histogram] = {}
        self._stages: dict[tuple[str, ...], Histogram] = {}
        self._sessions: dict[tuple[str, ...], Histogram] = {}
        self._waits: dict[tuple[str, ...], Histogram] = {}
        self._newest: deque[float] = deque(maxlen=RECENT)
        self._reasons: set[str] = set()
        self._verbs: dict[type, Callable[[Any], None]] = {
            told.TransactionEnded: self._transaction,
            told.SessionEnded: self._session,
            told.ConnectionRefused: self._refused,
            told.CommandRefused: self._command,
            told.FilterFailed: self._filter,
            told.ServerChanged: self._server,
            told.LinkFailed: self._link,
            told.Happened: self._happened,
        }

    def hear(self, event: Any) -> None:
        """A witness."""
        verb = self._verbs.get(type(event))
        if verb is not None:
            verb(event)

    def p95_ms(self) -> float | None:
        """95 of 100 of the newest messages took no longer, milliseconds; None before the first."""
        if not self._newest:
            return None
        return sorted(self._newest)[int(len(self._newest) * 0.95)] * 1000

    # Events

    def _transaction(self, event: told.TransactionEnded) -> None:
        transaction = event.transaction
        session = transaction.session
        direction = "out" if session.role == "submission" else "in"
        verdict = words.verdict_of(transaction)
        self._counts["messages"][session.listener, direction, verdict] += 1
        recipients = self._counts["recipients"]
        for recipient in transaction.recipients:
            recipients[session.listener, direction, recipient.state or "none"] += 1
        duration = transaction.ended - transaction.begun
        _of(self._durations, (direction, verdict), SECONDS).add(duration)
        if transaction.end_at:
            self._newest.append(duration)
            _of(self._sizes, (direction,), OCTETS).add(transaction.octets)
            _of(self._stages, ("data",), SECONDS).add(transaction.end_at - transaction.data_at)
            if transaction.committed_at:
                judged = transaction.verdict_at or transaction.end_at
                _of(self._stages, ("filter",), SECONDS).add(judged - transaction.end_at)
                _of(self._waits, (transaction.backend, transaction.server, "final"), SECONDS).add(
                    transaction.committed_at - judged)
        if verdict in ("reject", "defer"):
            self._rejection(transaction)
        for finding in transaction.findings:
            self._counts["filter_runs"][finding.filter, "hit"] += 1

    def _rejection(self, transaction: Transaction) -> None:
        reason, _ = words.reason_of(transaction)
        code = "5xx" if transaction.outcome == "refused" else "4xx"
        key = (transaction.session.listener, words.stage_of(transaction), self._known(reason or "client"), code)
        self._counts["rejections"][key] += 1

    def _known(self, reason: str) -> str:
        """A reason as a label, as long as there are not too many."""
        if reason in self._reasons:
            return reason
        if len(self._reasons) >= REASONS:
            return "other"
        self._reasons.add(reason)
        return reason

    def _session(self, event: told.SessionEnded) -> None:
        session = event.session
        listener = session.listener
        counts = self._counts
        counts["connections"][listener, "accepted"] += 1
        counts["sessions_closed"][listener, session.stage, words.closed_by(session)] += 1
        counts["octets"]["client", "in"] += session.octets_in
        counts["octets"]["client", "out"] += session.octets_out
        if session.tls is not None:
            counts["tls"]["client", "ok", session.tls.version] += 1
        if session.user:
            counts["auth"][listener, session.mechanism, "ok"] += 1
        _of(self._sessions, (listener,), SECONDS).add(session.ended - session.begun)

    def _refused(self, event: told.ConnectionRefused) -> None:
        self._counts["connections"][event.listener, event.result] += 1

    def _command(self, event: told.CommandRefused) -> None:
        self._counts["commands_refused"][event.session.listener, self._known(event.verb), f"{event.code // 100}xx"] += 1
        if event.verb == "AUTH":
            self._counts["auth"][event.session.listener, "", "failed"] += 1
        elif event.verb == "STARTTLS" and not event.code:
            self._counts["tls"]["client", "failed", ""] += 1

    def _filter(self, event: told.FilterFailed) -> None:
        self._counts["filter_runs"][event.filter, "timeout" if event.kind == "timeout" else "error"] += 1
        if event.policy == "continue":
            self._counts["filter_fail_open"][event.filter,] += 1

    def _server(self, event: told.ServerChanged) -> None:
        self._counts["transitions"][event.backend, event.server, event.after] += 1

    def _link(self, event: told.LinkFailed) -> None:
        self._counts["links_failed"][event.backend, event.server, event.stage] += 1

    def _happened(self, event: told.Happened) -> None:
        if event.name in ("config.applied", "config.reload_failed"):
            self._counts["reloads"]["ok" if event.name == "config.applied" else "failed",] += 1

    # Rendering

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client: all families."""
        info = GaugeMetricFamily("smtpgate_build_info", "Version", labels=["version", "python"])
        info.add_metric([self._version, platform.python_version()], 1)
        yield info
        for name, (metric, text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(metric, text, labels=labels)
            for values, count in list(self._counts[name].items()):
                family.add_metric(values, count)
            yield family
        for metric, text, labels, histograms in (
            ("message_duration_seconds", "From MAIL to the end", ["direction", "verdict"], self._durations),
            ("message_size_bytes", "Size of content", ["direction"], self._sizes),
            ("stage_duration_seconds", "Time of a stage", ["stage"], self._stages),
            ("session_duration_seconds", "Time of a connection", ["listener"], self._sessions),
            ("backend_reply_seconds", "A server's answer", ["pool", "server", "stage"], self._waits),
        ):
            family = HistogramMetricFamily(f"smtpgate_{metric}", text, labels=labels)
            for values, histogram in list(histograms.items()):
                family.add_metric(values, histogram.buckets(), histogram.sum)
            yield family
        yield from self._rendered_gauges()

    def _rendered_gauges(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self.gauges() if self.gauges is not None else ():
            family = families.get(name)
            if family is None:
                family = families[name] = GaugeMetricFamily(f"smtpgate_{name}", text, labels=list(labels))
            family.add_metric(list(labels.values()), value)
        yield from families.values()


def _of(histograms: dict[tuple[str, ...], Histogram], key: tuple[str, ...], bounds: tuple[float, ...]) -> Histogram:
    found = histograms.get(key)
    if found is None:
        found = histograms[key] = Histogram(bounds)
    return found


#: Counter to its name, its help and its labels.
_COUNTERS: Final[dict[str, tuple[str, str, list[str]]]] = {
    "connections": ("smtpgate_connections", "Connections", ["listener", "result"]),
    "sessions_closed": ("smtpgate_sessions_closed", "Ended sessions", ["listener", "stage", "by"]),
    "messages": ("smtpgate_messages", "Ended transactions", ["listener", "direction", "verdict"]),
    "recipients": ("smtpgate_recipients", "Recipients", ["listener", "direction", "result"]),
    "rejections": ("smtpgate_rejections", "Refused and deferred", ["listener", "stage", "reason", "class"]),
    "commands_refused": ("smtpgate_commands_refused", "Refused by us", ["listener", "verb", "class"]),
    "octets": ("smtpgate_bytes", "Octets", ["side", "way"]),
    "tls": ("smtpgate_tls_handshakes", "Handshakes", ["side", "result", "version"]),
    "auth": ("smtpgate_auth_attempts", "Logins", ["listener", "mechanism", "result"]),
    "filter_runs": ("smtpgate_filter_runs", "Filter results worth telling", ["filter", "result"]),
    "filter_fail_open": ("smtpgate_filter_fail_open", "Mail that passed a failed filter", ["filter"]),
    "transitions": ("smtpgate_backend_transitions", "Changes of state", ["pool", "server", "to"]),
    "links_failed": ("smtpgate_backend_links_failed", "Failed connections", ["pool", "server", "stage"]),
    "reloads": ("smtpgate_config_reloads", "Configurations read", ["result"]),
}
