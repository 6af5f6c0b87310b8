"""Somebody with held mail of their own: their addresses, lists, and how they hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

#: How somebody hears of what is held for them: "" as the configuration says.
DIGESTS: Final = ("immediate", "daily", "weekly", "off")
#: Days of the week, as ISO 8601 counts them from Monday.
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Addresses of one person.
ADDRESSES: Final = 50


@attrs.frozen
class Preferences:
    """What somebody chose.

    :ivar digest: one of DIGESTS, or "" for what the configuration says; it holds for `at` and `weekday` too
    :ivar at: minute of the day, by the clock of the machine
    :ivar weekday: 0 for Monday
    :ivar language: "" for that of the configuration
    """

    digest: str = ""
    at: int = 8 * 60
    weekday: int = 0
    language: str = ""


@attrs.frozen
class Entry:
    """One of a list of one's own.

    :ivar entry: an address or a domain, in normal form (`policy.own`)
    :ivar kind: allow or block
    """

    entry: str
    kind: str
    at: float


@attrs.frozen
class Person:
    """One user.

    :ivar addresses: in normal form, the first one first
    :ivar entries: by entry: its kind
    """

    name: str
    addresses: tuple[str, ...] = ()
    entries: Mapping[str, str] = attrs.field(factory=dict)
    preferences: Preferences = Preferences()
