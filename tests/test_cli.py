"""The command: against a running office over its socket, without one, and what it prints and exits with."""

from __future__ import annotations

import io
import json
import os
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtpgate import plugins
from smtpgate.cli import main, offline
from smtpgate.cli.terminal import shown
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import CONFIG, Desk, MemoryUsers, make_session


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of one command."""
    out, err = io.StringIO(), io.StringIO()
    nothing = mock.patch.object(plugins, "find_factories", lambda: ({}, {}), create=True)
    with redirect_stdout(out), redirect_stderr(err), nothing:
        try:
            code = main(list(words))
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
    return code, out.getvalue(), err.getvalue()


class Place:
    """A folder with a configuration."""

    def __init__(self, case: SynchronousTestCase, text: str = CONFIG) -> None:
        folder = tempfile.TemporaryDirectory()
        case.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "var").mkdir(0o700)
        self.file = self.folder / "gate.toml"
        self.file.write_text(text)
        self.config = ("--config", str(self.file))


class AloneTests(SynchronousTestCase):
    """No gateway runs."""

    def setUp(self) -> None:
        self.place = Place(self)

    def test_check_config(self) -> None:
        """Warnings are printed and pass; errors are all printed and exit with 3."""
        code, out, _ = run("check-config", str(self.place.file))
        self.assertEqual(code, 0)
        self.assertIn("warning", out)
        self.place.file.write_text("hostname = 3\nnonsense = 1\n")
        code, out, _ = run("check-config", str(self.place.file))
        self.assertEqual(code, 3)
        self.assertIn(":1:", out)
        self.assertIn(":2:", out)
        code, out, _ = run("check-config", str(self.place.file), "--json")
        self.assertEqual((code, json.loads(out)["is_valid"]), (3, False))
        self.assertEqual(run("check-config", "/nowhere/at/all")[0], 3)

    def test_explain(self) -> None:
        """The way of a recipient, without a gateway."""
        words = ("explain", "--listener", "mx", "--client", "192.0.2.1", "--sender", "a@example.org")
        code, out, _ = run(*self.place.config, *words, "--recipient", "bob@example.net")
        self.assertEqual((code, out.splitlines()[-1]), (0, "route 1: backend mail"))
        code, out, _ = run(*self.place.config, *words, "--recipient", "bob@elsewhere.example", "--json")
        self.assertIn("relays for nobody", json.loads(out)["answer"])
        code, _, err = run(*self.place.config, "explain", "--listener", "none", "--recipient", "bob@example.net")
        self.assertEqual(code, 1)
        self.assertIn("no listener none", err)
        self.place.file.write_text("x = 1")
        self.assertEqual(run(*self.place.config, *words, "--recipient", "bob@example.net")[0], 3)

    def test_nobody_answers(self) -> None:
        """A clear sentence and exit code 1."""
        for words in (
            ("status",),
            ("sessions",),
            ("backends",),
            ("drain", "mail", "x"),
            ("reload",),
            ("stop",),
            ("show", "X"),
        ):
            code, out, err = run(*self.place.config, *words)
            self.assertEqual((code, out), (1, ""), words)
            self.assertIn("no gateway answers at", err)

    def test_usage(self) -> None:
        """Exit code 2, with what would be right."""
        for words in (
            (),
            ("nonsense",),
            ("status",),
            ("--config",),
            ("user", "add", "x", "--role", "emperor"),
        ):
            code, _, err = run(*words)
            self.assertEqual(code, 2, words)
            self.assertIn("usage:", err)

    def test_filters_as_the_file_has_them(self) -> None:
        """Where no gateway runs."""
        self.assertEqual(run(*self.place.config, "filters")[:2], (0, "none\n"))

    def test_access_in_the_state_folder(self) -> None:
        """Users and tokens are made under the folder's lock, before a first start too."""
        users = MemoryUsers()

        @contextmanager
        def opened(folder: Path) -> Any:
            self.assertEqual(folder, self.place.folder / "var")
            yield users

        secret = self.place.folder / "password"
        secret.write_text("a long enough phrase\n")
        with mock.patch.object(offline, "_open", opened):
            words = ("user", "add", "ann", "--role", "owner", "--password-file", str(secret))
            self.assertEqual(run(*self.place.config, *words)[0], 0)
            self.assertEqual(users.passwords, {"ann": "a long enough phrase"})
            self.assertIn("ann", run(*self.place.config, "user", "list")[1])
            code, token, _ = run(*self.place.config, "token", "add", "ci", "--role", "owner")
            self.assertRegex(token, r"^sgt_[0-9a-f]+_[\w-]{43}\n$")
            id = token.split("_")[1]
            self.assertIn(id, run(*self.place.config, "token", "list")[1])
            self.assertNotIn(token.strip(), run(*self.place.config, "token", "list", "--json")[1])
            self.assertEqual(run(*self.place.config, "token", "revoke", id)[0], 0)
            self.assertEqual(run(*self.place.config, "token", "revoke", id)[0], 1)
            self.assertEqual(run(*self.place.config, "user", "remove", "ann")[0], 0)
            secret.write_text("short")
            self.assertEqual(run(*self.place.config, *words)[0], 1)
        self.assertEqual([row["actor_kind"] for row in users.rows], ["cli"] * 4)

    def test_nothing_steers_the_terminal(self) -> None:
        """What peers wrote is escaped."""
        self.assertEqual(shown("a\x1b[2J\nb\u202e"), "a\\u001b[2J\\u000ab\\u202e")


class SocketTests(TestCase):
    """A gateway runs."""

    timeout = 30

    def setUp(self) -> None:
        self.place = Place(self)
        self.desk = Desk()
        self.socket = self.place.folder / "var" / "control.sock"
        port: Any = reactor.listenUNIX(str(self.socket), self.desk.office.site("local"), mode=0o600)  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(port.stopListening))

    def ask(self, *words: str) -> Deferred[tuple[int, str, str]]:
        return deferToThread(run, *self.place.config, *words)

    async def test_socket_is_for_its_owner(self) -> None:
        """File mode 0600."""
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)

    async def test_status(self) -> None:
        """State and numbers, for people and for programs."""
        code, out, _ = await self.ask("status")
        self.assertEqual(code, 0)
        self.assertIn("gate.example.com: accepting", out)
        _, out, _ = await self.ask("--json", "status")
        self.assertEqual(json.loads(out)["state"], "accepting")
        _, out, _ = await self.ask("status", "--json")
        self.assertEqual(json.loads(out)["state"], "accepting")

    async def test_drain_and_ready(self) -> None:
        """By names; an unknown one is said to be unknown."""
        code, out, _ = await self.ask("drain", "mail", "unix:/run/mail.sock", "--reason", "update")
        self.assertEqual(code, 0)
        self.assertTrue(self.desk.control.servers()[1].is_drained)
        _, out, _ = await self.ask("backends")
        self.assertIn("unix:/run/mail.sock", out)
        code, _, _ = await self.ask("ready", "mail", "unix:/run/mail.sock")
        self.assertFalse(self.desk.control.servers()[1].is_drained)
        code, _, err = await self.ask("drain", "mail", "nowhere:1")
        self.assertEqual((code, err), (1, "smtpgate: no server nowhere:1 in backend mail\n"))
        self.assertEqual({row["actor_kind"] for row in self.desk.users.rows}, {"cli"})

    async def test_a_broken_file_does_not_lock_out(self) -> None:
        """The gateway is found by a file whose other tables have faults; reload says what they are."""
        self.place.file.write_text("nonsense = 1\n")
        code, _, _ = await self.ask("status")
        self.assertEqual(code, 0)
        self.desk.control.path = self.place.file
        code, out, err = await self.ask("reload")
        self.assertEqual(code, 3)
        self.assertIn("nonsense", out)
        self.assertIn("unchanged", err)

    async def test_show(self) -> None:
        """The sentence, the recipients, the findings, the timeline; hostile text cannot steer the terminal."""
        finding = Finding("malware", "reject", detail="Eicar\x1b[31m", filter="clamav")
        facts = make_session(
            helo="\x1b[2Jevil", outcome="refused", reply=Reply(550, "5.7.1", ("No",)), findings=(finding,)
        )
        self.desk.history.keep(facts)
        code, out, _ = await self.ask("show", f"{facts.id}.1")
        self.assertEqual(code, 0)
        self.assertIn("refused: Refused, because our check “clamav” found “malware”.", out)
        self.assertIn("EHLO \\u001b[2Jevil", out)
        self.assertNotIn("\x1b", out)
        code, _, err = await self.ask("show", "NONE")
        self.assertEqual(code, 1)
        self.assertIn("not kept any more", err)

    async def test_access_by_the_running_gateway(self) -> None:
        """The same commands as without one."""
        secret = self.place.folder / "password"
        secret.write_text("a long enough phrase\n")
        code, _, _ = await self.ask("user", "add", "ann", "--role", "owner", "--password-file", str(secret))
        self.assertEqual((code, list(self.desk.users.people)), (0, ["ann"]))
        code, _, err = await self.ask("user", "remove", "ann")
        self.assertEqual(code, 1)
        self.assertIn("last owner", err)
        code, out, _ = await self.ask("token", "add", "ci", "--role", "auditor", "--days", "30")
        self.assertTrue(out.startswith("sgt_"))
        _, out, _ = await self.ask("token", "list")
        self.assertIn("auditor", out)
        _, out, _ = await self.ask("sessions")
        self.assertEqual(out, "none\n")

    async def test_stop(self) -> None:
        """Answered before it is done."""
        stopped: list[int] = []
        self.desk.control.stop = lambda: stopped.append(1)
        self.assertEqual((await self.ask("stop"))[0], 0)
        self.desk.clock.advance(1)
        self.assertEqual(stopped, [1])
