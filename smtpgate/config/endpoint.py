"""Where listeners listen and where servers are: the texts of `listen` and `servers`.

A `listen` text is a Twisted server endpoint ("tcp:25:interface=127.0.0.1"), of which three kinds are taken:
tcp, unix and systemd. TLS is the key `tls` of the listener, never a kind of endpoint, because a listener must
know whether it speaks TLS. The gateway hands the text on to Twisted as it is; what is read here serves the
checks: is a port used twice, is it open to the network, does a backend lead back to ourselves.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import attrs

from smtpgate.config.entry import normal_domain
from smtpgate.config.problem import BadValue, nearest, quoted

LISTEN_HINT = (
    'write "tcp:25", "tcp:25:interface=127.0.0.1", "unix:/run/smtpgate/smtp.sock" or "systemd:domain=INET:index=0"'
)
SERVER_HINT = 'write "mail.example.net:25", "192.0.2.10:25", "[2001:db8::10]:25" or "unix:/run/mail.sock"'

_OPTIONS = {
    "tcp": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
DOMAINS = ("INET", "INET6", "UNIX")
#: A backslash at the end stands for itself, so that a search never begins again.
_PIECE = re.compile(r"((?:[^\\:]|\\.|\\\Z)*)(:|\Z)", re.S)
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@attrs.frozen
class Endpoint:
    """Where a listener listens. `interface` is '' for all interfaces; `port` is None for unix and systemd.

    :ivar path: of a unix socket
    :ivar domain: of a socket that systemd hands over: INET, INET6 or UNIX
    :ivar handed: its name, or its number in digits: "name=smtp", "index=0"
    """

    kind: Literal["tcp", "unix", "systemd"]
    interface: str = ""
    port: int | None = None
    path: str = ""
    domain: str = ""
    handed: str = ""

    @property
    def is_local(self) -> bool:
        """True when only this machine can reach it. Of a systemd socket nobody can tell from here."""
        return self.kind == "unix" or (self.kind == "tcp" and is_loopback(self.interface))

    @property
    def is_wildcard(self) -> bool:
        """True when it listens on every address of the machine."""
        return self.kind == "tcp" and self.interface in ("", "0.0.0.0", "::")

    def clashes_with(self, other: Endpoint) -> bool:
        """True when the second of the two could not be bound."""
        if self.kind != other.kind:
            return False
        if self.kind == "systemd":
            return self.handed == other.handed
        if self.kind == "unix":
            return self.path == other.path
        if self.port != other.port or self.port == 0:
            return False
        return self.interface == other.interface or self._takes(other) or other._takes(self)

    def _takes(self, other: Endpoint) -> bool:
        # "::" takes the IPv4 port too where the system's default (bindv6only=0) stands.
        return self.interface == "::" or (self.is_wildcard and ":" not in other.interface)


def is_loopback(host: str) -> bool:
    """True for the addresses and names of this machine's loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_address(host: str) -> bool:
    """True for an IP address, False for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _port(text: str, whole: str, lowest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= 65535):
        raise BadValue(f"{quoted(whole)} has a bad port", f"a port is a number from {lowest} to 65535")
    return int(text)


def parse_listen(text: str) -> Endpoint:
    """A Twisted server endpoint as `listen` keys hold it."""
    pieces = [re.sub(r"\\(.)", r"\1", m[1]) for m in _PIECE.finditer(text) if m[1] or m[2]]
    kind, *rest = pieces or [""]
    if kind in ("ssl", "tls"):
        raise BadValue(
            f"{kind}: endpoints are not taken",
            f'write "tcp:{rest[0] if rest else 465}" and the key tls = "implicit"',
        )
    if kind not in _OPTIONS:
        raise BadValue(f"{quoted(text)} is not an endpoint", LISTEN_HINT)
    known = _OPTIONS[kind]
    given: dict[str, str] = {}
    for number, piece in enumerate(rest):
        name, equals, value = piece.partition("=")
        if not equals:
            name, value = (known[number] if number < len(known) else ""), piece
        if name not in known:
            if kind == "tcp" and not equals:
                raise BadValue(f"{quoted(text)} has a part too many", r"write the colons of an IPv6 address as \\:")
            meant = nearest(name, known)
            hint = f"did you mean {meant}? " if meant else ""
            raise BadValue(f"{quoted(text)} has an unknown part {quoted(name)}", f"{hint}known: {', '.join(known)}")
        given[name] = value
    for name, digits in (("backlog", r"[0-9]{1,6}"), ("mode", r"[0-7]{3,4}"), ("index", r"[0-9]{1,3}")):
        if name in given and not re.fullmatch(digits, given[name]):
            example = "mode=660" if name == "mode" else f"{name}=50"
            raise BadValue(f"{quoted(text)} has a bad {name}", f"write a number, as in {example}")
    if kind == "systemd":
        if "domain" not in given or ("index" in given) == ("name" in given):
            raise BadValue(f"{quoted(text)} names no socket", 'write "systemd:domain=INET:index=0" or name=...')
        if given["domain"] not in DOMAINS:
            raise BadValue(f"{quoted(text)} has a bad domain", f"one of {', '.join(DOMAINS)}")
        if given.get("name") == "" or ":" in given.get("name", ""):
            raise BadValue(f"{quoted(text)} has a bad name", "write the FileDescriptorName of its socket unit")
        which = f"name={given['name']}" if "name" in given else f"index={int(given['index'])}"
        return Endpoint("systemd", domain=given["domain"], handed=which)
    if kind == "unix":
        if not given.get("address", "").startswith("/"):
            raise BadValue(f"{quoted(text)} has no absolute path", 'write "unix:/run/smtpgate/smtp.sock"')
        return Endpoint("unix", path=given["address"])
    interface = given.get("interface", "")
    if interface and not is_address(interface):
        raise BadValue(
            f"{quoted(text)} has a bad interface",
            r"an interface is an IP address, with the colons of IPv6 written as \\:",
        )
    normal = str(ipaddress.ip_address(interface)) if interface else ""
    return Endpoint("tcp", normal, _port(given.get("port", ""), text, 0))


@attrs.frozen
class ServerAddress:
    """Where a server is: host and port, or the path of a unix socket."""

    host: str
    port: int | None = None
    path: str | None = None


def parse_server(text: str) -> ServerAddress:
    """An address as `servers` holds it."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise BadValue(f"{quoted(text)} has no absolute path", 'write "unix:/run/mail.sock"')
        return ServerAddress("", path=text.removeprefix("unix:"))
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not is_address(host) or ":" not in host:
            raise BadValue(f"{quoted(text)} is not a server", SERVER_HINT)
        if not port.startswith(":"):
            raise BadValue(f"{quoted(text)} has no port", f'write "[{host}]:25"')
        return ServerAddress(str(ipaddress.ip_address(host)), _port(port[1:], text, 1))
    host, colon, port = text.rpartition(":")
    if is_address(text) and ":" in text:
        raise BadValue(f"{quoted(text)} is an IPv6 address without brackets", 'write it as in "[2001:db8::10]:25"')
    if ":" in host or "/" in text or "@" in text:
        raise BadValue(f"{quoted(text)} is not a server", SERVER_HINT)
    name = normal_domain(host if colon else text)
    all_digits = name.replace(".", "").isdigit()
    if not all(map(_HOST_LABEL.fullmatch, name.split("."))) or (all_digits and not is_address(name)):
        raise BadValue(f"{quoted(text)} is not a server", SERVER_HINT)
    if not colon:
        raise BadValue(f"{quoted(text)} has no port", f"write {quoted(text + ':25')}")
    return ServerAddress(name, _port(port, text, 1))
