"""SpamAssassin's spamd: how much does the message look like spam?

The message goes with a Received field of ours above it, as the backend will see it: SpamAssassin reads the client's
address and name in it. The question is SYMBOLS, so that the answer holds the score, spamd's own threshold, and the
names of the rules, which the finding repeats. The score is weighed into the sum that the gateway's thresholds judge;
beside that the message may be marked or refused by spamd's word alone.

An answer is read strictly: each line as it must be, the rules as many octets as were announced.

spamd/PROTOCOL of SpamAssassin; SPAMC/1.5, SPAMD/1.1.
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs
from pydantic import Field, field_validator, model_validator

from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.values import Size, Threshold
from smtpgate.filters.base import Factory
from smtpgate.filters.engines.base import (
    BUDGET_S,
    Action,
    EngineFilter,
    EngineOptions,
    SocketServers,
    client_name,
    pieces,
    received_field,
    shown,
)
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.interfaces import StreamClosed
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Of an answer: a hundred rules have some 2 kB.
HEAD_OCTETS: Final = 4096
RULES_OCTETS: Final = 65536
#: A score beyond this is none; the test string GTUBE has 1000.
SCORE_MOST: Final = 10000.0

_STATUS: Final = re.compile(rb"SPAMD/1\.[0-9] (0|[1-9][0-9]{0,2}) ([\x20-\x7e]{1,500})")
_SPAM: Final = re.compile(rb"(True|False|Yes|No) ; (-?[0-9]{1,6}(?:\.[0-9]{1,6})?) / (-?[0-9]{1,6}(?:\.[0-9]{1,6})?)")
_RULE: Final = re.compile(rb"[A-Za-z0-9_]{1,200}")
_USER: Final = re.compile(r"[\x21-\x7e]{1,250}")


@attrs.frozen
class Answer:
    """What spamd says of a message.

    :ivar is_spam: the score reaches spamd's own threshold
    :ivar rules: names of those that fit
    """

    is_spam: bool
    score: float
    threshold: float
    rules: tuple[str, ...]


@attrs.frozen
class Head:
    """The first part of an answer; `octets` of rules follow."""

    is_spam: bool
    score: float
    threshold: float
    octets: int


def parse_status(line: bytes) -> None:
    """The first line. Raises EngineFailed where spamd says that it could not, BadAnswer where it is none."""
    found = _STATUS.fullmatch(line.removesuffix(b"\r\n"))
    if found is None:
        raise BadAnswer(f"not an answer of spamd: {line[:80]!r}")
    if found[1] != b"0":
        raise EngineFailed(f"spamd says {found[1].decode()} {shown(found[2].decode())}")


def parse_head(head: bytes) -> Head:
    """The fields below the first line, up to the empty line. Raises BadAnswer."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name.lower() in fields:
            raise BadAnswer(f"not a field of spamd: {line[:80]!r}")
        fields[name.lower()] = value.strip()
    said = _SPAM.fullmatch(fields.get(b"spam", b""))
    length = fields.get(b"content-length", b"")
    if said is None or not length.isdigit() or len(length) > 6 or int(length) > RULES_OCTETS:
        raise BadAnswer(f"an answer without score or length: {head[:200]!r}")
    score, threshold = float(said[2]), float(said[3])
    if abs(score) > SCORE_MOST or abs(threshold) > SCORE_MOST:
        raise BadAnswer(f"an impossible score: {said[0]!r}")
    return Head(said[1] in (b"True", b"Yes"), score, threshold, int(length))


def parse_rules(octets: bytes) -> tuple[str, ...]:
    """The names of the rules. Raises BadAnswer."""
    text = octets.strip(b"\r\n")
    names = text.split(b",") if text else []
    if not all(map(_RULE.fullmatch, names)):
        raise BadAnswer(f"not names of rules: {octets[:80]!r}")
    return tuple(name.decode("ascii") for name in names)


async def check(stream: Any, user: str, above: bytes, content: Any) -> Answer:
    """Ask over a fresh connection. Raises what `servers.FAILURES` names.

    :param above: fields that the message does not have yet
    """
    head = f"SYMBOLS SPAMC/1.5\r\nContent-length: {len(above) + content.octets}\r\n"
    user_field = f"User: {user}\r\n" if user else ""
    try:
        stream.write((head + user_field + "\r\n").encode("ascii") + above)
        async for piece in pieces(content):
            stream.write(piece)
            await stream.drained()
    except StreamClosed:
        # It may have said why before it went.
        pass
    try:
        parse_status(await stream.read_until(b"\r\n", HEAD_OCTETS))
        said = parse_head(await stream.read_until(b"\r\n\r\n", HEAD_OCTETS))
    except ValueError as error:
        raise BadAnswer(str(error)) from None
    rules = parse_rules(await stream.read_exactly(said.octets))
    return Answer(said.is_spam, said.score, said.threshold, rules)


class SpamdOptions(EngineOptions):
    """Where spamd is, and what its scores lead to."""

    servers: SocketServers = Field(description='Where it listens, as "127.0.0.1:783" or "unix:/run/spamd.sock".')
    max_octets: Size = Field(512 << 10, description="Larger messages are not shown to it; spam is small.")
    user: str = Field("", description="Whose preferences it uses; empty: its own.")
    user_is_recipient: bool = Field(False, description="Of a message to one: the recipient's, by address.")
    weight: float = Field(0.4, ge=0, le=10, description="How much a point of its score counts in the sum of scores.")
    on_spam: Action = Field("tag", description="What becomes of what reaches spamd's own threshold.")
    tag: Threshold = Field(None, description="Its score from which a message is marked, whatever spamd's threshold.")
    reject: Threshold = Field(None, description="Its score from which a message is refused.")

    @model_validator(mode="after")
    def _thresholds_rise(self) -> SpamdOptions:
        if self.tag is not None and self.reject is not None and self.tag > self.reject:
            raise BadValue("tag is above reject: nothing would ever be marked", "let reject be the higher of the two")
        return self

    @field_validator("user")
    @classmethod
    def _user(cls, value: str) -> str:
        if value and not _USER.fullmatch(value):
            raise BadValue(f"{quoted(value)} is no user of spamd", "write printable ASCII without blanks")
        return value


class SpamdFilter(EngineFilter):
    """Has each message scored."""

    name = "spamd"

    def __init__(self, options: SpamdOptions, services: Any) -> None:
        super().__init__(options, services, options.servers)

    def _user(self, transaction: Transaction) -> str:
        taken = [one for one in transaction.recipients if one.state in ("accepted", "known")]
        if self.options.user_is_recipient and len(taken) == 1 and _USER.fullmatch(str(taken[0].path)):
            return str(taken[0].path)
        return str(self.options.user)

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """It sees client, greeting and sender, and asks the preferences of the user."""
        session = transaction.session
        return session.client_ip, session.helo, str(transaction.sender), self._user(transaction)

    async def question(self, transaction: Transaction) -> tuple[str, bytes]:
        """The user, and what stands above the message."""
        name = await client_name(self.services, transaction)
        above = b"Return-Path: <%s>\r\n" % transaction.sender.raw + received_field(self.services, transaction, name)
        return self._user(transaction), above

    async def ask(self, endpoint: str, content: Any, question: tuple[str, bytes]) -> Answer:
        """Ask one server."""
        stream = await self.services.connect(endpoint, self.options.timeout)
        try:
            return await check(stream, *question, content)
        finally:
            stream.abort()

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding: a score, and what is done by spamd's word alone."""
        options = self.options
        action = options.on_spam if answer.is_spam else "note"
        if action == "note" and _reaches(answer.score, options.tag):
            action = "tag"
        if _reaches(answer.score, options.reject):
            action = "reject"
        detail = shown(f"{answer.score:g} of {answer.threshold:g}: {', '.join(answer.rules) or 'no rule'}")
        public = "The message looks like spam"
        reason = "spamd-spam" if answer.is_spam else "spamd-score"
        return [Finding(reason, action, public, detail, answer.score * options.weight)]


def _reaches(score: float, threshold: float | None) -> bool:
    return threshold is not None and score >= threshold


factory = Factory(
    "spamd",
    SpamdOptions,
    frozenset({"end"}),
    SpamdFilter,
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="spam",
)
