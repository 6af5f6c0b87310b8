"""The DNS servers of the site: which are asked first, and whether any of them is alive.

The resolver tells a `Servers` what it hears of each. A server that was silent several times is asked last for a while.
When look-ups end without a word from any server, the servers may be dead, or those of the names that were asked: a
sender chooses the names, and must not be able to switch off what needs the DNS. So they are asked for the root, which
every resolver knows; any answer will do, and only where there is none is there an outage. It lasts until a server says
something.

RFC 9520 section 3.3 (not to ask dead servers over and over).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from smtpgate.policy.event import Happened

Server = tuple[str, int]

#: Servers of /etc/resolv.conf that are used; MAXNS of the C library.
SERVERS: Final = 3
#: Silences in a row after which a server is asked last, and all servers are asked for the root.
SILENCES: Final = 3
#: How long a silent server is asked last.
DEMOTED_S: Final = 30.0
#: How long an outage is taken for granted before the next look-up is let through.
PAUSE_S: Final = 5.0


def system_servers(path: str = "/etc/resolv.conf") -> tuple[Server, ...]:
    """The resolvers of the machine, at most three; that on loopback where the file names none or is not there."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1])
            except ValueError:
                continue
            servers.append((words[1], 53))
    return tuple(servers[:SERVERS]) or (("127.0.0.1", 53),)


class Servers:
    """The servers and what is known of them.

    :ivar is_down: no server answers
    """

    def __init__(
        self,
        servers: Iterable[Server],
        seconds: Callable[[], float],
        is_there: Callable[[Server], Awaitable[bool]],
        tell: Callable[[Any], None],
        lost: Callable[[], None],
        trusts: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """
        Raises ValueError for a server that is named otherwise than by its address.

        :param is_there: asks a server for the root; False where it says nothing
        :param lost: called when an outage begins
        :param trusts: whether the way to an address that is not on this machine is as safe
        """
        self.all = tuple(servers)
        self.is_down = False
        addresses = {one: one[0].partition("%")[0] for one in self.all}
        self._vouching = {one for one, at in addresses.items() if ipaddress.ip_address(at).is_loopback or trusts(at)}
        self._seconds = seconds
        self._is_there = is_there
        self._tell = tell
        self._lost = lost
        self._unheard = 0
        self._silences: dict[Server, int] = {}
        self._demoted: dict[Server, float] = {}
        self._is_probing = False
        self._next_probe = 0.0
        self._probe: Deferred[None] | None = None

    def in_order(self) -> list[Server]:
        """All, those last that were silent."""
        now = self._seconds()
        return sorted(self.all, key=lambda server: self._demoted.get(server, 0.0) > now)

    def may_vouch(self, server: Server) -> bool:
        """Whether its AD bit says something: on the way from elsewhere anybody could have set it."""
        return server in self._vouching

    def silent(self, server: Server) -> None:
        """It did not answer, or is not there."""
        self._silences[server] = self._silences.get(server, 0) + 1
        if self._silences[server] >= SILENCES:
            self._demoted[server] = self._seconds() + DEMOTED_S

    def heard(self, server: Server) -> None:
        """It said something, be it that it failed."""
        self._unheard = 0
        self._silences.pop(server, None)
        self._demoted.pop(server, None)
        if self.is_down:
            self.is_down = False
            self._tell(Happened("resolver.up", "info", f"the resolver at {server[0]} port {server[1]} answers"))

    def unheard(self) -> None:
        """A look-up ended without a word from any."""
        self._unheard += 1
        if self._unheard >= SILENCES and not self.is_down:
            self._find_out()

    def may_try(self) -> bool:
        """Whether a look-up is let through: in an outage one in some seconds."""
        if not self.is_down:
            return True
        if self._is_probing or self._seconds() < self._next_probe:
            return False
        self._find_out()
        return True

    def _find_out(self) -> None:
        if not self._is_probing:
            self._is_probing = True
            self._probe = ensureDeferred(self._ask_all())
            self._probe.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask_all(self) -> None:
        try:
            for server in self.all:
                if await self._is_there(server):
                    self.heard(server)
                    return
        finally:
            self._is_probing = False
        self._next_probe = self._seconds() + PAUSE_S
        self._unheard = 0
        if not self.is_down:
            self.is_down = True
            names = ", ".join(f"{host} port {port}" for host, port in self.all)
            text = f"no resolver answers ({names}): until one does, what needs the DNS finds nothing"
            self._tell(Happened("resolver.down", "error", text))
            self._lost()

    def close(self) -> None:
        """Stop asking."""
        if self._is_probing and self._probe is not None:
            self._probe.cancel()
