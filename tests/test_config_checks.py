"""Tests of smtpgate.config.checks."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import (
    check_backends,
    check_files,
    check_folders,
    check_listeners,
    check_routes,
    check_service,
    check_signing,
    checks,
)
from smtpgate.config.problem import EACH, Fault
from smtpgate.config.surroundings import Surroundings
from tests.config_kit import tree


class RegisterTests(SynchronousTestCase):
    """The lists of checks."""

    def test_every_check_that_is_written_is_run(self) -> None:
        """A check that nobody calls finds nothing."""
        run = {*checks.TREE_CHECKS, *checks.AROUND_CHECKS}
        for module in (
            check_backends,
            check_files,
            check_folders,
            check_listeners,
            check_routes,
            check_service,
            check_signing,
        ):
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

    def test_faults_that_rest_on_their_table_are_void(self) -> None:
        """An unknown key in it may be the one that was meant."""
        fault = Fault(("listeners", "mx", "auth"), "x")
        for tainted in (("listeners",), ("listeners", "mx"), ("listeners", "mx", "auth"), ("listeners", "mx", "other")):
            self.assertEqual(checks.untainted([fault], [tainted]), [], tainted)
        self.assertEqual(checks.untainted([fault], [("listeners", "sub", "auth")]), [fault])

    def test_faults_that_rest_on_named_keys_are_told_beside_others(self) -> None:
        """A name that leads nowhere is wrong whatever else stands in its table."""
        fault = Fault(("routes", 2, "listener", 0), "x", keys=("backend",))
        for key in ("client", "other"):
            self.assertEqual(checks.untainted([fault], [("routes", 2, key)]), [fault], key)
        for tainted in (("routes",), ("routes", 2), ("routes", 2, "listener"), ("routes", 2, "backend", 0)):
            self.assertEqual(checks.untainted([fault], [tainted]), [], tainted)

    def test_each_stands_for_every_name_and_number(self) -> None:
        """No route uses a backend: that rests on one key of every route."""
        fault = Fault(("backends", "mail"), "x", rests_on=(("routes", EACH, "backend"),), keys=())
        for tainted in (("routes",), ("routes", 0), ("routes", 5, "backend"), ("backends",), ("backends", "mail")):
            self.assertEqual(checks.untainted([fault], [tainted]), [], tainted)
        for tainted in (("routes", 5, "client"), ("backends", "mail", "tls")):
            self.assertEqual(checks.untainted([fault], [tainted]), [fault], tainted)
