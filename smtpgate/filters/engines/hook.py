"""A filter of one's own behind HTTP, in any language: what is known is sent as JSON, the answer is a proposal.

At each stage that the operator chose a POST goes out with session and envelope, at the end with the header fields too
and, where wanted, with the content: in the JSON as base64, or, for large messages, as a second part of a form
(multipart/form-data: `event` and `content`), which is a third smaller. docs/hook.md has their shape, and a program to
begin with. The answer is read strictly: what has not the form of `Answer` is a failure.

Each request may be signed: `X-Smtpgate-Signature: t=SECONDS,v1=HEX`, the HMAC-SHA256 of the seconds, a dot and the body
under a secret that both sides have.

RFC 2104 (HMAC), RFC 7578 (forms).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, model_validator

from smtpgate.config.problem import BadValue
from smtpgate.config.values import Count, Duration, Size, Wait
from smtpgate.filters.base import Factory
from smtpgate.filters.engines.base import (
    BUDGET_S,
    Action,
    EngineFilter,
    EngineOptions,
    Visit,
    WebServers,
    header_field,
    now,
    shown,
    whole,
)
from smtpgate.filters.engines.files import located, read_secret
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.policy.edits import AddField, Edit, RemoveField, ReplaceField
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import printable

VERSION: Final = 1
#: Of an answer.
ANSWER_OCTETS: Final = 65536
#: Content up to this size goes as base64 where the operator leaves it to us.
INLINE_OCTETS: Final = 65536
#: Changes that one answer may ask for.
EDITS: Final = 50

StageName = Literal["connect", "mail", "rcpt", "end"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Add(_Strict):
    """Put a field on top."""

    op: Literal["add"]
    name: str = Field(max_length=200)
    value: str = Field(max_length=10_000)


class Remove(_Strict):
    """Take a field out; of several of that name the one with that index, from the top."""

    op: Literal["remove"]
    name: str = Field(max_length=200)
    index: int = Field(0, ge=0, le=10_000)


class Replace(_Strict):
    """Write a field anew in its place."""

    op: Literal["replace"]
    name: str = Field(max_length=200)
    index: int = Field(0, ge=0, le=10_000)
    value: str = Field(max_length=10_000)


class Answer(_Strict):
    """What a hook says."""

    action: Literal["continue", "note", "tag", "quarantine", "defer", "reject"]
    reason: str = Field("", pattern=r"^[a-z0-9_.-]{0,60}$")
    text: str = Field("", max_length=300)
    detail: str = Field("", max_length=2000)
    score: float = Field(0.0, ge=-1000, le=1000)
    edits: list[Annotated[Add | Remove | Replace, Field(discriminator="op")]] = Field([], max_length=EDITS)


def parse_answer(octets: bytes) -> Answer:
    """Raises BadAnswer for what has not the form."""
    try:
        return Answer.model_validate(json.loads(octets, object_pairs_hook=_once))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadAnswer(f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"[:200]) from None
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"not JSON: {str(error)[:100]}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: two programs could read the others differently."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def edits(answer: Answer, author: str) -> list[Edit]:
    """The changes that an answer asks for. Raises BadAnswer for what is no field."""
    made: list[Edit] = []
    for one in answer.edits:
        name = one.name.lower()
        if isinstance(one, Remove):
            header_field(one.name, "")
            made.append(RemoveField(name, one.index, author))
        elif isinstance(one, Add):
            made.append(AddField(header_field(one.name, one.value), author))
        else:
            made.append(ReplaceField(name, one.index, header_field(one.name, one.value), author))
    return made


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """The value of the header that signs a request."""
    digest = hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def form(event: bytes, content: bytes, digest: str) -> tuple[str, bytes]:
    """Event and content as a form: the media type, and the body.

    :param digest: of the content, which cannot hold it, so that it serves to part the two
    """
    mark = f"smtpgate-{digest}"
    parts = (("event", "application/json", event), ("content", "message/rfc822", content))
    body = b"".join(
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        .encode("ascii") + octets + b"\r\n"
        for name, kind, octets in parts
    )  # fmt: skip
    return f"multipart/form-data; boundary={mark}", body + f"--{mark}--\r\n".encode("ascii")


class HookOptions(EngineOptions):
    """Where the hook is, and what it is told."""

    servers: WebServers = Field(description='Where it is asked, as "https://policy.example.net/mail".')
    stages: list[StageName] = Field(["end"], min_length=1, description="When it is asked.")
    timeout: Wait = Field(10.0, description="Time of one server for its answer; then the next is asked.")
    connections: Count = Field(50, description="Questions at one time, over all servers.")
    keep: Duration = Field(300.0, description="How long an answer at the end serves for the same message.")
    secret_file: str = Field("", description="File with the secret that signs requests; empty: they are not signed.")
    content: Literal["none", "base64", "form", "auto"] = Field(
        "none", description="Whether it gets the message: in the JSON, as part of a form, or whichever is better."
    )
    max_octets: Size = Field(10 << 20, description="Of larger messages it gets no content.")
    on_oversize: Literal["ask", "pass", "tag", "quarantine", "defer", "reject"] = Field(  # type: ignore[assignment]
        "ask", description="What becomes of larger messages where it gets the content; ask: without it."
    )
    _secret: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> HookOptions:
        if self.secret_file:
            try:
                self._secret = read_secret(located(self.secret_file, info.context))
            except BadValue as error:
                raise error.at("secret_file") from None
        return self

    @property
    def secret(self) -> bytes:
        """What signs requests; b"" for none."""
        return self._secret


class HookFilter(EngineFilter):
    """Asks the hook."""

    name = "hook"

    def __init__(self, options: HookOptions, services: Any) -> None:
        super().__init__(options, services, options.servers)

    def session(self, session: Session) -> HookSession | None:
        """One client."""
        return HookSession(self, session) if "connect" in self.options.stages else None

    def transaction(self, transaction: Transaction) -> HookVisit:
        """One message."""
        return HookVisit(self, transaction)

    def key(self, transaction: Transaction) -> tuple[Any, ...]:
        """It sees session and envelope."""
        session = transaction.session
        return session.client_ip, session.helo, session.user, str(transaction.sender), *_accepted(transaction)

    async def question(self, transaction: Transaction) -> dict[str, Any]:
        """What is told at the end, but for the content."""
        told = self.told("end", transaction.session, transaction, now(self.services, transaction))
        section = transaction.header
        told["header"] = [
            [field.raw.partition(b":")[0].decode("ascii").strip(), field.value.decode("utf-8", "backslashreplace")]
            for field in (section.fields if section is not None else ())
        ]
        return told

    def told(self, stage: str, session: Session, transaction: Transaction | None, seconds: float) -> dict[str, Any]:
        """Session and envelope."""
        tls = session.tls
        told: dict[str, Any] = {
            "version": VERSION,
            "stage": stage,
            "id": transaction.id if transaction is not None else session.id,
            "time": round(seconds, 3),
            "gateway": self.services.settings.hostname,
            "session": {
                "id": session.id,
                "listener": session.listener,
                "role": session.role,
                "client": {"ip": session.client_ip, "port": session.client_port, "name": session.client_name},
                "helo": session.helo,
                "tls": None if tls is None else {"version": tls.version, "cipher": tls.cipher, "bits": tls.bits,
                                                 "peer_name": tls.peer_name, "is_verified": tls.is_verified},
                "user": session.user,
                "mechanism": session.mechanism,
                "is_trusted": session.is_trusted,
            },
        }  # fmt: skip
        if transaction is not None:
            told["envelope"] = {"sender": str(transaction.sender), "recipients": list(_accepted(transaction))}
        return told

    async def ask(self, endpoint: str, content: Any, question: Mapping[str, Any]) -> Answer:
        """Ask one server at the end."""
        options, told = self.options, dict(question, octets=content.octets, digest=content.digest)
        way = options.content if content.octets <= options.max_octets else "none"
        if way == "auto":
            way = "base64" if content.octets <= INLINE_OCTETS else "form"
        kind, octets = "application/json", b""
        if way != "none":
            octets = await whole(content)
        if way == "base64":
            told["content"] = b64encode(octets).decode("ascii")
        body = json.dumps(told).encode("ascii")
        if way == "form":
            kind, body = form(body, octets, content.digest)
        return await self.post(endpoint, kind, body, question["time"])

    async def post(self, endpoint: str, kind: str, body: bytes, seconds: float) -> Answer:
        """One request; raises what `servers.FAILURES` names."""
        headers = {"Content-Type": kind, "Accept": "application/json", "User-Agent": "smtpgate"}
        if self.options.secret:
            headers["X-Smtpgate-Signature"] = signature(self.options.secret, int(seconds), body)
        answer = await self.services.http.request("POST", endpoint, headers, body, self.options.timeout, ANSWER_OCTETS)
        if answer.status != 200:
            raise EngineFailed(f"status {answer.status}: {shown(answer.body[:200].decode('utf-8', 'replace'))}")
        parsed = parse_answer(answer.body)
        edits(parsed, self.name)
        return parsed

    async def at(self, stage: str, told: dict[str, Any]) -> Finding | None:
        """Ask before there is content."""
        body = json.dumps(told).encode("ascii")
        answer: Answer = await self.servers.ask(
            lambda endpoint: self.post(endpoint, "application/json", body, told["time"]), self.options.timeout
        )
        if answer.edits:
            raise BadAnswer(f"changes at stage {stage}, where there is no header yet")
        return self.finding(answer)

    def finding(self, answer: Answer) -> Finding | None:
        """What an answer proposes."""
        if answer.action == "continue" and not answer.score and not answer.reason:
            return None
        action: Action = "note" if answer.action == "continue" else answer.action
        reason = f"hook-{answer.reason}" if answer.reason else "hook"
        return Finding(reason, action, printable(answer.text), shown(answer.detail or answer.text), answer.score)

    def is_lasting(self, answer: Answer) -> bool:
        """What puts a message off is asked anew."""
        return answer.action != "defer"

    def judge(self, answer: Answer, transaction: Transaction) -> list[Finding]:
        """One finding, and the edits."""
        wanted = self.services.edits(transaction)
        for edit in edits(answer, self.name):
            wanted.append(edit)
        found = self.finding(answer)
        return [found] if found is not None else []


def _accepted(transaction: Transaction) -> tuple[str, ...]:
    return tuple(str(one.path) for one in transaction.recipients if one.state in ("accepted", "known"))


class HookSession:
    """The hook at the connection."""

    def __init__(self, parent: HookFilter, session: Session) -> None:
        self._parent = parent
        self._session = session

    async def connect(self) -> Finding | None:
        """The client is known."""
        told = self._parent.told("connect", self._session, None, self._session.started)
        return await self._parent.at("connect", told)


class HookVisit(Visit):
    """The hook at one message."""

    parent: HookFilter

    def _told(self, stage: str) -> dict[str, Any]:
        transaction = self.transaction
        return self.parent.told(stage, transaction.session, transaction, now(self.parent.services, transaction))

    async def mail(self) -> Finding | None:
        """The sender."""
        return await self.parent.at("mail", self._told("mail")) if "mail" in self.parent.options.stages else None

    async def rcpt(self, recipient: Recipient) -> Finding | None:
        """A recipient."""
        if "rcpt" not in self.parent.options.stages:
            return None
        told = self._told("rcpt")
        told["envelope"]["recipient"] = str(recipient.path)
        return await self.parent.at("rcpt", told)

    async def end(self) -> list[Finding] | None:
        """All of it has come."""
        parent, options = self.parent, self.parent.options
        if "end" not in options.stages:
            return None
        content = parent.services.content(self.transaction)
        if options.content != "none" and options.on_oversize != "ask" and content.octets > options.max_octets:
            return parent.oversize(content.octets)
        answer: Answer = await self.answer(content)
        return parent.judge(answer, self.transaction) or None


factory = Factory(
    "hook",
    HookOptions,
    frozenset({"connect", "mail", "rcpt", "end"}),
    HookFilter,
    on_error="tempfail",
    budget_s=BUDGET_S,
    needs_message=True,
    needs_content=True,
    may_hold=True,
)
