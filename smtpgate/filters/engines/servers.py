"""The servers of one engine: whom to ask, how many questions at once, and when to leave one alone.

A filter has one `Servers` for each revision. `ask` gives the answer of the first server that has one; the idlest is
asked first, so that one server is used alone while it keeps up and all are used under load. A server that fails several
times in a row is left alone for a pause that doubles with each failure after it, and then gets one question as a trial;
each change is told once. While all are left alone a question fails at once: nobody waits for what is known to be away.

`lend` gives a server for a conversation that is not one question, as an upload or a milter's session.

Promised: every place is given back, whatever ends the work. Refused: judging a server by a client that went away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred

from smtpgate.interfaces import HTTPFailed, ServiceFailed, StreamClosed
from smtpgate.policy.event import Happened
from smtpgate.policy.standing import ServerStanding

#: First pause of a server that fails, and the longest: Haraka and rspamd wait a minute for an upstream that is dead.
PAUSE_S: Final = 2.0
PAUSE_MOST_S: Final = 60.0
#: What is told of a reason.
REASON_LETTERS: Final = 300

T = TypeVar("T")


class EngineFailed(ServiceFailed):
    """An engine gave no answer that could be used; the text says why."""


class BadAnswer(EngineFailed):
    """What an engine said is nothing that it may say."""


#: What counts against a server. Others are faults of ours, or of the message.
FAILURES: Final = (EngineFailed, StreamClosed, HTTPFailed, TimeoutError)


class Places:
    """So many at work, and a few who wait for it in their order."""

    def __init__(self, count: int, waiting: int) -> None:
        self._count = count
        self._most_waiting = waiting
        self._waiting: deque[Deferred[None]] = deque()
        self.free = count
        #: Who is served may be done at once, and the next one within it: too deep a nest for as many as wait.
        self._is_serving = False

    @property
    def is_calm(self) -> bool:
        """At least half of them are free."""
        return 2 * self.free >= self._count and self.free > 0

    async def take(self) -> None:
        """Await a place. Raises EngineFailed where too many wait already."""
        if self.free:
            self.free -= 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise EngineFailed(f"busy: {self._count} at work and {len(self._waiting)} waiting")
        place: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(place)
        await place

    def give(self) -> None:
        """Give one back; who has waited longest has it."""
        self.free += 1
        if self._is_serving:
            return
        self._is_serving = True
        while self._waiting and self.free:
            self.free -= 1
            self._waiting.popleft().callback(None)
        self._is_serving = False


@attrs.define(eq=False)
class Server:
    """One server.

    :ivar busy: conversations with it
    :ivar is_down: it is left alone until `_again`
    """

    endpoint: str
    most_failures: int
    busy: int = 0
    is_down: bool = False
    _failures: int = 0
    _again: float = 0.0
    _pause_s: float = 0.0
    _is_tried: bool = False

    def is_open(self, now: float) -> bool:
        """Whether it may be asked now."""
        return not self.is_down or (not self._is_tried and now >= self._again)

    def standing(self, now: float) -> ServerStanding:
        """How it stands."""
        if not self.is_down:
            return ServerStanding(self.endpoint, "up", self._failures, self.busy, 0.0)
        left = max(0.0, self._again - now)
        return ServerStanding(self.endpoint, "down" if left else "due", self._failures, self.busy, left)

    def begin(self) -> bool:
        """Somebody speaks to it; True where that is the trial of one that was down."""
        self.busy += 1
        if self.is_down:
            self._is_tried = True
        return self.is_down

    def end(self, is_trial: bool) -> None:
        """The conversation is over."""
        self.busy -= 1
        if is_trial:
            self._is_tried = False

    def works(self) -> bool:
        """It answered; True where that is news."""
        was_down, self.is_down, self._failures, self._pause_s = self.is_down, False, 0, 0.0
        return was_down

    def fails(self, now: float) -> bool:
        """It did not; True where it is left alone from now on, and was not before."""
        self._failures += 1
        if self._failures < self.most_failures:
            return False
        was_down, self.is_down = self.is_down, True
        if not was_down or now >= self._again:
            # Of several who were on their way to it together only the first makes the pause longer.
            self._pause_s = min(max(PAUSE_S, 2 * self._pause_s), PAUSE_MOST_S)
            self._again = now + self._pause_s
        return not was_down


class Loan:
    """A server for one conversation. `release` must be called once; `works` or `fails` say what came of it."""

    def __init__(self, servers: Servers, server: Server) -> None:
        self.endpoint = server.endpoint
        self._servers = servers
        self._server = server
        self._is_over = False
        self._is_trial = server.begin()

    def works(self) -> None:
        """It answered as it should."""
        self._servers.tell_up(self._server)

    def fails(self, reason: str) -> None:
        """It did not."""
        self._servers.tell_down(self._server, reason)

    def release(self) -> None:
        """Give it back."""
        if not self._is_over:
            self._is_over = True
            self._server.end(self._is_trial)
            self._servers.places.give()


class Servers:
    """All servers of one engine."""

    def __init__(
        self, name: str, endpoints: Iterable[str], services: Any, connections: int, waiting: int, failures: int
    ) -> None:
        """
        :param name: of the filter, for what is told
        :param connections: conversations at one time, over all servers; `waiting` more may wait
        :param failures: so many in a row and a server is left alone
        """
        self.places = Places(connections, waiting)
        self._name = name
        self._services = services
        self._servers = [Server(endpoint, failures) for endpoint in endpoints]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Their names, in the order of the configuration."""
        return tuple(server.endpoint for server in self._servers)

    def standing(self) -> tuple[ServerStanding, ...]:
        """How each stands, in the order of the configuration."""
        now = self._services.clock.seconds()
        return tuple(server.standing(now) for server in self._servers)

    async def ask(self, question: Callable[[str], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """The first answer that a server gives.

        :param question: called with an endpoint; what it raises of `FAILURES` is that server's failure, and the next
            is asked. All else passes through
        :param timeout_s: for each server
        Raises EngineFailed where none answers.
        """
        await self.places.take()
        tried: set[Server] = set()
        reasons: list[str] = []
        try:
            while (server := self._idlest(tried)) is not None:
                tried.add(server)
                is_trial = server.begin()
                try:
                    answer: T = await ensureDeferred(question(server.endpoint)).addTimeout(
                        timeout_s, self._services.clock
                    )
                except FAILURES as error:
                    reasons.append(f"{server.endpoint}: {reason_of(error, timeout_s)}")
                    self.tell_down(server, reason_of(error, timeout_s))
                else:
                    self.tell_up(server)
                    return answer
                finally:
                    server.end(is_trial)
        finally:
            self.places.give()
        raise EngineFailed("; ".join(reasons)[: 2 * REASON_LETTERS] or self._left_alone())

    def lend(self, *, is_calm: bool = False) -> Loan | None:
        """A server without waiting; None where there is no place, or all are left alone.

        :param is_calm: only where at least half of the places are free
        """
        server = self._idlest(())
        if server is None or not self.places.free or is_calm and not self.places.is_calm:
            return None
        self.places.free -= 1
        return Loan(self, server)

    async def borrow(self, tried: Iterable[str] = ()) -> Loan | None:
        """A server, after waiting for a place; None where all but those tried are left alone."""
        await self.places.take()
        server = self._idlest([one for one in self._servers if one.endpoint in tried])
        if server is None:
            self.places.give()
            return None
        return Loan(self, server)

    def _left_alone(self) -> str:
        return f"no server to ask: {', '.join(self.endpoints)} failed before"

    def _idlest(self, but: Iterable[Server]) -> Server | None:
        now = self._services.clock.seconds()
        could = [server for server in self._servers if server not in but and server.is_open(now)]
        return min(could, key=lambda server: server.busy, default=None)

    def tell_up(self, server: Server) -> None:
        """It answered."""
        if server.works():
            message = f"{self._name}: {server.endpoint} answers again"
            fields = (("filter", self._name), ("server", server.endpoint))
            self._services.tell(Happened("engine.up", "info", message, fields))

    def tell_down(self, server: Server, reason: str) -> None:
        """It failed."""
        if server.fails(self._services.clock.seconds()):
            message = f"{self._name}: {server.endpoint} fails and is left alone: {reason}"
            fields = (("filter", self._name), ("server", server.endpoint), ("reason", reason))
            self._services.tell(Happened("engine.down", "error", message, fields))


def reason_of(error: BaseException, timeout_s: float) -> str:
    """Why a server failed, in words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return (str(error) or type(error).__name__)[:REASON_LETTERS]
