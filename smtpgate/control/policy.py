"""What a manager sees of policy: the rules at work, and how often each was true of a message."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from smtpgate.config.model_policy import RULES
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.revision import Revision


@attrs.frozen
class RuleView:
    """One rule.

    :ivar when, unless: its conditions as they are written
    :ivar step: at which it is judged: mail, rcpt, data, header or end
    :ivar is_packed: it comes from a pack
    :ivar hits: messages that it was true of since the start, in shadow too
    :ivar last_hit: seconds since the epoch; 0.0: never
    """

    name: str
    when: str
    unless: str
    listener: tuple[str, ...]
    direction: str
    action: str
    mode: str
    step: str
    is_packed: bool
    owner: str
    note: str
    hits: int
    last_hit: float


class Policy:
    """The rules of the configuration at work. Counts outlive a reload, by the name of a rule."""

    def __init__(self, wall: Callable[[], float], current: Callable[[], Revision]) -> None:
        self._wall = wall
        self._current = current
        self._hits: dict[str, tuple[int, float]] = {}

    def count(self, transaction: Transaction) -> None:
        """A message has ended: which rules were true of it."""
        names = {one.reason for one in transaction.findings if one.filter == RULES}
        for name in names:
            self._hits[name] = self._hits.get(name, (0, 0.0))[0] + 1, self._wall()

    def rules(self) -> list[RuleView]:
        """All rules, in the order of the file."""
        return [
            RuleView(
                rule.name,
                rule.when,
                rule.unless,
                rule.listener,
                rule.direction,
                rule.action,
                rule.mode,
                rule.condition.step,
                rule.table == "packs",
                rule.owner,
                rule.note,
                *self._hits.get(rule.name, (0, 0.0)),
            )
            for rule in self._current().settings.rules
        ]
