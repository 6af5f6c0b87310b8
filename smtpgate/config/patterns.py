"""Lists of networks, domains, addresses and users, as `local_domains`, routes and access lists hold them.

Each class is made from the entries that the operator wrote, keeps them in normal form in `entries`, and
answers one question about a value: is it on the list? The question is asked for every connection and every
recipient, so the answer is found by hashing and not by walking: 10,000 entries cost as much as ten. A value
that makes no sense is not on any list; an entry that makes no sense is refused with what would be right, see
`entry`.

`covers` and `overlaps` ask about an entry of another list (in normal form) instead of a value: does this list
match all that the entry matches, or some of it? The checks find unreachable routes with them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from smtpgate.config.entry import (
    Network,
    normal_domain,
    normal_local,
    parse_address,
    parse_domain,
    parse_network,
    parse_user,
    write_address,
)

__all__ = ["AddressList", "DomainList", "NetworkList", "PatternList"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Entries:
    """What the lists share: entries, length, equality."""

    __slots__ = ("entries",)

    entries: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.entries == self.entries

    def __hash__(self) -> int:
        return hash((type(self), self.entries))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.entries)!r})"


class NetworkList(_Entries):
    """Networks and single addresses, IPv4 and IPv6; an IPv4-mapped IPv6 address counts as IPv4."""

    __slots__ = ("_by_prefix", "networks")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.networks: tuple[Network, ...] = tuple(map(parse_network, entries))
        self.entries = tuple(map(str, self.networks))
        masks: dict[tuple[int, int], set[int]] = {}
        for network in self.networks:
            shift = network.max_prefixlen - network.prefixlen
            masks.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._by_prefix = {
            version: tuple((shift, frozenset(found)) for (v, shift), found in masks.items() if v == version)
            for version in (4, 6)
        }

    def contains(self, address: str | Address) -> bool:
        """True when the address is in one of the networks; text that is no address is in none."""
        if not self.entries:
            return False
        if isinstance(address, str):
            try:
                address = ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                return False
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number = int(address)
        return any(number >> shift in found for shift, found in self._by_prefix[address.version])

    def covers(self, entry: str) -> bool:
        """True when every address of that network is in one of these."""
        network = parse_network(entry)
        host_bits = network.max_prefixlen - network.prefixlen
        number = int(network.network_address)
        return any(shift >= host_bits and number >> shift in found for shift, found in self._by_prefix[network.version])

    def overlaps(self, entry: str) -> bool:
        """True when some address of that network is in one of these."""
        network = parse_network(entry)
        return any(network.version == own.version and network.overlaps(own) for own in self.networks)


class DomainList(_Entries):
    """Domains: "example.net" is that one, "*.example.org" is any below it but not example.org itself."""

    __slots__ = ("_above", "_exact", "_parents")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.entries = tuple(map(parse_domain, entries))
        self._exact = frozenset(e for e in self.entries if not e.startswith("*."))
        self._above = frozenset(e[2:] for e in self.entries if e.startswith("*."))
        self._parents: frozenset[str] | None = None

    def matches(self, domain: str) -> bool:
        """True when the domain is on the list, however it is written."""
        if not self.entries:
            return False
        domain = normal_domain(domain)
        return bool(domain) and (domain in self._exact or self._is_below(domain))

    def _is_below(self, domain: str) -> bool:
        return bool(self._above) and any(parent in self._above for parent in _parents(domain))

    def covers(self, entry: str) -> bool:
        """True when every domain that the entry matches is on the list."""
        if not entry.startswith("*."):
            return entry in self._exact or self._is_below(entry)
        return entry[2:] in self._above or self._is_below(entry[2:])

    def overlaps(self, entry: str) -> bool:
        """True when some domain that the entry matches is on the list."""
        if self.covers(entry):
            return True
        if not entry.startswith("*."):
            return False
        if self._parents is None:
            # Only the checks ask this, so a list that serves sessions never pays for it.
            self._parents = frozenset(p for e in self.entries for p in _parents(e.removeprefix("*.")))
        return entry[2:] in self._parents


def _parents(domain: str) -> Iterator[str]:
    dot = domain.find(".")
    while dot != -1:
        yield domain[dot + 1 :]
        dot = domain.find(".", dot + 1)


class AddressList(_Entries):
    """Addresses: domains as in `DomainList`, "user@example.net", "user@" for any domain, "<>" for null."""

    __slots__ = ("_anywhere", "_has_null", "_users", "domains")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        parsed = list(map(parse_address, entries))
        users: dict[str, list[str]] = {}
        for local, domain in parsed:
            if local is not None and domain:
                users.setdefault(local, []).append(domain)
        self.entries = tuple(write_address(*one) for one in parsed)
        self.domains = DomainList(domain for local, domain in parsed if local is None and domain)
        self._users = {local: DomainList(domains) for local, domains in users.items()}
        self._anywhere = frozenset(local for local, domain in parsed if local is not None and domain is None)
        self._has_null = ("", "") in parsed

    def matches(self, local: str, domain: str) -> bool:
        """True when the address is on the list; the null sender is two empty texts."""
        if not local and not domain:
            return self._has_null
        if self.domains.matches(domain):
            return True
        if not self._users and not self._anywhere:
            return False
        local = normal_local(local)
        return local in self._anywhere or (local in self._users and self._users[local].matches(domain))

    def covers(self, entry: str) -> bool:
        """True when every address that the entry matches is on the list."""
        local, domain = _parts(entry)
        if local == domain == "":
            return self._has_null
        if local is not None and local in self._anywhere:
            return True
        if domain is None:
            return False
        if self.domains.covers(domain):
            return True
        return local is not None and local in self._users and self._users[local].covers(domain)

    def overlaps(self, entry: str) -> bool:
        """True when some address that the entry matches is on the list."""
        local, domain = _parts(entry)
        if self.covers(entry):
            return True
        if domain is None:
            return bool(self.domains) or local in self._users
        if local is None:
            return self.overlaps_domain(domain)
        return self.domains.overlaps(domain) or (local in self._users and self._users[local].overlaps(domain))

    def overlaps_domain(self, entry: str) -> bool:
        """True when some address in the domains that the entry matches is on the list."""
        if self._anywhere or self.domains.overlaps(entry):
            return True
        return any(domains.overlaps(entry) for domains in self._users.values())


def _parts(entry: str) -> tuple[str | None, str | None]:
    """What `parse_address` says of an entry in normal form. Most are domains, and there may be thousands."""
    return (None, entry) if "@" not in entry and entry != "<>" else parse_address(entry)


class _Glob:
    """One user pattern with stars, matched without backtracking, so no name can make it slow."""

    __slots__ = ("_middle", "head", "tail")

    def __init__(self, pattern: str) -> None:
        self.head, *self._middle, self.tail = pattern.split("*")

    def matches(self, name: str) -> bool:
        end = len(name) - len(self.tail)
        at = len(self.head)
        if at > end or not name.startswith(self.head) or not name.endswith(self.tail):
            return False
        for piece in self._middle:
            at = name.find(piece, at, end)
            if at == -1:
                return False
            at += len(piece)
        return True


class PatternList(_Entries):
    """User names, exact or with `*` for any run of characters; no other character is special."""

    __slots__ = ("_exact", "_globs", "_tails")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.entries = tuple(map(parse_user, entries))
        self._exact = frozenset(e for e in self.entries if "*" not in e)
        # "*@example.net" is what most lists are made of, so those are hashed by their length.
        tails: dict[int, set[str]] = {}
        others = []
        for entry in self.entries:
            if entry.startswith("*") and "*" not in entry[1:]:
                tails.setdefault(len(entry) - 1, set()).add(entry[1:])
            elif "*" in entry:
                others.append(_Glob(entry))
        self._tails = tuple((length, frozenset(found)) for length, found in tails.items())
        self._globs = tuple(others)

    def matches(self, name: str) -> bool:
        """True when the name is on the list."""
        name = normal_local(name)
        return (
            name in self._exact
            or any(length <= len(name) and name[len(name) - length :] in found for length, found in self._tails)
            or any(glob.matches(name) for glob in self._globs)
        )

    def covers(self, entry: str) -> bool:
        """True when one pattern of the list matches every name that the entry matches."""
        # The star of an entry, read as a plain character, can only be matched by a star.
        return self.matches(entry)

    def overlaps(self, entry: str) -> bool:
        """True when some name that the entry matches may be on the list."""
        if self.matches(entry):
            return True
        if "*" not in entry:
            return False
        one = _Glob(entry)
        if any(map(one.matches, self._exact)):
            return True
        globs = (_Glob(other) for other in self.entries if "*" in other)
        return any(
            (one.head.startswith(other.head) or other.head.startswith(one.head))
            and (one.tail.endswith(other.tail) or other.tail.endswith(one.tail))
            for other in globs
        )


#: The empty lists, for what is not asked.
NO_NETWORKS = NetworkList()
NO_DOMAINS = DomainList()
NO_ADDRESSES = AddressList()
NO_USERS = PatternList()
