"""Client access lists: who may come in at all.

Entries are asked in their order, the first that holds the client's address decides. An `accept` names the filters whose
objections it silences, and no others, so that a friend's machine that is broken into is still scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal

import attrs
from pydantic import Field, field_validator, model_validator

from smtpgate.config.patterns import NetworkList
from smtpgate.config.problem import BadValue, Fault, one_of, quoted, warning
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Session
from smtpgate.policy.verdict import Finding


class Entry(Options):
    """One line of the list."""

    clients: list[str] = Field(min_length=1, description="Networks and addresses, as 192.0.2.0/24 or 2001:db8::1.")
    action: Literal["accept", "reject", "defer"] = Field(description="What becomes of them.")
    skips: list[str] = Field([], description="Of accept: names of the filters that need not be heard.")
    reason: str = Field("", description="Why, for the administrator.")
    owner: str = Field("", description="Who wanted it.")
    until: str = Field("", description="Last day it holds, as 2027-01-31; empty: for good.")
    reply: str = Field("", description="Text for a client that is turned away.")

    @field_validator("clients")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        NetworkList(value)
        return value

    @field_validator("until")
    @classmethod
    def _date(cls, value: str) -> str:
        if value:
            try:
                date.fromisoformat(value)
            except ValueError:
                raise BadValue(f"{quoted(value)} is not a date", 'write it as "2027-01-31"') from None
        return value

    @model_validator(mode="after")
    def _what_is_used(self) -> Entry:
        if self.action != "accept" and self.skips:
            raise BadValue(f"skips is not used with {self.action}", "only accept silences other filters")
        if self.action == "accept" and self.reply:
            raise BadValue("reply is not used with accept", "leave it out")
        return self


class AccessOptions(Options):
    """The list."""

    entries: list[Entry] = Field([], description="Asked in their order; the first that holds the client decides.")

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """Names of filters that are not there, or that look for malware; entries that do nothing."""
        for number, entry in enumerate(self.entries):
            where = "entries", number
            for name in entry.skips:
                if name not in chain:
                    hint = one_of(name, sorted(chain), "no filters are in the chain")
                    yield warning((*where, "skips"), f"no filter {quoted(name)} is in the chain", hint)
                elif chain[name] == "malware":
                    message = f"{quoted(name)} looks for malware: a partner's computer can be infected too"
                    yield warning((*where, "skips"), message, "leave it out")
            if entry.action == "accept" and not entry.skips:
                yield warning(where, "accept without skips changes nothing", 'name filters: skips = ["dnsbl"]')
            if entry.until and date.fromisoformat(entry.until) < date.today():
                yield warning((*where, "until"), "the entry has ended", "take it out, or give it another day")


@attrs.frozen
class _Line:
    clients: NetworkList
    entry: Entry
    until: date | None


class AccessFilter(Filter):
    """Asks the list when a client connects."""

    def __init__(self, options: AccessOptions, services: Any) -> None:
        self._lines = [
            _Line(NetworkList(entry.clients), entry, date.fromisoformat(entry.until) if entry.until else None)
            for entry in options.entries
        ]

    def session(self, session: Session) -> _Visit:
        """One client."""
        return _Visit(self._lines, session)


class _Visit:
    __slots__ = ("_lines", "_session")

    def __init__(self, lines: list[_Line], session: Session) -> None:
        self._lines = lines
        self._session = session

    def connect(self) -> Finding | None:
        """The client's address is known."""
        client = self._session.client_ip
        if not client:
            return None
        today = date.fromtimestamp(self._session.started)
        for line in self._lines:
            if line.until is not None and line.until < today or not line.clients.contains(client):
                continue
            entry = line.entry
            detail = f"{client}: {entry.reason or 'listed'}{f' ({entry.owner})' if entry.owner else ''}"
            if entry.action == "accept":
                return Finding("client-accepted", "accept", detail=detail, skips=frozenset(entry.skips))
            return Finding("client-listed", entry.action, entry.reply or "Your address is not welcome here", detail)
        return None


factory = Factory("access", AccessOptions, frozenset({"connect"}), AccessFilter)
