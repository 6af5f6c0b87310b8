"""A gateway for tests with a quarantine and an outbox: the database, the files and the letters are real."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from smtpgate.config.loader import loads
from smtpgate.policy.held import Held, Letter
from smtpgate.proxy.outbox import Outbox
from smtpgate.proxy.use import Use
from smtpgate.state.bodies import Bodies
from smtpgate.state.database import Database
from smtpgate.state.vault import Vault
from smtpgate.wiring import rules_of
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client

MAIL = b"From: Ann <ann@example.org>\r\nTo: all\r\nMessage-ID: <1@example.org>\r\nSubject: %b\r\n\r\nHello.\r\n"


class Services:
    """What rules use here: nothing of the content."""

    clock = reactor

    def __init__(self, is_shadow: bool = False) -> None:
        self.told: list[Any] = []
        self.tell = self.told.append

    def edits(self, transaction: Any) -> Any:
        """Those of the transaction."""
        return transaction.edits


class VaultGateway(TestGateway):
    """With a state folder of its own, or that of another gateway.

    :ivar folder: where it keeps what it holds
    """

    folder: Path

    def __init__(self, text: str, uses: Iterable[Use] = (), tick: float = 0.1, **given: Any) -> None:
        super().__init__(text, uses, tick, **given)
        self.ahead_s = 0.0
        self.engine.wall = lambda: time.time() + self.ahead_s

    async def start(self) -> None:
        """Open the stores, listen, and begin to send."""
        self.folder.mkdir(exist_ok=True)
        self.database = Database(self.folder / "smtpgate.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.vault = Vault(self.database, Bodies(self.folder), deferToThread, lambda: self.engine.wall(), self.tell)
        self.engine.vault = self.vault
        self.outbox = self.engine.outbox = Outbox(self.engine, self.vault, self.control.current)
        await super().start()
        await self.outbox.start()

    async def stop(self) -> None:
        """End; what is on its way arrives first."""
        idle: Deferred[None] = Deferred()
        self.outbox.close(lambda: idle.callback(None))
        await idle
        await super().stop()
        self.database.close()

    # From a script's thread

    def held(self, **wanted: Any) -> list[Held]:
        """What is held, the newest first."""
        found: list[Held] = self.in_reactor(self.vault.search, wanted, 100)
        return found

    def letters(self) -> list[Letter]:
        """What waits."""
        found: list[Letter] = self.in_reactor(self.vault.letters, 100)
        return found

    def files(self) -> list[bytes]:
        """The octets that are kept."""
        names = [path for path in (self.folder / "held").rglob("*") if path.is_file()]
        return [path.read_bytes() for path in names if path.parent.name not in ("orphans",)]

    def later(self, seconds: float) -> None:
        """So much time has passed since the start, and the outbox looks again."""
        self.ahead_s = seconds
        self.in_reactor(self.outbox.wake)

    def posted(self) -> bool:
        """Wait until the outbox is empty."""
        return self.until(lambda: not self.letters() and not self.outbox.is_busy)

    def tried(self, times: int) -> bool:
        """Wait until letters were tried so often, in vain; on a busy machine some are tried again meanwhile."""
        return self.until(lambda: len(self.told_of("outbox.deferred")) >= times and not self.outbox.is_busy)

    def told_of(self, name: str) -> list[Any]:
        """Events of the process of that name."""
        return [event for event in self.events if getattr(event, "name", "") == name]


class VaultCase(GatewayCase):
    """Tests with such a gateway."""

    def setUp(self) -> None:
        """A folder, and gateways over it."""
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-vault-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        folder = self.folder

        class Own(VaultGateway):
            """Over this test's folder."""

        Own.folder = folder
        self.kind = Own

    def talk(
        self,
        rules: str,
        script: Callable[[Any, Backend], Any],
        backend: Backend | None = None,
        uses: Iterable[Use] = (),
        **config: str,
    ) -> Deferred[Any]:
        """A gateway with these rules in front of a backend."""
        behind = backend or Backend()
        self.addCleanup(behind.close)
        text = self.config(behind.port, **config) + rules
        return self.run_script(text, lambda gateway: script(gateway, behind), [*uses, *self.rules(text)])

    def rules(self, text: str) -> list[Use]:
        """Those of a configuration."""
        made: Any = rules_of(loads(text, "/nowhere/gate.toml"), Services(), Services(is_shadow=True))  # type: ignore[arg-type]
        return list(made)

    def send(
        self,
        gateway: TestGateway,
        *names: bytes,
        sender: bytes = b"ann@example.org",
        subject: bytes = b"x",
        content: bytes = b"",
    ) -> bytes:
        """A message to these at example.net; the last reply."""
        with Client(gateway.port()) as client:
            client.hello()
            client.say(b"MAIL FROM:<" + sender + b">")
            for name in names:
                client.say(b"RCPT TO:<" + name + b"@example.net>")
            reply = client.say(b"DATA")
            if reply[:3] == b"354":
                reply = client.say((content or MAIL % subject) + b".")
        return reply
