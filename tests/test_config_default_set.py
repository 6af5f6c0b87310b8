"""Tests of smtpgate.config.default_set: the filters that a newcomer switches on without knowing them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.model import Settings
from smtpgate.plugins import find_factories

BASE = """
hostname = "gate.example.com"
local_domains = ["example.net"]
filter_set = "default"
[listeners.mx]
listen = "tcp:25"
tls = "off"
[backends.mail]
servers = "127.0.0.1:26"
[[routes]]
backend = "mail"
"""


def settings(more: str = "") -> Settings:
    """A configuration with the set, and more."""
    return loads(BASE + more, "/tmp/gate.toml", find_factories()[0])


class DefaultSetTests(SynchronousTestCase):
    """`filter_set = "default"`."""

    def test_the_set_is_there_in_its_order(self) -> None:
        """With options of its own defaults; every filter of it is on the shelf."""
        uses = settings().filters
        self.assertEqual([(use.name, use.mode) for use in uses], list(DEFAULT_SET))
        self.assertTrue(all(use.options is not None for use in uses))

    def test_none_is_the_default(self) -> None:
        """Nothing runs that was not asked for."""
        self.assertEqual(loads(BASE.replace('"default"', '"none"'), "/tmp/gate.toml", find_factories()[0]).filters, ())

    def test_a_table_of_the_file_takes_the_place_of_one(self) -> None:
        """In its place; others run behind."""
        uses = settings(
            '[[filters]]\nuse = "match"\n[[filters]]\nuse = "attachments"\nmode = "off"\n'
            '[[filters]]\nuse = "links"\nname = "links-2"\n'
        ).filters
        names = [use.name for use in uses]
        self.assertEqual(names, [*(name for name, _ in DEFAULT_SET), "match", "links-2"])
        self.assertEqual(uses[names.index("attachments")].mode, "off")

    def test_a_filter_that_cannot_be_had_is_an_error(self) -> None:
        """It is never left out in silence."""
        factories = {name: factory for name, factory in find_factories()[0].items() if name != "links"}
        error = self.assertRaises(
            ConfigErrors, loads, BASE, "/tmp/gate.toml", factories, {"builtin": "ImportError: no x"}
        )
        self.assertIn('filter_set  no filter "links"', str(error))
        self.assertIn("could not be imported: builtin: ImportError: no x", str(error))

    def test_refusals_are_for_what_is_no_guess(self) -> None:
        """A newcomer's gateway refuses programs; what guesses is in shadow or only scores."""
        factories, _ = find_factories()
        for name, mode in DEFAULT_SET:
            factory = factories[name]
            if mode == "enforce" and factory.category in ("spam", "sender"):
                self.assertEqual(factory.on_error, "continue", name)
