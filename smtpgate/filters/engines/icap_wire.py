"""The language of ICAP, as far as a client that wants a verdict speaks it: requests to octets, answers to values.

Pure: `icap` moves the octets. A message is shown as the answer of a web server that was asked for it (RESPMOD), or as
what somebody sends to one (REQMOD), since ICAP was made for proxies. Heads are read strictly, and what they do not say
as they should is a `BadAnswer`. Headers in which servers name what they found are read generously, since they come in
many forms: whatever stands there and does not say that nothing was found is a finding.

RFC 3507 sections 4.3 to 4.10; draft-stecher-icap-subid (X-Infection-Found, X-Violations-Found, X-Virus-ID).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.filters.engines.servers import BadAnswer

#: Of a head; RFC 9112 section 2.3 has 8,000 octets for one line, servers take some 64 kB in all.
HEAD_OCTETS: Final = 65536
#: Largest preview that is sent, whatever the server asks for.
PREVIEW_OCTETS: Final = 1 << 20
#: How long options hold that say nothing about it, and at most.
TTL_S: Final = 3600.0
TTL_MOST_S: Final = 86400.0
#: Names of threats that are taken from one answer.
THREATS: Final = 10

#: End of the content, and of a preview that was all of it.
LAST: Final = b"0\r\n\r\n"
LAST_OF_ALL: Final = b"0; ieof\r\n\r\n"

_ADDRESS: Final = re.compile(r"icap://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[\x21\x23-\x7e]{0,300})")
_STATUS: Final = re.compile(rb"ICAP/1\.[0-9] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_THREAT: Final = re.compile(r"Threat=([^;]*)", re.I)
_PARTS: Final = frozenset({"req-hdr", "res-hdr", "req-body", "res-body", "opt-body", "null-body"})
#: What servers write where they found nothing.
_NOTHING: Final = frozenset({"", "no threats", "no_threats", "none", "clean", "no", "ok"})


@attrs.frozen
class Service:
    """One service of one server.

    :ivar endpoint: where it is, as `services.connect` takes it
    """

    url: str
    endpoint: str
    host: str


def parse_service(url: str) -> Service:
    """Raises ValueError for what is no address of a service."""
    found = _ADDRESS.fullmatch(url)
    if found is None or found[2] and not 0 < int(found[2]) < 65536:
        raise ValueError(f"{url!r} is no ICAP service")
    return Service(url, f"{found[1]}:{found[2] or 1344}", found[1] + (f":{found[2]}" if found[2] else ""))


@attrs.frozen
class Head:
    """The head of an answer.

    :ivar fields: by name in lower case; lines of a folded value are parted by LF, values of one name by ", "
    """

    status: int
    fields: Mapping[str, str]

    @property
    def is_closing(self) -> bool:
        """The server ends the connection behind this answer."""
        return "close" in self.fields.get("connection", "").lower()


def parse_head(octets: bytes) -> Head:
    """A head with its empty line. Raises BadAnswer."""
    first, *lines = octets.removesuffix(b"\r\n\r\n").split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise BadAnswer(f"not an answer of an ICAP server: {first[:80]!r}")
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.decode("utf-8", "replace")
        if line[:1] in (b" ", b"\t") and name:
            fields[name] += f"\n{text.strip()}"
            continue
        raw, colon, _ = line.partition(b":")
        if not colon or _NAME.fullmatch(raw) is None:
            raise BadAnswer(f"not a header field: {line[:80]!r}")
        name = raw.decode("ascii").lower()
        value = text.partition(":")[2].strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return Head(int(status[1]), fields)


@attrs.frozen
class Offer:
    """What a service can, as it says to OPTIONS.

    :ivar preview: octets that it wants to see first; None: it asks for no preview
    :ivar tag: changes with everything that its verdicts depend on
    """

    methods: frozenset[str]
    tag: str = ""
    preview: int | None = None
    ttl_s: float = TTL_S


def parse_offer(head: Head) -> Offer:
    """The answer to OPTIONS. Raises BadAnswer."""
    if head.status != 200:
        raise BadAnswer(f"status {head.status} to OPTIONS")
    methods = frozenset(word.strip().upper() for word in head.fields.get("methods", "").split(","))
    if not methods & {"REQMOD", "RESPMOD"}:
        raise BadAnswer("no method is offered")
    preview = head.fields.get("preview", "")
    ttl = head.fields.get("options-ttl", "")
    if not _is_number(preview) or not _is_number(ttl):
        raise BadAnswer("Preview or Options-TTL is no number")
    ttl_s = min(float(ttl), TTL_MOST_S) if ttl else TTL_S
    return Offer(methods, head.fields.get("istag", ""), min(int(preview), PREVIEW_OCTETS) if preview else None, ttl_s)


def _is_number(text: str) -> bool:
    return not text or text.isascii() and text.isdigit() and len(text) <= 10


def parse_encapsulated(head: Head) -> list[tuple[str, int]]:
    """What an answer holds: parts with their places, the first at 0. Raises BadAnswer."""
    parts: list[tuple[str, int]] = []
    for word in head.fields.get("encapsulated", "").split(","):
        name, equals, at = word.strip().partition("=")
        if name.lower() not in _PARTS or not equals or not at or not _is_number(at):
            raise BadAnswer(f"Encapsulated says {word.strip()[:60]!r}")
        parts.append((name.lower(), int(at)))
    places = [at for _, at in parts]
    is_body = [name.endswith("body") for name, _ in parts]
    is_last_alone = is_body[-1] and not any(is_body[:-1])
    if places[0] != 0 or places != sorted(set(places)) or not is_last_alone:
        raise BadAnswer(f"Encapsulated has no order: {parts}")
    if places[-1] > HEAD_OCTETS:
        raise BadAnswer("a head that is too large")
    return parts


def parse_size(line: bytes) -> int:
    """Size of a chunk from its line. Raises BadAnswer."""
    found = _SIZE.fullmatch(line)
    if found is None:
        raise BadAnswer(f"not the size of a chunk: {line[:40]!r}")
    return int(found[1], 16)


def options_request(service: Service, agent: str) -> bytes:
    """The question what a service can."""
    return (
        f"OPTIONS {service.url} ICAP/1.0\r\nHost: {service.host}\r\nUser-Agent: {agent}\r\nAllow: 204\r\n"
        "Encapsulated: null-body=0\r\n\r\n"
    ).encode("ascii")


def modify_request(
    service: Service, method: str, agent: str, hostname: str, client_ip: str, octets: int, preview: int | None
) -> bytes:
    """The question about a message, up to the place where its octets begin.

    :param hostname: of the gateway, as the web server that has the message
    :param octets: of the message
    """
    kind = f"Content-Type: message/rfc822\r\nContent-Length: {octets}\r\n"
    if method == "RESPMOD":
        request = f"GET http://{hostname}/message.eml HTTP/1.1\r\nHost: {hostname}\r\n\r\n"
        answer = f"HTTP/1.1 200 OK\r\n{kind}\r\n"
        parts = f"req-hdr=0, res-hdr={len(request)}, res-body={len(request) + len(answer)}"
    else:
        request, answer = f"POST http://{hostname}/message.eml HTTP/1.1\r\nHost: {hostname}\r\n{kind}\r\n", ""
        parts = f"req-hdr=0, req-body={len(request)}"
    fields = [f"Host: {service.host}", f"User-Agent: {agent}", "Allow: 204"]
    if preview is not None:
        fields.append(f"Preview: {preview}")
    if client_ip:
        fields.append(f"X-Client-IP: {client_ip}")
    head = "\r\n".join([f"{method} {service.url} ICAP/1.0", *fields, f"Encapsulated: {parts}"])
    return f"{head}\r\n\r\n{request}{answer}".encode("ascii")


def chunk(octets: bytes) -> bytes:
    """Octets as one chunk; nothing for none, since an empty chunk is the end."""
    return b"%x\r\n%s\r\n" % (len(octets), octets) if octets else b""


def threats(head: Head) -> tuple[str, ...]:
    """Names of what was found."""
    found: list[str] = []
    said = head.fields.get("x-infection-found")
    if said is not None:
        # Several come as several values, or as one with several threats.
        names = [name.strip() for name in _THREAT.findall(said)]
        found += [name for name in names if name.lower() not in _NOTHING] or ([said] if not names else [])
    said = head.fields.get("x-violations-found")
    if said is not None:
        count, *lines = said.split("\n")
        if count.strip() != "0":
            # For each: a file, what is in it, a number, what was done.
            found += [line for line in lines[1::4] if line.lower() not in _NOTHING] or [said]
    said = head.fields.get("x-virus-id")
    if said is not None and said.lower() not in _NOTHING:
        found.append(said)
    return tuple(dict.fromkeys(" ".join(name.split())[:200] for name in found))[:THREATS]
