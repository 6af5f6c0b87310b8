"""Checks of rules: names, and the listeners that they are about."""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.model import Settings
from smtpgate.config.problem import Fault, one_of, quoted, warning


def rules_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """A name in the log must say which rule it was."""
    seen: dict[str, int] = {}
    for rule in tree.rules:
        if rule.name in seen:
            yield Fault(
                ("rules", rule.number, "name"),
                f"there is another rule with the name {quoted(rule.name)}",
                "give it a name of its own",
                rests_on=(("rules", seen[rule.name], "name"),),
                keys=(),
            )
        seen.setdefault(rule.name, rule.number)


def rules_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A rule may only be about listeners that there are, and of its direction."""
    for rule in tree.rules:
        for place, name in enumerate(rule.listener):
            listener = tree.listeners.get(name)
            where = ("rules", rule.number, "listener", place)
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


def rules_keep_what_is_kept(tree: Settings) -> Iterator[Fault]:
    """What is changed is lost as it came: nobody is to think that it is not."""
    for rule in tree.rules:
        if rule.change is not None and rule.change.keep:
            where = ("rules", rule.number, "keep")
            message = "nothing keeps messages yet: a message is lost as it came"
            yield warning(where, message, "leave it out", keys=("action",))
