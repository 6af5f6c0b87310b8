"""Checks of rate and concurrency limits: names, and what can be counted by what.

A limit on connections knows the client and nothing more; one that asked for the sender would never hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.model import Settings
from smtpgate.config.model_traffic import ConcurrencyLimit, RateLimit
from smtpgate.config.problem import Fault, Where, one_of, quoted

#: What is known before a client has said a word, and before it names a recipient.
AT_CONNECT = frozenset({"client", "network", "listener"})
AT_MAIL = AT_CONNECT | {"helo", "user", "sender", "sender_domain"}
#: What can be counted by a recipient.
_NOT_BY_RECIPIENT = {
    "connections": AT_CONNECT,
    "sessions": AT_CONNECT | {"user"},
    "auth_failures": AT_CONNECT | {"helo"},
    "refused_recipients": AT_MAIL,
}
_WHEN = {
    "connections": ("listener", "client"),
    "auth_failures": ("listener", "client"),
    "sessions": ("listener", "client", "user"),
}


def _limits(tree: Settings) -> Iterator[tuple[Where, RateLimit | ConcurrencyLimit]]:
    for table in ("rate_limits", "concurrency_limits"):
        for number, limit in enumerate(getattr(tree, table)):
            yield (table, number), limit


def shares_fit(tree: Settings) -> Iterator[Fault]:
    """More cannot be guaranteed than there is."""
    total = sum(one.share for one in tree.classes.values())
    if total > 1.0 + 1e-9:
        yield Fault(
            ("classes",),
            f"the guaranteed parts of all classes are {total:.0%} together",
            "make them 100% at most; what is not guaranteed is lent out",
            keys=(),
        )


def limits_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """A name in the log must say which limit it was."""
    seen: dict[str, Where] = {}
    for where, limit in _limits(tree):
        if limit.name in seen:
            yield Fault(
                (*where, "name"),
                f"there is another limit with the name {quoted(limit.name)}",
                "give it a name of its own",
                rests_on=((*seen[limit.name], "name"),),
                keys=(),
            )
        seen.setdefault(limit.name, where)


def limits_count_by_what_is_known(tree: Settings) -> Iterator[Fault]:
    """A key must be known when the limit is asked, or it would never hold."""
    for where, limit in _limits(tree):
        known = _NOT_BY_RECIPIENT.get(limit.count)
        for place, key in enumerate(limit.by):
            if known is not None and key not in known:
                yield Fault(
                    (*where, "by", place),
                    f"{limit.count} cannot be counted by {key}: it is not known yet",
                    "use " + ", ".join(sorted(known)),
                    keys=("count",),
                )
        if len(set(limit.by)) < len(limit.by):
            yield Fault((*where, "by"), "a key is named twice", "name each once", keys=())


def limits_ask_for_what_is_known(tree: Settings) -> Iterator[Fault]:
    """The same for what a limit is about."""
    for where, limit in _limits(tree):
        allowed = _WHEN.get(limit.count)
        for name in ("listener", "client", "user", "sender", "recipient"):
            if not getattr(limit.when, name):
                continue
            by_recipient = name == "recipient" and not set(limit.by) - AT_MAIL and limit.count != "recipients"
            if allowed is not None and name not in allowed or by_recipient:
                yield Fault(
                    (*where, name),
                    f"a limit on {limit.count} by {', '.join(limit.by)} is asked before the {name} is known",
                    "leave it out" if not by_recipient else 'leave it out, or count by "recipient" too',
                    keys=("count", "by"),
                )


def limits_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A limit may only be about listeners that there are."""
    for where, limit in _limits(tree):
        for place, name in enumerate(limit.when.listener):
            if name not in tree.listeners:
                yield Fault(
                    (*where, "listener", place),
                    f"no listener {quoted(name)}",
                    one_of(name, list(tree.listeners), 'write [listeners.mx] and listen = ["tcp:25"]'),
                    rests_on=(("listeners", name),),
                    keys=(),
                )
