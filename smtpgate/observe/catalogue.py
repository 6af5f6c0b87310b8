"""The closed list of the metrics that are counted here: names, kinds, labels, and what they mean.

`metrics` counts them and `exposition` writes them, with the prefix `smtpgate_`. Labels hold names of the
configuration and words of closed lists, never an address, a domain, a user or an id, so the number of series
is bounded.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Upper bounds of the buckets, seconds.
LATENCY: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
#: The same for sizes, octets.
SIZE: Final = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 2.0**20, 2.0**22, 2.0**24, 2.0**26)
#: Different names that one label may hold; what comes after is "other".
NAMES: Final = 200
#: The same for reasons.
REASONS: Final = 60
OTHER: Final = "other"

VERDICTS: Final = ("accept", "reject", "defer", "abort", "error")
#: "accepted" is counted apart: it is what was opened and not refused afterwards.
#: What filters in shadow may have said.
WOULD: Final = ("tag", "quarantine", "defer", "reject")
REFUSED: Final = (
    "refused_limit", "refused_policy", "refused_capacity", "refused_pressure", "refused_banned",
    "early_talker", "proxy_error",
)  # fmt: skip
RECIPIENTS: Final = ("accepted", "delivered", "known", "refused", "deferred")
STAGES: Final = (
    "connect", "proxy", "tls", "ehlo", "auth", "mail", "rcpt", "data", "filter", "backend", "final",
    "idle",
)  # fmt: skip
LINK_STAGES: Final = (
    "connect", "greeting", "ehlo", "starttls", "xclient", "auth", "mail", "rcpt", "data", "body", "end",
    "idle",
)  # fmt: skip
CLOSED_BY: Final = ("client", "server", "timeout", "error", "drain")
MECHANISMS: Final = (
    "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL",
    "GSSAPI", "NTLM",
)  # fmt: skip


@attrs.frozen
class Metric:
    """One name.

    :ivar kind: counter, gauge or histogram
    """

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()


def _counter(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, "counter", about, labels)


def _gauge(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, "gauge", about, labels)


def _histogram(name: str, about: str, *labels: str) -> Metric:
    return Metric(name, "histogram", about, labels)


_ROWS: Final = (
    _gauge("build_info", "Always 1; what is running", "version", "python", "twisted"),
    _gauge("config_revision_info", "Always 1; the configuration revision at work", "revision"),
    _counter("config_reloads_total", "Configurations read, by whether they were taken", "result"),
    _gauge("config_last_reload_success", "1 where the last configuration read was taken"),
    _gauge("config_last_reload_timestamp_seconds", "When a configuration was last read"),
    _histogram("reactor_lag_seconds", "How late timers are"),
    _counter("connections_total", "Connections at the door", "listener", "result"),
    _histogram("session_duration_seconds", "Length of sessions", "listener"),
    _counter("sessions_closed_total", "Sessions that ended", "listener", "stage", "by"),
    _counter("messages_total", "Transactions that ended", "listener", "direction", "verdict"),
    _counter("recipients_total", "Recipients of these", "listener", "direction", "result"),
    _histogram("message_duration_seconds", "From MAIL to the last reply", "direction", "verdict"),
    _histogram("message_size_bytes", "Size of the content, where there was any", "direction"),
    _histogram(
        "stage_duration_seconds",
        "Parts of a transaction: rcpt (MAIL to DATA), data, filter, backend",
        "stage",
    ),
    _counter(
        "rejections_total",
        "Commands, recipients and messages refused",
        "listener",
        "stage",
        "reason",
        "class",
    ),
    _counter("bytes_total", "Octets moved in sessions that ended", "side", "way"),
    _counter("tls_handshakes_total", "TLS handshakes", "side", "result", "version"),
    _counter("auth_attempts_total", "AUTH commands", "listener", "mechanism", "result"),
    _counter("filter_runs_total", "Filters that found something or failed", "filter", "result"),
    _counter("rule_hits_total", "Messages that rules were true of", "rule", "mode"),
    _counter("ratelimit_decisions_total", "Limits that were met: refused, paced or shadow", "limit", "decision"),
    _counter("shadow_verdicts_total", "Messages that filters in shadow would have decided more strictly", "action"),
    _counter("filter_fail_open_total", "Failures after which mail went on unchecked", "filter"),
    _counter("backend_failures_total", "Links that could not be opened or broke", "pool", "server", "stage"),
    _counter("backend_transitions_total", "Changes of state", "pool", "server", "to"),
    _histogram("backend_reply_seconds", "The server's time after the end of data", "pool", "server", "stage"),
    _counter("duplicates_possible_total", "Messages sent again though the backend may have them"),
    _counter("deliveries_unknown_total", "Messages whose final answer was lost", "pool"),
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
