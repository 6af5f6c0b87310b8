"""The back wire machine: commands to a backend go out, its replies come back in step.

Its owner registers each command with `send` (which gives the octets to write), feeds what comes to `receive`, and gets
`Answer` values: one reply for each command, in order. A reply that no command waits for, one of a kind that its
command cannot have (a 354 to RCPT, a 250 to DATA), and one that breaks the grammar are a `Desync`: no later reply of
that connection can be trusted, so it is given up (promise 5, P-070, P-211, P-214).

RFC 5321 section 4.2, 4.3.2; RFC 2920 section 3.1; RFC 3207; RFC 4954; RFC 2033; draft-hall-prdr-00.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from smtpgate.smtp.framing import Chunk, DotEncoder
from smtpgate.smtp.reply import BadReply, Reply, ReplyReader

#: Positive codes that any command of mail may get. Rare ones count by their first digit, but 235 says that a login was
#: good: to another command it is the reply to something else.
_DONE: Final = frozenset(range(200, 300)) - {235}
_REFUSED: Final = frozenset(range(400, 600))
#: Codes that each kind of command may get.
_FITTING: Final = {
    kind: positive | _REFUSED
    for kind, positive in {
        "GREETING": frozenset(range(200, 300)),
        "EHLO": frozenset(range(200, 300)),
        "HELO": frozenset(range(200, 300)),
        "STARTTLS": {220},
        "XCLIENT": {220},
        "XFORWARD": frozenset(range(200, 300)),
        "AUTH": {235, 334},
        "MAIL": _DONE,
        "RCPT": _DONE,
        "DATA": {354},
        "BDAT": _DONE,
        "END": _DONE,
        # The end of data of a message with PRDR: one reply, or 353 and then one a recipient and one for the message.
        "EACH": _DONE | {353},
        "RSET": _DONE,
        "QUIT": frozenset(range(200, 300)),
    }.items()
}


@attrs.frozen
class Desync:
    """The backend is out of step, or does not speak SMTP.

    :ivar reply: set when the backend said goodbye on its own (421), which is no fault of grammar
    """

    reason: str
    octets: bytes = b""
    reply: Reply | None = None


class ClientConnection:
    """One backend connection, without the connection. It waits for the greeting first.

    :ivar early: a 4yz or 5yz that came while content was still on its way (P-102)
    """

    __slots__ = ("early", "is_closing", "_reader", "_waiting", "_in_data", "_encoder", "_each")

    def __init__(self) -> None:
        self.early: Reply | None = None
        self.is_closing = False
        self._reader = ReplyReader()
        self._waiting: deque[str] = deque(("GREETING",))
        self._in_data = False
        self._encoder: DotEncoder | None = None
        self._each = 0

    @property
    def is_idle(self) -> bool:
        """True when no reply is due and none has begun."""
        return not self._waiting and not self._reader.pending and not self._in_data

    @property
    def has_unread(self) -> bool:
        """True when octets of a reply came that no one asked for yet (behind the 220 to STARTTLS: an attack)."""
        return self._reader.pending

    @property
    def waiting(self) -> int:
        """How many replies are due."""
        return len(self._waiting)

    def send(self, kind: str, line: bytes) -> bytes:
        """Register a command that will be written."""
        self._waiting.append(kind)
        return line

    def send_last(self, line: bytes, each: int) -> bytes:
        """Register the end of data.

        :param each: for so many recipients the server may answer one by one (PRDR); 0: it answers once
        """
        self._each = each
        return self.send("EACH" if each else "END", line)

    def start_data(self) -> None:
        """The 354 is there: what `content` gives may be written."""
        self._in_data = True
        self._encoder = DotEncoder()

    def content(self, chunk: Chunk) -> bytes:
        """A chunk in the form that goes over the wire of a DATA phase."""
        assert self._encoder is not None
        return self._encoder.encode(chunk)

    def end_data(self, each: int = 0) -> bytes:
        """The terminator. It is the point of no return: only after a passing verdict.

        :param each: as in `send_last`
        """
        assert self._encoder is not None
        self._in_data = False
        octets = self._encoder.finish()
        self._encoder = None
        return self.send_last(octets, each)

    def receive(self, data: bytes) -> list[Reply | Desync]:
        """Take octets in; the replies in the order of the commands. After a Desync nothing more is read."""
        reader, waiting = self._reader, self._waiting
        replies = reader.feed(data)
        out: list[Reply | Desync] = []
        for reply in replies:
            if type(reply) is not Reply:
                assert isinstance(reply, BadReply)
                out.append(Desync(reply.reason, reply.octets))
                return out
            if waiting:
                kind = waiting[0]
                code = reply.code
                if code not in _FITTING[kind]:
                    return self._give_up(out, Desync(f"{code} to {kind}", str(code).encode()))
                if code == 421:
                    self.is_closing = True
                waiting.popleft()
                out.append(reply)
                if code == 353:
                    waiting.extendleft(("END",) * (self._each + 1))
                continue
            desync = self._unasked(reply)
            if desync is not None:
                return self._give_up(out, desync)
        if not waiting and not self._in_data and reader.pending:
            # Part of a reply that nobody asked for.
            return self._give_up(out, Desync("reply without a command"))
        return out

    def _give_up(self, out: list[Reply | Desync], desync: Desync) -> list[Reply | Desync]:
        self._reader.stop(BadReply("out of step", b""))
        out.append(desync)
        return out

    def _unasked(self, reply: Reply) -> Desync | None:
        """A reply that no command waits for: a refusal of content on its way, a goodbye, or out of step."""
        code = reply.code
        if self._in_data and code >= 400 and self.early is None:
            self.early = reply
            self.is_closing = self.is_closing or code == 421
            return None
        if code == 421:
            self.is_closing = True
            return Desync("closing unasked", reply=reply)
        return Desync("reply without a command", str(code).encode())
