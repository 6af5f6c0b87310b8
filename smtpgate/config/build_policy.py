"""From the tables of policy to their values. A condition that is none is told with its own line and column."""

from __future__ import annotations

import re
from collections.abc import Callable

from smtpgate.config.model_policy import Rule
from smtpgate.config.problem import Fault, Where, quoted
from smtpgate.config.tables_policy import RuleTable
from smtpgate.rules.engine import BadExpression, check, compile

_REPLY = re.compile(r"(?:([0-9]{3})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: |\Z))?(.*)", re.DOTALL)
_CLASS = {"reject": "5", "defer": "4"}
_NEVER = "false"


def rules(tables: list[RuleTable], faults: list[Fault]) -> tuple[Rule, ...]:
    """All rules that are right."""
    made = (_rule(number, table, faults) for number, table in enumerate(tables))
    return tuple(rule for rule in made if rule is not None)


def _rule(number: int, table: RuleTable, faults: list[Fault]) -> Rule | None:
    where: Where = ("rules", number)
    before = len(faults)
    for name, text in (("when", table.when), ("unless", table.unless)):
        _try(lambda text=text: check(text), (*where, name), faults)  # type: ignore[misc]
    code, enhanced, text = _reply(table, where, faults)
    if len(faults) > before:
        return None
    unless = "" if table.unless == _NEVER else table.unless
    condition = _try(lambda: compile(table.when, unless), (*where, "when"), faults)
    if condition is None:
        return None
    return Rule(
        table.name,
        condition,
        number,
        tuple(table.listener),
        table.direction or "",
        table.action,
        code,
        enhanced,
        text,
        table.mode,
        table.on_error,
        table.owner,
        table.note,
    )


def _try(make: Callable[[], object], where: Where, faults: list[Fault]):  # type: ignore[no-untyped-def]
    try:
        return make()
    except BadExpression as error:
        at = (error.line, error.column)
        faults.append(Fault(where, error.message, error.hint, keys=(), within=at))
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
    elif not text.isprintable() or len(text) > 400:
        fault("the text is not one line of 400 characters at most", "write one line, without control characters")
    return int(code or 0), enhanced, text
