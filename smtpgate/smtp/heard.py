"""A front wire that tells what is said over it: for one address that is traced for a while. It does what
`smtp.server.ServerConnection` does; a wire that nobody listens to pays nothing for it.

Told are commands as they were understood, and replies. Never told: what a client says to log in, what is asked of it
there, and content, of which only the size is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smtpgate.smtp.command import Command
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.server import AuthLine, EndOfData, Event, ServerConnection, Violation, WireRules

#: Who spoke (client or gateway), what, and whether something of it is left out.
Hear = Callable[[str, str, bool], None]
#: Letters of one line.
LETTERS = 600


class HeardConnection(ServerConnection):
    """One client connection that somebody listens to."""

    __slots__ = ("_hear", "_octets")

    def __init__(self, rules: WireRules, hear: Hear) -> None:
        super().__init__(rules)
        self._hear = hear
        self._octets = 0

    @classmethod
    def over(cls, wire: ServerConnection, hear: Hear) -> HeardConnection:
        """In the place of a wire, which is not used any more: it goes on where that stands."""
        made = cls(wire._rules, hear)
        for name in ServerConnection.__slots__:
            setattr(made, name, getattr(wire, name))
        made.out = _Out(wire.out, hear)
        return made

    def next_event(self) -> Event:
        """The next thing that the client said; and it is told."""
        event = super().next_event()
        if isinstance(event, Chunk):
            self._octets += len(event.octets) - (event.dots if event.octets is event.wire else 0)
        elif isinstance(event, Command | Violation | EndOfData | AuthLine):
            self._tell(event)
        return event

    def _tell(self, event: Any) -> None:
        if type(event) is Command:
            self._hear("client", *words(event))
        elif type(event) is Violation:
            self._hear("client", f"[not understood: {event.verb}, {event.reason}]"[:LETTERS], True)
        elif type(event) is AuthLine:
            self._hear("client", "[hidden]", True)
        else:
            self._hear("client", f"[content: {self._octets} octets, hidden]", True)
            self._octets = 0

    def told(self, octets: bytes) -> None:
        """Something was written past the wire."""
        _tell_out(octets, self._hear)


class _Out(list[bytes]):
    """What is to be written; it is told as it is put there."""

    def __init__(self, octets: list[bytes], hear: Hear) -> None:
        super().__init__(octets)
        self._hear = hear

    def append(self, octets: bytes) -> None:
        """One reply."""
        _tell_out(octets, self._hear)
        super().append(octets)


def _tell_out(octets: bytes, hear: Hear) -> None:
    for line in octets.decode("ascii", "replace").splitlines():
        if line.startswith("334"):
            hear("gateway", "334 [hidden]", True)
        else:
            hear("gateway", line[:LETTERS], False)


def words(command: Command) -> tuple[str, bool]:
    """A command as it was understood, and whether something of it is left out."""
    verb = command.verb
    if verb == "AUTH":
        return f"AUTH {command.mechanism} [hidden]", True
    if verb == "XCLIENT" or verb == "XFORWARD":
        given = command.attributes.items()
        parts = [f"{name}={_text(value) if name != 'LOGIN' else '[hidden]'}" for name, value in given]
        return " ".join([verb, *parts])[:LETTERS], "LOGIN" in command.attributes
    if verb in ("MAIL", "RCPT"):
        said = f"{verb} {'FROM' if verb == 'MAIL' else 'TO'}:<{command.path if command.path is not None else ''}>"
        params = [name if value is None else f"{name}={_text(value)}" for name, value in command.params.items()]
        return " ".join([said, *params])[:LETTERS], False
    if verb == "BDAT":
        return f"BDAT {command.size}{' LAST' if command.is_last else ''}", False
    return f"{verb} {_text(command.argument)}".rstrip()[:LETTERS], False


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
