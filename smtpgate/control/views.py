"""What those who manage the gateway see of it: frozen values, cheap to copy, and how each is made."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from smtpgate.config.problem import Problem
from smtpgate.policy.transaction import Session as Facts
from smtpgate.proxy.drains import Drain
from smtpgate.proxy.pipeline import STAGES
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.revision import Engine
from smtpgate.proxy.router import Step
from smtpgate.proxy.server import ServerState
from smtpgate.proxy.tuning import Tuning
from smtpgate.proxy.use import Use


class Refused(Exception):
    """A request cannot be met; the text says why and what would be right."""


class Unavailable(Refused):
    """What it takes is not to be had now, as a database that is locked: later it may be."""


class Invalid(Refused):
    """What was given means nothing here."""


class Unknown(Refused):
    """The thing named does not exist."""


@attrs.frozen
class Way:
    """What would become of a recipient: a sentence, and the routes that were asked."""

    recipient: str
    answer: str
    steps: tuple[Step, ...]


@attrs.frozen
class Actor:
    """Who asks: kind is "user", "token", "cli", "signal" or "system"."""

    kind: str
    name: str


@attrs.frozen
class ServerView:
    """One backend server now. Times are seconds since the epoch, 0 for never.

    :ivar busy: transactions that it has; `capacity`: that it may have now
    :ivar answer_ms: its usual answer to the end of data; 0 for none yet
    :ivar part: of its weight and its slots, under 1 in a slow start
    :ivar retry_s: time until a session may try it again
    """

    backend: str
    name: str
    state: str
    is_drained: bool
    drain_reason: str
    drained_until: float
    is_ready: bool
    why: str
    links: int
    max_links: int
    busy: int
    capacity: int
    answer_ms: float
    part: float
    ejections: int
    retry_s: float
    transactions: int
    failures: int
    weight: int
    tier: int
    banner: str
    capabilities: tuple[str, ...]
    tls_version: str
    tls_days_left: int | None
    tls_is_verified: bool
    last_probe: float
    probe_ms: float
    changed_at: float


@attrs.frozen
class SessionView:
    """One live session, for lists."""

    id: str
    listener: str
    role: str
    client_ip: str
    client_port: int
    client_name: str
    helo: str
    user: str
    tls: str
    stage: str
    sender: str
    recipients: int
    backend: str
    server: str
    started: float
    age_s: float
    messages: int
    traffic_class: str


@attrs.frozen
class FilterView:
    """One filter of the chain: when it runs, for how long, and what becomes of the mail when it fails.

    :ivar use: name of its factory
    :ivar tuning: what was said of it for a while; None: it is as configured
    :ivar is_tunable: something can be said of it
    :ivar own_mode, own_budget_s: as configured
    """

    name: str
    roles: tuple[str, ...]
    stages: tuple[str, ...]
    mode: str
    budget_s: float
    on_error: str
    needs_message: bool
    category: str
    use: str = ""
    tuning: Tuning | None = None
    is_tunable: bool = False
    own_mode: str = ""
    own_budget_s: float = 0.0


@attrs.frozen
class Overview:
    """Is mail flowing? Counters since the start, gauges now."""

    version: str
    hostname: str
    state: str
    reasons: tuple[str, ...]
    revision: str
    revision_at: float
    started: float
    sessions: int
    sessions_limit: int
    sessions_total: int
    servers_up: int
    servers: int
    outcomes: Mapping[str, int]
    warnings: tuple[Problem, ...]


@attrs.frozen
class BackendView:
    """One backend now: its slots by class.

    :ivar used: transactions at work; `promised`: slots that are always there; `waiting`: who stands in line
    :ivar idle: links that no session has
    """

    name: str
    balance: str
    capacity: int
    busy: int
    idle: int
    used: Mapping[str, int]
    promised: Mapping[str, int]
    waiting: Mapping[str, int]


def server_view(pool: Pool, server: ServerState, engine: Engine, drain: Drain | None) -> ServerView:
    """A server as it stands."""
    now = engine.clock.seconds()
    offset = engine.wall() - now
    tls = server.tls
    days = int((tls.not_after - engine.wall()) / 86400) if tls is not None and tls.not_after else None
    words = server.capabilities.words if server.capabilities is not None else {}
    return ServerView(
        pool.backend.name,
        server.name,
        server.state,
        server.is_drained,
        server.drain_reason,
        drain.until if drain is not None else 0.0,
        server.is_ready,
        server.why,
        server.links,
        server.max_links,
        server.busy,
        server.capacity(now),
        server.adaptive.average.value * 1000,
        server.health.part(now),
        server.health.ejections,
        server.health.wait_s(now),
        server.transactions,
        server.failures,
        server.config.weight,
        server.config.tier,
        server.banner,
        tuple(f"{word} {value}".strip() for word, value in words.items()),
        tls.version if tls is not None else "",
        days,
        tls.is_verified if tls is not None else False,
        server.last_probe + offset if server.last_probe else 0.0,
        server.probe_s * 1000,
        server.changed_at + offset if server.changed_at else 0.0,
    )


def backend_view(pool: Pool, engine: Engine) -> BackendView:
    """A backend as it stands."""
    capacity = pool.slots.capacity(engine.clock.seconds())
    shares = pool.slots.shares
    shares.resize(capacity)
    return BackendView(
        pool.backend.name,
        pool.backend.balance,
        capacity,
        shares.total,
        pool.slots.idle_links,
        dict(shares.used),
        {name: shares.promised(name) for name in shares.used},
        pool.slots.line.counts(),
    )


def filter_view(use: Use) -> FilterView:
    """A filter as it is used."""
    stages = tuple(stage for stage in STAGES if stage in use.stages)
    roles = tuple(sorted(use.roles))
    return FilterView(use.name, roles, stages, use.mode, use.budget_s, use.on_error, use.needs_message, use.category)


def session_view(facts: Facts, now: float) -> SessionView:
    """A live session; `now` is of its clock."""
    transaction = facts.transaction
    return SessionView(
        facts.id,
        facts.listener,
        facts.role,
        facts.client_ip,
        facts.client_port,
        facts.client_name,
        facts.helo,
        facts.user,
        facts.tls.version if facts.tls is not None else "",
        facts.stage,
        f"<{transaction.sender}>" if transaction is not None else "",
        len(transaction.recipients) if transaction is not None else 0,
        transaction.backend if transaction is not None else "",
        transaction.server if transaction is not None else "",
        facts.started,
        now - facts.begun,
        facts.messages,
        facts.traffic_class,
    )


def lasting(reason: str, minutes: float) -> str:
    """A reason and how long it holds, for the audit."""
    return "; ".join(filter(None, (reason, f"for {minutes:g} minutes" if minutes else "")))
