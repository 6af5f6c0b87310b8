"""Help: what words and replies mean, with a search; and the reference of the API, made from the routes."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any, Final

import attrs

from smtpgate.admin.answer import Answer
from smtpgate.admin.openapi import build
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

_VERBS: Final = ("get", "post", "put", "patch", "delete")


@attrs.frozen
class Entry:
    """A reply that the gateway makes itself."""

    code: str
    text: str
    means: str

    def is_about(self, words: list[str]) -> bool:
        """Whether all of the words are in it."""
        whole = f"{self.code} {self.text} {self.means}".lower()
        return all(word in whole for word in words)


def glossary() -> list[Entry]:
    """Every reply of our own, by code; what each class means to the sender's server."""
    means = {
        "2": "done",
        "3": "go on",
        "4": "deferred: the sender's server tries again",
        "5": "refused: the sender hears so, and must not try again",
    }
    found = {
        (reply.code, reply.enhanced, " ".join(reply.lines))
        for reply in vars(status).values()
        if isinstance(reply, Reply)
    }
    return [Entry(f"{code} {enhanced}".strip(), text, means[str(code)[0]]) for code, enhanced, text in sorted(found)]


async def help_page(ask: Ask) -> Answer:
    """What the words mean."""
    said = "".join(c for c in ask.query.get("q", "") if c.isprintable())[:100].strip()
    words = said.lower().split()
    replies = [one for one in glossary() if one.is_about(words)]
    problems = [
        (slug, one)
        for slug, one in sorted(PROBLEMS.items())
        if all(word in f"{slug} {attrs.astuple(one)}".lower() for word in words)
    ]
    return await ask.office.templates.page(
        ask, "help.html", here="help", wanted=said, replies=replies, problems=problems
    )


async def reference(ask: Ask) -> Answer:
    """Every operation of the API, with what it takes and what it answers."""
    routes = tuple(ask.office.routes())
    found = await ask.office.in_thread(lambda: groups(build(routes)))
    return await ask.office.templates.page(ask, "reference.html", here="help", groups=found)


def groups(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The operations by their first word behind the version."""
    rows = []
    for path, methods in document["paths"].items():
        for method in _VERBS:
            if method in methods:
                rows.append(_row(path, method, methods[method], document["components"]["schemas"]))
    rows.sort(key=lambda row: (row["group"], row["path"], _VERBS.index(row["method"])))
    return [(name, list(found)) for name, found in groupby(rows, lambda row: str(row["group"]))]


def _row(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
    words, _, permission = str(operation["description"]).partition("\n\nPermission: ")
    parameters = operation["parameters"]
    return {
        "group": path.removeprefix("/api/v1/").partition("/")[0],
        "path": path,
        "method": method,
        "summary": operation["summary"],
        "about": " ".join(words.split()),
        "permission": re.sub(r"[`.]", "", permission),
        "parameters": parameters,
        "fields": list(schemas.get(name, {}).get("properties", {}).items()),
        "required": set(schemas.get(name, {}).get("required", ())),
        # What is only looked at is tried by a link: the same session, and nothing changes.
        "is_tried": method == "get" and not any(one["in"] == "path" or one.get("required") for one in parameters),
    }


def _page(path: str, serve: Any) -> Route:
    return page_route(path, "self", serve)


ROUTES = (_page("/help", help_page), _page("/api/docs", reference))
