"""The pages about the configuration: what is at work, a draft that is written and tried, history, the way back.

Where the file rules a draft can be written, checked and compared, and taken away as a patch; it cannot be put to work.
What somebody writes is kept as their draft with each check, so that no edit is lost.
"""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup, escape

from smtpgate.admin import api_config, api_do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_tables import TableNameList, list_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.config.hiding import hide
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.texts import unified
from smtpgate.control.config_views import Checked, Moved
from smtpgate.control.views import Refused
from smtpgate.policy.config_revision import ConfigRevision

#: Rows of the history on a page.
ROWS: Final = 20
#: Letters of a text that a form takes; a larger one goes by the command line.
TEXT: Final = 300_000
#: Minutes that the form offers to confirm within. Junos waits for 10 unless told otherwise.
MINUTES: Final = (
    (0, "for good"),
    (2, "2 minutes, unless confirmed"),
    (5, "5 minutes, unless confirmed"),
    (10, "10 minutes, unless confirmed"),
    (30, "30 minutes, unless confirmed"),
    (60, "an hour, unless confirmed"),
)
#: Lines that the editor has at least.
_LINES: Final = 24


async def config(ask: Ask) -> Answer:
    """The configuration at work, what somebody writes, and what there was before."""
    return await _config(ask)


async def _config(ask: Ask, status: int = 200, **more: Any) -> Answer:
    control = ask.office.control
    books = control.configuration
    said = ask.query.get("before", "")
    before = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0
    history = await books.revisions(ROWS + 1, before) if books.store is not None else []
    drift = await books.drift()
    draft = await books.draft(ask.who.actor) if books.store is not None else None
    text = more.pop("text", draft.text if draft is not None else "")
    base = more.pop("base", draft.base if draft is not None else 0)
    given = {
        "said": "",
        "tone": "bad",
        "checked": None,
        "moved": None,
        "clashes": (),
        "problems_of_file": None,
        "message": "",
        **more,
    }
    is_too_large = len(text) > TEXT
    text = "" if is_too_large else text
    lines = text.count("\n") + 1
    return await ask.office.templates.page(
        ask,
        "config.html",
        status,
        here="config",
        active=books.active,
        revision=control.revision,
        revision_at=control.revision_at,
        mode=books.mode,
        file=str(control.path),
        problems=control.problems,
        warnings=control.settings.warnings,
        settings=control.settings,
        tables=await _tables(ask) if books.store is not None else None,
        restart=books.needs_restart(control.settings),
        history=[(one, books.state_of(one)) for one in history[:ROWS]],
        has_more=len(history) > ROWS,
        before=before,
        drift=drift,
        drift_diff=await ask.office.in_thread(_drift, books.active, drift.text) if drift.is_drifted else (),
        draft=draft if draft is not None and draft.at else None,
        # The letters themselves, since they come back: what would steer a reader is shown by the difference.
        text=Markup("\n") + escape(text),
        base=base,
        is_too_large=is_too_large,
        lines=range(1, max(lines + 2, _LINES) + 1),
        minutes=MINUTES,
        shown_diff=_parts(given["checked"].diff) if given["checked"] is not None else (),
        **given,
    )


async def _tables(ask: Ask) -> TableNameList | None:
    """Those that can be edited one by one; None for who may not, and while the draft is no TOML."""
    if not ask.who.may("config:write"):
        return None
    try:
        return await list_of(ask)
    except Refused:
        return None


def _drift(active: ConfigRevision, text: str) -> list[tuple[str, str]]:
    return _parts(unified(hide(active.text), hide(text), f"revision {active.number}", "file")) if text else []


def _parts(diff: str) -> list[tuple[str, str]]:
    """Each line of a difference with what it is: added, removed, place or same."""
    kinds = {"+": "added", "-": "removed", "@": "place", "\\": "place"}
    lines = diff.split("\n")[:-1]
    return [("place" if at < 2 else kinds.get(line[:1], "same"), line) for at, line in enumerate(lines)]


async def revision(ask: Ask) -> Answer:
    """One revision: its text with who brought which line, and what it changed."""
    books = ask.office.control.configuration
    found = await api_config.revision_of(ask, str(ask.args["number"]))
    # Of a text that is too long for it: what it changed is shown all the same.
    lines = await books.blame(found) if len(found.text) <= TEXT else ()
    said = ask.query.get("from", "")
    parent = found.parent if not said else -1
    if said or parent:
        try:
            other = await api_config.revision_of(ask, said or str(parent))
        except (Refusal, Refused):
            # Its parent is not kept any more.
            if said:
                raise
            other = None
    else:
        other = None

    def compared() -> list[tuple[str, str]]:
        assert other is not None
        return _parts(
            unified(hide(other.text), hide(found.text), f"revision {other.number}", f"revision {found.number}")
        )

    return await ask.office.templates.page(
        ask,
        "config_revision.html",
        here="config",
        one=found,
        state=books.state_of(found),
        active=books.active,
        mode=books.mode,
        lines=lines,
        other=other,
        diff=await ask.office.in_thread(compared) if other is not None else (),
        minutes=MINUTES,
    )


# Do


def _written(ask: Ask) -> tuple[str, int, str]:
    """The text that somebody wrote, of which revision it was made, and why."""
    if ask.office.control.configuration.store is None:
        raise Refusal("conflict", 409, "this gateway keeps no revisions")
    text = ask.form.get("text", "").replace("\r\n", "\n")
    if len(text) > TEXT:
        raise Refusal("too-large", 413, "the text is too large for this form: use smtpgate config apply")
    return text, _number(ask.form.get("base", ""), 1), _line(ask.form.get("message", ""))


async def draft(ask: Ask) -> Answer:
    """Check what somebody wrote, keep it, take it away as a patch, or forget it."""
    books, do = ask.office.control.configuration, ask.form.get("do", "check")
    text, base, message = _written(ask)
    actor = ask.who.actor
    if do == "forget":
        await books.drop_draft(actor)
        return redirect("/config#editor")
    await books.keep_draft(actor, text, base)
    checked = await books.check(text, actor)
    if do == "patch":
        headers = {"Content-Disposition": f'attachment; filename="smtpgate-revision-{books.active.number}.patch"'}
        return Answer(checked.diff.encode("utf-8", "replace"), content_type="application/octet-stream", headers=headers)
    return await _config(ask, text=text, base=base, checked=checked, message=message)


async def apply(ask: Ask) -> Answer:
    """Put what somebody wrote to work."""
    text, base, message = _written(ask)
    books = ask.office.control.configuration
    written: dict[str, Any] = {"text": text, "base": base, "message": message}
    minutes = _number(ask.form.get("minutes", "0"), 0)
    if minutes not in {one for one, _ in MINUTES}:
        raise Refusal("parameter", 400, "choose how long it holds")
    try:
        await api_config.put_to_work(ask, text, message, base, minutes, is_of_draft=True)
    except ConfigErrors:
        checked: Checked = await books.check(text, ask.who.actor)
        said = "The text has errors, so it was not put to work; the running configuration is unchanged."
        return await _config(ask, 422, said=said, checked=checked, **written)
    except Moved as moved:
        joined = moved.merged
        # Of secrets it has those that were sent with this form and nobody else's; as *** they would be lost.
        shown = {**written, "text": joined.text, "base": moved.theirs.number}
        # What is written on from here was made of theirs, with both changes in it.
        await books.keep_draft(ask.who.actor, joined.text, moved.theirs.number)
        return await _config(ask, 412, moved=moved, clashes=_clashes(moved), **shown)
    except Refused as refused:
        return await _config(ask, 409, said=str(refused), **written)
    return redirect("/config")


def _clashes(moved: Moved) -> list[dict[str, Any]]:
    return [
        {"line": one.line, "sides": [(name, hide(side).split("\n")) for name, side in
                                     (("before", one.base), ("yours", one.mine), ("theirs", one.theirs))]}
        for one in moved.merged.clashes
    ]  # fmt: skip


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:500].strip()


def _number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise Refusal("parameter", 400, "the form has a number that is none")
    return int(text)


async def import_file(ask: Ask) -> Answer:
    """Make a draft of the file."""
    await ask.office.control.configuration.import_file(ask.who.actor)
    return redirect("/config#editor")


async def confirm(ask: Ask) -> Answer:
    """Let a revision stay."""
    await api_config.keep(ask, _number(ask.form.get("revision", ""), 1))
    return redirect("/config")


async def rollback(ask: Ask) -> Answer:
    """Put an older revision to work again."""
    found = await api_config.revision_of(ask, str(ask.args["number"]))
    minutes = _number(ask.form.get("minutes", "0"), 0)
    if minutes > 60:
        raise Refusal("parameter", 400, "choose how long it holds")
    await api_config.go_back(ask, found.number, _line(ask.form.get("message", "")), minutes)
    return redirect("/config")


async def validate(ask: Ask) -> Answer:
    """Check the file as it is on the disk."""
    problems = await ask.office.control.check_file()
    errors = any(problem.is_error for problem in problems)
    said = "The file has errors." if errors else "The file can be put to work."
    return await _config(ask, problems_of_file=problems, said=said, tone="bad" if errors else "good")


async def reload(ask: Ask) -> Answer:
    """Read anew what rules, and put it to work."""
    problems, _ = await api_do.reload_file(ask)
    if problems:
        said = "It has errors; the running configuration is unchanged."
        return await _config(ask, 422, problems_of_file=problems, said=said)
    return redirect("/config")


ROUTES = (
    page_route("/config", "config:read", config),
    page_route("/config/<int:number>", "config:read", revision),
    page_route("/config/validate", "config:write", validate, "POST"),
    page_route("/config/reload", "config:write", reload, "POST", is_guarded=True),
    page_route("/config/draft", "config:write", draft, "POST"),
    page_route("/config/apply", "config:write", apply, "POST", is_guarded=True),
    page_route("/config/import", "config:write", import_file, "POST"),
    page_route("/config/confirm", "config:write", confirm, "POST"),
    page_route("/config/<int:number>/rollback", "config:write", rollback, "POST", is_guarded=True),
)
