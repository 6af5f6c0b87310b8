"""Tests of smtpgate.config.values."""

from __future__ import annotations

import base64

from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import values
from smtpgate.config.problem import BadValue

DIGEST = bytes(range(32))


class ValueTests(SynchronousTestCase):
    """Kinds of values that more than one key has."""

    def test_pins_are_read_in_both_forms(self) -> None:
        """As curl writes them, and as openssl does."""
        encoded = base64.b64encode(DIGEST).decode()
        self.assertEqual(values.parse_pin(f"sha256//{encoded}"), DIGEST)
        self.assertEqual(values.parse_pin(DIGEST.hex()), DIGEST)
        self.assertEqual(values.parse_pin(DIGEST.hex(":").upper()), DIGEST)

    def test_bad_pins_are_refused(self) -> None:
        """Wrong length, wrong alphabet, no prefix."""
        for text in (
            "",
            "sha256//",
            "sha256//####",
            base64.b64encode(DIGEST).decode(),
            "00" * 31,
            "abc",
            "sha1//AAAA",
        ):
            self.assertRaises(BadValue, values.parse_pin, text)

    def test_list_of_one_needs_no_brackets(self) -> None:
        """A text alone is a list of one."""
        lists = TypeAdapter(values.Words)
        self.assertEqual(lists.validate_python("mx", strict=True), ["mx"])
        self.assertRaises(ValidationError, lists.validate_python, 5, strict=True)

    def test_local_domains_may_not_be_everything(self) -> None:
        """A single star would make an open relay, and the message says so."""
        error = self.assertRaises(
            ValidationError,
            TypeAdapter(values.LocalDomains).validate_python,
            ["example.net", "*"],
            strict=True,
        )
        (found,) = error.errors()
        self.assertEqual(found["loc"], (1,))
        self.assertIn("open relay", found["msg"])

    def test_hosts_are_names_or_addresses(self) -> None:
        """A star would take away what the list is for."""
        hosts = TypeAdapter(values.Hosts)
        self.assertEqual(hosts.validate_python(["a.b", "::1"], strict=True), ["a.b", "::1"])
        self.assertRaises(ValidationError, hosts.validate_python, ["*.example.net"], strict=True)

    def test_path_is_not_empty(self) -> None:
        """An empty path would be the folder of the file."""
        for text in ("", "a\0b"):
            self.assertRaises(ValidationError, TypeAdapter(values.FilePath).validate_python, text, strict=True)
