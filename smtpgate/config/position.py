"""Where each key and value of a TOML text stands.

`read` parses a text and returns it as a `Document`: the plain tree, and for each path in it a line and a
column (from 1). toml-rs tells the place of keys and values, but not of `[table]` headers, so these are
searched here.

Two traps of the parser are dealt with: it counts columns in octets, and it ends the whole process when tables
or arrays are nested some thousand deep, so such a text is refused before the parser sees it. A configuration
may come from the admin page, and nobody there shall be able to stop the gateway.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import attrs
import toml_rs

from smtpgate.config.problem import Where

TOML_HINT = "the file must be TOML 1.0; see https://toml.io"
#: Deepest nesting taken. Ours has five levels; the parser dies between 500 and 3000.
NESTING = 100

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_HEADER = re.compile(rf"^[ \t]*(\[\[?)[ \t]*({_KEY}(?:[ \t]*\.[ \t]*{_KEY})*)[ \t]*\]\]?[ \t]*(?:\#.*)?\r?$", re.M)
_PARTS = re.compile(_KEY)
_TOKENS = re.compile(
    r'''"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)|"(?:[^"\\\n]|\\.)*|'[^'\n]*|\#[^\n]*|[][{}.\n]''',
    re.S,
)
_PLACE = re.compile(r"line (\d+), column (\d+)")

Place = tuple[int, int]


class BadSyntax(ValueError):
    """A text that is no TOML: where, why, and what would be right."""

    def __init__(self, line: int, column: int, reason: str, hint: str) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.reason = reason
        self.hint = hint


@attrs.frozen
class Document:
    """A parsed text: `tree` as plain values, and the places of what is in it."""

    tree: dict[str, Any]
    _nodes: dict[str, Any]
    _headers: dict[Where, Place]
    _lines: list[str]

    @property
    def headers(self) -> Mapping[Where, Place]:
        """Where each `[table]` and `[[array]]` header stands."""
        return self._headers

    def place(self, where: Where, is_key: bool = False) -> Place:
        """Line and column of the value at a path, or of its key; of what holds it when it is not there."""
        for length in range(len(where), 0, -1):
            found = self._find(where[:length], is_key and length == len(where))
            if found is not None:
                return found
        return 1, 1

    def within(self, where: Where, line: int, column: int) -> Place:
        """The place of a letter of a text, by its line and column there. Where escapes stand before it in the line, the
        column is that of an earlier letter."""
        first, start = self.place(where)
        written = self._lines[first - 1][start - 1 :] if first <= len(self._lines) else ""
        mark = next((one for one in ('"""', "'''", '"', "'") if written.startswith(one)), "")
        if len(mark) == 3 and not written[3:].strip():
            # A line end behind the mark is none of the text.
            return first + line, column
        return (first, start + len(mark) + column - 1) if line == 1 else (first + line - 1, column)

    def as_written(self, where: Where) -> Where:
        """The path without the numbers of entries that stand without brackets, as in `listener = "mx"`."""
        value: Any = self.tree
        for depth, part in enumerate(where):
            if isinstance(part, int) and not isinstance(value, list):
                return where[:depth]
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
        return where

    def _find(self, where: Where, is_key: bool) -> Place | None:
        header = self._headers.get(where)
        if header is not None:
            return header
        node: Any = self._nodes
        for part in where:
            inner = node["value"] if _is_leaf(node) else node
            if isinstance(part, str) and isinstance(inner, dict):
                node = inner.get(part)
            elif isinstance(part, int) and isinstance(inner, list) and part < len(inner):
                node = inner[part]
            else:
                return None
            if node is None:
                return None
        return self._place_of(node, is_key)

    def _place_of(self, node: dict[str, Any], is_key: bool) -> Place | None:
        if _is_leaf(node):
            kind = "key" if "value_line" not in node or (is_key and "key_line" in node) else "value"
            line, column = _first(node[f"{kind}_line"]), _first(node[f"{kind}_col"])
            written = self._lines[line - 1]
            if written.isascii():
                # Octets are letters: a long line with many values is not read again for each.
                return line, min(column - 1, len(written)) + 1
            return line, len(written.encode()[: column - 1].decode("utf-8", "ignore")) + 1
        places = [self._place_of(child, True) for child in node.values()]
        return min((place for place in places if place is not None), default=None)


def _first(number: int | tuple[int, int]) -> int:
    return number[0] if isinstance(number, tuple) else number


def _is_leaf(node: dict[str, Any]) -> bool:
    """True for a node with a place of its own. A table may have keys of these names too: those are dicts."""
    return isinstance(node.get("value_line"), int | tuple) or isinstance(node.get("key_line"), int)


def read(text: str) -> Document:
    """Parse a TOML text (version 1.0); raises `BadSyntax`."""
    _refuse_surrogates(text)
    _refuse_deep(text)
    try:
        parsed = toml_rs.load_with_metadata(text, toml_version="1.0.0")
    except toml_rs.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        line, column = (int(place[1]), int(place[2])) if place else (error.lineno, error.colno)
        # The last line is the reason; the lines before it repeat the text, which may be a secret.
        reason = message.rsplit("\n", 1)[-1]
        hint = "write each key and each table once" if reason == "duplicate key" else TOML_HINT
        raise BadSyntax(line, column, reason, hint) from None
    nodes: dict[str, Any] = parsed.meta["nodes"]
    document = Document(parsed.value, nodes, _headers(text, nodes), text.split("\n"))
    _refuse_large(document, parsed.value, ())
    return document


def _refuse_surrogates(text: str) -> None:
    """A TOML file is UTF-8. What came as JSON can hold halves of letters."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise BadSyntax(line, column, "half of a surrogate pair is no letter", TOML_HINT) from None


def _refuse_large(document: Document, value: Any, where: Where) -> None:
    """TOML asks for 64 bits, and no number of ours needs more; arithmetic with larger ones would overflow."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadSyntax(*document.place(where), "a number of more than 64 bits", "write a smaller number")
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_large(document, inner, (*where, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_large(document, inner, (*where, number))


def _refuse_deep(text: str) -> None:
    depth = dots = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth = max(0, depth - 1)
        elif mark == ".":
            dots += 1
        elif mark == "\n":
            dots = 0
        if depth > NESTING or dots > NESTING:
            at = token.start()
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            raise BadSyntax(line, column, "nested too deeply", f"the most is {NESTING} levels")


def _headers(text: str, nodes: dict[str, Any]) -> dict[Where, Place]:
    """The places of all `[table]` and `[[array]]` headers by path."""
    inside = sorted(_long_values(nodes))
    firsts, lasts = [first for first, _ in inside], [*accumulate((last for _, last in inside), max)]
    starts = [m.start() for m in re.finditer(r"^", text, re.M)]
    headers: dict[Where, Place] = {}
    entries: dict[Where, int] = {}
    for match in _HEADER.finditer(text):
        line = bisect.bisect_right(starts, match.start())
        before = bisect.bisect_left(firsts, line)
        if before and line <= lasts[before - 1]:
            continue
        where: Where = ()
        parts = [_unquoted(part) for part in _PARTS.findall(match[2])]
        for number, part in enumerate(parts):
            where = (*where, part)
            is_new = number == len(parts) - 1 and match[1] == "[["
            if is_new:
                entries[where] = entries.get(where, -1) + 1
            if where in entries:
                if is_new and entries[where] == 0:
                    headers[where] = line, match.start(1) - starts[line - 1] + 1
                where = (*where, entries[where])
        headers[where] = line, match.start(1) - starts[line - 1] + 1
    return headers


def _unquoted(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if key.startswith('"'):
        (name,) = toml_rs.loads(f"{key} = 0")
        return str(name)
    return key


def _long_values(node: Any) -> list[tuple[int, int]]:
    """First and last line of each value over several lines: what looks like a header in there is none."""
    if isinstance(node, list):
        return [span for child in node for span in _long_values(child)]
    if not isinstance(node, dict):
        return []
    if not _is_leaf(node):
        return [span for child in node.values() for span in _long_values(child)]
    line = node.get("value_line")
    found = [line] if isinstance(line, tuple) else []
    # What stands under an array of tables has values of its own; a value proper is done.
    return found + _long_values(node["value"]) if isinstance(node["value"], dict | list) else found
