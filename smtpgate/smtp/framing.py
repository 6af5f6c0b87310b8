"""How message content travels: dot coding, newline policy, caps on lines.

The front wire undoes the coding (`DotDecoder` for DATA; BDAT octets need none), `Content` applies the newline policy
and the caps to either, and the back leg codes again with `DotEncoder`. Work is done on whole chunks with searches that
run in C, never by line: a chunk in which only CRLF ends lines and no line opens with a dot costs three passes and no
copy, and that is nearly all mail.

The order of work is fixed (SMTP smuggling, CVE-2023-51764 and kin): the end of data is found and dots are unstuffed
on true CRLF only, then lone CR and LF are normalised, then dots are stuffed anew. So no octet sequence from a client
can be a terminator at the backend, whatever that takes for a line end.

RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2 and 4.5.3.1; RFC 3030.
"""

from __future__ import annotations

import io

END_OF_DATA = b".\r\n"


#: So many dot lines of a chunk are counted one by one from its end; more are left to passes over the whole.
_FEW_DOTS = 64
#: In a chunk of more octets dots are looked for first, and so many of them that open no line are passed over.
_FEW_OCTETS = 4096
_FEW_DOTS_IN_LINES = 16


class Chunk:
    """A piece of message content, in one form or in both.

    :ivar wire: dot-stuffed, where that is known already (a client that sends DATA has done the work); None: to be
        made by DotEncoder
    :ivar dots: how many octets of `wire` are stuffing
    """

    __slots__ = ("_content", "wire", "dots")

    def __init__(self, content: bytes | None, wire: bytes | None, dots: int = 0) -> None:
        self._content = content
        self.wire = wire
        self.dots = dots

    @property
    def content(self) -> bytes:
        """The octets of the message itself; made from `wire` when they are first asked for."""
        if self._content is None:
            assert self.wire is not None
            self._content = self.wire.replace(b"\r\n.", b"\r\n")
        return self._content

    def opening(self, octets: int) -> bytes:
        """The first so many octets of the message itself, whichever form is there."""
        if self._content is not None:
            return self._content[:octets]
        assert self.wire is not None
        if not self.dots:
            return self.wire[:octets]
        return self.wire[: octets + self.dots].replace(b"\r\n.", b"\r\n")[:octets]

    @property
    def octets(self) -> bytes:
        """Whichever form is there already: the same line ends, and but for the stuffing the same octets."""
        if self._content is not None:
            return self._content
        assert self.wire is not None
        return self.wire


def _hold(buffer: bytes) -> int:
    """How many octets at the end may be part of a line end, a stuffed dot, or the end of data."""
    if buffer[-1:] in b"\r\n.":
        for tail in (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r"):
            if buffer.endswith(tail):
                return len(tail)
    return 0


def _last_dot(buffer: bytes, end: int) -> int:
    """Where the last line that opens with a dot begins (with the CRLF before it), before `end`; -1 for none.

    One octet is searched for thirty times as fast as three, and Base64 has no dots: only among many dots of text the
    search is for all three.
    """
    if end > _FEW_OCTETS:
        for _ in range(_FEW_DOTS_IN_LINES):
            dot = buffer.rfind(b".", 0, end)
            if dot < 2:
                return -1
            if buffer[dot - 2 : dot] == b"\r\n":
                return dot - 2
            end = dot
    return buffer.rfind(b"\r\n.", 0, end)


class DotDecoder:
    """Finds the end of a DATA phase and undoes dot-stuffing, for any segmentation of the input.

    Octets that may belong to a CRLF, to a stuffed dot or to the end of data are held until the rest has come, so a
    chunk never ends inside or right behind a CRLF, but for the last one.
    """

    __slots__ = ("_held", "_opening")

    def __init__(self) -> None:
        self._held = b""
        self._opening = True

    def feed(self, data: bytes) -> tuple[Chunk | None, bytes | None]:
        """Take octets in.

        :return: the content they give, if any, and what follows the end of data (b"" included), or None before it
        """
        if not data:
            return None, None
        buffer = self._held + data if self._held else data
        virtual = 0
        if self._opening:
            if buffer[:1] == b".":
                if buffer == b"." or buffer == b".\r":
                    self._held = buffer
                    return None, None
                # The start of the data is the start of a line: let the search see the CRLF before it.
                buffer = b"\r\n" + buffer
                virtual = 2
            self._opening = False
        # From the end to the start: every line that opens with a dot, and so the first that is a lone dot. What is
        # at the very end may be the beginning of either, and waits.
        end = -1
        dots = 0
        is_canonical = True
        dot = _last_dot(buffer, len(buffer))
        while dot >= 0:
            after = buffer[dot + 3 : dot + 5]
            if after == b"\r\n":
                end, dots, is_canonical = dot, 0, True
            elif after not in (b"", b"\r"):
                dots += 1
                if after[:1] != b".":
                    is_canonical = False
                if dots > _FEW_DOTS:
                    end, dots, is_canonical = self._look_through(buffer)
                    break
            dot = _last_dot(buffer, dot + 2)
        if end < 0:
            return self._open_end(buffer, virtual, dots, is_canonical), None
        self._held = b""
        rest = buffer[end + 5 :]
        if virtual and end == 0:
            return None, rest
        return self._chunk(buffer[: end + 2], virtual, dots, is_canonical), rest

    @staticmethod
    def _look_through(buffer: bytes) -> tuple[int, int, bool]:
        end = buffer.find(b"\r\n.\r\n")
        stop = end + 2 if end >= 0 else len(buffer) - _hold(buffer)
        dots = buffer.count(b"\r\n.", 0, stop)
        return end, dots, dots == buffer.count(b"\r\n..", 0, stop)

    def _open_end(self, buffer: bytes, virtual: int, dots: int, is_canonical: bool) -> Chunk | None:
        hold = _hold(buffer)
        self._held = buffer[-hold:] if hold else b""
        if len(buffer) == hold:
            if virtual:
                self._held, self._opening = buffer[virtual:], True
            return None
        return self._chunk(buffer[:-hold] if hold else buffer, virtual, dots, is_canonical)

    @staticmethod
    def _chunk(body: bytes, virtual: int, dots: int, is_canonical: bool) -> Chunk:
        if not dots:
            return Chunk(body, body)
        if virtual or not is_canonical:
            # A client that does not stuff as it should: the form on the wire is made anew.
            content = body.replace(b"\r\n.", b"\r\n")[virtual:]
            return Chunk(content, body[virtual:] if is_canonical else None)
        return Chunk(None, body, dots)


class Content:
    """The newline policy and the caps, applied to content as it passes.

    :ivar octets: size of the message so far, as RFC 1870 counts it
    :ivar is_odd: one of the following three is set
    :ivar has_bare_newline: a lone CR or LF was met (and mended, under "normalize")
    :ivar is_long_line: a line longer than the cap was met
    :ivar is_eight_bit: an octet over 127 was met; kept only where `watch_eight_bit` was asked for
    """

    __slots__ = (
        "octets",
        "is_odd",
        "has_bare_newline",
        "is_long_line",
        "is_eight_bit",
        "is_complete_line",
        "_watch_eight_bit",
        "_line_cap",
        "_line",
        "_newlines",
        "_held",
        "_raw",
    )

    def __init__(self, line_octets: int, *, watch_eight_bit: bool = False, raw: bool = False) -> None:
        """
        :param line_octets: longest line taken
        :param raw: BINARYMIME, where no newline has a meaning (RFC 3030 section 3)
        """
        self.octets = 0
        self.is_odd = False
        self.has_bare_newline = False
        self.is_long_line = False
        self.is_eight_bit = False
        self.is_complete_line = True
        self._watch_eight_bit = watch_eight_bit
        self._line_cap = line_octets
        self._line = 0
        self._raw = raw
        self._held = b""
        self._newlines = io.IncrementalNewlineDecoder(None, False)

    def feed(self, chunk: Chunk) -> Chunk | None:
        """The chunk as it may go on; None where all of it is held for the octet that follows."""
        if self._raw:
            self.octets += len(chunk.content)
            return chunk
        content = chunk.octets
        if self._held:
            content = self._held + chunk.content
            self._held = b""
            chunk = Chunk(content, None)
        if content[-1:] == b"\r":
            self._held = b"\r"
            content = chunk.content[:-1]
            if not content:
                return None
            chunk = Chunk(content, None)
        # The decoder of the standard library notes which line ends it has seen, in C, at a quarter of the cost of
        # counting CR, LF and CRLF; a CR at the end of its input it keeps for the next call, as we do.
        self._newlines.decode(content.decode("latin-1"))
        seen = self._newlines.newlines
        if seen is not None and seen != "\r\n" or content[-1:] == b"\r":
            # A CR before the one that is held is alone for certain, and the decoder still waits for its LF.
            chunk = self._normalize(chunk.content)
            content = chunk.content
        self.octets -= chunk.dots
        self._measure(content)
        return chunk

    def finish(self) -> Chunk | None:
        """What was held for an octet that did not come: a lone CR at the very end."""
        if not self._held:
            return None
        self._held = b""
        chunk = self._normalize(b"\r")
        self._measure(chunk.content)
        return chunk

    def _normalize(self, content: bytes) -> Chunk:
        self.has_bare_newline = self.is_odd = True
        self._newlines = io.IncrementalNewlineDecoder(None, False)
        # A lone CR has no single reading as a line end; a space frames nothing.
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
        return Chunk(content, None)

    def _measure(self, content: bytes) -> None:
        size = len(content)
        self.octets += size
        last = content.rfind(b"\n")
        if last < 0:
            self._line += size
            if self._line > self._line_cap:
                self.is_long_line = self.is_odd = True
        else:
            # A line over the cap spans chunks, unless chunks are larger than the cap.
            if self._line + size > self._line_cap:
                self._measure_lines(content)
            self._line = size - last - 1
        self.is_complete_line = last == size - 1
        if self._watch_eight_bit and not self.is_eight_bit and not content.isascii():
            self.is_eight_bit = self.is_odd = True

    def _measure_lines(self, content: bytes) -> None:
        if (
            self._line + content.find(b"\n") > self._line_cap
            or len(content) > self._line_cap
            and max(map(len, content.split(b"\n"))) > self._line_cap
        ):
            self.is_long_line = self.is_odd = True


class DotEncoder:
    """Content to its form on the wire of a DATA phase: dots stuffed, ended by a CRLF of its own where it lacks one."""

    __slots__ = ("_line_start", "_held", "added_newline")

    def __init__(self) -> None:
        self._line_start = True
        self._held = b""
        self.added_newline = False

    def encode(self, chunk: Chunk) -> bytes:
        """The chunk's octets as they go to a backend."""
        wire = chunk.wire
        if not self._held and wire is not None and not (self._line_start and wire[:1] == b"."):
            # A chunk that opens with a dot is coded below: only we know whether a mended newline came before it.
            if wire:
                self._line_start = wire[-2:] == b"\r\n"
            return wire
        content = chunk.content
        if self._held:
            content = self._held + content
            self._held = b""
        if content[-1:] == b"\r":
            self._held = b"\r"
            content = content[:-1]
        if not content:
            return b""
        wire = content.replace(b"\r\n.", b"\r\n..") if b"\r\n." in content else content
        if self._line_start and content[:1] == b".":
            wire = b"." + wire
        self._line_start = content[-2:] == b"\r\n"
        return wire

    def finish(self) -> bytes:
        """The terminator, with a CRLF before it where the content did not end in one (RFC 5321 section 4.1.1.4)."""
        if self._line_start:
            return END_OF_DATA
        self.added_newline = True
        return b"\r\n" + END_OF_DATA
