"""Names of hosts that a provider's machine has made, from the address: lines for customers, seldom mail servers.

`generic_form` is pure and reads a name and its address together: digits in a name say little, the octets of the very
address much. Names whose words say mail (`smtp-out-12-34`) are left alone, since large senders number their hosts so,
but for those that say a dial-up line as well.

There is no standard for such names. The forms are those that access providers use; an expired Internet-Draft on naming
schemes for generic reverse DNS (msullivan, dnsop, 2006) proposed one for all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Words of lines whose address changes, or that customers hang on.
DYNAMIC: Final = frozenset(
    ("adsl", "broadband", "cable", "catv", "cpe", "dhcp", "dial", "dialin", "dialup", "dip", "docsis", "dsl", "dyn",
     "dynamic", "dynip", "fios", "ftth", "gprs", "lte", "mobile", "modem", "pool", "pools", "ppp", "pppoe", "res",
     "residential", "umts", "vdsl", "wifi", "wimax", "wireless", "xdsl")
)  # fmt: skip
#: Words of hosts that send mail.
MAIL: Final = frozenset(
    (
        "bounce",
        "email",
        "mail",
        "mailer",
        "mailout",
        "mta",
        "mx",
        "out",
        "outbound",
        "relay",
        "sender",
        "smtp",
        "smtpout",
    )
)


def generic_form(name: str, address: Address) -> str:
    """How a name was made: "dynamic" (of a line for customers), "generic" (of the address), or "" for a chosen one.

    :param name: lower case, without final dot
    """
    host, words = _host_part(name)
    is_numbered = _has_octets(host, address) if address.version == 4 else _has_groups(host, address)
    is_dynamic = any(word.rstrip("0123456789") in DYNAMIC for word in words)
    if is_numbered and is_dynamic:
        return "dynamic"
    if any(word.rstrip("0123456789") in MAIL for word in words):
        return ""
    if is_numbered:
        return "generic"
    # A line says so even where the number in its name is not the address.
    return "dynamic" if is_dynamic and any(character.isdigit() for character in host) else ""


def _host_part(name: str) -> tuple[str, list[str]]:
    """What stands before the domain (taken as the last two labels), and its words."""
    host = ".".join(name.split(".")[:-2])
    return host, "".join(one if one.isalnum() else " " for one in host).split()


def _runs(text: str, digits: str) -> list[str]:
    """Stretches of these characters."""
    return "".join(one if one in digits else " " for one in text).split()


def _has_octets(host: str, address: Address) -> bool:
    """Three octets of an IPv4 address in a row, in either order, or all of it in one number."""
    octets = list(address.packed)
    runs = _runs(host, "0123456789")
    numbers = [int(run) if len(run) <= 3 else -1 for run in runs]
    for order in (octets, octets[::-1]):
        if _has_row(numbers, order[:3]) or _has_row(numbers, order[1:]):
            return True
        padded, joined = "".join(f"{octet:03}" for octet in order), "".join(map(str, order))
        if any(run == padded or len(joined) >= 8 and run == joined for run in runs):
            return True
        hexadecimal = bytes(order).hex()
        if any(hexadecimal in run for run in _runs(host, "0123456789abcdef")):
            return True
    return False


def _has_row(numbers: Sequence[int], row: Sequence[int]) -> bool:
    size = len(row)
    return any(list(numbers[at : at + size]) == list(row) for at in range(len(numbers) - size + 1))


def _has_groups(host: str, address: Address) -> bool:
    """The upper or the lower half of an IPv6 address, as four groups or as sixteen digits."""
    whole = address.packed.hex()
    rows = [[int(half[at : at + 4], 16) for at in range(0, 16, 4)] for half in (whole[:16], whole[16:])]
    # Of a half that is nearly empty, as in ::1, the digits stand in many names.
    rows = [row for row in rows if sum(map(bool, row)) > 1]
    solid = "".join(one for one in host if one.isalnum())
    groups = [int(run, 16) if len(run) <= 4 else -1 for run in _runs(host, "0123456789abcdef")]
    return any(_has_row(groups, row) or "".join(f"{group:04x}" for group in row) in solid for row in rows)
