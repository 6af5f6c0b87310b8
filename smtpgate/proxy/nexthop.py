"""Where mail of a domain goes, by the DNS: its MX hosts in the order in which they are asked.

`proxy.destinations` asks for it once for each domain and time to live. RFC 5321 section 5.1 (order, random among
equals, the domain itself where it has no MX, hosts that are ourselves), RFC 7505 (a domain that takes no mail).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from smtpgate.policy.names import Answer
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: Hosts of one domain that are asked; Postfix tries 5 addresses (smtp_mx_address_limit).
HOSTS: Final = 10


class NoNextHop(Exception):
    """Mail of that domain goes nowhere.

    :ivar reply: what the client hears
    """

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


@attrs.frozen
class NextHop:
    """Where mail of a domain goes.

    :ivar hosts: each with its preference, counted from 1
    :ivar is_secure: DNSSEC says so
    :ivar ttl_s: so long
    """

    domain: str
    hosts: tuple[tuple[int, str], ...]
    is_secure: bool
    ttl_s: int


async def find(
    resolver: Any, domain: str, own_name: str, shuffle: Callable[[list[str]], None] | None = None
) -> NextHop:
    """Ask the DNS. Raises NoNextHop.

    :param resolver: an `interfaces.IResolver`
    :param own_name: hosts of that name, and those that are no better, are left out
    :param shuffle: puts hosts of one preference in an order
    """
    literal = _literal(domain)
    if literal is not None:
        return NextHop(domain, ((1, literal),), False, 3600)
    if not domain or domain.startswith("["):
        raise NoNextHop(status.NO_DOMAIN, "no domain that mail can be sent to")
    answer: Answer = await resolver.lookup(domain, "MX")
    if answer.is_temporary:
        raise NoNextHop(status.DNS_FAILED, f"MX of {domain}: {answer.status}")
    if answer.status == "nxdomain":
        raise NoNextHop(status.NO_DOMAIN, f"{domain} does not exist")
    if answer.status == "nodata":
        await _must_have_address(lambda kind: resolver.lookup(domain, kind), domain)
        return NextHop(domain, ((1, domain),), answer.is_authentic, answer.ttl)
    named = [(preference, host) for preference, host in answer.records if host]
    if not named:
        raise NoNextHop(status.NULL_MX, f"{domain} takes no mail")
    return NextHop(
        domain, _in_order(named, own_name.lower(), shuffle or random.shuffle), answer.is_authentic, answer.ttl
    )


def _in_order(
    named: list[tuple[int, str]], own_name: str, shuffle: Callable[[list[str]], None]
) -> tuple[tuple[int, str], ...]:
    ours = min((preference for preference, host in named if host == own_name), default=None)
    by_preference: dict[int, list[str]] = {}
    for preference, host in dict.fromkeys(named):
        if ours is None or preference < ours:
            by_preference.setdefault(preference, []).append(host)
    if not by_preference:
        raise NoNextHop(status.PROXY_LOOP, "the best MX is this gateway")
    hosts: dict[str, int] = {}
    for rank, preference in enumerate(sorted(by_preference), 1):
        shuffle(by_preference[preference])
        for host in by_preference[preference]:
            hosts.setdefault(host, rank)
    return tuple((rank, host) for host, rank in list(hosts.items())[:HOSTS])


async def _must_have_address(ask: Callable[[str], Awaitable[Answer]], domain: str) -> None:
    answers = [await ask("AAAA"), await ask("A")]
    if all(answer.is_void for answer in answers):
        raise NoNextHop(status.NO_DOMAIN, f"{domain} has neither MX nor address")
    if not any(answer.status == "ok" for answer in answers):
        raise NoNextHop(status.DNS_FAILED, f"addresses of {domain}: {', '.join(one.status for one in answers)}")


def _literal(domain: str) -> str | None:
    """The address of an address literal (RFC 5321 section 4.1.3)."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    text = text[5:] if text.lower().startswith("ipv6:") else text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
