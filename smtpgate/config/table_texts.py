"""Named tables as they stand in a configuration text, `[backends.NAME]` and its like: found, put in, taken out, with
the comments above them and with the tables within them.

Pure, and about lines: nothing else of the text is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, get_args, get_origin

import attrs

from smtpgate.config.schema import File
from smtpgate.config.table import Table
from smtpgate.config.text_blocks import NotSo, above, appended, document, end_of, joined, spliced, without


def _kinds() -> dict[str, type[Table]]:
    found = {}
    for name, field in File.model_fields.items():
        kinds = get_args(field.annotation) if get_origin(field.annotation) is dict else ()
        if kinds and isinstance(kinds[1], type) and issubclass(kinds[1], Table):
            found[name] = kinds[1]
    return found


#: Keys of the file that hold tables by name, and the table of each.
KINDS: Final[Mapping[str, type[Table]]] = _kinds()


@attrs.frozen
class NamedTable:
    """One table with all within it.

    :ivar first, last: its lines, from 0, the last not among them
    """

    kind: str
    name: str
    first: int
    last: int
    text: str


def tables(text: str) -> list[NamedTable]:
    """All of them that have lines of their own, in their order; a table in several places is there several times.
    Raises NotSo for a text that is no TOML."""
    headers = sorted((line - 1, where) for where, (line, _) in document(text).headers.items())
    lines = text.split("\n")
    found: list[NamedTable] = []
    at = 0
    while at < len(headers):
        line, where = headers[at]
        owner = tuple(map(str, where[:2]))
        at += 1
        if len(where) < 2 or owner[0] not in KINDS:
            continue
        while at < len(headers) and tuple(map(str, headers[at][1][:2])) == owner:
            at += 1
        first = above(lines, line)
        last = end_of(lines, headers[at][0] if at < len(headers) else len(lines))
        found.append(NamedTable(owner[0], owner[1], first, last, joined(lines[first:last])))
    return found


def names(text: str) -> list[tuple[str, str]]:
    """Kind and name of all that the text has, whichever way they are written. Raises NotSo."""
    tree = document(text).tree
    return [(kind, name) for kind in KINDS for name in _of_kind(tree, kind)]


def _of_kind(tree: dict[str, Any], kind: str) -> Collection[str]:
    found = tree.get(kind)
    return list(found) if isinstance(found, dict) else ()


def find(text: str, kind: str, name: str) -> NamedTable:
    """The table of a name. Raises NotSo where there is none, or where its lines are not its own."""
    if (kind, name) not in names(text):
        raise NotSo(f"there is no {kind}.{name} in that text")
    found = [one for one in tables(text) if (one.kind, one.name) == (kind, name)]
    if len(found) != 1 or _whole(found[0].text, kind, name) != document(text).tree[kind][name]:
        raise NotSo(f"{kind}.{name} is not written as one table [{kind}.{name}] there; edit the text")
    return found[0]


def _whole(text: str, kind: str, name: str) -> Any:
    held = document(text).tree.get(kind)
    return held.get(name) if isinstance(held, dict) else None


def of_text(text: str) -> list[NamedTable]:
    """The tables of a text that has nothing else. Raises NotSo."""
    tree = document(text).tree
    others = sorted(set(tree) - set(KINDS))
    if others:
        raise NotSo(f"{others[0]} is no table with a name; those are {', '.join(KINDS)}")
    named = names(text)
    if not named:
        raise NotSo(f"give a table with a name, as [{next(iter(KINDS))}.NAME]")
    return [find(text, kind, name) for kind, name in named]


def put(text: str, given: str) -> str:
    """Tables of another text put in: those that are there in their place, the others behind the last of their kind, or
    behind all. Raises NotSo."""
    for one in of_text(given):
        if (one.kind, one.name) in names(text):
            there = find(text, one.kind, one.name)
            text = spliced(text, there.first, there.last, one.text)
            continue
        alike = [other for other in tables(text) if other.kind == one.kind]
        text = _behind(text, alike[-1].last, one.text) if alike else appended(text, one.text)
    return text


def _behind(text: str, line: int, block: str) -> str:
    """A block behind a table that ends before a line, with an empty line on both sides."""
    lines = text.split("\n")
    is_near = line < len(lines) and lines[line].strip()
    return spliced(text, line, line, f"\n{block}\n" if is_near else f"\n{block}")


def remove(text: str, kind: str, name: str) -> str:
    """Without a table. Raises NotSo."""
    there = find(text, kind, name)
    return without(text, there.first, there.last)
