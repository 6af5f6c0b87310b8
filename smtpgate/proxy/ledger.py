"""The commit ledger: what a client may not have learned, so that its retry is answered and not delivered again.

A row is written only when something went wrong between a backend's answer and the client: the client was gone, the
answer came past its patience, the answer was lost, or one of several legs was committed and another not. The normal
path writes nothing. All rows live in memory too (they are few), so asking costs a dictionary look-up, and nothing
while the ledger is empty.

Known *committed*: answered, never sent again. *Refused*: that recipient gets its own 5yz, at RCPT where the envelope
proves which message it is (`Ledger.word`), else at the end of data of a transaction of its own. *Unknown*: sent
again, same server first, and logged as a possible duplicate; a duplicate can be mended, a loss cannot (DESIGN
promise 7, RFC 1047).

Beside the rows, and in memory only, stand the messages whose client has left while their backend still thinks: a
retry of such a one is asked to come later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Transaction
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: How long a retry is recognised.
KEEP_S = 24 * 3600.0
#: Without a Message-ID two messages are told apart less surely.
KEEP_ANONYMOUS_S = 3600.0
#: A client that waited longer for our answer may have gone; RFC 5321 section 4.5.3.2.6 grants 600 s, clients take 60.
PATIENCE_S = 60.0
#: Most rows; the oldest go first.
ROWS = 100_000

COMMITTED = "committed"
REFUSED = "refused"
UNKNOWN = "unknown"

#: Begins the mark of a message that has an ENVID.
_SURE = "!"

#: Header fields that say which message this is.
_IDENTITY = ("from", "to", "cc", "date", "message-id", "subject")


@attrs.frozen
class Row:
    """One recipient of one message.

    :ivar key: keyed digest of sender and message
    :ivar envelope: keyed digests of the sender, and of SIZE and ENVID where they were given, by which a retry may show
        at RCPT
    """

    key: str
    recipient: str
    state: str
    server: str
    expires: float
    transaction_id: str
    code: int
    text: str
    envelope: str = ""

    @property
    def sender(self) -> str:
        """The sender's part of the envelope."""
        return self.envelope.partition(".")[0]

    @property
    def mark(self) -> str:
        """What SIZE and ENVID say of the message; "" for nothing."""
        return self.envelope.partition(".")[2]

    @property
    def reply(self) -> Reply:
        """What the backend said."""
        enhanced, _, text = self.text.partition(" ")
        return Reply(self.code, enhanced, (text,))


class Ledger:
    """The rows, in memory and in the store."""

    def __init__(self, secret: bytes, now: Callable[[], float], store: Any) -> None:
        """
        :param secret: keys the digests, so that the table tells nothing about who wrote to whom
        :param now: seconds since the epoch
        :param store: an `interfaces.ILedgerStore`
        """
        self._secret = secret
        self._now = now
        self._store = store
        self._rows: dict[tuple[str, str], Row] = {}
        self._hints: dict[str, set[tuple[str, str]]] = {}
        #: By sender (as in `Row.envelope`) and recipient.
        self._senders: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
        self._unwritten: list[Row] = []
        #: By recipient: the messages that wait for their backend and have no client any more, and whose try it is.
        self._waiting: dict[str, dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self._rows) + len(self._waiting)

    def load(self, rows: Iterable[Row]) -> None:
        """Take over what the store kept."""
        now = self._now()
        for row in rows:
            if row.expires > now:
                self._index(row)

    def _index(self, row: Row) -> None:
        place = (row.key, row.recipient)
        if place in self._rows:
            self._drop(place)
        self._rows[place] = row
        self._hints.setdefault(row.recipient, set()).add(place)
        self._senders.setdefault((row.sender, row.recipient), {})[place] = None
        while len(self._rows) > ROWS:
            self._drop(next(iter(self._rows)))

    def _drop(self, place: tuple[str, str]) -> None:
        row = self._rows.pop(place)
        places = self._hints.get(row.recipient)
        if places is not None:
            places.discard(place)
            if not places:
                del self._hints[row.recipient]
        pair = (row.sender, row.recipient)
        del self._senders[pair][place]
        if not self._senders[pair]:
            del self._senders[pair]

    def expire(self) -> None:
        """Forget what is past its time, and write what the store did not take."""
        now = self._now()
        if self._unwritten:
            rows, self._unwritten = self._unwritten, []
            self._put(rows).addErrback(lambda failure: None)
        for place in [place for place, row in self._rows.items() if row.expires <= now]:
            self._drop(place)

    # Asking

    def may_know(self, recipient: str) -> bool:
        """Whether any row is about that recipient: only then is a message worth a digest."""
        return recipient in self._hints or recipient in self._waiting

    def hint(self, recipient: str) -> str:
        """The server that may have a message for that recipient already (fate unknown); "" for none."""
        for place in self._hints.get(recipient, ()):
            row = self._rows[place]
            if row.state == UNKNOWN and row.expires > self._now():
                return row.server
        return ""

    def word(
        self, transaction: Transaction, recipient: str, here: Sequence[str], beside: Sequence[str]
    ) -> Reply | None:
        """What a recipient hears at RCPT where the ledger has a word on it; None where it has none.

        A recipient that was refused at the end of data of an earlier try, beside others that were served, hears its own
        refusal, once. ENVID proves that this is that message; SIZE does so only in company of one who has it already,
        for many messages of a sender have the same size. Without such proof the two kinds are kept apart: at the end of
        data it shows who has the message, and the one reply must be true of all.

        :param here: recipients of the transaction that were accepted, or are about to be asked for
        :param beside: all that the client has sent along with this one
        """
        sender, mark = self._envelope(transaction)
        now = self._now()
        rows, places = self._rows, self._senders.get((sender, recipient), ())
        for place in places:
            row = rows[place]
            if row.state != REFUSED or row.mark != mark or not mark or row.expires <= now:
                continue
            if mark.startswith(_SURE) or any(self._is(row.key, other, COMMITTED) for other in (*here, *beside)):
                self._index(attrs.evolve(row, envelope=""))
                return row.reply
        for place in places:
            row = rows[place]
            if row.expires <= now or mark and row.mark and row.mark != mark or row.state == UNKNOWN:
                continue
            other_state = COMMITTED if row.state == REFUSED else REFUSED
            if any(self._is(row.key, other, other_state) for other in here):
                return status.OTHER_DESTINATION
        return None

    def _is(self, key: str, recipient: str, state: str) -> bool:
        row = self._rows.get((key, recipient))
        return row is not None and row.state == state and bool(row.envelope)

    def find(self, key: str, recipient: str) -> Row | None:
        """What is known of that message for that recipient."""
        row = self._rows.get((key, recipient))
        return row if row is not None and row.expires > self._now() else None

    # Keys

    def key(self, transaction: Transaction, section: HeaderSection, octets: int, checksum: int) -> str:
        """Which message this is: sender, identifying header fields, size and checksum of the content.

        Our own trace field is not in it, nor those of the hosts before us: a retry may come another way.
        """
        digest = hashlib.blake2b(key=self._secret, digest_size=20)
        parts = [transaction.sender.raw]
        parts += [b"\x00".join(section.all(name)) for name in _IDENTITY]
        parts.append(b"%d %d" % (octets, checksum))
        if not section.first("message-id"):
            parts.append(transaction.session.client_ip.encode("ascii", "replace"))
        for part in parts:
            digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()

    def _envelope(self, transaction: Transaction) -> tuple[str, str]:
        """What shows of a message before its content: its sender, and SIZE and ENVID. The client is not in it, for a
        retry may come from another address of its pool."""
        size, envid = transaction.params.get("SIZE"), transaction.params.get("ENVID")
        mark = self._digest((size or b"", envid or b"")) if size or envid else ""
        return self._digest((transaction.sender.raw,)), _SURE + mark if envid else mark

    def _digest(self, parts: Iterable[bytes]) -> str:
        digest = hashlib.blake2b(key=self._secret, digest_size=16)
        for part in parts:
            digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()

    # Messages that wait without a client

    def seal(self, said: str) -> str:
        """By which we know again what we have said ourselves: a keyed digest, 32 letters."""
        return self._digest([b"seal", said.encode()])

    def wait(self, transaction: Transaction, key: str, recipients: Iterable[str]) -> None:
        """The client has left, and the backend's answer is still to come."""
        for recipient in recipients:
            self._waiting.setdefault(recipient, {}).setdefault(key, transaction.id)

    def waits(self, transaction: Transaction, key: str, recipient: str) -> bool:
        """Whether another try of that message still waits for its backend."""
        return self._waiting.get(recipient, {}).get(key, transaction.id) != transaction.id

    def settle(self, transaction: Transaction, key: str, recipients: Iterable[str]) -> None:
        """That try is over; what became of it was written before."""
        for recipient in recipients:
            tries = self._waiting.get(recipient, {})
            if tries.get(key) == transaction.id:
                del tries[key]
                if not tries:
                    del self._waiting[recipient]

    # Writing

    def write(
        self, transaction: Transaction, key: str, has_id: bool, states: Iterable[tuple[str, str, str, Reply]]
    ) -> Any:
        """Note the fate of recipients: (recipient, state, server, reply). A Deferred that fires once durable."""
        expires = self._now() + (KEEP_S if has_id else KEEP_ANONYMOUS_S)
        envelope = ".".join(self._envelope(transaction))
        rows = [
            Row(
                key,
                recipient,
                state,
                server,
                expires,
                transaction.id,
                reply.code,
                f"{reply.enhanced} {reply.text}",
                envelope,
            )
            for recipient, state, server, reply in states
        ]
        for row in rows:
            self._index(row)
        return self._put(rows)

    def _put(self, rows: list[Row]) -> Any:
        def failed(failure: Any) -> Any:
            self._unwritten = (self._unwritten + rows)[-ROWS:]
            return failure

        return self._store.put(rows).addErrback(failed)
