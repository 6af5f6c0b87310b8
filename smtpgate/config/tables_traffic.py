"""The tables of the configuration file that say how much mail may come, and of whom; see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from smtpgate.config.model_traffic import PACED_S
from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import (
    Addresses,
    Classes,
    Count,
    Duration,
    Kind,
    LimitKeys,
    Networks,
    Part,
    Prefix4,
    Prefix6,
    RateText,
    Reason,
    Size,
    Users,
    Wait,
    Words,
)

Mode = Literal["enforce", "shadow", "off"]


class ClassTable(Table):
    """One class of senders."""

    share: Part = key(None, "Guaranteed part of sessions, slots and memory, as 40%.", shown="see each class")
    wait: Wait | None = key(None, "Longest wait for a slot of a backend.", shown="see each class", example='"5s"')
    client: Networks = key([], "Networks whose clients are of this class.", example='["192.0.2.0/24"]')


class ClassesTable(Table):
    """Whose mail goes first. Defaults: trusted 40% and 5s, known 30%, 5s, unknown 20%, 2.5s, suspect 5%, 1s."""

    trusted: ClassTable = key({}, "Users that logged in, relay_from, and these.")
    known: ClassTable = key({}, "Senders of good reputation, domains that your users write to, and these.")
    unknown: ClassTable = key({}, "All others.")
    suspect: ClassTable = key({}, "Senders of bad reputation, and these.")


class PressureTable(Table):
    """When the gateway sheds load; docs/traffic.md has what each level sheds of which class."""

    mode: Mode = key("enforce", "enforce; shadow: the level is told and nothing is shed; off.")
    lag: Wait = key("100ms", "Lateness of timers that is the first level; 2.5, 5 and 10 times as much are the next.")
    memory: Annotated[Size, Ge(128 * 2**20)] = key(
        "1 GiB", "Memory of the process; three quarters of it are the first level."
    )


class BansTable(Table):
    """Who may not come in for a while. Never banned: loopback, trusted networks, balancers and relays of your own."""

    mode: Mode = key("enforce", "enforce; shadow: a ban is told and holds nobody off; off.")
    first: Wait = key("10m", "Length of the first ban; the next are three times as long each.")
    longest: Wait = key("1d", "Length of the longest ban.")
    never: Networks = key([], "Networks that are never banned.", example='["192.0.2.0/24"]')


class _LimitTable(Table):
    """What both kinds of limits share."""

    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["mx"]')
    client: Networks = key([], "Networks of clients that it is about.", example='["192.0.2.0/24"]')
    user: Users = key([], "Users that it is about; * stands for any characters.", example='["*@example.net"]')
    sender: Addresses = key([], "Senders that it is about, written as in routes.", example='["example.com"]')
    recipient: Addresses = key([], "Recipients that it is about, written like senders.", example='["example.net"]')
    classes: Classes = key(
        [], "Classes that it is about: trusted, known, unknown, suspect; none: all.", example='["unknown", "suspect"]'
    )
    prefix4: Prefix4 = key(24, "Bits of an IPv4 address that make its network.")
    prefix6: Prefix6 = key(64, "Bits of an IPv6 address that make its network.")
    mode: Mode = key("enforce", "enforce; shadow: what it would do is recorded and not done; off.")


class RateLimitTable(_LimitTable):
    """How much may come in a time. A client that is told to come back later is let in when it does."""

    name: Reason = key(REQUIRED, "Its name in log and pages.", example='"client-messages"')
    count: Literal["connections", "messages", "recipients", "octets", "refused_recipients", "auth_failures"] = key(
        REQUIRED,
        "What is counted. Messages and recipients that were deferred cost nothing.",
        example='"messages"',
    )
    by: LimitKeys = key(
        REQUIRED,
        "Whose: client, network, listener, helo, user, sender, sender_domain, recipient, recipient_domain, backend; of "
        "several, each combination is counted by itself.",
        example='["client"]',
    )
    rate: RateText = key(REQUIRED, "So many in a time, as 100/1h; sizes for octets, as 500 MiB/1d.", example='"100/1h"')
    burst: Annotated[int, Ge(1), Kind("number")] | None = key(
        None, "How many of them may come at once.", shown="all that may come in the time", example="20"
    )
    pace: Annotated[Duration, Le(PACED_S)] = key(
        "5s", "Where so little waiting is enough, 20 seconds at most, the reply waits and nothing is refused."
    )


class ConcurrencyLimitTable(_LimitTable):
    """How much may be at work at a time."""

    name: Reason = key(REQUIRED, "Its name in log and pages.", example='"user-sessions"')
    count: Literal["sessions", "transactions"] = key(REQUIRED, "What is counted.", example='"sessions"')
    by: LimitKeys = key(REQUIRED, "Whose, as in rate_limits.", example='["user"]')
    most: Count = key(REQUIRED, "How many may be at work.", example="10")
