"""The signatures of one message, DKIM and ARC: the job "signatures" of a child process.

The request brings the keys, which the gateway asked the DNS for while the body came, and the time. The answer has what
`policy.authentication.Signatures` has, as plain values: each DKIM signature in the order of the header with its result,
the chain of ARC, and how many signatures were not looked at.

Promised: an answer for any message and any records, in one pass over the body and in memory that does not grow with
it. Refused: nothing; whom a good signature speaks for is the matter of the filters.

RFC 6376; RFC 8301; RFC 8463; RFC 8617. Words of results: RFC 8601 section 2.7.1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import attrs
import idna
import idna.uts46data  # in a child process nothing can be loaded later

from smtpgate.examine.canonical import Extent, body_hashes, body_start
from smtpgate.examine.chain import Chain, check_chain, read_chain
from smtpgate.examine.keys import Fault
from smtpgate.examine.signature import (
    Context,
    Signature,
    by_name,
    check,
    key_of,
    read_list,
    read_number,
    read_signature,
    tags_of,
)
from smtpgate.message.header import Field, HeaderSection
from smtpgate.message.signature import read_domain, signatures_of

#: Letters of a text of the signer that are told; an address has 320 at most.
_TOLD: Final = 320


@attrs.define
class _Seen:
    """A DKIM signature before it is checked: what of it could be read, or what is wrong with its form."""

    plain: dict[str, Any]
    signature: Signature | None = None


def verify(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job.

    :param content: the message with CRLF line ends, octets or a map of a file
    :param request: `keys`: by name, status and records (texts whose letters are octets); `now`: seconds since the epoch
    """
    start = body_start(content)
    fields = HeaderSection(bytes(content[:start])).fields
    named = by_name(fields)
    given, unread = signatures_of(fields)
    seen = [_read(field) for field in given]
    chain, arc = _read_chain(named)
    extents: set[Extent] = {one.signature.extent for one in seen if one.signature is not None}
    if chain is not None:
        extents.add(chain.extent)
    now_s = float(request.get("now", 0.0)) or time.time()
    context = Context(named, request.get("keys", {}), body_hashes(content, start, extents), now_s)
    dkim = [_checked(one, context) for one in seen]
    if chain is not None:
        try:
            arc = {"result": "pass", "reason": "", "sets": _ascii_sets(check_chain(chain, context))}
        except Fault as fault:
            arc = _broken(fault)
    return {"dkim": dkim, "arc": arc, "unread": unread}


def _read(field: Field) -> _Seen:
    plain: dict[str, Any] = {"result": "neutral", "reason": ""}
    try:
        tags = tags_of(field)
        plain |= _told(tags)
        if tags.get("v") != b"1":
            raise Fault("neutral", "v= is not 1")
        signature = read_signature(field, tags)
        if not _is_below(_user_domain(tags), read_domain(tags["d"])):
            raise Fault("neutral", "i= is not below d=")
        return _Seen(plain, signature)
    except Fault as fault:
        plain |= {"result": fault.result, "reason": fault.reason}
        return _Seen(plain)


def _told(tags: Mapping[str, bytes]) -> dict[str, Any]:
    """What can be told of a signature, whatever becomes of it."""
    try:
        length = read_number(tags, "l")
    except Fault:
        length = -1
    domain = _ascii(read_domain(tags.get("d", b"")))
    return {
        "domain": domain,
        "selector": _ascii(read_domain(tags.get("s", b""))),
        "identity": _text(tags["i"]) if "i" in tags else f"@{domain}" if domain else "",
        "algorithm": _text(tags.get("a", b"")).lower(),
        "length": length,
        "has_from": "from" in read_list(tags.get("h", b"")),
    }


def _checked(seen: _Seen, context: Context) -> dict[str, Any]:
    signature = seen.signature
    if signature is None:
        return seen.plain
    plain = seen.plain
    try:
        key = key_of(signature, context)
        # Known of a signature that fails too: a test is none (RFC 6376 section 3.6.1).
        plain |= {"bits": key.bits, "is_test": "y" in key.flags}
        if "s" in key.flags and _user_domain(signature.tags) != read_domain(signature.tags["d"]):
            raise Fault("permerror", "the key is not for domains below, as i= is")
        check(signature, key, context)
    except Fault as fault:
        return plain | {"result": fault.result, "reason": fault.reason}
    return plain | {"result": "pass"}


def _user_domain(tags: Mapping[str, bytes]) -> str:
    """The domain of i=; that of d= where there is none, "" where it has no form."""
    if "i" not in tags:
        return read_domain(tags["d"])
    _, at, domain = tags["i"].rpartition(b"@")
    return read_domain(domain) if at else ""


def _is_below(domain: str, above: str) -> bool:
    return domain == above or domain.endswith("." + above)


def _read_chain(fields: Mapping[str, list[Field]]) -> tuple[Chain | None, dict[str, Any]]:
    try:
        return read_chain(fields), {"result": "none", "reason": "", "sets": []}
    except Fault as fault:
        return None, _broken(fault)


def _broken(fault: Fault) -> dict[str, Any]:
    return {"result": "fail", "reason": fault.reason, "sets": []}


def _ascii_sets(sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"domain": _ascii(one["domain"])} for one in sets]


def _ascii(name: str) -> str:
    """A name as A-labels; one that IDNA refuses stays as it is, and is no domain of anybody's."""
    try:
        return name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def _text(value: bytes) -> str:
    text = value[:_TOLD].decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else "?" for one in text)
