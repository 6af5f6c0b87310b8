"""Rules tried on a message without effect: each says what it would, whatever the others do.

A whole message is examined and searched as in its session. Of messages of the history only what that keeps is known,
and a rule that speaks of more is not judged on it: it is never taken for one that is not true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import RULES, Rule
from smtpgate.filters.rule_findings import finding
from smtpgate.filters.rule_scopes import is_about, is_for
from smtpgate.filters.rules import EXAMINE_S
from smtpgate.filters.search import searched
from smtpgate.interfaces import ServiceFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.policy.tried import ANSWERS, Past, Said, Tally
from smtpgate.policy.verdict import Finding
from smtpgate.rules import values
from smtpgate.rules.engine import ExpressionFailed, Known, speaks_of
from smtpgate.rules.searching import NO_SEARCH, Search
from smtpgate.rules.values import GroupsOf, IsLocal
from smtpgate.rules.vocabulary import EXAMINED, FACTS, HEADER, REGISTERED, REMEMBERED, SEARCHED, STEPS
from smtpgate.smtp.address import NULL_SENDER, Path, parse_path

#: What filters have found is known of messages that went through them.
_FOUND: Final = frozenset({"findings", "score"})
#: Facts that the history keeps; of the header it has the subject.
_KEPT: Final = frozenset(
    {fact.name for fact in FACTS if fact.step in ("mail", "rcpt", "data")} | _FOUND | {"subject", "size"}
)
#: Whom our users wrote to then is not known either.
_NOT_KEPT: Final = frozenset({fact.name for fact in FACTS} | {HEADER.name}) - (_KEPT - REMEMBERED)
_CONTENT: Final = EXAMINED | REGISTERED | SEARCHED
#: Ids of messages that are named.
NAMED: Final = 10


@attrs.define
class _Seen:
    """What is known of one message: at each step that it reached, once, and at RCPT for each recipient.

    :ivar failed: facts that could not be found out, and why
    """

    steps: dict[str, list[tuple[Recipient | None, Known]]] = attrs.field(factory=dict)
    failed: dict[str, str] = attrs.field(factory=dict)
    matches: tuple[Any, ...] = ()


class Trial:
    """Some rules, to be tried.

    :ivar rules: in their order
    """

    def __init__(self, settings: Settings) -> None:
        self.rules: tuple[Rule, ...] = settings.rules
        self._search: Search = settings.search
        self._groups, self._is_local = settings.groups.of, settings.local_domains.matches
        #: Why each cannot be judged on what the history keeps; "" where it can.
        self._lacks = {rule.name: _lack(rule, _NOT_KEPT, "the history does not keep") for rule in self.rules}

    async def message(
        self, transaction: Transaction, section: HeaderSection, services: Any, found: Iterable[Finding] | None
    ) -> list[Said]:
        """What each says of a message whose content is there.

        :param services: an `interfaces.IServices`; None: its content cannot be looked at
        :param found: what filters have found of it; None where they were not asked
        """
        missing = (_CONTENT | REMEMBERED if services is None else frozenset()) | (
            _FOUND if found is None else frozenset()
        )
        why = "only a running gateway knows" if services is None else ""
        lacks = {rule.name: _lack(rule, missing, why) for rule in self.rules}
        known = values.at_mail(transaction, self._groups)
        seen = _Seen({"mail": [(None, Known("mail", known))], "rcpt": []})
        for recipient in transaction.recipients:
            at_rcpt = values.at_rcpt(recipient.path, self._groups)
            seen.steps["rcpt"].append((recipient, Known("rcpt", known | at_rcpt)))
        asks = any(not lacks[rule.name] and speaks_of(rule.condition, REMEMBERED) for rule in self.rules)
        looks_like = services.senders.looks_like_correspondent if asks else values.like_none
        known = known | values.at_data(transaction.recipients, self._groups, self._is_local, looks_like)
        seen.steps["data"] = [(None, Known("data", known))]
        known = known | values.at_header(section)
        fields = values.fields_of(section)
        seen.steps["header"] = [(None, Known("header", known, fields))]
        asked = [rule for rule in self.rules if not lacks[rule.name] and is_about(rule, transaction)]
        at_end = await self._at_end(asked, transaction, services, found or (), seen)
        seen.steps["end"] = [(None, Known("end", known | at_end, fields))]
        return self._judged(transaction, seen, lacks)

    async def _at_end(
        self, asked: Sequence[Rule], transaction: Transaction, services: Any, found: Iterable[Finding], seen: _Seen
    ) -> dict[str, Any]:
        """What is known at the end; nothing is looked for that no rule asks for."""

        async def heard(is_asked: bool, names: Iterable[str], ask: Any) -> Any:
            if not is_asked:
                return None
            answer: Deferred[Any] = ask()
            answer.addTimeout(EXAMINE_S, services.clock)
            try:
                return await answer
            except TimeoutError:
                why = f"no answer within {EXAMINE_S:.0f} s"
            except ServiceFailed as error:
                why = str(error)
            seen.failed |= dict.fromkeys(names, why)
            return None

        conditions = [rule.condition for rule in asked]
        facts = await heard(
            any(one.needs_content for one in conditions), EXAMINED, lambda: services.examine(transaction)
        )
        registered = await heard(
            any(one.needs_registered for one in conditions), REGISTERED, lambda: services.known(transaction)
        )
        in_texts = await heard(
            self._search is not NO_SEARCH and any(one.needs_search for one in conditions),
            SEARCHED,
            lambda: searched(services, transaction, self._search),
        )
        seen.matches = in_texts.matches if in_texts is not None else ()
        return values.at_end(facts, transaction.octets, found, registered, in_texts)

    def _judged(self, transaction: Transaction, seen: _Seen, lacks: Mapping[str, str]) -> list[Said]:
        said: list[Said] = []
        #: The accepting rule that ends those behind it, and its step.
        ended: tuple[str, str] | None = None
        for rule in self.rules:
            one = self._say(rule, transaction, seen, lacks[rule.name])
            if ended is not None and STEPS.index(rule.condition.step) >= STEPS.index(ended[1]):
                one = attrs.evolve(one, ended_by=ended[0])
            elif one.answer == "true" and rule.action == "accept" and rule.mode == "enforce" and one.step != "rcpt":
                ended = ended or (rule.name, one.step)
            said.append(one)
        return said

    def _say(self, rule: Rule, transaction: Transaction, seen: _Seen, lack: str) -> Said:
        condition = rule.condition
        said = Said(rule.name, condition.step, rule.action, rule.mode, "not-about")
        if not is_about(rule, transaction):
            return said
        if not lack and rule.mode == "off" and condition.needs_search:
            lack = "it is off, and what it searches for is not made ready"
        if lack:
            return attrs.evolve(said, answer="unknown", why=lack)
        known = seen.steps.get(condition.step)
        if not known:
            return attrs.evolve(said, answer="not-reached")
        try:
            for names, needs in (
                (EXAMINED, condition.needs_content),
                (REGISTERED, condition.needs_registered),
                (SEARCHED, condition.needs_search),
            ):
                why = next((seen.failed[name] for name in names if name in seen.failed), "") if needs else ""
                if why:
                    raise ExpressionFailed(why)
            asked = [(recipient, one) for recipient, one in known if is_for(rule, recipient)]
            if not asked:
                return said
            true = [recipient for recipient, one in asked if condition.holds(one)]
        except ExpressionFailed as error:
            return attrs.evolve(said, answer="failed", why=f"{error}; on_error says {rule.on_error}")
        if not true:
            return attrs.evolve(said, answer="false")
        does = finding(rule, seen.matches).detail
        whom = tuple(str(one.path).lower() for one in true if one is not None)
        return attrs.evolve(said, answer="true", recipients=whom, does=does)

    def recalled(self, session: Mapping[str, Any], message: Mapping[str, Any]) -> tuple[Transaction, list[Said]]:
        """A message of the history, and what each says of it."""
        transaction, seen = _recalled(session, message, self._groups, self._is_local)
        return transaction, self._judged(transaction, seen, self._lacks)

    def past(self, records: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Past:
        """What they say of messages of the history. It takes a while: not for the thread of the reactor.

        :param records: sessions and their messages, as `policy.record` has them, the oldest first
        """
        lacks = self._lacks
        counts: dict[str, Counter[str]] = {rule.name: Counter() for rule in self.rules}
        delivered: Counter[str] = Counter()
        examples: dict[str, list[str]] = {rule.name: [] for rule in self.rules}
        times: list[float] = []
        for session, message in records:
            transaction, seen = _recalled(session, message, self._groups, self._is_local)
            times.append(session["started"] + (message["begun_ms"] or 0.0) / 1000)
            for one in self._judged(transaction, seen, lacks):
                counts[one.rule][one.answer] += 1
                if one.answer == "true":
                    delivered[one.rule] += message["outcome"] in ("delivered", "unacked")
                    if len(examples[one.rule]) < NAMED:
                        examples[one.rule].append(message["id"])
        tallies = []
        for rule in self.rules:
            lack, name = lacks[rule.name], rule.name
            counted = {} if lack else {answer: counts[name][answer] for answer in ANSWERS}
            tallies.append(
                Tally(
                    name,
                    rule.condition.step,
                    rule.action,
                    rule.mode,
                    lack,
                    counted,
                    delivered[name],
                    tuple(examples[name]),
                )
            )
        return Past(len(times), min(times, default=0.0), max(times, default=0.0), tuple(tallies))


def _lack(rule: Rule, missing: Iterable[str], why: str) -> str:
    """Why a rule cannot be judged; "" where it can."""
    lacking = speaks_of(rule.condition, sorted(missing))
    if not lacking:
        return ""
    if set(lacking) <= _FOUND:
        return f"no filter was asked: {', '.join(lacking)} is not known"
    return f"{why}: {', '.join(lacking)}"


def _recalled(
    session: Mapping[str, Any], message: Mapping[str, Any], groups: GroupsOf, is_local: IsLocal
) -> tuple[Transaction, _Seen]:
    """A message of the history: as far as it came."""
    facts = Session(session["id"], session["listener"], session["role"])
    facts.client_ip, facts.helo, facts.user = session["client_ip"], session["helo"], session["user"]
    facts.traffic_class = session.get("traffic_class") or "unknown"
    if session["tls"] is not None:
        facts.tls = TLSFacts(**session["tls"])
    transaction = Transaction(message["id"], facts, _path(message["sender"]), {})
    known = values.at_mail(transaction, groups)
    seen = _Seen({"mail": [(None, Known("mail", known))], "rcpt": []})
    for one in message["recipients"]:
        recipient = Recipient(_path(one["address"]), {})
        # Who was accepted at RCPT shares what the message heard later.
        is_accepted = one["reply"] is None or one["reply"]["code"] < 400
        recipient.state = "accepted" if is_accepted else one["state"]
        transaction.recipients.append(recipient)
        at_rcpt = values.at_rcpt(recipient.path, groups)
        seen.steps["rcpt"].append((recipient, Known("rcpt", known | at_rcpt)))
    if message["data_ms"] is None:
        return transaction, seen
    known = known | values.at_data(transaction.recipients, groups, is_local)
    seen.steps["data"] = [(None, Known("data", known))]
    if message["end_ms"] is None:
        return transaction, seen
    # It is kept as it came, and rules know it decoded. No rule that is judged here asks for what else a header has.
    subject = f"Subject: {message['subject']}\r\n\r\n".encode("utf-8", "replace")
    header = values.at_header(HeaderSection(subject))
    seen.steps["header"] = [(None, Known("header", known | header))]
    found = [
        Finding(
            one["reason"], one["action"], filter=one["filter"], category=one.get("category", ""), score=one["score"]
        )
        for one in message["findings"]
        if not one["is_shadow"] and one["filter"] != RULES
    ]
    at_end = values.at_end(None, message["size_octets"], found)
    seen.steps["end"] = [(None, Known("end", known | header | at_end))]
    return transaction, seen


def _path(text: str) -> Path:
    """An address of the history. One that cannot be read any more counts as nobody's."""
    path, _ = parse_path(text.encode("utf-8", "replace"), utf8=True)
    return path if isinstance(path, Path) else NULL_SENDER
