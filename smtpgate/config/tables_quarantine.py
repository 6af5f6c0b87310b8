"""The tables of the configuration file about mail that is held, and mail of the gateway's own; see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge

from smtpgate.config.table import Table, key
from smtpgate.config.values import Addresses, DomainName, HeldClassName, MailAddress, Size, TimesOfDay, Wait


class HeldClassTable(Table):
    """What is held for one kind of reason."""

    keep: Wait | None = key(None, "Time after which it is deleted.", shown="that of the class", example='"30d"')
    users: Literal["release", "request", "nothing"] | None = key(
        None,
        "What a recipient may do with it: have it delivered, ask for that, or nothing.",
        shown="that of the class",
        example='"request"',
    )
    full: Literal["defer", "oldest"] | None = key(
        None,
        "Where the quarantine is full: mail of the class is deferred, or the oldest of the class makes room.",
        shown="that of the class",
        example='"defer"',
    )
    sealed: bool | None = key(
        None,
        'Its content is downloaded in an archive with the password "infected" only, by who may have malware.',
        shown="that of the class",
        example="true",
    )
    reason: bool | None = key(
        None, "Whoever reads its content says why, for the audit.", shown="that of the class", example="true"
    )
    two_persons: bool | None = key(
        None,
        "One who is logged in asks for its release, and another one approves; links of digests ask.",
        shown="that of the class",
        example="true",
    )
    second_person: bool | None = key(
        None,
        "One who is logged in asks to read its content and says why, and another one approves, for 15 minutes.",
        shown="that of the class",
        example="true",
    )


class QuarantineTable(Table):
    """Mail that is held back. The classes are spam, phishing, malware, policy, dlp, discarded, copy and undelivered,
    and those that stand here under other names.
    """

    size: Annotated[Size, Ge(2**20)] = key("10 GiB", "Room for all that is held.")
    classes: dict[HeldClassName, HeldClassTable] = key(
        {}, "What is held, by class: [quarantine.classes.spam] and so on."
    )


class OutboxTable(Table):
    """Mail that the gateway writes itself, and mail that it delivers later: what is released, redirected or copied."""

    backend: str = key(
        "",
        "Backend for recipients that no route takes to one, as the address of an archive.",
        shown="none",
        example='"mail"',
    )
    sender: MailAddress | None = key(
        None, "Address in From of what it writes.", shown="postmaster@ and hostname", example='"gate@example.net"'
    )
    keep: Wait = key("2d", "A delivery that failed for that long is given up, and told.")
    retry: Wait = key("5m", "Time before the second try; each further one waits twice as long, an hour at most.")


class TLSReportTable(Table):
    """Reports on TLS (RFC 8460), of each day, to the domains that ask for them."""

    send: bool = key(False, "They are sent, within four hours after midnight in UTC.")
    backend: str = key("", "Backend over which those by mail go.", shown="the first of kind mx", example='"internet"')


class DomainDigestTable(Table):
    """Digests to recipients in one domain; what is not said here is as in [digests]."""

    when: Literal["immediate", "daily", "weekly", "off"] | None = key(
        None, "How often it is sent.", shown="as in digests", example='"weekly"'
    )
    at: TimesOfDay = key([], "Times of the day at which it is sent.", shown="as in digests", example='["07:30"]')
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] | None = key(
        None, "Day on which a weekly one is sent.", shown="as in digests", example='"fri"'
    )
    language: Literal["en", "de"] | None = key(None, "Their language.", shown="as in digests", example='"de"')


class DigestTable(Table):
    """Mail to recipients about what is held for them, with links by which they release it or ask for it."""

    at: TimesOfDay = key([], "Times of the day at which it is sent, by the clock of the machine.", example='["08:00"]')
    when: Literal["immediate", "daily", "weekly", "off"] = key(
        "daily", "Daily or weekly at these times, as it comes, or never. Users with addresses may choose otherwise."
    )
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = key("mon", "Day on which a weekly one is sent.")
    recipients: Addresses = key(
        [], "Who gets one, written as in routes; none: everybody in local_domains.", example='["example.net"]'
    )
    links: Wait = key("7d", "How long its links hold.")
    language: Literal["en", "de"] = key("en", "Language of digests and of the pages behind their links.")
    domains: dict[DomainName, DomainDigestTable] = key(
        {}, 'Otherwise for recipients in a domain: [digests.domains."example.net"].'
    )
