"""What protects the way to a server that the DNS names: its addresses, and what its domain publishes of its TLS.

For each connection `Guard.route` says to which addresses it goes and how it is protected (`proxy.plan.Plan`):

1. DANE, where MX, address and TLSA records are all signed: the certificate must be one of those that TLSA names; where
   none of these can be used, any TLS will do, and nothing less (RFC 7672 section 2.2). Nothing else is asked then.
2. MTA-STS in mode enforce: the host must be one of the policy, and its certificate right (RFC 8461 section 5).
3. What the message needs, and what the backend says.

A name that only an unsigned answer gave proves nothing: where the MX records are neither signed nor confirmed by a
policy, a certificate counts for a host within the domain itself, or for the domain (as Postfix, level secure).

What a domain publishes and does not keep is a matter of time: 4yz. What it does not have and the message needs is 5yz.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

import attrs

from smtpgate.config.model import Backend
from smtpgate.policy import tlsa
from smtpgate.policy.addresses import is_public
from smtpgate.policy.names import Answer
from smtpgate.policy.protection import Need
from smtpgate.policy.transaction import TLSFacts
from smtpgate.proxy import plan as plans
from smtpgate.proxy.nexthop import NextHop
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: Addresses of one server that are tried; Postfix: smtp_mx_address_limit 5.
ADDRESSES: Final = 6
#: Aliases that are followed to a server's TLSA records; Unbound follows 11.
ALIASES: Final = 8
Address = tuple[int, Any]


@attrs.frozen
class Published:
    """What a domain publishes of its TLS, for reports (RFC 8460 section 4.4).

    :ivar kind: tlsa, sts or no-policy-found
    :ivar lines: the policy as it stands there; `hosts`: the names of its servers, of sts
    """

    kind: str = "no-policy-found"
    lines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


NOTHING: Final = Published()


class NoRoad(Exception):
    """No connection may be made to that server.

    :ivar stage: connect or starttls; `reply`: what the client hears
    :ivar fault: by the words of RFC 8460 section 4.3
    """

    def __init__(self, stage: str, reply: Reply, reason: str, fault: str = "", policy: Published = NOTHING) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reply = reply
        self.reason = reason
        self.fault = fault
        self.policy = policy


@attrs.frozen
class Route:
    """One server: where it is, and how the way to it is protected.

    :ivar policy: None where nothing is counted
    :ivar doubt: what is wrong with what its domain publishes, and does not keep the mail from going
    """

    addresses: list[Address]
    plan: plans.Plan
    policy: Published | None
    doubt: str = ""


@attrs.frozen
class _Host:
    """A server's addresses, and whether they are signed."""

    name: str
    addresses: list[Address]
    is_secure: bool


class Guard:
    """The guard of one destination."""

    def __init__(self, backend: Backend, hop: NextHop, resolver: Any, sts: Any, reports: Any) -> None:
        """
        :param resolver: an `interfaces.IResolver`
        :param sts: the `proxy.sts.Policies`
        :param reports: the `proxy.tls_reports.TLSReports`
        """
        self._backend = backend
        self._hop = hop
        self._resolver = resolver
        self._sts = sts
        self._reports = reports

    # What is seen

    def failed(self, host: str, policy: Published | None, fault: str) -> None:
        """A connection could not be protected; "" where it was something else."""
        if fault and policy is not None:
            self._reports.failed(self._hop.domain, policy, host, fault)

    def opened(self, host: str, route: Route, tls: TLSFacts | None) -> None:
        """A connection stands."""
        if route.policy is None:
            return
        doubt = plans.NO_STARTTLS if tls is None else tls.doubt or route.doubt
        if doubt:
            self._reports.failed(self._hop.domain, route.policy, host, doubt)
        else:
            self._reports.succeeded(self._hop.domain, route.policy)

    # The way

    async def route(self, name: str, port: int, need: Need, tls: Any) -> Route:
        """Where a server is, and how the way to it is protected. Raises NoRoad.

        :param tls: the backend's `net.tls.ClientTLS`; None where its `tls` is off
        """
        host = await self._find(name, port)
        if tls is None:
            if need:
                raise NoRoad("starttls", plans.unmet(need), plans.why_never(self._backend, need))
            return Route(host.addresses, plans.Plan("off"), NOTHING)
        if need.is_lenient:
            # Not counted: reports on reports would never end.
            if self._backend.tls == "verify":
                plan = plans.Plan("required", tls.verified(need.names, self._names(name, False)), need=need)
            else:
                plan = attrs.evolve(plans.of_backend(self._backend, tls, need), need=need)
            return Route(host.addresses, plan, None)
        published = await self._records(host, port) if self._backend.dane else None
        if published is not None:
            plan = self._by_dane(host, need, tls, *published)
            doubt = "" if published[1] else "tlsa-invalid"
            return Route(host.addresses, plan, Published("tlsa", published[2]), doubt)
        policy = await self._sts.policy(self._hop.domain) if self._backend.mta_sts else None
        shown = Published("sts", policy.lines, policy.hosts) if policy is not None else NOTHING
        if need.level == "dane":
            raise NoRoad("starttls", plans.unmet(need), f"no signed TLSA records for {name}", "dane-required", shown)
        is_named = policy is not None and policy.mode != "none" and policy.has(name)
        if policy is not None and policy.mode == "enforce":
            if not is_named:
                reason = f"{name} is none of the hosts of the MTA-STS policy of {self._hop.domain}"
                raise NoRoad("starttls", status.BACKEND_TLS_FAILED, reason, "validation-failure", shown)
            plan = plans.Plan("required", tls.verified((*need.names, (name,))), need=need)
            return Route(host.addresses, plan, shown)
        if need.is_strict and not self._hop.is_secure:
            raise NoRoad("starttls", plans.unmet(need), f"nothing proves that {name} is the server", "", shown)
        if need.level == "verified" or self._backend.tls == "verify":
            checked = tls.verified(need.names, self._names(name, is_named))
            plan = plans.Plan("required", checked, need=need, unmet=plans.unmet(need) if need else None)
        elif need:
            plan = plans.Plan("required", tls, need=need, unmet=plans.unmet(need))
        elif policy is not None and policy.mode == "testing":
            mode = plans.MODES[self._backend.tls]
            # A later message may find this connection and need more: what proves nothing to it proves nothing now.
            plan = plans.Plan(mode, tls.looked_at((name,), self._names(name, is_named)), mode == "optional")
            return Route(host.addresses, plan, shown, "" if is_named else "validation-failure")
        else:
            plan = plans.of_backend(self._backend, tls, need)
        return Route(host.addresses, plan, shown)

    def _names(self, name: str, is_confirmed: bool) -> tuple[str, ...]:
        domain = self._hop.domain
        if is_confirmed or self._hop.is_secure or name == domain or name.endswith(f".{domain}"):
            return (name, domain)
        return (domain,)

    def _by_dane(
        self, host: _Host, need: Need, tls: Any, base: str, usable: tuple[tlsa.TLSA, ...], lines: tuple[str, ...]
    ) -> plans.Plan:
        if usable:
            return plans.Plan("required", tls.dane(usable, (base, host.name, self._hop.domain)), need=need)
        policy = Published("tlsa", lines)
        if need.level == "dane" or need.is_strict and not self._hop.is_secure:
            reason = f"no TLSA record of {host.name} can be used"
            raise NoRoad("starttls", plans.unmet(need), reason, "tlsa-invalid", policy)
        if need.level == "verified" or self._backend.tls == "verify":
            checked = tls.verified(need.names, self._names(host.name, False))
            return plans.Plan("required", checked, need=need, unmet=plans.unmet(need) if need else None)
        return plans.Plan("required", tls, need=need)

    # The DNS

    async def _find(self, name: str, port: int) -> _Host:
        literal = _address(name)
        if literal is not None:
            answers = [Answer("ok", (name,))]
        else:
            answers = [await self._resolver.lookup(name, kind) for kind in ("AAAA", "A")]
        found = [str(address) for answer in answers for address in answer.records]
        if self._hop.is_secure and self._backend.dane and any(answer.is_temporary for answer in answers):
            # Without that answer nobody knows whether DANE is asked for (RFC 7672 section 2.1.1).
            raise NoRoad(
                "connect", status.DNS_FAILED, f"addresses of {name}: not all that can be used", "dnssec-invalid"
            )
        if not found:
            if any(answer.is_temporary for answer in answers):
                raise NoRoad("connect", status.DNS_FAILED, f"addresses of {name}: no answer that can be used")
            raise NoRoad("connect", status.BACKEND_UNREACHABLE, f"{name} has no address")
        allowed = [one for one in found if self._backend.allow_private or is_public(one)]
        if not allowed:
            reason = f"{name} has private addresses only, as {found[0]}: allow_private = true would take them"
            raise NoRoad("connect", status.NO_ROAD, reason)
        is_secure = all(answer.is_authentic for answer in answers)
        return _Host(name, [_place(one, port) for one in allowed[:ADDRESSES]], is_secure)

    async def _records(self, host: _Host, port: int) -> tuple[str, tuple[tlsa.TLSA, ...], tuple[str, ...]] | None:
        """The name of the TLSA records, those that can be used, and all of them; None where there are none that DNSSEC
        vouches for. Raises NoRoad where it cannot be known (RFC 7672 section 2.1)."""
        if not (self._hop.is_secure and host.is_secure):
            return None
        # The name at the end of signed aliases comes first (RFC 7672 section 2.2).
        target = await self._behind(host.name)
        for base in dict.fromkeys((target, host.name)):
            answer: Answer = await self._resolver.lookup(f"_{port}._tcp.{base}", "TLSA")
            if answer.is_temporary:
                reason = f"TLSA of {base}: {answer.status}"
                raise NoRoad("starttls", status.BACKEND_TLS_FAILED, reason, "dnssec-invalid", Published("tlsa"))
            if answer.status == "ok" and answer.is_authentic:
                lines = tuple(str(one) for one in answer.records)
                return base, tlsa.usable(lines), lines
        return None

    async def _behind(self, name: str) -> str:
        """What a name is an alias of in the end, as far as DNSSEC vouches for it."""
        for _ in range(ALIASES):
            alias: Answer = await self._resolver.lookup(name, "CNAME")
            if alias.is_temporary:
                reason = f"CNAME of {name}: {alias.status}"
                raise NoRoad("starttls", status.BACKEND_TLS_FAILED, reason, "dnssec-invalid", Published("tlsa"))
            if alias.status != "ok" or not alias.is_authentic:
                break
            name = str(alias.records[0])
        return name


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _place(address: str, port: int) -> Address:
    return (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
