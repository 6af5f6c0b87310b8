"""Which addresses are of the Internet, and which of networks that only those inside have.

The DNS of a stranger may name any address; we connect to none for it that only we can reach. RFC 6890, RFC 6052.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

from smtpgate.smtp.address import plain_ip

#: Addresses of IPv4 behind a translator (RFC 6052 section 2.1).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
#: What is global in IPv6; whatever lies outside of it is of a site, of a translator of somebody's own (RFC 8215), or an
#: old way to write an address of IPv4 (RFC 4291 section 2.5.5.1), which some system may still take for one.
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
#: Nobody's hosts, in the registries of IANA younger than the library's: relays of 6to4 (RFC 7526), and documents
#: (RFC 9637).
_NOBODY: Final = (ipaddress.ip_network("192.88.99.0/24"), ipaddress.ip_network("3fff::/20"))


def is_public(text: str) -> bool:
    """Whether an address is one of the Internet; so is what holds another only where that is one. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address not in _GLOBAL:
            return False
    return address.is_global and not address.is_multicast and not any(address in one for one in _NOBODY)


def may_be_called(text: str, is_listed: Callable[[str], bool]) -> bool:
    """Whether the gateway may connect to an address for somebody who wrote it into the configuration: one of the
    Internet, or one inside that they have listed too. Raises ValueError.
    """
    return is_public(text) or is_listed(plain_ip(text))
