"""One pass over a stretch of octets: the tree of parts that one imagined program finds there.

`mime` runs a `Pass` for the usual program over the message, and further passes with quirks (`entity.QUIRKS`) over the
stretches that other programs read otherwise. A pass goes forward once, without recursion: it keeps the multiparts
that are open, looks for the next line that begins as all their boundaries do, and asks a table whose line it is. So
it takes linear time however many parts and levels there are, and no body is copied. The outer boundary wins where two
could be meant, as the standard asks and the library's parser does.

It refuses to decode and to judge: what must be decoded first, and where another program would differ, stands in the
nodes for `mime` to see. It never raises.

RFC 2046 sections 5.1 and 5.2; RFC 3501 section 6.4.5 (numbers of parts).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import attrs

from smtpgate.message.entity import BOUNDARY_OCTETS, Entity, Quirks, read_entity

#: Messages that report on another and have no parts in the eyes of most programs (RFC 3464, 8098, 5965, 6533).
REPORTS: Final = frozenset(
    {
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/global-delivery-status",
        "message/global-disposition-notification",
        "message/tracking-status",
    }
)
#: Octets of a line that are compared with boundaries; behind it only padding can stand.
_LINE: Final = BOUNDARY_OCTETS + 256
_FIELD: Final = re.compile(rb"[!-9;-~]{1,76}:")
_TYPED: Final = re.compile(rb"^content-(?:type|transfer-encoding)[ \t]*:", re.MULTILINE | re.IGNORECASE)


@attrs.frozen
class Place:
    """Where a node belongs.

    :ivar is_top: it is a message, and no part of a multipart
    :ivar prefix: number that the numbers below begin with; "" for the message itself
    :ivar ordinal: of a part in its multipart, from 1
    """

    is_top: bool = True
    prefix: str = ""
    ordinal: int = 1


@attrs.define(eq=False)
class Node:
    """A part, while the tree is built.

    :ivar kind: leaf, multipart, message (its body is a message as it stands), coded (to be decoded and read again)
    :ivar body: where the body begins in `source`; `end` where it ends
    :ivar is_seen: a boundary line of it has come; `is_closed` the closing one
    :ivar count: highest ordinal among its parts
    :ivar is_preset: its header was not read at `start` but given
    :ivar buffer: number of the source, for `mime`
    :ivar outside: stretches before the first part and after the last, each with its name
    :ivar needs: quirks by which another program reads it otherwise
    :ivar more_names: names that other readings give it; `is_kept` is False where one shows nothing new
    :ivar is_registered: its boundary is looked for; `shadowed` had the same one, `needle` was looked for before
    """

    source: bytes
    start: int
    place: Place
    depth: int
    parent: Node | None
    quirks: Quirks
    default: str
    entity: Entity
    body: int
    end: int
    kind: str = "leaf"
    number: str = ""
    boundary: bytes | None = None
    is_seen: bool = False
    is_closed: bool = False
    epilogue: int = -1
    count: int = 0
    is_preset: bool = False
    reading: int = 0
    buffer: int = 0
    outside: list[tuple[str, int, int]] = attrs.field(factory=list)
    needs: dict[str, None] = attrs.field(factory=dict)
    anomalies: list[tuple[str, str]] = attrs.field(factory=list)
    children: list[Node] = attrs.field(factory=list)
    more_names: dict[str, None] = attrs.field(factory=dict)
    is_kept: bool = True
    is_registered: bool = False
    shadowed: Node | None = None
    needle: bytes = b""

    def need(self, quirk: str) -> None:
        """Another program reads this otherwise."""
        if quirk not in self.quirks:
            self.needs[quirk] = None

    @property
    def prefix(self) -> str:
        """What the numbers of parts below begin with."""
        if self.place.is_top and self.kind == "multipart":
            return self.place.prefix
        return self.number

    def settle_number(self) -> None:
        """Number it as IMAP does; a multipart that is a message has none there, and gets "" or "2.TEXT"."""
        place = self.place
        tail = str(place.ordinal)
        if place.is_top:
            tail = ("TEXT" if place.prefix else "") if self.kind == "multipart" else "1"
        self.number = f"{place.prefix}.{tail}" if place.prefix else tail


@attrs.frozen
class Limits:
    """What a pass keeps to, and asks.

    :ivar take: gives leave to make one more part
    :ivar look: gives leave to look at one more line that may be a boundary
    :ivar reached: is told of a limit by name
    """

    depth: int
    header_octets: int
    take: Callable[[], bool]
    look: Callable[[], bool]
    reached: Callable[[str], None]


class Pass:
    """One forward pass.

    :ivar nodes: what it found, in pre-order
    """

    def __init__(self, source: bytes, end: int, quirks: Quirks, limits: Limits) -> None:
        self.nodes: list[Node] = []
        self._source = source
        self._end = end
        self._quirks = quirks
        self._limits = limits
        self._path: list[Node] = []
        self._active: dict[bytes, Node] = {}
        self._lengths: tuple[int, ...] = ()
        self._needle = b""
        # The next empty lines, each valid until it is passed.
        self._crlf = self._lf = -1

    def run(
        self, start: int, place: Place, depth: int, parent: Node | None, default: str, preset: Entity | None
    ) -> None:
        """Read from `start` to the end.

        :param preset: a header that is known already; the body begins at `start`
        """
        position = self._open(start, place, depth, parent, default, preset)
        while position >= 0:
            found = self._next(position, self._end)
            if found is None:
                break
            node, is_closing, line, after = found
            self._close_above(node, self._before(line))
            position = after - 1
            if node.is_closed:
                if is_closing:
                    continue
                if "goes-on" not in self._quirks:
                    if "goes-on" not in node.needs:
                        node.anomalies.append(("parts-after-close", ""))
                        node.need("goes-on")
                    continue
                self._outside(node, "epilogue", node.epilogue, self._before(line))
            if not node.is_seen:
                node.is_seen = True
                self._outside(node, "preamble", node.body, self._before(line))
            node.is_closed = is_closing
            if is_closing:
                node.epilogue = after
                if node.shadowed is not None and node.boundary is not None:
                    # A program that gives the boundary to the inner one goes back to the outer one here.
                    self._active[node.boundary], node.shadowed = node.shadowed, None
            elif after < self._end:
                default = "message/rfc822" if node.entity.media_type == "multipart/digest" else "text/plain"
                place = Place(False, node.prefix, node.count + 1)
                position = self._open(after, place, node.depth + 1, node, default, None)
        self._close_above(None, self._end)

    def _before(self, line: int) -> int:
        """Where the content ends that stands before a boundary line: the line end belongs to the boundary."""
        end = max(line - 1, 0)
        return end - 1 if self._source[end - 1 : end] == b"\r" else end

    def _outside(self, node: Node, name: str, start: int, end: int) -> None:
        if end > start:
            node.outside.append((name, start, end))

    def _open(
        self, start: int, place: Place, depth: int, parent: Node | None, default: str, preset: Entity | None
    ) -> int:
        """Begin an entity, and the message inside where it is one; gives where to go on, -1 for nowhere."""
        while True:
            body = start
            entity = preset
            if entity is None:
                head, is_ended = self._header_end(start)
                found = self._next(max(start - 1, 0), head)
                if found:
                    head, is_ended = found[2], False
                    if head <= start and not place.is_top:
                        # Two boundary lines in a row have no part between them.
                        return start - 1
                entity = self._entity(start, head, is_ended, place.is_top, default)
                body = start + entity.octets
            if not self._limits.take():
                return -1
            node = Node(
                self._source, start, place, depth, parent, self._quirks, default, entity, body, self._end,
                is_preset=preset is not None,
            )  # fmt: skip
            self._classify(node)
            node.settle_number()
            if parent:
                parent.count = max(parent.count, place.ordinal)
                parent.children.append(node)
            self.nodes.append(node)
            self._path.append(node)
            if node.kind != "message":
                return max(body - 1, 0)
            start, depth, parent, default, preset = body, depth + 1, node, "text/plain", None
            place = Place(True, node.number)

    def _entity(self, start: int, head: int, is_ended: bool, is_top: bool, default: str) -> Entity:
        cap = self._limits.header_octets
        if head - start > cap:
            self._limits.reached("header")
            entity = read_entity(self._source[start : start + cap], self._quirks, default, is_ended=True, is_top=is_top)
            return entity if entity.octets < cap else attrs.evolve(entity, octets=head - start)
        return read_entity(self._source[start:head], self._quirks, default, is_ended=is_ended, is_top=is_top)

    def _classify(self, node: Node) -> None:
        entity = node.entity
        node.needs.update(dict.fromkeys(entity.needs))
        node.anomalies += entity.anomalies
        family = entity.media_type.partition("/")[0]
        is_report = entity.media_type in REPORTS and "any-message" not in self._quirks
        if family not in ("multipart", "message") or is_report:
            return
        if node.depth >= self._limits.depth:
            self._limits.reached("depth")
            return
        kind = family
        if entity.is_coded:
            node.anomalies.append((f"encoded-{family}", entity.encoding))
            if family == "multipart" or _FIELD.match(self._source, node.body):
                node.need("other-decoding")
            if (family == "message") != ("other-decoding" in self._quirks):
                kind = "coded"
        if entity.media_type == "message/external-body":
            node.anomalies.append(("external-body", ""))
        elif entity.media_type == "message/partial":
            node.anomalies.append(("partial-message", ""))
        if kind == "multipart":
            boundary = entity.boundary
            if "guesses" in self._quirks:
                boundary = self._guess(node, boundary)
            if boundary is None:
                node.need("guesses")
                return
            self._register(node, boundary)
        node.kind = kind

    def _guess(self, node: Node, boundary: bytes | None) -> bytes | None:
        """What a program guesses that finds no boundary: the first line that begins with two dashes."""
        start = max(node.body - 1, 0)
        if boundary is not None and self._source.find(b"\n--" + boundary, start, self._end) >= 0:
            return boundary
        line = self._source.find(b"\n--", start, self._end)
        guess = self._source[line + 3 : line + 3 + _LINE].partition(b"\n")[0].rstrip() if line >= 0 else b""
        return guess if 0 < len(guess) <= BOUNDARY_OCTETS else boundary

    def _register(self, node: Node, boundary: bytes) -> None:
        node.boundary = boundary
        outer = self._active.get(boundary)
        if outer is not None:
            outer.need("inner-first")
            node.anomalies.append(("boundary-reused", boundary[:70].decode("ascii", "backslashreplace")))
            if "inner-first" not in self._quirks:
                return
        node.is_registered = True
        node.shadowed = outer
        node.needle = self._needle
        self._needle = _common(self._needle, boundary) if self._active else boundary
        self._active[boundary] = node
        self._lengths = tuple(sorted({len(one) for one in self._active if one}, reverse=True))

    def _close_above(self, node: Node | None, end: int) -> None:
        """End what is open inside `node`; everything for None."""
        while self._path and self._path[-1] is not node:
            closed = self._path.pop()
            closed.end = max(closed.body, end)
            if closed.kind != "multipart":
                continue
            if closed.is_registered and closed.boundary is not None:
                if closed.shadowed is not None:
                    self._active[closed.boundary] = closed.shadowed
                elif self._active.get(closed.boundary) is closed:
                    del self._active[closed.boundary]
                self._needle = closed.needle
                self._lengths = tuple(sorted({len(one) for one in self._active if one}, reverse=True))
            if not closed.children:
                closed.kind = "leaf"
                closed.anomalies.append(("no-parts", ""))
                closed.need("guesses")
                closed.settle_number()
            elif not closed.is_closed:
                closed.anomalies.append(("no-close", ""))
            else:
                self._outside(closed, "epilogue", closed.epilogue, closed.end)

    def _header_end(self, start: int) -> tuple[int, bool]:
        """Behind the empty line of the header that begins there, and whether there is one."""
        source, end = self._source, self._end
        if source.startswith(b"\n", start, end):
            return start + 1, True
        if source.startswith(b"\r\n", start, end):
            return start + 2, True
        if self._crlf <= start:
            found = source.find(b"\n\r\n", start, end)
            self._crlf = found + 3 if found >= 0 else end + 1
        if self._lf <= start:
            found = source.find(b"\n\n", start, end)
            self._lf = found + 2 if found >= 0 else end + 1
        nearest = min(self._crlf, self._lf)
        return (nearest, True) if nearest <= end else (end, False)

    def _next(self, position: int, limit: int) -> tuple[Node, bool, int, int] | None:
        """The next boundary line before `limit`: whose it is, whether it closes, where it and the next line begin."""
        if not self._active:
            return None
        source, end = self._source, self._end
        needle = b"\n--" + self._needle
        while True:
            at = source.find(needle, position, limit)
            if at < 0 or not self._limits.look():
                return None
            line = at + 1
            stop = source.find(b"\n", line, end)
            after = stop + 1 if stop >= 0 else end
            text = source[line + 2 : min(after, line + _LINE)].rstrip(b" \t\r\n")
            node = self._active.get(text)
            is_closing = False
            if text.endswith(b"--"):
                closed = self._active.get(text[:-2])
                if closed is not None and (node is None or closed.depth < node.depth):
                    node, is_closing = closed, True
            if node is None:
                node, is_closing = self._begins(text)
            if node is not None:
                return node, is_closing, line, after
            position = max(after - 1, line)

    def _begins(self, text: bytes) -> tuple[Node | None, bool]:
        """The multipart whose boundary a line begins with, the longest first, for programs that look no further."""
        for length in self._lengths:
            node = self._active.get(text[:length]) if length < len(text) else None
            if node is None:
                continue
            if "begins-with" in self._quirks:
                return node, text[length : length + 2] == b"--"
            if "begins-with" not in node.needs:
                node.anomalies.append(("boundary-junk", text[:100].decode("ascii", "backslashreplace")))
                node.need("begins-with")
            return None, False
        return None, False


def _common(one: bytes, other: bytes) -> bytes:
    """What both begin with."""
    for index, (left, right) in enumerate(zip(one, other)):
        if left != right:
            return one[:index]
    return min(one, other, key=len)


def first_field(source: bytes, start: int, end: int) -> int:
    """Where the first line stands that is a field of MIME; -1 where there is none."""
    matched = _TYPED.search(source, start, end)
    return matched.start() if matched else -1
