"""Scanners behind ICAP: is the message let through as it is, or is something found in it, or would it be changed?

A server is first asked what it can (OPTIONS), and again when that has expired or its tag has changed. Then each message
is shown to it: a preview as large as it wants, the rest where it asks for it. It may say that nothing needs to be
changed (204), give the message back, or give something else, which is what a scanner does that blocks. What is given
back is compared with the message, so that a server which cannot say 204 is understood too.

Connections are kept. An answer that is not of the language is a failure, and ends its connection.

RFC 3507 sections 4.5 (preview), 4.6 (204), 4.7 (tags), 4.8 (RESPMOD), 4.10 (OPTIONS).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import attrs
from pydantic import Field, field_validator
from twisted.internet.defer import CancelledError, ensureDeferred

from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.values import Duration, Size
from smtpgate.filters.base import Factory
from smtpgate.filters.engines import icap_wire as wire
from smtpgate.filters.engines.base import (
    BUDGET_S,
    Action,
    Actions,
    EngineFilter,
    EngineOptions,
    Oversize,
    malware,
    pieces,
)
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.interfaces import StreamClosed
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

AGENT: Final = "smtpgate"
#: Lines that may follow the last chunk.
TRAILERS: Final = 20


@attrs.frozen
class Answer:
    """What a server says of a message.

    :ivar threats: names of what it found
    :ivar is_changed: it gave back something else than the message
    :ivar tag: that of the answer; "" where it has none
    """

    threats: tuple[str, ...] = ()
    is_changed: bool = False
    tag: str = ""


class Conversation:
    """One question over one connection.

    :ivar may_stay: the connection can serve the next
    """

    def __init__(self, stream: Any) -> None:
        self.may_stay = False
        self.is_answered = False
        self._stream = stream

    async def offer(self, service: wire.Service) -> wire.Offer:
        """Ask what the service can."""
        self._stream.write(wire.options_request(service, AGENT))
        head = await self._head()
        offer = wire.parse_offer(head)
        parts = wire.parse_encapsulated(head) if "encapsulated" in head.fields else []
        self.may_stay = not head.is_closing and (not parts or parts == [("null-body", 0)])
        return offer

    async def _head(self) -> wire.Head:
        try:
            octets: bytes = await self._stream.read_until(b"\r\n\r\n", wire.HEAD_OCTETS)
        except ValueError as error:
            raise BadAnswer(str(error)) from None
        self.is_answered = True
        return wire.parse_head(octets)

    async def modify(self, head: bytes, preview: int | None, content: Any) -> Answer:
        """Show a message.

        :param head: as `icap_wire.modify_request` gives it
        """
        self._stream.write(head)
        rest = pieces(content)
        if preview is not None:
            first, more = await _split(rest, preview)
            is_all = content.octets <= preview
            self._stream.write(wire.chunk(first) + (wire.LAST_OF_ALL if is_all else wire.LAST))
            said = await self._head()
            if is_all or said.status != 100:
                return await self._verdict(said, content)
            self._stream.write(wire.chunk(more))
        return await self._exchange(rest, content)

    async def _exchange(self, rest: AsyncIterator[bytes], content: Any) -> Answer:
        """Send what is left while the answer is read: a server may give the message back as it comes."""
        reading = ensureDeferred(self._answer(content))
        trouble: list[BaseException] = []

        def broken(failure: Any) -> None:
            # Where the connection ended the server may have said why; a fault of ours ends the reading.
            if not failure.check(StreamClosed, CancelledError):
                trouble.append(failure.value)
                reading.cancel()

        is_sent = False

        def sent(_: None) -> None:
            nonlocal is_sent
            is_sent = True

        sending = ensureDeferred(self._send(rest)).addCallbacks(sent, broken)
        try:
            answer: Answer = await reading
        except CancelledError:
            if trouble:
                raise trouble[0] from None
            raise
        finally:
            sending.cancel()
        self.may_stay = self.may_stay and is_sent
        return answer

    async def _send(self, rest: AsyncIterator[bytes]) -> None:
        async for piece in rest:
            self._stream.write(wire.chunk(piece))
            await self._stream.drained()
        self._stream.write(wire.LAST)

    async def _answer(self, content: Any) -> Answer:
        return await self._verdict(await self._head(), content)

    async def _verdict(self, head: wire.Head, content: Any) -> Answer:
        """What an answer means."""
        found = wire.threats(head)
        tag = head.fields.get("istag", "")
        if head.status == 204:
            self.may_stay = not head.is_closing
            return Answer(found, False, tag)
        if head.status not in (200, 201):
            raise EngineFailed(f"status {head.status}")
        same = await self._is_same(head, content)
        self.may_stay = self.may_stay and not head.is_closing
        return Answer(found, not same, tag)

    async def _is_same(self, head: wire.Head, content: Any) -> bool:
        """Whether the message is given back, octet for octet. Reads the answer to its end where that is near."""
        parts = wire.parse_encapsulated(head)
        heads = await self._stream.read_exactly(parts[-1][1])
        body = parts[-1][0]
        if body == "null-body":
            self.may_stay = True
            return False
        digest = hashlib.sha256()
        size = 0
        async for piece in self._chunks():
            size += len(piece)
            if size > content.octets:
                return False
            digest.update(piece)
        self.may_stay = True
        # A web server that says something else than 200 has not given the message.
        start = dict(parts).get("res-hdr")
        is_page = start is not None and not heads[start:].startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))
        return digest.hexdigest() == content.digest and not is_page

    async def _chunks(self) -> AsyncIterator[bytes]:
        stream = self._stream
        try:
            while left := wire.parse_size(await stream.read_until(b"\n", 1024)):
                while left:
                    piece = await stream.read(min(left, 65536))
                    if not piece:
                        raise StreamClosed("in the middle of a chunk")
                    left -= len(piece)
                    yield piece
                if await stream.read_exactly(2) != b"\r\n":
                    raise BadAnswer("a chunk without its end")
            for _ in range(TRAILERS):
                if await stream.read_until(b"\r\n", wire.HEAD_OCTETS) == b"\r\n":
                    return
        except ValueError as error:
            raise BadAnswer(str(error)) from None
        raise BadAnswer("too much behind the last chunk")


async def _split(rest: AsyncIterator[bytes], octets: int) -> tuple[bytes, bytes]:
    """The first octets, and what else came with them."""
    held = bytearray()
    if octets:
        async for piece in rest:
            held += piece
            if len(held) >= octets:
                break
    return bytes(held[:octets]), bytes(held[octets:])


def _open_one(idle: list[Any]) -> Any:
    """The stream that was used last, of those that are still open; None where there is none."""
    while idle:
        stream = idle.pop()
        if stream.is_open:
            return stream
    return None


class IcapOptions(EngineOptions):
    """Where the service is, and what its answers lead to."""

    servers: list[str] = Field(min_length=1, description='Addresses of the service, as "icap://127.0.0.1:1344/avscan".')
    method: Literal["RESPMOD", "REQMOD"] = Field("RESPMOD", description="How a message is shown to it.")
    keep: Duration = Field(3600.0, description="How long an answer serves for the same message.")
    max_octets: Size = Field(
        25 << 20,
        description="Larger messages are not shown to it. Many servers let pass what is over a limit of their own, as "
        "virus_scan of c-icap does (MaxObjectSize, 5M): keep this one below it.",
    )
    on_oversize: Oversize = Field("defer", description="What becomes of larger messages.")
    on_changed: Action = Field("reject", description="What becomes of a message that it would change or replace.")
    actions: Actions = Field({}, description="What threats lead to, by patterns of their names. Others: reject.")

    @field_validator("servers", mode="before")
    @classmethod
    def _services(cls, value: object) -> object:
        given = [value] if isinstance(value, str) else value
        for one in given if isinstance(given, list) else ():
            try:
                wire.parse_service(one)
            except (ValueError, TypeError):
                raise BadValue(f"{quoted(one)} is no ICAP service", 'write "icap://127.0.0.1:1344/avscan"') from None
        return given


class IcapFilter(EngineFilter):
    """Shows each message to a service."""

    name = "icap"

    def __init__(self, options: IcapOptions, services: Any) -> None:
        super().__init__(options, services, options.servers)
        self._offers: dict[str, tuple[wire.Offer, float]] = {}
        self._idle: dict[str, list[Any]] = {}
        self._is_closed = False

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """A server whose tag has changed has other rules."""
        return self.options.method, *sorted(offer.tag for offer, _ in self._offers.values())

    async def question(self, transaction: Transaction) -> str:
        """The client's address, for the log of the server."""
        return transaction.session.client_ip

    async def ask(self, endpoint: str, content: Any, question: str) -> Answer:
        """Show it to one server."""
        service = wire.parse_service(endpoint)
        offer = await self._offer(service)
        method = self.options.method
        if method not in offer.methods:
            raise EngineFailed(f"it offers {', '.join(sorted(offer.methods))} and not {method}")
        hostname = self.services.settings.hostname or "localhost"
        head = wire.modify_request(service, method, AGENT, hostname, question, content.octets, offer.preview)
        try:
            answer: Answer = await self._talk(service, lambda talk: talk.modify(head, offer.preview, content))
        except EngineFailed:
            self._offers.pop(service.url, None)
            raise
        if answer.tag and answer.tag != offer.tag:
            self._offers.pop(service.url, None)
        return answer

    async def _offer(self, service: wire.Service) -> wire.Offer:
        now = self.services.clock.seconds()
        known = self._offers.get(service.url)
        if known is None or known[1] <= now:
            offer: wire.Offer = await self._talk(service, lambda talk: talk.offer(service))
            known = self._offers[service.url] = (offer, now + offer.ttl_s)
        return known[0]

    async def _talk(self, service: wire.Service, work: Any) -> Any:
        """One question over a connection that was kept, or a new one."""
        idle = self._idle.setdefault(service.endpoint, [])
        while True:
            kept = _open_one(idle)
            stream = kept or await self.services.connect(service.endpoint, self.options.timeout)
            talk = Conversation(stream)
            try:
                result = await work(talk)
            except StreamClosed:
                stream.abort()
                if kept is not None and not talk.is_answered:
                    # It was closed while nobody used it; the next one is no worse than a new one.
                    continue
                raise
            except BaseException:
                stream.abort()
                raise
            if talk.may_stay and not self._is_closed and stream.is_open:
                idle.append(stream)
            else:
                stream.abort()
            return result

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding for what was found, or for a message that would not pass as it is."""
        if answer.threats:
            return [malware(answer.threats, self.options.actions)]
        if answer.is_changed:
            public = "A content check does not let the message pass as it is"
            return [Finding("icap-changed", self.options.on_changed, public, "the server would change the message")]
        return []

    def close(self) -> None:
        """Connections that were kept end."""
        self._is_closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().abort()


factory = Factory(
    "icap",
    IcapOptions,
    frozenset({"end"}),
    IcapFilter,
    on_error="tempfail",
    budget_s=BUDGET_S,
    needs_content=True,
    category="malware",
)
