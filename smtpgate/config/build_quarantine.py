"""From the tables about held mail to their values; see `build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from smtpgate.config.model import Backend
from smtpgate.config.model_quarantine import (
    CLASSES,
    Digest,
    DomainDigest,
    HeldClass,
    Outbox,
    Quarantine,
    Schedule,
    TLSReport,
)
from smtpgate.config.patterns import AddressList
from smtpgate.config.tables_quarantine import DigestTable, OutboxTable, QuarantineTable, TLSReportTable
from smtpgate.policy.person import WEEKDAYS


def quarantine(table: QuarantineTable) -> Quarantine:
    """The classes of the file over those that there are."""
    classes = dict(CLASSES)
    for name, given in table.classes.items():
        usual = CLASSES.get(name, HeldClass())
        classes[name] = HeldClass(
            given.keep or usual.keep_s,
            given.users or usual.users,
            given.full or usual.full,
            usual.sealed if given.sealed is None else given.sealed,
            usual.reason if given.reason is None else given.reason,
            usual.two_persons if given.two_persons is None else given.two_persons,
            usual.second_person if given.second_person is None else given.second_person,
        )
    return Quarantine(table.size, classes)


def digests(table: DigestTable) -> Digest:
    """When it is sent, and to whom."""
    at, weekday = _minutes(table.at), WEEKDAYS.index(table.weekday)
    domains = {
        name: DomainDigest(
            Schedule(
                one.when or table.when,
                _minutes(one.at) or at,
                weekday if one.weekday is None else WEEKDAYS.index(one.weekday),
            ),
            one.language or table.language,
        )
        for name, one in table.domains.items()
    }
    return Digest(
        at, AddressList(table.recipients), table.links, table.language, table.when, weekday, MappingProxyType(domains)
    )


def _minutes(texts: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted({int(text[:2]) * 60 + int(text[3:]) for text in texts}))


def outbox(table: OutboxTable, hostname: str) -> Outbox:
    """How the gateway's own mail goes."""
    return Outbox(table.backend, table.sender or f"postmaster@{hostname}", table.keep, table.retry)


def tls_report(table: TLSReportTable, backends: Mapping[str, Backend]) -> TLSReport:
    """Whether reports are sent, and which way."""
    first = next((name for name, backend in backends.items() if backend.kind == "mx"), "")
    return TLSReport(table.send, table.backend or first)
