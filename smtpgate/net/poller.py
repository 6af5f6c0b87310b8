"""One epoll set of our own inside the reactor's.

The reactor watches a single descriptor, ours, and hands over once for a whole batch of ready sockets. Against
`reactor.addReader` for each socket that saves a call through the log context for every event and an epoll_ctl for
every change of mind, some 3 microseconds each, ten times a message.

Where the platform has no epoll, `ReactorPoller` does the same work with the reactor's own means.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from twisted.logger import Logger
from zope.interface import implementer

READ = 1
WRITE = 4
#: Error or hang-up: always watched.
BROKEN = 8 | 16

#: Sockets served in one go, and how long so before the reactor's timers and its other readers get their turn: a turn
#: of the reactor costs as much as an event. What was not served is ready still, and the kernel gives those first that
#: it has not named (epoll(7)).
_BATCH = 32
TURN_S = 0.004


class Descriptor(Protocol):
    """What the poller watches."""

    def fileno(self) -> int: ...

    def ready(self, events: int) -> None:
        """READ, WRITE or BROKEN happened."""

    def crashed(self) -> None:
        """`ready` raised: end it, whatever state it is in."""


class Sender(Protocol):
    """Who has something to send when all that is ready has been served."""

    def send_late(self) -> None: ...


@implementer(IReadDescriptor)
class EpollPoller:
    """The set, and the one reader that the reactor sees.

    :ivar late: while several sockets are served in one go: those that have something to send at its end, so that who
        is on the other side is woken once and not for each of them; else None, and what is written is sent at once
    """

    _log = Logger(namespace="smtpgate.net.poller")

    def __init__(self, reactor: Any, seconds: Callable[[], float] = monotonic) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._epoll = select.epoll()
        self._descriptors: dict[int, Descriptor] = {}
        self.late: list[Sender] | None = None
        reactor.addReader(self)

    def __len__(self) -> int:
        return len(self._descriptors)

    def fileno(self) -> int:
        """The set's own descriptor; -1 once closed (the reactor asks)."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        """For the reactor's log context."""
        return "smtpgate"

    def doRead(self) -> None:
        """Serve what is ready, and while there is much of it what has become so meanwhile."""
        until = self._seconds() + TURN_S
        while True:
            batch = self._epoll.poll(0, _BATCH)
            self._serve(batch)
            if len(batch) < 2 or self._seconds() > until:
                return

    def _serve(self, batch: list[tuple[int, int]]) -> None:
        descriptors = self._descriptors
        # A number may be closed and given anew while the batch is served: its event was for whom was watched then.
        ready = [(fd, events, descriptors.get(fd)) for fd, events in batch]
        late: list[Sender] | None
        late = self.late = [] if len(batch) > 1 else None
        for fd, events, descriptor in ready:
            if descriptor is None or descriptors.get(fd) is not descriptor:
                continue
            try:
                descriptor.ready(events)
            except BaseException:
                # Whatever is raised here would end the reading of all others.
                self._log.failure("a connection crashed")
                descriptor.crashed()
        if late is not None:
            # It may grow while it is gone through.
            for sender in late:
                sender.send_late()
            self.late = None

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""
        self._epoll.close()

    def add(self, descriptor: Descriptor, events: int) -> None:
        """Watch a descriptor."""
        fd = descriptor.fileno()
        self._descriptors[fd] = descriptor
        self._epoll.register(fd, events)

    def change(self, descriptor: Descriptor, events: int) -> None:
        """Watch it for something else."""
        self._epoll.modify(descriptor.fileno(), events)

    def remove(self, descriptor: Descriptor) -> None:
        """Watch it no longer. Call before it is closed."""
        fd = descriptor.fileno()
        if self._descriptors.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget(self, descriptor: Descriptor) -> None:
        """Watch it no longer; it is closed next, which takes it out of the kernel's set (epoll(7), question 6)."""
        self._descriptors.pop(descriptor.fileno(), None)

    def close(self) -> None:
        """Give the set up."""
        self._reactor.removeReader(self)
        self._epoll.close()


@implementer(IReadWriteDescriptor)
class _ReactorDescriptor:
    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._fd = descriptor.fileno()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "smtpgate"

    def doRead(self) -> None:
        self._descriptor.ready(READ)

    def doWrite(self) -> None:
        self._descriptor.ready(WRITE)

    def connectionLost(self, reason: object) -> None:
        self._descriptor.ready(READ | BROKEN)


class ReactorPoller:
    """The same, by addReader and addWriter: for platforms without epoll."""

    late: Final = None

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._watched: dict[Descriptor, _ReactorDescriptor] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, descriptor: Descriptor, events: int) -> None:
        """Watch a descriptor."""
        self._watched[descriptor] = _ReactorDescriptor(descriptor)
        self.change(descriptor, events)

    def change(self, descriptor: Descriptor, events: int) -> None:
        """Watch it for something else."""
        watched = self._watched[descriptor]
        (self._reactor.addReader if events & READ else self._reactor.removeReader)(watched)
        (self._reactor.addWriter if events & WRITE else self._reactor.removeWriter)(watched)

    def remove(self, descriptor: Descriptor) -> None:
        """Watch it no longer."""
        watched = self._watched.pop(descriptor, None)
        if watched is not None:
            self._reactor.removeReader(watched)
            self._reactor.removeWriter(watched)

    forget = remove

    def close(self) -> None:
        """Nothing to give up."""


def make_poller(reactor: Any) -> EpollPoller | ReactorPoller:
    """The poller that fits the platform."""
    return EpollPoller(reactor) if hasattr(select, "epoll") else ReactorPoller(reactor)
