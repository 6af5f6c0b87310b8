"""The API about held mail of one's own: what waits for who asks, lists of their own, and when they hear of it.

It is about the addresses that the user who asks is bound to, and about nobody else's: mail of others answers as mail
that is not there.
"""

from __future__ import annotations

from typing import Final

from smtpgate.admin import models_me as mine
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Nothing
from smtpgate.admin.params import Free, Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.views import Unknown
from smtpgate.policy.person import Person

_BASE: Final = "/api/v1/me"
_ONE: Final = f"{_BASE}/quarantine/<id>"


async def who(ask: Ask) -> Person:
    """Who asks. A token and the local socket are nobody's, and have no mail."""
    if ask.who.kind != "user":
        return Person("")
    return await ask.office.control.people.person(ask.who.name)


async def somebody(ask: Ask) -> Person:
    """The same, for what nobody can have. Raises Refusal."""
    person = await who(ask)
    if not person.name:
        raise Refusal("conflict", 409, "this is for people who are logged in; a token has no mail of its own")
    return person


# What waits


async def own_held(ask: Ask) -> Answer:
    """What waits for who asks."""
    return answer_of(await list_of(ask, await who(ask), ask.params["limit"], ask.params["cursor"] or ""))


async def list_of(ask: Ask, person: Person, limit: int, before: str) -> mine.OwnHeldList:
    """The same for a page."""
    people = ask.office.control.people
    found, cursor = await people.held(person, limit, before)
    items = [mine.own_held(person, one, people.may(one)) for one in found]
    return mine.OwnHeldList(
        items=items, addresses=list(person.addresses), has_more=bool(cursor), next_cursor=cursor or None
    )


async def own_message(ask: Ask) -> Answer:
    """One of them."""
    person, people = await who(ask), ask.office.control.people
    message = await people.message(person, ask.args["id"])
    return answer_of(mine.own_held(person, message, people.may(message)))


async def act(ask: Ask, action: str) -> bool:
    """Release, request or drop one, or take that back; whether it is in the audit. Raises Unknown and Refused."""
    person, people, id = await who(ask), ask.office.control.people, ask.args["id"]
    if action == "restore":
        await people.message(person, id)
    else:
        await people.check(person, id, action)
    is_audited = await ask.change(f"quarantine.{_WORDS[action]}", id, ", ".join(person.addresses)[:1000])
    await getattr(people, action)(person, id, ask.who.actor)
    return is_audited


#: As the audit has them.
_WORDS: Final = {"release": "release", "request": "ask", "drop": "drop", "restore": "restore"}


async def release_own(ask: Ask) -> Answer:
    """Have it delivered, where its class lets recipients decide."""
    return answer_of(mine.OwnDone(is_audited=await act(ask, "release")))


async def request_own(ask: Ask) -> Answer:
    """Ask for it: somebody looks at it and decides."""
    return answer_of(mine.OwnDone(is_audited=await act(ask, "request")))


async def drop_own(ask: Ask) -> Answer:
    """It is not wanted. For others it waits still; for ten minutes it can be had back."""
    return answer_of(mine.OwnDone(is_audited=await act(ask, "drop")))


async def restore_own(ask: Ask) -> Answer:
    """It is wanted after all."""
    return answer_of(mine.OwnDone(is_audited=await act(ask, "restore")))


# Lists


async def own_lists(ask: Ask) -> Answer:
    """From whom who asks always wants mail, and from whom never."""
    return answer_of(await lists_of(ask, await who(ask)))


async def lists_of(ask: Ask, person: Person) -> mine.OwnLists:
    """The same for a page."""
    return mine.OwnLists(items=[mine.own_entry(one) for one in await ask.office.control.people.entries(person)])


async def put_entry(ask: Ask) -> Answer:
    """Allow or block a sender, for who asks alone."""
    return answer_of(mine.OwnDone(is_audited=await put(ask, ask.body.entry, ask.body.kind)), 201)


async def put(ask: Ask, entry: str, kind: str) -> bool:
    """The same for a page. Raises Invalid and Refused."""
    person, people = await somebody(ask), ask.office.control.people
    normal = people.check_entry(person, entry, kind)
    is_audited = await ask.change("own.put", normal, kind)
    await people.put_entry(person, normal, kind, ask.who.actor)
    return is_audited


async def drop_entry(ask: Ask) -> Answer:
    """Take a sender off."""
    return answer_of(mine.OwnDone(is_audited=await take_off(ask, ask.args["entry"])))


async def take_off(ask: Ask, entry: str) -> bool:
    """The same for a page. Raises Unknown."""
    person = await who(ask)
    if entry not in person.entries:
        raise Unknown("no such entry")
    is_audited = await ask.change("own.remove", entry, person.entries[entry])
    await ask.office.control.people.drop_entry(person, entry, ask.who.actor)
    return is_audited


# Preferences


async def own_preferences(ask: Ask) -> Answer:
    """When who asks hears of what is held for them."""
    return answer_of(mine.own_preferences((await who(ask)).preferences))


async def set_preferences(ask: Ask) -> Answer:
    """Choose it."""
    return answer_of(mine.OwnDone(is_audited=await choose(ask, ask.body)))


async def choose(ask: Ask, given: mine.NewPreferences) -> bool:
    """The same for a page."""
    person, chosen = await somebody(ask), mine.preferences_of(given)
    is_audited = await ask.change("own.preferences", person.name, chosen.digest or "default")
    heard = await ask.office.heard(person)
    await ask.office.control.people.set_preferences(person, chosen, heard, ask.who.actor)
    return is_audited


ROUTES = (
    Route(
        "GET",
        f"{_BASE}/quarantine",
        "self",
        own_held,
        summary="What is held for who asks",
        answer=mine.OwnHeldList,
        query={
            "limit": Whole(f"how many items, at most {MOST}", MOST, 50),
            "cursor": Free("next_cursor of the page before"),
        },
    ),
    Route("GET", _ONE, "self", own_message, summary="One message that is held for who asks", answer=mine.OwnHeld),
    Route(
        "POST", f"{_ONE}/release", "self", release_own, summary="Have it delivered", body=Nothing, answer=mine.OwnDone
    ),
    Route("POST", f"{_ONE}/request", "self", request_own, summary="Ask for it", body=Nothing, answer=mine.OwnDone),
    Route("POST", f"{_ONE}/delete", "self", drop_own, summary="It is not wanted", body=Nothing, answer=mine.OwnDone),
    Route("POST", f"{_ONE}/restore", "self", restore_own, summary="It is after all", body=Nothing, answer=mine.OwnDone),
    Route("GET", f"{_BASE}/lists", "self", own_lists, summary="Lists of one's own", answer=mine.OwnLists),
    Route(
        "POST",
        f"{_BASE}/lists",
        "self",
        put_entry,
        summary="Allow or block a sender for oneself",
        body=mine.NewEntry,
        answer=mine.OwnDone,
        status=201,
    ),
    Route(
        "DELETE",
        f"{_BASE}/lists/<entry>",
        "self",
        drop_entry,
        summary="Take a sender off",
        answer=mine.OwnDone,
    ),
    Route(
        "GET",
        f"{_BASE}/preferences",
        "self",
        own_preferences,
        summary="When one hears of held mail",
        answer=mine.OwnPreferences,
    ),
    Route(
        "PUT",
        f"{_BASE}/preferences",
        "self",
        set_preferences,
        summary="Choose that",
        body=mine.NewPreferences,
        answer=mine.OwnDone,
    ),
)
