"""Small changes to a configuration text that leave all else of it as somebody wrote it, comments too.

Each is held against what it should have done, by reading both texts: where the text is written in a way that is not
seen through here, `Unclear` is raised, and a person makes the change. Nothing is put to work by it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

from smtpgate.config.position import BadSyntax, read


class Unclear(ValueError):
    """The change cannot be made by a program; the text says which."""


def point_at(text: str, address: str, tls: str, domain: str) -> str:
    """The first backend has this one server, and its domain is one of ours.

    :param address: as `servers` holds it
    :param tls: as `tls` of a backend
    """
    backends = _tree(text).get("backends")
    if not isinstance(backends, dict) or not backends:
        raise Unclear("there is no backend: write one")
    name = next(iter(backends))

    def wanted(tree: Any) -> None:
        tree["backends"][name]["servers"] = [address]
        tree["backends"][name]["tls"] = tls
        if domain not in tree.get("local_domains", []):
            tree["local_domains"] = [*tree.get("local_domains", []), domain]

    start, end = _table(
        text, rf"\[[ \t]*backends[ \t]*\.[ \t]*(?:{re.escape(name)}|{re.escape(json.dumps(name))})[ \t]*\]"
    )
    body = _set(_set(text[start:end], "servers", json.dumps([address])), "tls", json.dumps(tls))
    changed = text[:start] + body + text[end:]
    known = _tree(text).get("local_domains", [])
    if domain not in known:
        first = re.search(r"(?m)^[ \t]*\[", changed)
        at = first.start() if first is not None else len(changed)
        domains = json.dumps([*known, domain], ensure_ascii=False)
        changed = _set(changed[:at], "local_domains", domains) + changed[at:]
    return _held(text, changed, wanted, f"backends.{name}.servers")


def with_rule(text: str, rule: str) -> str:
    """One more rule, behind all others.

    :param rule: a [[rules]] table in TOML
    """
    (added,) = _tree(rule)["rules"]

    def wanted(tree: Any) -> None:
        if any(one.get("name") == added["name"] for one in tree.get("rules", [])):
            raise Unclear(f"there is a rule {added['name']} already")
        tree.setdefault("rules", []).append(added)

    return _held(text, f"{text.rstrip()}\n\n{rule.strip()}\n", wanted, "[[rules]]")


def enforced(text: str, name: str) -> str:
    """The rule of that name, which is in shadow, is enforced."""

    def wanted(tree: Any) -> None:
        found = [one for one in tree.get("rules", []) if one.get("name") == name and one.get("mode") == "shadow"]
        if len(found) != 1:
            raise Unclear(f"there is no rule {name} in shadow")
        found[0]["mode"] = "enforce"

    for header in re.finditer(r"(?m)^[ \t]*\[\[[ \t]*rules[ \t]*\]\].*$", text):
        end = _end(text, header.end())
        body = text[header.end() : end]
        if re.search(rf"(?m)^[ \t]*name[ \t]*=[ \t]*[\"']{re.escape(name)}[\"']", body):
            return _held(text, text[: header.end()] + _set(body, "mode", '"enforce"') + text[end:], wanted, name)
    return _held(text, text, wanted, name)


def _tree(text: str) -> dict[str, Any]:
    try:
        return read(text).tree
    except BadSyntax as error:
        raise Unclear(f"the text is no TOML: {error}") from None


def _table(text: str, header: str) -> tuple[int, int]:
    found = re.search(rf"(?m)^[ \t]*{header}[ \t]*(?:#.*)?$", text)
    if found is None:
        raise Unclear("the backend is not written as a table of its own")
    return found.end(), _end(text, found.end())


def _end(text: str, start: int) -> int:
    found = re.compile(r"(?m)^[ \t]*\[").search(text, start)
    return found.start() if found is not None else len(text)


def _set(body: str, key: str, value: str) -> str:
    """A key of a table's lines with another value; a new line at its beginning where it is not there."""
    line = re.compile(rf"(?m)^([ \t]*{key}[ \t]*=[ \t]*)(\[[^\n]*\]|\"[^\"\n]*\"|'[^'\n]*')")
    if line.search(body):
        return line.sub(lambda match: match[1] + value, body, count=1)
    head, newline, rest = body.partition("\n")
    # Behind the header's own line; of the top of a file, on its first one.
    return f"{head}\n{key} = {value}\n{rest}" if newline and not head.strip() else f"{key} = {value}\n{body}"


def _held(before: str, after: str, change: Callable[[Any], None], what: str) -> str:
    tree = copy.deepcopy(_tree(before))
    change(tree)
    try:
        is_so = _tree(after) == tree
    except Unclear:
        is_so = False
    if not is_so:
        raise Unclear(f"{what} is written in a way that is changed by hand")
    return after


__all__ = ["Unclear", "enforced", "point_at", "with_rule"]
