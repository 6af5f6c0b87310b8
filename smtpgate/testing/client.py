"""A scripted client of a gateway in memory."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any

from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.proxy.inmemory import Front

#: A message that no filter should mind.
PLAIN = "From: alice@example.org\nTo: bob@example.net\nMessage-ID: <1@example.org>\nSubject: hello\n\nHello.\n"

_REFERENCE = re.compile(r" [0-9A-V]{26}(?:\.[0-9]+)?$")


class Client:
    """One client of a gateway, made by its `connect`.

    A reply is text, without the reference id that ends it; "" where none came yet.

    :ivar greeting: what it heard first
    """

    def __init__(self, settle: Callable[[], None], front: Front, session: Any) -> None:
        self.greeting = ""
        self._settle = settle
        self._front = front
        self._session = session

    # What it says

    def send(self, octets: bytes) -> None:
        """Say just these octets."""
        self._front.received(octets)
        self._settle()

    def read(self) -> str:
        """The next reply; the lines of one that has several stand below each other."""
        self._settle()
        found = re.match(rb"(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?\n", self._front.said)
        if found is None:
            return ""
        self._front.said = self._front.said[found.end() :]
        return _REFERENCE.sub("", found[0].decode("ascii").replace("\r\n", "\n").rstrip("\n"))

    def say(self, line: str) -> str:
        """Say a line; the reply."""
        self.send(line.encode() + b"\r\n")
        return self.read()

    def helo(self, name: str = "client.example.org") -> str:
        """Greet with EHLO; the first line of the reply."""
        return self.say(f"EHLO {name}").partition("\n")[0]

    def login(self, user: str = "alice") -> str:
        """Log in, on a listener of role submission: every password is right."""
        return self.say("AUTH PLAIN " + base64.b64encode(f"\0{user}\0secret".encode()).decode("ascii"))

    def mail(self, sender: str = "alice@example.org", params: str = "") -> str:
        """Give the sender; "" is the null sender."""
        return self.say(f"MAIL FROM:<{sender}> {params}".rstrip())

    def rcpt(self, recipient: str = "bob@example.net", params: str = "") -> str:
        """Give a recipient."""
        return self.say(f"RCPT TO:<{recipient}> {params}".rstrip())

    def data(self) -> str:
        """Ask for the content."""
        return self.say("DATA")

    def content(self, piece: bytes) -> None:
        """Send a piece of content, as it is on the wire."""
        self.send(piece)

    def end(self) -> str:
        """End the content; the reply."""
        return self.say(".")

    def message(
        self,
        content: str | bytes = PLAIN,
        sender: str = "alice@example.org",
        recipients: Iterable[str] = ("bob@example.net",),
    ) -> str:
        """A whole transaction; the reply to its end, or the first refusal that ended it.

        :param content: lines, however they end, as they were before dots were stuffed
        """
        reply = self.mail(sender)
        if not reply.startswith("250"):
            return reply
        replies = [self.rcpt(recipient) for recipient in recipients]
        if not any(reply.startswith("250") for reply in replies):
            return next(iter(replies), "")
        reply = self.data()
        if not reply.startswith("354"):
            return reply
        octets = content.encode() if isinstance(content, str) else content
        lines = octets.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
        self.send(b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines))
        return self.end()

    def hang_up(self) -> None:
        """Be gone."""
        self._front.hang_up()
        self._settle()

    # What became of it

    @property
    def is_closed(self) -> bool:
        """Whether the gateway hung up."""
        return not self._front.is_open

    @property
    def session(self) -> Session:
        """The facts of the session, as filters see them."""
        facts: Session = self._session.facts
        return facts

    @property
    def transaction(self) -> Transaction:
        """The facts of the transaction that runs, else of the last one."""
        facts = self.session
        return facts.transaction if facts.transaction is not None else facts.transactions[-1]

    @property
    def findings(self) -> list[Finding]:
        """All that filters found, in the session and then in its transactions."""
        session = self._session
        found = list(session.run_filters.findings) if session.run_filters is not None else []
        for ended in self.session.transactions:
            found += ended.findings
        running = session.exchange if self.session.transaction is not None else None
        return found + (list(running.run.findings) if running is not None else [])

    @property
    def verdict(self) -> Verdict | None:
        """What was decided over the whole message; None where nothing was found, or its end did not come."""
        return self.transaction.verdict
