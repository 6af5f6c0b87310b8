"""Paths, mailboxes and domain names of the envelope.

`parse_path` reads what stands after ``MAIL FROM:`` and ``RCPT TO:``; it is called for each envelope address by
`smtp.command`. It keeps the local part octet for octet, drops a source route (RFC 5321 section 4.1.1.3 and
appendix C), and refuses everything that two readers could take for two addresses.

RFC 5321 sections 4.1.2, 4.1.3 and 4.5.3.1; RFC 6531 section 3.3 for UTF-8. Caps are wider than the minimum of
RFC 5321 where real mail is (VERP and SRS write local parts over 64 octets; Postfix and Exim take them).
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

import attrs
import idna

#: Longest local part taken. The minimum of RFC 5321 is 64.
LOCAL_OCTETS = 255
#: Longest domain, the limit of the DNS itself.
DOMAIN_OCTETS = 255

#: The usual address; what is too long, or opens and closes a label wrongly, is left to the careful parser.
PLAIN = (
    rb"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@"
    rb"((?:[A-Za-z0-9_]+[.-])*[A-Za-z0-9_]+)>"
)
_PLAIN = re.compile(PLAIN)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*"')
_LABEL = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\u0080-\U0010ffff-]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[[^\x00-\x20\[\]\\\x7f]+\]")
_ROUTE = re.compile(rf"(?:@{_LABEL}(?:\.{_LABEL})*)(?:,@{_LABEL}(?:\.{_LABEL})*)*:")


class Path(NamedTuple):
    """An envelope address.

    :ivar raw: what goes to the backend between the angle brackets, octet for octet; b"" is the null sender
    :ivar local: the local part with quotes and backslashes undone, as routes and lists compare it
    :ivar domain: lower case, A-labels; "[192.0.2.1]" for a literal; "" for the null sender and a bare postmaster
    """

    raw: bytes
    local: str
    domain: str

    @property
    def is_null(self) -> bool:
        """True for ``<>``."""
        return not self.raw

    @property
    def is_utf8(self) -> bool:
        """True when the address cannot be sent without SMTPUTF8."""
        return not self.raw.isascii()

    def __str__(self) -> str:
        return self.raw.decode("utf-8", "backslashreplace")


NULL_SENDER = Path(b"", "", "")
POSTMASTER = Path(b"postmaster", "postmaster", "")


@attrs.frozen
class BadPath:
    """Why something is no path. `is_utf8` is set when it would be one under SMTPUTF8."""

    reason: str
    is_utf8: bool = False


def canonical_domain(domain: str) -> str:
    """Lower case and A-labels (UTS 46), so that two spellings of one domain compare equal.

    A name that IDNA refuses keeps its own spelling in lower case: it then matches no configured domain but itself.
    """
    domain = domain.lower()
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


def unicode_domain(domain: str) -> str:
    """A domain in A-labels as it reads with letters of its language; itself where it has none, or is no such domain."""
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except idna.IDNAError:
        return domain


def literal_address(literal: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``; None where it is none (RFC 5321 section 4.1.3)."""
    inner = literal[1:-1]
    if "%" in inner:
        # A zone means something on one machine only.
        return None
    try:
        if inner[:5].lower() == "ipv6:":
            return ipaddress.IPv6Address(inner[5:])
        return ipaddress.IPv4Address(inner)
    except ValueError:
        return None


def plain_ip(text: str) -> str:
    """An IP address as text, one of IPv4 that came in IPv6's clothes (::ffff:192.0.2.1, RFC 4291 section 2.5.5.2) as
    that of IPv4: a socket for both families and balancers write it so, and lists, bans and counters know one form."""
    if not text[:7].lower().startswith("::ffff:"):
        return text
    mapped = ipaddress.IPv6Address(text).ipv4_mapped
    return text if mapped is None else str(mapped)


def plain_path(match: re.Match[bytes]) -> Path | None:
    """The path of a match of `PLAIN`; None where it is too long for a short look."""
    local, domain = match.groups()
    if len(local) > LOCAL_OCTETS or len(domain) > 63:
        return None
    return Path(local + b"@" + domain, local.decode("ascii"), domain.decode("ascii").lower())


def parse_path(octets: bytes, *, utf8: bool = False, brackets: bool = True) -> tuple[Path | BadPath, bytes]:
    """Read one path from the start of `octets`.

    :param utf8: the client gave SMTPUTF8, so addresses may be UTF-8
    :param brackets: False takes an address without angle brackets too
    :return: the path and what follows it, or a BadPath and b""
    """
    match = _PLAIN.match(octets)
    if match is not None:
        path = plain_path(match)
        if path is not None:
            return path, octets[match.end() :]
    return _parse_slowly(octets, utf8, brackets)


def path_of(address: str) -> Path:
    """An address that was taken before, from its text; raises ValueError for any other."""
    if not address:
        return NULL_SENDER
    path, rest = parse_path(f"<{address}>".encode(), utf8=True)
    if not isinstance(path, Path) or rest:
        raise ValueError(f"{address!r} is no address")
    return path


def _parse_slowly(octets: bytes, utf8: bool, brackets: bool) -> tuple[Path | BadPath, bytes]:
    if octets[:1] != b"<":
        if brackets:
            return BadPath("address not in angle brackets"), b""
        end = octets.find(b" ")
        inner, rest = (octets, b"") if end < 0 else (octets[:end], octets[end:])
    else:
        end = _closing(octets)
        if end < 0:
            return BadPath("no closing angle bracket"), b""
        inner, rest = octets[1:end], octets[end + 1 :]
    if not inner:
        return NULL_SENDER, rest
    try:
        text = inner.decode("utf-8")
    except UnicodeDecodeError:
        return BadPath("not UTF-8"), b""
    path = _parse_inner(text)
    if isinstance(path, Path) and path.is_utf8 and not utf8:
        return BadPath("UTF-8 address without SMTPUTF8", is_utf8=True), b""
    return path, rest


def _closing(octets: bytes) -> int:
    """Where the path that opens at 0 closes: the first ``>`` outside a quoted string."""
    quoted = False
    position = 1
    while position < len(octets):
        octet = octets[position]
        if quoted and octet == 0x5C:
            position += 1
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x3E and not quoted:
            return position
        position += 1
    return -1


def _parse_inner(text: str) -> Path | BadPath:
    route = _ROUTE.match(text)
    if route is not None:
        text = text[route.end() :]
    quoted = _QUOTED.match(text)
    if quoted is not None:
        raw_local = quoted[0]
        local = re.sub(r"\\(.)", r"\1", raw_local[1:-1])
    else:
        atom = _DOT_STRING.match(text)
        if atom is None:
            return BadPath("malformed local part")
        raw_local = local = atom[0]
    rest = text[len(raw_local) :]
    if not rest and quoted is None and local.lower() == "postmaster":
        return POSTMASTER if route is None else BadPath("postmaster without domain behind a route")
    if rest[:1] != "@":
        return BadPath("malformed address")
    domain = rest[1:]
    if len(raw_local.encode()) > LOCAL_OCTETS:
        return BadPath("local part too long")
    if domain[:1] == "[":
        if _LITERAL.fullmatch(domain) is None or literal_address(domain) is None:
            return BadPath("malformed address literal")
        name = domain.lower()
    else:
        if _DOMAIN.fullmatch(domain) is None:
            return BadPath("malformed domain")
        name = canonical_domain(domain)
        if len(domain.encode()) > DOMAIN_OCTETS or len(name) > DOMAIN_OCTETS:
            return BadPath("domain too long")
        if any(len(label) > 63 for label in name.split(".")):
            return BadPath("domain label too long")
    return Path(f"{raw_local}@{domain}".encode(), local, name)
