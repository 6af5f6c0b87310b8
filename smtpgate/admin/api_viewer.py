"""The API about the content of held mail: what it is, one part of it, all of it.

What leaves is a file that no browser shows, of a type that says nothing and with a policy that lets nothing run.
Whoever asks is in the audit before the first octet (`reading`).
"""

from __future__ import annotations

from typing import Final

from smtpgate.admin import models_viewer as v
from smtpgate.admin import reading
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_quarantine import held_of
from smtpgate.admin.params import Free, OneOf, Param
from smtpgate.admin.routes import Ask, Route
from smtpgate.policy.held import Held

_HELD: Final = "/api/v1/quarantine/<id>"
#: Of a file with a stranger's octets, whoever opens it however.
FILE_POLICY: Final = "sandbox; default-src 'none'"


async def view_held(ask: Ask) -> Answer:
    """What is in it: texts, header, the way it came, parts, links, and what is made to be taken for something else."""
    message = await held_of(ask, ask.args["id"])
    await reading.read(ask, message, "its content on a page", ask.params["reason"] or "")
    return answer_of(await model_of(ask, message))


async def model_of(ask: Ask, message: Held) -> v.ViewModel:
    """The same for a page."""
    found = await ask.office.control.viewer.view(message)
    is_sealed = bool(ask.office.control.settings.quarantine.of(message.held_as).sealed)
    # A long one is a hundred milliseconds of work.
    model: v.ViewModel = await ask.office.in_thread(v.view_model, message.id, found, is_sealed)
    return model


async def held_content(ask: Ask) -> Answer:
    """Its octets, as they came, below our trace field; of a sealed class in an archive."""
    message = await held_of(ask, ask.args["id"])
    is_sealed = reading.check_sealed(ask, message)
    await reading.read(ask, message, "", ask.params.get("reason") or "")
    octets = await ask.office.control.quarantine.content(message.id)
    return await _file(ask, octets, f"{message.id}.eml", is_sealed and ask.params.get("sealed") != "no")


async def held_part(ask: Ask) -> Answer:
    """One part, decoded; of a sealed class in an archive."""
    message, number = await held_of(ask, ask.args["id"]), ask.args["number"]
    is_sealed = reading.check_sealed(ask, message)
    await reading.read(ask, message, f"part {number[:60]}", ask.params.get("reason") or "")
    octets, name = await ask.office.control.viewer.part(message, number)
    otherwise = f"part-{reading.safe_name(number, '1')}.bin"
    return await _file(ask, octets, reading.safe_name(name, otherwise), is_sealed)


async def _file(ask: Ask, octets: bytes, name: str, is_sealed: bool) -> Answer:
    if is_sealed:
        octets, name = await ask.office.control.viewer.sealed(octets, name), f"{name}.zip"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": FILE_POLICY,
    }
    return Answer(octets, content_type="application/octet-stream", headers=headers)


_REASON: Final[dict[str, Param]] = {"reason": Free("why it is read, where the class asks for it; for the audit")}

ROUTES = (
    Route(
        "GET",
        f"{_HELD}/view",
        "content:read",
        view_held,
        summary="What is in it",
        answer=v.ViewModel,
        query=_REASON,
        for_domains=True,
    ),
    Route(
        "GET",
        f"{_HELD}/content",
        "content:read",
        held_content,
        summary="Its octets",
        query={**_REASON, "sealed": OneOf("no: as it is, where its class is sealed", ("no",))},
        for_domains=True,
        is_guarded=True,
    ),
    Route(
        "GET",
        f"{_HELD}/parts/<number>",
        "content:read",
        held_part,
        summary="One part of it",
        query=_REASON,
        for_domains=True,
        is_guarded=True,
    ),
)
