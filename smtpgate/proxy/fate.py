"""One message and the commit ledger: what is known of it from earlier tries, and what this try leaves behind.

Nothing is computed for the usual message: it is asked about only where the ledger knows one of its recipients, and
told of only where the client may not have learned everything (promise 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from smtpgate.message.header import HeaderSection
from smtpgate.policy.event import DuplicatePossible
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.ledger import COMMITTED, REFUSED, UNKNOWN, Ledger, Row
from smtpgate.proxy.leg import Leg
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply


class Fate:
    """What became of one message."""

    __slots__ = (
        "_ledger",
        "_transaction",
        "_tell",
        "_section",
        "_octets",
        "_checksum",
        "_key",
        "_has_no_client",
        "_waiting",
    )

    def __init__(self, ledger: Ledger, transaction: Transaction, tell: Callable[[Any], None]) -> None:
        self._ledger = ledger
        self._transaction = transaction
        self._tell = tell
        self._section: HeaderSection | None = None
        self._octets = 0
        self._checksum = 0
        self._key = ""
        self._has_no_client = False
        self._waiting: list[str] = []

    @property
    def may_be_known(self) -> bool:
        """The ledger knows one of the recipients. At DATA: the message must be seen whole before a backend sees it."""
        ledger = self._ledger
        return len(ledger) > 0 and any(ledger.may_know(str(one.path)) for one in self._transaction.recipients)

    def see(self, section: HeaderSection | None, octets: int, checksum: int) -> None:
        """The message is there whole."""
        self._section, self._octets, self._checksum = section, octets, checksum
        if self._has_no_client:
            self._wait()

    def client_left(self) -> None:
        """Nobody hears the reply that is still to come: a retry may be here before it."""
        if not self._has_no_client:
            self._has_no_client = True
            self._wait()

    def _wait(self) -> None:
        if self._section is not None:
            self._waiting = [str(one.path) for one in self._transaction.recipients if one.state == "accepted"]
            self._ledger.wait(self._transaction, self._make_key(self._section), self._waiting)

    @property
    def is_tried_elsewhere(self) -> bool:
        """An earlier try still waits for its backend: this one must not go beside it."""
        if self._section is None:
            return False
        key = self._make_key(self._section)
        return any(
            self._ledger.waits(self._transaction, key, str(one.path))
            for one in self._transaction.recipients
            if one.state == "accepted"
        )

    def settle(self) -> None:
        """The transaction is over, and what a retry needs to know is noted."""
        if self._waiting:
            self._ledger.settle(self._transaction, self._key, self._waiting)
            self._waiting = []

    @property
    def key(self) -> str:
        """Tells a retry of the same message; "" before it is there whole."""
        return self._make_key(self._section) if self._section is not None else ""

    def leave_out(self, *, can_leave_out: bool) -> tuple[Reply | None, bool]:
        """Some recipients may have it from an earlier try: their state and reply say so. A Reply where nobody is left
        or it cannot go on now, and whether some were left out.

        :param can_leave_out: content was not sent to anybody yet
        """
        if self.is_tried_elsewhere:
            return status.EARLIER_TRY, False
        committed = self.committed()
        if not committed:
            return None, False
        transaction = self._transaction
        if not can_leave_out and len(committed) < transaction.accepted:
            # More is known now than at DATA, and of content that was streamed no part can be sent anew.
            return status.EARLIER_TRY, False
        for recipient in transaction.recipients:
            if str(recipient.path) in committed:
                recipient.state = "known"
                recipient.final = status.RECIPIENT_DELIVERED_BEFORE
        transaction.note("known_from_ledger")
        if not any(recipient.state == "accepted" for recipient in transaction.recipients):
            return status.DELIVERED_BEFORE, True
        return None, True

    def _make_key(self, section: HeaderSection) -> str:
        if not self._key:
            self._key = self._ledger.key(self._transaction, section, self._octets, self._checksum)
        return self._key

    def committed(self) -> frozenset[str]:
        """The recipients that have it already. One whose fate is unknown is told of as a possible duplicate."""
        if self._section is None:
            return frozenset()
        key = self._make_key(self._section)
        rows: dict[str, Row] = {}
        for recipient in self._transaction.recipients:
            if recipient.state == "accepted":
                row = self._ledger.find(key, str(recipient.path))
                if row is not None:
                    rows[str(recipient.path)] = row
        unknown = [row for row in rows.values() if row.state == UNKNOWN]
        if unknown:
            self._transaction.notes.append("possible_duplicate")
            self._tell(DuplicatePossible(self._transaction, unknown[0].transaction_id))
        return frozenset(recipient for recipient, row in rows.items() if row.state == COMMITTED)

    async def note(self, legs: Sequence[Leg], *, only_mixed: bool) -> None:
        """Write what the client may not learn: of all legs and of whom the gateway has taken it for, or of a mix only
        what the one reply cannot say."""
        states = [
            # Taken by the gateway itself: copies, reports and redirected mail were made, and are not made again.
            (str(one.path), COMMITTED, "", status.TAKEN)
            for one in self._transaction.recipients
            if one.taken is not None
        ]
        for leg in legs:
            for recipient in leg.recipients:
                final = leg.final_of(recipient)
                if leg.is_unknown:
                    state = UNKNOWN
                elif final is None:
                    continue
                elif final.is_positive:
                    state = COMMITTED
                elif final.is_permanent and only_mixed:
                    state = REFUSED
                else:
                    continue
                states.append((str(recipient.path), state, leg.link.server, final or status.BACKEND_LOST))
        section = self._section
        if states and section is not None:
            has_id = bool(section.first("message-id"))
            await self._ledger.write(self._transaction, self._make_key(section), has_id, states)
