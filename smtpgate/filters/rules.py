"""The rules of the configuration, judged in their order at the first step at which all that they speak of is known.

They come after the filters of their step and know what these have found. A rule whose condition cannot be judged says
so by its own failure policy: it is never taken for one that is not true. Those that change mail are put into effect
when all of their kind were judged (`editing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from smtpgate.config.model_policy import COPYING, RULES, SEALING, Rule
from smtpgate.edits.wanted import Target
from smtpgate.examine.facts import Facts, File
from smtpgate.filters import editing, selfservice
from smtpgate.filters.base import Filter
from smtpgate.filters.rule_findings import finding, tls_finding
from smtpgate.filters.rule_scopes import Scopes, is_for
from smtpgate.filters.sealing import Sealing
from smtpgate.filters.search import searched
from smtpgate.interfaces import ServiceFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy import tags
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.held import TAKING
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import FILTER_FAILED, Finding
from smtpgate.rules import values
from smtpgate.rules.engine import Bundle, Expression, ExpressionFailed, Known, may_speak_of, speaks_of
from smtpgate.rules.searching import NO_SEARCH, Match, Search
from smtpgate.rules.values import GroupsOf, IsLocal, LooksLike, like_none, no_groups, none_local
from smtpgate.rules.vocabulary import GROUPED, HEADER, REMEMBERED

#: The examination of the content is waited for, as content filters do, and so is the search; its failure is the rules'
#: to tell.
BUDGET_S: Final = 20.0
EXAMINE_S: Final = 18.0
#: Rules that are looked at together.
TOGETHER: Final = 32
#: A signature with its chain, or an envelope for some ten recipients.
_SEAL_OCTETS: Final = 16384
Group = tuple[Bundle | None, Sequence[tuple[int, Rule]]]
_POLICIES: Final = {"tempfail": "defer", "reject": "reject", "continue": "note"}


class Rules(Filter):
    """The rules of one mode. Those in shadow know those that accept, and are ended by them.

    :ivar stages: at which there is something to judge; none where there are no rules
    :ivar needs_content: some speak of what the content must be read for, or change the body
    :ivar edits_body: some change the body, so the message waits for its end
    :ivar growth_octets: how much larger they usually make a message
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        mode: str,
        services: Any,
        search: Search = NO_SEARCH,
        groups: GroupsOf = no_groups,
        is_local: IsLocal = none_local,
        sealing: Sealing | None = None,
    ) -> None:
        """
        :param mode: enforce or shadow
        :param search: what rules of both modes search for in texts: it is done once for a message
        :param groups: tells the groups of an address; `is_local`: whether a domain is ours
        :param sealing: signs and encrypts for the rules that say so
        """
        self.services = services
        self.search = search
        self.sealing = sealing or Sealing()
        self.mode = mode
        own = [rule for rule in rules if rule.mode == mode or rule.mode == "enforce" and rule.action == "accept"]
        self.rules = tuple(own if any(rule.mode == mode for rule in own) else ())
        self.is_local = is_local
        # In shadow nothing is taken out.
        made = [one for rule in self.rules for one in (rule.condition, rule.parts if mode == "enforce" else None)]
        conditions = [one for one in made if one is not None]
        #: Facts that none speaks of are not looked for.
        self.spoken_of: frozenset[str] = frozenset().union(*map(may_speak_of, conditions))
        asks = any(speaks_of(one, REMEMBERED) for one in conditions)
        self.looks_like: LooksLike = services.senders.looks_like_correspondent if asks else like_none
        #: They are looked up only where a rule asks for them.
        self.groups_of = groups if any(speaks_of(one, GROUPED) for one in conditions) else no_groups
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
        sealing_rules = [rule for rule in self.rules if rule.action in SEALING] if mode == "enforce" else []
        self.edits_body = bool(sealing_rules) or any(rule.action != "headers" for rule in changing)
        if self.edits_body:
            self.stages |= {"end"}
        #: Nothing of a message may leave before it is known how it is changed and must be protected.
        self.holds = mode == "enforce" and (
            self.tags_at == "end"
            or self.edits_body
            or any(rule.action == "require-tls" and rule.condition.step == "end" for rule in self.rules)
        )
        self.needs_facts = any(rule.condition.needs_content for rule in self.rules)
        self.needs_registered = any(one.needs_registered for one in conditions)
        self.needs_search = any(one.needs_search for one in conditions)
        #: Those whose refusals have a link, by name.
        self.served = {rule.name: rule for rule in self.rules if rule.self_service} if mode == "enforce" else {}
        self.needs_content = (
            self.needs_facts or self.needs_registered or self.needs_search or self.edits_body or bool(self.served)
        )
        # Twice, for alternatives, and as numbers or quoted-printable in the worst case.
        self.growth_octets = sum(
            1000 + 6 * len(rule.change.text + rule.change.html) for rule in changing if rule.change
        )
        if sealing_rules:
            # What stands around; base64 adds a third of the message, which nobody knows here.
            self.growth_octets += _SEAL_OCTETS
        keeping = [
            rule
            for rule in self.rules
            if rule.action in TAKING or rule.action in COPYING or rule.change is not None and rule.change.keep
        ]
        #: Some hold messages, or keep copies: what is streamed is kept until that is known, at the header or the end.
        self.may_hold = mode == "enforce" and bool(keeping)
        self._scopes = Scopes(self.rules)
        self.holds_late = any(rule.condition.step == "end" or rule.change is not None for rule in keeping)

    def transaction(self, transaction: Transaction) -> _Message | None:
        """Those that are about this message."""
        direction = "in" if transaction.session.role == "mx" else "out"
        asked = self._scopes.places(transaction)
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
        self._asked_about: Recipient | None = None
        #: Why the content could not be examined, why what is registered could not be looked for, and why its texts
        #: could not be searched: then no condition that needs it may be taken for one that is not true.
        self._unexamined = self._unregistered = self._unsearched = ""
        self._matches: tuple[Match, ...] = ()

    def mail(self, found: Sequence[Finding]) -> list[Finding] | None:
        """The sender is known."""
        self._known = values.at_mail(self._transaction, self._parent.groups_of)
        return self._judge("mail")

    def rcpt(self, found: Sequence[Finding], recipient: Recipient) -> list[Finding] | None:
        """One recipient is asked about. What accepts it accepts no other."""
        before = self._end
        self._asked_about = recipient
        try:
            return self._judge("rcpt", values.at_rcpt(recipient.path, self._parent.groups_of))
        finally:
            self._end = before
            self._asked_about = None

    def data(self, found: Sequence[Finding]) -> list[Finding] | None:
        """All recipients are there."""
        self._all_recipients()
        return self._judge("data")

    def header(self, found: Sequence[Finding], section: HeaderSection) -> list[Finding] | None:
        """The header section is there."""
        self._all_recipients()
        self._take(section)
        said = self._judge("header")
        return self._tag(section, said) if self._parent.tags_at == "header" else said

    def _take(self, section: HeaderSection) -> None:
        spoken_of = self._parent.spoken_of
        self._fields = values.fields_of(section) if HEADER.name in spoken_of else {}
        self._known |= values.at_header(section, spoken_of)

    async def end(self, found: Sequence[Finding]) -> list[Finding] | None:
        """All of it is there."""
        parent, transaction = self._parent, self._transaction
        services = parent.services
        began = services.clock.seconds()
        takes_out = any(rule.parts is not None for rule in self._due.values())
        # All at once: each has a child of its own where there are as many.
        examining = self._heard(services.examine(transaction)) if parent.needs_facts or takes_out else None
        looking = self._heard(services.known(transaction)) if parent.needs_registered else None
        searching = self._heard(searched(services, transaction, parent.search)) if parent.needs_search else None
        facts = registered = in_texts = None
        if examining is not None:
            facts, self._unexamined = await examining
        if looking is not None:
            registered, self._unregistered = await looking
        if searching is not None:
            in_texts, self._unsearched = await searching
            self._matches = in_texts.matches if in_texts is not None else ()
        self._all_recipients()
        section = transaction.header or HeaderSection(b"")
        if self._fields is None:
            self._take(section)
        self._known |= values.at_end(facts, transaction.octets, found, registered, in_texts)
        said = self._judge("end")
        if said and parent.served:
            said = await selfservice.settle(services, transaction, said, parent.served)
        if parent.tags_at == "end":
            said = self._tag(section, said)
        everything = [rule for _, rule in sorted(self._due.items()) if rule.action != "headers"]
        due = [rule for rule in everything if rule.action not in SEALING]
        if not everything or any(one.action in ("reject", "defer") for one in said or ()):
            return said
        if facts is None and not self._unexamined and any(rule.parts is not None for rule in due):
            facts, self._unexamined = await self._heard(services.examine(transaction))
        left_s = max(BUDGET_S - 1.0 - (services.clock.seconds() - began), 0.5)
        made = [*(said or ()), *await self._edit(section, due, facts, left_s)]
        sealing = [rule for rule in everything if rule.action in SEALING]
        if sealing and not any(one.action in ("reject", "defer") for one in made):
            left_s = max(BUDGET_S - 1.0 - (services.clock.seconds() - began), 0.5)

            def failure(rule: Rule, why: str) -> Finding:
                return self._failure(rule, "end", why)

            made += await parent.sealing.seal(transaction, sealing, services, failure, left_s)
        return made or None

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
        parts = rule.parts
        why = self._unknown(parts) if parts is not None else ""
        if facts is None or parts is None or why:
            raise ExpressionFailed(why or self._unexamined)

        def holds(one: File) -> bool:
            known = {**self._known, "attachments": [values.attachment(one)]}
            return parts.holds(Known("end", known, self._fields or {}))

        return editing.targets_of(facts, holds)

    def _heard(self, answer: Deferred[Any]) -> Deferred[tuple[Any, str]]:
        """What a child finds in the content, and None and why where it finds nothing out: then each rule that needs it
        fails for itself."""
        answer.addTimeout(EXAMINE_S, self._parent.services.clock)
        return answer.addCallbacks(lambda found: (found, ""), _why)

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
            self._known = values.at_mail(self._transaction, self._parent.groups_of)
        parent = self._parent
        self._known |= values.at_data(
            self._transaction.recipients, parent.groups_of, parent.is_local, parent.looks_like
        )

    def _judge(self, step: str, more: Mapping[str, Any] | None = None) -> list[Finding] | None:
        groups = self._parent.groups.get(step)
        if groups is None:
            return None
        if not self._known:
            self._known = values.at_mail(self._transaction, self._parent.groups_of)
        spoken_of = self._parent.spoken_of
        facts = {**self._known, **(more or {})}
        known = Known(step, {name: facts[name] for name in facts if name in spoken_of}, self._fields or {})
        found: list[Finding] = []
        is_all_known = not (self._unexamined or self._unregistered or self._unsearched)
        for bundle, members in groups:
            if bundle is not None and is_all_known and not bundle.may_hold(known):
                continue
            for place, rule in members:
                if place < self._end and place in self._asked and is_for(rule, self._asked_about):
                    found += self._ask(rule, place, step, known)
        return found or None

    def _unknown(self, condition: Expression) -> str:
        """Why what a condition speaks of could not be found out; "" where all of it is known."""
        return (
            (condition.needs_content and self._unexamined)
            or (condition.needs_registered and self._unregistered)
            or (condition.needs_search and self._unsearched)
            or ""
        )

    def _ask(self, rule: Rule, place: int, step: str, known: Known) -> list[Finding]:
        try:
            why = self._unknown(rule.condition)
            if why:
                raise ExpressionFailed(why)
            if not rule.condition.holds(known):
                return []
        except ExpressionFailed as error:
            return [self._failure(rule, step, str(error))] if rule.mode == self._parent.mode else []
        if rule.mode != self._parent.mode:
            # One that accepts is known to those in shadow.
            self._end = min(place, self._end)
            return []
        if rule.action == "tag":
            self._tags.append(rule)
        elif rule.mode == "enforce":
            self._do(rule, step)
        if (rule.change is not None or rule.action in SEALING) and rule.mode == self._parent.mode == "enforce":
            self._due[place] = rule
        if rule.action == "accept":
            self._end = min(place, self._end)
        if rule.action == "require-tls":
            return [tls_finding(rule, self._transaction, step)]
        return [finding(rule, self._matches)]

    def _do(self, rule: Rule, step: str) -> None:
        """What is done beside what the findings come to."""
        transaction = self._transaction
        if rule.action in COPYING:
            transaction.deeds.append(rule)
        elif rule.action == "route":
            # The first that says where it goes.
            if step == "mail":
                transaction.rerouted = transaction.rerouted or rule.backend
            elif self._asked_about is not None:
                self._asked_about.rerouted = self._asked_about.rerouted or rule.backend

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


def _why(failure: Failure) -> tuple[None, str]:
    if failure.trap(TimeoutError, ServiceFailed) is TimeoutError:
        return None, f"no answer within {EXAMINE_S:.0f} s"
    return None, failure.getErrorMessage()
