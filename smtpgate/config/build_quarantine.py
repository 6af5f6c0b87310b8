"""From the tables about held mail to their values; see `build`."""

from __future__ import annotations

from smtpgate.config.model_quarantine import CLASSES, Digest, HeldClass, Outbox, Quarantine
from smtpgate.config.patterns import AddressList
from smtpgate.config.tables_quarantine import DigestTable, OutboxTable, QuarantineTable


def quarantine(table: QuarantineTable) -> Quarantine:
    """The classes of the file over those that there are."""
    classes = dict(CLASSES)
    for name, given in table.classes.items():
        usual = CLASSES.get(name, HeldClass())
        classes[name] = HeldClass(given.keep or usual.keep_s, given.users or usual.users, given.full or usual.full)
    return Quarantine(table.size, classes)


def digests(table: DigestTable) -> Digest:
    """When it is sent, and to whom."""
    at = {int(text[:2]) * 60 + int(text[3:]) for text in table.at}
    return Digest(tuple(sorted(at)), AddressList(table.recipients), table.links)


def outbox(table: OutboxTable, hostname: str) -> Outbox:
    """How the gateway's own mail goes."""
    return Outbox(table.backend, table.sender or f"postmaster@{hostname}", table.keep, table.retry)
