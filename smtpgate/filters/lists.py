"""Allow and block lists that people keep while the gateway runs: on the page Lists, by the API, or from a message.

Without this filter they have no effect. A client that is blocked is turned away, and a sender that is blocked is
refused for every recipient but postmaster and abuse (RFC 2142). One that is allowed silences the filters that the
options name: what stands in the envelope as sender can be written by anybody, so name for senders what guesses about
content, and not what proves who sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from smtpgate.config.problem import Fault, one_of, quoted, warning
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding

#: Local parts that must hear from everybody.
_OPEN = frozenset({"postmaster", "abuse"})


class ListsOptions(Options):
    """Names of the filters that an entry silences."""

    client_skips: list[str] = Field(
        ["helo", "helo-dns", "iprev", "reputation", "greylist", "dnsbl", "links", "people", "wording"],
        description="Filters that need not be heard of a client that is allowed.",
    )
    sender_skips: list[str] = Field(
        ["wording"], description="Filters that need not be heard of a sender that is allowed."
    )

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """Names of filters that are not there, or that look for malware, or prove who sends."""
        for key in ("client_skips", "sender_skips"):
            if key not in self.model_fields_set:
                continue
            for name in getattr(self, key):
                if name not in chain:
                    hint = one_of(name, sorted(chain), "no filters are in the chain")
                    yield warning((key,), f"no filter {quoted(name)} is in the chain", hint)
                elif chain[name] == "malware":
                    message = f"{quoted(name)} looks for malware: a friend's computer can be infected too"
                    yield warning((key,), message, "leave it out")
                elif chain[name] == "sender" and key == "sender_skips":
                    message = f"{quoted(name)} looks at who sends, and anybody can write a sender that is allowed"
                    yield warning((key,), message, "leave it out, or allow the client")


class ListsFilter(Filter):
    """Asks the lists."""

    def __init__(self, options: ListsOptions, services: Any) -> None:
        self.client_skips = frozenset(options.client_skips)
        self.sender_skips = frozenset(options.sender_skips)
        self.lists = services.lists

    def session(self, session: Session) -> _Visit | None:
        """One client."""
        return _Visit(self, session) if self.lists is not None else None

    def transaction(self, transaction: Transaction) -> _Envelope | None:
        """One message."""
        return _Envelope(self, transaction) if self.lists is not None else None


class _Visit:
    __slots__ = ("_filter", "_session")

    def __init__(self, parent: ListsFilter, session: Session) -> None:
        self._filter = parent
        self._session = session

    def connect(self) -> Finding | None:
        """The client's address is known."""
        lists = self._filter.lists
        found = lists.client(self._session.client_ip)
        if found is None:
            return None
        lists.hit(found)
        detail = f"{found.entry}: {found.reason or 'listed'} ({found.source})"
        if found.kind.startswith("allow"):
            return Finding("client-allowed", "accept", detail=detail, skips=self._filter.client_skips)
        return Finding("client-blocked", "reject", "Your address is not welcome here", detail, enhanced="5.7.1")


class _Envelope:
    __slots__ = ("_filter", "_refused", "_transaction")

    def __init__(self, parent: ListsFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction
        self._refused: Finding | None = None

    def mail(self) -> Finding | None:
        """The sender. A refusal waits for RCPT: postmaster takes mail from everybody."""
        lists, sender = self._filter.lists, self._transaction.sender
        if sender.is_null:
            return None
        found = lists.sender(sender.local, sender.domain)
        if found is None:
            return None
        lists.hit(found)
        detail = f"{found.entry}: {found.reason or 'listed'} ({found.source})"
        if found.kind.startswith("allow"):
            return Finding("sender-allowed", "accept", detail=detail, skips=self._filter.sender_skips)
        self._refused = Finding("sender-blocked", "reject", "This sender is not taken here", detail, enhanced="5.7.1")
        return None

    def rcpt(self, recipient: Recipient) -> Finding | None:
        """One recipient."""
        if recipient.path.local.lower() in _OPEN and self._transaction.session.role == "mx":
            return None
        return self._refused


factory = Factory("lists", ListsOptions, frozenset({"connect", "mail", "rcpt"}), ListsFilter)
