"""What the API says to somebody about held mail of their own, and what they may choose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smtpgate.admin.models import Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment
from smtpgate.control.people import mine_of
from smtpgate.policy.held import Held
from smtpgate.policy.person import WEEKDAYS, Entry, Person, Preferences


class OwnAddressee(View):
    """One of their addresses, and what became of the copy for it."""

    address: str
    state: str


class OwnHeld(View):
    """One message that is held for who asks. Whose else it is, and what was found in it, is not theirs to know.

    :ivar may: "release" where they may have it delivered, "request" where somebody else decides
    :ivar is_asked: somebody asked for it already
    """

    id: str
    at: str | None
    expires: str | None
    held_as: str
    sender: str
    author: str
    subject: str
    octets: int
    recipients: list[OwnAddressee]
    may: str
    is_asked: bool


class OwnHeldList(View):
    """What waits for who asks, the newest first.

    :ivar addresses: theirs; with none nothing is ever theirs
    """

    items: list[OwnHeld]
    addresses: list[str]
    has_more: bool
    next_cursor: str | None


class OwnDone(View):
    """It was done."""

    done: bool = True
    is_audited: bool = True


class OwnEntry(View):
    """One sender whom somebody always wants to hear from, or never."""

    entry: str
    kind: str
    at: str | None


class OwnLists(View):
    """All of them, by entry."""

    items: list[OwnEntry]


class NewEntry(Order):
    """A sender: an address, or a domain with all below it."""

    entry: Annotated[Line, Field(min_length=1)]
    kind: Literal["allow", "block"]


class OwnPreferences(View):
    """What somebody chose. `digest`: "default" for what the configuration says; the rest of it holds where it says
    daily or weekly.
    """

    digest: str
    at: str
    weekday: str
    language: str


class NewPreferences(Order):
    """When to hear of what is held, and in which language; "default" for what the configuration says."""

    digest: Literal["default", "immediate", "daily", "weekly", "off"] = "default"
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "08:00"
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    language: Literal["default", "en", "de"] = "default"


def own_held(person: Person, one: Held, may: str) -> OwnHeld:
    """A message as its recipient sees it."""
    return OwnHeld(
        id=one.id,
        at=moment(one.at),
        expires=moment(one.expires),
        held_as=one.held_as,
        sender=one.sender,
        author=one.author,
        subject=one.subject,
        octets=one.octets,
        recipients=[OwnAddressee(address=address, state=state) for address, state in mine_of(person, one).items()],
        may=may,
        is_asked=one.asked > 0,
    )


def own_entry(one: Entry) -> OwnEntry:
    """An entry as the API tells it."""
    return OwnEntry(entry=one.entry, kind=one.kind, at=moment(one.at))


def own_preferences(one: Preferences) -> OwnPreferences:
    """Preferences as the API tells them."""
    return OwnPreferences(
        digest=one.digest or "default",
        at=f"{one.at // 60:02}:{one.at % 60:02}",
        weekday=WEEKDAYS[one.weekday],
        language=one.language or "default",
    )


def preferences_of(given: NewPreferences) -> Preferences:
    """The other way round."""
    return Preferences(
        "" if given.digest == "default" else given.digest,
        int(given.at[:2]) * 60 + int(given.at[3:]),
        WEEKDAYS.index(given.weekday),
        "" if given.language == "default" else given.language,
    )
