"""The API about the outbox: mail that the gateway itself sends, and what is said of each."""

from __future__ import annotations

import attrs

from smtpgate.admin import models as m
from smtpgate.admin import models_quarantine as q
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_quarantine import PAGE
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.views import Unknown

_BASE = "/api/v1"


async def all_letters(ask: Ask) -> Answer:
    """What waits in the outbox."""
    limit = ask.params["limit"]
    found = await ask.office.control.quarantine.letters(limit + 1, ask.params["cursor"] or "")
    more = len(found) > limit
    items = [q.letter_model(one) for one in found[:limit] if ask.who.reach.letter(one)]
    return answer_of(q.LetterList(items=items, has_more=more, next_cursor=found[limit - 1].id if more else None))


async def try_letter(ask: Ask) -> Answer:
    """Try a letter now."""
    await _letter_in_reach(ask)
    await ask.office.control.quarantine.check_letter(ask.args["id"])
    is_audited = await ask.change("outbox.try", ask.args["id"])
    await ask.office.control.quarantine.try_letter(ask.args["id"], ask.who.actor)
    return answer_of(m.Done(is_audited=is_audited))


async def cancel_letter(ask: Ask) -> Answer:
    """Take a letter back; a release is held again."""
    await _letter_in_reach(ask)
    await ask.office.control.quarantine.check_letter(ask.args["id"])
    is_audited = await ask.change("outbox.cancel", ask.args["id"])
    await ask.office.control.quarantine.cancel(ask.args["id"], ask.who.actor)
    return answer_of(m.Done(is_audited=is_audited))


async def _letter_in_reach(ask: Ask) -> None:
    """Raises Unknown where a letter concerns others than those in reach."""
    if ask.who.reach.is_limited:
        found = await ask.office.control.quarantine.letter(ask.args["id"])
        if found is None or not ask.who.reach.holds_letter(found):
            raise Unknown(f"no letter {ask.args['id']} that waits")


_ALL = (
    Route("GET", f"{_BASE}/outbox", "quarantine:read", all_letters, summary="Letters", answer=q.LetterList, query=PAGE),
    Route(
        "POST",
        f"{_BASE}/outbox/<id>/try",
        "quarantine:release",
        try_letter,
        summary="Try a letter now",
        body=m.Nothing,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_BASE}/outbox/<id>/cancel",
        "quarantine:delete",
        cancel_letter,
        summary="Take a letter back",
        body=m.Nothing,
        answer=m.Done,
    ),
)

ROUTES = tuple(attrs.evolve(route, for_domains=True) for route in _ALL)
