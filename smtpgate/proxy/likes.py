"""Domains by what their names look like: which of many one may be taken for, without a look at each.

Held under the skeleton of the name, and under both halves of that: of two names that are one letter apart one half is
the same, but where two letters in the middle are swapped, which is one more question. A question costs some 20 to 200
microseconds, and less than 2 ms however the names are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from smtpgate.examine.skeleton import LABEL_LETTERS, is_near, looks_like, skeleton, unicode_host
from smtpgate.examine.urls import registrable

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
#: Domains that are told of one.
MOST: Final = 10
#: Domains that are compared letter by letter for one question, some 20 microseconds each.
COMPARED: Final = 50
#: Names with one half the same that are looked through; from there on all names that are one letter away are asked for.
CROWD: Final = 1000


class Likes:
    """Some domains, those that were added last."""

    def __init__(self, most: int) -> None:
        """
        :param most: domains; the one that was added first goes
        """
        self._most = most
        #: Name and skeleton of each domain, the newest last; and the domains of each skeleton.
        self._names: dict[str, tuple[str, str]] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        #: Skeletons by their length and one half.
        self._halves: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def add(self, domain: str) -> None:
        """One more; addresses are passed over."""
        if "@" in domain:
            return
        known = self._names.pop(domain, None)
        if known is not None:
            self._names[domain] = known
            return
        name = _name(domain)
        look = skeleton(name)
        self._names[domain] = name, look
        held = self._held.get(look, ())
        self._held[look] = (*held, domain)
        if not held:
            for key in _halves(look, len(look), len(look) // 2):
                self._halves.setdefault(key, {})[look] = None
        if len(self._names) > self._most:
            self.remove(next(iter(self._names)))

    def remove(self, domain: str) -> None:
        """One less."""
        _, look = self._names.pop(domain, ("", ""))
        left = tuple(one for one in self._held.get(look, ()) if one != domain)
        if left:
            self._held[look] = left
        elif self._held.pop(look, None) is not None:
            for key in _halves(look, len(look), len(look) // 2):
                names = self._halves[key]
                del names[look]
                if not names:
                    del self._halves[key]

    def of(self, domain: str) -> list[str]:
        """Those that a domain looks like (`examine.skeleton.looks_like`), MOST at most."""
        if not self._names:
            return []
        name = _name(domain)
        look = skeleton(name)
        looks = dict.fromkeys([look, *map(skeleton, name.split("-")), *self._near(look)])
        found: dict[str, None] = {}
        compared = 0
        for one in (one for kept in looks for one in self._held.get(kept, ())):
            # One name under several endings is no look-alike, and there may be many of these.
            if one == domain or self._names[one][0] == name:
                continue
            compared += 1
            if looks_like(domain, (registrable(one),)) is not None:
                found[one] = None
            if len(found) == MOST or compared == COMPARED:
                break
        return list(found)

    def _near(self, look: str) -> Iterable[str]:
        """Skeletons that are one letter away."""
        keys: dict[str, None] = {}
        for length in range(len(look) - 1, len(look) + 2):
            keys |= dict.fromkeys(_halves(look, length, length // 2))
        crowds = [self._halves[key] for key in keys if key in self._halves]
        if sum(map(len, crowds)) > CROWD:
            return (one for one in _all_near(look) if one in self._held)
        near = [one for crowd in crowds for one in crowd if is_near(look, one)]
        middle = len(look) // 2
        return [*near, _swapped(look, middle)] if middle else near


def _name(domain: str) -> str:
    host = unicode_host(domain)
    # Of two labels the first is the name, whatever the second is.
    return (host if host.count(".") < 2 else registrable(host)).partition(".")[0][:LABEL_LETTERS]


def _halves(look: str, length: int, half: int) -> Iterator[str]:
    """Under what a skeleton of that length with the same beginning, or the same end, is found."""
    if half:
        yield f"{length}<{look[:half]}"
        yield f"{length}>{look[-half:]}"


def _swapped(look: str, at: int) -> str:
    """With two neighbours swapped."""
    return look[: at - 1] + look[at] + look[at - 1] + look[at + 1 :]


def _all_near(look: str) -> Iterator[str]:
    """All that are one letter away, and begin alike: as `looks_like` compares them."""
    for place in range(1, len(look) + 1):
        head, tail = look[:place], look[place:]
        for letter in _LETTERS:
            yield head + letter + tail
            yield head + letter + tail[1:]
        yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
