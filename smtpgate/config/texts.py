"""Configuration texts beside each other: differences, merges, and who wrote which line.

Pure, and about lines; `changed_keys` alone knows that they are TOML. Where two people changed the same lines, or lines
that touch, nothing is guessed: a text with both is made, which is no TOML, so that it cannot be put to work by mistake
(the marks are those of diff3 and git).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import Where, dotted

#: Lines around a change that are shown with it, as `diff -u` has it.
AROUND = 3
MINE, BETWEEN, THEIRS = "<<<<<<<", "=======", ">>>>>>>"


def unified(before: str, after: str, before_name: str, after_name: str) -> str:
    """The differences as `patch` takes them; "" for none."""
    out = []
    for line in difflib.unified_diff(_lines(before), _lines(after), before_name, after_name, n=AROUND):
        out.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(out)


@attrs.frozen
class Clash:
    """Lines that two people changed. Numbers are of the first line, from 1; in `base`, and in the merged text."""

    line: int
    base: str
    mine: str
    theirs: str


@attrs.frozen
class Merged:
    """Two changes of one text, joined. Where there are clashes the text has both, between marks."""

    text: str
    clashes: tuple[Clash, ...]

    @property
    def is_clean(self) -> bool:
        """Nothing is left to decide."""
        return not self.clashes


Hunk = tuple[int, int, int, int]


def merge(base: str, mine: str, theirs: str, theirs_name: str) -> Merged:
    """Both changes of a text in one.

    :param theirs_name: what the marks call theirs
    """
    lines, ours, others = _lines(base), _lines(mine), _lines(theirs)
    out: list[str] = []
    clashes: list[Clash] = []
    at = 0
    for first, last, my_hunks, their_hunks in _groups(_hunks(lines, ours), _hunks(lines, others)):
        out += lines[at:first]
        at = last
        mine_here = _there(lines, ours, first, last, my_hunks)
        theirs_here = _there(lines, others, first, last, their_hunks)
        if not their_hunks or mine_here == theirs_here:
            out += mine_here
        elif not my_hunks:
            out += theirs_here
        else:
            clash = "".join(lines[first:last]), "".join(mine_here), "".join(theirs_here)
            clashes.append(Clash(len(out) + 1, *clash))
            out += [f"{MINE} yours\n", *_ended(mine_here), f"{BETWEEN}\n", *_ended(theirs_here)]
            out.append(f"{THEIRS} {theirs_name}\n")
    out += lines[at:]
    return Merged("".join(out), tuple(clashes))


def _hunks(before: Sequence[str], after: Sequence[str]) -> list[Hunk]:
    matcher = difflib.SequenceMatcher(None, before, after)
    return [(a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def _groups(mine: list[Hunk], theirs: list[Hunk]) -> Iterator[tuple[int, int, list[Hunk], list[Hunk]]]:
    """Hunks that overlap or touch, together: first and last line of the base, and whose they are."""
    waiting = sorted([(hunk, 0) for hunk in mine] + [(hunk, 1) for hunk in theirs], reverse=True)
    while waiting:
        hunk, whose = waiting.pop()
        first, last = hunk[0], hunk[1]
        group: tuple[list[Hunk], list[Hunk]] = ([], [])
        group[whose].append(hunk)
        while waiting and waiting[-1][0][0] <= last:
            hunk, whose = waiting.pop()
            last = max(last, hunk[1])
            group[whose].append(hunk)
        yield first, last, group[0], group[1]


def _there(base: Sequence[str], after: Sequence[str], first: int, last: int, hunks: list[Hunk]) -> list[str]:
    """What stands in a changed text where the base has these lines."""
    if not hunks:
        return list(base[first:last])
    # Before its first and behind its last hunk here the text is as the base.
    start = hunks[0][2] - (hunks[0][0] - first)
    end = hunks[-1][3] + (last - hunks[-1][1])
    return list(after[start:end])


def _ended(lines: list[str]) -> list[str]:
    """The last line of a text may lack its end; a mark begins a line of its own."""
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


def blame(history: Sequence[tuple[int, str]]) -> tuple[int, ...]:
    """For each line of the last text, the number of the one that brought it.

    :param history: numbers and texts, the oldest first
    """
    lines: list[str] = []
    whose: list[int] = []
    for number, text in history:
        fresh = _lines(text)
        matcher = difflib.SequenceMatcher(None, lines, fresh)
        brought = [number] * len(fresh)
        for start, at, size in matcher.get_matching_blocks():
            brought[at : at + size] = whose[start : start + size]
        lines, whose = fresh, brought
    return tuple(whose)


def _lines(text: str) -> list[str]:
    """As TOML has them: no other letter ends a line."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + ([last] if (last := text.rpartition("\n")[2]) else [])


@attrs.frozen
class ChangedKey:
    """A key that is another: `how` is added, removed or changed; where it stands, from 1, in the text that has it."""

    key: str
    how: str
    line: int


def changed_keys(before: str, after: str) -> tuple[ChangedKey, ...]:
    """The keys that differ; none where one of the texts is no TOML."""
    try:
        old, new = read(before), read(after)
    except BadSyntax:
        return ()
    had, has = dict(_leaves(old.tree, ())), dict(_leaves(new.tree, ()))
    out = [_key(new, where, "added" if where not in had else "changed")
           for where, value in has.items()
           if where not in had or _kind(had[where]) != _kind(value)]  # fmt: skip
    out += [_key(old, where, "removed") for where in had if where not in has]
    return tuple(sorted(out, key=lambda one: (one.line, one.key)))


def _kind(value: Any) -> tuple[type, Any]:
    return type(value), value


def _key(document: Document, where: Where, how: str) -> ChangedKey:
    return ChangedKey(dotted(where), how, document.place(where, True)[0])


def _leaves(value: Any, where: Where) -> Iterator[tuple[Where, Any]]:
    """Each key with its value. A list of plain values is one; of an empty table there is none."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*where, name))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*where, number))
    else:
        yield where, value
