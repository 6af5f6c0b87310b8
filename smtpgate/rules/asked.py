"""Which detectors a condition asks for, told from its text, so that no others run.

`matches.exists(m, m.detector == 'card' && ...)` asks for one, `m.group in ['payment', 'bank']` for two groups. Where
each way to make such a test true goes through a comparison of detector or group with texts, these are all that are
needed; wherever that cannot be told, all are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from smtpgate.rules.vocabulary import GROUPED

_TOKEN: Final = re.compile(
    r"""[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|//[^\n]*|[A-Za-z_][A-Za-z0-9_]*|[0-9.]+|&&|\|\||==|!=|<=|>=|\S""",
    re.DOTALL,
)
_FACT: Final = "matches"
#: Tests of a list that hold only where something in it does.
_SOME: Final = frozenset({"exists", "exists_one", "filter"})
_TESTS: Final = _SOME | {"all"}


@attrs.frozen
class Name:
    """A detector, dictionary, group or listener that a condition names, with its place in the text, from 1."""

    kind: str
    name: str
    line: int
    column: int


@attrs.frozen
class Asked:
    """What conditions ask for.

    :ivar is_all: it cannot be told, so all
    """

    names: tuple[Name, ...] = ()
    is_all: bool = False

    def __or__(self, other: Asked) -> Asked:
        return Asked((*self.names, *other.names), self.is_all or other.is_all)


@attrs.frozen
class Token:
    """A word, a sign or a text in quotes, and where it begins, from 0."""

    text: str
    at: int


def tokens_of(text: str) -> list[Token]:
    """A condition that compiles, in pieces, comments left out."""
    return [Token(one[0], one.start()) for one in _TOKEN.finditer(text) if not one[0].startswith("//")]


def asked(text: str) -> Asked:
    """What a condition that compiles asks for; nothing where it does not speak of matches."""
    tokens = tokens_of(text)
    result = Asked()
    for place, token in enumerate(tokens):
        if token.text == _FACT and (place == 0 or tokens[place - 1].text != "."):
            result |= _of_test(tokens[place + 1 :], text)
    return result


def grouped(text: str) -> tuple[Name, ...]:
    """The groups that a condition that compiles names: `'board' in sender_groups`, or by a test of what is in it."""
    tokens = tokens_of(text)
    found: list[Name] = []
    for place, token in enumerate(tokens):
        if token.text not in GROUPED or place and tokens[place - 1].text == ".":
            continue
        before, behind = tokens[max(place - 2, 0) : place], tokens[place + 1 : place + 6]
        words = [one.text for one in behind]
        if len(before) == 2 and before[1].text == "in":
            found += [name_at(token.text, before[0], text)] if is_plain(before[0].text) else []
        elif words[:1] == ["."] and words[1] in _TESTS and words[2:3] == ["("] and words[4:] == [","]:
            inner = tokens[place + 1 :]
            inner = inner[5 : end_of(inner, 2)]
            for at in range(len(inner) - 2):
                three = [one.text for one in inner[at : at + 3]]
                if three[0] == words[3] and three[1] in ("==", "!=") and is_plain(three[2]):
                    found.append(name_at(token.text, inner[at + 2], text))
    return tuple(found)


def name_at(kind: str, token: Token, text: str) -> Name:
    """The name that a text in quotes is."""
    line = text.count("\n", 0, token.at) + 1
    return Name(kind, token.text[1:-1], line, token.at - text.rfind("\n", 0, token.at))


def is_plain(text: str) -> bool:
    """Whether it is a text in quotes that stands for itself."""
    return text[0] in "'\"" and "\\" not in text and text[:3] not in ("'''", '"""')


def _of_test(tokens: Sequence[Token], text: str) -> Asked:
    words = [one.text for one in tokens[:5]]
    if len(words) < 5 or words[0] != "." or words[1] not in _SOME or words[2] != "(" or words[4] != ",":
        return Asked(is_all=True)
    end = end_of(tokens, 2)
    found = _bound(tokens[5:end], words[3])
    if found is None:
        return Asked(is_all=True)
    return Asked(tuple(name_at(kind, token, text) for kind, token in found))


def end_of(tokens: Sequence[Token], start: int) -> int:
    """The place of the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += (tokens[place].text in ("(", "[", "{")) - (tokens[place].text in (")", "]", "}"))
        if depth == 0:
            return place
    return len(tokens)


def _split(tokens: Sequence[Token], by: str) -> list[Sequence[Token]]:
    pieces: list[Sequence[Token]] = []
    first = place = 0
    while place < len(tokens):
        if tokens[place].text in ("(", "[", "{"):
            place = end_of(tokens, place)
        elif tokens[place].text == by:
            pieces.append(tokens[first:place])
            first = place + 1
        place += 1
    return [*pieces, tokens[first:]]


def _bound(tokens: Sequence[Token], variable: str) -> list[tuple[str, Token]] | None:
    """The texts of which one must be the detector's or group's; None where there are none."""
    if len(_split(tokens, "?")) > 1:
        return None
    ways = _split(tokens, "||")
    if len(ways) > 1:
        each = [_bound(way, variable) for way in ways]
        return None if None in each else [one for found in each for one in found or ()]
    parts = _split(tokens, "&&")
    if len(parts) > 1:
        return next((found for part in parts if (found := _bound(part, variable)) is not None), None)
    if tokens and tokens[0].text == "(" and end_of(tokens, 0) == len(tokens) - 1:
        return _bound(tokens[1:-1], variable)
    return _comparison(tokens, variable)


def _comparison(tokens: Sequence[Token], variable: str) -> list[tuple[str, Token]] | None:
    words = [one.text for one in tokens]
    if len(words) == 5 and words[1] == "==":
        tokens, words = [*tokens[2:], *tokens[1:2], tokens[0]], [*words[2:], words[1], words[0]]
    if len(words) < 5 or words[:2] != [variable, "."] or words[2] not in ("detector", "group"):
        return None
    if words[3] == "==" and len(words) == 5:
        texts = list(tokens[4:])
    elif words[3] == "in" and words[4] == "[" and words[-1] == "]":
        texts = [one for one in tokens[5:-1] if one.text != ","]
    else:
        return None
    return [(words[2], one) for one in texts] if all(is_plain(one.text) for one in texts) else None
