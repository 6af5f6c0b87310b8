"""First contact: whether anybody of the house has had mail of this author before.

Most fraud is the first message of its author, and most first messages are good: so it is a small score, and a fact that
other filters and people can weigh. An author who is proved (DMARC: SPF or DKIM of the author's domain) is known as
such; one who is not, only together with the network that the message came from, so that nobody becomes known by
borrowing a name. Known is who had a message delivered; what was refused makes nobody known.

While the DNS is away nothing is said, since nobody could be proved.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from pydantic import Field
from twisted.internet.defer import Deferred

from smtpgate.config.values import Duration
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.sender.base import BUDGET_S, is_exempt, known_origin, plain_address
from smtpgate.filters.sender.dmarc import dmarc
from smtpgate.message.mailbox import read
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding


class ContactsOptions(Options):
    """How much it weighs, and how long somebody is known."""

    first: float = Field(0.5, description="Score of a message of an author who is not known.")
    unproved: float = Field(0.0, description="Score on top where the author is not proved.")
    known: Duration = Field(180 * 86400.0, description="Time for which an author is known, from the last message on.")


class ContactsFilter(Filter):
    """Remembers authors."""

    def __init__(self, options: ContactsOptions, services: Any) -> None:
        self.options = options
        self.services = services
        self.table = services.table("contacts")

    def transaction(self, transaction: Transaction) -> _Visit | None:
        """One message; None of clients that logged in or are trusted, and of the null sender."""
        if is_exempt(transaction.session) or transaction.sender.is_null:
            return None
        return _Visit(self, transaction)


class _Visit:
    __slots__ = ("_filter", "_transaction", "_key")

    def __init__(self, parent: ContactsFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction
        self._key = ""

    async def end(self) -> Finding | None:
        """Is the author known?"""
        parent, transaction = self._filter, self._transaction
        services, options = parent.services, parent.options
        authors = read(transaction.header, "from").mailboxes if transaction.header is not None else ()
        origin = (await known_origin(services, transaction)).origin
        address = plain_address(origin.ip) if origin.is_known else None
        if len(authors) != 1 or not authors[0].address or origin.is_authenticated or address is None:
            return None
        author = authors[0].address.lower()
        judged = await dmarc(transaction, services)
        if judged.result == "temperror":
            return None
        network = ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False)
        is_proved = judged.result == "pass"
        self._key = _key(author, "" if is_proved else str(network))
        if await parent.table.get(self._key) is not None:
            return None
        detail = f"nobody here had mail of {author} before" + ("" if is_proved else f" by way of {network}")
        score = options.first + (0.0 if is_proved else options.unproved)
        return Finding("contact-first", detail=detail, score=score)

    def closed(self) -> None:
        """Who had a message delivered is known from now on."""
        if not self._key or self._transaction.outcome not in ("delivered", "unacked"):
            return
        parent = self._filter
        put: Deferred[None] = parent.table.put(self._key, 1, parent.options.known)
        # What could not be kept is asked about once more.
        put.addErrback(lambda failure: None)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


factory = Factory(
    "contacts",
    ContactsOptions,
    frozenset({"end"}),
    ContactsFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="sender",
)
