"""Which events a reader of the stream wants: `listener:mx ip:192.0.2.7 verdict:reject word`.

The same key given twice means either, different keys mean both; a word without a key must stand somewhere in the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

KEYS: Final = ("listener", "ip", "verdict", "q")
#: Longest filter, and most terms in one.
CHARACTERS, TERMS = 500, 20


@attrs.frozen
class Sieve:
    """What a reader wants; nothing said lets all through.

    :ivar wanted: key to the values of which one must be there; `words`: texts of which all must be
    """

    wanted: tuple[tuple[str, frozenset[str]], ...] = ()
    words: tuple[str, ...] = ()

    def passes(self, facts: Mapping[str, str] | None) -> bool:
        """Whether an event is wanted.

        :param facts: by key, in lower case, "q" for all that is searched; None for events about the gateway itself,
            which no filter holds back
        """
        if facts is None:
            return True
        if any(facts.get(key, "") not in values for key, values in self.wanted):
            return False
        return all(word in facts.get("q", "") for word in self.words)


def read(text: str) -> Sieve:
    """A filter; raises ValueError with what would be right."""
    if len(text) > CHARACTERS or len(terms := text.casefold().split()) > TERMS:
        raise ValueError(f"at most {TERMS} terms in {CHARACTERS} characters")
    wanted: dict[str, set[str]] = {}
    words = []
    for term in terms:
        key, colon, value = term.partition(":")
        if not colon or not key.isalpha() or value.startswith(":") or key == "q":
            words.append(value if key == "q" and colon else term)
        elif key not in KEYS:
            raise ValueError(f"terms as {', '.join(f'{key}:...' for key in KEYS)}, or words")
        elif not value:
            raise ValueError(f"a value behind {key}:")
        else:
            wanted.setdefault(key, set()).add(value)
    return Sieve(tuple((key, frozenset(values)) for key, values in wanted.items()), tuple(filter(None, words)))


@attrs.frozen
class Terms:
    """A filter as a parameter of a query."""

    meaning: str

    def read(self, text: str | None) -> Sieve:
        """The filter."""
        return read(text or "")

    def schema(self) -> Mapping[str, object]:
        """A text."""
        return {"schema": {"type": "string", "maxLength": CHARACTERS}}
