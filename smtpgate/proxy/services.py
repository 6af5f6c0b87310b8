"""What filters may use of the gateway (`interfaces.IServices`): made once for each revision and mode.

The ports come from `tap`, or from the kit for tests; here is what the engine itself adds: what belongs to one
transaction, what is shared over several, and the examination of a message in a child process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer

from smtpgate.config.patterns import NO_DOMAINS, NO_NETWORKS, DomainList, NetworkList
from smtpgate.examine.facts import Facts, from_plain
from smtpgate.examine.registered import Registered, of_answer
from smtpgate.interfaces import ChildFailed, IServices, ServiceFailed, StoreFailed
from smtpgate.policy.edits import EditList
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.shared import Flights, Make, Memory

#: Key of what belongs to the engine itself among what is made once for each transaction.
_EXAMINE: Final = ("", "examine")
_KNOWN: Final = ("", "known")
#: So long what is registered is taken for all that is: a new document is looked for after it at the latest.
REGISTERED_S: Final = 10.0


@attrs.frozen
class FilterSettings:
    """The settings of the gateway that concern filters."""

    hostname: str = ""
    local_domains: DomainList = NO_DOMAINS
    trusted_relays: NetworkList = NO_NETWORKS
    public_url: str = ""


@attrs.frozen
class Ports:
    """What the engine gets from the rooms beside it; see `interfaces` for each."""

    clock: Any
    tell: Callable[[Any], None]
    run_in_worker: Callable[..., Deferred[Any]]
    resolver: Any
    children: Any
    http: Any
    connect: Callable[[str, float], Deferred[Any]]
    table: Callable[[str], Any]
    memory: Memory
    senders: Any
    #: An `interfaces.IRegister`; None where nothing can be registered.
    registered: Any = None
    #: An `interfaces.ITickets`; None where no refusal has a link.
    tickets: Any = None
    #: The `proxy.lists.Lists`; None where nobody keeps lists.
    lists: Any = None
    #: Seconds since the epoch.
    wall: Callable[[], float] = time.time


@attrs.frozen
class Examination:
    """How far a message is looked at.

    :ivar request: what the child process is told
    :ivar time_s: after that the child is ended
    """

    request: Mapping[str, Any] = attrs.field(factory=dict)
    time_s: float = 10.0


@implementer(IServices)
class Services:
    """What filters of one revision may use."""

    def __init__(
        self, ports: Ports, settings: FilterSettings, examination: Examination, is_shadow: bool = False
    ) -> None:
        """
        :param is_shadow: for filters in mode shadow, whose edits nobody reads
        """
        self.clock = ports.clock
        self.tell = ports.tell
        self.run_in_worker = ports.run_in_worker
        self.resolver = ports.resolver
        self.http = ports.http
        self.connect = ports.connect
        self.table = ports.table
        self.senders = ports.senders
        self.settings = settings
        self.tickets = ports.tickets
        self.lists = ports.lists
        self.wall = ports.wall
        self._registered = ports.registered
        self._children = ports.children
        self._memory = ports.memory
        self._examination = examination
        self._is_shadow = is_shadow

    def prepare(self) -> None:
        """Start what the first message would wait for."""
        self._children.prepare()

    def edits(self, transaction: Transaction) -> EditList:
        """The edit list of a running transaction; one that nobody reads for a filter in shadow mode."""
        return EditList() if self._is_shadow else transaction.edits

    def once(self, transaction: Transaction, key: Any, make: Make) -> Deferred[Any]:
        """What several filters need of one transaction, made once."""
        flights = transaction.shared
        if flights is None:
            flights = transaction.shared = Flights()
            transaction.at_end.append(flights.cancel)
        return flights.ask(key, make)

    def cached(self, key: tuple[Any, ...], make: Make, keep_s: float) -> Deferred[Any]:
        """What holds over transactions, made once while it is kept."""
        return self._memory.ask(key, make, keep_s)

    def content(self, transaction: Transaction) -> Any:
        """The content. Raises LookupError before stage `end`, and for a filter that did not ask for it."""
        if transaction.content is None:
            raise LookupError("the content is there at stage end, for a factory with needs_content=True")
        return transaction.content

    def in_child(self, job: str, transaction: Transaction, request: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Run a job on the content in a limited child process."""
        return ensureDeferred(self._in_child(job, transaction, request))

    async def _in_child(self, job: str, transaction: Transaction, request: Mapping[str, Any]) -> dict[str, Any]:
        descriptor = await self.content(transaction).descriptor()
        answer: dict[str, Any] = await self._children.run(job, descriptor, request, self._examination.time_s)
        return answer

    async def look_at(self, job: str, content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job on a content that belongs to no running transaction (`interfaces.IContent`), by the limits of an
        examination. Raises ChildFailed."""
        asked = {**self._examination.request, **request}
        answer: dict[str, Any] = await self._children.run(
            job, await content.descriptor(), asked, self._examination.time_s
        )
        return answer

    def examine(self, transaction: Transaction) -> Deferred[Facts]:
        """The facts of the content, the same for all filters."""
        return self.once(transaction, _EXAMINE, lambda: self._examine(transaction))

    async def _examine(self, transaction: Transaction) -> Facts:
        answer = await self._in_child("examine", transaction, self._examination.request)
        try:
            facts: Facts = from_plain(answer)
        except ValueError as error:
            raise ChildFailed("lied", str(error)) from None
        return facts

    def known(self, transaction: Transaction) -> Deferred[Registered]:
        """What the content has of registered documents and tables, the same for all who ask."""
        return self.once(transaction, _KNOWN, lambda: self._known(transaction))

    async def _known(self, transaction: Transaction) -> Registered:
        if self._registered is None:
            return Registered()
        asked = await self.cached(_KNOWN, self._ask_register, REGISTERED_S)
        if not asked["fingerprints"] and not asked["tables"]:
            return Registered()
        answer = await self._in_child("known", transaction, {**self._examination.request, **asked})
        try:
            return of_answer(answer)
        except ValueError as error:
            raise ChildFailed("lied", str(error)) from None

    async def _ask_register(self) -> dict[str, Any]:
        try:
            asked: dict[str, Any] = await self.run_in_worker(self._registered.request)
        except StoreFailed as error:
            raise ServiceFailed(str(error)) from None
        return asked
