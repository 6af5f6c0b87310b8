"""The settings as the program holds them: one frozen tree, complete, in plain units.

The loader makes the tree; every other room gets the one section it needs and nothing else. Times end in `_s`
(seconds), sizes in `_octets`. Nothing here reads files, knows defaults of the network or decides anything: a
class has validators at most, and what depends on the role of a listener is filled in. What each key means is
said in `schema`, where the administrator's documents come from.

Values compare by content, so that a reload can see what changed. `Settings` itself is compared by identity:
two revisions are never the same revision.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from smtpgate.config.model_hooks import AlertMail, Webhook
from smtpgate.config.model_policy import Groups, Rule, TLSPolicy
from smtpgate.config.model_quarantine import Digest, Outbox, Quarantine, TLSReport
from smtpgate.config.model_signing import DKIMKey, SMIMEKey
from smtpgate.config.model_sso import Provider
from smtpgate.config.model_traffic import Bans, ClassOf, ConcurrencyLimit, Pressure, RateLimit, default_classes
from smtpgate.config.patterns import (
    NO_ADDRESSES,
    NO_DOMAINS,
    NO_NETWORKS,
    NO_USERS,
    AddressList,
    DomainList,
    NetworkList,
    PatternList,
)
from smtpgate.config.problem import Problem
from smtpgate.policy.found import Kept
from smtpgate.policy.verdict import NO_SCALE, Scale
from smtpgate.rules.searching import NO_OWN, NO_SEARCH, Own, Search

Role = Literal["mx", "submission"]
Protocol = Literal["smtp", "lmtp"]

#: Our own time after the client's final dot, by role. A person waits on submission, a server on mx.
VERDICT_S: Mapping[str, float] = MappingProxyType({"mx": 45.0, "submission": 20.0})


class Secret:
    """A text that shows itself only when asked by name: no repr, no str, no format, no pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the wire, never for a log."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled or copied out")


@attrs.frozen
class Log:
    """Where the log goes and how much of it. `file` is "-" for standard output, else an absolute path."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: str = "-"


@attrs.frozen
class Admin:
    """The management side. `listen` and `health_listen` are Twisted endpoints, None when off."""

    listen: str | None = "tcp:8080:interface=127.0.0.1"
    health_listen: str | None = None
    config: str = "file"
    insecure: bool = False
    trusted_hosts: tuple[str, ...] = ()
    public_url: str = ""
    require_totp: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path under which a proxy has the pages, "" where they are at the root."""
        return urlsplit(self.public_url).path


@attrs.frozen
class Limits:
    """What one client, session or message may take."""

    message_size_octets: int = 50 * 2**20
    header_size_octets: int = 2**20
    recipients: int = 1000
    errors: int = 20
    #: Commands without mail in between; precedent Postfix smtpd_junk_command_limit.
    junk: int = 100
    received_hops: int = 100
    own_hops: int = 3
    connections: int = 10000
    connections_per_client: int = 50
    messages_per_session: int = 1000
    auth_failures: int = 3
    #: Octets per second of content; precedent Postfix smtpd_min_data_rate.
    min_data_rate_octets: int = 500
    #: Longest line of content. RFC 5321 section 4.5.3.1.6 says 1000, real mail is far over it.
    line_length_octets: int = 2**20
    #: Keys of all rate limits together; some 200 octets of memory each.
    rate_keys: int = 250_000
    #: Memory of all bodies that are held.
    body_memory_octets: int = 256 * 2**20
    #: Part of a message held in memory before a file is used.
    spool_memory_octets: int = 2**20


@attrs.frozen
class Timeouts:
    """How long each side may take. RFC 5321 section 4.5.3.2 is where the protocol's own come from."""

    greeting_s: float = 30.0
    command_s: float = 300.0
    backend_s: float = 300.0
    data_init_s: float = 120.0
    data_block_s: float = 180.0
    data_done_s: float = 600.0
    verdict_s: float | None = None
    drain_s: float = 30.0
    tls_s: float = 60.0
    proxy_header_s: float = 5.0

    def verdict_for(self, role: str) -> float:
        """Seconds that our own checks may take after the client's final dot on a listener of this role."""
        return VERDICT_S[role] if self.verdict_s is None else self.verdict_s


@attrs.frozen
class Listener:
    """One front door. What depends on the role has its final value here."""

    name: str
    listen: tuple[str, ...]
    role: Role = "mx"
    protocol: Protocol = "smtp"
    tls: Literal["off", "optional", "required", "implicit"] = "optional"
    certificates: tuple[Path, ...] = ()
    client_ca: Path | None = None
    auth: Literal["off", "relay", "local"] = "off"
    auth_required: bool = attrs.field()
    auth_requires_tls: bool = True
    password_file: Path | None = None
    relay_from: NetworkList = NO_NETWORKS
    proxy_protocol_from: NetworkList = NO_NETWORKS
    xclient_from: NetworkList = NO_NETWORKS
    bare_newline: Literal["normalize", "reject", "reject-521"] = "normalize"
    early_talker: Literal["reject", "queue"] = attrs.field()
    greet_wait_s: float = attrs.field()
    strict_sync: bool = attrs.field()
    strict_paths: bool = False
    require_brackets: bool = True
    command_bare_lf: Literal["reject", "accept"] = "reject"
    capability_mode: Literal["intersection", "union"] = "intersection"
    hide_client: bool = False
    chunking: bool = True
    prdr: bool = True
    body: Literal["auto", "spool"] = "auto"
    split: Literal["fanout", "defer"] = "fanout"
    received: bool = True

    @auth_required.default
    def _auth_required(self) -> bool:
        # Where AUTH is off nobody has it, and only `relay_from` says who may send.
        return self.role == "submission"

    @early_talker.default
    def _early_talker(self) -> Literal["reject", "queue"]:
        return "reject" if self.role == "mx" else "queue"

    @greet_wait_s.default
    def _greet_wait(self) -> float:
        # Where a person waits nobody is tested.
        return 1.0 if self.role == "mx" else 0.0

    @strict_sync.default
    def _strict_sync(self) -> bool:
        return self.role == "mx"


@attrs.frozen
class Server:
    """One server of a backend: host and port, or the path of a unix socket."""

    address: str
    host: str
    port: int | None = None
    path: str | None = None
    weight: int = 1
    tier: int = 1


@attrs.frozen
class Credentials:
    """What the gateway itself logs in with at a backend."""

    user: str
    password: Secret


@attrs.frozen
class Backend:
    """One group of servers that take the same mail."""

    name: str
    servers: tuple[Server, ...] = ()
    protocol: Protocol = "smtp"
    tls: Literal["off", "optional", "required", "verify", "implicit"] = "optional"
    tls_name: str | None = None
    tls_ca: Path | None = None
    #: SHA-256 over the SubjectPublicKeyInfo, 32 octets each (RFC 7469 section 2.4).
    tls_pins: tuple[bytes, ...] = ()
    tls_certificate: Path | None = None
    credentials: Credentials | None = None
    auth_requires_tls: bool = True
    balance: Literal["round-robin", "least-connections", "least-time", "hash-recipient", "hash-user", "failover"] = (
        "least-connections"
    )
    #: None: 20 for a distant server, under the caps per source of Postfix and Exchange; no cap for a near one.
    max_connections: int | None = None
    total_connections: int | None = None
    slow_start_s: float = 30.0
    reuse: Literal["session", "pool"] = "session"
    #: Postfix smtp_connection_reuse_time_limit and _cache_time_limit; Exchange closes a connection at 20 minutes.
    reuse_age_s: float = 300.0
    reuse_idle_s: float = 2.0
    reuse_transactions: int = 100
    client_info: Literal["off", "xclient", "xforward", "proxy-v1", "proxy-v2"] = "off"
    ehlo_name: Literal["gateway", "client"] = "gateway"
    probe_s: float = 30.0
    eight_bit: Literal["reject", "pass"] = "reject"
    #: "mx": the servers are those that the DNS names for the domain of each recipient.
    kind: Literal["servers", "mx"] = "servers"
    port: int = 25
    allow_private: bool = False
    dane: bool = True
    mta_sts: bool = True


@attrs.frozen
class Route:
    """Which mail goes to which backend. An empty field is not asked about; all others must match.

    `number` counts from 1 in the order of the file, `line` is where the route begins.
    """

    number: int
    line: int
    listener: tuple[str, ...] = ()
    client: NetworkList = NO_NETWORKS
    sni: DomainList = NO_DOMAINS
    user: PatternList = NO_USERS
    sender: AddressList = NO_ADDRESSES
    recipient: AddressList = NO_ADDRESSES
    backend: str = ""


@attrs.frozen
class FilterUse:
    """One filter in the chain. None in `roles` and `on_error` leaves the choice to the filter.

    `options` is an instance of the factory's own `options` class; `number` and `line` are as in `Route`.
    """

    number: int
    line: int
    use: str
    name: str = attrs.field()
    roles: frozenset[str] | None = None
    mode: Literal["enforce", "shadow", "off"] = "enforce"
    on_error: Literal["tempfail", "reject", "continue"] | None = None
    options: object = attrs.field(default=None, hash=False)
    slots: int | None = None

    @name.default
    def _name(self) -> str:
        return self.use


@attrs.frozen
class Resolver:
    """Who answers questions of the DNS; no servers: those of the system."""

    servers: tuple[tuple[str, int], ...] = ()
    timeout_s: float = 3.0
    validating: NetworkList = NO_NETWORKS


@attrs.frozen
class Content:
    """How far content is looked at, and with what."""

    children: int = 2
    child_memory_octets: int = 768 * 2**20
    time_s: float = 15.0
    parts: int = 1000
    depth: int = 30
    archive_depth: int = 5
    archive_members: int = 3000
    archive_size_octets: int = 100 * 2**20


def _read_only(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@attrs.frozen(eq=False)
class Settings:
    """Everything that the operator said, checked, with the warnings that did not stop it.

    `rules` has those of packs behind those of the file; `search` is what they search for. `own` has the file's own
    detectors and dictionaries; of these place and name are told too. Listeners and backends are in the order of the
    file. `digest` is the SHA-256 of the file's text.
    """

    hostname: str
    state_dir: Path
    local_domains: DomainList = NO_DOMAINS
    log: Log = Log()
    admin: Admin = Admin()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    listeners: Mapping[str, Listener] = attrs.field(factory=dict, converter=_read_only)
    backends: Mapping[str, Backend] = attrs.field(factory=dict, converter=_read_only)
    routes: tuple[Route, ...] = ()
    filters: tuple[FilterUse, ...] = ()
    trusted_relays: NetworkList = NO_NETWORKS
    resolver: Resolver = Resolver()
    content: Content = Content()
    classes: Mapping[str, ClassOf] = attrs.field(factory=default_classes, converter=_read_only)
    pressure: Pressure = Pressure()
    bans: Bans = Bans()
    rate_limits: tuple[RateLimit, ...] = ()
    concurrency_limits: tuple[ConcurrencyLimit, ...] = ()
    history: Kept = Kept()
    quarantine: Quarantine = Quarantine()
    digests: Digest = Digest()
    outbox: Outbox = Outbox()
    webhooks: Mapping[str, Webhook] = attrs.field(factory=dict, converter=_read_only)
    alerts: AlertMail = AlertMail()
    sso: Mapping[str, Provider] = attrs.field(factory=dict, converter=_read_only)
    tls_reports: TLSReport = TLSReport()
    scale: Scale = NO_SCALE
    marks: bool = True
    rules: tuple[Rule, ...] = ()
    tls_policies: tuple[TLSPolicy, ...] = ()
    search: Search = NO_SEARCH
    own: Own = NO_OWN
    groups: Groups = attrs.field(factory=Groups)
    dkim_keys: tuple[DKIMKey, ...] = ()
    smime_keys: tuple[SMIMEKey, ...] = ()
    smime_certificates: Path | None = None
    smime_size_octets: int = 25 * 2**20
    detectors: tuple[tuple[int, str], ...] = ()
    dictionaries: tuple[tuple[int, str], ...] = ()
    path: Path | None = None
    digest: str = ""
    warnings: tuple[Problem, ...] = ()

    def listener_of(self, name: str, role: str) -> str:
        """The listener of that name, or where that is gone the first of its role; "" for none."""
        there = self.listeners.get(name)
        if there is not None and there.role == role:
            return name
        return next((other for other, one in self.listeners.items() if one.role == role), "")
