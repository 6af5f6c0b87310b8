"""From the tables of policy to their values. A condition that is none is told with its own line and column."""

from __future__ import annotations

import re
from collections.abc import Callable

from smtpgate.config.model_policy import Rule
from smtpgate.config.problem import Fault, Where, one_of, quoted
from smtpgate.config.tables_policy import RuleTable
from smtpgate.rules.asked import asked
from smtpgate.rules.engine import BadExpression, check, compile

_REPLY = re.compile(r"(?:([0-9]{3})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: |\Z))?(.*)", re.DOTALL)
_CLASS = {"reject": "5", "defer": "4"}
_NEVER = "false"
_FIELD = re.compile(r"[Xx]-[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")


def rules(tables: list[RuleTable], faults: list[Fault]) -> tuple[Rule, ...]:
    """All rules that are right."""
    made = (rule(number, table, faults) for number, table in enumerate(tables))
    return tuple(one for one in made if one is not None)


def rule(number: int, table: RuleTable, faults: list[Fault], key: str = "rules") -> Rule | None:
    """One rule, where it is right.

    :param key: of the list in the file that it stands in
    """
    where: Where = (key, number)
    before = len(faults)
    for name, text in (("when", table.when), ("unless", table.unless)):
        _try(lambda text=text: check(text), (*where, name), faults)  # type: ignore[misc]
    code, enhanced, text = _reply(table, where, faults)
    _tags(table, where, faults)
    if len(faults) > before:
        return None
    unless = "" if table.unless == _NEVER else table.unless
    condition = _try(lambda: compile(table.when, unless), (*where, "when"), faults)
    if condition is None:
        return None
    if table.action == "tag" and condition.step == "rcpt":
        faults.append(
            Fault(
                (*where, "when"),
                "one recipient cannot have another message than the others",
                "write recipients.exists(r, ...) in place of recipient",
                keys=("action",),
            )
        )
        return None
    return Rule(
        table.name,
        condition,
        table.when,
        table.unless,
        number,
        tuple(table.listener),
        table.direction or "",
        table.action,
        code,
        enhanced,
        text,
        table.subject_tag,
        dict(table.headers),
        table.mode,
        table.on_error,
        table.owner,
        table.note,
        {"when": asked(table.when), **({"unless": asked(unless)} if unless else {})} if condition.needs_search else {},
        key,
    )


def _try(make: Callable[[], object], where: Where, faults: list[Fault]):  # type: ignore[no-untyped-def]
    try:
        return make()
    except BadExpression as error:
        at = (error.line, error.column)
        hint = error.hint or one_of(error.word, error.known, "")
        faults.append(Fault(where, error.message, hint, keys=(), within=at))
        return None


def _reply(table: RuleTable, where: Where, faults: list[Fault]) -> tuple[int, str, str]:
    """Code, enhanced code and text of the reply."""
    found = _REPLY.fullmatch(table.reply)
    assert found is not None
    code, enhanced, text = found[1] or "", found[2] or "", found[3]
    wanted = _CLASS.get(table.action)

    def fault(message: str, hint: str) -> None:
        faults.append(Fault((*where, "reply"), message, hint, keys=("action",)))

    if table.reply and wanted is None:
        fault(f"nobody hears a reply of action {quoted(table.action)}", "remove it, or refuse with reject or defer")
    elif code and code[0] != wanted or enhanced and enhanced[0] != wanted:
        fault(f"the code does not fit action {quoted(table.action)}", f"write a code that begins with {wanted}")
    elif not text.isprintable() or not text.isascii() or len(text) > 400:
        fault("this cannot be said in a reply", "write 400 printable ASCII characters at most")
    return int(code or 0), enhanced, text


def _tags(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    """What is put on a message must be a word and fields, and be put there by a rule that does so."""

    def fault(name: str, message: str, hint: str) -> None:
        faults.append(Fault((*where, name), message, hint, keys=("action",)))

    if table.action != "tag":
        for name in ("subject_tag", "headers"):
            if getattr(table, name):
                fault(
                    name, f"action {quoted(table.action)} puts nothing on a message", 'remove it, or use action "tag"'
                )
        return
    if not table.subject_tag and not table.headers:
        fault("action", "there is nothing to put on a message", "give subject_tag or headers")
    if (
        not table.subject_tag.isprintable()
        or len(table.subject_tag) > 40
        or table.subject_tag.strip() != table.subject_tag
    ):
        fault("subject_tag", "this cannot stand before a subject", "write 1 to 40 printable characters")
    for name, value in table.headers.items():
        if _FIELD.fullmatch(name) is None:
            fault(
                "headers",
                f"{quoted(name)} is no name of a field of one's own",
                "write X- and letters, digits and dashes",
            )
        elif not value.isprintable() or not value.isascii() or not value.strip() or len(value) > 200:
            fault(
                "headers",
                f"the value of {quoted(name)} cannot stand in a field",
                "write 1 to 200 printable ASCII characters",
            )
