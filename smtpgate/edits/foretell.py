"""Which signatures an edit breaks, known before it is made: DKIM, ARC, and those of S/MIME and OpenPGP.

`plan` compares a message with what it would become. Of a DKIM signature, and of the newest one of a chain, the hash of
the body is made anew in its own form and length (`c=`, `l=`), and the fields that it names (`h=`) are compared in its
form; so it is known without its key whether the edit changes what it covers. Whether it was good before takes the key,
but for one whose body hash is wrong already: that one is dead, and nothing breaks it. A sealed part breaks where
something in it changes.

RFC 6376 sections 3.5, 3.7; RFC 8617; RFC 1847.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from smtpgate.edits.outline import Outline
from smtpgate.edits.where import armour_of, seal_of
from smtpgate.examine.canonical import body_hashes, body_start, canonical_field, signed_fields
from smtpgate.examine.keys import Fault
from smtpgate.examine.signature import Signature, by_name, read_signature, tags_of
from smtpgate.message.header import HeaderSection
from smtpgate.message.signature import read_domain, read_instance, signatures_of
from smtpgate.message.splice import Splice

_ARC: Final = "arc-message-signature"


@attrs.frozen
class Fate:
    """What becomes of one signature.

    :ivar kind: dkim, arc, mime (S/MIME or OpenPGP with MIME) or pgp (without)
    :ivar name: domain and selector, as "example.org/s1"; of a sealed part its number
    :ivar by: what of it the edit touches: "body", names of fields, or both
    """

    kind: str
    name: str
    by: tuple[str, ...]


def signatures(section: HeaderSection) -> list[Signature]:
    """Those that are looked at and can be read: of DKIM, and of a chain the newest."""
    found = []
    chain = section.named(_ARC)
    newest = max(chain, key=lambda field: read_instance(field.value), default=None)
    for field in (*signatures_of(section.fields)[0], *([newest] if newest is not None else ())):
        try:
            found.append(read_signature(field, tags_of(field)))
        except Fault:
            continue
    return found


def _kind(signature: Signature) -> str:
    return "arc" if signature.field.name == _ARC else "dkim"


def _name(signature: Signature) -> str:
    return f"{read_domain(signature.tags['d'])}/{read_domain(signature.tags['s'])}"


def changed_fields(before: HeaderSection, after: HeaderSection, signature: Signature) -> tuple[str, ...]:
    """Names of the signed fields that are others then; the signature's own field counts."""
    old, new = by_name(before.fields), by_name(after.fields)
    touched = []
    for name in dict.fromkeys(signature.names):
        times = (name,) * signature.names.count(name)
        were, are = (list(signed_fields(fields, times, signature.is_relaxed)) for fields in (old, new))
        if were != are:
            touched.append(name)
    own = canonical_field(signature.field.raw, signature.is_relaxed)
    if not any(canonical_field(one.raw, signature.is_relaxed) == own for one in new.get(signature.field.name, ())):
        touched.append(signature.field.name)
    return tuple(touched)


def of_header(before: HeaderSection, after: HeaderSection) -> list[Fate]:
    """The signatures that other fields break. Whether their bodies are good is not known here."""
    fates = [Fate(_kind(one), _name(one), changed_fields(before, after, one)) for one in signatures(before)]
    return [fate for fate in fates if fate.by]


def of_message(before: bytes, after: bytes, outline: Outline, splices: Sequence[Splice]) -> list[Fate]:
    """The signatures that break.

    :param outline: of the message as it is before
    """
    return [*_signed(before, after), *_sealed(outline, splices)]


def _signed(before: bytes, after: bytes) -> list[Fate]:
    starts = body_start(before), body_start(after)
    old, new = HeaderSection(before[: starts[0]]), HeaderSection(after[: starts[1]])
    found = signatures(old)
    if not found:
        return []
    extents = {one.extent for one in found}
    hashes = [body_hashes(octets, start, extents) for octets, start in zip((before, after), starts, strict=True)]
    fates = []
    for one in found:
        if hashes[0].get(one.extent) != one.body_hash:
            continue
        by = changed_fields(old, new, one)
        if hashes[1].get(one.extent) != one.body_hash:
            by = (*by, "body")
        if by:
            fates.append(Fate(_kind(one), _name(one), by))
    return fates


def _sealed(outline: Outline, splices: Sequence[Splice]) -> list[Fate]:
    fates: list[Fate] = []
    for piece in outline.pieces:
        if not piece.is_here:
            continue
        kind = "mime" if seal_of(piece) else ""
        if piece.media_type == "text/plain" and not piece.children and armour_of(piece.part.decoded()):
            kind = "pgp"
        if kind and any(one.offset < piece.end and max(one.end, one.offset + 1) > piece.body for one in splices):
            fates.append(Fate(kind, piece.number, ("body",)))
    return fates
