"""The front wire machine: what a client sends becomes events, what the session answers becomes octets.

Its owner feeds `receive`, asks `next_event` until that says NEED_DATA or PAUSED, answers each `Command` and
`EndOfData` with `reply`, and writes what `take_output` gives. Promises, for every segmentation of the input:

* Each command is a slot in one queue, and replies leave only from its head, so replies equal commands in number and
  order however slow the answers are. Several RCPT may be open at once; any other verb waits until the queue is empty
  (PAUSED).
* What is legal now is one table, `TABLE`; a verb that it does not list for the state gets 503.
* Content is never read as a command and a command never as content: a DATA phase ends at CRLF.CRLF alone, a chunk at
  its last announced octet, also when it was refused.
* What stands behind STARTTLS in clear ends the session; nothing from before TLS survives it.

RFC 5321 sections 3 and 4, RFC 2920, 3030, 3207, 4954, 2033 (LMTP).
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

import attrs

from smtpgate.smtp import status
from smtpgate.smtp.address import PLAIN, plain_path
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import (
    BadCommand,
    Command,
    PathRules,
    check_mail_params,
    check_rcpt_params,
    is_base64,
    parse_command,
)
from smtpgate.smtp.framing import Chunk, DotDecoder
from smtpgate.smtp.reply import Reply

#: Longest command line, CRLF included: the 512 of RFC 5321 section 4.5.3.1.4 and what each extension adds to it
#: (SIZE 26, BODY 17, AUTH 500, SMTPUTF8 10, REQUIRETLS 11, DSN 500 and 100), rounded up.
LINE_OCTETS: Final = 2048
#: Longest line of an AUTH exchange (RFC 4954 section 4) with verb and CRLF.
AUTH_OCTETS: Final = 12288 + 64
#: Octets of one overlong line that are read and thrown away before the session ends.
DISCARD_OCTETS: Final = 16 * 1024 * 1024
#: The same for unwelcome chunks. The two differ since an honest client may have sent a whole message ahead.
DISCARD_BODY_OCTETS: Final = 128 * 1024 * 1024

START: Final = "start"
READY: Final = "ready"
MAIL: Final = "mail"
RCPT: Final = "rcpt"
CHUNKS: Final = "chunks"
CLOSED: Final = "closed"

#: (state, verb) to the state after a positive reply. Absent: 503.
TABLE: Final = {
    (state, verb): after
    for verb, rows in {
        "EHLO": dict.fromkeys((START, READY, MAIL, RCPT, CHUNKS), READY),
        "HELO": dict.fromkeys((START, READY, MAIL, RCPT, CHUNKS), READY),
        "LHLO": dict.fromkeys((START, READY, MAIL, RCPT, CHUNKS), READY),
        "MAIL": {READY: MAIL},
        "RCPT": {MAIL: RCPT, RCPT: RCPT},
        "DATA": {RCPT: READY},
        "BDAT": {RCPT: CHUNKS, CHUNKS: CHUNKS},
        "RSET": {START: START, READY: READY, MAIL: READY, RCPT: READY, CHUNKS: READY},
        "STARTTLS": {READY: START},
        "AUTH": {READY: READY},
        "XCLIENT": {START: START, READY: START},
        "XFORWARD": {READY: READY},
        "NOOP": {s: s for s in (START, READY, MAIL, RCPT, CHUNKS)},
        "VRFY": {s: s for s in (START, READY, MAIL, RCPT, CHUNKS)},
        "HELP": {s: s for s in (START, READY, MAIL, RCPT, CHUNKS)},
        "QUIT": dict.fromkeys((START, READY, MAIL, RCPT, CHUNKS), CLOSED),
    }.items()
    for state, after in rows.items()
}

#: What may be said in clear where TLS is required (RFC 3207 section 4).
_BEFORE_TLS = frozenset({"EHLO", "NOOP", "STARTTLS", "QUIT"})


_MAIL_LINE = re.compile(b"MAIL FROM:" + PLAIN + b"\r\n")
_RCPT_LINE = re.compile(b"RCPT TO:" + PLAIN + b"\r\n")


class _Sentinel:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: More octets must come first.
NEED_DATA: Final = _Sentinel("NEED_DATA")
#: Answers must come first.
PAUSED: Final = _Sentinel("PAUSED")


@attrs.define
class Violation:
    """The client broke the protocol. The machine holds a slot for it: answer with `reply(violation, ...)`.

    :ivar verb: as far as it was understood
    :ivar suggested: the reply it earns
    :ivar is_fatal: the session ends with that reply
    """

    verb: str
    suggested: Reply
    reason: str
    is_fatal: bool = False
    answer: bytes | None = None
    next: str | None = None


class EndOfData:
    """The client's true end of a message (or of one chunk); a slot for its reply.

    :ivar is_last: False for a chunk that others follow
    :ivar answers: how many replies it takes: more than one only in LMTP (RFC 2033 section 4.2)
    """

    __slots__ = ("verb", "is_last", "answer", "next", "answers", "replies")

    def __init__(self, verb: str, is_last: bool, answers: int) -> None:
        self.verb = verb
        self.is_last = is_last
        self.answer: bytes | None = None
        self.next: str | None = None
        self.answers = answers
        self.replies: list[bytes] = []


class AuthLine:
    """A line of an AUTH exchange: base64 undone by nobody here, `*` cancels."""

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __repr__(self) -> str:
        return "<AuthLine>"


Slot = Command | Violation | EndOfData
Event = Command | Violation | EndOfData | AuthLine | Chunk | _Sentinel


@attrs.frozen
class WireRules:
    """What a listener lets pass on the wire.

    :ivar takes_bare_lf: a lone LF ends a command line too (`command_bare_lf` = accept)
    :ivar needs_tls: only EHLO, NOOP, STARTTLS and QUIT before TLS
    :ivar has_starttls: STARTTLS belongs to this listener, also while it cannot be had and is not offered
    :ivar is_lmtp: LHLO in place of EHLO and HELO, one reply a recipient
    :ivar window: most RCPT open at once
    """

    paths: PathRules = PathRules()
    takes_bare_lf: bool = False
    needs_tls: bool = False
    has_starttls: bool = False
    is_lmtp: bool = False
    window: int = 64


class ServerConnection:
    """One client connection, without the connection.

    :ivar out: what is to be written, in order
    :ivar is_reading_body: content is expected
    """

    __slots__ = (
        "state",
        "codes",
        "is_extended",
        "is_tls",
        "is_authenticated",
        "has_tried_rcpt",
        "accepted",
        "is_utf8",
        "is_binary",
        "_rules",
        "_offered",
        "_buffer",
        "_at",
        "out",
        "_slots",
        "_discarding",
        "_decoder",
        "_chunk_left",
        "_chunk",
        "_chunk_refused",
        "_auth",
        "_is_usual",
        "is_reading_body",
        "_closing",
    )

    def __init__(self, rules: WireRules) -> None:
        self.state = START
        #: Replies by code, where somebody counts them.
        self.codes: dict[int, int] | None = None
        self.is_extended = False
        self.is_tls = False
        self.is_authenticated = False
        self.has_tried_rcpt = False
        self.accepted = 0
        self.is_utf8 = False
        self.is_binary = False
        self._rules = rules
        self._offered: frozenset[str] = frozenset()
        self._buffer = b""
        self._at = 0
        self.out: list[bytes] = []
        self._slots: deque[Slot] = deque()
        self._discarding = 0
        self._decoder: DotDecoder | None = None
        self._chunk_left = -1
        self._chunk: Command | None = None
        self._chunk_refused: Reply | None = None
        self._auth: Command | None = None
        self.is_reading_body = False
        self._closing = False
        self._is_usual = not rules.takes_bare_lf and not rules.needs_tls

    # Input

    @property
    def has_input(self) -> bool:
        """True when octets wait to be read: in places where none may, that is a violation."""
        return self._at < len(self._buffer)

    @property
    def buffered(self) -> int:
        """How many octets wait."""
        return len(self._buffer) - self._at

    def receive(self, data: bytes) -> None:
        """Take octets in. Nothing is parsed before `next_event`."""
        if self._at >= len(self._buffer):
            self._buffer = data
            self._at = 0
        else:
            self._buffer = self._buffer[self._at :] + data
            self._at = 0

    def take_input(self) -> bytes:
        """Give up what waits unread (the beginning of a handshake on an implicit-TLS port)."""
        data = self._buffer[self._at :]
        self._drop_input()
        return data

    def next_event(self) -> Event:
        """The next thing that the client said."""
        if self.is_reading_body:
            return self._next_content()
        slots = self._slots
        if self._at >= len(self._buffer) or self._closing:
            return NEED_DATA if not slots or self._auth is not None and self._auth.answer is not None else PAUSED
        if not slots and self._is_usual and not self._discarding:
            command = self._usual()
            if command is not None:
                return command
        while True:
            if slots:
                # Only RCPT behind RCPT may be asked while answers are out.
                if self._auth is None and (
                    len(slots) >= self._rules.window or slots[-1].verb != "RCPT" or not self._rcpt_follows()
                ):
                    return PAUSED
                if self._auth is not None and self._auth.answer is None:
                    return PAUSED
            line = self._next_line()
            if line is None:
                return NEED_DATA
            if isinstance(line, Violation):
                slots.append(line)
                return line
            if self._auth is not None:
                return self._auth_line(line)
            event = self._judge(parse_command(line, self._rules.paths))
            if event is not None:
                return event

    def _usual(self) -> Command | None:
        """The three lines of nearly every message, as nearly every client writes them; None leaves it to `_judge`."""
        state = self.state
        if state is RCPT and self._buffer.startswith(b"DATA\r\n", self._at):
            if self.is_binary:
                return None
            command = Command("DATA")
            command.next = READY
            self._at += 6
        else:
            if state is READY:
                match = _MAIL_LINE.match(self._buffer, self._at)
            elif state is MAIL or state is RCPT:
                match = _RCPT_LINE.match(self._buffer, self._at)
            else:
                return None
            path = plain_path(match) if match is not None else None
            if match is None or path is None:
                return None
            self._at = match.end()
            if state is READY:
                command = Command("MAIL")
                command.next = MAIL
                self.is_utf8 = self.is_binary = False
            else:
                command = Command("RCPT")
                command.next = RCPT
                self.has_tried_rcpt = True
            command.path = path
        self._slots.append(command)
        return command

    def _rcpt_follows(self) -> bool:
        return self._buffer[self._at : self._at + 5].upper() == b"RCPT "

    def _next_line(self) -> bytes | Violation | None:
        """A whole line without its end; a Violation for one too long; None where the end has not come."""
        buffer, at = self._buffer, self._at
        if not self._discarding and not self._rules.takes_bare_lf and self._auth is None:
            end = buffer.find(b"\r\n", at, at + 512)
            if end >= 0:
                self._at = end + 2
                line = buffer[at:end]
                return (
                    line if b"\n" not in line else Violation("?", status.BARE_NEWLINE_COMMAND, "lone LF in a command")
                )
        return self._next_odd_line()

    def _next_odd_line(self) -> bytes | Violation | None:
        """A line that is long, incomplete, part of an AUTH exchange, or on a listener with looser rules."""
        cap = AUTH_OCTETS if self._auth is not None else LINE_OCTETS
        while True:
            buffer, at = self._buffer, self._at
            end = buffer.find(b"\n" if self._rules.takes_bare_lf else b"\r\n", at)
            if self._discarding:
                if end < 0:
                    # Keep a last CR: its LF may be the next octet.
                    keep = 1 if buffer[-1:] == b"\r" else 0
                    self._discarding += len(buffer) - at - keep
                    self._at = len(buffer) - keep
                    if self._discarding > DISCARD_OCTETS:
                        return self._fatal("?", status.TOO_MUCH_DISCARDED, "line without end")
                    return None
                self._discarding = 0
                self._at = end + (1 if self._rules.takes_bare_lf else 2)
                if self._auth is not None:
                    self._auth_end()
                    return Violation("AUTH", status.AUTH_LINE_TOO_LONG, "line too long")
                return Violation("?", status.LINE_TOO_LONG, "line too long")
            if end < 0:
                if buffer[at : at + 2] == b"\x16\x03":
                    # A TLS ClientHello on a port that speaks SMTP in clear.
                    return self._fatal("?", status.TLS_IN_CLEAR_PORT, "TLS on a plaintext port")
                if len(buffer) - at <= self._cap(buffer, at, cap):
                    return None
                self._discarding = 1
                continue
            length = end - at
            if length + 2 > self._cap(buffer, at, cap):
                self._discarding = 1
                continue
            line = buffer[at:end]
            if self._rules.takes_bare_lf:
                self._at = end + 1
                if line[-1:] == b"\r":
                    line = line[:-1]
            else:
                self._at = end + 2
                if b"\n" in line:
                    if self._auth is not None:
                        self._auth_end()
                    return Violation("?", status.BARE_NEWLINE_COMMAND, "lone LF in a command")
            return line

    @staticmethod
    def _cap(buffer: bytes, at: int, cap: int) -> int:
        """The AUTH command itself may hold an initial response."""
        return AUTH_OCTETS if buffer[at : at + 5].upper() == b"AUTH " else cap

    def _fatal(self, verb: str, reply: Reply, reason: str) -> Violation:
        self._closing = True
        self._drop_input()
        return Violation(verb, reply, reason, is_fatal=True)

    def _drop_input(self) -> None:
        self._buffer, self._at = b"", 0

    def _judge(self, command: Command | BadCommand) -> Event | None:
        """Hold a parsed line against the state; None when it was answered by waiting (a refused chunk)."""
        verb = command.verb
        if isinstance(command, BadCommand):
            if verb == "BDAT" or command.is_fatal:
                return self._slot(self._fatal(verb, command.reply, command.reason))
            if self._rules.needs_tls and not self.is_tls and verb not in _BEFORE_TLS:
                return self._refuse(verb, status.TLS_REQUIRED, "TLS required")
            return self._refuse(verb, command.reply, command.reason)
        refusal = self._refusal(command)
        if verb == "BDAT":
            return self._open_chunk(command, refusal)
        if refusal is not None:
            return self._refuse(verb, *refusal)
        command.next = TABLE[self.state, verb]
        self._slots.append(command)
        if verb == "RCPT":
            self.has_tried_rcpt = True
        elif verb == "QUIT":
            # Nothing behind QUIT is read, not even to be thrown away one by one.
            self._closing = True
            self._drop_input()
        elif verb == "AUTH":
            self._auth = command
        elif verb == "STARTTLS" and self.has_input:
            self._slots.pop()
            return self._slot(self._fatal(verb, status.INPUT_BEHIND_STARTTLS, "input behind STARTTLS"))
        return command

    def _refusal(self, command: Command) -> tuple[Reply, str] | None:
        verb = command.verb
        rules = self._rules
        if rules.needs_tls and not self.is_tls and verb not in _BEFORE_TLS:
            if not (rules.is_lmtp and verb == "LHLO"):
                return status.TLS_REQUIRED, "TLS required"
        if verb in ("EHLO", "HELO") and rules.is_lmtp:
            return status.LHLO_ONLY, "SMTP to an LMTP listener"
        if verb == "LHLO" and not rules.is_lmtp:
            return status.UNKNOWN, "LMTP to an SMTP listener"
        if (self.state, verb) not in TABLE:
            return self._sequence(verb), "bad sequence"
        if verb == "MAIL":
            bad = check_mail_params(command.params, self._offered)
            if bad is not None:
                return bad.reply, bad.reason
            assert command.path is not None
            if command.path.is_utf8 and "SMTPUTF8" not in command.params:
                return status.NO_SMTPUTF8_SENDER, "UTF-8 address without SMTPUTF8"
            self.is_utf8 = "SMTPUTF8" in command.params
            self.is_binary = (command.params.get("BODY") or b"").upper() == b"BINARYMIME"
        elif verb == "RCPT":
            bad = check_rcpt_params(command.params, self._offered)
            if bad is not None:
                return bad.reply, bad.reason
            assert command.path is not None
            if command.path.is_utf8 and not self.is_utf8:
                return status.NO_SMTPUTF8_RECIPIENT, "UTF-8 address without SMTPUTF8"
        elif verb == "DATA":
            if self.is_binary:
                # Such content has no line that could end it (RFC 3030 section 3).
                return status.BINARY_NEEDS_BDAT, "DATA for BINARYMIME"
        elif verb == "STARTTLS":
            if self.is_tls:
                return status.TLS_ACTIVE, "TLS is active"
            if "STARTTLS" not in self._offered and not (rules.has_starttls and self.is_extended):
                return status.NOT_IMPLEMENTED, "not offered"
        elif verb == "AUTH":
            if self.is_authenticated:
                return status.ALREADY_AUTHENTICATED, "authenticated already"
            if not self.is_extended:
                return status.BAD_SEQUENCE, "AUTH after HELO"
        return None

    def _sequence(self, verb: str) -> Reply:
        if self.state == START and verb in ("MAIL", "AUTH", "STARTTLS", "XFORWARD", "RCPT", "DATA", "BDAT"):
            if verb == "STARTTLS" and self.is_tls:
                return status.TLS_ACTIVE
            return status.HELLO_FIRST
        if verb == "MAIL":
            return status.NESTED_MAIL
        if verb in ("DATA", "BDAT") and self.state == MAIL and self.has_tried_rcpt:
            return status.LMTP_NO_RECIPIENTS if self._rules.is_lmtp else status.NO_RECIPIENTS
        return status.BAD_SEQUENCE

    def _slot(self, violation: Violation) -> Violation:
        self._slots.append(violation)
        return violation

    def _refuse(self, verb: str, reply: Reply, reason: str) -> Violation:
        return self._slot(Violation(verb, reply, reason))

    # AUTH exchange

    def _auth_line(self, line: bytes) -> Event:
        command = self._auth
        assert command is not None
        if line != b"*" and line != b"" and not is_base64(line):
            self._auth_end()
            return self._refuse("AUTH", status.BAD_BASE64, "malformed base64")
        command.answer = None
        return AuthLine(line)

    def _auth_end(self) -> None:
        """Forget a running exchange: the line that ended it has a slot of its own."""
        if self._slots and self._slots[0] is self._auth:
            self._slots.popleft()
        self._auth = None

    # Content

    def _open_chunk(self, command: Command, refusal: tuple[Reply, str] | None) -> Event:
        self._chunk_left = command.size
        self._chunk = command
        self.is_reading_body = True
        if refusal is None and "CHUNKING" not in self._offered:
            refusal = status.NOT_IMPLEMENTED, "not offered"
        self._chunk_refused = refusal[0] if refusal is not None else None
        if refusal is not None:
            if command.size > DISCARD_BODY_OCTETS:
                self.is_reading_body = False
                return self._slot(self._fatal("BDAT", status.TOO_MUCH_DISCARDED, "huge chunk out of order"))
            return self._next_content()
        return command

    def _next_content(self) -> Event:
        if self._chunk is not None:
            return self._next_of_chunk(self._chunk)
        decoder = self._decoder
        if decoder is None:
            return self._end_content("DATA", True)
        if self._at >= len(self._buffer):
            return NEED_DATA
        data = self._buffer[self._at :] if self._at else self._buffer
        self._drop_input()
        chunk, rest = decoder.feed(data)
        if rest is not None:
            self._buffer = rest
            self._decoder = None
            if chunk is None:
                return self._end_content("DATA", True)
        return chunk if chunk is not None else NEED_DATA

    def _next_of_chunk(self, command: Command) -> Event:
        left = self._chunk_left
        if left:
            data = self._buffer[self._at : self._at + left]
            if not data:
                return NEED_DATA
            self._at += len(data)
            self._chunk_left = left - len(data)
            if self._chunk_refused is None:
                return Chunk(data, None)
            if self._chunk_left:
                return NEED_DATA
        self.is_reading_body = False
        self._chunk = None
        if self._chunk_refused is not None:
            return self._refuse("BDAT", self._chunk_refused, "chunk out of order")
        return self._end_content("BDAT", command.is_last)

    def _end_content(self, verb: str, is_last: bool) -> EndOfData:
        self.is_reading_body = False
        end = EndOfData(verb, is_last, self.accepted if self._rules.is_lmtp and is_last else 1)
        end.next = READY if is_last else CHUNKS
        self._slots.append(end)
        return end

    def give_up(self) -> Violation:
        """More octets of a refused message came than anybody will read: the session ends in the middle of them."""
        self.is_reading_body = False
        self._chunk = self._decoder = None
        return self._slot(self._fatal("BDAT", status.TOO_MUCH_DISCARDED, "refused chunk without end"))

    # Output

    def offer(self, capabilities: Capabilities | None) -> None:
        """What the EHLO reply offers; None for a client that said HELO."""
        self.is_extended = capabilities is not None
        self._offered = frozenset(capabilities.words) if capabilities is not None else frozenset()

    def greet(self, octets: bytes) -> None:
        """The greeting: the only reply without a command."""
        self.out.append(octets)

    def reply(self, slot: Slot, reply: Reply, reference: str = "") -> None:
        """Fill a slot. What is complete at the head of the queue goes to `take_output`."""
        octets = reply.octets(reference)
        code = reply.code
        codes = self.codes
        if codes is not None:
            codes[code] = codes.get(code, 0) + 1
        slots = self._slots
        if type(slot) is Command and len(slots) == 1 and slot is slots[0] and slot is not self._auth:
            slots.popleft()
            self.out.append(octets)
            self._move(slot, code)
            return
        if type(slot) is EndOfData and slot.answers > 1:
            slot.replies.append(octets)
            if len(slot.replies) < slot.answers:
                return
            octets = b"".join(slot.replies)
        if slot is self._auth:
            if code == 334:
                slot.answer = octets
                self.out.append(octets)
                return
            self._auth = None
        slot.answer = octets
        if slot is slots[0]:
            slots.popleft()
            self.out.append(octets)
            self._move(slot, code)
            while slots and slots[0].answer is not None:
                slot = slots.popleft()
                assert slot.answer is not None
                self.out.append(slot.answer)
                self._move(slot, int(slot.answer[:3]))

    def _move(self, slot: Slot, code: int) -> None:
        """Change state as the reply that now leaves says."""
        verb = slot.verb
        if type(slot) is EndOfData:
            # After the last chunk, and after a refused one, the transaction is over.
            self._reset(READY if slot.is_last or code >= 400 else CHUNKS)
            return
        if code >= 400 or slot.next is None:
            return
        if verb == "RCPT":
            self.accepted += 1
            self.state = RCPT
        elif verb == "DATA":
            self._decoder = DotDecoder()
            self.is_reading_body = True
        elif verb == "MAIL":
            self.state = MAIL
        elif verb in ("EHLO", "HELO", "LHLO", "RSET", "XCLIENT"):
            self._reset(slot.next)
        elif verb == "AUTH":
            self.is_authenticated = code == 235
        elif verb == "STARTTLS":
            self._drop_input()
        elif verb == "QUIT":
            self.state = CLOSED

    def _reset(self, state: str) -> None:
        self.state = state
        if state != CHUNKS:
            self.has_tried_rcpt = False
            self.accepted = 0
            self.is_utf8 = False
            self.is_binary = False

    def discard(self) -> None:
        """Stop believing in the transaction without a word from the client (it was aborted by our own reply)."""
        self._reset(READY)

    def tls_started(self) -> None:
        """The handshake is done: the client must begin anew (RFC 3207 section 4.2)."""
        self.is_tls = True
        self._is_usual = not self._rules.takes_bare_lf
        self._reset(START)
        self._drop_input()
        self.is_extended = False
        self._offered = frozenset()

    def told(self, octets: bytes) -> None:
        """Something was written past this machine; for whoever listens (`smtp.heard`)."""

    def take_output(self) -> bytes:
        """What is to be written now."""
        out = self.out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return octets
