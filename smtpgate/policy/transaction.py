"""The facts of one session and of one transaction.

The session fills these records while it goes on; filters read them, routes are chosen by them, and the witnesses
(log, metrics, history, live view) tell of them. A record is alive until its end was told, and is never changed after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from smtpgate.message.header import HeaderSection
from smtpgate.policy.changes import Changed
from smtpgate.policy.edits import EditList
from smtpgate.policy.mercy import is_spared
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.address import Path
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.status import RELAY_DENIED

#: How a transaction can end (P-311). "refused" and "deferred": the client was told so, by whomever; "delivered": 2yz
#: told; "unacked": the backend has it, the client did not hear so; "aborted": the client gave up before its end of
#: data; "unknown": the backend's answer to the end of data was lost; "held", "discarded", "redirected": the gateway
#: took it for all of its recipients (`policy.held.TAKING`).
OUTCOMES: Final = (
    "delivered",
    "refused",
    "deferred",
    "aborted",
    "unacked",
    "unknown",
    "held",
    "discarded",
    "redirected",
)

#: Enhanced codes of a mailbox, a system or an address that is not there.
_NOBODY: Final = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.4.1"})

#: Steps kept of one session's timeline; more are counted, not kept (promise 8).
TIMELINE_STEPS: Final = 400


@attrs.define
class TLSFacts:
    """One TLS leg.

    :ivar peer_name: subject common name or first DNS name of the peer's certificate; "" where it gave none
    :ivar is_verified: its certificate was checked against what was asked for
    :ivar not_after: when that certificate expires, seconds since the epoch; 0 without one
    :ivar proof: by what it was proved: "chain", "pin" or "dane"; "" where it was not
    :ivar doubt: what was found wrong with it where that was only looked at, by the words of RFC 8460 section 4.3
    """

    version: str = ""
    cipher: str = ""
    bits: int = 0
    sni: str = ""
    peer_name: str = ""
    peer_fingerprint: str = ""
    is_verified: bool = False
    not_after: float = 0.0
    proof: str = ""
    doubt: str = ""


class Session:
    """The facts of one client connection.

    :ivar id: 26 characters that sort by time; the reference id of replies outside transactions
    :ivar client_ip: who the client is, after PROXY and XCLIENT
    :ivar peer_ip: who is connected: the client itself, or a proxy in front
    :ivar timeline: (seconds since the start, who, what, detail) in order
    :ivar traffic_class: trusted, known, unknown or suspect (`traffic.classes`); `class_reason`: why
    :ivar charges: what it has taken of limits (`proxy.limiter.Charge`)
    """

    __slots__ = (
        "id",
        "number",
        "listener",
        "role",
        "revision",
        "started",
        "begun",
        "client_ip",
        "client_port",
        "client_name",
        "peer_ip",
        "peer_port",
        "local_ip",
        "local_port",
        "helo",
        "is_extended",
        "protocol",
        "tls",
        "user",
        "mechanism",
        "is_trusted",
        "sni",
        "timeline",
        "dropped_steps",
        "transactions",
        "errors",
        "octets_in",
        "octets_out",
        "stage",
        "closed_by",
        "findings",
        "ended",
        "xclient",
        "backend",
        "transaction",
        "messages",
        "traffic_class",
        "class_reason",
        "charges",
    )

    def __init__(self, id: str, listener: str, role: str) -> None:
        self.id = id
        self.listener = listener
        self.role = role
        self.number = 0
        self.revision = ""
        self.started = 0.0
        self.begun = 0.0
        self.ended = 0.0
        self.client_ip = ""
        self.client_port = 0
        self.client_name = ""
        self.peer_ip = ""
        self.peer_port = 0
        self.local_ip = ""
        self.local_port = 0
        self.helo = ""
        self.is_extended = False
        self.protocol = ""
        self.tls: TLSFacts | None = None
        self.sni = ""
        self.user = ""
        self.mechanism = ""
        self.is_trusted = False
        self.timeline: list[tuple[float, str, str, object]] = []
        self.dropped_steps = 0
        self.transactions: list[Transaction] = []
        self.transaction: Transaction | None = None
        self.errors = 0
        self.octets_in = 0
        self.octets_out = 0
        self.messages = 0
        self.stage = "connect"
        self.closed_by = ""
        self.findings: list[Finding] = []
        self.xclient: dict[str, str] = {}
        self.backend = ""
        self.traffic_class = "unknown"
        self.class_reason = ""
        self.charges: list[Any] = []

    def note(self, seconds: float, who: str, what: str, detail: object = "") -> None:
        """Add a step to the timeline."""
        if len(self.timeline) < TIMELINE_STEPS:
            self.timeline.append((seconds - self.begun, who, what, detail))
        else:
            self.dropped_steps += 1


class Recipient:
    """One RCPT.

    :ivar reply: what the client was told
    :ivar backend: where it goes; `server`: which of its servers accepted it
    :ivar state: "accepted", "refused", "deferred", "delivered", "known" (delivered at an earlier try), or one of
        `policy.held.TAKEN`
    :ivar taken: the verdict by which the gateway has the message for it; None for any other
    :ivar rerouted: name of the backend that a rule sends it to; "": where the routes say
    """

    __slots__ = ("path", "params", "reply", "state", "final", "backend", "server", "taken", "rerouted")

    def __init__(self, path: Path, params: Mapping[str, bytes | None]) -> None:
        self.path = path
        self.params = params
        self.reply: Reply | None = None
        self.state = ""
        self.final: Reply | None = None
        self.backend = ""
        self.server = ""
        self.taken: Verdict | None = None
        self.rerouted = ""

    @property
    def is_nobody(self) -> bool:
        """It was refused because there is no such mailbox here: its server said so, or it is of no domain of ours.

        RFC 3463 section 3.2; Exchange Online says 5.4.1. A server without enhanced codes says 550, 551 or 553; what is
        full (552) or refused by policy is there.
        """
        reply = self.reply
        if self.state != "refused" or reply is None:
            return False
        if reply is RELAY_DENIED or reply.enhanced in _NOBODY:
            return True
        return bool(self.backend) and reply.code in (550, 551, 553) and reply.enhanced in ("", "5.0.0")


class Transaction:
    """The facts of one mail transaction.

    :ivar id: the session's id, a dot and the transaction's number: the reference id of its replies
    :ivar accepted: how many recipients the client holds a 2yz for
    :ivar header: the header section, once it has passed
    :ivar octets: size of the content as RFC 1870 counts it
    :ivar notes: short words about the content ("bare_lf")
    :ivar content: the octets (`interfaces.IContent`) at stage `end`, where a filter asks for them; else None
    :ivar shared: what its filters share (`proxy.shared.Flights`); None while there is nothing
    :ivar at_end: what is to be called when it is over
    :ivar charges: what it has taken of limits (`proxy.limiter.Charge`)
    :ivar changes: what rules did to it, and what they could not do
    :ivar put_off: recipients that were told to come again, by limit and key
    :ivar hears_each: its client takes an answer for each recipient at the end of data: LMTP (RFC 2033 section 4.2), or
        SMTP with PRDR (draft-hall-prdr-00)
    :ivar rerouted: name of the backend that a rule sends all of it to; "": where the routes say
    :ivar deeds: what rules want to be done beside the delivery (`config.model_policy.Rule`): copies and reports
    :ivar covered_subject: its subject with what rules found in it masked; "": nothing was found there
    :ivar lifted: names of rules that a ticket of its sender has lifted for it
    :ivar wanted_by: indexes of recipients whose own list allows it (`policy.own`)
    :ivar is_again: it was held, and is judged once more on its way out: nobody hears a reply
    :ivar authenticated: names that are proved, as far as filters asked: "spf" and "dkim" domains, "name" of the client
    """

    __slots__ = (
        "id",
        "session",
        "sender",
        "params",
        "recipients",
        "route",
        "backend",
        "server",
        "octets",
        "header",
        "accepted",
        "findings",
        "verdict",
        "outcome",
        "reply",
        "begun",
        "ended",
        "data_at",
        "end_at",
        "verdict_at",
        "committed_at",
        "notes",
        "body_by",
        "backend_tls",
        "edits",
        "changes",
        "content",
        "shared",
        "at_end",
        "charges",
        "authenticated",
        "hears_each",
        "put_off",
        "deeds",
        "rerouted",
        "covered_subject",
        "lifted",
        "wanted_by",
        "is_again",
    )

    def __init__(self, id: str, session: Session, sender: Path, params: Mapping[str, bytes | None]) -> None:
        self.id = id
        self.session = session
        self.sender = sender
        self.params = params
        self.hears_each = session.protocol == "LMTP" or "PRDR" in params
        self.recipients: list[Recipient] = []
        self.route = 0
        self.backend = ""
        self.server = ""
        self.backend_tls = ""
        self.octets = 0
        self.header: HeaderSection | None = None
        self.accepted = 0
        self.findings: list[Finding] = []
        self.verdict: Verdict | None = None
        self.outcome = ""
        self.reply: Reply | None = None
        self.begun = 0.0
        self.data_at = 0.0
        self.end_at = 0.0
        self.verdict_at = 0.0
        self.committed_at = 0.0
        self.ended = 0.0
        self.notes: list[str] = []
        self.body_by = ""
        self.edits = EditList()
        self.changes: list[Changed] = []
        self.content: Any = None
        self.shared: Any = None
        self.put_off: dict[tuple[str, str], float] = {}
        self.at_end: list[Callable[[], None]] = []
        self.deeds: list[Any] = []
        self.rerouted = ""
        self.covered_subject = ""
        self.lifted: set[str] = set()
        self.wanted_by: frozenset[int] = frozenset()
        self.is_again = False
        self.charges: list[Any] = []
        self.authenticated: dict[str, tuple[str, ...]] = {}

    def note(self, word: str) -> None:
        """A short word about the message, once."""
        if word not in self.notes:
            self.notes.append(word)

    def spares(self, recipient: Recipient) -> bool:
        """True for somebody whom guesses must not keep its mail from (`policy.mercy`)."""
        return self.session.role == "mx" and is_spared(recipient.path)

    @property
    def has_mercy(self) -> bool:
        """True when it goes to such a one."""
        return any(one.state == "accepted" and self.spares(one) for one in self.recipients)

    @property
    def message_id(self) -> str:
        """The Message-ID field, as far as a log wants it."""
        return self.header.text("message-id")[:500] if self.header is not None else ""

    @property
    def subject(self) -> str:
        """The Subject field, raw."""
        return self.header.text("subject")[:500] if self.header is not None else ""

    @property
    def told_subject(self) -> str:
        """The subject as it may be kept and shown: raw, or decoded and masked."""
        return self.covered_subject[:500] or self.subject
