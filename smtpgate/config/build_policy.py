"""From the tables of policy to their values. A condition that is none is told with its own line and column."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping

from smtpgate.config import build_edits
from smtpgate.config.entry import normal_domain, parse_address
from smtpgate.config.model_policy import COPYING, SEALING, SENDING, WHOLE, Groups, Rule, TLSPolicy
from smtpgate.config.patterns import AddressList
from smtpgate.config.problem import BadValue, Fault, Where, one_of, quoted
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.tables_policy import GroupTable, RuleTable, TLSPolicyTable
from smtpgate.rules.asked import asked, grouped
from smtpgate.rules.engine import BadExpression, check, compile
from smtpgate.rules.literals import listeners

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
    _places(table, where, faults)
    _tls(table, where, faults)
    build_edits.look(table, where, faults)
    if len(faults) > before:
        return None
    unless = "" if table.unless == _NEVER else table.unless
    # Whether it is the same message shows when all of it is there.
    since = "end" if table.self_service else "rcpt" if table.recipient else "mail"
    condition = _try(lambda: compile(table.when, unless, since), (*where, "when"), faults)
    if condition is None:
        return None
    if not _fits(table, condition.step, where, faults):
        return None
    parts = build_edits.parts(table)
    texts = {"when": table.when, "unless": unless, "parts": table.parts}
    is_searching = condition.needs_search or parts is not None and parts.needs_search
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
        tuple(table.to),
        table.backend,
        table.held_as or "",
        table.strict,
        table.mode,
        table.on_error,
        table.owner,
        table.note,
        table.tls_level or "",
        table.leg,
        build_edits.change(table),
        parts,
        {name: asked(text) for name, text in texts.items() if text} if is_searching else {},
        key,
        table.self_service or "",
        AddressList(table.sender),
        AddressList(table.recipient),
        {name: found for name, text in texts.items() if (found := grouped(text))},
        table.on_missing or "refuse",
        {name: found for name, text in texts.items() if (found := listeners(text))},
    )


def groups(
    tables: Mapping[str, GroupTable], base: pathlib.Path, files: Mapping[pathlib.Path, ReadFile], faults: list[Fault]
) -> Groups:
    """All groups, with what stands in their files."""
    made = Groups()
    for name, table in tables.items():
        there = list(table.addresses)
        if table.file:
            there += _addresses_of(files[base / table.file], ("groups", name, "file"), faults)
        made[name] = AddressList(there)
    return made


def _addresses_of(file: ReadFile, where: Where, faults: list[Fault]) -> list[str]:
    """The addresses of a file; what is wrong with it is told with the first line that is wrong."""

    def fault(message: str) -> list[str]:
        faults.append(Fault(where, message, "write an address or a domain a line, as in routes", keys=()))
        return []

    if file.reason:
        return fault(f"cannot read {file.path}: {file.reason}")
    try:
        text = file.octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        return fault(f"{file.path} is not UTF-8")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            try:
                parse_address(entry)
            except BadValue as error:
                return fault(f"{file.path} line {number}: {error.message}")
            found.append(entry)
    return found


def tls_policies(tables: list[TLSPolicyTable]) -> tuple[TLSPolicy, ...]:
    """All of them."""
    return tuple(
        TLSPolicy(
            number,
            table.level,
            table.leg,
            tuple(table.listener),
            AddressList(table.sender),
            AddressList(table.recipient),
            tuple(normal_domain(name) for name in table.names),
        )
        for number, table in enumerate(tables)
    )


def _fits(table: RuleTable, step: str, where: Where, faults: list[Fault]) -> bool:
    """Whether what the rule does can still be done when it is judged."""
    if table.recipient and step != "rcpt":
        message = "a rule about recipients is judged at RCPT, and this is known later"
        hint = "leave recipient out, and write recipients.exists(r, ...) or groups_of_recipients"
    elif table.action in (*WHOLE, *build_edits.ACTIONS) and step == "rcpt":
        message = "one recipient cannot have another message than the others"
        if table.action in COPYING:
            message = f"a message is there whole when {quoted(table.action)} takes it, for all of its recipients"
        hint = "write recipients.exists(r, ...) in place of recipient"
    elif table.action == "route" and step not in ("mail", "rcpt"):
        message = "a backend is chosen at RCPT, and this is known later"
        hint = "speak of the client, the sender and the recipient only"
    else:
        return True
    faults.append(Fault((*where, "when"), message, hint, keys=("action",)))
    return False


def _places(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    """Who gets it, and where, must be said by a rule that sends it there, and by no other."""

    def fault(name: str, message: str, hint: str) -> None:
        faults.append(Fault((*where, name), message, hint, keys=("action",)))

    action = quoted(table.action)
    if table.action in SENDING and not table.to:
        fault("action", f"{action} needs somebody to send it to", 'give to = ["audit@example.net"]')
    if table.to and table.action not in SENDING:
        fault("to", f"{action} sends nothing", "remove it, or use redirect, bcc or journal")
    if table.action == "route" and not table.backend:
        fault("action", "there is no backend to route it to", 'give backend = "mail"')
    if table.backend and table.action != "route" and table.action not in SENDING:
        fault("backend", f"{action} sends nothing", "remove it, or use route")
    if table.held_as and table.action not in ("quarantine", "copy"):
        fault("held_as", f"{action} holds nothing in a class of one's own", "remove it, or use quarantine or copy")
    if table.self_service and table.action != "reject":
        fault("self_service", f"{action} refuses nothing", "remove it, or use reject")
    if table.on_missing is not None and table.action not in SEALING:
        fault("on_missing", f"{action} needs no certificate", "remove it, or use smime-sign or smime-encrypt")
    if not table.strict and table.action not in COPYING:
        fault("strict", f"{action} keeps no copy", "remove it")


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


def _tls(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    """A level belongs to a rule that asks for TLS."""
    if table.action == "require-tls":
        if table.tls_level is None:
            faults.append(
                Fault(
                    (*where, "action"),
                    "it does not say how good the TLS must be",
                    'give tls_level = "encrypted", "verified" or "dane"',
                    keys=("tls_level",),
                )
            )
        return
    for name, is_given in (("tls_level", table.tls_level is not None), ("leg", table.leg != "backend")):
        if is_given:
            message = f"action {quoted(table.action)} asks for no TLS"
            faults.append(Fault((*where, name), message, 'remove it, or use action "require-tls"', keys=("action",)))


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
