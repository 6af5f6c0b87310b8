"""One entry of a list of networks, domains, addresses or users: what an operator may write, in normal form.

`patterns` makes its lists of these, the schema judges each entry with them so that a fault has its place in
the file, and `endpoint` compares host names as they do. An entry that makes no sense is a `BadValue` (a
ValueError) that says what would be right.

Domains are compared as A-labels without regard to case (RFC 5890, mapped by UTS 46), local parts without
regard to case although RFC 5321 section 2.4 leaves that to the receiver: no operator means two people by Bob
and bob.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

import idna

from smtpgate.config.problem import BadValue, quoted

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The limit of the DNS itself.
DOMAIN_CHARACTERS = 255

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_QUOTED_LOCAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def normal_domain(domain: str) -> str:
    """The domain in the form that is compared: A-labels, lower case, no trailing dot; '' when it is none."""
    if len(domain) > DOMAIN_CHARACTERS:
        return ""
    if domain.startswith("["):
        return _normal_literal(domain)
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            return ""
    domain = domain.lower().removesuffix(".")
    # An empty label is no domain, and must not slip below a "*." entry.
    return "" if domain.startswith(".") or ".." in domain else domain


def _normal_literal(literal: str) -> str:
    """An address literal of RFC 5321 section 4.1.3 with its address written in the one usual way."""
    return _address_literal(literal) or literal.lower()


def _address_literal(literal: str) -> str:
    if not literal.endswith("]"):
        return ""
    text = literal[1:-1].lower()
    try:
        if text.startswith("ipv6:"):
            return f"[ipv6:{ipaddress.IPv6Address(text[5:])}]"
        return f"[{ipaddress.IPv4Address(text)}]"
    except ValueError:
        return ""


def normal_local(local: str) -> str:
    """The local part in the form that is compared."""
    return local.lower() if local.isascii() else unicodedata.normalize("NFC", local).casefold()


def normal_address(address: str) -> str:
    """An address in the form that is compared; a domain that is none as it stands."""
    local, at, domain = address.rpartition("@")
    return normal_local(local) + at + (normal_domain(domain) or domain.lower())


def parse_network(entry: str) -> Network:
    """A network in CIDR form, or a single address."""
    text = entry.strip()
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            wider = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise BadValue(
                f"{quoted(entry)} is not a network",
                'write an address or a network, for example "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"',
            ) from None
        raise BadValue(
            f"{quoted(entry)} has address bits behind its prefix",
            f'write "{wider}" for the network or "{text.partition("/")[0]}" for the one address',
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(mapped or 0), network.prefixlen - 96))
    return network


def parse_domain(entry: str) -> str:
    """A domain, a "*.domain" or an address literal, in normal form."""
    text = entry.strip()
    if text == "*":
        raise BadValue('"*" would match every domain', "name the domains, or leave the key out to match all")
    if text.startswith("@"):
        raise BadValue(f"{quoted(entry)} is not a domain", f"write {quoted(text[1:])} without the @")
    if text.startswith("."):
        raise BadValue(f"{quoted(entry)} is not a domain", f"for all subdomains write {quoted('*' + text)}")
    if text.startswith("["):
        literal = _address_literal(text)
        if not literal:
            raise BadValue(f"{quoted(entry)} is not an address literal", 'write "[192.0.2.1]" or "[IPv6:2001:db8::1]"')
        return literal
    wildcard = text.startswith("*.")
    domain = normal_domain(text.removeprefix("*."))
    if "*" in domain:
        raise BadValue(
            f"{quoted(entry)} has its * in the wrong place",
            'a * may only stand for all subdomains, as in "*.example.org"',
        )
    if not domain or not all(map(_LABEL.fullmatch, domain.split("."))):
        raise BadValue(
            f"{quoted(entry)} is not a domain",
            'write a domain such as "example.net", or "*.example.net" for its subdomains',
        )
    return f"*.{domain}" if wildcard else domain


def parse_address(entry: str) -> tuple[str | None, str | None]:
    """Local part and domain pattern of an address entry; None matches any, two '' are the null sender."""
    text = entry.strip()
    if text == "<>":
        return "", ""
    if text.startswith("<") and text.endswith(">"):
        raise BadValue(f"{quoted(entry)} is not an address", f"write {quoted(text[1:-1])} without the brackets")
    if "@" not in text or text.startswith("@"):
        return None, parse_domain(text)
    local, _, domain = text.rpartition("@")
    in_quotes = _QUOTED_LOCAL.fullmatch(local)
    if in_quotes:
        local = re.sub(r"\\(.)", r"\1", in_quotes[1])
    elif any(c.isspace() or c in '<>()"*,;:\\@' or not c.isprintable() for c in local):
        raise BadValue(
            f"{quoted(entry)} is not an address",
            'write "user@example.net", "user@" for any domain, a domain, or "<>" for the null sender',
        )
    return normal_local(local), parse_domain(domain) if domain else None


def parse_user(entry: str) -> str:
    """A user name, exact or with `*` for any run of characters."""
    text = entry.strip()
    if not text:
        raise BadValue("an empty user name matches nobody", 'write a name such as "bob", or "*" for every user')
    if not text.isprintable():
        raise BadValue(f"{quoted(entry)} has control characters", "write the name as the user types it")
    return re.sub(r"\*+", "*", normal_local(text))


def write_address(local: str | None, domain: str | None) -> str:
    """The entry that `parse_address` reads as these two."""
    if local == domain == "":
        return "<>"
    if local is None:
        return domain or ""
    plain = not any(c.isspace() or c in '<>()"*,;:\\@' for c in local)
    shown = local if plain else '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    return f"{shown}@{domain or ''}"
