"""Tests of smtpgate.config.validation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import schema
from smtpgate.config.tables_dlp import DetectorTable, DictionaryTable, PackTable
from smtpgate.config.tables_policy import RuleTable, TLSPolicyTable
from smtpgate.config.validation import STAND_INS, faults_of, validate


class Webhook(BaseModel):
    """One kind of target of the options below."""

    kind: Literal["webhook"]
    url: str


class Mail(BaseModel):
    """The other kind."""

    kind: Literal["mail"]
    to: str


class Options(BaseModel):
    """Options of a filter, with all that a plugin's author may come up with."""

    model_config = ConfigDict(extra="forbid")

    rate: float = Field(1.0, gt=0, lt=10)
    target: Webhook | Mail | None = None
    port: int = Field(25, le=65535)
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("This must be even")
        return value


def said(raw: dict[str, Any]) -> list[tuple[Any, str, str]]:
    """What is wrong with options, in words."""
    try:
        Options.model_validate(raw)
    except ValidationError as error:
        return [(f.where, f.message, f.hint) for f in faults_of(error, Options, raw, ("filters", 0, "options"))]
    return []


class WordsTests(SynchronousTestCase):
    """`faults_of`."""

    def test_tags_of_unions_are_not_in_the_path(self) -> None:
        """The path is that of the file, not of the program."""
        paths = {where for where, _, _ in said({"target": {"kind": "webhook"}})}
        self.assertIn(("filters", 0, "options", "target", "url"), paths)

    def test_words_of_a_plugin_s_author_are_kept(self) -> None:
        """Its own error is told as it is, beginning small."""
        self.assertEqual(said({"even": 1}), [(("filters", 0, "options", "even"), "this must be even", "")])

    def test_bounds_are_told(self) -> None:
        """Too much and too little say how much is right."""
        self.assertEqual([hint for _, _, hint in said({"rate": 0})], ["it must be more than 0"])
        self.assertEqual([hint for _, _, hint in said({"rate": 10})], ["it must be less than 10"])
        self.assertEqual([hint for _, _, hint in said({"port": 70000})], ["the most is 65535"])

    def test_unknown_key_lists_the_known_ones_when_none_is_like_it(self) -> None:
        """Either a suggestion or all there is."""
        self.assertEqual([hint for *_, hint in said({"prot": 1})], ['did you mean "port"?'])
        self.assertEqual([hint for *_, hint in said({"zzz": 1})], ["known keys: rate, target, port, even"])

    def test_number_in_quotes_is_told_in_our_words(self) -> None:
        """Also where a plugin's model is not strict."""
        self.assertEqual(
            [(m, h) for _, m, h in said({"port": "many"})],
            [('"many" is not a whole number', "write a number without quotes")],
        )


class RepairTests(SynchronousTestCase):
    """`validate`."""

    def test_good_file_has_no_faults(self) -> None:
        """Nothing is taken out of it."""
        validated = validate({"listeners": {"mx": {"listen": "tcp:25"}}})
        self.assertIsNotNone(validated.file)
        self.assertEqual((validated.faults, validated.tainted), ((), frozenset()))

    def test_bad_values_are_taken_out_and_the_rest_is_kept(self) -> None:
        """One bad key does not hide what else is there."""
        validated = validate({"listeners": {"mx": {"listen": "tcp:25", "tls": "x", "auth": "local"}}})
        assert validated.file is not None
        self.assertEqual(validated.file.listeners["mx"].auth, "local")
        self.assertEqual(validated.tainted, {("listeners", "mx", "tls")})

    def test_entries_keep_their_numbers(self) -> None:
        """A route without a backend stays in its place, or the next ones would be told at its line."""
        validated = validate({"routes": [{"backend": 5}, {"sender": ["@x"], "backend": "b"}, {"backend": "c"}]})
        assert validated.file is not None
        self.assertEqual([route.backend for route in validated.file.routes], ["", "b", "c"])
        self.assertEqual(validated.tainted, {("routes", 0, "backend"), ("routes", 1, "sender", 0)})

    def test_misspelled_key_taints_what_was_meant(self) -> None:
        """Without this, a misspelled local_domains would bring a second error."""
        validated = validate({"local_domain": ["example.net"]})
        self.assertEqual(validated.tainted, {("local_domain",), ("local_domains",)})
        validated = validate({"routes": [{"backnd": "mail", "backend": "mail"}, {"listner": "mx", "backend": "mail"}]})
        self.assertEqual(
            validated.tainted, {("routes", 0, "backnd"), ("routes", 1, "listner"), ("routes", 1, "listener")}
        )

    def test_misspelled_table_taints_what_stands_in_it(self) -> None:
        """What stands in the good table is judged; of an array nobody knows which entries are missed."""
        good = {"mail": {"servers": "unix:/mail"}}
        validated = validate({"backends": good, "backend": {"other": {}, "more": {}}})
        self.assertEqual(validated.tainted, {("backend",), ("backends", "other"), ("backends", "more")})
        validated = validate({"routes": [{"backend": "mail"}], "route": [{"backend": "mail"}]})
        self.assertEqual(validated.tainted, {("route",), ("routes",)})
        validated = validate({"backends": good, "backend": "mail"})
        self.assertEqual(validated.tainted, {("backend",)})

    def test_nothing_is_left_is_no_error_of_ours(self) -> None:
        """Whatever shape the file has, faults come out and no exception."""
        shapes: tuple[Any, ...] = (
            5,
            "x",
            [],
            [5],
            {},
            {"a": 5},
            {"a": {}},
            {"mx": {"listen": []}},
            [[{}]],
            [{}],
            None,
        )
        for name in schema.File.model_fields:
            for shape in shapes:
                validated = validate({name: shape})
                self.assertTrue(validated.file is not None or validated.faults, (name, shape))

    def test_every_required_key_has_a_stand_in(self) -> None:
        """Without one, the rest of its table could not be judged."""
        required = {
            name
            for table in (
                schema.ListenerTable,
                schema.BackendTable,
                schema.ServerTable,
                schema.RouteTable,
                schema.FilterTable,
                RuleTable,
                TLSPolicyTable,
                DetectorTable,
                DictionaryTable,
                PackTable,
            )
            for name, field in table.model_fields.items()
            if field.is_required()
        }
        self.assertEqual(required, set(STAND_INS))
