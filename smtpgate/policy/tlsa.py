"""TLSA records: what the DNS says of a server's certificate, and which of it means something to us.

RFC 6698 section 2.1 (form), RFC 7671 sections 4 and 9 (which are usable, the strongest digest), RFC 7672 section 3.1.3
(usages 0 and 1 are none for SMTP).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

DANE_TA, DANE_EE = 2, 3
#: Octets of each digest, by matching type (RFC 6698 section 2.1.3); type 0 is the thing itself.
DIGESTS: Final = {1: ("sha256", 32), 2: ("sha512", 64)}


@attrs.frozen
class TLSA:
    """One record.

    :ivar usage: 2: an authority of the server's own; 3: its certificate
    :ivar selector: 0: the whole certificate; 1: its public key
    :ivar matching: 0: as it is; 1: SHA-256; 2: SHA-512
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Whether a certificate can be held against it."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (0, 1):
            return False
        if self.matching == 0:
            return bool(self.data)
        return self.matching in DIGESTS and len(self.data) == DIGESTS[self.matching][1]


def read(text: str) -> TLSA | None:
    """A record out of its presentation form, as "3 1 1 8bd1..."; None where it is none."""
    words = text.split()
    if len(words) < 4 or not all(word.isascii() and word.isdigit() and len(word) <= 3 for word in words[:3]):
        return None
    try:
        data = bytes.fromhex("".join(words[3:]))
    except ValueError:
        return None
    return TLSA(int(words[0]), int(words[1]), int(words[2]), data)


def usable(texts: Iterable[str]) -> tuple[TLSA, ...]:
    """Those that a certificate is held against: of the digests of one thing the strongest (RFC 7671 section 9)."""
    found = [one for one in map(read, texts) if one is not None and one.is_usable]
    strongest: dict[tuple[int, int], int] = {}
    for one in found:
        kind = one.usage, one.selector
        strongest[kind] = max(strongest.get(kind, 0), one.matching)
    return tuple(one for one in found if one.matching in (0, strongest[one.usage, one.selector]))
