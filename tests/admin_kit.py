"""An office for tests: a control without sockets, stores in memory, and requests that go through the real
HTTP code.

`Desk.ask` writes a request into the site's own channel and reads the answer back out of it: no port, no
reactor.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.pace import Pace
from smtpgate.admin.record import SessionRecord, of_facts
from smtpgate.admin.site import Office
from smtpgate.config.loader import loads
from smtpgate.control import Control
from smtpgate.control.views import Actor
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.policy.verdict import Finding, merge
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.revision import Door, Engine, Revision, wire_rules
from smtpgate.proxy.router import Router
from smtpgate.smtp.address import parse_path
from smtpgate.smtp.reply import Reply
from smtpgate.state.audit_log import AuditLog
from smtpgate.state.database import memory_engine
from smtpgate.state.factors import Factor
from smtpgate.state.history_store import HistoryStore
from smtpgate.state.people import People
from smtpgate.state.search_store import Searches
from smtpgate.state.tables import (
    audit,
    audit_head,
    messages,
    metadata,
    sessions,
)
from smtpgate.state.tables_history import history_parts, history_waiting, saved_searches
from smtpgate.state.tables_people import digest_marks, own_entries, own_preferences, user_addresses
from smtpgate.state.users import Token, User, is_within
from smtpgate.state.web_sessions import WebSession
from smtpgate.tasks import Timekeeper
from smtpgate.testing.ports import Table

CONFIG = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[admin]
trusted_hosts = ["admin.example.com"]
[listeners.mx]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:2600", "unix:/run/mail.sock"]
tls = "off"
[[routes]]
backend = "mail"
"""

PASSWORD = "correct horse battery"
#: Texts that peers might send to hurt whoever looks at them.
HOSTILE = (
    "<script>window.hurt=1</script>",
    '"><img src=x onerror=window.hurt=1>',
    "'-window.hurt=1-'",
    "javascript:window.hurt=1",
    "{{ 7*7 }}{% raw %}",
    "</title><script src=//evil.example/x.js></script>",
    "<svg/onload=window.hurt=1>",
    "\u202etxt.exe\u202c",
    "a\u0000b\u001b[31mred\u0007",
    "&lt;b&gt;&#x3c;",
    "\u2028\u2029line",
    "\U0001f600\ud800",
)


class MemorySessions:
    """Sessions of browsers as `admin.ports.WebSessions` has them."""

    make = WebSession

    def __init__(self) -> None:
        self.rows: dict[str, WebSession] = {}

    def keep(self, session: WebSession, most: int, began_after: float) -> Deferred[None]:
        own = [digest for digest, one in self.rows.items() if one.user == session.user]
        for digest in own[: max(0, len(own) - most + 1)]:
            del self.rows[digest]
        self.rows[session.digest] = session
        return succeed(None)

    def find(self, digest: str) -> Deferred[Any]:
        return succeed(self.rows.get(digest))

    def all(self) -> Deferred[Any]:
        return succeed(list(reversed(self.rows.values())))

    def seen(self, digest: str, at: float) -> Deferred[None]:
        if digest in self.rows:
            self.rows[digest] = attrs.evolve(self.rows[digest], seen_at=at)
        return succeed(None)

    def prove(self, digest: str, at: float) -> Deferred[None]:
        if digest in self.rows:
            self.rows[digest] = attrs.evolve(self.rows[digest], proved_at=at)
        return succeed(None)

    def end(self, digest: str) -> Deferred[None]:
        self.rows.pop(digest, None)
        return succeed(None)

    def end_of(self, user: str) -> None:
        self.rows = {digest: one for digest, one in self.rows.items() if one.user != user}


class MemoryFactors:
    """Second factors and links as `admin.ports.Factors` has them."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[bytes, int]] = {}
        self.recovery: dict[str, set[str]] = {}
        self.links: dict[str, tuple[str, float]] = {}

    def of(self, user: str) -> Deferred[Any]:
        if user not in self.secrets:
            return succeed(None)
        secret, last = self.secrets[user]
        return succeed(Factor(user, secret, last, 1.0, len(self.recovery[user])))

    def users(self) -> Deferred[Any]:
        return succeed(list(self.secrets))

    def set(self, user: str, secret: bytes, step: int, recovery: Sequence[str], now: float) -> Deferred[None]:
        self.secrets[user] = (secret, step)
        return self.set_recovery(user, recovery)

    def spend_step(self, user: str, step: int) -> Deferred[bool]:
        if user not in self.secrets or self.secrets[user][1] >= step:
            return succeed(False)
        self.secrets[user] = (self.secrets[user][0], step)
        return succeed(True)

    def spend_recovery(self, user: str, digest: str) -> Deferred[bool]:
        found = digest in self.recovery.get(user, ())
        self.recovery.get(user, set()).discard(digest)
        return succeed(found)

    def set_recovery(self, user: str, recovery: Sequence[str]) -> Deferred[None]:
        self.recovery[user] = set(recovery)
        return succeed(None)

    def remove(self, user: str) -> Deferred[None]:
        self.secrets.pop(user, None)
        self.recovery.pop(user, None)
        return succeed(None)

    def invite(self, user: str, digest: str, maker: str, expires: float, now: float) -> Deferred[None]:
        self.forget(user)
        self.links[digest] = (user, expires)
        return succeed(None)

    def invited(self, digest: str, now: float) -> Deferred[Any]:
        user, expires = self.links.get(digest, ("", 0.0))
        return succeed(user if expires > now else None)

    def invitations(self, now: float) -> Deferred[Any]:
        return succeed({user: expires for user, expires in self.links.values() if expires > now})

    def forget(self, user: str) -> None:
        self.links = {digest: one for digest, one in self.links.items() if one[0] != user}


class MemoryUsers:
    """Users, tokens and audit as `admin.ports.Users` has them; passwords in clear, since nothing is kept."""

    def __init__(self) -> None:
        self.people: dict[str, Any] = {}
        self.passwords: dict[str, str] = {}
        #: By issuer and subject the name.
        self.subjects: dict[tuple[str, str], str] = {}
        self.keys: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.fails_audit = False
        self.hashes = 0
        self.sessions = MemorySessions()
        self.factors = MemoryFactors()
        self.now = 1.0
        self.database = MemoryDatabase()
        self.log = AuditLog(self.database, lambda: self.now)
        self.searches = Searches(self.database)
        self.persons = People(AtOnce((user_addresses, own_entries, own_preferences, digest_marks)))

    def has_owner(self) -> Deferred[bool]:
        return succeed(any(one.role == "owner" and not one.issuer for one in self.people.values()))

    def verify(self, name: str, password: str) -> Deferred[Any]:
        self.hashes += 1
        found = self.people[name] if password and self.passwords.get(name) == password else None
        return succeed(found if found is not None and not found.is_disabled else None)

    def users(self) -> Deferred[Any]:
        return succeed(list(self.people.values()))

    def user(self, name: str) -> Deferred[Any]:
        return succeed(self.people.get(name))

    def add_user(self, name: str, role: str, password: str, domains: Sequence[str] = ()) -> Deferred[None]:
        self.people[name] = User(name, role, 1.0, tuple(domains), has_password=bool(password))
        self.passwords[name] = password
        return succeed(None)

    def by_subject(self, issuer: str, subject: str) -> Deferred[Any]:
        name = self.subjects.get((issuer, subject), "")
        return succeed(self.people.get(name))

    def add_subject(self, name: str, role: str, domains: Sequence[str], issuer: str, subject: str) -> Deferred[None]:
        self.add_user(name, role, "", domains)
        self.people[name] = attrs.evolve(self.people[name], issuer=issuer)
        self.subjects[(issuer, subject)] = name
        return succeed(None)

    def change_user(
        self, name: str, role: str | None, domains: Sequence[str] | None, is_disabled: bool | None
    ) -> Deferred[None]:
        joined = tuple(domains) if domains is not None else None
        changed: dict[str, Any] = {"role": role, "domains": joined, "is_disabled": is_disabled}
        if name in self.people:
            found = {key: value for key, value in changed.items() if value is not None}
            self.people[name] = attrs.evolve(self.people[name], **found)
        self.sessions.end_of(name)
        return succeed(None)

    def set_password(self, name: str, password: str) -> Deferred[Any]:
        self.passwords[name] = password
        self.people[name] = attrs.evolve(self.people[name], has_password=True, mark=password)
        self.factors.forget(name)
        self.sessions.end_of(name)
        return succeed(self.people[name])

    def remove_user(self, name: str) -> Deferred[None]:
        del self.people[name], self.passwords[name]
        self.factors.remove(name)
        self.factors.forget(name)
        self.sessions.end_of(name)
        return succeed(None)

    def check_token(self, text: str, address: str) -> Deferred[Any]:
        found = self.keys.get(text)
        return succeed(None if found is None or found.networks and not is_within(address, found.networks) else found)

    def tokens(self) -> Deferred[Any]:
        return succeed(list(self.keys.values()))

    def add_token(
        self,
        name: str,
        role: str,
        expires: float,
        scopes: Sequence[str] = (),
        domains: Sequence[str] = (),
        networks: Sequence[str] = (),
        maker: str = "",
    ) -> Deferred[str]:
        id = secrets.token_hex(4)
        text = f"sgt_{id}_{secrets.token_urlsafe(32)}"
        limits = (tuple(scopes), tuple(domains), tuple(networks))
        self.keys[text] = Token(id, name, role, 1.0, expires, 0.0, *limits, maker)
        return succeed(text)

    def revoke_token(self, id: str) -> Deferred[None]:
        self.keys = {text: one for text, one in self.keys.items() if one.id != id}
        return succeed(None)

    def audit(
        self, actor: Actor, action: str, target: str, detail: str, context: Mapping[str, Any] | None = None
    ) -> Deferred[None]:
        if self.fails_audit:
            raise OSError("no room")
        row = {"actor_kind": actor.kind, "actor": actor.name, "action": action, "target": target, "detail": detail}
        self.rows.append({**row, **(context or {})})
        return self.log.write(actor.kind, actor.name, action, target, detail, context or {})


class MemoryDatabase:
    """The tables of the audit and of searches, without a disk; each call at once."""

    def __init__(self) -> None:
        self._engine: Any = None

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        if self._engine is None:
            self._engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
            metadata.create_all(self._engine, [audit, audit_head, saved_searches])
            with self._engine.begin() as connection:
                connection.execute(sa.insert(audit_head).values(id=1, seq=0, hash=""))
        with self._engine.begin() as connection:
            return succeed(function(connection, *args))

    read = run


class AtOnce:
    """Some tables in memory, those of the history where nobody says which; calls are done when they are made."""

    def __init__(self, tables: Sequence[sa.Table] = (sessions, messages, history_parts, history_waiting)) -> None:
        self._engine = memory_engine()
        metadata.create_all(self._engine, list(tables))

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        """Write, or read."""
        with self._engine.begin() as connection:
            return maybeDeferred(function, connection, *args)

    read = run


class MemoryHistory:
    """Ended sessions, newest last."""

    def __init__(self) -> None:
        self.records: list[SessionRecord] = []
        self.facts: list[Session] = []
        self._store: HistoryStore | None = None

    @property
    def store(self) -> HistoryStore:
        """The real one, in memory."""
        if self._store is None:
            self._store = HistoryStore(AtOnce(), lambda: 0.0)  # type: ignore[arg-type]
        return self._store

    def search(self, query: Any, limit: int, before: int = 0) -> Any:
        return self.store.search(query, limit, before)

    def count(self, query: Any) -> Any:
        return self.store.count(query)

    def without(self, query: Any) -> Any:
        return self.store.without(query)

    def erase(self, address: str, step: Any) -> Any:
        return self.store.erase(address, step)

    def keep(self, facts: Session) -> None:
        self.facts.append(facts)
        self.store.write([facts])
        self.records.append(of_facts(facts, facts.ended))

    def find(self, reference: str) -> Deferred[Any]:
        id = reference.partition(".")[0]
        return succeed(next((one.model_dump() for one in self.records if one.id == id), None))

    def recent(self, limit: int) -> Deferred[Any]:
        return succeed([one.model_dump() for one in reversed(self.records)][:limit])

    def begun_since(self, at: float, limit: int, after: str = "") -> Deferred[Any]:
        rows = [one for one in self.facts if (one.started, one.id) > (at, after) or not after and one.started >= at]
        rows.sort(key=lambda one: (one.started, one.id))
        return succeed([plain(one, one.ended) for one in rows[:limit]])

    def edge(self, limit: int) -> Deferred[float]:
        times = sorted((one.started for one in self.facts), reverse=True)
        return succeed(times[limit] if limit < len(times) else 0.0)


class Nowhere:
    """A connector that never comes to a connection."""

    def resolve(self, host: str, port: int) -> Deferred[Any]:
        return Deferred()

    def connect(self, address: Any, owner: Any, bind: Any = None) -> Any:
        return SimpleNamespace(
            is_open=False, is_full=False, write=lambda data: None, close=lambda: None, abort=lambda: None
        )


def make_control(clock: Clock, text: str = CONFIG, history: Any = None, factories: Any = None) -> Control:
    """A control whose revision is at work, without a socket."""
    keeper = Timekeeper(clock)
    events: list[Any] = []
    wall = lambda: 1_790_000_000.0 + clock.seconds()  # noqa: E731
    engine = Engine(clock, keeper, wall, events.append, None, None, maybeDeferred, ensureDeferred)  # type: ignore[arg-type]

    limiter = Limiter(clock)

    def build(settings: Any, old: Any) -> Revision:
        chain = Chain((), "mx", clock, engine.tell)
        doors = {name: Door(one, wire_rules(one), chain) for name, one in settings.listeners.items()}
        pools = {
            name: Pool(one, settings.hostname, 30.0, Nowhere(), None, keeper, engine.tell)
            for name, one in settings.backends.items()
        }
        limits = limiter.limits(settings)
        return Revision(settings.digest[:12], settings, Router(settings), pools, doors, limits)

    async def bind(settings: Any) -> None:
        return None

    control = Control(engine, "/nowhere/gate.toml", factories or {}, {}, build, bind, history, None)
    engine.tell = lambda event: (events.append(event), control.hear(event))[0]
    control.events = events  # type: ignore[attr-defined]
    ensureDeferred(control.start(loads(text, "/nowhere/gate.toml", factories or {})))
    control.reception.admission.reputation = Reputation(wall, lambda: control.settings)
    return control


class Answer:
    """A parsed HTTP answer."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        head, _, self.body = octets.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers: dict[str, list[str]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            self.headers.setdefault(name.lower(), []).append(value)

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), [""])[-1]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, str]:
        return {line.partition("=")[0]: line for line in self.headers.get("set-cookie", [])}


class Desk:
    """An office and a way to ask it."""

    def __init__(self, text: str = CONFIG, factories: Any = None) -> None:
        self.clock = Clock()
        self.history = MemoryHistory()
        self.users = MemoryUsers()
        self.control = make_control(self.clock, text, self.history, factories)
        self.people = self.control.people.store = self.users.persons
        self.said: list[str] = []
        self.sites: dict[str, Any] = {}
        self.office = Office(
            self.control,
            self.users,
            None,
            self.clock,
            maybeDeferred,
            self.said.append,
            Table(self.clock.seconds),
            pace=Pace(self.clock, lambda: 0.0, (0.0, 0.0), lambda: 0.0),
        )

    def token(self, role: str) -> str:
        """A token's text."""
        found: list[str] = []
        self.users.add_token(role, role, 0.0).addCallback(found.append)
        return found[0]

    def open(self, door: str = "web", peer: str = "127.0.0.1") -> tuple[Any, StringTransport]:
        """A connection."""
        address: Any = UNIXAddress(None) if door == "local" else IPv4Address("TCP", peer, 40000)
        transport = StringTransport(hostAddress=IPv4Address("TCP", "127.0.0.1", 8080), peerAddress=address)
        if door not in self.sites:
            self.sites[door] = self.office.site(door)
        channel = self.sites[door].buildProtocol(address)
        channel.makeConnection(transport)
        return channel, transport

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        door: str = "web",
        peer: str = "127.0.0.1",
        token: str = "",
        role: str = "",
        host: str = "localhost:8080",
    ) -> Answer:
        """One request and its answer."""
        if role:
            token = self.token(role)
        lines = {"Host": host, "Connection": "close", **(headers or {})}
        if body or method in ("POST", "PUT"):
            lines.setdefault("Content-Length", str(len(body)))
        if token:
            lines["Authorization"] = f"Bearer {token}"
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        channel, transport = self.open(door, peer)
        channel.dataReceived(head.encode("latin-1") + b"\r\n" + body)
        self.settled(transport)
        octets = transport.value()
        channel.connectionLost(Failure(ConnectionDone()))
        assert octets, f"{method} {path}: no answer"
        return Answer(octets)

    def settled(self, transport: StringTransport) -> None:
        """What is to be done in the next turns is done."""
        self.clock.pump([0.0, 0.0])

    def post_json(self, path: str, value: Any, **more: Any) -> Answer:
        """A JSON request."""
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        return self.ask("POST", path, body=json.dumps(value).encode(), headers=headers, **more)


class ApiCase(SynchronousTestCase):
    """An owner's token, and ways to use it."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")

    def get(self, path: str) -> Any:
        answer = self.desk.ask("GET", f"/api/v1{path}", token=self.owner)
        self.assertEqual(answer.status, 200, answer.text)
        return answer.json()

    def remove(self, path: str, token: str = "") -> int:
        """Take something away, whichever version it is; the status."""
        head = {"If-Match": "*"}
        return self.desk.ask("DELETE", f"/api/v1{path}", token=token or self.owner, headers=head).status

    def post(self, path: str, value: Any, status: int = 200) -> Any:
        answer = self.desk.post_json(f"/api/v1{path}", value, token=self.owner)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()


def make_session(
    id: str = "01J9UK7Q0000000000000000AA",
    *,
    helo: str = "mail.example.org",
    sender: str = "ann@example.org",
    recipients: tuple[str, ...] = ("bob@example.net",),
    subject: str = "Hello",
    outcome: str = "delivered",
    reply: Reply | None = Reply(250, "2.0.0", ("Ok",)),
    findings: tuple[Finding, ...] = (),
    started: float = 1_790_000_000.0,
) -> Session:
    """The facts of a session with one message, as the engine would leave them."""
    from smtpgate.message.header import HeaderSection

    facts = Session(id, "mx", "mx")
    facts.started, facts.begun, facts.revision = started, 100.0, "abcdef012345"
    facts.client_ip = facts.peer_ip = "192.0.2.7"
    facts.client_port, facts.helo, facts.protocol = 41000, helo, "ESMTP"
    facts.tls = TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    facts.note(100.001, "client", "EHLO", helo)
    facts.note(100.020, "client", "TLS", "TLSv1.3 TLS_AES_256_GCM_SHA384")
    path, _ = parse_path(f"<{sender}>".encode(), utf8=True)
    transaction = Transaction(f"{id}.1", facts, path, {})  # type: ignore[arg-type]
    facts.note(100.025, "client", "MAIL", path)
    transaction.begun = 100.025
    for address in recipients:
        to, _ = parse_path(f"<{address}>".encode(), utf8=True)
        recipient = Recipient(to, {})  # type: ignore[arg-type]
        recipient.reply = Reply(250, "2.1.5", ("Ok",))
        recipient.state = "delivered" if outcome == "delivered" else "accepted"
        recipient.final, recipient.backend = reply, "mail"
        transaction.recipients.append(recipient)
        facts.note(100.060, "client", "RCPT", recipient)
    transaction.route, transaction.backend, transaction.server = 1, "mail", "127.0.0.1:2600"
    facts.note(100.065, "backend", "link", "127.0.0.1:2600")
    facts.note(100.070, "client", "DATA")
    transaction.data_at, transaction.end_at = 100.070, 100.180
    transaction.verdict_at, transaction.committed_at, transaction.ended = 100.185, 100.320, 100.321
    header = f"From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <1@example.org>\r\n\r\n"
    transaction.header = HeaderSection(header.encode("utf-8", "surrogatepass"))
    transaction.octets = 4321
    transaction.findings = list(findings)
    transaction.verdict = merge(findings)
    transaction.outcome, transaction.reply = outcome, reply
    facts.note(100.321, "us", outcome, reply.text if reply is not None else "")
    facts.transactions.append(transaction)
    facts.ended, facts.closed_by, facts.messages = 100.330, "quit", 1
    return facts
