"""What one configuration revision is at work: a session keeps the one it began with until it ends.

`control` builds a new one beside the old and swaps a single reference; the old one is closed when its last session
has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from smtpgate.config.model import Limits as LimitSettings
from smtpgate.config.model import Listener, Settings
from smtpgate.policy.meter import Meter
from smtpgate.proxy.destinations import Destinations
from smtpgate.proxy.limiter import Limits, no_limits
from smtpgate.proxy.memory import Memory
from smtpgate.proxy.own import OwnBook
from smtpgate.proxy.pacer import Pacer
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.policies import Policies
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.router import Router
from smtpgate.proxy.signing import Signers
from smtpgate.proxy.tuning import Tuner, Tuning
from smtpgate.smtp.command import PathRules
from smtpgate.smtp.server import WireRules
from smtpgate.tasks import Clock

#: Memory of all bodies where nothing else was configured.
BODIES = LimitSettings().body_memory_octets


@attrs.define
class Door:
    """One listener of a revision.

    :ivar tls: its `net.tls.ServerTLS`; None where `tls` is off or no certificate can be used
    :ivar chain: the filters of its role
    :ivar offers: EHLO replies made before, by what they depend on
    :ivar check_password: awaitable check for `auth = "local"`: (user, password) to bool; None for other listeners
    """

    listener: Listener
    rules: WireRules
    chain: Chain
    tls: Any = None
    check_password: Any = None
    offers: dict[Any, Any] = attrs.field(factory=dict)


def wire_rules(listener: Listener) -> WireRules:
    """A listener's switches as the wire machine takes them."""
    return WireRules(
        paths=PathRules(is_strict=listener.strict_paths, needs_brackets=listener.require_brackets),
        takes_bare_lf=listener.command_bare_lf == "accept",
        needs_tls=listener.tls == "required",
        has_starttls=listener.tls in ("optional", "required"),
        is_lmtp=listener.protocol == "lmtp",
    )


@attrs.define(eq=False)
class Revision:
    """One configuration at work.

    :ivar pools: of backends whose servers are configured; of the others `destinations`
    :ivar limits: its rate and concurrency limits
    :ivar signers: what signs mail when it leaves
    :ivar sessions: how many sessions run on it
    :ivar at_close: gives back what its filters used
    :ivar services: what its filters in shadow use, for what is tried
    :ivar tuner: makes its chains anew where a filter is to run otherwise; None where none can
    """

    id: str
    settings: Settings
    router: Router
    pools: Mapping[str, Pool]
    doors: Mapping[str, Door]
    limits: Limits = attrs.field(factory=no_limits)
    destinations: Mapping[str, Destinations] = attrs.field(factory=dict)
    policies: Policies = attrs.field(init=False)
    signers: Signers = attrs.field(init=False)
    sessions: int = 0
    is_retired: bool = False
    on_idle: Callable[[Revision], None] | None = None
    at_close: Callable[[], None] | None = None
    services: Any = None
    tuner: Tuner | None = None

    def __attrs_post_init__(self) -> None:
        self.policies = Policies(self.settings.tls_policies)
        self.signers = Signers(self.settings.dkim_keys)

    def fade(self) -> None:
        """Some time has passed: for classes that were not here in it no slots are kept free any more."""
        for pool in self.pools.values():
            pool.slots.shares.fade()
        for slots in {id(use.slots): use.slots for door in self.doors.values() for use in door.chain.uses}.values():
            if slots is not None:
                slots.shares.fade()

    def tune(self, wanted: Mapping[str, Tuning], failed: Callable[[str], None]) -> None:
        """Sessions that begin from now on have these filters otherwise; the doors of those under way stay as they are.

        :param failed: is told why one cannot be so
        """
        if self.tuner is None:
            return
        roles = {door.listener.role for door in self.doors.values()}
        chains = {role: self.tuner.chain(wanted, role, failed) for role in sorted(roles)}
        self.tuner.former.update(door.chain for door in self.doors.values())
        self.doors = {
            name: attrs.evolve(door, chain=chains[door.listener.role], offers={}) for name, door in self.doors.items()
        }

    def chains(self) -> list[Chain]:
        """All that sessions may have."""
        former = list(self.tuner.former) if self.tuner is not None else []
        return [*(door.chain for door in self.doors.values()), *former]

    def filters(self) -> list[tuple[str, Any]]:
        """Each filter that was built, once, with its name."""
        uses = [use for chain in self.chains() for use in chain.uses]
        uses += self.tuner.uses if self.tuner is not None else ()
        found = {id(use.filter): (use.name, use.filter) for use in uses}
        for one in self.tuner.others() if self.tuner is not None else ():
            found[id(one[1])] = one
        return list(found.values())

    def close_pools(self) -> None:
        """It is at work no more; links that are still open live on with their sessions."""
        for pool in self.pools.values():
            pool.close()
        for destinations in self.destinations.values():
            destinations.close()

    def enter(self) -> None:
        """A session begins."""
        self.sessions += 1

    def leave(self) -> None:
        """A session is over."""
        self.sessions -= 1
        if self.is_retired and not self.sessions and self.on_idle is not None:
            self.on_idle(self)

    def retire(self, on_idle: Callable[[Revision], None]) -> None:
        """A newer one took its place: no new sessions."""
        self.is_retired = True
        self.on_idle = on_idle
        if not self.sessions:
            on_idle(self)


@attrs.define(eq=False)
class Engine:
    """What all sessions share, whatever their revision.

    :ivar clock: IReactorTime
    :ivar wall: seconds since the epoch
    :ivar tell: tells an event to the witnesses
    :ivar ledger: the commit ledger
    :ivar open_spool: opens a file for a body
    :ivar in_thread: runs a blocking call elsewhere
    :ivar start: a coroutine as a Deferred
    :ivar pacer: the replies that wait
    :ivar memory: what bodies may hold together
    :ivar meter: what is counted where it happens
    :ivar vault: an `interfaces.IVault`; None where nothing can be held
    :ivar outbox: its letters; None where there is no vault
    :ivar own: lists of their own of people
    :ivar undecided: ids of held messages and letters that are withdrawn where their message is not delivered
    """

    clock: Clock
    keeper: Any
    wall: Callable[[], float]
    tell: Callable[[Any], None]
    ledger: Any
    open_spool: Callable[[], Any]
    in_thread: Callable[..., Any]
    start: Callable[[Any], Any]
    pacer: Pacer = attrs.field(init=False)
    memory: Memory = attrs.field(init=False)
    vault: Any = None
    outbox: Any = None
    meter: Meter = attrs.field(factory=Meter)
    own: OwnBook = attrs.field(factory=OwnBook)
    undecided: set[str] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.pacer = Pacer(self.clock)
        self.memory = Memory(BODIES)
