"""Filters that speak the milter protocol: OpenDKIM, rspamd, and whatever was written for Sendmail and Postfix.

The gateway is the mail server's side (`milter_session`). A milter hears of connection, greeting, sender, each
recipient, header and body as they come; its replies are those of the session, a recipient that it refuses is refused
alone. Its changes of the header section are made. Others (sender, recipients, body) cannot be made by the gateway: the
message then waits, as shipped (`on_undone`), since the milter has let something else pass than what would be delivered.
A milter that throws a message away proposes the quarantine.

The protocol's library is loaded where a milter is configured, and no sooner.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.values import Count, Wait
from smtpgate.filters.base import Factory, Options
from smtpgate.filters.engines.base import BUDGET_S, Action, SocketServers


class MilterOptions(Options):
    """Where the milter is, and what it is told."""

    servers: SocketServers = Field(description='Where it listens, as "127.0.0.1:8891" or "unix:/run/opendkim.sock".')
    timeout: Wait = Field(30.0, description="Time of each answer; a sign of life begins it anew.")
    connections: Count = Field(200, description="Sessions that it is told of at one time; others are a failure.")
    failures: Count = Field(3, description="Failures in a row after which a server is left alone for a while.")
    resolve: bool = Field(True, description="Whether it is told the client's name from the DNS; of role mx only.")
    macros: dict[str, str] = Field({}, description='Further macros of the connection, as { "{daemon_name}" = "MTA" }.')
    on_undone: Action = Field("defer", description="What becomes of a message that it wants changed and we cannot.")

    @field_validator("macros")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            is_name = len(name) == 1 or name.startswith("{") and name.endswith("}") and len(name) > 2
            if not is_name or not name.isascii() or not name.isprintable() or not text.isprintable():
                raise BadValue(f"{quoted(name)} is no macro", 'write a letter, or a name in braces, as "{daemon_name}"')
        return value

    @model_validator(mode="after")
    def _library(self) -> MilterOptions:
        try:
            import kilter.protocol  # noqa: F401
        except ImportError:
            raise BadValue("the library kilter-protocol is missing", "pip install 'smtpgate[milter]'") from None
        return self


def _make(options: MilterOptions, services: Any) -> Any:
    from smtpgate.filters.engines.milter_session import MilterFilter

    return MilterFilter(options, services)


factory = Factory(
    "milter",
    MilterOptions,
    frozenset({"connect", "helo", "mail", "rcpt", "data", "header", "body", "end"}),
    _make,
    on_error="tempfail",
    budget_s=BUDGET_S,
    needs_message=True,
    needs_content=True,
    may_hold=True,
)
