"""All of one configuration, made from its settings beside what is at work: chains, doors, pools, destinations, limits.

`tap` has one `Assembly`, and `control` calls its `build` at the start and for each change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.check_tls import asks_for_proof
from smtpgate.config.model import Backend, Listener, Settings
from smtpgate.control.bench_world import World, tried
from smtpgate.filters.base import Factory
from smtpgate.net import descriptors
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.net.selfsigned import ensure
from smtpgate.net.tls import ClientTLS, ServerTLS
from smtpgate.observe.metrics import Metrics
from smtpgate.policy.addresses import is_public
from smtpgate.policy.meter import Meter
from smtpgate.proxy.filter_slots import FilterSlots
from smtpgate.proxy.guard import Guard
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.revision import Door, Revision, wire_rules
from smtpgate.proxy.router import Router
from smtpgate.proxy.tuning import Tuner
from smtpgate.proxy.use import HEAVY_SLOTS, STREAM_S, Use
from smtpgate.tasks import Timekeeper
from smtpgate.wiring import Provisions, Roads, rules_of


@attrs.frozen
class Assembly:
    """What all revisions are made with.

    :ivar factories: filters by name
    :ivar connector: an `interfaces.IConnector`
    :ivar metrics: None: nothing is counted
    :ivar world: of what is only tried; None for what is at work
    :ivar descriptors: how many files the process may open
    :ivar state_path: folder for certificates of our own making
    """

    reactor: Any
    tell: Callable[[Any], None]
    in_thread: Callable[..., Deferred[Any]]
    factories: Mapping[str, Any]
    provisions: Provisions
    roads: Roads
    connector: Any
    keeper: Timekeeper
    limiter: Limiter
    meter: Meter
    metrics: Metrics | None
    descriptors: int
    state_path: Path
    world: World | None = None

    def apart(self, settings: Settings, world: World) -> Revision:
        """Everything of a configuration for one try: nothing of what it does reaches what is at work. Whoever asked
        closes it."""
        made = attrs.evolve(
            self,
            reactor=world.clock,
            tell=world.tell,
            connector=world.connector,
            keeper=world.keeper,
            limiter=Limiter(world.clock),
            meter=Meter(),
            metrics=None,
            world=world,
        )
        return made.build(tried(settings))

    def build(self, settings: Settings) -> Revision:
        """Everything of one configuration, beside what is at work."""
        settings = descriptors.fit(settings, self.descriptors, self.tell)
        services, shadow, give_back = self.provisions.services(settings, self.world)
        try:
            uses = self._uses(settings, services, shadow)
            if any(use.needs_content for use in uses):
                # Not before: whoever is root until then has no child that stays root.
                self.reactor.callWhenRunning(services.prepare)
            tuner = self._tuner(settings, uses, services, shadow)
            revision = self._revision(settings, tuner, give_back, services)
            revision.services = shadow
            return revision
        except BaseException:
            give_back()
            raise

    def _tuner(self, settings: Settings, uses: list[Use], services: Any, shadow: Any) -> Tuner:
        configured = {use.name: use for use in settings.filters}

        def make(name: str, is_shadow: bool) -> Any:
            use = configured[name]
            return self.factories[use.use].build(use.options, shadow if is_shadow else services)

        def chain(uses: list[Use], role: str) -> Chain:
            marks = settings.marks and role == "mx"
            return Chain(uses, role, self.reactor, self.tell, settings.scale, marks, self.meter)

        return Tuner(uses, configured, make, chain)

    def _revision(self, settings: Settings, tuner: Tuner, give_back: Callable[[], None], services: Any) -> Revision:
        chains = {role: tuner.chain({}, role) for role in ("mx", "submission")}
        doors = {}
        for name, listener in settings.listeners.items():
            doors[name] = Door(
                listener,
                wire_rules(listener),
                chains[listener.role],
                self._server_tls(settings, listener),
                self._password_check(listener),
            )
        parts = {name: one.share for name, one in settings.classes.items()}
        contexts = {name: client_tls(backend) for name, backend in settings.backends.items()}
        road: Any = self.world.road if self.world is not None else None
        for name, tls in contexts.items():
            if tls is not None and (settings.backends[name].kind == "mx" or asks_for_proof(settings, name)):
                tls.prepare()

        def pool(backend: Backend, guard: Guard | None = None) -> Pool:
            return Pool(
                backend,
                settings.hostname,
                settings.timeouts.greeting_s,
                self.connector,
                contexts[backend.name],
                self.keeper,
                self.tell,
                parts,
                {name: one.wait_s for name, one in settings.classes.items()},
                guard or road,
                self.meter,
            )

        pools = {name: pool(backend) for name, backend in settings.backends.items() if backend.kind == "servers"}
        http = PublicHTTPClient(self.reactor, services.resolver, is_public)
        destinations = self.roads.destinations(settings, services.resolver, http, services.table("mta-sts"), pool)
        if self.metrics is not None:
            self._expect(self.metrics, settings, pools, tuner.uses)
        limits = self.limiter.limits(settings)
        revision = settings.digest[:12]
        return Revision(
            revision,
            settings,
            Router(settings),
            pools,
            doors,
            limits,
            destinations=destinations,
            at_close=give_back,
            tuner=tuner,
        )

    def _expect(self, metrics: Metrics, settings: Settings, pools: Mapping[str, Pool], uses: Iterable[Use]) -> None:
        metrics.know(settings.local_domains.matches)
        metrics.expect(
            {name: listener.role for name, listener in settings.listeners.items()},
            [(name, server.name) for name, pool in pools.items() for server in pool.servers],
            [use.name for use in uses],
            [limit.name for limit in settings.rate_limits] + [limit.name for limit in settings.concurrency_limits],
            [(rule.name, rule.mode) for rule in settings.rules if rule.mode != "off"],
            [rule.name for rule in settings.rules if rule.held_as == "dlp" or "dlp." in rule.when],
        )

    def _uses(self, settings: Settings, services: Any, shadow: Any) -> list[Use]:
        limits = settings.limits
        loop = self.factories["loop"]
        options = loop.options(received_hops=limits.received_hops, own_hops=limits.own_hops, hostname=settings.hostname)
        uses = [Use.of(loop, "loop", loop.build(options, services), None, "enforce", None, may_hold=False)]
        for use in settings.filters:
            factory = self.factories[use.use]
            made = factory.build(use.options, shadow if use.mode == "shadow" else services)
            many = use.slots or (HEAVY_SLOTS if factory.budget_s > STREAM_S else 0)
            slots = FilterSlots(many, {name: one.share for name, one in settings.classes.items()}) if many else None
            # A stranger's filter may do what the contract lets it do.
            may_hold = factory.may_quarantine(use.options) if isinstance(factory, Factory) else True
            uses.append(Use.of(factory, use.name, made, use.roles, use.mode, use.on_error, slots, may_hold))
        return uses + rules_of(settings, services, shadow)

    def _server_tls(self, settings: Settings, listener: Listener) -> ServerTLS | None:
        if listener.tls == "off":
            return None
        if self.world is not None:
            # A handshake in memory is none.
            return ServerTLS(())
        certificates = listener.certificates or (ensure(self.state_path, settings.hostname),)
        return ServerTLS(certificates, listener.client_ca)

    def _password_check(self, listener: Listener) -> Any:
        if self.world is not None:
            return _believe
        if listener.auth != "local" or listener.password_file is None:
            return None
        from smtpgate.state.passwords import PasswordFile

        return PasswordFile(listener.password_file, self.in_thread).check


async def _believe(user: str, password: str) -> bool:
    """Of who is only tried: what matters is who it would be."""
    return True


def client_tls(backend: Backend) -> ClientTLS | None:
    """What a backend's leg is encrypted with; None where it is not."""
    if backend.tls == "off":
        return None
    asked = bool(backend.tls_name or backend.tls_ca or backend.tls_pins)
    return ClientTLS(
        verifies=backend.tls == "verify" or backend.tls == "implicit" and asked,
        name=backend.tls_name,
        ca=backend.tls_ca,
        pins=backend.tls_pins,
        certificate=backend.tls_certificate,
    )
