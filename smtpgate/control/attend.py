"""Sessions that somebody attends to: one that is slowed down for a while, and what an address says, written down for
a quarter of an hour.

A trace holds commands and replies of the sessions that its address begins from then on, in memory and for those who
may see all mail; logins and content are never in it. All of it has an end: of time, of sessions, of lines.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

import attrs

from smtpgate.control.views import Actor, Invalid, Refused, Unknown, lasting
from smtpgate.policy.event import Happened
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.revision import Engine
from smtpgate.smtp.heard import HeardConnection

#: Longest trace, and how long its dialogues are kept when it is over.
MOST_MINUTES: Final = 15
KEEP_S: Final = 3600.0
#: Traces that listen at a time, and with those that are over; sessions of one trace, lines of one session: some 20 MB
#: at the most.
TRACES: Final = 5
KEPT: Final = 10
SESSIONS: Final = 50
LINES: Final = 300
#: A reply may be held back so long, and a session be slowed down: a client waits five minutes for a reply (RFC 5321
#: section 4.5.3.2).
MOST_DELAY_S: Final = 30
MOST_SLOW_MINUTES: Final = 60


@attrs.frozen
class Said:
    """One line of a dialogue."""

    at_ms: float
    who: str
    text: str
    is_hidden: bool


@attrs.define(eq=False)
class Dialogue:
    """What was said in one session, the first `LINES`; `left_out`: how many more there were."""

    session: str
    address: str
    lines: list[Said] = attrs.field(factory=list)
    left_out: int = 0


@attrs.define(eq=False)
class Trace:
    """One address that is traced, or was. Times are seconds since the epoch.

    :ivar sessions: ids of those that were heard; `missed`: how many more came
    :ivar is_over: its time has run out, whatever the clock of the machine says since
    """

    address: str
    reason: str
    by: str
    since: float
    until: float
    sessions: list[str] = attrs.field(factory=list)
    missed: int = 0
    is_over: bool = False


class Attend:
    """Of one gateway."""

    def __init__(self, engine: Engine, reception: Reception, did: Callable[[Actor, str, str, str], None]) -> None:
        self._engine = engine
        self._reception = reception
        self._did = did
        self._traces: dict[str, Trace] = {}
        self._dialogues: dict[str, Dialogue] = {}
        self._calls: dict[str, Any] = {}

    # A trace

    def traces(self) -> list[Trace]:
        """Those that hold, and those whose dialogues are still kept; the newest first."""
        self._forget()
        return sorted(self._traces.values(), key=lambda one: -one.since)

    def is_on(self, trace: Trace) -> bool:
        """Whether it still listens."""
        return not trace.is_over and trace.until > self._engine.wall()

    def trace(self, address: str) -> Trace:
        """One of them; raises Unknown."""
        self._forget()
        found = self._traces.get(_plain_or_none(address))
        if found is None:
            raise Unknown(f"{address[:80]} is not traced")
        return found

    def check(self, address: str, minutes: int) -> str:
        """The address as it is compared; raises Invalid, Refused."""
        plain = _plain(address)
        if not 1 <= minutes <= MOST_MINUTES:
            raise Invalid(f"minutes: 1 to {MOST_MINUTES}")
        self._forget()
        held = self._traces.get(plain)
        if held is not None and self.is_on(held):
            raise Refused(f"{plain} is traced already")
        if sum(map(self.is_on, self._traces.values())) >= TRACES:
            raise Refused(f"{TRACES} addresses are traced already: end one first")
        return plain

    def begin(self, address: str, minutes: int, reason: str, actor: Actor) -> Trace:
        """Write down what sessions of an address say that begin from now on. What was kept of it before is gone."""
        address = self.check(address, minutes)
        self._drop(address)
        # Oldest first, as they were begun.
        over = [name for name, one in self._traces.items() if not self.is_on(one)]
        for name in over[: max(0, len(self._traces) - KEPT + 1)]:
            self._drop(name)
        now = self._engine.wall()
        trace = Trace(address, reason, f"{actor.kind} {actor.name}", now, now + minutes * 60.0)
        self._traces[address] = trace
        self._calls[address] = self._engine.clock.callLater(minutes * 60.0, self._over, address)
        self._reception.heed = self._heed
        self._did(actor, "trace.begin", address, lasting(reason, minutes))
        return trace

    def end(self, address: str, actor: Actor) -> None:
        """Listen no more; what was kept goes too. Raises Unknown."""
        trace = self.trace(address)
        self._drop(trace.address)
        self._did(actor, "trace.end", trace.address, "")

    def dialogue(self, session: str) -> Dialogue | None:
        """What was said in a session, where its address was traced."""
        self._forget()
        return self._dialogues.get(session)

    def _heed(self, session: Any) -> None:
        """A session has begun, and its client is known."""
        trace = self._traces.get(_plain_or_none(session.facts.client_ip))
        if trace is None or not self.is_on(trace):
            return
        facts = session.facts
        if len(trace.sessions) >= SESSIONS:
            trace.missed += 1
            return
        trace.sessions.append(facts.id)
        held = self._dialogues[facts.id] = Dialogue(facts.id, trace.address)
        seconds = self._engine.clock.seconds

        def hear(who: str, text: str, is_hidden: bool) -> None:
            # The session may go on for hours behind the end of the trace.
            if self._traces.get(trace.address) is not trace or not self.is_on(trace):
                return
            if len(held.lines) >= LINES:
                held.left_out += 1
            else:
                held.lines.append(Said((seconds() - facts.begun) * 1000, who, text, is_hidden))

        session.front.wire = HeardConnection.over(session.front.wire, hear)

    def _over(self, address: str) -> None:
        self._calls.pop(address, None)
        trace = self._traces.get(address)
        if trace is not None:
            trace.is_over, trace.until = True, min(trace.until, self._engine.wall())
            fields = (("target", address), ("count", len(trace.sessions)))
            self._engine.tell(Happened("trace.over", "info", f"{address} is not traced any more", fields))
            # Forgotten by its own time too, whether or not anybody looks again.
            self._calls[address] = self._engine.clock.callLater(KEEP_S, self._drop, address)
        self._rest()

    def _drop(self, address: str) -> None:
        call = self._calls.pop(address, None)
        if call is not None and call.active():
            call.cancel()
        trace = self._traces.pop(address, None)
        for id in trace.sessions if trace is not None else ():
            self._dialogues.pop(id, None)
        self._rest()

    def _rest(self) -> None:
        if not any(map(self.is_on, self._traces.values())):
            self._reception.heed = None

    def _forget(self) -> None:
        old = self._engine.wall() - KEEP_S
        for address, trace in list(self._traces.items()):
            if trace.until < old:
                self._drop(address)

    # A tarpit

    def check_slow(self, id: str, seconds: float, minutes: int) -> Any:
        """The session; raises Unknown, Invalid."""
        session = self._reception.sessions.get(id)
        if session is None:
            raise Unknown(f"no live session {id}")
        if not 1 <= seconds <= MOST_DELAY_S:
            raise Invalid(f"seconds: 1 to {MOST_DELAY_S}")
        if not 1 <= minutes <= MOST_SLOW_MINUTES:
            raise Invalid(f"minutes: 1 to {MOST_SLOW_MINUTES}")
        return session

    def slow(self, id: str, seconds: float, minutes: int, actor: Actor) -> None:
        """Hold each reply of a session back for so long, for so many minutes. Its messages are taken as before."""
        self.check_slow(id, seconds, minutes).slow(seconds, self._engine.clock.seconds() + minutes * 60.0)
        self._did(actor, "session.tarpit", id, f"{seconds:g} s before each reply, for {minutes} minutes")

    def close(self) -> None:
        """Wait for nothing any more."""
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()


def _plain(address: str) -> str:
    """An address as it is compared; raises Invalid."""
    try:
        found = ip_address(address.strip())
    except ValueError:
        raise Invalid(f"{address[:80]!r} is no address, as 192.0.2.7") from None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _plain_or_none(address: str) -> str:
    try:
        return _plain(address)
    except Invalid:
        return ""
