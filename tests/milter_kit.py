"""A small milter for tests, out of the filter's side of kilter-protocol, which also judges what the gateway says.

`Milter` hears octets and gives octets; a test says what it answers to which event. `MilterPeer` is one at the other end
of a wire in memory, `MilterServer` one on a socket of loopback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kilter.protocol.buffer import SimpleBuffer
from kilter.protocol.core import FilterProtocol
from kilter.protocol.messages import (
    Abort,
    ActionFlags,
    Body,
    Close,
    Connect,
    Continue,
    Data,
    EndOfHeaders,
    EndOfMessage,
    EnvelopeFrom,
    EnvelopeRecipient,
    Header,
    Helo,
    Macro,
    Message,
    Negotiate,
    ProtocolFlags,
)
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from tests.engine_kit import Peer

EVENTS = {
    Connect: "connect",
    Helo: "helo",
    EnvelopeFrom: "mail",
    EnvelopeRecipient: "rcpt",
    Data: "data",
    Header: "header",
    EndOfHeaders: "eoh",
    Body: "body",
    EndOfMessage: "end",
    Abort: "abort",
    Close: "close",
    Negotiate: "negotiate",
}
Answer = Iterable[Message] | bytes | None


def packed(*messages: Message) -> bytes:
    """Messages as octets, whatever the protocol says of them."""
    out = b""
    for message in messages:
        buffer = SimpleBuffer(2_000_000)
        message.pack(buffer)
        out += buffer[:].tobytes()
    return out


class Milter:
    """A milter. `answers` holds what it says, by event: messages, octets, or what makes them; [Continue()] else.

    :ivar heard: (event, its message as text) in order; macros stand in `macros`, by the letter of their event
    :ivar body: all pieces of the body of the last message
    """

    actions = ActionFlags.ALL
    flags = ProtocolFlags.NONE
    version = 6
    symbols: dict[Any, list[str]] = {}

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.events: list[tuple[str, str]] = []
        self.macros: dict[str, dict[str, str]] = {}
        self.body = b""
        self.sizes: list[int] = []
        self._protocol = FilterProtocol()
        self._buffer = SimpleBuffer(1 << 20)

    def names(self) -> list[str]:
        """The events, without the negotiation."""
        return [event for event, _ in self.events if event != "negotiate"]

    def hear(self, octets: bytes) -> bytes:
        """What it says to octets."""
        out = b""
        self._buffer[:] = octets
        for message in self._protocol.read_from(self._buffer):
            out += self._answer(message)
        return out

    def _answer(self, message: Message) -> bytes:
        if isinstance(message, Macro):
            self.macros.setdefault(chr(message.stage), {}).update(message.macros)
            return b""
        event = EVENTS[type(message)]
        self.events.append((event, self._text(message)))
        answer = self.answers.get(event)
        if callable(answer):
            answer = answer(message)
        if isinstance(answer, bytes):
            if event != "negotiate" and self._protocol.needs_response(message):  # type: ignore[arg-type]
                self._protocol.state = None
            return answer
        if not self._protocol.needs_response(message):  # type: ignore[arg-type]
            return b""
        if answer is None:
            if isinstance(message, Negotiate):
                answer = [Negotiate(self.version, self.actions, self.flags, self.symbols)]
            else:
                answer = [Continue()]
        buffer = SimpleBuffer(2_000_000)
        for one in answer:
            self._protocol.write_to(buffer, one)
        return buffer[:].tobytes()

    def _text(self, message: Message) -> str:
        if isinstance(message, EnvelopeFrom):
            return " ".join([bytes(message.sender).decode(), *(bytes(one).decode() for one in message.arguments)])
        if isinstance(message, EnvelopeRecipient):
            return bytes(message.recipient).decode()
        if isinstance(message, Header):
            return f"{message.name}:{bytes(message.value).decode()}"
        if isinstance(message, Body):
            self.body += bytes(message.content)
            self.sizes.append(len(message.content))
            return ""
        if isinstance(message, Connect):
            return f"{message.hostname} {message.address} {message.port}"
        return message.hostname if isinstance(message, Helo) else ""


class MilterPeer(Peer):
    """One in memory."""

    def __init__(self, milter: Milter) -> None:
        super().__init__()
        self.milter = milter

    def heard(self, octets: bytes) -> None:
        said = self.milter.hear(octets)
        if said:
            self.say(said)


class MilterServer:
    """One on a socket; each connection has a milter of its own."""

    def __init__(self, make: Callable[[], Milter]) -> None:
        self.milters: list[Milter] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: _Socket(self.made(make()))  # type: ignore[method-assign]
        self._port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port: int = self._port.getHost().port

    def made(self, milter: Milter) -> Milter:
        """Keep one."""
        self.milters.append(milter)
        return milter

    def close(self) -> Any:
        """End it."""
        return self._port.stopListening()


class _Socket(Protocol):
    def __init__(self, milter: Milter) -> None:
        self._milter = milter

    def dataReceived(self, data: bytes) -> None:
        said = self._milter.hear(data)
        if said:
            self.transport.write(said)  # type: ignore[union-attr]
