"""What the filters of a revision get, joined from the rooms that have it: `tap` holds one `Provisions`.

The resolver, the child processes and the client for HTTP outlive a revision where the settings that they were made from
are the same in the next; else those of the old one end with its last session.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.model import Backend, Settings
from smtpgate.config.model_policy import RULES
from smtpgate.control.bench_world import World
from smtpgate.filters.rules import BUDGET_S, Rules
from smtpgate.filters.sealing import Sealing
from smtpgate.net.children import Children
from smtpgate.net.http import HTTPClient
from smtpgate.net.resolver import Resolver
from smtpgate.net.stream import connect
from smtpgate.policy.meter import Meter
from smtpgate.policy.names import Answer
from smtpgate.proxy.destinations import Destinations
from smtpgate.proxy.guard import Guard, Published
from smtpgate.proxy.lists import Looked
from smtpgate.proxy.nexthop import NextHop
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.services import Examination, FilterSettings, Ports, Services
from smtpgate.proxy.shared import Memory
from smtpgate.proxy.sts import Policies
from smtpgate.proxy.tls_reports import TLSReports
from smtpgate.proxy.use import Use


@attrs.define
class _Lent:
    """Something that several revisions use, and how many."""

    thing: Any
    users: int = 0


class Provisions:
    """Makes the services of each revision."""

    def __init__(
        self,
        reactor: Any,
        tell: Callable[[Any], None],
        in_thread: Callable[..., Deferred[Any]],
        table: Callable[[str], Any],
        senders: Any,
        registered: Any = None,
        tickets: Any = None,
        meter: Meter | None = None,
    ) -> None:
        """
        :param table: the store of what filters remember, by name (`state.memory_store.MemoryStore.table`)
        :param senders: an `interfaces.ISenders`
        :param registered: an `interfaces.IRegister`
        :param tickets: an `interfaces.ITickets`
        :param meter: counts questions to the DNS
        """
        self._reactor = reactor
        self._tell = tell
        self._in_thread = in_thread
        self._table = table
        self._senders = senders
        self._registered = registered
        self._tickets = tickets
        #: The `proxy.lists.Lists`; `tap` gives them.
        self.lists: Any = None
        self._meter = meter if meter is not None else Meter()
        self._memory = Memory(reactor, meter=self._meter)
        self._http = HTTPClient(reactor)
        self._lent: dict[Hashable, _Lent] = {}

    def services(self, settings: Settings, world: World | None = None) -> tuple[Services, Services, Callable[[], None]]:
        """The services of a revision, those for its filters in shadow, and what to call when it is given up.

        :param world: of one that is only tried: what would be changed is changed there
        """
        content, dns = settings.content, settings.resolver
        children, give_back_children = self._borrow(content, lambda: self._children(settings))
        resolver, give_back_resolver = self._borrow(dns, lambda: self._resolver(settings))
        ports = Ports(
            self._reactor,
            self._tell,
            self._in_thread,
            resolver,
            children,
            self._http,
            self._connect,
            self._table,
            self._memory,
            self._senders,
            self._registered,
            self._tickets,
            self.lists,
        )
        memory = Memory(world.clock) if world is not None else None
        if world is not None and memory is not None:
            ports = attrs.evolve(
                ports,
                clock=world.clock,
                wall=world.wall,
                tell=world.tell,
                table=world.table(self._table),
                tickets=world.tickets(self._tickets),
                lists=Looked(self.lists) if self.lists is not None else None,
                memory=memory,
            )
        known = FilterSettings(
            settings.hostname, settings.local_domains, settings.trusted_relays, settings.admin.public_url
        )
        examination = Examination({"limits": attrs.asdict(content)}, content.time_s)

        def give_back() -> None:
            if memory is not None:
                memory.cancel()
            give_back_children()
            give_back_resolver()

        return (
            Services(ports, known, examination),
            Services(ports, known, examination, is_shadow=True),
            give_back,
        )

    def caches(self) -> dict[str, int]:
        """Entries of what is remembered: answers of the DNS, and what filters need of more than one message."""
        dns = sum(len(one.thing.cache) for one in self._lent.values() if isinstance(one.thing, Resolver))
        return {"dns": dns, "filters": len(self._memory)}

    async def lookup(self, settings: Settings, name: str, kind: str) -> Answer:
        """Ask the DNS as settings say, for what is of no revision."""
        resolver, give_back = self._borrow(settings.resolver, lambda: self._resolver(settings))
        try:
            answer: Answer = await resolver.lookup(name, kind)
        finally:
            give_back()
        return answer

    def _borrow(self, key: Hashable, make: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        lent = self._lent.get(key)
        if lent is None:
            lent = self._lent[key] = _Lent(make())
        lent.users += 1

        def give_back() -> None:
            lent.users -= 1
            if not lent.users:
                if self._lent.get(key) is lent:
                    del self._lent[key]
                lent.thing.close()

        return lent.thing, give_back

    def _children(self, settings: Settings) -> Children:
        content = settings.content
        return Children(self._reactor, content.children, content.child_memory_octets, content.time_s, tell=self._tell)

    def _resolver(self, settings: Settings) -> Resolver:
        dns = settings.resolver
        trusts = dns.validating.contains
        return Resolver(self._reactor, dns.servers, dns.timeout_s, tell=self._tell, trusts=trusts, meter=self._meter)

    def _connect(self, endpoint: str, timeout_s: float) -> Deferred[Any]:
        return connect(self._reactor, endpoint, timeout_s)

    def close(self) -> None:
        """The gateway ends."""
        self._memory.cancel()
        lent, self._lent = self._lent, {}
        for one in lent.values():
            one.thing.close()


class Roads:
    """Makes what leads to servers that the DNS names, for the backends of a revision that ask for it."""

    def __init__(self, reports: TLSReports, wall: Callable[[], float], clock: Any) -> None:
        self._reports = reports
        self._wall = wall
        self._clock = clock

    def destinations(
        self,
        settings: Settings,
        resolver: Any,
        http: Any,
        table: Any,
        make: Callable[[Backend, Guard], Pool],
    ) -> dict[str, Destinations]:
        """The destinations of each backend of kind mx.

        :param http: an `interfaces.IHTTPClient` for addresses that strangers name
        :param table: the `interfaces.ITable` of policies
        :param make: a pool for servers that are known now
        """
        reports = self._reports
        sts = Policies(
            resolver, http, table, self._wall, lambda name, fault: reports.failed(name, Published("sts"), "", fault)
        )

        def pool(backend: Backend, hop: NextHop) -> Pool:
            return make(backend, Guard(backend, hop, resolver, sts, reports))

        return {
            name: Destinations(backend, settings.hostname, resolver, self._clock, pool)
            for name, backend in settings.backends.items()
            if backend.kind == "mx"
        }


def rules_of(settings: Settings, services: Services, shadow: Services) -> list[Use]:
    """The rules of a configuration as what comes after its filters, those in shadow by themselves: what they need makes
    no message wait, and where they fail nobody hears it.

    :param shadow: the services of what is in shadow
    """
    sealing = Sealing(settings.smime_keys, settings.smime_certificates, settings.smime_size_octets)
    uses = []
    for mode, given in (("enforce", services), ("shadow", shadow)):
        groups, is_local = settings.groups.of, settings.local_domains.matches
        rules = Rules(settings.rules, mode, given, settings.search, groups, is_local, sealing)
        if rules.rules:
            uses.append(
                Use(
                    RULES,
                    rules,
                    rules.stages,
                    frozenset({"mx", "submission"}),
                    mode,
                    needs_message=rules.holds,
                    budget_s=BUDGET_S if rules.needs_content else 1.0,
                    needs_content=rules.needs_content,
                    is_judge=True,
                    may_hold=rules.may_hold,
                    holds_late=rules.holds_late,
                    edits_body=rules.edits_body,
                    growth_octets=rules.growth_octets,
                )
            )
    return uses
