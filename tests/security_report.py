"""Prints each item of the security checklist with the tests that bear its number and their results: `make checklist`.

The items stand in security_rows.tsv. One without a test, and one whose test does not pass, makes the command fail,
unless it stands in OPEN with the reason. Skipped tests are shown and
fail nothing: `make test` says what they lack.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from twisted.python.filepath import FilePath
from twisted.trial.runner import TestLoader, TestSuite, TrialRunner
from twisted.trial.unittest import TestCase

from tests.protocol_report import Reporter

HERE = Path(__file__).resolve().parent
_CLAUSE = re.compile(r"^(\d{1,2}), (.*(?:\n +.*)*)", re.MULTILINE)
_NAME = re.compile(r"\btest_(S)_(\d{2})_")
#: Items, or parts of them, that nothing shows yet.
OPEN: Mapping[str, str] = MappingProxyType({})


def rows() -> list[tuple[str, str, str]]:
    """Number, heading and words of each item."""
    lines = (HERE / "security_rows.tsv").read_text("utf-8").splitlines()[1:]
    return [tuple(line.split("\t")) for line in lines]  # type: ignore[misc]


def item_of(name: str) -> str:
    """The item of a test; "" where it bears no number."""
    found = _NAME.search(name)
    return f"{found[1]}-{found[2]}" if found is not None else ""


def named() -> dict[str, list[str]]:
    """The tests of each item by module and name, as the files have them."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name in re.findall(r"^    def (test_S_\w+)\(", path.read_text("utf-8"), re.MULTILINE):
            found.setdefault(item_of(name), []).append(f"{path.stem} {name}")
    return found


def clauses() -> dict[str, list[str]]:
    """What the modules say of the clauses of each item: lines "29, never in a log -> `test_...`"."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        words = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        for number, said in _CLAUSE.findall(words):
            found.setdefault(f"S-{int(number):02d}", []).append(" ".join(said.split()))
    return found


def _cases(suite: TestSuite) -> Iterator[TestCase]:
    for one in suite:
        if isinstance(one, TestSuite):
            yield from _cases(one)
        else:
            yield one


def main() -> int:
    """Run the tests and print the table."""
    modules = sorted({one.partition(" ")[0] for tests in named().values() for one in tests})
    loaded = TestLoader().loadByNames([f"tests.{module}" for module in modules])
    suite = TestSuite([case for case in _cases(loaded) if item_of(case.id())])
    place = FilePath("_trial_temp_checklist").path
    result = TrialRunner(Reporter, tracebackFormat="default", workingDirectory=place).run(suite)
    bad, said = 0, clauses()
    for item, heading, words in rows():
        tests = [(test, word) for test, word in sorted(result.by_test.items()) if item_of(test) == item]
        print(f"{item}  {heading}: {words}")
        for line in said.get(item, ()):
            print(f"      clause   {line}")
        for test, word in tests:
            print(f"      {word:8} {test.removeprefix('tests.')}")
            bad += word not in ("ok", "skipped")
        if item in OPEN:
            print(f"      open     {OPEN[item]}")
        elif not tests:
            print("      MISSING")
            bad += 1
    shown = sum(bool(item_of(test)) for test in result.by_test)
    print(f"{len(rows())} items, {shown} tests, {len(OPEN)} items open, {bad} amiss")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
