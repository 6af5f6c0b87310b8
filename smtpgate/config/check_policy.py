"""Checks of rules and of what they lead to: names, listeners, backends, searches, and where copies are sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import SENDING, Rule
from smtpgate.config.problem import EACH, Fault, Where, one_of, quoted, warning
from smtpgate.rules.asked import Name
from smtpgate.rules.searching import CATALOGUE, DICTIONARIES
from smtpgate.smtp.address import Path, parse_path


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
    """A rule may only be about listeners that there are, and of its direction; so may a condition, which would never be
    true of others."""
    for rule in tree.rules:
        yield from _named(rule, rule.listeners, tree.listeners, "listener", "listen")
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


def rules_name_groups(tree: Settings) -> Iterator[Fault]:
    """A condition on a group that is not there would never be true."""
    for rule in tree.rules:
        yield from _named(rule, rule.groups, tree.groups, "group", "addresses")


def _named(
    rule: Rule, by_key: Mapping[str, Iterable[Name]], there: Collection[str], kind: str, needed: str
) -> Iterator[Fault]:
    """What conditions of a rule name and is not there.

    :param by_key: the names, by the key of the condition
    :param needed: the key that a table of that kind must have
    """
    for key, names in by_key.items():
        for one in names:
            if one.name not in there:
                yield Fault(
                    (rule.table, rule.number, key),
                    f"no {kind} {quoted(one.name)}",
                    one_of(one.name, list(there), f"write [{kind}s.{one.name}] and {needed} = [...]"),
                    rests_on=((f"{kind}s", one.name),),
                    keys=(),
                    within=(one.line, one.column) if rule.table == "rules" else None,
                )


def rules_name_backends(tree: Settings) -> Iterator[Fault]:
    """What a rule routes or sends must have somewhere to go."""
    places: list[tuple[Where, str]] = [(("rules", rule.number, "backend"), rule.backend) for rule in tree.rules]
    places.append((("outbox", "backend"), tree.outbox.backend))
    if tree.tls_reports.send:
        places.append((("tls_reports", "backend"), tree.tls_reports.backend))
    for where, name in places:
        if name and name not in tree.backends:
            hint = one_of(name, list(tree.backends), "write [backends.mail] and its servers")
            yield Fault(where, f"no backend {quoted(name)}", hint, rests_on=(("backends", name),), keys=())


def rules_send_where_mail_goes(tree: Settings) -> Iterator[Fault]:
    """An address that gets copies must be reached by a route, or by a backend of its own."""
    for rule in tree.rules:
        if rule.action not in SENDING or rule.backend or tree.outbox.backend or rule.mode == "off":
            continue
        for place, address in enumerate(rule.to):
            if not _is_routed(tree, address):
                yield Fault(
                    ("rules", rule.number, "to", place),
                    f"no route takes mail to {address} anywhere",
                    "give backend here or in [outbox], or write a route for it",
                    rests_on=(("routes", EACH), ("outbox", "backend")),
                    keys=("backend",),
                )


def _is_routed(tree: Settings, address: str) -> bool:
    path, _ = parse_path(f"<{address}>".encode())
    assert isinstance(path, Path)
    return any(
        not (route.user or route.client or route.sni or route.sender)
        and (not route.recipient or route.recipient.matches(path.local, path.domain))
        for route in tree.routes
    )


def rules_route_where_logins_may_go(tree: Settings) -> Iterator[Fault]:
    """With auth = "relay" the login stands at one backend, and its mail can go nowhere else."""
    for rule in tree.rules:
        if rule.action != "route" or rule.mode == "off":
            continue
        for name in rule.listener or tuple(tree.listeners):
            listener = tree.listeners.get(name)
            direction = "" if listener is None else "in" if listener.role == "mx" else "out"
            if listener is not None and listener.auth == "relay" and rule.direction in ("", direction):
                yield Fault(
                    ("rules", rule.number, "action"),
                    f"logins on listener {quoted(name)} are relayed to one backend, and their mail goes there only",
                    "name other listeners",
                    rests_on=(("listeners", name, "auth"), ("rules", rule.number, "listener")),
                    keys=("listener", "direction"),
                )
                break


def rules_hold_in_classes_that_there_are(tree: Settings) -> Iterator[Fault]:
    """A class that nobody wrote down is more likely a typing error than a wish."""
    for rule in tree.rules:
        if rule.held_as and rule.held_as not in tree.quarantine.classes:
            hint = one_of(rule.held_as, list(tree.quarantine.classes), "")
            yield Fault(
                ("rules", rule.number, "held_as"),
                f"no class {quoted(rule.held_as)} in the quarantine",
                f"{hint}; or write [quarantine.classes.{rule.held_as}] for a class of your own".removeprefix("; "),
                rests_on=(("quarantine", "classes", rule.held_as),),
                keys=(),
            )


def full_quarantine_takes_something(tree: Settings) -> Iterator[Fault]:
    """One message must fit, or all mail of the class waits for ever."""
    if tree.quarantine.size_octets < 2 * tree.limits.message_size_octets:
        yield warning(
            ("quarantine", "size"),
            "two messages of the largest size do not fit in the quarantine",
            "give it more room, or lower limits.message_size",
            rests_on=(("limits", "message_size"),),
        )


def digests_have_links(tree: Settings) -> Iterator[Fault]:
    """A digest whose links lead nowhere is of no use."""
    if tree.digests.is_on and not tree.admin.public_url:
        yield Fault(
            ("digests", "at") if tree.digests.at else ("digests",),
            "its links need an address that recipients reach",
            'write public_url = "https://gate.example.com" in [admin]',
            rests_on=(("admin", "public_url"),),
            keys=(),
        )
    url = tree.admin.public_url
    place = url.partition("://")[2].partition("/")[0]
    name = re.sub(r":[0-9]+$", "", place)
    if url and name.lower() not in (*tree.admin.trusted_hosts, "localhost", "127.0.0.1", "[::1]"):
        yield Fault(
            ("admin", "public_url"),
            f"the pages do not answer to the name {quoted(name)}",
            f'add it: trusted_hosts = ["{name}"]',
            rests_on=(("admin", "trusted_hosts"),),
        )
    if url.startswith("http://") and name not in ("localhost", "127.0.0.1", "[::1]"):
        yield warning(
            ("admin", "public_url"),
            "links of digests can be read and used by whoever reads along",
            "put a proxy with TLS in front, and write https://",
        )


def tls_reports_are_of_something(tree: Settings) -> Iterator[Fault]:
    """What is counted is mail to servers that the DNS names; a report by mail must be signed (RFC 8460 section 3)."""
    if not tree.tls_reports.send:
        return
    if all(one.kind != "mx" for one in tree.backends.values()):
        yield Fault(
            ("tls_reports", "send"),
            "there is nothing to report: no backend finds its servers by MX",
            'leave it out, or write kind = "mx" in a backend',
            rests_on=(("backends", EACH, "kind"),),
            keys=(),
        )
    domain = tree.outbox.sender.rpartition("@")[2].lower()
    if not any(key.signs_own(domain) for key in tree.dkim_keys):
        yield warning(
            ("tls_reports", "send"),
            f"reports by mail come from {domain}, for which there is no key, and unsigned ones need not be read",
            f'write [[dkim_keys]] with domain = "{domain}", or another sender in [outbox]',
            keys=(),
        )


def refusals_have_links(tree: Settings) -> Iterator[Fault]:
    """A link in a refusal must lead somewhere."""
    for rule in tree.rules:
        if rule.self_service and not tree.admin.public_url and rule.mode != "off":
            yield Fault(
                (rule.table, rule.number, "self_service"),
                "its link needs an address that senders reach",
                'write public_url = "https://gate.example.com" in [admin]',
                rests_on=(("admin", "public_url"),),
                keys=(),
            )
