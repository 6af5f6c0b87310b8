"""Against guessing and against being kept busy: delays after failed logins, and a narrow gate before the
hashing.

A failed login makes the next one of that account from that network wait, twice as long each time; nobody is
locked out for good, and nobody can lock out another who comes from elsewhere. The gate lets two passwords be
hashed at once (a hash takes a quarter of a second and 64 MiB) and holds a short queue; what comes beyond it
is told to come back.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from smtpgate.interfaces import Unavailable

#: Failures that cost nothing: people mistype.
FREE_FAILURES = 3
#: The same for a whole network, over all accounts.
FREE_NETWORK_FAILURES = 20
LONGEST_DELAY_S = 900.0
#: A failure is forgotten after so long.
MEMORY_S = 3600.0
#: Keys held; the oldest is forgotten first.
KEYS = 10_000
#: Passwords hashed at once, and those that may wait for it.
HASHES_AT_ONCE = 2
HASHES_WAITING = 16


class TooMany(Exception):
    """Not now; `seconds` says when."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"try again in {seconds:.0f} s")
        self.seconds = max(1.0, seconds)


def network_of(address: str) -> str:
    """What an address is counted by: an IPv4 /24 or an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 64), strict=False))


class Throttle:
    """Failures by account and network, and by network."""

    def __init__(self, seconds: Callable[[], float], longest_s: float = LONGEST_DELAY_S) -> None:
        """
        :param seconds: a clock
        :param longest_s: nobody waits longer
        """
        self._seconds = seconds
        self._longest_s = longest_s
        #: key to (failures, when the last one was)
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def check(self, account: str, address: str) -> None:
        """Raises TooMany where this login has to wait."""
        network = network_of(address)
        wait = max(
            self._wait((account.casefold(), network), FREE_FAILURES),
            self._wait(("", network), FREE_NETWORK_FAILURES),
        )
        if wait > 0:
            raise TooMany(wait)

    def _wait(self, key: tuple[str, str], free: int) -> float:
        failures, last = self._failures.get(key, (0, 0.0))
        if failures < free:
            return 0.0
        delay = min(2.0 ** min(failures - free, 12), self._longest_s)
        now = self._seconds()
        if last > now:
            # The clock was set back: nobody waits until it is what it was.
            last = now
            self._failures[key] = failures, now
        return float(last + delay - now)

    def failed(self, account: str, address: str) -> None:
        """A login failed."""
        network = network_of(address)
        now = self._seconds()
        for key in ((account.casefold(), network), ("", network)):
            count, last = self._failures.pop(key, (0, now))
            self._failures[key] = (1 if now - last > MEMORY_S else count + 1, now)
        while len(self._failures) > KEYS:
            self._failures.popitem(last=False)

    def passed(self, account: str, address: str) -> None:
        """A login succeeded: this account starts anew from there."""
        self._failures.pop((account.casefold(), network_of(address)), None)


class Gate:
    """Runs costly calls, few at once."""

    def __init__(self) -> None:
        self._semaphore = DeferredSemaphore(HASHES_AT_ONCE)
        self._inside = 0

    async def run(self, call: Callable[..., Any], *args: object) -> Any:
        """Await a call that gives an awaitable; raises TooMany where the queue is full."""
        if self._inside >= HASHES_AT_ONCE + HASHES_WAITING:
            raise TooMany(2.0)
        self._inside += 1
        try:
            await self._semaphore.acquire()
            try:
                return await call(*args)
            except Unavailable:
                # The turns are shared with the logins of mail clients, and these have them all.
                raise TooMany(2.0) from None
            finally:
                self._semaphore.release()
        finally:
            self._inside -= 1
