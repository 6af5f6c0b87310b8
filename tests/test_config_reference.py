"""Tests of smtpgate.config.reference."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from unittest import mock

import toml_rs
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import loader, reference, schema
from smtpgate.config.surroundings import Folder
from tests.config_kit import TESTS, SpfOptions

ROOT = TESTS.parent


class DocumentTests(SynchronousTestCase):
    """The files in the tree."""

    maxDiff = None

    def test_documentation_is_up_to_date(self) -> None:
        """Run python -m smtpgate.config.reference --docs when this fails."""
        self.assertEqual((ROOT / reference.DOCS).read_text(encoding="utf-8"), reference.documentation())

    def test_sample_is_up_to_date(self) -> None:
        """Run python -m smtpgate.config.reference --sample when this fails."""
        self.assertEqual((ROOT / reference.SAMPLE).read_text(encoding="utf-8"), reference.sample())

    def test_sample_loads(self) -> None:
        """With no error; the warnings are about what only the operator can have."""
        with mock.patch.object(loader, "_look_at_folder", lambda _: Folder()):
            settings = loader.load(ROOT / reference.SAMPLE)
        self.assertEqual(
            [problem.key for problem in settings.warnings],
            ["listeners.mx.certificates", "listeners.submission.certificates", "backends.mail.client_info"],
        )

    def test_every_key_of_the_sample_may_be_used(self) -> None:
        """What is commented out is right too, so an operator only removes the mark."""
        text = re.sub(r"^#(?! )", "", reference.sample(), flags=re.M)
        document = schema.File.model_validate(toml_rs.loads(text))
        for listed, table in (
            (document.listeners["mx"], schema.ListenerTable),
            (document.routes[0], schema.RouteTable),
        ):
            self.assertEqual(listed.model_fields_set, set(table.model_fields))
        self.assertEqual(document.limits, schema.LimitsTable())

    def test_every_key_is_documented(self) -> None:
        """In its section, with type and default."""
        text = reference.documentation()
        for title, table, _ in reference.TABLES:
            section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
            names = [name for name, _, _ in reference.keys_of(table)]
            self.assertEqual(re.findall(r"^\| `(\w+)` \|", section, re.M), names, title)

    def test_rows_of_a_table_have_four_cells(self) -> None:
        """A bar in a description would break the table."""
        for line in reference.documentation().split("\n"):
            if line.startswith("|"):
                self.assertEqual(len(re.findall(r"(?<!\\)\|", line)), 5, line)

    def test_options_of_a_filter_can_be_documented_too(self) -> None:
        """By the same words."""
        self.assertIn("| `lookups` | number | `10` |  |", list(reference.rows(SpfOptions)))


class SchemaTests(SynchronousTestCase):
    """The JSON schema."""

    def test_schema_describes_every_key_with_defaults_as_written(self) -> None:
        """For forms and editors."""
        made = json.loads(reference.json_schema())
        self.assertEqual(made["title"], "smtpgate configuration")
        size = made["$defs"]["LimitsTable"]["properties"]["message_size"]
        self.assertEqual(size["default"], "50 MiB")
        self.assertEqual({kind["type"] for kind in size["anyOf"]}, {"integer", "string"})
        for table in made["$defs"].values():
            self.assertFalse(table["additionalProperties"])
            for field in table["properties"].values():
                self.assertTrue(field["description"])


class CommandTests(SynchronousTestCase):
    """`python -m smtpgate.config.reference`."""

    def run_in(self, folder: Path, *arguments: str) -> str:
        """Run it in a folder and return what it prints."""
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(folder)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(reference.main(arguments), 0)
        os.chdir(before)
        return out.getvalue()

    def test_files_are_written_below_the_current_folder(self) -> None:
        """Each by its own switch."""
        folder = Path(self.mktemp())
        for name in ("docs", "etc"):
            (folder / name).mkdir(parents=True)
        self.run_in(folder, "--docs", "--sample")
        self.assertEqual((folder / reference.DOCS).read_text(encoding="utf-8"), reference.documentation())
        self.assertEqual((folder / reference.SAMPLE).read_text(encoding="utf-8"), reference.sample())

    def test_schema_is_printed(self) -> None:
        """It is no file of the tree."""
        self.assertEqual(self.run_in(Path.cwd(), "--json-schema"), reference.json_schema())

    def test_nothing_to_do_is_a_mistake(self) -> None:
        """Exit code 2 and the usage."""
        with contextlib.redirect_stderr(io.StringIO()):
            error = self.assertRaises(SystemExit, reference.main, [])
        self.assertEqual(error.code, 2)
