"""Our trace field: the Received line that every message gets (RFC 5321 section 4.4)."""

from __future__ import annotations

import re
from email.utils import formatdate

from smtpgate.policy.edits import AddField
from smtpgate.policy.transaction import Session, Transaction

_TRACE_TEXT = re.compile(r"[^A-Za-z0-9.:\[\]_-]")

_date = (0, "")


def date_text(wall: float) -> str:
    """The date of the trace field, made once a second."""
    global _date
    second = int(wall)
    if _date[0] != second:
        _date = (second, formatdate(second, localtime=True))
    return _date[1]


def trace_origin(hostname: str, session: Session, hide_client: bool) -> str:
    """The part of our trace field that is the same for all messages of a session between two greetings."""
    tls = session.tls
    if hide_client:
        origin = "from authenticated" if session.mechanism else "from local"
    else:
        helo = _TRACE_TEXT.sub("?", session.helo)[:255] or "unknown"
        address = session.client_ip
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]" if address else "[local]"
        origin = f"from {helo} ({session.client_name + ' ' if session.client_name else ''}{literal})"
    cipher = f"\r\n\t(using {tls.version} with cipher {tls.cipher} ({tls.bits} bits))" if tls is not None else ""
    return f"Received: {origin}{cipher}\r\n\tby {hostname} (smtpgate) with "


def trace_word(session: Session, is_utf8: bool, is_lmtp: bool) -> str:
    """The protocol's name in a trace field (RFC 3848; RFC 6531 section 3.7.3)."""
    if is_lmtp:
        word = "LMTP"
    elif not session.is_extended:
        return "SMTP"
    else:
        word = "UTF8SMTP" if is_utf8 else "ESMTP"
    return word + ("S" if session.tls is not None else "") + ("A" if session.mechanism else "")


def received(origin: str, word: str, transaction: Transaction, date: str) -> AddField:
    """Our trace field (RFC 5321 section 4.4). `for` only where it tells one recipient nothing of another."""
    target = ""
    if transaction.accepted == 1:
        for recipient in transaction.recipients:
            if recipient.state == "accepted" and recipient.path.raw.isascii() and len(recipient.path.raw) < 400:
                target = f"\r\n\tfor <{recipient.path.raw.decode('ascii')}>"
    return AddField(f"{origin}{word} id {transaction.id}{target};\r\n\t{date}\r\n".encode())
