"""rspamd over HTTP: one question with all that the session knows, one answer with action, score and symbols.

rspamd's own actions are proposals here, mapped by `actions`; its score is weighed into the gateway's sum as well, by
half, since rspamd's scale ends at 15 and ours marks at 5. Where the operator wants it (`headers`), header fields that
rspamd asks for are added and removed, and its subject is written.

Promised: an answer that is not of the documented form is a failure, and so is an action that nobody has mapped. What
puts a message off (greylist, soft reject) is not remembered: the sender's next try is a new question.

rspamd protocol, /checkv2 (rspamd.com, developers, protocol).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from email.header import Header
from typing import Any, Final

import attrs
from pydantic import Field, field_validator

from smtpgate.config.problem import Fault, one_of, quoted, warning
from smtpgate.config.values import Size
from smtpgate.filters.base import Factory
from smtpgate.filters.engines.base import (
    BUDGET_S,
    Action,
    EngineFilter,
    EngineOptions,
    WebServers,
    client_name,
    header_field,
    shown,
    whole,
)
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import AddField, Edit, RemoveField, ReplaceField
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import printable

#: Of an answer: with all symbols, options and links some ten kB.
ANSWER_OCTETS: Final = 2 << 20
#: A score beyond this is none.
SCORE_MOST: Final = 100_000.0
#: Symbols and options that a finding repeats; the strongest first.
SYMBOLS: Final = 15
OPTIONS: Final = 3
#: Header fields that one answer may ask for; ten are usual.
FIELDS: Final = 100


@attrs.frozen
class Symbol:
    """One rule that fits."""

    name: str
    score: float
    options: tuple[str, ...] = ()


@attrs.frozen
class Answer:
    """What rspamd says of a message.

    :ivar action: rspamd's word for it
    :ivar symbols: the strongest first
    :ivar text: what it would tell the sender; "" for nothing
    :ivar adds: name and value of header fields
    :ivar removes: name of header fields and which: from 1, -1 the last, 0 all
    """

    action: str
    score: float
    required: float
    symbols: tuple[Symbol, ...] = ()
    text: str = ""
    subject: str = ""
    adds: tuple[tuple[str, str], ...] = ()
    removes: tuple[tuple[str, int], ...] = ()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def parse_answer(octets: bytes) -> Answer:
    """An answer. Raises EngineFailed where rspamd says that it failed, BadAnswer where it is none."""
    try:
        tree = json.loads(octets, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"not JSON: {str(error)[:100]}") from None
    tree = _is(tree, dict, "the answer")
    if "error" in tree:
        raise EngineFailed(f"rspamd says {shown(str(tree['error']))}")
    symbols = [
        Symbol(
            name,
            _number(_is(one, dict, name).get("score"), name),
            tuple(_is(text, str, name) for text in _is(one.get("options", []), list, name)),
        )
        for name, one in _is(tree.get("symbols", {}), dict, "symbols").items()
    ]
    messages = _is(tree.get("messages", {}), dict, "messages")
    milter = _is(tree.get("milter", {}), dict, "milter")
    adds = tuple(_adds(_is(milter.get("add_headers", {}), dict, "add_headers")))
    removes = tuple(_removes(_is(milter.get("remove_headers", {}), dict, "remove_headers")))
    if len(adds) + len(removes) > FIELDS:
        raise BadAnswer(f"{len(adds) + len(removes)} header fields to change")
    return Answer(
        _is(tree.get("action"), str, "action"),
        _number(tree.get("score"), "score"),
        _number(tree.get("required_score"), "required_score"),
        tuple(sorted(symbols, key=lambda one: (-abs(one.score), one.name))),
        _is(messages.get("smtp_message", ""), str, "smtp_message"),
        _is(tree.get("subject", ""), str, "subject"),
        adds,
        removes,
    )


def _is(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise BadAnswer(f"{what[:60]} is {type(value).__name__}, and should be {kind.__name__}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadAnswer(f"{what[:60]} is no number")
    if not math.isfinite(value) or abs(value) > SCORE_MOST:
        raise BadAnswer(f"{what[:60]} is an impossible number")
    return float(value)


def _adds(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A value, a table with a value and its place, or a list of such."""
    for name, given in table.items():
        for one in given if isinstance(given, list) else [given]:
            value = _is(one, dict, name).get("value") if not isinstance(one, str) else one
            yield name, _is(value, str, name)


def _removes(table: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, which in table.items():
        if isinstance(which, bool) or not isinstance(which, int) or abs(which) > 1000:
            raise BadAnswer(f"remove_headers: {name[:60]} has no number")
        yield name, which


def edits(answer: Answer, section: HeaderSection, author: str) -> list[Edit]:
    """What an answer asks of the header section. Raises BadAnswer for what is no field."""
    made: list[Edit] = []
    for name, which in answer.removes:
        count = len(section.all(name.lower()))
        chosen = range(count) if which == 0 else [which - 1 if which > 0 else count + which]
        made += [RemoveField(name.lower(), one, author) for one in chosen if 0 <= one < count]
    made += [AddField(header_field(name, value), author) for name, value in answer.adds]
    if answer.subject and answer.action == "rewrite subject":
        raw = header_field(
            "Subject", Header(answer.subject, "utf-8" if not answer.subject.isascii() else None).encode()
        )
        made.append(ReplaceField("subject", 0, raw, author) if section.all("subject") else AddField(raw, author))
    return made


_ACTIONS: Final[dict[str, Action]] = {
    "no action": "note",
    "greylist": "note",
    "add header": "tag",
    "rewrite subject": "tag",
    "soft reject": "defer",
    "reject": "reject",
    "quarantine": "quarantine",
    "discard": "quarantine",
}


class RspamdOptions(EngineOptions):
    """Where rspamd is, and what its answers lead to."""

    servers: WebServers = Field(description='Its normal workers, as "http://127.0.0.1:11333".')
    max_octets: Size = Field(10 << 20, description="Larger messages are not shown to it.")
    weight: float = Field(0.4, ge=0, le=10, description="How much a point of its score counts in the sum of scores.")
    actions: dict[str, Action] = Field(
        _ACTIONS,
        description="What its actions lead to, in place of what is shipped for each; one that is unknown is a failure.",
    )
    settings_id: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,100}$", description="Settings of rspamd to be used.")
    headers: bool = Field(False, description="Whether header fields and the subject are changed as it asks.")

    @field_validator("actions")
    @classmethod
    def _all(cls, value: dict[str, Action]) -> dict[str, Action]:
        return {**_ACTIONS, **value}

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """Actions that rspamd has only where somebody has taught it."""
        for name in self.actions:
            if name not in _ACTIONS:
                hint = one_of(name, sorted(_ACTIONS), "")
                yield warning(("actions",), f"rspamd has no action {quoted(name)} of its own", hint)


class RspamdFilter(EngineFilter):
    """Has each message scored."""

    name = "rspamd"

    def __init__(self, options: RspamdOptions, services: Any) -> None:
        super().__init__(options, services, options.servers)

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """It sees the whole session."""
        session = transaction.session
        recipients = tuple(str(one.path) for one in transaction.recipients if one.state in ("accepted", "known"))
        return session.client_ip, session.helo, session.user, str(transaction.sender), recipients

    async def question(self, transaction: Transaction) -> list[tuple[str, str]]:
        """What it is told beside the message; "unknown" is its word for a client without a name."""
        session, settings = transaction.session, self.services.settings
        told = [
            ("IP", session.client_ip),
            ("Helo", session.helo),
            ("Hostname", await client_name(self.services, transaction) or "unknown"),
            ("From", str(transaction.sender)),
            ("User", session.user),
            ("Queue-Id", transaction.id),
            ("MTA-Name", settings.hostname),
            ("Settings-ID", self.options.settings_id),
        ]
        if session.tls is not None:
            told += [("TLS-Version", session.tls.version), ("TLS-Cipher", session.tls.cipher)]
        told += [("Rcpt", str(one.path)) for one in transaction.recipients if one.state in ("accepted", "known")]
        return [(name, _header_text(value)) for name, value in told if value]

    async def ask(self, endpoint: str, content: Any, question: list[tuple[str, str]]) -> Answer:
        """Ask one server."""
        answer = await self.services.http.request(
            "POST",
            f"{endpoint.rstrip('/')}/checkv2",
            question,
            await whole(content),
            self.options.timeout,
            ANSWER_OCTETS,
        )
        if answer.status != 200:
            raise EngineFailed(f"status {answer.status}: {shown(answer.body[:200].decode('utf-8', 'replace'))}")
        parsed = parse_answer(answer.body)
        if parsed.action not in self.options.actions:
            raise BadAnswer(f"an action that is not mapped: {shown(parsed.action)[:60]!r}")
        if self.options.headers:
            # What cannot be done should not be remembered.
            edits(parsed, HeaderSection(b""), self.name)
        return parsed

    def is_lasting(self, answer: Answer) -> bool:
        """What puts a message off is asked anew."""
        return answer.action not in ("greylist", "soft reject") and self.options.actions[answer.action] != "defer"

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding, and the edits."""
        action = self.options.actions[answer.action]
        if self.options.headers and transaction.header is not None:
            wanted = self.services.edits(transaction)
            for edit in edits(answer, transaction.header, self.name):
                wanted.append(edit)
        words = [
            f"{one.name} {one.score:g}" + (f" [{', '.join(one.options[:OPTIONS])}]" if one.options else "")
            for one in answer.symbols[:SYMBOLS]
        ]
        detail = shown(f"{answer.action}, {answer.score:g} of {answer.required:g}: {', '.join(words) or 'no symbol'}")
        public = printable(answer.text)[:200] if action in ("reject", "defer") else ""
        default = "The message looks like spam" if action == "reject" else "Try again later"
        reason = f"rspamd-{answer.action.replace(' ', '-')}"
        return [Finding(_identifier(reason), action, public or default, detail, answer.score * self.options.weight)]


def _header_text(value: str) -> str:
    """A value without what no header of HTTP may have."""
    return "".join(letter if letter.isprintable() else "?" for letter in value)


def _identifier(text: str) -> str:
    """A reason out of an action that an operator has named."""
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in text.lower()
    )


factory = Factory(
    "rspamd",
    RspamdOptions,
    frozenset({"end"}),
    RspamdFilter,
    on_error="continue",
    budget_s=BUDGET_S,
    needs_message=True,
    needs_content=True,
    category="spam",
    may_hold=True,
)
