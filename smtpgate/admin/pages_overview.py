"""The first page: is mail flowing, and what is wrong; and a test message from it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from smtpgate.admin import api_intake
from smtpgate.admin import models_overview as o
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_overview import recipient_of, send_test, wait_for
from smtpgate.admin.first import Step
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_messages
from smtpgate.admin.panels import panel
from smtpgate.admin.plot import WIDTH, draw
from smtpgate.admin.routes import Ask, page_route
from smtpgate.config.model import Settings
from smtpgate.control.views import Refused
from smtpgate.policy.query import Query

#: Where the plot begins and ends, and the messages beside it.
_LEFT, _LATEST = 40, 8
#: Lengths of a pause that the form offers, minutes.
PAUSES = ((10, "10 minutes"), (30, "half an hour"), (60, "an hour"), (240, "4 hours"))


async def overview(ask: Ask) -> Answer:
    """Is mail flowing?"""
    return await _overview(ask)


async def _overview(ask: Ask, status: int = 200, said: str = "", dialogue: tuple[str, ...] = ()) -> Answer:
    office, control = ask.office, ask.office.control
    await control.certificates.look()
    series = office.numbers.series()
    whole = o.whole_model(control, office.numbers.p95_ms(), office.wall())
    recent, trouble = None, ""
    if ask.who.may("messages:read"):
        recent, trouble = await panel(find_messages(office, ask.who.reach, Query(), _LATEST), None)
    steps, _ = await panel(_steps(ask), [])
    return await office.templates.page(
        ask,
        "overview.html",
        status,
        here="overview",
        view=control.overview(),
        whole=whole,
        points=series.points,
        plot=draw(series.points),
        marks=marks(control.configuration.applied, series.points),
        recent=recent,
        trouble=trouble,
        problems=control.problems,
        test_command=_test_command(control.settings),
        test_recipient=recipient_of(control.settings),
        config_file=str(control.path),
        traffic=sum(whole.outcomes.values()),
        said=said,
        dialogue=dialogue,
        steps=steps,
        intake=api_intake.intake_model(control.intake),
        pauses=PAUSES,
    )


async def _steps(ask: Ask) -> list[Step]:
    """The first steps, for people who have not done them all, nor put the card away."""
    first = ask.office.first
    if await first.is_dismissed(ask.who.name):
        return []
    steps: list[Step] = await first.steps()
    return steps if not all(one.is_done for one in steps) else []


def marks(applied: Any, points: Any) -> tuple[tuple[float, str, int], ...]:
    """Where in the plot a configuration was put to work: x, the words, and seconds since the epoch."""
    if not points:
        return ()
    first = datetime.fromisoformat(points[0].time).timestamp()
    step = (WIDTH - _LEFT) / len(points)
    out = []
    for one in applied:
        minutes = (one.at - first) / 60
        if 0 <= minutes <= len(points):
            words = f"revision {one.number}" if one.number else f"revision {one.id}"
            out.append((round(_LEFT + minutes * step, 1), words, int(one.at)))
    return tuple(out)


def _test_command(settings: Settings) -> str:
    """What to type to see a first message."""
    config = settings.path or "etc/smtpgate.toml"
    return f"smtpgate --config {config} send-test --to {recipient_of(settings)}"


async def test_send(ask: Ask) -> Answer:
    """Send a test message through an own listener, and open its page."""
    try:
        is_bad = ask.form.get("kind") == "bad"
        sent, dialogue, _ = await send_test(ask, ask.form.get("to", "").strip(), "", "", is_bad)
    except Refused as refused:
        return await _overview(ask, 409, f"No test message was sent: {refused}.")
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        return await _overview(ask, 422, f"No test message was sent: give {refusal.detail}.")
    if sent.reference and ask.who.may("messages:read") and await wait_for(ask, sent.reference):
        return redirect(f"/sessions/{sent.reference}")
    said = f"The gateway answered {sent.code}." if sent.code else "The connection broke."
    return await _overview(ask, 200, said, tuple(dialogue))


async def pause_form(ask: Ask) -> Answer:
    """Let nobody new in for a while, once the gateway's name was typed."""
    minutes, name = ask.form.get("minutes", ""), ask.office.control.settings.hostname
    reason = "".join(letter for letter in ask.form.get("reason", "") if letter.isprintable())[:500]
    if ask.form.get("confirm", "").strip() != name:
        return await _overview(ask, 422, f"Nothing was paused: type {name} to confirm.")
    if minutes not in {str(one) for one, _ in PAUSES}:
        return await _overview(ask, 422, "Nothing was paused: choose for how long.")
    try:
        await api_intake.pause(ask, int(minutes), reason)
    except Refused as refused:
        return await _overview(ask, 409, f"Nothing was paused: {refused}.")
    return redirect("/")


async def resume_form(ask: Ask) -> Answer:
    """Let everybody in again."""
    try:
        await api_intake.resume(ask)
    except Refused as refused:
        return await _overview(ask, 409, f"{refused}.")
    return redirect("/")


ROUTES = (
    page_route("/", "stats:read", overview),
    page_route("/test/send", "test:run", test_send, "POST"),
    page_route("/intake/pause", "system:write", pause_form, "POST"),
    page_route("/intake/resume", "system:write", resume_form, "POST"),
)
