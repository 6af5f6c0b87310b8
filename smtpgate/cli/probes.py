"""What `smtpgate doctor` asks of others: the DNS, mail servers, engines; each within `WAIT_S`, nothing is changed."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from smtpgate.config.endpoint import parse_server
from smtpgate.config.model import Server, Settings
from smtpgate.config.model_sso import Provider
from smtpgate.config.problem import BadValue

#: Longest wait for one server, one look-up.
WAIT_S = 5.0

State = Literal["ok", "warn", "fail"]


@attrs.frozen
class Line:
    """One finding.

    :ivar fix: what would mend it; "" where it is well
    """

    check: str
    state: State
    text: str
    fix: str = ""


def names(settings: Settings) -> Iterator[Line]:
    """Our own name: it has an address, and the address has our name (what receivers look at, RFC 1912 section 2.1)."""
    import dns.exception
    import dns.resolver
    import dns.reversename

    resolver = dns.resolver.Resolver(configure=not settings.resolver.servers)
    if settings.resolver.servers:
        resolver.nameservers = [host for host, _ in settings.resolver.servers]
        resolver.nameserver_ports = dict(settings.resolver.servers)
    resolver.lifetime = WAIT_S
    name = settings.hostname
    addresses: list[str] = []
    for kind in ("A", "AAAA"):
        try:
            addresses += [answer.address for answer in resolver.resolve(name, kind)]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            continue
        except dns.exception.DNSException as error:
            text = f"no answer about {name}: {type(error).__name__}"
            yield Line("dns", "fail", text, "set resolver.servers, or mend /etc/resolv.conf")
            return
    if not addresses:
        yield Line(
            "dns", "fail", f"{name} has no address", "give it an A record, or set `hostname` to a name that has one"
        )
        return
    yield Line("dns", "ok", f"{name} is {', '.join(addresses)}")
    for address in addresses:
        fix = f"have the provider of {address} set its PTR record to {name}"
        if not ipaddress.ip_address(address).is_global:
            text = f"{address} is no public address: others see another one, whose PTR record is not looked at here"
            yield Line("ptr", "warn", text, "look up the PTR record of the address that the world sees")
            continue
        try:
            found = [
                str(one.target).rstrip(".") for one in resolver.resolve(dns.reversename.from_address(address), "PTR")
            ]
        except dns.exception.DNSException as error:
            yield Line("ptr", "fail", f"{address} has no name: {type(error).__name__}", fix)
            continue
        is_ours = name.lower() in [one.lower() for one in found]
        text = f"{address} is called {', '.join(found)}"
        yield Line("ptr", "ok", text) if is_ours else Line("ptr", "warn", text, fix)


def servers(settings: Settings) -> list[tuple[str, Server]]:
    """All mail servers behind us, by backend."""
    return [(name, one) for name, backend in settings.backends.items() for one in backend.servers]


def server(settings: Settings, name: str, one: Server) -> Iterator[Line]:
    """One mail server behind us: it greets, and offers what the configuration wants of it."""
    backend = settings.backends[name]
    what = f"{name}: {one.address}"
    try:
        offered = _greeting(one, backend.tls == "implicit", settings.hostname, backend.protocol == "lmtp")
    except (OSError, EOFError, ValueError) as error:
        fix = "is it running, and does a firewall let us through?"
        yield Line("backends", "fail", f"{what} does not answer as a mail server: {error}", fix)
        return
    wanted = {"required": "STARTTLS", "verify": "STARTTLS"}.get(backend.tls, "")
    if wanted and wanted not in offered:
        yield Line(
            "backends", "fail", f"{what} offers no STARTTLS", f"switch TLS on there; backends.{name}.tls wants it"
        )
    elif backend.client_info in ("xclient", "xforward") and backend.client_info.upper() not in offered:
        text = f"{what} offers no {backend.client_info.upper()}"
        yield Line("backends", "fail", text, "permit the gateway's address there (docs/operation.md)")
    else:
        yield Line("backends", "ok", f"{what} answers, and offers {', '.join(sorted(offered)) or 'nothing'}")


def _greeting(one: Server, is_tls: bool, hostname: str, is_lmtp: bool) -> set[str]:
    """The words of its EHLO. Raises OSError, EOFError where it hangs up, ValueError where it says something else."""
    if one.path is not None:
        plain: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(WAIT_S)
        plain.connect(one.path)
    else:
        plain = socket.create_connection((one.host, one.port), WAIT_S)
    with plain:
        sock = plain
        if is_tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(plain, server_hostname=one.host or None)
        with sock.makefile("rb") as file:
            _reply(file, b"220")
            sock.sendall(f"{'LHLO' if is_lmtp else 'EHLO'} {hostname}\r\n".encode("ascii"))
            lines = _reply(file, b"250")
            sock.sendall(b"QUIT\r\n")
    return {line.split(" ")[0].upper() for line in lines[1:] if line}


def _reply(file: Any, code: bytes) -> list[str]:
    lines = []
    for _ in range(100):
        line = file.readline(2048)
        if not line:
            raise EOFError("it hung up")
        if not line.startswith(code):
            raise ValueError(f"it says {line[:80].decode('ascii', 'replace').strip()}")
        lines.append(line[4:].decode("ascii", "replace").strip())
        if line[3:4] != b"-":
            return lines
    raise ValueError("its reply has no end")


def scanners(settings: Settings) -> list[tuple[str, str]]:
    """The engines that filters ask."""
    found = []
    for use in settings.filters:
        if use.mode != "off" and use.options is not None:
            servers = getattr(use.options, "servers", ())
            found += [(use.name, str(one)) for one in servers if isinstance(servers, list | tuple)]
    return found


def scanner(name: str, place: str) -> Iterator[Line]:
    """One engine: something takes connections there."""
    address = place
    if "://" in place:
        parts = urlsplit(place)
        port = parts.port or {"https": 443, "icap": 1344}.get(parts.scheme, 80)
        address = f"[{parts.hostname}]:{port}" if ":" in (parts.hostname or "") else f"{parts.hostname}:{port}"
    try:
        where = parse_server(address)
        if where.path is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(WAIT_S)
                sock.connect(where.path)
        else:
            socket.create_connection((where.host, where.port), WAIT_S).close()
    except (OSError, BadValue) as error:
        text = f"{name}: {place} takes no connection: {error}"
        yield Line(
            "scanners", "fail", text, "start it; until then on_error of the filter says what becomes of the mail"
        )
        return
    yield Line("scanners", "ok", f"{name}: {place} takes connections")


def provider(one: Provider) -> Iterator[Line]:
    """A provider of identities: it says of itself what the configuration says of it. Who has a password comes in
    without it, so nothing of it is more than a warning.
    """
    parts = urlsplit(one.issuer)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=WAIT_S)
    said = None
    try:
        connection.request("GET", f"{parts.path.removesuffix('/')}/.well-known/openid-configuration")
        answer = connection.getresponse()
        text = f"its description is answered with {answer.status}"
        if answer.status == 200:
            said = json.loads(answer.read(2**18))
            found = said.get("issuer") if isinstance(said, dict) else None
            text = "" if found == one.issuer else f"it calls itself {str(found)[:200]!a}"
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        text = f"it does not answer: {error}"
    finally:
        connection.close()
    if text:
        yield Line(
            "sso", "warn", f"{one.name}: {text}", "nobody comes in by it now; copy `issuer` from its description"
        )
    elif not one.groups:
        yield Line("sso", "warn", f"{one.name}: it answers, and nobody may come in", f"add [[sso.{one.name}.groups]]")
    else:
        yield Line("sso", "ok", f"{one.name}: it answers, and is who it should be")
