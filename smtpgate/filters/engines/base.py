"""What filters that ask an engine about a whole message have in common.

A subclass of `EngineFilter` says how one server is asked (`ask`) and what an answer means (`judge`). Here is the rest:
options, the size limit with its policy, fail-over and the breaker (`servers`), and the memory of answers: what was
asked about the same octets a short while ago is not asked again, and an answer that came too late for one try serves
the sender's next. So the time that a server has may be longer than the filter's budget.

Promised: an answer is kept only where it is about all octets of the message. A transaction that ends closes its
content, and a reader that began after that would find nothing in it: `pieces` and `whole` count.

Engines that say in words what they found are given actions by patterns of these words (`Action`, `action_for`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from email.utils import formatdate
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import MinLen
from pydantic import AfterValidator, BeforeValidator, Field
from zope.interface import implementer

from smtpgate.config.patterns import PatternList
from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.units import format_size
from smtpgate.config.values import Count, Duration, ServerAddress, Size, Wait
from smtpgate.filters.base import Filter, Options
from smtpgate.filters.engines.servers import BadAnswer, Servers
from smtpgate.filters.sender.iprev import iprev
from smtpgate.interfaces import IEngine
from smtpgate.policy.edits import check_field
from smtpgate.policy.standing import ServerStanding
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import ACTIONS, Finding

#: What one filter may hold the verdict at most; an engine that needs longer serves the retry. Inside of the 45 seconds
#: that `timeouts.verdict` has, so that the failure policy of the filter and not that of the gateway speaks.
BUDGET_S: Final = 40.0
#: Letters of what an engine said that a finding repeats.
DETAIL_LETTERS: Final = 500

_NAME_OTHER: Final = re.compile(r"[^A-Za-z0-9.:\[\]_-]")
_WEB: Final = re.compile(r"[\x21-\x7e]{1,500}")

Make = Callable[[], Coroutine[Any, Any, Any]]
Action = Literal["note", "tag", "quarantine", "defer", "reject"]
Oversize = Literal["pass", "tag", "quarantine", "defer", "reject"]


def _patterns(value: dict[str, Any]) -> dict[str, Any]:
    PatternList(value)
    return value


#: What becomes of what an engine found, by patterns of its name with `*`; the first that fits counts.
Actions = Annotated[dict[str, Action], AfterValidator(_patterns)]


class EngineOptions(Options):
    """What every engine needs to know. Engines narrow the defaults."""

    timeout: Wait = Field(30.0, description="Time of one server for its answer; then the next is asked.")
    connections: Count = Field(8, description="Questions at one time, over all servers.")
    waiting: int = Field(32, ge=0, description="Messages that may wait for their turn; what is more is a failure.")
    failures: Count = Field(3, description="Failures in a row after which a server is left alone for a while.")
    keep: Duration = Field(900.0, description="How long an answer serves for the same message.")
    max_octets: Size = Field(25 << 20, description="Larger messages are not shown to the engine.")
    on_oversize: Oversize = Field("pass", description="What becomes of larger messages.")


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def web_address(text: str) -> str:
    """An address of a server over HTTP; raises BadValue for what is none."""
    scheme, mark, rest = text.partition("://")
    host = rest.partition("/")[0]
    if scheme not in ("http", "https") or not mark or not host or "@" in host or not _WEB.fullmatch(text):
        raise BadValue(f"{quoted(text)} is no address of a server", 'write it as "http://127.0.0.1:11333"')
    return text


#: Servers over a socket, as "127.0.0.1:3310" or "unix:/run/engine.sock"; one may stand without brackets.
SocketServers = Annotated[list[ServerAddress], MinLen(1), BeforeValidator(_one_or_more)]
#: Servers over HTTP.
WebServers = Annotated[list[Annotated[str, AfterValidator(web_address)]], MinLen(1), BeforeValidator(_one_or_more)]


class _Passing(Exception):
    """An answer that is not to be kept: failures are not."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer


class MessageFilter(Filter):
    """Gets an answer about each message, at its end, and remembers it. Subclasses have `answer` and `judge`."""

    #: How it is called, as its factory.
    name: ClassVar[str]

    def __init__(self, options: Any, services: Any) -> None:
        self.options = options
        self.services = services
        # Two filters of one kind share no answers, unless they ask the same.
        self._mark = hashlib.sha256(options.model_dump_json().encode()).hexdigest()

    def transaction(self, transaction: Transaction) -> Visit | None:
        """One message."""
        return Visit(self, transaction)

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """What an answer depends on, beside the octets of the message and the options."""
        return ()

    async def answer(self, content: Any, transaction: Transaction) -> Any:
        """The answer about a message."""
        raise NotImplementedError

    def judge(self, answer: Any, transaction: Transaction) -> list[Finding]:
        """What an answer means."""
        raise NotImplementedError

    def is_lasting(self, answer: Any) -> bool:
        """Whether an answer holds for the sender's next try too; one that puts the message off does not."""
        return True

    async def remembered(self, make: Make, content: Any, transaction: Transaction) -> Any:
        """What `make` gives, which is an answer about all of the content, unless it was given before."""
        key = (self.name, self._mark, content.digest, *self.key(transaction))

        async def made() -> Any:
            answer = await make()
            if not self.is_lasting(answer):
                raise _Passing(answer)
            return answer

        try:
            try:
                return await self.services.cached(key, made, self.options.keep)
            except OSError:
                # Somebody who sent the same message began to ask, and went away with its content.
                return await self.services.cached(key, made, self.options.keep)
        except _Passing as passing:
            return passing.answer

    def oversize(self, octets: int) -> list[Finding]:
        """What becomes of a message that is too large to be looked at."""
        options = self.options
        detail = f"{octets} octets, and {self.name} is shown {format_size(options.max_octets)} at most"
        if options.on_oversize == "pass":
            return [Finding(f"{self.name}-too-large", detail=detail)]
        public = "The message is too large to be checked"
        if options.on_oversize == "reject":
            return [Finding(f"{self.name}-too-large", "reject", public, detail, code=552, enhanced="5.3.4")]
        return [Finding(f"{self.name}-too-large", options.on_oversize, public, detail)]


@implementer(IEngine)
class EngineFilter(MessageFilter):
    """Asks an engine behind servers. Subclasses have `ask` and `judge`."""

    def __init__(self, options: Any, services: Any, endpoints: Iterable[str]) -> None:
        super().__init__(options, services)
        self.servers = Servers(self.name, endpoints, services, options.connections, options.waiting, options.failures)

    def standing(self) -> tuple[ServerStanding, ...]:
        """How its servers stand."""
        return self.servers.standing()

    async def signatures(self) -> float | None:
        """Its engine does not say how old what it looks for is."""
        return None

    async def question(self, transaction: Transaction) -> Any:
        """What `ask` must know of the transaction, which may be over when the second server is asked."""
        return None

    async def ask(self, endpoint: str, content: Any, question: Any) -> Any:
        """The answer of one server; raises what `servers.FAILURES` names."""
        raise NotImplementedError

    async def answer(self, content: Any, transaction: Transaction) -> Any:
        """One that was given before, or that of the first server that has one."""
        options = self.options
        question = await self.question(transaction)

        async def asked() -> Any:
            return await self.servers.ask(lambda endpoint: self.ask(endpoint, content, question), options.timeout)

        return await self.remembered(asked, content, transaction)


class Visit:
    """A filter at work on one message."""

    def __init__(self, parent: MessageFilter, transaction: Transaction) -> None:
        self.parent = parent
        self.transaction = transaction

    async def end(self) -> list[Finding] | None:
        """All of it has come."""
        parent, transaction = self.parent, self.transaction
        content = parent.services.content(transaction)
        if content.octets > parent.options.max_octets:
            return parent.oversize(content.octets)
        answer = await self.answer(content)
        return parent.judge(answer, transaction) or None

    async def answer(self, content: Any) -> Any:
        """What the engine says."""
        return await self.parent.answer(content, self.transaction)


async def pieces(content: Any) -> AsyncIterator[bytes]:
    """The octets of a message. Raises OSError where fewer come than it has: its transaction is over."""
    left = content.octets
    async for piece in content.pieces():
        left -= len(piece)
        yield piece
    if left:
        raise OSError("the content is not there any more")


async def whole(content: Any) -> bytes:
    """The octets of a message at once. Raises OSError as `pieces`."""
    return b"".join([piece async for piece in pieces(content)])


def header_field(name: str, value: str | bytes) -> bytes:
    """A header field as an engine asks for it, its lines ended by LF or CRLF. Raises BadAnswer for what is none."""
    octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    lines = octets.replace(b"\r\n", b"\n").strip(b" \t\n").replace(b"\n", b"\r\n")
    raw = b"%s: %s\r\n" % (name.encode("ascii", "replace"), lines)
    try:
        if not name.isascii() or ":" in name:
            raise ValueError("a name without a colon, in ASCII")
        check_field(raw)
    except ValueError as error:
        raise BadAnswer(f"not a header field: {raw[:80]!r}: {error}") from None
    return raw


async def client_name(services: Any, transaction: Transaction) -> str:
    """The name of the client that leads back to its address, or the one that XCLIENT gave; "" where there is none."""
    session = transaction.session
    if session.client_name or session.role != "mx" or session.is_trusted or not session.client_ip:
        return session.client_name
    fact = await iprev(services, transaction)
    return str(fact.name) if fact.result == "pass" and fact.ip == session.client_ip else ""


def now(services: Any, transaction: Transaction) -> float:
    """Seconds since the epoch; the clock of the gateway counts from anywhere."""
    session = transaction.session
    return float(session.started + services.clock.seconds() - session.begun)


def received_field(services: Any, transaction: Transaction, name: str) -> bytes:
    """The trace field that the message will have of us, for engines that judge the client by it (RFC 5321 4.4)."""
    session = transaction.session
    helo = _NAME_OTHER.sub("?", session.helo)[:255] or "unknown"
    address = session.client_ip
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address or '127.0.0.1'}]"
    word = "ESMTP" if session.is_extended else "SMTP"
    word += ("S" if session.tls is not None else "") + ("A" if session.mechanism else "")
    date = formatdate(now(services, transaction), localtime=True)
    return (
        f"Received: from {helo} ({name or 'unknown'} {literal})\r\n"
        f"\tby {services.settings.hostname or 'localhost'} (smtpgate) with {word} id {transaction.id};\r\n\t{date}\r\n"
    ).encode("ascii", "replace")


def malware(names: Iterable[str], actions: Mapping[str, str]) -> Finding:
    """The finding for what an engine names: the strongest action of all names; one that no pattern fits is refused."""
    names = tuple(names)
    chosen = [
        next((action for pattern, action in actions.items() if PatternList((pattern,)).matches(name)), "reject")
        for name in names
    ]
    action = max(chosen, key=ACTIONS.index)
    reason = "malware" if action == "reject" else "malware-suspected"
    return Finding(reason, action, "The message holds malware", shown(", ".join(names)))


def shown(text: str) -> str:
    """What an engine said, as a finding may repeat it: one line of printable characters, cut."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * DETAIL_LETTERS])
    return " ".join(line.split())[:DETAIL_LETTERS]
