"""What filters and rules say of a held message on its way out: what was found since, and what was not asked before.

Who released it has judged what it was held for, and the guesses about its sender; so that is not heard again. Malware
is looked for anew, with what scanners have learned meanwhile, and the other rules are judged as they are now: what they
tag is tagged, what they refuse is not delivered, but where a ticket of its sender lifted that when it came. Copies and
reports were made then.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from smtpgate.config.model_policy import RULES
from smtpgate.message.header import HeaderSection
from smtpgate.policy.held import TAKING
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding, merge
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.revision import Revision


async def recheck(
    engine: Any,
    revision: Revision,
    transaction: Transaction,
    section: HeaderSection,
    content: Filed,
    judged: tuple[str, str, str],
    holds: Collection[str] = (),
) -> Finding | None:
    """The finding that keeps it here; None where it may go. Tags of rules are in `transaction.edits`.

    :param judged: what it was held for: filter, reason, and of malware the detail, which says which one
    :param holds: names of rules that have held an earlier release of it, and were judged by whom released it now
    """
    chain = _chain(engine, revision, transaction)
    if chain is None:
        return None
    run = chain.transaction(transaction)
    transaction.is_again = True
    transaction.header = section
    transaction.content = content
    transaction.octets = content.octets
    try:
        await run.run("mail")
        for place, recipient in enumerate(transaction.recipients):
            await run.run("rcpt", recipient, recipient=place)
            recipient.state = "accepted"
            transaction.accepted += 1
        await run.run("data")
        await run.run("header", section)
        if chain.has_body:
            async for piece in content.pieces():
                run.feed(piece)
        await run.run("end", seconds=revision.settings.timeouts.verdict_for(transaction.session.role))
        found = [one for one in run.findings if not _is_judged(one, judged) and not _is_hold(one, holds)]
    finally:
        run.close()
        for call in transaction.at_end:
            call()
        transaction.at_end.clear()
        transaction.content = None
    verdict = merge(found)
    if verdict.is_refusal or verdict.action in TAKING:
        return verdict.decided_by
    return None


def _is_judged(finding: Finding, judged: tuple[str, str, str]) -> bool:
    filter, reason, detail = judged
    if (finding.filter, finding.reason) != (filter, reason):
        return False
    # Another virus than the one that was seen was not judged by anybody.
    return finding.category != "malware" or finding.detail[:1000] == detail


def _is_hold(finding: Finding, holds: Collection[str]) -> bool:
    return finding.filter == RULES and finding.action == "quarantine" and finding.reason in holds


def _chain(engine: Any, revision: Revision, transaction: Transaction) -> Chain | None:
    """Those that are asked again."""
    session = transaction.session
    door = revision.doors.get(session.listener)
    if door is None:
        return None
    uses = [one for one in door.chain.uses if one.mode == "enforce" and (one.category == "malware" or one.is_judge)]
    return Chain(uses, session.role, engine.clock, engine.tell) if uses else None
