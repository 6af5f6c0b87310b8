"""Texts of a condition that what they are compared with never is: `direction == 'inbound'`, `sender == 'Ann@a.test'`.

Such a condition compiles, and its rule would never, or always, be true without a word. Only plain comparisons are
looked at, of a fact or of a field of the entries of a list, with texts that stand there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smtpgate.examine.dlp.detector import LEVELS
from smtpgate.examine.facts import FLAGS, KINDS
from smtpgate.policy.verdict import ACTIONS, CATEGORIES
from smtpgate.rules.asked import Name, Token, end_of, is_plain, name_at, tokens_of
from smtpgate.rules.vocabulary import FACTS

_CLASSES: Final = ("trusted", "known", "unknown", "suspect")
#: All that something may be: a fact, or a list of facts and a field of its entries.
_VALUES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "direction": ("in", "out"),
        "traffic_class": _CLASSES,
        "attachments.kind": sorted(KINDS),
        "attachments.flags": sorted(FLAGS),
        "matches.confidence": LEVELS,
        "findings.action": ACTIONS,
        "findings.category": CATEGORIES,
    }
)
#: What is made small before it is compared.
_LOWER: Final = frozenset(
    {
        "sender", "sender_domain", "recipient", "recipient_domain", "recipients", "recipient_domains",
        "outside_domains", "lookalike_of", "authors", "author_domains", "attachments.name", "attachments.kind",
        "attachments.digest", "links.host", "links.domain", "links.scheme",
    }
)  # fmt: skip
_LISTS: Final = frozenset(fact.name for fact in FACTS if fact.kind.startswith("list("))
_LOOPS: Final = frozenset({"exists", "exists_one", "all", "filter", "map"})
_PARTS: Final = frozenset({"contains", "startsWith", "endsWith"})


def never_true(text: str) -> Iterator[tuple[Token, str, str]]:
    """Texts that are never what they are compared with, what is wrong and what would be right.

    :param text: a condition that compiles
    """
    for what, token, is_whole in _comparisons(text):
        if what in _VALUES or what in _LOWER:
            found = _wrong(what, token.text[1:-1], is_whole)
            if found:
                yield token, *found


def listeners(text: str) -> tuple[Name, ...]:
    """The listeners that a condition that compiles names."""
    return tuple(
        name_at(what, token, text) for what, token, is_whole in _comparisons(text) if what == "listener" and is_whole
    )


def _comparisons(text: str) -> Iterator[tuple[str, Token, bool]]:
    """Facts, and fields of the entries of a list as `attachments.kind`, with each text that they are compared with and
    whether it is all of it."""
    tokens = tokens_of(text)
    words = [one.text for one in tokens]
    loops: list[tuple[int, str, str]] = []
    for place, word in enumerate(words):
        loops = [one for one in loops if one[0] > place]
        if place and words[place - 1] == "." or not (word[0].isalpha() or word[0] == "_"):
            continue
        if words[place + 1 : place + 2] == ["."] and words[place + 3 : place + 4] == ["("]:
            if words[place + 2] in _LOOPS and words[place + 5 : place + 6] == [","]:
                loops.append((end_of(tokens, place + 3), words[place + 4], word if word in _LISTS else ""))
        what, behind = word, place + 1
        # The innermost loop that has such an entry.
        entry = next((of for _, name, of in reversed(loops) if name == word), None)
        if entry is not None:
            what = entry
            # The entry of a list of records has fields, that of a list of texts has none.
            if words[behind : behind + 1] == ["."] and words[behind + 2 : behind + 3] != ["("]:
                what, behind = f"{what}.{words[behind + 1]}", behind + 2
        for token, is_whole in _compared(tokens, words, place, behind):
            yield what, token, is_whole


def loose_patterns(text: str) -> Iterator[tuple[Token, str, str]]:
    """Patterns that do not stand there as a text, what is wrong and what would be right.

    One that is made from mail would be compiled while mail waits, some 15 ms each where its author wants it so, and
    signs in it would mean what nobody thought of.

    :param text: a condition that compiles
    """
    tokens = tokens_of(text)
    words = [one.text for one in tokens]
    for place, word in enumerate(words):
        if word != "matches" or words[place + 1 : place + 2] != ["("]:
            continue
        if not place or words[place - 1] != ".":
            yield tokens[place], "matches stands behind a text", "write subject.matches('pattern')"
        elif end_of(tokens, place + 1) != place + 3 or words[place + 2].lstrip("rR")[:1] not in ("'", '"'):
            hint = "write the pattern in quotes; a text that is not known before is looked for by .contains(sender)"
            yield tokens[place + 2], "a pattern cannot be made from mail", hint


def _wrong(what: str, written: str, is_whole: bool) -> tuple[str, str] | None:
    name = what.rpartition(".")[2]
    if what in _VALUES and is_whole:
        if written not in _VALUES[what]:
            return f"{name} is never '{written}'", f"known: {', '.join(_VALUES[what])}"
    elif what in _LOWER and written != written.lower():
        return f"{name} is in lower case, and never has '{written}'", f"write '{written.lower()}'"
    return None


def _compared(tokens: Sequence[Token], words: Sequence[str], place: int, behind: int) -> Iterator[tuple[Token, bool]]:
    """Texts that it is compared with, and whether they are all of it; it stands from `place` to `behind`."""
    rest = words[behind : behind + 4]
    if rest[:1] and rest[0] in ("==", "!=") and len(rest) > 1 and is_plain(rest[1]):
        yield tokens[behind + 1], True
    elif rest[:2] == ["in", "["]:
        at = behind + 2
        while at < len(words) and words[at] != "]":
            if is_plain(words[at]):
                yield tokens[at], True
            at += 1
    elif len(rest) == 4 and rest[0] == "." and rest[1] in _PARTS and rest[2] == "(" and is_plain(rest[3]):
        yield tokens[behind + 3], False
    if place > 1 and words[place - 1] in ("==", "!=", "in") and is_plain(words[place - 2]):
        yield tokens[place - 2], True
