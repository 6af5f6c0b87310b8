"""SMTP replies: strict reading from a backend, exact writing to a client.

The back wire reads replies with `ReplyReader`; the session makes and relays `Reply` values; the front wire writes
them with `Reply.octets`. A reply that breaks the grammar is never guessed at: the reader answers with a `BadReply`
and the link is given up, because the first line says one thing to one reader and the last line another to the next.

RFC 5321 section 4.2 (replies), RFC 2034 and RFC 3463 (enhanced status codes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

#: Longest reply line sent to a client, CRLF included (RFC 5321 section 4.5.3.1.5).
LINE_OCTETS = 512
#: Longest reply line read from a backend: lenient, as RFC 5321 asks readers to be; Postfix reads 2048.
READ_LINE_OCTETS = 4096
#: Most lines of one reply: an EHLO list of a large server has about thirty.
READ_LINES = 128
#: Most octets of one reply, over all its lines.
READ_OCTETS = 65536

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\n]*))?")
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?: +|$)")
#: The usual reply: one line, printable.
_ONE_LINE = re.compile(rb"([2-5][0-9][0-9])(?: (?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|(?=\r)))?([\x20-\x7e]*))?\r")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Reply:
    """One whole reply. Equal where code, enhanced code and lines are; never changed.

    :ivar code: three digits, 200 to 599
    :ivar enhanced: "2.1.0", or "" where a reply has none (greetings, EHLO lists, 3yz)
    :ivar lines: the texts without codes, printable ASCII, at least one, each may be empty
    """

    __slots__ = ("code", "enhanced", "lines", "_octets", "_completed")

    def __init__(self, code: int, enhanced: str, lines: tuple[str, ...]) -> None:
        self.code = code
        self.enhanced = enhanced
        self.lines = lines
        #: The usual forms, once somebody asked: most replies of a gateway are the same dozen.
        self._octets: bytes | None = None
        self._completed: Reply | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reply):
            return NotImplemented
        return (self.code, self.enhanced, self.lines) == (other.code, other.enhanced, other.lines)

    def __hash__(self) -> int:
        return hash((self.code, self.enhanced, self.lines))

    def __repr__(self) -> str:
        return f"Reply({self.code!r}, {self.enhanced!r}, {self.lines!r})"

    @property
    def is_positive(self) -> bool:
        """True for 2yz."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """True for 4yz."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """True for 5yz."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """All lines as one, for logs and pages."""
        lines = self.lines
        return lines[0] if len(lines) == 1 else " ".join([line for line in lines if line])

    def octets(self, reference: str = "") -> bytes:
        """The reply as it goes to a client, every line at most 512 octets.

        :param reference: ends the last line; the text gives way where both do not fit
        """
        if reference:
            return self._encode(reference)
        octets = self._octets
        if octets is None:
            octets = self._octets = self._encode("")
        return octets

    def _encode(self, reference: str) -> bytes:
        if len(self.lines) > 1:
            return self._many(reference)
        head = f"{self.code} {self.enhanced} {self.lines[0]}" if self.enhanced else f"{self.code} {self.lines[0]}"
        if reference:
            head = f"{head[: LINE_OCTETS - 3 - len(reference)].rstrip()} {reference}\r\n"
        elif len(head) > LINE_OCTETS - 2:
            head = head[: LINE_OCTETS - 2] + "\r\n"
        else:
            head += "\r\n"
        return head.encode("ascii")

    def _many(self, reference: str) -> bytes:
        start = f"{self.enhanced} " if self.enhanced else ""
        out = [f"{self.code}-{(start + line)[: LINE_OCTETS - 6]}\r\n" for line in self.lines[:-1]]
        last = Reply(self.code, self.enhanced, self.lines[-1:])
        return "".join(out).encode("ascii") + last.octets(reference)

    def completed(self) -> Reply:
        """This reply with an enhanced code that fits its class (RFC 2034 section 4).

        A backend without ENHANCEDSTATUSCODES gets the generic code of the class; one whose enhanced code contradicts
        its reply code is believed in the reply code.
        """
        completed = self._completed
        if completed is None:
            completed = self._completed = self._complete()
        return completed

    def _complete(self) -> Reply:
        digit = "_2345"[self.code // 100 - 1]
        if self.enhanced[:1] == digit:
            return self
        if digit == "3":
            return Reply(self.code, "", self.lines) if self.enhanced else self
        return Reply(self.code, f"{digit}.0.0", self.lines)


@attrs.frozen
class BadReply:
    """What came cannot be a reply; nothing after it can be trusted either.

    :ivar reason: a short word for the log
    :ivar octets: the start of what came, at most 200 octets
    """

    reason: str
    octets: bytes


def printable(text: str) -> str:
    """`text` with everything but printable ASCII replaced, so that it cannot end a line or steer a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub("?", text)


def parse_lines(lines: list[bytes]) -> Reply | BadReply:
    """A reply from its lines, given without their line ends."""
    code, texts, enhanced = b"", [], ""
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if match is None:
            return BadReply("malformed reply line", line[:200])
        this, mark, rest = match.groups()
        if number and this != code:
            return BadReply("reply code changes between lines", line[:200])
        if (mark == b"-") != (number < len(lines) - 1):
            return BadReply("continuation mark on the wrong line", line[:200])
        code = this
        text = printable((rest or b"").decode("latin-1").rstrip("\r"))
        found = _ENHANCED.match(text)
        if found is not None:
            text = text[found.end() :]
            if not enhanced:
                enhanced = f"{found[1]}.{found[2]}.{found[3]}"
        texts.append(text.rstrip(" "))
    return Reply(int(code), enhanced, tuple(texts))


class ReplyReader:
    """Cuts the octets of a backend into replies, with caps on line, lines and octets.

    Lines end with CRLF; a lone LF is read as an end too (old filters send it), and a CR inside a text is replaced.
    """

    __slots__ = ("_buffer", "_lines", "_octets", "bad")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._octets = 0
        self.bad: BadReply | None = None

    @property
    def pending(self) -> bool:
        """True while octets of an unfinished reply are held."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> Sequence[Reply | BadReply]:
        """Take octets in; give the replies that they complete. After a BadReply nothing more is read."""
        if not self._buffer and not self._lines:
            known = _KNOWN.get(data)
            if known is not None and self.bad is None:
                return known
        return self._feed(data)

    def _feed(self, data: bytes) -> Sequence[Reply | BadReply]:
        if self.bad is not None:
            return []
        was_empty = not self._buffer and not self._lines
        buffer = self._buffer + data if self._buffer else data
        lines = self._lines
        out: list[Reply | BadReply] = []
        start = 0
        while True:
            end = buffer.find(b"\n", start)
            if end < 0:
                break
            line = buffer[start:end]
            start = end + 1
            if not lines:
                match = _ONE_LINE.fullmatch(line)
                if match is not None and len(line) <= READ_LINE_OCTETS:
                    code, enhanced, text = match.groups()
                    reply = Reply(
                        int(code),
                        enhanced.decode("ascii") if enhanced else "",
                        (text.decode("ascii").rstrip() if text else "",),
                    )
                    out.append(reply)
                    continue
            if line[-1:] == b"\r":
                line = line[:-1]
            lines.append(line)
            self._octets += len(line) + 2
            if len(line) > READ_LINE_OCTETS or len(lines) > READ_LINES or self._octets > READ_OCTETS:
                return self._fail(out, BadReply("reply too long", line[:200]))
            if line[3:4] == b"-" and line[:3].isdigit():
                continue
            parsed = parse_lines(lines)
            if isinstance(parsed, BadReply):
                return self._fail(out, parsed)
            self._lines = lines = []
            self._octets = 0
            out.append(parsed)
        self._buffer = buffer[start:] if start < len(buffer) else b""
        if len(self._buffer) > READ_LINE_OCTETS:
            return self._fail(out, BadReply("reply line too long", self._buffer[:200]))
        if was_empty and not self._buffer and not lines and len(data) <= _KNOWN_OCTETS and data[:2] != b"33":
            if len(_KNOWN) >= _KNOWN_MANY:
                _KNOWN.clear()
            _KNOWN[data] = tuple(out)
        return out

    def stop(self, bad: BadReply) -> None:
        """Read nothing more."""
        self.bad = bad
        self._buffer, self._lines = b"", []

    def _fail(self, out: list[Reply | BadReply], bad: BadReply) -> list[Reply | BadReply]:
        self.stop(bad)
        out.append(bad)
        return out


#: What backends said in one go before, and what it means: they say the same dozen over and over, and the rest goes in
#: its turn. Bounded; the challenges of a login (334) are left out.
_KNOWN: dict[bytes, tuple[Reply | BadReply, ...]] = {}
_KNOWN_OCTETS = 128
_KNOWN_MANY = 512
