"""The API of the configuration's revisions: what was at work, what differs, and how another is put to work.

Texts are shown with *** for each secret, and *** that is written back keeps it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smtpgate.admin import api_look as look
from smtpgate.admin import versions
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done
from smtpgate.admin.params import Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment
from smtpgate.config.hiding import hide
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.model import Settings
from smtpgate.config.texts import Clash, unified
from smtpgate.control.config_views import Moved
from smtpgate.policy.config_revision import ConfigRevision

_BASE = "/api/v1/config"
_Message = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Minutes = Annotated[int, Field(ge=0, le=60)]
_Number = Annotated[int, Field(ge=1, le=2**53)]


class RevisionModel(View):
    """One revision. `text` is "" in lists."""

    number: int
    id: str
    parent: int
    author: str
    time: str | None
    message: str
    way: str
    state: str
    text: str


class RevisionList(View):
    """The newest revisions, and what of the configuration waits or differs."""

    items: list[RevisionModel]
    next_cursor: str | None
    has_more: bool
    mode: str
    active: int
    pending_seconds: float
    is_drifted: bool
    fallback: str


class ApplyOrder(Order):
    """A text to put to work. What it was made of is said by `base`, the number of a revision, or by If-Match with the
    ETag of `/config`; with `confirm_within` it holds so many minutes unless it is confirmed."""

    text: Annotated[str, Field(max_length=900_000)]
    base: _Number | None = None
    message: Annotated[_Message, Field(min_length=1)]
    confirm_within: _Minutes = 0


class RollbackOrder(Order):
    """An older revision to put to work again."""

    revision: _Number
    message: _Message = ""
    confirm_within: _Minutes = 0


class ConfirmOrder(Order):
    """The revision that may stay."""

    revision: _Number


class DiffModel(View):
    """What differs, as `patch` takes it."""

    diff: str


def _model(ask: Ask, one: ConfigRevision, text: str = "") -> RevisionModel:
    state = ask.office.control.configuration.state_of(one)
    return RevisionModel(
        number=one.number,
        id=one.id,
        parent=one.parent,
        author=one.author,
        time=moment(one.at),
        message=one.message,
        way=one.way,
        state=state,
        text=text,
    )


async def revisions(ask: Ask) -> Answer:
    """The newest."""
    books, limit = ask.office.control.configuration, ask.params["limit"]
    found = await books.revisions(limit + 1, ask.params["cursor"])
    items = [_model(ask, one) for one in found[:limit]]
    more = len(found) > limit
    drift = await books.drift()
    return answer_of(
        RevisionList(
            items=items,
            next_cursor=str(items[-1].number) if more else None,
            has_more=more,
            mode=books.mode,
            active=books.active.number,
            pending_seconds=books.seconds_left,
            is_drifted=drift.is_drifted,
            fallback=books.fallback,
        )
    )


async def revision(ask: Ask) -> Answer:
    """One with its text."""
    found = await revision_of(ask, ask.args["number"])
    return answer_of(_model(ask, found, await ask.office.in_thread(hide, found.text)))


async def revision_of(ask: Ask, number: str) -> ConfigRevision:
    """One by the number that a path says."""
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Refusal("not-found", 404, "there is no such revision")
    found: ConfigRevision = await ask.office.control.configuration.revision(int(number))
    return found


async def diff(ask: Ask) -> Answer:
    """From one revision to another."""
    one, other = await revision_of(ask, str(ask.params["a"])), await revision_of(ask, str(ask.params["b"]))

    def made() -> str:
        return unified(hide(one.text), hide(other.text), f"revision {one.number}", f"revision {other.number}")

    return answer_of(DiffModel(diff=await ask.office.in_thread(made)))


async def apply(ask: Ask) -> Answer:
    """Put a text to work."""
    body = ask.body
    try:
        is_audited = await put_to_work(ask, body.text, body.message, await _base(ask), body.confirm_within)
    except ConfigErrors as errors:
        refusal = Refusal("validation", 422, "the configuration has errors; the running one is unchanged")
        refusal.errors = [
            {"pointer": "/text", "code": one.key or "syntax", "message": f"line {one.line}: {one.message}; {one.hint}"}
            for one in errors.problems
        ]
        raise refusal from None
    except Moved as moved:
        raise await _overtaken(ask, moved) from None
    return answer_of(Done(is_audited=is_audited))


async def put_to_work(ask: Ask, text: str, message: str, base: int, minutes: int, is_of_draft: bool = False) -> bool:
    """The same for a page; whether it is in the audit. Raises ConfigErrors and Moved.

    :param is_of_draft: it was written on from the draft of who asks, whose secrets *** stands for
    """
    books, actor = ask.office.control.configuration, ask.who.actor
    text = await books.whole(text, actor if is_of_draft else None)
    if not ask.is_dry_run and books.is_managed:
        # Whatever becomes of it, what was written is not lost.
        await books.keep_draft(actor, text, base, False)
    plan = await books.plan(text, message, base, minutes)
    _must_give_access(ask, plan.settings)
    is_audited = await ask.change("config.apply", f"from revision {base}", plan.message)
    await books.apply(plan, actor)
    return is_audited


def _must_give_access(ask: Ask, settings: Settings) -> None:
    """Raises Refusal where somebody who gives nobody access says whom a provider of identities lets in, and as what."""
    if settings.sso != ask.office.control.settings.sso and not ask.who.may("access:write"):
        raise Refusal("forbidden", 403, "[sso] says who may come in: to change it wants the permission access:write")


async def _base(ask: Ask) -> int:
    """The number of the revision that a text was made of. Raises Refusal where nobody says which."""
    header, number = ask.request.header("if-match"), ask.body.base
    if not header:
        if number is None:
            raise Refusal(
                "precondition-required", 428, "say what it was made of: base, or If-Match with a tag of /config"
            )
        return int(number)
    books = ask.office.control.configuration
    current = await look.config(ask)
    tag = versions.tag_of(current, look.BY_ITSELF)
    if versions.is_named(tag, header) and number in (None, books.active.number):
        return int(books.active.number)
    if number is None or number == books.active.number:
        versions.check(header, tag, current)
    return int(number)


async def _overtaken(ask: Ask, moved: Moved) -> Refusal:
    """Somebody put another text to work meanwhile: what they did, and both changes in one text."""
    theirs, joined = moved.theirs, moved.merged

    def made() -> str:
        names = f"revision {moved.base.number}", f"revision {theirs.number}"
        return unified(hide(moved.base.text), hide(theirs.text), *names)

    diff = await ask.office.in_thread(made)
    refusal = Refusal("version-mismatch", 412, f"{moved}; `merged` has both changes, and your draft is kept")
    refusal.more = {
        "current": theirs.number,
        "diff": diff,
        # Of secrets it has those that the sender wrote and nobody else's; as *** they would be lost.
        "merged": joined.text,
        "is_clean": joined.is_clean,
        "clashes": [{"line": one.line, **_sides(one)} for one in joined.clashes],
    }
    refusal.headers = {"ETag": versions.tag_of(await look.config(ask), look.BY_ITSELF)}
    return refusal


def _sides(clash: Clash) -> dict[str, str]:
    return {"base": hide(clash.base), "mine": hide(clash.mine), "theirs": hide(clash.theirs)}


async def confirm(ask: Ask) -> Answer:
    """Let a revision stay."""
    return answer_of(Done(is_audited=await keep(ask, ask.body.revision)))


async def keep(ask: Ask, number: int) -> bool:
    """The same for a page."""
    books = ask.office.control.configuration
    books.must_wait(number)
    is_audited = await ask.change("config.confirm", f"revision {number}")
    await books.confirm(number, ask.who.actor)
    return is_audited


async def rollback(ask: Ask) -> Answer:
    """Put an older revision to work again."""
    body = ask.body
    return answer_of(Done(is_audited=await go_back(ask, body.revision, body.message, body.confirm_within)))


async def go_back(ask: Ask, number: int, message: str, minutes: int) -> bool:
    """The same for a page."""
    books = ask.office.control.configuration
    if books.pending is None or books.pending.former.number != number:
        try:
            plan = await books.plan_rollback(number, message, minutes)
        except ConfigErrors as errors:
            raise Refusal("conflict", 409, f"that revision has errors today: {errors.problems[0]}") from None
        _must_give_access(ask, plan.settings)
    is_audited = await ask.change("config.rollback", f"revision {number}", message)
    await books.rollback(number, message, ask.who.actor, minutes)
    return is_audited


_CURSOR = {"limit": Whole(f"how many items, at most {MOST}", MOST, 50), "cursor": Whole("next_cursor", 2**53, 0)}
_PAIR = {"a": Whole("number of a revision", 2**53, 1), "b": Whole("number of another", 2**53, 1)}
ROUTES = (
    Route(
        "GET",
        f"{_BASE}/revisions",
        "config:read",
        revisions,
        summary="Revisions",
        answer=RevisionList,
        query=_CURSOR,
        unversioned=frozenset({"pending_seconds"}),
    ),  # fmt: skip
    Route("GET", f"{_BASE}/revisions/<number>", "config:read", revision, summary="One revision", answer=RevisionModel),
    Route("GET", f"{_BASE}/diff", "config:read", diff, summary="What differs", answer=DiffModel, query=_PAIR),
    Route(
        "POST",
        f"{_BASE}/apply",
        "config:write",
        apply,
        is_guarded=True,
        summary="Put a text to work",
        body=ApplyOrder,
        answer=Done,
    ),
    Route("POST", f"{_BASE}/confirm", "config:write", confirm, summary="Let it stay", body=ConfirmOrder, answer=Done),
    Route(
        "POST",
        f"{_BASE}/rollback",
        "config:write",
        rollback,
        is_guarded=True,
        summary="Go back",
        body=RollbackOrder,
        answer=Done,
    ),
)
