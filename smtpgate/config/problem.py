"""What is wrong with a configuration, as values.

A `Fault` names a key by its path in the tree; the schema and the checks make faults. The loader knows where
that key stands in the file and turns each fault into a `Problem`, which is what people read. Every problem
says what is wrong and, in its hint, what would be right. Values quoted in a message are escaped and cut: a
configuration may come from the admin page, and what we print goes to a terminal or a log.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs

Severity = Literal["error", "warning"]

#: Path of a key from the top of the file: table names, keys, and numbers (from 0) in arrays.
Where = tuple[str | int, ...]

#: Stands in a place of `Fault.rests_on` for any name or number: the key of every route, of every listener.
EACH: Final = -1

#: Longest piece of a value that a message repeats; enough to recognise it, too little to flood a log.
QUOTED_CHARACTERS = 60

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def quoted(value: object) -> str:
    """The value as a message shows it: quoted when text, escaped, and cut when long."""
    if isinstance(value, bool | str):
        shown = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, list | tuple):
        return "a list"
    else:
        shown = str(value)
    if len(shown) > QUOTED_CHARACTERS:
        shown = shown[: QUOTED_CHARACTERS - 4] + '..."' if isinstance(value, str) else shown[:QUOTED_CHARACTERS]
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)


def dotted(where: Where) -> str:
    """The path of a key as the file would write it, with the number of an array's entry in brackets."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _BARE_KEY.fullmatch(part) else quoted(part)
            text += f".{shown}" if text else shown
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or ''."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def one_of(word: str, known: Sequence[str], nothing: str) -> str:
    """A hint for a name that is not known: what was probably meant, and what there is."""
    if not known:
        return nothing
    meant = nearest(word, known)
    there_is = "known: " + ", ".join(known)
    return f'did you mean "{meant}"? {there_is}' if meant else there_is


class BadValue(ValueError):
    """A value that cannot be read: what is wrong with it, and what would be right.

    :ivar key: the key whose value it is, where a whole table was judged
    """

    def __init__(self, message: str, hint: str = "", key: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.key = key

    def at(self, key: str) -> BadValue:
        """The same, at a key of the table."""
        return BadValue(self.message, self.hint, key)


@attrs.frozen
class Fault:
    """Something wrong at a key.

    A judgement is void where something that it rests on is at fault itself. A check that judges a given value, as one
    that looks a name up, names the few keys that it rests on, so that it is heard beside any other mistake; what
    judges that something is missing leaves `keys` alone, since an unknown key may be what is missed.

    :ivar is_key: points at the key's name instead of its value
    :ivar rests_on: other places that the judgement rests on; what stands below them counts too
    :ivar keys: the keys of the same table that it rests on besides its own; None: the table as a whole
    :ivar within: line and column, from 1, inside of the text that is the value; None: the value as a whole
    """

    where: Where
    message: str
    hint: str = ""
    severity: Severity = "error"
    is_key: bool = False
    rests_on: tuple[Where, ...] = ()
    keys: tuple[str, ...] | None = None
    within: tuple[int, int] | None = None


def warning(
    where: Where,
    message: str,
    hint: str = "",
    rests_on: tuple[Where, ...] = (),
    keys: tuple[str, ...] | None = None,
) -> Fault:
    """A fault that does not keep the gateway from starting."""
    return Fault(where, message, hint, "warning", rests_on=rests_on, keys=keys)


@attrs.frozen
class Problem:
    """A fault with its place in the file. Line 0 means the file as a whole."""

    path: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        said = f"{self.message}; {self.hint}" if self.hint else self.message
        if self.severity == "warning":
            said = f"warning: {said}"
        return "  ".join(filter(None, (place, self.key, said)))

    @property
    def is_error(self) -> bool:
        """True when the gateway may not start with it."""
        return self.severity == "error"


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sorted as the file reads; at the same place, errors stand before warnings."""
    return tuple(sorted(problems, key=lambda p: (p.line, p.column, not p.is_error, p.key, p.message)))


def count(problems: Iterable[Problem]) -> str:
    """How many there are, in words: '2 errors, 1 warning'."""
    listed = list(problems)
    errors = sum(p.is_error for p in listed)
    parts = ((errors, "error"), (len(listed) - errors, "warning"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts if n) or "no problems"


class ConfigErrors(Exception):
    """A configuration that is refused, with all its problems, warnings too, sorted by line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.problems), count(self.problems)])
