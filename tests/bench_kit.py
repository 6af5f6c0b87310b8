"""A bench in memory: real filters, rules and sessions on a simulated clock; the DNS and the children are those of the
kit for tests."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.python.failure import Failure

from smtpgate.assembly import Assembly
from smtpgate.config.loader import loads
from smtpgate.control.bench import Tried
from smtpgate.filters.rule_trial import Trial
from smtpgate.plugins import find_factories
from smtpgate.policy.meter import Meter
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.revision import Revision
from smtpgate.testing.ports import Children, Table
from smtpgate.testing.resolver import FakeResolver
from smtpgate.wiring import Provisions, Roads
from tests.admin_kit import ApiCase, Desk

CONFIG = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[admin]
trusted_hosts = ["admin.example.com"]
public_url = "http://admin.example.com"
[listeners.mx]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "optional"
proxy_protocol_from = ["10.0.0.0/8"]
[listeners.out]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
auth = "local"
password_file = "{passwords}"
[backends.mail]
servers = ["127.0.0.1:2600", "unix:/run/mail.sock"]
tls = "verify"
tls_name = "mail.example.net"
client_info = "xclient"
credentials = "{credentials}"
[[routes]]
backend = "mail"
[[filters]]
use = "attachments"
"""
MAIL = "From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: secret plan\n\nhello\n.dot\n"
#: A rule that refuses MAIL.
RULE = """
[[rules]]
name = "plan"
when = "subject == 'secret plan'"
action = "reject"
reply = "550 5.7.1 No plans"
"""


def whole(text: str, folder: Path) -> str:
    """A configuration with what it names in a folder."""
    login, passwords = folder.resolve() / "login", folder.resolve() / "passwords"
    login.touch(0o600)
    login.write_text('user = "gate"\npassword = "secret"\n')
    passwords.touch(0o600)
    return text.replace("{credentials}", str(login)).replace("{passwords}", str(passwords))


class _Provisions(Provisions):
    """Without sockets and processes."""

    def __init__(self, clock: Any, tell: Any, tables: dict[str, Table], zones: Any) -> None:
        table = lambda name: tables.setdefault(name, Table(clock.seconds))  # noqa: E731
        super().__init__(clock, tell, maybeDeferred, table, _Nobody())
        self.children, self.resolver = Children(), FakeResolver(zones, clock)
        self.children.close = self.resolver.close = self.children.prepare = lambda: None  # type: ignore[attr-defined]

    def _children(self, settings: Any) -> Any:
        return self.children

    def _resolver(self, settings: Any) -> Any:
        return self.resolver


class _Nobody:
    """Nothing is known of senders."""

    def record(self, kind: str, name: str) -> None:
        return None

    def is_correspondent(self, local: str, domain: str) -> bool:
        return False

    def looks_like_correspondent(self, domain: str) -> list[str]:
        return []


class BenchDesk(Desk):
    """An office with a bench.

    :ivar built: configurations that were made for a try, and `closed` those that were given up
    """

    def __init__(self, text: str, folder: Path, zones: Any = ()) -> None:
        factories, _ = find_factories()
        self.factories = {**factories}
        super().__init__(text, self.factories)
        control = self.control
        control.engine.open_spool = TemporaryFile
        self.tables: dict[str, Table] = {}
        self.built: list[Revision] = []
        self.closed: list[Revision] = []
        clock: Any = self.clock
        clock.callWhenRunning = lambda call, *args: clock.callLater(0, call, *args)
        self.provisions = _Provisions(clock, control.engine.tell, self.tables, dict(zones))
        keeper, limiter = control.engine.keeper, Limiter(clock)
        roads = Roads(control.tls.reports, control.engine.wall, clock)
        tell: Any = control.engine.tell
        self.assembly = Assembly(
            clock,
            tell,
            maybeDeferred,
            self.factories,
            self.provisions,
            roads,
            None,
            keeper,
            limiter,
            Meter(),
            None,
            65536,
            folder,
        )
        control.rule_trials.trial = Trial
        give_up = control.bench.give_up
        assert give_up is not None

        def build(settings: Any, world: Any) -> Revision:
            made = self.assembly.apart(settings, world)
            self.built.append(made)
            return made

        def close(revision: Revision) -> None:
            self.closed.append(revision)
            give_up(revision)

        control.bench.build, control.bench.give_up = build, close

    def done(self, work: Any) -> Any:
        """The result of a coroutine, however many turns it takes."""
        found: list[Any] = []
        ensureDeferred(work).addBoth(found.append)
        for _ in range(20_000):
            if found:
                break
            self.clock.advance(0.01 if self.clock.getDelayedCalls() else 0)
        assert found, "it does not come to an end"
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def settled(self, transport: Any) -> None:
        """Until there is an answer."""
        for _ in range(20_000):
            if transport.value():
                return
            self.clock.advance(0.01)


class BenchCase(ApiCase):
    """Cases with a bench."""

    text = CONFIG

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.use(self.text)

    def use(self, text: str, zones: Any = ()) -> None:
        """A gateway with this configuration."""
        self.desk = BenchDesk(self.whole(text), self.folder, zones)
        self.bench = self.desk.control.bench
        self.owner = self.desk.token("owner")

    def whole(self, text: str) -> str:
        """With what it names in the folder."""
        return whole(text, self.folder)

    def settings(self, text: str) -> Any:
        """Settings of a draft."""
        return loads(self.whole(text), "/nowhere/gate.toml", self.desk.factories)

    def tried(self, work: Any) -> list[Tried]:
        """What became of a try."""
        found: list[Tried] = self.desk.done(work)
        return found
