"""Limits of a configuration on a simulated clock, and the facts that they are asked about."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from smtpgate.config.loader import loads
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.limit_rules import Held
from smtpgate.smtp.address import Path
from smtpgate.smtp.address import parse_path as parse

FILE = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[listeners.mx]
listen = ["tcp:25"]
tls = "off"
[listeners.other]
listen = ["tcp:26"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:2525"]
[[routes]]
backend = "mail"
"""


def path(text: str) -> Path:
    """An address."""
    found = parse(f"<{text}>".encode())[0]
    assert isinstance(found, Path)
    return found


class LimitsKit:
    """A gateway's limits."""

    def __init__(self, text: str) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.25)
        self.settings = loads(FILE + text, "/nowhere/gate.toml")
        self.limiter = Limiter(self.clock)
        self.limits = self.limiter.limits(self.settings)
        self.limits.begin()
        self.clock.advance(12_345.678)

    def reload(self, text: str) -> None:
        """Another configuration is put to work."""
        self.settings = loads(FILE + text, "/nowhere/gate.toml")
        self.limits = self.limiter.limits(self.settings)
        self.limits.begin()

    def session(self, **given: Any) -> Session:
        """A session of some client."""
        session = Session("id", given.pop("listener", "mx"), "mx")
        session.client_ip = "192.0.2.7"
        session.helo = "mail.example.org"
        for name, value in given.items():
            setattr(session, name, value)
        return session

    def transaction(
        self, session: Session | None = None, sender: str = "alice@example.org", **params: str
    ) -> Transaction:
        """A transaction of a session."""
        given = {name: value.encode() for name, value in params.items()}
        return Transaction("id.1", session or self.session(), path(sender), given)

    def recipient(self, transaction: Transaction, address: str, backend: str = "mail") -> tuple[Recipient, Held | None]:
        """One more recipient, and what the limits say of it."""
        recipient = Recipient(path(address), {})
        held = self.limits.rcpt(transaction, recipient, backend)
        transaction.recipients.append(recipient)
        recipient.state = "accepted" if held is None or held.is_paced else "deferred"
        return recipient, held

    def end(self, transaction: Transaction, outcome: str = "delivered", octets: int = 1000) -> None:
        """It is over."""
        transaction.outcome, transaction.octets = outcome, octets
        for recipient in transaction.recipients:
            if recipient.state == "accepted":
                recipient.state = {"delivered": "delivered", "deferred": "deferred"}.get(outcome, "accepted")
        self.limits.ended(transaction)
