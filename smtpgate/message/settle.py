"""What `mime` needs to put several readings of one message together: which parts are new, and what octets become.

A reading that another program has mostly shows the same parts again. Only what differs is kept, so that whoever scans
all parts scans nothing twice: a leaf is new where no leaf before it has the same octets, type and encodings. Octets are
compared by keyed hashes of the interpreter, which a stranger cannot aim at, after the same change that the other
program makes. A part that differs only in its name lends that name to the one that is kept.

RFC 5322 section 3.6 (fields that stand once).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from smtpgate.message.entity import Quirks
from smtpgate.message.header import HeaderSection
from smtpgate.message.tree import Node

_CHANGES: Final = frozenset({"drops-nul", "cr-ends", "lf-does-not-end"})
_EXCLUSIVE: Final = frozenset({"stops-at-line", "joins-lines"})
_PIECE: Final = 1 << 18
#: Fields that stand once and that people or programs go by. Address fields are read by `mailbox`.
_ONCE: Final = ("subject", "date", "message-id", "mime-version", "in-reply-to", "references")
_FILE: Final = re.compile(rb"^(?:begin(?:-base64)? [0-7]{3,4} |=ybegin |[A-Za-z0-9+/]{60,76}\r?$)", re.MULTILINE)

_Key = tuple[str, tuple[str, ...], str, int, int]


def changed(octets: bytes, quirks: Quirks) -> bytes:
    """Octets as a program with these quirks reads them; always in this order, so that equal things stay equal."""
    if "drops-nul" in quirks:
        octets = octets.replace(b"\0", b"")
    crlf, cr, lf = octets.count(b"\r\n"), octets.count(b"\r"), octets.count(b"\n")
    if crlf == cr == lf:
        return octets
    if "cr-ends" in quirks:
        return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if "lf-does-not-end" in quirks and lf > crlf:
        return _without_lone_lf(octets)
    return octets


def _without_lone_lf(octets: bytes) -> bytes:
    """A lone LF is a blank to such a program. By pieces, since lines of their own take many times the memory."""
    plain = bytearray()
    position = 0
    while position < len(octets):
        end = position + _PIECE
        if octets[end - 1 : end] == b"\r":
            end += 1
        lines = octets[position:end].split(b"\r\n")
        plain += b"\r\n".join([line.replace(b"\n", b" ") for line in lines])
        position = end
    return bytes(plain)


def kept(roots: Iterable[Node]) -> list[Node]:
    """The nodes of all readings, the usual one first, each in pre-order, without what shows nothing new."""
    ordered = [list(_flat(root)) for root in sorted(roots, key=lambda root: root.reading)]
    found = [node for nodes in ordered for node in nodes if node.reading == 0]
    known: dict[Quirks, dict[_Key, Node]] = {}
    for nodes in ordered:
        for node in nodes:
            if node.reading and not node.children:
                _compare(node, known, found)
        for node in reversed(nodes):
            if node.reading and node.children:
                node.is_kept = any(child.is_kept for child in node.children)
        found += [node for node in nodes if node.reading and node.is_kept]
    return found


def _compare(node: Node, known: dict[Quirks, dict[_Key, Node]], found: list[Node]) -> None:
    """Keep a leaf that is new, and know it from then on."""
    changes = node.quirks & _CHANGES
    if changes not in known:
        known[changes] = {}
        for one in found:
            if not one.children:
                known[changes].setdefault(_key(one, changes), one)
    same = known[changes].get(_key(node, frozenset()))
    if same is not None:
        same.more_names.update(dict.fromkeys(node.entity.names))
        node.is_kept = False
    elif node.body == node.end and not node.entity.names:
        node.is_kept = False
    else:
        for others, leaves in known.items():
            leaves[_key(node, others)] = node


def _key(node: Node, changes: Quirks) -> _Key:
    entity = node.entity
    charset = entity.charset if entity.media_type.startswith("text/") else ""
    octets: bytes | memoryview = memoryview(node.source)[node.body : node.end]
    if changes - node.quirks:
        octets = changed(bytes(octets), changes - node.quirks)
    return entity.media_type, entity.encodings, charset, len(octets), hash(octets)


def _flat(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node.children)


def is_same(top: Node, base: Node, is_changed: bool) -> bool:
    """Whether a pass found from there down what another one found, so that there is no need to look further.

    :param is_changed: its octets were changed: leaves are compared by what they hold
    """
    if not is_changed:
        return [_shape(node) for node in _own(top)] == [_shape(node) for node in _own(base)]
    changes = top.quirks & _CHANGES
    ours, theirs = _own(top), _own(base)
    return len(ours) == len(theirs) and all(
        one.kind == other.kind and (one.kind not in ("leaf", "coded") or _key(one, changes) == _key(other, changes))
        for one, other in zip(ours, theirs)
    )


def _own(top: Node) -> list[Node]:
    """The nodes that the same pass found."""
    return [node for node in _flat(top) if node.source is top.source]


def _shape(node: Node) -> tuple[object, ...]:
    entity = node.entity
    # Of two habits that exclude each other, one program names neither once it has one.
    needs = frozenset(node.needs) - _EXCLUSIVE
    place = (node.kind, node.start, node.body, node.end, node.boundary, node.depth)
    says = (entity.media_type, entity.encodings, entity.charset, entity.names, entity.disposition)
    return place, says, needs, tuple(node.outside)


def hidden_file(source: bytes, start: int, end: int, lines: int) -> int:
    """Where a file begins in a stretch of text: uuencoded, yEnc, or so many lines of base64; -1 where there is none."""
    position = start
    run, first = 0, -1
    for matched in _FILE.finditer(source, start, end):
        if matched.group()[:5] in (b"begin", b"=ybeg"):
            return matched.start()
        if matched.start() > position + 2 or run == 0:
            run, first = 0, matched.start()
        run += 1
        position = matched.end()
        if run >= lines:
            return first
    return -1


def excerpt(source: bytes, position: int) -> str:
    """A line for a person, from there on."""
    line = source[position : position + 100].partition(b"\n")[0].decode("ascii", "backslashreplace")
    return "".join(one if one.isprintable() else " " for one in line)


def repeated(section: HeaderSection) -> list[str]:
    """Fields that stand more often than once and should not."""
    head = b"\n" + section.octets.lower()
    return [name for name in _ONCE if head.count(b"\n" + name.encode() + b":") > 1]
