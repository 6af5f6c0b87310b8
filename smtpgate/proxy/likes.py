"""Domains by what their names look like: which of many one may be taken for, without a look at each.

Held under the skeleton of the name; asked with that of another and all that are one letter away from it, some 76 for
each letter of a name, so that a question costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from smtpgate.examine.skeleton import LABEL_LETTERS, looks_like, skeleton, unicode_host
from smtpgate.examine.urls import registrable

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
#: Domains that are told of one.
MOST: Final = 10


class Likes:
    """Some domains."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, ...]] = {}

    def add(self, domain: str) -> None:
        """One more; addresses are passed over."""
        if "@" not in domain:
            look = _look(domain)
            held = self._held.get(look, ())
            if domain not in held:
                self._held[look] = (*held, domain)

    def remove(self, domain: str) -> None:
        """One less."""
        look = _look(domain)
        left = tuple(one for one in self._held.get(look, ()) if one != domain)
        if left:
            self._held[look] = left
        else:
            self._held.pop(look, None)

    def of(self, domain: str) -> list[str]:
        """Those that a domain looks like (`examine.skeleton.looks_like`), MOST at most."""
        if not self._held:
            return []
        looks = dict.fromkeys([_look(domain), *map(skeleton, _name(domain).split("-"))])
        found: dict[str, None] = {}
        for look in (*looks, *_near(_look(domain))):
            for one in self._held.get(look, ()):
                if one != domain and looks_like(domain, (registrable(one),)) is not None:
                    found[one] = None
        return list(found)[:MOST]


def _name(domain: str) -> str:
    return registrable(unicode_host(domain)).partition(".")[0][:LABEL_LETTERS]


def _look(domain: str) -> str:
    return skeleton(_name(domain))


def _near(look: str) -> Iterator[str]:
    """All that are one letter away, and begin alike: as `looks_like` compares them."""
    for place in range(1, len(look) + 1):
        head, tail = look[:place], look[place:]
        for letter in _LETTERS:
            yield head + letter + tail
            yield head + letter + tail[1:]
        yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
