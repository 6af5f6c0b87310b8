"""The structured log: one JSON object a line, one wide line for each message and for each connection.

A witness (`hear`) and Twisted's log observer (`__call__`) in one, so that everything goes the same way. Lines of the
mail path are put together by hand from pieces that are escaped one by one: a dictionary and an encoder would cost four
times as much. Lines of one turn of the reactor leave in one write. What is written is ASCII: no peer can begin a line or
steer a terminal; no subject, no content and no secret is ever written (DESIGN promise 10).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as _quote  # the C function: one call, always ASCII
from typing import Any, Final

from twisted.logger import formatEvent

from smtpgate.observe import words
from smtpgate.observe.names import EVENTS
from smtpgate.observe.outlet import Outlet
from smtpgate.observe.repeats import Flood, Repeats
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding

LEVELS: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_TWISTED: Final = {"debug": "debug", "info": "info", "warn": "warning", "error": "error", "critical": "error"}
#: Recipients and findings of one line; the rest is counted.
LISTED: Final = 20
#: Lines kept before they are written in the middle of a turn.
GATHERED: Final = 400
#: The same trouble is told once in so long.
REPEAT_S: Final = 60.0
#: Refused connections told in one second, of one kind.
REFUSALS: Final = 5


class Journal:
    """The log of one process.

    :ivar dropped: lines lost up to now
    """

    def __init__(self, format: str, level: str, file: str, call_soon: Callable[[Callable[[], None]], Any] | None = None,
                 wall: Callable[[], float] = time.time) -> None:
        """
        :param file: "-": standard output
        :param call_soon: runs a call when this turn of the reactor is over; without it each line is written at once
        """
        self._outlet = Outlet(file)
        self._file = file
        self._is_text = format == "text"
        self._level = LEVELS[level]
        self._wall = wall
        self._call_soon = call_soon
        self._lines: list[str] = []
        self._is_waiting = False
        self._second = 0
        self._stamp = ""
        self._pid = os.getpid()
        self._repeats = Repeats(REPEAT_S)
        self._flood = Flood(REFUSALS)
        self._told_dropped = 0
        self._verbs: dict[type, Callable[[Any], None]] = {
            told.TransactionEnded: self._transaction,
            told.SessionEnded: self._session,
            told.SessionOpened: self._opened,
            told.ConnectionRefused: self._refused_connection,
            told.CommandRefused: self._refused_command,
            told.FilterFailed: self._filter,
            told.ServerChanged: self._server,
            told.LinkFailed: self._link,
            told.DeliveryUnknown: self._unknown,
            told.DuplicatePossible: self._duplicate,
            told.Happened: self._happened,
        }

    @property
    def dropped(self) -> int:
        """Lines lost up to now."""
        return self._outlet.dropped

    # Writing

    def _time(self) -> str:
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            for (listener, result), count in self._flood.settle(second):
                self._line("connection.refused", "warning", f"{count} more connections refused",
                           f',"listener":{_quote(listener)},"result":{_quote(result)},"repeated":{count}')
        return f"{self._stamp}.{int(now % 1 * 1000):03d}Z"

    def _line(self, event: str, level: str, message: str, fields: str) -> None:
        """One line from ready pieces; `fields` begins with a comma where there are any."""
        if self._is_text:
            self._put(_text(self._time(), level, event, message, fields))
            return
        self._put(f'{{"ts":"{self._time()}","level":"{level}","event":"{event}","msg":{_quote(message)},'
                  f'"pid":{self._pid}{fields}}}\n')

    def _put(self, line: str) -> None:
        lines = self._lines
        lines.append(line)
        if self._call_soon is None or len(lines) >= GATHERED:
            self.flush()
        elif not self._is_waiting:
            self._is_waiting = True
            self._call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self._is_waiting = False
        self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._outlet.write("".join(lines).encode("ascii", "backslashreplace"))
        if self._outlet.dropped > self._told_dropped and not self._outlet.holds:
            count, self._told_dropped = self._outlet.dropped - self._told_dropped, self._outlet.dropped
            self._line("log.dropped", "warning", f"{count} lines were lost", f',"count":{count}')

    def reopen(self) -> None:
        """Open the file anew (SIGUSR1)."""
        self.flush()
        try:
            self._outlet.reopen()
        except OSError as error:
            self._line("log.reopened", "warning", f"{self._file} cannot be opened: {error.strerror}",
                       f',"file":{_quote(self._file)},"reason":{_quote(str(error.strerror))}')
        else:
            self._line("log.reopened", "info", "the log goes on", f',"file":{_quote(self._file)}')

    def close(self) -> None:
        """The end."""
        self.flush()
        self._outlet.close()

    # Twisted's log

    def __call__(self, event: dict[str, Any]) -> None:
        """For twisted.logger: an observer."""
        level = _TWISTED.get(getattr(event.get("log_level"), "name", "info"), "info")
        if level == "info" and event.get("log_namespace", "").startswith(("log_legacy", "twisted.", "smtpgate.admin.wire")):
            # Factories that start and stop, and the like: of interest to nobody but us.
            level = "debug"
        if LEVELS[level] < self._level:
            return
        failure = event.get("log_failure")
        fields = f',"namespace":{_quote(str(event.get("log_namespace", "")))}'
        message = formatEvent(event)
        if failure is not None:
            error = {"type": failure.type.__name__ if failure.type else "", "stack": failure.getTraceback()}
            fields += f',"error":{json.dumps(error)}'
            message = message or f"{error['type']}: {failure.getErrorMessage()}"
        self._line("log", level, message, fields)

    # Events

    def hear(self, event: Any) -> None:
        """A witness: every event, nothing raised."""
        verb = self._verbs.get(type(event))
        if verb is not None:
            verb(event)

    def _transaction(self, event: told.TransactionEnded) -> None:
        transaction = event.transaction
        outcome = transaction.outcome
        level = "warning" if outcome == "unknown" else "info"
        if LEVELS[level] < self._level:
            return
        session = transaction.session
        reply = transaction.reply
        verdict = words.verdict_of(transaction)
        recipients = transaction.recipients
        if len(recipients) == 1:
            listed = f"[{_quote(str(recipients[0].path))}]"
        else:
            listed = f"[{','.join([_quote(str(one.path)) for one in recipients[:LISTED]])}]"
            if len(recipients) > LISTED:
                listed += f',"rcpt_more":{len(recipients) - LISTED}'
        fields = (
            f',"session_id":"{session.id}","msg_id":"{transaction.id}"{self._client(session)}'
            f',"mail_from":{_quote(str(transaction.sender))},"rcpt_to":{listed},"rcpt_count":{len(recipients)}'
            f',"rcpt_accepted":{transaction.accepted},"size":{transaction.octets},"stage":"{words.stage_of(transaction)}"'
            f',"verdict":"{verdict}","outcome":"{outcome}"'
        )
        if transaction.header is not None:
            fields += f',"header_message_id":{_quote(transaction.message_id)}'
        if reply is not None:
            fields += (f',"code":{reply.code},"enhanced":"{reply.enhanced}","reply":{_quote(reply.text[:500])}')
        if verdict != "accept":
            reason, author = words.reason_of(transaction)
            if reason:
                fields += f',"reason":{_quote(reason)}'
            if author:
                fields += f',"filter":{_quote(author)}'
        if transaction.findings:
            fields += _findings(transaction.findings)
            if transaction.verdict is not None:
                fields += f',"score":{transaction.verdict.score:g}'
        if transaction.backend:
            fields += f',"pool":{_quote(transaction.backend)},"server":{_quote(transaction.server)}'
            if transaction.backend_tls:
                fields += f',"backend_tls":"{transaction.backend_tls}"'
        fields += f',"dur_ms":{(transaction.ended - transaction.begun) * 1000:.1f}'
        if transaction.committed_at:
            began = transaction.verdict_at or transaction.end_at
            fields += f',"wait_ms":{(transaction.committed_at - began) * 1000:.1f}'
        fields += f',"config_rev":"{session.revision}"'
        if transaction.notes:
            fields += f',"notes":{json.dumps(transaction.notes)}'
        self._line("message.done", level, outcome, fields)

    def _client(self, session: Session) -> str:
        """The client's part of a line; the same for all lines of a session but for what AUTH and TLS change."""
        fields = (f',"listener":"{session.listener}","role":"{session.role}","client_ip":"{session.client_ip}"'
                  f',"client_port":{session.client_port},"helo":{_quote(session.helo)}')
        if session.client_name:
            fields += f',"client_name":{_quote(session.client_name)}'
        if session.peer_ip != session.client_ip:
            fields += f',"proxy_ip":"{session.peer_ip}"'
        if session.tls is not None:
            fields += f',"tls_version":"{session.tls.version}","tls_cipher":"{session.tls.cipher}"'
        if session.user:
            fields += f',"auth_user":{_quote(session.user)}'
        return fields

    def _session(self, event: told.SessionEnded) -> None:
        session = event.session
        level = "debug" if words.is_quiet(session) else "info"
        if LEVELS[level] < self._level:
            return
        closed_by = words.closed_by(session)
        self._line(
            "session.done",
            level,
            f"closed by {closed_by}",
            f',"session_id":"{session.id}"{self._client(session)},"stage":"{session.stage}","closed_by":"{closed_by}"'
            f',"messages":{session.messages},"errors":{session.errors},"bytes_in":{session.octets_in}'
            f',"bytes_out":{session.octets_out},"dur_ms":{(session.ended - session.begun) * 1000:.1f}'
            f',"config_rev":"{session.revision}"',
        )

    def _opened(self, event: told.SessionOpened) -> None:
        if not self._level:
            session = event.session
            self._line("session.opened", "debug", f"connection from {session.client_ip}",
                       f',"session_id":"{session.id}"{self._client(session)},"config_rev":"{session.revision}"')

    def _refused_connection(self, event: told.ConnectionRefused) -> None:
        level = "warning" if event.result in ("refused_capacity", "proxy_error") else "info"
        if LEVELS[level] < self._level:
            return
        self._time()
        if self._flood.is_let_through((event.listener, event.result), self._second):
            detail = f',"detail":{_quote(event.detail)}' if event.detail else ""
            self._line("connection.refused", level, f"connection from {event.peer_ip} refused: {event.result}",
                       f',"listener":{_quote(event.listener)},"client_ip":{_quote(event.peer_ip)},"result":"{event.result}"'
                       f"{detail}")

    def _refused_command(self, event: told.CommandRefused) -> None:
        if not self._level:
            session = event.session
            self._line("command.refused", "debug", f"{event.verb}: {event.reason}",
                       f',"session_id":"{session.id}","listener":"{session.listener}","client_ip":"{session.client_ip}"'
                       f',"verb":{_quote(event.verb)},"code":{event.code},"reason":{_quote(event.reason)}')

    def _once(self, key: tuple[Any, ...]) -> str | None:
        """None where this was told already; else the field that counts what was left out."""
        count = self._repeats.left_out(key, self._wall())
        return None if count < 0 else f',"repeated":{count}' if count else ""

    def _filter(self, event: told.FilterFailed) -> None:
        repeated = self._once(("filter", event.filter, event.stage, event.kind))
        if repeated is not None:
            self._line("filter.failed", "warning", f"filter {event.filter} {event.kind} at {event.stage}",
                       f',"filter":{_quote(event.filter)},"stage":{_quote(event.stage)},"kind":{_quote(event.kind)}'
                       f',"detail":{_quote(event.detail)},"policy":{_quote(event.policy)},"session_id":"{event.session_id}"'
                       f"{repeated}")

    def _server(self, event: told.ServerChanged) -> None:
        count = self._repeats.forget(lambda key: key[:3] == ("link", event.backend, event.server))
        level = "info" if event.after == "up" else "warning"
        if LEVELS[level] >= self._level:
            repeated = f',"repeated":{count}' if count else ""
            self._line("backend.changed", level, f"{event.backend}: {event.server} is {event.after}",
                       f',"pool":{_quote(event.backend)},"server":{_quote(event.server)},"before":"{event.before}"'
                       f',"after":"{event.after}","reason":{_quote(event.reason)}{repeated}')

    def _link(self, event: told.LinkFailed) -> None:
        repeated = self._once(("link", event.backend, event.server, event.stage))
        if repeated is not None:
            self._line("link.failed", "warning", f"{event.backend}: {event.server}: {event.stage}: {event.reason}",
                       f',"pool":{_quote(event.backend)},"server":{_quote(event.server)},"stage":{_quote(event.stage)}'
                       f',"reason":{_quote(event.reason)},"session_id":"{event.session_id}"{repeated}')

    def _about(self, transaction: Transaction) -> str:
        listed = ",".join(_quote(str(one.path)) for one in transaction.recipients[:LISTED])
        more = len(transaction.recipients) - LISTED
        return (f',"session_id":"{transaction.session.id}","msg_id":"{transaction.id}"'
                f',"mail_from":{_quote(str(transaction.sender))},"rcpt_to":[{listed}]'
                f"{f',{chr(34)}rcpt_more{chr(34)}:{more}' if more > 0 else ''}"
                f',"rcpt_count":{len(transaction.recipients)},"header_message_id":{_quote(transaction.message_id)}'
                f',"pool":{_quote(transaction.backend)}')

    def _unknown(self, event: told.DeliveryUnknown) -> None:
        self._line("delivery.unknown", "error", "the backend may have the message or not",
                   f'{self._about(event.transaction)},"server":{_quote(event.server)},"reason":{_quote(event.reason)}')

    def _duplicate(self, event: told.DuplicatePossible) -> None:
        self._line("duplicate.possible", "warning", "a message whose fate was unknown is sent again",
                   f'{self._about(event.transaction)},"server":{_quote(event.transaction.server)}'
                   f',"first_id":{_quote(event.first_id)}')

    def _happened(self, event: told.Happened) -> None:
        if LEVELS[event.level] >= self._level:
            self._line(event.name, event.level, event.message, "".join(_field(event.fields)))


def _field(fields: Iterable[tuple[str, object]]) -> Iterable[str]:
    for name, value in fields:
        if isinstance(value, BaseException):
            value = {"type": type(value).__name__, "stack": _stack(value)}
        yield f",{_quote(name)}:{json.dumps(value, default=str)}"


def _stack(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _findings(findings: list[Finding]) -> str:
    listed = [
        f'{{"name":{_quote(one.filter)},"result":"{one.action}","reason":{_quote(one.reason)},"ms":{one.seconds * 1000:.1f}'
        f"{',' + _quote('shadow') + ':true' if one.is_shadow else ''}}}"
        for one in findings[:LISTED]
    ]
    return f',"filters":[{",".join(listed)}]'


def _text(stamp: str, level: str, event: str, message: str, fields: str) -> str:
    """The same for people: the message, then the fields as words."""
    values = json.loads(f"{{{fields[1:]}}}") if fields else {}
    shown = " ".join(f"{name}={_word(value)}" for name, value in values.items() if value not in ("", None))
    return f"{stamp[11:19]} {level:7} {event:18} {json.dumps(message)[1:-1]}  {shown}\n"


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    quoted = json.dumps(text)
    return quoted if " " in text or quoted[1:-1] != text else text


__all__ = ["EVENTS", "Journal"]
