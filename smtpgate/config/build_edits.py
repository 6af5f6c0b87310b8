"""From the keys of a rule that changes mail to what it does: `build_policy` calls it for each rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smtpgate.config.problem import Fault, Where, one_of, quoted
from smtpgate.config.tables_policy import RuleTable
from smtpgate.edits.wanted import OF_REMOVED, PLACEHOLDERS, Change, unknown
from smtpgate.rules.engine import BadExpression, Expression, check, compile

#: Actions that change mail.
ACTIONS: Final = ("banner", "disclaimer", "strip", "replace", "headers")
_WORDS: Final = ("banner", "disclaimer")
_REMOVE: Final = ("strip", "replace")
#: The keys that only these have, and which of them need it.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "text": (*_WORDS, *_REMOVE),
        "html": _WORDS,
        "place": _WORDS,
        "once": _WORDS,
        "wrap": _WORDS,
        "invitations": _WORDS,
        "parts": _REMOVE,
        "keep": (*_WORDS, *_REMOVE, "headers"),
        "on_signature": ACTIONS,
        "headers_set": ("headers",),
        "headers_remove": ("headers",),
    }
)
#: A text that people are to read; a page has 3,000.
LETTERS: Final = 10_000
_PAGE: Final = re.compile(r"<\s*(?:/\s*)?(?:html|head|body|script|style|plaintext|!--|!doctype)\b|<!--", re.IGNORECASE)
_NAME: Final = re.compile(r"[!#-'*+\-./0-9A-Z^_`a-z|~]{1,76}")
#: Fields that no rule may change, each with the reason.
KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "received": "loops are found by it",
        "return-path": "the server that delivers writes it (RFC 5321 section 4.4)",
        "dkim-signature": "it is somebody else's word, which others judge",
        "authentication-results": "the filter authres writes it and takes those of others out",
        "from": "who wrote a message is not ours to say, and DMARC would fail",
        "message-id": "threads and retries are known by it",
        "mime-version": "it says how the body is read",
        "bcc": "it says whom nobody is to know of; a mail program takes it out",
    }
)
_KEPT_FAMILIES: Final = MappingProxyType(
    {
        "content-": "it says how the body is read",
        "arc-": "it is somebody else's word, which others judge",
        "resent-": "it is part of the trace (RFC 5322 section 3.6.6)",
        "x-smtpgate-": "the gateway itself writes it",
    }
)


def look(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    """Everything that is wrong with these keys of a rule."""

    def fault(name: str, message: str, hint: str) -> None:
        faults.append(Fault((*where, name), message, hint, keys=("action",)))

    default = RuleTable.model_fields
    for name, actions in _KEYS.items():
        if table.action not in actions and getattr(table, name) != default[name].get_default(call_default_factory=True):
            hint = f"remove it, or use action {' or '.join(quoted(one) for one in actions)}"
            fault(name, f"action {quoted(table.action)} has no {name}", hint)
    if table.action in _WORDS:
        _look_at_words(table, where, faults)
    elif table.action in _REMOVE:
        _look_at_text(table, where, faults, is_of_removed=True)
        _look_at_parts(table, where, faults)
    elif table.action == "headers":
        _look_at_fields(table, where, faults)


def _look_at_words(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    if not table.text.strip():
        message, hint = "there is nothing to put into the text", "give text"
        faults.append(Fault((*where, "action"), message, hint))
    _look_at_text(table, where, faults)
    _one_text(table.html, (*where, "html"), faults, is_of_removed=False)
    found = _PAGE.search(table.html)
    if found is not None:
        message = f"{quoted(found[0])} has no place in a piece of a page"
        hint = "write elements that stand in a body, as <p>"
        faults.append(Fault((*where, "html"), message, hint, keys=("action",)))


def _look_at_text(table: RuleTable, where: Where, faults: list[Fault], *, is_of_removed: bool = False) -> None:
    _one_text(table.text, (*where, "text"), faults, is_of_removed=is_of_removed)


def _one_text(text: str, where: Where, faults: list[Fault], *, is_of_removed: bool) -> None:
    if len(text) > LETTERS or not all(one.isprintable() or one == "\n" for one in text):
        hint = f"write {LETTERS} printable characters at most, and line feeds"
        faults.append(Fault(where, "this is no text for people", hint, keys=("action",)))
    name = unknown(text, is_of_removed)
    if name:
        known = [*PLACEHOLDERS, *(OF_REMOVED if is_of_removed else ())]
        hint = f"known: {', '.join(known)}"
        faults.append(Fault(where, f"nothing stands for {quoted('{' + name + '}')}", hint, keys=("action",)))


def _look_at_parts(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    if not table.parts.strip():
        message, hint = (
            "it does not say which parts are taken out",
            "give parts, as \"attachment.kind == 'executable'\"",
        )
        faults.append(Fault((*where, "action"), message, hint))
        return
    try:
        check(_about_one(table.parts))
        compile(_about_one(table.parts))
    except BadExpression as error:
        # The condition begins in the second line of what was compiled.
        at = (max(error.line - 1, 1), error.column)
        # Beside the facts there is the attachment.
        known = [*error.known, "attachment"] if "attachments" in error.known else list(error.known)
        hint = error.hint or one_of(error.word.partition(".")[0], known, "")
        faults.append(Fault((*where, "parts"), error.message, hint, keys=("action",), within=at))


def _about_one(text: str) -> str:
    return f"attachments.exists(attachment,\n{text}\n)"


def _look_at_fields(table: RuleTable, where: Where, faults: list[Fault]) -> None:
    def fault(key: str, message: str, hint: str) -> None:
        faults.append(Fault((*where, key), message, hint, keys=("action",)))

    if not table.headers_set and not table.headers_remove:
        faults.append(Fault((*where, "action"), "there is no field to change", "give headers_set or headers_remove"))
    removed = [name.lower() for name in table.headers_remove]
    for key, names in (("headers_set", list(table.headers_set)), ("headers_remove", list(table.headers_remove))):
        lower = [name.lower() for name in names]
        for name in names:
            reason = _kept(name)
            if _NAME.fullmatch(name) is None:
                fault(key, f"{quoted(name)} is no name of a field", "write letters, digits and dashes")
            elif reason:
                fault(key, f"field {quoted(name)} cannot be changed: {reason}", "leave it out")
            elif lower.count(name.lower()) > 1 or key == "headers_set" and name.lower() in removed:
                fault(key, f"field {quoted(name)} stands there twice", "leave one of both out")
    for name, value in table.headers_set.items():
        if not value.isprintable() or not value.isascii() or not value.strip() or len(value) > 900:
            fault(
                "headers_set",
                f"the value of {quoted(name)} cannot stand in a field",
                "write 1 to 900 printable ASCII characters",
            )


def _kept(name: str) -> str:
    """Why a field cannot be changed; "" where it can."""
    low = name.lower()
    return KEPT.get(low) or next((why for family, why in _KEPT_FAMILIES.items() if low.startswith(family)), "")


def change(table: RuleTable) -> Change | None:
    """What a rule without faults does to a message."""
    if table.action not in ACTIONS:
        return None
    is_banner = table.action == "banner"
    return Change(
        table.name,
        table.action,
        table.text,
        table.html,
        table.place or ("top" if is_banner else "bottom"),
        table.wrap,
        table.invitations,
        table.once if table.once is not None else table.action == "disclaimer",
        table.on_signature or ("skip" if table.action in _WORDS else "edit"),
        table.keep,
        dict(table.headers_set),
        tuple(name.lower() for name in table.headers_remove),
    )


def parts(table: RuleTable) -> Expression | None:
    """Which parts it takes out."""
    return compile(_about_one(table.parts)) if table.action in _REMOVE else None
