"""`smtpgate check-dns DOMAIN`: what the world reads in the DNS about a domain's mail; nothing is changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from smtpgate.cli.gateway import settings_of
from smtpgate.cli.probes import WAIT_S, Line
from smtpgate.cli.terminal import Failed, say, say_json
from smtpgate.config.entry import normal_domain
from smtpgate.config.problem import BadValue

MORE = (
    "MX, SPF (RFC 7208), DMARC (RFC 7489), DKIM keys of the selectors that are given (RFC 6376), MTA-STS (RFC 8461), "
    "TLS reports (RFC 8460) and DANE (RFC 7672). Exit code 0: nothing fails, perhaps with warnings. 1: something fails."
)
#: Strings of a name of one kind; raises Unknown where nobody can say.
Ask = Callable[[str, str], list[str]]


class Unknown(Exception):
    """No answer: that is not the same as an answer that there is nothing."""


def options(one: argparse.ArgumentParser) -> None:
    """Those of `check-dns`."""
    one.add_argument("domain", metavar="DOMAIN", help="the domain behind the @")
    one.add_argument("--selector", action="append", default=[], metavar="NAME", help="a DKIM selector; several times")


def check_dns(args: argparse.Namespace) -> None:
    """What the DNS says of a domain's mail: each finding with one line that mends it."""
    try:
        domain = normal_domain(args.domain)
    except BadValue as error:
        raise Failed(f"{error}; {error.hint}") from None
    lines = list(look(domain, args.selector, _resolver(args)))
    if args.json:
        say_json({"items": [attrs.asdict(line) for line in lines]})
    for line in lines if not args.json else ():
        say(f"{line.state:4}  {line.check:8}  {line.text}")
        if line.fix:
            say(f"{'':16}{line.fix}")
    if any(line.state == "fail" for line in lines):
        raise SystemExit(1)


def _resolver(args: argparse.Namespace) -> Ask:
    import dns.exception
    import dns.resolver

    servers = settings_of(args.config).resolver.servers if args.config is not None else ()
    try:
        resolver = dns.resolver.Resolver(configure=not servers)
    except dns.exception.DNSException as error:
        raise Failed(f"there is no resolver: {error}") from None
    if servers:
        resolver.nameservers = [host for host, _ in servers]
        resolver.nameserver_ports = dict(servers)
    resolver.lifetime = WAIT_S

    def ask(name: str, kind: str) -> list[str]:
        try:
            found = resolver.resolve(name, kind)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise Unknown(f"{name} {kind}: {type(error).__name__}") from None
        if kind == "TXT":
            return [b"".join(one.strings).decode("utf-8", "replace") for one in found]
        if kind == "MX":
            return [f"{one.preference} {str(one.exchange).rstrip('.')}" for one in found]
        return [str(one) for one in found]

    return ask


def look(domain: str, selectors: list[str], ask: Ask) -> Iterator[Line]:
    """All findings; what cannot be asked is a warning, and never taken for an answer."""
    hosts: list[str] = []

    def safely(check: str, work: Callable[[], Iterator[Line]]) -> Iterator[Line]:
        try:
            yield from list(work())
        except Unknown as error:
            yield Line(check, "warn", f"no answer: {error}", "ask again later, or another resolver")

    def mx() -> Iterator[Line]:
        found = sorted(ask(domain, "MX"), key=lambda text: int(text.split()[0]))
        names = [text.split()[1] if len(text.split()) > 1 else "" for text in found]
        if names == [""]:
            yield Line("mx", "ok", f"{domain} takes no mail (RFC 7505)")
            return
        if not names:
            yield Line("mx", "fail", f"{domain} has no MX record", f"{domain}. MX 10 NAME-OF-THE-GATEWAY.")
            return
        hosts.extend(names)
        for name in names:
            addresses = ask(name, "A") + ask(name, "AAAA")
            fix = f"give {name} an A or AAAA record"
            yield (
                Line("mx", "ok", f"{name} is {', '.join(addresses)}")
                if addresses
                else Line("mx", "fail", f"{name} has no address", fix)
            )

    yield from safely("mx", mx)
    yield from safely("spf", lambda: _one(ask(domain, "TXT"), "spf", "v=spf1", domain, 'TXT "v=spf1 mx -all"'))
    policy = f"_dmarc.{domain}"
    yield from safely("dmarc", lambda: _one(ask(policy, "TXT"), "dmarc", "v=DMARC1", policy, 'TXT "v=DMARC1; p=none"'))
    for selector in selectors:
        key = f"{selector}._domainkey.{domain}"
        yield from safely("dkim", lambda key=key: _key(ask(key, "TXT"), key))  # type: ignore[misc]
    sts, reports = f"_mta-sts.{domain}", f"_smtp._tls.{domain}"
    yield from safely("mta-sts", lambda: _one(ask(sts, "TXT"), "mta-sts", "v=STSv1", sts, 'TXT "v=STSv1; id=1"'))
    fix = f'TXT "v=TLSRPTv1; rua=mailto:postmaster@{domain}"'
    yield from safely("tls-rpt", lambda: _one(ask(reports, "TXT"), "tls-rpt", "v=TLSRPTv1", reports, fix))
    for host in hosts:
        yield from safely("dane", lambda host=host: _dane(ask(f"_25._tcp.{host}", "TLSA"), host))  # type: ignore[misc]


def _one(found: list[str], check: str, begins: str, name: str, fix: str) -> Iterator[Line]:
    wanted = [text for text in found if text.lower().split(";")[0].split(" ")[0].strip() == begins.lower()]
    if len(wanted) > 1:
        yield Line(check, "fail", f"{name} has {len(wanted)} records: receivers heed none of them", "leave one")
    elif wanted:
        yield Line(check, "ok", wanted[0])
    else:
        yield Line(check, "warn", f"{name} has no record", f"{name}. {fix}")


def _key(found: list[str], name: str) -> Iterator[Line]:
    if not found:
        yield Line("dkim", "fail", f"{name} has no key", "smtpgate dkim-key show prints the record")
        return
    tags = [dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part) for text in found]
    keys: list[Any] = [one.get("p", "").replace(" ", "") for one in tags if "p" in one]
    if keys and keys[0]:
        yield Line("dkim", "ok", f"{name} has a key")
    else:
        yield Line("dkim", "fail", f"{name}: the key is revoked, or no key", "smtpgate dkim-key show prints the record")


def _dane(found: list[str], host: str) -> Iterator[Line]:
    if found:
        yield Line("dane", "ok", f"_25._tcp.{host} has {len(found)} TLSA records; they count where the zone is signed")
    else:
        yield Line("dane", "warn", f"_25._tcp.{host} has no TLSA record", "docs/tls.md; it wants a signed zone")
