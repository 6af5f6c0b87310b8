"""DKIM signatures of what leaves, made last: over the octets that the backend gets, after all edits.

A signature stands above the header and needs the hash of the body; so a message that may be signed waits in its spool,
is read once for its hash and once more as it leaves. `proxy.body` signs mail of sessions, `proxy.outbox` what the
gateway delivers by itself. The keys are those of the domain of each author (From); whose mail has no key goes as it is.

Signatures that are there stay, and ours goes on top, also where one says the same domain and selector: whether
that one still holds is for receivers to see.

Promised: where a key is `required`, nothing of its domain leaves without its signature. Memory of a header and a piece.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from smtpgate.config.entry import normal_domain
from smtpgate.config.model import Listener
from smtpgate.config.model_signing import DKIMKey
from smtpgate.examine.canonical import BodyHash
from smtpgate.message.header import HeaderReader, HeaderSection
from smtpgate.message.mailbox import read
from smtpgate.message.splice import Splice
from smtpgate.policy.changes import MOST, Changed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Letter
from smtpgate.policy.transaction import Transaction
from smtpgate.signing.dkim import Unsignable, check_header, signature

#: From so many octets on a body is hashed in a thread: half of that takes a millisecond.
IN_THREAD: Final = 1 << 18
#: Octets of a header whose authors are looked for in a thread; below that it takes a few milliseconds.
_LARGE_HEADER: Final = 1 << 13
#: The field without the names and the value of a long key, and again for each name that it lists.
_FIELD_OCTETS: Final = 1200
#: Letters of what the gateway writes by itself: no listener stands for them.
_OWN: Final = frozenset({"digest", "journal", "tls-report"})


class NotSigned(Exception):
    """A message that must be signed was not.

    :ivar is_permanent: it never can be
    """

    def __init__(self, why: str, is_permanent: bool) -> None:
        super().__init__(why)
        self.is_permanent = is_permanent


@attrs.frozen
class Signed:
    """What signing came to.

    :ivar fields: what goes above the header; b"" where nothing signs it
    :ivar keys: that signed
    """

    fields: bytes = b""
    keys: tuple[DKIMKey, ...] = ()

    def onto(self, splices: Sequence[Splice]) -> Sequence[Splice]:
        """The edits of a message with its signatures above all of it."""
        if not self.fields:
            return splices
        return [Splice(0, 0, self.fields, ", ".join(map(author_of, self.keys))), *splices]


def author_of(key: DKIMKey) -> str:
    """Under which name a key stands in the record."""
    return f"dkim/{key.terms.selector}"


class Signers:
    """The keys of one revision."""

    def __init__(self, keys: Iterable[DKIMKey]) -> None:
        self._keys = tuple(keys)
        self._by_listener: dict[str, tuple[DKIMKey, ...]] = {}

    def of(self, listener: Listener) -> tuple[DKIMKey, ...]:
        """Keys that may sign what comes there."""
        found = self._by_listener.get(listener.name)
        if found is None:
            found = self._by_listener[listener.name] = self._that_serve(listener.name, listener.role)
        return found

    def of_letter(self, letter: Letter, transaction: Transaction) -> tuple[DKIMKey, ...]:
        """Keys that may sign a letter: those of the listener that its message came to."""
        if letter.kind in _OWN:
            return self._that_serve("", "submission")
        return self._that_serve(transaction.session.listener, transaction.session.role)

    def _that_serve(self, listener: str, role: str) -> tuple[DKIMKey, ...]:
        return tuple(key for key in self._keys if key.serves(listener, "in" if role == "mx" else "out"))

    def growth_octets(self, listener: Listener) -> int:
        """How much larger a message becomes at most."""
        octets: dict[str, int] = {}
        for key in self.of(listener):
            names = (*key.terms.headers, *key.terms.oversigned)
            more = _FIELD_OCTETS + sum(len(name) + 4 for name in names)
            octets[key.domain] = octets.get(key.domain, 0) + more
        return max(octets.values(), default=0)


def chosen(keys: Sequence[DKIMKey], section: HeaderSection) -> tuple[DKIMKey, ...]:
    """The keys of the domain of each author: its own, or those of the nearest domain above that are for it too."""
    by_domain: dict[str, list[DKIMKey]] = {}
    for key in keys:
        by_domain.setdefault(key.domain, []).append(key)
    found: dict[int, DKIMKey] = {}
    domains = dict.fromkeys(mailbox.domain for mailbox in read(section, "from").mailboxes)
    for domain in dict.fromkeys(map(normal_domain, domains)):
        above = domain
        while above:
            of_it = [key for key in by_domain.get(above, ()) if key.subdomains or above == domain]
            if of_it:
                found |= {key.number: key for key in of_it}
                break
            above = above.partition(".")[2]
    return tuple(found.values())


async def _chosen(
    keys: Sequence[DKIMKey], section: HeaderSection, in_thread: Callable[..., Any]
) -> tuple[DKIMKey, ...]:
    """A thousand authors take a tenth of a second."""
    if len(section.octets) < _LARGE_HEADER:
        return chosen(keys, section)
    found: tuple[DKIMKey, ...] = await in_thread(chosen, keys, section)
    return found


async def sign(
    keys: Sequence[DKIMKey],
    pieces: AsyncIterator[bytes],
    cap: int,
    now_s: int,
    in_thread: Callable[..., Any],
    tell: Callable[[Any], None],
    transaction: Transaction,
) -> Signed:
    """Sign a message. Raises NotSigned, OSError where it cannot be read, and ValueError where edits do not fit it.

    :param pieces: as it leaves, from the start
    :param cap: octets of its header
    """
    reader = HeaderReader(cap)
    body = BodyHash()
    section: HeaderSection | None = None
    due: tuple[DKIMKey, ...] = ()
    waiting: list[bytes] = []
    octets = 0
    async for piece in pieces:
        rest = piece
        if section is None:
            whole = reader.feed(piece)
            section = reader.section
            if whole is None or section is None:
                continue
            due = await _chosen(keys, section, in_thread)
            if not due:
                return Signed()
            rest = whole[len(section.octets) :]
        waiting.append(rest)
        octets += len(rest)
        if octets >= IN_THREAD:
            await in_thread(_hash, body, waiting)
            waiting, octets = [], 0
    if section is None:
        section = HeaderSection(reader.finish())
        due = await _chosen(keys, section, in_thread)
        if not due:
            return Signed()
    _hash(body, waiting)
    digest = body.finish()
    made: dict[DKIMKey, bytes] = {}
    try:
        check_header(section)
        for key in due:
            made[key] = await in_thread(_signature, section, digest, key, now_s)
    except Unsignable as error:
        return _unsigned(due, str(error), True, tell, transaction)
    except _KeyFailed as error:
        return _unsigned(due, str(error), False, tell, transaction)
    for key in made:
        transaction.note(f"signed:{key.domain}/{key.terms.selector}")
        if len(transaction.changes) < MOST:
            transaction.changes.append(Changed(author_of(key), "signed", "DKIM-Signature", "", f"d={key.domain}"))
    return Signed(b"".join(made.values()), tuple(made))


def _hash(body: BodyHash, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        body.feed(piece)


class _KeyFailed(Exception):
    """The library could not sign."""


def _signature(section: HeaderSection, digest: bytes, key: DKIMKey, now_s: int) -> bytes:
    try:
        return signature(section, digest, key.terms, now_s)
    except Unsignable:
        raise
    except Exception as error:
        # Whatever it was: the promise of `required` holds.
        raise _KeyFailed(f"{type(error).__name__}: {error}"[:200]) from error


def _unsigned(
    due: Sequence[DKIMKey], why: str, is_permanent: bool, tell: Callable[[Any], None], transaction: Transaction
) -> Signed:
    """It has no signature: the end of it where one is required."""
    transaction.note("not_signed")
    if not is_permanent:
        message = f"a message of {due[0].domain} could not be signed: {why}"
        tell(Happened("signing.failed", "error", message, (("msg_id", transaction.id),)))
    if any(key.required for key in due):
        raise NotSigned(why, is_permanent)
    return Signed()
