"""What content filters have in common: they wait for the one examination, then judge its facts, purely.

A filter of this kind has one method, `look`, from facts to findings. What it does about each thing that it can find is
the operator's to say, in lists of words by action (`Actions`), of which the strongest holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from smtpgate.config.problem import BadValue, one_of, quoted
from smtpgate.examine.facts import Facts
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: The examination's own limit is shorter (`content.time`); this is for the wait for a free child process too.
BUDGET_S: Final = 20.0
#: Findings of one filter about one message; what is more says nothing new.
FINDINGS: Final = 10

#: Strongest first; the first list that has a word decides.
BY_STRENGTH: Final = ("reject", "defer", "quarantine", "tag", "note")


class Actions:
    """What to do about each word; a word in no list is passed over."""

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        #: In the order in which they speak: the strongest action first, within it as the operator wrote them.
        self._actions: dict[str, str] = {}
        for action in BY_STRENGTH:
            for word in lists.get(action, ()):
                self._actions.setdefault(word, action)

    def of(self, *words: str) -> str:
        """The action for a thing that has several words, the most exact first; "" for none."""
        return next((self._actions[word] for word in words if word in self._actions), "")

    def strongest(self, words: Iterable[str]) -> tuple[str, str]:
        """Of several things the one with the strongest action, and that action; ("", "") for none."""
        held = frozenset(words)
        return next(((word, action) for word, action in self._actions.items() if word in held), ("", ""))


def weights(given: Mapping[str, float], shipped: Iterable[str]) -> None:
    """Weights by kind from the configuration; raises BadValue for a kind that there is not."""
    kinds = list(shipped)
    for kind in given:
        if kind not in kinds:
            raise BadValue(f"{quoted(kind)} is no kind", one_of(kind, kinds, ""))


def known(words: list[str], choices: Iterable[str]) -> list[str]:
    """A list of words from the configuration; raises BadValue for one that means nothing."""
    choices = frozenset(choices)
    for word in words:
        if word not in choices:
            raise BadValue(f"{quoted(word)} is nothing that is found", f"choose of {', '.join(sorted(choices))}")
    return words


def sentence(said: str, where: str) -> str:
    """The detail of a finding: what it means, then what it was seen in."""
    return said if where in ("", said) else f"{said}: {where}"


class ContentFilter(Filter):
    """A filter that judges facts. Subclasses have `look`."""

    def __init__(self, options: Options, services: Any) -> None:
        self.services = services

    def transaction(self, transaction: Transaction) -> _Message:
        """One message."""
        return _Message(self, transaction)

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """What is to be said about a message."""
        raise NotImplementedError


class _Message:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: ContentFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    async def end(self) -> list[Finding] | None:
        """All of it has come."""
        facts = await self._filter.services.examine(self._transaction)
        return self._filter.look(facts, self._transaction) or None


def content_factory(
    name: str, options: type[Options], make: Callable[[Any, Any], ContentFilter], **given: Any
) -> Factory:
    """The factory of a content filter."""
    return Factory(name, options, frozenset({"end"}), make, needs_content=True, budget_s=BUDGET_S, **given)
