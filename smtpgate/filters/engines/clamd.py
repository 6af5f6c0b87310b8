"""ClamAV's clamd, and everything that speaks its protocol: is there malware in the message?

A message goes to clamd by INSTREAM in one conversation. A large one goes while it comes in: `Upload` hands pieces on
as fast as clamd takes them, holds little, and is given up where clamd is slower than the client, or the client stalls
with clamd's thread in its hand; then the message is sent at its end, as a small one is. What was uploaded counts only
where it is all of the message.

clamd says why it will not take more and hangs up (its StreamMaxLength), so its words are read even while we write.

clamd(8), section COMMANDS: INSTREAM with the prefix z; a piece is its length in 4 octets and the octets.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from pydantic import Field
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred

from smtpgate.config.values import Count, Duration, Size
from smtpgate.filters.base import Factory
from smtpgate.filters.engines.base import (
    BUDGET_S,
    Actions,
    EngineFilter,
    EngineOptions,
    Oversize,
    SocketServers,
    Visit,
    malware,
    pieces,
)
from smtpgate.filters.engines.servers import FAILURES, BadAnswer, EngineFailed, Loan, reason_of
from smtpgate.interfaces import StreamClosed
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Messages from this size on are uploaded while they come; below, it costs more than it spares.
UPLOAD_FROM_OCTETS: Final = 1 << 16
#: What an upload holds at most before it is given up.
HELD_OCTETS: Final = 1 << 20
#: A client that sends nothing for so long keeps no thread of clamd (whose CommandReadTimeout is 30 s).
STALL_S: Final = 10.0
#: Time of a server for its version.
VERSION_S: Final = 10.0
#: Of an answer: a line with the name of a signature; clamd's own client reads 1,024 octets.
ANSWER_OCTETS: Final = 1024

_LENGTH: Final = struct.Struct("!I")
_FOUND: Final = re.compile(rb"stream: ([\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?) FOUND")
_VERSION: Final = re.compile(
    rb"ClamAV [\x21-\x2e\x30-\x7e]{1,100}"
    rb"(/\d{1,10}/[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4}))?"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOO_LARGE: Final = b"INSTREAM size limit exceeded. ERROR"


@attrs.frozen
class Answer:
    """What clamd says of a message.

    :ivar signature: the name of what was found; "" for nothing
    :ivar is_too_large: it takes no message of this size
    """

    signature: str = ""
    is_too_large: bool = False


def parse_answer(line: bytes) -> Answer:
    """An answer without its end mark. Raises EngineFailed for errors of clamd, BadAnswer for what is none."""
    if line == b"stream: OK":
        return Answer()
    found = _FOUND.fullmatch(line)
    if found is not None:
        return Answer(found[1].decode("ascii"))
    if line == _TOO_LARGE:
        return Answer(is_too_large=True)
    if line.endswith(b" ERROR") and line.isascii():
        raise EngineFailed(f"clamd says {line.decode('ascii', 'replace')!r}")
    raise BadAnswer(f"not an answer of clamd: {line[:80]!r}")


def parse_version(line: bytes) -> float | None:
    """When the signatures were made, seconds since the epoch, from the answer to VERSION, as
    "ClamAV 1.4.3/27821/Sat Nov 15 09:49:36 2025"; None where it has none loaded. clamd writes its own local time, which
    is taken for UTC: right to a day. Raises BadAnswer.
    """
    found = _VERSION.fullmatch(line)
    if found is None:
        raise BadAnswer(f"not a version of clamd: {line[:80]!r}")
    if found[1] is None:
        return None
    month, day, hour, minute, second, year = (one.decode("ascii") for one in found.groups()[1:])
    try:
        numbers = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
        return datetime(*numbers, tzinfo=UTC).timestamp()
    except ValueError:
        raise BadAnswer(f"not a time of clamd: {line[:80]!r}") from None


async def scan(stream: Any, content: AsyncIterator[bytes]) -> Answer:
    """Send content over a fresh connection, and give the answer. Raises what `servers.FAILURES` names."""
    reading = ensureDeferred(stream.read_until(b"\0", ANSWER_OCTETS))
    is_sent = False
    try:
        stream.write(b"zINSTREAM\0")
        async for piece in content:
            if reading.called:
                break
            if piece:
                stream.write(_LENGTH.pack(len(piece)) + piece)
                await stream.drained()
        else:
            stream.write(_LENGTH.pack(0))
            is_sent = True
    except StreamClosed:
        # It may have said why before it went.
        pass
    except BaseException:
        reading.addErrback(lambda failure: None)
        reading.cancel()
        raise
    try:
        line = await reading
    except ValueError as error:
        raise BadAnswer(str(error)) from None
    answer = parse_answer(line[:-1])
    if not is_sent and not answer.signature and not answer.is_too_large:
        raise BadAnswer("an answer before the end of the message")
    return answer


class ClamdOptions(EngineOptions):
    """Where clamd is, and what its findings lead to."""

    servers: SocketServers = Field(description='Where it listens, as "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310".')
    keep: Duration = Field(3600.0, description="How long an answer serves for the same message.")
    max_octets: Size = Field(25 << 20, description="Larger messages are not scanned; clamd's own StreamMaxLength too.")
    on_oversize: Oversize = Field("defer", description="What becomes of larger messages, by our limit or clamd's.")
    connections: Count = Field(10, description="Scans at one time, over all servers; clamd has MaxThreads = 10.")
    actions: Actions = Field(
        {"PUA.*": "tag", "Heuristics.*": "tag"},
        description="What signatures lead to, by patterns of their names; the first that fits counts. Others: reject.",
    )


class ClamdFilter(EngineFilter):
    """Has each message scanned."""

    name = "clamd"

    def __init__(self, options: ClamdOptions, services: Any) -> None:
        super().__init__(options, services, options.servers)

    def transaction(self, transaction: Transaction) -> Scan:
        """One message."""
        return Scan(self, transaction)

    async def signatures(self) -> float | None:
        """When the signatures of its servers were made, those of the oldest; asked of each (`parse_version`)."""
        made = []
        for endpoint in self.servers.endpoints:
            asking = ensureDeferred(self._version(endpoint))
            try:
                made.append(await asking.addTimeout(VERSION_S, self.services.clock))
            except FAILURES as error:
                raise EngineFailed(f"{endpoint}: {reason_of(error, VERSION_S)}") from None
        return min((one for one in made if one is not None), default=None)

    async def _version(self, endpoint: str) -> float | None:
        stream = await self.services.connect(endpoint, VERSION_S)
        try:
            stream.write(b"zVERSION\0")
            line = await stream.read_until(b"\0", ANSWER_OCTETS)
        except ValueError as error:
            raise BadAnswer(str(error)) from None
        finally:
            stream.abort()
        return parse_version(line[:-1])

    async def ask(self, endpoint: str, content: Any, question: None = None) -> Answer:
        """Send all of it to one server."""
        return await self.send(endpoint, pieces(content))

    async def send(self, endpoint: str, content: AsyncIterator[bytes]) -> Answer:
        """Connect, scan, and leave nothing open."""
        stream = await self.services.connect(endpoint, self.options.timeout)
        try:
            return await scan(stream, content)
        finally:
            stream.abort()

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding for malware."""
        if answer.is_too_large:
            return self.oversize(self.services.content(transaction).octets)
        return [malware((answer.signature,), self.options.actions)] if answer.signature else []


class Scan(Visit):
    """One message on its way to clamd."""

    parent: ClamdFilter

    def __init__(self, parent: ClamdFilter, transaction: Transaction) -> None:
        super().__init__(parent, transaction)
        self._held: list[bytes] = []
        self._octets = 0
        self._upload: Upload | None = None
        self._may_upload = True

    def body(self, chunk: bytes) -> None:
        """A piece of it."""
        if not self._may_upload:
            return
        self._octets += len(chunk)
        if self._upload is None:
            self._held.append(chunk)
            if self._octets >= UPLOAD_FROM_OCTETS:
                self._begin()
        elif self._octets > self.parent.options.max_octets or not self._upload.feed(chunk):
            self._give_up()

    def _begin(self) -> None:
        held, self._held = self._held, []
        loan = self.parent.servers.lend(is_calm=True)
        if loan is None:
            self._may_upload = False
            return
        self._upload = Upload(self.parent, loan)
        for chunk in held:
            self._upload.feed(chunk)

    def _give_up(self) -> None:
        self._may_upload = False
        self._held = []
        if self._upload is not None:
            self._upload.stop()
            self._upload = None

    async def answer(self, content: Any) -> Answer:
        """What clamd says."""
        parent, upload = self.parent, self._upload
        if upload is not None and upload.octets != content.octets:
            self._give_up()
            upload = None

        async def scanned() -> Answer:
            if upload is not None:
                # From here on it belongs to the answer, and goes on when the client has left.
                self._upload = None
                answer = await upload.finish(parent.options.timeout)
                if answer is not None:
                    return answer
            return await parent.servers.ask(lambda endpoint: parent.ask(endpoint, content), parent.options.timeout)

        answer: Answer = await parent.remembered(scanned, content, self.transaction)
        return answer

    def closed(self) -> None:
        """The message is over."""
        self._give_up()


class Upload:
    """A message that goes to clamd while it comes in.

    :ivar octets: so many were taken in
    """

    def __init__(self, parent: ClamdFilter, loan: Loan) -> None:
        self.octets = 0
        self._parent = parent
        self._loan = loan
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._is_complete = False
        self._more: Deferred[None] | None = None
        self._stall: Any = None
        self._is_late = False
        self._watch()
        self._work = ensureDeferred(parent.send(loan.endpoint, self._content()))
        # Nobody may be waiting yet when it fails; who waits later hears it all the same.
        self._result: Deferred[Any] = Deferred()
        self._work.addBoth(self._done)

    def _done(self, result: Any) -> None:
        self._rest()
        self._loan.release()
        self._result.callback(result if isinstance(result, Answer) else getattr(result, "value", result))

    async def _content(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                yield piece
            if self._is_complete:
                return
            self._more = Deferred()
            await self._more

    def _wake(self) -> None:
        if self._more is not None:
            more, self._more = self._more, None
            more.callback(None)

    def _watch(self) -> None:
        self._rest()
        self._stall = self._parent.services.clock.callLater(STALL_S, self.stop)

    def _rest(self) -> None:
        if self._stall is not None and self._stall.active():
            self._stall.cancel()

    def feed(self, chunk: bytes) -> bool:
        """Take a piece in; False where it should be given up: it is over, or clamd is slower than the client."""
        if self._result.called:
            return False
        self.octets += len(chunk)
        self._held += len(chunk)
        if self._held > HELD_OCTETS:
            return False
        self._pieces.append(chunk)
        self._watch()
        self._wake()
        return True

    async def finish(self, timeout_s: float) -> Answer | None:
        """All of it has come: the answer; None where there is none, and the message should be sent once more."""
        self._rest()
        self._is_complete = True
        self._wake()
        timer = self._parent.services.clock.callLater(timeout_s, self._late)
        try:
            result = await self._result
        finally:
            if timer.active():
                timer.cancel()
        if isinstance(result, Answer):
            self._loan.works()
            return result
        if self._is_late:
            result = TimeoutError()
        if isinstance(result, FAILURES):
            self._loan.fails(reason_of(result, timeout_s))
        return None

    def _late(self) -> None:
        self._is_late = True
        self.stop()

    def stop(self) -> None:
        """End it at once."""
        self._rest()
        self._work.cancel()


factory = Factory(
    "clamd",
    ClamdOptions,
    frozenset({"body", "end"}),
    ClamdFilter,
    on_error="tempfail",
    budget_s=BUDGET_S,
    needs_content=True,
    category="malware",
)
