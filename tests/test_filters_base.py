"""Tests of smtpgate.filters.base: factories held against the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smtpgate.filters.base import STAGES, Factory, Filter, Options, faults
from smtpgate.interfaces import IFilter, IFilterFactory
from smtpgate.plugins import builtin
from smtpgate.proxy import pipeline
from smtpgate.testing import Gateway

#: Options that have no default.
NEEDED = {
    "clamd": {"servers": ["127.0.0.1:3310"]},
    "hook": {"servers": ["http://127.0.0.1:8080/mail"]},
    "icap": {"servers": ["icap://127.0.0.1:1344/scan"]},
    "milter": {"servers": ["127.0.0.1:8891"]},
    "rspamd": {"servers": ["http://127.0.0.1:11333"]},
    "spamd": {"servers": ["127.0.0.1:783"]},
}


class NumberOptions(Options):
    """Options of a test."""

    number: int = 1
    weight: float = 1.0


def made(**given: Any) -> Factory:
    """A factory that is right but for what is given."""
    good: dict[str, Any] = {
        "name": "x",
        "options": NumberOptions,
        "stages": frozenset({"mail"}),
        "make": lambda options, services: Filter(),
    }
    return Factory(**good | given)


@implementer(IPlugin, IFilterFactory)
class Foreign:
    """A factory as a stranger writes one, without our base class."""

    name = "foreign"
    options = None
    roles = frozenset({"mx"})
    stages = frozenset({"mail"})
    on_error = "continue"
    needs_message = False
    needs_content = False
    category = "policy"
    budget_s = 2

    def build(self, options: Any, services: Any) -> Any:
        """A filter."""
        return Filter()


class FactoryTests(SynchronousTestCase):
    """`Factory` and `faults`."""

    def test_stages_are_those_of_the_pipeline(self) -> None:
        """Two rooms that may not import each other know the same stages, in the same order."""
        self.assertEqual(STAGES, pipeline.STAGES)

    def test_our_own_factories_keep_the_contract(self) -> None:
        """And what they build is a filter."""
        services = Gateway().services
        rules = self.mktemp()
        Path(rules).write_text("rule one { condition: filesize > 1MB }")
        needed = NEEDED | {"yara": {"rules": [rules]}}
        for name in builtin.__all__:
            factory = getattr(builtin, name)
            self.assertEqual(faults(factory), [])
            self.assertEqual(factory.name, name.replace("_", "-"))
            options = factory.options.model_validate(needed.get(factory.name, {}))
            verifyObject(IFilter, factory.build(options, services))

    def test_a_foreign_factory_need_not_use_our_base(self) -> None:
        """Only the interface counts, and a filter may have no options."""
        self.assertEqual(faults(Foreign()), [])

    def test_a_stage_with_a_typing_error_is_refused(self) -> None:
        """It would never be called, and nobody would know."""
        with self.assertRaisesRegex(ValueError, "filter x: stages has 'rctp', which is none of connect, helo"):
            made(stages=frozenset({"mail", "rctp"}))

    def test_each_bad_value_is_named(self) -> None:
        """With what it should be."""
        for given_, words in (
            ({"name": ""}, "name '' is no text"),
            ({"stages": frozenset()}, "and should be a frozenset of names"),
            ({"stages": "mail"}, "stages is 'mail', and should be a frozenset"),
            ({"roles": frozenset({"mx", "msa"})}, "roles has 'msa'"),
            ({"on_error": "ignore"}, "on_error is 'ignore', and should be one of tempfail, reject, continue"),
            ({"budget_s": 0}, "budget_s is 0"),
            ({"category": "spma"}, "category is 'spma', and should be one of spam, sender, malware, policy, protocol"),
            ({"needs_content": True}, "needs_content is for the stage end, which stages does not name"),
            ({"budget_s": 301}, "budget_s is 301"),
            ({"budget_s": "1s"}, "budget_s is '1s'"),
            ({"options": {"number": 1}}, "options is {'number': 1}, and should be a pydantic model class"),
            ({"options": NumberOptions()}, "should be a pydantic model class"),
        ):
            with self.subTest(given_=given_):
                error = self.assertRaises(ValueError, made, **given_)
                self.assertIn(words, str(error))

    def test_a_factory_without_an_attribute_is_refused_by_its_name(self) -> None:
        """The first that is missing is said."""
        half = Foreign()
        self.patch(Foreign, "budget_s", None)
        self.assertEqual(faults(half), ["budget_s is None, and should be seconds, 300 at most"])
        del Foreign.budget_s
        self.assertRegex(faults(half)[0], "budget_s.*attribute was not provided")

    def test_a_factory_cannot_be_changed(self) -> None:
        """It is shared by all revisions."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            made().budget_s = 5.0  # type: ignore[misc]


class OptionsTests(SynchronousTestCase):
    """`Options`."""

    def test_values_are_not_bent_into_shape(self) -> None:
        """A number in quotes is a mistake, and so is a key that nobody reads."""
        for raw in ({"number": "1"}, {"number": True}, {"number": 1.5}, {"numbr": 1}):
            with self.assertRaises(ValidationError):
                NumberOptions.model_validate(raw)

    @given(st.sampled_from([float("nan"), float("inf"), float("-inf")]))
    def test_scores_are_numbers_that_can_be_summed(self, weight: float) -> None:
        """TOML knows nan and inf; no threshold does."""
        with self.assertRaises(ValidationError):
            NumberOptions(weight=weight)

    def test_options_cannot_be_changed(self) -> None:
        """They are shared by all sessions."""
        with self.assertRaises(ValidationError):
            NumberOptions().number = 2  # type: ignore[misc]


class FilterTests(SynchronousTestCase):
    """`Filter`."""

    def test_it_wants_nothing_by_itself(self) -> None:
        """A subclass says what it wants."""
        empty = Filter()
        self.assertIsNone(empty.session(None))
        self.assertIsNone(empty.transaction(None))
        self.assertIsNone(empty.close())
