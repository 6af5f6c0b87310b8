"""DMARC records: their grammar, the walk up the DNS that finds them, and when two domains are of one organisation.

`filters.sender.dmarc` asks it, with a function that looks TXT records up. Nothing here looks up, keeps or decides
anything by itself. A walk asks at most eight names, one after the other, and ends where a record says psd=y or psd=n.

Promised: tags are parsed, never searched for; a name with two records has none; what is wrong in a record falls back to
the default of its tag; DNS trouble is told, and never taken for "no record". Refused: tags that the standard gave up
(pct, rf, ri) mean nothing.

RFC 9989 sections 4.4 (alignment), 4.7 and 4.8 (records), 4.10 (tree walk, policy, organisational domain).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import attrs

from smtpgate.policy.names import Answer

#: Labels above which a walk leaves names out, and queries of one walk (RFC 9989 section 4.10).
QUERIES: Final = 8
#: Octets of a record that are read: a TXT record of 255 strings has 65,025, and real ones stay under 1,000.
RECORD_OCTETS: Final = 4096
#: From none to the strictest.
POLICIES: Final = ("none", "quarantine", "reject")

#: Letters of an Authentication-Results field that are read; those of big houses have some 1,500.
CLAIMS_OCTETS: Final = 16_384

_ATOM: Final = re.compile(r'[^\s"()=;\\]+')
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)

Lookup = Callable[[str], Awaitable[Answer]]


@attrs.frozen
class Record:
    """One record that begins with v=DMARC1.

    :ivar policy: p; `subdomains` sp and `missing` np with what they fall back to
    :ivar is_strict_dkim: adkim=s; `is_strict_spf` aspf=s
    :ivar psd: y, n or u
    :ivar is_test: t=y
    :ivar is_usable: False where a policy tag is broken and nobody wants reports: DMARC does not apply then
    :ivar reports: rua, as it stands
    """

    policy: str = "none"
    subdomains: str = "none"
    missing: str = "none"
    is_strict_dkim: bool = False
    is_strict_spf: bool = False
    psd: str = "u"
    is_test: bool = False
    is_usable: bool = True
    reports: str = ""


@attrs.frozen
class Walk:
    """What stands at a domain and above it.

    :ivar found: domains that have a record, with it; the longest first
    :ivar failed: the name that could not be asked, where the walk ended; "" for a whole walk
    """

    domain: str
    found: tuple[tuple[str, Record], ...] = ()
    failed: str = ""

    @property
    def organisation(self) -> str:
        """The organisational domain, as far as the walk shows it; the domain itself where nothing was found."""
        if not self.found:
            return self.domain
        # A record that says psd ended the walk, so it can only be the last.
        domain, record = self.found[-1]
        if record.psd != "y":
            return domain
        # One label below it; a public suffix that sends mail itself has none below, and stays what it is.
        return ".".join(self.domain.split(".")[-(domain.count(".") + 2) :])

    @property
    def has_own(self) -> bool:
        """Whether the domain itself has a record."""
        return bool(self.found) and self.found[0][0] == self.domain

    @property
    def is_marked(self) -> bool:
        """Whether a record says where the organisation ends."""
        return any(record.psd != "u" for _, record in self.found)

    def applicable(self) -> tuple[str, Record] | None:
        """Where the record is that applies to mail of the domain, and the record: its own, its organisation's, or that
        of the public suffix above."""
        if self.has_own:
            return self.found[0]
        organisation = self.organisation
        above = [one for one in self.found if one[0] == organisation or one[1].psd == "y"]
        return above[0] if above else None


def tags(text: str) -> Iterator[tuple[str, str]]:
    """Names (lower case) and values of a list of tags, in order; what is no tag is left out."""
    for piece in text.split(";"):
        name, equals, value = piece.partition("=")
        name = name.strip(" \t").lower()
        if equals and name.isascii() and name.isalpha():
            yield name, value.strip(" \t")


def parse(octets: bytes) -> Record | None:
    """Read one TXT record; None where it is not one of DMARC."""
    text = octets[:RECORD_OCTETS].decode("latin-1")
    head, _, rest = text.partition(";")
    name, _, version = head.partition("=")
    if name.rstrip(" \t") not in ("v", "V") or version.strip(" \t") != "DMARC1":
        return None
    given: dict[str, str] = {}
    for name, value in tags(rest):
        # Of a tag that stands twice the first counts: the other may have been put behind it.
        given.setdefault(name, value)
    reports = given.get("rua", "")
    policies = {name: given[name].lower() for name in ("p", "sp", "np") if name in given}
    is_broken = any(value not in POLICIES for value in policies.values())
    if is_broken:
        policies = {}
    policy = policies.get("p", "none")
    subdomains = policies.get("sp", policy)
    psd = given.get("psd", "u").lower()
    return Record(
        policy,
        subdomains,
        policies.get("np", subdomains),
        given.get("adkim", "r").lower() == "s",
        given.get("aspf", "r").lower() == "s",
        psd if psd in ("y", "n") else "u",
        given.get("t", "n").lower() == "y",
        not is_broken or _has_address(reports),
        reports,
    )


def _has_address(reports: str) -> bool:
    """Whether one of the addresses for reports is a URI (RFC 3986 section 3: a scheme, a colon, something)."""
    for one in reports.split(","):
        scheme, colon, rest = one.strip(" \t").partition(":")
        plain = scheme.replace("+", "").replace("-", "").replace(".", "")
        if colon and rest and " " not in rest and scheme[:1].isalpha() and plain.isascii() and plain.isalnum():
            return True
    return False


def sole(records: Iterable[bytes]) -> Record | None:
    """The record of a name; None where there is none, or more than one."""
    found = [record for record in map(parse, records) if record is not None]
    return found[0] if len(found) == 1 else None


def targets(domain: str) -> list[str]:
    """The domains that a walk asks, in order: itself, and those above; of a long one the last seven labels only."""
    labels = domain.split(".")
    start = max(1, len(labels) - (QUERIES - 1))
    return [domain, *(".".join(labels[at:]) for at in range(start, len(labels)))]


async def walk(domain: str, lookup: Lookup) -> Walk:
    """Walk up from a domain.

    :param lookup: asks for the TXT records of a name
    """
    found: list[tuple[str, Record]] = []
    for target in targets(domain):
        name = f"_dmarc.{target}"
        answer = await lookup(name)
        if answer.is_temporary:
            return Walk(domain, tuple(found), name)
        record = sole(answer.records)
        if record is not None:
            found.append((target, record))
            if record.psd != "u":
                break
    return Walk(domain, tuple(found))


def is_below(domain: str, other: str) -> bool:
    """Whether a domain is another one, or below it."""
    return domain == other or domain.endswith(f".{other}")


async def is_aligned(
    author: Walk, domain: str, is_strict: bool, lookup: Lookup, registered: Callable[[str], str] | None = None
) -> bool | None:
    """Whether a domain that was proved speaks for the author's; None where DNS trouble leaves it open.

    :param registered: gives the registered domain by the list of public suffixes, for domains above which the walk
        finds no record at all; "" for none
    """
    if domain == author.domain:
        return True
    if is_strict:
        return False
    if author.failed:
        return None
    organisation = author.organisation
    may_share = bool(registered) and not author.is_marked and _same(registered, domain, author.domain)
    # Whose organisation is the author's stands at it or below it, so most strangers cost no look-up.
    if not is_below(domain, organisation) and not may_share:
        return False
    other = await walk(domain, lookup)
    if other.failed:
        return None
    return other.organisation == organisation or (may_share and not other.found)


def _same(registered: Callable[[str], str] | None, one: str, other: str) -> bool:
    name = registered(one) if registered is not None else ""
    return bool(name) and registered is not None and registered(other) == name


def weaker(policy: str) -> str:
    """The policy one step below, which t=y asks for (RFC 9989 section 4.7)."""
    return POLICIES[max(0, POLICIES.index(policy) - 1)]


@attrs.frozen
class Claim:
    """One result of an Authentication-Results field: a method, its result, and properties as "header.from"."""

    method: str
    result: str
    properties: dict[str, str] = attrs.field(factory=dict)


def read_results(text: str) -> list[Claim]:
    """The results that a field claims (RFC 8601 section 2.2), with or without the name of who claims them.

    Comments and quoted strings hold no results. A text that ends within one gives none: it may have been cut.
    """
    claims: list[Claim] = []
    piece: list[str] = []
    for token in (*(tokens(text[:CLAIMS_OCTETS]) or ()), ";"):
        if token != ";":
            piece.append(token)
            continue
        # Quoted tokens keep their opening mark, so that none of them is taken for a name.
        pairs = [
            (piece[at - 1].lower(), piece[at + 1].removeprefix('"'))
            for at, one in enumerate(piece[:-1])
            if one == "=" and at and piece[at - 1][0] not in '="' and piece[at + 1] != "="
        ]
        if pairs and piece[1] == "=" and pairs[0][0] == piece[0].lower():
            properties = dict(reversed(pairs[1:]))
            claims.append(Claim(pairs[0][0].partition("/")[0], pairs[0][1].lower(), properties))
        piece = []
    return claims


def tokens(text: str) -> list[str] | None:
    """Atoms, "=", ";" and quoted strings (with the opening mark, the rest undone) of a field of results, in order.

    None where a quoted string or a comment does not end.
    """
    found: list[str] = []
    at = depth = 0
    while at < len(text):
        matched = _ATOM.match(text, at)
        character = text[at]
        if depth:
            depth += (character == "(") - (character == ")")
            at += 2 if character == "\\" else len(matched[0]) if matched else 1
        elif matched:
            found.append(matched[0])
            at = matched.end()
        elif character == '"':
            string = _STRING.match(text, at)
            if string is None:
                return None
            found.append('"' + _ESCAPE.sub(r"\1", string[0][1:-1]))
            at = string.end()
        else:
            depth = character == "("
            if character in "=;":
                found.append(character)
            at += 1
    return None if depth else found
