"""One client's life, verb by verb.

A session is one coroutine: it takes a wire event, does what the verb means in three steps (check, filter, proceed),
answers, and takes the next. What comes before the greeting is `proxy.opening`. Its transaction lives in `Exchange`
(proxy.exchange), which this module calls for MAIL to the end of data. Whatever happens, `run` ends with every link,
spool and filter object given up and told about.

Read `Session.run` first; then `docs/flow.md` names the ten steps of a message in the order of this file.
"""

from __future__ import annotations

from typing import Any

from smtpgate.interfaces import ClientGone, SessionClosing
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Session as Facts
from smtpgate.proxy import opening
from smtpgate.proxy.destinations import promised
from smtpgate.proxy.exchange import Exchange
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.limit_rules import Held
from smtpgate.proxy.login import Login
from smtpgate.proxy.offer import offer
from smtpgate.proxy.origin import note_forward, read_attributes, take_client
from smtpgate.proxy.reference import new_id
from smtpgate.proxy.revision import Door, Engine, Revision
from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import Command
from smtpgate.smtp.reply import Reply, printable
from smtpgate.smtp.server import NEED_DATA, EndOfData, Violation
from smtpgate.tasks import Task, TimeUp
from smtpgate.traffic.classes import SUSPECT, UNKNOWN

#: Verbs that do no mail; past the junk limit each counts as an error (Postfix smtpd_junk_command_limit).
_JUNK = frozenset({"NOOP", "RSET", "VRFY", "HELP", "EHLO", "HELO", "LHLO"})

#: After each error in the second half of its budget a client waits so long, seconds (Postfix smtpd_error_sleep_time,
#: from smtpd_soft_error_limit on); who is known is not slowed down.
SLEEP_S = {UNKNOWN: 1.0, SUSPECT: 2.0}


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
        "kept",
        "reception",
        "_login",
        "_junk",
        "_owed_s",
        "_slow_s",
        "_slow_until",
        "_offered",
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
        self.kept = KeptLinks()
        self._login: Login | None = None
        #: The start of our trace field; made at the first message after each greeting or login.
        self.trace = ""
        self._junk = 0
        #: The next command waits so long: the client makes errors.
        self._owed_s = 0.0
        #: Somebody slows it down: each reply waits so long, until then.
        self._slow_s = self._slow_until = 0.0
        self._offered = Capabilities()
        self.reception = reception

    def start(self) -> None:
        """Begin to serve."""
        self.revision.enter()
        self.task = Task(self.run(), self.engine.keeper)
        self.task.start()

    async def run(self) -> None:
        """From the greeting to the end."""
        facts = self.facts
        try:
            await opening.run(self)
            front, verbs, now = self.front, self._VERBS, self._clock.seconds
            wire = front.wire
            commands, wire.codes = self.engine.meter.talk(facts.listener)
            patience, admission = self.revision.settings.timeouts.command_s, self.reception.admission
            pressure = admission.pressure
            deadline = 0.0
            while True:
                event = wire.next_event()
                if event is NEED_DATA:
                    # One deadline for a whole command: its octets do not extend it (P-242).
                    if not deadline:
                        deadline = now() + (admission.patience(facts, patience) if pressure.level else patience)
                    if front.is_full:
                        # A client that does not read its replies is not read either (P-247).
                        await front.sent(deadline)
                    await front.input(deadline)
                    continue
                deadline = 0.0
                if type(event) is Command:
                    commands[event.verb] = commands.get(event.verb, 0) + 1
                    waiting = verbs[event.verb](self, event)
                    if waiting is not None:
                        await waiting
                elif type(event) is Violation:
                    self.violation(event)
                if self._owed_s and not facts.closed_by:
                    await self._dawdle()
                if facts.closed_by:
                    break
                if self.is_draining and self.exchange is None:
                    self._close("drain", status.SHUTTING_DOWN)
                    break
        except ClientGone as gone:
            facts.closed_by = facts.closed_by or "client"
            self.note("client", "gone", gone.reason)
            self._client_gone(gone)
        except TimeUp:
            self._close("timeout", status.TIMEOUT)
        except SessionClosing as closing:
            if closing.reply is not None:
                self._close(closing.by, closing.reply)
            facts.closed_by = facts.closed_by or closing.by
        except Exception as error:
            self.engine.tell(
                told.Happened("session.crashed", "error", repr(error), (("session_id", facts.id), ("error", error)))
            )
            self._close("crash", status.INTERNAL_CLOSING)
        finally:
            self._end()

    def _end(self) -> None:
        facts = self.facts
        if self.exchange is not None:
            self.exchange.abort()
        self.kept.leave()
        self.front.close(linger=facts.closed_by not in ("client", "quit"))
        if self.run_filters is not None:
            facts.findings = facts.findings + self.run_filters.findings
            self.run_filters.close()
        self.revision.limits.left(facts)
        facts.ended = self._clock.seconds()
        facts.octets_in, facts.octets_out = self.front.octets_in, self.front.octets_out
        self.engine.tell(told.SessionEnded(facts))
        self.revision.leave()
        # Neither the connection nor the task leads back here: what is over is freed at once.
        self.front.on_gone = self.task = None
        self.reception.ended(self)

    def note(self, who: str, what: str, detail: object = "") -> None:
        self.facts.note(self._clock.seconds(), who, what, detail)

    # Ending early

    def gone(self, gone: ClientGone) -> None:
        """The client left while we were not waiting for it (called by the front leg)."""
        exchange = self.exchange
        if exchange is not None and exchange.is_committing:
            # The backend has the end of data: its answer is awaited and noted, whoever hears it.
            exchange.client_left()
            return
        if not gone.is_reset and (self.front.wire.has_input or exchange is not None and exchange.has_end):
            # It only stopped sending, and what it sent before is still to be answered (P-236).
            if exchange is not None and exchange.has_end:
                exchange.client_left()
            return
        if self.task is not None:
            self.task.throw(gone)

    def drain(self) -> None:
        """Let the transaction in flight finish, then say goodbye; an idle session ends now."""
        self.is_draining = True
        if self.exchange is None and self.task is not None:
            self.task.throw(SessionClosing("drain", status.SHUTTING_DOWN))

    @property
    def is_idle(self) -> bool:
        """No message and no login is on its way."""
        if self.exchange is not None or self._login is not None and self._login.is_busy:
            return False
        return self.task is not None and self.task.waiting is not None

    def kill(self, reply: Reply = status.SHUTTING_DOWN, by: str = "server") -> None:
        """End it now, unless its message is being committed."""
        if self.exchange is not None and self.exchange.is_committing:
            self.is_draining = True
            return
        if self.task is not None:
            self.task.throw(SessionClosing(by, reply))

    def _close(self, by: str, reply: Reply) -> None:
        """Say a last word, unasked, and mark the session as over."""
        facts = self.facts
        facts.closed_by = facts.closed_by or by
        if not self.front.is_gone:
            self.front.flush()
            octets = reply.octets(facts.id)
            self.front.write(octets)
            self.front.wire.told(octets)
            self.note("us", "close", reply.text)

    def _client_gone(self, gone: ClientGone) -> None:
        if self.exchange is not None:
            self.exchange.client_gone()

    # Replies

    async def pause(self, seconds: float) -> None:
        """The next reply waits."""
        if seconds > 0:
            self.front.flush()
            self.note("us", "paced", f"{seconds:.1f} s")
            await self.engine.pacer.pause(seconds)

    def slow(self, seconds: float, until: float) -> None:
        """Each reply waits so long, until then on the session's clock."""
        self._slow_s, self._slow_until = seconds, until
        self._owed_s = max(self._owed_s, seconds)
        self.note("us", "slowed down by hand", f"{seconds:g} s before each reply")

    async def _dawdle(self) -> None:
        """What the client owes for its errors, or because somebody wants it so."""
        seconds, self._owed_s = self._owed_s, self._slow_s
        if self._slow_s and self._clock.seconds() >= self._slow_until:
            seconds = self._slow_s = self._owed_s = 0.0
        if self.engine.pacer.has_room:
            await self.pause(seconds)

    def reply(self, slot: Any, reply: Reply, reference: str = "") -> None:
        self.front.wire.reply(slot, reply, reference)

    def violation(self, violation: Violation) -> None:
        """The client broke the protocol: answer, count, and end the session where nothing can follow."""
        facts = self.facts
        reply = violation.suggested
        verb = violation.verb
        reference = ""
        if verb in ("MAIL", "RCPT", "DATA", "BDAT", "AUTH"):
            reference = self.exchange.facts.id if self.exchange is not None else facts.id
        self.note("client", violation.reason, verb)
        self.engine.tell(told.CommandRefused(facts, verb, reply.code, violation.reason))
        if reply is status.NO_RECIPIENTS or reply is status.LMTP_NO_RECIPIENTS:
            # The refusals before it were counted where they were made.
            self.reply(violation, reply, reference)
            return
        self.reply(violation, reply, reference)
        if violation.is_fatal:
            self.front.flush()
            facts.closed_by = "server"
            raise SessionClosing("server", None)
        self.count_error()

    def count_error(self) -> None:
        facts = self.facts
        facts.errors += 1
        most = self.reception.admission.errors(facts, self.revision.settings.limits.errors)
        if facts.errors >= most:
            self._close("error", status.TOO_MANY_ERRORS)
            raise SessionClosing("error", None)
        if facts.errors > most // 2:
            self._owed_s = max(self._slow_s, self._sleep_s(facts))

    def _sleep_s(self, facts: Facts) -> float:
        """How long a client waits after an error in the second half of those that it may make."""
        if facts.role != "mx" or not self.engine.pacer.has_room or self.reception.warden.is_exempt(facts.client_ip):
            return 0.0
        return SLEEP_S.get(facts.traffic_class, 0.0)

    def refuse(self, slot: Any, reply: Reply, reason: str, reference: str = "") -> None:
        """A refusal of our own that counts as an error of the client."""
        self.engine.tell(told.CommandRefused(self.facts, slot.verb, reply.code, reason))
        self.note("us", reason, slot.verb)
        self.reply(slot, reply, reference or self.facts.id)
        if reply.is_permanent:
            self.count_error()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > self.reception.admission.errors(self.facts, self.revision.settings.limits.junk):
            self.count_error()

    # Filters of the session

    async def filter(self, stage: str, *args: object) -> Reply | None:
        """The findings of a session stage; a Reply where they refuse. At `connect` a refusal ends the session."""
        assert self.run_filters is not None
        found = await self.run_filters.run(stage, *args)
        verdict = self.run_filters.verdict(found, waits=self.facts.role == "mx")
        if not verdict.is_refusal:
            return None
        assert verdict.decided_by is not None
        reply = verdict.decided_by.reply()
        self.note("filter", f"{verdict.decided_by.filter}: {verdict.decided_by.reason}", verdict.decided_by.detail)
        if stage == "connect":
            await self._turn_away(reply)
        return reply

    async def _turn_away(self, reply: Reply) -> None:
        """A client that is refused at the door: 554, then 503 to all but QUIT (RFC 5321 section 3.1)."""
        facts = self.facts
        self.engine.tell(told.ConnectionRefused(facts.listener, facts.client_ip, "refused_policy", reply.text))
        if reply.is_transient:
            self._close("server", Reply(421, "4.7.1", reply.lines))
            raise SessionClosing("server", None)
        wire = self.front.wire
        wire.greet(Reply(554, reply.enhanced, reply.lines).octets(facts.id))
        while True:
            event = await self.front.event(self._clock.seconds() + self.revision.settings.timeouts.command_s)
            if isinstance(event, Command) and event.verb == "QUIT":
                self._quit(event)
                raise SessionClosing("quit", None)
            if isinstance(event, Command | Violation | EndOfData):
                self.reply(event, status.BAD_SEQUENCE)
                self.count_error()

    # EHLO and its kin

    async def _ehlo(self, command: Command) -> None:
        facts, front = self.facts, self.front
        name = printable(command.argument.decode("latin-1"))
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self._count_junk()
        if self.run_filters is not None and "helo" in self.door.chain.stages:
            refused = await self.filter("helo", name)
            if refused is not None:
                self.refuse(command, refused, "helo refused by a filter")
                return
        facts.helo = name
        facts.stage = "helo"
        self.trace = ""
        self.note("client", command.verb, name)
        hostname = self.revision.settings.hostname
        if command.verb == "HELO":
            facts.is_extended = False
            facts.protocol = "SMTP"
            front.wire.offer(None)
            self.reply(command, Reply(250, "", (hostname,)))
            return
        facts.is_extended = True
        facts.protocol = "LMTP" if command.verb == "LHLO" else "ESMTP"
        behind = await self._behind()
        offered, reply = offer(self.door, self.revision, facts, behind)
        front.wire.offer(offered)
        self._offered = offered
        self.reply(command, reply)

    async def _behind(self) -> tuple[Capabilities, ...]:
        """What is known of the backends that this session's mail may go to."""
        link = self.kept.login
        if link is not None:
            return (link.capabilities,)
        revision = self.revision
        known = []
        for backend in revision.router.backends(self.door.listener.name):
            if backend.kind == "mx":
                known.append(promised(backend))
                continue
            pool = revision.pools[backend.name]
            capabilities = pool.capabilities
            if capabilities is None:
                self.front.flush()
                await pool.known()
                capabilities = pool.capabilities
            if capabilities is not None:
                known.append(capabilities)
        return tuple(known)

    async def _starttls(self, command: Command) -> None:
        facts, front = self.facts, self.front
        if self.door.tls is None:
            self.reply(command, status.TLS_UNAVAILABLE)
            return
        if front.wire.has_input:
            self.violation(Violation("STARTTLS", status.INPUT_BEHIND_STARTTLS, "input behind STARTTLS", True))
        self.reply(command, status.START_TLS)
        self.kept.drop()
        began = self._clock.seconds()
        deadline = began + self.revision.settings.timeouts.tls_s
        try:
            facts.tls = await front.start_tls(self.door.tls, deadline)
        except (ClientGone, TimeUp) as error:
            facts.closed_by = "client"
            front.abort()
            reason = "handshake not done in time" if isinstance(error, TimeUp) else error.reason
            self.note("client", "TLS handshake failed", reason)
            self.engine.tell(told.CommandRefused(facts, "STARTTLS", 0, f"handshake failed: {reason}"))
            raise SessionClosing("client", None) from error
        self.engine.meter.took(self._clock.seconds() - began, "tls_handshake_seconds", "client")
        facts.sni = facts.tls.sni
        # Nothing that was said in clear counts any more (RFC 3207 section 4.2).
        facts.helo, facts.is_extended, facts.user, facts.mechanism = "", False, "", ""
        self.note("client", "TLS", f"{facts.tls.version} {facts.tls.cipher}")

    # Small verbs

    def _noop(self, command: Command) -> None:
        self.reply(command, status.NOOP_OK)
        self._count_junk()

    def _rset(self, command: Command) -> None:
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self.reply(command, status.RESET_OK)
        self._count_junk()

    def _vrfy(self, command: Command) -> None:
        self.reply(command, status.VRFY)
        self._count_junk()

    def _help(self, command: Command) -> None:
        self.reply(command, status.HELP)
        self._count_junk()

    def _quit(self, command: Command) -> None:
        if self.exchange is not None:
            self.exchange.reset()
            self.exchange = None
        self.reply(command, status.GOODBYE)
        self.front.flush()
        self.facts.closed_by = "quit"

    # XCLIENT and XFORWARD

    async def _xclient(self, command: Command) -> None:
        facts, listener = self.facts, self.door.listener
        # Trust is judged on who is connected, not on whom it claims to be.
        if not (listener.xclient_from and listener.xclient_from.contains(facts.peer_ip)):
            self.refuse(command, status.XCLIENT_REFUSED, "not in xclient_from")
            return
        values, wrong = read_attributes(command)
        if wrong:
            self.refuse(command, status.ARGUMENT, f"bad attribute {wrong}")
            return
        if command.verb == "XFORWARD":
            note_forward(facts, values)
            self.reply(command, status.NOOP_OK)
            return
        self.kept.drop()
        take_client(facts, values)
        facts.is_trusted = bool(listener.relay_from and listener.relay_from.contains(facts.client_ip))
        self.note("client", "XCLIENT", facts.client_ip)
        if values.get("ADDR"):
            refusal = self.reception.admit(self)
            if refusal is not None:
                raise SessionClosing("server", refusal)
        self.revision.limits.left(facts)
        await opening.limit(self)
        if self.run_filters is not None:
            facts.findings = facts.findings + self.run_filters.findings
            self.run_filters.close()
            self.run_filters = self.door.chain.session(facts)
            await self.filter("connect")
        self.reply(command, Reply(220, "", (f"{self.revision.settings.hostname} ESMTP",)))

    # AUTH

    def _auth(self, command: Command) -> Any:
        if self._login is None:
            self._login = Login(self)
        return self._login.run(command)

    # The transaction

    def _mail(self, command: Command) -> Any:
        listener, facts, limits = self.door.listener, self.facts, self.revision.settings.limits
        # The mechanism, not the name, says that there was a login: a relayed exchange need not show the name.
        if listener.role == "submission" and not facts.mechanism and not facts.is_trusted:
            refusal = status.AUTH_REQUIRED if listener.auth != "off" else status.RELAY_DENIED
            self.refuse(command, refusal, "AUTH required")
            return None
        if limits.messages_per_session and facts.messages >= limits.messages_per_session:
            raise SessionClosing("server", status.TOO_MANY_MESSAGES)
        if self.is_draining:
            raise SessionClosing("drain", status.SHUTTING_DOWN)
        size = command.params.get("SIZE") if command.params else None
        if size is not None and int(size) > int(self._offered.words.get("SIZE", limits.message_size_octets)):
            self.refuse(command, status.MESSAGE_TOO_BIG, "declared size over the limit")
            return None
        facts.messages += 1
        facts.stage = "mail"
        self.exchange = exchange = Exchange(self, command, facts.messages)
        rates = self.revision.limits
        held = rates.mail(exchange.facts) if rates.has_mail else None
        if held is not None or self.kept.is_pinned or "mail" in self.door.chain.stages:
            return self._mail_slowly(command, exchange, held)
        self.front.wire.reply(command, status.SENDER_OK)
        return None

    async def _mail_slowly(self, command: Command, exchange: Exchange, held: Held | None) -> None:
        """A sender that limits, filters, or the backend of a relayed login have a word on."""
        refused = await exchange.mail(held)
        if refused is None:
            self.reply(command, status.SENDER_OK)
            return
        self.exchange = None
        exchange.end("refused" if refused.is_permanent else "deferred", refused)
        if refused.code == 421:
            # The login went with its link: the client must log in anew, on a new connection.
            raise SessionClosing("server", refused)
        self.refuse(command, refused, "sender refused", exchange.facts.id)

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
                self.violation(event)
            else:
                break
        self.facts.stage = "rcpt"
        for command, (reply, is_ours) in zip(group, await exchange.rcpt(group), strict=True):
            if reply.code < 300:
                wire.reply(command, reply)
            elif is_ours:
                self.refuse(command, reply, "recipient refused", exchange.facts.id)
            else:
                wire.reply(command, reply, exchange.facts.id)

    async def _data(self, command: Command) -> None:
        exchange = self.exchange
        assert exchange is not None
        if self.front.wire.has_input and self.door.listener.strict_sync:
            exchange.reset()
            self.exchange = None
            self.reply(command, status.IMPROPER_PIPELINING, exchange.facts.id)
            self.front.flush()
            self.engine.tell(told.CommandRefused(self.facts, "DATA", 554, "content before the 354"))
            raise SessionClosing("server", None)
        self.facts.stage = "data"
        refused = await exchange.start(by_chunks=False)
        if refused is not None:
            self._abandon(command, exchange, refused)
            return
        if self.front.wire.has_input and self.door.listener.strict_sync:
            self._violation_in_data(command, exchange)
        self.reply(command, status.START_DATA)
        await exchange.content()
        self.exchange = None
        self._after(exchange)

    def _violation_in_data(self, command: Command, exchange: Exchange) -> None:
        """Content came while the backend was asked: still before our 354."""
        exchange.reset()
        self.exchange = None
        self.reply(command, status.IMPROPER_PIPELINING, exchange.facts.id)
        self.front.flush()
        raise SessionClosing("server", None)

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
            raise SessionClosing("server", None)
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
