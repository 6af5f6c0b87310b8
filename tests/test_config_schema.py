"""Tests of smtpgate.config.schema."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import reference, schema


class SchemaTests(SynchronousTestCase):
    """What holds for all tables."""

    def test_every_key_is_described_in_a_short_sentence(self) -> None:
        """The description is the documentation."""
        for _, table, _ in reference.TABLES:
            self.assertTrue(table.__doc__)
            for name, field in table.model_fields.items():
                said = field.description or ""
                self.assertTrue(said.endswith((".", "...")), (table, name, said))
                self.assertLess(len(said), 200, (table, name))

    def test_every_table_refuses_unknown_keys(self) -> None:
        """A misspelled key must not be passed over anywhere."""
        for _, table, _ in reference.TABLES:
            error = self.assertRaises(ValidationError, table.model_validate, {"nonsense": 1})
            self.assertIn("extra_forbidden", [found["type"] for found in error.errors()], table)

    def test_nothing_is_converted_silently(self) -> None:
        """A number in quotes is no number, one with a fraction is no count, 1 is not true."""
        for table, given in (
            (schema.LimitsTable, {"recipients": "1000"}),
            (schema.LimitsTable, {"recipients": 1000.0}),
            (schema.LimitsTable, {"recipients": True}),
            (schema.AdminTable, {"insecure": 1}),
            (schema.File, {"hostname": 5}),
        ):
            model: type[BaseModel] = table
            self.assertRaises(ValidationError, model.model_validate, given)

    def test_server_is_a_text_or_a_table(self) -> None:
        """A text is its address; one server needs no brackets."""
        for given in ("a:25", ["a:25"], {"address": "a:25"}, [{"address": "a:25", "weight": 1, "tier": 1}]):
            table = schema.BackendTable.model_validate({"servers": given})
            self.assertEqual(table.servers, [schema.ServerTable(address="a:25")])

    def test_defaults_are_fresh(self) -> None:
        """No two files share a list."""
        one, other = schema.File.model_validate({}), schema.File.model_validate({})
        self.assertIsNot(one.local_domains, other.local_domains)
