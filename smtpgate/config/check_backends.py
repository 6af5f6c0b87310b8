"""Checks of single backends: what their TLS can prove, where passwords go, and where their servers lead.

Each check is a function from the finished tree to faults; `checks` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.check_routes import WAYS, relayed_logins, routes_for
from smtpgate.config.check_tls import asks_for_proof
from smtpgate.config.endpoint import Endpoint, is_address, is_loopback, parse_listen
from smtpgate.config.model import Backend, Server, Settings
from smtpgate.config.problem import EACH, Fault, Where, quoted, warning


def is_near(server: Server) -> bool:
    """True when nothing between us and the server can listen: loopback or a unix socket."""
    return server.path is not None or is_loopback(server.host)


def is_verified(backend: Backend) -> bool:
    """True when the certificate of every server is held against something.

    With `implicit` that is asked for by naming what to hold it against; otherwise, as with `required`, the leg is
    encrypted and anybody may be at its other end (`tap` makes the TLS contexts by the same rule).
    """
    asked = bool(backend.tls_name or backend.tls_ca or backend.tls_pins)
    return backend.tls == "verify" or (backend.tls == "implicit" and asked)


def is_private(backend: Backend) -> bool:
    """True when nobody but the servers can read what goes to them: under verified TLS, or over no network at all."""
    return is_verified(backend) or bool(backend.servers) and all(map(is_near, backend.servers))


def is_safe_for_secrets(backend: Backend) -> bool:
    """True when a client's password may go to every server."""
    return is_private(backend) or not backend.auth_requires_tls


def _remedy(backend: Backend) -> str:
    """How the certificate of this backend comes to be verified."""
    if backend.tls == "implicit":
        return 'write tls_name = "mail.example.net", the name that its certificate must have'
    return 'set tls = "verify"'


def verified_servers_have_names(tree: Settings) -> Iterator[Fault]:
    """A certificate is verified against a name, and an address is none."""
    for name, backend in tree.backends.items():
        if not is_verified(backend) or backend.tls_name or backend.tls_pins:
            continue
        for number, server in enumerate(backend.servers):
            if server.path is not None or (is_address(server.host) and backend.tls == "verify"):
                yield Fault(
                    ("backends", name, "servers", number),
                    f'tls = "{backend.tls}" has no name to verify for {server.address}',
                    'write tls_name = "mail.example.net", the name in its certificate',
                )


def tls_keys_have_tls(tree: Settings) -> Iterator[Fault]:
    """Who names an authority or a pin believes in a protection that is not there."""
    for name, backend in tree.backends.items():
        if backend.tls != "off":
            continue
        hint = 'set tls = "verify", or leave it out'
        for key in ("tls_ca", "tls_pins", "tls_certificate"):
            if getattr(backend, key):
                yield Fault(("backends", name, key), f'{key} has no effect with tls = "off"', hint, keys=("tls",))
        if backend.tls_name:
            message = 'tls_name has no effect with tls = "off"'
            yield warning(("backends", name, "tls_name"), message, hint, keys=("tls",))


def trust_is_asked_for(tree: Settings) -> Iterator[Fault]:
    """The same where there is TLS and any certificate is taken. A name alone is asked for in the handshake."""
    for name, backend in tree.backends.items():
        if backend.tls not in ("optional", "required") or backend.kind == "mx" or asks_for_proof(tree, name):
            continue
        for key in ("tls_ca", "tls_pins"):
            if getattr(backend, key):
                yield Fault(
                    ("backends", name, key),
                    f'{key} has no effect with tls = "{backend.tls}", which takes any certificate',
                    'set tls = "verify", or leave it out',
                )


def own_credentials_are_safe(tree: Settings) -> Iterator[Fault]:
    """Our own password would cross a network where anybody can take it, or go to anybody who poses as the server."""
    for name, backend in tree.backends.items():
        if backend.credentials is None or is_safe_for_secrets(backend):
            continue
        far = next(server.address for server in backend.servers if not is_near(server))
        if backend.tls in ("off", "optional"):
            message = f'the password could go to {far} in the clear with tls = "{backend.tls}"'
        else:
            message = f'the password could go to whoever poses as {far}: nothing is verified with tls = "{backend.tls}"'
            if backend.tls == "implicit":
                message += " alone"
        yield Fault(
            ("backends", name, "credentials"),
            message,
            f"{_remedy(backend)}, or auth_requires_tls = false to take that risk",
        )


def servers_differ(tree: Settings) -> Iterator[Fault]:
    """The same server twice would get twice its share and twice its connections."""
    for name, backend in tree.backends.items():
        seen: dict[tuple[str, int | None, str | None], Where] = {}
        for number, server in enumerate(backend.servers):
            at = (server.host, server.port, server.path)
            where: Where = ("backends", name, "servers", number)
            if at in seen:
                yield Fault(
                    where,
                    f"{server.address} is listed twice",
                    "list it once; use weight to give it a larger share",
                    rests_on=((*where, "address"), (*seen[at], "address")),
                    keys=(),
                )
            seen.setdefault(at, where)


def servers_are_not_us(tree: Settings) -> Iterator[Fault]:
    """A backend that is our own listener makes a loop."""
    listening = [(name, parse_listen(text)) for name, listener in tree.listeners.items() for text in listener.listen]
    own = {one.interface for _, one in listening if one.interface and not one.is_wildcard}
    for name, backend in tree.backends.items():
        for number, server in enumerate(backend.servers):
            for listener, one in listening:
                if _leads_to(server, one, own, tree.hostname):
                    where: Where = ("backends", name, "servers", number)
                    yield Fault(
                        where,
                        f"{server.address} is our own listener {quoted(listener)}: mail would go in a circle",
                        "write the address of the mail server behind this gateway",
                        rests_on=((*where, "address"), ("listeners", listener, "listen"), ("hostname",)),
                        keys=(),
                    )
                    break


def _leads_to(server: Server, one: Endpoint, own: set[str], hostname: str) -> bool:
    if server.path is not None or one.kind != "tcp":
        return one.kind == "unix" and server.path == one.path
    if server.port != one.port:
        return False
    if is_address(server.host):
        if not one.is_wildcard:
            return server.host == one.interface
        same_family = one.interface == "::" or ":" not in server.host
        return same_family and (is_loopback(server.host) or server.host in own)
    if is_loopback(server.host):
        return one.is_wildcard or is_loopback(one.interface)
    return server.host == hostname.lower() and not is_loopback(one.interface)


def backends_are_used(tree: Settings) -> Iterator[Fault]:
    """A backend that no route and no rule names is a forgotten route or a forgotten table."""
    used = {route.backend for route in tree.routes} | {rule.backend for rule in tree.rules} | {tree.outbox.backend}
    for name in tree.backends:
        if name not in used:
            yield warning(
                ("backends", name),
                "no route uses this backend",
                f'write [[routes]] with backend = "{name}", or remove the table',
                rests_on=(("routes", EACH, "backend"), ("rules", EACH, "backend"), ("outbox", "backend")),
                keys=(),
            )


def backends_judge_the_client(tree: Settings) -> Iterator[Fault]:
    """A backend that thinks that we are the client trusts or bans us in place of the client."""
    for name, backend in tree.backends.items():
        if backend.client_info != "off" or backend.protocol == "lmtp":
            continue
        for listener in tree.listeners.values():
            reached = any(route.backend == name for route in routes_for(tree, listener.name))
            if reached and (listener.role == "mx" or listener.auth == "relay"):
                yield warning(
                    ("backends", name, "client_info"),
                    "the servers see this gateway in place of each client, and may trust, limit or ban it",
                    'set client_info = "xclient" (Postfix: list us in smtpd_authorized_xclient_hosts) or'
                    ' "proxy-v2" (Exim: hosts_proxy), or exempt this gateway from their checks of the client',
                    rests_on=(*WAYS, ("listeners", EACH, "role"), ("listeners", EACH, "auth")),
                )
                break


def shared_links_name_no_client(tree: Settings) -> Iterator[Fault]:
    """A connection that says who the client is can be no other client's."""
    for name, backend in tree.backends.items():
        if backend.reuse == "pool" and backend.client_info not in ("off", "xforward"):
            yield Fault(
                ("backends", name, "reuse"),
                f'with client_info = "{backend.client_info}" each connection is of one client, and none can be shared',
                'leave it out, or set client_info = "xforward", which names the client before each message',
                keys=("client_info",),
            )


def logins_go_over_safe_legs(tree: Settings) -> Iterator[Fault]:
    """A client's password goes to a backend only under verified TLS, so elsewhere AUTH could never work."""
    for name, backends in relayed_logins(tree):
        for backend in backends:
            if not is_safe_for_secrets(tree.backends[backend]):
                alone = " alone" if tree.backends[backend].tls == "implicit" else ""
                yield Fault(
                    ("backends", backend, "tls"),
                    f'listener {quoted(name)} relays logins here, and tls = "{tree.backends[backend].tls}"{alone}'
                    " does not protect them",
                    f"{_remedy(tree.backends[backend])}, or auth_requires_tls = false on the backend to take that risk",
                    rests_on=(*WAYS, ("listeners", name, "auth")),
                )


def logins_are_hidden_on_one_leg(tree: Settings) -> Iterator[Fault]:
    """Each leg may be opened by its own switch; whoever opened both may not have seen that they meet."""
    for name, backends in relayed_logins(tree):
        listener = tree.listeners[name]
        is_near_only = all(parse_listen(text).is_local for text in listener.listen)
        if listener.auth_requires_tls or listener.tls not in ("off", "optional") or is_near_only:
            continue
        for backend in map(tree.backends.__getitem__, backends):
            if is_private(backend) or not is_safe_for_secrets(backend):
                continue
            how = "in the clear to" if backend.tls in ("off", "optional") else "to whoever poses as"
            yield warning(
                ("listeners", name, "auth_requires_tls"),
                f"passwords may come in the clear and go on {how} backend {quoted(backend.name)}: open on both sides",
                f"leave it out and offer TLS here, or {_remedy(backend)} on the backend",
                rests_on=(*WAYS, ("backends", backend.name)),
                keys=("auth", "tls", "listen"),
            )
