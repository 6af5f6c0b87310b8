"""Size and recipient limits finer than the global ones: by listener, user or sender.

Rows are asked in their order; the first that fits a transaction holds. Too many recipients are deferred one by one
(452 4.5.3: the client sends them in its next transaction), too large a message is refused, at MAIL where the client
says its size beforehand, else at its end.
"""

from __future__ import annotations

from typing import Any

import attrs
from pydantic import Field, field_validator, model_validator

from smtpgate.config.patterns import AddressList, PatternList
from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.units import parse_size
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding


class Row(Options):
    """One row; what is not given is not asked."""

    listener: list[str] = Field([], description="Names of listeners.")
    user: list[str] = Field([], description="Users; * stands for any characters.")
    sender: list[str] = Field([], description="Senders: domain, *.domain, user@domain, user@, <>.")
    message_size: str = Field(
        "", description='Largest message, as "10 MiB"; empty: no other limit than the global one.'
    )
    recipients: int = Field(0, ge=0, description="Most recipients; 0: no other limit than the global one.")

    @model_validator(mode="after")
    def _limits_something(self) -> Row:
        if not self.message_size and not self.recipients:
            raise BadValue("the row limits nothing", 'give it message_size = "10 MiB" or recipients = 50')
        return self

    @field_validator("message_size")
    @classmethod
    def _size(cls, value: str) -> str:
        if value and not parse_size(value):
            raise BadValue(
                f"{quoted(value)} would take no message", "leave it out for no other limit than the global one"
            )
        return value

    @field_validator("user")
    @classmethod
    def _user(cls, value: list[str]) -> list[str]:
        PatternList(value)
        return value

    @field_validator("sender")
    @classmethod
    def _sender(cls, value: list[str]) -> list[str]:
        AddressList(value)
        return value


class LimitsOptions(Options):
    """The rows."""

    rows: list[Row] = Field([], description="Asked in their order; the first that fits holds.")


@attrs.frozen
class _Limit:
    row: Row
    user: PatternList
    sender: AddressList
    octets: int

    def fits(self, transaction: Transaction) -> bool:
        """Whether the row is about a transaction."""
        session, sender = transaction.session, transaction.sender
        if self.row.listener and session.listener not in self.row.listener:
            return False
        if self.user and not (session.user and self.user.matches(session.user)):
            return False
        return not self.sender or self.sender.matches(sender.local, sender.domain)


class LimitsFilter(Filter):
    """Finds the row of each transaction."""

    def __init__(self, options: LimitsOptions, services: Any) -> None:
        self._limits = [
            _Limit(
                row,
                PatternList(row.user),
                AddressList(row.sender),
                parse_size(row.message_size) if row.message_size else 0,
            )
            for row in options.rows
        ]

    def transaction(self, transaction: Transaction) -> _Counter | None:
        """One transaction; nothing where no row is about it."""
        limit = next((limit for limit in self._limits if limit.fits(transaction)), None)
        return _Counter(limit, transaction) if limit is not None else None


class _Counter:
    __slots__ = ("_limit", "_passed", "_transaction")

    def __init__(self, limit: _Limit, transaction: Transaction) -> None:
        self._limit = limit
        self._transaction = transaction
        #: Recipients that we let pass and nobody has refused since: of a pipelined group the answers are still out.
        self._passed: list[Recipient] = []

    def _too_large(self, octets: int) -> Finding | None:
        if not self._limit.octets or octets <= self._limit.octets:
            return None
        return Finding(
            "message-too-large",
            "reject",
            f"Message is larger than {self._limit.row.message_size}",
            f"{octets} octets",
            code=552,
            enhanced="5.3.4",
        )

    def mail(self) -> Finding | None:
        """The size that the client declares."""
        declared = self._transaction.params.get("SIZE")
        return self._too_large(int(declared)) if declared else None

    def rcpt(self, recipient: Recipient) -> Finding | None:
        """One more recipient."""
        most = self._limit.row.recipients
        if not most:
            return None
        if len(self._passed) >= most:
            self._passed = [passed for passed in self._passed if passed.state in ("", "accepted")]
        if len(self._passed) >= most:
            return Finding(
                "too-many-recipients",
                "defer",
                "Too many recipients; send the rest in another transaction",
                f"{most} at most",
                code=452,
                enhanced="4.5.3",
            )
        self._passed.append(recipient)
        return None

    def end(self) -> Finding | None:
        """The size that it has."""
        return self._too_large(self._transaction.octets)


factory = Factory("limits", LimitsOptions, frozenset({"mail", "rcpt", "end"}), LimitsFilter)
