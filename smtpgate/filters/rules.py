"""The rules of the configuration, judged in their order at the first step at which all that they speak of is known.

They come after the filters of their step and know what these have found. A rule whose condition cannot be judged says
so by its own failure policy: it is never taken for one that is not true. Those that change mail are put into effect
when all of their kind were judged (`editing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

from twisted.internet.defer import TimeoutError

from smtpgate.config.model_policy import RULES, Rule
from smtpgate.edits.wanted import Target
from smtpgate.examine.facts import Facts, File
from smtpgate.filters import editing
from smtpgate.filters.base import Filter
from smtpgate.interfaces import ServiceFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy import tags
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import FILTER_FAILED, Finding
from smtpgate.rules import values
from smtpgate.rules.engine import Bundle, ExpressionFailed, Known

#: The examination of the content is waited for, as content filters do; its failure is the rules' to tell.
BUDGET_S: Final = 20.0
EXAMINE_S: Final = 18.0
#: Rules that are looked at together.
TOGETHER: Final = 32
Group = tuple[Bundle | None, Sequence[tuple[int, Rule]]]
_POLICIES: Final = {"tempfail": "defer", "reject": "reject", "continue": "note"}


class Rules(Filter):
    """The rules of one mode. Those in shadow know those that accept, and are ended by them.

    :ivar stages: at which there is something to judge; none where there are no rules
    :ivar needs_content: some speak of files or links, or change the body
    :ivar edits_body: some change the body, so the message waits for its end
    :ivar growth_octets: how much larger they usually make a message
    """

    def __init__(self, rules: Iterable[Rule], mode: str, services: Any) -> None:
        """
        :param mode: enforce or shadow
        """
        self.services = services
        self.mode = mode
        own = [rule for rule in rules if rule.mode == mode or rule.mode == "enforce" and rule.action == "accept"]
        self.rules = tuple(own if any(rule.mode == mode for rule in own) else ())
        self.stages = frozenset(rule.condition.step for rule in self.rules)
        #: Of each step the rules with their places, some together.
        self.groups: dict[str, list[Group]] = {}
        for step in self.stages:
            there = [(place, rule) for place, rule in enumerate(self.rules) if rule.condition.step == step]
            self.groups[step] = [_group(there[first : first + TOGETHER]) for first in range(0, len(there), TOGETHER)]
        changing = [rule for rule in self.rules if rule.change is not None] if mode == "enforce" else []
        tagging = [rule for rule in self.rules if rule.action == "tag"] if mode == "enforce" else []
        #: Fields that rules may add: nobody else may.
        self.owned = tuple(dict.fromkeys(name.lower() for rule in tagging for name in rule.headers))
        #: When tags are put on: at the end where some rule is judged no earlier; the message waits for that.
        heading = tagging + [rule for rule in changing if rule.action == "headers"]
        self.tags_at = "end" if any(rule.condition.step == "end" for rule in heading) else "header" if heading else ""
        if self.tags_at:
            self.stages |= {self.tags_at}
        self.edits_body = any(rule.action != "headers" for rule in changing)
        if self.edits_body:
            self.stages |= {"end"}
        self.examines = any(rule.condition.needs_content for rule in self.rules)
        self.needs_content = self.examines or self.edits_body
        # Twice, for alternatives, and as numbers or quoted-printable in the worst case.
        self.growth_octets = sum(
            1000 + 6 * len(rule.change.text + rule.change.html) for rule in changing if rule.change
        )

    def transaction(self, transaction: Transaction) -> _Message | None:
        """Those that are about this message."""
        session = transaction.session
        direction = "in" if session.role == "mx" else "out"
        asked = frozenset(
            place
            for place, rule in enumerate(self.rules)
            if (not rule.listener or session.listener in rule.listener) and rule.direction in ("", direction)
        )
        return _Message(self, transaction, asked) if asked or self.owned and direction == "in" else None


def _group(members: Sequence[tuple[int, Rule]]) -> Group:
    bundle = Bundle([rule.condition for _, rule in members]) if len(members) > 1 else None
    return bundle, members


class _Message:
    """One message on its way through the rules."""

    def __init__(self, parent: Rules, transaction: Transaction, asked: Set[int]) -> None:
        """
        :param asked: places of the rules that are about it
        """
        self._parent = parent
        self._transaction = transaction
        self._asked = asked
        self._known: dict[str, Any] = {}
        self._fields: dict[str, list[str]] | None = None
        self._tags: list[Rule] = []
        #: Those that change mail and are due, by their places.
        self._due: dict[int, Rule] = {}
        #: An accepting rule ends those behind it, at later steps too.
        self._end = len(parent.rules)
        #: Why the content could not be examined.
        self._unexamined = ""

    def mail(self, found: Sequence[Finding]) -> list[Finding] | None:
        """The sender is known."""
        self._known = values.at_mail(self._transaction)
        return self._judge("mail")

    def rcpt(self, found: Sequence[Finding], recipient: Recipient) -> list[Finding] | None:
        """One recipient is asked about. What accepts it accepts no other."""
        before = self._end
        try:
            return self._judge("rcpt", values.at_rcpt(recipient.path))
        finally:
            self._end = before

    def data(self, found: Sequence[Finding]) -> list[Finding] | None:
        """All recipients are there."""
        self._all_recipients()
        return self._judge("data")

    def header(self, found: Sequence[Finding], section: HeaderSection) -> list[Finding] | None:
        """The header section is there."""
        self._all_recipients()
        self._take(section)
        said = self._judge("header")
        if self._parent.tags_at == "header":
            said = self._tag(section, said)
        return said

    def _take(self, section: HeaderSection) -> None:
        self._fields = values.fields_of(section)
        self._known |= values.at_header(section)

    async def end(self, found: Sequence[Finding]) -> list[Finding] | None:
        """All of it is there."""
        parent, transaction = self._parent, self._transaction
        clock = parent.services.clock
        began = clock.seconds()
        takes_out = any(rule.parts is not None for rule in self._due.values())
        facts = await self._examined() if parent.examines or takes_out else None
        self._all_recipients()
        section = transaction.header or HeaderSection(b"")
        if self._fields is None:
            self._take(section)
        self._known |= values.at_end(facts, transaction.octets, found)
        said = self._judge("end")
        if parent.tags_at == "end":
            said = self._tag(section, said)
        due = [rule for _, rule in sorted(self._due.items()) if rule.action != "headers"]
        if not due or any(one.action in ("reject", "defer") for one in said or ()):
            return said
        if facts is None and not self._unexamined and any(rule.parts is not None for rule in due):
            facts = await self._examined()
        left_s = max(BUDGET_S - 1.0 - (clock.seconds() - began), 0.5)
        return [*(said or ()), *await self._edit(section, due, facts, left_s)] or None

    async def _edit(
        self, section: HeaderSection, due: Sequence[Rule], facts: Facts | None, time_s: float
    ) -> list[Finding]:
        """Change the body; a rule whose parts cannot be told apart fails for itself."""
        found: list[Finding] = []
        targets: dict[str, tuple[Target, ...]] = {}
        can = []
        for rule in due:
            if rule.parts is not None:
                try:
                    targets[rule.name] = self._targets(rule, facts)
                except ExpressionFailed as error:
                    found.append(self._failure(rule, "end", str(error)))
                    continue
            can.append(rule)
        services = self._parent.services

        def failure(rule: Rule, why: str) -> Finding:
            return self._failure(rule, "end", why)

        made = await editing.body(self._transaction, section, can, targets, services, failure, time_s)
        return found + made

    def _targets(self, rule: Rule, facts: Facts | None) -> tuple[Target, ...]:
        if facts is None or rule.parts is None:
            raise ExpressionFailed(self._unexamined)
        parts = rule.parts

        def holds(one: File) -> bool:
            known = {**self._known, "attachments": [values.attachment(one)]}
            return parts.holds(Known("end", known, self._fields or {}))

        return editing.targets_of(facts, holds)

    async def _examined(self) -> Facts | None:
        """The facts of the content; None where it could not be examined: each rule that needs them fails for itself."""
        services = self._parent.services
        try:
            facts: Facts = await services.examine(self._transaction).addTimeout(EXAMINE_S, services.clock)
        except TimeoutError:
            self._unexamined = f"no answer within {EXAMINE_S:.0f} s"
            return None
        except ServiceFailed as error:
            self._unexamined = str(error)
            return None
        return facts

    def _tag(self, section: HeaderSection, said: list[Finding] | None) -> list[Finding] | None:
        """Put on what the rules say, each in their order; what was said, and what there is to say of it."""
        edits = self._parent.services.edits(self._transaction)
        for edit in tags.strip(section, self._parent.owned, RULES):
            edits.append(edit)
        for edit in tags.subject(section, [rule.subject_tag for rule in self._tags if rule.subject_tag], RULES):
            edits.append(edit)
        for rule in reversed(self._tags):
            for edit in tags.fields(rule.headers, f"{RULES}/{rule.name}"):
                edits.append(edit)
        due = [rule for _, rule in sorted(self._due.items()) if rule.action == "headers"]
        return [*(said or ()), *editing.fields(self._transaction, section, due, edits)] or None

    def _all_recipients(self) -> None:
        if not self._known:
            self._known = values.at_mail(self._transaction)
        self._known |= values.at_data(self._transaction.recipients)

    def _judge(self, step: str, more: Mapping[str, Any] | None = None) -> list[Finding] | None:
        groups = self._parent.groups.get(step)
        if groups is None:
            return None
        if not self._known:
            self._known = values.at_mail(self._transaction)
        known = Known(step, {**self._known, **(more or {})}, self._fields or {})
        found: list[Finding] = []
        for bundle, members in groups:
            if bundle is not None and not self._unexamined and not bundle.may_hold(known):
                continue
            for place, rule in members:
                if place < self._end and place in self._asked:
                    found += self._ask(rule, place, step, known)
        return found or None

    def _ask(self, rule: Rule, place: int, step: str, known: Known) -> list[Finding]:
        try:
            if self._unexamined and rule.condition.needs_content:
                raise ExpressionFailed(self._unexamined)
            if not rule.condition.holds(known):
                return []
        except ExpressionFailed as error:
            return [self._failure(rule, step, str(error))] if rule.mode == self._parent.mode else []
        if rule.action == "tag":
            self._tags.append(rule)
        if rule.change is not None and rule.mode == self._parent.mode == "enforce":
            self._due[place] = rule
        if rule.action == "accept":
            self._end = min(place, self._end)
        return [_finding(rule)] if rule.mode == self._parent.mode else []

    def _failure(self, rule: Rule, step: str, why: str) -> Finding:
        """The failure policy of the rule speaks for it."""
        session = self._transaction.session
        told = FilterFailed(RULES, step, "raised", f"{rule.name}: {why}"[:500], rule.on_error, session.id)
        self._parent.services.tell(told)
        detail = f"rule {rule.name} could not be judged: {why}"
        action = _POLICIES[rule.on_error]
        return Finding(
            FILTER_FAILED,
            action,
            "A check could not be done; try again later" if action == "defer" else "A check could not be done",
            detail[:1000],
            enhanced={"defer": "4.3.0", "reject": "5.3.0"}.get(action, ""),
        )


def _finding(rule: Rule) -> Finding:
    owner = f", of {rule.owner}" if rule.owner else ""
    does = {"tag": " tags it", "accept": " ends the rules behind it"}.get(rule.action, "")
    does = f" changes it ({rule.action})" if rule.change is not None else does
    detail = f"rule {rule.name}{owner}{does}{f': {rule.note}' if rule.note else ''}"
    return Finding(
        rule.name,
        rule.action if rule.action in ("reject", "defer") else "note",
        rule.text,
        detail[:1000],
        code=rule.code,
        enhanced=rule.enhanced,
    )
