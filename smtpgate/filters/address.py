"""Envelope lists: senders and recipients that are not taken, and senders that cannot be.

The null sender is never refused for being null, and ``postmaster`` and ``abuse`` of our own domains take mail from
everybody (RFC 5321 section 4.5.1, RFC 2142): those are the ones that mail comes to on a listener of role mx.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from smtpgate.config.patterns import AddressList, DomainList
from smtpgate.config.problem import BadValue
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import ACTIONS, Finding

Action = Literal["off", "note", "tag", "defer", "reject"]
#: Local parts that must hear from everybody.
_OPEN = frozenset({"postmaster", "abuse"})


class AddressOptions(Options):
    """The lists. An entry is a domain, *.domain, user@domain or user@."""

    blocked_senders: list[str] = Field([], description="Senders that are not taken.")
    blocked_recipients: list[str] = Field([], description="Recipients that are not taken.")
    local_domains: list[str] = Field([], description="Domains that no stranger may send as; see local_from_outside.")
    local_from_outside: Action = Field(
        "note", description="A sender of a local domain from a client that is no friend."
    )
    unqualified_sender: Action = Field("note", description="A sender whose domain has no dot.")

    @field_validator("blocked_senders", "blocked_recipients")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        if "<>" in AddressList(value).entries:
            raise BadValue("the null sender cannot be blocked", "bounces and call-outs come from it; leave <> out")
        return value

    @field_validator("local_domains")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value


class AddressFilter(Filter):
    """Asks the lists at MAIL and RCPT."""

    def __init__(self, options: AddressOptions, services: Any) -> None:
        self.options = options
        self.senders = AddressList(options.blocked_senders)
        self.recipients = AddressList(options.blocked_recipients)
        self.local = DomainList(options.local_domains)

    def transaction(self, transaction: Transaction) -> _Envelope:
        """One transaction."""
        return _Envelope(self, transaction)


class _Envelope:
    __slots__ = ("_filter", "_refused", "_transaction")

    def __init__(self, parent: AddressFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction
        self._refused: Finding | None = None

    def mail(self) -> Finding | None:
        """The sender. A refusal waits for RCPT: postmaster takes mail from everybody."""
        lists, options = self._filter, self._filter.options
        sender, session = self._transaction.sender, self._transaction.session
        if sender.is_null:
            return None
        found: Finding | None = None
        if lists.senders.matches(sender.local, sender.domain):
            found = Finding("sender-listed", "reject", "This sender is not taken here", str(sender), enhanced="5.7.1")
        else:
            if lists.local.matches(sender.domain) and not (session.mechanism or session.is_trusted):
                public = "This sender is not taken from your address"
                found = _judge("sender-claims-local-domain", options.local_from_outside, public, str(sender))
            if not sender.domain.startswith("[") and "." not in sender.domain:
                public = "Give the whole domain of the sender"
                other = _judge("sender-unqualified", options.unqualified_sender, public, str(sender))
                found = max(filter(None, (found, other)), key=_rank, default=None)
        if found is not None and found.action in ("reject", "defer"):
            self._refused = found
            return None
        return found

    def rcpt(self, recipient: Recipient) -> Finding | None:
        """One recipient."""
        if recipient.path.local.lower() in _OPEN and self._transaction.session.role == "mx":
            return None
        if self._refused is not None:
            return self._refused
        lists = self._filter.recipients
        if lists.matches(recipient.path.local, recipient.path.domain):
            return Finding(
                "recipient-listed", "reject", "This recipient takes no mail", str(recipient.path), enhanced="5.7.1"
            )
        return None


def _judge(reason: str, action: Action, public: str, detail: str) -> Finding | None:
    return Finding(reason, action, public, detail) if action != "off" else None


def _rank(found: Finding) -> int:
    return ACTIONS.index(found.action)


factory = Factory("address", AddressOptions, frozenset({"mail", "rcpt"}), AddressFilter)
