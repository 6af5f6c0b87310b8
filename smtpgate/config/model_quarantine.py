"""The settings about held mail and the gateway's own, as the program holds them; see `model`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import attrs

from smtpgate.config.patterns import NO_ADDRESSES, AddressList
from smtpgate.policy import held

_DAY: Final = 86400.0


@attrs.frozen
class HeldClass:
    """What is held for one kind of reason.

    :ivar users: what a recipient may do with it: release, request or nothing
    :ivar full: where there is no room: defer the mail, or let the oldest of the class go
    :ivar sealed: its content leaves in an archive with a password only, for who may have malware
    :ivar reason: whoever reads its content says why
    :ivar two_persons: one asks for its release, another one approves
    :ivar second_person: one asks to read its content, another one approves
    """

    keep_s: float = 30 * _DAY
    users: Literal["release", "request", "nothing"] = "request"
    full: Literal["defer", "oldest"] = "defer"
    sealed: bool = False
    reason: bool = False
    two_persons: bool = False
    second_person: bool = False

    @property
    def is_released_by_users(self) -> bool:
        """Whether a recipient alone can have it delivered."""
        return self.users == "release" and not self.two_persons


#: What an operator who says nothing gets. Microsoft keeps quarantined spam 15 or 30 days, Proxmox 7; what somebody will
#: be asked about later, as data that was to leave, is kept longer, and never goes because spam came.
CLASSES: Final[Mapping[str, HeldClass]] = MappingProxyType(
    {
        held.SPAM: HeldClass(14 * _DAY, "release", "oldest"),
        held.PHISHING: HeldClass(30 * _DAY, "request", "oldest"),
        held.MALWARE: HeldClass(30 * _DAY, "nothing", "defer", sealed=True),
        held.POLICY: HeldClass(30 * _DAY, "request", "defer"),
        held.DLP: HeldClass(90 * _DAY, "nothing", "defer"),
        held.DISCARDED: HeldClass(3 * _DAY, "nothing", "oldest"),
        held.COPY: HeldClass(90 * _DAY, "nothing", "defer"),
        # Redirected and copied mail that could not be delivered: there is no other copy of it.
        held.UNDELIVERED: HeldClass(90 * _DAY, "nothing", "defer"),
    }
)


@attrs.frozen
class Quarantine:
    """Where what is held goes, and for how long."""

    size_octets: int = 10 * 2**30
    classes: Mapping[str, HeldClass] = CLASSES

    def of(self, name: str) -> HeldClass:
        """The class of a name. What was held in one that is no longer configured is kept as policy is."""
        return self.classes.get(name) or self.classes[held.POLICY]


@attrs.frozen
class Schedule:
    """When somebody hears of what is held for them.

    :ivar when: immediate, daily, weekly or off
    :ivar at: minutes of the day, by the clock of the machine; none: never, but for immediate
    :ivar weekday: of weekly ones: 0 for Monday
    """

    when: str = "off"
    at: tuple[int, ...] = ()
    weekday: int = 0

    @property
    def is_on(self) -> bool:
        """Whether any is sent."""
        return self.when == "immediate" or self.when in ("daily", "weekly") and bool(self.at)


@attrs.frozen
class DomainDigest:
    """What is said for one domain."""

    schedule: Schedule
    language: str = "en"


@attrs.frozen
class Digest:
    """Mail to recipients about what is held for them.

    :ivar at: minutes of the day, by the clock of the machine; none: never, but for immediate
    :ivar recipients: who gets one; empty: everybody in local_domains
    :ivar when, weekday: as in `Schedule`
    :ivar domains: what is said otherwise, by domain
    """

    at: tuple[int, ...] = ()
    recipients: AddressList = NO_ADDRESSES
    links_s: float = 7 * _DAY
    language: Literal["en", "de"] = "en"
    when: str = "daily"
    weekday: int = 0
    domains: Mapping[str, DomainDigest] = attrs.field(factory=dict)

    @property
    def schedule(self) -> Schedule:
        """For whom nothing else is said."""
        return Schedule(self.when, self.at, self.weekday)

    @property
    def is_on(self) -> bool:
        """Whether the configuration has any sent."""
        return self.schedule.is_on or any(one.schedule.is_on for one in self.domains.values())


@attrs.frozen
class TLSReport:
    """Reports on TLS to the domains that ask for them.

    :ivar backend: over which those by mail go
    """

    send: bool = False
    backend: str = ""


@attrs.frozen
class Outbox:
    """Mail that the gateway writes itself."""

    backend: str = ""
    sender: str = ""
    keep_s: float = 2 * _DAY
    retry_s: float = 300.0
