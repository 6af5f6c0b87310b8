"""Checks of single listeners, most of them against becoming an open relay or offering what cannot work.

Each check is a function from the finished tree to faults; `checks` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpgate.config.endpoint import parse_listen
from smtpgate.config.entry import Network
from smtpgate.config.model import Settings
from smtpgate.config.patterns import NetworkList
from smtpgate.config.problem import Fault, Where, quoted, warning
from smtpgate.config.registries import is_registry

#: Shortest prefix of a trusted network, by IP version: nobody owns more than this.
SHORTEST_PREFIX = {4: 8, 6: 16}
#: Top-level names that the public DNS does not have (RFC 6761, RFC 8375, RFC 9476 and ICANN's .internal).
PRIVATE_TOPS = frozenset(
    (
        "alt",
        "arpa",
        "corp",
        "example",
        "home",
        "internal",
        "invalid",
        "lan",
        "local",
        "localhost",
        "onion",
        "test",
    )
)


def mx_has_local_domains(tree: Settings) -> Iterator[Fault]:
    """On mx a recipient outside of local_domains is refused, so without them all are."""
    if tree.local_domains:
        return
    for name, listener in tree.listeners.items():
        if listener.role == "mx":
            yield Fault(
                ("listeners", name),
                "an mx listener without local_domains can accept nothing",
                'write local_domains = ["example.net"] at the top of the file',
                rests_on=(("local_domains",),),
                keys=("role",),
            )


def local_domains_are_not_the_world(tree: Settings) -> Iterator[Fault]:
    """A wildcard over a public top-level domain, or a registry below one, would relay for everybody in it."""
    hint = "name the domains that your backends take mail for"
    for number, entry in enumerate(tree.local_domains):
        where = ("local_domains", number)
        domain = entry.removeprefix("*.")
        if domain == entry:
            # Harmless, and nobody's own domain: most likely the rest of the name is missing.
            if is_registry(domain):
                yield warning(where, f"everybody can have a domain below {quoted(domain)}, and nobody owns it", hint)
        elif is_registry(domain) or ("." not in domain and domain not in PRIVATE_TOPS):
            yield Fault(where, f"{quoted(entry)} would make this an open relay for all of .{domain}", hint)


def submission_knows_its_clients(tree: Settings) -> Iterator[Fault]:
    """Submission sends anywhere, so it must know who asks: by AUTH or by network."""
    for name, listener in tree.listeners.items():
        if listener.role != "submission":
            continue
        if listener.auth == "off" and not listener.relay_from:
            yield Fault(
                ("listeners", name, "auth"),
                "submission with neither auth nor relay_from could send for nobody, or for everybody",
                'set auth = "relay" or "local", or relay_from = ["192.0.2.0/24"]',
            )
        elif not listener.auth_required:
            yield Fault(
                ("listeners", name, "auth_required"),
                "submission without required auth would be an open relay",
                'leave out auth_required; clients without auth go into relay_from = ["192.0.2.0/24"]',
            )


def required_auth_is_on(tree: Settings) -> Iterator[Fault]:
    """What is off cannot be required. On submission `relay_from` stands in its place."""
    for name, listener in tree.listeners.items():
        if listener.auth_required and listener.auth == "off" and listener.role == "mx":
            yield Fault(
                ("listeners", name, "auth_required"),
                'auth is required and "off": no client could send',
                'set auth = "relay" or "local", or leave out auth_required',
            )


def relay_from_is_narrow(tree: Settings) -> Iterator[Fault]:
    """A network that strangers are in makes an open relay."""
    for name, listener in tree.listeners.items():
        yield from _wide(("listeners", name, "relay_from"), listener.relay_from, "send anywhere without auth")


def relay_from_leaves_balancers_out(tree: Settings) -> Iterator[Fault]:
    """The client's address comes from the PROXY header; where that names none, the balancer's own counts.

    Only a warning: a network of one's own may well hold the balancer, which may send mail itself.
    """
    for name, listener in tree.listeners.items():
        if listener.role != "submission":
            continue
        for number, network in enumerate(listener.relay_from):
            if listener.proxy_protocol_from.overlaps(network):
                yield warning(
                    ("listeners", name, "relay_from", number),
                    f"{network} holds a load balancer of proxy_protocol_from: what comes without a client's address in"
                    " its PROXY header (LOCAL, as health checks have, or UNKNOWN) could send anywhere without auth",
                    "name the networks of the clients, which the header gives, and leave the balancer out",
                    keys=("proxy_protocol_from", "role"),
                )


def trusted_peers_are_narrow(tree: Settings) -> Iterator[Fault]:
    """Who may say another address than its own may pose as anybody, in `relay_from` too."""
    for name, listener in tree.listeners.items():
        for key in ("xclient_from", "proxy_protocol_from"):
            yield from _wide(("listeners", name, key), getattr(listener, key), "pose as any other client")


def _wide(where: Where, networks: NetworkList, could: str) -> Iterator[Fault]:
    for number, network in enumerate(networks.networks):
        least = SHORTEST_PREFIX[network.version]
        if network.prefixlen < least:
            yield Fault(
                (*where, number),
                f"{network} is too wide: {_who(network)} could {could}",
                f"name your own networks, none wider than /{least}",
                keys=(),
            )


def _who(network: Network) -> str:
    return "everybody" if network.prefixlen == 0 else "strangers in it"


def password_file_is_used(tree: Settings) -> Iterator[Fault]:
    """A password file and local AUTH belong together."""
    for name, listener in tree.listeners.items():
        if listener.auth == "local" and listener.password_file is None:
            yield Fault(
                ("listeners", name, "auth"),
                'auth = "local" needs a password_file',
                'write password_file = "passwords"',
            )
        elif listener.auth != "local" and listener.password_file is not None:
            yield warning(
                ("listeners", name, "password_file"),
                f'password_file is not used with auth = "{listener.auth}"',
                'set auth = "local", or leave it out',
            )


def auth_can_be_offered(tree: Settings) -> Iterator[Fault]:
    """AUTH under TLS only, on a listener without TLS, is no AUTH."""
    for name, listener in tree.listeners.items():
        if listener.auth != "off" and listener.tls == "off" and listener.auth_requires_tls:
            yield Fault(
                ("listeners", name, "auth"),
                'auth could never be offered: it requires TLS, and tls = "off"',
                'set tls = "required", or auth_requires_tls = false to take passwords in the clear',
                keys=("tls", "auth_requires_tls"),
            )


def tls_keys_have_tls(tree: Settings) -> Iterator[Fault]:
    """Certificates on a listener without TLS are mostly a forgotten switch."""
    for name, listener in tree.listeners.items():
        if listener.tls != "off":
            continue
        for key in ("certificates", "client_ca"):
            if getattr(listener, key):
                yield warning(
                    ("listeners", name, key),
                    f'{key} is not used with tls = "off"',
                    'set tls = "optional", or leave it out',
                    keys=("tls",),
                )


def mx_takes_mail_without_tls(tree: Settings) -> Iterator[Fault]:
    """A server that mail for a domain is sent to may not insist on TLS."""
    for name, listener in tree.listeners.items():
        if listener.role == "mx" and listener.tls == "required":
            yield warning(
                ("listeners", name, "tls"),
                "servers without TLS cannot send to you, which RFC 3207 section 4 forbids on a public mx",
                'write tls = "optional", unless only servers that you know connect',
                keys=("role",),
            )


def tls_has_certificates(tree: Settings) -> Iterator[Fault]:
    """Without a certificate of its own a listener shows one that nobody can verify."""
    for name, listener in tree.listeners.items():
        if listener.tls != "off" and not listener.certificates:
            yield warning(
                ("listeners", name, "certificates"),
                "no certificates: a self-signed one will be made, which no client can verify",
                'write certificates = ["gate.pem"], a PEM file with the key and the chain',
            )


def lmtp_is_for_delivery(tree: Settings) -> Iterator[Fault]:
    """LMTP runs between a server and a mail store, on a port of its own."""
    for name, listener in tree.listeners.items():
        if listener.protocol != "lmtp":
            continue
        for number, text in enumerate(listener.listen):
            if parse_listen(text).port == 25:
                yield Fault(
                    ("listeners", name, "listen", number),
                    "LMTP may not be spoken on port 25 (RFC 2033 section 5)",
                    'use another port, such as "tcp:24", or protocol = "smtp"',
                    keys=("protocol",),
                )
        if listener.role == "submission":
            yield Fault(
                ("listeners", name, "role"),
                "LMTP cannot be used for submission",
                'write role = "mx", or protocol = "smtp"',
                keys=("protocol",),
            )
        elif listener.auth != "off":
            yield Fault(
                ("listeners", name, "auth"),
                "LMTP clients do not log in",
                'write auth = "off", or protocol = "smtp"',
                keys=("protocol",),
            )
        if listener.tls == "implicit":
            yield warning(
                ("listeners", name, "tls"),
                "few LMTP clients can begin with TLS",
                'write tls = "optional", unless you know that yours do',
                keys=("protocol",),
            )


def only_submission_hides_clients(tree: Settings) -> Iterator[Fault]:
    """On mx the client's address is the one fact about a message that its sender cannot forge."""
    for name, listener in tree.listeners.items():
        if listener.hide_client and listener.role == "mx":
            yield Fault(
                ("listeners", name, "hide_client"),
                "an mx listener must name the client in the Received line (RFC 5321 section 4.4)",
                'leave it out; it is for role = "submission"',
                keys=("role",),
            )
