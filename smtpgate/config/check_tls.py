"""Checks of TLS that mail asks for: whether a client, a backend and the resolver can have it; and of backends that the
DNS names.

Each check is a function from the finished tree to faults; `checks` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from smtpgate.config.check_routes import WAYS, listeners_of, routes_for
from smtpgate.config.endpoint import is_loopback
from smtpgate.config.model import Backend, Settings
from smtpgate.config.problem import EACH, Fault, Where, one_of, quoted, warning

#: Keys of a backend that mean nothing where its servers are strangers', with what they have when they are not given.
_LISTED_ONLY: Final = (
    ("tls_name", None),
    ("tls_pins", ()),
    ("credentials", None),
    ("total_connections", None),
)


def _demands(tree: Settings) -> Iterator[tuple[Where, str, str, Sequence[str]]]:
    """Everything that asks for TLS: where it stands, level, leg, and the listeners that it is about."""
    for policy in tree.tls_policies:
        yield ("tls_policies", policy.number), policy.level, policy.leg, policy.listener or tuple(tree.listeners)
    for rule in tree.rules:
        if rule.action != "require-tls" or rule.mode == "off":
            continue
        names = [
            name
            for name in rule.listener or tuple(tree.listeners)
            if name in tree.listeners and rule.direction in ("", "in" if tree.listeners[name].role == "mx" else "out")
        ]
        yield ("rules", rule.number), rule.tls_level, rule.leg, names


def _level(where: Where) -> str:
    return "level" if where[0] == "tls_policies" else "tls_level"


def asks_for_proof(tree: Settings, backend: str) -> bool:
    """Whether some mail for a backend asks for a certificate that is right."""
    for _, level, leg, names in _demands(tree):
        if leg != "client" and level != "encrypted":
            if any(route.backend == backend for name in names for route in routes_for(tree, name)):
                return True
    return False


def policies_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A policy may only be about listeners that there are."""
    for policy in tree.tls_policies:
        for place, name in enumerate(policy.listener):
            if name not in tree.listeners:
                hint = one_of(name, list(tree.listeners), 'write [listeners.mx] and listen = ["tcp:25"]')
                where = ("tls_policies", policy.number, "listener", place)
                yield Fault(where, f"no listener {quoted(name)}", hint, rests_on=(("listeners", name),), keys=())


def clients_can_have_it(tree: Settings) -> Iterator[Fault]:
    """What no client can have would refuse all mail."""
    for where, level, leg, names in _demands(tree):
        if leg == "backend":
            continue
        key = _level(where)
        if level == "dane":
            yield Fault(
                (*where, key),
                "no DNS names the certificates of clients",
                'write "verified", or another for the leg "backend"',
                keys=("leg",),
            )
            continue
        for name in names:
            listener = tree.listeners.get(name)
            if listener is None:
                continue
            if listener.tls == "off":
                message, hint = f"listener {quoted(name)} has no TLS", 'set tls = "optional" there'
            elif level == "verified" and listener.client_ca is None:
                message = f"listener {quoted(name)} asks no client for a certificate"
                hint = "give client_ca there, the authorities of your clients"
            else:
                continue
            rests_on = (("listeners", name, "tls"), ("listeners", name, "client_ca"))
            yield Fault((*where, key), message, hint, rests_on=rests_on, keys=("leg", "listener"))


def backends_can_have_it(tree: Settings) -> Iterator[Fault]:
    """The same of the backends that mail goes to: where none has it, no mail would go on."""
    for where, level, leg, names in _demands(tree):
        if leg == "client":
            continue
        known = dict.fromkeys(route.backend for name in names for route in routes_for(tree, name))
        backends = [tree.backends[name] for name in known if name in tree.backends]
        if not backends:
            continue
        key = (*where, _level(where))
        rests_on = (*WAYS, ("backends", EACH))
        if all(backend.tls == "off" for backend in backends):
            named = ", ".join(quoted(backend.name) for backend in backends)
            yield Fault(
                key, f'tls = "off" for {named}: no such mail could go on', 'set tls = "optional"', rests_on=rests_on
            )
        elif level == "dane" and not any(backend.kind == "mx" and backend.dane for backend in backends):
            hint = 'write "verified", or route the mail to a backend with kind = "mx"'
            yield Fault(
                key,
                "DANE is for servers that the DNS names, and no backend here is of kind mx",
                hint,
                rests_on=rests_on,
            )


def dane_has_a_resolver(tree: Settings) -> Iterator[Fault]:
    """What a resolver elsewhere says to be signed anybody on the way could have said."""
    dns = tree.resolver
    far = [host for host, _ in dns.servers if not is_loopback(host) and not dns.validating.contains(host)]
    if len(far) < len(dns.servers) or not dns.servers:
        return
    hint = 'run a validating resolver here, as Unbound, and write [resolver] and servers = ["127.0.0.1"]'
    message = f"the resolver {far[0]} is not on this machine: its word that records are signed is not taken"
    rests_on: tuple[Where, ...] = (("resolver", "servers"),)
    for where, level, leg, _ in _demands(tree):
        if level == "dane" and leg == "backend":
            yield Fault((*where, _level(where)), message, hint, rests_on=rests_on)
            return
    for name, backend in tree.backends.items():
        if backend.kind == "mx" and backend.dane:
            yield warning(("backends", name, "dane"), f"{message}, so DANE is not heeded", hint, rests_on)
            return


def backends_have_servers(tree: Settings) -> Iterator[Fault]:
    """Servers are listed, or the DNS names them."""
    for name, backend in tree.backends.items():
        if backend.kind == "servers" and not backend.servers:
            hint = 'write servers = ["mail.example.net:25"], or kind = "mx" for mail that leaves'
            yield Fault(("backends", name), "no servers", hint, keys=("servers", "kind"))
        if backend.kind == "mx" and backend.servers:
            yield Fault(
                ("backends", name, "servers"),
                'with kind = "mx" the DNS names the servers',
                'remove them, or leave out kind = "mx"',
                keys=("kind",),
            )


def mx_keys_have_sense(tree: Settings) -> Iterator[Fault]:
    """Strangers' servers have no name, password or protocol in common."""
    for name, backend in tree.backends.items():
        if backend.kind != "mx":
            yield from _for_mx_only(name, backend)
            continue
        wrong = [key for key, usual in _LISTED_ONLY if getattr(backend, key) != usual]
        wrong += ["client_info"] if backend.client_info not in ("off", "xforward") else []
        wrong += ["protocol"] if backend.protocol != "smtp" else []
        for key in wrong:
            message = f'{key} has no sense with kind = "mx", whose servers are those of all domains'
            yield Fault(("backends", name, key), message, "leave it out", keys=("kind",))
        if backend.tls == "implicit":
            yield Fault(
                ("backends", name, "tls"),
                'servers that the DNS names speak TLS after STARTTLS, and kind = "mx" finds no others',
                'write tls = "optional"',
                keys=("kind",),
            )


def _for_mx_only(name: str, backend: Backend) -> Iterator[Fault]:
    for key, usual in (("port", 25), ("allow_private", False), ("dane", True), ("mta_sts", True)):
        if getattr(backend, key) != usual:
            message = f'{key} is for kind = "mx"'
            yield Fault(("backends", name, key), message, "leave it out", keys=("kind",))


def mx_is_for_our_own(tree: Settings) -> Iterator[Fault]:
    """The whole world is behind such a backend: only who is known to us may send there (never an open relay)."""
    for number, route in enumerate(tree.routes):
        backend = tree.backends.get(route.backend)
        if backend is None or backend.kind != "mx":
            continue
        for name in listeners_of(tree, route):
            listener = tree.listeners[name]
            rests_on: tuple[Where, ...] = (("listeners", name), ("backends", route.backend))
            if listener.role == "mx":
                yield Fault(
                    ("routes", number, "backend"),
                    f'listener {quoted(name)} takes mail of the world for domains of yours, and kind = "mx" would'
                    " send it to the world, or back to us",
                    "name the listeners of role submission in the route: listener = [...]",
                    rests_on=rests_on,
                    keys=("listener",),
                )
            elif listener.auth == "relay":
                yield Fault(
                    ("routes", number, "backend"),
                    f'listener {quoted(name)} has auth = "relay", and no server that the DNS names can check a login',
                    'use auth = "local" or relay_from there',
                    rests_on=rests_on,
                    keys=("listener",),
                )
