"""From the tables about traffic to the frozen tree; see `build`."""

from __future__ import annotations

from smtpgate.config import model_traffic as model
from smtpgate.config.patterns import AddressList, NetworkList, PatternList
from smtpgate.config.problem import BadValue, Fault
from smtpgate.config.tables_traffic import (
    BansTable,
    ClassesTable,
    ClassTable,
    ConcurrencyLimitTable,
    PressureTable,
    RateLimitTable,
)
from smtpgate.config.values import parse_rate
from smtpgate.traffic.classes import CLASSES, SHARES, WAITS


def classes(table: ClassesTable) -> dict[str, model.ClassOf]:
    """The four classes."""
    made = {}
    for name in CLASSES:
        given: ClassTable = getattr(table, name)
        share = SHARES[name] if given.share is None else given.share
        made[name] = model.ClassOf(share, given.wait or WAITS[name], NetworkList(given.client))
    return made


def pressure(table: PressureTable) -> model.Pressure:
    """When load is shed."""
    return model.Pressure(table.mode, table.lag, table.memory)


def bans(table: BansTable) -> model.Bans:
    """Who may not come in."""
    return model.Bans(table.mode, table.first, table.longest, NetworkList(table.never))


def _condition(table: RateLimitTable | ConcurrencyLimitTable) -> model.Condition:
    return model.Condition(
        listener=tuple(table.listener),
        client=NetworkList(table.client),
        user=PatternList(table.user),
        sender=AddressList(table.sender),
        recipient=AddressList(table.recipient),
        classes=frozenset(table.classes),
    )


def rate_limit(number: int, table: RateLimitTable, faults: list[Fault]) -> model.RateLimit:
    """A rate limit; `number` is its place in the file."""
    count, seconds = 1, 1.0
    try:
        count, seconds = parse_rate(table.rate, table.count == "octets")
    except BadValue as error:
        faults.append(Fault(("rate_limits", number, "rate"), error.message, error.hint, keys=("count",)))
    return model.RateLimit(
        table.name,
        table.count,
        tuple(table.by),
        table.rate,
        seconds / count,
        table.burst or count,
        table.pace,
        table.prefix4,
        table.prefix6,
        _condition(table),
        table.mode,
    )


def concurrency_limit(table: ConcurrencyLimitTable) -> model.ConcurrencyLimit:
    """A concurrency limit."""
    return model.ConcurrencyLimit(
        table.name,
        table.count,
        tuple(table.by),
        table.most,
        table.prefix4,
        table.prefix6,
        _condition(table),
        table.mode,
    )
