"""Chains of ARC: whether each who passed a message on sealed it, and the last one as it is now.

`signatures` calls it. Of a chain every seal is checked, and of the signatures only the newest: whoever changed a
message on its way broke those before. What made a chain fail is in words; of one that passes, each instance is told
with the results that it claims. Whom to believe is not decided here.

Promised: no error for any input, time in proportion to the header section and the number of seals. Refused: chains
with gaps or with fields twice, of more than 50 instances, and any key that DKIM refuses too. A key that could not be
looked up makes a chain fail, since ARC has no word for that.

RFC 8617 sections 4.1, 4.2 and 5.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.examine.canonical import Extent, canonical_field
from smtpgate.examine.keys import Fault, find_key
from smtpgate.examine.signature import (
    Context,
    Signature,
    check,
    key_of,
    own_field,
    read_algorithm,
    read_base64,
    read_number,
    read_signature,
    require,
    tags_of,
)
from smtpgate.message.header import Field
from smtpgate.message.signature import INSTANCES, key_name, read_domain, read_instance

#: The fields of one instance, in the order in which they are sealed.
NAMES: Final = ("arc-authentication-results", "arc-message-signature", "arc-seal")
#: Octets of the claims of one instance that are told; the long ones of big providers have some 2,000.
CLAIMS_OCTETS: Final = 8192


@attrs.frozen
class Chain:
    """A chain whose form is right.

    :ivar sets: the three fields of each instance, the first one first
    :ivar newest: the signature that is checked
    """

    sets: tuple[tuple[Field, Field, Field], ...]
    newest: Signature

    @property
    def extent(self) -> Extent:
        """The hash of the body that is needed."""
        return self.newest.extent


def read_chain(fields: Mapping[str, Sequence[Field]]) -> Chain | None:
    """The chain of a message; None where it has none. Raises Fault for one that is broken in its form."""
    found = [fields.get(name, ()) for name in NAMES]
    count = len(found[2])
    if not any(found):
        return None
    if any(len(one) != count for one in found):
        raise Fault("fail", "a field is missing, or there twice")
    if count > INSTANCES:
        raise Fault("fail", f"there are {count} instances")
    ordered = []
    for name, these in zip(NAMES, found, strict=True):
        numbered = {_instance(name, field): field for field in these}
        if sorted(numbered) != list(range(1, count + 1)):
            raise Fault("fail", "the instances are not numbered as they should be")
        ordered.append([numbered[number] for number in range(1, count + 1)])
    sets = tuple(zip(*ordered, strict=True))
    try:
        newest = read_signature(sets[-1][1], tags_of(sets[-1][1]))
    except Fault as fault:
        raise Fault("fail", f"signature {count}: {fault.reason}") from None
    if "arc-seal" in newest.names:
        raise Fault("fail", f"signature {count} is over seals")
    return Chain(sets, newest)


def _instance(name: str, field: Field) -> int:
    value = field.raw.partition(b":")[2]
    if name != NAMES[0]:
        return read_instance(b"i=" + tags_of(field).get("i", b""))
    # The rest of this one is no tag list, and may have an i= of its own.
    return read_instance(value.partition(b";")[0])


def check_chain(chain: Chain, context: Context) -> list[dict[str, Any]]:
    """Hold a chain against the message. Raises Fault where it fails.

    :return: of each instance its number, who sealed it, and what it claims
    """
    seals = [tags_of(one[2]) for one in chain.sets]
    for number, tags in enumerate(seals, 1):
        _check_form(tags, number)
    try:
        check(chain.newest, key_of(chain.newest, context), context)
    except Fault as fault:
        raise Fault("fail", f"signature {len(seals)}: {fault.reason}") from None
    total = hashlib.sha256()
    for number, (tags, fields) in enumerate(zip(seals, chain.sets, strict=True), 1):
        for field in fields[:2]:
            total.update(canonical_field(field.raw, True))
        part = total.copy()
        part.update(own_field(fields[2], True))
        total.update(canonical_field(fields[2].raw, True))
        try:
            key = find_key(context.keys, key_name(tags), read_algorithm(tags))
            is_good = key.fits(read_base64(tags, "b"), part.digest())
        except Fault as fault:
            raise Fault("fail", f"seal {number}: {fault.reason}") from None
        if not is_good:
            raise Fault("fail", f"seal {number}: what it is over was changed, or the key is another")
    return [
        {"instance": number, "domain": read_domain(tags["d"]), "claims": _claims(fields[0])}
        for number, (tags, fields) in enumerate(zip(seals, chain.sets, strict=True), 1)
    ]


def _check_form(tags: Mapping[str, bytes], number: int) -> None:
    """Raise Fault where a seal is not what its place asks for."""
    require(tags, "abds")
    if "h" in tags or "bh" in tags:
        raise Fault("fail", f"seal {number} has tags of a signature")
    read_number(tags, "t")
    claimed = tags.get("cv", b"").lower()
    if claimed == b"fail":
        raise Fault("fail", f"seal {number} says that the chain failed before")
    if claimed != (b"none" if number == 1 else b"pass"):
        raise Fault("fail", f"seal {number} says nothing that fits about the chain before it")


def _claims(field: Field) -> str:
    """What an ARC-Authentication-Results field has behind its instance."""
    value = field.raw.partition(b":")[2].replace(b"\r\n", b"")
    claims = value.partition(b";")[2].strip()[:CLAIMS_OCTETS]
    return claims.decode("utf-8", "backslashreplace")
