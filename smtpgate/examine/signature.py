"""One signature of a message: what its field says, and whether that is true.

A DKIM-Signature and an ARC-Message-Signature differ in little, so `signatures` and `chain` both read them here. What is
wrong with a field or with what it signs is a `keys.Fault`, with the word of RFC 8601 for it: "neutral" for a field that
does not say what it should, "permerror" where From is not signed and for keys, "fail" for the rest.

Promised: no other error, time in proportion to the header section. Refused: signatures that leave From open, as one
that signs fewer From fields than there are; rsa-sha1; those whose time is over.

RFC 6376 sections 3.5, 6.1 and 8.15; RFC 8301; RFC 8463; RFC 8616 section 5; RFC 8617 section 4.1.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.examine.canonical import Extent, canonical_field, signed_fields, unsigned
from smtpgate.examine.keys import ALGORITHMS, Fault, Key, find_key, octets_of
from smtpgate.message.header import Field
from smtpgate.message.signature import key_name, read_domain, read_tags

#: How far clocks may be apart; OpenDKIM has the same 300 seconds.
DRIFT_S: Final = 300.0
#: RFC 6376 section 3.5 lets l= have 76 digits; no message has that many octets.
_DIGITS: Final = 18
_FORMS: Final = {b"simple": False, b"relaxed": True}


@attrs.frozen
class Context:
    """What signatures of one message are held against.

    :ivar fields: all of the message, by name
    :ivar keys: as `keys.find_key` takes them
    :ivar hashes: of the body
    :ivar now_s: since the epoch
    """

    fields: Mapping[str, Sequence[Field]]
    keys: Mapping[str, Any]
    hashes: Mapping[Extent, bytes]
    now_s: float


@attrs.frozen
class Signature:
    """What a field says.

    :ivar names: signed fields in lower case, in their order
    :ivar extent: form and octets of the body
    :ivar expires_s: -1 for never
    """

    field: Field
    tags: Mapping[str, bytes]
    algorithm: str
    is_relaxed: bool
    extent: Extent
    names: tuple[str, ...]
    body_hash: bytes
    value: bytes
    expires_s: int = -1


def by_name(fields: Iterable[Field]) -> dict[str, list[Field]]:
    """Fields by their names, in their order."""
    found: dict[str, list[Field]] = {}
    for field in fields:
        found.setdefault(field.name, []).append(field)
    return found


def read_number(tags: Mapping[str, bytes], name: str) -> int:
    """A number in a tag; -1 where there is none. Raises Fault."""
    text = tags.get(name)
    if text is None:
        return -1
    if not text.isdigit() or len(text) > _DIGITS:
        raise Fault("neutral", f"{name}= is no number")
    return int(text)


def read_list(value: bytes) -> tuple[str, ...]:
    """The names in h=, in lower case, however they are spelt and as often as they come."""
    return tuple(name.strip(b" \t\r\n").decode("latin-1").lower() for name in value.split(b":"))


def read_algorithm(tags: Mapping[str, bytes]) -> str:
    """The algorithm of a signature or seal. Raises Fault."""
    algorithm = tags["a"].decode("latin-1").lower()
    if algorithm == "rsa-sha1":
        raise Fault("fail", "rsa-sha1 is no longer good (RFC 8301)")
    if algorithm not in ALGORITHMS:
        raise Fault("neutral", "a= is no known algorithm")
    return algorithm


def read_base64(tags: Mapping[str, bytes], name: str) -> bytes:
    """Octets in a tag. Raises Fault."""
    octets = octets_of(tags[name])
    if not octets:
        raise Fault("neutral", f"{name}= is no base64")
    return octets


def require(tags: Mapping[str, bytes], names: str) -> None:
    """Raise Fault where a tag is missing, or names no domain."""
    missing = [name for name in names if name not in tags]
    if missing:
        raise Fault("neutral", f"{missing[0]}= is missing")
    for name in "ds":
        if not read_domain(tags[name]):
            raise Fault("neutral", f"{name}= is no name")


def read_signature(field: Field, tags: Mapping[str, bytes]) -> Signature:
    """What a signature field says. Raises Fault where that is not enough, or is refused.

    :param tags: those of the field
    """
    require(tags, "abdhs")
    if "bh" not in tags:
        raise Fault("neutral", "bh= is missing")
    algorithm = read_algorithm(tags)
    header, _, body = tags.get("c", b"simple").lower().partition(b"/")
    header, body = header.strip(), body.strip() or b"simple"
    if header not in _FORMS or body not in _FORMS:
        raise Fault("neutral", "c= is no known form")
    queries = read_list(tags.get("q", b"dns/txt"))
    if "dns/txt" not in queries and "dns" not in queries:
        raise Fault("neutral", "q= is no known way to the key")
    made_s, expires_s, length = read_number(tags, "t"), read_number(tags, "x"), read_number(tags, "l")
    if 0 <= expires_s <= made_s:
        raise Fault("neutral", "x= is not after t=")
    names = read_list(tags["h"])
    if "from" not in names:
        raise Fault("permerror", "From is not signed")
    extent = (_FORMS[body], length)
    hashed, value = read_base64(tags, "bh"), read_base64(tags, "b")
    return Signature(field, tags, algorithm, _FORMS[header], extent, names, hashed, value, expires_s)


def key_of(signature: Signature, context: Context) -> Key:
    """The key that a signature says it was made with. Raises Fault."""
    return find_key(context.keys, key_name(signature.tags), signature.algorithm)


def check(signature: Signature, key: Key, context: Context) -> None:
    """Hold a signature against the message. Raises Fault where it is not good."""
    if 0 <= signature.expires_s < context.now_s - DRIFT_S:
        raise Fault("fail", "it has expired")
    authors = len(context.fields.get("from", ()))
    if signature.names.count("from") < authors:
        # Readers may show the one that was added (RFC 6376 section 8.15).
        raise Fault("fail", f"of {authors} From fields not all are signed")
    digest = context.hashes.get(signature.extent)
    if digest is None:
        raise Fault("fail", "the body is shorter than l= says")
    if digest != signature.body_hash:
        raise Fault("fail", "the body was changed")
    total = hashlib.sha256()
    for octets in signed_fields(context.fields, signature.names, signature.is_relaxed):
        total.update(octets)
    total.update(own_field(signature.field, signature.is_relaxed))
    if not key.fits(signature.value, total.digest()):
        raise Fault("fail", "the header was changed, or the key is another")


def own_field(field: Field, is_relaxed: bool) -> bytes:
    """A signature field as it goes into its own hash: without its value, and without its line end."""
    octets = canonical_field(unsigned(field.raw), is_relaxed)
    return octets.removesuffix(b"\r\n")


def tags_of(field: Field) -> dict[str, bytes]:
    """The tags of a field. Raises Fault."""
    tags = read_tags(field.raw.partition(b":")[2])
    if tags is None:
        raise Fault("neutral", "it is no list of tags")
    return tags
