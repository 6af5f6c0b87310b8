"""The names and labels that dashboards and alerts of others are written against, each with its kind: what is in this
table is what `/metrics` has."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe.catalogue import METRICS

#: Kind, names, labels. c counter, g gauge, h histogram.
TABLE: Final = """
g build_info: version python twisted
g config_revision_info: revision
h reactor_lag_seconds:
g threadpool_active threadpool_queue_depth: pool
c connections_total: listener result
g sessions_active: listener
g sessions_limit:
h session_duration_seconds: listener
c sessions_closed_total: listener stage by
c commands_total: listener verb
c replies_total: listener code
c messages_total: listener direction verdict
c recipients_total: listener direction result
h message_duration_seconds: direction verdict
h message_size_bytes: direction
h stage_duration_seconds: stage
c rejections_total: listener stage reason class
c bytes_total: side way
c tls_handshakes_total: side result version
h tls_handshake_seconds: side
g tls_certificate_not_after_timestamp_seconds: side name
c auth_attempts_total: listener mechanism result
c auth_results_total: method result
c filter_runs_total: filter result
h filter_duration_seconds: filter
g filter_up: filter
c filter_fail_open_total: filter
g filter_signature_timestamp_seconds: filter
c rule_hits_total: rule mode
h spam_score:
g backend_up backend_weight: pool server
g backend_state: pool server state
c backend_connects_total: pool server result
h backend_connect_seconds: pool server
g backend_connections: pool server state
h backend_reply_seconds: pool server stage
c backend_replies_total: pool server class
c backend_checks_total: pool server result
c backend_transitions_total: pool server to
c backend_retries_total: pool reason
g backend_queue_depth: pool class
h backend_queue_seconds: pool
c ratelimit_decisions_total: limit decision
g ratelimit_keys: limit
c ratelimit_evictions_total: limit
h priority_wait_seconds: class
g bans_active: source
c dns_queries_total: type result
h dns_seconds: type
c cache_requests_total: cache result
g cache_entries: cache
g quarantine_messages quarantine_bytes quarantine_oldest_timestamp_seconds: class
c quarantine_actions_total: action by
c digests_total: result
c dlp_matches_total: policy action
c encryption_total: method result
g plugin_info: plugin version
c plugin_errors_total: plugin hook
g plugin_disabled: plugin
g store_bytes: table
h store_write_seconds:
g store_queue_depth:
c store_dropped_total: table
g backup_last_timestamp_seconds:
c http_requests_total: group method class
h http_request_seconds: group
c admin_logins_total: method result
g admin_sessions_active sse_clients:
c sse_dropped_total audit_write_failures_total:
c webhook_deliveries_total: hook result
g webhook_queue_depth: hook
c config_reloads_total: result
g config_last_reload_success config_last_reload_timestamp_seconds draining:
c log_records_total: level
c log_dropped_total: sink
"""
KINDS: Final = {"c": "counter", "g": "gauge", "h": "histogram"}


def wanted() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Kind and labels by name."""
    out = {}
    for line in TABLE.strip().splitlines():
        names, _, labels = line.partition(":")
        kind, *each = names.split()
        out.update({name: (KINDS[kind], tuple(labels.split())) for name in each})
    return out


#: What a gateway shows only where something has happened, or is configured, that a fresh one has not: by why.
LATER: Final = {
    "a client or a server with TLS": {"tls_handshakes_total", "tls_certificate_not_after_timestamp_seconds"},
    "somebody who logs in": {"auth_attempts_total"},
    "a sender who is looked at": {"auth_results_total"},
    "an engine that says how old its signatures are": {"filter_signature_timestamp_seconds"},
    "rules": {"rule_hits_total", "dlp_matches_total"},
    "limits": {"ratelimit_decisions_total", "ratelimit_keys", "ratelimit_evictions_total"},
    "a server that is given up": {"backend_retries_total", "backend_failures_total"},
    "look-ups": {"dns_queries_total", "dns_seconds"},
    "mail that is held": {"quarantine_oldest_timestamp_seconds"},
    "a filter that fails": {"plugin_errors_total"},
    "a backup": {"backup_last_timestamp_seconds"},
    "a login": {"admin_logins_total"},
    "webhooks": {"webhook_deliveries_total", "webhook_queue_depth"},
    "a message whose fate is not known": {"duplicates_possible_total", "deliveries_unknown_total"},
    "a backend of kind mx": {"destinations", "tls_to_mx"},
    "a class that waits": {"priority_wait_seconds"},
    "scores": {"spam_score"},
}


class TableTests(SynchronousTestCase):
    """`smtpgate.observe.catalogue` against the table."""

    def test_names_kinds_labels(self) -> None:
        """Each of the table is there so."""
        has = {name: (row.kind, row.labels) for name, row in METRICS.items()}
        self.assertEqual({name: has.get(name) for name in wanted()}, wanted())

    def test_what_is_shown_later_is_known(self) -> None:
        """Nothing stands there that there is not."""
        self.assertEqual({name for names in LATER.values() for name in names} - set(METRICS), set())
