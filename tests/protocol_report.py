"""Prints each wire case by its id with the test that shows it and the result: `make protocol`.

The cases and their tiers stand in protocol_rows.tsv. A case of tier 1 or 2 without a passing test makes the command
fail; those of tier 3 without a test are listed with the reason.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader, TrialRunner

HERE = Path(__file__).resolve().parent
#: Why a case of tier 3 is not shown.
LATER = {
    "P-152": "no tickets and no session cache: nothing that could be resumed under another listener's policy",
    "P-180": "mechanisms with a security layer are never offered, shown with P-164",
    "P-202": "policies by recipient come with the rules",
    "P-292": "the extensions named there are never offered, shown with P-183 and P-290",
    "P-307": "rates come with the limits by class",
}


class Reporter(TestResult):
    """Keeps the result of each test by its id; other reports use it too."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        self.by_test: dict[str, str] = {}

    def _note(self, test: object, word: str) -> None:
        self.by_test[test.id()] = word  # type: ignore[attr-defined]

    def addSuccess(self, test: object) -> None:
        super().addSuccess(test)
        self.by_test.setdefault(test.id(), "ok")  # type: ignore[attr-defined]

    def addError(self, test: object, error: object) -> None:
        super().addError(test, error)
        self._note(test, "ERROR")

    def addFailure(self, test: object, fail: object) -> None:
        super().addFailure(test, fail)
        self._note(test, "FAIL")

    def addSkip(self, test: object, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addExpectedFailure(self, test: object, error: object, todo: object = None) -> None:
        super().addExpectedFailure(test, error, todo)
        self._note(test, "OPEN")

    def done(self) -> None:
        """For the runner."""


def main() -> int:
    """Run the protocol tests and print the table."""
    rows = [line.split("\t") for line in (HERE / "protocol_rows.tsv").read_text().splitlines()[1:]]
    names = sorted(f"tests.{path.stem}" for path in HERE.glob("test_protocol_*.py"))
    suite = TestLoader().loadByNames(names)
    runner = TrialRunner(Reporter, tracebackFormat="default", workingDirectory="_trial_temp_protocol")
    result = runner.run(suite)
    found: dict[str, list[tuple[str, str]]] = {}
    for test, word in result.by_test.items():
        match = re.search(r"test_P_(\d{3})", test)
        if match is not None:
            found.setdefault(f"P-{match[1]}", []).append((test, word))
    bad = 0
    for id, tier in rows:
        tests = found.get(id, [])
        for test, word in tests:
            print(f"{id}  {tier}  {word:7}  {test}")
            bad += word != "ok"
        if not tests:
            reason = LATER.get(id, "no test") if tier == "3" else "NO TEST"
            bad += tier != "3" or id not in LATER
            print(f"{id}  {tier}  {'later' if tier == '3' else 'MISSING':7}  {reason}")
    print(f"{len(rows)} cases, {len(found)} with a test, {bad} open")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
