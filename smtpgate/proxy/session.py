"""One client's life, verb by verb.

A session is one coroutine: it takes a wire event, does what the verb means in three steps (check, filter, proceed),
answers, and takes the next. Its transaction lives in `Exchange` (proxy.exchange), which this module calls for MAIL to
the end of data. Whatever happens, `run` ends with every link, spool and filter object given up and told about.

Read `Session.run` first; then `docs/flow.md` names the ten steps of a message in the order of this file.
"""

from __future__ import annotations

import base64
import functools
import os
from typing import Any

from smtpgate.interfaces import ClientGone
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session as Facts
from smtpgate.policy.verdict import merge
from smtpgate.proxy.exchange import Exchange
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.pipeline import NOBODY
from smtpgate.proxy.pool import Pool, is_nearby
from smtpgate.proxy.revision import Door, Engine, Revision
from smtpgate.smtp import status
from smtpgate.smtp.address import literal_address
from smtpgate.smtp.capability import Capabilities, intersect, unite
from smtpgate.smtp.command import Command
from smtpgate.smtp.proxyline import BadHeader
from smtpgate.smtp.reply import Reply, printable
from smtpgate.smtp.server import NEED_DATA, AuthLine, EndOfData, Violation
from smtpgate.tasks import Task, TimeUp

#: Verbs that do no mail; past the junk limit each counts as an error (Postfix smtpd_junk_command_limit).
_JUNK = frozenset({"NOOP", "RSET", "VRFY", "HELP", "EHLO", "HELO", "LHLO"})
_MECHANISMS_LOCAL = ("PLAIN", "LOGIN")


_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_random = memoryview(b"")


def new_id(wall: float) -> str:
    """26 characters that sort by time: ten of milliseconds, sixteen of chance (80 bits), base 32."""
    global _random
    if len(_random) < 16:
        _random = memoryview(os.urandom(4096).translate(_TO_ALPHABET))
    chance, _random = bytes(_random[:16]), _random[16:]
    number = int(wall * 1000)
    return f"{_slow_part(number >> 20)}{_PAIRS[number >> 10 & 1023]}{_PAIRS[number & 1023]}{chance.decode('ascii')}"


_TO_ALPHABET = bytes(ord(_ALPHABET[octet & 31]) for octet in range(256))


_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


@functools.lru_cache(maxsize=16)
def _slow_part(number: int) -> str:
    return _PAIRS[number >> 20 & 1023] + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]


class Session:
    """One client connection at work."""

    __slots__ = (
        "facts",
        "engine",
        "revision",
        "door",
        "front",
        "exchange",
        "is_draining",
        "task",
        "run_filters",
        "trace",
        "_link",
        "_link_pool",
        "_junk",
        "_auth_failures",
        "_offered",
        "_reception",
        "_is_pinned",
        "_clock",
        "__weakref__",
    )

    def __init__(self, engine: Engine, revision: Revision, door: Door, front: Any, reception: Any) -> None:
        """
        :param front: an IFrontLeg
        :param reception: whom the session tells that it knows its client (`admit`) and that it is over (`ended`)
        """
        self.engine = engine
        self.revision = revision
        self.door = door
        self.front = front
        self._clock = engine.clock
        wall = engine.wall()
        self.facts = Facts(new_id(wall), door.listener.name, door.listener.role)
        self.facts.started = wall
        self.facts.begun = engine.clock.seconds()
        self.facts.revision = revision.id
        self.exchange: Exchange | None = None
        self.is_draining = False
        self.task: Task | None = None
        self.run_filters = door.chain.session(self.facts) if door.chain.has_session else None
        self._link: Link | None = None
        self._link_pool: Pool | None = None
        #: The start of our trace field; made at the first message after each greeting or login.
        self.trace = ""
        self._junk = 0
        self._auth_failures = 0
        self._offered = Capabilities()
        self._is_pinned = False
        self._reception = reception

    def start(self) -> None:
        """Begin to serve."""
        self.revision.enter()
        self.task = Task(self.run(), self.engine.keeper)
        self.task.start()

    async def run(self) -> None:
        """From the greeting to the end."""
        facts = self.facts
        try:
            await self._open()
            front, verbs, now = self.front, self._VERBS, self._clock.seconds
            wire = front.wire
            patience = self.revision.settings.timeouts.command_s
            deadline = 0.0
            while True:
                event = wire.next_event()
                if event is NEED_DATA:
                    # One deadline for a whole command: its octets do not extend it (P-242).
                    deadline = deadline or now() + patience
                    if front.is_full:
                        # A client that does not read its replies is not read either (P-247).
                        await front.sent(deadline)
                    await front.input(deadline)
                    continue
                deadline = 0.0
                if type(event) is Command:
                    waiting = verbs[event.verb](self, event)
                    if waiting is not None:
                        await waiting
                elif type(event) is Violation:
                    self._violation(event)
                if facts.closed_by:
                    break
                if self.is_draining and self.exchange is None:
                    self._close("drain", status.SHUTTING_DOWN)
                    break
        except ClientGone as gone:
            facts.closed_by = facts.closed_by or "client"
            self._note("client", "gone", gone.reason)
            self._client_gone(gone)
        except TimeUp:
            self._close("timeout", status.TIMEOUT)
        except _Closing as closing:
            if closing.reply is not None:
                self._close(closing.by, closing.reply)
            facts.closed_by = facts.closed_by or closing.by
        except Exception as error:
            self.engine.tell(
                told.Happened("session.crashed", "error", repr(error), (("session_id", facts.id), ("error", error)))
            )
            self._close("error", status.INTERNAL_CLOSING)
        finally:
            self._end()

    def _end(self) -> None:
        facts = self.facts
        if self.exchange is not None:
            self.exchange.abort()
        if self._link is not None:
            self._link.quit()
            self._link = None
        self.front.close(linger=facts.closed_by not in ("client", "quit"))
        if self.run_filters is not None:
            facts.findings = self.run_filters.findings
            self.run_filters.close()
        facts.ended = self._clock.seconds()
        facts.octets_in, facts.octets_out = self.front.octets_in, self.front.octets_out
        self.engine.tell(told.SessionEnded(facts))
        self.revision.leave()
        self._reception.ended(self)

    def _note(self, who: str, what: str, detail: object = "") -> None:
        self.facts.note(self._clock.seconds(), who, what, detail)

    # Ending early

    def gone(self, gone: ClientGone) -> None:
        """The client left while we were not waiting for it (called by the front leg)."""
        exchange = self.exchange
        if exchange is not None and exchange.is_committing:
            # The backend has the end of data: its answer is awaited and noted, whoever hears it.
            return
        if not gone.is_reset and (self.front.wire.has_input or exchange is not None and exchange.has_end):
            # It only stopped sending, and what it sent before is still to be answered (P-236).
            return
        if self.task is not None:
            self.task.throw(gone)

    def drain(self) -> None:
        """Let the transaction in flight finish, then say goodbye; an idle session ends now."""
        self.is_draining = True
        if self.exchange is None and self.task is not None:
            self.task.throw(_Closing("drain", status.SHUTTING_DOWN))

    def kill(self, reply: Reply = status.SHUTTING_DOWN, by: str = "server") -> None:
        """End it now, unless its message is being committed."""
        if self.exchange is not None and self.exchange.is_committing:
            self.is_draining = True
            return
        if self.task is not None:
            self.task.throw(_Closing(by, reply))

    def _close(self, by: str, reply: Reply) -> None:
        """Say a last word, unasked, and mark the session as over."""
        facts = self.facts
        facts.closed_by = facts.closed_by or by
        if not self.front.is_gone:
            self.front.flush()
            self.front.write(reply.octets(facts.id))
            self._note("us", "close", reply.text)

    def _client_gone(self, gone: ClientGone) -> None:
        if self.exchange is not None:
            self.exchange.client_gone()

    # Opening

    async def _open(self) -> None:
        facts, front, listener = self.facts, self.front, self.door.listener
        timeouts = self.revision.settings.timeouts
        facts.peer_ip, facts.peer_port = front.peer
        facts.client_ip, facts.client_port = front.peer
        if listener.proxy_protocol_from:
            await self._proxy_header(timeouts.proxy_header_s)
        if listener.tls == "implicit":
            if self.door.tls is None:
                raise _Closing("error", status.TLS_UNAVAILABLE)
            facts.tls = await front.start_tls(self.door.tls, self._clock.seconds() + timeouts.tls_s)
            facts.sni = facts.tls.sni
        facts.is_trusted = bool(listener.relay_from and listener.relay_from.contains(facts.client_ip))
        self.engine.tell(told.SessionOpened(facts))
        if self.run_filters is not None:
            await self._filter("connect")
        wire = front.wire
        if wire.has_input and listener.early_talker == "reject" and listener.tls != "implicit":
            self.engine.tell(told.ConnectionRefused(listener.name, facts.client_ip, "early_talker"))
            self._close("server", status.EARLY_TALKER)
            raise _Closing("server", None)
        wire.greet(
            f"220 {self.revision.settings.hostname} {'LMTP' if self.door.rules.is_lmtp else 'ESMTP'}\r\n".encode()
        )

    async def _proxy_header(self, seconds: float) -> None:
        facts, listener = self.facts, self.door.listener
        problem = ""
        if not listener.proxy_protocol_from.contains(facts.peer_ip):
            problem = "peer not in proxy_protocol_from"
        else:
            try:
                origin = await self.front.proxy_header(self._clock.seconds() + seconds)
            except TimeUp:
                problem = "no PROXY header in time"
            else:
                if isinstance(origin, BadHeader):
                    problem = origin.reason
                elif origin.ip:
                    facts.client_ip, facts.client_port = origin.ip, origin.port
                    facts.local_ip, facts.local_port = origin.destination_ip, origin.destination_port
        if problem:
            self.engine.tell(told.ConnectionRefused(listener.name, facts.peer_ip, "proxy_error", problem))
            facts.closed_by = "server"
            raise _Closing("server", None)
        refusal = self._reception.admit(self)
        if refusal is not None:
            raise _Closing("server", refusal)

    # Replies

    def _reply(self, slot: Any, reply: Reply, reference: str = "") -> None:
        self.front.wire.reply(slot, reply, reference)

    def _violation(self, violation: Violation) -> None:
        """The client broke the protocol: answer, count, and end the session where nothing can follow."""
        facts = self.facts
        reply = violation.suggested
        verb = violation.verb
        reference = ""
        if verb in ("MAIL", "RCPT", "DATA", "BDAT", "AUTH"):
            reference = self.exchange.facts.id if self.exchange is not None else facts.id
        self._note("client", violation.reason, verb)
        self.engine.tell(told.CommandRefused(facts, verb, reply.code, violation.reason))
        if reply is status.NO_RECIPIENTS or reply is status.LMTP_NO_RECIPIENTS:
            # The refusals before it were counted where they were made.
            self._reply(violation, reply, reference)
            return
        self._reply(violation, reply, reference)
        if violation.is_fatal:
            self.front.flush()
            facts.closed_by = "server"
            raise _Closing("server", None)
        self._error()

    def _error(self) -> None:
        facts = self.facts
        facts.errors += 1
        if facts.errors >= self.revision.settings.limits.errors:
            self._close("error", status.TOO_MANY_ERRORS)
            raise _Closing("error", None)

    def _refuse(self, slot: Any, reply: Reply, reason: str, reference: str = "") -> None:
        """A refusal of our own that counts as an error of the client."""
        self.engine.tell(told.CommandRefused(self.facts, slot.verb, reply.code, reason))
        self._note("us", reason, slot.verb)
        self._reply(slot, reply, reference or self.facts.id)
        if reply.is_permanent:
            self._error()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > self.revision.settings.limits.junk:
            self._error()

    # Filters of the session

    @property
    def skips(self) -> frozenset[str]:
        """Names of the filters that an `accept` of the session silences, in its transactions too."""
        return self.run_filters.skips if self.run_filters is not None else NOBODY

    async def _filter(self, stage: str, *args: object) -> Reply | None:
        """The findings of a session stage; a Reply where they refuse. At `connect` a refusal ends the session."""
        assert self.run_filters is not None
        found = await self.run_filters.run(stage, *args)
        verdict = merge(found)
        if not verdict.is_refusal:
            return None
        assert verdict.decided_by is not None
        reply = verdict.decided_by.reply()
        self._note("filter", f"{verdict.decided_by.filter}: {verdict.decided_by.reason}", verdict.decided_by.detail)
        if stage == "connect":
            await self._turn_away(reply)
        return reply

    async def _turn_away(self, reply: Reply) -> None:
        """A client that is refused at the door: 554, then 503 to all but QUIT (RFC 5321 section 3.1)."""
        facts = self.facts
        self.engine.tell(told.ConnectionRefused(facts.listener, facts.client_ip, "refused_policy", reply.text))
        if reply.is_transient:
            self._close("server", Reply(421, "4.7.1", reply.lines))
            raise _Closing("server", None)
        wire = self.front.wire
        wire.greet(Reply(554, reply.enhanced, reply.lines).octets(facts.id))
        while True:
            event = await self.front.event(self._clock.seconds() + self.revision.settings.timeouts.command_s)
            if isinstance(event, Command) and event.verb == "QUIT":
                self._quit(event)
                raise _Closing("quit", None)
            if isinstance(event, Command | Violation | EndOfData):
                self._reply(event, status.BAD_SEQUENCE)
                self._error()

    # EHLO and its kin

    async def _ehlo(self, command: Command) -> None:
        facts, front = self.facts, self.front
        name = printable(command.argument.decode("latin-1"))
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self._count_junk()
        if self.run_filters is not None and "helo" in self.door.chain.stages:
            refused = await self._filter("helo", name)
            if refused is not None:
                self._refuse(command, refused, "helo refused by a filter")
                return
        facts.helo = name
        facts.stage = "helo"
        self.trace = ""
        self._note("client", command.verb, name)
        hostname = self.revision.settings.hostname
        if command.verb == "HELO":
            facts.is_extended = False
            facts.protocol = "SMTP"
            front.wire.offer(None)
            self._reply(command, Reply(250, "", (hostname,)))
            return
        facts.is_extended = True
        facts.protocol = "LMTP" if command.verb == "LHLO" else "ESMTP"
        behind = await self._behind()
        offered, reply = self._offer(behind)
        front.wire.offer(offered)
        self._offered = offered
        self._reply(command, reply)

    async def _behind(self) -> tuple[Capabilities, ...]:
        """What is known of the backends that this session's mail may go to."""
        if self._is_pinned and self._link is not None and self._link.is_usable:
            return (self._link.capabilities,)
        revision = self.revision
        known = []
        for backend in revision.router.backends(self.door.listener.name):
            pool = revision.pools[backend.name]
            capabilities = pool.capabilities
            if capabilities is None:
                self.front.flush()
                await pool.known()
                capabilities = pool.capabilities
            if capabilities is not None:
                known.append(capabilities)
        return tuple(known)

    def _offer(self, known: tuple[Capabilities, ...]) -> tuple[Capabilities, Reply]:
        """What this session can honour, and the EHLO reply that says so: our own work, and what all backends have."""
        facts, listener = self.facts, self.door.listener
        trusted = bool(listener.xclient_from) and listener.xclient_from.contains(facts.peer_ip)
        key = (known, facts.tls is not None, bool(facts.mechanism), trusted)
        made = self.door.offers.get(key)
        if made is None:
            capabilities = Capabilities(self._words(known, trusted))
            lines = [self.revision.settings.hostname]
            for keyword, value in capabilities.words.items():
                lines.append(f"{keyword} {value}" if value else keyword)
            made = (capabilities, Reply(250, "", tuple(lines)))
            if len(self.door.offers) > 64:
                self.door.offers.clear()
            self.door.offers[key] = made
        return made

    def _words(self, known: tuple[Capabilities, ...], trusted: bool) -> dict[str, str]:
        facts, listener = self.facts, self.door.listener
        behind = (unite if listener.capability_mode == "union" else intersect)(known)
        limits = self.revision.settings.limits
        words = {"PIPELINING": ""}
        sizes = [limits.message_size_octets] + ([behind.size] if behind.size is not None else [])
        words["SIZE"] = str(min(sizes))
        for keyword in ("8BITMIME", "SMTPUTF8", "DSN"):
            if keyword in behind:
                words[keyword] = ""
        if "SMTPUTF8" in words and "8BITMIME" not in words:
            del words["SMTPUTF8"]
        words["ENHANCEDSTATUSCODES"] = ""
        if listener.chunking:
            words["CHUNKING"] = ""
            if "BINARYMIME" in behind and self._is_binary_safe():
                words["BINARYMIME"] = ""
        if facts.tls is None and self.door.tls is not None and listener.tls in ("optional", "required"):
            words["STARTTLS"] = ""
        mechanisms = self._mechanisms(behind)
        if mechanisms:
            words["AUTH"] = " ".join(mechanisms)
        if facts.tls is not None and "REQUIRETLS" in behind:
            words["REQUIRETLS"] = ""
        words["LIMITS"] = self._limits(behind)
        if trusted:
            words["XCLIENT"] = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
            words["XFORWARD"] = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
        words["HELP"] = ""
        return words

    def _is_binary_safe(self) -> bool:
        """BINARYMIME passes only where nothing needs lines: no filter, no newline rule (DESIGN 5)."""
        return not self.door.chain.has_body and self.door.listener.bare_newline == "normalize"

    def _mechanisms(self, behind: Capabilities) -> tuple[str, ...]:
        listener = self.door.listener
        if listener.auth == "off" or self.facts.mechanism:
            return ()
        if listener.auth_requires_tls and self.facts.tls is None:
            return ()
        return behind.mechanisms if listener.auth == "relay" else _MECHANISMS_LOCAL

    def _limits(self, behind: Capabilities) -> str:
        limits = self.revision.settings.limits
        known = behind.limits
        out = [f"RCPTMAX={min(limits.recipients, known.get('RCPTMAX', limits.recipients))}"]
        if limits.messages_per_session:
            out.insert(0, f"MAILMAX={limits.messages_per_session}")
        if self.facts.role == "mx" and self.revision.router.differs_by_recipient(self.door.listener.name):
            out.append("RCPTDOMAINMAX=1")
        return " ".join(out)

    async def _starttls(self, command: Command) -> None:
        facts, front = self.facts, self.front
        if self.door.tls is None:
            self._reply(command, status.TLS_UNAVAILABLE)
            return
        if front.wire.has_input:
            self._violation(Violation("STARTTLS", status.INPUT_BEHIND_STARTTLS, "input behind STARTTLS", True))
        self._reply(command, status.START_TLS)
        self._drop_link()
        deadline = self._clock.seconds() + self.revision.settings.timeouts.tls_s
        try:
            facts.tls = await front.start_tls(self.door.tls, deadline)
        except (ClientGone, TimeUp) as error:
            facts.closed_by = "client"
            front.abort()
            reason = "handshake not done in time" if isinstance(error, TimeUp) else error.reason
            self._note("client", "TLS handshake failed", reason)
            self.engine.tell(told.CommandRefused(facts, "STARTTLS", 0, f"handshake failed: {reason}"))
            raise _Closing("client", None) from error
        facts.sni = facts.tls.sni
        # Nothing that was said in clear counts any more (RFC 3207 section 4.2).
        facts.helo, facts.is_extended, facts.user, facts.mechanism = "", False, "", ""
        self._note("client", "TLS", f"{facts.tls.version} {facts.tls.cipher}")

    # Small verbs

    def _noop(self, command: Command) -> None:
        self._reply(command, status.NOOP_OK)
        self._count_junk()

    def _rset(self, command: Command) -> None:
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self._reply(command, status.RESET_OK)
        self._count_junk()

    def _vrfy(self, command: Command) -> None:
        self._reply(command, status.VRFY)
        self._count_junk()

    def _help(self, command: Command) -> None:
        self._reply(command, status.HELP)
        self._count_junk()

    def _quit(self, command: Command) -> None:
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self._reply(command, status.GOODBYE)
        self.front.flush()
        self.facts.closed_by = "quit"

    # XCLIENT and XFORWARD

    async def _xclient(self, command: Command) -> None:
        facts = self.facts
        listener = self.door.listener
        # Trust is judged on who is connected, not on whom it claims to be.
        if not (listener.xclient_from and listener.xclient_from.contains(facts.peer_ip)):
            self._refuse(command, status.XCLIENT_REFUSED, "not in xclient_from")
            return
        values: dict[str, str] = {}
        for name, octets in command.attributes.items():
            value = _attribute(name, octets, command.verb)
            if value is None:
                self._refuse(command, status.ARGUMENT, f"bad attribute {name}")
                return
            values[name] = value
        if command.verb == "XFORWARD":
            facts.xclient.update({f"forward_{name.lower()}": value for name, value in values.items()})
            self._reply(command, status.NOOP_OK)
            return
        self._drop_link()
        if values.get("ADDR"):
            facts.client_ip = values["ADDR"]
        facts.client_port = int(values["PORT"] or 0) if "PORT" in values else facts.client_port
        facts.client_name = values.get("NAME", facts.client_name)
        facts.local_ip = values.get("DESTADDR", facts.local_ip) or facts.local_ip
        facts.local_port = int(values["DESTPORT"] or 0) if "DESTPORT" in values else facts.local_port
        if "HELO" in values:
            facts.xclient["helo"] = values["HELO"]
        if "LOGIN" in values:
            facts.user, facts.mechanism = values["LOGIN"], "XCLIENT" if values["LOGIN"] else ""
        facts.is_trusted = bool(listener.relay_from and listener.relay_from.contains(facts.client_ip))
        self._note("client", "XCLIENT", facts.client_ip)
        if values.get("ADDR"):
            refusal = self._reception.admit(self)
            if refusal is not None:
                raise _Closing("server", refusal)
        if self.run_filters is not None:
            self.run_filters.close()
            self.run_filters = self.door.chain.session(facts)
            await self._filter("connect")
        self._reply(command, Reply(220, "", (f"{self.revision.settings.hostname} ESMTP",)))

    # AUTH

    async def _auth(self, command: Command) -> None:
        facts, listener = self.facts, self.door.listener
        facts.stage = "auth"
        if listener.auth == "off":
            self._refuse(command, status.AUTH_NOT_OFFERED, "AUTH is off")
            return
        if listener.auth_requires_tls and facts.tls is None:
            self._refuse(command, status.AUTH_NEEDS_TLS, "AUTH in clear")
            return
        if listener.auth == "local":
            await self._auth_local(command)
        else:
            await self._auth_relay(command)

    async def _auth_relay(self, command: Command) -> None:
        """Carry the exchange line by line to the one backend that this session can go to."""
        facts, revision = self.facts, self.revision
        candidates = revision.router.candidates(facts)
        if len(candidates) != 1:
            self._auth_end(command, status.AUTH_UNAVAILABLE, "no single backend")
            return
        pool = revision.pools[candidates[0].name]
        timeouts = revision.settings.timeouts
        self.front.flush()
        link: Link | None = None
        try:
            link = self.take_link(pool)
            if link is None:
                link = await pool.link(facts, "", self._clock.seconds() + timeouts.greeting_s)
            else:
                await link.settle(self._clock.seconds() + timeouts.backend_s)
            if command.mechanism not in link.capabilities.mechanisms:
                self.keep_link(pool, link)
                self._auth_end(command, status.AUTH_MECHANISM, "mechanism not offered")
                return
            if pool.backend.auth_requires_tls and not self._is_protected(pool, link):
                self.keep_link(pool, link)
                self._auth_end(command, status.AUTH_UNAVAILABLE, "the backend leg is not verified")
                return
            line = b"AUTH " + command.mechanism.encode("ascii")
            if command.argument:
                line += b" " + command.argument
            heard = [command.argument] if command.argument else []
            reply = await link.ask("AUTH", line + b"\r\n", self._clock.seconds() + timeouts.backend_s)
            while reply.code == 334:
                answer = await self._challenge(command, reply)
                if answer is None:
                    await link.ask("AUTH", b"*\r\n", self._clock.seconds() + timeouts.backend_s)
                    self.keep_link(pool, link)
                    return
                heard.append(answer)
                reply = await link.ask("AUTH", answer + b"\r\n", self._clock.seconds() + timeouts.backend_s)
                if answer == b"*":
                    self.keep_link(pool, link)
                    self._auth_end(command, status.AUTH_CANCELLED, "cancelled")
                    return
        except LinkFailed as failed:
            if link is not None:
                link.abort(failed.reason)
            self._note("backend", f"lost at {failed.stage}", failed.reason)
            self._auth_end(command, status.AUTH_UNAVAILABLE, failed.reason)
            return
        except BaseException:
            if link is not None:
                link.abort("client gone")
            raise
        if reply.code == 235:
            user = auth_name(command.mechanism, heard)
            link.user = user or "unknown"
            self.keep_link(pool, link)
            self._is_pinned = True
            self._authenticated(command, user, reply)
            if self.door.chain.has_session and "auth" in self.door.chain.stages:
                await self._filter("auth", user)
            return
        if link.is_usable:
            self.keep_link(pool, link)
        else:
            link.abort("closing after AUTH")
        if reply.code == 421 or reply.is_transient:
            reply = Reply(454, "4.7.0", reply.lines)
        self._auth_end(command, reply, "refused by the backend")

    def _is_protected(self, pool: Pool, link: Link) -> bool:
        """Secrets go only over a verified leg; loopback and unix sockets never leave the machine."""
        if link.tls is not None and link.tls.is_verified:
            return True
        server = pool.server(link.server)
        return server is not None and is_nearby(server.config)

    async def _challenge(self, command: Command, reply: Reply) -> bytes | None:
        """Relay a challenge; the client's line, or None where it broke the exchange and was answered."""
        self._reply(command, Reply(334, "", reply.lines))
        event = await self.front.event(self._clock.seconds() + self.revision.settings.timeouts.command_s)
        if isinstance(event, AuthLine):
            return event.octets
        if isinstance(event, Violation):
            self._violation(event)
        return None

    def _authenticated(self, command: Command, user: str, reply: Reply) -> None:
        facts = self.facts
        facts.user, facts.mechanism = user, command.mechanism
        self.trace = ""
        self._note("client", "AUTH", command.mechanism)
        self._reply(command, reply if reply.code == 235 else status.AUTH_OK)

    def _auth_end(self, command: Command, reply: Reply, reason: str) -> None:
        """An exchange that did not succeed; the third failure ends the session."""
        facts = self.facts
        facts.user, facts.mechanism = "", ""
        self.engine.tell(told.CommandRefused(facts, "AUTH", reply.code, reason))
        self._note("us" if reply.is_transient else "backend", "AUTH refused", reason)
        if reply.code == 535:
            self._auth_failures += 1
            if self._auth_failures >= self.revision.settings.limits.auth_failures:
                self._reply(command, reply, facts.id)
                self._close("error", status.TOO_MANY_AUTH_FAILURES)
                raise _Closing("error", None)
        self._reply(command, reply, facts.id)
        if reply.is_permanent:
            self._error()

    async def _auth_local(self, command: Command) -> None:
        """Check PLAIN and LOGIN ourselves."""
        mechanism = command.mechanism
        if mechanism not in _MECHANISMS_LOCAL:
            self._auth_end(command, status.AUTH_MECHANISM, "mechanism not offered")
            return
        prompts = [b""] if mechanism == "PLAIN" else [b"Username:", b"Password:"]
        heard = [command.argument] if command.argument else []
        while len(heard) < len(prompts):
            prompt = base64.b64encode(prompts[len(heard)]).decode("ascii")
            answer = await self._challenge(command, Reply(334, "", (prompt,)))
            if answer is None:
                return
            if answer == b"*":
                self._auth_end(command, status.AUTH_CANCELLED, "cancelled")
                return
            heard.append(answer)
        credentials = decode_credentials(mechanism, heard)
        if credentials is None:
            self._auth_end(command, status.BAD_BASE64, "malformed credentials")
            return
        authzid, user, password = credentials
        self.front.flush()
        good = await self.door.check_password(user, password) if authzid in ("", user) else False
        if not good:
            self._auth_end(command, status.AUTH_FAILED, "wrong credentials")
            return
        self._authenticated(command, user, status.AUTH_OK)
        if self.run_filters is not None and "auth" in self.door.chain.stages:
            await self._filter("auth", user)

    # Links that outlive a transaction (asked by proxy.delivery)

    @property
    def has_link(self) -> bool:
        """Whether a link is kept already."""
        return self._link is not None

    def take_link(self, pool: Pool) -> Link | None:
        """The kept link, where it goes to that backend and still stands."""
        link, self._link = self._link, None
        if link is None:
            return None
        assert self._link_pool is not None
        self._link_pool.wake(link)
        limit = link.capabilities.limits.get("MAILMAX", 0)
        if self._link_pool is pool and link.is_usable and not (limit and link.transactions >= limit):
            return link
        if self._is_pinned and link.is_usable:
            self._link = link
            return None
        link.quit()
        return None

    def keep_link(self, pool: Pool, link: Link) -> None:
        """Keep a link for the next transaction of this session."""
        if not link.is_usable:
            link.abort()
            return
        if self._link is not None and self._link is not link:
            self._link.quit()
        self._link, self._link_pool = link, pool
        if not self._is_pinned:
            pool.rest(link, self._drop_link)

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            assert self._link_pool is not None
            self._link_pool.wake(link)
            link.quit()

    @property
    def is_pinned(self) -> bool:
        """AUTH was relayed: only that very link may carry this session's mail (P-177)."""
        return self._is_pinned

    def is_authentic(self, pool: Pool | None = None) -> bool:
        """Whether the kept link still stands for the login: at that backend, or at any."""
        return self._link is not None and self._link.is_usable and (pool is None or self._link_pool is pool)

    def nameless_reply(self) -> Reply:
        """Why no mail goes where the login does not count: the login stands and the route leads elsewhere, never
        there as somebody without a name (P-177); or the login went with its link."""
        return status.IDENTITY_PINNED if self.is_authentic() else Reply(421, "4.4.2", status.BACKEND_LOST.lines)

    def drift_reply(self, reply: Reply) -> Reply:
        """A server lacks what was offered: known beforehand under `union`, a change of its mind otherwise."""
        return reply if self.door.listener.capability_mode == "union" else status.BACKEND_CHANGED

    # The transaction

    def _mail(self, command: Command) -> Any:
        listener, facts, limits = self.door.listener, self.facts, self.revision.settings.limits
        # The mechanism, not the name, says that there was a login: a relayed exchange need not show the name.
        if listener.role == "submission" and listener.auth_required and not facts.mechanism and not facts.is_trusted:
            self._refuse(command, status.AUTH_REQUIRED, "AUTH required")
            return None
        if limits.messages_per_session and facts.messages >= limits.messages_per_session:
            raise _Closing("server", status.TOO_MANY_MESSAGES)
        if self.is_draining:
            raise _Closing("drain", status.SHUTTING_DOWN)
        size = command.params.get("SIZE") if command.params else None
        if size is not None and int(size) > int(self._offered.words.get("SIZE", limits.message_size_octets)):
            self._refuse(command, status.MESSAGE_TOO_BIG, "declared size over the limit")
            return None
        facts.messages += 1
        facts.stage = "mail"
        self.exchange = exchange = Exchange(self, command, facts.messages)
        if self._is_pinned or "mail" in self.door.chain.stages:
            return self._mail_slowly(command, exchange)
        self.front.wire.reply(command, status.SENDER_OK)
        return None

    async def _mail_slowly(self, command: Command, exchange: Exchange) -> None:
        """A sender that filters, or the backend of a relayed login, have a word on."""
        refused = await exchange.mail()
        if refused is None:
            self._reply(command, status.SENDER_OK)
            return
        self.exchange = None
        exchange.end("refused" if refused.is_permanent else "deferred", refused)
        if refused.code == 421:
            # The login went with its link: the client must log in anew, on a new connection.
            raise _Closing("error", refused)
        self._refuse(command, refused, "sender refused", exchange.facts.id)

    async def _rcpt(self, command: Command) -> None:
        exchange = self.exchange
        assert exchange is not None
        wire = self.front.wire
        group = [command]
        # Those that the client has sent along go to the backend in one packet.
        while wire.has_input:
            event = wire.next_event()
            if type(event) is Command:
                group.append(event)
            elif type(event) is Violation:
                self._violation(event)
            else:
                break
        self.facts.stage = "rcpt"
        for command, (reply, is_ours) in zip(group, await exchange.rcpt(group), strict=True):
            if reply.code < 300:
                wire.reply(command, reply)
            elif is_ours:
                self._refuse(command, reply, "recipient refused", exchange.facts.id)
            else:
                wire.reply(command, reply, exchange.facts.id)

    async def _data(self, command: Command) -> None:
        exchange = self.exchange
        assert exchange is not None
        if self.front.wire.has_input and self.door.listener.strict_sync:
            exchange.reset()
            self.exchange = None
            self._reply(command, status.IMPROPER_PIPELINING, exchange.facts.id)
            self.front.flush()
            self.engine.tell(told.CommandRefused(self.facts, "DATA", 554, "content before the 354"))
            raise _Closing("server", None)
        self.facts.stage = "data"
        refused = await exchange.start(by_chunks=False)
        if refused is not None:
            self._abandon(command, exchange, refused)
            return
        if self.front.wire.has_input and self.door.listener.strict_sync:
            self._violation_in_data(command, exchange)
        self._reply(command, status.START_DATA)
        await exchange.content()
        self.exchange = None
        self._after(exchange)

    def _violation_in_data(self, command: Command, exchange: Exchange) -> None:
        """Content came while the backend was asked: still before our 354."""
        exchange.reset()
        self.exchange = None
        self._reply(command, status.IMPROPER_PIPELINING, exchange.facts.id)
        self.front.flush()
        raise _Closing("server", None)

    def _abandon(self, command: Any, exchange: Exchange, refused: Reply) -> None:
        """DATA was refused: the transaction is over (RFC 5321 section 4.1.1.4)."""
        self.exchange = None
        exchange.end("refused" if refused.is_permanent else "deferred", refused)
        self.front.wire.reply(command, refused, exchange.facts.id)
        self.front.wire.discard()

    async def _bdat(self, command: Command) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.facts.stage = "data"
        if not command.size:
            self._count_junk()
        if await exchange.chunk(command):
            self.exchange = None
            self._after(exchange)

    def _after(self, exchange: Exchange) -> None:
        """A message is over."""
        if exchange.closes:
            self.facts.closed_by = "server"
            self.front.flush()
            raise _Closing("server", None)
        self.facts.stage = "idle"

    _VERBS = {
        "EHLO": _ehlo,
        "HELO": _ehlo,
        "LHLO": _ehlo,
        "STARTTLS": _starttls,
        "NOOP": _noop,
        "RSET": _rset,
        "VRFY": _vrfy,
        "HELP": _help,
        "QUIT": _quit,
        "XCLIENT": _xclient,
        "XFORWARD": _xclient,
        "AUTH": _auth,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "BDAT": _bdat,
    }


class _Closing(Exception):
    """The session ends now; the reply, if any, is still to be said."""

    def __init__(self, by: str, reply: Reply | None) -> None:
        super().__init__(by)
        self.by = by
        self.reply = reply


def _attribute(name: str, octets: bytes, verb: str) -> str | None:
    """One attribute's value; "" where it is declared unknown, None where it is wrong."""
    text = octets.decode("utf-8", "replace")
    if not text.isprintable() or " " in text and name != "HELO":
        return None
    if text.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        return ""
    if name in ("ADDR", "DESTADDR"):
        literal = f"[{text}]" if not text.startswith("[") else ""
        address = literal_address(literal) if literal else None
        return str(address) if address is not None else None
    if name in ("PORT", "DESTPORT"):
        return text if text.isascii() and text.isdigit() and int(text) <= 65535 else None
    if name == "PROTO":
        return text.upper() if text.upper() in ("SMTP", "ESMTP") else None
    if name in ("NAME", "HELO", "LOGIN") or verb == "XFORWARD" and name in ("IDENT", "SOURCE"):
        return text
    return None


def auth_name(mechanism: str, heard: list[bytes]) -> str:
    """Who logged in, as far as the lines of a relayed exchange show it. Only the authentication name counts, never
    the authorisation name that nobody proved."""
    try:
        if mechanism == "PLAIN":
            return _decode(heard[-1]).split(b"\0")[1].decode("utf-8", "replace")
        if mechanism == "LOGIN":
            return _decode(heard[0]).decode("utf-8", "replace")
        if mechanism == "CRAM-MD5":
            return _decode(heard[-1]).rpartition(b" ")[0].decode("utf-8", "replace")
        first = _decode(heard[0])
        if mechanism.startswith("SCRAM-"):
            words = [word for word in first.split(b",") if word.startswith(b"n=")]
            return words[0][2:].replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8", "replace")
        if mechanism == "XOAUTH2":
            return first.split(b"\x01")[0].partition(b"=")[2].decode("utf-8", "replace")
        if mechanism == "OAUTHBEARER":
            return first.split(b",")[1].partition(b"=")[2].decode("utf-8", "replace")
    except (IndexError, ValueError):
        return ""
    return ""


def _decode(octets: bytes) -> bytes:
    return b"" if octets == b"=" else base64.b64decode(octets, validate=True)


def decode_credentials(mechanism: str, heard: list[bytes]) -> tuple[str, str, str] | None:
    """Authorisation name, user and password of PLAIN or LOGIN; None where they are malformed."""
    try:
        parts = _decode(heard[0]).split(b"\0") if mechanism == "PLAIN" else [b"", *map(_decode, heard)]
        authzid, user, password = (part.decode("utf-8") for part in parts)
    except ValueError:
        return None
    return (authzid, user, password) if user else None
