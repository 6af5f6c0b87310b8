"""Refusals that their sender may do something about.

A rule with `self_service` refuses, and its reply has a link to a page where the sender says why the message must go, or
asks somebody to let it pass. What is the same message comes again then, as a person would say (`examine.sameness`), and
passes that rule once: until it was delivered, so that a server that defers it, or whose answer is lost, costs nobody
the ticket. Other rules, and filters, have their word as ever; where one of them holds it, its release passes the rule
too, without another ticket.

Where tickets cannot be read or written, or the message not be looked at, it is refused without a link: the rule itself
stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from smtpgate.config.model_policy import Rule
from smtpgate.interfaces import ServiceFailed, StoreFailed
from smtpgate.message.words import clean, decode
from smtpgate.policy.event import Happened
from smtpgate.policy.held import TAKEN
from smtpgate.policy.ticket import OPEN_S, SENDER, Ticket
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Of a message whose fate is unknown the sender's server sends another, which is not to be refused.
_WENT: Final = frozenset({"delivered", "unacked", *TAKEN})


async def settle(
    services: Any, transaction: Transaction, said: Sequence[Finding], rules: Mapping[str, Rule]
) -> list[Finding]:
    """What the rules say, once tickets were looked at: a refusal has a link, or is lifted once.

    :param rules: those with self-service, by name
    """
    if not any(_is_about(one, rules) for one in said):
        return list(said)
    if transaction.is_again:
        # Nobody would see a link, and its ticket was used when it came; what that lifted stays lifted.
        return [_lifted(one) if _is_about(one, rules) and one.reason in transaction.lifted else one for one in said]
    try:
        answer = await services.in_child("sameness", transaction, {})
        digest = str(answer["digest"]) if answer["is_whole"] else ""
    except (ServiceFailed, KeyError, TypeError) as error:
        return _without(services, transaction, said, f"it cannot be known again: {error}")
    out = list(said)
    for place, one in enumerate(said):
        if _is_about(one, rules):
            try:
                out[place] = await _ask(services, transaction, one, rules[one.reason], digest)
            except StoreFailed as error:
                return _without(services, transaction, said, str(error))
            if out[place].action == "reject":
                # One link is all that a reply has room for.
                break
    return out


def _is_about(finding: Finding, rules: Mapping[str, Rule]) -> bool:
    return finding.action == "reject" and finding.reason in rules


def _lifted(finding: Finding) -> Finding:
    return Finding(finding.reason, "note", detail=f"rule {finding.reason} let it pass when it came")


def _without(services: Any, transaction: Transaction, said: Sequence[Finding], why: str) -> list[Finding]:
    services.tell(Happened("ticket.failed", "warning", f"refused without a link: {why}", (("msg_id", transaction.id),)))
    return list(said)


async def _ask(services: Any, transaction: Transaction, finding: Finding, rule: Rule, digest: str) -> Finding:
    tickets = services.tickets
    if not digest:
        # Two messages that were not looked at whole could be taken for one.
        return finding
    recipients = tuple(str(one.path) for one in transaction.recipients if one.state in ("accepted", "known"))
    section = transaction.header
    subject = " ".join(clean(decode(section.first("subject"))).split()) if section is not None else ""
    key = tickets.key(rule.name, str(transaction.sender).lower(), recipients, f"{digest} {subject}")
    found: Ticket | None = await tickets.find(key)
    if found is not None and rule.self_service == "approval" and found.mode == "reason":
        # The rule asks for more by now: what its sender alone has said is not enough.
        found = None if found.decided_by in ("", SENDER) else found
    if found is not None and found.state == "granted" and found.id not in tickets.on_way:
        tickets.on_way.add(found.id)
        transaction.at_end.append(partial(_went, services, transaction, found))
        said = f"rule {rule.name} lets it pass once: {found.decided_by or 'its sender'}: {found.reason}"
        transaction.note(f"ticket:{found.message}")
        transaction.lifted.add(rule.name)
        return Finding(rule.name, "note", detail=said[:1000])
    if found is None or found.state == "used":
        now = services.wall()
        found = Ticket(
            tickets.fresh_id(),
            key,
            rule.name,
            rule.self_service,
            now,
            now + OPEN_S,
            transaction.id,
            str(transaction.sender),
            recipients,
            subject[:500],
            rule.text or "Refused by policy",
        )
        await tickets.put(found)
    url = f"{services.settings.public_url}/why/{found.id}"
    words = f"{rule.text or 'Refused by policy'}: {_WORDS.get(found.state, 'see')} {url}"
    return attrs.evolve(finding, public=words)


#: What the reply says before the link, by the state of the ticket.
_WORDS: Final = {
    "open": "if it must go, see",
    "asked": "somebody is asked; see",
    "denied": "it was asked for and denied; see",
    "granted": "it is on its way; see",
}


def _went(services: Any, transaction: Transaction, ticket: Ticket) -> None:
    """The message with a ticket is over: where it was taken, the ticket is used."""
    if transaction.outcome in _WENT:
        done = services.tickets.change(ticket.id, ("granted",), "used", ticket.expires, "", "")
        # Until that is written nobody passes by it; where it cannot be, until the gateway ends.
        free = services.tickets.on_way.discard
        done.addCallbacks(lambda _: free(ticket.id), lambda failure: failure.trap(StoreFailed) and None)
        services.tell(
            Happened(
                "ticket.used",
                "info",
                f"a message that rule {ticket.rule} refuses passed once",
                (("msg_id", transaction.id), ("target", ticket.message)),
            )
        )
    else:
        services.tickets.on_way.discard(ticket.id)
