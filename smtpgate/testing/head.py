"""The head of a golden session (`script`): a TOML table with the filters and the world around them.

`read_head` and `read_zones` add what is wrong to a list, with its line, in the words that `smtpgate check-config` uses.
What is in `[[filters]]` and in the tables of the configuration is judged later, by the configuration's own code, when
the gateway is built (`rehearsal`).
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import attrs
from pydantic import Field, ValidationError, field_validator
from twisted.internet.task import Clock

from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import quoted
from smtpgate.config.validation import faults_of
from smtpgate.filters.base import Options
from smtpgate.testing.resolver import FakeResolver


@attrs.frozen
class Complaint:
    """Something that is not as it should be, and where."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


class HTTPAnswer(Options):
    """What an HTTP server says to requests for one address."""

    url: str = Field(description="Of the request, as a whole.")
    method: str = Field("", description="Of the request; without it any.")
    status: int = 200
    headers: dict[str, str] = {}
    body: str = ""
    delay: float = Field(0.0, ge=0, description="Seconds before it answers.")
    fails: str = Field("", description="It does not answer at all, for this reason.")


class Head(Options):
    """The filters and the world around them."""

    role: Literal["mx", "submission"] = "mx"
    domains: list[str] | None = None
    now: str = "2026-01-07 12:00"
    client: str = "192.0.2.1"
    filters: Any = ()
    zones: Any = ()
    http: list[HTTPAnswer] = []
    backend: dict[Literal["MAIL", "RCPT", "DATA", "END"], str] = {}
    children: Literal["", "busy", "timeout", "died", "lied", "error", "closed"] = ""
    limits: dict[str, Any] = {}
    timeouts: dict[str, Any] = {}
    content: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    replies: dict[str, Any] = {}

    @field_validator("now")
    @classmethod
    def _now(cls, value: str) -> str:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'{quoted(value)} is no time; write it as "2026-01-07 03:00"') from None
        return value

    @field_validator("client")
    @classmethod
    def _client(cls, value: str) -> str:
        return address(value)

    @field_validator("filters")
    @classmethod
    def _filters(cls, value: Any) -> Any:
        if isinstance(value, str) or isinstance(value, list) and all(isinstance(one, dict) for one in value):
            return value
        raise ValueError("write [[filters]] and the keys of each below it, or the path of a configuration file")

    @field_validator("zones")
    @classmethod
    def _zones(cls, value: Any) -> Any:
        if isinstance(value, str | dict) or isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        raise ValueError("write [zones.NAME] and its records below it, or the path of a file with zones, or several")

    @field_validator("backend")
    @classmethod
    def _backend(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            if text and re.fullmatch(r"[245][0-9]{2} [245]\.[0-9]{1,3}\.[0-9]{1,3} .+", text) is None:
                raise ValueError(f'{quoted(text)} is no reply; write it as "550 5.1.1 No such user", "" for silence')
        return value


def read_head(path: Path, text: str, wrong: list[Complaint]) -> tuple[Head | None, Document | None]:
    try:
        document = read(text)
    except BadSyntax as error:
        wrong.append(Complaint(path, error.line, f"{error.reason}; {error.hint}"))
        return None, None
    try:
        return Head.model_validate(document.tree), document
    except ValidationError as error:
        for fault in faults_of(error, Head, document.tree):
            line, _ = document.place(fault.where, fault.is_key)
            name = ".".join(map(str, fault.where))
            said = f"{fault.message}; {fault.hint}" if fault.hint else fault.message
            wrong.append(Complaint(path, line, f"{name}: {said}"))
        return None, document


def read_zones(path: Path, head: Head, document: Document | None, wrong: list[Complaint]) -> Any:
    """The zones, tried out."""
    given = head.zones
    if not isinstance(given, dict):
        given = [path.parent / name for name in ([given] if isinstance(given, str) else given)]
    try:
        FakeResolver(given, Clock())
    except (OSError, ValueError, TypeError) as error:
        line = document.place(("zones",))[0] if document is not None else 0
        wrong.append(Complaint(path, line, f"zones: {error}"))
    return given


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is no IP address") from None
