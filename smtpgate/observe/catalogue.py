"""The closed list of the metrics that are counted here: names, kinds, labels, and what they mean.

`metrics` counts them and `exposition` writes them, with the prefix `smtpgate_`. Labels hold names of the
configuration and words of closed lists, never an address, a domain, a user or an id, so the number of series
is bounded.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Upper bounds of the buckets of sizes, octets; those of times are `policy.meter.LATENCY`.
SIZE: Final = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 2.0**20, 2.0**22, 2.0**24, 2.0**26)
#: Different names that one label may hold; what comes after is "other".
NAMES: Final = 200
#: The same for reasons.
REASONS: Final = 60
OTHER: Final = "other"

#: Of the reactor's lag: what is meant is some milliseconds.
LAG: Final = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The same for sums of scores.
SCORE: Final = (-10.0, -5.0, -2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 50.0)
VERDICTS: Final = ("accept", "tag", "quarantine", "defer", "reject", "discard", "redirect", "abort", "error")
DIRECTIONS: Final = ("in", "out", "internal")
#: What filters in shadow may have said.
WOULD: Final = ("tag", "quarantine", "defer", "reject")
#: "accepted" is counted apart: it is what was opened and not refused afterwards.
REFUSED: Final = (
    "refused_limit", "refused_policy", "refused_capacity", "refused_pressure", "refused_banned",
    "refused_paused", "early_talker", "proxy_error",
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
VERBS: Final = (
    "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "STARTTLS", "AUTH", "VRFY", "EXPN",
    "HELP", "XCLIENT", "XFORWARD",
)  # fmt: skip
SERVER_STATES: Final = ("up", "down", "ejected", "unknown", "drain")
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
    _gauge("draining", "1 while draining"),
    _histogram("reactor_lag_seconds", "How late timers are"),
    _gauge("threadpool_active", "Threads at work", "pool"),
    _gauge("threadpool_queue_depth", "Calls that wait for a thread", "pool"),
    _gauge("pressure_level", "0 normal, 1 busy, 2 high, 3 severe, 4 critical"),
    _gauge("body_memory_bytes", "Memory of messages that wait"),
    # Sessions and commands
    _counter("connections_total", "Connections at the door", "listener", "result"),
    _gauge("sessions_active", "Sessions now", "listener"),
    _gauge("sessions_limit", "Most sessions, of all listeners together"),
    _gauge("sessions_by_class", "Sessions now", "class"),
    _histogram("session_duration_seconds", "Length of sessions", "listener"),
    _counter("sessions_closed_total", "Sessions that ended", "listener", "stage", "by"),
    _counter("commands_total", "Commands that could be read", "listener", "verb"),
    _counter("replies_total", "Replies to commands", "listener", "code"),
    _counter("bytes_total", "Octets moved in sessions that ended, and of content that backends took", "side", "way"),
    _counter("tls_handshakes_total", "TLS handshakes", "side", "result", "version"),
    _histogram("tls_handshake_seconds", "How long handshakes took that came to their end", "side"),
    _counter("auth_attempts_total", "AUTH commands", "listener", "mechanism", "result"),
    _gauge("replies_paced", "Replies that wait"),
    # Messages
    _counter("messages_total", "Transactions that ended", "listener", "direction", "verdict"),
    _counter("recipients_total", "Recipients of these", "listener", "direction", "result"),
    _histogram("message_duration_seconds", "From MAIL to the last reply", "direction", "verdict"),
    _histogram("message_size_bytes", "Size of the content, where there was any", "direction"),
    _histogram(
        "stage_duration_seconds",
        "Parts of a transaction: rcpt (MAIL to DATA), data, filter, backend",
        "stage",
    ),
    _counter("rejections_total", "Commands, recipients and messages refused", "listener", "stage", "reason", "class"),
    _counter("auth_results_total", "What was found of senders, by message", "method", "result"),
    _counter("encryption_total", "Messages that backends took: by TLS or in clear, signed or not", "method", "result"),
    _gauge(
        "tls_certificate_not_after_timestamp_seconds",
        "When certificates expire: of listeners the first of theirs, of servers what they showed",
        "side",
        "name",
    ),
    # Filters and rules
    _counter(
        "filter_runs_total",
        "Calls that found nothing (pass) or were spared (skip), findings (hit, shadow), failures (timeout, error)",
        "filter",
        "result",
    ),
    _histogram("filter_duration_seconds", "How long filters took for a call", "filter"),
    _counter("filter_fail_open_total", "Failures after which mail went on unchecked", "filter"),
    _gauge("filter_up", "1 unless all servers that a filter asks are left alone", "filter"),
    _gauge(
        "filter_signature_timestamp_seconds",
        "When what the engine of a filter looks for was made, where the engine says so",
        "filter",
    ),
    _gauge(
        "plugin_info",
        "Always 1; filters of the configuration, and the version of what they are made of",
        "plugin",
        "version",
    ),
    _gauge("plugin_disabled", "1 while a filter of the configuration is off", "plugin"),
    _counter("plugin_errors_total", "Failures of filters, by where", "plugin", "hook"),
    _counter("rule_hits_total", "Messages that rules were true of", "rule", "mode"),
    _counter("dlp_matches_total", "Messages in which rules found data that must not leave", "policy", "action"),
    _histogram("spam_score", "Sum of scores of messages that have one"),
    _counter("shadow_verdicts_total", "Messages that filters in shadow would have decided more strictly", "action"),
    # Backends
    _gauge("backend_up", "1 while a server is up", "pool", "server"),
    _gauge("backend_weight", "Its share of the mail now", "pool", "server"),
    _gauge("backend_state", "1 for the state that a server is in", "pool", "server", "state"),
    _gauge("backend_connections", "Links to a server, with and without a transaction", "pool", "server", "state"),
    _gauge("backend_slots", "Transactions that a backend may have now", "pool"),
    _gauge("backend_busy", "Transactions that it has", "pool", "class"),
    _gauge("backend_queue_depth", "Sessions that wait for a slot", "pool", "class"),
    _histogram("backend_queue_seconds", "How long sessions waited for a slot", "pool"),
    _histogram("priority_wait_seconds", "The same by class of the client", "class"),
    _counter("backend_connects_total", "Links that were opened or not", "pool", "server", "result"),
    _histogram("backend_connect_seconds", "Until a link was ready: connect, greeting, EHLO, TLS", "pool", "server"),
    _counter("backend_failures_total", "Links that could not be opened or broke", "pool", "server", "stage"),
    _histogram("backend_reply_seconds", "The server's time after the end of data", "pool", "server", "stage"),
    _counter("backend_replies_total", "Replies to the end of data", "pool", "server", "class"),
    _counter("backend_checks_total", "Probes", "pool", "server", "result"),
    _counter("backend_transitions_total", "Changes of state", "pool", "server", "to"),
    _counter("backend_retries_total", "Servers given up for another one, by where they failed", "pool", "reason"),
    _gauge("destinations", "Domains whose servers are known, of a backend of kind mx", "pool"),
    _gauge("tls_to_mx", "Sessions with servers of kind mx since the start", "result"),
    _counter("duplicates_possible_total", "Messages sent again though the backend may have them"),
    _counter("deliveries_unknown_total", "Messages whose final answer was lost", "pool"),
    _gauge("ledger_rows", "Rows of the commit ledger"),
    # Traffic
    _counter("ratelimit_decisions_total", "Limits that were met: refused, paced or shadow", "limit", "decision"),
    _gauge("ratelimit_keys", "Keys of a limit that are remembered", "limit"),
    _counter("ratelimit_evictions_total", "Keys forgotten for want of room", "limit"),
    _gauge("bans_active", "Bans that hold: set by the gateway, or by hand", "source"),
    _gauge("reputation_records", "Senders that are remembered"),
    _gauge("correspondents_known", "Whom our users write to"),
    _counter("dns_queries_total", "Look-ups that went to a server", "type", "result"),
    _histogram("dns_seconds", "How long these took, waiting included", "type"),
    _counter("cache_requests_total", "Look-ups, by whether they were answered from memory", "cache", "result"),
    _gauge("cache_entries", "What is remembered", "cache"),
    # What is held and kept
    _gauge("quarantine_messages", "Messages that are held; looked at once a minute", "class"),
    _gauge("quarantine_bytes", "Their octets", "class"),
    _gauge(
        "quarantine_oldest_timestamp_seconds",
        "When the oldest message was held that waits still; absent without one",
        "class",
    ),
    _gauge("quarantine_limit_bytes", "Octets that there is room for"),
    _counter("quarantine_actions_total", "What was done with held messages", "action", "by"),
    _counter("digests_total", "Digests", "result"),
    _gauge("store_bytes", "Size of the database", "table"),
    _histogram("store_write_seconds", "How long writing to the database took, on the disk and all"),
    _gauge("store_queue_depth", "Calls that wait to be written"),
    _gauge("backup_last_timestamp_seconds", "When the last backup was made; absent without one"),
    _counter("store_dropped_total", "Rows that were not kept", "table"),
    # The office and the log
    _counter("http_requests_total", "Requests to the admin side", "group", "method", "class"),
    _histogram("http_request_seconds", "How long they took", "group"),
    _counter("admin_logins_total", "Logins", "method", "result"),
    _gauge("admin_sessions_active", "People who are logged in"),
    _counter("webhook_deliveries_total", "Calls of webhooks", "hook", "result"),
    _gauge("webhook_queue_depth", "Calls that wait", "hook"),
    _gauge("sse_clients", "Event streams that are open"),
    _counter("sse_dropped_total", "Events that slow readers of streams missed"),
    _counter("audit_write_failures_total", "Changes that could not be written to the audit"),
    _counter("log_records_total", "Lines written", "level"),
    _counter("log_dropped_total", "Lines that could not be written", "sink"),
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
