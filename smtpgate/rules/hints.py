"""What is said of a condition that does not compile: in words for people, and with what would be right.

Who writes conditions often knows another language first: other products' rules, SQL, Python, shells. What these would
write is told by its name (`=~`, `and`, `lower()`, `10MB`, `len(x)`), with what stands for it here. `engine` calls this
with what the engine of CEL says; nothing is corrected by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from smtpgate.rules.habits import (
    CLIENT,
    COUNT,
    EMPTY,
    ENTRY,
    FIELDS,
    FUNCTIONS,
    HAVE,
    INFIX,
    OCTETS,
    OF_HEADER,
    PATTERN,
    TEXT_HAS,
    UNITS,
    WORD_QUOTES,
    WORDS,
)
from smtpgate.rules.vocabulary import FACTS, HEADER, RECORDS

#: Message, hint, and without a hint the word that is not known and those that are.
Told = tuple[str, str, str, Sequence[str]]

_UNKNOWN: Final = re.compile(r"undeclared reference to '([^']*)'")
_FIELD: Final = re.compile(r"undefined field '([^']*)' not found in struct 'facts\.(\w+)'")
_OPERATION: Final = re.compile(r"found no matching overload for '([^']*)' applied to '([^']*)'")
_SELECT: Final = re.compile(r"expression of type '([^']*)' cannot be the operand of a select operation")
_FOUND: Final = re.compile(
    r"(?:mismatched|extraneous) input '(.*?)' expecting|token recognition error at: '(.*)'", re.DOTALL
)

_KINDS: Final = {
    "string": "a text", "int": "a whole number", "uint": "an unsigned number", "double": "a number with a point",
    "bool": "what is true or false", "null_type": "null", "bytes": "octets",
}  # fmt: skip
_RECORD: Final = {
    "Attachment": "attachments", "Link": "links", "Fingerprint": "fingerprints", "RowMatch": "rows", "Match": "matches",
    "Unread": "unread", "Finding": "findings",
}  # fmt: skip


def told(text: str, line: int, column: int, message: str) -> Told:
    """What the engine says of a condition, for people, and what would be right.

    :param line, column: where, from 1
    """
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        return _of_a_word(unknown[1], _before(text, line, column))
    field = _FIELD.search(message)
    if field is not None:
        hint = FIELDS.get(field[2], {}).get(_plain(field[1]), "")
        known = list(RECORDS[field[2]])
        return (
            f"{field[2]} has no field {field[1]}",
            f"{hint}; known: {', '.join(known)}" if hint else "",
            field[1],
            known,
        )
    operation = _OPERATION.search(message)
    if operation is not None:
        return *_of_kinds(operation[1], operation[2].replace("facts.", "")[1:-1], _before(text, line, column)), "", ()
    select = _SELECT.search(message)
    if select is not None:
        return *_of_a_part(select[1].replace("facts.", ""), _behind(text, line, column)), "", ()
    if message.startswith("reserved identifier: "):
        word = message.rpartition(" ")[2]
        return f"{word} stands for nothing here", INFIX.get(word, "see docs/policy.md"), "", ()
    if message.startswith("has() argument"):
        return "has() is not for this", EMPTY, "", ()
    if message.startswith("Syntax error"):
        return *_of_a_sign(text, line, column, message), "", ()
    return message[:200].replace("facts.", ""), "see docs/policy.md for how conditions are written", "", ()


def _plain(word: str) -> str:
    return word.lower().replace("_", "")


def _line(text: str, line: int) -> str:
    lines = text.split("\n")
    return lines[line - 1] if line <= len(lines) else ""


def _before(text: str, line: int, column: int) -> str:
    return _line(text, line)[: column - 1]


def _behind(text: str, line: int, column: int) -> str:
    return _line(text, line)[column - 1 :]


def _of_a_word(name: str, before: str) -> Told:
    """A word that is none: it stands at the place, or before it where it is called."""
    is_called = before.endswith(name)
    is_method = is_called and before.removesuffix(name).rstrip().endswith(".")
    first = name.partition(".")[0]
    facts = {fact.name for fact in FACTS}
    if name == HEADER.name:
        return "header is a function", OF_HEADER, "", ()
    if is_called and name in FUNCTIONS:
        return f"{name} cannot be used so", HAVE, "", ()
    if is_called and name in facts:
        return f"{name} is a fact, and no function", f"write {name} without ( and )", "", ()
    hint = WORDS.get(_plain(name)) or WORDS.get(_plain(first), "")
    if is_method:
        return f"neither texts nor lists have a function {name}", f"{hint}; {TEXT_HAS}" if hint else HAVE, "", ()
    message = f"{name} is no fact and no function"
    if first == "attachment":
        return message, f'did you mean "attachments"? {hint or "write attachments.exists(a, a.name == ...)"}', "", ()
    if hint:
        return message, hint, "", ()
    method = re.search(r"(\w+)\(\s*(?:\w+\s*,\s*)?$", before)
    if method is not None and not is_called and len(name) < 3:
        hint = "" if method[1] in FUNCTIONS else WORDS.get(_plain(method[1]), "")
        return message, f"a name for the entries of a list is given first: {hint or ENTRY}", "", ()
    known = [fact.name for fact in (*FACTS, HEADER)]
    if not is_called and re.search(r"(?:[=!<>]=|[<>,\[(]|\bin)\s*$", before) and not _is_near(first, known):
        return (
            message,
            f"a text stands in quotes: '{name}'; a name for the entries of a list is given first: {ENTRY}",
            "",
            (),
        )
    return message, "", name, known


def _is_near(word: str, known: Sequence[str]) -> bool:
    return any(abs(len(one) - len(word)) < 3 and one[:2].lower() == word[:2].lower() for one in known) and len(word) > 2


def _split(kinds: str) -> list[str]:
    return [one.strip() for one in re.split(r",(?![^(]*\))", kinds)]


def _said(kind: str) -> str:
    if kind.startswith("list("):
        return f"a list of {_inner(kind)}"
    return _KINDS.get(kind, f"one of {_RECORD.get(kind, kind)}")


def _inner(kind: str) -> str:
    inner = kind[5:-1]
    return {"string": "texts"}.get(inner, _RECORD.get(inner, inner))


def _of_kinds(name: str, kinds: str, before: str) -> tuple[str, str]:
    """Something asked of what cannot answer it."""
    given = _split(kinds)
    sign = name.strip("_").replace("@in", "in")
    if name == "!_":
        shown = f"! before {_said(given[0])}"
    elif name == "_[_]":
        shown = f"{_said(given[0])} with [ ]"
    elif name[0] in "_@" and len(given) == 2:
        shown = f"{_said(given[0])} {sign} {_said(given[1])}"
    elif len(given) > 1:
        shown = f"{name} of {_said(given[0])}, with {' and '.join(_said(one) for one in given[1:])}"
    else:
        shown = f"{name} of {_said(given[0])}"
    return f"no such operation: {shown}", _like(sign, given, before)


def _like(sign: str, given: Sequence[str], before: str) -> str:
    """What would be right instead."""
    kinds, like = set(given), "compare like with like"
    lists = [one for one in given if one.startswith("list(")]
    if sign == "in":
        if lists and len(given) == 2 and given[0].startswith("list("):
            return "of a list of texts ask each: a.flags.exists(f, f in ['x', 'y'])"
        if not lists and before.rstrip().endswith("client_ip"):
            return f"an address is looked for in a list of addresses; {CLIENT}"
        if not lists:
            return "behind in stands a list, as ['a', 'b']; a part of a text is found by .contains('x')"
    if "null_type" in kinds:
        return f"{like}; {EMPTY}"
    if sign in ("&&", "||", "!", "?:"):
        return "it needs what is true or false: compare it first, as size > 0, user != '', recipients.size() > 0"
    if sign == "[_]":
        return f"a text has no places; {PATTERN}"
    if sign in ("contains", "matches", "startsWith", "endsWith"):
        if given[0].startswith("list("):
            return (
                "ask its entries: 'x' in recipients for a whole one, recipients.exists(r, r.contains('x')) for a part"
            )
        if lists:
            return "of several write .matches('a|b')"
        return f"{HAVE}; each takes one text"
    if lists:
        if kinds & {"int", "double"}:
            return f"{like}; how many there are says .size(), as recipients.size() > 10"
        return f"{like}; in a list stand many: 'x' in recipients, or recipients.exists(r, r == 'x')"
    if kinds == {"int", "double"}:
        return f"{like}: score and share are numbers with a point, as 5.0, all others without, as 5"
    if "uint" in kinds:
        return f"{like}; write the number without u"
    if kinds == {"int", "string"} and given[0] == "int":
        return f"{like}; {OCTETS}"
    if kinds == {"bool", "string"}:
        return f"{like}; a text is compared with a text: tls != '', and true and false have no quotes"
    return f"{like}, as a text with a text in quotes"


def _of_a_part(kind: str, behind: str) -> tuple[str, str]:
    """A field of what has none."""
    found = re.match(r"\.\s*(\w+)", behind)
    name = found[1] if found else ""
    said = f"{_said(kind)} has no field {name}".rstrip()
    if _plain(name) in ("size", "length", "count", "len"):
        return said, COUNT
    if kind.startswith("list("):
        inner = kind[5:-1]
        if inner in RECORDS:
            return said, f"ask its entries: {_RECORD[inner]}.exists(x, x.{name} == ...)"
        return said, f"ask its entries: {ENTRY}"
    if _plain(name) in ("domain", "host"):
        return said, "write sender_domain, recipient_domains or author_domains; or .endsWith('@example.org')"
    hint = WORDS.get(_plain(name), "")
    return said, f"{hint}; {TEXT_HAS}" if hint else HAVE


def _of_a_sign(text: str, line: int, column: int, message: str) -> tuple[str, str]:
    """What is not written as it should be."""
    before, behind = _before(text, line, column), _behind(text, line, column)
    said = "syntax error: " + re.sub(r" expecting (?:\{.*\}|<EOF>)", "", message.partition(": ")[2])[:150]
    said = said.replace("mismatched input '<EOF>'", "the condition ends too soon").replace("at '<EOF>'", "at the end")
    said = said.replace("token recognition error at", "it cannot be read at")
    if not text.strip():
        return "syntax error: the condition is empty", "leave it out, and the rule is about all mail; or write one"
    found = _FOUND.search(message)
    token = next((one for one in found.groups() if one is not None), "") if found else ""
    if any(sign in behind[:2] or sign in token for sign in WORD_QUOTES):
        return said, "these are the quotes of a word processor; a text stands in ' or \""
    for word in (_word_at(behind), _word_before(before), token.strip()):
        if word.lower() in INFIX and not (word == _word_before(before) and behind[:1] in ".)"):
            hint = INFIX[word.lower()]
            return said, hint
    if UNITS.fullmatch(_word_at(behind)) and re.search(r"\d\s*$", before):
        return said, OCTETS
    if behind.startswith(">") and before.rstrip().endswith("<"):
        return said, INFIX["<>"]
    if behind.startswith("/"):
        return said, f"a pattern stands in quotes: {PATTERN}"
    if token[:1] in ("'", '"'):
        if "\\" in token:
            return said, r"\ is written twice in a text ('\\d'), or the text begins with r: r'\d'"
        return said, "a text that begins with ' or \" ends with it, on the same line"
    if "missing ')'" in message:
        return said, "a ( is not closed"
    if "missing ']'" in message:
        return said, "a [ is not closed"
    if re.search(r"""['"]$""", before) and re.match(r"\w", behind):
        return said, 'a text with \' in it stands in ", as "it\'s"; two conditions stand with && or || between them'
    if "<EOF>" in message and column > len(_line(text, line)):
        return said, "something is missing at the end"
    return said, "see docs/policy.md for how conditions are written"


def _word_at(behind: str) -> str:
    found = re.match(r"\w+|=~|!~|<>|&&|\|\||[^\s\w]", behind)
    return found[0] if found else ""


def _word_before(before: str) -> str:
    found = re.search(r"(\w+)\s*$", before)
    return found[1] if found else ""
