"""Tests of smtpgate.config.checks."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_backends, check_files, check_listeners, check_routes, check_service, checks
from smtpgate.config.problem import Fault
from smtpgate.config.surroundings import Surroundings
from tests.config_kit import tree


class RegisterTests(SynchronousTestCase):
    """The lists of checks."""

    def test_every_check_that_is_written_is_run(self) -> None:
        """A check that nobody calls finds nothing."""
        run = {*checks.TREE_CHECKS, *checks.AROUND_CHECKS}
        for module in (check_backends, check_files, check_listeners, check_routes, check_service):
            for name, function in inspect.getmembers(module, inspect.isfunction):
                first = next(iter(inspect.signature(function).parameters), "")
                is_check = inspect.isgeneratorfunction(function) and first == "tree" and not name.startswith("_")
                if is_check and function.__module__ == module.__name__ and name != "relayed_logins":
                    self.assertIn(function, run, name)

    def test_good_tree_has_no_faults(self) -> None:
        """The tree that the tests of single checks start from is one."""
        self.assertEqual(checks.run(tree(), Surroundings(datetime.now(UTC))), [])


class UntaintedTests(SynchronousTestCase):
    """`untainted`."""

    def test_faults_in_a_bad_table_are_void(self) -> None:
        """Its values are not those that the operator meant."""
        faults = [Fault(("listeners", "mx", "tls"), "x"), Fault(("listeners", "sub", "tls"), "y")]
        kept = checks.untainted(faults, [("listeners", "mx")])
        self.assertEqual([fault.message for fault in kept], ["y"])

    def test_faults_that_rest_on_a_bad_table_are_void(self) -> None:
        """On it, on all of its kind, or on a part of it."""
        fault = Fault(("listeners", "mx"), "x", rests_on=(("routes",), ("backends", "mail")))
        for tainted in (("routes",), ("routes", 3), ("backends",), ("backends", "mail")):
            self.assertEqual(checks.untainted([fault], [tainted]), [], tainted)
        for tainted in (("backends", "other"), ("limits", "errors"), ("listeners", "sub")):
            self.assertEqual(checks.untainted([fault], [tainted]), [fault], tainted)
