"""The API about held mail and the outbox.

As in `api_do`, each order names its actor and is in the audit before it is done; so is whoever reads the content of a
message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from smtpgate.admin import models as m
from smtpgate.admin import models_quarantine as q
from smtpgate.admin import reading
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.params import Free, OneOf, Param, Whole
from smtpgate.admin.routes import Ask, Planned, Route
from smtpgate.admin.text import visible
from smtpgate.control.quarantine import Outcome
from smtpgate.control.views import Invalid, Unknown
from smtpgate.policy.held import STATES, Held
from smtpgate.policy.reach import Reach

_BASE = "/api/v1"
_HELD = f"{_BASE}/quarantine/<id>"
_DIRECTIONS = ("in", "out")
#: What held messages may be looked for by.
WANTED = ("held_as", "state", "direction", "recipient", "sender", "subject", "client_ip", "message")


def wanted_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is looked for, without what was left empty."""
    wanted: dict[str, Any] = {name: given[name] for name in WANTED if given.get(name)}
    if given.get("asked"):
        wanted["asked"] = True
    if given.get("after"):
        wanted["after"] = given["after"]
    return wanted


#: Messages that a task decides on before everything else has its turn.
SLICE = 20


# Look


async def held_messages(ask: Ask) -> Answer:
    """Held messages that fit, and how much is held in all."""
    found = await list_of(ask, wanted_of(ask.params), ask.params["limit"], ask.params["cursor"] or "")
    # What was held under a class that the configuration had once is still found.
    known = dict.fromkeys([*ask.office.control.settings.quarantine.classes, *(one.held_as for one in found.totals)])
    name = ask.params["held_as"]
    if name and name not in known:
        refusal = Refusal("parameter", 400, "the query has faults")
        message = f"no class {visible(name, 80)}; known: {', '.join(known)}"
        refusal.errors = [{"parameter": "held_as", "code": "value", "message": message}]
        raise refusal
    return answer_of(found)


async def list_of(ask: Ask, wanted: Mapping[str, Any], limit: int, before: str) -> q.HeldList:
    """The same for a page."""
    quarantine, domains = ask.office.control.quarantine, ask.who.domains
    wanted = within(ask, wanted)
    found = await quarantine.search(wanted, limit + 1, before)
    totals = [q.total_model(one) for one in await quarantine.totals(domains)]
    more = len(found) > limit
    return q.HeldList(
        items=[shown_of(ask, one) for one in found[:limit]],
        # What fits on one page is counted; the rest is looked for once more.
        total=await quarantine.count(wanted) if more or before else len(found),
        totals=totals,
        has_more=more,
        next_cursor=found[limit - 1].id if more else None,
    )


def within(ask: Ask, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is looked for, of the mail that is in reach."""
    return {**wanted, "domains": ask.who.domains} if ask.who.domains else dict(wanted)


async def held_of(ask: Ask, id: str) -> Held:
    """A held message in reach. Raises Unknown."""
    found: Held = await ask.office.control.quarantine.message(id)
    if not ask.who.reach.held(found):
        raise Unknown(f"no held message {id}")
    return found


async def beside(ask: Ask, wanted: Mapping[str, Any], id: str) -> tuple[str, str]:
    """Ids of the next newer and the next older one of those that fit; "" where there is none."""
    quarantine, wanted = ask.office.control.quarantine, within(ask, wanted)
    newer = await quarantine.search({**wanted, "next_after": id}, 1)
    older = await quarantine.search(wanted, 1, id)
    return newer[0].id if newer else "", older[0].id if older else ""


async def held_message(ask: Ask) -> Answer:
    """One held message."""
    return answer_of(shown_of(ask, await held_of(ask, ask.args["id"])))


def shown_of(ask: Ask, one: Held) -> q.HeldModel:
    """A held message as somebody may see it: of mail from elsewhere without the recipients of others' domains."""
    return q.held_model(_shown(ask.who.reach, one))


def _shown(reach: Reach, one: Held) -> Held:
    if not reach.is_limited or one.direction == "out" and reach.address(one.sender):
        return one
    return attrs.evolve(one, recipients=tuple(who for who in one.recipients if reach.address(who.address)))


# Do


async def order(
    ask: Ask, action: str, ids: Sequence[str], recipients: Sequence[str] | None = None, again: bool = False
) -> tuple[list[Outcome], bool]:
    """q.Release, delete or deny; what it did, and whether it is in the audit."""
    needed = "quarantine:delete" if action == "delete" else "quarantine:release"
    if not ask.who.may(needed):
        raise Refusal("forbidden", 403, f"your role has no permission {needed}")
    chosen, beyond = await _in_reach(ask, action, ids, recipients)
    if not chosen:
        return beyond, True
    ids = list(chosen)
    target = ids[0] if len(ids) == 1 else f"{len(ids)} messages"
    detail = " ".join(ids)[:4000] if len(ids) > 1 else ", ".join(chosen[ids[0]] or ())
    is_audited = await ask.change(f"quarantine.{action}", target, detail)
    if ask.job is None:
        return [*await _act(ask, action, chosen, again), *beyond], is_audited
    done: list[Outcome] = []
    for start in range(0, len(ids), SLICE):
        if not await ask.job.step(start, len(ids)):
            break
        done += await _act(ask, action, {id: chosen[id] for id in ids[start : start + SLICE]}, again)
    await ask.job.step(len(done), len(ids))
    return [*done, *beyond], is_audited


async def _act(ask: Ask, action: str, chosen: Mapping[str, Sequence[str] | None], again: bool) -> list[Outcome]:
    """Do it with each of them; a release for those recipients of each that are named."""
    quarantine, actor = ask.office.control.quarantine, ask.who.actor
    done: list[Outcome] = []
    if action == "delete":
        done += await quarantine.delete(list(chosen), actor)
    elif action == "deny":
        done += await quarantine.turn_down(list(chosen), actor)
    else:
        for id, whom in chosen.items():
            done += await quarantine.release([id], actor, whom, again)
    return done


async def _in_reach(
    ask: Ask, action: str, ids: Sequence[str], recipients: Sequence[str] | None
) -> tuple[dict[str, Sequence[str] | None], list[Outcome]]:
    """Of an order what is in reach of who gives it: ids with recipients, and what is said of the others.

    A release goes to recipients in reach. What concerns others too is neither deleted nor turned down for them.
    """
    reach = ask.who.reach
    if not reach.is_limited:
        return dict.fromkeys(ids, recipients), []
    wanted = {one.lower() for one in recipients} if recipients is not None else None
    some: dict[str, Sequence[str] | None] = {}
    beyond: list[Outcome] = []
    for id in ids:
        try:
            found = await held_of(ask, id)
        except Unknown:
            beyond.append(Outcome(id, False, "there is no such message"))
            continue
        if action != "release" and not reach.holds_all_of(found):
            beyond.append(Outcome(id, False, "it is held for others too, outside the domains that you are limited to"))
            continue
        theirs = [who.address for who in _shown(reach, found).recipients]
        some[id] = [one for one in theirs if wanted is None or one.lower() in wanted]
    return some, beyond


def _ordered(found: tuple[list[Outcome], bool]) -> Answer:
    outcomes, is_audited = found
    items = [q.OutcomeModel(id=one.id, done=one.done, why=one.why) for one in outcomes]
    return answer_of(q.Orders(items=items, is_audited=is_audited))


async def release_held(ask: Ask) -> Answer:
    """Deliver a held message to those for whom it waits; what became of that is in the message soon after."""
    await held_of(ask, ask.args["id"])
    return _ordered(await order(ask, "release", [ask.args["id"]], ask.body.recipients, ask.body.again))


async def delete_held(ask: Ask) -> Answer:
    """Delete a held message."""
    await held_of(ask, ask.args["id"])
    return _ordered(await order(ask, "delete", [ask.args["id"]]))


async def deny_held(ask: Ask) -> Answer:
    """Say no to who asked for it; it stays held."""
    await held_of(ask, ask.args["id"])
    return _ordered(await order(ask, "deny", [ask.args["id"]]))


async def propose_held(ask: Ask) -> Answer:
    """Ask for its release, where its class wants two persons; another one approves."""
    return await propose(ask, "".join(letter for letter in ask.body.reason if letter.isprintable()))


async def propose(ask: Ask, reason: str) -> Answer:
    """The same for a page."""
    quarantine, message = ask.office.control.quarantine, await held_of(ask, ask.args["id"])
    await quarantine.check_proposal(message.id, ask.who.actor)
    await ask.guarded_change("quarantine.propose", message.id, reason)
    await quarantine.propose(message.id, ask.who.actor, reason)
    return answer_of(m.Done())


async def approve_held(ask: Ask) -> Answer:
    """Approve the release that somebody else asked for: it is delivered."""
    message = await held_of(ask, ask.args["id"])
    await ask.office.control.quarantine.check_approval(message.id, ask.who.actor)
    return _ordered(await order(ask, "release", [message.id]))


async def forward_held(ask: Ask) -> Answer:
    """Send it as it came to somebody else; it stays held."""
    id, to = ask.args["id"], ask.body.to
    if not ask.who.may("content:read"):
        raise Refusal("forbidden", 403, "your role has no permission content:read, and whoever gets it reads it")
    reading.check_second(ask, await held_of(ask, id))
    is_audited = await ask.change("quarantine.forward", id, ", ".join(to)[:4000])
    await ask.office.control.quarantine.forward(id, to, ask.who.actor)
    return answer_of(m.Done(is_audited=is_audited))


async def would(ask: Ask, action: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What an order about all that fit would do: to how many."""
    found = await ask.office.control.quarantine.count(within(ask, wanted))
    what = {"action": f"quarantine.{action}", "target": f"{found} messages", "detail": ""}
    return {**what, "expected_count": found}


async def decide_many(ask: Ask) -> Answer:
    """q.Release, delete or deny many at once: by ids, or all that fit."""
    body = ask.body
    if (body.ids is None) is (body.filter is None):
        raise Invalid("give ids, or filter with expected_count")
    ids = body.ids
    if body.filter is not None:
        wrong = [name for name in body.filter if name not in (*WANTED, "asked")]
        if wrong:
            raise Invalid(f"filter: there is no {wrong[0]}; use {', '.join((*WANTED, 'asked'))}")
        if body.filter.get("asked", "yes") != "yes":
            raise Invalid("filter: asked is yes, or is left out")
        if body.expected_count is None and ask.is_dry_run:
            raise Planned(await would(ask, body.action, wanted_of(body.filter)))
        if body.expected_count is None:
            raise Invalid("expected_count: say how many fit, as a dry run or the list with the same filter tells it")
        ids = await ask.office.control.quarantine.chosen(within(ask, wanted_of(body.filter)), body.expected_count)
    return _ordered(await order(ask, body.action, ids or []))


PAGE: dict[str, Param] = {
    "limit": Whole(f"how many items, at most {MOST}", MOST, 50),
    "cursor": Free("next_cursor of the page before"),
}
_FILTERS: dict[str, Param] = {
    "held_as": Free("class"),
    "state": OneOf("state", STATES),
    "direction": OneOf("in or out", _DIRECTIONS),
    "recipient": Free("address of a recipient"),
    "sender": Free("part of the sender's address"),
    "subject": Free("part of the subject"),
    "client_ip": Free("part of the client's address"),
    "message": Free("reference id"),
    "asked": OneOf("only those that somebody asked for", ("yes",)),
    "after": Free("an id: only those that came after it"),
}

_ALL = (
    Route(
        "GET",
        f"{_BASE}/quarantine",
        "quarantine:read",
        held_messages,
        summary="Held messages",
        answer=q.HeldList,
        query={**PAGE, **_FILTERS},
    ),
    Route("GET", _HELD, "quarantine:read", held_message, summary="One held message", answer=q.HeldModel),
    Route(
        "POST",
        f"{_HELD}/release",
        "quarantine:release",
        release_held,
        summary="Deliver it",
        body=q.Release,
        answer=q.Orders,
    ),
    Route(
        "POST",
        f"{_HELD}/delete",
        "quarantine:delete",
        delete_held,
        summary="Delete it",
        body=m.Nothing,
        answer=q.Orders,
    ),
    Route("POST", f"{_HELD}/deny", "quarantine:release", deny_held, summary="Say no", body=m.Nothing, answer=q.Orders),
    Route(
        "POST",
        f"{_HELD}/request",
        "quarantine:release",
        propose_held,
        summary="Ask for its release, for a second person",
        body=q.Propose,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_HELD}/approve",
        "quarantine:release",
        approve_held,
        summary="Approve the release that somebody else asked for",
        body=m.Nothing,
        answer=q.Orders,
    ),
    Route(
        "POST",
        f"{_HELD}/forward",
        "quarantine:release",
        forward_held,
        is_guarded=True,
        summary="Send it to somebody else",
        body=q.Forward,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_BASE}/quarantine",
        "quarantine:release",
        decide_many,
        may_wait=True,
        summary="q.Release, delete or deny many",
        body=q.Bulk,
        answer=q.Orders,
    ),
)

ROUTES = tuple(attrs.evolve(route, for_domains=True) for route in _ALL)
