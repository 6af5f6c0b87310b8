"""The parts of a message, in every reading: what the usual program sees, and what others see that read it otherwise.

`examine` calls `walk` once for each message. All places where mail programs disagree (two Content-Type fields, headers
that are broken, boundary lines with more behind them, lone CR and LF, NUL, files inside texts, and more: see
`entity.QUIRKS`) are read in both ways. The parts of the usual program come first, as reading 0; what only another
program sees follows with a higher number, so that whoever looks at all parts has looked at every reading. Each such
place is an anomaly too.

It copies no body, knows no recursion and never raises. Work is bounded whatever the message says: passes for other
readings stop at a multiple of the size of the content, decoding at a number of octets. A limit that was reached is
named in `Message.limits`: not all was seen then, and who judges must not take it for clean.

RFC 2045, RFC 2046; RFC 3501 section 6.4.5 (numbers); RFC 6532 section 3.7 (message/global).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Final

import attrs

from smtpgate.message import settle, transfer
from smtpgate.message.anomaly import ANOMALIES, Anomaly
from smtpgate.message.entity import QUIRKS, Entity, Quirks
from smtpgate.message.header import HeaderSection
from smtpgate.message.parts import Message, MimeLimits, Part
from smtpgate.message.tree import REPORTS, Limits, Node, Pass, Place, first_field

__all__ = ["ANOMALIES", "Anomaly", "Message", "MimeLimits", "Part", "walk"]

#: Quirks of one imagined program. Each more doubles the programs that could be meant; what is left out is told.
_QUIRKS: Final = 4
#: Lines of base64 in a row outside the parts that make a hidden file of it.
_HIDDEN_LINES: Final = 3
#: Anomalies of one kind that are told.
_TOLD: Final = 20
#: Octets and parts that other readings may take in any case.
_SMALL_OCTETS: Final = 1 << 20
_SMALL_PARTS: Final = 100

#: Number of the source, start, end, and who reads it.
_Stretch = tuple[int, int, int, Quirks]


def walk(content: bytes, limits: MimeLimits = MimeLimits()) -> Message:  # noqa: B008 (it is frozen)
    """Find the parts of a message. Anything is one."""
    work = _Walk(limits, len(content))
    work.queue.append(_Task(content if isinstance(content, bytes) else bytes(content), 0, len(content), is_buffer=True))
    while work.queue:
        work.do(work.queue.popleft())
    return work.message()


@attrs.define
class _Task:
    """A stretch to be read by an imagined program.

    :ivar buffer: number of the source, which is its own while that lives and after
    :ivar parent: node above; its child unless `is_other`, which makes another reading of it
    :ivar is_buffer: the stretch is a whole content, so that lone CR and the like are looked for
    :ivar base: what the program without the last quirk found there
    """

    source: bytes
    start: int
    end: int
    buffer: int = 0
    place: Place = Place()
    depth: int = 0
    parent: Node | None = None
    quirks: Quirks = frozenset()
    default: str = "text/plain"
    preset: Entity | None = None
    is_other: bool = False
    is_buffer: bool = False
    base: Node | None = None


class _Walk:
    """One walk: tasks, what they cost, and what they found."""

    def __init__(self, limits: MimeLimits, size: int) -> None:
        self.queue: deque[_Task] = deque()
        self.roots: list[Node] = []
        self._limits = limits
        self._size = size
        self._usual = self._others = self._lines = 0
        self._decodable = limits.decoded_octets
        self._allowance = limits.overlap * size + _SMALL_OCTETS
        self._reached: dict[str, None] = {}
        self._profiles: dict[Quirks, int] = {frozenset(): 0}
        self._numbers = count(1)
        self._queued: set[_Stretch] = set()
        self._read: set[_Stretch] = set()
        self._reading = 0
        self._pass_limits = Limits(limits.depth, limits.header_octets, self._take, self._look, self._reach)

    def _take(self) -> bool:
        """Leave to make one more part. Those of other readings are bounded by those of the usual one."""
        if self._reading:
            left = self._limits.overlap * min(self._usual, self._limits.parts) + _SMALL_PARTS - self._others
            self._others += 1
        else:
            left = self._limits.parts - self._usual
            self._usual += 1
        if left <= 0:
            self._reach("readings" if self._reading else "parts")
        return left > 0

    def _look(self) -> bool:
        self._lines += 1
        if self._lines > self._limits.lines:
            self._reach("lines")
        return self._lines <= self._limits.lines

    def _reach(self, name: str) -> None:
        self._reached[name] = None

    def _profile(self, quirks: Quirks) -> int:
        """The number of an imagined program; -1 where there are too many."""
        if quirks not in self._profiles and len(self._profiles) > self._limits.readings:
            self._reach("readings")
            return -1
        return self._profiles.setdefault(quirks, len(self._profiles))

    def do(self, task: _Task) -> None:
        """Read a stretch, and see what else must be read."""
        reading = self._profile(task.quirks)
        if reading < 0:
            return
        stretch = (task.buffer, task.start, task.end, task.quirks)
        if task.is_other and stretch in self._read:
            return  # A reading of what is above had this in it.
        self._reading = reading
        if reading:
            if task.end - task.start > self._allowance:
                self._reach("readings")
                return
            self._allowance -= task.end - task.start
        source, end, buffer = task.source, task.end, task.buffer
        if task.is_buffer:
            source = settle.changed(source, task.quirks)
            end = len(source)
            buffer = buffer if source is task.source else next(self._numbers)
        one = Pass(source, end, task.quirks, self._pass_limits)
        above = None if task.is_other else task.parent
        one.run(task.start, task.place, task.depth, above, task.default, task.preset)
        if not one.nodes:
            return
        top = one.nodes[0]
        is_new = task.base is None or not settle.is_same(top, task.base, task.is_buffer)
        if not is_new and not task.is_buffer:
            return  # The quirk makes no difference here; where it does together with another, that one asks for it.
        if above is None and is_new:
            top.parent = task.parent
            self.roots.append(top)
        if task.is_buffer:
            self._look_at_octets(task, source, top)
        for node in one.nodes:
            node.reading, node.buffer = reading, buffer
            self._read.add((buffer, node.start, node.end, node.quirks))
        for node in one.nodes:
            if node.kind == "coded" and is_new:
                self._decode(node)
            self._look_at(node)

    def _look_at_octets(self, task: _Task, source: bytes, top: Node) -> None:
        """Octets that make lines of their own for some programs."""
        crlf, cr, lf = source.count(b"\r\n"), source.count(b"\r"), source.count(b"\n")
        found = (
            ("drops-nul", "nul", b"\0" in source),
            ("cr-ends", "bare-cr", cr > crlf and "lf-does-not-end" not in task.quirks),
            ("lf-does-not-end", "bare-lf", lf > crlf > 0 and "cr-ends" not in task.quirks),
        )
        for quirk, kind, is_there in found:
            if is_there and quirk not in task.quirks:
                top.anomalies.append((kind, ""))
                self._add(attrs.evolve(task, quirks=task.quirks | {quirk}, is_other=True, base=task.base or top))

    def _look_at(self, node: Node) -> None:
        """What a node asks for: other readings."""
        entity = node.entity
        for name, start, end in node.outside:
            self._look_outside(node, name, start, end)
        if entity.media_type in REPORTS and node.kind == "leaf" and first_field(node.source, node.body, node.end) >= 0:
            node.anomalies.append(("part-in-report", entity.media_type))
            node.need("any-message")
        for number, boundary in enumerate(entity.other_boundaries, 2):
            if self._occurs(node, boundary):
                node.anomalies.append(("duplicate-boundary", boundary[:70].decode("ascii", "backslashreplace")))
                node.need(f"boundary-{number}")
        for quirk in node.needs:
            self._add(
                _Task(
                    node.source,
                    node.start,
                    node.end,
                    node.buffer,
                    node.place,
                    node.depth,
                    node.parent,
                    node.quirks | {quirk},
                    node.default,
                    entity if node.is_preset else None,
                    is_other=True,
                    base=node,
                )
            )

    def _occurs(self, node: Node, boundary: bytes) -> bool:
        """Whether a line of that boundary stands in a body. It costs what a pass costs."""
        for tail in (b"\r\n", b"\n", b"--"):
            self._allowance -= (node.end - node.body) // 4
            if self._allowance < 0:
                self._reach("readings")
                return False
            if node.source.find(b"\n--" + boundary + tail, max(node.body - 1, 0), node.end) >= 0:
                return True
        return False

    def _add(self, task: _Task) -> None:
        """Queue another reading, once."""
        stretch = (task.buffer, task.start, task.end, task.quirks)
        if stretch in self._queued:
            return
        self._queued.add(stretch)
        if len(task.quirks) > _QUIRKS:
            self._reach("readings")
            return
        self.queue.append(task)

    def _decoded(self, node: Node) -> bytes:
        """A body decoded, as far as the limit goes."""
        view = memoryview(node.source)[node.body : node.end]
        octets = transfer.decode(view, node.entity.encoding, self._decodable + 1)
        if len(octets) > self._decodable:
            self._reach("octets")
            octets = octets[: self._decodable]
        self._decodable -= len(octets)
        return octets

    def _decode(self, node: Node) -> None:
        """Queue what is inside an encoded message or multipart."""
        octets = self._decoded(node)
        preset = None
        start = 0
        if node.entity.media_type.startswith("multipart/"):
            # The first boundary line may be the first line: something must end before it.
            octets, start = b"\r\n" + settle.changed(octets, node.quirks), 2
            preset = attrs.evolve(node.entity, encodings=(), needs=(), anomalies=())
        task = _Task(octets, start, len(octets), next(self._numbers), preset=preset, is_buffer=preset is None)
        task.place, task.depth = Place(True, node.number), node.depth + 1
        task.parent, task.quirks = node, node.quirks
        self.queue.appendleft(task)

    def _look_outside(self, node: Node, name: str, start: int, end: int) -> None:
        """What hides before the first part or after the last is read as parts of its own."""
        source = node.source
        preset = None
        at = first_field(source, start, end)
        if at < 0:
            at = settle.hidden_file(source, start, end, _HIDDEN_LINES)
            if at < 0:
                return
            encodings = () if source[at : at + 1] in b"b=" else ("base64",)
            preset = Entity(HeaderSection(b""), 0, "text/plain" if not encodings else "application/octet-stream")
            preset = attrs.evolve(preset, encodings=encodings)
        node.anomalies.append((f"hidden-{name}", settle.excerpt(source, at)))
        place = Place(False, node.prefix, node.count + 1)
        node.count += 1
        quirks = node.quirks | {"shows-outside"}
        depth = node.depth + 1
        self._add(_Task(source, at, end, node.buffer, place, depth, node, quirks, preset=preset, is_other=True))

    def message(self) -> Message:
        """All of it put in order: readings that show nothing new are left out."""
        nodes = settle.kept(self.roots)
        files = [file for node in nodes if node.kind == "leaf" for file in self._files(node)]
        nodes += files
        index = {id(node): number for number, node in enumerate(nodes)}
        readings = {0: 0}
        for number in sorted({node.reading for node in nodes}):
            readings.setdefault(number, len(readings))
        words = {number: "; ".join(QUIRKS[one] for one in sorted(quirks)) for quirks, number in self._profiles.items()}
        profiles = ["the usual program", *(words[number] for number in readings if number)]
        parts = tuple(self._part(node, index, readings[node.reading]) for node in nodes)
        return Message(parts, tuple(_told(nodes)), tuple(self._reached), tuple(profiles))

    def _files(self, node: Node) -> Iterator[Node]:
        """Files inside a text, as some programs show them."""
        if not node.entity.media_type.startswith("text/"):
            return
        source, start, end = node.source, node.body, node.end
        if node.entity.is_coded:
            source = self._decoded(node)
            start, end = 0, len(source)
        if source.find(b"begin", start, end) < 0:
            return
        blocks = transfer.blocks(source[start:end])
        if len(blocks) == transfer.BLOCKS:
            self._reach("readings")
        for ordinal, block in enumerate(blocks, 1):
            reading = self._reading = self._profile(node.quirks | {"finds-files"})
            if reading < 0 or not self._take():
                return
            kind = "yenc" if block.kind == "x-yenc" else "uuencode"
            node.anomalies.append((f"{kind}-in-text", block.name[:200]))
            entity = Entity(
                HeaderSection(b""), 0, "application/octet-stream", encodings=(block.kind,), names=(block.name,)
            )
            first = start + (block.data if block.kind == "base64" else block.start)
            place = Place(False, node.number, ordinal)
            file = Node(source, first, place, node.depth + 1, node, node.quirks, "", entity, first, start + block.end)
            file.reading = reading
            file.settle_number()
            yield file

    def _part(self, node: Node, index: dict[int, int], reading: int) -> Part:
        entity = node.entity
        above = node.parent
        while above is not None and id(above) not in index:
            above = above.parent
        return Part(
            node.number,
            index[id(above)] if above is not None else min(node.depth, 1) - 1,
            node.depth,
            reading,
            entity.section,
            entity.media_type,
            entity.charset,
            entity.disposition,
            entity.encodings,
            tuple(dict.fromkeys((*entity.names, *node.more_names))),
            bool(node.children),
            node.source,
            node.body,
            node.end,
        )


def _told(nodes: list[Node]) -> Iterator[Anomaly]:
    """The anomalies of all nodes, a few of each kind; what one reading has told of a place, others do not repeat."""
    seen: set[tuple[str, str, int, int]] = set()
    counts: dict[str, int] = {}
    for node in nodes:
        anomalies = [*node.anomalies]
        if not node.children:
            octets = memoryview(node.source)[node.body : node.end]
            anomalies += [(kind, "") for kind in transfer.oddities(octets, node.entity.encodings)]
        if node.parent is None and node.reading == 0:
            anomalies += [("duplicate-field", name) for name in settle.repeated(node.entity.section)]
        for kind, detail in anomalies:
            place = (kind, detail, id(node.source), node.start)
            if place in seen or counts.get(kind, 0) >= _TOLD:
                continue
            seen.add(place)
            counts[kind] = counts.get(kind, 0) + 1
            yield Anomaly(kind, node.number, detail)
