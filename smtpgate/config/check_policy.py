"""Checks of rules and of what they search for: names, and the listeners that they are about."""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.model import Settings
from smtpgate.config.problem import Fault, one_of, quoted
from smtpgate.rules.searching import CATALOGUE, DICTIONARIES


def rules_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """A name in the log must say which rule it was; one that a pack stands for has one too."""
    seen: dict[str, tuple[str, int]] = {}
    for rule in tree.rules:
        place = (rule.table, rule.number)
        if rule.name in seen:
            yield Fault(
                (*place, "name"),
                f"there is another rule with the name {quoted(rule.name)}",
                "give it a name of its own",
                rests_on=((*seen[rule.name], "name"),),
                keys=(),
            )
        seen.setdefault(rule.name, place)


def searches_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """A name in a condition must say which detector or dictionary it is."""
    seen = dict.fromkeys((*CATALOGUE, *DICTIONARIES), ("", 0))
    for table, names in (("detectors", tree.detectors), ("dictionaries", tree.dictionaries)):
        for number, name in names:
            if name in seen:
                first, place = seen[name]
                yield Fault(
                    (table, number, "name"),
                    f"there is another detector or dictionary with the name {quoted(name)}",
                    "give it a name of its own",
                    rests_on=((first, place, "name"),) if first else (),
                    keys=(),
                )
            seen.setdefault(name, (table, number))


def rules_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A rule may only be about listeners that there are, and of its direction."""
    for rule in tree.rules:
        for place, name in enumerate(rule.listener):
            listener = tree.listeners.get(name)
            where = (rule.table, rule.number, "listener", place)
            if listener is None:
                hint = one_of(name, list(tree.listeners), 'write [listeners.mx] and listen = ["tcp:25"]')
                yield Fault(where, f"no listener {quoted(name)}", hint, rests_on=(("listeners", name),), keys=())
            elif rule.direction and (listener.role == "mx") is not (rule.direction == "in"):
                yield Fault(
                    where,
                    f"mail of listener {quoted(name)} never goes {rule.direction}",
                    "leave one of both out",
                    rests_on=(("listeners", name, "role"),),
                    keys=("direction",),
                )
