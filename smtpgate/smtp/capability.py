"""EHLO keywords: read a backend's list, intersect several, write our own.

A keyword is offered only where the gateway does the work itself or where every backend that a route may choose has
it (promise 6). What is not known here never passes: a private word of a backend ("X-EXPS", "XOORG") means nothing at
the gateway.

RFC 5321 section 4.1.1.1; the extensions' own RFCs stand at `PASSED`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

import attrs

from smtpgate.smtp.reply import Reply

#: Keywords offered when all candidate backends have them (8BITMIME RFC 6152, SMTPUTF8 RFC 6531, DSN RFC 3461,
#: REQUIRETLS RFC 8689, BINARYMIME RFC 3030); SIZE, LIMITS and AUTH are merged by value.
PASSED = ("8BITMIME", "SMTPUTF8", "DSN", "BINARYMIME", "REQUIRETLS")

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
#: Mechanisms whose exchange can be carried line by line. Those that bind to the TLS channel (-PLUS) or lay a security
#: layer over the connection (GSSAPI, DIGEST-MD5, NTLM, EXTERNAL) cannot.
_RELAYABLE = re.compile(r"PLAIN|LOGIN|CRAM-MD5|XOAUTH2|OAUTHBEARER|SCRAM-[A-Z0-9-]+(?<!-PLUS)")


@attrs.frozen(eq=False)
class Capabilities:
    """What one server offers: keyword in upper case to its parameters ("" where it has none)."""

    words: Mapping[str, str] = attrs.field(factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.words

    @property
    def size(self) -> int | None:
        """The SIZE limit in octets; None where there is none or it says 0, "no fixed limit" (RFC 1870 section 4)."""
        value = self.words.get("SIZE", "")
        return int(value) or None if value.isascii() and value.isdigit() and len(value) <= 20 else None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """AUTH mechanisms that can be relayed, in the server's order."""
        return tuple(m for m in self.words.get("AUTH", "").split() if _RELAYABLE.fullmatch(m))

    @property
    def limits(self) -> dict[str, int]:
        """The LIMITS that have a number (RFC 9422 section 4)."""
        out = {}
        for item in self.words.get("LIMITS", "").split():
            name, _, value = item.partition("=")
            if value.isascii() and value.isdigit() and 0 < len(value) <= 9 and int(value):
                out[name.upper()] = int(value)
        return out

    @property
    def xclient(self) -> frozenset[str]:
        """Attributes that the server takes with XCLIENT; empty where it takes none."""
        return frozenset(self.words.get("XCLIENT", "").upper().split())

    @property
    def xforward(self) -> frozenset[str]:
        """Attributes that the server takes with XFORWARD; empty where it takes none."""
        return frozenset(self.words.get("XFORWARD", "").upper().split())


def parse_capabilities(reply: Reply) -> Capabilities:
    """The keywords of an EHLO reply. Read case-blind; the legacy form ``AUTH=LOGIN PLAIN`` is understood."""
    return _parse(reply.lines[1:])


@functools.lru_cache(maxsize=256)
def _parse(lines: tuple[str, ...]) -> Capabilities:
    # A server says the same list to every session.
    words: dict[str, str] = {}
    for line in lines:
        keyword, _, rest = line.strip().partition(" ")
        if keyword.upper().startswith("AUTH="):
            keyword, rest = "AUTH", f"{keyword[5:]} {rest}"
        if _KEYWORD.fullmatch(keyword) is None:
            continue
        keyword = keyword.upper()
        rest = " ".join(rest.split())
        if keyword == "AUTH":
            known = words.get("AUTH", "").split()
            rest = " ".join(known + [m for m in rest.upper().split() if m not in known])
        elif keyword in words:
            continue
        words[keyword] = rest
    if "CHUNKING" not in words:
        # Binary content can only be sent by chunks (RFC 3030 section 3).
        words.pop("BINARYMIME", None)
    return Capabilities(words)


def intersect(offers: Iterable[Capabilities]) -> Capabilities:
    """What all of several servers can honour: of flags the common ones, of limits the smallest."""
    offers = list(offers)
    if not offers:
        return Capabilities()
    words = {keyword: "" for keyword in PASSED if all(keyword in offer for offer in offers)}
    sizes = [offer.size for offer in offers if offer.size is not None]
    if sizes:
        words["SIZE"] = str(min(sizes))
    limits: dict[str, int] = {}
    for offer in offers:
        for name, value in offer.limits.items():
            limits[name] = min(value, limits.get(name, value))
    if limits:
        words["LIMITS"] = " ".join(f"{name}={value}" for name, value in sorted(limits.items()))
    common = [m for m in offers[0].mechanisms if all(m in offer.mechanisms for offer in offers)]
    if common:
        words["AUTH"] = " ".join(common)
    return Capabilities(words)


def unite(offers: Iterable[Capabilities]) -> Capabilities:
    """What at least one of several servers can honour; limits are still the smallest (`capability_mode` union)."""
    offers = list(offers)
    words = dict(intersect(offers).words)
    words.update({keyword: "" for keyword in PASSED if any(keyword in offer for offer in offers)})
    return Capabilities(words)
