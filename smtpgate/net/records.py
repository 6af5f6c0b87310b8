"""Names and records of the DNS as filters see them (`policy.names.Answer`), apart from the wire.

`plain_name` makes of what a filter asks for the one form that is asked and cached; `record` makes of a record of
dnspython the value that an answer holds. The resolver uses both, and so does its stand-in for tests, so that a name or
a record cannot look one way in a test and another way in service.

Nothing here imports dnspython: a gateway that asks nothing does not load it.

RFC 1035 sections 2.3.4 and 3.1 (limits), RFC 5891 (names in other scripts), UTS 46 (how they are mapped).
"""

from __future__ import annotations

from typing import Any, Final

import idna

#: RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters of text without the final dot.
NAME_CHARACTERS: Final = 253
LABEL_CHARACTERS: Final = 63


def plain_name(text: str) -> str | None:
    """A name as it is asked: A-labels, lower case, no final dot; "" is the root, None what is no name of the DNS.

    Labels may hold any printable ASCII (`_dmarc`, `a b` from an SPF macro); a backslash is a character like others.
    """
    if len(text) > NAME_CHARACTERS + 1:
        return None
    if not text.isascii():
        try:
            mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
            text = ".".join(
                label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")
            )
        except UnicodeError:
            return None
    if text == ".":
        return ""
    name = text.lower().removesuffix(".")
    if len(name) > NAME_CHARACTERS or not name.isprintable():
        return None
    return name if all(0 < len(label) <= LABEL_CHARACTERS for label in name.split(".")) else None


def host(name: Any) -> str:
    """A `dns.name.Name` as answers show host names: lower case, no final dot, odd octets escaped; the root is ""."""
    text: str = name.to_text(omit_final_dot=True)
    return "" if text == "." else text.lower()


def tlsa(octets: bytes) -> str:
    """The text of a TLSA record. One that cannot be used does not spoil the others (RFC 7671 section 4), so nothing is
    asked of its digest here; raises ValueError where it is no record at all."""
    if len(octets) < 4:
        raise ValueError(f"a TLSA record of {len(octets)} octets")
    return f"{octets[0]} {octets[1]} {octets[2]} {octets[3:].hex()}"


def record(kind: str, rdata: Any) -> Any:
    """The value of one `dns.rdata.Rdata`, in the shape that `policy.names.Answer` gives for its kind."""
    if kind in ("A", "AAAA"):
        return rdata.address
    if kind in ("PTR", "CNAME", "NS"):
        return host(rdata.target)
    if kind == "MX":
        return rdata.preference, host(rdata.exchange)
    if kind == "TXT":
        return b"".join(rdata.strings)
    return rdata.to_text()
