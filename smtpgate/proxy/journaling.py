"""The report that a journal gets of a message: who had it from whom, and what was decided, with the message in it.

An envelope is gone once a message is delivered, and a copy shows neither hidden recipients nor what the gateway made of
it. The report says both, in words and, for a program, as JSON; the message follows octet for octet as message/rfc822
(the form of Exchange's journal reports).
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from typing import Any, Final
from zlib import crc32

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import Rule
from smtpgate.message.header import HeaderSection
from smtpgate.message.words import clean, decode
from smtpgate.policy.held import TAKEN
from smtpgate.policy.transaction import Transaction

#: Field that marks a report.
MARK: Final = "X-Smtpgate-Journal"


def report(
    transaction: Transaction,
    section: HeaderSection,
    rule: Rule,
    settings: Settings,
    now: float,
    octets: int,
    digest: str,
    is_ascii: bool,
    seal: Callable[[str], str],
) -> tuple[bytes, bytes]:
    """What stands before the message and what stands behind it.

    :param is_ascii: there is no 8-bit octet in the message
    :param seal: makes a keyed digest (`proxy.ledger.Ledger.seal`)
    """
    facts = _facts(transaction, section, rule, settings, now, octets, digest)
    # It cannot stand in the message by chance, nor by intent: the id was not known when that was written.
    boundary = f"journal-{transaction.id}-{digest[:16]}"
    plain = base64.encodebytes(json.dumps(facts, separators=(",", ":")).encode()).decode().replace("\n", "\r\n")
    words = f"Journal: {clean(transaction.covered_subject or decode(section.first('subject')))[:200]}"
    head = [
        f"From: <{settings.outbox.sender}>",
        f"To: {', '.join(f'<{one}>' for one in rule.to)}",
        f"Subject: {_encoded(words)}",
        f"Date: {format_datetime(datetime.fromtimestamp(now, UTC))}",
        # Of each rule's report its own: archives leave out what they have by that id already.
        f"Message-ID: <journal.{transaction.id}.{crc32(rule.name.encode()):08x}@{settings.hostname}>",
        "Auto-Submitted: auto-generated",
        f"{MARK}: {_sealed(f'{transaction.id}; rule={rule.name}', seal)}",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *_lines(facts),
        f"--{boundary}",
        'Content-Type: application/json; name="journal.json"',
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="journal.json"',
        "",
        plain + f"--{boundary}",
        "Content-Type: message/rfc822",
        f"Content-Transfer-Encoding: {'7bit' if is_ascii else '8bit'}",
        "Content-Disposition: attachment",
        "",
        "",
    ]
    return "\r\n".join(head).encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii")


def _sealed(said: str, seal: Callable[[str], str]) -> str:
    return f"{said}; key={seal(said)}"


def hops_of(
    transaction: Transaction, section: HeaderSection, trace: bytes, hostname: str, seal: Callable[[str], str]
) -> bytes:
    """Trace fields of a report: none, but where the message is a report itself, and comes through us on its way to the
    archive. Then it has ours and those of its forerunners, so that a journal that reports its own reports ends as any
    loop does (`filters.loop`). A report that this gateway did not write is mail as any other, and nobody can have a
    report about it refused with trace fields of their own making."""
    value = section.first(MARK.lower()).decode("ascii", "replace").strip()
    said = value.rpartition("; key=")[0]
    if not transaction.sender.is_null or not hmac.compare_digest(value.encode(), _sealed(said, seal).encode()):
        return b""
    by = b"by " + hostname.lower().encode() + b" "
    own = [field.raw for field in section.named("received") if field.raw.isascii() and by in field.raw.lower()]
    return trace + b"".join(own)


def _facts(
    transaction: Transaction,
    section: HeaderSection,
    rule: Rule,
    settings: Settings,
    now: float,
    octets: int,
    digest: str,
) -> dict[str, Any]:
    session, verdict = transaction.session, transaction.verdict
    decided = verdict.decided_by if verdict is not None else None
    tls = session.tls
    return {
        "reference": transaction.id,
        "gateway": settings.hostname,
        "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "sender": str(transaction.sender),
        "recipients": [str(one.path) for one in transaction.recipients if one.state == "accepted"],
        "taken": {str(one.path): one.state for one in transaction.recipients if one.state in TAKEN},
        "message_id": transaction.message_id,
        "subject": clean(transaction.covered_subject or decode(section.first("subject")))[:500],
        "octets": octets,
        "sha256": digest,
        "listener": session.listener,
        "client": session.client_ip,
        "helo": session.helo,
        "user": session.user,
        "tls": f"{tls.version} {tls.cipher}" if tls is not None else "",
        "verdict": verdict.action if verdict is not None else "accept",
        "score": round(verdict.score, 2) if verdict is not None else 0.0,
        "decided_by": f"{decided.filter}: {decided.reason}" if decided is not None else "",
        "rule": rule.name,
    }


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            value = [f"{who} ({state})" for who, state in value.items()]
        if isinstance(value, list):
            yield from (f"{name}: {_ascii(one)}" for one in value)
        elif value != "":
            yield f"{name}: {_ascii(str(value))}"


def _ascii(text: str) -> str:
    """A line of ASCII, of a length that every server takes (RFC 5321 section 4.5.3.1.6)."""
    return text.encode("ascii", "backslashreplace").decode()[:900].replace("\r", " ").replace("\n", " ")


def _encoded(text: str) -> str:
    """As it stands in a field (RFC 2047)."""
    if text.isascii():
        return text
    return Header(text, "utf-8", 70, "Subject").encode(linesep="\r\n")
