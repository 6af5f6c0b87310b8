"""What rules that change mail need of the gateway, without child processes: jobs run at once, on the real content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread

from smtpgate.examine.facts import Facts, from_plain
from smtpgate.examine.jobs import JOBS
from smtpgate.interfaces import ChildFailed
from smtpgate.policy.edits import EditList
from smtpgate.policy.transaction import Transaction


class Workshop:
    """The services.

    :ivar asked: jobs that were run, in order
    :ivar fails: jobs that fail
    :ivar waits: what is waited for before a job is run
    :ivar lies: answers in place of those of a job
    """

    def __init__(self, is_shadow: bool = False) -> None:
        self.asked: list[str] = []
        self.told: list[Any] = []
        self.fails: set[str] = set()
        self.lies: dict[str, Any] = {}
        self.waits: dict[str, Deferred[None]] = {}
        self.clock: Any = reactor
        self.settings = SimpleNamespace(hostname="gate.example.com")
        self.tell = self.told.append
        self._is_shadow = is_shadow

    def run_in_worker(self, function: Any, *args: Any) -> Deferred[Any]:
        """In a thread, as the gateway does it."""
        return deferToThread(function, *args)

    def edits(self, transaction: Transaction) -> EditList:
        """Those of the transaction."""
        return EditList() if self._is_shadow else transaction.edits

    def once(self, transaction: Transaction, key: Any, make: Callable[[], Any]) -> Deferred[Any]:
        """What is made, each time anew."""
        return ensureDeferred(make())

    def in_child(self, job: str, transaction: Transaction, request: Mapping[str, Any]) -> Deferred[Any]:
        """Run a job on the content."""
        return ensureDeferred(self._run(job, transaction, request))

    async def _run(self, job: str, transaction: Transaction, request: Mapping[str, Any]) -> Any:
        self.asked.append(job)
        if job in self.waits:
            await self.waits[job]
        if job in self.fails:
            raise ChildFailed("died", "killed")
        if job in self.lies:
            return self.lies[job]
        content = await transaction.content.read()
        module, _, name = JOBS[job].partition(":")
        answer = getattr(import_module(module), name)(content, json.loads(json.dumps(request)))
        return json.loads(json.dumps(answer))

    def examine(self, transaction: Transaction) -> Deferred[Facts]:
        """The facts."""

        async def run() -> Facts:
            facts: Facts = from_plain(await self._run("examine", transaction, {}))
            return facts

        return ensureDeferred(run())
