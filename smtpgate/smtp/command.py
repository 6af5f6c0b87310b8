"""SMTP commands: one line to one `Command`, and the canonical form that a backend gets.

The front wire parses each line here. What was not understood is never passed on: a backend sees only what `mail_line`
and `rcpt_line` write from parsed values. A line that is no command gives a `BadCommand` with the reply that it earns.

RFC 5321 section 4.1; RFC 1870 (SIZE), 6152 and 3030 (BODY), 6531 (SMTPUTF8), 8689 (REQUIRETLS), 3461 (RET, ENVID,
NOTIFY, ORCPT), 4954 (AUTH), 3030 (BDAT), draft-hall-prdr-00 (PRDR), and Postfix's XCLIENT and XFORWARD documents.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.smtp import status
from smtpgate.smtp.address import BadPath, Path, parse_path
from smtpgate.smtp.reply import Reply

#: Verbs without argument.
BARE: Final = frozenset({"DATA", "RSET", "QUIT", "STARTTLS"})
#: Verbs known and not offered (RFC 5321 section 4.2.4 wants 502 for them).
REFUSED: Final = frozenset({"EXPN", "TURN", "SEND", "SAML", "SOML", "ETRN", "ATRN", "BURL"})
#: Words that open a line of another protocol: a web page can make a browser send them (Postfix
#: smtpd_forbidden_commands).
FOREIGN: Final = frozenset({"GET", "POST", "CONNECT", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE"})
#: Most digits of a SIZE value (RFC 1870 section 3) and of a chunk size.
DIGITS: Final = 20

_VERB = re.compile(rb"[A-Za-z][A-Za-z0-9-]*")
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:(?:[ \t]|$)")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Parameters of DSN are malformed when they come twice, be it with the same value (RFC 3461 section 4).
_ONCE = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_NOTIFY = re.compile(rb"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE)
_EHLO_NAME = re.compile(rb"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")


class Command:
    """One command of a client, and the slot that its reply goes to.

    :ivar verb: upper case; "HTTP" and "?" stand for foreign and unknown words
    :ivar argument: EHLO name, AUTH initial response or free text, raw
    :ivar path: the address of MAIL and RCPT
    :ivar params: ESMTP parameters in their order, keyword in upper case to raw value or None
    :ivar mechanism: of AUTH, upper case
    :ivar size: of BDAT
    :ivar is_last: of BDAT
    :ivar attributes: of XCLIENT and XFORWARD, name in upper case to decoded value
    :ivar answer: the octets of the reply, once it is there (kept by the front wire)
    """

    # What a command lacks, and nearly all lack nearly all, is read from the class: made thrice a message.
    path: Path | None = None
    params: Mapping[str, bytes | None] = MappingProxyType({})
    mechanism = ""
    size = 0
    is_last = False
    attributes: Mapping[str, bytes] = MappingProxyType({})
    answer: bytes | None = None
    next: str | None = None

    def __init__(self, verb: str, argument: bytes = b"") -> None:
        self.verb = verb
        self.argument = argument

    def __repr__(self) -> str:
        # AUTH arguments are secrets: only the verb is ever shown.
        return f"<Command {self.verb}>"


@attrs.frozen
class BadCommand:
    """A line that is no command.

    :ivar reply: what it earns
    :ivar reason: a short word for log and metrics
    :ivar is_fatal: nothing that follows can be framed or trusted; the session ends with this reply
    """

    verb: str
    reply: Reply
    reason: str
    is_fatal: bool = False


@attrs.frozen
class PathRules:
    """How loosely paths are read (`strict_paths`, `require_brackets` of a listener)."""

    is_strict: bool = False
    needs_brackets: bool = True


def parse_command(line: bytes, rules: PathRules) -> Command | BadCommand:
    """Read one line, given without its CRLF."""
    head = line[:5].upper()
    if head == b"MAIL ":
        return _parse_path_command("MAIL", b"FROM:", line[5:], rules)
    if head == b"RCPT ":
        return _parse_path_command("RCPT", b"TO:", line[5:], rules)
    match = _VERB.match(line)
    if match is None:
        return BadCommand("?", status.SYNTAX if line.strip() else status.EMPTY_LINE, "no verb")
    verb = match[0].upper().decode("ascii")
    rest = line[match.end() :]
    if rest[:1] not in (b"", b" ", b"\t"):
        if _HEADER.match(line):
            return BadCommand("HTTP", status.NOT_SMTP, "header line as a command", is_fatal=True)
        return BadCommand("?", status.SYNTAX, "no verb")
    argument = rest.strip(b" \t")
    if verb in BARE:
        if argument:
            return BadCommand(verb, status.NO_ARGUMENT, "argument not allowed")
        return Command(verb)
    if not _is_clean(argument):
        if verb in ("EHLO", "HELO", "LHLO"):
            return BadCommand(verb, status.BAD_EHLO, "control or 8-bit octet in the name")
        if not (verb == "VRFY" and _is_utf8_text(argument)):
            return BadCommand(verb, status.SYNTAX, "control or 8-bit octet")
    if verb in ("EHLO", "HELO", "LHLO"):
        if _EHLO_NAME.fullmatch(argument) is None or len(argument) > 255 + 32:
            return BadCommand(verb, status.BAD_EHLO, "no or malformed name")
        return Command(verb, argument)
    if verb == "AUTH":
        return _parse_auth(argument)
    if verb == "BDAT":
        return _parse_bdat(argument)
    if verb in ("XCLIENT", "XFORWARD"):
        return _parse_attributes(verb, argument)
    if verb in ("NOOP", "HELP"):
        return Command(verb, argument)
    if verb == "VRFY":
        return Command(verb, argument) if argument else BadCommand(verb, status.ARGUMENT, "no argument")
    if verb in ("MAIL", "RCPT"):
        return BadCommand(verb, status.ARGUMENT, "no path")
    if verb in FOREIGN:
        return BadCommand("HTTP", status.NOT_SMTP, "another protocol", is_fatal=True)
    if verb in REFUSED:
        return BadCommand(verb, status.NOT_IMPLEMENTED, "not implemented")
    return BadCommand("?", status.UNKNOWN, "unknown verb")


def _is_clean(octets: bytes) -> bool:
    return octets.isascii() and octets.replace(b"\t", b" ").decode("ascii").isprintable()


def _is_utf8_text(octets: bytes) -> bool:
    try:
        return octets.decode("utf-8").replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        return False


def _parse_path_command(verb: str, keyword: bytes, rest: bytes, rules: PathRules) -> Command | BadCommand:
    bad_path = status.BAD_SENDER if verb == "MAIL" else status.BAD_RECIPIENT
    length = len(keyword)
    if rest[:length].upper() != keyword:
        rest = rest.lstrip(b" ")
        if rest[:length].upper() != keyword:
            return BadCommand(verb, status.ARGUMENT, f"no {keyword.decode()}")
    rest = rest[length:]
    if rest[:1] in b" \t":
        if rules.is_strict and rest.strip():
            return BadCommand(verb, status.ARGUMENT, "blank before the path")
        rest = rest.lstrip(b" \t")
    command = Command(verb)
    # Addresses may be UTF-8 only with SMTPUTF8, which is known at MAIL when the parameters are read, and at RCPT to
    # the wire machine; so both are parsed as UTF-8 here and judged there.
    path, tail = parse_path(rest, utf8=True, brackets=rules.needs_brackets)
    if isinstance(path, BadPath):
        return BadCommand(verb, bad_path, path.reason)
    if path.is_null and verb == "RCPT":
        return BadCommand(verb, bad_path, "null recipient")
    if verb == "MAIL" and not path.domain and not path.is_null:
        return BadCommand(verb, bad_path, "sender without domain")
    command.path = path
    if tail:
        if tail[:1] not in b" \t":
            return BadCommand(verb, bad_path, "octets behind the path")
        if _CONTROL.search(tail) is not None:
            return BadCommand(verb, status.ARGUMENT, "control octet")
        params: dict[str, bytes | None] = {}
        for word in tail.split():
            match = _PARAMETER.fullmatch(word)
            if match is None:
                return BadCommand(verb, status.ARGUMENT, "malformed parameter")
            name = match[1].upper().decode("ascii")
            value = match[2]
            if name in params and (params[name] != value or name in _ONCE):
                return BadCommand(verb, status.ARGUMENT, f"{name} given twice")
            params[name] = value
        command.params = params
    return command


def _parse_auth(argument: bytes) -> Command | BadCommand:
    words = argument.split(b" ")
    if not argument:
        return BadCommand("AUTH", status.ARGUMENT, "malformed AUTH")
    if len(words) > 2:
        return BadCommand("AUTH", status.BAD_BASE64, "blank in the initial response")
    command = Command("AUTH")
    command.mechanism = words[0].upper().decode("ascii")
    if len(words) == 2:
        command.argument = words[1]
        if words[1] != b"=" and not is_base64(words[1]):
            return BadCommand("AUTH", status.BAD_BASE64, "malformed base64")
        if command.mechanism == "PLAIN" and words[1] != b"=" and not is_plain_message(words[1]):
            return BadCommand("AUTH", status.BAD_CREDENTIALS, "malformed PLAIN message")
    return command


def _parse_bdat(argument: bytes) -> Command | BadCommand:
    words = argument.split()
    if not words or len(words) > 2 or not words[0].isdigit() or len(words[0]) > DIGITS:
        return BadCommand("BDAT", status.ARGUMENT_CLOSING, "chunk cannot be framed", is_fatal=True)
    if len(words) == 2 and words[1].upper() != b"LAST":
        return BadCommand("BDAT", status.ARGUMENT_CLOSING, "chunk cannot be framed", is_fatal=True)
    command = Command("BDAT")
    command.size = int(words[0])
    command.is_last = len(words) == 2
    return command


def _parse_attributes(verb: str, argument: bytes) -> Command | BadCommand:
    command = Command(verb)
    attributes: dict[str, bytes] = {}
    for word in argument.split():
        name, equals, value = word.partition(b"=")
        decoded = decode_xtext(value)
        if not equals or not name.isalnum() or decoded is None or len(value) > 255:
            return BadCommand(verb, status.ARGUMENT, "malformed attribute")
        attributes[name.upper().decode("ascii")] = decoded
    if not attributes:
        return BadCommand(verb, status.ARGUMENT, "no attribute")
    command.attributes = attributes
    return command


def check_mail_params(params: Mapping[str, bytes | None], offered: frozenset[str]) -> BadCommand | None:
    """The parameters of MAIL against what this session was offered; None when all is well."""
    for name, value in params.items():
        known = _MAIL_PARAMS.get(name)
        if known is None or known[0] not in offered:
            if name == "SMTPUTF8":
                return BadCommand("MAIL", status.NO_SMTPUTF8_SENDER, "SMTPUTF8 not offered")
            return BadCommand("MAIL", status.UNKNOWN_PARAMETER, "parameter not offered")
        if not known[1](value):
            return BadCommand("MAIL", status.ARGUMENT, f"malformed {name}")
        if name == "BODY" and value is not None and value.upper() != b"7BIT":
            if value.upper().decode("ascii") not in offered:
                return BadCommand("MAIL", status.UNKNOWN_PARAMETER, "BODY value not offered")
    return None


def check_rcpt_params(params: Mapping[str, bytes | None], offered: frozenset[str]) -> BadCommand | None:
    """The parameters of RCPT, likewise."""
    for name, value in params.items():
        if name not in ("NOTIFY", "ORCPT") or "DSN" not in offered:
            return BadCommand("RCPT", status.UNKNOWN_PARAMETER, "parameter not offered")
        if value is None or not (_is_notify(value) if name == "NOTIFY" else _is_orcpt(value)):
            return BadCommand("RCPT", status.ARGUMENT, f"malformed {name}")
    return None


def _is_size(value: bytes | None) -> bool:
    return value is not None and value.isdigit() and len(value) <= DIGITS


def _is_body(value: bytes | None) -> bool:
    return value is not None and value.upper() in (b"7BIT", b"8BITMIME", b"BINARYMIME")


def _is_flag(value: bytes | None) -> bool:
    return value is None


def _is_ret(value: bytes | None) -> bool:
    return value is not None and value.upper() in (b"FULL", b"HDRS")


def _is_envid(value: bytes | None) -> bool:
    return value is not None and len(value) <= 100 and is_xtext(value)


def _is_auth(value: bytes | None) -> bool:
    return value is not None and len(value) <= 500 and (value == b"<>" or is_xtext(value))


def _is_notify(value: bytes) -> bool:
    return _NOTIFY.fullmatch(value) is not None


def _is_orcpt(value: bytes) -> bool:
    kind, semicolon, address = value.partition(b";")
    if not semicolon or not kind or not address or len(value) > 500:
        return False
    if kind.lower() == b"utf-8":
        return _is_utf8_text(address)
    return is_xtext(address)


_MAIL_PARAMS: Final = {
    "SIZE": ("SIZE", _is_size),
    "BODY": ("8BITMIME", _is_body),
    "SMTPUTF8": ("SMTPUTF8", _is_flag),
    "REQUIRETLS": ("REQUIRETLS", _is_flag),
    "RET": ("DSN", _is_ret),
    "ENVID": ("DSN", _is_envid),
    "AUTH": ("AUTH", _is_auth),
    "PRDR": ("PRDR", _is_flag),
}


def is_xtext(octets: bytes) -> bool:
    """True for xtext (RFC 3461 section 4)."""
    return _XTEXT.fullmatch(octets) is not None


def decode_xtext(octets: bytes) -> bytes | None:
    """xtext undone; None where it is none."""
    if not is_xtext(octets):
        return None
    return re.sub(rb"\+([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), octets)


def encode_xtext(octets: bytes) -> bytes:
    """Octets as xtext: safe inside a command line whatever they hold."""
    return re.sub(rb"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]", lambda match: b"+%02X" % match[0][0], octets)


def is_base64(octets: bytes) -> bool:
    """True for canonical base64, padded, without blanks."""
    return _BASE64.fullmatch(octets) is not None


def is_plain_message(octets: bytes) -> bool:
    """True for the base64 of three texts with two NULs between them (RFC 4616 section 2)."""
    return base64.b64decode(octets).count(b"\0") == 2


def params_octets(params: Mapping[str, bytes | None]) -> bytes:
    """Parameters as they stand behind a path, each with the blank before it."""
    out = b""
    for name, value in params.items():
        out += b" " + name.encode("ascii") + (b"=" + value if value is not None else b"")
    return out


def mail_line(path: Path, params: Mapping[str, bytes | None]) -> bytes:
    """The canonical MAIL command."""
    if not params:
        return b"MAIL FROM:<" + path.raw + b">\r\n"
    return b"MAIL FROM:<" + path.raw + b">" + params_octets(params) + b"\r\n"


def rcpt_line(path: Path, params: Mapping[str, bytes | None]) -> bytes:
    """The canonical RCPT command."""
    if not params:
        return b"RCPT TO:<" + path.raw + b">\r\n"
    return b"RCPT TO:<" + path.raw + b">" + params_octets(params) + b"\r\n"
