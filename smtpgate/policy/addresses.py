"""Which addresses are of the Internet, and which of networks that only those inside have.

The DNS of a stranger may name any address; we connect to none for it that only we can reach. RFC 6890, RFC 6052.
"""

from __future__ import annotations

import ipaddress
from typing import Final

#: Addresses of IPv4 behind a translator (RFC 6052 section 2.1).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an address is one of the Internet; so is what holds another only where that is one. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast
