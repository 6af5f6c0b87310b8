"""HELO checks: names that no honest server gives.

Every check only notes by default: RFC 5321 section 4.1.4 forbids to refuse mail because the name does not fit the
address, and real servers give odd names. Each can be turned up on its own.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Literal

from pydantic import Field, field_validator

from smtpgate.config.patterns import DomainList
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Session
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import literal_address

Action = Literal["off", "note", "tag", "defer", "reject"]
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\.?")


class HeloOptions(Options):
    """What becomes of each kind of odd name."""

    malformed: Action = Field("note", description="Neither a host name nor an address literal.")
    unqualified: Action = Field("note", description="A name without a dot.")
    literal_mismatch: Action = Field("note", description="An address literal of another address than the client's.")
    our_name: Action = Field("note", description="A stranger that gives our own name.")
    own_names: list[str] = Field([], description="Names that are our own; *.domain for all below it.")

    @field_validator("own_names")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value


class HeloFilter(Filter):
    """Looks at the name of each greeting."""

    def __init__(self, options: HeloOptions, services: Any) -> None:
        self.options = options
        self.own = DomainList(options.own_names)

    def session(self, session: Session) -> _Greeting:
        """One client."""
        return _Greeting(self, session)


class _Greeting:
    __slots__ = ("_filter", "_session")

    def __init__(self, parent: HeloFilter, session: Session) -> None:
        self._filter = parent
        self._session = session

    def helo(self, name: str) -> Finding | None:
        """The client greets."""
        options = self._filter.options
        if name.startswith("["):
            address = literal_address(name) if name.endswith("]") else None
            if address is None:
                return _found("helo-malformed", options.malformed, name)
            client = self._session.client_ip
            # A client on a unix socket has no address that could differ.
            if not client or _number(address) == _client_number(client):
                return None
            return _found("helo-literal-mismatch", options.literal_mismatch, f"{name} from {client}")
        if _NAME.fullmatch(name) is None:
            return _found("helo-malformed", options.malformed, name)
        if self._filter.own.matches(name) and not self._session.is_trusted:
            return _found("helo-our-name", options.our_name, name)
        if "." not in name.rstrip("."):
            return _found("helo-unqualified", options.unqualified, name)
        return None


def _number(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int, int]:
    """What two spellings of one address have in common: an IPv4 client of a dual-stack socket comes as IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (4, int(mapped)) if mapped is not None else (address.version, int(address))


def _client_number(client: str) -> tuple[int, int] | None:
    try:
        return _number(ipaddress.ip_address(client))
    except ValueError:
        return None


def _found(reason: str, action: Action, detail: str) -> Finding | None:
    if action == "off":
        return None
    return Finding(reason, action, "Give the name of your host", detail[:300])


factory = Factory("helo", HeloOptions, frozenset({"helo"}), HeloFilter, roles=frozenset({"mx"}))
