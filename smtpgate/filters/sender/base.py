"""What the checks of senders have in common: whom they leave alone, whom they look at, and when.

They are for listeners of role mx, and never look at clients that logged in or are trusted. They look at the origin of a
message (`policy.origin`): the client, or whom a relay of ours had it from. Where that is known at MAIL, their look-ups
start there and are waited for at DATA, so that a refusal comes before the content. What is slow is not waited for there
but at the end, when it had the time of the content and of the look-ups that the header section asks for; behind a relay
they start when the header section is there, and are waited for at the end.

A check is a subclass of `SenderFilter` with a coroutine `look`. What it does for one transaction is done once, and goes
on when a stage runs out of time. An origin that cannot be read is noted once for a message, by the first who meets it.

RFC 6890 (addresses that nobody sends from).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Coroutine, Iterable
from functools import lru_cache
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred

from smtpgate.config.patterns import NetworkList
from smtpgate.filters.base import Filter
from smtpgate.policy.origin import Origin, is_relayed, origin
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding

#: The stages of every check.
STAGES: Final = frozenset({"mail", "data", "header", "end"})
#: Under the 5 seconds above which a message waits in the spool; the checks themselves end earlier.
BUDGET_S: Final = 5.0
#: What DATA waits for: a resolver that knows the answer needs milliseconds, one that does not mostly less than this.
DATA_WAIT_S: Final = 1.0
#: Addresses that only have a meaning in one house (RFC 6890): a list in the DNS knows nothing of them. Those for
#: documentation are left out: nobody has them, and examples and tests shall behave as the world does.
HOUSE: Final = NetworkList(
    ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
     "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8")
)  # fmt: skip


@attrs.define
class _Known:
    """The origin of a message, and whether somebody has told that it cannot be read."""

    origin: Origin
    is_told: bool = False


def is_exempt(session: Session) -> bool:
    """Whether the client is one that these checks leave alone."""
    return bool(session.user or session.mechanism or session.is_trusted)


@lru_cache(4096)
def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address of the outside world, IPv4 where it is one in IPv6's clothes; None for those of a house."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if HOUSE.contains(address):
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def host_name(text: str) -> str:
    """A name that a host can have in the DNS: lower case, with a dot; "" for anything else."""
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if not name.isascii() or len(labels) < 2 or len(name) > 253 or name.startswith("["):
        return ""
    return name if all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels) else ""


async def in_time(services: Any, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """The result of `work`; None where it takes longer."""
    result = ensureDeferred(work)
    try:
        # Most is known already; a timer for it would cost more than the work.
        return await (result if result.called else result.addTimeout(seconds, services.clock))
    except TimeoutError:
        return None


async def results(waits: Iterable[Deferred[Any]]) -> list[Any]:
    """The results of all. Where one fails, or the wait is cancelled, the others are cancelled."""
    waits = list(waits)
    try:
        return [await one for one in waits]
    except BaseException:
        for one in waits:
            one.cancel()
            # How they end says nothing that the first has not said.
            one.addErrback(lambda failure: None)
        raise


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of coroutines that are at work at the same time."""
    return await results([ensureDeferred(work) for work in works])


async def _read(services: Any, transaction: Transaction) -> _Known:
    return _Known(origin(transaction.session, transaction.header, services.settings.trusted_relays))


async def known_origin(services: Any, transaction: Transaction) -> _Known:
    """The origin, read once for all who ask. Behind a relay it is unknown until the header section is there."""
    if transaction.header is None:
        return await _read(services, transaction)
    known: _Known = await services.once(transaction, ("sender", "origin"), lambda: _read(services, transaction))
    return known


class SenderFilter(Filter):
    """One check; a subclass says what it looks at."""

    def __init__(self, options: Any, services: Any) -> None:
        self.options = options
        self.services = services

    def transaction(self, transaction: Transaction) -> Visit | None:
        """One message; None where the client is left alone."""
        return None if is_exempt(transaction.session) else Visit(self, transaction)

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """What is found about an origin that is known."""
        raise NotImplementedError

    async def found(self, transaction: Transaction) -> list[Finding]:
        """What is found about a message."""
        known = await known_origin(self.services, transaction)
        if known.origin.is_known:
            return [] if known.origin.is_authenticated else await self.look(transaction, known.origin)
        if known.is_told or not known.origin.unread:
            return []
        known.is_told = True
        return [Finding("origin-unknown", detail=known.origin.unread)]


class Visit:
    """A check at work on one message."""

    __slots__ = ("_filter", "_transaction", "_is_relayed", "_is_heard")

    def __init__(self, filter: SenderFilter, transaction: Transaction) -> None:
        self._filter = filter
        self._transaction = transaction
        self._is_relayed = is_relayed(transaction.session, filter.services.settings.trusted_relays)
        self._is_heard = False

    def _found(self) -> Deferred[list[Finding]]:
        parent, transaction = self._filter, self._transaction
        found: Deferred[list[Finding]] = parent.services.once(
            transaction, ("sender", id(parent)), lambda: parent.found(transaction)
        )
        return found

    def _start(self) -> None:
        # It is heard at a later stage, if the client comes so far.
        self._found().addErrback(lambda failure: failure.trap(CancelledError) and None)

    def mail(self) -> None:
        """The look-ups start, where it is known for whom."""
        if not self._is_relayed:
            self._start()

    async def data(self) -> list[Finding]:
        """They are waited for, for a moment."""
        if self._is_relayed:
            return []
        try:
            result = self._found()
            found: list[Finding] = await (
                result if result.called else result.addTimeout(DATA_WAIT_S, self._filter.services.clock)
            )
        except TimeoutError:
            return []
        self._is_heard = True
        return found

    def header(self, section: Any) -> None:
        """Behind a relay they start here."""
        if self._is_relayed:
            self._start()

    def end(self) -> Deferred[list[Finding]] | None:
        """What was not there at DATA is waited for."""
        return None if self._is_heard else self._found()
