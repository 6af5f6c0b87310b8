"""`smtpgate plugin new` and `smtpgate plugin test`: what they make, what they find wrong, and how they end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from smtpgate.cli import main
from smtpgate.cli.plugin import SCRIPT
from smtpgate.testing.head import Head, HTTPAnswer
from smtpgate.testing.script import SUFFIX, _Steps

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
PASSES = "---\nS: 220 .*\n"
FAILS = "---\nS: 221 .*\n"
#: The longest name that is taken.
LONG = "a-name-of-forty-characters-for-the-lines"


def run(*words: object) -> tuple[int, str, str]:
    """Exit code, output and complaints of one command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def program(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program run to its end."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def need(*packages: str) -> None:
    """Skip where a package is missing."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            if os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
                raise AssertionError(f"missing: Python package {name}")
            raise SkipTest(f"missing: Python package {name}")


class PluginCase(SynchronousTestCase):
    """A folder for each test."""

    maxDiff = None

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, name: str, text: str) -> Path:
        """A file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def filter(self, name: str, body: str, folder: str = "mine") -> None:
        """A plugin with a filter whose `mail` does that."""
        self.write(
            f"{folder}/smtpgate/plugins/{name}.py",
            f"""
            import os
            from smtpgate.filters.base import Factory, Filter
            from smtpgate.policy.verdict import Finding

            class Made(Filter):
                def transaction(self, transaction):
                    return self

                def mail(self):
                    {body}

            factory = Factory("{name}", None, frozenset({{"mail"}}), lambda options, services: Made())
            """,
        )

    def outcome(self, *paths: object) -> tuple[int, list[str]]:
        """Exit code and output of `plugin test`, without the folder's own path."""
        code, out, err = run("plugin", "test", *(self.folder / str(path) for path in paths))
        self.assertEqual(err, "")
        return code, out.replace(f"{self.folder}/", "").splitlines()


class NewTests(PluginCase):
    """`plugin new`."""

    def test_the_folder(self) -> None:
        """Every file is named; nothing else is made; neither folder of the namespace is a package."""
        place = self.folder / "some" / "where"
        code, out, err = run("plugin", "new", "block-list", "--folder", place)
        self.assertEqual((code, err), (0, ""))
        files = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
        self.assertEqual(
            files,
            [
                "README.md",
                "block-list.toml",
                "pyproject.toml",
                "scripts/refused.session",
                "scripts/taken.session",
                "smtpgate/plugins/block_list.py",
                "tests/test_block_list.py",
            ],
        )
        self.assertEqual(
            sorted(line for line in out.splitlines() if line.startswith("/")), [f"{place}/{f}" for f in files]
        )
        self.assertIn(f"smtpgate plugin test {place}", out)
        for path in place.rglob("*"):
            if path.is_file():
                self.assertNotRegex(path.read_text(), r"\$\{?[a-z]")

    def test_without_a_folder_it_is_made_here(self) -> None:
        """Under the filter's name."""
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        self.assertEqual(run("plugin", "new", "mine")[0], 0)
        self.assertTrue((self.folder / "mine" / "smtpgate" / "plugins" / "mine.py").is_file())

    def test_nothing_is_written_over(self) -> None:
        """A folder with something in it, and a file, stay as they are; an empty folder will do."""
        kept = self.write("full/README.md", "mine")
        for place in (kept.parent, kept):
            code, out, err = run("plugin", "new", "mine", "--folder", place)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(f"{place} is there already, and is left as it is; name another with --folder DIR", err)
        self.assertEqual([path.name for path in kept.parent.iterdir()], ["README.md"])
        self.assertEqual(kept.read_text(), "mine")
        (self.folder / "empty").mkdir()
        self.assertEqual(run("plugin", "new", "mine", "--folder", self.folder / "empty")[0], 0)
        code, _, err = run("plugin", "new", "mine", "--folder", kept / "below")
        self.assertEqual(code, 1)
        self.assertIn("cannot be made: ", err)

    def test_names(self) -> None:
        """What cannot be a filter's name is refused as wrong usage, with the reason and what would be right."""
        for name, reason in (
            ("Block List", "with a letter first, as in block-list"),
            ("block_list", "as in block-list"),
            ("2fast", "as in fast"),
            ("-", "the following arguments are required"),
            ("übel", "as in bel"),
            ("a--b", "as in a-b"),
            ("a-", "as in a"),
            ("../x", "as in x"),
            ("", "as in quiet-hours"),
            ("?!", "as in quiet-hours"),
            (f"{LONG}-and-more", "it has 49 characters, the most is 40"),
            ("class", "it is a word of Python"),
            ("builtin", "a module of the gateway is called that"),
            ("test-mail", "its module would be taken for tests"),
            ("limits", 'there is a filter "limits" already'),
        ):
            code, out, err = run("plugin", "new", "--folder", self.folder / "x", *([] if name == "-" else [name]))
            self.assertEqual((code, out), (2, ""), name)
            self.assertIn(reason, err, name)
        self.assertFalse((self.folder / "x").exists())

    def test_what_is_made_works(self) -> None:
        """As made: its scripts and tests pass, whatever its name."""
        for name in ("a", LONG):
            place = self.folder / name
            self.assertEqual(run("plugin", "new", name, "--folder", place)[0], 0)
            code, lines = self.outcome(name)
            self.assertEqual((code, lines[-1]), (0, "3 passed, 0 failed"), lines)

    def test_what_is_made_is_written_as_we_write(self) -> None:
        """The linter, the formatter and the strict type checker have nothing to say, whatever the name."""
        need("ruff", "mypy")
        for name in ("a", LONG):
            place = self.folder / name
            run("plugin", "new", name, "--folder", place)
            for words in (("ruff", "check", "."), ("ruff", "format", "--check", ".")):
                ended = program(sys.executable, "-m", *words, "--no-cache", cwd=place)
                self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        ended = program(sys.executable, "-m", "mypy", "--strict", cwd=place, MYPY_CACHE_DIR=str(self.folder / "cache"))
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("no issues found in 2 source files", ended.stdout)

    def test_what_is_made_can_be_installed(self) -> None:
        """By pip, into an environment of its own: the gateway finds the filter there, and its configuration is good."""
        version = importlib.metadata.version("setuptools").split(".")
        if int(version[0]) < 77:
            raise SkipTest("missing: Python package setuptools>=77")
        place, home = self.folder / "block-list", self.folder / "venv"
        run("plugin", "new", "block-list", "--folder", place)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
        python = home / "bin" / "python"
        (packages,) = home.glob("lib/python*/site-packages")
        # Paths of a .pth file are taken as they are, so the tree of smtpgate itself is named too.
        places = [one for one in sys.path if one.endswith("site-packages")]
        (packages / "requirements.pth").write_text("\n".join([*places, str(ROOT)]) + "\n")
        options = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
        ended = program(sys.executable, "-m", "pip", "--python", python, "install", *options, place, cwd=self.folder)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        inside = sorted(str(path.relative_to(packages)) for path in packages.rglob("*.py"))
        self.assertEqual(inside, ["smtpgate/plugins/block_list.py"])
        ended = program(
            python,
            "-P",
            "-m",
            "smtpgate.cli",
            "check-config",
            place / "block-list.toml",
            cwd=self.folder,
            PYTHONPATH="",
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("block-list.toml: no problems", ended.stdout)

        words = (python, "-P", "-m", "smtpgate.cli", "plugin", "test", place)
        ended = program(*words, cwd=self.folder, PYTHONPATH="")
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)


class TestTests(PluginCase):
    """`plugin test`."""

    def test_a_line_for_each_and_the_count(self) -> None:
        """In the order of the paths, each file once; one that fails is the exit code."""
        for name in ("b/two", "b/one", "a"):
            self.write(f"{name}.session", PASSES)
        code, lines = self.outcome("b", "a.session", "b/one.session")
        self.assertEqual(
            lines, ["passed  b/one.session", "passed  b/two.session", "passed  a.session", "3 passed, 0 failed"]
        )
        self.assertEqual(code, 0)
        self.write("b/bad.session", FAILS)
        code, lines = self.outcome(".")
        self.assertEqual(code, 1)
        said = '  b/bad.session:2: expected the reply /221 .*/, came "220 gate.example.com ESMTP"'
        self.assertEqual(lines[1:3], ["FAILED  b/bad.session", said])
        self.assertEqual(lines[-1], "3 passed, 1 failed")

    def test_the_nearest_plugins_are_found(self) -> None:
        """Those of each file's own package, of several at once; nothing is installed."""
        steps = "S: 220 .*\nC: EHLO x.example\nS: 250-.*\nC: MAIL FROM:<a@example.org>\nS: 5.*\nF: {0} one reject\n"
        for name in ("first", "second"):
            self.filter(name, 'return Finding("one", "reject")', f"{name}/package")
            text = f'[[filters]]\nuse = "{name}"\n---\n' + steps.format(name)
            self.write(f"{name}/package/deep/down/it.session", text)
        code, lines = self.outcome("first", "second/package")
        self.assertEqual((code, lines[-1]), (0, "2 passed, 0 failed"), lines)

    def test_tests(self) -> None:
        """Each file of tests counts as one; what trial said of one that failed is shown."""
        self.filter("mine", "return None")
        head = "from unittest import TestCase\n"
        self.write(
            "mine/tests/test_good.py",
            head + "from smtpgate.plugins.mine import factory\nimport friend\n"
            "class Tests(TestCase):\n def test_it(self): self.assertEqual(factory.name, 'mine')\n",
        )
        self.write("mine/tests/friend.py", "")
        self.write(
            "mine/tests/test_bad.py", head + "class Tests(TestCase):\n def test_it(self): self.fail('no good')\n"
        )
        self.write("mine/tests/test_none.py", "")
        self.write("mine/tests/testing.py", "raise ValueError('is no file of tests')\n")
        code, lines = self.outcome("mine")
        self.assertEqual(code, 1)
        self.assertEqual(
            [line for line in lines if not line.startswith("   ") and re.match("passed|FAILED|  mine|[0-9]", line)],
            [
                "FAILED  mine/tests/test_bad.py",
                "passed  mine/tests/test_good.py",
                "FAILED  mine/tests/test_none.py",
                "  mine/tests/test_none.py: there are no tests in it",
                "1 passed, 2 failed",
            ],
            lines,
        )
        self.assertIn("no good", "\n".join(lines))
        self.assertFalse(Path("_trial_temp_plugin").exists())

    def test_a_filter_that_ends_the_process(self) -> None:
        """With whatever exit code: what was not played has not passed."""
        self.filter("deadly", "os._exit(0)")
        self.write("mine/a.session", PASSES)
        steps = "S: 220 .*\nC: EHLO x.example\nS: 250-.*\nC: MAIL FROM:<a@example.org>\nS: 250 .*\n"
        self.write("mine/b.session", '[[filters]]\nuse = "deadly"\n---\n' + steps)
        self.write("mine/c.session", PASSES)
        code, lines = self.outcome("mine")
        self.assertEqual(code, 1)
        why = "not played to its end: the process that plays the scripts ended before, with exit code 0"
        self.assertEqual(
            lines,
            [
                "passed  mine/a.session",
                "FAILED  mine/b.session",
                f"  mine/b.session: {why}",
                "FAILED  mine/c.session",
                f"  mine/c.session: {why}",
                "1 passed, 2 failed",
            ],
        )

    def test_plugins_that_cannot_be_used(self) -> None:
        """One that cannot be imported is named with its reason; two of one name are refused."""
        self.write("mine/smtpgate/plugins/broken.py", "import nothing_of_that_name\n")
        self.write("mine/a.session", '[[filters]]\nuse = "broken"\n---\nS: 220 .*\n')
        code, lines = self.outcome("mine")
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed"))
        self.assertRegex(
            lines[1],
            r'  mine/a\.session:2: no filter "broken"; known: access, .*; could not be imported: broken: '
            r"ModuleNotFoundError: No module named 'nothing_of_that_name'",
        )
        self.filter("twin", "return None", "other")
        text = (self.folder / "other/smtpgate/plugins/twin.py").read_text()
        self.write("other/smtpgate/plugins/brother.py", text)
        self.write("other/a.session", PASSES)
        code, lines = self.outcome("other")
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed"))
        self.assertIn("two filters are named twin: in ", lines[0])

    def test_another_copy_that_is_imported_in_its_place(self) -> None:
        """Where it differs nothing passes, and the place is told: else an old copy would be what is tested."""
        self.filter("mine", "return None", "old")
        self.filter("mine", "return None", "new")
        self.write("new/a.session", PASSES)
        self.write("new/test_it.py", "from unittest import TestCase\nclass T(TestCase):\n def test_it(self): pass\n")
        self.write("old/b.session", PASSES)
        self.assertEqual(self.outcome("old", "new/a.session")[0], 0)
        self.filter("mine", "return []", "new")
        for paths, count in ((("old", "new/a.session"), 2), (("old/b.session", "new/test_it.py"), 1)):
            code, lines = self.outcome(*paths)
            self.assertEqual(code, 1)
            self.assertEqual(
                lines[0],
                "new/smtpgate/plugins/mine.py: old/smtpgate/plugins/mine.py was imported in its place, and differs; "
                "install it anew, or remove that",
            )

    def test_usage(self) -> None:
        """What is not there, what is neither script nor tests, and a folder without either."""
        self.write("empty/notes.txt", "")
        for path, why in (
            ("nowhere", "is not there"),
            ("empty/notes.txt", "is neither a script (*.session) nor tests (test_*.py)"),
            ("empty", "has neither scripts (*.session) nor tests (test_*.py) in it"),
        ):
            code, out, err = run("plugin", "test", self.folder / path)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(f"{self.folder / path} {why}", err)
        name = "x" * 300
        code, out, err = run("plugin", "test", self.folder / name)
        self.assertEqual((code, out), (2, ""))
        self.assertIn(f"{name}: cannot be read: ", err)
        for words in (("plugin",), ("plugin", "test"), ("plugin", "new"), ("plugin", "old", "x")):
            code, _, err = run(*words)
            self.assertEqual(code, 2)
            self.assertIn("usage: smtpgate plugin", err)

    def test_folders_that_are_not_looked_into(self) -> None:
        """Hidden ones, and environments with the tests of others."""
        self.write("mine/.git/a.session", FAILS)
        self.write("mine/venv/pyvenv.cfg", "")
        self.write("mine/venv/lib/test_other.py", "raise ValueError\n")
        self.write("mine/__pycache__/b.session", FAILS)
        self.write("mine/c.session", PASSES)
        self.assertEqual(self.outcome("mine"), (0, ["passed  mine/c.session", "1 passed, 0 failed"]))

    def test_nothing_steers_the_terminal(self) -> None:
        """What a filter prints is shown, escaped."""
        self.filter("loud", 'print("\\x1b[2J loud")')
        steps = "S: 220 .*\nC: EHLO x.example\nS: 250-.*\nC: MAIL FROM:<a@example.org>\nS: 250 .*\n"
        self.write("mine/a.session", '[[filters]]\nuse = "loud"\n---\n' + steps)
        self.assertEqual(self.outcome("mine")[1][0], "\\u001b[2J loud")


class PageTests(PluginCase):
    """docs/plugins.md is in step with the commands."""

    def test_its_script_passes(self) -> None:
        """With the sample plugin of the page."""
        (text,) = re.findall(r"^```session\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        self.write("mine/smtpgate/plugins/quiet_hours.py", (ROOT / "docs/examples/quiet_hours.py").read_text())
        self.write("mine/night.session", text)
        code, lines = self.outcome("mine")
        self.assertEqual(code, 0, lines)

    def test_every_mark_and_every_key_is_explained(self) -> None:
        """And no other mark."""
        table = PAGE.partition("| step | |")[2].partition("\n\n")[0]
        marks = re.findall(r"`(!?[A-Za-z]#?): ", table)
        self.assertEqual(set(marks), set(_Steps(Path(), [], 0, [])._readers))
        head = PAGE.partition("| head |")[2].partition("\n\n")[0]
        keys: list[Any] = [*Head.model_fields, *HTTPAnswer.model_fields]
        keys += get_args(get_args(Head.model_fields["backend"].annotation)[0])
        keys += [word for word in get_args(Head.model_fields["children"].annotation) if word]
        self.assertEqual([key for key in keys if re.search(rf"\b{key}\b", head) is None], [])
        self.assertEqual(SCRIPT, SUFFIX)


class FiltersTests(PluginCase):
    """`filters`, where no gateway runs."""

    def test_the_chain_as_the_file_has_it(self) -> None:
        """Order, mode, stages in the order of a session, roles, budget, failure policy, category."""
        config = self.write(
            "gate.toml",
            """\
            hostname = "gate.example.com"
            local_domains = ["example.net"]
            [listeners.mx]
            listen = "tcp:2525:interface=127.0.0.1"
            tls = "off"
            [backends.mail]
            servers = "127.0.0.1:2526"
            [[routes]]
            backend = "mail"
            [[filters]]
            use = "loop"
            mode = "off"
            [[filters]]
            use = "access"
            name = "friends"
            on_error = "reject"
            roles = ["mx"]
            """,
        )
        code, out, err = run("--config", config, "filters")
        self.assertEqual(code, 0, err)
        head, *rows = (re.split(r"  +", line) for line in out.splitlines())
        self.assertEqual(head, ["ORDER", "FILTER", "MODE", "STAGES", "ROLES", "BUDGET_S", "ON_ERROR", "CATEGORY"])
        self.assertEqual(rows[0][:3], ["1", "loop", "off"])
        self.assertEqual(rows[1][:3] + rows[1][4:], ["2", "friends", "enforce", "mx", "1.0", "reject", "policy"])
        self.assertTrue(rows[1][3].startswith("connect"), rows)
