"""Listening sockets that a service manager holds and hands over: `systemd:` endpoints (sd_listen_fds(3)).

The manager keeps them open while the gateway is started anew: clients that come meanwhile wait in the kernel's queue,
and none is refused. What listens here is a duplicate; the descriptor that was handed over stays open as long as the
process, so that a reload may give a listener up and take it again, and the path of a unix socket stays.

What would go wrong without a word is refused: a name that two sockets have (a socket unit with two `ListenStream` lines
gives both its own, and clients of the other would wait for ever), and a domain that is not the socket's.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString

from smtpgate.config.endpoint import Endpoint


class HandedPort:
    """A duplicate of a socket that was handed over, as far as a port of Twisted's is needed here."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def stopReading(self) -> None:
        """Nothing reads it yet."""

    def stopListening(self) -> None:
        """Ours alone is closed: the manager's goes on to take clients in."""
        self.socket.close()

    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """Where it listens."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return UNIXAddress(name)
        return (IPv6Address if self.socket.family == socket.AF_INET6 else IPv4Address)("TCP", *name[:2])


@attrs.frozen
class Handed:
    """What was handed over.

    :ivar descriptors: of the sockets, in their order
    :ivar names: one for each (`FileDescriptorName`)
    """

    descriptors: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def listen(self, domain: str, which: str) -> HandedPort:
        """Listen on one of them; OSError says what is wrong.

        :param which: "name=smtp" or "index=0"
        """
        kind, _, value = which.partition("=")
        descriptor = self._named(value) if kind == "name" else self._at(int(value))
        made = socket.socket(fileno=os.dup(descriptor))
        os.set_inheritable(descriptor, False)
        family = made.family.name.removeprefix("AF_")
        if family != domain:
            made.close()
            raise OSError(f"that socket is of domain={family}")
        if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            made.close()
            raise OSError("that socket does not listen (Accept=no is needed in the socket unit)")
        return HandedPort(made)

    def unused(self, endpoints: Iterable[Endpoint]) -> list[str]:
        """Names of those that no endpoint listens on: their clients would wait for nobody."""
        used = {one.handed for one in endpoints}
        return [
            name for index, name in enumerate(self.names) if f"name={name}" not in used and f"index={index}" not in used
        ]

    def _named(self, name: str) -> int:
        found = [number for number, one in zip(self.descriptors, self.names) if one == name]
        if not found:
            raise OSError(f"no socket of that name was handed over; {self._said()}")
        if len(found) > 1:
            raise OSError(f"{len(found)} sockets have that name: give each a socket unit of its own")
        return found[0]

    def _at(self, index: int) -> int:
        if index >= len(self.descriptors):
            raise OSError(f"no socket of that number was handed over; {self._said()}")
        return self.descriptors[index]

    def _said(self) -> str:
        if not self.descriptors:
            return "none was: is the socket unit started?"
        return f"there are {', '.join(self.names)}"


def handed(reactor: Any, environ: Mapping[str, str]) -> Handed:
    """What this process was handed. Twisted has taken the count out of the environment by now, and knows it."""
    found = []
    for index in itertools.count():
        try:
            found.append(serverFromString(reactor, f"systemd:domain=INET:index={index}").fileno)
        except IndexError:
            break
    return Handed(tuple(found), tuple(environ.get("LISTEN_FDNAMES", "").split(":"))[: len(found)])


__all__ = ["Handed", "HandedPort", "handed"]
