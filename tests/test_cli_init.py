"""`smtpgate init`: what it writes passes the checks, and nothing is written over."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from smtpgate.cli import init
from smtpgate.cli.terminal import Failed
from smtpgate.config.loader import load
from smtpgate.plugins import find_factories
from tests.real_kit import RealCase
from tests.real_kit import run as run_program
from tests.test_cli import run
from tests.test_first_minutes import SMTPGATE
from tests.test_real_process import config

ROOT = Path(__file__).resolve().parent.parent
SIMPLE = (
    "--domains",
    "example.net, *.example.org",
    "--backend",
    "mail.example.net:25",
    "--hostname",
    "gate.example.net",
)


class InitTests(SynchronousTestCase):
    """From options and from answers."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "gate.toml"

    def init(self, *words: str) -> tuple[int, str]:
        made = run_program(SMTPGATE, "init", self.file, *words)
        return made.returncode, made.stdout + made.stderr

    def test_options(self) -> None:
        """The file says what was given, explains each key, and has no error."""
        code, out = self.init(*SIMPLE, "--listen", "2525", "--state-dir", str(self.folder / "state"))
        self.assertEqual(code, 0, out)
        settings = load(self.file, *find_factories())
        self.assertEqual(settings.hostname, "gate.example.net")
        self.assertEqual(list(settings.local_domains.entries), ["example.net", "*.example.org"])
        self.assertEqual(settings.listeners["mx"].listen, ("tcp:2525",))
        self.assertEqual(settings.backends["mail"].servers[0].address, "mail.example.net:25")
        self.assertIn("attachments", [use.name for use in settings.filters])
        text = self.file.read_text()
        self.assertIn("# Largest message. EHLO says it with SIZE.\n#message_size", text)
        self.assertEqual(text.count("[listeners."), 1)

    def test_nothing_is_written_over(self) -> None:
        """Neither the file nor the unit; and then not the other one either."""
        self.file.write_text("mine")
        code, out = self.init(*SIMPLE)
        self.assertEqual((code, self.file.read_text()), (1, "mine"), out)
        self.file.unlink()
        unit = self.folder / "smtpgate.service"
        unit.write_text("mine")
        code, out = self.init(*SIMPLE, "--unit", str(unit))
        self.assertEqual((code, unit.read_text(), self.file.exists()), (1, "mine", False), out)

    def test_what_would_be_wrong_is_not_written(self) -> None:
        """Every problem is told, with exit code 3."""
        code, out = self.init("--domains", "ex ample", "--backend", "mail")
        self.assertEqual((code, self.file.exists()), (3, False))
        self.assertIn("local_domains[0]", out)
        self.assertIn("backends.mail.servers[0]", out)

    def test_a_text_cannot_break_out(self) -> None:
        """What is typed is one value, whatever stands in it."""
        code, out = self.init("--domains", 'a"]\nfilter_set = "none', "--backend", "mail.example.net:25")
        self.assertEqual((code, self.file.exists()), (3, False), out)

    def test_without_a_terminal(self) -> None:
        """It does not wait for answers that nobody gives: the options that are missing are named."""
        code, out = self.init("--domains", "example.net")
        self.assertEqual(code, 2)
        self.assertIn("--backend", out)

    def test_answers(self) -> None:
        """An empty answer takes the default, where there is one; the end of the input ends it."""
        answers = iter(["", " mail:25 ", ""])
        read = lambda _: next(answers)  # noqa: E731
        self.assertEqual(init._asked("Server", "", read), "mail:25")
        self.assertEqual(init._asked("Port", "25", read), "25")

        def ended(_: str) -> str:
            raise EOFError

        self.assertRaises(Failed, init._asked, "Server", "", ended)

    def test_from_running_wants_a_gateway(self) -> None:
        """Named, and running."""
        code, _, err = run("init", str(self.file), "--from-running")
        self.assertEqual(code, 2, err)


class UnitTests(SynchronousTestCase):
    """The unit for systemd."""

    def test_the_unit_in_the_package_is_that_of_etc(self) -> None:
        """One unit in two places."""
        inside = ROOT / "smtpgate" / "cli" / "unit_files" / "smtpgate.service"
        self.assertEqual(inside.read_text(), (ROOT / "etc" / "smtpgate.service").read_text())

    def test_paths(self) -> None:
        """Program, configuration and state folder are those of the machine; nothing of the hardening is lost."""
        shipped = init.unit(Path("/etc/smtpgate.toml"), "/var/lib/smtpgate", Path("/opt/smtpgate/bin"))
        self.assertEqual(shipped, (ROOT / "etc" / "smtpgate.service").read_text())
        made = init.unit(Path("/srv/mail/gate.toml"), "/srv/mail/state", Path("/srv/venv/bin"))
        self.assertIn("ExecStartPre=/srv/venv/bin/smtpgate check-config /srv/mail/gate.toml\n", made)
        self.assertIn("\nReadWritePaths=/srv/mail/state\n", made)
        self.assertNotIn("StateDirectory", made)
        self.assertIn("NoNewPrivileges=yes", made)

    def test_what_systemd_says_of_it(self) -> None:
        """Each line is known, and its exposure is at most 2.0."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("missing: Debian package systemd")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "smtpgate.service"
        file.write_text(init.unit(Path("/etc/smtpgate.toml"), "/var/lib/smtpgate", Path("/usr/bin")))
        checked = run_program("systemd-analyze", "verify", file)
        told = [line for line in checked.stderr.splitlines() if "is not executable" not in line and "Docs" not in line]
        self.assertEqual([line for line in told if "smtpgate.service:" in line], [])
        judged = run_program("systemd-analyze", "security", "--offline=true", file)
        found = re.search(r"Overall exposure level for smtpgate\.service: ([0-9.]+)", judged.stdout)
        assert found is not None, judged.stdout + judged.stderr
        self.assertLessEqual(float(found[1]), 2.0)

    def test_strange_paths(self) -> None:
        """What systemd would read otherwise is refused."""
        for path in ("/srv/my mail/gate.toml", "/srv/%h/gate.toml", '/srv/"x/gate.toml'):
            self.assertRaises(Failed, init.unit, Path(path), "/var/lib/smtpgate", Path("/opt/bin"))


class RunningTests(RealCase):
    """From a gateway that runs."""

    def test_from_running(self) -> None:
        """Its text with its comments, another state folder; the result passes the checks."""
        gate = self.gateway("# a comment of mine\n" + config(9))
        file = self.folder / "new.toml"
        state = self.folder / "state"
        words = ("--config", gate.config, "init", file, "--from-running", "--state-dir", state)
        made = run_program(SMTPGATE, *words)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        text = file.read_text()
        self.assertIn("# a comment of mine\n", text)
        settings = load(file, *find_factories())
        self.assertEqual(settings.state_dir, state)
        self.assertEqual(settings.hostname, "gate.example.com")
        self.assertEqual(list(settings.backends), ["mail"])
