"""What is taken out of a kept record: all about one person, or who exactly a client was.

Records are the lists of `policy.record.compact`; they are changed in place. An address is looked for in all texts, in
whatever case, and never as a part of a longer one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Final

from smtpgate.policy.record import MESSAGE_AT, RECIPIENT_AT, SESSION_AT
from smtpgate.smtp.address import canonical_domain

#: What stands where an address was.
ERASED: Final = "erased"
#: Bits of a client's address that stay (RFC 8932 section 5.2.1 and others cut so).
BITS: Final = {4: 24, 6: 48}

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]"
_SENDER, _RECIPIENTS = MESSAGE_AT["sender"], MESSAGE_AT["recipients"]
_SUBJECT, _ID, _CHANGES = MESSAGE_AT["subject"], MESSAGE_AT["message_id"], MESSAGE_AT["changes"]
_CLIENT, _PEER = SESSION_AT["client_ip"], SESSION_AT["peer_ip"]
_PORT, _NAME, _HELO = SESSION_AT["client_port"], SESSION_AT["client_name"], SESSION_AT["helo"]

#: Changes a record; whether there was anything to change.
Change = Callable[[list[Any]], bool]


def eraser(address: str) -> Change:
    """Takes an address out of a record, and of its messages what they were about.

    :param address: local part and domain; the domain in letters or as it is in the DNS
    """
    local, _, domain = address.rpartition("@")
    forms = {f"{local}@{domain}".lower(), f"{local}@{canonical_domain(domain)}".lower()}
    either = "|".join(sorted(map(re.escape, forms), key=len, reverse=True))
    pattern = re.compile(rf"(?<!{_ATEXT})(?:{either})(?![A-Za-z0-9\-]|\.[A-Za-z0-9])", re.IGNORECASE)
    bracketed = {f"<{one}>" for one in forms}

    def erase(record: list[Any]) -> bool:
        for message in record[SESSION_AT["messages"]]:
            people = [message[_SENDER], *(one[RECIPIENT_AT["address"]] for one in message[_RECIPIENTS])]
            if any(one.lower() in bracketed for one in people):
                message[_SUBJECT] = message[_ID] = ""
                del message[_CHANGES:]
        return _replace(record, partial(pattern.sub, ERASED))

    return erase


def coarsen(record: list[Any]) -> bool:
    """Of the client's address its network stays, and neither its port nor its name."""
    found = False
    for place in dict.fromkeys((_CLIENT, _PEER)):
        cut = network_of(record[place])
        if cut == record[place]:
            continue
        found = True
        before = re.escape(record[place])
        pattern = re.compile(rf"(?<![0-9A-Fa-f.]){before}(?![0-9A-Fa-f]|\.[0-9])", re.IGNORECASE)
        _replace(record, partial(pattern.sub, cut))
    if found:
        name, record[_PORT] = record[_NAME], 0
        record[_NAME] = ""
        if name:
            _replace(record, lambda text: text.replace(name, ERASED))
        if record[_HELO].startswith("["):
            record[_HELO] = ""
    return found


def network_of(ip: str) -> str:
    """The first address of a client's network; the same text where it is no address."""
    try:
        made = ip_address(ip)
    except ValueError:
        return ip
    return str(ip_network(f"{made}/{BITS[made.version]}", strict=False).network_address)


def _replace(values: list[Any], other: Callable[[str], str]) -> bool:
    """Other texts in place of all in a list of lists; whether one was another."""
    found = False
    for at, value in enumerate(values):
        if isinstance(value, str):
            changed = other(value)
            if changed != value:
                values[at] = changed
                found = True
        elif isinstance(value, list):
            found |= _replace(value, other)
    return found
