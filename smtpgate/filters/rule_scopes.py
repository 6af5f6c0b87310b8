"""Which mail a rule is about, before its condition is asked."""

from __future__ import annotations

from collections.abc import Sequence

from smtpgate.config.model_policy import Rule
from smtpgate.policy.transaction import Recipient, Transaction


class Scopes:
    """What the rules of one filter are about. Most are about all mail, and are not looked at for each message."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        scoped = [one for one in enumerate(rules) if one[1].listener or one[1].direction or one[1].sender]
        self._scoped = tuple(scoped)
        self._always = frozenset(range(len(rules))).difference(place for place, _ in scoped)

    def places(self, transaction: Transaction) -> frozenset[int]:
        """The places of the rules that are about mail of that listener, direction and sender."""
        return self._always.union(place for place, rule in self._scoped if is_about(rule, transaction))


def is_about(rule: Rule, transaction: Transaction) -> bool:
    """Whether a rule is about mail of that listener, direction and sender."""
    session = transaction.session
    direction = "in" if session.role == "mx" else "out"
    if rule.listener and session.listener not in rule.listener or rule.direction not in ("", direction):
        return False
    return not rule.sender or rule.sender.matches(transaction.sender.local, transaction.sender.domain)


def is_for(rule: Rule, recipient: Recipient | None) -> bool:
    """Whether a rule is about a recipient that is asked about; None: about the message."""
    if recipient is None or not rule.recipient:
        return True
    return rule.recipient.matches(recipient.path.local, recipient.path.domain)
