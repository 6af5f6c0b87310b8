"""The two legs of a gateway without sockets, and the mail server behind it: for tests, and for what is tried.

What `net.front` and `net.back` do with sockets, these do at once or in the next turn (whoever made them calls the turns
until nobody has more to say). They hold the same ports of `interfaces`, so that the engine cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpgate.interfaces import ClientGone, IConnector, IFrontLeg, ILinkEdge
from smtpgate.policy.transaction import TLSFacts
from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import Command
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import NEED_DATA, PAUSED, EndOfData, ServerConnection, Violation, WireRules
from smtpgate.tasks import Signal

_OFFERED = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE 104857600")


class Turns(Protocol):
    """What is to be done when the one who asked has returned; a deque is one."""

    def append(self, call: Callable[[], object], /) -> None: ...


@attrs.frozen
class Delivered:
    """A message as the backend got it."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Backend:
    """The mail server behind: it takes everything, or answers as it is told.

    :ivar messages: what it got, whole
    :ivar answers: its replies where they are not 250: by MAIL, RCPT, DATA or END, as "550 5.1.1 No such user";
        "" is silence
    :ivar tls: what a leg to it is protected with, where it is to offer STARTTLS
    :ivar keeps: whether it keeps content
    """

    def __init__(self, tls: TLSFacts | None = None, keeps: bool = True) -> None:
        self.messages: list[Delivered] = []
        self.answers: dict[str, str] = {}
        self.tls = tls
        self.keeps = keeps


class NoStore:
    """A ledger store that keeps nothing."""

    def put(self, rows: Iterable[Any]) -> Deferred[None]:
        """Forget rows."""
        return succeed(None)


@implementer(IFrontLeg)
class Front:
    """The leg to a client without a socket.

    :ivar tls: what STARTTLS comes to; None where there is no TLS
    :ivar on_said: called when there is something to hear, or the end
    """

    def __init__(self, rules: WireRules, peer: tuple[str, int], tls: TLSFacts | None = None) -> None:
        self.tls = tls
        self.on_said: Callable[[], object] | None = None
        self.wire = ServerConnection(rules)
        self.peer = peer
        self.said = b""
        self.is_open = True
        self.is_full = self.has_unsent = False
        self.gone: ClientGone | None = None
        self.on_gone: Callable[[ClientGone], None] | None = None
        self.octets_in = self.octets_out = 0
        self._input = Signal()

    @property
    def is_gone(self) -> bool:
        return self.gone is not None

    def local(self) -> tuple[str, int]:
        return "192.0.2.25", 25

    def received(self, octets: bytes) -> None:
        if not self.is_open or self.gone is not None:
            raise ConnectionError("the connection is over")
        self.octets_in += len(octets)
        self.wire.receive(octets)
        if self._input.task is not None:
            self._input.fire()

    def hang_up(self) -> None:
        self.gone = ClientGone("connection reset")
        if self._input.task is not None:
            self._input.fail(self.gone)
        elif self.on_gone is not None:
            self.on_gone(self.gone)

    async def event(self, deadline: float) -> Any:
        while (event := self.wire.next_event()) is NEED_DATA:
            await self.input(deadline)
        return event

    def input(self, deadline: float) -> Signal:
        if self.gone is not None:
            raise self.gone
        self.flush()
        self._input.deadline = deadline
        return self._input

    async def sent(self, deadline: float) -> None:
        return None

    def flush(self) -> None:
        self.write(self.wire.take_output())

    def write(self, octets: bytes) -> None:
        self.octets_out += len(octets)
        self.said += octets
        if octets and self.on_said is not None:
            self.on_said()

    async def start_tls(self, tls: Any, deadline: float) -> TLSFacts:
        if self.tls is None:
            raise ClientGone("there is no TLS in memory")
        self.flush()
        self.wire.tls_started()
        return self.tls

    async def proxy_header(self, deadline: float) -> Any:
        raise ClientGone("there is no PROXY header in memory")

    def close(self, linger: bool = False) -> None:
        self.flush()
        self.abort()

    def abort(self) -> None:
        self.is_open = False
        if self.on_said is not None:
            self.on_said()


@implementer(IConnector)
class Connector:
    """Opens legs to the backend."""

    def __init__(self, turns: Turns, backend: Backend) -> None:
        self._turns = turns
        self._backend = backend

    def connect(self, address: Any, owner: Any, host: str, server_first: bool) -> Back:
        return Back(self._turns, self._backend, owner)

    def resolve(self, host: str, port: int) -> Deferred[list[Any]]:
        return succeed([(2, (host, port))])


@implementer(ILinkEdge)
class Back:
    """The leg to the backend, with the server at its end."""

    def __init__(self, turns: Turns, backend: Backend, owner: Any) -> None:
        self.is_open = True
        self.is_full = False
        self.is_connected = True
        self.tls_fault = ""
        self._turns = turns
        self._backend = backend
        self._owner = owner
        self._wire = ServerConnection(WireRules(has_starttls=backend.tls is not None))
        self._sender = ""
        self._recipients: list[str] = []
        self._content: list[bytes] = []
        self._later(owner.connected)
        self._wire.greet(b"220 backend.example.net ESMTP\r\n")
        self._answer()

    def _later(self, call: Callable[..., object], *args: object) -> None:
        self._turns.append(lambda: call(*args) if self.is_open else None)

    def local(self) -> tuple[str, int]:
        return "127.0.0.1", 40000

    def remote(self) -> tuple[str, int]:
        return "127.0.0.1", 26

    def write(self, octets: bytes) -> None:
        self._later(self._hear, octets)

    def start_tls(self, tls: Any) -> None:
        if self._backend.tls is None:
            raise NotImplementedError("there is no TLS in memory")
        self._wire.tls_started()
        self._later(self._owner.tls_started, self._backend.tls)

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open = False

    def _answer(self) -> None:
        said = self._wire.take_output()
        if said:
            self._later(self._owner.received, said)

    def _hear(self, octets: bytes) -> None:
        self._wire.receive(octets)
        while True:
            event = self._wire.next_event()
            if event is NEED_DATA or event is PAUSED:
                break
            if isinstance(event, Chunk):
                if self._backend.keeps:
                    self._content.append(event.content)
            elif isinstance(event, Violation):
                self._wire.reply(event, event.suggested)
            elif isinstance(event, Command | EndOfData):
                reply = self._reply(event)
                if reply is not None:
                    self._wire.reply(event, reply)
        self._answer()

    def _reply(self, event: Command | EndOfData) -> Reply | None:
        told = self._backend.answers.get(event.verb if isinstance(event, Command) else "END" if event.is_last else "")
        if told is not None:
            if not told:
                return None
            code, enhanced, text = told.split(" ", 2)
            return Reply(int(code), enhanced, (text,))
        if isinstance(event, EndOfData):
            if event.is_last:
                content = b"".join(self._content)
                self._backend.messages.append(Delivered(self._sender, tuple(self._recipients), content))
            return status.ACCEPTED
        if event.verb in ("EHLO", "LHLO"):
            offered = (*_OFFERED, *(("STARTTLS",) if self._backend.tls is not None and not self._wire.is_tls else ()))
            self._wire.offer(Capabilities({word.split(" ")[0]: word.partition(" ")[2] for word in offered}))
            return Reply(250, "", ("backend.example.net", *offered))
        if event.verb == "STARTTLS":
            return status.START_TLS
        if event.verb == "MAIL":
            self._sender, self._recipients, self._content = str(event.path), [], []
        elif event.verb == "RCPT":
            self._recipients.append(str(event.path))
        return {"DATA": status.START_DATA, "QUIT": status.GOODBYE}.get(event.verb, status.ACCEPTED)
