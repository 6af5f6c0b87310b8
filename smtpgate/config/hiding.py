"""Secrets in a configuration text: shown as ***, and kept where *** is written back.

The gateway's own secrets are in files that the configuration names. What may stand in the text itself is in the options
of filters: a value whose key ends with one of the words below. A text that is no TOML yet is searched for such keys
line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import Problem, Where, dotted

HIDDEN: Final = "***"
#: Keys of a plugin's own table whose values are not shown, wherever the name ends so.
SECRET_WORDS: Final = (
    "password",
    "secret",
    "token",
    "api_key",
    "apikey",
    "credential",
    "credentials",
    "passphrase",
)
_STRING = re.compile(r'''"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''', re.S)
_LOOSE = re.compile(
    rf"""((?:{"|".join(SECRET_WORDS)})["']?[ \t]*=[ \t]*)"""
    r"""(\"\"\"(?:[^\\]|\\.)*?(?:\"\"\"|\Z)|"[^"\n]*"?|'[^'\n]*'?)""",
    re.IGNORECASE | re.DOTALL,
)


def hide(text: str) -> str:
    """The text with every secret as ***."""
    try:
        document = read(text)
    except BadSyntax:
        return _LOOSE.sub(rf'\1"{HIDDEN}"', text)
    return _replaced(text, document, {where: f'"{HIDDEN}"' for where, _ in _secrets(document.tree)})


def restore(text: str, base: str) -> str:
    """The text with each *** as the secret that the base has there. Where it has none *** stays: `left` tells."""
    try:
        document, old = read(text), read(base)
    except BadSyntax:
        return text
    known = {_name(old.tree, where): _written(base, old, where) for where, _ in _secrets(old.tree)}
    fresh = {
        where: known[name]
        for where, value in _secrets(document.tree)
        if value == HIDDEN and (name := _name(document.tree, where)) in known and known[name]
    }
    return _replaced(text, document, fresh)


def left(text: str, path: str) -> list[Problem]:
    """Each *** that stands for nothing."""
    try:
        document = read(text)
    except BadSyntax:
        return []
    return [
        Problem(path, *document.place(where), dotted(where), "*** stands for no secret", "write the value itself")
        for where, value in _secrets(document.tree)
        if value == HIDDEN
    ]


def _secrets(tree: dict[str, Any]) -> Iterator[tuple[Where, str]]:
    filters = tree.get("filters")
    for number, one in enumerate(filters if isinstance(filters, list) else ()):
        if isinstance(one, dict):
            yield from _below(one.get("options"), ("filters", number, "options"), False)


def _below(value: Any, where: Where, is_secret: bool) -> Iterator[tuple[Where, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _below(inner, (*where, name), is_secret or name.lower().endswith(SECRET_WORDS))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _below(inner, (*where, number), is_secret)
    elif is_secret and isinstance(value, str) and value:
        yield where, value


def _name(tree: dict[str, Any], where: Where) -> tuple[Any, ...]:
    """What a secret is known by in another text: filters may have changed their places."""
    filters, number = tree["filters"], where[1]
    names = [(one.get("use"), one.get("name")) if isinstance(one, dict) else None for one in filters]
    assert isinstance(number, int)
    return names[number], names[:number].count(names[number]), *where[2:]


def _span(text: str, document: Document, where: Where) -> tuple[int, int] | None:
    """Where the value stands as a string, in letters of the text."""
    line, column = document.place(where)
    start = sum(len(one) + 1 for one in text.split("\n")[: line - 1]) + column - 1
    found = _STRING.match(text, start)
    return found.span() if found is not None else None


def _written(text: str, document: Document, where: Where) -> str:
    span = _span(text, document, where)
    return text[slice(*span)] if span is not None else ""


def _replaced(text: str, document: Document, fresh: dict[Where, str]) -> str:
    spans = {}
    for where, value in fresh.items():
        span = _span(text, document, where)
        if span is None:
            # Better no text than a secret in it.
            raise ValueError(f"{dotted(where)} is not where it was read")
        spans[span] = value
    for (start, end), value in sorted(spans.items(), reverse=True):
        text = f"{text[:start]}{value}{text[end:]}"
    return text
