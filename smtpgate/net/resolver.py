"""The one resolver for all filters (`interfaces.IResolver`): a stub that asks the resolvers of the site, and remembers.

Filters call `lookup`; `wiring` makes one `Resolver` for the settings that it has, and closes it. Promised: a look-up is
answered within `timeout_s`, whatever the servers do, by a value and never by a failure; one question is under way for
each name and kind, however many wait for it, and it goes on when those have gone; no more than so many sockets at once.
Dead servers cost time for the first few messages only (`dns_servers`).

A name that is no name of the DNS (an empty label, one over 63 octets, a script that IDNA does not know) is answered
"nxdomain" without a question, since no record can stand there. Refused: the AD bit of a server that is neither on
loopback nor trusted by the operator. dnspython is loaded with the first question.

RFC 1034 section 5.3.1 (stubs); RFC 2308; RFC 5452; RFC 6840 section 5.7 (AD); RFC 8499 section 6; RFC 9520.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import IResolver
from smtpgate.net.dns_cache import TTL_CEILING_S, Cache, Key, lifetime
from smtpgate.net.dns_servers import Server, Servers, system_servers
from smtpgate.net.records import plain_name
from smtpgate.policy.event import Happened
from smtpgate.policy.meter import Meter
from smtpgate.policy.names import Answer

__all__ = ["Resolver", "Server", "system_servers"]

#: Questions under way, each with a socket; dnsmasq forwards 150 at a time.
IN_FLIGHT: Final = 256
#: Questions that wait for a place; more are answered "timeout", which is what they would come to.
QUEUED: Final = 2048
#: Aliases that are followed where the server does not do it (Unbound: 11).
ALIASES: Final = 8
#: How long one server has for the root.
PROBE_S: Final = 1.0
#: Parts of the time that an attempt of the first and of the second round gets.
ROUNDS: Final = (1, 2)

_NO_NAME: Final = Answer("nxdomain", ttl=TTL_CEILING_S)
_SILENCE: Final = Answer("timeout", ttl=lifetime("timeout", 0))
_FAILURE: Final = Answer("failed", ttl=lifetime("failed", 0))


class _Flight:
    """One question and all who wait for its answer.

    :ivar timer: of one that waits for a place
    """

    __slots__ = ("key", "deadline", "answer", "work", "timer", "_waiters")

    def __init__(self, key: Key, deadline: float) -> None:
        self.key = key
        self.deadline = deadline
        self.answer: Answer | None = None
        self.work: Deferred[None] | None = None
        self.timer: Any = None
        self._waiters: list[Deferred[Answer]] = []

    def wait(self) -> Deferred[Answer]:
        """A Deferred of one's own; cancelling it stops the waiting only."""
        if self.answer is not None:
            return succeed(self.answer)
        waiter: Deferred[Answer] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def land(self, answer: Answer) -> None:
        """Tell everybody."""
        self.answer = answer
        # One who is told may cancel another, who then leaves the list.
        while self._waiters:
            self._waiters.pop(0).callback(answer)


@implementer(IResolver)
class Resolver:
    """Asks the servers in their order, and remembers what they said.

    :ivar cache: what is remembered

    Counters, for metrics; each only grows:

    :ivar asked: look-ups
    :ivar hits: of these, answered from memory
    :ivar shared: of these, joined to a question under way
    :ivar dropped: of these, answered "timeout" unasked: in an outage, or with too many waiting
    :ivar queries: questions to a server, attempts counted singly
    :ivar timeouts: of these, left without an answer in time
    :ivar broken: of these, answered with something that cannot be used
    """

    def __init__(
        self,
        reactor: Any,
        servers: Iterable[Server] = (),
        timeout_s: float = 3.0,
        tell: Callable[[Any], None] | None = None,
        trusts: Callable[[str], bool] = lambda address: False,
        meter: Meter | None = None,
    ) -> None:
        """
        Raises ValueError for a server that is named otherwise than by its address.

        :param servers: addresses with their ports, in order of preference; none: `system_servers`
        :param timeout_s: for one look-up, over all servers, attempts and aliases
        :param tell: hears `resolver.down` and `resolver.up`
        :param trusts: whether the word of a server at an address is taken on what is signed; on loopback it is
        """
        self.timeout_s = timeout_s
        self._meter = meter if meter is not None else Meter()
        self.cache = Cache()
        self.asked = self.hits = self.shared = self.dropped = self.queries = self.timeouts = self.broken = 0
        self._reactor = reactor
        self._seconds: Callable[[], float] = reactor.seconds
        self._tell = tell if tell is not None else _hush
        self._servers = Servers(
            tuple(servers) or system_servers(), self._seconds, self._is_there, self._tell, self._clear_queue, trusts
        )
        self._flights: dict[Key, _Flight] = {}
        self._queue: deque[_Flight] = deque()
        self._running: set[_Flight] = set()
        self._is_closed = False
        self._exchange: Any = None

    @property
    def servers(self) -> tuple[Server, ...]:
        """Whom it asks, in order of preference."""
        return self._servers.all

    @property
    def in_flight(self) -> int:
        """Questions under way."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Questions that wait for a place."""
        return len(self._queue)

    @property
    def is_down(self) -> bool:
        """No server answers."""
        return self._servers.is_down

    def lookup(self, name: str, kind: str) -> Deferred[Answer]:
        """Ask for records, as ("example.net", "MX"). Raises ValueError for a kind that is none."""
        self.asked += 1
        answer = self.cache.get((name, kind), self._seconds())
        if answer is None:
            plain = plain_name(name)
            if plain is None:
                return succeed(_NO_NAME)
            if plain != name:
                answer = self.cache.get((plain, kind), self._seconds())
            if answer is None:
                self._meter.count("cache_requests_total", "dns", "miss")
                return self._join((plain, kind))
        self.hits += 1
        self._meter.count("cache_requests_total", "dns", "hit")
        return succeed(answer)

    # Questions under way

    def _join(self, key: Key) -> Deferred[Answer]:
        flight = self._flights.get(key)
        if flight is not None:
            self.shared += 1
            return flight.wait()
        if self._is_closed:
            return succeed(_FAILURE)
        self._load().kind_number(key[1])
        if len(self._queue) >= QUEUED or not self._servers.may_try():
            self.dropped += 1
            return succeed(_SILENCE)
        flight = _Flight(key, self._seconds() + self.timeout_s)
        self._flights[key] = flight
        if len(self._running) < IN_FLIGHT:
            self._begin(flight)
        else:
            flight.timer = self._reactor.callLater(self.timeout_s, self._give_up, flight)
            self._queue.append(flight)
        return flight.wait()

    def _load(self) -> Any:
        if self._exchange is None:
            from smtpgate.net import dns_exchange

            self._exchange = dns_exchange
        return self._exchange

    def _begin(self, flight: _Flight) -> None:
        self._running.add(flight)
        work = ensureDeferred(self._resolve(*flight.key, flight.deadline))
        flight.work = work.addErrback(self._astray).addCallback(self._finish, flight)

    def _astray(self, failure: Failure) -> Answer:
        # Ended by `close`, or by a fault of our own, which is told and is nobody's failure.
        if not self._is_closed:
            self._tell(Happened("resolver.error", "error", f"a look-up ended with {failure.value!r}"))
        return _FAILURE

    def _finish(self, answer: Answer, flight: _Flight) -> None:
        self._running.discard(flight)
        del self._flights[flight.key]
        kind = flight.key[1]
        self._meter.count("dns_queries_total", kind, answer.status)
        self._meter.took(max(0.0, self._seconds() + self.timeout_s - flight.deadline), "dns_seconds", kind)
        if not self._is_closed:
            self.cache.put(flight.key, answer, self._seconds())
            self._fill()
        flight.land(answer)

    def _fill(self) -> None:
        """Give free places to those who wait."""
        while self._queue and len(self._running) < IN_FLIGHT:
            flight = self._queue.popleft()
            flight.timer.cancel()
            self._begin(flight)

    def _give_up(self, flight: _Flight) -> None:
        """Its time was over before there was a place."""
        self.dropped += 1
        self._queue.remove(flight)
        del self._flights[flight.key]
        flight.land(_SILENCE)

    def _clear_queue(self, answer: Answer = _SILENCE) -> None:
        queue, self._queue = self._queue, deque()
        for flight in queue:
            flight.timer.cancel()
            del self._flights[flight.key]
        for flight in queue:
            flight.land(answer)

    def close(self) -> None:
        """Stop all that is under way: who waits hears "failed", as does who asks from now on."""
        self._is_closed = True
        self._clear_queue(_FAILURE)
        self._servers.close()
        for flight in list(self._running):
            if flight.work is not None:
                flight.work.cancel()

    # One look-up

    async def _resolve(self, name: str, kind: str, deadline: float) -> Answer:
        ttl, is_authentic = TTL_CEILING_S, True
        for _ in range(ALIASES + 1):
            reading = await self._ask(name, kind, deadline)
            if reading is None:
                return _SILENCE
            ttl, is_authentic = min(ttl, reading.ttl), is_authentic and reading.is_authentic
            if reading.status != "elsewhere":
                return Answer(reading.status, reading.records, is_authentic, lifetime(reading.status, ttl))
            target = plain_name(reading.target)
            if not target:
                break
            name = target
        return _FAILURE

    async def _ask(self, name: str, kind: str, deadline: float) -> Any:
        """What the first server says that has an answer; a failure where they fail; None where none said anything.

        Two rounds, since a datagram may be lost; in the second each has twice the time. A server that fails, or that
        is not there, is not asked again, and the time that it did not use is for the others.
        """
        exchange = self._exchange
        servers = self._servers.in_order()
        failure = None
        is_slow = has_tried = False
        for number, part in enumerate(ROUNDS):
            later = sum(ROUNDS[number + 1 :])
            for server in list(servers):
                left = deadline - self._seconds()
                if left <= 0:
                    break
                has_tried = True
                parts = part * (len(servers) - servers.index(server)) + later * len(servers)
                self.queries += 1
                try:
                    reading = await exchange.ask(self._reactor, server, name, kind, left * part / parts)
                except exchange.Silent:
                    self.timeouts += 1
                    self._servers.silent(server)
                    is_slow = True
                    continue
                except OSError:
                    self._servers.silent(server)
                    servers.remove(server)
                    continue
                except exchange.Broken:
                    self.broken += 1
                    reading = exchange.FAILED
                self._servers.heard(server)
                if reading.status != "failed":
                    may_vouch = reading.is_authentic and self._servers.may_vouch(server)
                    return reading if may_vouch else attrs.evolve(reading, is_authentic=False)
                failure = reading
                servers.remove(server)
        if failure is None and has_tried:
            self._servers.unheard()
            return None if is_slow else exchange.FAILED
        return failure

    async def _is_there(self, server: Server) -> bool:
        self.queries += 1
        try:
            await self._exchange.ask(self._reactor, server, "", "NS", PROBE_S)
        except (OSError, self._exchange.Silent):
            return False
        except self._exchange.Broken:
            self.broken += 1
        return True


def _hush(event: object) -> None:
    """For who wants to hear nothing."""
