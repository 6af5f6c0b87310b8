"""The API that edits rules: each order changes the draft of who gives it, and says what that would change.

Nothing is at work before the draft is (`/config/apply`); with a file that rules the draft is a patch to take away.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_messages
from smtpgate.admin.params import Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.config import rule_texts
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.text_blocks import NotSo
from smtpgate.control.draft_edits import Edited, Plan
from smtpgate.control.rule_edits import TEMPLATES
from smtpgate.control.views import Unknown
from smtpgate.policy.query import Query, QueryError, term

_Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class RulesText(Order):
    """Tables [[rules]] as TOML; `before`: the name of the rule that they stand before, "" for behind all."""

    text: _Text
    before: _Name = ""


class RuleText(Order):
    """One table [[rules]] as TOML."""

    text: _Text


class RuleMode(Order):
    """enforce, shadow or off."""

    mode: Annotated[str, Field(max_length=20)]


class RuleOrder(Order):
    """The names of all rules of the draft, in their new order."""

    names: Annotated[list[_Name], Field(max_length=2000)]


class RuleInText(View):
    """A rule as it stands in the draft of who asks (`is_draft`), or in what is at work."""

    name: str
    text: str
    is_draft: bool


class EditedModel(View):
    """The draft after an edit: how it differs from what is at work, and what is wrong with it."""

    base: int
    diff: str
    is_valid: bool
    problems: list[m.ProblemModel]
    is_audited: bool


class TemplateModel(View):
    """A rule to begin with."""

    name: str
    words: str
    text: str


class TemplateList(View):
    """All of them."""

    items: list[TemplateModel]


#: A draft after an edit, and whether that is in the audit.
Done = tuple[Edited, bool]


async def _kept(ask: Ask, what: str, plan: Plan) -> Done:
    is_audited = await ask.change("rules.draft", what)
    return await ask.office.control.rule_edits.keep(ask.who.actor, plan), is_audited


def answer_edited(done: Done) -> Answer:
    """An edit of a draft as the API tells it."""
    edited, is_audited = done
    return answer_of(
        EditedModel(
            base=edited.draft.base,
            diff=edited.diff,
            is_valid=not any(one.is_error for one in edited.problems),
            problems=[m.problem_model(one) for one in edited.problems],
            is_audited=is_audited,
        )
    )


def _wrong(errors: ConfigErrors) -> Refusal:
    refusal = Refusal("validation", 422, "the text has no rules that could be put to work")
    refusal.errors = [
        {"pointer": "/text", "code": one.key or "syntax", "message": f"line {one.line}: {one.message}; {one.hint}"}
        for one in errors.problems
    ]
    return refusal


async def put(ask: Ask, text: str, before: str, *, is_new: bool) -> Done:
    """Put rules into one's draft. Raises ConfigErrors."""
    edits = ask.office.control.rule_edits
    made = await edits.plan_put(ask.who.actor, text, before, is_new=is_new)
    names = ", ".join(one.name for one in await ask.office.in_thread(rule_texts.of_text, text))
    return await _kept(ask, names[:200], made)


async def add_rules(ask: Ask) -> Answer:
    """Add rules, whose names are not there yet."""
    try:
        return answer_edited(await put(ask, ask.body.text, ask.body.before, is_new=True))
    except ConfigErrors as errors:
        raise _wrong(errors) from None


async def import_rules(ask: Ask) -> Answer:
    """Add rules; those whose names are there take their place."""
    try:
        return answer_edited(await put(ask, ask.body.text, ask.body.before, is_new=False))
    except ConfigErrors as errors:
        raise _wrong(errors) from None


async def show_rule(ask: Ask) -> Answer:
    """One as it is written."""
    text, is_draft = await ask.office.control.rule_edits.text_of(ask.who.actor, ask.args["name"])
    return answer_of(RuleInText(name=ask.args["name"], text=text, is_draft=is_draft))


async def change_rule(ask: Ask) -> Answer:
    """Another text for it."""
    name = ask.args["name"]
    await ask.office.control.rule_edits.text_of(ask.who.actor, name)
    named = await ask.office.in_thread(_names_of, ask.body.text)
    if named != [name]:
        raise Refusal("validation", 422, f"give one table [[rules]] with name = {name!r}")
    try:
        return answer_edited(await put(ask, ask.body.text, "", is_new=False))
    except ConfigErrors as errors:
        raise _wrong(errors) from None


def _names_of(text: str) -> list[str]:
    try:
        return [one.name for one in rule_texts.of_text(text)]
    except NotSo as error:
        raise Refusal("validation", 422, str(error)) from None


async def set_mode(ask: Ask, name: str, mode: str) -> Done:
    """Another mode for one, in one's draft."""
    edits = ask.office.control.rule_edits
    await edits.text_of(ask.who.actor, name)
    return await _kept(ask, f"{name}: {mode}", await edits.plan_mode(ask.who.actor, name, mode))


async def set_rule_mode(ask: Ask) -> Answer:
    """enforce, shadow or off."""
    return answer_edited(await set_mode(ask, ask.args["name"], ask.body.mode))


async def take_out(ask: Ask, name: str) -> Done:
    """Take one out of one's draft."""
    edits = ask.office.control.rule_edits
    await edits.text_of(ask.who.actor, name)
    return await _kept(ask, f"{name}: removed", await edits.plan(ask.who.actor, rule_texts.remove, name))


async def remove_rule(ask: Ask) -> Answer:
    """Take it out."""
    return answer_edited(await take_out(ask, ask.args["name"]))


async def order(ask: Ask, names: list[str]) -> Done:
    """Another order, in one's draft."""
    edits = ask.office.control.rule_edits
    return await _kept(ask, "order", await edits.plan(ask.who.actor, rule_texts.reordered, names))


async def reorder_rules(ask: Ask) -> Answer:
    """Another order."""
    return answer_edited(await order(ask, ask.body.names))


async def export_rules(ask: Ask) -> Answer:
    """All rules of one's draft, or of what is at work, as TOML."""
    text: str = await ask.office.control.rule_edits.all_of(ask.who.actor)
    headers = {"Content-Disposition": 'attachment; filename="smtpgate-rules.toml"'}
    return Answer(text.encode("utf-8", "replace"), 200, "application/toml", headers)


async def rule_templates(ask: Ask) -> Answer:
    """Rules to begin with."""
    items = [TemplateModel(name=one.name, words=one.words, text=one.text) for one in TEMPLATES]
    return answer_of(TemplateList(items=items))


async def rule_hits(ask: Ask) -> Answer:
    """The newest messages that a rule was true of."""
    try:
        query = Query((term("rule", ask.args["name"], ask.office.wall()),))
    except QueryError as error:
        raise Unknown(f"no rule of that name: {error}") from None
    return answer_of(await find_messages(ask.office, ask.who.reach, query, ask.params["limit"]))


_BASE: Final = "/api/v1/rules"
_ONE: Final = f"{_BASE}/named/<name>"
_LIMIT: dict[str, Any] = {"limit": Whole("how many items, at most 500", 500, 50)}
_W: Final = "config:write"
ROUTES = (
    Route(
        "GET", f"{_BASE}/templates", "config:read", rule_templates, summary="Rules to begin with", answer=TemplateList
    ),
    Route("GET", f"{_BASE}/export", "config:read", export_rules, summary="Rules to take away"),
    Route("POST", _BASE, _W, add_rules, summary="Add rules to your draft", body=RulesText, answer=EditedModel),
    Route("POST", f"{_BASE}/import", _W, import_rules, summary="Take rules in", body=RulesText, answer=EditedModel),
    Route("POST", f"{_BASE}/reorder", _W, reorder_rules, summary="Reorder", body=RuleOrder, answer=EditedModel),
    Route("GET", _ONE, "config:read", show_rule, summary="One rule as it is written", answer=RuleInText),
    Route("PUT", _ONE, _W, change_rule, summary="Change a rule in your draft", body=RuleText, answer=EditedModel),
    Route("PATCH", _ONE, _W, set_rule_mode, summary="Another mode", body=RuleMode, answer=EditedModel),
    Route("DELETE", _ONE, _W, remove_rule, summary="Take it out of your draft", answer=EditedModel),
    Route(
        "GET",
        f"{_ONE}/hits",
        "messages:read",
        rule_hits,
        summary="Messages that it was true of",
        answer=m.MessageList,
        query=_LIMIT,
    ),
)
