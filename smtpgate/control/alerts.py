"""What is wrong now, each with since when and where to look: what the first page says above everything else.

Some of it is seen whenever somebody looks (servers, pressure, the configuration), some was told by an event and holds
until another event ends it, and what has no such end holds for a while after it happened last. Alerts are about causes
that somebody can do something about; each has a place in the pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from smtpgate.policy import event as told
from smtpgate.proxy.pool import Pool
from smtpgate.traffic.pressure import LEVELS

if TYPE_CHECKING:
    from smtpgate.control import Control

#: Event names: what begins a trouble, what ends it, the fields that tell one from another, and where to look.
ENDED_BY: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "history.failed": ("history.recovered", (), "/recent"),
    "resolver.down": ("resolver.up", (), "/filters"),
    "engine.down": ("engine.up", ("filter", "server"), "/filters"),
    "children.failing": ("children.up", (), "/filters"),
    "spool.full": ("spool.recovered", (), "/"),
    "counters.failing": ("counters.works", (), "/limits"),
    "memory.failing": ("memory.works", (), "/filters"),
    "state.lost": ("state.recovered", (), "/"),
    "dnsbl.off": ("dnsbl.on", ("list",), "/filters"),
}
#: What a revision of the configuration takes along when it goes.
_OF_REVISION: Final = frozenset({"engine.down", "dnsbl.off"})
#: Where to look for what has no end of its own, by the first word of its name.
_LINKS: Final = {
    "config": "/config",
    "quarantine": "/quarantine",
    "digest": "/quarantine",
    "ticket": "/tickets",
    "outbox": "/outbox",
    "ledger": "/outbox",
    "filter": "/filters",
    "resolver": "/filters",
    "session": "/recent",
}
_ENDS: Final = {end: (name, keys) for name, (end, keys, _) in ENDED_BY.items()}
#: What has no end of its own is an alert for so long after it happened last.
HOLDS_S: Final = 900.0
#: A filter that failed is in trouble for so long.
FILTER_S: Final = 300.0
#: Days that a certificate must still be good for, as Let's Encrypt renews at 30 and mails went out at 20 and 7.
DAYS: Final = 14
DAYS_BAD: Final = 3
#: Alerts of one kind that came by events; a stranger cannot make more.
MOST: Final = 100
_SECONDS: Final = 300


@attrs.frozen
class Alert:
    """One thing that is wrong now.

    :ivar id: the same for the same trouble
    :ivar level: "bad" where mail suffers, "wait" where it will
    :ivar since: seconds since the epoch
    :ivar link: the page that says more
    """

    id: str
    level: str
    text: str
    since: float
    link: str
    count: int = 1


@attrs.frozen
class Pulse:
    """How much mail goes through now.

    :ivar per_s: messages in a second, over the last ten
    :ivar refused, deferred: parts of the messages of the last five minutes; None where there were none
    :ivar errors: times that our own code failed in the last hour
    """

    per_s: float
    messages: int
    refused: float | None
    deferred: float | None
    errors: int
    filters: int
    filters_failing: int


@attrs.define
class _Trouble:
    text: str
    level: str
    since: float
    last: float
    count: int = 1


class Alerts:
    """What was heard, and what is seen."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._wall = control.engine.wall
        self._heard: dict[tuple[str, ...], _Trouble] = {}
        self._filters: dict[tuple[str, ...], _Trouble] = {}
        #: When a trouble that is only seen was seen first.
        self._since: dict[str, float] = {}
        self._seconds: deque[list[int]] = deque(maxlen=_SECONDS)
        self._errors: deque[float] = deque(maxlen=10_000)

    # Watch

    def hear(self, event: Any) -> None:
        """An event of the core."""
        kind = type(event)
        if kind is told.TransactionEnded:
            self._count(event.transaction.outcome)
        elif kind is told.Happened:
            self._happened(event)
        elif kind is told.FilterFailed:
            self._failed(event)

    def _count(self, outcome: str) -> None:
        second = int(self._wall())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0, 0])
        row = self._seconds[-1]
        row[1] += 1
        if outcome == "refused":
            row[2] += 1
        elif outcome in ("deferred", "unknown"):
            row[3] += 1

    def _happened(self, event: told.Happened) -> None:
        end = _ENDS.get(event.name)
        fields = dict(event.fields)
        if end is not None:
            name, keys = end
            self._heard.pop((name, *(str(fields.get(key, "")) for key in keys)), None)
        elif event.name == "config.applied":
            self._filters.clear()
            self._heard = {key: one for key, one in self._heard.items() if key[0] not in _OF_REVISION}
        elif event.level == "error" or event.name in ENDED_BY:
            if event.name == "session.crashed":
                self._errors.append(self._wall())
            keys = ENDED_BY[event.name][1] if event.name in ENDED_BY else ()
            self._note(self._heard, (event.name, *(str(fields.get(key, "")) for key in keys)), event.message, "bad")

    def _failed(self, event: told.FilterFailed) -> None:
        if event.kind in ("raised", "wrong type", "blocked"):
            self._errors.append(self._wall())
        text = f"filter {event.filter} fails ({event.kind}); {_POLICIES.get(event.policy, 'mail is deferred')}"
        self._note(
            self._filters, ("filter.failed", event.filter), text, "wait" if event.policy == "continue" else "bad"
        )

    def _note(self, where: dict[tuple[str, ...], _Trouble], key: tuple[str, ...], text: str, level: str) -> None:
        now, known = self._wall(), where.get(key)
        if known is not None:
            known.text, known.level, known.last = text, level, now
            known.count += 1
        else:
            if len(where) >= MOST:
                del where[next(iter(where))]
            where[key] = _Trouble(text, level, now, now)

    # Look

    def pulse(self) -> Pulse:
        """Rates of now."""
        now = self._wall()
        recent = [row for row in self._seconds if row[0] > now - _SECONDS]
        messages = sum(row[1] for row in recent)
        uses = {use.name for door in self._control.current().doors.values() for use in door.chain.uses}
        failing = sum(name in uses and one.last > now - FILTER_S for (_, name), one in self._filters.items())
        return Pulse(
            sum(row[1] for row in recent if now - 11 < row[0] <= now - 1) / 10,
            messages,
            sum(row[2] for row in recent) / messages if messages else None,
            sum(row[3] for row in recent) / messages if messages else None,
            sum(at > now - 3600 for at in self._errors),
            len(uses),
            failing,
        )

    def now(self) -> tuple[Alert, ...]:
        """All alerts: the worst first, and of these the oldest."""
        now, out = self._wall(), [*self._seen(), *self._told()]
        known = {alert.id for alert in out}
        self._since = {id: at for id, at in self._since.items() if id in known}
        out = [attrs.evolve(one, since=self._since.setdefault(one.id, one.since or now)) for one in out]
        return tuple(sorted(out, key=lambda one: (one.level != "bad", one.since, one.id)))

    def reasons(self) -> list[str]:
        """Why mail does not flow as it should now."""
        return [one.text for one in self.now() if one.level == "bad" or one.id.startswith("server:")]

    def _told(self) -> Iterator[Alert]:
        now = self._wall()
        for where, held in ((self._heard, HOLDS_S), (self._filters, FILTER_S)):
            for key, one in list(where.items()):
                name = key[0]
                if name not in ENDED_BY and one.last + held <= now:
                    del where[key]
                    continue
                link = ENDED_BY[name][2] if name in ENDED_BY else _LINKS.get(name.partition(".")[0], "/")
                yield Alert(":".join(filter(None, key)), one.level, one.text, one.since, link, one.count)

    def _seen(self) -> Iterator[Alert]:
        control = self._control
        offset = self._wall() - control.engine.clock.seconds()
        for pool in control.current().pools.values():
            yield from _of_pool(pool, offset)
        admission = control.reception.admission
        if admission.pressure.level:
            level = LEVELS[admission.pressure.level]
            yield Alert("pressure", "wait", f"pressure is {level}: {admission.pressure.reason}", 0.0, "/traffic")
        if control.reception.is_draining:
            yield Alert("draining", "wait", "the gateway is draining: it takes no new sessions", 0.0, "/live")
        pause = control.intake.pause
        if pause is not None:
            text = f"the intake is paused by {pause.by}: {pause.reason or 'no reason was given'}"
            yield Alert("intake", "bad", text, pause.since, "/")
        for view in control.filters():
            one = view.tuning
            if one is not None and one.mode in ("shadow", "off") and view.own_mode == "enforce":
                text = f"filter {view.name} is {'off' if one.mode == 'off' else 'in shadow'} for a while: {one.reason}"
                yield Alert(f"filter.tuned:{view.name}", "wait", text, one.since, "/filters")
        errors = sum(problem.is_error for problem in control.problems)
        if errors:
            yield Alert("config", "wait", "the configuration file has errors and was not put to work", 0.0, "/config")
        if control.configuration.fallback:
            yield Alert("config.fallback", "bad", control.configuration.fallback, 0.0, "/config")
        if control.configuration.pending is not None:
            text = f"revision {control.configuration.pending.number} waits to be confirmed, or it is taken back"
            yield Alert("config.pending", "wait", text, 0.0, "/config")
        yield from self._certificates()

    def _certificates(self) -> Iterator[Alert]:
        now = self._wall()
        for one in self._control.certificates.known:
            if one.problem:
                text = f"the certificate {one.path} cannot be read: {one.problem}"
                yield Alert(f"certificate:{one.path}", "wait", text, 0.0, "/")
                continue
            days = (one.not_after - now) / 86400
            if days < DAYS:
                what = f"expires in {days:.0f} days" if days > 0 else "has expired"
                level = "bad" if days < DAYS_BAD else "wait"
                yield Alert(f"certificate:{one.path}", level, f"the certificate {one.path} {what}", 0.0, "/")


_POLICIES: Final = {"continue": "mail goes on unchecked by it", "reject": "mail is refused"}


def _of_pool(pool: Pool, offset: float) -> Iterator[Alert]:
    name = pool.backend.name
    servers = pool.servers
    down = [server for server in servers if server.state == "down"]
    drained = [server for server in servers if server.is_drained and server not in down]
    since = max((server.changed_at + offset for server in down if server.changed_at), default=0.0)
    if servers and len(down) + len(drained) == len(servers):
        word = "in service" if drained else "up"
        yield Alert(f"backend:{name}", "bad", f"backend {name}: no server is {word}", since, "/backends")
        return
    for server in down:
        at = server.changed_at + offset if server.changed_at else 0.0
        yield Alert(f"server:{name}/{server.name}", "wait", f"backend {name}: {server.name} is down", at, "/backends")
    for server in servers:
        if server not in down and not server.is_ready:
            text = f"backend {name}: {server.name}: {server.why}"
            yield Alert(f"server:{name}/{server.name}", "wait", text, 0.0, "/backends")
