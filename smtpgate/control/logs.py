"""The log for those who manage the gateway: its newest lines, and what is written of which part of it, for a while."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from smtpgate.control.views import Actor, Invalid, Unavailable
from smtpgate.observe.journal import LEVELS
from smtpgate.observe.names import EVENTS
from smtpgate.observe.ring import LINES
from smtpgate.proxy.revision import Engine

__all__ = ["LINES", "MOST_MINUTES", "PARTS", "LevelView", "LogLine", "Logs", "Tail", "read"]

#: What can have a level of its own: the first words of events, and who logs by Twisted.
PARTS: Final = tuple(sorted({name.partition(".")[0] for name in EVENTS} - {"log"}))
_NAMESPACE: Final = re.compile(r"(?:smtpgate|twisted)(?:\.[A-Za-z_][A-Za-z0-9_]{0,40}){0,6}")
#: Longest that a level of its own holds, minutes, and how many there may be: a day, so that nobody forgets one.
MOST_MINUTES: Final = 1440
MOST: Final = 50
_TEXT_LINE: Final = re.compile(r"(\S+) (\S+) +(\S+?):? (.*)", re.DOTALL)
#: What every line has, and is shown apart.
_COMMON: Final = frozenset({"ts", "level", "event", "msg", "pid", "node"})
_REFERENCE: Final = re.compile(r"\b[0-9A-V]{26}(?:\.[0-9]+)?\b")


@attrs.frozen
class LogLine:
    """One line.

    :ivar number: larger than that of every line before
    :ivar fields: all that it says beside the message; empty where the log is text
    :ivar reference: id of the message or session that it is about; "" for none
    :ivar text: the line as it was written
    """

    number: int
    time: str
    level: str
    event: str
    message: str
    fields: Mapping[str, Any]
    reference: str
    text: str


@attrs.frozen
class Tail:
    """Lines, the oldest first.

    :ivar last: number of the newest line that there is, shown or not
    :ivar left_out: lines that are wanted and not shown, since they are too many or not kept any more
    """

    lines: tuple[LogLine, ...]
    last: int
    left_out: int


@attrs.frozen
class LevelView:
    """From which level on one part of the log is written.

    :ivar until: seconds since the epoch; 0: as the configuration says
    """

    namespace: str
    level: str
    until: float = 0.0
    by: str = ""


class Logs:
    """The log, where there is one.

    :ivar journal: set by whoever has it
    """

    def __init__(self, engine: Engine, did: Callable[[Actor, str, str, str], None]) -> None:
        self.journal: Any = None
        self._engine = engine
        self._did = did
        self._own: dict[str, tuple[LevelView, Any]] = {}

    # Look

    async def tail(
        self, after: int, limit: int, least: str = "debug", wanted: Callable[[LogLine], bool] | None = None
    ) -> Tail:
        """The lines behind a number, at most so many of the newest; 0 for the newest of all."""
        found: Tail = await self._engine.in_thread(_tail, self._journal().ring.lines(), after, limit, least, wanted)
        return found

    def _journal(self) -> Any:
        if self.journal is None:
            raise Unavailable("this gateway has no log of its own")
        return self.journal

    def levels(self) -> list[LevelView]:
        """Of all parts, and of what else has a level of its own."""
        return [self.level_of(name) for name in sorted({*PARTS, *self._own})]

    def level_of(self, namespace: str) -> LevelView:
        """Of one part; raises Invalid for what is none."""
        if namespace not in PARTS and _NAMESPACE.fullmatch(namespace) is None:
            raise Invalid("a part of the log: the first word of an event, or smtpgate. or twisted. and a module")
        own = self._own.get(namespace)
        return own[0] if own is not None else LevelView(namespace, self._journal().level)

    # Do

    def check(self, namespace: str, level: str, minutes: int) -> None:
        """Raises Refused where it cannot be set."""
        self.level_of(namespace)
        if level not in LEVELS or not 1 <= minutes <= MOST_MINUTES:
            raise Invalid(f"one of {', '.join(LEVELS)}, for 1 to {MOST_MINUTES} minutes")
        if namespace not in self._own and len(self._own) >= MOST:
            raise Invalid(f"{MOST} parts have a level of their own already")

    def set_level(self, namespace: str, level: str, minutes: int, actor: Actor) -> None:
        """From now on, for so long, write of this part what is of that level or above."""
        self.check(namespace, level, minutes)
        self._drop(namespace)
        until = self._engine.wall() + minutes * 60.0
        call = self._engine.clock.callLater(minutes * 60.0, self._over, namespace)
        self._own[namespace] = (LevelView(namespace, level, until, f"{actor.kind} {actor.name}"), call)
        self._journal().set_level_of(namespace, level)
        self._did(actor, "log.level", namespace, f"{level} for {minutes} minutes")

    def reset(self, namespace: str, actor: Actor) -> None:
        """As the configuration says again."""
        self.level_of(namespace)
        if self._drop(namespace):
            self._did(actor, "log.level", namespace, "as configured")

    def _over(self, namespace: str) -> None:
        self._drop(namespace)

    def _drop(self, namespace: str) -> bool:
        own = self._own.pop(namespace, None)
        if own is None:
            return False
        if own[1].active():
            own[1].cancel()
        self._journal().set_level_of(namespace, "")
        return True

    def close(self) -> None:
        """Wait for nothing any more."""
        for namespace in list(self._own):
            self._drop(namespace)


def _tail(
    lines: list[tuple[int, str, str]], after: int, limit: int, least: str, wanted: Callable[[LogLine], bool] | None
) -> Tail:
    last = lines[-1][0] if lines else 0
    lost = max(lines[0][0] - 1 - after, 0) if lines and after else 0
    # A number that there never was is of a gateway that ran before: all is new.
    after = after if after <= last else 0
    floor = LEVELS[least]
    out: list[LogLine] = []
    more = 0
    for number, level, text in reversed(lines):
        if number <= after or (not after and len(out) >= limit):
            break
        if LEVELS[level] < floor:
            continue
        if len(out) >= limit and wanted is None:
            more += 1
            continue
        line = read(number, level, text)
        if wanted is not None and not wanted(line):
            continue
        if len(out) < limit:
            out.append(line)
        else:
            more += 1
    return Tail(tuple(reversed(out)), last, more + lost)


def read(number: int, level: str, text: str) -> LogLine:
    """A line as it was written, JSON or text; one that was cut is text."""
    text = text.rstrip("\n")
    reference = _REFERENCE.search(text)
    found = reference[0] if reference is not None else ""
    if text.startswith("{"):
        try:
            tree = json.loads(text)
        except ValueError:
            return LogLine(number, "", level, "", text, {}, found, text)
        fields = {name: value for name, value in tree.items() if name not in _COMMON}
        found = str(tree.get("msg_id") or tree.get("session_id") or found)
        return LogLine(
            number, tree.get("ts", ""), level, tree.get("event", ""), tree.get("msg", ""), fields, found, text
        )
    match = _TEXT_LINE.fullmatch(text)
    if match is None:
        return LogLine(number, "", level, "", text, {}, found, text)
    # In text the two wide lines begin with their id instead of a name (`records`).
    event, message = match[3], match[4]
    if _REFERENCE.fullmatch(event):
        event, message = ("message.done" if "." in event else "session.done"), f"{event} {message}"
    return LogLine(number, match[1], level, event, message, {}, found, text)
