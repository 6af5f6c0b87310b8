"""AUTH: relayed line by line to the one backend that the session can go to, or checked against the password file.

A relayed login belongs to its link: that link is kept and pinned, and no other may carry the session's mail. What
clients and servers say in an exchange is passed on and forgotten; only the name is kept, never a secret.

RFC 4954; RFC 4616 (PLAIN), 5802 (SCRAM), 7628 (OAUTHBEARER).
"""

from __future__ import annotations

import base64
from typing import Any

from smtpgate.interfaces import SessionClosing, Unavailable
from smtpgate.policy import event as told
from smtpgate.proxy.admission import Standing
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.offer import LOCAL_MECHANISMS
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.server import is_nearby
from smtpgate.smtp import status
from smtpgate.smtp.command import Command
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import AuthLine, Violation
from smtpgate.traffic.classes import TRUSTED
from smtpgate.traffic.guesses import Answer

LOGGED_IN = Standing(TRUSTED, "logged in")


class Login:
    """The AUTH commands of one session.

    :ivar failures: logins that failed
    :ivar is_busy: one is on its way
    """

    __slots__ = ("failures", "is_busy", "_session", "_claimed", "_is_asked")

    def __init__(self, session: Any) -> None:
        """
        :param session: a `proxy.session.Session`
        """
        self.failures = 0
        self.is_busy = False
        self._session = session
        #: Who the client says that it is, as far as this exchange has shown.
        self._claimed = ""
        #: Whether that one is heard was asked.
        self._is_asked = False

    async def run(self, command: Command) -> None:
        """One AUTH, from the command to its reply."""
        self.is_busy = True
        try:
            await self._run(command)
        finally:
            self.is_busy = False

    async def _run(self, command: Command) -> None:
        session = self._session
        listener = session.door.listener
        session.facts.stage = "auth"
        self._claimed, self._is_asked = "", False
        if listener.auth == "off":
            session.refuse(command, status.AUTH_NOT_OFFERED, "AUTH is off")
        elif listener.auth_requires_tls and session.facts.tls is None:
            session.refuse(command, status.AUTH_NEEDS_TLS, "AUTH in clear")
        elif self._is_held(command):
            return
        elif listener.auth == "local":
            await self._check(command)
        else:
            await self._relay(command)

    def _is_held(self, command: Command) -> bool:
        """Whether there were too many failures: then nothing is asked."""
        session = self._session
        if not self._ask("").is_heard:
            self._failed(command, status.TOO_MANY_GUESSES, "too many different passwords from this network")
            return True
        held = session.revision.limits.auth(session.facts)
        if held is None or held.is_paced:
            return False
        session.facts.findings += held.findings
        self._failed(command, held.reply(454, "4.7.0"), held.findings[0].reason)
        return True

    def _ask(self, account: str) -> Answer:
        session = self._session
        answer: Answer = session.reception.warden.ask_login(account, session.facts.client_ip)
        return answer

    async def _may_ask(self, mechanism: str, heard: list[bytes]) -> bool:
        """Whether what the client said is passed on, once it is known who it says that it is: a stranger to an account
        that is attacked waits. With LOGIN that is decided when the password is there."""
        if self._is_asked or not self._claimed or mechanism == "LOGIN" and len(heard) < 2:
            return True
        self._is_asked = True
        answer = self._ask(self._claimed)
        if not answer.is_heard:
            return False
        await self._session.pause(answer.wait_s)
        return True

    async def _wrong(self, command: Command, reply: Reply, reason: str, heard: list[bytes]) -> None:
        """The password is wrong. Which one it was is known only where the mechanism shows it."""
        session = self._session
        if reply.code == 535:
            credentials = (
                decode_credentials(command.mechanism, heard) if command.mechanism in LOCAL_MECHANISMS else None
            )
            secret = credentials[2] if credentials is not None else None
            await session.pause(session.reception.warden.login_failed(self._claimed, secret, session.facts.client_ip))
        self._failed(command, reply, reason)

    # Relayed

    async def _relay(self, command: Command) -> None:
        session = self._session
        revision = session.revision
        candidates = revision.router.candidates(session.facts)
        if len(candidates) != 1:
            self._failed(command, status.AUTH_UNAVAILABLE, "no single backend")
            return
        pool = revision.pools[candidates[0].name]
        session.front.flush()
        link: Link | None = None
        try:
            link = await self._link(pool)
            refused = self._refusal(command, pool, link)
            if refused is not None:
                session.kept.keep(pool, link)
                self._failed(command, *refused)
                return
            ended = await self._exchange(command, pool, link)
        except LinkFailed as failed:
            if link is not None:
                link.abort(failed.reason)
            session.note("backend", f"lost at {failed.stage}", failed.reason)
            self._failed(command, status.AUTH_UNAVAILABLE, failed.reason)
            return
        except BaseException:
            if link is not None:
                link.abort("client gone")
            raise
        if ended is not None:
            await self._answer(command, pool, link, *ended)

    async def _link(self, pool: Pool) -> Link:
        session = self._session
        timeouts, now = session.revision.settings.timeouts, session.engine.clock.seconds
        link: Link | None = session.kept.take(pool, session.facts.traffic_class)
        if link is None:
            return await pool.link(session.facts, "", now() + timeouts.greeting_s)
        try:
            await link.settle(now() + timeouts.backend_s)
        except BaseException:
            # Its slot is ours already.
            link.abort("no new transaction on it")
            raise
        return link

    def _refusal(self, command: Command, pool: Pool, link: Link) -> tuple[Reply, str] | None:
        """Why the exchange does not even begin."""
        if command.mechanism not in link.capabilities.mechanisms:
            return status.AUTH_MECHANISM, "mechanism not offered"
        if pool.backend.auth_requires_tls and not _is_protected(pool, link):
            return status.AUTH_UNAVAILABLE, "the backend leg is not verified"
        return None

    async def _exchange(self, command: Command, pool: Pool, link: Link) -> tuple[Reply, list[bytes]] | None:
        """Carry challenges and responses; the server's last word and what the client said, or None where the client
        broke the exchange and was answered."""
        session = self._session
        patience, now = session.revision.settings.timeouts.backend_s, session.engine.clock.seconds
        line = b"AUTH " + command.mechanism.encode("ascii")
        if command.argument:
            line += b" " + command.argument
        heard = [command.argument] if command.argument else []
        self._claimed = auth_name(command.mechanism, heard)
        if not await self._may_ask(command.mechanism, heard):
            session.kept.keep(pool, link)
            self._failed(command, status.TOO_MANY_GUESSES, "too many different passwords from this network")
            return None
        reply = await link.ask("AUTH", line + b"\r\n", now() + patience)
        while reply.code == 334:
            answer = await self._challenge(command, reply)
            if answer is None:
                # The client has its reply; what becomes of the link is no matter of this exchange.
                try:
                    await link.ask("AUTH", b"*\r\n", now() + patience)
                    session.kept.keep(pool, link)
                except LinkFailed as failed:
                    link.abort(failed.reason)
                return None
            heard.append(answer)
            self._claimed = auth_name(command.mechanism, heard)
            is_asked = await self._may_ask(command.mechanism, heard)
            reply = await link.ask("AUTH", (answer if is_asked else b"*") + b"\r\n", now() + patience)
            if not is_asked:
                session.kept.keep(pool, link)
                self._failed(command, status.TOO_MANY_GUESSES, "too many different passwords from this network")
                return None
            if answer == b"*":
                session.kept.keep(pool, link)
                self._failed(command, status.AUTH_CANCELLED, "cancelled")
                return None
        return reply, heard

    async def _answer(self, command: Command, pool: Pool, link: Link, reply: Reply, heard: list[bytes]) -> None:
        """The server's last word."""
        session = self._session
        if reply.code == 235:
            user = auth_name(command.mechanism, heard)
            link.user = user or "unknown"
            link.is_personal = True
            session.kept.is_pinned = True
            session.kept.keep(pool, link)
            await self._succeeded(command, user, reply)
            return
        if link.is_usable:
            session.kept.keep(pool, link)
        else:
            link.abort("closing after AUTH")
        if reply.code == 421 or reply.is_transient:
            reply = Reply(454, "4.7.0", reply.lines)
        await self._wrong(command, reply, "refused by the backend", heard)

    async def _challenge(self, command: Command, reply: Reply) -> bytes | None:
        """Pass a challenge on; the client's line, or None where it broke the exchange and was answered."""
        session = self._session
        session.reply(command, Reply(334, "", reply.lines))
        patience = session.revision.settings.timeouts.command_s
        event = await session.front.event(session.engine.clock.seconds() + patience)
        if isinstance(event, AuthLine):
            return event.octets
        if isinstance(event, Violation):
            session.violation(event)
        return None

    # Checked here

    async def _check(self, command: Command) -> None:
        """PLAIN and LOGIN against the password file."""
        session = self._session
        mechanism = command.mechanism
        if mechanism not in LOCAL_MECHANISMS:
            self._failed(command, status.AUTH_MECHANISM, "mechanism not offered")
            return
        prompts = [b""] if mechanism == "PLAIN" else [b"Username:", b"Password:"]
        heard = [command.argument] if command.argument else []
        while len(heard) < len(prompts):
            prompt = base64.b64encode(prompts[len(heard)]).decode("ascii")
            answer = await self._challenge(command, Reply(334, "", (prompt,)))
            if answer is None:
                return
            if answer == b"*":
                self._failed(command, status.AUTH_CANCELLED, "cancelled")
                return
            heard.append(answer)
        credentials = decode_credentials(mechanism, heard)
        if credentials is None:
            self._failed(command, status.BAD_BASE64, "malformed credentials")
            return
        authzid, user, password = credentials
        self._claimed = user
        session.front.flush()
        if not await self._may_ask(mechanism, heard):
            self._failed(command, status.TOO_MANY_GUESSES, "too many different passwords from this network")
            return
        try:
            is_good = authzid in ("", user) and await session.door.check_password(user, password)
        except (Unavailable, OSError) as error:
            session.engine.tell(told.Happened("auth.unavailable", "error", f"a password cannot be checked: {error}"))
            self._failed(command, status.AUTH_UNAVAILABLE, "the password file cannot be asked")
            return
        if is_good:
            await self._succeeded(command, user, status.AUTH_OK)
        else:
            await self._wrong(command, status.AUTH_FAILED, "wrong credentials", heard)

    # The outcome

    async def _succeeded(self, command: Command, user: str, reply: Reply) -> None:
        session = self._session
        facts = session.facts
        facts.user, facts.mechanism = user, command.mechanism
        held = session.revision.limits.login(facts)
        if held is not None and not held.is_paced:
            facts.findings += held.findings
            self._unpin()
            self._failed(command, held.reply(454, "4.7.0"), held.findings[0].reason)
            return
        if session.run_filters is not None and "auth" in session.door.chain.stages:
            refused = await session.filter("auth", user)
            if refused is not None:
                self._unpin()
                code = 535 if refused.is_permanent else 454
                self._failed(command, Reply(code, refused.enhanced, refused.lines), "refused by a filter")
                return
        session.reception.warden.logged_in(user, facts.client_ip)
        session.reception.reclass(session, LOGGED_IN)
        session.trace = ""
        session.note("client", "AUTH", command.mechanism)
        session.reply(command, reply)

    def _unpin(self) -> None:
        """The server believes that the login stands: that link carries nobody's mail."""
        kept = self._session.kept
        if kept.is_pinned:
            kept.is_pinned = False
            kept.drop()

    def _failed(self, command: Command, reply: Reply, reason: str) -> None:
        """An exchange that did not succeed; too many failures end the session."""
        session = self._session
        facts = session.facts
        facts.user, facts.mechanism = "", ""
        session.engine.tell(told.CommandRefused(facts, "AUTH", reply.code, reason))
        if reply.code == 535:
            session.engine.tell(
                told.Happened(
                    "auth.failed",
                    "warning",
                    f"login failed from {facts.client_ip}",
                    (
                        ("session_id", facts.id),
                        ("listener", facts.listener),
                        ("client_ip", facts.client_ip),
                        ("auth_user", self._claimed),
                        ("reason", reason),
                    ),
                )
            )
        # What is no word on the password is the client's own doing, or ours.
        who = "us" if reply.is_transient else "backend" if reply.code == 535 else "client"
        session.note(who, "AUTH refused", reason)
        session.reply(command, reply, facts.id)
        if reply.code == 535:
            self.failures += 1
            session.revision.limits.login_failed(facts)
            if self.failures >= session.revision.settings.limits.auth_failures:
                raise SessionClosing("error", status.TOO_MANY_AUTH_FAILURES)
        if reply.is_permanent:
            session.count_error()


def _is_protected(pool: Pool, link: Link) -> bool:
    """Secrets go only over a verified leg; loopback and unix sockets never leave the machine."""
    if link.tls is not None and link.tls.is_verified:
        return True
    server = pool.server(link.server)
    return server is not None and is_nearby(server.config)


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
