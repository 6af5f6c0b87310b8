"""Sessions as they run, for those who look on: one row for each, with what every filter said of it.

Nothing here costs anything while nobody looks. Who does calls `begin`; from then on the chains tell of each filter
that was asked (`Chain.seen`), and rows are kept: of the newest live sessions, and of those that ended a moment ago.
Where more begin in a second than anybody could follow, one in so many is shown (as Haraka's watch plugin samples), and
the number is part of what is told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final
from zlib import crc32

import attrs

from smtpgate.policy import event as told
from smtpgate.policy.reach import Reach
from smtpgate.policy.transaction import Session as Facts
from smtpgate.policy.verdict import FILTER_FAILED, Finding
from smtpgate.proxy.pipeline import STAGES
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.revision import Engine, Revision

#: All mail.
ALL: Final = Reach()
#: Rows that are kept, live and ended ones together.
ROWS: Final = 200
#: Sessions that begin in one second and are all shown: more than one screen of rows.
RATE: Final = 50
#: What a filter may say, mildest first; the worst of a session stays in sight.
WORDS: Final = (
    "running", "pass", "note", "accept", "tag", "discard", "redirect", "quarantine", "defer", "error", "reject"
)  # fmt: skip
_RANK: Final = {word: rank for rank, word in enumerate(WORDS)}


@attrs.frozen
class Cell:
    """What one filter said of a session.

    :ivar word: the last it said, one of WORDS; `worst`: the worst of this session
    :ivar stage: where it was asked last; "" where only what it found is known
    :ivar ms: how long it took
    """

    word: str
    worst: str
    stage: str = ""
    ms: float = 0.0
    is_shadow: bool = False


@attrs.frozen
class LiveRow:
    """One session.

    :ivar age_s: how long it runs, or ran
    :ivar outcome: of its last message that is over; `code`: the reply to it
    :ivar worst: the worst that any filter said
    """

    id: str
    listener: str
    client_ip: str
    helo: str
    user: str
    tls: str
    sender: str
    recipients: int
    messages: int
    stage: str
    backend: str
    server: str
    started: float
    age_s: float
    is_live: bool
    closed_by: str
    outcome: str
    code: int
    traffic_class: str
    worst: str
    cells: Mapping[str, Cell]


@attrs.frozen
class Grid:
    """All rows, the newest first.

    :ivar columns: filters by the stage where each is asked first, in their order
    :ivar one_in: one session in so many is shown; `rate`: how many began in the last second
    """

    rows: tuple[LiveRow, ...]
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    total: int
    limit: int
    one_in: int
    rate: int


class Sampler:
    """Which sessions are shown where too many begin: a session is, or is not, for all of its life."""

    def __init__(self, seconds: Callable[[], float], most: int = RATE) -> None:
        self.one_in = 1
        self.rate = 0
        self._seconds = seconds
        self._most = most
        self._second, self._count = -1, 0

    def count(self) -> None:
        """One began."""
        second = int(self._seconds())
        if second != self._second:
            # Nothing at all in the seconds between is a rate of 0.
            self.rate = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
            if self.rate * 4 <= self._most * self.one_in and self.one_in > 1:
                self.one_in //= 2
        self._count += 1
        while self._count > self._most * self.one_in:
            self.one_in *= 2

    def takes(self, session_id: str) -> bool:
        """Whether this one is shown."""
        return self.one_in == 1 or crc32(session_id.encode()) % self.one_in == 0


@attrs.define(eq=False)
class _Seen:
    """One session that is looked at."""

    facts: Facts
    cells: dict[str, Cell]
    mark: tuple[object, ...] = ()


class Live:
    """The rows, while somebody looks.

    :ivar is_watched: rows are kept
    """

    def __init__(
        self,
        engine: Engine,
        reception: Reception,
        current: Callable[[], Revision],
        revisions: Callable[[], Iterable[Revision]],
    ) -> None:
        """
        :param revisions: the one at work, and older ones that have sessions
        """
        self.is_watched = False
        self.sampler = Sampler(engine.clock.seconds)
        self._engine = engine
        self._reception = reception
        self._current = current
        self._revisions = revisions
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._changed: dict[str, None] = {}

    def begin(self) -> None:
        """Somebody looks."""
        if self.is_watched:
            return
        self.is_watched = True
        for id, session in list(self._reception.sessions.items())[-ROWS:]:
            self._seen[id] = _Seen(session.facts, dict(_found(session.facts)))
        self.attach()

    def end(self) -> None:
        """Nobody does any more."""
        self.is_watched = False
        self._seen.clear()
        self._changed.clear()
        self.attach()

    def attach(self) -> None:
        """Have the chains tell, or be silent: whenever a revision was put to work."""
        seen = self._ran if self.is_watched else None
        for revision in self._revisions():
            for chain in revision.chains():
                chain.seen = seen

    def hear(self, event: Any) -> None:
        """An event of the core, while somebody looks."""
        if isinstance(event, told.SessionOpened):
            self.sampler.count()
            facts = event.session
            if self.sampler.takes(facts.id):
                self._make_room()
                self._seen[facts.id] = _Seen(facts, {})
                self._changed[facts.id] = None
        elif isinstance(event, told.SessionEnded | told.TransactionEnded):
            facts = event.session if isinstance(event, told.SessionEnded) else event.transaction.session
            if facts.id in self._seen:
                self._changed[facts.id] = None

    def _make_room(self) -> None:
        if len(self._seen) < ROWS:
            return
        over = next((id for id, one in self._seen.items() if one.facts.ended), None)
        id = over if over is not None else next(iter(self._seen))
        del self._seen[id]
        self._changed.pop(id, None)

    def _ran(self, session_id: str, filter: str, stage: str, word: str, seconds: float, is_shadow: bool) -> None:
        """A filter was asked; `word` is one of WORDS."""
        one = self._seen.get(session_id)
        if one is None:
            return
        before = one.cells.get(filter)
        worst = word if before is None else max(before.worst, word, key=_RANK.__getitem__)
        one.cells[filter] = Cell(word, worst, stage, round(seconds * 1000, 1), is_shadow)
        self._changed[session_id] = None

    def takes(self, session_id: str) -> bool:
        """Whether this session is among those that are shown."""
        return self.sampler.takes(session_id)

    def changed(self) -> Iterator[LiveRow]:
        """The rows that are other than at the last call; each is made when it is taken."""
        now = self._engine.clock.seconds()
        for id, one in self._seen.items():
            facts = one.facts
            running = facts.transaction.id if facts.transaction is not None else ""
            mark = (facts.stage, len(facts.timeline), facts.messages, running, facts.closed_by)
            if mark != one.mark:
                one.mark = mark
                self._changed[id] = None
        changed, self._changed = self._changed, {}
        found = [(self._seen[id], self._seen[id].facts.closed_by) for id in changed if id in self._seen]
        # One that ends before its row is taken is told of by the next call, as ended.
        return (_row(one.facts, one.cells, now) for one, closed_by in found if one.facts.closed_by == closed_by)

    def grid(self, most: int = ROWS, reach: Reach = ALL) -> Grid:
        """All of it now; where nobody has looked, of the newest live sessions and with what filters found.

        :param reach: of whoever sees only some mail: sessions with nothing but that, and of the rest not even how many
        """
        now = self._engine.clock.seconds()
        seen = list(self._seen.values()) if self.is_watched else []
        shown = [(one.facts, one.cells) for one in seen if reach.holds_session(one.facts)][-most:]
        if not self.is_watched or reach.is_limited:
            # Not all that run are looked at while somebody looks on: who sees few gets those that they may see.
            known = {one.facts.id for one in seen}
            newest = (one.facts for one in reversed(self._reception.sessions.values()))
            others = (facts for facts in newest if facts.id not in known and reach.holds_session(facts))
            # What was found is gathered of those alone that there is room for.
            more = list(islice(others, most - len(shown)))
            shown = [*((facts, dict(_found(facts))) for facts in reversed(more)), *shown]
        rows = tuple(_row(facts, cells, now) for facts, cells in reversed(shown))
        if reach.is_limited:
            rows = tuple(_narrowed(row, facts, reach) for row, (facts, _) in zip(rows, reversed(shown), strict=True))
            return Grid(rows, self._with_others(rows), sum(row.is_live for row in rows), 0, 1, 0)
        limit, sampler = self._current().settings.limits.connections, self.sampler
        columns = self._with_others(rows)
        return Grid(rows, columns, len(self._reception.sessions), limit, sampler.one_in, sampler.rate)

    def _with_others(self, rows: Iterable[LiveRow]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        known = self._columns(self._current())
        named = {name for _, names in known for name in names}
        others = tuple(sorted({name for row in rows for name in row.cells} - named))
        return (*known, ("other", others)) if others else known

    def _columns(self, revision: Revision) -> tuple[tuple[str, tuple[str, ...]], ...]:
        uses = {use.name: use for door in revision.doors.values() for use in door.chain.uses}
        order = [use.name for use in revision.settings.filters if use.name in uses]
        stages: dict[str, list[str]] = {stage: [] for stage in STAGES}
        for name in dict.fromkeys([*order, *uses]):
            first = next((stage for stage in STAGES if stage in uses[name].stages), "end")
            stages[first].append(name)
        return tuple((stage, tuple(names)) for stage, names in stages.items() if names)


def word_of(finding: Finding) -> str:
    """A finding as a cell says it."""
    return "error" if finding.reason == FILTER_FAILED else finding.action


def _found(facts: Facts) -> Iterable[tuple[str, Cell]]:
    """Cells of what was found before anybody looked."""
    cells: dict[str, Cell] = {}
    messages = [*facts.transactions[-20:], *([facts.transaction] if facts.transaction is not None else [])]
    for finding in [*facts.findings, *(found for one in messages for found in one.findings)]:
        name, word = finding.filter or "gateway", word_of(finding)
        before = cells.get(name)
        worst = word if before is None else max(before.worst, word, key=_RANK.__getitem__)
        cells[name] = Cell(word, worst, "", round(finding.seconds * 1000, 1), finding.is_shadow)
    return cells.items()


def _narrowed(row: LiveRow, facts: Facts, reach: Reach) -> LiveRow:
    """With the recipients that somebody may see."""
    shown = facts.transaction or facts.transactions[-1]
    return attrs.evolve(row, recipients=reach.recipients(shown, facts.role == "submission"))


def _row(facts: Facts, cells: Mapping[str, Cell], now: float) -> LiveRow:
    transaction = facts.transaction
    shown = transaction or (facts.transactions[-1] if facts.transactions else None)
    over = facts.transactions[-1] if facts.transactions else None
    backend, server = (shown.backend, shown.server) if shown is not None else ("", "")
    worst = max((cell.worst for cell in cells.values() if not cell.is_shadow), key=_RANK.__getitem__, default="pass")
    return LiveRow(
        facts.id,
        facts.listener,
        facts.client_ip,
        facts.helo,
        facts.user,
        facts.tls.version if facts.tls is not None else "",
        f"<{shown.sender}>" if shown is not None else "",
        len(shown.recipients) if shown is not None else 0,
        facts.messages,
        facts.stage,
        backend,
        server,
        facts.started,
        (facts.ended or now) - facts.begun,
        not facts.ended,
        facts.closed_by,
        over.outcome if over is not None else "",
        over.reply.code if over is not None and over.reply is not None else 0,
        facts.traffic_class,
        worst,
        dict(cells),
    )
