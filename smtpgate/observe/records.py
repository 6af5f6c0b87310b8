"""The lines of the log, as JSON and as text.

`message` and `session` are the hot ones: one f-string each, with the parts that may be absent added only where they
are there. `plain` writes all others from name and value. Each gives one line with its LF, in printable ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quote
from typing import Final

from smtpgate.observe import names
from smtpgate.observe.words import closed_by, reason_of, stage_of, verdict_of
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import Path
from smtpgate.smtp.reply import Reply
from twisted.python.failure import Failure

Fields = Iterable[tuple[str, object]]

MILLISECONDS: Final = tuple(f"{number:03d}" for number in range(1000))
#: Recipients, findings and notes named in one line; the rest is counted or left to the history.
LISTED: Final = 20
#: Longest text of one field.
TEXT: Final = 500
#: Longest message and longest stack of a line that is about our own trouble.
MESSAGE: Final = 2000
STACK: Final = 20_000
_RESERVED: Final = frozenset(names.COMMON)


# Messages

def _address(path: Path) -> str:
    try:
        return path.raw.decode()
    except UnicodeDecodeError:
        return path.raw.decode("utf-8", "backslashreplace")


def _message_id(transaction: Transaction, octets: bytes) -> str:
    # As most programs spell it: to compare without case costs ten times as much.
    start = octets.find(b"\nMessage-ID:")
    if start < 0:
        start = octets.find(b"\nMessage-Id:")
        if start < 0:
            return transaction.message_id
    start += 12
    value = octets[start : octets.find(b"\r", start)].strip()
    if not value:
        # Long ones stand on a line of their own.
        value = octets[start:].lstrip().partition(b"\r")[0]
    try:
        return value[:TEXT].decode()
    except UnicodeDecodeError:
        return value[:TEXT].decode("utf-8", "backslashreplace")


def client_part(session: Session) -> str:
    """The fields about the client, as `message` and `session` take them."""
    out = (
        f',"config_rev":{quote(session.revision)},"listener":{quote(session.listener)},"role":"{session.role}","client_ip":{quote(session.client_ip)}'
        f',"client_port":{session.client_port},"helo":{quote(session.helo[:TEXT])}'
    )
    if session.client_name:
        out += f',"client_name":{quote(session.client_name[:TEXT])}'
    if session.peer_ip != session.client_ip:
        out += f',"proxy_ip":{quote(session.peer_ip)}'
    tls = session.tls
    if tls is not None:
        out += f',"tls_version":{quote(tls.version)},"tls_cipher":{quote(tls.cipher)}'
    if session.user:
        out += f',"auth_user":{quote(session.user[:TEXT])}'
    return out


def message(at: str, level: str, who: str, client: str, transaction: Transaction) -> str:
    """`message.done`."""
    session = transaction.session
    recipients = transaction.recipients
    count = len(recipients)
    try:
        if count == 1:
            addresses = quote(recipients[0].path.raw.decode())
        else:
            addresses = ",".join([quote(_address(recipient.path)) for recipient in recipients[:LISTED]])
        sender = quote(transaction.sender.raw.decode())
    except UnicodeDecodeError:
        addresses = ",".join([quote(_address(recipient.path)) for recipient in recipients[:LISTED]])
        sender = quote(_address(transaction.sender))
    outcome = transaction.outcome
    stage = "final" if transaction.end_at else stage_of(transaction)
    if transaction.verdict is None and outcome == "delivered":
        tail = ',"verdict":"accept"'
    else:
        tail = _why(transaction)
    header = transaction.header
    if header is not None:
        tail += f',"header_message_id":{quote(_message_id(transaction, header.octets))}'
    if transaction.findings:
        tail += _findings(transaction.findings)
    if count > LISTED:
        tail += f',"rcpt_more":{count - LISTED}'
    if transaction.notes:
        tail += f',"notes":{_value(transaction.notes)}'
    if transaction.server:
        tls = f'"backend_tls":{quote(transaction.backend_tls)},' if transaction.backend_tls else ""
        committed = transaction.committed_at
        wait = f'"wait_ms":{int((committed - transaction.verdict_at) * 1000)},' if committed else ""
        tail += f',"pool":{quote(transaction.backend)},"server":{quote(transaction.server)},{tls}{wait}'
    else:
        tail += ","
    reply = transaction.reply
    if reply is not None:
        lines = reply.lines
        text = lines[0] if len(lines) == 1 else reply.text
        tail += f'"code":{reply.code},"enhanced":"{reply.enhanced}","reply":{quote(text[:TEXT])},'
    return (
        f'{at}Z","level":"{level}","event":"message.done","msg":"{outcome}"{who},"session_id":"{session.id}"'
        f',"msg_id":"{transaction.id}"{client},"mail_from":{sender}'
        f',"rcpt_to":[{addresses}],"rcpt_count":{count},"rcpt_accepted":{transaction.accepted}'
        f',"size":{transaction.octets},"stage":"{stage}","outcome":"{outcome}"{tail}'
        f'"dur_ms":{int((transaction.ended - transaction.begun) * 1000)}}}\n'
    )


def _why(transaction: Transaction) -> str:
    reason, filter = reason_of(transaction)
    out = f',"verdict":"{verdict_of(transaction)}"'
    if reason:
        out += f',"reason":{quote(reason[:TEXT])}'
    if filter:
        out += f',"filter":{quote(filter[:TEXT])}'
    if transaction.verdict is not None and transaction.verdict.score:
        out += f',"score":{_value(round(transaction.verdict.score, 3))}'
    return out


def _findings(findings: list[Finding]) -> str:
    out = []
    for finding in findings[:LISTED]:
        shadow = ',"shadow":true' if finding.is_shadow else ""
        out.append(f'{{"name":{quote(finding.filter[:TEXT])},"result":"{finding.action}"'
                   f',"reason":{quote(finding.reason[:TEXT])},"ms":{int(finding.seconds * 1000)}{shadow}}}')
    return f',"filters":[{",".join(out)}]'


def message_text(at: str, level: str, transaction: Transaction) -> str:
    """`message.done` for people."""
    session = transaction.session
    addresses = [f"<{readable(_address(recipient.path))}>" for recipient in transaction.recipients[:3]]
    more = f" and {len(transaction.recipients) - 3} more" if len(transaction.recipients) > 3 else ""
    server = f" by {readable(transaction.server)}" if transaction.server else ""
    reply = transaction.reply
    said = f": {reply.code} {reply.enhanced} {readable(reply.text)}" if reply is not None else ""
    reason = reason_of(transaction)[0]
    why = f" ({readable(reason)})" if reason else ""
    return (
        f"{at}Z {level.upper():7} {transaction.id} {readable(session.client_ip)} "
        f"<{readable(_address(transaction.sender))}> -> {', '.join(addresses) or 'nobody'}{more} "
        f"{transaction.octets} octets {transaction.outcome}{server}{why} in "
        f"{int((transaction.ended - transaction.begun) * 1000)} ms{said}\n"
    )


# Sessions

def session(at: str, level: str, who: str, client: str, session: Session) -> str:
    """`session.done`."""
    by = closed_by(session)
    return (
        f'{at}Z","level":"{level}","event":"session.done","msg":{quote("closed by " + by)}{who}'
        f',"session_id":"{session.id}"{client},"stage":{quote(session.stage)},"closed_by":{quote(by)}'
        f',"messages":{session.messages},"errors":{session.errors},"bytes_in":{session.octets_in}'
        f',"bytes_out":{session.octets_out},"dur_ms":{int((session.ended - session.begun) * 1000)}}}\n'
    )


def session_text(at: str, level: str, session: Session) -> str:
    """`session.done` for people."""
    user = f" user {readable(session.user)}" if session.user else ""
    tls = f" {readable(session.tls.version)}" if session.tls is not None else ""
    return (
        f"{at}Z {level.upper():7} {session.id} {readable(session.client_ip)} ({readable(session.helo)}){tls}{user} "
        f"{session.messages} messages {session.errors} errors, closed by {readable(closed_by(session))} at "
        f"{readable(session.stage)} after {int((session.ended - session.begun) * 1000)} ms\n"
    )


# What other events tell of them

def client(session: Session) -> list[tuple[str, object]]:
    """The fields about a client."""
    tls = session.tls
    return [
        ("listener", session.listener), ("role", session.role), ("client_ip", session.client_ip),
        ("client_port", session.client_port), ("client_name", session.client_name), ("helo", session.helo),
        ("proxy_ip", session.peer_ip if session.peer_ip != session.client_ip else ""),
        ("tls_version", tls.version if tls is not None else ""), ("tls_cipher", tls.cipher if tls is not None else ""),
        ("auth_user", session.user),
    ]


def envelope(transaction: Transaction) -> list[tuple[str, object]]:
    """The fields that say which message it is."""
    recipients = transaction.recipients
    return [
        ("session_id", transaction.session.id), ("msg_id", transaction.id), ("mail_from", transaction.sender),
        ("rcpt_to", [recipient.path for recipient in recipients[:LISTED]]),
        ("rcpt_more", max(0, len(recipients) - LISTED)), ("rcpt_count", len(recipients)),
        ("header_message_id", transaction.message_id),
    ]


# All others

def plain(at: str, level: str, who: str, name: str, text: str, fields: Fields) -> str:
    """Any other event. Fields without a value are left out."""
    out = [f'{at}Z","level":"{level}","event":{quote(name)},"msg":{quote(text[:MESSAGE])}{who}']
    for key, value in fields:
        if value not in ("", None, 0, [], ()) or value is False:
            out.append(f"{quote(key + '_' if key in _RESERVED else key)}:{_value(value)}")
    return ",".join(out) + "}\n"


def plain_text(at: str, level: str, name: str, text: str, fields: Fields) -> str:
    """The same for people."""
    out = [f"{at}Z {level.upper():7} {name}: {readable(text[:MESSAGE])}"]
    for key, value in fields:
        if value not in ("", None, 0, [], ()):
            out.append(f"{readable(key)}={_value(value)}")
    return " ".join(out) + "\n"


def readable(text: str) -> str:
    """`text` in printable ASCII, everything else as an escape."""
    return quote(text[:TEXT])[1:-1]


def _value(value: object) -> str:
    """A value as JSON. Whatever it is, this gives something."""
    if isinstance(value, str):
        return quote(value[:TEXT].encode("utf-8", "backslashreplace").decode("utf-8"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if -1e300 < value < 1e300 else "null"
    if isinstance(value, bytes):
        return quote(value[:TEXT].decode("utf-8", "backslashreplace"))
    if isinstance(value, Path):
        return quote(_address(value))
    if isinstance(value, Reply):
        return quote(f"{value.code} {value.enhanced} {value.text}"[:TEXT])
    if isinstance(value, BaseException | Failure):
        return _error(value)
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{','.join([_value(item) for item in list(value)[:LISTED]])}]"
    try:
        return quote(str(value)[:TEXT])
    except Exception:
        return quote(f"<{type(value).__name__}>")


def _error(error: BaseException | Failure) -> str:
    failure = error if isinstance(error, Failure) else Failure(error)
    kind = failure.type.__qualname__ if failure.type is not None else "unknown"
    # The end of a stack says more than its start.
    stack = failure.getTraceback()[-STACK:].encode("utf-8", "backslashreplace").decode("utf-8")
    return f'{{"type":{quote(kind)},"stack":{quote(stack)}}}'
