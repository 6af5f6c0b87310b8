"""Loops that conditions may not have, since the engine makes lists in a time that grows with the square of their size.

`exists` and `all` make no list, and end at the first entry that decides. `filter` and `map` copy what they have made so
far for each entry: once over 1,000 entries that is some 40 ms, and for each entry of another list it would be a second
in which no other mail goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smtpgate.rules.asked import Token, end_of, tokens_of

_MAKE_LISTS: Final = frozenset({"filter", "map"})
_LOOPS: Final = _MAKE_LISTS | {"exists", "exists_one", "all"}


def lists_in_loops(text: str) -> Iterator[tuple[Token, str, str]]:
    """Where a condition that compiles makes a list for each entry of another: token, what is wrong, what is right."""
    tokens = tokens_of(text)
    words = [one.text for one in tokens]
    told: set[int] = set()
    for place, word in enumerate(words):
        if word in _LOOPS and _is_call(words, place):
            for inner in range(place + 2, end_of(tokens, place + 1)):
                if words[inner] in _MAKE_LISTS and _is_call(words, inner) and inner not in told:
                    told.add(inner)
                    yield (
                        tokens[inner],
                        f"{words[inner]} makes a list for each entry of another",
                        "write .exists(x, ...) or .all(x, ...) there, which make none",
                    )


def _is_call(words: list[str], place: int) -> bool:
    return place > 0 and words[place - 1] == "." and words[place + 1 : place + 2] == ["("]
