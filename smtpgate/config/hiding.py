"""Secrets in a configuration text: shown as ***, and kept where *** is written back.

The gateway's own secrets are in files that the configuration names. What may stand in the text itself is in the options
of filters, or where somebody wrote it by mistake: the value of a key that `masking` knows for one, wherever it stands,
also in a comment. A text that is no TOML yet is searched for such keys line by line; there more is hidden than must be.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import attrs

from smtpgate.config.masking import HIDDEN, SECRET_WORDS, is_path, is_secret_name, masked, masked_urls
from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import Problem, Where, dotted, quoted

_STRING = re.compile(r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''', re.S)
_WORDS: Final = "|".join(word.replace("_", "[-_]?") for word in (*SECRET_WORDS, r"\bpass", r"_pass", "pwd"))
_LOOSE: Final = re.compile(
    # The key, and what stands between it and its value, as far as that can be told.
    rf"""((?:{_WORDS})["']?[ \t]*(?:[=:]|(?=["'.])))"""
    # All of a long string; else the rest of the line, and lines that begin nothing new.
    r"""(?:[ \t]*(?:\"\"\".*?(?:\"\"\"|\Z)|\'\'\'.*?(?:\'\'\'|\Z)))?"""
    r"""[^\n]*(?:\n(?![ \t]*(?:\[|\#|\r?\n|[\w."'-]+[ \t]*=[ \t]*[\w"'\[{+-]|\Z))[^\n]*)*""",
    re.IGNORECASE | re.DOTALL,
)
_PEM: Final = re.compile(r"-----BEGIN [^\n-]*PRIVATE KEY-----.*?(?:-----END[^\n]*|\Z)", re.DOTALL)
_MAY: Final = re.compile(rf"""{_WORDS}|PRIVATE\ KEY|zone["']?\s*=\s*["'][a-z0-9]{{20}}|://""", re.IGNORECASE)
_REMARKS: Final = re.compile(
    r"""(?:\"\"\"(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')|(\#[^\n]*)""", re.S
)


def hide(text: str) -> str:
    """The text with every secret as ***."""
    # A key may be written with escapes; without any, one that is a secret's has its word in the text as it stands.
    if "\\" not in text and not _MAY.search(text):
        return text
    try:
        document = read(text)
    except BadSyntax:
        return _LOOSE.sub(rf'\1 "{HIDDEN}"', masked_urls(_PEM.sub(HIDDEN, text)))
    fresh = {where: _in_quotes(shown) for where, _, shown in _secrets(document.tree)}
    return _REMARKS.sub(_hide_remark, _replaced(text, document, fresh))


def _hide_remark(found: re.Match[str]) -> str:
    return _LOOSE.sub(rf'\1 "{HIDDEN}"', masked_urls(found[0])) if found[1] else found[0]


def _in_quotes(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def restore(text: str, base: str) -> str:
    """The text with each *** as the secret that the base has there. Where it has none *** stays: `left` tells."""
    try:
        document, old = read(text), read(base)
    except BadSyntax:
        return text
    names, starts = _names(old.tree), _starts(base)
    known = {_name(names, where): (shown, _written(base, starts, old, where)) for where, _, shown in _secrets(old.tree)}
    fresh, names = {}, _names(document.tree)
    for where, value, _ in _secrets(document.tree):
        shown, written = known.get(_name(names, where), ("", ""))
        if HIDDEN in value and value == shown and written:
            fresh[where] = written
    return _replaced(text, document, fresh)


def left(text: str, path: str) -> list[Problem]:
    """Each *** that stands for nothing."""
    try:
        document = read(text)
    except BadSyntax:
        return []
    return [
        Problem(path, *document.place(where), dotted(where), "*** stands for no secret", "write the value itself")
        for where, value, shown in _secrets(document.tree)
        if HIDDEN in value and value == shown
    ]


def without(problem: Problem, tree: dict[str, Any]) -> Problem:
    """A problem that repeats no secret of the tree that it was found in."""
    message, hint = problem.message, problem.hint
    for _, value, shown in _secrets(tree):
        for one in (value, quoted(value)[1:-1], quoted(value).removesuffix('..."')[1:]):
            if len(one) >= _LEAST and one != shown:
                message, hint = message.replace(one, shown), hint.replace(one, shown)
    return attrs.evolve(problem, message=message, hint=hint)


#: What is shorter says nothing, and stands in too many words.
_LEAST: Final = 4


def _secrets(tree: dict[str, Any]) -> Iterator[tuple[Where, str, str]]:
    """Where each is, what it is, and what is shown of it."""
    yield from _below(tree, (), "", False)


def _below(value: Any, where: Where, name: str, is_secret: bool) -> Iterator[tuple[Where, str, str]]:
    if isinstance(value, dict):
        for inner, held in value.items():
            yield from _below(held, (*where, inner), inner, is_secret or is_secret_name(inner))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _below(inner, (*where, number), name, is_secret)
    elif isinstance(value, str) and value:
        # Our own tables name files: those names are no secrets, unless somebody wrote the secret itself.
        is_hidden = is_secret and (_is_options(where) or not is_path(value))
        shown = HIDDEN if is_hidden else masked("zone" if name == "zone" else "", value)
        if HIDDEN in shown:
            yield where, value, shown


def _is_options(where: Where) -> bool:
    return where[:1] == ("filters",) and where[2:3] == ("options",)


def _names(tree: dict[str, Any]) -> list[tuple[str, int]]:
    """What each filter is known by in another text, and how many of that name are before it."""
    filters = tree.get("filters")
    seen: Counter[str] = Counter()
    names = []
    for one in filters if isinstance(filters, list) else ():
        name = repr((one.get("use"), one.get("name"))) if isinstance(one, dict) else ""
        names.append((name, seen[name]))
        seen[name] += 1
    return names


def _name(names: list[tuple[str, int]], where: Where) -> tuple[Any, ...]:
    """What a secret is known by in another text: filters may have changed their places."""
    number = where[1] if where[:1] == ("filters",) and len(where) > 1 else None
    if not names or not isinstance(number, int):
        return where
    return *names[number], *where[2:]


def _starts(text: str) -> list[int]:
    """Where each line begins."""
    return [0, *(found.end() for found in re.finditer("\n", text))]


def _span(text: str, starts: list[int], document: Document, where: Where) -> tuple[int, int] | None:
    """Where the value stands as a string, in letters of the text."""
    line, column = document.place(where)
    found = _STRING.match(text, starts[line - 1] + column - 1)
    return found.span() if found is not None else None


def _written(text: str, starts: list[int], document: Document, where: Where) -> str:
    span = _span(text, starts, document, where)
    return text[slice(*span)] if span is not None else ""


def _replaced(text: str, document: Document, fresh: dict[Where, str]) -> str:
    starts, spans = _starts(text), {}
    for where, value in fresh.items():
        span = _span(text, starts, document, where)
        if span is None:
            # Better no text than a secret in it.
            raise ValueError(f"{dotted(where)} is not where it was read")
        spans[span] = value
    pieces, at = [], 0
    for (start, end), value in sorted(spans.items()):
        pieces += [text[at:start], value]
        at = end
    return "".join((*pieces, text[at:]))
