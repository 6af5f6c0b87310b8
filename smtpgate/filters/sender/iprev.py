"""The names of the client's address, and whether they lead back to it (forward-confirmed reverse DNS).

`iprev` asks once for each message, for whoever wants to know: this filter, and what writes Authentication-Results. The
filter only scores: good servers without a name exist, and nearly every bad one has one. Names that a provider's machine
made of the address score too (`generic`).

At most ten names of one address are followed, as SPF does it (RFC 7208 section 4.6.4): who has more has them for that.

RFC 8601 section 2.7.3 and section 3 (iprev); RFC 1912 section 2.1.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from pydantic import Field
from twisted.internet.defer import Deferred

from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import (
    BUDGET_S,
    STAGES,
    SenderFilter,
    host_name,
    in_time,
    known_origin,
    plain_address,
    results,
)
from smtpgate.filters.sender.generic import generic_form
from smtpgate.policy.names import Answer
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

NAMES: Final = 10
#: For both steps; a look-up has 3 seconds of its own.
TIME_S: Final = 4.0


@attrs.frozen
class Iprev:
    """What is known of the names of an address.

    :ivar result: pass, fail, temperror, permerror (no name at all); "" where nothing was asked
    :ivar name: the first name that leads back; else the first that there is
    :ivar names: those that were followed
    :ivar is_cut: there were more
    """

    result: str = ""
    ip: str = ""
    name: str = ""
    names: tuple[str, ...] = ()
    is_cut: bool = False


NOTHING: Final = Iprev()


def iprev(services: Any, transaction: Transaction) -> Deferred[Iprev]:
    """The fact for a message, asked once. Behind a relay of ours, not before its header section is there."""
    fact: Deferred[Iprev] = services.once(transaction, "iprev", lambda: _of_message(services, transaction))
    return fact


async def _of_message(services: Any, transaction: Transaction) -> Iprev:
    origin = (await known_origin(services, transaction)).origin
    address = plain_address(origin.ip) if origin.is_known else None
    if address is None:
        return NOTHING
    found: Iprev | None = await in_time(services, look_back(services.resolver, str(address)), TIME_S)
    if found is not None and found.result == "pass":
        transaction.authenticated["name"] = (found.name,)
    return found if found is not None else Iprev("temperror", str(address))


async def look_back(resolver: Any, ip: str) -> Iprev:
    """Ask for the names of an address, and for theirs."""
    address = plain_address(ip)
    if address is None:
        return NOTHING
    pointers: Answer = await resolver.lookup(address.reverse_pointer, "PTR")
    if pointers.is_temporary:
        return Iprev("temperror", ip)
    given = tuple(dict.fromkeys(name for name in map(host_name, pointers.records) if name))
    names = given[:NAMES]
    if not names:
        return Iprev("permerror", ip)
    kind = "A" if address.version == 4 else "AAAA"
    answers: list[Answer] = await results([resolver.lookup(name, kind) for name in names])
    for name, answer in zip(names, answers, strict=True):
        if any(plain_address(found) == address for found in answer.records):
            return Iprev("pass", ip, name, names, len(given) > NAMES)
    result = "temperror" if any(answer.is_temporary for answer in answers) else "fail"
    return Iprev(result, ip, names[0], names, len(given) > NAMES)


class IprevOptions(Options):
    """How much each thing weighs; 0 only notes it."""

    missing: float = Field(1.0, description="Score of an address without a name.")
    unconfirmed: float = Field(1.0, description="Score of an address none of whose names leads back to it.")
    generic: float = Field(0.5, description="Score of a name that was made of the address.")
    dynamic: float = Field(1.5, description="Score of a name of a line for customers.")


class IprevFilter(SenderFilter):
    """Scores the names of the client."""

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """At most one finding for the confirmation and one for the form of the name."""
        options: IprevOptions = self.options
        fact = await iprev(self.services, transaction)
        shown = ", ".join(fact.names[:3])
        if fact.result == "permerror":
            return [Finding("iprev-missing", detail=f"{fact.ip} has no name", score=options.missing)]
        if fact.result == "temperror":
            return [Finding("iprev-temperror", detail=f"the names of {fact.ip} could not be looked up")]
        if fact.result == "fail":
            detail = f"{fact.ip} is called {shown}, which does not lead back"
            return [Finding("iprev-fail", detail=detail, score=options.unconfirmed)]
        address = plain_address(fact.ip)
        form = generic_form(fact.name, address) if fact.result == "pass" and address is not None else ""
        if form:
            score = options.dynamic if form == "dynamic" else options.generic
            return [Finding(f"iprev-{form}", detail=f"{fact.ip} is called {fact.name}", score=score)]
        return []


factory = Factory(
    "iprev",
    IprevOptions,
    STAGES,
    IprevFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    category="sender",
)
