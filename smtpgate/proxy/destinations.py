"""The backend whose servers the DNS names: a pool for each domain that mail goes to, made when it is first needed.

Each destination has links, caps and health of its own, so that a slow domain holds up no other. Domains are chosen by
whoever sends, so there is a bound: those that have had nothing to do for a while are forgotten, and past the bound the
one that has been idle the longest makes room; where all are at work, mail for a further one is put off.

What such servers can do is known when they are asked, so EHLO promises what nearly all have; a recipient whose server
has not is refused for good, as by any server that cannot convert (RFC 6152 section 3, RFC 6531 section 3.5).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import ensureDeferred

from smtpgate.config.model import Backend, Server
from smtpgate.proxy.nexthop import NextHop, NoNextHop, find
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock, TimeUp, within

#: What EHLO promises of servers that are not known yet. Not DSN: nobody could say what became of it (RFC 3461 section
#: 5.2.2), and not BINARYMIME.
MX_CAPABILITIES: Final = Capabilities({"8BITMIME": "", "SMTPUTF8": ""})
#: The same where a domain can prove who its servers are (RFC 8689 section 4.2.1).
MX_PROVING: Final = Capabilities({**MX_CAPABILITIES.words, "REQUIRETLS": ""})
#: Destinations that are known at a time; some ten thousand octets each.
DESTINATIONS: Final = 2000
#: One with nothing to do is forgotten after so long, and with it that a server was down (Postfix keeps that for
#: minimal_backoff_time, 300 s).
IDLE_S: Final = 600.0
#: A look-up of where mail goes takes no longer; the resolver has a shorter time for each question.
LOOK_UP_S: Final = 20.0


def promised(backend: Backend) -> Capabilities:
    """What EHLO promises of a backend of kind mx."""
    return MX_PROVING if backend.tls != "off" and (backend.dane or backend.mta_sts) else MX_CAPABILITIES


@attrs.define(eq=False)
class _Destination:
    hop: NextHop
    pool: Pool
    until: float
    used: float


class Destinations:
    """The pools of one backend of kind mx.

    :ivar backend: as it is configured
    :ivar resolver: an `interfaces.IResolver`
    """

    def __init__(
        self,
        backend: Backend,
        own_name: str,
        resolver: Any,
        clock: Clock,
        make: Callable[[Backend, NextHop], Pool],
        most: int = DESTINATIONS,
    ) -> None:
        """
        :param own_name: our name, which is no server's
        :param make: a pool for servers that are known now
        """
        self.backend = backend
        self._own_name = own_name
        self.resolver = resolver
        self._clock = clock
        self._make = make
        self._most = most
        self._known: OrderedDict[str, _Destination] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def pools(self) -> list[tuple[str, Pool]]:
        """Those that there are, by domain."""
        return [(domain, one.pool) for domain, one in self._known.items()]

    async def pool(self, domain: str) -> Pool | Reply:
        """The pool of a domain; a Reply where mail for it goes nowhere now."""
        now = self._clock.seconds()
        known = self._known.get(domain)
        if known is None or known.until <= now:
            try:
                asked = ensureDeferred(find(self.resolver, domain, self._own_name))
                hop = await within(asked, now + LOOK_UP_S)
            except NoNextHop as error:
                return error.reply
            except TimeUp:
                return status.DNS_FAILED
            now = self._clock.seconds()
            known = self._take(domain, hop, now)
            if known is None:
                return status.TOO_MANY_DESTINATIONS
        known.used = now
        self._known.move_to_end(domain)
        self._forget(now)
        return known.pool

    def _take(self, domain: str, hop: NextHop, now: float) -> _Destination | None:
        """What the DNS says now. Where that is what it has said before, the pool goes on."""
        known = self._known.get(domain)
        if known is not None:
            same = sorted(known.hop.hosts) == sorted(hop.hosts) and known.hop.is_secure == hop.is_secure
            if same:
                known.until = now + hop.ttl_s
                return known
            # Links that sessions have live on with them.
            self._drop(domain)
        if len(self._known) >= self._most and not self._make_room():
            return None
        servers = tuple(
            Server(_at(host, self.backend.port), host, self.backend.port, tier=rank) for rank, host in hop.hosts
        )
        made = _Destination(hop, self._make(attrs.evolve(self.backend, servers=servers), hop), now + hop.ttl_s, now)
        self._known[domain] = made
        return made

    def _make_room(self) -> bool:
        for domain, one in self._known.items():
            if one.pool.is_idle:
                self._drop(domain)
                return True
        return False

    def _forget(self, now: float) -> None:
        """Those that nobody has asked for, the longest first."""
        while self._known:
            domain, one = next(iter(self._known.items()))
            if now - one.used < IDLE_S:
                return
            if not one.pool.is_idle:
                # It is looked at again when it has its turn.
                one.used = now
                self._known.move_to_end(domain)
                return
            self._drop(domain)

    def _drop(self, domain: str) -> None:
        one = self._known.pop(domain)
        one.pool.close()
        one.pool.gone()

    def close(self) -> None:
        """The revision is gone."""
        for domain in list(self._known):
            self._drop(domain)


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
