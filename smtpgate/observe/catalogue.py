"""The closed list of metrics: names, kinds, labels, and what they mean.

`metrics` counts them and `exposition` writes them; a gauge that is read elsewhere at scrape time must be one of these
too. All names get the prefix `smtpgate_`. Labels hold names of the configuration and words of closed lists, never an
address, a domain, a user or an id, so the number of series is bounded.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Upper bounds of the buckets, seconds.
LATENCY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
#: The same for sizes, octets.
SIZE: Final = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 2.0**20, 2.0**22, 2.0**24, 2.0**26)
#: Different names that one label may hold; what comes after is "other".
NAMES: Final = 200
#: The same for reasons.
REASONS: Final = 60
OTHER: Final = "other"

VERDICTS: Final = ("accept", "reject", "defer", "abort", "error")
CONNECTIONS: Final = ("accepted", "refused_limit", "refused_policy", "refused_capacity", "early_talker", "proxy_error")
RECIPIENTS: Final = ("accepted", "delivered", "known", "refused", "deferred")
STAGES: Final = ("connect", "proxy", "tls", "ehlo", "auth", "mail", "rcpt", "data", "filter", "backend", "final", "idle")
LINK_STAGES: Final = (
    "connect", "greeting", "ehlo", "starttls", "xclient", "auth", "mail", "rcpt", "data", "body", "end", "idle",
)
CLOSED_BY: Final = ("client", "server", "timeout", "error", "drain")
MECHANISMS: Final = (
    "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "GSSAPI", "NTLM",
)


@attrs.frozen
class Metric:
    """One name.

    :ivar kind: counter, gauge or histogram
    """

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _counter(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, "counter", about, labels)


def _gauge(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, "gauge", about, labels)


def _histogram(name: str, about: str, *labels: str, bounds: tuple[float, ...] = LATENCY) -> Metric:
    return Metric(name, "histogram", about, labels, bounds)


_ROWS: Final = (
    _gauge("build_info", "Always 1; what is running", "version", "python", "twisted"),
    _gauge("config_revision_info", "Always 1; the configuration revision at work", "revision"),
    _counter("config_reloads_total", "Configurations read, by whether they were taken", "result"),
    _gauge("config_last_reload_success", "1 where the last configuration read was taken"),
    _gauge("config_last_reload_timestamp_seconds", "When a configuration was last read"),
    _gauge("draining", "1 while no new sessions are taken"),
    _histogram("reactor_lag_seconds", "How late timers are"),
    _gauge("threadpool_active", "Threads at work", "pool"),
    _gauge("threadpool_queue_depth", "Calls that wait for a thread", "pool"),
    _counter("connections_total", "Connections at the door", "listener", "result"),
    _gauge("sessions_active", "Sessions now", "listener"),
    _gauge("sessions_limit", "Sessions at most"),
    _histogram("session_duration_seconds", "Length of sessions", "listener"),
    _counter("sessions_closed_total", "Sessions that ended", "listener", "stage", "by"),
    _counter("messages_total", "Transactions that ended", "listener", "direction", "verdict"),
    _counter("recipients_total", "Recipients of these", "listener", "direction", "result"),
    _histogram("message_duration_seconds", "MAIL to the last reply", "direction", "verdict"),
    _histogram("message_size_bytes", "Size of the content, where there was any", "direction", bounds=SIZE),
    _histogram("stage_duration_seconds", "Parts of a transaction: rcpt (MAIL to DATA), data, filter, backend", "stage"),
    _counter("rejections_total", "Commands, recipients and messages refused", "listener", "stage", "reason", "class"),
    _counter("bytes_total", "Octets moved in sessions that ended", "side", "way"),
    _counter("tls_handshakes_total", "TLS handshakes", "side", "result", "version"),
    _gauge("tls_certificate_not_after_timestamp_seconds", "When a certificate expires", "name"),
    _counter("auth_attempts_total", "AUTH commands", "listener", "mechanism", "result"),
    _counter("filter_runs_total", "Filters that found something or failed", "filter", "result"),
    _counter("filter_fail_open_total", "Failures after which mail went on unchecked", "filter"),
    _gauge("filter_up", "1 where a filter can work", "filter"),
    _gauge("backend_up", "1 where a server is seen up", "pool", "server"),
    _gauge("backend_weight", "Weight of a server", "pool", "server"),
    _gauge("backend_state", "1 for the state that a server is in", "pool", "server", "state"),
    _gauge("backend_connections", "Links to a server", "pool", "server", "state"),
    _counter("backend_connects_total", "Links opened", "pool", "server", "result"),
    _counter("backend_failures_total", "Links that could not be opened or broke", "pool", "server", "stage"),
    _counter("backend_checks_total", "Looks at a server", "pool", "server", "result"),
    _counter("backend_transitions_total", "Changes of state", "pool", "server", "to"),
    _gauge("backend_queue_depth", "Sessions that wait for a link", "pool"),
    _counter("duplicates_possible_total", "Messages sent again though the backend may have them"),
    _counter("deliveries_unknown_total", "Messages whose final answer was lost", "pool"),
    _gauge("store_bytes", "Size of the state", "table"),
    _gauge("store_queue_depth", "Rows that wait to be written"),
    _counter("store_dropped_total", "Rows that could not be kept", "table"),
    _counter("log_records_total", "Lines of the log", "level"),
    _counter("log_dropped_total", "Lines of the log that were lost", "sink"),
)

METRICS: Final = {row.name: row for row in _ROWS}


class Names:
    """The values of one label: the first so many different ones, then "other"."""

    __slots__ = ("_most", "_known")

    def __init__(self, most: int = NAMES) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name to count under."""
        if name in self._known:
            return name
        if not name or len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
