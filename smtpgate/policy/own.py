"""Lists of one's own: from whom somebody always wants mail, and from whom never.

An entry is an address, or a domain with all below it. The more exact entry decides, and of two as exact the one that
blocks. Who writes a message is read off its From field and its envelope. A block needs no proof: nobody pretends to be
somebody who is not wanted. What is allowed must be proved by SPF or DKIM for the very domain, or one above it: an
allowed name is the first one that others borrow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import attrs

from smtpgate.message.mailbox import parse, read
from smtpgate.policy.held import Held
from smtpgate.policy.transaction import Transaction
from smtpgate.smtp.address import canonical_domain, path_of

ALLOW, BLOCK = KINDS = ("allow", "block")
#: Entries of one person, as the allowed and blocked senders of a mailbox of Exchange Online.
MOST: Final = 1024
_DOMAIN: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)+")


def normal_address(address: str) -> str:
    """An address as it is compared: lower case, the domain in A-labels; "" for what has no domain."""
    local, at, domain = address.strip().lower().rpartition("@")
    return f"{local}@{canonical_domain(domain)}" if at and local and domain else ""


def normal_entry(text: str) -> str:
    """An entry as it is compared. Raises ValueError, which says what would do."""
    text = text.strip().lower().removeprefix("*.").removeprefix("@")
    local, at, domain = text.rpartition("@")
    domain = canonical_domain(domain)
    if len(domain) > 253 or _DOMAIN.fullmatch(domain) is None:
        raise ValueError("write an address, as ann@example.org, or a domain, as example.org")
    if at:
        path_of(f"{local}@{domain}")
    return f"{local}{at}{domain}"


@attrs.frozen
class Own:
    """The lists of one person.

    :ivar entries: by entry in its normal form: one of KINDS
    """

    entries: Mapping[str, str] = attrs.field(factory=dict)

    def word(self, address: str) -> str:
        """What they say of a sender, in normal form: one of KINDS, or "" for nothing."""
        return next((self.entries[one] for one in _from_exact(address) if one in self.entries), "")


def _from_exact(address: str) -> Iterator[str]:
    """The entries that an address could stand under, the most exact first."""
    yield address
    domain = address.rpartition("@")[2]
    while domain:
        yield domain
        domain = domain.partition(".")[2]


@attrs.frozen
class Writers:
    """Who a message says to be from.

    :ivar authors: of its From field; `sender`: of its envelope, "" for the null sender; both in normal form
    """

    authors: tuple[str, ...] = ()
    sender: str = ""


def writers_of(transaction: Transaction) -> Writers:
    """Those of a message whose header is there."""
    header, sender = transaction.header, transaction.sender
    found = read(header, "from").mailboxes if header is not None else ()
    authors = tuple(dict.fromkeys(filter(None, (normal_address(one.address) for one in found))))
    return Writers(authors, normal_address(f"{sender.local}@{sender.domain}") if sender.domain else "")


def writer_of(message: Held) -> str:
    """Whom a list would have for a held message, in normal form: the author that is shown, else the envelope's
    sender; "" for nobody."""
    found = parse(message.author.encode("utf-8", "replace")).mailboxes
    return next(filter(None, (normal_address(one.address) for one in found)), "") or normal_address(message.sender)


def proved_of(transaction: Transaction) -> frozenset[str]:
    """Domains that SPF or DKIM have proved for it."""
    known = transaction.authenticated
    return frozenset((*known.get("spf", ()), *known.get("dkim", ())))


def decide(own: Own, writers: Writers, proved: Collection[str]) -> tuple[str, str]:
    """What somebody's lists make of a message, one of KINDS or "", and for which writer.

    Of several authors all must be allowed, and one that is blocked is enough.
    """
    said = [(own.word(author), author) for author in writers.authors]
    blocked = next((author for word, author in said if word == BLOCK), "")
    if blocked:
        return BLOCK, blocked
    by_envelope = own.word(writers.sender) if writers.sender else ""
    if said and all(word == ALLOW for word, _ in said):
        if all(_is_proved(author, proved) for _, author in said):
            return ALLOW, said[0][1]
    elif by_envelope == BLOCK:
        return BLOCK, writers.sender
    if by_envelope == ALLOW and _is_proved(writers.sender, proved):
        return ALLOW, writers.sender
    return "", ""


def _is_proved(address: str, proved: Collection[str]) -> bool:
    domain = address.rpartition("@")[2]
    return any(domain == one or domain.endswith("." + one) for one in proved if "." in one)
