"""What happens, written down once for all who follow it.

Events are gathered for 200 ms, of one session only the newest of each topic, then each is written as its reader will
get it and put into a ring of the last 5,000. A reader is a place in that ring and a filter, so a slow one costs nothing
and loses the oldest, and one that comes back goes on where it was. Nothing is gathered while nobody reads: the hub
follows the gateway from the first reader on until a minute after the last one left.

Numbers begin with the time in milliseconds, so those of an earlier start of the gateway are always smaller, and who
comes with one is told of the gap.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import attrs
from twisted.logger import Logger

from smtpgate.admin.pace import Pace
from smtpgate.admin.sieve import Sieve
from smtpgate.admin.text import moment, visible
from smtpgate.control import Control
from smtpgate.control.live import Live, LiveRow
from smtpgate.policy import event as told
from smtpgate.policy.reach import Reach

TOPICS: Final = ("session", "message", "backend", "alert", "config", "log", "task")
#: Events that are kept for those who are behind, as many as Mailpit's and HAProxy's rings hold lines.
RING: Final = 5000
#: Events are gathered so long before they are written: five times a second.
GATHER_S: Final = 0.2
#: So many events are written, or readers woken, in one turn of the reactor.
SLICE: Final = 20
#: The same while mail leaves the pages little time.
SELDOM_S: Final = 1.0
#: What is wrong now is looked at again after so many times.
ALERTS_EVERY: Final = 5
#: Events about the gateway itself that are gathered; more are counted.
GATHERED: Final = 500
#: After the last reader left the ring is kept so long.
LINGER_S: Final = 60.0
#: Recipients that are named.
NAMED: Final = 20
#: Of who is not limited to domains.
EVERYTHING: Final = Reach()


@attrs.frozen
class Envelope:
    """Whose a message is.

    :ivar is_ours: it came from the operator's own users
    """

    sender: str
    recipients: tuple[str, ...]
    is_ours: bool

    def is_within(self, reach: Reach) -> bool:
        """Whether it concerns nobody but those in reach: what is told of it names all."""
        return self.is_ours and reach.address(self.sender) or reach.all(self.recipients)


@attrs.frozen
class Entry:
    """One event in the ring.

    :ivar octets: as every reader gets it
    :ivar facts: what filters ask; None where none applies
    :ivar envelope: of a message; None of all else, which nobody hears of who is limited to domains
    """

    id: int
    topic: str
    octets: bytes
    facts: Mapping[str, str] | None
    envelope: Envelope | None = None


class Hub:
    """The ring, and who follows it."""

    _log = Logger(namespace="smtpgate.admin.hub")

    def __init__(self, control: Control, clock: Any, pace: Pace) -> None:
        self._pace = pace
        self._control = control
        self._clock = clock
        self._ring: deque[Entry] = deque(maxlen=RING)
        self._readers: dict[Any, Callable[[], None]] = {}
        self._next = int(control.engine.wall() * 1000)
        self._messages: dict[str, tuple[Any, int]] = {}
        self._others: list[tuple[str, str, dict[str, Any]]] = []
        self._missed = 0
        self._one_in = 1
        self._alerts: dict[str, Any] = {}
        self._until_alerts = 0
        self._is_following = False
        self._tick: Any = None
        self._steps: Iterator[None] = iter(())
        self._leave: Any = None
        #: What the readers of one kind get for one place in the ring, of this tick.
        self._made: dict[tuple[int, frozenset[str], Sieve, Reach], tuple[bytes, int]] = {}

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self._next - 1

    @property
    def is_following(self) -> bool:
        """Whether events are gathered now."""
        return self._is_following

    def holds_all_after(self, id: int) -> bool:
        """Whether nothing after an event was lost."""
        first = self._ring[0].id if self._ring else self._next
        return first - 1 <= id <= self.last

    def join(self, reader: Any, wake: Callable[[], None]) -> None:
        """A reader comes; `wake` says that there may be something for it."""
        if self._leave is not None:
            self._leave.cancel()
            self._leave = None
        self._readers[reader] = wake
        if not self._is_following:
            self._is_following = True
            self._control.live.begin()
            self._control.watch(self._hear)
            self._control.jobs.watch(self._hear_job)
            # Those that there are already are on the page that the reader has.
            self._alerts = {alert.id: alert for alert in self._control.alerts.now()}
            self._tick = self._clock.callLater(GATHER_S, self._write)

    def leave(self, reader: Any) -> None:
        """A reader goes."""
        if self._readers.pop(reader, None) is not None and not self._readers:
            self._leave = self._clock.callLater(LINGER_S, self._left)

    def _left(self) -> None:
        self._leave = None
        self.close()

    def close(self) -> None:
        """Follow no more."""
        for call in (self._leave, self._tick):
            if call is not None and call.active():
                call.cancel()
        self._leave = self._tick = None
        self._steps = iter(())
        if self._is_following:
            self._is_following = False
            self._control.unwatch(self._hear)
            self._control.jobs.unwatch(self._hear_job)
            self._control.live.end()
            # Whoever comes back after this cannot be told what happened meanwhile.
            self._next += 1
            self._ring.clear()
            self._messages.clear()
            self._others.clear()

    def tell(self, topic: str, name: str, content: dict[str, Any]) -> None:
        """Something that is no event of the core."""
        if not self._is_following:
            return
        if len(self._others) < GATHERED:
            self._others.append((topic, name, content))
        else:
            self._missed += 1

    def _hear(self, event: Any) -> None:
        kind = type(event)
        if kind is told.TransactionEnded:
            transaction = event.transaction
            id = transaction.session.id
            if self._control.live.takes(id):
                before = self._messages.get(id)
                self._messages[id] = (transaction, before[1] + 1 if before is not None else 0)
        elif kind is not told.SessionOpened and kind is not told.SessionEnded:
            described = describe(event)
            if described is not None:
                self.tell(*described)

    def _write(self) -> None:
        """What was gathered goes into the ring, and the readers are woken; seldom where the reactor has no time."""
        self._steps = self._write_now()
        self._go_on()

    def _go_on(self) -> None:
        """A slice of that: mail has its turn before the next."""
        done = 0
        with self._pace.paid():
            try:
                done = sum(1 for _ in islice(self._steps, SLICE))
            except Exception:
                # Whatever it was, readers hear of what comes next.
                self._log.failure("events could not be written")
        if done == SLICE:
            self._tick = self._clock.callLater(0, self._go_on)
        else:
            self._tick = self._clock.callLater(SELDOM_S if self._pace.is_strained else GATHER_S, self._write)

    def _write_now(self) -> Iterator[None]:
        wall = self._control.engine.wall()
        at = moment(wall)
        newest = self._next
        self._look_for_alerts()
        others, self._others = self._others, []
        messages, self._messages = self._messages, {}
        live: Live = self._control.live
        for row in live.changed():
            name = "session.changed" if row.is_live else "session.ended"
            self._put("session", name, {"time": at, **row_of(row)}, facts_of_row(row))
            yield
        for transaction, before in messages.values():
            content = message_of(transaction)
            told_now = {"time": at, "left_out": before, **content}
            self._put("message", "message.done", told_now, _facts_of(content), envelope_of(transaction))
            yield
        for topic, name, content in others:
            facts = {"q": content.get("message", "").casefold()} if topic == "log" else None
            self._put(topic, name, {"time": at, **content}, facts)
            yield
        if live.sampler.one_in != self._one_in:
            self._one_in = live.sampler.one_in
            self._put("session", "sampled", {"time": at, "one_in": self._one_in, "rate": live.sampler.rate}, None)
        if self._missed:
            missed, self._missed = self._missed, 0
            self._put("log", "dropped", {"count": missed}, None)
        if self._next != newest:
            self._made.clear()
            for reader, wake in list(self._readers.items()):
                if reader in self._readers:
                    wake()
                    yield

    def _hear_job(self, job: Any) -> None:
        content = {"id": job.id, "kind": job.kind, "state": job.state, "done": job.done, "total": job.total}
        self.tell("task", "task.changed", content)

    def _look_for_alerts(self) -> None:
        self._until_alerts -= 1
        if self._until_alerts > 0:
            return
        self._until_alerts = ALERTS_EVERY
        now = {alert.id: alert for alert in self._control.alerts.now()}
        for id, alert in now.items():
            if id not in self._alerts:
                content = {"id": id, "level": alert.level, "text": visible(alert.text, 500), "link": alert.link}
                self.tell("alert", "alert.raised", content)
        for id in self._alerts.keys() - now.keys():
            self.tell("alert", "alert.ended", {"id": id})
        self._alerts = now

    def _put(
        self,
        topic: str,
        name: str,
        content: dict[str, Any],
        facts: Mapping[str, str] | None,
        envelope: Envelope | None = None,
    ) -> None:
        octets = frame(name, content, self._next)
        self._ring.append(Entry(self._next, topic, octets, facts, envelope))
        self._next += 1

    def after(
        self, place: int, topics: frozenset[str], sieve: Sieve, most: int, reach: Reach = EVERYTHING
    ) -> tuple[bytes, int, int]:
        """What a reader gets that has all up to a number: its octets, the place behind them, and how many events were
        lost to it. Of at most `most` events at a time; of those with a limited reach, what is in it."""
        if not self._ring or place >= self.last:
            return b"", place, 0
        first = self._ring[0].id
        lost = max(first - 1 - place, 0)
        place += lost
        key = (place, topics, sieve, reach)
        made = self._made.get(key)
        if made is None:
            # The numbers in the ring have no gaps.
            begin = place + 1 - first
            end = min(begin + most, len(self._ring))
            chosen = list(islice(self._ring, begin, end))
            octets = b"".join(
                one.octets
                for one in chosen
                if one.topic in topics and sieve.passes(one.facts) and _may_hear(reach, one.envelope)
            )
            made = self._made[key] = (octets, chosen[-1].id)
        return made[0], made[1], lost


def _may_hear(reach: Reach, envelope: Envelope | None) -> bool:
    return not reach.is_limited or envelope is not None and envelope.is_within(reach)


def envelope_of(transaction: Any) -> Envelope:
    """Whose a message is."""
    recipients = tuple(str(one.path) for one in transaction.recipients)
    return Envelope(str(transaction.sender), recipients, transaction.session.role == "submission")


def frame(name: str, content: Mapping[str, Any], id: int | None = None) -> bytes:
    """One event as it goes over the line (HTML standard, 9.2.6)."""
    head = f"id: {id}\n" if id is not None else ""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"{head}event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


def describe(event: Any) -> tuple[str, str, dict[str, Any]] | None:
    """Topic, name and content of an event that is about no session; None for what is not told."""
    if isinstance(event, told.ServerChanged):
        content = {"backend": event.backend, "server": event.server, "before": event.before, "after": event.after}
        return "backend", "backend.changed", {**content, "reason": visible(event.reason)}
    if isinstance(event, told.Happened):
        topic = "config" if event.name.startswith(("config.", "admin.config")) else "log"
        return topic, event.name, {"level": event.level, "message": visible(event.message)}
    if isinstance(event, told.ConnectionRefused):
        return "log", "connection.refused", {
            "level": "info",
            "listener": event.listener,
            "ip": event.peer_ip,
            "result": event.result,
            "message": f"{event.peer_ip} {event.result}",
        }  # fmt: skip
    return None


def row_of(row: LiveRow) -> dict[str, Any]:
    """A row of the live grid as JSON; text of strangers is made visible, and every cell is [word, worst, stage, ms,
    whether in shadow]."""
    return {
        "id": row.id,
        "listener": row.listener,
        "client_ip": row.client_ip,
        "helo": visible(row.helo, 100),
        "user": visible(row.user, 100),
        "tls": row.tls,
        "sender": visible(row.sender, 200),
        "recipients": row.recipients,
        "messages": row.messages,
        "stage": row.stage,
        "backend": row.backend,
        "server": row.server,
        "started": moment(row.started),
        "age_s": round(row.age_s, 1),
        "is_live": row.is_live,
        "closed_by": row.closed_by,
        "outcome": row.outcome,
        "code": row.code,
        "traffic_class": row.traffic_class,
        "worst": row.worst,
        "cells": {
            name: [cell.word, cell.worst, cell.stage, cell.ms, cell.is_shadow] for name, cell in row.cells.items()
        },
    }


def facts_of_row(row: LiveRow) -> dict[str, str]:
    """What filters ask of a row."""
    text = " ".join((row.id, row.client_ip, row.helo, row.user, row.sender, row.stage, row.backend, row.server))
    return {"listener": row.listener.casefold(), "ip": row.client_ip, "verdict": row.worst, "q": text.casefold()}


def message_of(transaction: Any) -> dict[str, Any]:
    """A message that is over, as lists have it."""
    session, verdict, reply = transaction.session, transaction.verdict, transaction.reply
    return {
        "id": transaction.id,
        "listener": session.listener,
        "client_ip": session.client_ip,
        "sender": visible(f"<{transaction.sender}>"),
        "recipients": [visible(f"<{one.path}>") for one in transaction.recipients[:NAMED]],
        "recipient_count": len(transaction.recipients),
        "subject": visible(transaction.told_subject, 200),
        "outcome": transaction.outcome,
        "code": reply.code if reply is not None else 0,
        "verdict": verdict.action if verdict is not None else "",
        "score": verdict.score if verdict is not None else 0.0,
        "backend": transaction.backend,
        "server": transaction.server,
        "size_octets": transaction.octets,
    }


def _facts_of(message: Mapping[str, Any]) -> dict[str, str]:
    named = ("id", "client_ip", "sender", "subject", "outcome", "backend", "server")
    text = " ".join((*(str(message[name]) for name in named), *message["recipients"]))
    return {
        "listener": message["listener"].casefold(),
        "ip": message["client_ip"],
        "verdict": message["verdict"],
        "q": text.casefold(),
    }
