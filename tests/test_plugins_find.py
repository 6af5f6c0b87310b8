"""Tests of smtpgate.plugins: where factories are found, and what is said of those that are not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate import plugins
from smtpgate.plugins import TwoOfOneName, builtin, find_factories, sources

#: A plugin of one filter.
GOOD = """
from smtpgate.filters.base import Factory, Filter
factory = Factory("{name}", None, frozenset({{"mail"}}), lambda options, services: Filter())
"""


#: The names of the filters that are always there.
OURS = {getattr(builtin, name).name for name in builtin.__all__}


class FindTests(SynchronousTestCase):
    """`find_factories` over a folder of plugins."""

    def setUp(self) -> None:
        """A folder that is looked into as if it stood on the Python path at the start."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        plugins.__path__.append(str(self.folder))
        self.addCleanup(plugins.__path__.remove, str(self.folder))
        # A cache of octets would take a module for one that another test wrote in the same second.
        self.patch(sys, "dont_write_bytecode", True)

    def write(self, name: str, text: str) -> None:
        """Drop a module in."""
        (self.folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        self.addCleanup(sys.modules.pop, f"{plugins.__name__}.{name}", None)
        self.addCleanup(vars(plugins).pop, name, None)

    def test_ours_are_always_there(self) -> None:
        """Whoever else is."""
        found, failed = find_factories()
        self.assertEqual(OURS - set(found), set())
        self.assertEqual(failed, {})

    def test_a_module_that_is_dropped_in_is_found(self) -> None:
        """With each factory in it, by the factory's name and not by its own."""
        self.write("mine", GOOD.format(name="one") + GOOD.format(name="two").replace("factory =", "other ="))
        found, failed = find_factories()
        self.assertEqual(set(found) - OURS, {"one", "two"})
        self.assertEqual(failed, {})

    def test_where_they_come_from(self) -> None:
        """Ours have the gateway's version; another's is what its module says, and none where it says nothing."""
        self.write("told", '__version__ = "2.5"\n' + GOOD.format(name="told"))
        self.write("silent", GOOD.format(name="silent"))
        factories, _ = find_factories()
        found = sources(factories)
        self.assertEqual(set(found), set(factories))
        self.assertEqual((found["told"].version, found["silent"].version), ("2.5", ""))
        self.assertEqual(found["told"].file, str(self.folder / "told.py"))
        self.assertEqual({name for name, one in found.items() if one.is_builtin}, OURS)

    def test_classes_and_other_things_are_no_factories(self) -> None:
        """A plugin may import what it likes."""
        self.write(
            "mine",
            "from smtpgate.filters.base import *\nfrom smtpgate.plugins.builtin import loop\nimport re\nx = 1\n"
            "class Mine(Factory):\n    pass\n",
        )
        found, failed = find_factories()
        self.assertEqual((set(found), failed), (OURS, {}))

    def test_a_module_that_cannot_be_imported_is_named_with_its_reason(self) -> None:
        """Whatever goes wrong in it; the others are found."""
        self.write("good", GOOD.format(name="good"))
        for name, text, reason in (
            ("bad1", "import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
            ("bad2", "x = ", "SyntaxError: invalid syntax"),
            ("bad3", "1 / 0", "ZeroDivisionError: division by zero"),
            ("bad4", "raise SystemExit('run me as a script')", "SystemExit: run me as a script"),
        ):
            self.write(name, text)
            found, failed = find_factories()
            self.assertIn("good", found)
            self.assertTrue(failed[name].startswith(reason), failed[name])

    def test_a_factory_that_breaks_the_contract_is_named_with_its_reason(self) -> None:
        """It is not among the found."""
        self.write("typo", GOOD.format(name="typo").replace('"mail"', '"mial"'))
        self.write(
            "half",
            "from twisted.plugin import IPlugin\nfrom zope.interface import implementer\n"
            "from smtpgate.interfaces import IFilterFactory\n"
            "@implementer(IPlugin, IFilterFactory)\nclass Half:\n    name = 'half'\nfactory = Half()\n",
        )
        found, failed = find_factories()
        self.assertEqual(set(found), OURS)
        self.assertIn("filter typo: stages has 'mial', which is none of connect, helo", failed["typo"])
        self.assertIn("Half", failed["half"])
        self.assertIn("has failed to implement interface", failed["half"])

    def test_two_of_one_name_are_refused(self) -> None:
        """Neither wins by being first; both are named."""
        self.write("mine", GOOD.format(name="loop"))
        error = self.assertRaises(TwoOfOneName, find_factories)
        self.assertIn("two filters are named loop: in smtpgate.plugins.builtin", str(error))
        self.assertIn(f"and in smtpgate.plugins.mine ({self.folder}/mine.py)", str(error))

    def test_one_factory_in_two_modules_is_one(self) -> None:
        """A plugin may give ours another place."""
        self.write("mine", "from smtpgate.plugins.builtin import access, loop")
        self.assertEqual(set(find_factories()[0]), OURS)


class PathTests(SynchronousTestCase):
    """The Python path, as a process has it at its start."""

    def found(self, folder: Path) -> list[str]:
        """The factories that a process finds with this folder on its path."""
        code = "from smtpgate.plugins import find_factories; print(*sorted(find_factories()[0]))"
        path = os.pathsep.join((str(folder), *sys.path))
        ended = subprocess.run(
            [sys.executable, "-B", "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        return ended.stdout.split()

    def test_a_folder_on_the_python_path(self) -> None:
        """Where it is no package of its own, and where it is: then it is somebody else's smtpgate."""
        folder = Path(self.mktemp()).absolute()
        place = folder / "smtpgate" / "plugins"
        place.mkdir(parents=True)
        (place / "mine.py").write_text(GOOD.format(name="mine"))
        self.assertIn("mine", self.found(folder))
        (place / "__init__.py").write_text("")
        self.assertNotIn("mine", self.found(folder))
