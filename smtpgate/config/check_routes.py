"""Checks of routes, alone and together with listeners, backends and local domains.

The first route that matches takes the mail, so a route can be dead without being wrong in itself. And there
are questions that must have one answer before a recipient is known: who checks a login, where a user's mail
goes.

Each check is a function from the finished tree to faults; `checks` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smtpgate.config.entry import parse_address
from smtpgate.config.model import Route, Settings
from smtpgate.config.problem import EACH, Fault, Where, one_of, quoted, warning

#: What a route can ask besides the listener.
CONDITIONS = ("client", "sni", "user", "sender", "recipient")

_ROUTES: Where = ("routes",)
#: All that says which listener's mail can come to which backend.
WAYS: tuple[Where, ...] = (("routes", EACH, "listener"), ("routes", EACH, "backend"))


def routes_for(tree: Settings, listener: str) -> list[Route]:
    """The routes that mail of a listener can take, in order."""
    return [route for route in tree.routes if not route.listener or listener in route.listener]


def listeners_of(tree: Settings, route: Route) -> list[str]:
    """The listeners whose mail a route can take."""
    return [name for name in tree.listeners if not route.listener or name in route.listener]


def backends_exist(tree: Settings) -> Iterator[Fault]:
    """A route must lead somewhere."""
    for number, route in enumerate(tree.routes):
        if route.backend not in tree.backends:
            yield Fault(
                ("routes", number, "backend"),
                f"no backend {quoted(route.backend)}",
                one_of(route.backend, list(tree.backends), "write [backends.mail] and its servers"),
                rests_on=(("backends", route.backend),),
                keys=(),
            )


def listeners_exist(tree: Settings) -> Iterator[Fault]:
    """A route may only ask for listeners that there are."""
    for number, route in enumerate(tree.routes):
        for place, name in enumerate(route.listener):
            if name not in tree.listeners:
                yield Fault(
                    ("routes", number, "listener", place),
                    f"no listener {quoted(name)}",
                    one_of(name, list(tree.listeners), 'write [listeners.mx] and listen = ["tcp:25"]'),
                    rests_on=(("listeners", name),),
                    keys=(),
                )


def routes_can_be_reached(tree: Settings) -> Iterator[Fault]:
    """Mail that an earlier route takes never comes to a later one."""
    asked = [[name for name in CONDITIONS if getattr(route, name)] for route in tree.routes]
    for number, route in enumerate(tree.routes):
        takers = _takers(tree, route, list(zip(tree.routes[:number], asked, strict=False)))
        if takers:
            lines = " and ".join(str(taker.line) for taker in takers)
            plural = len(takers) > 1
            yield Fault(
                ("routes", number),
                f"no mail can reach this route: the route{'s' if plural else ''} of line {lines}"
                f" take{'' if plural else 's'} all of it",
                "put it before, make the earlier one ask for more, or remove this one",
                rests_on=tuple(("routes", taker.number - 1) for taker in takers),
            )


def _takers(tree: Settings, route: Route, earlier: Sequence[tuple[Route, list[str]]]) -> list[Route]:
    """The earlier routes that leave nothing for this one: one, or several that differ in one condition."""
    # By condition: what of this route's entries is not taken yet, and who took the others.
    left: dict[str, tuple[set[str], list[Route]]] = {}
    listeners = listeners_of(tree, route)
    if not listeners:
        # It asks for listeners that there are none of, which is said elsewhere.
        return []
    for one, asked in earlier:
        missed = [name for name in asked if not _asks_no_more(one, route, name)]
        if one.listener and not set(one.listener).issuperset(listeners):
            missed.append("listener")
        if not missed:
            return [one]
        if len(missed) > 1:
            continue
        name = missed[0]
        entries = listeners if name == "listener" else getattr(route, name).entries
        remaining, takers = left.setdefault(name, (set(entries), []))
        covers = set(one.listener).__contains__ if name == "listener" else getattr(one, name).covers
        taken = {entry for entry in remaining if covers(entry)}
        if taken:
            remaining -= taken
            takers.append(one)
            if not remaining:
                return takers
    return []


def _asks_no_more(one: Route, other: Route, name: str) -> bool:
    """True when `one` matches, by this condition, all that `other` matches."""
    asked = getattr(one, name)
    if not asked:
        return True
    entries = getattr(other, name).entries
    return bool(entries) and all(map(asked.covers, entries))


def conditions_can_be_met(tree: Settings) -> Iterator[Fault]:
    """A user is known only with AUTH, a TLS name only with TLS."""
    for number, route in enumerate(tree.routes):
        listeners = [tree.listeners[name] for name in listeners_of(tree, route)]
        rests_on = tuple(("listeners", listener.name) for listener in listeners)
        if route.user and listeners and all(listener.auth == "off" for listener in listeners):
            yield Fault(
                ("routes", number, "user"),
                "no mail can reach this route: none of its listeners has auth",
                'leave out user, or set auth = "relay" or "local" on the listener',
                rests_on=rests_on,
                keys=("listener",),
            )
        if route.sni and listeners and all(listener.tls == "off" for listener in listeners):
            yield Fault(
                ("routes", number, "sni"),
                "no mail can reach this route: none of its listeners has TLS",
                'leave out sni, or set tls = "optional" on the listener',
                rests_on=rests_on,
                keys=("listener",),
            )


def listeners_are_served(tree: Settings) -> Iterator[Fault]:
    """A listener whose mail has no way on is refused before it refuses all mail."""
    for name in tree.listeners:
        if not routes_for(tree, name):
            yield Fault(
                ("listeners", name),
                "no route serves this listener",
                f'write [[routes]] with backend = "...", and listener = "{name}" if it is for this one only',
                rests_on=(("routes", EACH, "listener"),),
                keys=(),
            )


def local_domains_are_served(tree: Settings) -> Iterator[Fault]:
    """A domain that is accepted for and then has no way on is worse than one that is refused."""
    names = [name for name, listener in tree.listeners.items() if listener.role == "mx"]
    routes = [route for route in tree.routes if not route.listener or set(names).intersection(route.listener)]
    if not names or not routes:
        return
    rests_on: tuple[Where, ...] = (
        ("routes", EACH, "recipient"),
        ("routes", EACH, "listener"),
        ("listeners", EACH, "role"),
    )
    for number, domain in enumerate(tree.local_domains):
        if any(not route.recipient or route.recipient.covers(domain) for route in routes):
            continue
        if not any(route.recipient.overlaps_domain(domain) for route in routes):
            yield Fault(
                ("local_domains", number),
                f"no route of an mx listener takes mail for {quoted(domain)}",
                f'write [[routes]] with recipient = ["{domain}"], or remove the domain',
                rests_on=rests_on,
            )
        else:
            yield warning(
                ("local_domains", number),
                f"some recipients in {quoted(domain)} have no route",
                f'add "{domain}" to the recipient key of a route',
                rests_on=rests_on,
            )


def recipients_are_local(tree: Settings) -> Iterator[Fault]:
    """An mx listener refuses recipients outside of local_domains before it asks any route."""
    if not tree.local_domains:
        return
    for number, route in enumerate(tree.routes):
        names = listeners_of(tree, route)
        if not names or any(tree.listeners[name].role != "mx" for name in names):
            continue
        outside = [place for place, entry in enumerate(route.recipient) if not _may_be_local(tree, entry)]
        hint = "add the domain to local_domains, or remove it here"
        rests_on: tuple[Where, ...] = (("local_domains",), ("listeners", EACH, "role"))
        if outside and len(outside) == len(route.recipient):
            yield Fault(
                ("routes", number, "recipient"),
                "no mail can reach this route: mx takes mail for local_domains only, and these are outside",
                hint,
                rests_on=rests_on,
                keys=("listener",),
            )
            continue
        for place in outside:
            message = f"{quoted(route.recipient.entries[place])} is not in local_domains: mx refuses mail for it"
            yield warning(("routes", number, "recipient", place), message, hint, rests_on, ("listener",))


def _may_be_local(tree: Settings, entry: str) -> bool:
    _, domain = parse_address(entry)
    if domain is None:
        return True
    return domain != "" and tree.local_domains.overlaps(domain)


def login_has_one_backend(tree: Settings) -> Iterator[Fault]:
    """With auth = relay the backend is asked before anybody knows the user's name, sender or recipient."""
    late = ("user", "sender", "recipient")
    for name, listener in tree.listeners.items():
        if listener.auth != "relay":
            continue
        routes = routes_for(tree, name)
        forks = list(_forks(routes, late))
        for route, other in forks:
            asked = next(key for key in late if getattr(route, key) or getattr(other, key))
            at = route if getattr(route, asked) else other
            yield Fault(
                ("routes", at.number - 1, asked),
                f'listener {quoted(name)} has auth = "relay" and must know its backend before the login, but'
                f" {asked} decides between {quoted(route.backend)} and {quoted(other.backend)}"
                f" (line {(other if at is route else route).line})",
                'let these routes differ by listener, client or sni only, or use auth = "local"',
                rests_on=(("listeners", name, "auth"), ("routes", route.number - 1), ("routes", other.number - 1)),
            )
        if not forks:
            yield from _nameless(name, routes)


def _nameless(listener: str, routes: Sequence[Route]) -> Iterator[Fault]:
    """Routes by user beside which none says where a login goes that has no name yet."""
    open_to_all = [route for route in routes if not route.user]
    for route in routes:
        if route.user and not any(
            all(_may_share(route, other, key) for key in ("client", "sni")) for other in open_to_all
        ):
            yield Fault(
                ("routes", route.number - 1, "user"),
                f'no login can succeed: listener {quoted(listener)} has auth = "relay" and must know its backend'
                " before the login, and no route leads to one without the user's name",
                'leave out user, or use auth = "local"',
                rests_on=(("listeners", listener, "auth"), _ROUTES),
            )


def user_has_one_backend(tree: Settings) -> Iterator[Fault]:
    """A person's mail program gets one answer for all recipients, so one backend must give it."""
    for name, listener in tree.listeners.items():
        if listener.role != "submission" or listener.auth == "relay":
            continue
        for route, other in _forks(routes_for(tree, name), ("recipient",)):
            yield Fault(
                ("routes", route.number - 1, "recipient"),
                f"on submission (listener {quoted(name)}) the recipient may not decide between the backends"
                f" {quoted(route.backend)} and {quoted(other.backend)} (line {other.line})",
                "give each user one backend: let the routes differ by listener, client, sni, user or sender",
                rests_on=(("listeners", name, "role"), ("listeners", name, "auth"), ("routes", other.number - 1)),
            )


def _forks(routes: Sequence[Route], keys: Sequence[str]) -> Iterator[tuple[Route, Route]]:
    """Pairs of routes between which these conditions, and nothing known before them, decide the backend."""
    early = [key for key in CONDITIONS if key not in keys]
    for number, route in enumerate(routes):
        if not any(getattr(route, key) for key in keys):
            continue
        for later in routes[number + 1 :]:
            if not all(_may_share(route, later, key) for key in early):
                continue
            if later.backend != route.backend:
                yield route, later
                break
            takes_the_rest = not any(getattr(later, key) for key in keys)
            if takes_the_rest and all(_asks_no_more(later, route, key) for key in early):
                break


def _may_share(one: Route, other: Route, key: str) -> bool:
    mine, theirs = getattr(one, key), getattr(other, key)
    return not mine or not theirs or any(map(mine.overlaps, theirs.entries))


def logins_go_to_smtp(tree: Settings) -> Iterator[Fault]:
    """An LMTP server does not check logins."""
    for name, backends in relayed_logins(tree):
        for backend in backends:
            if tree.backends[backend].protocol == "lmtp":
                yield Fault(
                    ("listeners", name, "auth"),
                    f'auth = "relay" leads to the LMTP backend {quoted(backend)}, which cannot check a login',
                    'route this listener to a backend with protocol = "smtp", or use auth = "local"',
                    rests_on=(*WAYS, ("backends", backend, "protocol")),
                    keys=(),
                )


def relayed_logins(tree: Settings) -> Iterator[tuple[str, list[str]]]:
    """Each listener that lets the backend check logins, and the backends that its routes lead to."""
    for name, listener in tree.listeners.items():
        if listener.auth == "relay":
            named = dict.fromkeys(route.backend for route in routes_for(tree, name))
            yield name, [backend for backend in named if backend in tree.backends]


def relayed_login_is_the_only_one(tree: Settings) -> Iterator[Fault]:
    """A server takes one login on a connection (RFC 4954 section 4): ours would stand in the way of the client's."""
    for name, listener in tree.listeners.items():
        if listener.auth != "relay":
            continue
        for backend in dict.fromkeys(route.backend for route in routes_for(tree, name)):
            known = tree.backends.get(backend)
            if known is not None and known.credentials is not None:
                yield Fault(
                    ("backends", backend, "credentials"),
                    f"the gateway would log in before the clients of listener {quoted(name)}, which has"
                    ' auth = "relay"; a server takes one login on a connection',
                    'leave credentials out, or use auth = "local" on the listener',
                    rests_on=(*WAYS, ("listeners", name, "auth")),
                    keys=(),
                )


def somebody_takes_the_rest(tree: Settings) -> Iterator[Fault]:
    """Mail from the world that no route takes is refused for good; that is seldom what a condition was meant to do."""
    for name, listener in tree.listeners.items():
        routes = routes_for(tree, name)
        if (
            listener.role == "mx"
            and routes
            and all(route.client or route.sni or route.user or route.sender for route in routes)
        ):
            yield warning(
                ("routes", routes[-1].number - 1),
                f"mail to listener {quoted(name)} that fits none of the conditions is refused with 550",
                "add a last [[routes]] without client, sni, user and sender, unless that is meant",
                rests_on=(("listeners", name, "role"), ("routes", EACH, "listener")),
            )
