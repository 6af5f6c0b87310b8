"""The log: every event as one line, JSON for machines or text for people.

`hear` takes the events of the core, the object itself is a Twisted log observer for all else. Lines of one reactor turn
are written together. One wide line for each transaction (`message.done`) and connection (`session.done`) holds
everything, so the usual message costs two lines; these two are formatted by hand, since they run for every message on
the reactor's thread. What comes from a peer is escaped to printable ASCII, so it can never begin a line, nor steer a
terminal. The subject, content and secrets are never logged.

The names of events and fields are those of `names`; what repeats is counted instead (`repeats`); writing never waits
and never raises (`outlet`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final

from zope.interface import implementer

from smtpgate.interfaces import IWatcher
from smtpgate.observe import records
from smtpgate.observe.outlet import Outlet
from smtpgate.observe.records import MILLISECONDS, Fields
from smtpgate.observe.repeats import Flood, Repeats
from smtpgate.observe.words import is_quiet
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session
from twisted.logger import ILogObserver, formatEvent
from twisted.python.failure import Failure

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: Lines gathered in one reactor turn are written at the latest at this size.
GATHERED_OCTETS: Final = 65536
#: A backend or filter that fails on and on is named so often.
REPEAT_S: Final = 60.0
#: Refused connections of one kind told in one second.
REFUSALS_PER_S: Final = 5
_TWISTED_LEVELS: Final = {"debug": "debug", "info": "info", "warn": "warning", "error": "error", "critical": "error"}


@implementer(IWatcher, ILogObserver)
class Journal:
    """The log of this process.

    :ivar records: lines written so far, by level
    """

    def __init__(
        self,
        format: str = "json",
        level: str = "info",
        file: str = "-",
        *,
        node: str = "",
        call_soon: Callable[[Callable[[], None]], object] | None = None,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param file: a path, or "-" for file descriptor 1
        :param node: name of this node, for several that log to one place
        :param call_soon: calls back in the next reactor turn, when lines are written; without it each is at once
        :param call_later: calls back after so many seconds; for counts and held lines that nothing else brings out
        :param wall: seconds since the epoch
        :raise OSError: the file cannot be opened
        """
        self.records = dict.fromkeys(LEVELS, 0)
        self._is_json = format == "json"
        self._file = file
        self._node = node
        self._call_soon = call_soon
        self._call_later = call_later
        self._wall = wall
        self._outlet = Outlet(file)
        self._lines: list[str] = []
        self._octets = 0
        self._is_scheduled = False
        self._is_waiting = False
        self._told_dropped = 0
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._second = -1
        self._stamp = ""
        self._who = ""
        self._failures = Repeats(REPEAT_S)
        self._refusals = Flood(REFUSALS_PER_S)
        self._commands: dict[str, list[Any]] = {}
        self._clients: dict[str, tuple[object, str, str, str, str]] = {}
        self._tellers: Mapping[type, Callable[[Any], None]] = {
            told.TransactionEnded: self._transaction_ended,
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
        self.set_level(level)

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._outlet.dropped

    def set_level(self, level: str) -> None:
        """Write what is of that level or above, from now on."""
        self.level = level
        self._least = LEVELS[level]
        self._is_debug = self._least <= 10
        self._is_info = self._least <= 20

    # Hearing

    def hear(self, event: Any) -> None:
        """One event of the core."""
        teller = self._tellers.get(type(event))
        if teller is None:
            return
        try:
            teller(event)
        except Exception as error:
            kind = type(event).__name__
            self._say("error", "journal.failed", f"{kind} could not be written", (("kind", kind), ("error", error)))

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Something that was logged with `twisted.logger`."""
        level = _TWISTED_LEVELS.get(getattr(event.get("log_level"), "name", "info"), "info")
        if LEVELS[level] < self._least:
            return
        failure = event.get("log_failure")
        # `formatEvent` gives "" where there is nothing to format, and never raises.
        text = formatEvent(event)  # type: ignore[arg-type]
        fields: list[tuple[str, object]] = [("namespace", event.get("log_namespace", ""))]
        if isinstance(failure, Failure):
            text = text or failure.getErrorMessage()
            fields.append(("error", failure))
        self._say(level, "log", text, fields)

    # The two wide lines

    def _transaction_ended(self, event: told.TransactionEnded) -> None:
        transaction = event.transaction
        level = "info"
        if transaction.outcome == "unknown":
            level = "warning"
        elif not self._is_info:
            return
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._turn(second)
        at = f"{self._stamp}{MILLISECONDS[int((now - second) * 1000)]}"
        if self._is_json:
            self._put(level, records.message(at, level, self._who, self._client(transaction.session), transaction))
        else:
            self._put(level, records.message_text(at, level, transaction))

    def _session_ended(self, event: told.SessionEnded) -> None:
        session = event.session
        if self._is_debug:
            self._settle_commands(session.id)
        level = "debug" if is_quiet(session) else "info"
        if LEVELS[level] < self._least:
            self._clients.pop(session.id, None)
            return
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._turn(second)
        at = f"{self._stamp}{MILLISECONDS[int((now - second) * 1000)]}"
        if self._is_json:
            self._put(level, records.session(at, level, self._who, self._client(session), session))
        else:
            self._put(level, records.session_text(at, level, session))
        self._clients.pop(session.id, None)

    def _client(self, session: Session) -> str:
        """The part about the client, made once as long as nothing in it changes."""
        tls = session.tls
        known = self._clients.get(session.id)
        if (
            known is not None
            and known[0] is tls
            and known[1] is session.helo
            and known[2] is session.user
            and known[3] is session.client_ip
        ):
            return known[4]
        text = records.client_part(session)
        self._clients[session.id] = (tls, session.helo, session.user, session.client_ip, text)
        return text

    # The others

    def _session_opened(self, event: told.SessionOpened) -> None:
        if self._is_debug:
            session = event.session
            fields = [("session_id", session.id), *records.client(session), ("config_rev", session.revision)]
            self._say("debug", "session.opened", f"{session.client_ip} is connected", fields)

    def _connection_refused(self, event: told.ConnectionRefused) -> None:
        self._settle_refusals()
        key = (event.listener, event.result)
        if not self._refusals.is_let_through(key, int(self._wall())):
            self._wait()
            return
        level = "warning" if event.result in ("refused_capacity", "proxy_error") else "info"
        fields = [("listener", event.listener), ("client_ip", event.peer_ip), ("result", event.result),
                  ("detail", event.detail)]
        self._say(level, "connection.refused", f"{event.result}: {event.peer_ip}", fields)

    def _settle_refusals(self) -> None:
        if not self._refusals:
            return
        for (listener, result), count in self._refusals.settle(int(self._wall())):
            fields = [("listener", listener), ("result", result), ("repeated", count)]
            self._say("info", "connection.refused", f"{result}: {count} more in one second", fields)

    def _command_refused(self, event: told.CommandRefused) -> None:
        if not self._is_debug:
            return
        session = event.session
        what = (event.verb, event.code, event.reason)
        last = self._commands.get(session.id)
        if last is not None and last[0] == what:
            last[1] += 1
            return
        self._settle_commands(session.id)
        self._commands[session.id] = [what, 0, session]
        self._say_command(what, session, 0)

    def _settle_commands(self, session_id: str) -> None:
        what, count, session = self._commands.pop(session_id, (None, 0, None))
        if count:
            self._say_command(what, session, count)

    def _say_command(self, what: tuple[str, int, str], session: Any, repeated: int) -> None:
        verb, code, reason = what
        times = f", {repeated} times more" if repeated else ""
        fields = [("session_id", session.id), ("listener", session.listener), ("client_ip", session.client_ip),
                  ("verb", verb), ("code", code), ("reason", reason), ("repeated", repeated)]
        self._say("debug", "command.refused", f"{verb}: {reason}{times}", fields)

    def _filter_failed(self, event: told.FilterFailed) -> None:
        repeated = self._failures.left_out(("filter", event.filter, event.kind), self._wall())
        if repeated < 0:
            return
        fields = [("filter", event.filter), ("stage", event.stage), ("kind", event.kind), ("detail", event.detail),
                  ("policy", event.policy), ("session_id", event.session_id), ("repeated", repeated)]
        self._say("warning", "filter.failed", f"filter {event.filter} at {event.stage}: {event.kind}", fields)

    def _server_changed(self, event: told.ServerChanged) -> None:
        place = (event.backend, event.server)
        repeated = self._failures.forget(lambda key: key[0] == "link" and key[1:3] == place)
        fields = [("pool", event.backend), ("server", event.server), ("before", event.before),
                  ("after", event.after), ("reason", event.reason), ("repeated", repeated)]
        level = "info" if event.after == "up" else "warning"
        self._say(level, "backend.changed", f"{event.backend} {event.server} is {event.after}", fields)

    def _link_failed(self, event: told.LinkFailed) -> None:
        repeated = self._failures.left_out(("link", event.backend, event.server, event.stage), self._wall())
        if repeated < 0:
            return
        fields = [("pool", event.backend), ("server", event.server), ("stage", event.stage),
                  ("reason", event.reason), ("session_id", event.session_id), ("repeated", repeated)]
        self._say("warning", "link.failed", f"{event.backend} {event.server} at {event.stage}: {event.reason}", fields)

    def _delivery_unknown(self, event: told.DeliveryUnknown) -> None:
        transaction = event.transaction
        fields = [*records.envelope(transaction), ("pool", transaction.backend), ("server", event.server),
                  ("reason", event.reason)]
        self._say("error", "delivery.unknown", f"{event.server} may have it or not: {event.reason}", fields)

    def _duplicate_possible(self, event: told.DuplicatePossible) -> None:
        transaction = event.transaction
        fields = [*records.envelope(transaction), ("first_id", event.first_id), ("pool", transaction.backend),
                  ("server", transaction.server)]
        self._say("warning", "duplicate.possible", f"sent again; its fate at {event.first_id} is unknown", fields)

    def _happened(self, event: told.Happened) -> None:
        self._say(event.level if event.level in LEVELS else "info", event.name, event.message, event.fields)

    # Writing

    def _say(self, level: str, name: str, message: str, fields: Fields) -> None:
        if LEVELS[level] < self._least:
            return
        now = self._wall()
        second = int(now)
        if threading.get_ident() != self._thread:
            self._say_elsewhere(now, level, name, message, fields)
            return
        if second != self._second:
            self._turn(second)
        at = f"{self._stamp}{MILLISECONDS[int((now - second) * 1000)]}"
        self._put(level, self._line(at, level, self._who, name, message, fields))

    def _line(self, at: str, level: str, who: str, name: str, message: str, fields: Fields) -> str:
        if self._is_json:
            return records.plain(at, level, who, name, message, fields)
        return records.plain_text(at, level, name, message, fields)

    def _say_elsewhere(self, now: float, level: str, name: str, message: str, fields: Fields) -> None:
        """From another thread: what is gathered belongs to the reactor's, so this line is written by itself."""
        stamp, who = self._heads(int(now))
        line = self._line(f"{stamp}{MILLISECONDS[int(now % 1 * 1000)]}", level, who, name, message, fields)
        with self._lock:
            self.records[level] += 1
            self._outlet.write(line.encode("ascii"))

    def _heads(self, second: int) -> tuple[str, str]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        node = f',"node":{quote(self._node)}' if self._node else ""
        return f'{{"ts":"{stamp}' if self._is_json else stamp, f'{node},"pid":{os.getpid()}'

    def _turn(self, second: int) -> None:
        """A new second: the start of its lines is made once. The process may have forked since the last."""
        self._second = second
        self._stamp, self._who = self._heads(second)

    def _put(self, level: str, line: str) -> None:
        self.records[level] += 1
        self._lines.append(line)
        if self._call_soon is None:
            self.flush()
            return
        self._octets += len(line)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._flush_soon)
        elif self._octets >= GATHERED_OCTETS:
            self.flush()

    def _flush_soon(self) -> None:
        self._is_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what is gathered, now."""
        lines, self._lines = self._lines, []
        self._octets = 0
        outlet = self._outlet
        with self._lock:
            outlet.write("".join(lines).encode("ascii"))
        if outlet.holds:
            self._wait()
        elif outlet.dropped != self._told_dropped:
            count, self._told_dropped = outlet.dropped - self._told_dropped, outlet.dropped
            self._say("warning", "log.dropped", f"{count} lines could not be written", (("count", count),))

    def _wait(self) -> None:
        """Look again in a second, whether something can be written or is to be counted."""
        if self._call_later is not None and not self._is_waiting:
            self._is_waiting = True
            self._call_later(1.0, self._look)

    def _look(self) -> None:
        self._is_waiting = False
        self._settle_refusals()
        self.flush()

    def reopen(self) -> None:
        """Open the file anew (SIGUSR1): it was rotated."""
        self.flush()
        if self._outlet.is_standard:
            self._say("info", "log.reopened", "the log goes to standard output, so there is nothing to open anew", ())
            return
        try:
            with self._lock:
                self._outlet.reopen()
        except OSError as error:
            fields = (("file", self._file), ("reason", str(error)))
            self._say("warning", "log.reopened", "the log file cannot be opened anew; the old one is kept", fields)
        else:
            self._say("info", "log.reopened", "the log file was opened anew", (("file", self._file),))

    def close(self) -> None:
        """Write all, and end."""
        for session_id in list(self._commands):
            self._settle_commands(session_id)
        for (listener, result), count in self._refusals.settle(-1):
            fields: Iterable[tuple[str, object]] = (("listener", listener), ("result", result), ("repeated", count))
            self._say("info", "connection.refused", f"{result}: {count} more in one second", fields)
        self._call_soon = None
        self.flush()
        with self._lock:
            self._outlet.close()
