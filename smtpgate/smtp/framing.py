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


class Chunk:
    """A piece of message content.

    :ivar content: the octets of the message itself
    :ivar wire: the same, dot-stuffed, where that is known already (a client that sends DATA has done the work);
        None: to be made by DotEncoder
    """

    __slots__ = ("content", "wire")

    def __init__(self, content: bytes, wire: bytes | None) -> None:
        self.content = content
        self.wire = wire


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
        dot = buffer.rfind(b"\r\n.")
        if dot < 0:
            return self._open_end(buffer, virtual, has_dots=False), None
        end = dot if buffer.startswith(b"\r\n", dot + 3) else -1
        before = buffer.rfind(b"\r\n.", 0, dot + 2)
        if before >= 0:
            # More than one line opens with a dot: the first that is a lone dot is the end.
            first = buffer.find(b"\r\n.\r\n", 0, dot + 5)
            if first >= 0:
                if first != end:
                    before = buffer.rfind(b"\r\n.", 0, first + 2)
                end = first
        if end < 0:
            return self._open_end(buffer, virtual, has_dots=True), None
        self._held = b""
        body = buffer[: end + 2]
        rest = buffer[end + 5 :]
        if virtual and end == 0:
            return None, rest
        return self._chunk(body, virtual, has_dots=before >= 0), rest

    def _open_end(self, buffer: bytes, virtual: int, has_dots: bool) -> Chunk | None:
        hold = 0
        if buffer[-1:] in b"\r\n.":
            for tail in (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r"):
                if buffer.endswith(tail):
                    hold = len(tail)
                    break
        if not hold:
            self._held = b""
            return self._chunk(buffer, virtual, has_dots)
        self._held = buffer[-hold:]
        if len(buffer) == hold:
            if virtual:
                self._held, self._opening = buffer[virtual:], True
            return None
        return self._chunk(buffer[:-hold], virtual, has_dots)

    @staticmethod
    def _chunk(body: bytes, virtual: int, has_dots: bool) -> Chunk:
        if not has_dots:
            return Chunk(body, body)
        content = body.replace(b"\r\n.", b"\r\n")
        # A client that stuffs as it should has two dots wherever we see one; from one that does not the form on the
        # wire is not canonical, and is made anew.
        stuffed = body.count(b"\r\n..") == body.count(b"\r\n.")
        return Chunk(content[virtual:], body[virtual:] if stuffed else None)


class Content:
    """The newline policy and the caps, applied to content as it passes.

    :ivar octets: size of the message so far, as RFC 1870 counts it
    :ivar is_odd: one of the following three is set
    :ivar has_bare_newline: a lone CR or LF was met (and mended, under "normalize")
    :ivar is_long_line: a line longer than the cap was met
    :ivar is_eight_bit: an octet over 127 was met; kept only where `watch_eight_bit` was asked for
    """

    __slots__ = ("octets", "is_odd", "has_bare_newline", "is_long_line", "is_eight_bit", "is_complete_line",
                 "_watch_eight_bit", "_line_cap", "_line", "_newlines", "_held", "_raw")

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
        content = chunk.content
        if self._raw:
            self.octets += len(content)
            return chunk
        if self._held:
            content = self._held + content
            self._held = b""
            chunk = Chunk(content, None)
        if content[-1:] == b"\r":
            self._held = b"\r"
            content = content[:-1]
            if not content:
                return None
            chunk = Chunk(content, None)
        # The decoder of the standard library notes which line ends it has seen, in C, at a quarter of the cost of
        # counting CR, LF and CRLF; a CR at the end of its input it keeps for the next call, as we do.
        self._newlines.decode(content.decode("latin-1"))
        seen = self._newlines.newlines
        if seen is not None and seen != "\r\n":
            chunk = self._normalize(content)
            content = chunk.content
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
        if self._line + content.find(b"\n") > self._line_cap:
            self.is_long_line = self.is_odd = True
        elif len(content) > self._line_cap and max(map(len, content.split(b"\n"))) > self._line_cap:
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
        content = chunk.content
        if self._held:
            content = self._held + content
            self._held = b""
        elif chunk.wire is not None and not (self._line_start and content[:1] == b"."):
            # A chunk that opens with a dot is coded here: only we know whether a mended newline came before it.
            if content:
                self._line_start = content[-2:] == b"\r\n"
            return chunk.wire
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
