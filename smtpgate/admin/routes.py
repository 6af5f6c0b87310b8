"""What a route is: its path, the permission that it asks for, and what the API document says of it.

Routes are declared in `api`, `pages` and `health` as values; `site` binds them, `openapi` describes them, and
a test walks them all as everybody who could ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import attrs
from pydantic import BaseModel, ConfigDict

from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Caller
from smtpgate.admin.params import OneOf, Param
from smtpgate.admin.permission import PERMISSIONS, Principal
from smtpgate.admin.wire import WebRequest


class Order(BaseModel):
    """What a request's body may say: strict types, nothing unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Planned(Exception):
    """A dry run came to the change that it would have made. All checks were passed.

    :ivar effect: what would have been done, as JSON
    """

    def __init__(self, effect: Mapping[str, Any]) -> None:
        super().__init__(str(effect.get("action", "")))
        self.effect = effect


@attrs.define
class Ask:
    """One request on its way through a route.

    A verb checks all it can, then awaits `change`, then acts. So each change is in the audit before it is done, and
    a dry run, which ends at `change`, checks what the change checks.

    :ivar principal: who asks; None on public routes for a stranger
    :ivar args: what the path names
    :ivar query: the first value of each query parameter, on pages
    :ivar params: the checked values of the parameters that the route declares, on the API
    :ivar form: the fields of a form, on pages; `files`: the files that came with it
    :ivar body: the checked body, where the route declares one
    :ivar job: the `control.jobs.Run` where it is done as a task
    """

    office: Any
    request: WebRequest
    caller: Caller
    principal: Principal | None
    args: Mapping[str, str]
    query: Mapping[str, str]
    form: dict[str, str] = attrs.field(factory=dict)
    body: Any = None
    params: Mapping[str, Any] = attrs.field(factory=dict)
    files: Mapping[str, bytes] = attrs.field(factory=dict)
    job: Any = None

    async def change(self, action: str, target: str, detail: str = "", before: Any = None, after: Any = None) -> bool:
        """Something is about to be changed that keeps mail flowing: write it down; whether it is in the audit. Where
        that cannot be written it goes on all the same, and the log has it. Raises Planned in a dry run.

        :param before: what is changed, as JSON without secrets; `after`: what becomes of it
        """
        self._plan(action, target, detail, before, after)
        accounts, actor = self.office.accounts, self.who.actor
        is_audited: bool = await accounts.note(actor, action, target, detail, self.caller, before=before, after=after)
        return is_audited

    async def guarded_change(
        self, action: str, target: str, detail: str = "", before: Any = None, after: Any = None
    ) -> None:
        """Something is about to be changed that decides who may do what: write it down. Raises Refusal where that
        cannot be written, and Planned in a dry run.
        """
        self._plan(action, target, detail, before, after)
        accounts, actor = self.office.accounts, self.who.actor
        await accounts.audit(actor, action, target, detail, self.caller, before=before, after=after)

    @property
    def is_dry_run(self) -> bool:
        """Whether all is to be checked, and nothing done."""
        return bool(self.params.get("dry_run"))

    def _plan(self, action: str, target: str, detail: str, before: Any, after: Any) -> None:
        if self.is_dry_run:
            effect = {"action": action, "target": target, "detail": detail}
            values = {"before": before, "after": after}
            raise Planned({**effect, **{name: value for name, value in values.items() if value is not None}})

    @property
    def who(self) -> Principal:
        """Who asks, on routes that need a login."""
        assert self.principal is not None
        return self.principal


#: Largest message that a request may hold, where `limits.message_size` is not less.
LARGE_OCTETS: Final = 25 * 2**20
#: What else such a body may hold: rules, an envelope, the marks of a form.
_BESIDE_OCTETS: Final = 2**18


def largest_message(message_size_octets: int) -> int:
    """Octets of a message that a request may hold."""
    return min(LARGE_OCTETS, message_size_octets)


def largest_body(message_size_octets: int) -> int:
    """Octets of a body with such a message, in base64."""
    return largest_message(message_size_octets) * 4 // 3 + _BESIDE_OCTETS


#: Every verb takes it.
DRY_RUN: Final = OneOf("1: check it all and say what would be done, and do nothing", ("1",))

Serve = Callable[[Ask], Awaitable[Any]]


def _known(_: object, attribute: object, value: str) -> None:
    if value not in PERMISSIONS:
        raise ValueError(f"permission {value!r} is not known")


@attrs.frozen
class Route:
    """One method of one path.

    :ivar kind: how it answers where it refuses: "page", "api" or "word"
    :ivar for_domains: it shows and does nothing beyond the reach of who asks (`Principal.reach`), and is open to
        those who are limited to domains
    :ivar is_guarded: it is dangerous: of a browser's session it wants a password that was given within ten minutes
    :ivar is_own: it is about who asks, and open to those too who have still to set up one-time codes
    :ivar doors: where it is served: "web", "local", "health"
    :ivar answer: the model of a good answer
    :ivar is_question: it changes nothing, though it is a POST: what is asked is too long for a query
    :ivar is_secret: its answer is shown once and kept nowhere
    :ivar unversioned: fields of its answer that change by themselves, and are no other version
    :ivar may_wait: it can take long, and be done as a task
    :ivar is_large: its body may hold a message (`LARGE_OCTETS`)
    :ivar takes_files: its form may bring files
    :ivar again: where its form is to be filled in again once the password was given: what it brings is a secret, and
        waits nowhere meanwhile; "" where it is carried along
    :ivar query: the parameters that its query may have; another one is refused where it is of kind "api"
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    permission: str = attrs.field(validator=_known)
    serve: Serve
    kind: Literal["page", "api", "word"] = "api"
    summary: str = ""
    body: type[BaseModel] | None = None
    answer: Any = None
    status: int = 200
    query: Mapping[str, Param] = attrs.field(factory=dict)
    doors: frozenset[str] = frozenset({"web", "local"})
    for_domains: bool = False
    is_guarded: bool = False
    is_own: bool = False
    is_large: bool = False
    takes_files: bool = False
    again: str = ""
    may_wait: bool = False
    is_question: bool = False
    is_secret: bool = False
    unversioned: frozenset[str] = frozenset()

    def is_open_to(self, principal: Principal) -> bool:
        """Whether somebody's reach is enough for it; whoever sees all mail gets all that the permission gives."""
        return not principal.domains or self.for_domains or self.permission in ("public", "self")

    @property
    def changes(self) -> bool:
        """A call of the API that changes something, unless it is asked for a dry run."""
        return self.kind == "api" and self.method != "GET" and not self.is_question

    @property
    def parameters(self) -> Mapping[str, Param]:
        """All that its query may have."""
        return {**self.query, "dry_run": DRY_RUN} if self.changes else self.query

    @property
    def is_form(self) -> bool:
        """A page that takes a form."""
        return self.kind == "page" and self.method == "POST"


class Stream:
    """An answer that goes on: `run` writes to the request until it is over."""

    def __init__(self, run: Callable[[WebRequest], Awaitable[None]]) -> None:
        self.run = run


Result = Answer | Stream


def page_route(path: str, permission: str, serve: Serve, method: Any = "GET", **more: Any) -> Route:
    """A page, or what its form does; it is described by what its function says of itself.

    :param more: what else holds of the route (`for_domains`, `is_guarded`, `is_own`, `takes_files`, `again`)
    """
    words = (serve.__doc__ or "").strip()
    return Route(method, path, permission, serve, "page", words, doors=frozenset({"web"}), **more)
