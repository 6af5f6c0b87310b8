"""The log: every event as one line, JSON for machines or text for people.

`hear` takes the events of the core, the object itself is a Twisted log observer for all else. Lines of one
reactor turn are written together. One wide line for each transaction (`message.done`) and connection
(`session.done`) holds everything, so the usual message costs two lines; these two are formatted by hand
(`records`), since they run for every message on the reactor's thread. What comes from a peer is escaped to
printable ASCII, so it can never begin a line, nor steer a terminal. The subject, content and secrets are
never logged (DESIGN promise 10).

The names of events and fields are those of `names`, what the small lines say is in `notices`; what repeats is
counted instead (`repeats`); writing never waits and never raises (`outlet`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final
from weakref import ref

from twisted.logger import ILogObserver, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import IWatcher
from smtpgate.observe import notices, records
from smtpgate.observe.outlet import Outlet
from smtpgate.observe.records import MILLISECONDS, Fields
from smtpgate.observe.repeats import Flood, Repeats
from smtpgate.observe.ring import Levels, Ring
from smtpgate.observe.words import is_quiet
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: Lines gathered in one reactor turn are written at the latest at this size.
GATHERED_OCTETS: Final = 65536
#: A backend or filter that fails on and on is named so often.
REPEAT_S: Final = 60.0
#: Refused connections of one kind told in one second.
REFUSALS_PER_S: Final = 5
_TWISTED_LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "error": "error",
    "critical": "error",
}
#: Who tells of factories that start and stop, and the like: of interest to nobody but us.
_CHATTERERS: Final = ("log_legacy", "twisted.", "smtpgate.admin.wire")


@implementer(IWatcher, ILogObserver)
class Journal:
    """The log of this process.

    :ivar level: the least that is written
    :ivar lines_by_level: lines written so far; `ring`: the newest of them
    """

    def __init__(
        self,
        format: str = "json",
        level: str = "info",
        file: str = "-",
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
        wall: Callable[[], float] = time.time,
        node: str = "",
    ) -> None:
        """
        :param file: a path, or "-" for file descriptor 1
        :param call_later: calls back after so many seconds, for what no further line would bring out
        :param wall: seconds since the epoch
        :param node: name of this node, for several that log to one place
        :raise OSError: the file cannot be opened
        """
        self.lines_by_level = dict.fromkeys(LEVELS, 0)
        self.ring = Ring()
        self._levels = Levels(LEVELS)
        self._is_left_out = self._levels.is_left_out
        self._is_json = format == "json"
        self._file = file
        self._node = node
        #: Where it is set, lines are gathered; otherwise each is written at once.
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
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
        self._commands: dict[str, tuple[Session, tuple[str, int, str], list[int]]] = {}
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
            told.DeliveryUnknown: lambda event: self._say(*notices.delivery_unknown(event)),
            told.DuplicatePossible: lambda event: self._say(*notices.duplicate_possible(event)),
            told.Happened: self._happened,
        }
        self.set_level(level)
        # twistd forks to go into the background: the lines that follow have another process id.
        os.register_at_fork(after_in_child=partial(_forked, ref(self)))

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._outlet.dropped

    def gather(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """From now on the lines of one reactor turn are written together.

        :param call_soon: calls back in the next reactor turn
        """
        self._call_soon = call_soon

    def set_level(self, level: str) -> None:
        """Write what is of that level or above, from now on."""
        self.level = level
        self.set_level_of("", level)

    def set_level_of(self, part: str, level: str) -> None:
        """The same for one part of the log; "" for what holds for all."""
        self._levels.set(level, part)
        self._is_debug = not all(self._is_left_out("debug", name) for name in ("session", "command"))

    # Hearing

    @property
    def hears(self) -> Collection[type]:
        """The kinds of events that it hears of."""
        return self._tellers.keys()

    def hear(self, event: Any) -> None:
        """One event of the core."""
        teller = self._tellers.get(type(event))
        if teller is None:
            return
        try:
            teller(event)
        except Exception as error:
            self._say(*notices.failed(type(event).__name__, error))

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Something that was logged with `twisted.logger`."""
        level = _TWISTED_LEVELS.get(getattr(event.get("log_level"), "name", "info"), "info")
        namespace = str(event.get("log_namespace", ""))
        if level == "info" and namespace.startswith(_CHATTERERS):
            level = "debug"
        if self._is_left_out(level, namespace):
            return
        # `formatEvent` gives "" where there is nothing to format, and never raises.
        text = formatEvent(event)  # type: ignore[arg-type]
        failure = event.get("log_failure")
        fields: list[tuple[str, object]] = [("namespace", namespace)]
        if isinstance(failure, Failure):
            text = text or failure.getErrorMessage()
            fields.append(("error", failure))
        self._tell(level, "log", text, fields)

    # The two wide lines

    def _transaction_ended(self, event: told.TransactionEnded) -> None:
        transaction = event.transaction
        level = "warning" if transaction.outcome == "unknown" else "info"
        if self._is_left_out(level, "message"):
            return
        now = self._wall()
        second = int(now)
        if second != self._second:
            self._turn(second)
        at = f"{self._stamp}{MILLISECONDS[int((now - second) * 1000)]}"
        if self._is_json:
            client = self._client(transaction.session)
            self._put(level, records.message(at, level, self._who, client, transaction))
        else:
            self._put(level, records.message_text(at, level, transaction))

    def _session_ended(self, event: told.SessionEnded) -> None:
        session = event.session
        if self._is_debug:
            self._settle_commands(session.id)
        level = "debug" if is_quiet(session) else "info"
        if self._is_left_out(level, "session"):
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

    # The small ones

    def _session_opened(self, event: told.SessionOpened) -> None:
        if self._is_debug:
            self._say(*notices.session_opened(event.session))

    def _connection_refused(self, event: told.ConnectionRefused) -> None:
        self._settle_refusals()
        if self._refusals.is_let_through((event.listener, event.result), int(self._wall())):
            self._say(*notices.connection_refused(event))
        else:
            self._wait()

    def _settle_refusals(self, second: int | None = None) -> None:
        if self._refusals:
            second = int(self._wall()) if second is None else second
            for (listener, result), count in self._refusals.settle(second):
                self._say(*notices.connections_refused(listener, result, count))

    def _command_refused(self, event: told.CommandRefused) -> None:
        if not self._is_debug:
            return
        session = event.session
        what = (event.verb, event.code, event.reason)
        last = self._commands.get(session.id)
        if last is not None and last[1] == what:
            last[2][0] += 1
            return
        self._settle_commands(session.id)
        self._commands[session.id] = (session, what, [0])
        self._say(*notices.command_refused(session, what, 0))

    def _settle_commands(self, session_id: str) -> None:
        last = self._commands.pop(session_id, None)
        if last is not None and last[2][0]:
            self._say(*notices.command_refused(last[0], last[1], last[2][0]))

    def _filter_failed(self, event: told.FilterFailed) -> None:
        repeated = self._failures.left_out(("filter", event.filter, event.stage, event.kind), self._wall())
        if repeated >= 0:
            self._say(*notices.filter_failed(event, repeated))

    def _server_changed(self, event: told.ServerChanged) -> None:
        place = ("link", event.backend, event.server)
        repeated = self._failures.forget(lambda key: key[:3] == place)
        self._say(*notices.server_changed(event, repeated))

    def _link_failed(self, event: told.LinkFailed) -> None:
        repeated = self._failures.left_out(("link", event.backend, event.server, event.stage), self._wall())
        if repeated >= 0:
            self._say(*notices.link_failed(event, repeated))

    def _happened(self, event: told.Happened) -> None:
        self._say(event.level if event.level in LEVELS else "info", event.name, event.message, event.fields)

    # Writing

    def _say(self, level: str, name: str, message: str, fields: Fields) -> None:
        if not self._is_left_out(level, name):
            self._tell(level, name, message, fields)

    def _tell(self, level: str, name: str, message: str, fields: Fields) -> None:
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
        """From another thread: what is gathered belongs to the reactor's, so this line goes by itself."""
        stamp, who = self._heads(int(now))
        line = self._line(f"{stamp}{MILLISECONDS[int(now % 1 * 1000)]}", level, who, name, message, fields)
        with self._lock:
            self.lines_by_level[level] += 1
            self.ring.add(level, line)
            self._outlet.write(line.encode("ascii"))

    def _heads(self, second: int) -> tuple[str, str]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        node = f',"node":{quote(self._node)}' if self._node else ""
        return f'{{"ts":"{stamp}' if self._is_json else stamp, f'{node},"pid":{os.getpid()}'

    def _turn(self, second: int) -> None:
        """A new second: the start of its lines is made once."""
        self._second = second
        self._stamp, self._who = self._heads(second)

    def _put(self, level: str, line: str) -> None:
        self.lines_by_level[level] += 1
        self.ring.add(level, line)
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
        dropped = outlet.dropped
        with self._lock:
            outlet.write("".join(lines).encode("ascii"))
        if outlet.holds:
            self._wait()
        elif dropped == outlet.dropped != self._told_dropped:
            # Only once something got through: the line about lost lines would be lost too.
            count, self._told_dropped = dropped - self._told_dropped, dropped
            self._say(*notices.dropped(count))

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
        reason = ""
        try:
            with self._lock:
                self._outlet.reopen()
        except OSError as error:
            reason = str(error)
        self._say(*notices.reopened(self._file, reason))

    def close(self) -> None:
        """Write all, and end."""
        for session_id in list(self._commands):
            self._settle_commands(session_id)
        self._settle_refusals(-1)
        self._call_soon = None
        self.flush()
        with self._lock:
            self._outlet.close()


def _forked(journal: ref[Journal]) -> None:
    known = journal()
    if known is not None:
        known._second = -1
