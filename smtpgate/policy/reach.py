"""Which mail somebody may see who is limited to domains: the mail of these domains' people.

A recipient in one of the domains makes a message theirs. A sender does only where the message came from the operator's
own users: what the internet writes into MAIL is anybody's to write, and must open nobody's mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from smtpgate.policy.held import Held, Letter
from smtpgate.policy.ticket import Ticket
from smtpgate.smtp.address import canonical_domain, unicode_domain


@attrs.frozen
class Reach:
    """The domains, in A-labels and lower case; none for no limit. Subdomains are domains of their own."""

    domains: Sequence[str] = ()

    @property
    def is_limited(self) -> bool:
        """False for whoever may see all mail."""
        return bool(self.domains)

    def address(self, address: str) -> bool:
        """Whether an address is in it."""
        if not self.domains:
            return True
        _, at, domain = address.rstrip(">").rpartition("@")
        return bool(at) and canonical_domain(domain) in self.domains

    def any(self, addresses: Iterable[str]) -> bool:
        """Whether one of them is in it; of nothing, where there is no limit."""
        return not self.domains or any(map(self.address, addresses))

    def all(self, addresses: Iterable[str]) -> bool:
        """Whether all are, and there are some."""
        if not self.domains:
            return True
        found = list(map(self.address, addresses))
        return bool(found) and all(found)

    def message(self, sender: str, recipients: Iterable[str], is_ours: bool) -> bool:
        """Whether a message is in it.

        :param is_ours: it came from the operator's own users
        """
        return not self.domains or is_ours and self.address(sender) or self.any(recipients)

    def held(self, one: Held) -> bool:
        """Whether a held message is."""
        return self.message(one.sender, [who.address for who in one.recipients], one.direction == "out")

    def holds_all_of(self, one: Held) -> bool:
        """Whether a held message concerns nobody else, so that it may be deleted."""
        return one.direction == "out" and self.address(one.sender) or self.all([who.address for who in one.recipients])

    def letter(self, one: Letter) -> bool:
        """Whether a letter is."""
        is_ours = one.facts.get("role") == "submission"
        return self.message(one.sender, [who.address for who in one.recipients], is_ours)

    def holds_letter(self, one: Letter) -> bool:
        """Whether a letter concerns nobody else."""
        is_ours = one.facts.get("role") == "submission" and self.address(one.sender)
        return is_ours or self.all([who.address for who in one.recipients])

    def ticket(self, one: Ticket) -> bool:
        """Whether a ticket is: they are for the senders of refused mail, who got its link as the reply."""
        return self.message(one.sender, one.recipients, True)

    def session(self, facts: Any) -> bool:
        """Whether a live session has a message that is (`policy.transaction.Session`)."""
        return not self.domains or any(
            self.message(str(one.sender), [str(who.path) for who in one.recipients], facts.role == "submission")
            for one in (*facts.transactions, *((facts.transaction,) if facts.transaction is not None else ()))
        )

    def holds_session(self, facts: Any) -> bool:
        """Whether a live session has messages, and each is: so that what is shown of it concerns nobody else."""
        messages = (*facts.transactions, *((facts.transaction,) if facts.transaction is not None else ()))
        is_ours = facts.role == "submission"
        return (
            not self.domains
            or bool(messages)
            and all(
                self.message(str(one.sender), [str(who.path) for who in one.recipients], is_ours) for one in messages
            )
        )

    def recipients(self, facts: Any, is_ours: bool) -> int:
        """How many recipients of a message somebody may see (`policy.transaction.Transaction`)."""
        if not self.domains or is_ours and self.address(str(facts.sender)):
            return len(facts.recipients)
        return sum(self.address(str(one.path)) for one in facts.recipients)


__all__ = ["Reach", "unicode_domain"]
