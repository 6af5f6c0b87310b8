"""One session as the office tells it, a live one from its facts and an ended one from the history, in one
shape.

`api` gives it as it is, `explain` says it in words, `pages` draws it. Times are seconds since the epoch,
`at_ms` and its like are milliseconds since the session began. Models of pydantic, because the API document is
made from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Session


class View(BaseModel):
    """What the API answers with: never more than is declared."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReplyView(View):
    """A reply as it was told."""

    code: int
    enhanced: str = ""
    text: str = ""


class FindingView(View):
    """What one filter found."""

    filter: str = ""
    reason: str = ""
    action: str = "note"
    score: float = 0.0
    public: str = ""
    detail: str = ""
    is_shadow: bool = False
    duration_ms: float = 0.0
    category: str = ""


class VerdictView(View):
    """The decision over a message, and the finding that made it."""

    action: str = "accept"
    score: float = 0.0
    would: str = ""
    decided_by: FindingView | None = None
    spared: str = ""


class ChangeView(View):
    """Something that a rule did to a message, or did not; of what was removed kind, name and size."""

    author: str = ""
    what: str = ""
    where: str = ""
    before: str = ""
    after: str = ""


class RecipientView(View):
    """What became of one recipient."""

    address: str
    state: str = ""
    reply: ReplyView | None = None
    final: ReplyView | None = None
    backend: str = ""
    server: str = ""


class Step(View):
    """One step of the timeline: who did what, and when."""

    at_ms: float
    who: str
    what: str
    detail: str = ""


class TLSView(View):
    """TLS of the client's leg."""

    version: str = ""
    cipher: str = ""
    sni: str = ""
    peer_name: str = ""
    is_verified: bool = False


class MessageView(View):
    """One mail transaction. `outcome` is "" while it runs."""

    id: str
    session_id: str = ""
    sender: str = ""
    recipients: tuple[RecipientView, ...] = ()
    route: int = 0
    backend: str = ""
    server: str = ""
    backend_tls: str = ""
    size_octets: int = 0
    message_id: str = ""
    subject: str = ""
    outcome: str = ""
    reply: ReplyView | None = None
    verdict: VerdictView | None = None
    findings: tuple[FindingView, ...] = ()
    notes: tuple[str, ...] = ()
    begun_ms: float = 0.0
    data_ms: float | None = None
    end_ms: float | None = None
    verdict_ms: float | None = None
    committed_ms: float | None = None
    ended_ms: float | None = None
    changes: tuple[ChangeView, ...] = ()

    @property
    def held_id(self) -> str:
        """The held mail that has its content; "" where it is kept nowhere."""
        return next((note.partition(":")[2] for note in self.notes if note.startswith("held")), "")

    @property
    def backends(self) -> tuple[str, ...]:
        """Those that its accepted recipients were given to, in their order; of an old record the one it kept."""
        named = dict.fromkeys(one.backend for one in self.recipients if one.backend)
        return tuple(named) or ((self.backend,) if self.backend else ())


class SessionRecord(View):
    """One client connection with all its messages."""

    id: str
    is_live: bool = False
    listener: str = ""
    role: str = ""
    revision: str = ""
    started: float = 0.0
    duration_ms: float = 0.0
    client_ip: str = ""
    client_port: int = 0
    client_name: str = ""
    peer_ip: str = ""
    helo: str = ""
    protocol: str = ""
    tls: TLSView | None = None
    user: str = ""
    mechanism: str = ""
    stage: str = ""
    closed_by: str = ""
    errors: int = 0
    octets_in: int = 0
    octets_out: int = 0
    findings: tuple[FindingView, ...] = ()
    messages: tuple[MessageView, ...] = ()
    timeline: tuple[Step, ...] = ()
    dropped_steps: int = 0
    traffic_class: str = ""
    class_reason: str = ""

    def message(self, id: str) -> MessageView | None:
        """One of its messages."""
        return next((message for message in self.messages if message.id == id), None)


def of_facts(facts: Session, now: float) -> SessionRecord:
    """The record of a session that runs, as it stands.

    :param now: of the clock that the session's times are of
    """
    return SessionRecord.model_validate(plain(facts, now))


def of_row(row: Mapping[str, Any]) -> SessionRecord:
    """The record of an ended session, from what the history kept of it."""
    return SessionRecord.model_validate(row)


def of_rows(rows: Sequence[Mapping[str, Any]]) -> list[SessionRecord]:
    """Several."""
    return [of_row(row) for row in rows]
