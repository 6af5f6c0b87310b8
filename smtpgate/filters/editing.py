"""What rules change of a message: fields when the header is there or at the end, the body by a plan at the end.

`rules` collects the rules that are true of a message and calls `fields` and `body`. The plan is made in a child process
(`edits.plan`); what comes back is held against what it may do, since whoever wrote the message may have taken that
process over: no field but those of MIME, no line end of its own kind. What was done, what was not and why, and which
signatures break stand in the record (`policy.changes`); of what was removed kind, name and size.

What a rule wanted taken out and could not be is its failure, and `on_error` speaks: it is never let through in silence.
Words that could not be put are told and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from twisted.internet.defer import TimeoutError

from smtpgate.config.model_policy import RULES, Rule
from smtpgate.edits import foretell
from smtpgate.edits.plan import Plan, from_answer
from smtpgate.edits.wanted import REASONS, Target, to_plain
from smtpgate.examine.facts import Facts
from smtpgate.interfaces import ChildFailed
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import read
from smtpgate.message.splice import Splice, apply
from smtpgate.policy.changes import LETTERS, MOST, Changed
from smtpgate.policy.edits import EditList
from smtpgate.policy.rewrite import rewrite
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Reasons for which what was to be taken out is still there.
_FAILED: Final = frozenset({"ambiguous", "whole"})
_TAKES_OUT: Final = frozenset({"strip", "replace"})
_REFUSAL: Final = "The message is signed, and what must be changed would break that"
Failure = Callable[[Rule, str], Finding]


def fields(transaction: Transaction, section: HeaderSection, rules: Iterable[Rule], edits: EditList) -> list[Finding]:
    """Change fields as the rules say, each in its order; what there is to say of it."""
    found = []
    for rule in rules:
        change = rule.change
        assert change is not None
        wanted = rewrite(section, change.set, change.remove, change.author)
        if not wanted:
            continue
        trial = EditList()
        for edit in wanted:
            trial.append(edit)
        fates = foretell.of_header(section, HeaderSection(trial.apply(section)[0]))
        if fates and change.on_signature != "edit":
            found.append(_left(transaction, rule, "signature", change.on_signature == "refuse"))
            continue
        for edit in wanted:
            edits.append(edit)
        names = dict.fromkeys((*(name.lower() for name in change.set), *change.remove))
        for name in names:
            before = f"{len(section.named(name))} of that name"
            after = next((value for given, value in change.set.items() if given.lower() == name), "")
            _tell(transaction, Changed(change.author, "field", name, before, after[:LETTERS]))
        for fate in fates:
            _breaks(transaction, change.author, fate.kind, fate.name, fate.by)
        _keep(transaction, rule)
        found.append(_note(rule, f"changes {', '.join(names)}", fates))
    return found


async def body(
    transaction: Transaction,
    section: HeaderSection,
    rules: Sequence[Rule],
    targets: Mapping[str, tuple[Target, ...]],
    services: Any,
    failure: Failure,
    time_s: float,
) -> list[Finding]:
    """Change the body as the rules say; what there is to say of it.

    :param rules: that are due, in their order
    :param targets: of those that take parts out, by the name of the rule
    :param failure: makes a finding of a rule that could not be done
    :param time_s: after that the plan is not waited for
    """
    changes = {
        rule.name: attrs.evolve(rule.change, parts=targets.get(rule.name, ()))
        for rule in rules
        if rule.change is not None and (rule.parts is None or targets.get(rule.name))
    }
    due = [rule for rule in rules if rule.name in changes]
    if not due:
        return []
    request = {
        "changes": list(map(to_plain, changes.values())),
        "values": placeholders(transaction, section, services.settings.hostname),
    }
    try:
        asked = services.in_child("edit", transaction, request)
        made = _read(await asked.addTimeout(time_s, services.clock))
        if not is_fair(section, made.splices):
            raise ChildFailed("lied", "edit: fields that no rule speaks of")
        services.edits(transaction).plan(made.splices, transaction.content.octets)
    except TimeoutError:
        return [failure(rule, f"no plan within {time_s:.0f} s") for rule in due]
    except ChildFailed as error:
        return [failure(rule, str(error)) for rule in due]
    except ValueError as error:
        return [failure(rule, f"lied: edit: {error}") for rule in due]
    return [one for rule in due for one in _outcome(transaction, rule, made, failure)]


def _read(answer: Mapping[str, Any]) -> Plan:
    try:
        return from_answer(answer)
    except ValueError as error:
        raise ChildFailed("lied", f"edit: {error}") from None


def _outcome(transaction: Transaction, rule: Rule, made: Plan, failure: Failure) -> list[Finding]:
    change = rule.change
    assert change is not None
    left = next((one for one in made.left if one.rule == rule.name), None)
    if left is not None:
        if change.action in _TAKES_OUT and left.reason in _FAILED:
            _left(transaction, rule, left.reason, False)
            return [failure(rule, REASONS[left.reason])]
        return [_left(transaction, rule, left.reason, left.is_refused)]
    done = [one for one in made.done if one.rule == rule.name]
    for one in done:
        _tell(transaction, Changed(change.author, one.what, one.where, one.before, one.after[:LETTERS]))
    broken = [one for one in made.broken if one.rule == rule.name]
    for fate in broken:
        _breaks(transaction, change.author, fate.kind, fate.name, fate.by)
    transaction.note("edited")
    _keep(transaction, rule)
    what = "; ".join(dict.fromkeys(f"{one.what} {one.before or one.where}".strip() for one in done))
    return [_note(rule, what, broken)]


def _left(transaction: Transaction, rule: Rule, reason: str, is_refused: bool) -> Finding:
    """A change that was not made."""
    why = REASONS.get(reason, "for a reason that is not known")
    _tell(transaction, Changed(f"{RULES}/{rule.name}", "not done", "", "", why))
    transaction.note(f"not_edited:{reason}")
    if is_refused:
        return Finding(rule.name, "reject", _REFUSAL, f"rule {rule.name}: {why}", enhanced="5.7.5")
    return Finding(rule.name, detail=f"rule {rule.name} changed nothing: {why}")


def _note(rule: Rule, what: str, broken: Sequence[Any]) -> Finding:
    also = f"; breaks {len(broken)} signature{'' if len(broken) == 1 else 's'}" if broken else ""
    return Finding(rule.name, detail=f"rule {rule.name}: {what}{also}"[:1000])


def _breaks(transaction: Transaction, author: str, kind: str, name: str, by: Iterable[str]) -> None:
    was = "it was good; " if name.partition("/")[0] in transaction.authenticated.get("dkim", ()) else ""
    transaction.note("signature_broken")
    _tell(
        transaction, Changed(author, "breaks", f"{kind} {name}".strip(), "", f"{was}changed: {', '.join(by)}"[:LETTERS])
    )


def _tell(transaction: Transaction, changed: Changed) -> None:
    if len(transaction.changes) < MOST:
        transaction.changes.append(changed)


def _keep(transaction: Transaction, rule: Rule) -> None:
    if rule.change is not None and rule.change.keep:
        transaction.deeds.append(rule)


def placeholders(transaction: Transaction, section: HeaderSection, hostname: str) -> dict[str, str]:
    """What the placeholders of `edits.wanted.PLACEHOLDERS` stand for, but for that of the rule."""
    session = transaction.session
    domains = dict.fromkeys(
        one.path.domain.lower() for one in transaction.recipients if one.state in ("accepted", "known")
    )
    author = next((one.address for one in read(section, "from").mailboxes if one.address), "")
    now_s = session.started + transaction.begun - session.begun
    values = {
        "sender": str(transaction.sender),
        "sender_domain": transaction.sender.domain.lower(),
        "author": author,
        "recipient_domain": ", ".join(domains),
        "date": datetime.fromtimestamp(now_s, UTC).date().isoformat(),
        "hostname": hostname,
    }
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in values.items()}


def is_fair(section: HeaderSection, splices: Sequence[Splice]) -> bool:
    """Whether of the header nothing changes but the fields of MIME, and it ends where it did."""
    length = len(section.octets)
    try:
        after = HeaderSection(
            apply([one for one in splices if one.offset < length and one.end <= length], section.octets)
        )
    except ValueError:
        return False
    end = after.octets.find(b"\r\n\r\n")
    is_whole = end in (-1, len(after.octets) - 4) and after.octets[:2] != b"\r\n"
    return (is_whole or section.octets == after.octets) and _others(section) == _others(after)


def _others(section: HeaderSection) -> list[bytes]:
    return [one.raw for one in section.fields if not one.name.startswith("content-") and one.name != "mime-version"]


def targets_of(facts: Facts, holds: Callable[[Any], bool]) -> tuple[Target, ...]:
    """The parts in which a file is that a rule takes out, each once: what is in an archive takes the archive out.

    :param holds: whether a file is one; what it raises goes on
    """
    whole = {one.part: one for one in facts.files if one.depth == 0}
    found: dict[str, Target] = {}
    for one in facts.files:
        if one.part in found or not holds(one):
            continue
        outer = whole.get(one.part, one)
        name = one.path if one.depth else (one.names[0] if one.names else "")
        found[one.part] = Target(one.part, name[:LETTERS], one.kind, outer.claimed, outer.octets)
    return tuple(found.values())
