"""Splices: what is changed of a message, as places of it, so many octets that go there, and octets that come.

`policy.edits` makes them of header fields, `edits.plan` of bodies, `proxy.body` applies them while a message leaves.
What no splice names keeps its octets, so the signatures of others live. A list of splices is sorted, and none reaches
into the next; all are about the same content, as it came.

Promised: linear time, memory of one piece and of what is put in; `inverse` leads back to the octets that were there.
Refused (ValueError): lists that do not fit their content, and joints that would leave a CR or an LF alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import attrs


@attrs.frozen
class Splice:
    """One change at one place.

    :ivar offset: in the content as it came
    :ivar removed: so many octets from there on go
    :ivar put: what comes in their place
    :ivar author: who wants it: a filter's name, that of a rule behind a slash, or "gateway"
    """

    offset: int
    removed: int
    put: bytes
    author: str = "gateway"

    @property
    def end(self) -> int:
        """Behind what goes."""
        return self.offset + self.removed


def check(splices: Sequence[Splice], octets: int) -> None:
    """Raises ValueError where these are no splices of a content of so many octets."""
    if any(one.offset < 0 or one.removed < 0 for one in splices):
        raise ValueError("a splice before the content")
    if any(one.end > other.offset for one, other in pairwise(splices)):
        raise ValueError("a splice reaches into the next")
    if splices and splices[-1].end > octets:
        raise ValueError("a splice behind the content")


def apply(splices: Iterable[Splice], content: bytes) -> bytes:
    """A content with these changes. Raises ValueError."""
    return b"".join(_applied(splices, content))


def _applied(splices: Iterable[Splice], content: bytes) -> Iterator[bytes]:
    stream = Stream(splices)
    yield stream.feed(content)
    yield stream.finish()


class Stream:
    """Splices on content that comes by pieces.

    :ivar position: octets of the content that have come
    """

    def __init__(self, splices: Iterable[Splice]) -> None:
        self.position = 0
        self._left = list(splices)
        self._left.reverse()
        #: The octet before, and whether what follows did not stand behind it.
        self._last = b"\n"
        self._is_seam = False

    def feed(self, piece: bytes) -> bytes:
        """What a piece becomes; what is put at its end comes with the next. Raises ValueError."""
        start, end = self.position, self.position + len(piece)
        self.position = end
        out: list[bytes] = []
        at = start
        left = self._left
        while left and left[-1].offset < end:
            splice = left[-1]
            if splice.offset >= start:
                self._join(out, piece[at - start : splice.offset - start])
                self._is_seam = True
                self._join(out, splice.put)
                self._is_seam = True
            at = min(splice.end, end)
            if splice.end > end:
                break
            left.pop()
        self._join(out, piece[at - start :])
        return b"".join(out)

    def finish(self) -> bytes:
        """The content has ended: what is put behind it. Raises ValueError where a splice reaches further."""
        out: list[bytes] = []
        for splice in reversed(self._left):
            if splice.offset != self.position or splice.removed:
                raise ValueError("a splice behind the content")
            self._is_seam = True
            self._join(out, splice.put)
        self._left = []
        if self._is_seam and self._last == b"\r":
            raise ValueError("a line end is cut in two")
        return b"".join(out)

    def _join(self, out: list[bytes], octets: bytes) -> None:
        if not octets:
            return
        if self._is_seam and (self._last == b"\r") is not (octets[:1] == b"\n"):
            raise ValueError("a line end is cut in two")
        self._is_seam = False
        self._last = octets[-1:]
        out.append(octets)


def inverse(splices: Iterable[Splice], content: bytes) -> tuple[Splice, ...]:
    """What makes a changed content the old one again.

    :param content: as it was before
    """
    shift = 0
    back = []
    for one in splices:
        back.append(Splice(one.offset + shift, len(one.put), content[one.offset : one.end], one.author))
        shift += len(one.put) - one.removed
    return tuple(back)


def compose(first: Sequence[Splice], second: Sequence[Splice]) -> tuple[Splice, ...]:
    """One list for two that are applied one after the other. Where they meet, one splice has both authors.

    :param second: places in the content that `first` leads to
    """
    made = _Made()
    a = b = 0  # Where we are in the content as it came, and in that of the second list.
    pieces = _pieces(first)
    piece = next(pieces)
    for splice in (*second, None):
        stop = splice.offset if splice is not None else -1
        # What stands before the splice stays as the first list made it.
        while piece is not None and (stop < 0 or b < stop):
            kept, piece = _cut(piece, stop - b if stop >= 0 else -1)
            a, b = made.take(kept, a, b)
            piece = piece if piece is not None else next(pieces)
        if splice is None:
            break
        made.put(splice.put, splice.author)
        until = splice.end
        while piece is not None and b < until:
            gone, piece = _cut(piece, until - b)
            a, b = made.drop(gone, a, b)
            piece = piece if piece is not None else next(pieces)
    return made.finish()


@attrs.frozen
class _Piece:
    """A stretch of the content between two lists: kept of what came, or put by the first.

    :ivar octets: what was put; None where it was kept
    :ivar length: of it; -1 for all that is left
    :ivar removed: octets of what came that go before it
    """

    octets: bytes | None
    length: int
    removed: int = 0
    author: str = ""


def _pieces(splices: Iterable[Splice]) -> Iterator[_Piece | None]:
    position = 0
    for one in splices:
        if one.offset > position:
            yield _Piece(None, one.offset - position)
        yield _Piece(one.put, len(one.put), one.removed, one.author)
        position = one.end
    yield _Piece(None, -1)
    yield None


def _cut(piece: _Piece, length: int) -> tuple[_Piece, _Piece | None]:
    """The first so many octets of a piece, and its rest; -1: all of it."""
    if length < 0 or 0 <= piece.length <= length:
        return piece, None
    rest = -1 if piece.length < 0 else piece.length - length
    if piece.octets is None:
        return attrs.evolve(piece, length=length), attrs.evolve(piece, length=rest, removed=0)
    first = attrs.evolve(piece, octets=piece.octets[:length], length=length)
    return first, attrs.evolve(piece, octets=piece.octets[length:], length=rest, removed=0)


class _Made:
    """Splices on their way: what is open grows until something is kept."""

    def __init__(self) -> None:
        self._done: list[Splice] = []
        self._offset = 0
        self._removed = 0
        self._put: list[bytes] = []
        self._authors: dict[str, None] = {}

    def take(self, piece: _Piece, a: int, b: int) -> tuple[int, int]:
        """A piece stays."""
        a, b = self._gone(piece, a, b)
        if piece.octets is not None:
            self.put(piece.octets, piece.author)
            return a, b + piece.length
        self._close()
        self._offset = a + piece.length
        return a + piece.length, b + piece.length

    def drop(self, piece: _Piece, a: int, b: int) -> tuple[int, int]:
        """A piece goes."""
        a, b = self._gone(piece, a, b)
        if piece.octets is None:
            self._removed += piece.length
            a += piece.length
        else:
            self._authors[piece.author] = None
        return a, b + piece.length

    def _gone(self, piece: _Piece, a: int, b: int) -> tuple[int, int]:
        if piece.removed:
            self._removed += piece.removed
            self._authors[piece.author] = None
        return a + piece.removed, b

    def put(self, octets: bytes, author: str) -> None:
        """Octets come."""
        self._put.append(octets)
        self._authors[author] = None

    def _close(self) -> None:
        put = b"".join(self._put)
        if put or self._removed:
            self._done.append(Splice(self._offset, self._removed, put, ", ".join(self._authors)))
        self._removed, self._put, self._authors = 0, [], {}

    def finish(self) -> tuple[Splice, ...]:
        """All of them."""
        self._close()
        return tuple(self._done)
