"""Listening sockets: made by Twisted's endpoints or handed over (`net.handed`), accepted from by our own acceptors.

`Ports.change` takes the whole wanted set: what is new is bound before anything old is closed, and when one cannot be
bound nothing has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol

from smtpgate.config.endpoint import parse_listen
from smtpgate.net.front import Acceptor
from smtpgate.net.handed import Handed, handed

#: Connections that the kernel queues before we accept them; the kernel's own cap (somaxconn) may be lower.
BACKLOG = 1024


class BindFailed(Exception):
    """An endpoint cannot be listened on; the text says which and why."""


class _Nobody(Factory):
    """The endpoint wants a factory; connections never reach it, since our acceptor reads the socket."""

    protocol = Protocol
    noisy = False


class Ports:
    """The listening sockets of all listeners, by (listener name, endpoint).

    :ivar given: sockets that were handed over
    """

    def __init__(
        self, reactor: Any, make_acceptor: Callable[[str, Any], Acceptor], given: Handed | None = None
    ) -> None:
        """
        :param make_acceptor: gets listener name and listening socket
        :param given: sockets that were handed over; without it those of this process
        """
        self._reactor = reactor
        self.given = given if given is not None else handed(reactor, os.environ)
        self._make_acceptor = make_acceptor
        self._open: dict[tuple[str, str], tuple[Any, Acceptor]] = {}

    @property
    def acceptors(self) -> Mapping[tuple[str, str], Acceptor]:
        """Those at work."""
        return {place: pair[1] for place, pair in self._open.items()}

    async def change(self, wanted: set[tuple[str, str]]) -> None:
        """Listen on exactly these. Raises BindFailed with everything as it was."""
        fresh: dict[tuple[str, str], Any] = {}
        for place in sorted(wanted - set(self._open)):
            try:
                fresh[place] = await self._listen(place[1])
            except Exception as error:
                for port in fresh.values():
                    await maybeDeferred(port.stopListening)
                reason = getattr(error, "socketError", None) or error
                raise BindFailed(f"{place[0]}: cannot listen on {place[1]}: {reason}") from error
        for place, port in fresh.items():
            port.stopReading()
            self._open[place] = (port, self._make_acceptor(place[0], port.socket))
        # Not waited for: until the caller has put its new settings to work, no turn of the reactor may pass.
        for place in set(self._open) - wanted:
            self._close(place)

    def _listen(self, description: str) -> Deferred[Any]:
        endpoint = parse_listen(description)
        if endpoint.kind == "systemd":
            return execute(self.given.listen, endpoint.domain, endpoint.handed)
        if description.startswith("tcp:") and "backlog=" not in description:
            description += f":backlog={BACKLOG}"
        return serverFromString(self._reactor, description).listen(_Nobody())

    def _close(self, place: tuple[str, str]) -> Deferred[Any]:
        port, acceptor = self._open.pop(place)
        acceptor.close()
        return maybeDeferred(port.stopListening)

    async def close(self) -> None:
        """Listen no more."""
        for place in list(self._open):
            await self._close(place)

    def addresses(self) -> list[tuple[str, str, Any]]:
        """Listener name, endpoint and bound address of each."""
        return [(name, endpoint, pair[0].getHost()) for (name, endpoint), pair in self._open.items()]
