"""The lines of the log, as JSON and as text.

`message` and `session` are the hot ones: one f-string each, with the parts that may be absent added only
where they are there. `plain` writes all others from name and value. Each gives one line with its LF, in
printable ASCII.

In a line of text a word stands bare where it is one, and in quotes, escaped as in JSON, where it is not: so no text of
a peer can be taken for what the gateway says itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import Final

from twisted.python.failure import Failure

from smtpgate.observe import names
from smtpgate.observe.words import closed_by, reason_of, stage_of, verdict_of
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import Path

Fields = Iterable[tuple[str, object]]

MILLISECONDS: Final = tuple(f"{number:03d}" for number in range(1000))
#: Recipients, findings and notes named in one line; the rest is counted or left to the history.
LISTED: Final = 20
#: Longest text of one field.
TEXT: Final = 500
#: The same of an address; the longest that is taken (`smtp.address`) has 255 octets on each side of the sign.
ADDRESS: Final = 511
#: Longest message and longest stack of a line that is about our own trouble.
MESSAGE: Final = 2000
STACK: Final = 20_000
_RESERVED: Final = frozenset(names.COMMON)
#: In a line of JSON: an escaped backslash, a whole pair, or a half.
_SURROGATES: Final = re.compile(r"\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})")

#: In a line of text, what stands bare: a word in a sentence, the name of a field, a message before the fields, and the
#: end of a line.
_WORD: Final = re.compile(r"[!#-'*+\--;=?-\[\]-~]+")
_KEY: Final = re.compile(r"[!#-'*+\--;?-\[\]-~]+")
_SENTENCE: Final = re.compile(r"[!#-<>-\[\]-~][ -<>-\[\]-~]*")
_END: Final = re.compile(r"[!#-\[\]-~][ -\[\]-~]*")


# Messages


def _address(path: Path) -> str:
    return path.raw[:ADDRESS].decode("utf-8", "backslashreplace")


def _whole(line: str) -> str:
    """The line without halves of surrogate pairs, which no strict reader takes: they become words."""
    return _SURROGATES.sub(lambda found: f"\\{found[1]}" if found[1] else found[0], line)


def client_part(session: Session) -> str:
    """The fields about the client, as `message` and `session` take them."""
    out = (
        f',"config_rev":{quote(session.revision)},"listener":{quote(session.listener)},"role":{quote(session.role)}'
        f',"client_ip":{quote(session.client_ip)},"client_port":{session.client_port},"helo":{quote(session.helo[:TEXT])}'
    )
    if session.client_name:
        out += f',"client_name":{quote(session.client_name[:TEXT])}'
    if session.peer_ip != session.client_ip:
        out += f',"proxy_ip":{quote(session.peer_ip)}'
    tls = session.tls
    if tls is not None:
        out += f',"tls_version":{quote(tls.version[:TEXT])},"tls_cipher":{quote(tls.cipher[:TEXT])}'
    if session.user:
        out += f',"auth_user":{quote(session.user[:TEXT])}'
    return _whole(out) if "\\ud" in out else out


def message(at: str, level: str, who: str, client: str, transaction: Transaction) -> str:
    """`message.done`."""
    session = transaction.session
    recipients = transaction.recipients
    count = len(recipients)
    try:
        if count == 1:
            addresses = quote(recipients[0].path.raw[:ADDRESS].decode())
        else:
            addresses = ",".join([quote(_address(recipient.path)) for recipient in recipients[:LISTED]])
        sender = quote(transaction.sender.raw[:ADDRESS].decode())
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
        tail += f',"header_message_id":{quote(header.text("message-id")[:TEXT])}'
    if transaction.findings:
        tail += _findings(transaction.findings)
    if count > LISTED:
        tail += f',"rcpt_more":{count - LISTED}'
    if transaction.notes:
        tail += f',"notes":{_value(transaction.notes)}'
    if transaction.server:
        tls = f'"backend_tls":{quote(transaction.backend_tls)},' if transaction.backend_tls else ""
        committed = transaction.committed_at
        verdict = transaction.verdict_at
        wait = f'"wait_ms":{int((committed - verdict) * 1000 + 0.5)},' if committed and verdict else ""
        tail += f',"pool":{quote(transaction.backend)},"server":{quote(transaction.server)},{tls}{wait}'
    else:
        tail += ","
    reply = transaction.reply
    if reply is not None:
        lines = reply.lines
        text = lines[0] if len(lines) == 1 else reply.text
        tail += f'"code":{reply.code},"enhanced":"{reply.enhanced}","reply":{quote(text[:TEXT])},'
    line = (
        f'{at}Z","level":"{level}","event":"message.done","msg":"{outcome}"{who},"session_id":"{session.id}"'
        f',"msg_id":"{transaction.id}"{client},"mail_from":{sender}'
        f',"rcpt_to":[{addresses}],"rcpt_count":{count},"rcpt_accepted":{transaction.accepted}'
        f',"size":{transaction.octets},"stage":"{stage}","outcome":"{outcome}"{tail}'
        f'"dur_ms":{int((transaction.ended - transaction.begun) * 1000 + 0.5)}}}\n'
    )
    return _whole(line) if "\\ud" in line else line


def _why(transaction: Transaction) -> str:
    reason, filter = reason_of(transaction)
    out = f',"verdict":"{verdict_of(transaction)}"'
    if reason:
        out += f',"reason":{quote(reason[:TEXT])}'
    if filter:
        out += f',"filter":{quote(filter[:TEXT])}'
    if transaction.verdict is not None and transaction.verdict.score:
        out += f',"score":{_value(round(transaction.verdict.score, 3))}'
    if transaction.verdict is not None and transaction.verdict.would:
        out += f',"would":"{transaction.verdict.would}"'
    return out


def _findings(findings: list[Finding]) -> str:
    out = []
    for finding in findings[:LISTED]:
        more = f',"score":{round(finding.score, 3):g}' if finding.score else ""
        more += ',"shadow":true' if finding.is_shadow else ""
        out.append(
            f'{{"name":{quote(finding.filter[:TEXT])},"result":"{finding.action}"'
            f',"reason":{quote(finding.reason[:TEXT])},"ms":{int(finding.seconds * 1000 + 0.5)}{more}}}'
        )
    return f',"filters":[{",".join(out)}]'


def message_text(at: str, level: str, transaction: Transaction) -> str:
    """`message.done` for people."""
    session = transaction.session
    addresses = [_pointed(recipient.path) for recipient in transaction.recipients[:3]]
    more = f" and {len(transaction.recipients) - 3} more" if len(transaction.recipients) > 3 else ""
    reply = transaction.reply
    said = f": {reply.code} {reply.enhanced} {_bare(_END, reply.text)}" if reply is not None else ""
    reason, filter = reason_of(transaction)
    # Where a filter decided against a message, the server has no part in it.
    who = filter if filter and transaction.outcome in ("refused", "deferred") else transaction.server
    server = f" by {_bare(_WORD, who)}" if who else ""
    verdict = transaction.verdict
    points = f", {verdict.score:.1f} points" if verdict is not None and verdict.score else ""
    why = f" ({_bare(_WORD, reason)}{points})" if reason else ""
    word = verdict_of(transaction)
    mark = ", marked tag" if word == "tag" else ""
    mark += f", {verdict.would} by what is in shadow" if verdict is not None and verdict.would else ""
    return (
        f"{at}Z {level.upper():7} {transaction.id} {_bare(_WORD, session.client_ip)} "
        f"{_pointed(transaction.sender)} -> {', '.join(addresses) or 'nobody'}{more} "
        f"{transaction.octets} octets {transaction.outcome}{server}{mark}{why} in "
        f"{int((transaction.ended - transaction.begun) * 1000 + 0.5)} ms{said}\n"
    )


# Sessions


def session(at: str, level: str, who: str, client: str, session: Session) -> str:
    """`session.done`."""
    by = closed_by(session)
    return (
        f'{at}Z","level":"{level}","event":"session.done","msg":{quote("closed by " + by[:TEXT])}{who}'
        f',"session_id":"{session.id}"{client},"stage":{quote(session.stage[:TEXT])},"closed_by":{quote(by[:TEXT])}'
        f',"messages":{session.messages},"errors":{session.errors},"bytes_in":{session.octets_in}'
        f',"bytes_out":{session.octets_out},"dur_ms":{int((session.ended - session.begun) * 1000 + 0.5)}}}\n'
    )


def session_text(at: str, level: str, session: Session) -> str:
    """`session.done` for people."""
    user = f" user {_bare(_WORD, session.user)}" if session.user else ""
    tls = f" {_bare(_WORD, session.tls.version)}" if session.tls is not None else ""
    return (
        f"{at}Z {level.upper():7} {session.id} {_bare(_WORD, session.client_ip)} ({_bare(_WORD, session.helo)})"
        f"{tls}{user} {session.messages} messages {session.errors} errors, closed by "
        f"{_bare(_WORD, closed_by(session))} at {_bare(_WORD, session.stage)} after "
        f"{int((session.ended - session.begun) * 1000 + 0.5)} ms\n"
    )


# All others


def plain(at: str, level: str, who: str, name: str, text: str, fields: Fields) -> str:
    """Any other event. Fields without a value are left out, and none is there twice."""
    out = [f'{at}Z","level":"{level}","event":{_text(name)},"msg":{_text(text, MESSAGE)}{who}']
    seen = set(_RESERVED)
    for key, value in fields:
        if key in _RESERVED:
            key += "_"
        if key not in seen and _has_value(value):
            seen.add(key)
            out.append(f"{_text(key)}:{_value(value)}")
    return ",".join(out) + "}\n"


def plain_text(at: str, level: str, name: str, text: str, fields: Fields) -> str:
    """The same for people."""
    out = [f"{at}Z {level.upper():7} {_bare(_WORD, name)}:"]
    if text:
        out.append(_bare(_SENTENCE, text, MESSAGE))
    for key, value in fields:
        if _has_value(value):
            out.append(f"{_bare(_KEY, key)}={_value(value)}")
    return " ".join(out) + "\n"


def _has_value(value: object) -> bool:
    return value is not None and (type(value) not in (str, list, tuple) or bool(value))


def _text(text: str, most: int = TEXT) -> str:
    """Quoted; a lone half of a surrogate pair, which no strict reader takes, becomes an escape in words."""
    text = quote(text[:most])
    return _whole(text) if "\\ud" in text else text


def _bare(form: re.Pattern[str], text: str, most: int = TEXT) -> str:
    """`text` as it is where it has that form, else in quotes."""
    return text if not text or len(text) <= most and form.fullmatch(text) else _text(text, most)


def _pointed(path: Path) -> str:
    """An address in angle brackets."""
    return f"<{_bare(_WORD, _address(path), ADDRESS)}>"


def _value(value: object, depth: int = 3) -> str:
    """A value as JSON. Whatever it is, this gives something."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else f'"{value:#x}"'
    if isinstance(value, float):
        return repr(value) if -1e300 < value < 1e300 else "null"
    if isinstance(value, bytes):
        return _text(value[:TEXT].decode("utf-8", "backslashreplace"))
    if isinstance(value, Path):
        return _text(_address(value))
    if isinstance(value, BaseException | Failure):
        return _error(value)
    if isinstance(value, Mapping) and depth:
        pairs = [f"{_text(str(key))}:{_value(item, depth - 1)}" for key, item in list(value.items())[:LISTED]]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return f"[{','.join([_value(item, depth - 1) for item in list(value)[:LISTED]])}]"
    try:
        return _text(str(value))
    except Exception:
        return _text(f"<{type(value).__name__}>")


def _error(error: BaseException | Failure) -> str:
    failure = error if isinstance(error, Failure) else Failure(error)
    kind = failure.type.__qualname__ if failure.type is not None else "unknown"
    # The end of a stack says more than its start.
    return f'{{"type":{_text(kind)},"stack":{_text(failure.getTraceback()[-STACK:], STACK)}}}'
