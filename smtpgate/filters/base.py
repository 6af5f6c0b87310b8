"""What the factories of filters have in common: ours, and those of plugins that like to build on it.

A factory is held against the contract when it is made and again when it is found (`faults`): a stage name with a typing
error would be a filter that is never called, and nobody would know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from pydantic import BaseModel, ConfigDict
from twisted.plugin import IPlugin
from zope.interface import implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from smtpgate.config.problem import Fault
from smtpgate.interfaces import IFilter, IFilterFactory
from smtpgate.policy.verdict import CATEGORIES

#: What a filter's object for a session, and one for a transaction, may have methods for, in the order of a session.
SESSION_STAGES: Final = ("connect", "helo", "auth")
MAIL_STAGES: Final = ("mail", "rcpt", "data", "header", "body", "end")
STAGES: Final = SESSION_STAGES + MAIL_STAGES
ROLES: Final = frozenset({"mx", "submission"})
POLICIES: Final = ("tempfail", "reject", "continue")


class Options(BaseModel):
    """The table of a filter: unknown keys are refused, values are not bent into shape."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def doubts(self, chain: Mapping[str, str]) -> Iterable[Fault]:
        """What is likely not meant (`config.problem.warning`), or cannot be beside the other filters (`Fault`).

        Each stands at its place in this table, as ("entries", 0, "skips"). Told when a configuration is loaded.

        :param chain: category of each filter of the chain, by its name
        """
        return ()


def faults(factory: Any) -> list[str]:
    """What is wrong with a factory, in words; nothing where it keeps the contract."""
    try:
        verifyObject(IFilterFactory, factory)
    except Invalid as error:
        return [str(error).replace("\n", " ")]
    found = []
    if not isinstance(factory.name, str) or not factory.name:
        found.append(f"name {factory.name!r} is no text")
    for what, known in (("stages", STAGES), ("roles", ROLES)):
        given = getattr(factory, what)
        if isinstance(given, str) or not given:
            found.append(f"{what} is {given!r}, and should be a frozenset of names")
            continue
        found += [f"{what} has {one!r}, which is none of {', '.join(known)}" for one in given if one not in known]
    if factory.on_error not in POLICIES:
        found.append(f"on_error is {factory.on_error!r}, and should be one of {', '.join(POLICIES)}")
    if factory.category not in CATEGORIES:
        found.append(f"category is {factory.category!r}, and should be one of {', '.join(CATEGORIES)}")
    if factory.needs_content and "end" not in factory.stages:
        found.append("needs_content is for the stage end, which stages does not name")
    if not isinstance(factory.budget_s, int | float) or not 0 < factory.budget_s <= 300:
        found.append(f"budget_s is {factory.budget_s!r}, and should be seconds, 300 at most")
    options = factory.options
    if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
        found.append(f"options is {options!r}, and should be a pydantic model class")
    return found


@implementer(IPlugin, IFilterFactory)
@attrs.frozen(eq=False)
class Factory:
    """A filter factory (`interfaces.IFilterFactory`). Raises ValueError where the contract is not kept.

    :ivar make: called with options and services; gives the filter
    """

    name: str
    options: type[BaseModel] | None
    stages: frozenset[str]
    make: Callable[[Any, Any], Any]
    roles: frozenset[str] = ROLES
    on_error: str = "tempfail"
    needs_message: bool = False
    budget_s: float = 1.0
    needs_content: bool = False
    category: str = "policy"
    #: True for one that is told so by whom it asks; else its options say it.
    may_hold: bool = False

    def __attrs_post_init__(self) -> None:
        found = faults(self)
        if found:
            raise ValueError(f"filter {self.name}: {'; '.join(found)}")

    def build(self, options: Any, services: Any) -> Any:
        """One filter for one configuration revision."""
        return self.make(options, services)

    def may_quarantine(self, options: Any) -> bool:
        """Whether it may propose the quarantine, as far as can be told beforehand; a filter that does so unannounced
        has failed."""
        return self.may_hold or options is not None and _names(options.model_dump(), QUARANTINE)


QUARANTINE: Final = "quarantine"


def _names(value: Any, word: str) -> bool:
    """Whether options name an action somewhere: as a value, or as the key of what leads to it."""
    if isinstance(value, Mapping):
        return any(
            name == word and held not in (None, [], (), False) or _names(held, word) for name, held in value.items()
        )
    if isinstance(value, list | tuple | set | frozenset):
        return any(_names(one, word) for one in value)
    return bool(value == word)


@implementer(IFilter)
class Filter:
    """A filter that keeps nothing of a session; subclasses say what they want."""

    def session(self, session: Any) -> Any:
        """Nothing for a session."""
        return None

    def transaction(self, transaction: Any) -> Any:
        """Nothing for a transaction."""
        return None

    def close(self) -> None:
        """Nothing to give up."""
