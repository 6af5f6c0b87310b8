"""What is searched for in texts, as the configuration has it, and what comes back: names for conditions to speak of.

`config` makes one `Search` of all rules in force; `filters.search` runs it in a child process (`examine.dlp.search`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import re2

from smtpgate.examine.dlp.catalogue import CATALOGUE
from smtpgate.examine.dlp.checks import VALIDATORS
from smtpgate.examine.dlp.detector import GROUPS, LEVELS, WINDOW, Detector
from smtpgate.examine.dlp.health import DICTIONARIES
from smtpgate.examine.dlp.terms import BadTerm, Dictionary, words_of
from smtpgate.examine.dlp.wanted import compiled
from smtpgate.rules.asked import Asked

__all__ = ["CATALOGUE", "DICTIONARIES", "GROUPS", "LEVELS", "VALIDATORS", "WINDOW", "BadTerm", "Detector", "Dictionary"]

#: Octets of what a configuration defines, all together: half of what a child takes at once (`net.child.FRAME_OCTETS`).
OWN_OCTETS: Final = 4 << 20
#: Members of the EU, and of the lands that keep its rules.
EUROPE: Final = frozenset(
    re.findall(
        r"[A-Z0-9]+",
        "AT BE BG CH CY CZ DE DK EE EL ES EU FI FR GR HR HU IE IS IT LT LU LV MT NL NO PL PT RO SE SI SK",
    )
)


@attrs.frozen
class Match:
    """What one detector or dictionary found, at least so sure; see `vocabulary`."""

    detector: str
    group: str
    country: str
    confidence: str
    count: int
    distinct: int
    score: float
    paths: tuple[str, ...]
    samples: tuple[str, ...]


@attrs.frozen
class Searched:
    """What was found in a message.

    :ivar unread: path and reason
    :ivar subject: as it may be told where something that was found stands in it; else ""
    """

    matches: tuple[Match, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    subject: str = ""


@attrs.frozen(eq=False)
class Search:
    """What to search for.

    :ivar names: of detectors and dictionaries
    :ivar own: those that the configuration defines, plain; `digest` of it, "" where there are none
    :ivar limits: how far a message is read
    """

    names: tuple[str, ...] = ()
    own: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    digest: str = ""
    limits: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def request(self) -> dict[str, Any]:
        """What a child is told, but for `own`."""
        return {"names": list(self.names), "digest": self.digest, "limits": dict(self.limits)}

    @property
    def is_too_large(self) -> bool:
        """Whether no child would take `own`: those of two texts may be searched for together."""
        return len(json.dumps(self.own)) > OWN_OCTETS * 3 // 2


NO_SEARCH: Final = Search()


@attrs.frozen(eq=False)
class Own:
    """Detectors and dictionaries that a configuration defines, whether a rule asks for them or not."""

    detectors: tuple[Detector, ...] = attrs.field(default=(), repr=False)
    dictionaries: tuple[Dictionary, ...] = attrs.field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all of them."""
        return (*(one.name for one in self.detectors), *(one.name for one in self.dictionaries))

    def beside(self, other: Own) -> Own:
        """These, and those of another whose names none of these has."""
        names = frozenset(self.names)
        return Own(
            (*self.detectors, *(one for one in other.detectors if one.name not in names)),
            (*self.dictionaries, *(one for one in other.dictionaries if one.name not in names)),
        )


NO_OWN: Final = Own()


def search_of(
    asked: Iterable[Asked], detectors: Iterable[Detector], dictionaries: Iterable[Dictionary], limits: Mapping[str, Any]
) -> Search:
    """What conditions ask for, among what there is."""
    mine, lists = {one.name: one for one in detectors}, {one.name: one for one in dictionaries}
    wanted: set[str] = set()
    groups: set[str] = set()
    is_all = False
    for one in asked:
        is_all = is_all or one.is_all
        for name in one.names:
            (groups if name.kind == "group" else wanted).add(name.name)
    known = {**CATALOGUE, **mine}
    names = [name for name, one in known.items() if is_all or name in wanted or one.group in groups]
    names += [name for name in {**DICTIONARIES, **lists} if is_all or name in wanted or "dictionary" in groups]
    if not names:
        return NO_SEARCH
    own = {
        "detectors": [_plain(mine[name]) for name in names if name in mine],
        "dictionaries": [_plain(lists[name]) for name in names if name in lists],
    }
    if not any(own.values()):
        return Search(tuple(names), limits=limits)
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    return Search(tuple(names), own, digest, limits)


def _plain(value: Any) -> dict[str, Any]:
    return {name: list(held) if isinstance(held, tuple) else held for name, held in attrs.asdict(value).items()}


def why_no_pattern(pattern: str) -> str:
    """What is wrong with a pattern of a detector; "" where nothing is."""
    try:
        found = compiled(pattern, is_text=True)
    except re2.error as error:
        said = error.args[0]
        return (said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said))[:200]
    return "it fits a text of no letters" if found.search(b"") is not None else ""


def why_no_term(term: str) -> str:
    """What is wrong with a term of a dictionary; "" where nothing is."""
    try:
        words_of(term)
    except BadTerm as error:
        return str(error)
    return ""
