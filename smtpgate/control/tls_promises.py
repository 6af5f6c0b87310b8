"""What the world is told of TLS for a domain of ours, held against what the listeners have: MX, MTA-STS (RFC 8461),
DANE (RFC 7672) and where reports are wanted (RFC 8460).

A promise that is not kept costs mail: senders that heed it do not deliver. So each difference is told with what would
be right. Only domains of ours are looked at, and nothing is changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from smtpgate.config.model import Settings
from smtpgate.config.unreadable import UNREADABLE
from smtpgate.control import chains
from smtpgate.control.certificates import files_of
from smtpgate.control.views import Refused, Unavailable
from smtpgate.interfaces import HTTPFailed
from smtpgate.policy.names import Answer
from smtpgate.policy.sts import BadPolicy, Policy, parse, record_id
from smtpgate.policy.tlsa import TLSA, usable

#: Time and octets of a policy; a sender takes no more either (RFC 8461 section 3.3: 64 kB).
FETCH_S: Final = 15.0
POLICY_OCTETS: Final = 65_536
#: MX hosts that are looked at.
HOSTS: Final = 20
_DIGESTS: Final = {1: hashlib.sha256, 2: hashlib.sha512}


@attrs.frozen
class Promise:
    """One finding. `state` is ok, warn or fail; `fix` says what would be right."""

    check: str
    state: Literal["ok", "warn", "fail"]
    text: str
    fix: str = ""


@attrs.frozen
class Offered:
    """A certificate that listeners for the world have.

    :ivar forms: of each certificate of its chain, its own first, whole and its key (DER)
    :ivar doubt: why a client of the world would not believe it
    """

    names: tuple[str, ...]
    forms: tuple[tuple[bytes, bytes], ...]
    doubt: str

    def is_for(self, host: str) -> bool:
        """Whether it names a host; a wildcard stands for one label."""
        host, parent = host.lower(), host.lower().partition(".")[2]
        names = [name.lower() for name in self.names]
        return any(name == host or name.startswith("*.") and name[2:] == parent for name in names)

    def keeps(self, record: TLSA) -> bool:
        """Whether it is what a record promises; of an authority any above it may be."""
        forms = self.forms if record.usage == 2 else self.forms[:1]
        digest = _DIGESTS.get(record.matching)
        return any(
            (digest(form[record.selector]).digest() if digest is not None else form[record.selector]) == record.data
            for form in forms
        )


def offered(files: Collection[tuple[Path, Any]], now: float, authorities: Any = None) -> tuple[Offered, ...]:
    """Those of some files; for a thread. Files that cannot be read are told elsewhere."""
    out = []
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    for path, _ in files:
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
            names = chains.names_of(found[0])
            forms = tuple((one.public_bytes(form[0]), one.public_key().public_bytes(*form)) for one in found)
        except (OSError, *UNREADABLE):
            continue
        out.append(Offered(names, forms, chains.doubt_of(found, names, now, authorities)))
    return tuple(out)


class Promises:
    """Of one gateway.

    :ivar lookup: asks the DNS: name and kind to an `Answer`; `http`: an `interfaces.IHTTPClient` for public addresses.
        Both are set by whoever has sockets
    :ivar own: the file of the certificate that listeners without one have
    """

    def __init__(
        self, wall: Callable[[], float], in_thread: Callable[..., Any], settings: Callable[[], Settings]
    ) -> None:
        self.lookup: Callable[[str, str], Awaitable[Answer]] | None = None
        self.http: Any = None
        self.own: Callable[[], Path | None] = lambda: None
        self._wall = wall
        self._in_thread = in_thread
        self._settings = settings
        self._is_busy = False

    def domains(self) -> tuple[str, ...]:
        """Domains of ours that can be looked at: those that are written out."""
        return tuple(name for name in self._settings().local_domains.entries if "*" not in name)

    async def check(self, domain: str, authorities: Any = None) -> list[Promise]:
        """All findings about one domain. Raises Refused, Unavailable."""
        domain = domain.strip().lower().rstrip(".")
        if domain not in self.domains():
            raise Refused(f"{domain[:100]} is none of local_domains: only what is promised for these is held up here")
        if self.lookup is None or self.http is None:
            raise Unavailable("this gateway cannot ask the DNS")
        if self._is_busy:
            raise Unavailable("another domain is looked at now: try again in a moment")
        self._is_busy = True
        try:
            return await self._check(domain, self.lookup, authorities)
        finally:
            self._is_busy = False

    async def _check(
        self, domain: str, lookup: Callable[[str, str], Awaitable[Answer]], authorities: Any
    ) -> list[Promise]:
        settings = self._settings()
        world = [name for name, one in settings.listeners.items() if one.role == "mx"]
        files = [(path, of) for path, of in files_of(settings, self.own()) if set(of) & set(world)]
        have: tuple[Offered, ...] = await self._in_thread(offered, files, self._wall(), authorities)
        answer = await lookup(domain, "MX")
        if answer.status != "ok":
            return [_unknown("mx", domain, "MX", answer)]
        hosts = [host for _, host in sorted(answer.records)][:HOSTS]
        ours = [host for host in hosts if host == settings.hostname or any(one.is_for(host) for one in have)]
        found = [Promise("mx", "ok", f"{domain} goes to {', '.join(hosts)}")]
        if not ours:
            fix = f"an MX record with {settings.hostname}, or a certificate for one of them"
            found.append(Promise("mx", "warn", f"none of them is this gateway ({settings.hostname})", fix))
        found += await self._sts(domain, hosts, ours, have, lookup)
        found += _reports(domain, await lookup(f"_smtp._tls.{domain}", "TXT"))
        for host in ours:
            name = f"_25._tcp.{host}"
            found += _dane(host, name, await lookup(name, "TLSA"), have)
        return found

    async def _sts(
        self,
        domain: str,
        hosts: Sequence[str],
        ours: Sequence[str],
        have: Sequence[Offered],
        lookup: Callable[[str, str], Awaitable[Answer]],
    ) -> list[Promise]:
        name = f"_mta-sts.{domain}"
        answer = await lookup(name, "TXT")
        if answer.is_temporary:
            return [_unknown("mta-sts", name, "TXT", answer)]
        if answer.is_void or not any(text.startswith(b"v=STSv1") for text in answer.records):
            fix = f'{name}. TXT "v=STSv1; id=1", and a policy at https://mta-sts.{domain}/'
            return [Promise("mta-sts", "warn", f"{domain} promises nothing by MTA-STS", fix)]
        if record_id(answer.records) is None:
            return [Promise("mta-sts", "fail", f"{name} has no record that can be read", 'one: "v=STSv1; id=1"')]
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        try:
            page = await self.http.request("GET", url, {}, None, FETCH_S, POLICY_OCTETS)
            if page.status != 200:
                return [Promise("mta-sts", "fail", f"{url} answers {page.status}", "put the policy there")]
            policy = parse(page.body)
        except HTTPFailed as error:
            return [Promise("mta-sts", "fail", f"{url}: {error}"[:300], "it must be there, with a good certificate")]
        except BadPolicy as error:
            return [Promise("mta-sts", "fail", f"the policy cannot be read: {error}"[:300], "mend it at its place")]
        return list(_policy(policy, hosts, ours, have))


def _unknown(check: str, name: str, kind: str, answer: Answer) -> Promise:
    if answer.is_void:
        return Promise(check, "fail", f"{name} has no {kind} record", f"{name}. {kind} 10 NAME-OF-THE-GATEWAY.")
    return Promise(check, "warn", f"no answer for {name} {kind}: {answer.status}", "ask again later")


def _policy(policy: Policy, hosts: Sequence[str], ours: Sequence[str], have: Sequence[Offered]) -> Iterator[Promise]:
    bad: Literal["warn", "fail"] = "fail" if policy.mode == "enforce" else "warn"
    yield Promise("mta-sts", "ok", f"mode {policy.mode}, for {policy.max_age_s} seconds")
    if policy.mode == "none":
        return
    for host in hosts:
        if not policy.has(host):
            yield Promise("mta-sts", bad, f"the policy does not name {host}, an MX host", f"add the line mx: {host}")
    for host in ours:
        fit = [one for one in have if one.is_for(host)]
        if not fit:
            fix = f"a certificate for {host} at the listeners of role mx"
            yield Promise("mta-sts", bad, f"no listener has a certificate for {host}", fix)
        elif all(one.doubt for one in fit):
            yield Promise("mta-sts", bad, f"the certificate for {host}: {fit[0].doubt}", "one that the world believes")
        else:
            yield Promise("mta-sts", "ok", f"the certificate for {host} keeps it")


def _reports(domain: str, answer: Answer) -> list[Promise]:
    name = f"_smtp._tls.{domain}"
    if answer.is_temporary:
        return [_unknown("tls-rpt", name, "TXT", answer)]
    found = [text for text in answer.records if text.startswith(b"v=TLSRPTv1")]
    if len(found) == 1:
        return [Promise("tls-rpt", "ok", found[0].decode("ascii", "replace")[:300])]
    if found:
        return [Promise("tls-rpt", "fail", f"{name} has {len(found)} records: senders heed none", "leave one")]
    fix = f'{name}. TXT "v=TLSRPTv1; rua=mailto:postmaster@{domain}"'
    return [Promise("tls-rpt", "warn", "nobody tells when TLS with you fails", fix)]


def _dane(host: str, name: str, answer: Answer, have: Sequence[Offered]) -> list[Promise]:
    if answer.is_temporary:
        return [
            Promise("dane", "fail", f"no answer for {name} TLSA: {answer.status}", "senders with DANE wait for one")
        ]
    if answer.is_void:
        return [Promise("dane", "ok", f"{host} promises nothing by DANE")]
    records = usable(answer.records)
    if not records:
        return [Promise("dane", "warn", f"{name} has no record that can be used", "3 1 1 and the digest of the key")]
    found = []
    if not answer.is_authentic:
        text = f"{name} is not signed, or the resolver does not say so: nobody heeds it"
        found.append(Promise("dane", "warn", text, "sign the zone (DNSSEC), and use a resolver that validates"))
    for one in have:
        if not any(one.keeps(record) for record in records):
            word: Literal["warn", "fail"] = "fail" if answer.is_authentic else "warn"
            text = f"the certificate for {', '.join(one.names[:3])} is none that {name} promises"
            key = hashlib.sha256(one.forms[0][1]).hexdigest()
            found.append(Promise("dane", word, text, f"{name}. TLSA 3 1 1 {key}"))
        else:
            found.append(Promise("dane", "ok", f"the certificate for {', '.join(one.names[:3])} keeps {name}"))
    return found
