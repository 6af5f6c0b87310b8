"""Tests of smtpgate.cli.reference: the document about the built-in filters."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli.reference import DOCS, documentation
from smtpgate.plugins import find_factories


class DocumentTests(SynchronousTestCase):
    """docs/filters.md."""

    maxDiff = None

    def test_it_is_up_to_date(self) -> None:
        """Run make docs when this fails."""
        path = Path(__file__).resolve().parent.parent / DOCS
        self.assertEqual(path.read_text(encoding="utf-8"), documentation())

    def test_every_filter_and_option_is_in_it(self) -> None:
        """With its keys."""
        text = documentation()
        for name, factory in find_factories()[0].items():
            self.assertIn(f"## `{name}`", text)
            for key in factory.options.model_fields if factory.options is not None else ():
                self.assertIn(f"| `{key}` |", text)
