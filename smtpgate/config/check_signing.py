"""Checks of the keys that mail is signed with: that each has a name of its own, and mail to sign."""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.model import Settings
from smtpgate.config.problem import Fault, one_of, quoted, warning


def dkim_keys_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """Two keys under one name in the DNS: one of both makes bad signatures."""
    seen: dict[tuple[str, str], int] = {}
    for key in tree.dkim_keys:
        name = (key.domain, key.terms.selector)
        if name in seen:
            yield Fault(
                ("dkim_keys", key.number, "selector"),
                f"there is another key {quoted(name[1])} of {name[0]}",
                "give it a selector of its own",
                rests_on=(("dkim_keys", seen[name], "selector"), ("dkim_keys", seen[name], "domain")),
                keys=("domain",),
            )
        seen.setdefault(name, key.number)


def dkim_keys_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A key may only be about listeners that there are, and of its direction."""
    for key in tree.dkim_keys:
        for place, name in enumerate(key.listener):
            listener = tree.listeners.get(name)
            where = ("dkim_keys", key.number, "listener", place)
            if listener is None:
                hint = one_of(name, list(tree.listeners), 'write [listeners.submission] and listen = ["tcp:587"]')
                yield Fault(where, f"no listener {quoted(name)}", hint, rests_on=(("listeners", name),), keys=())
            elif key.direction and (listener.role == "mx") is not (key.direction == "in"):
                yield Fault(
                    where,
                    f"mail of listener {quoted(name)} never goes {key.direction}",
                    "leave one of both out, or give direction",
                    rests_on=(("listeners", name, "role"),),
                    keys=("direction",),
                )


def dkim_keys_have_mail(tree: Settings) -> Iterator[Fault]:
    """A key that no listener leads to signs nothing but mail of the gateway's own."""
    for key in tree.dkim_keys:
        sides = {"in" if one.role == "mx" else "out" for one in tree.listeners.values()}
        if tree.listeners and key.direction and key.direction not in sides:
            yield warning(
                ("dkim_keys", key.number, "domain"),
                f"no listener takes mail that goes {key.direction}: the key signs next to nothing",
                'give direction = "both" or "in", or a listener of role submission',
                keys=("direction",),
            )
