"""What a configuration searches texts for, for people: detectors and dictionaries, without what they look for."""

from __future__ import annotations

import attrs

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import Rule
from smtpgate.rules.searching import CATALOGUE, DICTIONARIES

#: Class in the quarantine of what must not leave.
_DLP = "dlp"


@attrs.frozen
class Searcher:
    """A detector or a dictionary.

    :ivar kind: detector or dictionary
    :ivar is_own: the configuration defines it
    :ivar is_asked: a rule in force, or in shadow, asks for it: it is searched for
    :ivar terms: of a dictionary, how many
    """

    name: str
    kind: str
    group: str
    country: str
    about: str
    is_own: bool
    is_asked: bool
    terms: int = 0


def searchers(settings: Settings) -> list[Searcher]:
    """All, those that are searched for first."""
    asked, own = frozenset(settings.search.names), settings.own
    found = []
    for one in {**CATALOGUE, **{one.name: one for one in own.detectors}}.values():
        is_own = one.name in {mine.name for mine in own.detectors}
        about = one.about if not is_own else "of the configuration"
        found.append(Searcher(one.name, "detector", one.group, one.country, about, is_own, one.name in asked))
    lists = {one.name: one for one in own.dictionaries}
    for name, held in {**DICTIONARIES, **lists}.items():
        about = f"{len(held.terms)} terms, from a score of {held.threshold:g} on"
        is_own = name in lists
        found.append(Searcher(name, "dictionary", "dictionary", "", about, is_own, name in asked, len(held.terms)))
    return sorted(found, key=lambda one: (not one.is_asked, not one.is_own, one.group, one.name))


def is_policy(rule: Rule) -> bool:
    """Whether a rule is about what texts hold, or about what is registered, or holds mail as that."""
    condition = rule.condition
    return condition.needs_search or condition.needs_registered or rule.held_as == _DLP
