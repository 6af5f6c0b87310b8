"""Man pages and completion: what lies in the tree is what is made now, man reads it, and bash completes with it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from smtpgate.cli.manual import PAGES, SHELLS, commands, files

ROOT = Path(__file__).resolve().parent.parent


class ManualTests(SynchronousTestCase):
    """The files below etc/."""

    def test_they_are_up_to_date(self) -> None:
        """Run make docs when this fails."""
        for place, text in files().items():
            self.assertTrue((ROOT / place).read_text(encoding="utf-8") == text, f"{place} is not what make docs writes")

    def test_every_command_is_in_the_page(self) -> None:
        """With each of its options."""
        page = files()[PAGES[0]].replace("\\-", "-")
        for one in commands():
            if one.words and not one.below:
                section = page.partition(f".SS {' '.join(one.words)}\n")[2].partition("\n.SS ")[0]
                self.assertTrue(section, one.words)
                for option in one.options:
                    for name in set(option.names) - {"--config", "-c", "--json"}:
                        self.assertIn(f"\\fB{name}\\fR", section, one.words)

    def test_man_reads_them(self) -> None:
        """Without a warning."""
        if shutil.which("groff") is None:
            raise SkipTest("missing: Debian package groff")
        for place in PAGES:
            command = ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", str(ROOT / place)]
            made = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual((made.returncode, made.stderr), (0, ""), place)
            self.assertIn("smtpgate", made.stdout)


class CompletionTests(SynchronousTestCase):
    """bash itself, with our file."""

    def complete(self, *words: str) -> set[str]:
        """What is offered for the last word."""
        script = (
            f"source {shlex.quote(str(ROOT / SHELLS[0]))}; COMP_WORDS=({shlex.join(words)}); "
            f"COMP_CWORD={len(words) - 1}; _smtpgate; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        made = subprocess.run(
            ["bash", "--norc", "-uc", script], capture_output=True, text=True, timeout=60, cwd=ROOT / "etc"
        )
        self.assertEqual((made.returncode, made.stderr), (0, ""), words)
        return set(made.stdout.split())

    def test_commands_and_their_actions(self) -> None:
        """At the top, below a group, and behind options with a value that looks like a command."""
        self.assertEqual(self.complete("smtpgate", "back"), {"backends", "backup"})
        self.assertEqual(self.complete("smtpgate", "backup", ""), {"create", "verify"})
        self.assertEqual(self.complete("smtpgate", "--config", "drain", "backup", "c"), {"create"})
        self.assertIn("top", self.complete("smtpgate", "--json", "to"))

    def test_options_and_their_values(self) -> None:
        """Of this command alone; values where there are few."""
        self.assertEqual(self.complete("smtpgate", "send-test", "--ba"), {"--bad"})
        self.assertEqual(self.complete("smtpgate", "status", "--ba"), set())
        self.assertEqual(self.complete("smtpgate", "tail", "--level", "w"), {"warning"})
        self.assertEqual(self.complete("smtpgate", "status", "--config", "smtpgate.toml"), {"smtpgate.toml"})

    def test_each_command_is_offered(self) -> None:
        """All that the parser has."""
        for one in commands():
            if one.below:
                self.assertEqual(self.complete("smtpgate", *one.words, ""), set(one.below))
