"""DKIM signatures: the field that says who answers for a message, made over the octets that leave.

`proxy.signing` collects header and body hash of what leaves and calls `signature` in a thread. The form is
relaxed/relaxed, and the whole body is signed: a length (`l=`) would let others add to it. Fields that must not be added
later are named once more than they are there (oversigned; RFC 6376 section 8.15).

Refused (`Unsignable`): a header that verifiers would cut elsewhere than we do, since its signature would be a bad one.

RFC 6376 sections 3.5, 3.7, 5.4; RFC 8463.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from smtpgate.examine.canonical import canonical_field, signed_fields
from smtpgate.message.header import Field, HeaderSection
from smtpgate.signing.keys import SigningKey

#: RFC 6376 section 5.4.1, without the fields of lists and of resending, which come later; those of RFC 8058, which
#: demands that they be signed, are here.
HEADERS: Final = (
    "from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type",
    "content-transfer-encoding", "in-reply-to", "references", "list-unsubscribe", "list-unsubscribe-post",
)  # fmt: skip
#: A second one of these would be shown or heeded in place of the signed one.
OVERSIGNED: Final = (
    "from", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type",
    "content-transfer-encoding",
)  # fmt: skip
#: What others change or take out on the way (RFC 6376 section 5.4), or what is a signature itself.
NEVER: Final = frozenset({"return-path", "received", "bcc", "resent-bcc", "dkim-signature", "authentication-results"})
#: Fields that one signature names: some 8,000 octets; Postfix cuts a field at 102,400 (header_size_limit).
MOST_NAMES: Final = 500
#: Letters of a line; RFC 5322 section 2.1.1 asks for no more.
_LINE: Final = 76
_FIELD: Final = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")


class Unsignable(ValueError):
    """A message of which no signature would hold; the text says why."""


@attrs.frozen
class Terms:
    """What a signature says of itself.

    :ivar headers: fields that are signed where they are there, lower case
    :ivar oversigned: those of which no more may be added, lower case
    :ivar expire_s: so long it holds; 0: for ever
    """

    domain: str
    selector: str
    key: SigningKey
    headers: Sequence[str] = HEADERS
    oversigned: Sequence[str] = OVERSIGNED
    expire_s: int = 0


def check_header(section: HeaderSection) -> None:
    """Raises Unsignable where a line of a header is no field: some would end the header there, and some not."""
    at_field = False
    for line in section.octets.removesuffix(b"\r\n\r\n").removesuffix(b"\r\n").split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if not at_field:
                raise Unsignable("its header begins with a blank")
        elif _FIELD.match(line) is None:
            raise Unsignable("a line of its header is no field")
        at_field = True


def signature(section: HeaderSection, body_hash: bytes, terms: Terms, now_s: int) -> bytes:
    """The whole field with its CRLF.

    :param section: the header that leaves
    :param body_hash: SHA-256 of its body, relaxed
    :raises Unsignable: where it has too many fields of these names, or a NUL in one
    """
    by_name: dict[str, list[Field]] = {}
    for field in section.fields:
        by_name.setdefault(field.name, []).append(field)
    names = list(_names(by_name, terms))
    if len(names) > MOST_NAMES:
        raise Unsignable(f"its header has more than {MOST_NAMES} fields to sign")
    tags = [f"v=1; a={terms.key.algorithm}; c=relaxed/relaxed; d={terms.domain};", f"s={terms.selector}; t={now_s};"]
    if terms.expire_s:
        tags[-1] += f" x={now_s + terms.expire_s};"
    tags += [*_folded(names), f"bh={base64.b64encode(body_hash).decode('ascii')};", "b="]
    head = "DKIM-Signature: " + "\r\n\t".join(tags)
    octets = b"".join(signed_fields(by_name, names, True))
    if b"\0" in octets:
        # libmilter hands fields over as texts that a NUL ends: OpenDKIM would judge half of it.
        raise Unsignable("a field to sign has a NUL")
    octets += canonical_field(head.encode("ascii") + b"\r\n", True).removesuffix(b"\r\n")
    made = base64.b64encode(terms.key.sign(octets)).decode("ascii")
    lines = [made[: _LINE - 4], *(made[at : at + _LINE - 4] for at in range(_LINE - 4, len(made), _LINE - 4))]
    return (head + "\r\n\t ".join(lines) + "\r\n").encode("ascii")


def _names(by_name: dict[str, list[Field]], terms: Terms) -> Iterable[str]:
    over = set(terms.oversigned)
    for name in dict.fromkeys((*terms.headers, *terms.oversigned)):
        yield from (name,) * (len(by_name.get(name, ())) + (name in over))


def _folded(names: Iterable[str]) -> Iterable[str]:
    line = "h="
    for place, name in enumerate(names):
        word = f":{name}" if place else name
        if len(line) + len(word) > _LINE:
            yield line
            line = " "
        line += word
    yield f"{line};"
