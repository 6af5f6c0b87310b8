"""The command: against a running office over its socket, without one, and what it prints and exits with."""

from __future__ import annotations

import argparse
import io
import json
import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import sqlalchemy as sa
from argon2 import PasswordHasher
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtpgate import plugins
from smtpgate.cli import main, offline, parser
from smtpgate.cli.terminal import shown
from smtpgate.config.loader import loads
from smtpgate.control.views import Actor
from smtpgate.observe.journal import Journal
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.proxy.guard import Published
from smtpgate.smtp.reply import Reply
from smtpgate.state import folder as folder_module
from smtpgate.state import passwords
from smtpgate.state.folder import StateFolder
from smtpgate.state.offline import DATABASE, open_users
from tests.admin_kit import CONFIG, PASSWORD, Desk, MemoryUsers, make_session
from tests.test_admin_entry import Browser
from tests.test_admin_traffic import LIMITS, TRIAL


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
        self.assertIn("relays for nobody", json.loads(out)["items"][0]["answer"])
        code, _, err = run(*self.place.config, "explain", "--listener", "none", "--recipient", "bob@example.net")
        self.assertEqual(code, 1)
        self.assertIn("no listener none", err)
        self.place.file.write_text("x = 1")
        self.assertEqual(run(*self.place.config, *words, "--recipient", "bob@example.net")[0], 3)

    def test_explain_several_recipients(self) -> None:
        """Each gets its route; one that leads to another backend goes with it, or hears 452 where that is wished."""
        with_list = CONFIG.replace(
            "[[routes]]",
            '[backends.list]\nservers = ["127.0.0.1:2601"]\ntls = "off"\n'
            '[[routes]]\nrecipient = ["list@example.net"]\nbackend = "list"\n[[routes]]',
        )
        self.place.file.write_text(with_list)
        words = ("explain", "--listener", "mx", "--json", "--recipient")
        code, out, _ = run(*self.place.config, *words, "a@example.net", "list@example.net", "b@example.net")
        answers = [one["answer"] for one in json.loads(out)["items"]]
        self.assertEqual(answers[1], "route 1: backend list, in one transaction with mail")
        self.assertEqual(answers[2], "route 2: backend mail")
        self.place.file.write_text(with_list.replace("[listeners.mx]", '[listeners.mx]\nsplit = "defer"'))
        for recipients, answers in (
            (("a@example.net", "list@example.net", "b@example.net"), ("route 2", "452 4.5.3: route 1", "route 2")),
            (("list@example.net", "a@example.net", "<list@example.net>"), ("route 1", "452 4.5.3: route 2", "route 1")),
            (("x@elsewhere.example", "list@example.net", "postmaster"), ("550 5.7.1", "route 1", "452 4.5.3: route 2")),
        ):
            code, out, err = run(*self.place.config, *words, *recipients)
            self.assertEqual(code, 0, err)
            found = json.loads(out)["items"]
            self.assertEqual([one["recipient"] for one in found], [text.strip("<>") for text in recipients])
            for one, answer in zip(found, answers):
                self.assertTrue(one["answer"].startswith(answer), f"{one} {answer}")
        code, out, _ = run(
            *self.place.config,
            "explain",
            "--listener",
            "mx",
            "--recipient",
            "a@example.net",
            "--recipient",
            "b@example.net",
        )
        self.assertEqual([line for line in out.splitlines() if "@" in line], ["a@example.net:", "b@example.net:"])

    def test_explain_a_bare_postmaster(self) -> None:
        """Where no route matches it goes the way of the listener's first, as in a session."""
        self.place.file.write_text(CONFIG.replace("[[routes]]", '[[routes]]\nrecipient = ["list@example.net"]'))
        _, out, _ = run(*self.place.config, "explain", "--listener", "mx", "--recipient", "postmaster", "b@example.net")
        self.assertIn("route 1: backend mail", out.splitlines())
        self.assertEqual(out.splitlines()[-1], "550 5.7.1: no route matches")

    def test_explain_takes_no_nonsense(self) -> None:
        """What is no address is refused as wrong usage, by name and with the reason."""
        good = {"--listener": "mx", "--recipient": "bob@example.net"}
        for option, texts in (
            ("--client", ("mail.example.org", "192.0.2", "192.0.2.1/24", "", "1")),
            ("--sender", ("ann", "ann@", "a@b c@d", "<a@example.org", "a@example.org>x", "\udcff@example.org")),
            (
                "--recipient",
                ("bob", "", "<>", "bob@@example.net", "bob@example.net,eve@example.net", "a b@example.net"),
            ),
        ):
            for text in texts:
                words = [word for pair in {**good, option: text}.items() for word in pair]
                code, _, err = run(*self.place.config, "explain", *words)
                self.assertEqual(code, 2, f"{option} {text!r}")
                self.assertIn(f"argument {option}", err)
                self.assertNotIn("Traceback", err)
        for option, text in (("--client", "2001:db8::1"), ("--sender", "<>"), ("--sender", "<ann@example.org>")):
            words = [word for pair in {**good, option: text}.items() for word in pair]
            self.assertEqual(run(*self.place.config, "explain", *words)[0], 0, text)

    def test_help(self) -> None:
        """Every command says in a sentence what it does, and what each of its arguments is."""

        def walk(parser: argparse.ArgumentParser, name: str) -> None:
            self.assertTrue(name == "smtpgate" or (parser.description or "").endswith("."), name)
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    said = {choice.dest: choice.help for choice in action._choices_actions}
                    for verb, made in action.choices.items():
                        self.assertTrue(said[verb], f"{name} {verb}")
                        walk(made, f"{name} {verb}")
                elif action.dest not in ("file", "name"):
                    self.assertTrue(action.help, f"{name}: {action.dest}")

        walk(parser(), "smtpgate")
        for words, text in (
            (("drain", "--help"), "hear 451 4.4.1"),
            (("ready", "--help"), "Put a drained server into service again."),
            (("sessions", "--help"), "seconds since the client connected"),
            (("backends", "--help"), "taken out of service by `drain`"),
            (("--help",), "Exit codes: 0 done"),
        ):
            code, out, _ = run(*words)
            self.assertEqual(code, 0)
            self.assertIn(text, " ".join(out.split()))

    def test_the_configuration_may_be_named_behind_the_command(self) -> None:
        """Where people look for it first."""
        self.assertEqual(run("filters", *self.place.config)[:2], (0, "none\n"))
        self.assertEqual(run("-c", "/nowhere", "filters", "-c", str(self.place.file))[0], 0)

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
            change = ("user", "change", "ann", "--role", "auditor", "--domain", "Example.NET", "--disable")
            self.assertEqual(run(*self.place.config, *change)[0], 0)
            ann = users.people["ann"]
            self.assertEqual((ann.role, ann.domains, ann.is_disabled), ("auditor", ("example.net",), True))
            self.assertEqual(run(*self.place.config, "user", "change", "ann", "--all-domains", "--enable")[0], 0)
            ann = users.people["ann"]
            self.assertEqual((ann.role, ann.domains, ann.is_disabled), ("auditor", (), False))
            self.assertEqual(run(*self.place.config, "user", "change", "ann")[0], 2)
            secret.write_text("another long phrase")
            word = ("user", "password", "ann", "--password-file", str(secret))
            self.assertEqual(run(*self.place.config, *word)[0], 0)
            self.assertEqual(users.passwords, {"ann": "another long phrase"})
            self.assertEqual(run(*self.place.config, "user", "remove", "ann")[0], 0)
            for wrong in (change, word, ("user", "remove", "ann")):
                code, _, err = run(*self.place.config, *wrong)
                self.assertEqual((code, "no user ann" in err), (1, True), err)
            secret.write_text("short")
            self.assertEqual(run(*self.place.config, *words)[0], 1)
        self.assertEqual([row["actor_kind"] for row in users.rows], ["cli"] * 7)

    def test_limits_of_a_token_in_the_state_folder(self) -> None:
        """As the running gateway would give them, and refused as it would refuse them."""
        limits = ("--domain", "Example.NET", "--network", "192.0.2.0/24", "--days", "7")
        words = ("token", "add", "ci", "--scope", "stats:read", "--scope", "metrics:read", *limits)
        (self.place.folder / "var").mkdir(exist_ok=True)
        self.assertEqual(run(*self.place.config, *words)[0], 0)
        (one,) = json.loads(run(*self.place.config, "token", "list", "--json")[1])["items"]
        self.assertEqual(one["scopes"], ["metrics:read", "stats:read"])
        self.assertEqual((one["role"], one["domains"], one["networks"]), ("", ["example.net"], ["192.0.2.0/24"]))
        for wrong in (
            ("token", "add", "ci"),
            ("token", "add", "ci", "--role", "owner", "--scope", "stats:read"),
            ("token", "add", "ci", "--role", "owner", "--network", "192.0.2.1/24"),
            ("token", "add", "c i", "--role", "owner"),
        ):
            self.assertEqual(run(*self.place.config, *wrong)[0], 1, wrong)
        with open_users(self.place.folder / "var", maybeDeferred) as users:
            self.assertEqual(len(self.successResultOf(users.tokens())), 1)
        self.assertEqual(run(*self.place.config, "audit", "verify")[:2], (0, "the audit is whole: 1 rows\n"))

    def test_nothing_steers_the_terminal(self) -> None:
        """What peers wrote is escaped."""
        self.assertEqual(shown("a\x1b[2J\nb\u202e"), "a\\u001b[2J\\u000ab\\u202e")


class OwnerTests(SynchronousTestCase):
    """Whose the files are that a command makes in the state folder."""

    #: A user that is in no passwd file.
    SERVICE = 64999

    def setUp(self) -> None:
        self.place = Place(self)
        self.var = self.place.folder / "var"
        self.secret = self.place.folder / "password"
        self.secret.write_text("a long enough phrase\n")
        self.secret.chmod(0o600)
        self.patch(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

    def give_away(self) -> None:
        """The folder becomes the service's."""
        if os.geteuid():
            self.skipTest("only root can give a folder to another user")
        # The Python of this test may lie where only root reads: what it loads late is loaded now.
        self.patch(folder_module, "_PROGRAM", ())
        for _ in range(2):
            with open_users(self.place.folder / "other", maybeDeferred):
                pass
        self.place.folder.chmod(0o711)
        os.chown(self.var, self.SERVICE, self.SERVICE)

    def add(self) -> tuple[int, str, str]:
        words = ("user", "add", "ann", "--role", "owner", "--password-file", str(self.secret))
        return run(*self.place.config, *words)

    def owners(self) -> dict[str, tuple[int, int]]:
        return {path.name: (path.stat().st_uid, path.stat().st_gid) for path in self.var.iterdir()}

    def test_root_makes_the_owners_files(self) -> None:
        """Each file, those that SQLite keeps beside an open database too; and root is root again afterwards."""
        self.give_away()
        before = os.geteuid(), os.getegid(), os.getgroups()
        code, out, err = self.add()
        self.assertEqual((code, out), (0, "user ann added with role owner\n"), err)
        self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), before)
        with open_users(self.var, maybeDeferred) as users:
            self.successResultOf(users.audit(Actor("cli", "x"), "x", "x", ""))
            found = self.owners()
        self.assertLessEqual({"lock", "layout", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}, set(found))
        self.assertEqual(set(found.values()), {(self.SERVICE, self.SERVICE)})
        self.assertEqual(run(*self.place.config, "token", "add", "ci", "--role", "auditor")[0], 0)
        self.assertEqual(set(self.owners().values()), {(self.SERVICE, self.SERVICE)})

    def test_no_link_leads_root_out_of_the_folder(self) -> None:
        """The service's user may have put one there; root's own files stay as they are."""
        self.give_away()
        own = self.place.folder / "own"
        own.touch(0o600)
        (self.var / DATABASE).symlink_to(own)
        code, _, err = self.add()
        self.assertEqual(code, 1)
        self.assertIn(DATABASE, err)
        self.assertEqual((own.stat().st_uid, own.stat().st_size), (0, 0))

    def test_root_makes_no_folder(self) -> None:
        """Nobody knows whose it would be; the text says what to do."""
        self.var.rmdir()
        self.patch(os, "geteuid", lambda: 0)
        for words in (("user", "list"), ("token", "list"), ("token", "add", "ci", "--role", "owner")):
            code, _, err = run(*self.place.config, *words)
            self.assertEqual(code, 1)
            self.assertIn(f"install -d -m 0700 -o USER {self.var}", err)
        self.assertFalse(self.var.exists())

    def test_root_without_the_right_to_change(self) -> None:
        """In a container, perhaps: it is said who is to run the command, and nothing is made."""
        self.give_away()

        def seteuid(uid: int) -> None:
            if uid:
                raise PermissionError(1, "Operation not permitted")

        self.patch(os, "seteuid", seteuid)
        code, _, err = self.add()
        self.assertEqual(code, 1)
        self.assertIn(f"belongs to uid {self.SERVICE}; run this as that user", err)
        self.assertEqual(self.owners(), {})

    def test_a_program_that_the_owner_may_not_read(self) -> None:
        """It is said before anything is made."""
        self.give_away()
        self.patch(folder_module, "_PROGRAM", (str(self.secret),))
        code, _, err = self.add()
        self.assertEqual(code, 1)
        self.assertIn(f"belongs to uid {self.SERVICE}, who may not read {self.secret}", err)
        self.assertEqual((self.owners(), os.geteuid()), ({}, 0))

    def test_another_user(self) -> None:
        """Who may write nothing there is told who may."""
        self.give_away()
        letter = self.place.folder / "letter"
        letter.write_text("word " * 200)
        self.var.chmod(0o700)
        os.seteuid(self.SERVICE - 1)
        self.addCleanup(os.seteuid, 0)
        for words, why in (
            (("add", "plan", str(letter)), f"belongs to uid {self.SERVICE}; run this as that user, or as root"),
            (("remove", "plan"), "only root and the gateway's own user may"),
        ):
            code, out, err = run(*self.place.config, "fingerprint", *words)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(why, err)

    def test_files_that_root_has_left(self) -> None:
        """The owner hears whose they are, and what mends it."""
        self.give_away()
        for name in ("lock", "layout"):
            (self.var / name).touch(0o600)
        code, _, err = self.add()
        self.assertEqual(code, 1)
        self.assertIn(f"its files belong to root: chown -R {self.SERVICE} {self.var}", err)

    def test_a_folder_in_use(self) -> None:
        """By a gateway whose socket is gone, say: refused in words."""
        held = StateFolder(self.var)
        held.lock()
        self.addCleanup(held.unlock)
        code, _, err = self.add()
        self.assertEqual(code, 1)
        self.assertIn("is in use by another process", err)

    def test_a_database_that_cannot_be_written(self) -> None:
        """Refused in words too."""
        self.assertEqual(self.add()[0], 0)
        with closing(sqlite3.connect(self.var / DATABASE)) as connection:
            connection.execute("CREATE TRIGGER full BEFORE INSERT ON tokens BEGIN SELECT RAISE(FAIL, 'no room'); END")
        code, _, err = run(*self.place.config, "token", "add", "ci", "--role", "auditor")
        self.assertEqual(code, 1)
        self.assertIn("cannot be used: no room", err)


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

    async def test_json_of_what_was_done(self) -> None:
        """Programs get the answer, not the sentence."""
        code, out, _ = await self.ask("drain", "mail", "127.0.0.1:2600", "--json")
        self.assertEqual((code, json.loads(out)), (0, {"done": True, "is_audited": True}))

    async def test_what_is_not_in_the_audit_is_said(self) -> None:
        """It is done all the same; users are not changed."""
        self.desk.users.fails_audit = True
        code, out, err = await self.ask("drain", "mail", "127.0.0.1:2600")
        self.assertEqual((code, out), (0, "mail 127.0.0.1:2600: drained until `smtpgate ready`\n"))
        self.assertIn("the audit cannot be written", err)
        self.assertTrue(self.desk.control.servers()[0].is_drained)
        code, _, err = await self.ask("token", "add", "ci", "--role", "auditor")
        self.assertEqual((code, err), (1, "smtpgate: the audit cannot be written, so nothing is changed\n"))

    async def test_more_sessions_than_are_listed(self) -> None:
        """It is said how many there are."""
        control = self.desk.control
        for number in range(3):
            session = SimpleNamespace(facts=make_session(f"01J9UK7Q0000000000000000A{number}"))
            session.facts.transaction = None
            control.reception.sessions[session.facts.id] = session  # type: ignore[assignment]
        code, out, err = await self.ask("sessions", "--limit", "2")
        self.assertEqual((code, len(out.splitlines()), err), (0, 3, "smtpgate: 2 of 3 sessions; see --limit\n"))
        self.assertEqual((await self.ask("sessions", "--limit", "501"))[0], 2)
        control.reception.sessions.clear()

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
        facts = make_session(
            "01J9UK7Q0000000000000000AB", findings=(Finding("heavy", "note", filter="links", score=6.5),)
        )
        by = Finding("scores", "tag", filter="scores", detail="6.5 points, 5 are enough: heavy +6.5")
        facts.transactions[0].verdict = Verdict("tag", by, 6.5, would="reject")
        self.desk.history.keep(facts)
        code, out, _ = await self.ask("show", f"{facts.id}.1")
        self.assertIn("decision: tag by scores: scores (6.5 points, 5 are enough: heavy +6.5); 6.5 points in all", out)
        self.assertIn("the filters in shadow say reject", out)
        self.assertIn("links: heavy, note +6.5", out)
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
        limits = ("--scope", "stats:read", "--domain", "example.net", "--network", "2001:db8::/32")
        self.assertEqual((await self.ask("token", "add", "few", *limits))[0], 0)
        few = next(one for one in self.desk.users.keys.values() if one.name == "few")
        self.assertEqual(
            (few.scopes, few.domains, few.networks), (("stats:read",), ("example.net",), ("2001:db8::/32",))
        )
        secret.write_text("another long phrase")
        for words in (
            ("user", "add", "bob", "--role", "helpdesk", "--domain", "example.net", "--password-file", str(secret)),
            ("user", "change", "bob", "--role", "auditor", "--disable"),
            ("user", "password", "bob", "--password-file", str(secret)),
        ):
            code, _, err = await self.ask(*words)
            self.assertEqual(code, 0, err)
        bob = self.desk.users.people["bob"]
        self.assertEqual((bob.role, bob.domains, bob.is_disabled), ("auditor", ("example.net",), True))
        _, out, _ = await self.ask("sessions")
        self.assertEqual(out, "none\n")

    async def test_audit(self) -> None:
        """Listed, looked at, written out; in the state folder too."""
        for number in range(3):
            self.desk.users.audit(Actor("user", "ann"), "user.add", f"u{number}", "", {"source": "192.0.2.1"})
        code, out, err = await self.ask("audit", "list", "--action", "user", "--limit", "2")
        self.assertEqual((code, out.count("\n")), (0, 3), err)
        self.assertIn("u2", out)
        self.assertNotIn("u0", out)
        self.assertEqual((await self.ask("audit", "list", "--actor", "eve"))[1], "none\n")
        self.assertEqual((await self.ask("audit", "verify"))[:2], (0, "the audit is whole: 3 rows\n"))
        code, out, err = await self.ask("audit", "export", "--target", "u1")
        self.assertEqual(code, 0, err)
        self.assertEqual([json.loads(line)["target"] for line in out.splitlines()], ["u1"])
        code, out, _ = await self.ask("audit", "export", "--format", "csv", "--action", "user.add")
        self.assertEqual((code, len(out.splitlines())), (0, 4))
        self.desk.users.database.run(lambda connection: connection.execute(sa.text("DELETE FROM audit WHERE seq = 2")))
        code, out, err = await self.ask("audit", "verify", "--json")
        self.assertEqual((code, json.loads(out)["reason"]), (1, "row 2 is missing"))
        self.assertIn("row 2 is missing", err)

    async def test_invitations(self) -> None:
        """A link in place of a password, for a new user and for one who is there; and codes that are lost."""
        code, out, err = await self.ask("user", "add", "bob", "--role", "helpdesk", "--invite")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"^\(the address of the admin pages\)/welcome/[\w-]{43}\n$")
        code, out, _ = await self.ask("user", "invite", "bob", "--json")
        path = json.loads(out)["link"]
        fields = {"password": "another long phrase", "again": "another long phrase"}
        self.assertEqual(Browser(self.desk).form(path, path, fields).status, 303)
        self.assertEqual(self.desk.users.passwords["bob"], "another long phrase")
        self.desk.users.factors.set("bob", b"x" * 20, 1, ["a"], 1.0)
        self.assertEqual((await self.ask("user", "drop-totp", "bob"))[0], 0)
        self.assertEqual(self.desk.users.factors.secrets, {})
        self.assertEqual((await self.ask("user", "drop-totp", "bob"))[0], 1)

    async def test_logins_of_browsers(self) -> None:
        """Listed, and ended one by one or all of a user's."""
        self.desk.users.add_user("ann", "owner", PASSWORD)
        browsers = [Browser(self.desk) for _ in range(3)]
        for browser in browsers:
            browser.log_in()
        _, out, _ = await self.ask("session", "list", "--json")
        items = json.loads(out)["items"]
        self.assertEqual([one["user"] for one in items], ["ann"] * 3)
        self.assertEqual((await self.ask("session", "end", items[-1]["id"]))[0], 0)
        self.assertEqual([one.get("/").status for one in browsers], [303, 200, 200])
        self.assertEqual((await self.ask("session", "end", "none"))[0], 1)
        self.assertEqual((await self.ask("session", "end"))[0], 2)
        self.assertEqual((await self.ask("session", "end", "--user", "ann"))[0], 0)
        self.assertEqual([one.get("/").status for one in browsers], [303] * 3)

    async def test_bans(self) -> None:
        """Set, listed, lifted; what cannot be is said."""
        code, out, _ = await self.ask("ban", "192.0.2.0/24", "--reason", "noise", "--minutes", "30")
        self.assertEqual((code, out), (0, "192.0.2.0/24 is banned for 30 minutes\n"))
        code, out, _ = await self.ask("bans")
        self.assertRegex(out, r"192\.0\.2\.0/24 .* noise .* True")
        code, out, _ = await self.ask("sender", "192.0.2.7")
        self.assertIn("class unknown: nothing is known of it", out)
        self.assertIn("192.0.2.0/24 is banned until", out)
        code, out, _ = await self.ask("unban", "192.0.2.0/24")
        self.assertEqual((code, out), (0, "192.0.2.0/24 may come in again\n"))
        code, _, err = await self.ask("unban", "192.0.2.0/24")
        self.assertEqual((code, err), (1, "smtpgate: 192.0.2.0/24 is not banned\n"))
        code, _, err = await self.ask("ban", "nobody")
        self.assertEqual(code, 1)
        self.assertIn("no address", err)
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["ban.set", "ban.lift"])

    async def test_traffic_and_limits(self) -> None:
        """Who has what; the keys that are near; one is freed, and a sender forgotten."""
        code, out, _ = await self.ask("traffic")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^pressure normal$")
        self.assertRegex(out, r"(?m)^backend mail +0/\d+ +0/")
        self.assertEqual((await self.ask("limits"))[1], "none\n")
        self.place.file.write_text(CONFIG)
        desk = self.desk.control
        desk.revision = desk._build(loads(CONFIG + LIMITS, "/nowhere/gate.toml"), None)
        desk.revision.limits.rules[0].stamps.put("192.0.2.0/24", 7200.0, 0.0)
        code, out, _ = await self.ask("limits")
        self.assertIn("per-network: messages by network: 2/1h, 2 at once; class suspect, unknown", out)
        self.assertIn("200 %  192.0.2.0/24, room in 5400 s", out)
        code, out, _ = await self.ask("free-limit", "per-network", "192.0.2.0/24")
        self.assertEqual((code, out), (0, "per-network: 192.0.2.0/24 is free\n"))
        self.assertEqual((await self.ask("free-limit", "per-network", "192.0.2.0/24"))[0], 1)
        desk.reception.admission.reputation.records.add("address 192.0.2.7", "spam: bulk", 5.0, desk.engine.wall())
        _, out, _ = await self.ask("sender", "192.0.2.7")
        self.assertIn("address 192.0.2.7: suspect, 5.0 bad of 5.0 points (spam: bulk 5.0)", out)
        self.assertEqual((await self.ask("forget-sender", "address 192.0.2.7"))[0], 0)
        self.assertEqual((await self.ask("forget-sender", "address 192.0.2.7"))[0], 1)

    async def test_rules(self) -> None:
        """In their order, with what was true of how many messages."""
        self.assertEqual((await self.ask("rules"))[1], "none\n")
        rule = '[[rules]]\nname = "small"\nwhen = "size < 10"\naction = "note"\nowner = "ann"\n'
        desk = self.desk.control
        desk.revision = desk._build(loads(CONFIG + rule, "/nowhere/gate.toml"), None)
        code, out, _ = await self.ask("rules")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^NAME +ACTION +MODE +JUDGED_AT +HITS +LAST_HIT +OWNER$")
        self.assertRegex(out, r"(?m)^small +note +enforce +end +0 +- +ann$")

    async def test_tls_reports(self) -> None:
        """A line for each domain, or the reports themselves; a day that is none is wrong usage."""
        self.assertEqual((await self.ask("tls-report"))[1], "none\n")
        watch = self.desk.control.tls.reports
        watch.failed("a.example", Published("sts"), "mx.example", "certificate-expired")
        (day,) = watch.days
        code, out, _ = await self.ask("tls-report", "--date", day)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^DOMAIN +SUCCESSES +FAILURES +WANTED_AT\n *a\.example +0 +1")
        (report,) = json.loads((await self.ask("tls-report", "--json"))[1])
        self.assertEqual(report["policies"][0]["policy"]["policy-domain"], "a.example")
        self.assertEqual((await self.ask("tls-report", "--date", "2020-01-01"))[1], "none\n")
        for number in range(600):
            watch.succeeded(f"b{number}.example", Published("sts"))
        found = json.loads((await self.ask("tls-report", "--json"))[1])
        self.assertEqual(len({one["policies"][0]["policy"]["policy-domain"] for one in found}), 601)
        self.assertEqual(len((await self.ask("tls-report"))[1].splitlines()), 602)

    async def test_a_limit_is_tried(self) -> None:
        """By a file with one limit, on the history; one with a fault is refused with its line."""
        now = self.desk.control.engine.wall()
        for number in range(3):
            facts = make_session(f"01J9UK7Q0000000000000000A{number}", started=now - 60 + number)
            self.desk.history.keep(facts)
        file = self.place.folder / "limit.toml"
        file.write_text(TRIAL)
        code, out, _ = await self.ask("try-limit", "--file", str(file))
        self.assertEqual(code, 0)
        self.assertIn("told to come back 1 of", out)
        self.assertIn("of these had been delivered: 1", out)
        self.assertIn("example.org", out)
        file.write_text(TRIAL.replace("2/1h", "many"))
        code, _, err = await self.ask("try-limit", "--file", str(file))
        self.assertEqual(code, 1)
        self.assertIn("line 5", err)
        self.assertEqual((await self.ask("try-limit"))[0], 2)

    async def test_tail(self) -> None:
        """The newest lines, in text and in JSON, and only what is wanted."""
        journal = Journal("json", "info", str(self.place.folder / "log"))
        self.addCleanup(journal.close)
        self.desk.control.logs.journal = journal
        for number in range(30):
            journal.hear(told.Happened("engine.up", "info", f"line n{number}x\x1b[31m"))
        code, out, _ = await self.ask("tail", "--once", "--lines", "2")
        self.assertEqual((code, len(out.splitlines()), "n29x" in out, "\x1b" in out), (0, 2, True, False))
        code, out, _ = await self.ask("tail", "--once", "--json", "line", "n7x")
        self.assertEqual([json.loads(line)["number"] for line in out.splitlines()], [8])
        code, _, err = await self.ask("tail", "--once", "colour:red")
        self.assertEqual((code, "filter" in err), (1, True))

    async def test_stop(self) -> None:
        """Answered before it is done."""
        stopped: list[int] = []
        self.desk.control.stop = lambda: stopped.append(1)
        self.assertEqual((await self.ask("stop"))[0], 0)
        self.desk.clock.advance(1)
        self.assertEqual(stopped, [1])
