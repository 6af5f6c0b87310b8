"""The signatures of a message, found once for all who ask.

Those are the filters `dkim`, `arc` and `dmarc`, and what writes Authentication-Results. The keys are asked for when the
header section is there (`begin`), all at the same time, so that the DNS answers while the body still comes. At stage
`end` a child process checks the signatures on the content (`signatures`). A message without any costs neither.

Promised: a key that cannot be had in time is a temporary error of its signature alone, never an error here. Raised is
only what the child process fails with (`interfaces.ChildFailed`): then nothing is known, and nothing is claimed.

RFC 6376 sections 6.1.2 and 8.4; RFC 8617 section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred

from smtpgate.filters.base import Filter
from smtpgate.filters.sender.base import in_time, is_exempt, together
from smtpgate.interfaces import ChildFailed
from smtpgate.message.signature import key_names
from smtpgate.policy.authentication import ARCResult, ARCSet, DKIMResult, Signatures
from smtpgate.policy.names import Answer
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: For a key; the resolver itself gives up after 3 seconds.
TIME_S: Final = 4.0
#: Octets of a record that are handed on: a key of 16384 bits, the longest that OpenSSL takes, has some 2,800.
KEY_OCTETS: Final = 8192
#: Records under one name that are handed on. There should be one (RFC 6376 section 3.6.2.2).
RECORDS: Final = 8

_KEYS: Final = ("sender", "keys")
Keys = dict[str, dict[str, Any]]


def begin(transaction: Transaction, services: Any) -> None:
    """Ask for the keys, at stage `header` or later."""
    _keys(transaction, services).addErrback(lambda failure: failure.trap(CancelledError) and None)


async def signatures(transaction: Transaction, services: Any) -> Signatures:
    """What the signatures of a message are worth, at stage `end`. Raises ChildFailed."""
    found: Signatures = await services.once(transaction, "signatures", lambda: _check(transaction, services))
    return found


def _keys(transaction: Transaction, services: Any) -> Deferred[Keys]:
    keys: Deferred[Keys] = services.once(transaction, _KEYS, lambda: _ask(transaction, services))
    return keys


async def _ask(transaction: Transaction, services: Any) -> Keys:
    names = key_names(transaction.header) if transaction.header is not None else ()
    answers = await together(_answer(services, name) for name in names)
    return dict(zip(names, map(_plain, answers), strict=True))


async def _answer(services: Any, name: str) -> Answer:
    # One that comes late takes no other with it.
    answer: Answer | None = await in_time(services, _lookup(services, name), TIME_S)
    return answer or Answer("timeout")


async def _lookup(services: Any, name: str) -> Any:
    return await services.resolver.lookup(name, "TXT")


def _plain(answer: Answer) -> dict[str, Any]:
    records = [record[:KEY_OCTETS].decode("latin-1") for record in answer.records[:RECORDS]]
    return {"status": answer.status, "records": records}


async def _check(transaction: Transaction, services: Any) -> Signatures:
    header = transaction.header
    # A signature or chain without a usable name for its key is still one that must be told of.
    if header is None or not any(
        header.all(name)
        for name in ("dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results")
    ):
        return Signatures()
    keys = await _keys(transaction, services)
    session = transaction.session
    now_s = session.started + transaction.begun - session.begun
    found = read(await services.in_child("signatures", transaction, {"keys": keys, "now": now_s}))
    proved = {one.domain for one in found.dkim if one.result == "pass" and one.has_from}
    if proved:
        transaction.authenticated["dkim"] = tuple(sorted(proved))
    return found


def read(answer: Mapping[str, Any]) -> Signatures:
    """The answer of the job as a value. Raises ChildFailed where it is none."""
    try:
        arc = answer["arc"]
        sets = tuple(ARCSet(**one) for one in arc["sets"])
        chain = ARCResult(str(arc["result"]), str(arc["reason"]), sets)
        return Signatures(tuple(DKIMResult(**one) for one in answer["dkim"]), chain, int(answer["unread"]))
    except (TypeError, KeyError, ValueError) as error:
        raise ChildFailed("lied", f"signatures: {error}") from None


class SignedFilter(Filter):
    """A filter that says something about the signatures; a subclass says what."""

    def __init__(self, options: Any, services: Any) -> None:
        self.options = options
        self.services = services

    def transaction(self, transaction: Transaction) -> SignedVisit | None:
        """One message; None where the client is left alone."""
        return None if is_exempt(transaction.session) else SignedVisit(self, transaction)

    def judge(self, found: Signatures) -> list[Finding]:
        """What is to be said."""
        raise NotImplementedError


class SignedVisit:
    """Such a filter at work on one message."""

    __slots__ = ("_filter", "_transaction")

    def __init__(self, filter: SignedFilter, transaction: Transaction) -> None:
        self._filter = filter
        self._transaction = transaction

    def header(self, section: Any) -> None:
        """The keys are asked for."""
        begin(self._transaction, self._filter.services)

    async def end(self) -> list[Finding]:
        """And the signatures checked."""
        return self._filter.judge(await signatures(self._transaction, self._filter.services))
