"""Rules as they stand in a configuration text: found, put in, taken out, moved, with the comments above them.

Pure, and about lines: nothing else of the text is touched. A rule's lines are those from the comments above its
`[[rules]]` to the next table that is not a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from smtpgate.config.text_blocks import NotSo, above, appended, document, end_of, joined, spliced, without

_MODE: Final = re.compile(r"""^([ \t]*mode[ \t]*=[ \t]*)("[^"\n]*"|'[^'\n]*')""", re.M)
_KEY: Final = re.compile(r"^[ \t]*name[ \t]*=", re.M)
MODES: Final = ("enforce", "shadow", "off")


@attrs.frozen
class Block:
    """One rule.

    :ivar name: "" where it has none yet
    :ivar first, last: its lines, from 0, the last not among them
    """

    name: str
    first: int
    last: int
    text: str


def blocks(text: str) -> list[Block]:
    """All rules, in their order. Raises NotSo for a text that is no TOML, or has its rules in one value."""
    whole = document(text)
    rules = whole.tree.get("rules", [])
    if not isinstance(rules, list) or not rules:
        return []
    lines = text.split("\n")
    headers = whole.headers
    starts = [headers.get(("rules", number)) for number in range(len(rules))]
    if any(start is None for start in starts):
        raise NotSo("rules stands as one value there; write each as a table [[rules]] first")
    others = sorted(line - 1 for where, (line, _) in headers.items() if not _is_inside(where))
    found = []
    for number, rule in enumerate(rules):
        start = starts[number]
        assert start is not None
        header = start[0] - 1
        end = min((line for line in others if line > header), default=len(lines))
        nexts = [one[0] - 1 for one in starts[number + 1 :] if one is not None]
        end = min([end, *nexts])
        first, last = above(lines, header), end_of(lines, end)
        name = rule.get("name", "") if isinstance(rule, dict) else ""
        found.append(Block(name if isinstance(name, str) else "", first, last, joined(lines[first:last])))
    return found


def _is_inside(where: Sequence[Any]) -> bool:
    """A header of a rule, or of what belongs to one."""
    return where[:1] == ("rules",)


def find(text: str, name: str) -> Block:
    """The rule of a name. Raises NotSo where there is none."""
    found = next((one for one in blocks(text) if one.name == name), None)
    if found is None:
        raise NotSo(f"there is no rule {name} in that text")
    return found


def of_text(text: str) -> list[Block]:
    """The rules of a text that has nothing else. Raises NotSo."""
    whole = document(text)
    if set(whole.tree) - {"rules"}:
        raise NotSo("give [[rules]] and nothing else")
    found = blocks(text)
    if not found:
        raise NotSo("give at least one table [[rules]]")
    if any(not one.name for one in found):
        raise NotSo("each rule needs a name")
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise NotSo("two rules have one name")
    return found


def all_of(text: str) -> str:
    """All rules, as a text of their own. Raises NotSo."""
    return "\n".join(one.text for one in blocks(text))


def put(text: str, rules: str, before: str = "") -> str:
    """Rules of another text put in: those of names that are there in their place, the others before a rule, or behind
    all. Raises NotSo."""
    for one in of_text(rules):
        there = next((other for other in blocks(text) if other.name == one.name), None)
        if there is not None:
            text = spliced(text, there.first, there.last, one.text)
        else:
            text = _inserted(text, one.text, before)
    return text


def _inserted(text: str, block: str, before: str) -> str:
    if before:
        at = find(text, before).first
        return spliced(text, at, at, f"{block}\n")
    there = blocks(text)
    if not there:
        return appended(text, block)
    return spliced(text, there[-1].last, there[-1].last, f"\n{block}")


def remove(text: str, name: str) -> str:
    """Without a rule. Raises NotSo."""
    there = find(text, name)
    return without(text, there.first, there.last)


def with_mode(text: str, name: str, mode: str) -> str:
    """A rule in another mode. Raises NotSo."""
    there = find(text, name)
    # What a table within it says of a mode is not the rule's: its own keys stand before.
    head, mark, rest = there.text.partition("\n[rules.")
    if _MODE.search(head):
        head = _MODE.sub(lambda found: f'{found[1]}"{mode}"', head, count=1)
    else:
        named = _KEY.search(head)
        if named is None:
            raise NotSo(f"rule {name} is written so that its mode cannot be put in")
        end = head.index("\n", named.start())
        head = f'{head[: end + 1]}mode = "{mode}"\n{head[end + 1 :]}'
    made = spliced(text, there.first, there.last, head + mark + rest)
    wanted = [{**one, "mode": mode} if one.get("name") == name else one for one in document(text).tree["rules"]]
    if document(made).tree["rules"] != wanted:
        # What looks like a mode stood in a text over several lines.
        raise NotSo(f"rule {name} is written so that its mode cannot be put in")
    return made


def reordered(text: str, names: Sequence[str]) -> str:
    """The rules in another order, each with its comments; what stands between them stays where it is. Raises NotSo."""
    there = blocks(text)
    known = {one.name: one for one in there}
    if sorted(names) != sorted(known) or len(known) < len(there):
        raise NotSo("name each rule once, and no other")
    lines = text.split("\n")
    out: list[str] = []
    at = 0
    for place, name in zip(there, names, strict=True):
        out += lines[at : place.first]
        out += known[name].text.removesuffix("\n").split("\n")
        at = place.last
    return "\n".join([*out, *lines[at:]])
