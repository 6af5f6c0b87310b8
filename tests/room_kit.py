"""An office over real chains: filters of a test, built by the real assembly, and sessions without sockets."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.config.loader import loads
from smtpgate.control import Control
from smtpgate.filters.base import Factory, Filter
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.inmemory import Front
from smtpgate.testing.client import Client
from tests.admin_kit import CONFIG
from tests.bench_kit import BenchDesk

FILTERS = """
[[filters]]
use = "no-mail"
[[filters]]
use = "slow"
on_error = "continue"
[[filters]]
use = "no-mail"
name = "asleep"
mode = "off"
"""


class Made(Filter):
    """A filter of a test.

    :ivar services: what it was built with
    """

    def __init__(self, services: Any, stage: Any) -> None:
        self.services = services
        self.closed = 0
        self._stage = stage

    def transaction(self, transaction: Any) -> Any:
        return self._stage(self, transaction)

    def close(self) -> None:
        self.closed += 1


class NoMail:
    """Refuses each MAIL."""

    def __init__(self, made: Made, transaction: Any) -> None:
        pass

    def mail(self) -> Finding:
        return Finding("not-today", "reject", "Not today")


class Slow:
    """Never answers at MAIL."""

    def __init__(self, made: Made, transaction: Any) -> None:
        pass

    async def mail(self) -> Any:
        await Deferred()


class RoomDesk(BenchDesk):
    """An office whose revision at work was built as a gateway builds it.

    :ivar made: filters in the order in which they were built; `refuses`: what a build for shadow raises
    """

    def __init__(self, folder: Path, text: str = CONFIG + FILTERS) -> None:
        self.made: list[Made] = []
        self.refuses: BaseException | None = None
        super().__init__(CONFIG, folder)
        self._turns: deque[Any] = deque()
        for name, stage in (("no-mail", NoMail), ("slow", Slow)):
            self.factories[name] = Factory(name, None, frozenset({"mail"}), self._maker(stage), budget_s=1.0)
        self.into(self.control)
        self.apply(text)

    def into(self, control: Control) -> None:
        """Have a control build revisions by the assembly."""
        control._build = lambda settings, old: self.assembly.build(settings)
        control.room._factories = self.factories

    def apply(self, text: str, control: Control | None = None) -> None:
        """A reload with another file."""
        settings = loads(text, "/nowhere/gate.toml", self.factories)
        ensureDeferred((control or self.control)._apply(settings))

    def _maker(self, stage: Any) -> Any:
        def make(options: Any, services: Any) -> Made:
            if services._is_shadow and self.refuses is not None:
                raise self.refuses
            made = Made(services, stage)
            self.made.append(made)
            return made

        return make

    def connect(self) -> Client:
        """A client, greeted and with its EHLO said."""
        front = Front(self.control.current().doors["mx"].rules, ("192.0.2.1", 50000))
        client = Client(self.settle, front, self.control.reception.begin("mx", front))
        self.clock.advance(3)
        client.greeting = client.read()
        client.helo()
        # The answer waits for a first look at the server behind, which there is none of.
        self.clock.advance(2)
        client.read()
        return client

    def settle(self) -> None:
        """What is due now happens."""
        self.clock.advance(0)
