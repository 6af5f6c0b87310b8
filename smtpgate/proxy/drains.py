"""What an administrator said of servers: out of service, or another weight, until a time or until it is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from smtpgate.proxy.pool import Pool
from smtpgate.proxy.said import Said
from smtpgate.proxy.server import ServerState
from smtpgate.tasks import Clock

Pools = Callable[[], Iterable[Mapping[str, Pool]]]


@attrs.frozen
class Drain:
    """One server out of service. Times are seconds since the epoch.

    :ivar until: 0.0 until somebody says ready
    :ivar kind: "maint": it is not looked at either
    """

    reason: str
    since: float
    until: float = 0.0
    kind: Literal["drain", "maint"] = "drain"


@attrs.frozen
class Weight:
    """Another weight than the configured one."""

    reason: str
    since: float
    until: float
    weight: int


def _servers(pools: Pools, backend: str, name: str) -> Iterator[tuple[Pool, ServerState]]:
    """A server in each revision that has sessions."""
    for known in pools():
        pool = known.get(backend)
        server = pool.server(name) if pool is not None else None
        if pool is not None and server is not None:
            yield pool, server


class Drains(Said[Drain]):
    """Servers out of service, by backend and server."""

    def __init__(self, clock: Clock, wall: Callable[[], float], pools: Pools, tell: Callable[[Any], None]) -> None:
        """
        :param pools: of each revision that has sessions
        """
        words = "{0}: {1} is in service again: it was drained until now"
        super().__init__(clock, wall, tell, Drain, ("drain.over", words))
        self._pools = pools

    def drain(
        self,
        backend: str,
        server: str,
        reason: str,
        seconds: float = 0.0,
        kind: Literal["drain", "maint"] = "drain",
    ) -> None:
        """Out of service from now on; for so long, or until somebody says ready."""
        self.say((backend, server), Drain(reason, self._wall(), self.until(seconds), kind))

    def ready(self, backend: str, server: str) -> None:
        """Into service again."""
        self.take_back((backend, server))

    def _end(self, place: tuple[str, str]) -> None:
        for pool, server in _servers(self._pools, *place):
            pool.ready(server)

    def apply(self) -> None:
        """Tell all pools: sessions that began before a reload hear of it too."""
        for (backend, name), drain in self._known.items():
            for pool, server in _servers(self._pools, backend, name):
                pool.drain(server, drain.reason, drain.kind == "maint")


class Weights(Said[Weight]):
    """Weights that are not the configured ones, by backend and server."""

    def __init__(self, clock: Clock, wall: Callable[[], float], pools: Pools, tell: Callable[[Any], None]) -> None:
        """
        :param pools: of each revision that has sessions
        """
        words = "{0}: {1} has its configured weight again"
        super().__init__(clock, wall, tell, Weight, ("weight.over", words))
        self._pools = pools

    def set(self, backend: str, server: str, weight: int, reason: str, seconds: float = 0.0) -> None:
        """That weight from now on; for so long, or until it is taken back."""
        self.say((backend, server), Weight(reason, self._wall(), self.until(seconds), weight))

    def _end(self, place: tuple[str, str]) -> None:
        for _, server in _servers(self._pools, *place):
            server.own_weight = 0

    def apply(self) -> None:
        """Tell all pools."""
        for (backend, name), one in self._known.items():
            for _, server in _servers(self._pools, backend, name):
                server.own_weight = one.weight
