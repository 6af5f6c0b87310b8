"""The rules of the configuration, judged in their order at the first step at which all that they speak of is known.

They come after the filters of their step and know what these have found. A rule whose condition cannot be judged says
so by its own failure policy: it is never taken for one that is not true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from smtpgate.config.model_policy import RULES, Rule
from smtpgate.examine.facts import Facts
from smtpgate.filters.base import Filter
from smtpgate.filters.search import searched, told
from smtpgate.interfaces import ServiceFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy import tags
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import FILTER_FAILED, Finding
from smtpgate.rules import values
from smtpgate.rules.engine import Bundle, ExpressionFailed, Known
from smtpgate.rules.searching import NO_SEARCH, Match, Search, Searched

#: The examination of the content is waited for, as content filters do, and so is the search; its failure is the rules'
#: to tell.
BUDGET_S: Final = 20.0
EXAMINE_S: Final = 18.0
#: Rules that are looked at together.
TOGETHER: Final = 32
Group = tuple[Bundle | None, Sequence[tuple[int, Rule]]]
_POLICIES: Final = {"tempfail": "defer", "reject": "reject", "continue": "note"}


class Rules(Filter):
    """The rules of one mode. Those in shadow know those that accept, and are ended by them.

    :ivar stages: at which there is something to judge; none where there are no rules
    :ivar needs_content: some speak of files or links, or of what is found in texts
    """

    def __init__(self, rules: Iterable[Rule], mode: str, services: Any, search: Search = NO_SEARCH) -> None:
        """
        :param mode: enforce or shadow
        :param search: what rules of both modes search for in texts: it is done once for a message
        """
        self.services = services
        self.search = search
        self.mode = mode
        own = [rule for rule in rules if rule.mode == mode or rule.mode == "enforce" and rule.action == "accept"]
        self.rules = tuple(own if any(rule.mode == mode for rule in own) else ())
        self.stages = frozenset(rule.condition.step for rule in self.rules)
        #: Of each step the rules with their places, some together.
        self.groups: dict[str, list[Group]] = {}
        for step in self.stages:
            there = [(place, rule) for place, rule in enumerate(self.rules) if rule.condition.step == step]
            self.groups[step] = [_group(there[first : first + TOGETHER]) for first in range(0, len(there), TOGETHER)]
        tagging = [rule for rule in self.rules if rule.action == "tag"] if mode == "enforce" else []
        #: Fields that rules may add: nobody else may.
        self.owned = tuple(dict.fromkeys(name.lower() for rule in tagging for name in rule.headers))
        #: When tags are put on: at the end where some rule is judged no earlier; the message waits for that.
        self.tags_at = "end" if any(rule.condition.step == "end" for rule in tagging) else "header" if tagging else ""
        if self.tags_at:
            self.stages |= {self.tags_at}
        self.needs_examination = any(rule.condition.needs_content for rule in self.rules)
        self.needs_search = any(rule.condition.needs_search for rule in self.rules)
        self.needs_content = self.needs_examination or self.needs_search

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
        #: An accepting rule ends those behind it, at later steps too.
        self._end = len(parent.rules)
        #: Why the content could not be examined, and why its texts could not be searched.
        self._unexamined = ""
        self._unsearched = ""
        self._matches: tuple[Match, ...] = ()

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
            self._tag(section)
        return said

    def _take(self, section: HeaderSection) -> None:
        self._fields = values.fields_of(section)
        self._known |= values.at_header(section)

    async def end(self, found: Sequence[Finding]) -> list[Finding] | None:
        """All of it is there."""
        parent, transaction = self._parent, self._transaction
        facts = await self._examined() if parent.needs_examination else None
        in_texts = await self._searched() if parent.needs_search else None
        self._all_recipients()
        section = transaction.header or HeaderSection(b"")
        if self._fields is None:
            self._take(section)
        self._known |= values.at_end(facts, transaction.octets, found, in_texts)
        said = self._judge("end")
        if parent.tags_at == "end":
            self._tag(section)
        return said

    async def _examined(self) -> Facts | None:
        """The facts of the content; None where it could not be examined: each rule that needs them fails for itself."""
        services = self._parent.services
        facts: Facts | None
        facts, self._unexamined = await self._in_time(services.examine(self._transaction))
        return facts

    async def _searched(self) -> Searched | None:
        """What was found in its texts, likewise."""
        parent = self._parent
        found: Searched | None
        found, self._unsearched = await self._in_time(searched(parent.services, self._transaction, parent.search))
        self._matches = found.matches if found is not None else ()
        return found

    async def _in_time(self, work: Deferred[Any]) -> tuple[Any, str]:
        """What comes of it, or None and why."""
        try:
            return await work.addTimeout(EXAMINE_S, self._parent.services.clock), ""
        except TimeoutError:
            return None, f"no answer within {EXAMINE_S:.0f} s"
        except ServiceFailed as error:
            return None, str(error)

    def _tag(self, section: HeaderSection) -> None:
        """Put on what the rules say, each in their order."""
        edits = self._parent.services.edits(self._transaction)
        for edit in tags.strip(section, self._parent.owned, RULES):
            edits.append(edit)
        for edit in tags.subject(section, [rule.subject_tag for rule in self._tags if rule.subject_tag], RULES):
            edits.append(edit)
        for rule in reversed(self._tags):
            for edit in tags.fields(rule.headers, f"{RULES}/{rule.name}"):
                edits.append(edit)

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
            if bundle is not None and not (self._unexamined or self._unsearched) and not bundle.may_hold(known):
                continue
            for place, rule in members:
                if place < self._end and place in self._asked:
                    found += self._ask(rule, place, step, known)
        return found or None

    def _ask(self, rule: Rule, place: int, step: str, known: Known) -> list[Finding]:
        try:
            if self._unexamined and rule.condition.needs_content:
                raise ExpressionFailed(self._unexamined)
            if self._unsearched and rule.condition.needs_search:
                raise ExpressionFailed(self._unsearched)
            if not rule.condition.holds(known):
                return []
        except ExpressionFailed as error:
            return [self._failure(rule, step, str(error))] if rule.mode == self._parent.mode else []
        if rule.action == "tag":
            self._tags.append(rule)
        if rule.action == "accept":
            self._end = min(place, self._end)
        return [_finding(rule, self._matches)] if rule.mode == self._parent.mode else []

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


def _finding(rule: Rule, matches: Sequence[Match]) -> Finding:
    owner = f", of {rule.owner}" if rule.owner else ""
    does = {"tag": " tags it", "accept": " ends the rules behind it"}.get(rule.action, "")
    detail = f"rule {rule.name}{owner}{does}{f': {rule.note}' if rule.note else ''}"
    if rule.condition.needs_search:
        detail = "; ".join([detail, *_evidence(rule, matches)])
    return Finding(
        rule.name,
        rule.action if rule.action in ("reject", "defer") else "note",
        rule.text,
        detail[:1000],
        code=rule.code,
        enhanced=rule.enhanced,
    )


def _evidence(rule: Rule, matches: Sequence[Match]) -> list[str]:
    """What was found of what a rule asks for, masked; each detector as sure as it is."""
    names = {name.name for part in rule.asked.values() for name in part.names}
    is_all = any(part.is_all for part in rule.asked.values())
    surest: dict[str, Match] = {}
    for match in matches:
        if is_all or match.detector in names or match.group in names:
            surest.setdefault(match.detector, match)
    return [told(match) for match in surest.values()]
