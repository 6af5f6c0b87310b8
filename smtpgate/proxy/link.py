"""One connection to a backend server, from connect to ready, and the commands that go over it.

`Link.open` takes it through greeting, EHLO, STARTTLS, XCLIENT and login as the backend's configuration asks; then
`delivery` sends envelopes and content and awaits answers. Whatever breaks is one exception, `LinkFailed`, with the
reply for the client and the reason for the log: always 4yz, never a guess at what the server may have meant; 5yz only
where a message asks for protection that the server does not have.

RFC 5321 section 4.2; RFC 3207 section 4; Postfix XCLIENT_README and XFORWARD_README.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from smtpgate.config.model import Backend
from smtpgate.interfaces import ILinkOwner
from smtpgate.policy.protection import NO_NEED
from smtpgate.policy.transaction import Session, TLSFacts
from smtpgate.proxy.plan import NO_STARTTLS, Plan
from smtpgate.smtp import proxyline, status
from smtpgate.smtp.capability import Capabilities, parse_capabilities
from smtpgate.smtp.client import ClientConnection, Desync
from smtpgate.smtp.command import encode_xtext
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock, Signal, TimeUp


class LinkFailed(Exception):
    """The link cannot be used any more.

    :ivar stage: where: connect, greeting, ehlo, starttls, xclient, auth, mail, rcpt, data, body, end, idle
    :ivar reply: what the client hears, 4yz
    :ivar reason: for the log
    :ivar is_busy: the server is there and declined for now
    :ivar is_late: it did not answer in its time
    :ivar is_attack: clear text came where only a handshake may: nothing is tried in clear after that (A-22)
    :ivar fault: what of TLS could not be had, by the words of RFC 8460 section 4.3; "" where it was something else
    """

    def __init__(
        self,
        stage: str,
        reply: Reply,
        reason: str,
        is_busy: bool = False,
        *,
        is_late: bool = False,
        is_attack: bool = False,
        fault: str = "",
    ) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reply = reply
        self.reason = reason
        self.is_busy = is_busy
        self.is_late = is_late
        self.is_attack = is_attack
        self.fault = fault

    @property
    def is_unmet(self) -> bool:
        """The server does not have the protection that was asked for, and is not expected to have it soon."""
        return self.stage == "starttls" and self.reply.is_permanent

    def again(self) -> LinkFailed:
        """The same, to be raised: one that is raised knows the frames that it came through, and a link that keeps it
        would lead back to itself."""
        return LinkFailed(
            self.stage,
            self.reply,
            self.reason,
            self.is_busy,
            is_late=self.is_late,
            is_attack=self.is_attack,
            fault=self.fault,
        )


@implementer(ILinkOwner)
class Link:
    """One connection to a server.

    :ivar capabilities: what the server offers on this connection, inside TLS where there is TLS
    :ivar answers: replies that came and were not yet taken
    :ivar is_dirty: a transaction was begun on it and not ended
    :ivar failure: why it is over
    :ivar is_personal: something was said on it that holds for one client only: a login of its own, or who it is
    :ivar ehlo_name: our name there
    :ivar is_trial: it was opened to see whether the server works again
    :ivar begun: when it got its slot
    :ivar tls_s: how long its handshake took; 0.0 without one
    :ivar need: what was asked of it when it was opened
    :ivar traffic_class: the class whose slot it has; "" while it has no transaction and no slot
    """

    __slots__ = (
        "backend",
        "server",
        "capabilities",
        "tls",
        "is_extended",
        "is_dirty",
        "failure",
        "banner",
        "transactions",
        "user",
        "_clock",
        "_wire",
        "_edge",
        "answers",
        "_signal",
        "_stage",
        "_room",
        "is_personal",
        "ehlo_name",
        "is_trial",
        "traffic_class",
        "begun",
        "opened",
        "tls_s",
        "on_over",
        "need",
        "_unmet",
    )

    def __init__(self, backend: Backend, server: str, clock: Clock) -> None:
        self.backend = backend
        self.server = server
        self.capabilities = Capabilities()
        self.tls: TLSFacts | None = None
        self.is_extended = False
        self.is_dirty = False
        self.failure: LinkFailed | None = None
        self.banner = ""
        self.transactions = 0
        self.user = ""
        self.is_personal = False
        self.ehlo_name = ""
        self.is_trial = False
        self.traffic_class = ""
        self.begun = 0.0
        self.opened = 0.0
        self.tls_s = 0.0
        self._clock = clock
        self._wire = ClientConnection()
        self._edge: Any = None
        self.answers: deque[Reply] = deque()
        self._signal = Signal()
        self._room: Signal | None = None
        self._stage = "connect"
        self.on_over: Callable[[Link], None] | None = None
        self.need = NO_NEED
        self._unmet: Reply | None = None

    def renew(self) -> None:
        """Begin again with another address, after an opening that failed."""
        if self._edge is not None:
            self._edge.abort()
        self._edge = None
        self.failure = None
        self.tls = None
        self._wire = ClientConnection()
        self.answers.clear()
        self._signal = Signal()
        self._stage = "connect"

    def begin(self, traffic_class: str, now: float) -> None:
        """It has a slot of that class."""
        self.traffic_class = traffic_class
        self.begun = now

    def end(self) -> str:
        """It has none any more; the class that it was of, or ""."""
        name, self.traffic_class = self.traffic_class, ""
        return name

    def _over(self) -> None:
        """Tell the pool that the slot is free, once."""
        if self.on_over is not None:
            told, self.on_over = self.on_over, None
            told(self)

    # ILinkOwner

    def connected(self) -> None:
        """For the edge."""
        self._signal.fire()

    def received(self, octets: bytes) -> None:
        """For the edge: what the server said."""
        desync: Desync | None = None
        came = self._wire.receive(octets)
        if came:
            last = came[-1]
            if type(last) is Desync:
                desync = last
                del came[-1]
            self.answers.extend(came)  # type: ignore[arg-type]
        if desync is not None and desync.reply is None:
            # Out of step: not even the reply before the surplus is sure to belong to its command.
            self.answers.clear()
            is_attack = self._stage == "starttls"
            reply = status.BACKEND_TLS_FAILED if is_attack else status.BACKEND_PROTOCOL
            # First the edge: who hears of the failure may open the link anew at once.
            self._edge.abort()
            reason = f"{desync.reason}: {desync.octets[:80]!r}"
            self._break(LinkFailed(self._stage, reply, reason, is_attack=is_attack))
            return
        if self.answers and self._signal.task is not None:
            self._signal.fire()
        elif self._room is not None and self._wire.early is not None and self._room.task is not None:
            self._room.fire()
        if desync is not None and desync.reply is not None:
            reply = Reply(451, "4.3.2", desync.reply.lines)
            self._edge.abort()
            self._break(LinkFailed(self._stage, reply, f"server closes: {desync.reply.text}"))

    def drained(self) -> None:
        """For the edge: there is room to write."""
        if self._room is not None and self._room.task is not None:
            self._room.fire()

    def tls_started(self, facts: TLSFacts) -> None:
        """For the edge."""
        self.tls = facts
        self._signal.fire()

    def lost(self, reason: str) -> None:
        """For the edge: the connection is over."""
        stage, fault = self._stage, ""
        if stage == "connect" and reason == "ECONNRESET":
            # A port without a server says ECONNREFUSED; this one let us in and was gone before we could look (P-219).
            stage = "greeting"
        if stage == "connect":
            reply = status.BACKEND_UNREACHABLE
        elif stage == "starttls":
            fault = self._edge.tls_fault
            reply = self._unmet if fault and self._unmet is not None else status.BACKEND_TLS_FAILED
        else:
            reply = status.BACKEND_LOST
        if self._wire.early is not None and self._wire.is_closing:
            reply = Reply(451, "4.3.2", self._wire.early.lines)
        self._break(LinkFailed(stage, reply, reason, fault=fault))

    def _break(self, failure: LinkFailed) -> None:
        if self.failure is not None:
            return
        self.failure = failure
        self._over()
        for signal in (self._signal, self._room):
            if signal is not None and signal.task is not None:
                signal.fail(failure.again())
                return

    # Talking

    @property
    def is_usable(self) -> bool:
        """True when a command may be sent."""
        return self.failure is None and not self._wire.is_closing

    @property
    def early(self) -> Reply | None:
        """A refusal that came while content was on its way."""
        return self._wire.early

    def send(self, kind: str, line: bytes, stage: str = "") -> None:
        """Write a command; its answer comes to `answer`."""
        self._stage = stage or kind.lower()
        self._edge.write(self._wire.send(kind, line))

    def send_all(self, commands: list[tuple[str, bytes]]) -> None:
        """Write several commands in one packet (PIPELINING)."""
        self._stage = commands[0][0].lower()
        self._edge.write(b"".join([self._wire.send(kind, line) for kind, line in commands]))

    async def answer(self, deadline: float) -> Reply:
        """The next reply; raises LinkFailed where none will come."""
        answers = self.answers
        while not answers:
            if self.failure is not None:
                raise self.failure.again()
            self._signal.deadline = deadline
            try:
                await self._signal
            except TimeUp:
                # A server that never comes to its EHLO list is as good as not there (DESIGN, budget of the opening).
                is_opening = self._stage in ("greeting", "ehlo", "helo")
                reply = status.BACKEND_UNREACHABLE if is_opening else status.BACKEND_LOST
                self._give_up(LinkFailed(self._stage, reply, f"no reply in time to {self._stage}", is_late=True))
        return answers.popleft()

    def _give_up(self, failure: LinkFailed) -> None:
        self.failure = self.failure or failure
        if self._edge is not None:
            self._edge.abort()
        self._over()
        raise self.failure.again()

    async def ask(self, kind: str, line: bytes, deadline: float) -> Reply:
        """Send one command and await its reply."""
        self.send(kind, line)
        return await self.answer(deadline)

    # Content

    def start_data(self) -> None:
        """The 354 is there."""
        self._stage = "body"
        self._wire.start_data()

    def content(self, chunk: Chunk, prefix: bytes = b"") -> None:
        """Write content of a DATA phase, `prefix` (already coded) before it."""
        octets = self._wire.content(chunk)
        self._edge.write(prefix + octets if prefix else octets)

    async def room(self, deadline: float) -> None:
        """Wait while the server takes octets more slowly than they come; returns early when it refused."""
        while self._edge.is_full and self.failure is None and self._wire.early is None:
            self._room = Signal()
            self._room.deadline = deadline
            try:
                await self._room
            except TimeUp:
                self._give_up(LinkFailed("body", status.BACKEND_LOST, "server does not take the message", is_late=True))
        if self.failure is not None:
            raise self.failure.again()

    def end_data(self, chunk: Chunk | None = None, prefix: bytes = b"", each: int = 0) -> None:
        """Write the last content and the terminator: the point of no return.

        :param each: for so many recipients the server may answer one by one
        """
        octets = prefix + (self._wire.content(chunk) if chunk is not None else b"") + self._wire.end_data(each)
        self._stage = "end"
        self._edge.write(octets)

    def send_chunk(self, content: bytes) -> None:
        """Write one BDAT chunk that others follow."""
        self._stage = "body"
        self._edge.write(self._wire.send("BDAT", b"BDAT %d\r\n" % len(content) + content))

    def send_last_chunk(self, content: bytes, each: int = 0) -> None:
        """Write the last BDAT chunk: the point of no return; `each` as in `end_data`."""
        self._stage = "end"
        self._edge.write(self._wire.send_last(b"BDAT %d LAST\r\n" % len(content) + content, each))

    @property
    def waiting(self) -> int:
        """How many replies are due or not yet taken."""
        return self._wire.waiting + len(self.answers)

    # Ending

    def reset(self) -> None:
        """Say RSET now; `settle` takes the reply when the link is used again."""
        self.is_dirty = True
        self.send("RSET", b"RSET\r\n")

    @property
    def is_settled(self) -> bool:
        """True when MAIL may be sent without a look at what is pending."""
        return not self.is_dirty and self.failure is None and not self.answers and self._wire.is_idle

    async def settle(self, deadline: float) -> None:
        """Make sure that no transaction is open before a new one; a server that refuses RSET is not used again."""
        if not self.is_usable:
            raise (self.failure or LinkFailed("idle", status.BACKEND_LOST, "closing")).again()
        while self._wire.waiting or self.answers:
            reply = await self.answer(deadline)
            if not reply.is_positive:
                raise LinkFailed("idle", status.BACKEND_LOST, f"RSET refused: {reply.code} {reply.text}")
        self.is_dirty = False

    def quit(self) -> None:
        """Say QUIT and go, without waiting for the 221 (Postfix does the same: the outcome is known already)."""
        if self._edge is None:
            return
        if self.failure is None and self._stage not in ("connect", "greeting", "starttls", "body"):
            self._edge.write(self._wire.send("QUIT", b"QUIT\r\n"))
        self.failure = self.failure or LinkFailed("idle", status.BACKEND_LOST, "closed by us")
        self._edge.close()
        self._over()

    def abort(self, reason: str = "given up") -> None:
        """Drop the connection: whatever the server has of a message, it has no end of it."""
        self.failure = self.failure or LinkFailed(self._stage, status.BACKEND_LOST, reason)
        if self._edge is not None:
            self._edge.abort()
        self._over()

    # Opening

    async def open(
        self,
        connector: Any,
        address: Any,
        host: str,
        plan: Plan,
        hostname: str,
        session: Session | None,
        deadline: float,
    ) -> None:
        """Connect and come to the point where MAIL may be sent. Raises LinkFailed.

        :param plan: how it is protected
        :param hostname: our own name
        :param session: for whom; None for a probe
        """
        mode, info = plan.mode, self.backend.client_info
        self.need, self._unmet = plan.need, plan.unmet
        has_header = info in ("proxy-v1", "proxy-v2")
        try:
            self._edge = connector.connect(address, self, host, not has_header and mode != "implicit")
        except OSError as error:
            raise LinkFailed("connect", status.BACKEND_UNREACHABLE, str(error)) from error
        await self._event(deadline, "connect")
        self.opened = self._clock.seconds()
        if has_header:
            self._edge.write(self._proxy_header(session, info))
            self.is_personal = True
        if mode == "implicit":
            await self._start_tls(plan.tls, deadline)
        self._stage = "greeting"
        greeting = await self.answer(deadline)
        self.banner = greeting.text
        if greeting.code != 220:
            raise LinkFailed("greeting", status.BACKEND_BUSY, f"greeting {greeting.code} {greeting.text}", True)
        ehlo_name = session.helo if self.backend.ehlo_name == "client" and session is not None and session.helo else ""
        self.ehlo_name = ehlo_name
        name = (ehlo_name or hostname).encode("ascii", "replace")
        if greeting.text.lower() in (f"{hostname} esmtp".lower(), f"{hostname} lmtp".lower()):
            # Word for word what we say ourselves: a server of the same name on this machine says more.
            raise LinkFailed("greeting", status.PROXY_LOOP, "the server greets with our own name: a loop")
        await self._hello(name, deadline)
        if mode in ("optional", "required"):
            await self._maybe_starttls(plan, name, deadline)
        if info == "xclient":
            await self._xclient(session, name, deadline)
        if self.backend.credentials is not None and session is not None:
            await self._login(deadline)
        self._stage = "idle"

    async def _event(self, deadline: float, stage: str) -> None:
        if self.failure is not None:
            raise self.failure.again()
        self._stage = stage
        self._signal.deadline = deadline
        try:
            await self._signal
        except TimeUp:
            reply = status.BACKEND_UNREACHABLE if stage == "connect" else status.BACKEND_TLS_FAILED
            if stage == "connect" and self._edge.is_connected:
                stage = "greeting"
            self._give_up(LinkFailed(stage, reply, f"no answer in time at {stage}", is_late=True))

    async def _hello(self, name: bytes, deadline: float) -> None:
        verb = b"LHLO " if self.backend.protocol == "lmtp" else b"EHLO "
        reply = await self.ask("EHLO", verb + name + b"\r\n", deadline)
        if reply.is_positive:
            self.is_extended = True
            self.capabilities = parse_capabilities(reply)
            if "REQUIRETLS" in self.capabilities and not (self.tls is not None and self.tls.is_verified):
                # The promise is of a server whose certificate was checked (RFC 8689 section 2).
                words = {word: value for word, value in self.capabilities.words.items() if word != "REQUIRETLS"}
                self.capabilities = Capabilities(words)
            return
        if reply.code == 421 or self.backend.protocol == "lmtp":
            raise LinkFailed("ehlo", status.BACKEND_BUSY, f"EHLO refused: {reply.code} {reply.text}", True)
        reply = await self.ask("HELO", b"HELO " + name + b"\r\n", deadline)
        if not reply.is_positive:
            raise LinkFailed("ehlo", status.BACKEND_BUSY, f"HELO refused: {reply.code} {reply.text}", True)
        self.is_extended = False
        self.capabilities = Capabilities()

    async def _maybe_starttls(self, plan: Plan, name: bytes, deadline: float) -> None:
        mode, unmet = plan.mode, plan.unmet or status.BACKEND_NO_TLS
        if "STARTTLS" not in self.capabilities:
            if mode == "optional":
                return
            raise LinkFailed("starttls", unmet, "STARTTLS is required and not offered", fault=NO_STARTTLS)
        reply = await self.ask("STARTTLS", b"STARTTLS\r\n", deadline)
        if not reply.is_positive:
            if mode == "optional" and self.is_usable:
                self._stage = "idle"
                return
            # What it cannot do now it may do later.
            said = unmet if reply.is_permanent else status.BACKEND_NO_TLS
            reason = f"STARTTLS refused: {reply.code} {reply.text}"
            raise LinkFailed("starttls", said, reason, fault=NO_STARTTLS)
        if self._wire.has_unread or self.answers or self.failure is not None:
            self._edge.abort()
            reason = "octets in clear behind the 220 to STARTTLS"
            raise LinkFailed("starttls", status.BACKEND_TLS_FAILED, reason, is_attack=True)
        await self._start_tls(plan.tls, deadline)
        await self._hello(name, deadline)

    async def _start_tls(self, tls: Any, deadline: float) -> None:
        self._stage = "starttls"
        began = self._clock.seconds()
        self._edge.start_tls(tls)
        if self.tls is None:
            await self._event(deadline, "starttls")
        self.tls_s = self._clock.seconds() - began

    def _proxy_header(self, session: Session | None, info: str) -> bytes:
        remote = self._edge.remote()
        if session is None:
            local = self._edge.local()
            if info == "proxy-v2":
                return proxyline.version2("", 0, "", 0)
            return proxyline.version1(local[0], local[1], *remote)
        make = proxyline.version1 if info == "proxy-v1" else proxyline.version2
        return make(
            session.client_ip, session.client_port, session.local_ip or remote[0], session.local_port or remote[1]
        )

    async def _xclient(self, session: Session | None, name: bytes, deadline: float) -> None:
        """Tell the server who the client is, so that it judges the client and not us."""
        offered = self.capabilities.xclient
        if not offered:
            # What XCLIENT would say, the connection itself says already, when the client sits where we sit.
            if session is None or session.client_ip == self._edge.local()[0]:
                return
            raise LinkFailed("xclient", status.BACKEND_NO_XCLIENT, "XCLIENT is configured and not offered")
        if session is None:
            return
        words = [b"XCLIENT"]
        for attribute, value in _xclient_values(session):
            if attribute not in offered:
                continue
            word = attribute.encode("ascii") + b"=" + value
            if sum(map(len, words)) + len(words) + len(word) > 500:
                await self._send_xclient(words, deadline)
                words = [b"XCLIENT"]
            words.append(word)
        await self._send_xclient(words, deadline)
        self.is_personal = True
        await self._hello(name, deadline)

    async def _send_xclient(self, words: list[bytes], deadline: float) -> None:
        reply = await self.ask("XCLIENT", b" ".join(words) + b"\r\n", deadline)
        if not reply.is_positive:
            raise LinkFailed("xclient", status.BACKEND_NO_XCLIENT, f"XCLIENT refused: {reply.code} {reply.text}")

    async def xforward(self, session: Session, deadline: float) -> None:
        """Tell the server whose message comes next (XFORWARD goes before each MAIL)."""
        offered = self.capabilities.xforward
        if not offered:
            raise LinkFailed("xclient", status.BACKEND_NO_XCLIENT, "XFORWARD is configured and not offered")
        values = dict(_xclient_values(session))
        values["SOURCE"] = b"REMOTE"
        values["IDENT"] = encode_xtext(session.id.encode("ascii"))
        words = [b"XFORWARD"] + [
            name.encode("ascii") + b"=" + value for name, value in values.items() if name in offered
        ]
        reply = await self.ask("XFORWARD", b" ".join(words) + b"\r\n", deadline)
        if not reply.is_positive:
            raise LinkFailed("xclient", status.BACKEND_NO_XCLIENT, f"XFORWARD refused: {reply.code} {reply.text}")

    async def _login(self, deadline: float) -> None:
        """Log in with the gateway's own credentials."""
        credentials = self.backend.credentials
        assert credentials is not None
        mechanisms = self.capabilities.mechanisms
        user, password = credentials.user.encode(), credentials.password.reveal().encode()
        if "PLAIN" in mechanisms:
            secret = base64.b64encode(b"\x00" + user + b"\x00" + password)
            reply = await self.ask("AUTH", b"AUTH PLAIN " + secret + b"\r\n", deadline)
        elif "LOGIN" in mechanisms:
            reply = await self.ask("AUTH", b"AUTH LOGIN\r\n", deadline)
            for word in (user, password):
                if reply.code == 334:
                    reply = await self.ask("AUTH", base64.b64encode(word) + b"\r\n", deadline)
        else:
            raise LinkFailed("auth", status.BACKEND_LOGIN, "the server offers no mechanism that we can log in with")
        if reply.code != 235:
            raise LinkFailed("auth", status.BACKEND_LOGIN, f"login refused: {reply.code} {reply.text}")
        self.user = credentials.user


def _xclient_values(session: Session) -> list[tuple[str, bytes]]:
    """Attributes in the order in which Postfix reads them best: the address last, since trust is judged by it."""
    values = [
        ("NAME", session.client_name or "[UNAVAILABLE]"),
        ("PORT", str(session.client_port) if session.client_port else "[UNAVAILABLE]"),
        ("PROTO", "ESMTP" if session.is_extended else "SMTP"),
        ("HELO", session.helo or "[UNAVAILABLE]"),
        ("LOGIN", session.user or "[UNAVAILABLE]"),
        ("DESTADDR", _xclient_address(session.local_ip)),
        ("DESTPORT", str(session.local_port) if session.local_port else "[UNAVAILABLE]"),
        ("ADDR", _xclient_address(session.client_ip)),
    ]
    return [(name, encode_xtext(value.encode("utf-8"))) for name, value in values]


def _xclient_address(address: str) -> str:
    return f"IPV6:{address}" if ":" in address else address or "[UNAVAILABLE]"
