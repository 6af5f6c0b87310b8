"""What the tests of witnesses and stores share: sessions and transactions as the core leaves them."""

from __future__ import annotations

from typing import Any

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.address import Path
from smtpgate.smtp.reply import Reply

#: 2026-11-25T05:37:01.250Z
WALL = 1795585021.25
ACCEPTED = Reply(250, "2.0.0", ("Ok: queued as 4bX1",))
REFUSED = Reply(550, "5.1.1", ("No such user",))
#: What peers send to break a log, a page or a terminal.
HOSTILE = (
    "a\r\nb",
    '\n{"event":"forged"}',
    "\x1b[2J\x1b]0;title\x07",
    "\x00\x7f\x9b31m",
    "\u2028\u2029\u202e\ufeff",
    'quote" back\\slash',
    "\ud800 lone",
    "ä€😀",
    "<script>alert(1)</script>",
    "x" * 100_000,
)


def path(text: str | bytes) -> Path:
    """An envelope address, also one that no parser would let through."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    local, _, domain = raw.decode("utf-8", "replace").rpartition("@")
    return Path(raw, local, domain)


def session(number: int = 1, **values: Any) -> Session:
    """A session that began at WALL, on a clock that showed 1000."""
    facts = Session(f"01JEXAMPLE{number:016d}", "mx", "mx")
    facts.started = WALL + number
    facts.begun = 1000.0 + number
    facts.ended = facts.begun + 0.4
    facts.client_ip, facts.client_port = "192.0.2.7", 40001
    facts.peer_ip, facts.peer_port = "192.0.2.7", 40001
    facts.local_ip, facts.local_port = "198.51.100.1", 25
    facts.helo, facts.is_extended, facts.protocol = "client.example.com", True, "ESMTP"
    facts.tls = TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    facts.revision = "0123456789ab"
    facts.octets_in, facts.octets_out = 2400, 600
    facts.stage, facts.closed_by = "idle", "quit"
    facts.note(facts.begun, "client", "EHLO", facts.helo)
    for name, value in values.items():
        setattr(facts, name, value)
    return facts


def transaction(
    facts: Session,
    outcome: str = "delivered",
    recipients: tuple[str, ...] = ("b@example.net",),
    sender: str = "a@example.org",
    reply: Reply | None = ACCEPTED,
    **values: Any,
) -> Transaction:
    """A transaction of that session, ended."""
    facts.messages += 1
    begun = facts.begun + 0.1
    made = Transaction(f"{facts.id}.{facts.messages}", facts, path(sender), {})
    made.begun, made.data_at, made.end_at = begun, begun + 0.02, begun + 0.05
    made.verdict_at, made.committed_at, made.ended = begun + 0.06, begun + 0.16, begun + 0.17
    made.outcome, made.reply, made.octets = outcome, reply, 2048
    made.backend, made.server, made.backend_tls = "mail", "192.0.2.10:25", "TLSv1.3"
    made.header = HeaderSection(b"From: a@example.org\r\nSubject: Hello there\r\nMessage-ID: <1@example.org>\r\n\r\n")
    facts.note(begun, "client", "MAIL", made.sender)
    for text in recipients:
        recipient = Recipient(path(text), {})
        recipient.reply, recipient.state = Reply(250, "2.1.5", ("Ok",)), "accepted"
        made.recipients.append(recipient)
        facts.note(begun + 0.01, "client", "RCPT", recipient)
    made.accepted = len(recipients)
    for name, value in values.items():
        setattr(made, name, value)
    facts.note(made.ended, "us", outcome, reply.text if reply is not None else "")
    facts.transactions.append(made)
    return made


def finding(reason: str = "spf-fail", action: str = "reject", filter: str = "spf", **values: Any) -> Finding:
    """What a filter found."""
    return Finding(reason, action, filter=filter, **values)


def verdict(found: Finding) -> Verdict:
    """The verdict that it makes."""
    return Verdict("accept" if found.action == "note" else found.action, found, found.score)
