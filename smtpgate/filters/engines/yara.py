"""YARA rules of one's own over the message, each decoded part and each member of an archive.

The rules are read and compiled when a configuration is loaded, so that `check-config` names the file and the line of a
mistake. Scanning is a job of a child process (`examine.patterns`), which compiles the rules again and keeps them: a
request names their digest, and carries them only where the child says that it does not know them.

From time to time a worker thread looks whether files were written, came or went; what has changed is used from the next
message on, once a child has compiled it. Rules that cannot be compiled are told once and change nothing.

What a match leads to stands in the rule's metadata (`severity`, or `threat_level` or `level`), mapped by `severities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from smtpgate.config.patterns import PatternList
from smtpgate.config.problem import BadValue
from smtpgate.config.values import Duration, Size, Wait
from smtpgate.filters.base import Factory, Options
from smtpgate.filters.engines.base import BUDGET_S, Action, MessageFilter, Oversize, shown
from smtpgate.filters.engines.files import RuleFiles, located, read_rules, stamp_of
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.interfaces import ChildFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import ACTIONS, Finding

#: Matches that a finding names.
NAMED: Final = 10
#: Octets of rules in one request: what a frame to a child holds, less some for the rest.
PACKED_OCTETS: Final = 7 << 20


@attrs.frozen
class Match:
    """A rule that fits.

    :ivar severity: as its metadata says it, in lower case
    :ivar where: the part or the member
    """

    rule: str
    namespace: str
    severity: str
    where: str


@attrs.frozen
class Answer:
    """What was found.

    :ivar limits: names of those that kept something from being looked at
    """

    matches: tuple[Match, ...] = ()
    limits: tuple[str, ...] = ()


def parse_answer(plain: Mapping[str, Any], octets: int) -> Answer:
    """The answer of a child. Raises BadAnswer, and OSError where it is not about all of the message.

    :param octets: of the message
    """
    matches, limits = plain.get("matches"), plain.get("limits")
    if not isinstance(matches, list) or not isinstance(limits, list) or not isinstance(plain.get("octets"), int):
        raise BadAnswer("a child has not said what it found")
    if plain["octets"] != octets:
        raise OSError("the content is not there any more")
    texts = [[one.get(name) for name in ("rule", "namespace", "severity", "where")] for one in matches]
    if not all(isinstance(text, str) for row in [*texts, limits] for text in row):
        raise BadAnswer("a child has not named what it found")
    return Answer(tuple(Match(*row) for row in texts), tuple(limits))


class YaraOptions(Options):
    """The rules, and what they lead to."""

    rules: list[str] = Field(min_length=1, description="Files, and folders with files that end in .yar or .yara.")
    severities: dict[str, Action] = Field(
        {"critical": "reject", "high": "reject", "medium": "quarantine", "low": "tag", "info": "note"},
        description="What a match leads to, by the severity in its rule's metadata.",
    )
    otherwise: Action = Field("tag", description="What a match without a known severity leads to.")
    ignore: list[str] = Field([], description="Rules that are passed over, by name, with * for any letters.")
    poll: Wait = Field(60.0, description="How often the files are looked at for changes.")
    timeout: Wait = Field(8.0, description="Time of one message in the child; within that of the table content.")
    keep: Duration = Field(3600.0, description="How long an answer serves for the same message and rules.")
    max_octets: Size = Field(25 << 20, description="Larger messages are not scanned.")
    on_oversize: Oversize = Field("defer", description="What becomes of larger messages.")
    on_incomplete: Action = Field("note", description="What becomes of a message of which a limit hid a part.")
    _files: RuleFiles | None = PrivateAttr(None)
    _paths: tuple[str, ...] = PrivateAttr(())

    @field_validator("rules", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("ignore")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        PatternList(value)
        return value

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> YaraOptions:
        from smtpgate.examine.patterns import BadRules, compile_rules, packed

        self._paths = tuple(str(located(text, info.context)) for text in self.rules)
        try:
            self._files = read_rules(self._paths)
        except BadValue as error:
            raise error.at("rules") from None
        try:
            compile_rules(self._files.sources)
        except ImportError:
            raise BadValue("the library yara-x is missing", "pip install 'smtpgate[malware]'") from None
        except BadRules as error:
            raise BadValue(str(error)) from None
        if len(packed(self._files.sources)) > PACKED_OCTETS:
            raise BadValue("the rules are too many to be sent to a child", "leave out those that are for other files")
        return self

    @property
    def files(self) -> RuleFiles:
        """The rules as they were when the configuration was loaded."""
        assert self._files is not None
        return self._files

    @property
    def paths(self) -> tuple[str, ...]:
        """Where they are."""
        return self._paths


class YaraFilter(MessageFilter):
    """Has each message scanned."""

    name = "yara"

    def __init__(self, options: YaraOptions, services: Any) -> None:
        super().__init__(options, services)
        self._rules = options.files
        self._stamp = options.files.stamp
        self._refused = ""
        self._looked = services.clock.seconds()
        self._ignore = PatternList(options.ignore)

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """Other rules, other answers."""
        return (self._rules.digest,)

    async def answer(self, content: Any, transaction: Transaction) -> Answer:
        """What is found in a message."""
        await self._poll(transaction)
        rules = self._rules

        async def scanned() -> Answer:
            return await self._scan(rules, content, transaction)

        answer: Answer = await self.remembered(scanned, content, transaction)
        return answer

    async def _scan(self, rules: RuleFiles, content: Any, transaction: Transaction) -> Answer:
        try:
            answer = parse_answer(await self._ask(rules, transaction), content.octets)
        except (ValueError, LookupError) as error:
            # Its transaction is over, and with it the content.
            raise OSError(str(error)) from None
        if "time" in answer.limits and not answer.matches:
            raise EngineFailed(f"not all was scanned within {self.options.timeout:g} s")
        return answer

    async def _ask(self, rules: RuleFiles, transaction: Transaction) -> dict[str, Any]:
        """The answer of a child, which is sent the rules where it does not have them. Raises EngineFailed."""
        request = {"digest": rules.digest, "limits": {"time_s": self.options.timeout}}
        plain: dict[str, Any] = await self.services.in_child("patterns", transaction, request)
        if plain.get("status") == "unknown":
            from smtpgate.examine.patterns import packed

            text = await self.services.run_in_worker(packed, rules.sources)
            plain = await self.services.in_child("patterns", transaction, request | {"rules": text})
        if plain.get("status") != "done":
            raise EngineFailed(f"rules are refused: {shown(str(plain.get('error')))}")
        return plain

    async def _poll(self, transaction: Transaction) -> None:
        """Take rules over that have changed. Whatever is wrong with them, those that there are stay."""
        now = self.services.clock.seconds()
        if now - self._looked < self.options.poll:
            return
        self._looked = now
        try:
            stamp = await self.services.run_in_worker(stamp_of, self.options.paths)
            if stamp == self._stamp:
                return
            fresh = await self.services.run_in_worker(read_rules, self.options.paths)
            if fresh.digest not in (self._rules.digest, self._refused):
                await self._try(fresh, transaction)
            self._stamp = fresh.stamp
        except BadValue as error:
            self._refuse(error.message, error.message)

    async def _try(self, fresh: RuleFiles, transaction: Transaction) -> None:
        from smtpgate.examine.patterns import packed

        text = await self.services.run_in_worker(packed, fresh.sources)
        if len(text) > PACKED_OCTETS:
            self._refuse(fresh.digest, "the rules are too many to be sent to a child")
            return
        request = {"digest": fresh.digest, "rules": text, "limits": {"time_s": self.options.timeout}}
        try:
            plain = await self.services.in_child("patterns", transaction, request)
        except ChildFailed as error:
            # Such as a child that they are too much for.
            plain = {"error": str(error)}
        if plain.get("status") == "done":
            self._rules, self._refused = fresh, ""
            message = f"yara: rules have changed: {len(fresh.sources)} files"
            self.services.tell(Happened("engine.rules", "info", message, (("filter", self.name),)))
        else:
            self._refuse(fresh.digest, shown(str(plain.get("error"))))

    def _refuse(self, what: str, reason: str) -> None:
        if what != self._refused:
            self._refused = what
            message = f"yara: changed rules are not used: {reason}"
            fields = (("filter", self.name), ("reason", reason))
            self.services.tell(Happened("engine.rules_refused", "error", message, fields))

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding for each action, the strongest first, and one for what was not looked at."""
        options = self.options
        by_action: dict[str, list[Match]] = {}
        for match in answer.matches:
            if not self._ignore.matches(match.rule):
                action = options.severities.get(match.severity, options.otherwise)
                by_action.setdefault(action, []).append(match)
        found = []
        for action in sorted(by_action, key=ACTIONS.index, reverse=True):
            named = ", ".join(f"{one.rule} in {one.where}" for one in by_action[action][:NAMED])
            public = "The message holds what is not accepted here"
            found.append(Finding("yara-match", action, public, shown(named)))
        if answer.limits:
            public = "Not all of the message could be checked"
            detail = f"limits were reached: {', '.join(answer.limits)}"
            found.append(Finding("yara-incomplete", options.on_incomplete, public, shown(detail)))
        return found


factory = Factory(
    "yara",
    YaraOptions,
    frozenset({"end"}),
    YaraFilter,
    on_error="tempfail",
    budget_s=BUDGET_S,
    needs_content=True,
    category="malware",
)
