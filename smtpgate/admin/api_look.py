"""The API's answers to questions: the same snapshots as on the pages. Nothing here changes anything."""

from __future__ import annotations

from typing import Final

from smtpgate.admin import models as m
from smtpgate.admin import shown
from smtpgate.admin.answer import Answer
from smtpgate.admin.explain import of_message
from smtpgate.admin.lookup import find_message, find_session
from smtpgate.admin.models_config import ChangedKeyModel, Checked
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Stream
from smtpgate.admin.text import moment
from smtpgate.admin.wire import WebRequest
from smtpgate.control.views import SessionView

#: Most items of one list.
MOST = 500


def answer_of(view: View, status: int = 200) -> Answer:
    """A model as an answer."""
    return Answer(view.model_dump_json().encode("utf-8", "replace"), status, "application/json")


async def series(ask: Ask) -> Answer:
    """Messages by the minute."""
    return answer_of(ask.office.numbers.series(ask.params["minutes"]))


async def sessions(ask: Ask) -> Answer:
    """Live sessions."""
    views, total = live_sessions(ask, ask.params["limit"])
    return answer_of(m.SessionList(items=[m.session_model(view) for view in views], total=total))


def live_sessions(ask: Ask, most: int) -> tuple[list[SessionView], int]:
    """Live sessions in reach, and how many there are."""
    control, reach = ask.office.control, ask.who.reach
    if not reach.is_limited:
        return control.sessions(most), len(control.reception.sessions)
    found = []
    for view in control.sessions():
        live = control.session(view.id)
        if live is not None and reach.session(live[0]):
            found.append(view)
    return found[:most], len(found)


async def session(ask: Ask) -> Answer:
    """One session, live or ended, by its id or by the id of one of its messages."""
    return answer_of(await find_session(ask.office, ask.who.reach, ask.args["id"]))


async def message(ask: Ask) -> Answer:
    """One message and why it was accepted or refused."""
    _, found = await find_message(ask.office, ask.who.reach, ask.args["id"])
    banner = of_message(found)
    return answer_of(m.MessageDetail(verdict=banner.word, explanation=banner.sentence, message=found))


async def filters(ask: Ask) -> Answer:
    """The chain of filters: order, stages, budget, failure policy."""
    items = [
        m.FilterModel(
            name=view.name,
            roles=list(view.roles),
            stages=list(view.stages),
            mode=view.mode,
            budget_s=view.budget_s,
            on_error=view.on_error,
            needs_message=view.needs_message,
            category=view.category,
        )
        for view in ask.office.control.filters()
    ]
    return answer_of(m.FilterList(items=items))


#: Fields of the configuration that are no other version of it.
BY_ITSELF: Final = frozenset({"revision_time", "problems", "warnings"})


async def config(ask: Ask) -> Answer:
    """The configuration at work; secrets are never shown."""
    control = ask.office.control
    return answer_of(
        m.ConfigModel(
            revision=control.revision.id,
            number=control.configuration.active.number,
            revision_time=moment(control.revision_at),
            file=str(control.path),
            digest=control.settings.digest,
            problems=[m.problem_model(problem) for problem in control.problems],
            warnings=[m.problem_model(problem) for problem in control.settings.warnings],
            settings=shown.settings(control.settings),
        )
    )


async def me(ask: Ask) -> Answer:
    """Who asks, and what they may do."""
    who = ask.who
    return answer_of(
        m.Me(
            kind=who.kind,
            name=who.name,
            role=who.role,
            permissions=sorted(who.scopes),
            domains=list(who.domains),
            csrf=who.csrf if who.kind == "user" else "",
        )
    )


async def events(ask: Ask) -> Stream:
    """What happens, as server-sent events."""
    principal, params = ask.who, ask.params
    said = ask.request.header("last-event-id")
    # A browser sends the header when it comes back by itself; scripts that open a stream anew say it in the query.
    last = int(said) if said.isascii() and said.isdigit() and len(said) < 17 else params["last_event_id"]

    async def run(request: WebRequest) -> None:
        await ask.office.streams.serve(request, principal, params["topics"], params["filter"], last)

    ask.office.streams.admit(principal)
    return Stream(run)


async def document(ask: Ask) -> Answer:
    """This document."""
    return await ask.office.document()


async def validate(ask: Ask) -> Answer:
    """The problems of a configuration text, or of the file as it is on the disk; nothing is changed."""
    control, text = ask.office.control, ask.body.text
    if text is None:
        problems, more = await control.check_file(), {}
    else:
        found = await control.configuration.check(text)
        changes = [ChangedKeyModel(key=one.key, how=one.how, line=one.line) for one in found.keys]
        problems, more = found.problems, {"diff": found.diff, "changes": changes, "restart": list(found.restart)}
    return answer_of(
        Checked(
            is_valid=not any(problem.is_error for problem in problems),
            problems=[m.problem_model(problem) for problem in problems],
            **more,
        )
    )
