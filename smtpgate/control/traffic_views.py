"""What managers see of traffic: frozen values. See `traffic`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen
class ResourceView:
    """One resource that is shared out by class.

    :ivar kind: sessions, backend, filter or memory; `name`: which backend, which filter
    :ivar used: how much each class has; `promised`: what is always there for it; `waiting`: who stands in line
    """

    kind: str
    name: str
    capacity: int
    used: Mapping[str, int]
    promised: Mapping[str, int]
    waiting: Mapping[str, int]


@attrs.frozen
class PressureView:
    """How much the gateway is pressed, and what that costs whom.

    :ivar sheds: by class: delay, fewer, banner, rcpt, dot
    :ivar table: the same of every level
    """

    mode: str
    level: int
    name: str
    reason: str
    lag_ms: float
    memory: float
    sessions: float
    backends: float
    filters: float
    sheds: Mapping[str, Sequence[str]]
    table: Mapping[str, Mapping[str, Sequence[str]]]


@attrs.frozen
class TrafficView:
    """Whose mail goes first, now."""

    pressure: PressureView
    resources: tuple[ResourceView, ...]
    paced: int
    bans: int
    senders: int
    correspondents: int


@attrs.frozen
class KeyView:
    """One key of a limit: how much of it is in use, and when there is room for one more."""

    key: str
    level: float
    part: float
    wait_s: float


@attrs.frozen
class LimitView:
    """One limit.

    :ivar kind: rate or concurrency
    :ivar allows: "100/1h, 20 at once", or "10 at a time"
    :ivar about: which mail it is about, in words; "" for all
    :ivar keys: how many are remembered; `evicted`: how many were forgotten for want of room
    :ivar fullest: those that are nearest to it
    :ivar met: how often it was met since the start: refused, paced, shadow
    """

    name: str
    kind: str
    count: str
    by: tuple[str, ...]
    allows: str
    about: str
    mode: str
    keys: int
    evicted: int
    fullest: tuple[KeyView, ...]
    met: Mapping[str, int]


@attrs.frozen
class BanView:
    """One ban. Times are seconds since the epoch.

    :ivar next_s: how long the next one would be that it earns soon; 0.0 where nothing was earned yet
    :ivar is_held: it keeps its client out; False where bans are in shadow, or it is one that is never banned
    """

    key: str
    reason: str
    evidence: str
    since: float
    until: float
    by: str
    times: int
    is_held: bool
    next_s: float = 0.0


@attrs.frozen
class RecordView:
    """What is known of one sender: `bad` of `sample` points, and what for.

    :ivar standing: known, suspect, or "" where the sample says nothing
    """

    key: str
    standing: str
    sample: float
    bad: float
    lines: tuple[tuple[str, float], ...]


@attrs.frozen
class SenderView:
    """Everything that is known of an address, a name or a domain.

    :ivar traffic_class: which one a connection of that address would be; "" for what is no address
    :ivar is_exempt: it is never banned
    :ivar is_correspondent: our users write there
    """

    asked: str
    traffic_class: str
    class_reason: str
    is_exempt: bool
    is_correspondent: bool
    records: tuple[RecordView, ...]
    bans: tuple[BanView, ...]
    limits: tuple[tuple[str, KeyView], ...]
