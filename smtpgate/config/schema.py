"""The configuration file as a schema: tables, keys, types, defaults, and one description for each key.

The descriptions are the documentation: the reference page, the commented sample, the admin forms and the JSON
schema all come from here, so each is written for an administrator. Unknown keys are refused everywhere,
nothing is converted silently, and defaults are written as the file would write them.

What depends on more than one key is no business of the schema; see `checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BeforeValidator

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.tables_dlp import DetectorTable, DictionaryTable, PackTable
from smtpgate.config.tables_history import HistoryTable
from smtpgate.config.tables_hooks import AlertsTable, WebhookTable
from smtpgate.config.tables_policy import GroupTable, RuleTable, TLSPolicyTable
from smtpgate.config.tables_quarantine import DigestTable, OutboxTable, QuarantineTable, TLSReportTable
from smtpgate.config.tables_signing import DKIMKeyTable, SMIMEKeyTable
from smtpgate.config.tables_sso import ProviderTable
from smtpgate.config.tables_traffic import BansTable, ClassesTable, ConcurrencyLimitTable, PressureTable, RateLimitTable
from smtpgate.config.values import (
    Addresses,
    Count,
    Domains,
    Duration,
    FilePath,
    Files,
    GroupName,
    Hosts,
    Kind,
    ListenOrOff,
    Listens,
    LocalDomains,
    NameServers,
    Networks,
    Pins,
    PublicURL,
    Reason,
    ReplyText,
    RoleName,
    Roles,
    ServerAddress,
    Size,
    Threshold,
    Users,
    Wait,
    Words,
)


class LogTable(Table):
    """What the gateway writes about its work."""

    format: Literal["json", "text"] = key("json", "Form of a log line: json for programs, text for people.")
    level: Literal["debug", "info", "warning", "error"] = key("info", "The least level that is written.")
    file: FilePath = key("-", "File to write to; - is standard output. SIGUSR1 opens it again after a rotation.")


#: The roles of the management side (`control.roles`).
AdminRole = Literal["owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor", "user"]


class AdminTable(Table):
    """The admin pages, the HTTP API and the health paths."""

    listen: ListenOrOff = key(
        "tcp:8080:interface=127.0.0.1",
        "Twisted endpoint of the admin pages, or off. Keep it on loopback, behind a proxy with TLS.",
    )
    health_listen: ListenOrOff = key(
        "off", "Second endpoint that serves only the health paths and /metrics, without a login."
    )
    config: Literal["file", "managed"] = key(
        "file",
        "file: this file rules. managed: it is where the configuration begins; after that the pages, the API and the "
        "command line change it. See configuration-changes.md.",
    )
    insecure: bool = key(False, "Permit a listen address that the network can reach although it has no TLS.")
    trusted_hosts: Hosts = key(
        [],
        "Names in the Host header that are taken besides localhost, as your proxy sends them.",
        example='["gate-admin.example.com"]',
    )
    public_url: PublicURL | None = key(
        None,
        "Where browsers reach the pages, through a proxy with TLS whose name is in trusted_hosts; links in mail begin "
        "with it. It may have a path.",
        example='"https://gate.example.com"',
    )
    require_totp: list[AdminRole] = key(
        [],
        "Roles whose users must give a one-time code (TOTP) with the password; who has none yet sets it up at the next "
        "login.",
        example='["owner", "admin"]',
    )


class LimitsTable(Table):
    """What one client, session or message may take. Sizes are text with a unit, or octets."""

    message_size: Annotated[Size, Ge(1)] = key("50 MiB", "Largest message. EHLO says it with SIZE.")
    header_size: Annotated[Size, Ge(1)] = key("1 MiB", "Largest header of a message, all fields together.")
    recipients: Count = key(1000, "Recipients of one message. RFC 5321 asks for 100 at least.")
    errors: Count = key(20, "Refused commands of one session before it is closed.")
    junk: Count = key(100, "Commands without mail in between (NOOP, RSET, VRFY...) before a session is closed.")
    received_hops: Count = key(100, "A message with more Received lines than this is in a loop.")
    own_hops: Count = key(3, "A message with more Received lines of our own name is in a loop.")
    connections: Count = key(10000, "Connections of all clients together.")
    connections_per_client: Count = key(
        50, "Connections of one address. Loopback, proxy_protocol_from and relay_from are exempt."
    )
    messages_per_session: Count = key(1000, "Messages in one session.")
    auth_failures: Count = key(3, "Failed logins of one session before it is closed.")
    min_data_rate: Size = key(500, "Least octets of content per second that a client must send; 0 is no limit.")
    line_length: Annotated[Size, Ge(1000)] = key("1 MiB", "Longest line of content.")
    rate_keys: Annotated[Count, Ge(1000)] = key(
        250_000, "Clients, users and so on that rate_limits remember together; each takes some 200 octets of memory."
    )
    body_memory: Annotated[Size, Ge(2**20)] = key(
        "256 MiB", "Memory of all messages that wait for their verdict; beyond it they are in files."
    )
    spool_memory: Size = key("1 MiB", "Part of a message that is kept in memory; what is larger goes to a file.")


class TimeoutsTable(Table):
    """How long each step may take: text with a unit, or seconds; a day at most."""

    greeting: Wait = key("30s", "Backend: connect, greeting, TLS and EHLO, over all servers that are tried.")
    command: Wait = key("5m", "Client: time to its next command. RFC 5321 asks for 5 minutes at least.")
    backend: Wait = key("5m", "Backend: its answer to MAIL and RCPT.")
    data_init: Wait = key("2m", "Backend: its answer to DATA.")
    data_block: Wait = key("3m", "Both: time in which some content must move.")
    data_done: Wait = key("10m", "Backend: its answer after the end of the message. RFC 5321 asks for 10 minutes.")
    verdict: Wait | None = key(
        None,
        "Our own checks after the end of the message, at most 300s: the client is waiting.",
        shown="45s on mx, 20s on submission",
        example='"30s"',
    )
    drain: Duration = key("30s", "On stop: time for running sessions to end.")
    tls: Wait = key("60s", "Client: its TLS handshake.")
    proxy_header: Wait = key("5s", "Proxy: time to its PROXY header.")


class ListenerTable(Table):
    """A front door for clients, under a name of your choice. Some defaults depend on the role."""

    listen: Listens = key(
        REQUIRED,
        "Twisted endpoints to listen on: tcp:PORT, tcp:PORT:interface=ADDRESS, unix:PATH or systemd:...",
        example='["tcp:25"]',
    )
    role: RoleName = key("mx", "mx takes mail from the world for local_domains; submission takes it from your users.")
    protocol: Literal["smtp", "lmtp"] = key("smtp", "Language spoken with the client.")
    tls: Literal["off", "optional", "required", "implicit"] = key(
        "optional", "off; optional or required: STARTTLS; implicit: TLS from the first octet (port 465)."
    )
    certificates: Files = key(
        [],
        "PEM files, each with a key and its certificate chain; the name that the client asks for picks one."
        " None: the gateway makes its own, which no client can verify.",
        example='["gate.pem"]',
    )
    client_ca: FilePath | None = key(
        None,
        "PEM file of authorities for client certificates. Not given: none is asked for.",
        example='"clients.pem"',
    )
    auth: Literal["off", "relay", "local"] = key(
        "off", "AUTH: off; relay: the backend checks; local: password_file says who may."
    )
    auth_required: bool | None = key(
        None,
        "Mail needs AUTH, except from relay_from. On submission that cannot be switched off.",
        shown="true on submission, else false",
        example="true",
    )
    auth_requires_tls: bool = key(True, "AUTH is offered under TLS only.")
    password_file: FilePath | None = key(
        None, "For auth = local: lines of name:hash with argon2 hashes.", example='"passwords"'
    )
    relay_from: Networks = key(
        [], "Networks of your own that may send without AUTH on submission.", example='["192.0.2.0/24"]'
    )
    proxy_protocol_from: Networks = key(
        [],
        "Networks of load balancers, whose connections begin with a PROXY header; others are cut.",
        example='["192.0.2.5"]',
    )
    xclient_from: Networks = key(
        [],
        "Networks of mail servers of your own that may say with XCLIENT who the client is.",
        example='["192.0.2.6"]',
    )
    bare_newline: Literal["normalize", "reject", "reject-521"] = key(
        "normalize",
        "Lone LF in content: made a line end, and lone CR a blank; or both refused with 550, or 521 and closed.",
    )
    early_talker: Literal["reject", "queue"] | None = key(
        None,
        "A client that speaks before the greeting is refused, or answered in its turn.",
        shown="reject on mx, queue on submission",
        example='"reject"',
    )
    greet_wait: Duration | None = key(
        None,
        "A stranger waits so long for the greeting, to see whether it speaks first; suspect ones twice as long. Who "
        "waited is known for a day. Needs early_talker = reject.",
        shown="1s on mx, 0s on submission",
        example='"2s"',
    )
    strict_sync: bool | None = key(
        None,
        "Content that comes behind DATA before the 354 ends the session.",
        shown="true on mx, false on submission",
        example="true",
    )
    strict_paths: bool = key(False, "A blank after MAIL FROM: or RCPT TO: is an error.")
    require_brackets: bool = key(True, "An address without < and > is an error.")
    command_bare_lf: Literal["reject", "accept"] = key("reject", "Commands that end in a lone LF.")
    capability_mode: Literal["intersection", "union"] = key(
        "intersection", "EHLO offers what all backends of this listener can do, or what any of them can."
    )
    hide_client: bool = key(False, "Leave the client's address out of the Received line. Submission only.")
    chunking: bool = key(True, "Offer CHUNKING (BDAT); backends without it get DATA.")
    prdr: bool = key(
        True,
        "Offer PRDR: who asks for it hears a reply for each recipient at the end of data, so that one may be refused "
        "and another served. In LMTP it is always so.",
    )
    body: Literal["auto", "spool"] = key(
        "auto",
        "auto: the message goes to the backend while it comes, unless a filter must see all of it first; spool: it "
        "always waits for its verdict.",
    )
    split: Literal["fanout", "defer"] = key(
        "fanout",
        "Recipients of several backends in one message: it goes to all of them at once, or those of another backend "
        "are told to come in a message of their own (452). Matters on mx.",
    )
    received: bool = key(True, "Add our own Received line. Without it loops are not found.")


class ServerTable(Table):
    """One server of a backend. A text alone is its address."""

    address: ServerAddress = key(
        REQUIRED, "host:port, [IPv6 address]:port or unix:/path.", example='"mail.example.net:25"'
    )
    weight: Count = key(1, "Share of the mail compared with the others of its tier.")
    tier: Count = key(1, "Servers of tier 2 are used when none of tier 1 can be, and so on.")


def _as_server(value: object) -> object:
    return {"address": value} if isinstance(value, str) else value


def _as_servers(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


Servers = Annotated[
    list[Annotated[ServerTable, BeforeValidator(_as_server, json_schema_input_type=str | ServerTable)]],
    BeforeValidator(_as_servers, json_schema_input_type=str | list[str | ServerTable]),
    Kind("list of servers"),
]


class BackendTable(Table):
    """A group of mail servers that take the same mail, under a name of your choice."""

    kind: Literal["servers", "mx"] = key(
        "servers",
        "servers: those that are listed; mx: those that the DNS names for the domain of each recipient, for mail that "
        "leaves. docs/tls.md has the rules.",
    )
    servers: Servers = key(
        [],
        "The servers: host:port, [IPv6 address]:port, unix:/path, or a table with address, weight and tier.",
        shown="none; needed but for kind = mx",
        example='["mail.example.net:25"]',
    )
    protocol: Literal["smtp", "lmtp"] = key("smtp", "Language spoken with the servers.")
    tls: Literal["off", "optional", "required", "verify", "implicit"] = key(
        "optional",
        "off; optional: STARTTLS where offered; required: STARTTLS or no mail; verify: as required, and the"
        " certificate must be right; implicit: TLS at once, verified if tls_name, tls_ca or tls_pins is set.",
    )
    tls_name: str | None = key(
        None,
        "Name that the certificate must have. Not given: the host of the server.",
        example='"mail.example.net"',
    )
    tls_ca: FilePath | None = key(
        None,
        "PEM file of authorities that are trusted. Not given: those of the system.",
        example='"backend-ca.pem"',
    )
    tls_pins: Pins = key(
        [],
        "Public keys that are trusted, as sha256//BASE64 or hex; one must fit.",
        example='["sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]',
    )
    tls_certificate: FilePath | None = key(
        None, "PEM file with the key and certificate that we show to the server.", example='"gate.pem"'
    )
    credentials: FilePath | None = key(
        None,
        "TOML file with user and password to log in with, readable by its owner only.",
        example='"mail-login.toml"',
    )
    auth_requires_tls: bool = key(
        True, "Passwords go to a server only under verified TLS. Loopback and unix sockets are exempt."
    )
    balance: Literal["round-robin", "least-connections", "least-time", "hash-recipient", "hash-user", "failover"] = key(
        "least-connections",
        "How a server of a tier is picked: in turn; the fewest transactions; the fewest times the usual answer; one "
        "for each domain of recipients; one for each user, or client; or the first that works.",
    )
    max_connections: Count | None = key(
        None,
        "Connections to one server at a time. The default stays under the caps per client of Postfix (50) and "
        "Exchange (20); servers on this machine count no clients.",
        shown="20; no cap for loopback and unix: servers",
        example="50",
    )
    total_connections: Count | None = key(
        None, "Connections to all its servers together.", shown="no other cap than that of each server", example="60"
    )
    slow_start: Duration = key(
        "30s", "A server that is back gets a tenth of its mail at first, and all of it after this time."
    )
    reuse: Literal["session", "pool"] = key(
        "session",
        "Who may use a connection again: the session that opened it, or any that is the same to the server. Not shared "
        "is what a client logged in over, and with client_info other than off or xforward.",
    )
    reuse_age: Wait = key("5m", "Shared connections: a connection that old is not used again.")
    reuse_idle: Wait = key("2s", "Shared connections: time without work after which one is closed.")
    reuse_transactions: Count = key(100, "Shared connections: messages over one of them.")
    client_info: Literal["off", "xclient", "xforward", "proxy-v1", "proxy-v2"] = key(
        "off",
        "How the server is told who the client is. It must trust our address for it; see its manual for"
        " XCLIENT, XFORWARD or PROXY protocol.",
    )
    ehlo_name: Literal["gateway", "client"] = key("gateway", "Name in our EHLO: our own, or the client's.")
    probe: Wait = key("30s", "Time between two looks at each server.")
    eight_bit: Literal["reject", "pass"] = key(
        "reject", "8-bit content for a server without 8BITMIME: refused, or passed as it is."
    )
    port: Annotated[Count, Le(65535)] = key(25, "For kind = mx: the port of the servers.")
    allow_private: bool = key(
        False,
        "For kind = mx: servers may have private and loopback addresses. A stranger's DNS could lead us inside.",
    )
    dane: bool = key(
        True,
        "For kind = mx: heed TLSA records (DANE). Works only with a resolver on this machine that validates DNSSEC.",
    )
    mta_sts: bool = key(True, "For kind = mx: heed MTA-STS policies of the domains.")


class RouteTable(Table):
    """Which mail goes to which backend. The first that matches wins; all keys given must match."""

    listener: Words = key([], "Names of listeners.", example='["mx"]')
    client: Networks = key([], "Networks of the client.", example='["192.0.2.0/24"]')
    sni: Domains = key([], "Names that the client asked for in TLS.", example='["mail.example.net"]')
    user: Users = key([], "User names of AUTH; * stands for any characters.", example='["*@example.net"]')
    sender: Addresses = key(
        [],
        "Senders: domains, *.domains, user@domain, user@ (any domain), <> (null).",
        example='["example.com"]',
    )
    recipient: Addresses = key([], "Recipients, written like senders.", example='["example.net", "*.example.org"]')
    backend: str = key(REQUIRED, "Name of the backend.", example='"mail"')


class ResolverTable(Table):
    """Who answers questions of the DNS, for all filters."""

    servers: NameServers = key(
        [],
        "Addresses of resolvers, each with a port if it is not 53. One on this machine is best: only there an answer "
        "can be known as validated, and block lists refuse the big public ones.",
        shown="those of /etc/resolv.conf",
        example='["127.0.0.1"]',
    )
    timeout: Wait = key("3s", "Time for one question, over all resolvers that are tried.")
    validating: Networks = key(
        [],
        "Resolvers elsewhere whose word on DNSSEC is taken, where nobody on the way can forge it. Those on this "
        "machine need not stand here.",
        example='["10.0.0.53"]',
    )


class ContentTable(Table):
    """How far the content of a message is looked at. What is beyond a limit is found as such, not passed over."""

    children: Count = key(2, "Child processes that look at content. One is enough for some ten messages a second.")
    child_memory: Annotated[Size, Ge(128 * 2**20)] = key("768 MiB", "Most memory of one child process.")
    time: Wait = key("15s", "Longest look at one message; then the child process is ended.")
    parts: Count = key(1000, "Parts of a message.")
    depth: Count = key(30, "Parts within parts.")
    archive_depth: Count = key(5, "Archives within archives.")
    archive_members: Count = key(3000, "Files in the archives of one message.")
    archive_size: Annotated[Size, Ge(2**20)] = key("100 MiB", "Unpacked size of all archives of one message.")


class ScoresTable(Table):
    """What the sum of the scores of all findings leads to, at the end of a message."""

    tag: Threshold = key(5.0, "From this sum on a message is marked.")
    quarantine: Threshold = key("off", "From this sum on it is held in the quarantine.")
    defer: Threshold = key("off", "From this sum on the sender is told to come back later.", example="12.0")
    reject: Threshold = key("off", "From this sum on it is refused.", example="15.0")
    mark: bool = key(
        True,
        "Write X-Spam-Flag, X-Spam-Score and X-Smtpgate-Verdict above a marked message, and take out fields of these "
        "names that came with it. Messages then wait for their verdict before the backend sees them.",
    )


class FilterTable(Table):
    """One filter. They run in the order of the file."""

    use: str = key(REQUIRED, "Name of the filter; smtpgate filters lists them.", example='"helo"')
    name: str | None = key(
        None,
        "Name in log and pages, for a filter that is used twice.",
        shown="the name in use",
        example='"spf-strict"',
    )
    roles: Roles | None = key(
        None, "Roles of the listeners that it runs on.", shown="the filter's own", example='["mx"]'
    )
    mode: Literal["enforce", "shadow", "off"] = key(
        "enforce", "enforce; shadow: what it would do is recorded and not done; off."
    )
    on_error: Literal["tempfail", "reject", "continue"] | None = key(
        None,
        "What happens to a message when the filter itself fails.",
        shown="the filter's own",
        example='"continue"',
    )
    slots: Count | None = key(
        None,
        "Messages that it has at a time; the others wait within its time.",
        shown="50 for filters that may take over 5 seconds, else no limit",
        example="10",
    )
    options: dict[str, Any] = key(
        {},
        "Table of the filter's own keys; see the filter.",
    )


class File(Table):
    """Who the gateway is, and what it takes mail for."""

    hostname: str | None = key(
        None,
        "Our own name in greeting, EHLO and Received.",
        shown="the host's name",
        example='"gate.example.com"',
    )
    state_dir: FilePath = key("var", "Folder for everything that the gateway keeps.")
    local_domains: LocalDomains = key(
        [],
        "Domains that mx listeners take mail for; *.example.org is every domain below example.org. All else"
        " is refused there: the gateway is never an open relay.",
        example='["example.net", "*.example.org"]',
    )
    trusted_relays: Networks = key(
        [],
        "Mail servers of your own that stand in front and say with nothing but their Received line who the client was.",
        example='["192.0.2.7"]',
    )
    smime_certificates: FilePath | None = key(
        None,
        "Folder with the certificates of recipients, PEM or DER, for rules that encrypt.",
        shown="none",
        example='"certificates"',
    )
    smime_size: Size = key(
        "25 MiB", "Largest message that rules sign or encrypt with S/MIME; it needs some nine times as much memory."
    )
    log: LogTable = key({}, "What the gateway writes about its work.")
    admin: AdminTable = key({}, "Admin pages and health paths.")
    limits: LimitsTable = key({}, "What one client, session or message may take.")
    timeouts: TimeoutsTable = key({}, "How long each step may take.")
    resolver: ResolverTable = key({}, "Who answers questions of the DNS.")
    content: ContentTable = key({}, "How far content is looked at.")
    scores: ScoresTable = key({}, "What the sum of scores leads to.")
    replies: dict[Reason, ReplyText] = key(
        {},
        "Texts for senders, by the reason of the finding that decided, in place of the filter's own; scores is the "
        "reason of the sum.",
    )
    listeners: dict[str, ListenerTable] = key({}, "Front doors for clients, by name.")
    backends: dict[str, BackendTable] = key({}, "Groups of mail servers, by name.")
    routes: list[RouteTable] = key([], "Which mail goes to which backend.")
    classes: ClassesTable = key({}, "Whose mail goes first.")
    pressure: PressureTable = key({}, "When load is shed.")
    bans: BansTable = key({}, "Who may not come in for a while.")
    rate_limits: list[RateLimitTable] = key([], "How much may come in a time, of whom.")
    concurrency_limits: list[ConcurrencyLimitTable] = key([], "How much may be at work at a time, of whom.")
    history: HistoryTable = key({}, "What is kept of ended sessions.")
    quarantine: QuarantineTable = key({}, "Mail that is held back.")
    digests: DigestTable = key({}, "Mail to recipients about what is held for them.")
    tls_reports: TLSReportTable = key({}, "Reports on TLS to the domains that ask for them.")
    outbox: OutboxTable = key({}, "Mail of the gateway's own.")
    webhooks: dict[GroupName, WebhookTable] = key({}, "What is called when something happens, by name.")
    alerts: AlertsTable = key({}, "Mail about what is wrong.")
    sso: dict[GroupName, ProviderTable] = key({}, "Where administrators log in without a password here, by name.")
    tls_policies: list[TLSPolicyTable] = key([], "How good TLS must be, of which mail.")
    rules: list[RuleTable] = key([], "What becomes of which mail, in the order in which it is judged.")
    groups: dict[GroupName, GroupTable] = key({}, "Addresses under a name, for rules to speak of.")
    packs: list[PackTable] = key([], "Rules that come along; they are judged behind those of the file.")
    detectors: list[DetectorTable] = key([], "Detectors of your own, for rules to speak of.")
    dictionaries: list[DictionaryTable] = key([], "Weighted terms, for rules to speak of.")
    dkim_keys: list[DKIMKeyTable] = key([], "Keys that sign mail of your domains.")
    smime_keys: list[SMIMEKeyTable] = key([], "Certificates that sign mail of your authors.")
    filter_set: Literal["none", "default"] = key(
        "none",
        "default: filters that need no engine and no list run before those of the file; programs are refused, spam is "
        "marked. A table of [[filters]] of the same name replaces one of them.",
    )
    filters: list[FilterTable] = key([], "Filters, in the order in which they run.")
