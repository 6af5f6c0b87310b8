"""A milter at work: one connection for each session, one conversation on it for each message.

`Client` stands for a session: it opens a `Link` at the first event, and where that broke it opens another one and tells
it from the start. `Mail` stands for a message: its envelope, its header field by field, its body as it comes, its end
with all changes.

Once a conversation has failed each later step of the same message fails too: a milter that has not seen all of it has
not passed it. ABORT stands between messages, also where a milter has accepted or refused before the end.

libmilter's order of callbacks; Postfix MILTER_README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilter.protocol.messages import (
    Data,
    EndOfHeaders,
    EndOfMessage,
    EnvelopeFrom,
    EnvelopeRecipient,
    Helo,
)
from twisted.internet.defer import CancelledError
from zope.interface import implementer

from smtpgate.filters.base import Filter
from smtpgate.filters.engines import milter_wire as wire
from smtpgate.filters.engines.base import shown
from smtpgate.filters.engines.milter_body import BodyPump
from smtpgate.filters.engines.milter_edits import plan
from smtpgate.filters.engines.milter_link import Link
from smtpgate.filters.engines.servers import FAILURES, BadAnswer, EngineFailed, Loan, Servers, reason_of
from smtpgate.filters.sender.base import in_time
from smtpgate.filters.sender.iprev import look_back
from smtpgate.interfaces import IEngine
from smtpgate.message.header import HeaderSection
from smtpgate.policy.standing import ServerStanding
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import printable

#: Time for the client's name; a look-up has 3 seconds of its own.
NAME_S: Final = 4.0


@implementer(IEngine)
class MilterFilter(Filter):
    """Tells a milter of each session."""

    name = "milter"

    def __init__(self, options: Any, services: Any) -> None:
        self.options = options
        self.services = services
        self.servers = Servers(self.name, options.servers, services, options.connections, 0, options.failures)
        self.clients: dict[str, Client] = {}

    def standing(self) -> tuple[ServerStanding, ...]:
        """How its servers stand."""
        return self.servers.standing()

    async def signatures(self) -> float | None:
        """The protocol has no word for it."""
        return None

    def session(self, session: Session) -> Client:
        """One session."""
        client = self.clients[session.id] = Client(self, session)
        return client

    def transaction(self, transaction: Transaction) -> Mail:
        """One message."""
        client = self.clients.get(transaction.session.id)
        return Mail(self, client or Client(self, transaction.session), transaction, is_alone=client is None)

    async def link(self) -> Link:
        """A connection to the first milter that agrees. Raises EngineFailed."""
        tried: list[str] = []
        reasons: list[str] = []
        while (loan := await self.servers.borrow(tried)) is not None:
            tried.append(loan.endpoint)
            link: Link | None = None
            try:
                stream = await self.services.connect(loan.endpoint, self.options.timeout)
                link = Link(stream, loan, self.services.clock, self.options.timeout)
                await link.agree()
            except FAILURES as error:
                reasons.append(f"{loan.endpoint}: {reason_of(error, self.options.timeout)}")
                loan.fails(reason_of(error, self.options.timeout))
                _end(link, loan)
            except BaseException:
                _end(link, loan)
                raise
            else:
                return link
        raise EngineFailed("; ".join(reasons) or f"no milter to ask: {', '.join(self.servers.endpoints)} failed before")

    def finding(self, verdict: wire.Verdict) -> Finding | None:
        """What an answer proposes."""
        if verdict.kind == "discard":
            return Finding("milter-discard", "quarantine", detail="the milter would throw the message away")
        if verdict.kind not in ("reject", "tempfail"):
            return None
        action = "reject" if verdict.kind == "reject" else "defer"
        text = printable(verdict.text)[:300]
        default = "Refused by a filter" if action == "reject" else "A filter asks to try again later"
        detail = shown(f"{verdict.code} {verdict.enhanced} {verdict.text}") if verdict.code else ""
        return Finding(
            f"milter-{verdict.kind}", action, text or default, detail, code=verdict.code, enhanced=verdict.enhanced
        )


def _end(link: Link | None, loan: Loan) -> None:
    if link is not None:
        link.abandon()
    loan.release()


class Client:
    """One session, as a milter is told of it."""

    def __init__(self, parent: MilterFilter, session: Session) -> None:
        self._parent = parent
        self.session = session
        self._link: Link | None = None
        self._helo = ""
        self._name = ""
        self._accepted: Link | None = None

    @property
    def is_accepted(self) -> bool:
        """The milter wants to hear no more of the session."""
        return self._accepted is not None

    async def connect(self) -> Finding | None:
        """The client is known."""
        return self._parent.finding((await self.ready())[1])

    async def helo(self, name: str) -> Finding | None:
        """It greets."""
        is_new = self._link is None or self._link.is_broken
        self._helo = name
        link, verdict = await self.ready()
        if not is_new and link is not None:
            verdict = await self._tell(link, "helo", wire.frame(Helo, wire.strings(name)))
        return self._parent.finding(verdict)

    async def ready(self) -> tuple[Link | None, wire.Verdict]:
        """The link, and what the milter said of the session where that is no "continue"; no link once it accepted it.

        Raises EngineFailed.
        """
        if self.is_accepted:
            return None, wire.CONTINUE
        if self._link is not None and not self._link.is_broken:
            return self._link, wire.CONTINUE
        link = self._link = await self._parent.link()
        session = self.session
        self._name = session.client_name or self._name or await self._looked_up()
        name = self._name or (f"[{session.client_ip}]" if session.client_ip else "localhost")
        opening = wire.connect(name, session.client_ip, session.client_port)
        verdict = await self._tell(link, "connect", opening)
        if verdict.kind == "continue" and self._helo:
            verdict = await self._tell(link, "helo", wire.frame(Helo, wire.strings(self._helo)))
        return (None if self.is_accepted else link), verdict

    async def _looked_up(self) -> str:
        """The name that leads back to the client's address, as mail servers tell it to milters."""
        session, parent = self.session, self._parent
        if not parent.options.resolve or session.role != "mx" or not session.client_ip:
            return ""
        found = await in_time(parent.services, look_back(parent.services.resolver, session.client_ip), NAME_S)
        return found.name if found is not None and found.result == "pass" else ""

    async def _tell(self, link: Link, event: str, octets: bytes) -> wire.Verdict:
        try:
            verdict = await link.tell(event, octets, self._macros(event))
            if verdict.kind == "discard":
                raise BadAnswer(f"discard in answer to {event}")
        except FAILURES as error:
            link.fails(error)
            raise EngineFailed(reason_of(error, self._parent.options.timeout)) from None
        link.works()
        if verdict.kind == "accept":
            self._accepted = link
        return verdict

    def _macros(self, event: str) -> dict[str, str]:
        session, parent = self.session, self._parent
        tls = session.tls
        if event == "helo":
            return {} if tls is None else {
                "{tls_version}": tls.version,
                "{cipher}": tls.cipher,
                "{cipher_bits}": str(tls.bits),
                "{cert_subject}": tls.peer_name,
            }  # fmt: skip
        name = self._name or "unknown"
        hostname = parent.services.settings.hostname or "localhost"
        return {
            "j": hostname,
            "_": f"{name} [{session.client_ip}]",
            "v": "smtpgate",
            "{daemon_name}": session.listener,
            "{daemon_addr}": session.local_ip,
            "{daemon_port}": str(session.local_port),
            "{client_addr}": session.client_ip,
            "{client_name}": name,
            "{client_ptr}": name,
            "{client_port}": str(session.client_port),
            **parent.options.macros,
        }

    def closed(self) -> None:
        """The session is over."""
        if self._parent.clients.get(self.session.id) is self:
            del self._parent.clients[self.session.id]
        if self._link is not None:
            self._link.close()


class Mail:
    """One message, as a milter is told of it."""

    def __init__(self, parent: MilterFilter, client: Client, transaction: Transaction, is_alone: bool) -> None:
        """
        :param is_alone: the client ends with the message
        """
        self._parent = parent
        self._client = client
        self._is_alone = is_alone
        self._transaction = transaction
        self._link: Link | None = None
        self._is_begun = False
        #: The milter has spoken, or wants to hear no more.
        self._is_done = False
        self._failure: EngineFailed | None = None
        self._body = BodyPump(self._say)

    async def _say(self, event: str, octets: bytes, macros: Mapping[str, str] | None = None) -> wire.Verdict:
        link = self._link
        assert link is not None
        if self._failure is None and link.is_broken:
            self._failure = EngineFailed("the conversation with the milter was broken off")
        if self._failure is not None:
            raise self._failure
        try:
            verdict = await link.tell(event, octets, macros)
        except FAILURES as error:
            link.fails(error)
            self._failure = EngineFailed(reason_of(error, self._parent.options.timeout))
            raise self._failure from None
        link.works()
        return verdict

    async def _tell(self, event: str, octets: bytes, macros: Mapping[str, str] | None = None) -> Finding | None:
        """Tell an event, where there is still somebody to tell it to."""
        if self._failure is not None:
            raise self._failure
        if self._is_done:
            return None
        return self._judge(event, await self._say(event, octets, macros))

    def _judge(self, event: str, verdict: wire.Verdict) -> Finding | None:
        is_of_one = event == "rcpt" and verdict.kind in ("reject", "tempfail")
        if verdict.kind not in ("continue", "skip") and not is_of_one:
            self._is_done = True
        return self._parent.finding(verdict)

    async def mail(self) -> Finding | None:
        """The sender."""
        try:
            link, verdict = await self._client.ready()
        except EngineFailed as error:
            self._failure = error
            raise
        except CancelledError:
            self._failure = EngineFailed("the conversation with the milter was broken off")
            raise
        if link is None or verdict.kind != "continue":
            self._is_done = True
            return self._parent.finding(verdict)
        self._link, self._is_begun = link, True
        transaction = self._transaction
        session, sender = transaction.session, transaction.sender
        macros = {
            "i": transaction.id,
            "{auth_type}": session.mechanism,
            "{auth_authen}": session.user,
            "{mail_addr}": str(sender),
            "{mail_host}": sender.domain,
            "{mail_mailer}": "smtp",
        }
        return await self._tell("mail", wire.envelope(EnvelopeFrom, sender.raw, transaction.params), macros)

    async def rcpt(self, recipient: Recipient) -> Finding | None:
        """A recipient; a refusal is of this one alone."""
        path = recipient.path
        macros = {
            "i": self._transaction.id,
            "{rcpt_addr}": str(path),
            "{rcpt_host}": path.domain,
            "{rcpt_mailer}": "smtp",
        }
        return await self._tell("rcpt", wire.envelope(EnvelopeRecipient, path.raw, recipient.params), macros)

    async def data(self) -> Finding | None:
        """The content begins."""
        return await self._tell("data", wire.frame(Data), {"i": self._transaction.id})

    async def header(self, section: HeaderSection) -> Finding | None:
        """Each field, then the end of them."""
        self._body.skip = len(section.octets)
        link = self._link
        for field in section.fields if link is not None and link.terms.wants("header") else ():
            found = await self._tell("header", wire.header(field.raw, link.terms))  # type: ignore[union-attr]
            if found is not None or self._is_done:
                return found
        return await self._tell("eoh", wire.frame(EndOfHeaders), {"i": self._transaction.id})

    def body(self, chunk: bytes) -> None:
        """A piece of content."""
        link = self._link
        if link is not None and not self._is_done and self._failure is None and link.terms.wants("body"):
            self._body.feed(chunk)

    async def end(self) -> list[Finding] | None:
        """All of it has come: the rest of the body, the end, and what the milter wants to be changed."""
        link = self._link
        if link is not None and not self._is_done and self._failure is None and link.terms.wants("body"):
            content = self._parent.services.content(self._transaction)
            found = self._judge("body", await self._body.finish(content))
            if found is not None:
                return [found]
        if self._failure is not None:
            raise self._failure
        if link is None or self._is_done:
            return None
        found = await self._tell("end", wire.frame(EndOfMessage), {"i": self._transaction.id})
        self._is_begun = False
        found_all = [found] if found is not None else []
        if not found_all and link.edits:
            found_all = self._changes(link)
        link.done()
        return found_all or None

    def _changes(self, link: Link) -> list[Finding]:
        parent, transaction = self._parent, self._transaction
        section = transaction.header or HeaderSection(b"")
        try:
            wanted = plan(link.edits, section, parent.name, link.terms.has_leading_space)
        except BadAnswer as error:
            link.fails(error)
            raise
        edits = parent.services.edits(transaction)
        for edit in wanted.edits:
            edits.append(edit)
        found = []
        if wanted.undone:
            public, detail = "A filter wants a change that cannot be made", shown("; ".join(wanted.undone))
            found.append(Finding("milter-undone", parent.options.on_undone, public, detail))
        if wanted.quarantine:
            found.append(Finding("milter-quarantine", "quarantine", detail=wanted.quarantine))
        return found

    def closed(self) -> None:
        """The message is over."""
        self._body.stop()
        if self._is_begun and self._link is not None:
            self._link.abort()
        if self._is_alone:
            self._client.closed()
