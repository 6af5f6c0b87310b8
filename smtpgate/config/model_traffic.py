"""The settings about traffic as the program holds them; see `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from smtpgate.config.patterns import (
    NO_ADDRESSES,
    NO_NETWORKS,
    NO_USERS,
    AddressList,
    NetworkList,
    PatternList,
)
from smtpgate.traffic.classes import CLASSES, SHARES, WAITS


@attrs.frozen
class ClassOf:
    """One class of senders; see `traffic.classes`.

    :ivar share: guaranteed part of each resource
    """

    share: float
    wait_s: float
    client: NetworkList = NO_NETWORKS


def default_classes() -> Mapping[str, ClassOf]:
    """The four classes where nothing was configured."""
    return {name: ClassOf(SHARES[name], WAITS[name]) for name in CLASSES}


@attrs.frozen
class Pressure:
    """When load is shed."""

    mode: Literal["enforce", "shadow", "off"] = "enforce"
    lag_s: float = 0.1
    memory_octets: int = 2**30


@attrs.frozen
class Bans:
    """Who may not come in for a while."""

    mode: Literal["enforce", "shadow", "off"] = "enforce"
    first_s: float = 600.0
    longest_s: float = 86400.0
    never: NetworkList = NO_NETWORKS


@attrs.frozen
class Condition:
    """Which mail a limit is about. An empty field is not asked about; all others must match."""

    listener: tuple[str, ...] = ()
    client: NetworkList = NO_NETWORKS
    user: PatternList = NO_USERS
    sender: AddressList = NO_ADDRESSES
    recipient: AddressList = NO_ADDRESSES
    classes: frozenset[str] = frozenset()


#: Replies of one message wait for limits so long at most, all together: recipients that come in one packet are answered
#: in one, and no client waits for minutes (RFC 5321 section 4.5.3.2.3).
PACED_S = 20.0


@attrs.frozen
class RateLimit:
    """How much may come in a time.

    :ivar count: connections, messages, recipients, octets, refused_recipients or auth_failures
    :ivar by: client, network, listener, helo, user, sender, sender_domain, recipient, recipient_domain, backend
    :ivar rate: as the file has it
    :ivar interval_s: between two units; `burst`: how many at once
    """

    name: str
    count: str
    by: tuple[str, ...]
    rate: str
    interval_s: float
    burst: int
    pace_s: float = 5.0
    prefix4: int = 24
    prefix6: int = 64
    when: Condition = Condition()
    mode: Literal["enforce", "shadow", "off"] = "enforce"


@attrs.frozen
class ConcurrencyLimit:
    """How much may be at work at a time.

    :ivar count: sessions or transactions
    """

    name: str
    count: str
    by: tuple[str, ...]
    most: int
    prefix4: int = 24
    prefix6: int = 64
    when: Condition = Condition()
    mode: Literal["enforce", "shadow", "off"] = "enforce"
