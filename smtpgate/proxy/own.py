"""The lists of one's own of all who have some, as the decision over a message asks for them.

They are few and small beside the mail, so that all of them are held in memory; `state.people` has them on the disk. A
person's lists are about that recipient alone. A message from somebody who is blocked is held for them. One from
somebody who is allowed has mercy (`policy.verdict.MERCIFUL`): guesses about spam and senders mark it at most. Malware,
policy, data loss prevention and what was refused before the content came stand above the lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from smtpgate.policy.own import ALLOW, BLOCK, Own, decide, proved_of, writers_of
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import Path

#: Who speaks for a list, and what it says.
FILTER: Final = "own-lists"
BLOCKED: Final = "blocked-by-recipient"
ALLOWED: Final = "allowed-by-recipient"


def key_of(path: Path) -> str:
    """By which a recipient is known."""
    return f"{path.local.lower()}@{path.domain}"


class OwnBook:
    """All of them, by address."""

    def __init__(self) -> None:
        self._by_address: dict[str, Own] = {}
        self._of: dict[str, tuple[str, ...]] = {}

    def put(self, person: str, addresses: Iterable[str], entries: Mapping[str, str]) -> None:
        """The lists of one person, in place of those before, for each of their addresses in normal form."""
        for address in self._of.pop(person, ()):
            self._by_address.pop(address, None)
        held = tuple(addresses) if entries else ()
        if held:
            self._of[person] = held
            self._by_address.update(dict.fromkeys(held, Own(dict(entries))))

    def concerns(self, recipients: Iterable[Recipient]) -> bool:
        """Whether one of them has a list. With nobody who has, this is all that a message costs."""
        by_address = self._by_address
        return bool(by_address) and any(key_of(one.path) in by_address for one in recipients)

    def findings(self, transaction: Transaction) -> list[Finding]:
        """What the lists of its recipients say of a message that is whole: one finding for each whom one concerns.

        Whose list allows it stands in `transaction.wanted_by`.
        """
        found: list[Finding] = []
        writers, proved = writers_of(transaction), proved_of(transaction)
        for place, one in enumerate(transaction.recipients):
            own = self._by_address.get(key_of(one.path))
            if own is None or one.state != "accepted":
                continue
            word, who = decide(own, writers, proved)
            about = frozenset((place,))
            if word == BLOCK:
                said = f"the recipient wants nothing from {who}"
                found.append(
                    Finding(BLOCKED, "quarantine", detail=said, recipients=about, category="spam", filter=FILTER)
                )
            elif word == ALLOW:
                transaction.wanted_by |= about
                found.append(
                    Finding(ALLOWED, detail=f"the recipient wants mail from {who}", recipients=about, filter=FILTER)
                )
        return found
