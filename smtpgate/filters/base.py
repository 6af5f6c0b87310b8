"""What the built-in factories have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from pydantic import BaseModel, ConfigDict
from twisted.plugin import IPlugin
from zope.interface import implementer

from smtpgate.interfaces import IFilter, IFilterFactory


class Options(BaseModel):
    """The table of a filter: unknown keys are refused, values are not bent into shape."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@implementer(IPlugin, IFilterFactory)
@attrs.frozen(eq=False)
class Factory:
    """A filter factory (`interfaces.IFilterFactory`)."""

    name: str
    options: type[BaseModel]
    stages: frozenset[str]
    make: Callable[[Any, Any], Any]
    roles: frozenset[str] = frozenset({"mx", "submission"})
    on_error: str = "tempfail"
    needs_message: bool = False
    budget_s: float = 1.0

    def build(self, options: Any, services: Any) -> Any:
        """One filter for one configuration revision."""
        return self.make(options, services)


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
