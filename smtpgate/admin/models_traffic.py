"""The API's bodies and answers about traffic: classes, limits, bans, senders."""

from __future__ import annotations

from typing import Annotated, Any, Self

import attrs
from pydantic import Field, model_validator

from smtpgate.admin.models import Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment
from smtpgate.control.dryrun import HOURS

Key = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]


class LimitKey(Order):
    """One key of a limit, as the list shows it."""

    key: Key


class SenderKey(Order):
    """A sender, as `records` names it: "address 192.0.2.7"."""

    key: Key


class NewBan(Order):
    """Whom to keep out: an address, or a network as 192.0.2.0/24."""

    key: Key
    reason: Line = ""
    minutes: Annotated[int, Field(ge=1, le=365 * 24 * 60)] = 60


class Trial(Order):
    """A limit to try on the history: one of the configuration by its name, or the text of one table in TOML."""

    name: Line = ""
    text: Annotated[str, Field(max_length=20_000)] = ""
    hours: Annotated[int, Field(ge=1, le=HOURS)] = 24

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.name) == bool(self.text):
            raise ValueError("give either the name of a limit or the text of one")
        return self


class ResourceModel(View):
    """One resource that is shared out by class; of memory in octets."""

    kind: str
    name: str
    capacity: int
    used: dict[str, int]
    promised: dict[str, int]
    waiting: dict[str, int]


class PressureModel(View):
    """How much the gateway is pressed, what it sheds of whom, and what each level would."""

    mode: str
    level: int
    name: str
    reason: str
    lag_ms: float
    memory: float
    sessions: float
    backends: float
    filters: float
    sheds: dict[str, list[str]]
    table: dict[str, dict[str, list[str]]]


class TrafficModel(View):
    """Whose mail goes first, now."""

    pressure: PressureModel
    resources: list[ResourceModel]
    paced: int
    bans: int
    senders: int
    correspondents: int


class KeyModel(View):
    """One key of a limit: how much of it is in use, and when there is room for one more."""

    key: str
    level: float
    part: float
    wait_s: float


class LimitModel(View):
    """One limit, and the keys that are nearest to it."""

    name: str
    kind: str
    count: str
    by: list[str]
    allows: str
    about: str
    mode: str
    keys: int
    evicted: int
    fullest: list[KeyModel]
    met: dict[str, int]


class LimitList(View):
    """All limits, in the order of the file."""

    items: list[LimitModel]


class BanModel(View):
    """One ban; `is_held` is false where it keeps nobody out.

    :ivar next_s: how long the next one would be that it earns soon; 0 where it has earned none
    """

    key: str
    reason: str
    evidence: str
    since: str | None
    until: str | None
    by: str
    times: int
    is_held: bool
    next_s: float = 0.0


class BanList(View):
    """Bans that hold, the newest first."""

    items: list[BanModel]
    total: int


class RecordModel(View):
    """What is known of one sender: bad points of all, and what for."""

    key: str
    standing: str
    sample: float
    bad: float
    lines: list[tuple[str, float]]


class RecordList(View):
    """The senders with most bad points."""

    items: list[RecordModel]


class LimitOfSender(View):
    """What one limit has of a sender."""

    limit: str
    state: KeyModel


class SenderModel(View):
    """Everything that is known of an address, a host's name, a domain or a mailbox."""

    asked: str
    traffic_class: str
    class_reason: str
    is_exempt: bool
    is_correspondent: bool
    records: list[RecordModel]
    bans: list[BanModel]
    limits: list[LimitOfSender]


class MetKey(View):
    """How often a limit would have met one key."""

    key: str
    held: int
    paced: int


class TrialModel(View):
    """What a limit would have done to the history."""

    limit: str
    since: str | None
    until: str | None
    is_cut: bool
    sessions: int
    messages: int
    asked: int
    held: int
    paced: int
    paced_s: float
    held_delivered: int
    by_class: dict[str, int]
    keys: list[MetKey]
    examples: list[str]
    leaves_out: bool


def plain(view: Any) -> dict[str, Any]:
    """A view of `control` as values; times become texts."""
    return attrs.asdict(view, recurse=True, value_serializer=_time)


def _time(_: object, field: Any, value: Any) -> Any:
    return moment(value) if field is not None and field.name in ("since", "until", "last_hit") else value


def sender_model(view: Any) -> SenderModel:
    """Everything that is known of a sender."""
    given = plain(view)
    given["limits"] = [{"limit": limit, "state": state} for limit, state in given["limits"]]
    return SenderModel.model_validate(given)


def trial_model(view: Any) -> TrialModel:
    """What a limit would have done."""
    given = plain(view)
    given["keys"] = [{"key": key, "held": held, "paced": paced} for key, held, paced in given["keys"]]
    return TrialModel.model_validate(given)
