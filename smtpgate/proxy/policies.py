"""The `tls_policies` of the configuration at work: what is asked of a leg by listener, sender and recipient.

All that match hold together: the strictest level, and the names of each.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpgate.config.model_policy import TLSPolicy
from smtpgate.policy.protection import NO_NEED, Need, level_of
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp import status
from smtpgate.smtp.address import Path
from smtpgate.smtp.reply import Reply


class Policies:
    """Those of one revision.

    :ivar has_backend: some are about the leg to the backend
    """

    def __init__(self, policies: Iterable[TLSPolicy]) -> None:
        policies = tuple(policies)
        self._backend = [one for one in policies if one.leg in ("backend", "both")]
        self._client = [one for one in policies if one.leg in ("client", "both")]
        self.has_backend = bool(self._backend)

    def need(self, transaction: Transaction, recipient: Path) -> Need:
        """What the leg to the backend needs."""
        need = NO_NEED
        for policy in self._backend:
            if _is_about(policy, transaction, recipient):
                need = need.and_(Need(policy.level, (policy.names,) if policy.names else ()))
        return need

    def refusal(self, transaction: Transaction, recipient: Path) -> Reply | None:
        """A Reply where the leg to the client has less than it needs."""
        for policy in self._client:
            if _is_about(policy, transaction, recipient):
                refused = lacks(transaction.session, policy.level)
                if refused is not None:
                    return refused
        return None


def lacks(session: Session, level: str) -> Reply | None:
    """What a client hears whose connection has less than a level; None where it has that."""
    if session.tls is None:
        return status.CLIENT_ENCRYPTION_NEEDED
    if level == "verified" and level_of(session.tls) != "verified":
        return status.CLIENT_PROOF_NEEDED
    return None


def _is_about(policy: TLSPolicy, transaction: Transaction, recipient: Path) -> bool:
    sender = transaction.sender
    if policy.listener and transaction.session.listener not in policy.listener:
        return False
    if policy.sender and not policy.sender.matches(sender.local, sender.domain):
        return False
    return not policy.recipient or policy.recipient.matches(recipient.local, recipient.domain)
