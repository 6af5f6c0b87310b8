"""A session and a transaction as plain values, and again as facts: what a message that is delivered later needs of
those that it came by. Its routes, what the backend is told of the client, and rules that judge it again ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from smtpgate.policy.held import Addressee
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.smtp.address import path_of

_SESSION: Final = (
    "listener",
    "role",
    "started",
    "client_ip",
    "client_port",
    "client_name",
    "helo",
    "is_extended",
    "protocol",
    "user",
    "mechanism",
    "is_trusted",
    "sni",
    "local_ip",
    "local_port",
)
#: Parameters of MAIL that were about that try, or are said anew by whoever delivers it.
_PASSING: Final = frozenset({"SIZE", "AUTH", "PRDR"})


def facts_of(transaction: Transaction) -> dict[str, Any]:
    """What is kept of a transaction beside its envelope."""
    session = transaction.session
    facts: dict[str, Any] = {name: getattr(session, name) for name in _SESSION}
    if session.tls is not None:
        facts["tls"] = attrs.asdict(session.tls)
    if transaction.lifted:
        facts["lifted"] = sorted(transaction.lifted)
    facts["params"] = {name: as_text(value) for name, value in transaction.params.items() if name not in _PASSING}
    return facts


def as_text(value: bytes | None) -> str | None:
    """A parameter's value as JSON takes it, octet for octet."""
    return None if value is None else value.decode("latin-1")


def addressee(recipient: Recipient) -> Addressee:
    """A recipient of a transaction as a held message has it."""
    params = {name: as_text(value) for name, value in recipient.params.items()}
    return Addressee(str(recipient.path), params)


def recall(
    id: str,
    facts: Mapping[str, Any],
    sender: str,
    params: Mapping[str, str | None],
    recipients: Iterable[Addressee],
) -> Transaction:
    """A transaction with these facts, in a session of its own that has no connection.

    Each recipient hears an answer of its own: nobody waits for one reply, and no recipient depends on another.

    :param id: reference id of the transaction
    """
    session = Session(id, str(facts.get("listener", "")), str(facts.get("role", "mx")))
    for name in _SESSION:
        if name in facts:
            setattr(session, name, facts[name])
    if "tls" in facts:
        session.tls = TLSFacts(**facts["tls"])
    # What waits for nobody's answer goes behind the mail of those who do.
    session.traffic_class = "unknown"
    transaction = Transaction(id, session, path_of(sender), _octets(params))
    transaction.hears_each = True
    transaction.lifted = set(map(str, facts.get("lifted", ())))
    session.transaction = transaction
    for one in recipients:
        transaction.recipients.append(Recipient(path_of(one.address), _octets(one.params)))
    return transaction


def _octets(params: Mapping[str, str | None]) -> dict[str, bytes | None]:
    return {name: None if value is None else value.encode("latin-1") for name, value in params.items()}
