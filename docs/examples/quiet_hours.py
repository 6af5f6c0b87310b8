"""Quiet hours: mail that comes while nobody reads it waits at the sender's server until somebody does.

A sample plugin, explained in docs/plugins.md. It defers by recipient, so that mail for those who are on call is always
taken. Bounces are about our own mail and are taken too.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from smtpgate.config.patterns import AddressList
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding


class QuietHoursOptions(Options):
    """The filter's own table in the configuration file."""

    opens: str = Field("07:00", description="From then on mail is taken.")
    closes: str = Field("20:00", description="From then on it waits.")
    zone: str = Field("UTC", description="Time zone of both, as Europe/Berlin.")
    urgent: list[str] = Field(["postmaster@"], description="Recipients that mail is always taken for.")
    action: Literal["note", "tag", "defer"] = Field("defer", description="What becomes of the rest.")

    @field_validator("opens", "closes")
    @classmethod
    def _time(cls, value: str) -> str:
        try:
            time.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no time of day; write it as 07:30") from None
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write it as Europe/Berlin") from None
        return value

    @field_validator("urgent")
    @classmethod
    def _urgent(cls, value: list[str]) -> list[str]:
        AddressList(value)
        return value

    @model_validator(mode="after")
    def _some_time_is_left(self) -> QuietHoursOptions:
        if self.opens == self.closes:
            raise ValueError("opens and closes are the same time")
        return self


class QuietHours(Filter):
    """The filter: made once for each configuration, from its options."""

    def __init__(self, options: QuietHoursOptions, services: Any) -> None:
        self.options = options
        self.opens, self.closes = time.fromisoformat(options.opens), time.fromisoformat(options.closes)
        self.zone = ZoneInfo(options.zone)
        self.urgent = AddressList(options.urgent)

    def transaction(self, transaction: Transaction) -> Envelope | None:
        """Called at each MAIL: an object that hears the rest of the transaction, or None."""
        if transaction.sender.is_null:
            return None
        return Envelope(self, transaction)

    def is_quiet(self, seconds: float) -> bool:
        """Whether a moment, in seconds since the epoch, lies in the quiet hours."""
        now = datetime.fromtimestamp(seconds, self.zone).time()
        if self.opens < self.closes:
            return not self.opens <= now < self.closes
        return self.closes <= now < self.opens


class Envelope:
    """One transaction."""

    def __init__(self, parent: QuietHours, transaction: Transaction) -> None:
        self._parent = parent
        self._transaction = transaction

    def rcpt(self, recipient: Recipient) -> Finding | None:
        """Called at each RCPT; None where there is nothing to say."""
        parent, session = self._parent, self._transaction.session
        # A session may be old when its next message comes.
        now = session.started + self._transaction.begun - session.begun
        if not parent.is_quiet(now) or parent.urgent.matches(recipient.path.local, recipient.path.domain):
            return None
        options = parent.options
        return Finding(
            "quiet-hours",
            options.action,
            public=f"Mail is taken from {options.opens} on, time zone {options.zone}",
            detail=str(recipient.path),
        )


factory = Factory(
    "quiet-hours",
    QuietHoursOptions,
    frozenset({"rcpt"}),
    QuietHours,
    roles=frozenset({"mx"}),
    on_error="continue",
)
