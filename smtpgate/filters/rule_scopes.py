"""Which mail a rule is about, before its condition is asked."""

from __future__ import annotations

from smtpgate.config.model_policy import Rule
from smtpgate.policy.transaction import Recipient, Transaction


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
