"""The closed list of log events and their fields.

`journal` writes no other names of its own, the tests compare this list with every `Happened` that the gateway
tells, and docs/operation-events.md is made from it (`document`). To add an event is to add a row here.
"""

from __future__ import annotations

import sys
from typing import Final

import attrs

#: Fields of every line, in this order.
COMMON: Final = {
    "ts": "when it was written, RFC 3339, UTC, to the millisecond",
    "level": "debug, info, warning or error",
    "event": "the name of the event, from the list below",
    "msg": "the same in words, for people",
    "node": "name of the node, where one was given",
    "pid": "process id",
}

FIELDS: Final = {
    "session_id": "26 characters that sort by time; in our replies outside transactions",
    "msg_id": "the session's id, a dot and the transaction's number; in our replies to MAIL, RCPT, DATA",
    "listener": "name of the listener",
    "role": "mx or submission",
    "client_ip": "the client, after PROXY and XCLIENT",
    "client_port": "its port",
    "client_name": "its name, where XCLIENT gave one",
    "helo": "what it called itself",
    "proxy_ip": "who is connected, where that is not the client itself",
    "tls_version": "version of TLS with the client; absent in clear",
    "tls_cipher": "its cipher",
    "auth_user": "who logged in",
    "mail_from": "sender; empty for the null sender",
    "rcpt_to": "list of recipients, the first 20",
    "rcpt_more": "how many more there were",
    "rcpt_count": "recipients asked for",
    "rcpt_accepted": "recipients that got a 2yz",
    "size": "octets of content (RFC 1870)",
    "header_message_id": "the Message-ID field",
    "stage": "how far it came: mail, rcpt, data, final; of a session also connect, helo, auth, idle; "
    "of a failure the step that failed",
    "verdict": "accept, tag, redirect, discard, quarantine, defer, reject, abort or error",
    "outcome": "delivered, refused, deferred, aborted, unacked, unknown, held, discarded or redirected",
    "reason": "why, in one word: a finding's reason, one of our own replies, or backend",
    "filter": "the filter that decided",
    "code": "reply code",
    "enhanced": "enhanced status code",
    "reply": "text of the reply, at most 500 characters",
    "score": "sum of the scores in force",
    "filters": "list of findings: name, result, reason, ms, and shadow where it had no effect; the first 20",
    "pool": "name of the backend",
    "server": "its server",
    "backend_tls": "version of TLS with the server; absent in clear",
    "dur_ms": "from the beginning to the end, milliseconds",
    "wait_ms": "the backend's time after our end of data, milliseconds",
    "config_rev": "configuration revision at work",
    "notes": "list of short words about the content or the end",
    "closed_by": "client, server, timeout, error or drain",
    "messages": "transactions begun",
    "errors": "commands answered with 5yz by the gateway",
    "bytes_in": "octets from the client",
    "bytes_out": "octets to the client",
    "result": "refused_limit, refused_capacity, refused_pressure, refused_banned, refused_paused, refused_policy, "
    "early_talker or proxy_error",
    "detail": "more about it",
    "repeated": "how many like it were left out since the last such line",
    "verb": "the command",
    "kind": "how it failed; of a letter release, redirect, bcc, journal, forward, digest or notice",
    "policy": "what the filter's failure means: tempfail, reject, continue or none",
    "before": "state before",
    "after": "state now",
    "first_id": "transaction of the earlier try",
    "namespace": "who logged it",
    "error": "an object with type and stack",
    "count": "how many",
    "actor": "who asked",
    "actor_kind": "user, token, cli, signal or system",
    "target": "what it is about",
    "problems": "list of problems with their places",
    "backend": "name of the backend",
    "state": "accepting, draining or degraded",
    "sessions": "sessions now",
    "sessions_total": "sessions since the start",
    "file": "the log file; the database",
    "folder": "the folder that it is about",
    "free": "octets that are free on its disk",
    "configured": "what the configuration says",
    "sessions_limit": "most sessions that are let in",
    "descriptors": "files and sockets that the process may have open",
    "list": "name of a list in the DNS",
    "letter": "id of a letter in the outbox",
    "held": "id of a held message",
    "recipients": "how many it is for",
    "tries": "how often it was tried before",
    "listeners": "list of listeners, each with the address that it has",
}

_CLIENT: Final = (
    "session_id",
    "listener",
    "role",
    "client_ip",
    "client_port",
    "client_name",
    "helo",
    "proxy_ip",
    "tls_version",
    "tls_cipher",
    "auth_user",
)
_REPLY: Final = ("code", "enhanced", "reply")
_LETTER: Final = ("letter", "kind", "msg_id", "recipients", "tries", "held")


@attrs.frozen
class LogEvent:
    """One name of the list.

    :ivar level: as a rule; some choose theirs by what happened
    :ivar is_open: has further fields, named by what they are about
    """

    name: str
    level: str
    about: str
    fields: tuple[str, ...] = ()
    is_open: bool = False


def _admin(action: str, about: str) -> LogEvent:
    return LogEvent(f"admin.{action}", "info", about, ("actor", "actor_kind", "target", "detail"))


_ROWS: Final = (
    LogEvent("session.opened", "debug", "a client is connected and known", (*_CLIENT, "config_rev")),
    LogEvent(
        "session.done",
        "info",
        "a connection is over; one that did nothing is told at level debug only",
        (
            *_CLIENT,
            "stage",
            "closed_by",
            "messages",
            "errors",
            "bytes_in",
            "bytes_out",
            "dur_ms",
            "config_rev",
        ),
    ),
    LogEvent(
        "message.done",
        "info",
        "a transaction is over; the one line about a message. A warning where its fate is unknown",
        (
            "session_id",
            "msg_id",
            *_CLIENT[1:],
            "mail_from",
            "rcpt_to",
            "rcpt_more",
            "rcpt_count",
            "rcpt_accepted",
            "size",
            "header_message_id",
            "stage",
            "verdict",
            "outcome",
            "reason",
            "filter",
            *_REPLY,
            "score",
            "filters",
            "pool",
            "server",
            "backend_tls",
            "dur_ms",
            "wait_ms",
            "config_rev",
            "notes",
        ),
    ),
    LogEvent(
        "connection.refused",
        "info",
        "a connection was not let in; a warning where we are full or a PROXY header was wrong",
        ("listener", "client_ip", "result", "detail", "repeated"),
    ),
    LogEvent(
        "command.refused",
        "debug",
        "the gateway itself refused a command",
        ("session_id", "listener", "client_ip", "verb", "code", "reason", "repeated"),
    ),
    LogEvent(
        "filter.failed",
        "warning",
        "a filter raised, ran out of time or answered wrongly; told once a minute",
        ("filter", "stage", "kind", "detail", "policy", "session_id", "repeated"),
    ),
    LogEvent(
        "backend.changed",
        "warning",
        "a backend server is seen in another state; info where it is up",
        ("pool", "server", "before", "after", "reason", "repeated"),
    ),
    LogEvent(
        "link.failed",
        "warning",
        "a connection to a backend server failed; told once a minute and state",
        ("pool", "server", "stage", "reason", "session_id", "repeated"),
    ),
    LogEvent(
        "delivery.unknown",
        "error",
        "the backend's answer to the end of data was lost: it may have the message or not",
        (
            "session_id",
            "msg_id",
            "mail_from",
            "rcpt_to",
            "rcpt_more",
            "rcpt_count",
            "header_message_id",
            "pool",
            "server",
            "reason",
        ),
    ),
    LogEvent(
        "duplicate.possible",
        "warning",
        "a message whose fate was unknown is sent again",
        (
            "session_id",
            "msg_id",
            "first_id",
            "mail_from",
            "rcpt_to",
            "rcpt_more",
            "rcpt_count",
            "header_message_id",
            "pool",
            "server",
        ),
    ),
    LogEvent(
        "log",
        "info",
        "something that Twisted or a library logged, at its own level; `error` where it was a failure",
        ("namespace", "error"),
    ),
    LogEvent("log.dropped", "warning", "lines were lost: nothing could be written for a while", ("count",)),
    LogEvent("log.reopened", "info", "the log file was opened anew, or cannot be (a warning)", ("file", "reason")),
    LogEvent("journal.failed", "error", "an event could not be written", ("kind", "error")),
    LogEvent("session.crashed", "error", "a session ended by a fault of ours", ("session_id", "error")),
    LogEvent("ledger.failed", "error", "the fate of a message could not be noted: a retry may be delivered twice"),
    LogEvent("signing.failed", "error", "a message of a domain with a key could not be signed", ("msg_id",)),
    LogEvent("quarantine.failed", "error", "a message or a copy of it could not be kept", ("msg_id",)),
    LogEvent("quarantine.expired", "info", "held messages were past their time, and are deleted", ("count",)),
    LogEvent("quarantine.orphans", "warning", "files that nothing names were put aside"),
    LogEvent("webhook.failed", "error", "calls of webhooks could not be written down, and are lost"),
    LogEvent("webhook.given_up", "warning", "a call of a webhook was tried for its time, and is given up", ("target",)),
    LogEvent("alert.mail_failed", "warning", "no mail about what is wrong could be written; it is tried again"),
    LogEvent("digest.sent", "info", "recipients were told of what is held for them", ("count",)),
    LogEvent("digest.failed", "error", "recipients could not be told of what is held for them"),
    LogEvent("tls_report.sent", "info", "reports on TLS went to the domains that ask for them"),
    LogEvent("tls_report.failed", "error", "a report on TLS could not be sent; it is tried again until the next day"),
    LogEvent("ticket.used", "info", "a message with a ticket passed the rule that refuses it", ("msg_id", "target")),
    LogEvent("ticket.failed", "warning", "a message was refused without the link that its rule promises", ("msg_id",)),
    LogEvent("outbox.sent", "info", "a letter was delivered", _LETTER),
    LogEvent("outbox.deferred", "info", "a letter was not delivered yet, and is tried again", _LETTER),
    LogEvent("outbox.failed", "error", "a letter was refused, or tried for too long", _LETTER),
    LogEvent("outbox.unknown", "warning", "a letter may have been delivered: the answer was lost", _LETTER),
    LogEvent("outbox.repeated", "warning", "a letter that may have been delivered is sent again", _LETTER),
    LogEvent("outbox.broke", "error", "a letter was stopped by a fault of ours, and is tried again", _LETTER),
    LogEvent(
        "outbox.damaged", "error", "the row of a letter cannot be read whole: it is not sent, and put aside", _LETTER
    ),
    LogEvent("outbox.failing", "error", "the store of letters cannot be read: they wait"),
    LogEvent("outbox.interrupted", "warning", "the gateway stopped with a letter on its way"),
    LogEvent(
        "spool.full",
        "error",
        "the disk is nearly full: mail that needs a spool file is deferred",
        ("folder", "free"),
    ),
    LogEvent("spool.recovered", "info", "there is room for spool files again", ("folder", "free")),
    LogEvent(
        "database.restored",
        "warning",
        "the database was deleted under the gateway, and all that was in it written anew",
        ("file",),
    ),
    LogEvent(
        "database.replaced",
        "warning",
        "another database was put in its place under the gateway, and is used from now on",
        ("file",),
    ),
    LogEvent(
        "state.lost",
        "error",
        "the database or the spool folder is gone and cannot be put right",
        ("file", "reason"),
    ),
    LogEvent("state.recovered", "info", "the database and the spool folder are there again", ("file",)),
    LogEvent("history.failed", "error", "ended sessions could not be kept", ("count", "reason")),
    LogEvent("history.recovered", "info", "ended sessions are kept again", ("count",)),
    LogEvent(
        "auth.failed",
        "warning",
        "a login was refused with 535; `auth_user` is who the client claimed to be",
        ("session_id", "listener", "client_ip", "auth_user", "reason"),
    ),
    LogEvent("auth.unavailable", "error", "logins cannot be checked now; clients hear 454"),
    LogEvent(
        "backend.not_ready",
        "error",
        "a backend server lacks what the configuration needs",
        ("backend", "server"),
    ),
    LogEvent(
        "listener.paused",
        "error",
        "a listener takes no connection for a moment: no descriptors are left",
        ("listener",),
    ),
    LogEvent(
        "listener.unused",
        "warning",
        "the service manager holds a socket that no listener of the configuration takes clients from",
        ("listener",),
    ),
    LogEvent(
        "connections.limited",
        "warning",
        "the process may have too few descriptors for `limits.connections`: fewer connections are let in",
        ("configured", "sessions_limit", "descriptors"),
    ),
    LogEvent("resolver.down", "error", "no resolver answers; checks that need the DNS find nothing until one does"),
    LogEvent("resolver.up", "info", "a resolver answers again"),
    LogEvent("resolver.error", "error", "a look-up ended in a way that is a fault of the gateway"),
    LogEvent(
        "dnsbl.off", "warning", "a list in the DNS does not work as lists do, and is not asked for a while", ("list",)
    ),
    LogEvent("dnsbl.on", "info", "a list in the DNS is asked again", ("list",)),
    LogEvent(
        "engine.down",
        "error",
        "an engine of a filter does not answer; its failure policy acts",
        ("filter", "server", "reason"),
    ),
    LogEvent("engine.up", "info", "an engine of a filter answers again", ("filter", "server")),
    LogEvent("engine.rules", "info", "new rules of a filter are at work", ("filter",)),
    LogEvent("engine.rules_refused", "error", "changed rules are bad; those before stay", ("filter", "reason")),
    LogEvent(
        "children.failing",
        "error",
        "child processes that look at content cannot start; filters that need them follow their failure policy",
        ("reason",),
    ),
    LogEvent("children.up", "info", "child processes that look at content start again"),
    LogEvent("memory.failing", "error", "what filters remember cannot be kept or read"),
    LogEvent("memory.works", "info", "what filters remember is kept again"),
    LogEvent("ban.set", "warning", "a client or a network is banned", ("target", "reason", "detail", "actor")),
    LogEvent("ban.lifted", "info", "it may come in again", ("target", "actor")),
    LogEvent("drain.over", "info", "a server that was drained for a time is in service again", ("target", "reason")),
    LogEvent("intake.resumed", "info", "a pause of the intake is over"),
    LogEvent("weight.over", "info", "a server has its configured weight again", ("target", "reason")),
    LogEvent(
        "filter.tuning_over", "info", "a filter runs as configured again: its time was over", ("target", "reason")
    ),
    LogEvent("filter.tuning_failed", "error", "a filter could not run as somebody said; it runs as configured"),
    LogEvent("trace.over", "info", "an address is not traced any more: its time was over", ("target", "count")),
    LogEvent("pressure.changed", "warning", "the level of pressure is another", ("before", "after")),
    LogEvent("counters.failing", "error", "counters of limits, reputation and bans cannot be kept"),
    LogEvent("counters.works", "info", "these counters are kept again"),
    LogEvent("series.failing", "error", "counts by the minute, for pictures over time, cannot be kept"),
    LogEvent("series.works", "info", "they are kept again"),
    LogEvent("talkers.failing", "error", "who sends most cannot be kept; the running hour is in memory"),
    LogEvent("talkers.works", "info", "it is kept again"),
    LogEvent("config.warning", "warning", "the configuration works and is doubtful"),
    LogEvent("config.applied", "info", "a configuration revision is at work", ("config_rev",)),
    LogEvent(
        "config.reload_failed",
        "error",
        "a configuration was not taken; the running one is unchanged",
        ("problems",),
    ),
    LogEvent("config.drift", "warning", "the file differs from what was last taken out of it; the revision rules"),
    LogEvent("config.unconfirmed", "warning", "nobody confirmed a revision: the former one rules again"),
    LogEvent(
        "config.fallback", "error", "the configuration is broken: begun on the last one that worked", ("config_rev",)
    ),
    LogEvent("gateway.started", "info", "the gateway serves", ("listeners",)),
    LogEvent(
        "gateway.first_try",
        "info",
        "what a newcomer needs: an address for mail, one for the browser, and a folder",
    ),
    LogEvent(
        "gateway.state",
        "info",
        "what it is doing (SIGUSR2); a field for each server",
        ("state", "sessions", "sessions_total", "config_rev"),
        True,
    ),
    LogEvent("gateway.failed", "error", "the gateway could not start"),
    LogEvent("gateway.draining", "info", "no new sessions; those that run may finish"),
    LogEvent("gateway.stopped", "info", "the end"),
    _admin("server.drain", "somebody took a backend server out of service"),
    _admin("server.maint", "somebody put a backend server into maintenance"),
    _admin("session.tarpit", "somebody slowed a session down; detail: how much and for how long"),
    _admin("trace.begin", "somebody has the commands of an address written down for a while, without content"),
    _admin("trace.end", "somebody ended that, and what was written down is gone"),
    _admin("filter.tune", "somebody let a filter run otherwise for a while, or as configured again"),
    _admin("server.weight", "somebody gave a backend server another weight, or its configured one"),
    _admin("server.ready", "somebody put a backend server into service"),
    _admin("server.probe", "somebody had a backend server looked at"),
    _admin("log.level", "somebody set from which level on a part of the log is written; detail: for how long"),
    LogEvent(
        "task.failed", "error", "a task ended by a fault of the gateway, or could not be written down", ("error",)
    ),
    _admin("session.kill", "somebody ended a session"),
    _admin("ban.set", "somebody banned an address or a network"),
    _admin("list.add", "somebody put a client or a sender on an allow or block list"),
    _admin("list.remove", "somebody took an entry off an allow or block list"),
    _admin("ban.lift", "somebody let a banned one in again"),
    _admin("quarantine.release", "somebody released a held message; detail: to whom"),
    _admin("quarantine.propose", "the first of two persons asked for a release; detail: why"),
    _admin("quarantine.delete", "somebody deleted a held message"),
    _admin("quarantine.deny", "somebody said no to who asked for a held message"),
    _admin("quarantine.ask", "a recipient asked for a held message"),
    _admin("quarantine.drop", "a recipient does not want a held message; detail: for which address"),
    _admin("quarantine.restore", "a recipient wants a held message after all; detail: for which address"),
    _admin("webhook.test", "somebody called a webhook with a test"),
    _admin("alert.mute", "somebody muted an alert; detail: why"),
    _admin("alert.unmute", "somebody has an alert told of again"),
    _admin("own.put", "somebody allowed or blocked a sender for themselves; detail: which"),
    _admin("own.remove", "somebody took a sender off a list of their own"),
    _admin("own.preferences", "somebody chose when they hear of held mail"),
    _admin("quarantine.forward", "somebody sent a held message to somebody else; detail: to whom"),
    _admin("ticket.use", "a sender said why a refused message must go; detail: why"),
    _admin("ticket.ask", "a sender asked for a refused message to pass; detail: why"),
    _admin("ticket.grant", "somebody let a refused message pass once"),
    _admin("ticket.deny", "somebody said no to who asked for a refused message"),
    _admin("outbox.try", "somebody had a letter tried at once"),
    _admin("outbox.cancel", "somebody took a letter back"),
    _admin("limit.free", "somebody freed one key of a limit"),
    _admin("sender.forget", "somebody had a sender's reputation forgotten"),
    _admin("config.reload", "somebody had the configuration read"),
    _admin("config.apply", "somebody put another configuration to work; detail: why"),
    _admin("config.confirm", "somebody confirmed a revision that waited for it"),
    _admin("config.rollback", "somebody put an older revision to work again; detail: why"),
    LogEvent("admin.setup", "warning", "nobody can log in yet; the message has the code for the first visit"),
    _admin("tls.upload", "somebody gave a listener another certificate; detail: its names, end and fingerprint"),
    _admin("tls.reload", "somebody had the certificates of listeners read again"),
    _admin("intake.pause", "somebody paused the intake: nobody new is let in; detail: why, and for how long"),
    _admin("intake.resume", "somebody let everybody in again"),
    _admin("stop", "somebody had the gateway stopped"),
    _admin("drain", "somebody had the gateway take no mail"),
    _admin("undrain", "somebody had it take mail again"),
    _admin("reopen_logs", "somebody had the log file opened anew"),
    _admin("backup", "somebody had a backup written"),
    _admin("bundle", "somebody took a bundle for support"),
)

EVENTS: Final = {row.name: row for row in _ROWS}


def document() -> str:
    """The page docs/operation-events.md."""
    out = [
        "# Log events",
        "",
        "The log is one JSON object per line, in ASCII: control characters and everything beyond ASCII are",
        "escaped, so no peer can begin a line or steer a terminal. The names below are all. A field",
        "that has no value is left out; subject, content and secrets are in none. The same events make",
        "lines for people where `log.format` is `text`: what is more than a word there stands in quotes, escaped as in",
        "JSON, so that no text of a peer can pass for one of the gateway's.",
        "",
        "## Events",
        "",
        "| event | level | what happened | fields |",
        "|---|---|---|---|",
    ]
    for row in _ROWS:
        fields = " ".join(f"`{name}`" for name in row.fields) or "none"
        out.append(f"| `{row.name}` | {row.level} | {row.about} | {fields}{' and more' if row.is_open else ''} |")
    for title, listed in (("Fields of every line", COMMON), ("Fields", FIELDS)):
        out += ["", f"## {title}", "", "| field | meaning |", "|---|---|"]
        out += [f"| `{name}` | {about} |" for name, about in listed.items()]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
