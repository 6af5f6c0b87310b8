"""`smtpgate plugin`: what an author of filters needs at the terminal, without a gateway or a configuration.

`new` makes a folder that is a package of its own, with a filter that works, its tests, scripts and a configuration; the
texts are in `plugin_files`. `test` plays golden sessions and runs trial on test files. These run the code of strangers,
so each is a process of its own (`python -m smtpgate.testing`, `python -m twisted.trial`), with the folders of the
plugins on its path: a filter need not be installed to be tested, and one that ends the process does not end the count.

Exit codes: 0 all passed, 1 some failed, or a folder that is there already; 2 usage.
"""

from __future__ import annotations

import argparse
import keyword
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Final

from smtpgate.cli.terminal import EXIT_REFUSED, EXIT_USAGE, Failed, say

#: How the names of scripts end (`testing.script.SUFFIX`; nothing of the product imports the kit).
SCRIPT: Final = ".session"
_TESTS: Final = re.compile(r"test_\w+\.py")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
#: Longest name; the lines that have it stay below the 120 columns of the linter.
_NAME_CHARACTERS: Final = 40
_TEMPLATES: Final = Path(__file__).with_name("plugin_files")
#: Template to the file that it becomes. Their names end in .txt, so that no tool takes them for what they are to be.
_FILES: Final = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "filter.py.txt": "smtpgate/plugins/{module}.py",
    "test.py.txt": "tests/test_{module}.py",
    "refused.session.txt": "scripts/refused.session",
    "taken.session.txt": "scripts/taken.session",
    "gate.toml.txt": "{name}.toml",
}


def new(args: argparse.Namespace) -> None:
    """Make a folder with a filter of that name: a package of its own, with tests and a configuration."""
    name = args.name
    _check_name(name)
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "title": "".join(part.capitalize() for part in name.split("-"))}
    folder = args.folder if args.folder is not None else Path(name)
    made = []
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Failed(f"{folder} is there already, and is left as it is; name another with --folder DIR")
        for template, place in _FILES.items():
            path = folder / place.format(**words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            made.append(path)
    except OSError as error:
        raise Failed(f"{folder} cannot be made: {error}") from None
    for path in made:
        say(path)
    say("")
    say("Next:")
    say(f"  smtpgate plugin test {folder}")


def _check_name(name: str) -> None:
    from smtpgate.plugins import TwoOfOneName, find_factories

    fault = ""
    if _NAME.fullmatch(name) is None:
        like = "-".join(re.findall("[a-z0-9]+", name.lower())).lstrip("-0123456789")
        fault = "use lower-case letters, digits and single hyphens, with a letter first"
        fault += f", as in {like}" if like and _NAME.fullmatch(like) else ", as in quiet-hours"
    elif len(name) > _NAME_CHARACTERS:
        fault = f"it has {len(name)} characters, the most is {_NAME_CHARACTERS}"
    elif keyword.iskeyword(name):
        fault = "it is a word of Python, and no module can be called that"
    elif name == "builtin":
        fault = "a module of the gateway is called that"
    elif name.startswith("test-"):
        fault = "its module would be taken for tests"
    if fault:
        raise Failed(f'"{name}" is no name for a filter: {fault}', EXIT_USAGE)
    try:
        factories, _ = find_factories()
    except TwoOfOneName as error:
        raise Failed(str(error)) from None
    if name in factories:
        raise Failed(f'there is a filter "{name}" already, and two of one name are refused; choose another', EXIT_USAGE)


def test(args: argparse.Namespace) -> None:
    """Play scripts of golden sessions, and run the tests of a folder."""
    scripts: list[Path] = []
    tests: list[Path] = []
    for path in args.path:
        found = list(_below(path))
        scripts += [one for one in found if one.suffix == SCRIPT and one not in scripts]
        tests += [one for one in found if one.suffix != SCRIPT and one not in tests]
    folders = list(dict.fromkeys(home for one in [*scripts, *tests] if (home := _home(one)) is not None))
    results = _play(scripts, folders)
    results += [_try(one, folders) for one in tests]
    passed = sum(results)
    say(f"{passed} passed, {len(results) - passed} failed")
    if passed < len(results):
        raise SystemExit(EXIT_REFUSED)


def _below(path: Path) -> Iterator[Path]:
    """The scripts and test files that a path stands for; raises Failed where there are none."""
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise Failed(f"{path}: cannot be read: {error.strerror}", EXIT_USAGE) from None
    if is_folder:
        count = 0
        for place, folders, names in os.walk(path):
            # An environment has tests of others in it.
            folders[:] = sorted(
                one for one in folders if one[:1] not in "._" and not Path(place, one, "pyvenv.cfg").exists()
            )
            for name in sorted(names):
                if name.endswith(SCRIPT) or _TESTS.fullmatch(name):
                    count += 1
                    yield Path(place, name)
        if not count:
            raise Failed(f"{path} has neither scripts (*{SCRIPT}) nor tests (test_*.py) in it", EXIT_USAGE)
    elif not is_there:
        raise Failed(f"{path} is not there", EXIT_USAGE)
    elif path.suffix == SCRIPT or _TESTS.fullmatch(path.name):
        yield path
    else:
        raise Failed(f"{path} is neither a script (*{SCRIPT}) nor tests (test_*.py)", EXIT_USAGE)


def _home(path: Path) -> Path | None:
    """The nearest folder above that has plugins in it, as docs/plugins.md describes it."""
    for folder in path.absolute().parents:
        plugins = folder / "smtpgate" / "plugins"
        if plugins.is_dir() and not (plugins / "__init__.py").exists():
            return folder
    return None


def _play(scripts: Sequence[Path], folders: Sequence[Path]) -> list[bool]:
    """Play scripts; whether each passed. One that was not played has failed."""
    with tempfile.TemporaryDirectory(prefix="smtpgate-") as scratch:
        results = Path(scratch, "results")
        results.touch()
        words = [word for folder in folders for word in ("--folder", str(folder))]
        code = _run("smtpgate.testing", [*words, "--", str(results), *map(str, scripts)], folders)
        passed = [line == "passed" for line in results.read_text(encoding="ascii").splitlines()]
    for path in scripts[len(passed) :]:
        say(f"FAILED  {path}")
        say(f"  {path}: not played to its end: the process that plays the scripts ended before, with exit code {code}")
    if code and not scripts:
        # The tests would not have the filters of the folder: they count for nothing.
        return [False]
    return passed + [False] * (len(scripts) - len(passed))


def _try(path: Path, folders: Sequence[Path]) -> bool:
    """Run trial on a file; whether it passed. Its output is shown where it did not."""
    with tempfile.TemporaryDirectory(prefix="smtpgate-") as scratch:
        words = [sys.executable, "-m", "twisted.trial", "--temp-directory", f"{scratch}/trial", str(path.absolute())]
        ended = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            env=_environment([*folders, path.absolute().parent]),
        )
    has_tests = re.search(r"^Ran [1-9][0-9]* tests? in", ended.stdout, re.MULTILINE) is not None
    is_good = ended.returncode == 0 and has_tests
    say(f"{'passed' if is_good else 'FAILED'}  {path}")
    if ended.returncode:
        for line in ended.stdout.splitlines():
            say(f"  {line}")
    elif not has_tests:
        say(f"  {path}: there are no tests in it")
    return is_good


def _run(module: str, words: Sequence[str], folders: Iterable[Path]) -> int:
    """Run a module in a process of its own; what it says is said here. Its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        env=_environment(folders),
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            say(line.rstrip("\n"))
    return running.returncode


def _environment(folders: Iterable[Path]) -> dict[str, str]:
    path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONIOENCODING": "utf-8:backslashreplace"}
