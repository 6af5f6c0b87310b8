"""Greylisting: a stranger that looks suspicious is told to come again in some minutes; programs that only spray do not.

Off unless it is put into the configuration. It asks nobody whose SPF and reverse name both hold, so one-time codes and
the mail of big providers do not wait. It follows the sender's domain where SPF passed, whichever of its servers tries
again, and else the network (/24, /64), never one address: pools of senders come from many. Who came again once is known
for weeks. The null sender, `postmaster` and `abuse` never wait, and while the DNS is away nobody does.

RFC 6647 (greylisting).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from smtpgate.config.patterns import AddressList
from smtpgate.config.problem import BadValue
from smtpgate.config.units import parse_duration
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.sender.authentication import spf
from smtpgate.filters.sender.base import BUDGET_S, is_exempt, plain_address
from smtpgate.filters.sender.iprev import iprev
from smtpgate.policy.mercy import is_spared
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding

#: Parts of a sender that change with each message (VERP, SRS): they are no reason to wait again.
_CHANGING = re.compile(r"[0-9]+|[0-9a-f]{8,}")


def _seconds(value: object) -> object:
    return parse_duration(value)


class GreylistOptions(Options):
    """How long a stranger waits, and how long it is known."""

    delay: float = Field(300.0, description="Time until it may come again.")
    window: float = Field(2 * 86400.0, description="Time in which it must come again; RFC 5321 senders try for days.")
    known: float = Field(35 * 86400.0, description="Time for which it is known from then on.")
    exempt: list[str] = Field([], description="Recipients that nobody waits for, as user@example.net or example.org.")

    @field_validator("delay", "window", "known", mode="before")
    @classmethod
    def _time(cls, value: object) -> object:
        return _seconds(value)

    @model_validator(mode="after")
    def _may_come_in(self) -> GreylistOptions:
        if self.window <= self.delay:
            raise BadValue("window is not longer than delay: nobody could ever come in", "the default is 2 days")
        return self

    @field_validator("exempt")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        AddressList(value)
        return value


class GreylistFilter(Filter):
    """Remembers who came, and who came again."""

    def __init__(self, options: GreylistOptions, services: Any) -> None:
        self.options = options
        self.services = services
        self.exempt = AddressList(options.exempt)
        self.table = services.table("greylist")

    def transaction(self, transaction: Transaction) -> _Visit | None:
        """One message of a stranger; the null sender has nowhere to come again from."""
        if is_exempt(transaction.session) or transaction.sender.is_null:
            return None
        return _Visit(self, transaction)


class _Visit:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: GreylistFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    async def rcpt(self, recipient: Recipient) -> Finding | None:
        """May it come in, or must it come again?"""
        parent, options = self._filter, self._filter.options
        path = recipient.path
        if is_spared(path) or parent.exempt.matches(path.local, path.domain):
            return None
        identity = await self._identity()
        if not identity:
            return None
        now = self._now()
        known = f"known {identity}"
        seen = await parent.table.get(known)
        if seen is not None:
            if now - seen > options.known / 10:
                await parent.table.put(known, now, options.known)
            return None
        sender = self._transaction.sender
        local = _CHANGING.sub("#", sender.local.lower())
        waits = _key("waits", identity, f"{local}@{sender.domain}", str(path).lower())
        first = await parent.table.get(waits)
        if first is None:
            first = now
            await parent.table.put(waits, now, options.window)
        left = first + options.delay - now
        if left <= 0:
            await parent.table.put(known, now, options.known)
            return None
        minutes = max(1, round(left / 60))
        return Finding(
            "greylisted",
            "defer",
            f"You are new here: please send it again in {minutes} minute{'s' if minutes > 1 else ''}",
            f"{identity} for {path}, {left:.0f} s left",
        )

    async def _identity(self) -> str:
        """Who waits: a domain or a network; "" for one that need not."""
        services, transaction = self._filter.services, self._transaction
        address = plain_address(transaction.session.client_ip)
        if address is None:
            return ""
        policy, names = await spf(transaction, services), await iprev(services, transaction)
        if "temperror" in (policy.result, names.result) or policy.result == names.result == "pass":
            return ""
        if policy.result == "pass" and transaction.sender.domain:
            return transaction.sender.domain
        return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))

    def _now(self) -> float:
        session = self._transaction.session
        return session.started + self._transaction.begun - session.begun


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


factory = Factory(
    "greylist",
    GreylistOptions,
    frozenset({"rcpt"}),
    GreylistFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    category="spam",
)
