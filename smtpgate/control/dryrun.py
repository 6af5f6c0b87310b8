"""What a limit would have done to the mail of the last hours: the history is played through it.

The code that judges is the one at work (`proxy.limiter`), on the times of the history. What is played is every first
try as it came: a client that had been told to come back would have come later, and does not here, so what is reported
is the most that the limit would have held up.

The history has no connections that did nothing, and of each the last login and the last class only. Recipients that the
gateway itself refused never came before a limit, and do not here.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any

import attrs

from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.model import Settings
from smtpgate.config.model_traffic import PACED_S, ConcurrencyLimit, RateLimit
from smtpgate.config.position import BadSyntax, read
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.proxy.limit_rules import Held, Rule
from smtpgate.proxy.limiter import Limits
from smtpgate.proxy.revision import Engine
from smtpgate.smtp import address
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.gcra import Rate, Stamps

Limit = RateLimit | ConcurrencyLimit

#: Sessions that are played; of more the newest.
SESSIONS = 50_000
#: Read at a time.
PAGE = 500
#: Hours that may be asked for.
HOURS = 24 * 7
#: Keys and messages that are named.
NAMED = 10
#: Stands behind the text of one limit, with a listener of each name, so that it is a whole configuration whose first
#: lines are those of the limit.
_REST = """
[backends.dry-run]
servers = ["127.0.0.1:1"]
tls = "off"
[[routes]]
backend = "dry-run"
"""
_LISTENER = """
[listeners.{}]
listen = ["unix:/nowhere/{}"]
role = "submission"
relay_from = ["127.0.0.0/8"]
tls = "off"
"""


@attrs.frozen
class DryRun:
    """What it would have done.

    :ivar since, until: of the history that was played, seconds since the epoch
    :ivar is_cut: there was more of it than is played at once
    :ivar asked: how often the limit was asked for something that it is about
    :ivar leaves_out: it counts connections, of which the history has only those that did something
    :ivar held: how often it would have said no; `paced`: made a reply wait, and for how long in all
    :ivar held_delivered: of what it held, what had been delivered: mail that somebody wanted
    :ivar keys: whom it would have met most: key, held, paced
    :ivar examples: messages and sessions that it would have held
    """

    limit: str
    since: float
    until: float
    is_cut: bool
    sessions: int
    messages: int
    asked: int
    held: int
    paced: int
    paced_s: float
    held_delivered: int
    by_class: Mapping[str, int]
    keys: tuple[tuple[str, int, int], ...]
    examples: tuple[str, ...]
    leaves_out: bool


def limit_of(text: str, listeners: Iterable[str]) -> Limit:
    """The one limit of a text of TOML; raises ConfigErrors for a wrong one, Invalid for none or several.

    :param listeners: names that it may use
    """
    try:
        tables = set(read(text).tree)
    except BadSyntax:
        # What is wrong is said below, with its place.
        tables = set()
    if tables - {"rate_limits", "concurrency_limits"}:
        # Other keys could look at files.
        raise Invalid("give one limit and nothing else: a table [[rate_limits]] or [[concurrency_limits]]")
    rest = "".join(_LISTENER.format(json.dumps(name), number) for number, name in enumerate(listeners))
    try:
        settings = loads(text.rstrip() + "\n" + _REST + rest, "/nowhere/limit.toml")
    except ConfigErrors as errors:
        # What does not end shows in what stands behind it.
        last = len(text.rstrip().splitlines())
        raise ConfigErrors([attrs.evolve(one, line=min(one.line, last)) for one in errors.problems]) from None
    found: list[Limit] = [*settings.rate_limits, *settings.concurrency_limits]
    if len(found) != 1:
        raise Invalid("give one limit: a table [[rate_limits]] or [[concurrency_limits]]")
    return found[0]


class Replay:
    """A history on its way through one limit."""

    def __init__(self, limit: Limit, keys: int) -> None:
        """
        :param keys: that are remembered, as `limits.rate_keys`
        """
        limit = attrs.evolve(limit, mode="enforce")
        self._now = 0.0
        self._epoch: float | None = None
        self._last = 0.0
        if isinstance(limit, RateLimit):
            rule = Rule(limit, Rate(limit.interval_s, limit.burst), Stamps(keys), None)
        else:
            rule = Rule(limit, None, None, Counter())
        key = rule.key
        self._is_about = False

        def noted(*of: Any) -> str:
            counted = key(*of)
            self._is_about = self._is_about or bool(counted)
            return counted

        rule.key = noted
        self._limits = Limits((rule,), lambda: self._now)
        self._limit = limit
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._sessions = self._messages = self._asked = self._held = self._paced = self._delivered = 0
        self._paced_s = 0.0
        self._by_class: Counter[str] = Counter()
        self._held_keys: Counter[str] = Counter()
        self._paced_keys: Counter[str] = Counter()
        self._examples: list[str] = []

    def play(self, records: Iterable[Mapping[str, Any]]) -> None:
        """More of the history, in the order in which its sessions began."""
        for record in records:
            if self._epoch is None:
                self._epoch = record["started"]
            start = record["started"] - self._epoch
            self._run(start)
            self._session(record, start)

    def _run(self, until: float) -> None:
        due = self._due
        while due and due[0][0] <= until:
            self._now, _, call = heapq.heappop(due)
            call()
        self._now = max(self._now, until)

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (seconds, next(self._numbers), call))

    # One session

    def _session(self, record: Mapping[str, Any], start: float) -> None:
        self._sessions += 1
        facts = Session(record["id"], record["listener"], record["role"])
        facts.client_ip, facts.helo = record["client_ip"], record["helo"]
        facts.traffic_class = record.get("traffic_class") or "unknown"
        messages = record["messages"]
        self._messages += len(messages)
        wanted = any(one["outcome"] in ("delivered", "unacked") for one in messages)
        if self._is_held(self._limits.connect(facts), facts, facts.id, wanted):
            self._limits.withdraw(facts)
            return
        logged_in = 0.0
        for step in record["timeline"]:
            if step["what"] == "AUTH refused" and step["who"] == "backend":
                self._at(start + step["at_ms"] / 1000, partial(self._failed_login, facts))
            elif step["what"] == "AUTH":
                logged_in = step["at_ms"]
        if record["user"]:
            self._at(start + logged_in / 1000, partial(self._logged_in, facts, record, start, wanted))
        else:
            self._messages_of(facts, messages, start)
        end = start + record["duration_ms"] / 1000
        self._last = max(self._last, end)
        self._at(end, partial(self._limits.left, facts))

    def _failed_login(self, facts: Session) -> None:
        if not self._is_held(self._limits.auth(facts), facts, facts.id, False):
            self._limits.login_failed(facts)
            # That was no question.
            self._is_about = False

    def _logged_in(self, facts: Session, record: Mapping[str, Any], start: float, wanted: bool) -> None:
        """Who is not let log in sends nothing."""
        if self._is_held(self._limits.auth(facts), facts, facts.id, wanted):
            return
        facts.user = record["user"]
        if not self._is_held(self._limits.login(facts), facts, facts.id, wanted):
            self._messages_of(facts, record["messages"], start)

    def _messages_of(self, facts: Session, messages: Iterable[Mapping[str, Any]], start: float) -> None:
        for message in messages:
            at = start + (message["begun_ms"] or 0.0) / 1000
            self._at(at, partial(self._mail, facts, message, start))

    def _mail(self, facts: Session, message: Mapping[str, Any], start: float) -> None:
        size = b"%d" % message["size_octets"]
        transaction = Transaction(message["id"], facts, _path(message["sender"]), {"SIZE": size})
        wanted = message["outcome"] in ("delivered", "unacked")
        paced_s = [0.0]
        if self._is_held(self._limits.mail(transaction), facts, transaction.id, wanted, paced_s):
            return
        for one in message["recipients"]:
            recipient = Recipient(_path(one["address"]), {})
            reply = one["reply"]
            # Who has no backend was refused by the gateway before any limit, or by a limit, which says 450.
            is_asked = bool(one["backend"]) or reply is None or reply["code"] in (250, 450)
            held = self._limits.rcpt(transaction, recipient, one["backend"]) if is_asked else None
            transaction.recipients.append(recipient)
            if is_asked and self._is_held(held, facts, transaction.id, wanted, paced_s):
                recipient.state = "deferred"
                self._limits.not_accepted(transaction, recipient)
                continue
            if reply is not None and reply["code"] >= 400:
                recipient.state = "refused" if reply["code"] >= 500 else "deferred"
                recipient.reply = Reply(reply["code"], "", ("",))
                self._limits.not_accepted(transaction, recipient)
                if recipient.state == "refused":
                    self._limits.refused(transaction, recipient)
                    self._is_about = False
            else:
                recipient.state = one["state"]
                transaction.accepted += 1
        transaction.outcome, transaction.octets = message["outcome"], message["size_octets"]
        ended = message["ended_ms"] if message["ended_ms"] is not None else message["begun_ms"] or 0.0
        self._at(start + ended / 1000, partial(self._limits.ended, transaction))

    def _is_held(
        self, held: Held | None, facts: Session, reference: str, wanted: bool, paced_s: list[float] | None = None
    ) -> bool:
        """Count what the limit said; whether it said no.

        :param paced_s: how long the replies of its message have waited
        """
        self._asked += self._is_about
        self._is_about = False
        if held is None:
            return False
        if held.is_paced and (paced_s is None or paced_s[0] + held.wait_s <= PACED_S):
            if paced_s is not None:
                paced_s[0] += held.wait_s
            self._paced += 1
            self._paced_s += held.wait_s
            self._paced_keys[held.key] += 1
            return False
        self._held += 1
        self._held_keys[held.key] += 1
        self._by_class[facts.traffic_class] += 1
        self._delivered += wanted
        if len(self._examples) < NAMED:
            self._examples.append(reference)
        return True

    def result(self, is_cut: bool) -> DryRun:
        """What came of it, once all is played."""
        self._run(float("inf"))
        since = self._epoch or 0.0
        met = self._held_keys + self._paced_keys
        most = sorted(met, key=lambda key: (-self._held_keys[key], -self._paced_keys[key]))[:NAMED]
        return DryRun(
            self._limit.name,
            since,
            since + self._last,
            is_cut,
            self._sessions,
            self._messages,
            self._asked,
            self._held,
            self._paced,
            self._paced_s,
            self._delivered,
            dict(self._by_class),
            tuple((key, self._held_keys[key], self._paced_keys[key]) for key in most),
            tuple(self._examples),
            self._limit.count in ("connections", "sessions"),
        )


def _path(text: str) -> address.Path:
    """An address of the history. One that cannot be read any more counts as nobody's."""
    path, _ = address.parse_path(text.encode("utf-8", "replace"), utf8=True)
    return path if isinstance(path, address.Path) else address.NULL_SENDER


class Trials:
    """Dry runs, one at a time: each reads much, and the disk and the processor are for the mail."""

    def __init__(self, engine: Engine, settings: Callable[[], Settings], history: Any) -> None:
        """
        :param settings: those at work
        :param history: `begun_since` and `edge`, as `interfaces.IHistoryStore` has them
        """
        self._engine = engine
        self._settings = settings
        self._history = history
        self._is_busy = False

    async def run(self, name: str, text: str, hours: int) -> DryRun:
        """What a limit would have done to the last hours: one of the configuration by its name, or the text of one.

        Raises ConfigErrors for a text that is no limit.
        """
        if self._is_busy:
            raise Refused("another limit is being tried; wait for its result")
        self._is_busy = True
        try:
            limit = await self._limit(name, text)
            return await self._play(limit, self._engine.wall() - hours * 3600.0)
        finally:
            self._is_busy = False

    async def _limit(self, name: str, text: str) -> Limit:
        settings = self._settings()
        if text:
            made: Limit = await self._engine.in_thread(limit_of, text, tuple(settings.listeners))
            return made
        known: dict[str, Limit] = {limit.name: limit for limit in settings.rate_limits}
        known |= {limit.name: limit for limit in settings.concurrency_limits}
        if name not in known:
            raise Unknown(f"no limit {name}; known: {', '.join(known) or 'none'}")
        return known[name]

    async def _play(self, limit: Limit, since: float) -> DryRun:
        """The history since a time (seconds since the epoch), page by page."""
        replay = Replay(limit, self._settings().limits.rate_keys)
        edge = await self._history.edge(SESSIONS)
        at, after = max(since, edge), ""
        while True:
            page = await self._history.begun_since(at, PAGE, after)
            await self._engine.in_thread(replay.play, page)
            if len(page) < PAGE:
                return replay.result(edge > since)
            at, after = page[-1]["started"], page[-1]["id"]
