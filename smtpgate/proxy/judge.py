"""The verdict over a whole message: one for all of its recipients, or one for each.

Both write what they decide into the transaction; `policy.verdict.merge` is who decides.
"""

from __future__ import annotations

from smtpgate.policy.held import TAKING
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.proxy.pipeline import ChainRun
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply


def _places(transaction: Transaction) -> set[int]:
    """Indexes of the recipients that the message is for."""
    return {number for number, _ in _accepted(transaction)}


def that_count(transaction: Transaction, found: list[Finding]) -> list[Finding]:
    """Of the findings of a stage those that are about somebody whom the message is for."""
    if all(one.recipients is None for one in found):
        return found
    places = _places(transaction)
    return [one for one in found if one.recipients is None or one.recipients & places]


def judge(transaction: Transaction, run: ChainRun) -> Reply | None:
    """One verdict; a Reply where it refuses."""
    places, wanted = _places(transaction), transaction.wanted_by
    # There is one reply: it is milder where all want the message.
    has_mercy = transaction.has_mercy or bool(places) and places <= wanted
    verdict = transaction.verdict = run.last_verdict(has_mercy, places)
    if verdict.is_refusal:
        return _reply(verdict)
    if verdict.action in TAKING:
        # Whom it is taken for is decided for each: for the others it goes on, and one reply is true for all.
        verdicts = {
            one: run.last_verdict(transaction.has_mercy or place in wanted, {place})
            for place, one in _accepted(transaction)
        }
        passing = None
        for recipient, verdict in verdicts.items():
            if verdict.action in TAKING:
                _take(recipient, verdict)
            elif passing is None or verdict.rank > passing.rank:
                passing = verdict
        transaction.verdict = passing or transaction.verdict
    return None


def _accepted(transaction: Transaction) -> list[tuple[int, Recipient]]:
    return [(number, one) for number, one in enumerate(transaction.recipients) if one.state == "accepted"]


def _take(recipient: Recipient, verdict: Verdict) -> None:
    """The gateway has it for this one; it is written down before that is said (`proxy.keeping`)."""
    recipient.taken = verdict
    recipient.state = TAKING[verdict.action]
    recipient.final = status.TAKEN


def judge_each(transaction: Transaction, run: ChainRun) -> Reply | None:
    """A verdict for each recipient; a Reply where it passes for none of them.

    Whom the message does not go to has its `final` reply; its state says so where others have the message.
    """
    passing: Verdict | None = None
    held: Verdict | None = None
    refused: Verdict | None = None
    for place, recipient in enumerate(transaction.recipients):
        if recipient.state != "accepted":
            continue
        verdict = run.last_verdict(transaction.spares(recipient) or place in transaction.wanted_by, {place})
        if verdict.action in TAKING:
            _take(recipient, verdict)
            held = held or verdict
            continue
        if not verdict.is_refusal:
            if passing is None or verdict.rank > passing.rank:
                passing = verdict
            continue
        recipient.final = _reply(verdict)
        if refused is None or verdict.rank < refused.rank:
            # Where some are to come again, the message is.
            refused = verdict
    transaction.verdict = passing or held or refused
    if passing is None and held is None:
        return _reply(refused) if refused is not None else None
    for recipient in transaction.recipients:
        if recipient.final is not None and recipient.taken is None:
            recipient.state = "refused" if recipient.final.is_permanent else "deferred"
    return None


def for_all(transaction: Transaction, reply: Reply) -> Reply:
    """A refusal: where there is one reply it is for those too that have the message already."""
    if not transaction.hears_each:
        if any(recipient.state == "known" for recipient in transaction.recipients):
            return status.PARTLY_DELIVERED
    return reply


def _reply(verdict: Verdict) -> Reply:
    assert verdict.decided_by is not None
    return verdict.decided_by.reply()
