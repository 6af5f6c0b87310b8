"""The kinds of values that keys hold: sizes, times, domains, paths, endpoints, pins, and lists of them.

Each is a type for the schema with the function that judges it, so that a bad entry is found at its own place
in the file. A list of one may be written without its brackets.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Annotated, Literal

import attrs
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, BeforeValidator

from smtpgate.config import endpoint, entry
from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.units import parse_duration, parse_size
from smtpgate.smtp.address import BadPath, parse_path


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _domain(text: str) -> str:
    entry.parse_domain(text)
    return text


def _local_domain(text: str) -> str:
    if text.strip() == "*":
        raise BadValue('"*" would make this an open relay', "name the domains that your backends take mail for")
    return _domain(text)


def _network(text: str) -> str:
    entry.parse_network(text)
    return text


def _address(text: str) -> str:
    entry.parse_address(text)
    return text


def _user(text: str) -> str:
    entry.parse_user(text)
    return text


def _listen(text: str) -> str:
    endpoint.parse_listen(text)
    return text


def _listen_or_off(text: str) -> str:
    return text if text == "off" else _listen(text)


def _server(text: str) -> str:
    endpoint.parse_server(text)
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise BadValue("this is not a path", "write the path of a file, absolute or relative to this file")
    return text


def _host(text: str) -> str:
    if not endpoint.is_address(text):
        if text.startswith("*"):
            raise BadValue("a host name may not have a *", "write each name in full")
        entry.parse_domain(text)
    return text


def parse_pin(text: str) -> bytes:
    """The digest of a public key pin: "sha256//" and base64 as curl writes it, or 64 hex digits."""
    digest = b""
    try:
        if text.startswith("sha256//"):
            digest = base64.b64decode(text.removeprefix("sha256//"), validate=True)
        elif re.fullmatch(r"[0-9A-Fa-f:]+", text):
            digest = bytes.fromhex(text.replace(":", ""))
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32:
        raise BadValue(
            f"{quoted(text)} is not a pin",
            'write "sha256//" and the base64 of the SHA-256 of the public key, or 64 hex digits',
        )
    return digest


def _pin(text: str) -> str:
    parse_pin(text)
    return text


def _mail_address(text: str) -> str:
    path, rest = parse_path(f"<{text}>".encode())
    if isinstance(path, BadPath) or rest or not path.domain:
        reason = path.reason if isinstance(path, BadPath) else "there is no domain in it"
        raise BadValue(f"{quoted(text)} is no address of a mailbox: {reason}", 'write it as "user@example.net"')
    return text


def _public_url(text: str) -> str:
    found = re.fullmatch(
        r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?",
        text,
    )
    if found is None or int(found[3] or 1) > 65535:
        raise BadValue(f"{quoted(text)} is no address of these pages", 'write it as "https://gate.example.com"')
    return text.removesuffix("/")


def _hook_url(text: str) -> str:
    found = re.fullmatch(r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(/[!-~]*)?", text)
    if found is None or len(text) > 1000 or not 0 < int(found[3] or 1) <= 65535 or "#" in text:
        raise BadValue(f"{quoted(text)} is no address of the Web", 'write it as "https://hooks.example.com/smtpgate"')
    return text


def _time_of_day(text: str) -> str:
    if re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text) is None:
        raise BadValue(f"{quoted(text)} is no time of the day", 'write it as "08:00"')
    return text


def _name_server(text: str) -> str:
    parse_name_server(text)
    return text


def parse_name_server(text: str) -> tuple[str, int]:
    """Address and port of a DNS resolver: an address alone, or as a server of a backend with its port."""
    if endpoint.is_address(text):
        return text, 53
    try:
        server = endpoint.parse_server(text)
    except BadValue:
        server = None
    if server is None or server.port is None or not endpoint.is_address(server.host):
        raise BadValue(
            f"{quoted(text)} is no address of a resolver", 'write "127.0.0.1", "[2001:db8::53]:53" or "192.0.2.53:5353"'
        )
    return server.host, server.port


def _threshold(value: object) -> object:
    if value == "off":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadValue(f"{quoted(value)} is no threshold", 'write a number, as 5.0, or "off"')
    return float(value)


def _reason(text: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", text) is None:
        raise BadValue(f"{quoted(text)} is no reason of a finding", "write it as log and pages do")
    return text


def _group(text: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9-]{0,39}", text) is None:
        raise BadValue(f"{quoted(text)} is no name of a group", "begin with a small letter; digits and - may follow")
    return text


def _held_class(text: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", text) is None:
        raise BadValue(f"{quoted(text)} is no name of a class", "write lower-case letters, digits and dashes")
    return text


def _domain_name(text: str) -> str:
    domain = entry.parse_domain(text)
    if domain.startswith(("*", ".")):
        raise BadValue(f"{quoted(text)} is no domain", 'write one domain, as "example.net"')
    return domain


def _reply_text(text: str) -> str:
    if not text.strip() or len(text) > 300 or not text.isascii() or not text.isprintable():
        raise BadValue("this cannot be said in a reply", "write 1 to 300 printable ASCII characters, without a code")
    return text


RATE_HINT = 'write it as "100/1h": how many in what time; for octets "500 MiB/1d"'


def parse_rate(text: str, is_size: bool) -> tuple[int, float]:
    """How many in how many seconds, of a rate such as "100/1h" or, of octets, "500 MiB/1d"."""
    many, _, time = text.partition("/")
    if not time:
        raise BadValue(f"{quoted(text)} is not a rate", RATE_HINT)
    if not time.strip()[:1].isdigit():
        time = f"1{time.strip()}"
    try:
        count = parse_size(many) if is_size else int(many)
        seconds = parse_duration(time)
    except ValueError:
        raise BadValue(f"{quoted(text)} is not a rate", RATE_HINT) from None
    if count >= 2**63:
        raise BadValue(f"{quoted(text)} is more than 64 bits hold", RATE_HINT)
    if count < 1 or seconds <= 0:
        raise BadValue(f"{quoted(text)} lets nothing pass", "write how many may come in the time, 1 at least")
    return count, seconds


def parse_part(value: object) -> float:
    """A part of a whole, such as "40%"."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        part = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        part = -1.0
    if not 0.0 <= part <= 1.0:
        raise BadValue(f"{quoted(value)} is no part of a whole", 'write it as "40%", 100% at most')
    return part


def _part(value: object) -> float | None:
    return None if value is None else parse_part(value)


def _rate(text: str) -> str:
    try:
        parse_rate(text, False)
    except BadValue:
        parse_rate(text, True)
    return text


@attrs.frozen
class Kind:
    """The word for a type in the documents. pydantic passes over it."""

    word: str


_ONE_OR_MORE = BeforeValidator(_as_list, json_schema_input_type=str | list[str])

Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Kind("size")]
Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str), Kind("time")]
Wait = Annotated[Duration, Gt(0)]
Count = Annotated[int, Ge(1), Kind("number")]
FilePath = Annotated[str, AfterValidator(_path), Kind("path")]
ListenOrOff = Annotated[str, AfterValidator(_listen_or_off), Kind("endpoint")]
ServerAddress = Annotated[str, AfterValidator(_server), Kind("address")]
Threshold = Annotated[
    float | None,
    BeforeValidator(_threshold, json_schema_input_type=float | Literal["off"]),
    Kind("number, or `off`"),
]
Reason = Annotated[str, AfterValidator(_reason), Kind("reason")]
HookURL = Annotated[str, AfterValidator(_hook_url), Kind("URL")]
PublicURL = Annotated[str, AfterValidator(_public_url), Kind("URL")]
GroupName = Annotated[str, AfterValidator(_group), Kind("name")]
DomainName = Annotated[str, AfterValidator(_domain_name), Kind("name")]
HeldClassName = Annotated[str, AfterValidator(_held_class), Kind("name")]
ReplyText = Annotated[str, AfterValidator(_reply_text), Kind("text")]
Part = Annotated[float | None, BeforeValidator(_part, json_schema_input_type=str), Kind("percentage")]
RateText = Annotated[str, AfterValidator(_rate), Kind("rate")]
Prefix4 = Annotated[int, Ge(8), Le(32), Kind("number")]
Prefix6 = Annotated[int, Ge(16), Le(128), Kind("number")]
RoleName = Literal["mx", "submission"]

Words = Annotated[list[str], _ONE_OR_MORE, Kind("list of names")]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], _ONE_OR_MORE, Kind("list of networks")]
Domains = Annotated[list[Annotated[str, AfterValidator(_domain)]], _ONE_OR_MORE, Kind("list of domains")]
LocalDomains = Annotated[list[Annotated[str, AfterValidator(_local_domain)]], _ONE_OR_MORE, Kind("list of domains")]
Addresses = Annotated[list[Annotated[str, AfterValidator(_address)]], _ONE_OR_MORE, Kind("list of addresses")]
TimesOfDay = Annotated[list[Annotated[str, AfterValidator(_time_of_day)]], _ONE_OR_MORE, Kind("list of times")]
MailAddress = Annotated[str, AfterValidator(_mail_address), Kind("address")]
MailAddresses = Annotated[list[MailAddress], _ONE_OR_MORE, Kind("list of addresses")]
Users = Annotated[list[Annotated[str, AfterValidator(_user)]], _ONE_OR_MORE, Kind("list of users")]
Hosts = Annotated[list[Annotated[str, AfterValidator(_host)]], _ONE_OR_MORE, Kind("list of hosts")]
Files = Annotated[list[FilePath], _ONE_OR_MORE, Kind("list of paths")]
Pins = Annotated[list[Annotated[str, AfterValidator(_pin)]], _ONE_OR_MORE, Kind("list of pins")]
NameServers = Annotated[list[Annotated[str, AfterValidator(_name_server)]], _ONE_OR_MORE, Kind("list of addresses")]
Listens = Annotated[list[Annotated[str, AfterValidator(_listen)]], _ONE_OR_MORE, MinLen(1), Kind("list of endpoints")]
Roles = Annotated[list[RoleName], _ONE_OR_MORE, MinLen(1), Kind("list of mx, submission")]
LimitKeys = Annotated[
    list[
        Literal[
            "client",
            "network",
            "listener",
            "helo",
            "user",
            "sender",
            "sender_domain",
            "recipient",
            "recipient_domain",
            "backend",
        ]
    ],
    _ONE_OR_MORE,
    MinLen(1),
    Kind("list of keys"),
]
Classes = Annotated[
    list[Literal["trusted", "known", "unknown", "suspect"]],
    _ONE_OR_MORE,
    Kind("list of trusted, known, unknown, suspect"),
]
