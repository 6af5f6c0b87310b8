"""Tests of smtpgate.observe.names: the list, the code and the document agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smtpgate
from smtpgate.observe import names

PACKAGE = Path(smtpgate.__file__).parent


def _named(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _told() -> Iterator[tuple[str, str]]:
    """Every event name that the code tells of the process itself, with the place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
            if _named(node) == "Happened" and node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, place
            if _named(node) == "_did" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                yield f"admin.{node.args[1].value}", place


class ListTests(SynchronousTestCase):
    """`EVENTS`, `FIELDS` and `document`."""

    def test_every_event_that_is_told_is_in_the_list(self) -> None:
        """The list is closed."""
        told = dict(_told())
        self.assertIn("gateway.started", told)
        self.assertEqual({name: place for name, place in told.items() if name not in names.EVENTS}, {})

    def test_every_field_has_a_meaning(self) -> None:
        """No event has a field that the document does not explain, and none is explained in vain."""
        used = {field for row in names.EVENTS.values() for field in row.fields}
        self.assertEqual(used - set(names.FIELDS), set())
        self.assertEqual(set(names.FIELDS) - used, set())
        self.assertEqual(set(names.FIELDS) & set(names.COMMON), set())

    def test_document_is_what_the_code_says(self) -> None:
        """The page is made from the list: `smtpgate.observe.names.document`."""
        page = PACKAGE.parent / "docs" / "operation-events.md"
        self.assertEqual(page.read_text(encoding="utf-8"), names.document())

    def test_subject_is_no_field(self) -> None:
        """It is in the history only."""
        self.assertNotIn("subject", names.FIELDS)
