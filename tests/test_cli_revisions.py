"""`smtpgate config` and `check-config` against a running office, over its socket."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import CONFIG, Desk
from tests.revisions_kit import MANAGED, FolderCase
from tests.test_admin_config import FACTORY, SECRET, named
from tests.test_cli import run


class CommandCase(FolderCase, TestCase):
    """A gateway runs."""

    timeout = 30
    text = MANAGED

    def setUp(self) -> None:
        super().setUp()
        self.file.write_text(self.text)
        self.desk = Desk(self.text)
        self.attach(self.desk.control)
        self.books = self.desk.control.configuration
        socket = self.folder / "var" / "control.sock"
        port: Any = reactor.listenUNIX(str(socket), self.desk.office.site("local"), mode=0o600)  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        self.addCleanup(self.books.close)
        self.mine = self.folder / "mine.toml"
        self.mine.write_text(named(self.text, "two.example.com"))

    def ask(self, *words: object) -> Deferred[tuple[int, str, str]]:
        return deferToThread(run, *map(str, words), "--config", str(self.file))

    def check(self, *words: object) -> Deferred[tuple[int, str, str]]:
        return deferToThread(run, "check-config", *map(str, words))


class ConfigTests(CommandCase):
    """Where revisions rule."""

    async def test_shown_changed_and_taken_back(self) -> None:
        """Each command in its turn."""
        code, out, _ = await self.ask("config", "show")
        self.assertEqual((code, out), (0, MANAGED))
        code, out, _ = await self.ask("config", "apply", self.mine, "-m", "a name", "--dry-run")
        self.assertEqual((code, self.books.active.number), (0, 1))
        code, out, err = await self.ask("config", "apply", self.mine, "-m", "a name")
        self.assertEqual((code, out), (0, "revision 2 is at work\n"), err)
        self.assertEqual(self.desk.control.settings.hostname, "two.example.com")
        _, out, _ = await self.ask("config", "diff", 1)
        self.assertIn('+hostname = "two.example.com"\n', out)
        self.assertEqual((await self.ask("config", "diff", 2, 1))[1].count("\n-hostname"), 1)
        code, out, _ = await self.ask("config", "show", "--origin")
        lines = out.splitlines()
        self.assertRegex(lines[1], r'^2 \S+ .* {2}hostname = "two.example.com"$')
        self.assertRegex(lines[2], r"^1 system gateway ")
        code, out, _ = await self.ask("config", "rollback", 1)
        self.assertEqual((code, self.desk.control.settings.hostname), (0, "gate.example.com"))
        code, out, _ = await self.ask("config", "history", "--json")
        self.assertEqual([one["way"] for one in json.loads(out)["items"]], ["rollback", "apply", "seed"])
        self.assertEqual((await self.ask("config", "show", 9))[0], 1)

    async def test_confirmed_in_time(self) -> None:
        """The command says how, and history that it waits."""
        code, out, _ = await self.ask("config", "apply", self.mine, "-m", "a name", "--confirm", 10)
        self.assertIn("smtpgate config confirm 2", out)
        _, _, err = await self.ask("config", "history")
        self.assertIn("revision 2 waits to be confirmed for 600 s", err)
        self.assertEqual((await self.ask("config", "confirm", 1))[0], 1)
        self.assertEqual((await self.ask("config", "confirm", 2))[0], 0)
        self.assertIsNone(self.books.pending)

    async def test_errors(self) -> None:
        """Each is printed with its line; exit code 3; nothing changed. Without a reason it is a mistake of usage."""
        self.mine.write_text(MANAGED + "nonsense = 1\n")
        code, out, err = await self.ask("config", "apply", self.mine, "-m", "x")
        self.assertEqual(code, 3)
        self.assertIn(f"line {MANAGED.count(chr(10)) + 1}", out)
        self.assertIn("unchanged", err)
        self.assertEqual((await self.ask("config", "apply", self.mine))[0], 2)
        self.assertEqual((await self.ask("config", "apply", self.folder / "none", "-m", "x"))[0], 3)
        self.assertEqual(self.books.active.number, 1)

    async def test_overtaken(self) -> None:
        """Both changes are written beside the file, which is as it was; a second time nothing is written over."""
        await self.ask("config", "apply", self.mine, "-m", "a name")
        other = self.folder / "other.toml"
        other.write_text(MANAGED + '[log]\nlevel = "debug"\n')
        code, out, err = await self.ask("config", "apply", other, "-m", "x", "--base", 1)
        self.assertEqual(code, 1)
        self.assertIn("--base 2", err)
        merged = self.folder / "other.toml.merged"
        self.assertEqual(merged.read_text(), named(other.read_text(), "two.example.com"))
        self.assertEqual(merged.stat().st_mode & 0o777, 0o600)
        code, _, err = await self.ask("config", "apply", other, "-m", "x", "--base", 1)
        self.assertEqual(code, 1)
        self.assertIn("cannot be written", err)
        code, _, _ = await self.ask("config", "apply", merged, "-m", "x", "--base", 2)
        self.assertEqual((code, self.desk.control.settings.log.level), (0, "debug"))

    async def test_export_and_import(self) -> None:
        """A new file without secrets, and never over another; the configuration file itself taken over."""
        self.books._factories = {"nowhere": FACTORY}
        self.mine.write_text(MANAGED + SECRET)
        await self.ask("config", "apply", self.mine, "-m", "x")
        out = self.folder / "out.toml"
        code, _, err = await self.ask("config", "export", out)
        self.assertEqual(code, 0)
        self.assertIn("--base 2", err)
        self.assertIn('api_key = "***"', out.read_text())
        self.assertEqual((await self.ask("config", "export", out))[0], 1)
        _, text, _ = await self.ask("config", "export", "--revision", 1)
        self.assertEqual(text, MANAGED)
        self.file.write_text(named(MANAGED, "file.example.com"))
        _, text, _ = await self.ask("config", "diff")
        self.assertIn('+hostname = "file.example.com"\n', text)
        code, _, _ = await self.ask("config", "import")
        self.assertEqual((code, self.books.active.way), (0, "import"))
        self.assertEqual(self.desk.control.settings.hostname, "file.example.com")

    async def test_what_steers_a_terminal_is_escaped(self) -> None:
        """Tabs and lines stay."""
        self.mine.write_text(MANAGED + "\t# \u202eturned \u009b31m\n")
        self.assertEqual((await self.ask("config", "apply", self.mine, "-m", "x"))[0], 0)
        for words in (("show",), ("show", "--origin"), ("diff", 1)):
            _, out, _ = await self.ask("config", *words)
            self.assertIn("# \\u202eturned \\u009b31m", out)


class CheckTests(CommandCase):
    """check-config beside what runs."""

    text = CONFIG

    async def test_strict(self) -> None:
        """Warnings are errors."""
        self.assertEqual((await self.check(self.file))[0], 0)
        self.assertEqual((await self.check(self.file, "--strict"))[0], 3)

    async def test_against_what_runs(self) -> None:
        """Keys, lines, and what waits for a restart."""
        _, out, _ = await self.check(self.file, "--against-running")
        self.assertIn("it is what is at work", out)
        self.file.write_text(CONFIG.replace("[admin]", '[log]\nformat = "text"\n[admin]'))
        code, out, _ = await self.check(self.file, "--diff")
        self.assertEqual(code, 0)
        self.assertIn("added: log.format (line 5)", out)
        self.assertIn("holds only after a restart: log.format", out)
        self.assertIn('+format = "text"', out)
        # A text elsewhere: --config says which gateway is meant.
        other = self.folder / "elsewhere"
        other.mkdir()
        (other / "new.toml").write_text(CONFIG)
        code, out, _ = await self.ask("check-config", other / "new.toml", "--against-running")
        self.assertEqual((code, out.splitlines()[-1]), (0, "it is what is at work"))
        self.assertEqual((await self.check(other / "new.toml", "--against-running"))[0], 1)

    async def test_the_file_rules(self) -> None:
        """apply says where the change belongs."""
        code, _, err = await self.ask("config", "apply", self.mine, "-m", "x")
        self.assertEqual(code, 1)
        self.assertIn("the file rules", err)
