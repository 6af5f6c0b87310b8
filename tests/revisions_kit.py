"""Gateways that keep their configuration themselves, over a real folder: a control, and an office that is asked over
HTTP."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate import boot
from smtpgate.control import Control
from smtpgate.control.views import Actor
from smtpgate.state.database import Database
from smtpgate.state.offline import DATABASE
from smtpgate.state.revision_store import RevisionStore
from smtpgate.state.users import InlineDatabase
from tests.admin_kit import CONFIG, PASSWORD, Answer, Desk, make_control

ANN, BEA = Actor("user", "ann"), Actor("user", "bea")
MANAGED = CONFIG.replace("[admin]\n", '[admin]\nconfig = "managed"\n')


class FolderCase(SynchronousTestCase):
    """A folder with a file and a state folder."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)
        (self.folder / "var").mkdir()
        self.file = self.folder / "gate.toml"
        self.file.write_text(MANAGED)

    def start(self, is_fallback: bool = False, wall: float = 1.0) -> tuple[boot.Start, Any, Any, str]:
        """What a start begins with, as `tap` asks for it."""
        start = boot.choose(self.file, {}, {}, is_fallback)
        database = Database(self.folder / "var" / DATABASE)
        database.open()
        self.addCleanup(database.close)
        self.store = RevisionStore(InlineDatabase(database))
        self.store.now = database.now  # type: ignore[method-assign]
        ruling, pointer, told = boot.take(self.store, start, wall)
        return start, ruling, pointer, told

    def gateway(self) -> Control:
        """A control over it."""
        self.clock = Clock()
        control = make_control(self.clock, boot.choose(self.file, {}, {}).text)
        self.attach(control)
        return control

    def apply(self, control: Control, text: str, minutes: int = 0, base: int = 0, who: Actor = ANN) -> Any:
        """Plan it and put it to work."""
        books = control.configuration
        plan = self.successResultOf(control.engine.start(books.plan(text, "why", base or books.active.number, minutes)))
        return self.successResultOf(control.engine.start(books.apply(plan, who)))

    def attach(self, control: Control) -> None:
        """Give a control what the folder says."""
        start, ruling, pointer, _ = self.start()
        control.path = self.file
        configuration = control.configuration
        configuration.started_with = start.settings
        configuration.store, configuration.active, configuration.pointer = self.store, ruling, pointer


class OfficeCase(FolderCase):
    """An office over a folder, and two administrators with tokens of their own."""

    text = MANAGED

    def setUp(self) -> None:
        super().setUp()
        self.file.write_text(self.text)
        self.desk = Desk(self.text)
        self.attach(self.desk.control)
        self.books = self.desk.control.configuration
        for name in ("ann", "bea"):
            self.desk.users.add_user(name, "owner", PASSWORD)
        self.ann, self.bea = self.desk.token("owner"), self.desk.token("admin")

    def get(self, path: str, status: int = 200, token: str = "") -> Any:
        """A look, as ann."""
        answer = self.desk.ask("GET", f"/api/v1{path}", token=token or self.ann)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()

    def send(self, path: str, value: Any, status: int = 200, token: str = "", **headers: str) -> Answer:
        """An order, as ann."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.desk.post_json(f"/api/v1{path}", value, token=token or self.ann, headers=named)
        self.assertEqual(answer.status, status, answer.text)
        return answer
